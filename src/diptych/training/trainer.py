"""The main path: from a Config to a trained run, as named steps."""

import dataclasses
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from diptych.data.audit.findings import brief, to_json
from diptych.data.dataset import LoadedData
from diptych.data.reading.manifest import SPLITS
from diptych.errors import CheckpointError, Stopped
from diptych.machine.backend import describe_device, device_scope, load_backend, make_deterministic
from diptych.machine.environment import describe_environment
from diptych.screen import command_line, count_of, quoted
from diptych.settings.config import ComputeConfig, Config, TrainingConfig
from diptych.settings.sources import Given, read_toml, to_toml
from diptych.storage.atomic import write_json, write_table, write_text
from diptych.storage.lock import only_one
from diptych.storage.run_dir import RunDir, read_classes, tidy, write_classes
from diptych.storage.runs import RUNS, creating_run, read_environment
from diptych.training.resolve import load_split, settle, training_images
from diptych.training.resume import (
    find_alike,
    find_named,
    refuse_changes_of_data,
    refuse_to_resume,
    warn_of_versions,
    with_data,
    write_changes,
)
from diptych.training.steps.stages import recipe_warnings
from diptych.training.tracking.tracking import check_tracking, whole_tracking

if TYPE_CHECKING:
    import keras

    from diptych.training.loop import TrainingTask
    from diptych.training.snapshots import Snapshot

log = logging.getLogger(__name__)


def train(given: Given, runs: Path = RUNS, name: str = "") -> RunDir:
    """Train the dual model on a data folder; or resume a stopped training with the same settings and images.

    Args:
        given: what the user gave.
        runs: the folder in which the run's folder is made.
        name: of the run; "" for one made of the date and time.

    Returns:
        The run. Its best checkpoint is whole from the end of the first epoch on, whatever happens then.

    Raises:
        DataError: something is wrong with the data; no run is made.
        ConfigError: settings do not go together, a run of that name is finished or has other settings, or it cannot be logged
            where it is to be.
        CheckpointError: the initial weights could not be loaded.
        TrainingError: the training diverged, or does not fit into the memory.
        Stopped: Ctrl-C or SIGTERM; the state was saved.
    """
    wanted = settle(given, runs)
    asked = wanted.under()
    check_tracking(asked.tracking)
    stopped = find_named(wanted, name)
    data = load_split(asked.data, asked.training.seed)
    if stopped is None and not name:
        stopped = find_alike(wanted, data)
    if stopped is not None:
        return go_on(*stopped, data)
    config, reasons = wanted.choose(training_images(data))
    return begin(config, wanted.runs, name, data, reasons)


def begin(config: Config, runs: Path, name: str, data: LoadedData, reasons: list[str]) -> RunDir:
    """Make a new run and train it; `reasons` say why its settings are as they are, a line each."""
    # The backend takes seconds to load, so what is wrong with the data is said before.
    load_backend(config.compute.backend)
    from diptych.training import fit
    from diptych.training.loop import TrainingTask

    with computing(config.compute):
        network, weights = fit.start_network(config, runs, data.manifest.class_names)
        disk = check_disk(runs, network, config.training)
        facts = {"weights": weights.description, "pretrained": weights.pretrained, "compute": reasons}
        run = write_run(config, runs, name, data, facts)
        with only_one(run), log_file(run):
            device = f"device: {describe_device()}"
            warnings = [f"Warning: {line}" for line in recipe_warnings(config, weights.pretrained, training_images(data))]
            log_start(run, data, [f"weights: {weights.description}", *reasons, device, disk, *warnings])
            train_to_end(TrainingTask(network, run, config, data.manifest, data.store, weights.pretrained))
    return run


def write_run(config: Config, runs: Path, name: str, data: LoadedData, facts: Mapping[str, Any]) -> RunDir:
    """Make the folder of a run, with all that is known before its first step; `facts` are for environment.json."""
    with creating_run(runs, name) as (aside, run):
        write_text(aside.config, to_toml(config))
        write_json(aside.environment, {**describe_environment(config.training.seed, describe_device()), **facts})
        write_classes(aside, data.manifest.class_names)
        write_table(aside.split, data.manifest.table)
        write_table(aside.problems, data.problems)
        write_json(aside.audit, to_json(data.audit))
    return run


@contextmanager
def computing(settings: ComputeConfig) -> Iterator[None]:
    """Let a network compute on the devices of the settings, and as exactly as they say."""
    if settings.deterministic:
        make_deterministic()
    with device_scope(settings.devices):
        yield


def check_disk(folder: Path, network: "keras.Model", settings: TrainingConfig, written: int = 0) -> str:
    """Refuse a disk that is too full for the checkpoints; return what they take in words.

    Args:
        folder: on that disk.
        network: to be trained.
        settings: of its training.
        written: the bytes of checkpoints that are there already.
    """
    from diptych.training.cost import disk_needed, moments_of, refuse_full_disk

    return refuse_full_disk(folder, max(0, disk_needed(network, moments_of(settings)) - written))


def train_to_end(task: "TrainingTask", snapshot: "Snapshot | None" = None) -> None:
    """Train a network in its run, from a snapshot if there is one, and keep the best of it."""
    from diptych.training import fit

    with logging_how_to_resume(task.run):
        fit.fit(task, snapshot)
    log.info("Trained. %s", fit.keep_best(task.run, task.config.model, task.config.data.image_size))


def resume(run: RunDir, epochs: int | None = None, mlflow: str | None = None, data: Path | None = None) -> RunDir:
    """Go on with a training that was stopped, or train a finished one for longer.

    Args:
        run: a run.
        epochs: of the whole training; None for the number it was started with.
        mlflow: where MLflow logs from now on; None for where it did.
        data: the data folder, where it has moved since; that its images are the same is checked.

    Raises:
        ConfigError: there is nothing left to train, another process trains it, or it cannot be logged as requested.
        DataError: the images are not those that it was started with.
        CheckpointError: the run is of an older version, cannot be read, or the state to resume from was deleted.
        TrainingError, Stopped: as `train`.
    """
    config = read_toml(run.config, Config())
    if mlflow is not None:
        config = dataclasses.replace(config, tracking=dataclasses.replace(config.tracking, mlflow=mlflow))
    if epochs is not None:
        config = dataclasses.replace(config, training=dataclasses.replace(config.training, epochs=epochs))
    if data is not None:
        config = with_data(config, data)
    config = dataclasses.replace(config, tracking=whole_tracking(config.tracking))
    check_tracking(config.tracking)
    refuse_to_resume(run, config)
    return go_on(run, config, load_split(config.data, config.training.seed))


def go_on(run: RunDir, config: Config, data: LoadedData) -> RunDir:
    """Train a run from its last snapshot to its end.

    Args:
        run: the run.
        config: its settings, as for `refuse_to_resume`; they are written into the run.
        data: its images.
    """
    refuse_changes_of_data(run, data)
    with only_one(run), log_file(run):
        refuse_to_resume(run, config)
        pretrained = was_pretrained(run)
        load_backend(config.compute.backend)
        from diptych.training import fit
        from diptych.training.loop import TrainingTask
        from diptych.training.snapshots import read_snapshot

        tidy(run, alone=True)
        warn_of_versions(run)
        snapshot = read_snapshot(run)
        with computing(config.compute):
            if snapshot is None:
                network, _ = fit.start_network(config, run.root.parent, read_classes(run))
                log.info("Resuming %s from its beginning: nothing was saved yet", run.root)
            else:
                network, state = fit.new_network(config, len(read_classes(run))), snapshot.state
                log.info("Resuming %s at epoch %d, batch %d, from %s", run.root, state.epoch + 1, state.batch + 1, snapshot.path)
            written = sum(file.stat().st_size for file in run.last.parent.glob("*.safetensors"))
            check_disk(run.root, network, config.training, written)
            write_changes(run, config)
            train_to_end(TrainingTask(network, run, config, data.manifest, data.store, pretrained), snapshot)
    return run


def was_pretrained(run: RunDir) -> bool:
    """Tell whether a run began with weights that were trained before.

    Raises:
        CheckpointError: it is of a version that did not write that down.
    """
    environment = read_environment(run)
    if "pretrained" not in environment:
        raise CheckpointError(
            f"{run.root} was trained by a version that could not resume. Start a new run from its weights: --weights "
            f"{quoted(run.root)}."
        )
    return bool(environment["pretrained"])


@contextmanager
def logging_how_to_resume(run: RunDir) -> Iterator[None]:
    """Log how to resume a training that is interrupted."""
    try:
        yield
    except (Stopped, KeyboardInterrupt, OSError) as error:
        kept = "The last checkpoint is kept." if run.last.is_file() else "No checkpoint was written yet."
        saved = "Everything is saved." if isinstance(error, Stopped) else kept
        log.info("Stopped. %s Resume with: %s", saved, command_line("resume", run.root))
        raise


def log_start(run: RunDir, data: LoadedData, facts: list[str]) -> None:
    table, names = data.manifest.table, data.manifest.class_names
    counts = pd.crosstab(table["split"], table["target"]).reindex(index=list(SPLITS), columns=range(len(names)), fill_value=0)
    shown = [f"{counts[target].sum()} of class {name}" for target, name in enumerate(names)]
    classes = ", ".join(shown if len(shown) <= 10 else [*shown[:10], f"… {len(shown)} classes in all"])
    log.info("%s", data.manifest.layout)
    log.info("%s: %s; %s", count_of(len(table)), classes, ", ".join(f"{part} {counts.loc[part].sum()}" for part in SPLITS))
    for line in brief(data.audit):
        log.info("%s", line)
    if len(data.problems):
        log.info("%d image%s set aside, listed in %s", len(data.problems), "s"[: len(data.problems) > 1], run.problems)
    for fact in facts:
        log.info("%s", fact)
    log.info("run: %s", run.root)


class LogFile(logging.FileHandler):
    """A log that a full disk makes shorter. Logging's own way would be a traceback on the screen for each line."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Drop a line that cannot be written."""


@contextmanager
def log_file(run: RunDir) -> Iterator[None]:
    """Write messages to the run's log.txt, even if the calling program shows none."""
    handler = LogFile(run.log, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    ours = logging.getLogger("diptych")
    level = ours.level
    ours.addHandler(handler)
    if not ours.isEnabledFor(logging.INFO):
        ours.setLevel(logging.INFO)
    try:
        yield
    finally:
        ours.setLevel(level)
        ours.removeHandler(handler)
        with suppress(OSError):
            handler.close()
