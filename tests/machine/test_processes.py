"""Diptych in a process of its own: which code it runs, where its output goes, and that it never outlives its parent."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from making import REPOSITORY
from running import obeying_ctrl_c, posix_only

from diptych.machine.processes import Child, last_words, raise_if_interrupted, run_child
from diptych.version import __version__

PATIENCE = 60
# Starts a child that waits for its settings, says its number, and waits for its end.
PARENT = """
import sys
from pathlib import Path
from diptych.errors import Stopped
from diptych.machine.processes import Child
log = None if sys.argv[2] == "screen" else Path(sys.argv[2])
try:
    with Child(["train", "--config", sys.argv[1]], log) as child:
        print(child.process.pid, flush=True)
        child.wait()
except KeyboardInterrupt as stopped:
    sys.exit(stopped.exit_code if isinstance(stopped, Stopped) else 130)
"""


def wait_until(true: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < give_up
        time.sleep(0.01)


class Pipe:
    """A pipe with a name, in place of a file of settings: who opens it is read from and waits, without loading much."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path, self.end = path, -1

    def is_read(self) -> bool:
        """Tell whether somebody has begun to read it; from then on he waits."""
        try:
            self.end = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return False
        return True

    def is_left(self) -> bool:
        """Tell whether its reader is gone."""
        try:
            os.write(self.end, b"\n")
        except BrokenPipeError:
            return True
        return False


@contextmanager
def parent_of_waiting_child(folder: Path, output: str = "screen") -> Iterator[tuple[subprocess.Popen[str], int, Pipe]]:
    """A process, the number of its child, and the pipe that the child waits at."""
    pipe = Pipe(folder / "settings.toml")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    with obeying_ctrl_c():
        parent = subprocess.Popen(
            [sys.executable, "-c", PARENT, str(pipe.path), output], env=environment, stdout=subprocess.PIPE, text=True
        )
    with parent:
        assert parent.stdout
        number = int(parent.stdout.readline())
        try:
            wait_until(pipe.is_read)
            yield parent, number, pipe
        finally:
            parent.kill()
            os.close(pipe.end)


def test_child__runs_this_diptych_whatever_lies_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "other"))
    for folder in (tmp_path, tmp_path / "other"):
        (folder / "diptych").mkdir()
        (folder / "diptych" / "__init__.py").write_text("raise SystemExit(77)\n")
    for name in ("signal", "html"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(77)\n")
    log = tmp_path / "said.log"
    log.write_text("before\n")
    assert run_child(["--version"], log) == 0
    assert log.read_text() == f"before\ndiptych {__version__}\n"


def test_child__prints_to_the_same_screen_and_reads_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_child(["--version"]) == 0
    assert capfd.readouterr().out == f"diptych {__version__}\n"


def test_run_child__returns_the_exit_code_of_a_mistake(tmp_path: Path) -> None:
    log = tmp_path / "said.log"
    assert run_child(["evaluate", tmp_path / "no-run", "--runs", tmp_path], log) == 2
    assert last_words(log, 2).startswith(f"{tmp_path / 'no-run'} is not a run")


def test_child__where_nothing_tells_it_of_its_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS and Windows: started without the detour."""
    monkeypatch.setattr(sys, "platform", "darwin")
    log = tmp_path / "said.log"
    assert run_child(["--version"], log) == 0
    assert log.read_text() == f"diptych {__version__}\n"


@posix_only
class TestSignals:
    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)])
    @pytest.mark.parametrize("output", ["screen", "log"])
    def test_child__ends_with_its_parent(self, tmp_path: Path, number: int, code: int, output: str) -> None:
        if number == signal.SIGKILL and sys.platform != "linux":
            pytest.skip("need Linux, where a child is told that its parent was killed")
        with parent_of_waiting_child(tmp_path, output if output == "screen" else str(tmp_path / "log")) as (parent, _, pipe):
            parent.send_signal(number)
            assert parent.wait(PATIENCE) == code
            wait_until(pipe.is_left)

    def test_second_ctrl_c__kills_a_child_that_does_not_leave(self, tmp_path: Path) -> None:
        with parent_of_waiting_child(tmp_path) as (parent, number, pipe):
            os.kill(number, signal.SIGSTOP)
            parent.send_signal(signal.SIGINT)
            # Python waits a quarter of a second for a child that got Ctrl-C too.
            time.sleep(1)
            assert parent.poll() is None
            assert not pipe.is_left()
            parent.send_signal(signal.SIGINT)
            assert parent.wait(PATIENCE) == 130
            wait_until(pipe.is_left)

    def test_sigterm__is_this_process_s_own_again_afterwards(self) -> None:
        before = signal.getsignal(signal.SIGTERM)
        with Child(["--version"]) as child:
            assert signal.getsignal(signal.SIGTERM) is not before
            assert child.wait() == 0
        assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("code", [130, 143, -signal.SIGINT, -signal.SIGTERM])
def test_child_that_somebody_else_ended__is_an_interruption(tmp_path: Path, code: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        raise_if_interrupted(code, tmp_path / "no-log")


def test_full_disk_of_a_child__is_one_here(tmp_path: Path) -> None:
    log = tmp_path / "default-0.log"
    log.write_text("epoch 1\nerror: runs/x/history.csv: No space left on device. Free some room.\n")
    with pytest.raises(OSError, match=r"^runs/x/history.csv: No space left on device. Free some room\.$"):
        raise_if_interrupted(1, log)
    raise_if_interrupted(1, None)
    for code in (0, 2, None):
        raise_if_interrupted(code, log)


def test_last_words__are_the_error_or_the_code(tmp_path: Path) -> None:
    log = tmp_path / "default-0.log"
    log.write_text("epoch 1\nerror: first\nerror: last\n")
    assert last_words(log, 1) == "last"
    log.write_text("epoch 1\n")
    assert last_words(log, 1) == f"exit code 1, see {log}"
    assert "--batch-size" in last_words(log, -signal.SIGKILL)
