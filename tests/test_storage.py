"""Files that are either whole or not there, and runs that are found again."""

import json
import signal
import sys
from pathlib import Path

import pandas as pd
import pytest
from making import run_python

from diptych.environment import describe_environment
from diptych.errors import CheckpointError, ConfigError
from diptych.storage import (
    FORMAT_VERSION,
    RunDir,
    create_run,
    find_run,
    is_run,
    read_environment,
    sha256,
    write_atomically,
    write_json,
    write_table,
    write_text,
)

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


def make_run(runs: Path, name: str, created: str = "2026-01-01T00:00:00+00:00") -> RunDir:
    run = create_run(runs, name)
    write_text(run.config, "")
    write_json(run.environment, {"format_version": FORMAT_VERSION, "created": created})
    return run


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


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
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


def test_create_run__without_a_name_takes_date_and_time(tmp_path: Path) -> None:
    run = create_run(tmp_path / "runs", "")
    assert run.root.is_dir()
    assert run.root.parent == tmp_path / "runs"
    assert len(run.root.name) == len("20260101-000000")


def test_create_run__refuses_an_existing_one_and_leaves_it_as_it_is(tmp_path: Path) -> None:
    run = create_run(tmp_path, "first")
    write_text(run.config, "kept")
    with pytest.raises(ConfigError, match=r"exists already.*--name"):
        create_run(tmp_path, "first")
    assert run.config.read_text() == "kept"


@pytest.mark.parametrize("name", ["a/b", "../a", "/a", "a/", ".", ".."])
def test_create_run__refuses_a_name_that_is_not_a_plain_folder_name(tmp_path: Path, name: str) -> None:
    runs = tmp_path / "runs"
    with pytest.raises(ConfigError, match="plain folder name"):
        create_run(runs, name)
    assert not list(tmp_path.rglob("*"))


def test_create_run__folder_of_runs_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    with pytest.raises(ConfigError, match="--runs"):
        create_run(tmp_path / "runs", "a")


@pytest.mark.parametrize("missing", ["config", "environment"])
def test_is_run__needs_config_and_environment(tmp_path: Path, missing: str) -> None:
    run = make_run(tmp_path, "a")
    assert is_run(run.root)
    getattr(run, missing).unlink()
    assert not is_run(run.root)


def test_find_run__newest_by_its_start_not_by_its_name_or_file_time(tmp_path: Path) -> None:
    make_run(tmp_path, "b", "2026-01-02T00:00:00+00:00")
    make_run(tmp_path, "c", "2026-01-01T00:00:00+00:00")
    newest = make_run(tmp_path, "a", "2026-01-03T00:00:00+00:00")
    make_run(tmp_path, "d", "2025-12-31T00:00:00+00:00")
    (tmp_path / "z-no-run").mkdir()
    (tmp_path / "file").touch()
    assert find_run(None, tmp_path) == newest


def test_find_run__by_name_and_by_path(tmp_path: Path) -> None:
    first = make_run(tmp_path, "first", "2025-01-01T00:00:00+00:00")
    make_run(tmp_path, "second")
    assert find_run(Path("first"), tmp_path) == first
    assert find_run(first.root, Path("elsewhere")) == first


@pytest.mark.parametrize("runs", ["", "empty", "missing"])
def test_find_run__none_at_all(tmp_path: Path, runs: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="train one first"):
        find_run(None, tmp_path / runs)


def test_find_run__no_such_run(tmp_path: Path) -> None:
    make_run(tmp_path, "first")
    with pytest.raises(CheckpointError, match="frist is not a run"):
        find_run(Path("frist"), tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"7", b"{}", b'{"created": "2026"}', b'{"format_version": 1}', b"\xff\xfe"],
)
def test_read_environment__damaged(tmp_path: Path, content: bytes) -> None:
    run = make_run(tmp_path, "a")
    run.environment.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"environment\.json is damaged"):
        read_environment(run)
    with pytest.raises(CheckpointError, match=r"environment\.json is damaged"):
        find_run(None, tmp_path)


def test_read_environment__format_of_a_later_version(tmp_path: Path) -> None:
    run = make_run(tmp_path, "a")
    write_json(run.environment, {"format_version": FORMAT_VERSION + 1, "created": "2027"})
    with pytest.raises(CheckpointError, match=f"run format {FORMAT_VERSION + 1}"):
        read_environment(run)


def test_describe_environment__is_json_and_is_read_back(tmp_path: Path) -> None:
    run = make_run(tmp_path, "a")
    described = describe_environment(seed=5, device="tensorflow on cpu:0")
    write_json(run.environment, described)
    assert read_environment(run) == json.loads(json.dumps(described))
    assert described["seed"] == 5
    assert described["packages"]["numpy"]
    assert described["cores"] >= 1
