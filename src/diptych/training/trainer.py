"""The main path: from a Config to a trained run, as named steps."""

import dataclasses
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from diptych.backend import describe_device, load_backend
from diptych.config import Config
from diptych.data.images import ImageSpec
from diptych.data.manifest import SPLITS, Manifest, read_manifest
from diptych.data.prepare import PixelStore, prepare, set_aside
from diptych.data.splits import assign_splits
from diptych.presets import to_toml
from diptych.storage import RunDir, create_run, describe_environment, new_run, write_json, write_table, write_text

log = logging.getLogger(__name__)


def train(config: Config, runs: Path = Path("runs"), name: str = "") -> RunDir:
    """Train the dual model on a data folder.

    Args:
        config: all settings.
        runs: the folder in which the run's folder is made.
        name: of the run; "" for one made of the date and time.

    Returns:
        The run. Its best checkpoint is whole from the end of the first epoch on, whatever happens then.

    Raises:
        DataError: something is wrong with the data; no run is made.
        ConfigError: settings do not go together, or a run of that name exists.
        CheckpointError: the weights to start from cannot be had.
        KeyboardInterrupt: Ctrl-C; the checkpoints are whole.
    """
    new_run(runs, name)
    manifest, store, problems = load_data(config)
    # TensorFlow takes seconds to load, so what is wrong with the data is said before.
    load_backend()
    from diptych.training import fit

    network, weights = fit.start_network(config, runs)
    run = create_run(runs, name)
    with log_file(run):
        environment = describe_environment(config.training.seed, describe_device())
        # The run is found and evaluated from any folder, so its config names the data by a whole path.
        data = dataclasses.replace(config.data, data=config.data.data.resolve())
        write_text(run.config, to_toml(dataclasses.replace(config, data=data)))
        write_json(run.environment, {**environment, "weights": weights.description})
        write_table(run.split, manifest.table)
        write_table(run.problems, problems)
        log_start(run, manifest, problems, [f"weights: {weights.description}", f"device: {environment['device']}"])
        try:
            fit.fit(network, run, config, manifest, store, pretrained=weights.pretrained)
        except KeyboardInterrupt:
            log.info("Stopped by Ctrl-C. %s", fit.keep_best(run, config.model))
            raise
        log.info("Trained. %s", fit.keep_best(run, config.model))
    return run


def load_data(config: Config) -> tuple[Manifest, PixelStore, pd.DataFrame]:
    """Read, check and decode everything, and split it.

    Returns:
        The Manifest of the readable images with the columns `split` and `sha256`, its index being the row in the
        PixelStore; the PixelStore; and the table of what could not be read.
    """
    manifest = read_manifest(config.data.data)
    paths = [manifest.root / path for path in manifest.table["path"]]
    store, outcome = prepare(paths, ImageSpec(config.data.image_size, config.data.resize))
    manifest, problems = set_aside(manifest, outcome, config.data.max_unreadable, config.data.strict)
    splits = assign_splits(manifest, config.data.validation_share, config.data.test_share, config.training.seed)
    return dataclasses.replace(manifest, table=manifest.table.assign(split=splits)), store, problems


def log_start(run: RunDir, manifest: Manifest, problems: pd.DataFrame, facts: list[str]) -> None:
    counts = pd.crosstab(manifest.table["split"], manifest.table["target"]).reindex(SPLITS)
    classes = ", ".join(
        f"{np.sum(manifest.table['target'] == target)} of class {name}" for target, name in enumerate(manifest.class_names)
    )
    log.info(
        "%d images: %s; %s",
        len(manifest.table),
        classes,
        ", ".join(f"{part} {counts.loc[part].sum()}" for part in SPLITS),
    )
    if len(problems):
        log.info("%d unreadable images set aside, listed in %s", len(problems), run.problems)
    for fact in facts:
        log.info("%s", fact)
    log.info("run: %s", run.root)


@contextmanager
def log_file(run: RunDir) -> Iterator[None]:
    """Write what is logged to the run's log too."""
    handler = logging.FileHandler(run.log, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logging.getLogger("diptych").addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger("diptych").removeHandler(handler)
        handler.close()
