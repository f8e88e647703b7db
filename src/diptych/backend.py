"""Loading Keras and the backend below it, which takes seconds, and without the backend's own chatter."""

import ctypes
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

# From glibc's malloc.h.
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3


def load_backend() -> None:
    """Import Keras on the backend that the environment variable KERAS_BACKEND names; TensorFlow without one."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if "keras" not in sys.modules:
        with quiet_stderr():
            import keras  # noqa: F401


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Keep off the screen what is written to standard error; it is shown after all if an error comes.

    TensorFlow's C++ code writes there past Python while it is loaded, whatever TF_CPP_MIN_LOG_LEVEL says (2.21).
    """
    sys.stderr.flush()
    screen = os.dup(2)
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            yield
        except BaseException:
            aside.seek(0)
            os.write(screen, aside.read())
            raise
        finally:
            os.dup2(screen, 2)
            os.close(screen)


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next step instead of giving it back to the system.

    When a generator that fed `fit` or its validation ends, TensorFlow 2.21 sets glibc's M_TRIM_THRESHOLD to 128 KiB
    (generator_dataset_op.cc), for the whole process and for good. Large tensors are then mapped, cleared and unmapped anew
    at each step: at 64 px, 29 images/s instead of 46 (docs/experiments.md). This raises the limits again.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 32 * 2**20)
        mallopt(M_TRIM_THRESHOLD, 2**30)


def describe_device() -> str:
    """Say which backend computes, and on what."""
    import keras

    return f"{keras.backend.backend()} on {', '.join(keras.distribution.list_devices()) or 'cpu'}"
