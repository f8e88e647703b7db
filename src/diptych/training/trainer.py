"""The main path: from a Config to a trained run, as named steps."""

import dataclasses
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from diptych.backend import describe_device, load_backend
from diptych.config import Config, DataConfig
from diptych.data.findings import brief, to_json
from diptych.data.load import LoadedData, load, split
from diptych.data.manifest import SPLITS
from diptych.environment import describe_environment
from diptych.presets import to_toml
from diptych.storage import RunDir, create_run, new_run, write_classes, write_json, write_table, write_text

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
    data = split(load(config.data, config.training.seed), config.data)
    # TensorFlow takes seconds to load, so what is wrong with the data is said before.
    load_backend()
    from diptych.training import fit

    class_names = data.manifest.class_names
    network, weights = fit.start_network(config, runs, class_names)
    run = create_run(runs, name)
    with log_file(run):
        environment = describe_environment(config.training.seed, describe_device())
        write_text(run.config, to_toml(dataclasses.replace(config, data=whole_paths(config.data))))
        write_json(run.environment, {**environment, "weights": weights.description})
        write_classes(run, class_names)
        write_table(run.split, data.manifest.table)
        write_table(run.problems, data.problems)
        write_json(run.audit, to_json(data.audit))
        log_start(run, data, [f"weights: {weights.description}", f"device: {environment['device']}"])
        try:
            fit.fit(network, run, config, data.manifest, data.store, pretrained=weights.pretrained)
        except KeyboardInterrupt:
            log.info("Stopped by Ctrl-C. %s", fit.keep_best(run, config.model))
            raise
        log.info("Trained. %s", fit.keep_best(run, config.model))
    return run


def whole_paths(settings: DataConfig) -> DataConfig:
    """Name files and folders by their whole paths: a run is found, evaluated and repeated from any folder."""
    optional = {key: value.resolve() for key in ("fixes", "split") if (value := getattr(settings, key)) is not None}
    # A path that begins with ~ means the same from any folder, and for another user too.
    cache = settings.cache if settings.cache.parts[:1] == ("~",) else settings.cache.resolve()
    return dataclasses.replace(settings, data=settings.data.resolve(), cache=cache, **optional)


def log_start(run: RunDir, data: LoadedData, facts: list[str]) -> None:
    table, names = data.manifest.table, data.manifest.class_names
    counts = pd.crosstab(table["split"], table["target"]).reindex(index=list(SPLITS), columns=range(len(names)), fill_value=0)
    shown = [f"{counts[target].sum()} of class {name}" for target, name in enumerate(names)]
    classes = ", ".join(shown if len(shown) <= 10 else [*shown[:10], f"… {len(shown)} classes in all"])
    log.info("%s", data.manifest.layout)
    log.info("%d images: %s; %s", len(table), classes, ", ".join(f"{part} {counts.loc[part].sum()}" for part in SPLITS))
    for line in brief(data.audit):
        log.info("%s", line)
    if len(data.problems):
        log.info("%d image%s set aside, listed in %s", len(data.problems), "s"[: len(data.problems) > 1], run.problems)
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
