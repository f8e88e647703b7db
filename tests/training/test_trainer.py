"""Whole trainings in processes of their own: what a run holds, what Ctrl-C leaves, and what is found before it begins."""

import json
import logging
import os
import select
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import running
from making import encode, write_table
from running import posix_only

from diptych.data.pixels.decode import ImageSpec
from diptych.data.pixels.prepare import prepare
from diptych.data.reading.layouts import read_manifest
from diptych.model.checkpoint import load_run_network, read_checkpoint
from diptych.settings.config import Config
from diptych.settings.sources import read_toml
from diptych.storage.run_dir import RunDir
from diptych.training.trainer import log_file

COLUMNS = [
    "epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "image_size", "seconds", "images_per_second",
]  # fmt: skip

pytestmark = pytest.mark.slow

LOAD_WITH_PLAIN_KERAS = """
import sys
import keras, numpy
network = keras.models.load_model(sys.argv[1])
numpy.save(sys.argv[3], network.predict(numpy.load(sys.argv[2]), verbose=0))
assert not [name for name in sys.modules if name.startswith("diptych")]
"""


def test_training__leaves_everything_in_the_run(trained_both):
    run = trained_both.run
    files = [
        run.config,
        run.environment,
        run.split,
        run.problems,
        run.classes,
        run.history,
        run.log,
        run.best,
        run.last,
        run.best_keras,
    ]
    assert [path.name for path in files if not path.is_file()] == []
    assert not list(run.root.rglob(".partial*"))


def test_training__says_what_it_does(trained_both):
    said = trained_both.stdout
    assert "weights: none" in said
    assert "68 images" in said
    assert said.count("\nepoch ") == running.EPOCHS
    assert "Best epoch" in said
    assert trained_both.run.log.read_text(encoding="utf-8").count(" epoch ") >= running.EPOCHS


def test_training__is_silent_on_standard_error(trained_both):
    assert trained_both.stderr == ""


def test_history__has_a_line_per_epoch(trained_both):
    history = running.read_history(trained_both.run)
    assert list(history.columns) == COLUMNS
    assert list(history["epoch"]) == list(range(1, running.EPOCHS + 1))
    assert history.notna().all(axis=None)
    assert history["learning_rate"].iloc[0] == pytest.approx(1e-3)
    assert (history[["seconds", "images_per_second"]] > 0).all(axis=None)


def best_of(history: pd.DataFrame) -> pd.Series:
    highest = history[history["val_accuracy"] == history["val_accuracy"].max()]
    return highest.loc[highest["val_loss"].idxmin()]


def test_best_checkpoint__is_the_epoch_of_the_highest_validation_accuracy(trained_both):
    facts = read_checkpoint(trained_both.run.best).facts
    best = best_of(running.read_history(trained_both.run))
    assert facts["epoch"] == best["epoch"]
    assert facts["val_accuracy"] == pytest.approx(best["val_accuracy"], rel=1e-5)
    assert facts["val_loss"] == pytest.approx(best["val_loss"], rel=1e-5)


def test_best_checkpoint__has_the_validation_figures_of_its_epoch(trained_both):
    """The weights in the file are those of the epoch that is written on it."""
    network, config, _ = load_run_network(trained_both.run)
    table = pd.read_csv(trained_both.run.split)
    table = table[table["split"] == "validation"]
    spec = ImageSpec(config.data.image_size, config.data.resize)
    images, _ = prepare([trained_both.data / path for path in table["path"]], spec, None)
    probabilities = network.predict(images[np.arange(len(images))], verbose=0)[:, 0]
    targets = table["target"].to_numpy()
    loss = -np.mean(np.log(np.where(targets == 1, probabilities, 1 - probabilities)))
    best = best_of(running.read_history(trained_both.run))
    assert np.mean((probabilities > 0.5) == targets) == pytest.approx(best["val_accuracy"])
    assert loss == pytest.approx(best["val_loss"], rel=1e-3, abs=1e-5)


def test_last_checkpoint__is_the_last_epoch(trained_both):
    assert read_checkpoint(trained_both.run.last).facts["epoch"] == running.EPOCHS


def test_config__is_what_was_asked_for_with_a_whole_path(trained_both):
    config = read_toml(trained_both.run.config, Config())
    assert config.data.data == trained_both.data.resolve()
    assert (config.training.epochs, config.training.batch_size, config.training.seed) == (running.EPOCHS, 8, running.SEED)
    assert config.model.width == 0.125
    assert config.training.optimizer == Config().training.optimizer


def test_environment__names_versions_hardware_and_seed(trained_both):
    environment = json.loads(trained_both.run.environment.read_text(encoding="utf-8"))
    assert environment["seed"] == running.SEED
    assert environment["packages"]["keras"] == keras.__version__
    assert environment["command"][0] == "train.py"
    assert environment["device"].startswith("tensorflow on ")
    assert environment["weights"].startswith("none")


def test_split__is_the_one_of_the_tables_with_the_further_columns(trained_both):
    split = pd.read_csv(trained_both.run.split)
    given = read_manifest(trained_both.data).table
    given = given[given["path"] != running.UNREADABLE]
    pd.testing.assert_frame_equal(
        split[["path", "target", "split", "kind"]],
        given[["path", "target", "split", "kind"]].reset_index(drop=True),
        check_dtype=False,
    )
    assert split["sha256"].str.fullmatch("[0-9a-f]{64}").all()


def test_problems__lists_the_unreadable_image(trained_both):
    problems = pd.read_csv(trained_both.run.problems)
    assert list(problems["path"]) == [running.UNREADABLE]
    assert problems["problem"].str.len().min() > 10
    assert "1 image set aside, listed in" in trained_both.stdout


def test_training__learns(trained_both):
    history = running.read_history(trained_both.run)
    # Red and blue are told apart within a few steps; on one processor the loss fell to a three-hundredth.
    assert history["loss"].iloc[-1] < 0.5 * history["loss"].iloc[0]


@posix_only
def test_same_seed__gives_the_same_history(trained, interrupted):
    """The interrupted run had all settings of the other but the number of epochs, which the plateau schedule does not know.

    TensorFlow's threads add up in any order, so equal to six digits is not promised, and with each step the two drift apart:
    the first epoch is compared. That a run is the same to the last bit is tested in tests/training/test_resume.py.
    """
    first, second = (running.read_history(run).iloc[0] for run in (trained.run, interrupted.run))
    for name in ("loss", "val_loss", "learning_rate"):
        assert second[name] == pytest.approx(first[name], rel=0.02)


@posix_only
def test_ctrl_c__exits_with_130_and_says_what_is_whole(interrupted):
    assert interrupted.returncode == 130
    assert "Stopped. Everything is saved. Resume with: diptych resume runs/interrupted" in interrupted.stdout
    assert "Traceback" not in interrupted.stdout + interrupted.stderr
    assert interrupted.stderr.strip() == "interrupted"


@posix_only
def test_ctrl_c__leaves_the_best_checkpoint_of_the_finished_epochs(interrupted):
    assert read_checkpoint(interrupted.run.best).facts["epoch"] == best_of(running.read_history(interrupted.run))["epoch"]
    assert not list(interrupted.run.root.rglob(".partial*"))


def test_best_keras__loads_in_plain_keras_and_predicts_as_the_checkpoint(trained_both, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    places = [trained_both.run.best_keras, tmp_path / "images.npy", tmp_path / "predicted.npy"]
    command = [sys.executable, "-c", LOAD_WITH_PLAIN_KERAS, *map(str, places)]
    done = subprocess.run(command, env=running.environment(), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    network, _, _ = load_run_network(trained_both.run)
    expected = network.predict(images, verbose=0)
    assert expected.std() > 0
    np.testing.assert_allclose(np.load(tmp_path / "predicted.npy"), expected, rtol=1e-5, atol=1e-6)


@posix_only
def test_ctrl_c__while_the_images_are_read_makes_no_run(tmp_path):
    """The child draws its progress bar, for its standard error is a terminal; that is how this test knows where it is."""
    import pty
    import termios

    data = tmp_path / "data"
    # Small files that take long to decode; what follows a PNG's end makes each of them another one.
    content = encode(np.zeros((2000, 2000, 3), np.uint8))
    for target in (0, 1):
        (data / str(target)).mkdir(parents=True)
        rows = [{"image_name": f"{number}.png", "target": target} for number in range(150)]
        for row in rows:
            (data / str(target) / row["image_name"]).write_bytes(content + f"{target} {row['image_name']}".encode())
        write_table(data / f"{target}.csv", rows)
    screen, terminal = pty.openpty()
    # Of a terminal without columns, tqdm leaves out the bar.
    termios.tcsetwinsize(terminal, (24, 120))
    seen = b""

    def reading() -> bool:
        nonlocal seen
        if select.select([screen], [], [], 0.1)[0]:
            seen += os.read(screen, 4096)
        return seen.count(b" images/s") > 3

    with running.start("train", "--data", data, *running.SETTINGS, folder=tmp_path, stderr=terminal) as child:
        running.press_when(child, reading, timeout=60)
        (output,) = child.communicate(timeout=60)
    os.close(terminal)
    os.close(screen)
    assert child.returncode == 130
    assert "Traceback" not in output
    assert not (tmp_path / "runs").exists()


def test_log_file__holds_what_is_logged_although_nobody_asked_for_messages(tmp_path: Path) -> None:
    ours = logging.getLogger("diptych")
    before = ours.level, ours.propagate
    ours.setLevel(logging.NOTSET)
    ours.propagate = False  # What pytest captures has to be UTF-8 on its way from one process to the other.
    try:
        with log_file(RunDir(tmp_path)):
            logging.getLogger("diptych.training.loop").info("epoch 1/2 of \udcff.png")
        assert ours.level == logging.NOTSET
    finally:
        ours.setLevel(before[0])
        ours.propagate = before[1]
    assert RunDir(tmp_path).log.read_text(encoding="utf-8").endswith("epoch 1/2 of \\udcff.png\n")
