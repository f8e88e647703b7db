"""Verify that resuming is exact, on the user's own images, settings and machine."""

import dataclasses
import logging
import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from diptych.data.reading.layouts import read_manifest
from diptych.errors import TrainingError
from diptych.machine.processes import Child, run_child
from diptych.machine.signals import terminating
from diptych.settings.config import Config, TrackingConfig
from diptych.settings.sources import to_toml
from diptych.storage.atomic import write_table, write_text
from diptych.storage.run_dir import RunDir
from diptych.training.child_training import train_command
from diptych.training.resolve import with_whole_paths
from diptych.training.state import read_state

log = logging.getLogger(__name__)

# Enough for a kill in mid-epoch and for the end of an epoch after it; few, because it shall take a minute or two.
EPOCHS = 2
STEPS = 4
BATCH_SIZE = 8
CLASSES = 10
ATTEMPTS = 3
# Of an exact resume, these alone may differ.
TIMES = ("seconds", "images_per_second")
LINES_SHOWN = 15
# Between two looks at the training that is to be killed: shorter than a step.
POLL_SECONDS = 0.005


def verify_resume(config: Config, runs: Path) -> None:
    """Train twice on a few images, once killed and resumed, and compare every bit of the two.

    The network, the image size, the augmentation, the optimizer and the device are those of `config`; the batches are of at
    most 8 images, and there are 2 epochs of 4 of them. The killed process gets SIGKILL in the first epoch.

    Args:
        config: all settings.
        runs: the folder in which the two runs are made; they are deleted in the end.

    Raises:
        TrainingError: the two differ, or one could not be trained; the message says in what, or why.
        DataError: something is wrong with the data.
    """
    started = time.monotonic()
    made = not runs.exists()
    runs.mkdir(parents=True, exist_ok=True)
    try:
        with terminating(), tempfile.TemporaryDirectory(prefix=f".partial-{os.getpid()}-verify-", dir=runs) as folder:
            whole, killed, place = try_both(config, runs, Path(folder))
            different, compared = compare(whole, killed)
    finally:
        if made and not any(runs.iterdir()):
            runs.rmdir()
    if different:
        raise TrainingError(
            f"the training that was killed {place} and resumed is not the same as the one that was not killed: "
            f"{'; '.join(different[:3])}{f' and {len(different) - 3} more' * (len(different) > 3)}. Resuming works "
            "here, but not bit for bit. --deterministic makes the backend compute the same in every run; try it with that."
        )
    log.info(
        "Resuming is exact here: killed %s by SIGKILL and resumed, the training has the same %s as without. %.0f s",
        place,
        compared,
        time.monotonic() - started,
    )


def try_both(config: Config, runs: Path, folder: Path) -> tuple[RunDir, RunDir, str]:
    """Train uninterrupted, and killed and resumed; return both runs and where the second was killed."""
    settings = folder / "settings.toml"
    write_text(settings, to_toml(shortened(with_whole_paths(config, runs), choose_images(config, folder / "images"))))
    log.info("Training %d epochs of %d small batches: once without a stop, once killed and resumed", EPOCHS, STEPS)
    whole = RunDir(folder / "whole")
    train(whole, settings)
    for attempt in range(ATTEMPTS):
        killed = RunDir(folder / f"killed{attempt}")
        if place := train_until_killed(killed, settings):
            train(killed, settings)
            return whole, killed, place
    raise TrainingError(f"the trainings were over before they could be killed, {ATTEMPTS} times; nothing was verified.")


def shortened(config: Config, images: Path) -> Config:
    """Return the settings of a very short training on some images that are copied to a folder."""
    data = dataclasses.replace(
        config.data,
        data=images.resolve(),
        path_column="",
        label_column="",
        images=None,
        class_names="",
        fixes=None,
        split=None,
        near_twins=False,
        allow_leaks=True,
        max_unreadable=0.5,
    )
    settings = dataclasses.replace(
        config.training,
        epochs=EPOCHS,
        batch_size=min(BATCH_SIZE, config.training.batch_size),
        # A snapshot after each step.
        checkpoint_minutes=1e-4,
    )
    return dataclasses.replace(config, data=data, training=settings, tracking=TrackingConfig())


def choose_images(config: Config, folder: Path) -> Path:
    """Copy a few images of the largest classes, with a table of their labels and parts; return the folder."""
    manifest = read_manifest(config.data)
    counts = manifest.table["target"].value_counts()
    classes = counts.index[:CLASSES]
    wanted = min(BATCH_SIZE, config.training.batch_size)
    train, others = -(-STEPS * wanted // len(classes)), -(-wanted // len(classes))
    folder.mkdir(parents=True)
    rows: list[dict[str, object]] = []
    for target in classes:
        found = manifest.table.loc[manifest.table["target"] == target, "path"].iloc[: train + 2 * others]
        parts = ["train", "validation", "test"] + ["validation", "test"] * (others - 1) + ["train"] * len(found)
        for path, part in zip(found, parts, strict=False):
            name = f"{len(rows):04d}{Path(path).suffix}"
            shutil.copyfile(manifest.root / path, folder / name)
            rows.append({"path": name, "label": manifest.class_names[target], "split": part})
    write_table(folder / "labels.csv", pd.DataFrame(rows))
    return folder


def train(run: RunDir, settings: Path) -> None:
    """Start or resume a training in a process of its own, and wait for its end.

    Raises:
        TrainingError: it failed; its last lines are in the message.
        OSError: the disk is full, or does not work.
    """
    said = run.root.with_suffix(".log")
    code = run_child(train_command(run, settings), said)
    if code != 0:
        last = "\n".join(said.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-LINES_SHOWN:])
        raise TrainingError(f"the short training that was to be compared ended with exit code {code}:\n{last}")


def train_until_killed(run: RunDir, settings: Path) -> str:
    """Begin a training and kill it once it has written a snapshot in mid-epoch; return where, or "" where it ended before."""
    with Child(train_command(run, settings), run.root.with_suffix(".log")) as child:
        while child.wait(POLL_SECONDS) is None:
            state = read_state(run)
            if state is not None and state.batch > 0:
                code = child.kill()
                last = read_state(run) or state
                return f"in epoch {last.epoch + 1} after batch {last.batch} of {STEPS}" if code != 0 else ""
    return ""


def compare(first: RunDir, second: RunDir) -> tuple[list[str], str]:
    """Compare two finished runs; return what differs, and what was compared, in words."""
    from diptych.storage.arrays import read_arrays

    different, count, size = [], 0, 0
    for one, two in ((first.last, second.last), (first.best, second.best)):
        before, after = (read_arrays(path, "model", "optimizer", "metrics")[1] for path in (one, two))
        if before.keys() != after.keys():
            different.append(f"{one.name} has other variables")
        for name in before.keys() & after.keys():
            count, size = count + 1, size + before[name].nbytes
            if before[name].tobytes() != after[name].tobytes():
                gap = np.abs(before[name].astype(np.float64) - after[name].astype(np.float64)).max()
                different.append(f"{name} in {one.name} by up to {gap:.2g}")
    tables = [pd.read_csv(run.history).drop(columns=list(TIMES)) for run in (first, second)]
    if not tables[0].equals(tables[1]):
        different.append(f"{first.history.name}")
    return different, f"{count} arrays ({size / 1e6:.1f} MB) and the same history"
