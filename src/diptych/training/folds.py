"""Cross-validation: one run a fold, each trained in a process of its own, since TensorFlow keeps a model's memory."""

import dataclasses
import logging
from pathlib import Path

from diptych.config import Config
from diptych.data.folds import assign_folds
from diptych.data.load import load
from diptych.environment import describe_environment, run_diptych
from diptych.errors import EXIT_INTERRUPTED, ConfigError, DiptychError
from diptych.presets import to_toml
from diptych.storage import RunDir, create_run, new_run, write_json, write_table, write_text
from diptych.training.trainer import whole_paths

log = logging.getLogger(__name__)


def train_folds(config: Config, runs: Path, name: str, folds: int) -> RunDir:
    """Train one run on each fold's complement; within it, validation is drawn as in any training.

    Args:
        config: all settings; a split may not be given.
        runs: the folder in which the folder of the folds is made.
        name: of that folder; "" for one made of the date and time.
        folds: how many, at least 2.

    Returns:
        The folder of the folds: folds.csv, and the runs fold-1, fold-2, ... in it.

    Raises:
        DataError: something is wrong with the data; no run is made.
        ConfigError: a split is given too, or a run of that name exists.
        DiptychError: the training of a fold failed; the folds before it are whole.
        KeyboardInterrupt: Ctrl-C; the folds before are whole, and so are the checkpoints of this one.
    """
    if folds < 2 or config.data.split is not None:
        raise ConfigError(f"--folds is {folds}: expected at least 2, and no --split beside it, since the folds are the split.")
    new_run(runs, name)
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, weights=whole_name(config.model.weights, runs)))
    data = load(config.data, config.training.seed)
    table = data.manifest.table.drop(columns="split", errors="ignore")
    table = table.assign(fold=assign_folds(data.manifest, data.units, data.hashes, folds, config.training.seed))
    run = create_run(runs, name)
    write_json(run.environment, describe_environment(config.training.seed, "a process for each fold"))
    write_text(run.config, to_toml(dataclasses.replace(config, data=whole_paths(config.data))))
    write_table(run.folds, table)
    log.info(
        "%d folds of %s images in %s", folds, " + ".join(map(str, table["fold"].value_counts(sort=False).sort_index())), run.root
    )
    for fold in range(1, folds + 1):
        given = run.root / "splits" / f"fold-{fold}.csv"
        part = (table["fold"] == fold).map({True: "test", False: "train"})
        write_table(given, table[["path"]].assign(split=part))
        train_fold(config, run, fold, given)
    return run


def train_fold(config: Config, run: RunDir, fold: int, given: Path) -> None:
    """Train one fold by `diptych train` in a child process, which prints to the same screen."""
    settings = run.root / "splits" / f"fold-{fold}.toml"
    data = dataclasses.replace(whole_paths(config.data), split=given.resolve())
    write_text(settings, to_toml(dataclasses.replace(config, data=data)))
    log.info("\nfold %d", fold)
    code = run_diptych("train", "--config", settings, "--runs", run.root, "--name", f"fold-{fold}")
    if code == EXIT_INTERRUPTED:
        raise KeyboardInterrupt
    if code != 0:
        raise DiptychError(f"the training of fold {fold} ended with exit code {code}; its message stands above.")


def whole_name(weights: str, runs: Path) -> str:
    """Name weights that are a file or a run by their whole path, since each fold has another folder of runs."""
    found = [place for place in (Path(weights), runs / weights) if weights not in ("imagenet", "none", "auto") and place.exists()]
    return str(found[0].resolve()) if found else weights
