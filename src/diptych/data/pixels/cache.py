"""The cache of prepared pixels: an append-only file of images, and an index of them.

The folder of one ImageSpec, such as v2-224-stretch, holds a pair of files of the same mark: pixels-MARK.u8 and index-MARK.sqlite.
A slot of the first, once in the index, is never written again, and a pair that turns out to be damaged gives way to one of
another mark; so whoever reads, without any lock, is never disturbed. The index is committed after the pixels are on the disk.
"""

import dataclasses
import logging
import os
import re
import sqlite3
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import numpy as np
import PIL
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from diptych.data.pixels import heic
from diptych.data.pixels.decode import ImageFacts, ImageSpec
from diptych.errors import DataError

log = logging.getLogger(__name__)

FORMAT_VERSION = 2
FILE_NAME = re.compile(r"pixels-[0-9a-f]+\.u8|index-[0-9a-f]+\.sqlite(-journal)?")
# Another version of the decoder may make other pixels: these are then prepared anew.
# And with pillow-heif newly installed, what it reads was "not read" before. SQLite has 31 bits for this.
DECODER = zlib.crc32(f"{PIL.__version__} {heic.version()}".encode()) & 0x7FFFFFFF
# The columns of an ImageFacts follow those of the image itself.
TYPES = {str: "TEXT", int: "INTEGER", bool: "INTEGER", float: "REAL"}
FACTS = ", ".join(f"{field.name} {TYPES[type(field.default)]} NOT NULL" for field in dataclasses.fields(ImageFacts))
PLACES = ", ".join("?" * (4 + len(dataclasses.fields(ImageFacts))))
SCHEMA = f"""
BEGIN;
PRAGMA user_version = {DECODER};
CREATE TABLE IF NOT EXISTS images (
    slot INTEGER PRIMARY KEY, sha256 BLOB NOT NULL UNIQUE, problem TEXT NOT NULL, bytes INTEGER NOT NULL,
    {FACTS}
);
CREATE TABLE IF NOT EXISTS files (
    path BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime INTEGER NOT NULL, ctime INTEGER NOT NULL, inode INTEGER NOT NULL,
    sha256 BLOB NOT NULL
) WITHOUT ROWID;
COMMIT;
"""


# Windows reads and writes at a place by moving there first, for all who have the file open, and would translate line ends.
SEEKING = threading.Lock()
BINARY = getattr(os, "O_BINARY", 0)


def read_at(descriptor: int, content: memoryview, offset: int) -> int:
    """Fill `content` from a place in a file; return how many bytes there were. Threads may read at once."""
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [content], offset)
    with SEEKING:
        os.lseek(descriptor, offset, os.SEEK_SET)
        found = os.read(descriptor, len(content))
    content[: len(found)] = found
    return len(found)


def write_at(descriptor: int, content: memoryview, offset: int) -> int:
    """Write at a place in a file; return how many bytes were written. Threads may write at once."""
    if hasattr(os, "pwrite"):
        return os.pwrite(descriptor, content, offset)
    with SEEKING:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.write(descriptor, content)


class DamagedCacheError(Exception):
    """The pixels and their index do not fit together."""


class Cache:
    """A pair of pixels and index, open. Every method may be called from any thread."""

    def __init__(self, index: Path | str, pixels: int, spec: ImageSpec) -> None:
        """Take over an open file.

        Args:
            index: the SQLite file; "" for one that is gone when it is closed.
            pixels: descriptor of the file of pixels.
            spec: of the images in it.
        """
        self.index = index
        self.pixels = pixels
        self.spec = spec
        self.stride = spec.size * spec.size * 3
        self.folder = Path(index).parent if index else Path(tempfile.gettempdir())
        self.connection = sqlite3.connect(index, timeout=60, check_same_thread=False)
        # Held by whoever uses the connection or one of the following.
        self.lock = threading.Lock()
        self.next_slot = 0
        # Whether the index was empty when writing began. Then `claimed` has all that is in it, and nobody need ask SQLite.
        self.was_empty = False
        # The slots of contents that the index has not got yet.
        self.claimed: dict[bytes, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()
        os.close(self.pixels)

    def start_writing(self) -> None:
        """Get ready to add images.

        Raises:
            DamagedCacheError: the file of pixels is shorter than the index says.
        """
        self.connection.executescript(SCHEMA)
        (last,) = self.connection.execute("SELECT max(slot) FROM images").fetchone()
        self.was_empty = last is None
        self.next_slot = 0 if last is None else last + 1
        # In this order, SQLite looks at the last rows alone.
        read = self.connection.execute("SELECT slot FROM images WHERE problem = '' ORDER BY slot DESC LIMIT 1").fetchone()
        if read is not None and (read[0] + 1) * self.stride > os.fstat(self.pixels).st_size:
            raise DamagedCacheError("the file of pixels was cut short")

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Look up many things: within a transaction SQLite takes half the time. Not for long, for no one can commit meanwhile."""
        with self.lock:
            self.connection.execute("BEGIN")
            try:
                yield
            finally:
                self.connection.rollback()

    def find(self, paths: Sequence[Path]) -> list[int]:
        """Return the slots of files that are as they were when they were read; -1 for the others."""
        query = "SELECT files.size, mtime, ctime, inode, slot, problem FROM files JOIN images USING (sha256) WHERE files.path = ?"
        end = os.fstat(self.pixels).st_size // self.stride
        slots = []
        with self.reading():
            for path in paths:
                *known, slot, problem = self.connection.execute(query, (key_of(path),)).fetchone() or (None, -1, "")
                slots.append(slot if (problem or slot < end) and slot >= 0 and tuple(known) == identity_of(path) else -1)
        return slots

    def claim(self, digest: bytes) -> tuple[int, bool]:
        """Return the slot of a content, and whether the caller is the one to fill it and to commit its row."""
        with self.lock:
            slot = self.claimed.get(digest)
            if slot is None and not self.was_empty:
                found = self.connection.execute("SELECT slot FROM images WHERE sha256 = ?", (digest,)).fetchone()
                slot = None if found is None else found[0]
            if slot is not None:
                return slot, False
            slot = self.next_slot
            self.claimed[digest] = slot
            self.next_slot += 1
            return slot, True

    def write(self, slot: int, pixels: NDArray[np.uint8]) -> None:
        """Fill a slot. Not through a map: where the disk is full, that would kill the process."""
        content = pixels.data.cast("B")
        offset = slot * self.stride
        while content:
            written = write_at(self.pixels, content, offset)
            content = content[written:]
            offset += written

    def sync(self) -> None:
        """Sync the pixels to the disk."""
        if self.index:
            getattr(os, "fdatasync", os.fsync)(self.pixels)

    def commit(self, images: list[tuple[Any, ...]], files: list[tuple[Any, ...]]) -> None:
        """Commit what was written: first the pixels, then the rows of both tables."""
        if images:
            self.sync()
        with self.lock, self.connection:
            self.connection.executemany(f"INSERT INTO images VALUES ({PLACES})", images)
            self.connection.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)", files)
            if not self.was_empty:
                for _, digest, *_ in images:
                    del self.claimed[digest]

    def rows(self, slots: Sequence[int]) -> list[tuple[Any, ...]]:
        """Return the rows of the table images for some slots, without the slots; nothing for slot -1."""
        query = "SELECT * FROM images WHERE slot = ?"
        with self.reading():
            found = [self.connection.execute(query, (slot,)).fetchone() if slot >= 0 else () for slot in slots]
        if None in found:
            raise DamagedCacheError("the index lacks an image")
        return [row[1:] for row in found]


def key_of(path: Path) -> bytes:
    return os.fsencode(path.absolute())


def identity(status: os.stat_result) -> tuple[int, int, int, int]:
    """Return what changes when a file does; SQLite's integers have 63 bits."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino % 2**63


def identity_of(path: Path) -> tuple[int, int, int, int] | None:
    try:
        return identity(path.stat())
    except OSError:
        return None


def is_damage(error: Exception) -> bool:
    """Tell whether an error means a damaged index, and not one that is only out of reach."""
    code = getattr(error, "sqlite_errorcode", 0) % 256
    return isinstance(error, DamagedCacheError) or code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)


def home_of(cache: Path) -> Path:
    """Return a cache folder with its ~ replaced.

    Raises:
        DataError: there is no home folder: no HOME, and no entry of the user (`docker run --user 12345`).
    """
    try:
        return cache.expanduser()
    except RuntimeError as error:
        raise DataError(
            f"{cache}: there is no home folder for the prepared images; set HOME, or name a folder with --cache."
        ) from error


def folder_of(cache: Path, spec: ImageSpec) -> Path:
    greys = "" if spec.grey_range is None else "-{!r},{!r}".format(*spec.grey_range)
    return home_of(cache) / f"v{FORMAT_VERSION}-{spec.size}-{spec.resize}{greys}"


def temporary_cache(spec: ImageSpec) -> Cache:
    """Open a cache whose files have no names, so that nothing is left however the process ends."""
    with tempfile.TemporaryFile(prefix="diptych-") as file:
        return Cache("", os.dup(file.fileno()), spec)


def open_cache(folder: Path, spec: ImageSpec, write: bool = False) -> Cache | None:
    """Open the pair in the folder of a spec; None where there is none that this version of the decoder made."""
    for index in sorted(folder.glob("index-*.sqlite"), reverse=True):
        flags = BINARY | (os.O_RDWR | os.O_CREAT if write else os.O_RDONLY)
        with suppress(FileNotFoundError):
            pixels = os.open(index.with_name(index.name.replace("index", "pixels")).with_suffix(".u8"), flags, 0o666)
            cache = Cache(index, pixels, spec)
            if cache.connection.execute("PRAGMA user_version").fetchone()[0] == DECODER:
                return cache
            cache.__exit__()
    return None


def renew_cache(folder: Path, spec: ImageSpec) -> Cache:
    """Delete what is in the folder of a spec, and begin a pair of a new mark. Who has the old one open keeps it."""
    # Windows deletes nothing that is open. The old pair stays then, unused: the newest mark counts.
    with suppress(PermissionError):
        delete_files(folder)
    mark = f"{time.time_ns():x}"
    pixels = os.open(folder / f"pixels-{mark}.u8", os.O_RDWR | os.O_CREAT | os.O_EXCL | BINARY, 0o666)
    return Cache(folder / f"index-{mark}.sqlite", pixels, spec)


def delete_files(folder: Path) -> int:
    """Delete what Diptych wrote in the folder of a spec, indices first, and return how many bytes it had."""
    freed = 0
    for file in sorted(folder.iterdir()):
        if FILE_NAME.fullmatch(file.name):
            freed += file.stat().st_size
            file.unlink()
    return freed


@contextmanager
def locked(folder: Path, wait: bool = True) -> Iterator[None]:
    """Lock the folder of a spec for writing. The lock is the operating system's: it ends with its process.

    Raises:
        DataError: another one is, and `wait` is False.
    """
    # Beside the folder, not in it: who waits for a lock that is deleted meanwhile would not keep others out.
    lock = FileLock(f"{folder}.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        if not wait:
            raise DataError(f"another process is preparing images in {folder}; try again when it is done.") from None
        log.info("another process is preparing images in %s; waiting for it", folder)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
