"""One training of several: a process of its own, that can be followed and ended."""

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType

import pandas as pd

from diptych.config import Config
from diptych.errors import EXIT_INTERRUPTED, EXIT_TROUBLE, ConfigError
from diptych.runs import is_run
from diptych.storage import RunDir
from diptych.training.resume import only_one

POLL_SECONDS = 0.5
# How long a training whose parent was killed may take to save its state and leave.
LEAVE_SECONDS = 120.0
ENDED_FROM_OUTSIDE = (EXIT_INTERRUPTED, 128 + signal.SIGTERM, -signal.SIGINT, -signal.SIGTERM)

# A child dies with its parent, as far as the system can be told so: Linux's PR_SET_PDEATHSIG (1), which outlives exec.
LAUNCHER = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(143)
os.execv(sys.executable, [sys.executable, "-m", "diptych", *sys.argv[2:]])
"""


class Child:
    """`diptych ARGUMENTS` in a process of its own, which is ended, if need be, when it is left.

    It has its own process group: Ctrl-C reaches this process alone, which then ends the child.
    """

    def __init__(self, arguments: Sequence[str | Path], log: Path) -> None:
        """Start it; what it says is added to the file `log`."""
        package = Path(__file__).resolve().parents[2]
        found = os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH")]))
        command = [sys.executable, "-c", LAUNCHER, str(os.getpid()), *map(str, arguments)]
        with log.open("ab") as screen:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=screen,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": found},
                start_new_session=True,
            )

    def wait(self, seconds: float) -> int | None:
        """Wait for its end; its exit code, or None where it goes on."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Let it save its state and go; a second Ctrl-C meanwhile stops it for good."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait()
            except BaseException:
                self.process.kill()
                self.process.wait()
                raise


def begin_or_go_on(run: RunDir, settings: Path, config: Config) -> list[str | Path]:
    """Return the command that trains a run, or what is left of it; its images may have moved since.

    Args:
        run: the run, which need not be there yet.
        settings: the file of its settings.
        config: what is in it.
    """
    if is_run(run.root):
        return ["resume", run.root, "--data", config.data.data]
    return ["train", "--config", settings, "--runs", run.root.parent, "--name", run.root.name]


@contextmanager
def terminating() -> Iterator[None]:
    """Leave on SIGTERM as on Ctrl-C, through all that is to be done at the end."""

    def leave(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


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


def read_epochs(run: RunDir) -> pd.DataFrame:
    """Read the history of a run, which may have none yet: a row an epoch."""
    try:
        return pd.read_csv(run.history)
    except (OSError, pd.errors.EmptyDataError):
        return pd.DataFrame(columns=["epoch", "val_loss", "val_accuracy", "image_size", "seconds"])


def last_words(log: Path, code: int) -> str:
    """Say why a child ended: its error message, or else its exit code."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if code == -signal.SIGKILL:
        return "killed by the system, perhaps for its memory: try a smaller --batch-size"
    return errors[-1] if code in (EXIT_TROUBLE, 2) and errors else f"exit code {code}, see {log}"


def lowest_loss(epochs: pd.DataFrame, image_size: int) -> pd.Series | None:
    """Return the row with the lowest validation loss at the full image size, in pixels; None where there is none."""
    counted = epochs[(epochs["image_size"] == image_size) & epochs["val_loss"].map(math.isfinite)]
    return counted.sort_values("val_loss", kind="stable").iloc[0] if len(counted) else None
