"""Files that are either whole or not there, and runs that are found again."""

import signal
import sys
from pathlib import Path

import pandas as pd
import pytest
from making import run_python

from diptych.storage import sha256, write_atomically, write_json, write_table, write_text

KILLED_WRITER = """
import os, signal, sys
from pathlib import Path
from diptych.storage import write_atomically

def write(partial):
    with partial.open("wb") as file:
        file.write(b"new" * 100_000)
        file.flush()
        os.fsync(file.fileno())
        print("half written", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

write_atomically(Path(sys.argv[1]), write)
"""


def test_write_atomically__replaces_the_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file.txt"
    write_text(path, "old")
    write_text(path, "new ä")
    assert path.read_bytes() == "new ä".encode()
    assert list(path.parent.iterdir()) == [path]


def test_write_atomically__writer_is_given_a_name_with_the_same_ending(tmp_path: Path) -> None:
    seen: list[Path] = []
    write_atomically(tmp_path / "best.keras", lambda partial: (seen.append(partial), partial.touch()))
    assert seen[0].name.endswith("best.keras")
    assert seen[0].parent == tmp_path
    assert seen[0] != tmp_path / "best.keras"


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt])
def test_write_atomically__writer_that_fails_halfway_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def write(partial: Path) -> None:
        partial.write_text("half")
        raise error

    with pytest.raises(error):
        write_atomically(path, write)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_write_atomically__writer_that_writes_nothing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(FileNotFoundError):
        write_atomically(path, lambda _: None)
    assert path.read_text() == "old"


@pytest.mark.skipif(sys.platform == "win32", reason="need a POSIX system")
def test_write_atomically__process_killed_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")
    killed = run_python("-c", KILLED_WRITER, path)
    assert killed.stdout == "half written\n", killed.stderr
    assert killed.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    write_text(path, "new")
    assert path.read_text() == "new"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_write_json__what_json_does_not_have_is_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"value": value})
    assert not list(tmp_path.iterdir())


def test_write_table__reads_back(tmp_path: Path) -> None:
    table = pd.DataFrame({"path": ['0/a,"b".png', "ä\n.png"], "target": [0, 1]})
    write_table(tmp_path / "t.csv", table)
    assert pd.read_csv(tmp_path / "t.csv").equals(table)


def test_sha256__known_value() -> None:
    assert sha256(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
