"""Decode every image once, on all cores, before the first training step."""

import dataclasses
import errno
import logging
import os
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diptych.data.pixels.cache import (
    Cache,
    DamagedCacheError,
    folder_of,
    is_damage,
    locked,
    open_cache,
    renew_cache,
    temporary_cache,
)
from diptych.data.pixels.decode import ImageFacts, ImageSpec
from diptych.data.pixels.decode_pool import SAMPLE, Work
from diptych.data.pixels.store import PixelStore
from diptych.errors import DataError

log = logging.getLogger(__name__)

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
TYPES = {str: "str", int: "int64", bool: "bool", float: "float64"}
COLUMNS = {"sha256": "str", "problem": "str", "bytes": "int64"} | {
    field.name: TYPES[type(field.default)] for field in dataclasses.fields(ImageFacts)
}
PIECE = 10_000


def prepare(
    paths: Sequence[Path], spec: ImageSpec, cache: Path | None, *, progress: bool = True
) -> tuple[PixelStore, pd.DataFrame]:
    """Decode images on all cores, but for those that the cache holds.

    An image is known by its content, so that a renamed or copied file costs a look and no decoding; a file whose size and
    times are as they were is not even read. Killed at any moment, the next call continues where this one stopped.

    Args:
        paths: the files.
        spec: how they become pixels.
        cache: the folder that keeps the pixels; None to keep them until the store is let go.
        progress: draw a progress bar where standard error is a terminal.

    Returns:
        The store, in the order of `paths`, and a table of as many rows: `sha256` of the file's bytes ("" where it
        could not be read), `problem` ("" where all is well; else a reason, and the image is black), `bytes`, and the
        columns of ImageFacts.

    Raises:
        DataError: the cache cannot be written, or has no room.
    """
    if cache is None:
        with explained(Path(tempfile.gettempdir()), "in the environment variable TMPDIR"), temporary_cache(spec) as opened:
            return complete(opened, paths, progress)
    with explained(cache, "with --cache; what is done so far is kept"):
        folder = folder_of(cache, spec)
        unchanged = reuse(folder, paths, spec)
        if unchanged is not None:
            return unchanged
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder):
            return add_missing(folder, paths, spec, progress)


@contextmanager
def explained(folder: Path, elsewhere: str) -> Iterator[None]:
    """Turn an error of the operating system or of SQLite into one that says how to correct it."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        full = getattr(error, "errno", None) in NO_ROOM or getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        reason = getattr(error, "strerror", None) or str(error)
        mend = f"{'Free some room, or name' if full else 'Name'} another folder {elsewhere}."
        raise DataError(f"the prepared images cannot be kept in {folder}: {reason}. {mend}") from error


def reuse(folder: Path, paths: Sequence[Path], spec: ImageSpec) -> tuple[PixelStore, pd.DataFrame] | None:
    """Return all images from the cache, without a lock; None where something is to be done first."""
    try:
        opened = open_cache(folder, spec)
        if opened is None:
            return None
        with opened:
            slots = np.empty(len(paths), np.int64)
            for start in range(0, len(paths), PIECE):
                slots[start : start + PIECE] = opened.find(paths[start : start + PIECE])
                if slots[start : start + PIECE].min() < 0:
                    return None
            with suppress(OSError):
                os.utime(opened.index)  # When it was used last.
            return describe(opened, slots, {})
    except (OSError, sqlite3.Error, DamagedCacheError):
        return None


def add_missing(folder: Path, paths: Sequence[Path], spec: ImageSpec, progress: bool) -> tuple[PixelStore, pd.DataFrame]:
    """Complete the cache of a spec; where it is damaged, begin a new one."""
    try:
        with open_cache(folder, spec, write=True) or renew_cache(folder, spec) as opened:
            return complete(opened, paths, progress)
    except (DamagedCacheError, sqlite3.Error) as error:
        if not is_damage(error):
            raise
        log.info("%s is damaged (%s); its images are prepared anew", folder, error)
    with renew_cache(folder, spec) as opened:
        return complete(opened, paths, progress)


def complete(cache: Cache, paths: Sequence[Path], progress: bool) -> tuple[PixelStore, pd.DataFrame]:
    cache.start_writing()
    slots = np.full(len(paths), -1, np.int64)
    for start in range(0, len(paths) if cache.next_slot else 0, PIECE):
        slots[start : start + PIECE] = cache.find(paths[start : start + PIECE])
    missing = np.flatnonzero(slots < 0)
    # A sample from all over the list goes first: it tells how long the rest will take.
    sample = missing[:: max(1, len(missing) // SAMPLE)][:SAMPLE]
    work = Work(cache, paths, slots, np.concatenate([sample, np.setdiff1d(missing, sample)]))
    if len(missing):
        work.run(progress)
    return describe(cache, slots, work.unread)


def describe(cache: Cache, slots: NDArray[np.int64], unread: dict[int, tuple[str, int]]) -> tuple[PixelStore, pd.DataFrame]:
    """Return the store and the table of `prepare`, made piece by piece: as Python objects a row takes a kilobyte."""
    unknown = tuple(vars(ImageFacts()).values())
    pieces = []
    for start in range(0, max(1, len(slots)), PIECE):
        found = cache.rows(slots[start : start + PIECE].tolist())
        rows = [row or (b"", *unread[start + place], *unknown) for place, row in enumerate(found)]
        piece = pd.DataFrame([(row[0].hex(), *row[1:]) for row in rows], columns=list(COLUMNS))
        pieces.append(piece.astype(COLUMNS))
    outcome = pd.concat(pieces, ignore_index=True)
    return PixelStore(cache.pixels, np.where(outcome["problem"] == "", slots, -1), cache.spec), outcome
