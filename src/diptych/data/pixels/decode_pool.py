"""Decode images into a cache, on all cores."""

import errno
import hashlib
import logging
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from diptych.data.pixels.cache import Cache, identity, key_of
from diptych.data.pixels.decode import ImageFacts, ImageSpec, decode_with_facts, read_with_status
from diptych.errors import DataError

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
COMMIT_SECONDS = 2.0
COMMIT_IMAGES = 1000
SAMPLE = 32
SAMPLE_SECONDS = 2.0
# A file changed this shortly before it was looked at may change again within the same tick of the file system's clock.
SETTLED_NS = 2 * 10**9
# Of an image in both tables of the index, and about as much in memory.
ROW_BYTES = 400


class Work:
    """Images on their way into a cache: threads take one after the other, and leave what they found for the index."""

    def __init__(self, cache: Cache, paths: Sequence[Path], slots: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        """Plan the work.

        Args:
            cache: takes the images.
            paths: all files.
            slots: (N,) is filled for the rows that are worked on.
            rows: those that are not in the cache, in the order of the work.
        """
        self.cache = cache
        self.paths = paths
        self.slots = slots
        self.count = len(rows)
        self.rows = iter(rows)
        self.stop = threading.Event()
        # Held by whoever uses `rows` or one of the following.
        self.lock = threading.Lock()
        # Rows of the two tables of the index that are not committed yet.
        self.images: list[tuple[Any, ...]] = []
        self.files: list[tuple[Any, ...]] = []
        # Of files that could not be read: why, and their bytes. They are no business of the index: tomorrow they may be readable.
        self.unread: dict[int, tuple[str, int]] = {}
        self.done = 0
        # How many of them were decoded, and the most memory that one took, in bytes.
        self.fresh = 0
        self.largest = 0

    def run(self, progress: bool) -> None:
        """Do all the work, with a commit every few seconds."""
        workers = min(os.cpu_count() or 1, self.count)
        bar = tqdm(total=self.count, desc="reading images", unit=" images", leave=False, disable=None if progress else True)
        try:
            with bar, ThreadPoolExecutor(workers) as pool:
                threads = [pool.submit(self.take) for _ in range(workers)]
                try:
                    self.watch(threads, bar)
                finally:
                    self.stop.set()
        except BaseException:
            with suppress(OSError, sqlite3.Error):
                self.commit()
            raise
        self.commit()

    def watch(self, threads: "list[Future[None]]", bar: "tqdm[Any]") -> None:
        began = time.monotonic()
        committed = began
        announced = False
        running = set(threads)
        while running:
            finished, running = wait(threads, POLL_SECONDS, FIRST_EXCEPTION)
            for thread in finished:
                thread.result()
            bar.update(self.done - bar.n)
            now = time.monotonic()
            if not announced and self.done and (self.done >= SAMPLE or now - began > SAMPLE_SECONDS):
                self.announce(len(threads), (now - began) / self.done)
                announced = True
            # Bit by bit, beside the work: all at its end, the disk would be waited for.
            self.cache.sync()
            if running and (now - committed > COMMIT_SECONDS or len(self.images) >= COMMIT_IMAGES):
                self.commit()
                committed = time.monotonic()

    def announce(self, workers: int, seconds: float) -> None:
        """Log what the rest of the work will take, and stop if the disk has no room for it.

        Args:
            workers: number of threads.
            seconds: that an image takes.
        """
        left = self.count - self.done
        folder = self.cache.folder
        room = round(left * self.fresh / self.done * (self.cache.stride + ROW_BYTES))
        free = shutil.disk_usage(folder).free
        if room > free:
            raise OSError(errno.ENOSPC, f"{left} more images need {gib(room)}, and {gib(free)} are free")
        memory = workers * self.largest + self.count * ROW_BYTES
        if left:
            log.info(
                "preparing %s: %s on the disk in %s, about %s of memory, about %d s",
                f"{self.count:,} image{'' if self.count == 1 else 's'}", gib(room), folder, gib(memory), round(left * seconds),
            )  # fmt: skip

    def take(self) -> None:
        """Work on one image after the other; the threads run this."""
        while not self.stop.is_set():
            with self.lock:
                row = next(self.rows, None)
            if row is None:
                return
            self.prepare_image(int(row))

    def prepare_image(self, row: int) -> None:
        path = self.paths[row]
        now = time.time_ns()
        try:
            content, status = read_with_status(path)
        except DataError as error:
            with self.lock:
                self.unread[row] = str(error), size_of(path)
                self.done += 1
            return
        digest = hashlib.sha256(content).digest()
        slot, fresh = self.cache.claim(digest)
        image = self.decode(slot, digest, content) if fresh else None
        settled = now - max(status.st_mtime_ns, status.st_ctime_ns) > SETTLED_NS
        file = (key_of(path), *identity(status), digest)
        with self.lock:
            self.slots[row] = slot
            self.done += 1
            if image:
                self.fresh += 1
                self.images.append(image)
            if settled:
                self.files.append(file)

    def decode(self, slot: int, digest: bytes, content: bytes) -> tuple[Any, ...]:
        """Decode an image into its slot, and return its row of the index."""
        problem = ""
        facts = ImageFacts()
        try:
            pixels, facts = decode_with_facts(content, self.cache.spec)
            self.cache.write(slot, pixels)
            self.largest = max(self.largest, len(content) + decoded_bytes(facts, self.cache.spec))
        except DataError as error:
            problem = str(error).encode("utf-8", "replace").decode()
        return slot, digest, problem, len(content), *vars(facts).values()

    def commit(self) -> None:
        with self.lock:
            images = self.images
            self.images = []
            files = self.files
            self.files = []
        self.cache.commit(images, files)


def size_of(path: Path) -> int:
    """Return the bytes of a file that cannot be read; 0 where not even that is known."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def decoded_bytes(facts: ImageFacts, spec: ImageSpec) -> int:
    """Estimate the memory of an image while it is decoded; a JPEG is shrunk on the way, unless it comes in passes."""
    pixels = facts.width * facts.height
    if facts.format != "JPEG" or facts.progressive:
        return 4 * pixels
    shrink = max(shrink for shrink in (1, 2, 4, 8) if shrink == 1 or min(facts.width, facts.height) >= shrink * spec.size)
    return 4 * pixels // shrink**2


def gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{max(1, round(count / 2**20))} MiB"
