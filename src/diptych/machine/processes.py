"""The one way to start Diptych in a process of its own: to be waited for, followed, or ended."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from diptych.errors import EXIT_INTERRUPTED, EXIT_TERMINATED, EXIT_TROUBLE
from diptych.machine.signals import terminating

ENDED_FROM_OUTSIDE = (EXIT_INTERRUPTED, EXIT_TERMINATED, -signal.SIGINT, -signal.SIGTERM)
# Windows has no such signal; there, nobody can tell why a process was ended.
KILLED = -getattr(signal, "SIGKILL", 0)

# A child is told to end when its parent is gone, where the system can do that: Linux's PR_SET_PDEATHSIG (1). Not with os.execv,
# which on Windows ends the child and starts another one.
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
    """`diptych ARGUMENTS` in a process of its own, which ends with the `with` block at the latest.

    Code: the child imports the very Diptych that runs here, whatever is installed and whatever folder this is.
    Signals: Ctrl-C and SIGTERM reach this process alone, as KeyboardInterrupt. On its way out of the block the child gets
    SIGTERM, upon which a training saves its state, and is waited for; a second signal meanwhile kills it. Where this process
    is killed, the child gets SIGTERM too, on Linux.
    Output: what it prints goes to the same screen or into a file.
    """

    def __init__(self, arguments: Sequence[str | Path], log: Path | None = None) -> None:
        """Start it.

        Args:
            arguments: the command and its flags.
            log: the file that its output is added to; None for the screen of this process.
        """
        self.signals = terminating()
        package = Path(__file__).resolve().parents[2]
        path = os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH")]))
        output = None if log is None else log.open("ab")
        try:
            self.process = subprocess.Popen(
                # -P: a file named signal.py in the current folder is not imported.
                [sys.executable, "-P", "-c", LAUNCHER, str(os.getpid()), *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=None if output is None else subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,
            )
        finally:
            if output is not None:
                output.close()

    def wait(self, seconds: float | None = None) -> int | None:
        """Wait for its end.

        Args:
            seconds: how long at most; None for as long as it takes.

        Returns:
            Its exit code, minus the number of the signal that ended it; None while it runs.
        """
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> int:
        """End it by SIGKILL, which it cannot notice; return its exit code, 0 or above where it had ended before."""
        self.process.kill()
        return self.process.wait()

    def __enter__(self) -> "Child":
        self.signals.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if self.process.poll() is None:
                self.process.terminate()
                try:
                    self.process.wait()
                except BaseException:
                    self.kill()
                    raise
        finally:
            self.signals.__exit__(kind, error, trace)


def run_child(arguments: Sequence[str | Path], log: Path | None = None) -> int:
    """Run a command of Diptych as a `Child` to its end, and return its exit code.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM came, to this process or to the child, which has ended.
        OSError: as `raise_if_interrupted`.
    """
    with Child(arguments, log) as child:
        code = child.process.wait()
    raise_if_interrupted(code, log)
    return code


def raise_if_interrupted(code: int | None, log: Path | None) -> None:
    """Raise where the end of a child is no result of its work, so that the same command can be tried again.

    Args:
        code: its exit code; None where this process ended it.
        log: the file of its output, if it has one.

    Raises:
        KeyboardInterrupt: somebody else ended it.
        OSError: the disk is full, or does not work; only with a log, for on the screen it has been said.
    """
    if code in ENDED_FROM_OUTSIDE:
        raise KeyboardInterrupt
    if code == EXIT_TROUBLE and log is not None:
        raise OSError(last_words(log, code))


def last_words(log: Path, code: int) -> str:
    """Explain why a child ended: its error message, or else its exit code."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if code and code == KILLED:
        return "killed by the system, perhaps for its memory: try a smaller --batch-size"
    return errors[-1] if code in (EXIT_TROUBLE, 2) and errors else f"exit code {code}, see {log}"
