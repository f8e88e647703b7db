"""Every image decoded once, before the first training step, into a PixelStore."""

import dataclasses
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from diptych.data.images import ImageSpec, decode_image, read_bytes
from diptych.data.manifest import Manifest
from diptych.errors import DataError
from diptych.storage import sha256


class PixelStore:
    """Decoded images, uint8 (N, size, size, 3) RGB, in a file that no name leads to.

    The file is unlinked as soon as it is open, so that nothing of it stays behind, however the process ends. The
    operating system keeps as much of it in memory as there is room for.
    """

    def __init__(self, count: int, spec: ImageSpec) -> None:
        """Reserve the room.

        Args:
            count: number of images.
            spec: their size.

        Raises:
            DataError: the temporary folder has no room for them.
        """
        self.spec = spec
        shape = (count, spec.size, spec.size, 3)
        with tempfile.TemporaryFile(prefix="diptych-") as file:
            try:
                reserve(file.fileno(), max(1, int(np.prod(shape))))
            except OSError as error:
                raise DataError(
                    f"no room for the decoded images: {np.prod(shape) / 2**30:.1f} GiB in {tempfile.gettempdir()}: "
                    f"{error.strerror}. Free some, or name another folder in the environment variable TMPDIR."
                ) from error
            self.images: NDArray[np.uint8] = np.memmap(file, np.uint8, "r+", shape=shape) if count else np.empty(shape, np.uint8)


def reserve(descriptor: int, size: int) -> None:
    """Give a file its size and its blocks, so that a full disk shows here and not as a crash in a later write."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.truncate(descriptor, size)


def prepare(paths: Sequence[Path], spec: ImageSpec, *, progress: bool = True) -> tuple[PixelStore, pd.DataFrame]:
    """Decode images on all cores.

    Args:
        paths: the files.
        spec: how they become pixels.
        progress: draw a progress bar where standard error is a terminal.

    Returns:
        The store, in the order of `paths`, and a table of as many rows: `sha256` of the file's bytes ("" where it
        could not be read) and `problem` ("" where all is well; else a reason, and the image is black).
    """
    store = PixelStore(len(paths), spec)

    def decode(row: int) -> tuple[str, str]:
        digest = ""
        try:
            content = read_bytes(paths[row])
            digest = sha256(content)
            store.images[row] = decode_image(content, spec)
        except DataError as error:
            return digest, str(error)
        return digest, ""

    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        rows = pool.map(decode, range(len(paths)))
        bar = tqdm(rows, "reading images", len(paths), unit=" images", leave=False, disable=None if progress else True)
        return store, pd.DataFrame(list(bar), columns=["sha256", "problem"])
    finally:
        # After Ctrl-C, what has not begun is dropped.
        pool.shutdown(cancel_futures=True)


def set_aside(manifest: Manifest, outcome: pd.DataFrame, max_unreadable: float, strict: bool) -> tuple[Manifest, pd.DataFrame]:
    """Take the unreadable images out of a Manifest.

    Args:
        manifest: all images.
        outcome: what `prepare` said of each of them.
        max_unreadable: the share up to which training goes on without them.
        strict: whether a single one is an error.

    Returns:
        The Manifest of the readable images with a column `sha256`, its index being the row in the PixelStore; and a table
        of the others: `path`, `target`, `problem`.

    Raises:
        DataError: there are more of them than allowed.
    """
    wrong = outcome["problem"] != ""
    problems = manifest.table.loc[wrong, ["path", "target"]].assign(problem=outcome["problem"][wrong])
    if len(problems) > (0 if strict else max_unreadable * len(outcome)):
        shown = problems.iloc[:10]
        places = [f"{manifest.listed[row]}: " if manifest.listed else "" for row in shown.index]
        lines = [
            f"  {place}{manifest.root / path}: {problem}"
            for place, path, problem in zip(places, shown["path"], shown["problem"], strict=True)
        ]
        first = "\n".join(lines + ["  …"] * (len(problems) > len(shown)))
        allowed = "none, with --strict" if strict else f"{max_unreadable:.0%}"
        raise DataError(
            f"{len(problems)} of {len(outcome)} images cannot be read; allowed are {allowed}:\n{first}\n"
            "Mend these files, or delete them and their rows, or allow more with --max-unreadable."
        )
    readable = manifest.table.assign(sha256=outcome["sha256"])[~wrong]
    return dataclasses.replace(manifest, table=readable), problems
