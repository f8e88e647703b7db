"""PixelStore: prepared images that are read like an array, and the contents of the cache folder."""

import os
import re
import sqlite3
import weakref
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from diptych.data.pixels.cache import FILE_NAME, delete_files, home_of, locked, open_cache, read_at
from diptych.data.pixels.decode import ImageSpec
from diptych.errors import DataError
from diptych.settings.config import Resize, parse_grey_range

FOLDER_NAME = re.compile(r"v\d+-(?P<size>\d+)-(?P<resize>stretch|letterbox|crop)(-(?P<greys>[^,]+,[^,]+))?")


class PixelStore:
    """Prepared images: `store[rows]` is a fresh uint8 array, whatever the file does later. Threads may read at once.

    The file is read, not mapped: mapped pages would count as this process's memory.
    """

    def __init__(self, descriptor: int, slots: NDArray[np.int64], spec: ImageSpec) -> None:
        """Open a store of its own over an open file.

        Args:
            descriptor: of the file of pixels; the caller may close it afterwards.
            slots: (N,) the place of each image in the file; -1 for one that cannot be read, which is black.
            spec: the images' size.
        """
        self.slots = slots
        self.spec = spec
        self.descriptor = os.dup(descriptor)
        weakref.finalize(self, os.close, self.descriptor)

    def __len__(self) -> int:
        return len(self.slots)

    def __getitem__(self, rows: int | slice | NDArray[np.integer]) -> NDArray[np.uint8]:
        """Read images.

        Args:
            rows: one row, or an array of n rows.

        Returns:
            uint8 (size, size, 3) or (n, size, size, 3), RGB.

        Raises:
            DataError: the file was cut short by someone else.
        """
        slots = np.asarray(self.slots[rows])
        images = np.empty((*slots.shape, self.spec.size, self.spec.size, 3), np.uint8)
        for image, slot in zip(images.reshape(-1, 3 * self.spec.size**2), slots.flat, strict=True):
            if slot < 0:
                image[:] = 0
            elif read_at(self.descriptor, image.data, int(slot) * image.size) < image.size:
                raise DataError("the file of prepared pixels was cut short while it was in use; start again.")
        return images


class CacheEntry(NamedTuple):
    """The prepared images of one ImageSpec: their number, their bytes on the disk, and when they were used last."""

    folder: Path
    spec: ImageSpec
    images: int
    bytes: int
    last_used: datetime


def list_caches(cache: Path) -> list[CacheEntry]:
    """Return what a cache folder holds, one entry an ImageSpec, of other versions of Diptych too."""
    entries = []
    for folder in spec_folders(cache):
        found = FOLDER_NAME.fullmatch(folder.name)
        files = [file.stat() for file in folder.iterdir() if FILE_NAME.fullmatch(file.name)]
        if found and files:
            spec = ImageSpec(int(found["size"]), cast(Resize, found["resize"]), parse_grey_range(found["greys"] or "declared"))
            used = datetime.fromtimestamp(max(file.st_mtime for file in files)).astimezone()
            entries.append(CacheEntry(folder, spec, count_images(folder, spec), sum(file.st_size for file in files), used))
    return entries


def clear_cache(cache: Path) -> int:
    """Delete all prepared images, and nothing that is not Diptych's; return how many bytes they had.

    Raises:
        DataError: another process is preparing images there, or they cannot be deleted.
    """
    freed = 0
    for folder in spec_folders(cache):
        try:
            with locked(folder, wait=False):
                freed += delete_files(folder)
                with suppress(OSError):  # Something else is in it.
                    folder.rmdir()
        except OSError as error:
            raise DataError(f"{folder} cannot be cleared: {error.strerror}.") from error
    return freed


def spec_folders(cache: Path) -> list[Path]:
    cache = home_of(cache)
    if not cache.is_dir():
        return []
    return sorted(
        folder for folder in cache.iterdir() if FOLDER_NAME.fullmatch(folder.name) and folder.is_dir() and not folder.is_symlink()
    )


def count_images(folder: Path, spec: ImageSpec) -> int:
    with suppress(sqlite3.Error):
        opened = open_cache(folder, spec)
        if opened:
            with opened:
                return int(opened.connection.execute("SELECT count(*) FROM images").fetchone()[0])
    return 0


class Images(Protocol):
    """What the loader reads from: a NumPy array uint8 (N, S, S, 3), RGB, or a PixelStore."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: NDArray[np.int64], /) -> NDArray[np.uint8]: ...
