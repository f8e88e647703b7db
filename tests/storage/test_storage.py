"""Files that are either whole or not there, and runs that are found again."""

import errno
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
from making import run_python

from diptych.errors import CheckpointError, ConfigError
from diptych.settings.config import Config
from diptych.settings.sources import read_toml
from diptych.storage.atomic import sha256, write_atomically, write_json, write_table, write_text
from diptych.storage.run_dir import RunDir, read_classes, tidy, write_classes
from diptych.storage.runs import read_environment

KILLED_WRITER = """
import os, signal, sys
from pathlib import Path
from diptych.storage.atomic import write_atomically

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
    # A move is at once within a file system alone.
    assert seen[0].parent.parent == tmp_path


def held_for(tries: int, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let so many renames fail as on Windows while a virus scanner has the file open; return the pauses between them."""
    left, pauses, replace = iter(range(tries)), [], os.replace

    def scanned(source: str, target: str) -> None:
        if next(left, None) is not None:
            raise PermissionError(errno.EACCES, "Access is denied", source, 5, target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", scanned)
    monkeypatch.setattr(time, "sleep", pauses.append)
    return pauses


def test_write_atomically__waits_for_a_virus_scanner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = held_for(3, monkeypatch)
    write_text(tmp_path / "file.txt", "new")
    assert (tmp_path / "file.txt").read_text(encoding="utf-8") == "new"
    assert len(pauses) == 3


def test_write_atomically__does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "file.txt", "old")
    pauses = held_for(1000, monkeypatch)
    with pytest.raises(PermissionError) as caught:
        write_text(tmp_path / "file.txt", "new")
    assert caught.value.filename == str(tmp_path / "file.txt")
    assert 0.5 < sum(pauses) < 2
    assert [file.read_text(encoding="utf-8") for file in tmp_path.iterdir()] == ["old"]


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


def save_arrays(path: Path) -> None:
    write_atomically(path, lambda partial: safetensors.numpy.save_file({"a": np.zeros(100_000)}, partial))


@pytest.mark.skipif(sys.platform == "win32", reason="need a POSIX system")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_modes__of_all_kinds_of_files_are_those_of_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        save_arrays(tmp_path / "best.safetensors")
        write_text(tmp_path / "a.txt", "a")
        write_table(tmp_path / "a.csv", pd.DataFrame({"a": [1]}))
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {mode}
    assert len(list(tmp_path.iterdir())) == 3


@contextmanager
def another_user() -> Iterator[Path]:
    """Be another user for a while; yields a folder of root's that everyone may look into."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder, groups = Path(name), os.getgroups()
        folder.chmod(0o755)
        write_classes(RunDir(folder), ["a", "b"])
        save_arrays(folder / "best.safetensors")
        for secret in ("environment.json", "config.toml", "split.csv"):
            write_text(folder / secret, "{}")
            (folder / secret).chmod(0o600)
        os.setgroups([])
        os.setegid(65534)
        os.seteuid(65534)
        try:
            yield folder
        finally:
            os.seteuid(0)
            os.setegid(0)
            os.setgroups(groups)


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="need root")
def test_another_user__reads_a_run_and_is_told_what_may_not_be_read() -> None:
    with another_user() as folder:
        assert read_classes(RunDir(folder)) == ("a", "b")
        assert safetensors.numpy.load_file(folder / "best.safetensors")["a"].size == 100_000
        with pytest.raises(CheckpointError, match=r"environment\.json cannot be read: permission denied"):
            read_environment(RunDir(folder))
        with pytest.raises(ConfigError, match=r"config\.toml: cannot be read: permission denied"):
            read_toml(folder / "config.toml", Config())
        with pytest.raises(PermissionError) as caught:
            write_text(folder / "new.txt", "new")
    assert caught.value.filename == str(folder / "new.txt")


@pytest.mark.parametrize("write", [save_arrays, lambda path: write_text(path, "a" * 100_000)])
def test_full_disk__error_names_the_file_and_the_reason(tmp_path: Path, write) -> None:
    path, before = tmp_path / "file", resource.getrlimit(resource.RLIMIT_FSIZE)
    write_text(path, "old")
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match=re.escape(str(path))) as caught:
            write(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


KILLED_IN_SAFETENSORS = """
import os, signal, sys, threading
from pathlib import Path
import numpy, safetensors.numpy
from diptych.storage.atomic import write_atomically
path = Path(sys.argv[1])

def kill():
    while not list(path.parent.rglob(".tmp*")):
        pass
    os.kill(os.getpid(), signal.SIGKILL)

threading.Thread(target=kill).start()
arrays = {"a": numpy.zeros(40_000_000)}
while True:
    write_atomically(path, lambda partial: safetensors.numpy.save_file(arrays, partial))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="need a POSIX system")
def test_tidy__nothing_is_left_of_a_killed_writer_and_what_a_living_one_writes_stays(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    killed = run_python("-c", KILLED_IN_SAFETENSORS, run.last)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [path.name for path in run.last.parent.glob(".*")]
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as living:
        kept = [run.root / f".partial-{living.pid}-decision.json", run.last.parent / f".partial-{living.pid}-best.safetensors"]
        for folder in kept:
            folder.mkdir()
        tidy(run)
        assert {*run.root.rglob(".*")} == set(kept)
        assert living.stdin
        living.stdin.close()
    tidy(run)
    assert [*run.root.rglob(".*")] == []


def test_tidy__snapshot_without_its_name_goes_once_it_is_old_or_nobody_else_is_there(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.last.parent.mkdir()
    waiting, file = run.last.with_name("next.safetensors"), run.last.parent / ".partial-1-best.safetensors"
    for path in (waiting, file):
        path.touch()
    tidy(run)
    assert waiting.exists()
    assert file.exists()
    os.utime(file, (0, 0))
    tidy(run, alone=True)
    assert not waiting.exists()
    assert not file.exists()
    waiting.touch()
    os.utime(waiting, (0, 0))
    tidy(run)
    assert not waiting.exists()
