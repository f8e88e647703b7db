"""Runs are made whole or not at all, and found again."""

import json
import os
import time
from pathlib import Path

import pytest

from diptych.cli import main
from diptych.errors import CheckpointError, ConfigError
from diptych.machine.environment import describe_environment
from diptych.storage.atomic import FORMAT_VERSION, write_json, write_text
from diptych.storage.run_dir import RunDir
from diptych.storage.runs import creating_run, find_run, folds_of, is_run, list_runs, new_run, read_environment

# No system gives a process such a number.
GONE = 2**30


def make_run(runs: Path, name: str, created: str = "2026-01-01T00:00:00+00:00") -> RunDir:
    run = RunDir(runs / name)
    write_text(run.config, "")
    write_json(run.environment, {"format_version": FORMAT_VERSION, "created": created})
    return run


def test_creating_run__has_its_name_once_it_is_filled(tmp_path: Path) -> None:
    with creating_run(tmp_path / "runs", "first") as (aside, run):
        write_text(aside.config, "kept")
        write_json(aside.environment, {"format_version": FORMAT_VERSION, "created": "2026"})
        assert list_runs(tmp_path / "runs") == []
        assert not (tmp_path / "runs" / "first").exists()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["first"]
    assert run == RunDir(tmp_path / "runs" / "first")
    assert run.config.read_text() == "kept"


def test_creating_run__an_error_leaves_the_name_free(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="broken"), creating_run(tmp_path, "first"):
        raise ValueError("broken")
    assert not (tmp_path / "first").exists()
    with creating_run(tmp_path, "first"):
        pass
    assert (tmp_path / "first").is_dir()


def test_creating_run__deletes_what_was_abandoned_and_nothing_else(tmp_path: Path) -> None:
    for name, age in ((f".partial-{GONE}-old", 7200), (f".partial-{GONE}-new", 0), (".partial-1-living", 7200), ("old", 7200)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.toml").touch()
        os.utime(tmp_path / name, (time.time() - age, time.time() - age))
    with creating_run(tmp_path, "first"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [".partial-1-living", f".partial-{GONE}-new", "first", "old"]


def test_new_run__without_a_name_takes_date_and_time(tmp_path: Path) -> None:
    run = new_run(tmp_path / "runs", "")
    assert run.root.parent == tmp_path / "runs"
    assert len(run.root.name) == len("20260101-000000")


def test_new_run__refuses_an_existing_one_and_leaves_it_as_it_is(tmp_path: Path) -> None:
    run = make_run(tmp_path, "first")
    with pytest.raises(ConfigError, match=r"exists already.*--name"):
        new_run(tmp_path, "first")
    assert sorted(path.name for path in run.root.iterdir()) == ["config.toml", "environment.json"]


@pytest.mark.parametrize("name", ["a/b", "../a", "/a", "a/", ".", ".."])
def test_new_run__refuses_a_name_that_is_not_a_plain_folder_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="plain folder name"):
        new_run(tmp_path / "runs", name)


@pytest.mark.parametrize("command", ["ablate", "learning-curve", "tune"])
@pytest.mark.parametrize("name", ["", "a/b", ".."])
def test_group__of_a_name_that_is_no_plain_folder_name_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, name: str
) -> None:
    assert main([command, str(data), "--runs", str(tmp_path / "runs"), "--name", name]) == 2
    assert f"--name is {name!r}; expected a plain folder name" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_folds_of__counts_those_that_are_not_trained_yet_too(tmp_path: Path) -> None:
    (tmp_path / "splits").mkdir()
    for number in range(1, 12):
        (tmp_path / "splits" / f"fold-{number}.csv").touch()
    assert [fold.root.name for fold in folds_of(RunDir(tmp_path))] == [f"fold-{number}" for number in range(1, 12)]
    assert folds_of(RunDir(tmp_path / "other")) == []


def test_creating_run__folder_of_runs_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    with pytest.raises(ConfigError, match="--runs"), creating_run(tmp_path / "runs", "a"):
        pass


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
def test_read_environment__damaged(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    run = make_run(tmp_path, "a")
    run.environment.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"environment\.json is damaged"):
        read_environment(run)
    sound = make_run(tmp_path, "b", "2025-01-01T00:00:00+00:00")
    assert find_run(None, tmp_path) == sound
    assert "environment.json is damaged" in caplog.text


def test_read_environment__format_of_a_later_version(tmp_path: Path) -> None:
    run = make_run(tmp_path, "a")
    write_json(run.environment, {"format_version": FORMAT_VERSION + 1, "created": "2027"})
    with pytest.raises(CheckpointError, match=f"environment.json: format {FORMAT_VERSION + 1}"):
        read_environment(run)


def test_describe_environment__is_json_and_is_read_back(tmp_path: Path) -> None:
    run = make_run(tmp_path, "a")
    described = describe_environment(seed=5, device="tensorflow on cpu:0")
    write_json(run.environment, described)
    assert read_environment(run) == json.loads(json.dumps(described))
    assert described["seed"] == 5
    assert described["packages"]["numpy"]
    assert described["cores"] >= 1
