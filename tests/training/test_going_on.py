"""Which run a command goes on with, and what is written into it when: made-up runs, and one training under "auto"."""

import json
import logging
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from making import REPOSITORY, encode, fingerprint, make_data, make_image, run_python
from running import QUICKEST, obeying_ctrl_c, posix_only

from diptych.cli import main
from diptych.data.dataset import load, split
from diptych.errors import CheckpointError, ConfigError, DataError
from diptych.experiments.cross_validation import lay_out, open_folds, train_open
from diptych.experiments.run_group import PlannedRun, is_done, open_run_group
from diptych.settings.config import Config, Recipe
from diptych.settings.sources import Given, given_from, override, read_toml, to_toml
from diptych.storage.atomic import write_json, write_table, write_text
from diptych.storage.lock import only_one
from diptych.storage.run_dir import RunDir, write_classes
from diptych.storage.runs import creating_run, folds_of
from diptych.training.child_training import start_or_resume
from diptych.training.resolve import Wanted, settle
from diptych.training.resume import find_alike, find_named, is_finished, thin, with_data
from diptych.training.state import TrainState
from diptych.training.trainer import log_file, logging_how_to_resume
from diptych.tuning.search_space import open_folder

DATA = {"image_size": 32, "near_twins": False}


def settings(data: Path, **tables: Path) -> Config:
    return override(Config(), {"data": {"data": data, **DATA, **tables}}, "the test")


def begun(root: Path, config: Config, epochs: int, *, whole: bool = False) -> RunDir:
    """Make the run of a training that has done so many epochs; `whole`: and has written best.keras."""
    run, data = RunDir(root), split(load(config.data, config.training.seed), config.data)
    write_text(run.config, to_toml(config))
    write_json(
        run.environment, {"format_version": 1, "created": "2026-03-01T12:00:00+00:00", "packages": {}, "pretrained": False}
    )
    write_classes(run, data.manifest.class_names)
    write_table(run.split, data.manifest.table)
    write_text(run.history, "epoch\n" + "1\n" * epochs)
    run.last.parent.mkdir()
    header = {"diptych": json.dumps({"format_version": 1, "state": TrainState(epoch=epochs).to_json()})}
    safetensors.numpy.save_file({}, run.last, header)
    if whole:
        run.best_keras.touch()
    return run


def given(config: Config) -> Given:
    return given_from(config=config)


def wanted(config: Config, runs: Path) -> Wanted:
    """All of a Config, as a training in that folder of runs would want it."""
    return Wanted(given(config), config.compute, runs, ())


def under_auto(data: Path) -> Given:
    return given_from(config=settings(data), recipe="auto")


@pytest.mark.parametrize(("recipe", "epochs"), [("fine-tune", 30), ("scratch", 150)])
def test_auto__goes_on_for_the_epochs_of_the_recipe_that_it_chose(
    data: Path, tmp_path: Path, recipe: Recipe, epochs: int
) -> None:
    auto = settle(under_auto(data), tmp_path / "runs")
    own = auto.under(recipe)
    run = begun(tmp_path / "runs" / "stopped", own, 2)
    assert find_named(auto, "stopped") == (run, own)
    assert own.training.epochs == epochs
    assert find_alike(auto, split(load(own.data, 0), own.data)) == (run, own)


@pytest.mark.parametrize(("recipe", "epochs"), [("fine-tune", 30), ("scratch", 150)])
def test_auto__finished_run_is_left_alone(data: Path, tmp_path: Path, recipe: Recipe, epochs: int) -> None:
    auto = settle(under_auto(data), tmp_path / "runs")
    own = auto.under(recipe)
    run = begun(tmp_path / "runs" / "done", own, epochs, whole=True)
    with pytest.raises(ConfigError, match=r"done exists already, and is finished; choose another --name"):
        find_named(auto, "done")
    assert (read_toml(run.config, Config()), find_named(auto, "new")) == (own, None)
    assert find_alike(auto, split(load(own.data, 0), own.data)) is None


def test_auto__run_of_another_recipe_is_refused(data: Path, tmp_path: Path) -> None:
    auto = settle(under_auto(data), tmp_path / "runs")
    begun(tmp_path / "runs" / "classic", settle(given(settings(data)), tmp_path / "runs").under(), 2)
    with pytest.raises(ConfigError, match=r"recipe is auto, was classic.*choose another --name"):
        find_named(auto, "classic")
    assert find_alike(auto, split(load(settings(data).data, 0), settings(data).data)) is None


AUTO = """
import os, pathlib, signal, sys, threading, time
sys.path.insert(0, {src!r})
os.environ["KERAS_BACKEND"] = {backend!r}
from diptych.cli import main
history = pathlib.Path("runs/auto/history.csv")

def stopped_after(rows, *command):
    def press():
        while not history.is_file() or history.read_text().count("\\n") <= rows:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=press, daemon=True).start()
    return main(command)

def train(data):
    return ["train", "--recipe", "auto", "--data", data, "--name", "auto", {settings}]

codes = [stopped_after(1, *train("images")), stopped_after(3, *train("images"))]
os.rename("images", "moved")
codes += [main(["resume", "auto"]), main(train("moved")), stopped_after(5, "resume", "auto", "--data", "moved")]
print(codes)
"""
TINY = (
    *("--branches", "convnet", "--width", "0.125", "--image-size", "32", "--dense-units", "8", "--batch-size", "64"),
    *("--no-near-twins", "--backend", QUICKEST),
)


@posix_only
@pytest.mark.slow
def test_auto_and_moved_images__same_command_and_resume_go_on(tmp_path: Path) -> None:
    make_data(tmp_path / "images")
    code = AUTO.format(src=str(REPOSITORY / "src"), backend=QUICKEST, settings=", ".join(map(repr, TINY)))
    done = run_python("-c", code, cwd=tmp_path, timeout=600)
    assert done.stdout.splitlines()[-1] == "[130, 130, 2, 2, 130]", done.stdout + done.stderr
    assert "name the data with --data" in done.stderr
    assert "oneDNN" not in done.stderr
    assert f"diptych resume runs/auto --data {tmp_path / 'moved'}" in done.stderr
    assert done.stdout.count("Resuming runs/auto at epoch") == 2
    saved = read_toml(tmp_path / "runs" / "auto" / "config.toml", Config())
    assert (saved.training.recipe, saved.training.epochs, saved.data.data) == ("scratch", 150, tmp_path / "moved")


@pytest.mark.parametrize("trouble", ["running", "changed"])
def test_more_epochs__are_written_down_only_where_the_training_goes_on(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], trouble: str
) -> None:
    run = begun(tmp_path / "runs" / "done", settings(data), 70, whole=True)
    run.lock.touch()
    if trouble == "changed":
        (data / "0" / "00.png").write_bytes(encode(make_image(0, 1000)))
    before = fingerprint(run.root)
    again = ["resume", str(run.root), "--epochs", "100"]
    if trouble == "running":
        with only_one(run):
            assert main(again) == 2
    else:
        assert main(again) == 2
    assert ("another process" if trouble == "running" else "0/00.png is another file") in capsys.readouterr().err
    assert {name: content for name, content in fingerprint(run.root).items() if name != "log.txt"} == before


def test_checkpoint_minutes__of_another_number_go_on_with_the_run(data: Path, tmp_path: Path) -> None:
    config = settings(data)
    run = begun(tmp_path / "runs" / "stopped", config, 3)
    often = override(config, {"training": {"checkpoint_minutes": 1.0}}, "")
    found = find_alike(wanted(often, tmp_path / "runs"), split(load(config.data, 0), config.data))
    assert found == (run, wanted(often, tmp_path / "runs").under())
    assert found[1].training.checkpoint_minutes == 1
    longer = override(config, {"training": {"epochs": 71}}, "")
    assert find_alike(wanted(longer, tmp_path / "runs"), split(load(config.data, 0), config.data)) is None


def test_moved_images__tables_in_their_folder_have_moved_too(data: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    config = with_data(settings(gone, fixes=gone / "tables" / "fixes.csv", split=tmp_path / "split.csv"), data).data
    assert (config.data, config.fixes, config.split) == (data, data / "tables" / "fixes.csv", tmp_path / "split.csv")
    (data / "all.csv").touch()
    assert with_data(settings(gone / "all.csv"), data).data.data == data / "all.csv"
    table = with_data(settings(gone / "all.csv", fixes=gone / "fixes.csv"), data / "all.csv").data
    assert (table.data, table.fixes) == (data / "all.csv", data / "fixes.csv")


@pytest.fixture
def crossed(data: Path, tmp_path: Path) -> RunDir:
    """A cross-validation of which the first fold was begun."""
    config = settings(data)
    run = lay_out(config, tmp_path / "runs", "cross", 2, load(config.data, 0))
    begun(folds_of(run)[0].root, read_toml(run.root / "splits" / "fold-1.toml", Config()), 3)
    return run


def test_folds__more_epochs_are_refused(crossed: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    before = fingerprint(crossed.root)
    assert main(["resume", str(crossed.root), "--epochs", "500"]) == 2
    assert "epochs is 500" in capsys.readouterr().err
    assert fingerprint(crossed.root) == before


def test_folds__images_that_moved_are_found_in_all_of_them(crossed: RunDir, data: Path) -> None:
    from diptych.experiments.cross_validation import move

    moved = data.rename(data.with_name("moved"))
    move(crossed, moved)
    places = [crossed.config, *(crossed.root / "splits").glob("*.toml"), folds_of(crossed)[0].config]
    assert len(places) == 4
    assert {read_toml(place, Config()).data.data for place in places} == {moved}
    fold = read_toml(crossed.root / "splits" / "fold-1.toml", Config())
    assert find_named(wanted(fold, crossed.root), "fold-1") == (folds_of(crossed)[0], fold)


def test_folds__other_images_are_refused(crossed: RunDir, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moved = data.rename(data.with_name("moved"))
    (moved / "1" / "03.png").write_bytes(encode(make_image(1, 1000)))
    before = fingerprint(crossed.root)
    assert main(["resume", str(crossed.root), "--data", str(moved)]) == 2
    assert "1/03.png is another file" in capsys.readouterr().err
    assert {name: content for name, content in fingerprint(crossed.root).items() if name != "lock"} == before


def test_folds__same_name_with_other_data_says_how_to_go_on(
    crossed: RunDir, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = data.rename(data.with_name("moved"))
    flags = ["--image-size", "32", "--no-near-twins", "--runs", str(crossed.root.parent), "--name", "cross", "--folds", "2"]
    assert main(["train", "--data", str(moved), *flags]) == 2
    assert f"diptych resume {crossed.root} --data {moved}" in capsys.readouterr().err


@posix_only
def test_folds__that_were_stopped_say_how_to_go_on(crossed: RunDir, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "diptych")
    settings = crossed.root / "splits" / "fold-1.toml"
    settings.unlink()
    # Who opens it for writing waits until the training of the fold reads its settings from it, which then waits for them.
    os.mkfifo(settings)

    def press() -> None:
        with settings.open("w"):
            os.kill(os.getpid(), signal.SIGINT)
            ended.wait(60)

    ended = threading.Event()
    pressing = threading.Thread(target=press)
    pressing.start()
    try:
        with obeying_ctrl_c(), pytest.raises(KeyboardInterrupt):
            train_open(crossed)
    finally:
        ended.set()
        pressing.join()
    assert f"Resume all folds with: diptych resume {crossed.root}" in caplog.text
    assert len(open_folds(crossed)) == 2


def test_tested_member_of_a_series__is_not_trained_again(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where done.csv was deleted, as its message says, a member is tested again, from the weights that were kept."""
    series = open_run_group(tmp_path / "runs", "parts", given(settings(data)), {"kind": "ablation"})
    member = PlannedRun("default-0", series.config)
    run = begun(series.run_of(member.name).root, series.config, 70, whole=True)
    thin(run, "when it was tested")
    assert [path.exists() for path in (run.last, run.previous, run.best_keras)] == [False] * 3
    assert not is_done(series, member)
    assert is_finished(run, member.config)
    for command in (["resume", str(run.root)], ["resume", str(run.root), "--epochs", "200"]):
        assert main(command) == 2
        assert "cannot be resumed: its checkpoints were deleted when it was tested" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="exists already, and is finished"):
        find_named(wanted(series.config, run.root.parent), member.name)


def test_checkpoints_deleted_by_hand__a_finished_run_is_not_trained_again(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = begun(tmp_path / "runs" / "done", settings(data), 70, whole=True)
    run.last.unlink()
    before = fingerprint(run.root)
    for epochs in ("70", "100"):
        assert main(["resume", str(run.root), "--epochs", epochs]) == 2
        assert "last.safetensors and previous.safetensors are gone" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="exists already, and is finished"):
        find_named(wanted(settings(data), run.root.parent), "done")
    assert fingerprint(run.root) == before


def test_series__folder_is_made_at_once(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        open_run_group(tmp_path / "runs", "one", given(settings(data)), {"kind": "ablation", "what": float("nan")})
    assert list((tmp_path / "runs").iterdir()) == []


def test_moved_images__series_and_search_go_on_with_them(data: Path, tmp_path: Path) -> None:
    runs, kind = tmp_path / "runs", {"kind": "ablation"}
    series = open_run_group(runs, "parts", given(settings(data)), kind)
    begun(series.run_of("default-0").root, series.config, 3)
    open_folder(RunDir(runs / "search"), given(settings(data)))
    moved = data.rename(data.with_name("moved"))
    series = open_run_group(runs, "parts", given(settings(moved)), kind)
    open_folder(RunDir(runs / "search"), given(settings(moved)))
    for name in ("parts", "search"):
        assert read_toml(runs / name / "config.toml", Config()).data.data == moved
    told = [start_or_resume(series.run_of(name), Path(f"{name}.toml"), series.config)[:2] for name in ("default-0", "convnet-0")]
    assert told == [["resume", series.run_of("default-0").root], ["train", "--config"]]
    (moved / "1" / "03.png").write_bytes(encode(make_image(1, 1000)))
    for again in (
        lambda: open_run_group(runs, "parts", given(settings(moved)), kind),
        lambda: open_folder(RunDir(runs / "search"), given(settings(moved))),
    ):
        with pytest.raises(DataError, match=r"1/03\.png is another file"):
            again()


@pytest.mark.parametrize("recipe", ["fine-tune", "scratch"])
def test_auto__series_and_search_keep_the_recipe_that_they_were_begun_with(data: Path, tmp_path: Path, recipe: Recipe) -> None:
    """Whatever weights can be had now."""
    runs, auto = tmp_path / "runs", under_auto(data)
    own = settle(auto, runs).under(recipe)
    open_run_group(runs, "parts", given(own), {"kind": "ablation"})
    assert open_run_group(runs, "parts", auto, {"kind": "ablation"}).config.training == own.training
    open_folder(RunDir(runs / "search"), given(own))
    assert open_folder(RunDir(runs / "search"), auto)[0].training == own.training


def test_log__on_a_full_disk_is_cut_short_without_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunDir(tmp_path)
    run.log.symlink_to("/dev/full")
    with log_file(run):
        logging.getLogger("diptych").warning("a line")
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root can be another user")
def test_checkpoint_of_another_user__is_not_begun_again(data: Path) -> None:
    """What may not be read is neither damaged nor missing."""
    from diptych.training.snapshots import read_snapshot

    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        run = begun(Path(name) / "run", settings(data), 3)
        for folder in (Path(name), run.root, run.last.parent):
            folder.chmod(0o777)
        run.last.chmod(0o600)
        os.seteuid(65534)
        try:
            with pytest.raises(CheckpointError, match=r"last\.safetensors cannot be read: permission denied"):
                read_snapshot(run)
        finally:
            os.seteuid(0)


def test_next_command__is_quoted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "diptych")
    with pytest.raises(KeyboardInterrupt), logging_how_to_resume(RunDir(tmp_path / "my run")):
        raise KeyboardInterrupt
    assert f"No checkpoint was written yet. Resume with: diptych resume '{tmp_path / 'my run'}'" in caplog.text


def test_two_at_once__one_wins_and_the_other_is_told(tmp_path: Path) -> None:
    slower = creating_run(tmp_path, "one")
    (slower.__enter__()[0].root / "slower").touch()
    with creating_run(tmp_path, "one") as (quicker, _):
        (quicker.root / "quicker").touch()
    with pytest.raises(ConfigError, match=r"made by another process.*--name"):
        slower.__exit__(None, None, None)
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["quicker"]


def test_two_at_once_without_a_name__both_have_one(tmp_path: Path) -> None:
    for _ in range(3):
        with creating_run(tmp_path, "") as (first, one), creating_run(tmp_path, "") as (second, two):
            (first.root / "file").touch()
            (second.root / "file").touch()
        assert one != two
        assert (one.root / "file").is_file()
        assert (two.root / "file").is_file()
    assert len(list(tmp_path.iterdir())) == 6


def test_nan_in_the_first_batch__is_reported_as_that(tmp_path: Path) -> None:
    from diptych.machine.signals import StopSignals
    from diptych.training.callbacks import Watch

    watch = Watch(StopSignals(), None)
    for batch in range(3):
        watch.on_train_batch_end(batch, {"loss": np.nan})
    assert watch.diverged_at == 0
