"""Changes to the host process, and how they are undone: a notebook's settings are its own."""

import logging
import os
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

# Whether the process is one that `diptych` was started in, which nobody else lives in.
_own = threading.Event()


def claim_process() -> None:
    """Mark this process as our own: settings that cannot be undone may be changed in it too."""
    _own.set()


def is_own_process() -> bool:
    """Tell whether `claim_process` was called: by a command, not by a program that imports Diptych."""
    return _own.is_set()


class Borrowed:
    """A setting of the whole process that is changed for as long as any of our threads needs it, and then put back."""

    def __init__(self, change: Callable[[], AbstractContextManager[None]]) -> None:
        """Take what changes it, and puts it back at its end; the first who enters begins it, the last who leaves ends it."""
        self.change = change
        self.lock = threading.Lock()
        self.users = 0
        self.open: AbstractContextManager[None] | None = None

    def __enter__(self) -> None:
        with self.lock:
            if self.users == 0:
                self.open = self.change()
                self.open.__enter__()
            self.users += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.users -= 1
            if self.users == 0 and self.open is not None:
                self.open.__exit__(None, None, None)
                self.open = None


@contextmanager
def changed_environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables, and put all that have one of these names back at the end."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def changed_levels(levels: Mapping[str, int]) -> Iterator[None]:
    """Set the levels of loggers, and put them back at the end."""
    before = {name: logging.getLogger(name).level for name in levels}
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


@contextmanager
def python_seed(seed: int | None = None) -> Iterator[None]:
    """Seed the generator of the module `random`, which Keras draws the seed of each layer from, and put its state back.

    Args:
        seed: None to leave it as it is, where what is drawn does not matter.
    """
    before = random.getstate()
    if seed is not None:
        random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
