"""A lock, so that one process at a time trains a run."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from diptych.errors import ConfigError
from diptych.storage.run_dir import RunDir
from diptych.storage.runs import is_run

POLL_SECONDS = 0.5
# How long a training whose parent was killed may take to save its state and leave.
LEAVE_SECONDS = 120.0


def wait_until_free(run: RunDir) -> None:
    """Wait until a training whose parent was killed has saved its state and is gone.

    Raises:
        ConfigError: it does not go.
    """
    give_up = time.monotonic() + LEAVE_SECONDS
    while is_run(run.root):
        try:
            with only_one(run):
                return
        except ConfigError:
            if time.monotonic() > give_up:
                raise
            time.sleep(POLL_SECONDS)


@contextmanager
def only_one(run: RunDir) -> Iterator[None]:
    """Hold the run for this process; the system lets go of it when the process ends, however that comes about.

    Raises:
        ConfigError: another process trains it.
    """
    lock = FileLock(run.lock, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise ConfigError(
            f"run {run.root} is being trained by another process; wait for it, or choose another --name."
        ) from error
    try:
        yield
    finally:
        lock.release()
