"""A training in a child process that can be followed and ended."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType

from diptych.errors import EXIT_INTERRUPTED, EXIT_TROUBLE
from diptych.settings.config import Config
from diptych.storage.run_dir import RunDir
from diptych.storage.runs import is_run

ENDED_FROM_OUTSIDE = (EXIT_INTERRUPTED, 128 + signal.SIGTERM, -signal.SIGINT, -signal.SIGTERM)
# Windows has no such signal; there, nobody can tell why a process was ended.
KILLED = -getattr(signal, "SIGKILL", 0)

# A child dies with its parent, as far as the system can be told so: Linux's PR_SET_PDEATHSIG (1). Not with os.execv, which on
# Windows ends the child and starts another one.
LAUNCHER = """
import ctypes, os, runpy, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(143)
sys.argv[1:] = sys.argv[2:]
runpy.run_module("diptych", run_name="__main__", alter_sys=True)
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


def last_words(log: Path, code: int) -> str:
    """Say why a child ended: its error message, or else its exit code."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if code and code == KILLED:
        return "killed by the system, perhaps for its memory: try a smaller --batch-size"
    return errors[-1] if code in (EXIT_TROUBLE, 2) and errors else f"exit code {code}, see {log}"


def run_diptych(*arguments: str | Path) -> int:
    """Run a command of this very Diptych in a process of its own, on the same screen, and return its exit code.

    Ctrl-C reaches the child by itself, SIGTERM is handed on; either way the child's end is waited for.
    """
    package = Path(__file__).resolve().parents[1]
    found = os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "diptych", *map(str, arguments)]
    if threading.current_thread() is not threading.main_thread():
        return subprocess.run(command, check=False, env={**os.environ, "PYTHONPATH": found}).returncode
    # Not in place before the child begins, which would take over SIGINT as ignored.
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": found}) as child:
        before = {
            signal.SIGINT: signal.signal(signal.SIGINT, lambda *_: None),
            signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: child.terminate()),
        }
        try:
            return child.wait()
        finally:
            for number, action in before.items():
                signal.signal(number, action)
