"""Messages on the screen that never end a command, whatever the encoding and even where the reader (`| head`) has gone."""

import io
import logging
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

log = logging.getLogger("diptych")


def command_line(*parts: object) -> str:
    """Return `diptych PARTS`, quoted so that it can be pasted into a shell: folders have blanks in their names."""
    words = ["diptych", *map(str, parts)]
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)


def quoted(value: object) -> str:
    """Return a path, as an argument that can be pasted into a shell."""
    return subprocess.list2cmdline([str(value)]) if sys.platform == "win32" else shlex.quote(str(value))


class Steady(io.RawIOBase):
    """Standard output or error that takes everything: what cannot be written (`| head` has seen enough, the disk behind `>` is
    full) is dropped, for a training must not end by its messages. They stand in log.txt of the run as well.

    Attributes:
        error: why something was dropped, unless it was by a reader who has gone.
    """

    def __init__(self, raw: io.RawIOBase) -> None:
        self.raw = raw
        self.error: OSError | None = None

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self.raw.isatty()

    def fileno(self) -> int:
        return self.raw.fileno()

    def write(self, content: Any) -> int:
        try:
            return self.raw.write(content) or 0
        except BrokenPipeError:
            pass
        except OSError as error:
            self.error = error
        return len(memoryview(content))


def steady(stream: IO[str]) -> IO[str]:
    """Return a stream to the same place that no character and no missing reader breaks; `stream` itself where it is none of the
    operating system's."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    raw = getattr(stream.buffer, "raw", stream.buffer)  # No buffer lies between with PYTHONUNBUFFERED.
    if not isinstance(raw, io.RawIOBase):
        return stream
    stream.flush()
    # By lines, so that a pipe or a file shows how far a training is.
    return io.TextIOWrapper(io.BufferedWriter(Steady(raw)), stream.encoding, "backslashreplace", line_buffering=True)


@contextmanager
def steady_screen() -> Iterator[None]:
    """Make standard output and standard error steady for as long as a command runs."""
    before = sys.stdout, sys.stderr
    # Either is None where there is no screen at all: a program of Windows without a console.
    sys.stdout, sys.stderr = (stream and steady(stream) for stream in before)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        sys.stdout, sys.stderr = before


def lost_output() -> OSError | None:
    """Return the error if some output could not be written to standard output."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.error if isinstance(raw, Steady) else None


def show_messages() -> None:
    """Print what Diptych logs to standard output, above a progress bar where there is one.

    The commands do so by themselves; call it in Python to see the same lines.
    """
    from tqdm import tqdm

    class Screen(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            tqdm.write(self.format(record), file=sys.stdout)

    log.setLevel(logging.INFO)
    log.handlers = [Screen()]


@contextmanager
def messages(shown: bool = True) -> Iterator[None]:
    """Show messages as a command does, and leave logging as it was at the end.

    Args:
        shown: False to add nothing. Nothing is added either where the program shows Diptych's messages already.
    """
    if not shown or (log.isEnabledFor(logging.INFO) and log.hasHandlers()):
        yield
        return
    before = log.level, log.propagate, log.handlers
    show_messages()
    # The handlers of the program itself were not asked for what it does not show.
    log.propagate = False
    try:
        yield
    finally:
        log.level, log.propagate, log.handlers = before
        log.setLevel(before[0])


def in_notebook() -> bool:
    """Tell whether this process is the kernel of a notebook, which shows a progress bar although it is no terminal."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


def count_of(number: int, one: str = "image", more: str = "") -> str:
    """Write "1 image" or "2 images"."""
    return f"{number:,} {one if number == 1 else more or one + 's'}"
