"""Cross-validation: one run a fold, each trained in a process of its own, since TensorFlow keeps a model's memory."""

import dataclasses
import logging
from contextlib import ExitStack
from pathlib import Path

from diptych.data.dataset import LoadedData, load
from diptych.data.folds import assign_folds
from diptych.errors import CheckpointError, ConfigError, DiptychError
from diptych.machine.environment import describe_environment
from diptych.machine.processes import run_child
from diptych.screen import command_line
from diptych.settings.config import Config
from diptych.settings.sources import Given, read_toml, to_toml
from diptych.storage.atomic import write_json, write_table, write_text
from diptych.storage.lock import only_one, wait_until_free
from diptych.storage.run_dir import RunDir, tidy
from diptych.storage.runs import creating_run, folds_of, is_run, new_run
from diptych.training.child_training import train_command
from diptych.training.resolve import Wanted, settle
from diptych.training.resume import (
    changes_of_settings,
    how_to_resume_moved,
    is_finished,
    refuse_changes,
    refuse_changes_of_data,
    with_data,
)
from diptych.training.tracking.tracking import check_tracking

log = logging.getLogger(__name__)


def train_folds(given: Given, runs: Path, name: str, folds: int) -> RunDir:
    """Train one run on each fold's complement; within it, validation is drawn as in any training.

    Args:
        given: what the user gave; a split may not be in it.
        runs: the folder in which the folder of the folds is made.
        name: of that folder; "" for one made of the date and time. With the name of one that was stopped, its folds are resumed.
        folds: how many, at least 2.

    Returns:
        The folder of the folds: folds.csv, and the runs fold-1, fold-2, ... in it.

    Raises:
        DataError: something is wrong with the data; no run is made.
        ConfigError: a split is given too, or a run of that name exists and is finished or has other settings.
        DiptychError: the training of a fold failed; the folds before it are whole.
        KeyboardInterrupt: Ctrl-C, or SIGTERM as `Stopped`; the folds before are whole, and this one is saved.
    """
    if folds < 2:
        raise ConfigError(f"--folds is {folds}; expected at least 2.")
    wanted = settle(given, runs)
    config = wanted.under()
    if config.data.split is not None:
        raise ConfigError(f"--folds is {folds}, and --split is given too; leave --split out, since the folds are the split.")
    check_tracking(config.tracking)
    run = RunDir(wanted.runs / name)
    if not (name and is_run(run.root) and run.folds.is_file()):
        new_run(wanted.runs, name)
        data = load(config.data, config.training.seed)
        config, reasons = wanted.choose(data.manifest.table.shape[0])
        # What computes, and why, each fold says itself.
        for line in reasons[len(wanted.reasons) :]:
            log.info("%s", line)
        run = lay_out(config, wanted.runs, name, folds, data)
    else:
        refuse_other_folds(run, wanted, folds)
    return train_open(run)


def refuse_other_folds(run: RunDir, wanted: Wanted, folds: int) -> None:
    saved = read_toml(run.config, Config())
    config = wanted.like(saved)
    changes = changes_of_settings(saved, config, may_be_longer=False)
    if folds != len(folds_of(run)):
        changes.append(f"folds is {folds}, was {len(folds_of(run))}")
    refuse_changes(str(run.root), changes, f"({command_line('resume', run.root)}){how_to_resume_moved(run, saved, config)}")
    if not open_folds(run):
        raise ConfigError(f"run {run.root} exists already, and all its folds are trained; choose another --name.")


def lay_out(config: Config, runs: Path, name: str, folds: int, data: LoadedData) -> RunDir:
    """Make the folder, with the split and the settings of each fold."""
    table = data.manifest.table.drop(columns="split", errors="ignore")
    table = table.assign(fold=assign_folds(data.manifest, data.clusters, data.hashes, folds, config.training.seed))
    with creating_run(runs, name) as (aside, run):
        write_text(aside.config, to_toml(config))
        write_table(aside.folds, table)
        for fold in range(1, folds + 1):
            given = Path("splits") / f"fold-{fold}.csv"
            part = (table["fold"] == fold).map({True: "test", False: "train"})
            write_table(aside.root / given, table[["path"]].assign(split=part))
            own = dataclasses.replace(config, data=dataclasses.replace(config.data, split=(run.root / given).resolve()))
            write_text(aside.root / given.with_suffix(".toml"), to_toml(own))
        write_json(aside.environment, describe_environment(config.training.seed, "a process for each fold"))
    sizes = " + ".join(map(str, table["fold"].value_counts(sort=False).sort_index()))
    log.info("%d folds of %s images in %s", folds, sizes, run.root)
    return run


def open_folds(run: RunDir) -> list[RunDir]:
    """Return the folds that are not trained to their end."""
    config = read_toml(run.config, Config())
    return [fold for fold in folds_of(run) if not is_finished(fold, config)]


def move(run: RunDir, data: Path) -> None:
    """Write down where the images of a cross-validation lie now.

    Args:
        run: the folder of the folds.
        data: the data folder, which has moved.

    Raises:
        DataError: its images are not those that the folds were made of.
        ConfigError: another process trains a fold.
    """
    config = with_data(read_toml(run.config, Config()), data)
    refuse_changes_of_data(run, load(config.data, config.training.seed), "cross-validation")
    begun = [fold for fold in folds_of(run) if is_run(fold.root)]
    with ExitStack() as held:
        for one in (run, *begun):
            held.enter_context(only_one(one))
        for fold in folds_of(run):
            given = run.root / "splits" / f"{fold.root.name}.csv"
            for path in (given.with_suffix(".toml"), fold.config):
                if path.is_file():
                    settings = with_data(read_toml(path, Config()), data)
                    settings = dataclasses.replace(settings, data=dataclasses.replace(settings.data, split=given.resolve()))
                    write_text(path, to_toml(settings))
        write_text(run.config, to_toml(config))


def train_open(run: RunDir, mlflow: str | None = None, data: Path | None = None) -> RunDir:
    """Train the folds that are not trained yet, each by `diptych train` in a child process that prints to the same screen.

    Args:
        run: the folder of the folds.
        mlflow: where MLflow logs them; None for the place in the settings.
        data: the data folder, where it has moved since; that its images are the same is checked.

    Raises:
        CheckpointError: all of them are trained.
        DataError: the images have changed.
        DiptychError, KeyboardInterrupt: as `train_folds`.
    """
    waiting = open_folds(run)
    if not waiting:
        raise CheckpointError(f"all folds of {run.root} are trained; there is nothing to resume.")
    if data is not None:
        move(run, data)
    tidy(run)
    for fold in waiting:
        log.info("\n%s", fold.root.name.replace("-", " "))
        settings = run.root / "splits" / f"{fold.root.name}.toml"
        tracking = () if mlflow is None else ("--mlflow", mlflow)
        # Of a parent that was killed, the child may still be saving its state.
        wait_until_free(fold)
        try:
            code = run_child([*train_command(fold, settings), *tracking])
        except KeyboardInterrupt:
            log.info("Resume all folds with: %s", command_line("resume", run.root))
            raise
        if code != 0:
            raise DiptychError(f"the training of {fold.root.name} ended with exit code {code}; see its message above.")
    return run
