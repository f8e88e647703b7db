"""The suite's own machinery: what is made once for all processes, and what is said of tests that are left out."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from making import REPOSITORY
from running import QUICKEST, environment, once, posix_only
from running import diptych as run_diptych
from warm import Warm

from diptych.version import __version__

ASK = """
import sys, time
from pathlib import Path
from running import once

def make(folder):
    with Path(sys.argv[2]).open("a") as calls:
        calls.write(sys.argv[1])
    (folder / "images").mkdir()
    time.sleep(0.2)
    (folder / "file.txt").write_text("made")
    return {"by": sys.argv[1]}

own, said = once(Path(sys.argv[1]), "thing", make)
print(own, said["by"], (own / "file.txt").read_text(), (own / "images").exists())
"""


def test_once__is_made_by_one_of_several_processes_and_copied_to_each(tmp_path: Path) -> None:
    bases = [tmp_path / f"popen-gw{number}" for number in range(3)]
    found = environment(PYTHONPATH=f"{REPOSITORY / 'src'}:{REPOSITORY / 'tests'}", PYTEST_XDIST_WORKER="gw")
    children = []
    for base in bases:
        base.mkdir()
        command = [sys.executable, "-c", ASK, str(base), str(tmp_path / "calls")]
        children.append(subprocess.Popen(command, env=found, stdout=subprocess.PIPE, text=True))
    said = [child.communicate(timeout=120)[0] for child in children]
    first = (tmp_path / "calls").read_text()
    assert first in map(str, bases)
    assert said == [f"{base / 'thing'} {first} made False\n" for base in bases]


def test_once__that_failed_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)

    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        once(tmp_path, "thing", fail)
    folder, said = once(tmp_path, "thing", lambda folder: [path.name for path in folder.iterdir()])
    assert (folder, said) == (tmp_path / "thing", [])


WARM = """
import os, sys, time
print(len(os.listdir("/proc/self/task")), "keras" in sys.modules, sys.argv[1:], os.getcwd(), os.environ.get("MINE"), flush=True)
print("wrong", file=sys.stderr)
time.sleep(float(sys.argv[1]))
sys.exit(3)
"""


@pytest.mark.slow
@posix_only
def test_warm_process__is_like_a_fresh_one_but_for_its_imports(tmp_path: Path) -> None:
    def start(seconds: int) -> Warm:
        return Warm(seconds, "b", folder=tmp_path, environment=environment(MINE="here", KERAS_BACKEND=QUICKEST), code=WARM)

    with start(0) as child:
        stdout, stderr = child.communicate(timeout=120)
    assert (child.returncode, stdout, stderr) == (3, f"1 True ['0', 'b'] {tmp_path} here\n", "wrong\n")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        with start(600) as child:
            assert child.poll() is None
            with pytest.raises(subprocess.TimeoutExpired):
                child.wait(0.1)
            child.send_signal(number)
            assert child.wait(120) == -number
    assert run_diptych("--version", folder=tmp_path).stdout == f"diptych {__version__}\n"


SOME_TESTS = """
import pytest

@pytest.mark.parametrize("number", range(3))
def test_a(number):
    pytest.skip("need a dog")

@pytest.mark.skipif(True, reason="need a cat")
def test_b(): ...

def test_c(): ...
"""


def test_skipped_tests__are_counted_by_what_would_run_them_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(SOME_TESTS)
    # As the suite is run: with its settings and its conftest.
    options = ["-c", REPOSITORY / "pyproject.toml", "--rootdir", tmp_path, "--confcutdir", tmp_path, "-p", "conftest"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, tmp_path]
    found = environment(PYTHONPATH=f"{REPOSITORY / 'src'}:{REPOSITORY / 'tests'}")
    done = subprocess.run([*map(str, command)], env=found, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if "need a" in line]
    assert lines == ["4 skipped: 3 need a dog; 1 need a cat"], done.stdout + done.stderr
