"""Every random draw of Diptych is a function of (seed, purpose, epoch, index)."""

import random
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


def generator(seed: int, purpose: str, epoch: int = 0, index: int = 0) -> np.random.Generator:
    """Make the random generator of one purpose.

    Args:
        seed: the run's seed, at least 0.
        purpose: what the draws are for, "augment" say; purposes are independent of each other.
        epoch: pass over the data, counted from 0.
        index: the image's row, or whatever else the draws belong to, counted from 0.

    Returns:
        A generator that depends on these four values alone, on every machine.
    """
    return np.random.Generator(np.random.PCG64((seed, zlib.crc32(purpose.encode()), epoch, index)))


@contextmanager
def kept_global_generators() -> Iterator[None]:
    """Put the global generators of Python and of NumPy back at the end, which belong to the user's program.

    Packages draw from them while they are imported: Keras from NumPy's, scikit-learn (by rich) from Python's.
    """
    before, numpy_before = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(before)
        np.random.set_state(numpy_before)  # noqa: NPY002
