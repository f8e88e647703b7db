"""Whether a training can go on: the same settings, the same images, and nobody else at it."""

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from filelock import FileLock, Timeout

from diptych.config import Config, DataConfig, TrackingConfig
from diptych.data.load import LoadedData
from diptych.environment import installed_versions
from diptych.errors import CheckpointError, ConfigError, DataError
from diptych.presets import read_toml, to_toml
from diptych.runs import is_run, read_environment
from diptych.storage import RunDir, write_text
from diptych.training.state import read_state
from diptych.training.tracking import whole_tracking

log = logging.getLogger(__name__)

# These change nothing of what is trained.
FREE = (
    *(("data", "cache"), ("data", "max_unreadable"), ("data", "strict"), ("training", "checkpoint_minutes")),
    *(("tracking", "tensorboard"), ("tracking", "mlflow")),
)
SHOWN = 5


def whole_paths(settings: DataConfig) -> DataConfig:
    """Name files and folders by their whole paths: a run is found, evaluated and repeated from any folder."""
    optional = {key: value.resolve() for key in ("fixes", "split") if (value := getattr(settings, key)) is not None}
    # A path that begins with ~ means the same from any folder, and for another user too.
    cache = settings.cache if settings.cache.parts[:1] == ("~",) else settings.cache.resolve()
    return dataclasses.replace(settings, data=settings.data.resolve(), cache=cache, **optional)


def whole_name(weights: str, runs: Path) -> str:
    """Name weights that are a file or a run by their whole path."""
    found = [place for place in (Path(weights), runs / weights) if weights not in ("imagenet", "none", "auto") and place.exists()]
    return str(found[0].resolve()) if found else weights


def with_whole_paths(config: Config, runs: Path) -> Config:
    """Return settings that mean the same from any folder."""
    model = dataclasses.replace(config.model, weights=whole_name(config.model.weights, runs))
    tracking = whole_tracking(config.tracking)
    return dataclasses.replace(config, data=whole_paths(config.data), model=model, tracking=tracking)


def changes_of_settings(saved: Config, wanted: Config) -> list[str]:
    """Name the settings that a training cannot go on with; more epochs are allowed."""
    found = []
    for section in dataclasses.fields(Config):
        before, after = vars(getattr(saved, section.name)), vars(getattr(wanted, section.name))
        for key, value in before.items():
            more = key == "epochs" and after[key] > value
            if after[key] != value and not more and (section.name, key) not in FREE:
                found.append(f"{key} is {after[key]}, was {value}")
    return found


def is_finished(run: RunDir, config: Config) -> bool:
    """Tell whether the training of a run came to its end, for the epochs of `config`, and best.keras was written."""
    state = read_state(run)
    return state is not None and state.finished(config.training.epochs) and run.best_keras.is_file()


def find_named(run: RunDir, wanted: Sequence[Config]) -> bool:
    """Tell whether there is a run that can go on, so far as its settings tell.

    Args:
        run: the folder that a run of this name would have.
        wanted: the settings asked for; of several (for the recipe "auto") one must be the run's.

    Raises:
        ConfigError: the run has other settings.
    """
    if not is_run(run.root) or run.folds.is_file():
        return False
    saved = read_toml(run.config, Config())
    changes = min((changes_of_settings(saved, config) for config in wanted), key=len)
    if changes:
        raise ConfigError(
            f"run {run.root} exists already, with other settings: {'; '.join(changes)}. Go on with it as it was set up (diptych "
            f"resume {run.root}), or choose another --name."
        )
    return any(not is_finished(run, config) for config in wanted)


def find_alike(runs: Path, wanted: Sequence[Config], data: LoadedData) -> RunDir | None:
    """Return the newest unfinished run of the very same settings and images that nobody is training now."""
    alike = []
    for folder in runs.iterdir() if runs.is_dir() else ():
        run = RunDir(folder)
        try:
            if is_run(folder) and not run.folds.is_file() and unfinished_like(run, wanted) and not changes_of_data(run, data):
                with only_one(run):
                    alike.append((read_environment(run)["created"], folder))
        # A run that cannot be read, or is being trained, is none to go on with.
        except (ConfigError, CheckpointError):
            continue
    return RunDir(max(alike)[1]) if alike else None


def unfinished_like(run: RunDir, wanted: Sequence[Config]) -> bool:
    saved = read_toml(run.config, Config())
    same = [config for config in wanted if not changes_of_settings(saved, config) and config.training == saved.training]
    return any(not is_finished(run, config) for config in same)


def changes_of_data(run: RunDir, data: LoadedData) -> list[str]:
    """Name the images that are not as they were when the run was begun.

    Raises:
        CheckpointError: the run's split cannot be read.
    """
    columns = ["path", "target", "split", "sha256"]
    try:
        before = pd.read_csv(run.split, dtype=str, keep_default_na=False)[columns].set_index("path")
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{run.split} is missing or damaged: {error}") from error
    now = data.manifest.table[columns].astype(str).set_index("path")
    found = [f"{path} is gone" for path in before.index.difference(now.index)]
    found += [f"{path} is new" for path in now.index.difference(before.index)]
    both = before.index.intersection(now.index)
    words = {"sha256": "is another file", "target": "has another label", "split": "is in another part of the split"}
    for column, what in words.items():
        other = both[(before.loc[both, column] != now.loc[both, column]).to_numpy()]
        found += [f"{path} {what}" for path in other]
    return found


def refuse_changes_of_data(run: RunDir, data: LoadedData, what: str = "run") -> None:
    """Raise a DataError that names what has changed, if anything has; `what` is a word for what goes on."""
    changes = changes_of_data(run, data)
    if changes:
        more = f" and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
        raise DataError(
            f"the images are not those that the {what} {run.root} was begun with: {'; '.join(changes[:SHOWN])}{more}. Bring them "
            f"back, or begin a new {what} with another --name."
        )


def extend(run: RunDir, epochs: int | None, tracking: TrackingConfig | None = None) -> Config:
    """Return the settings of a run that is to go on. More epochs, if they are asked for, and another place to log to are
    written down.

    Raises:
        ConfigError: there is nothing left to train, or fewer epochs are asked for than before.
    """
    saved = read_toml(run.config, Config())
    wanted = saved.training.epochs if epochs is None else epochs
    config = dataclasses.replace(
        saved, training=dataclasses.replace(saved.training, epochs=wanted), tracking=tracking or saved.tracking
    )
    if wanted < saved.training.epochs:
        raise ConfigError(f"--epochs is {wanted}, but {run.root} was begun with {saved.training.epochs}; only more are allowed.")
    if is_finished(run, config):
        raise ConfigError(f"run {run.root} is finished. To train it for longer, give more epochs than {wanted}: --epochs N.")
    if wanted > saved.training.epochs and (saved.training.schedule == "one-cycle" or saved.training.start_size < 1):
        log.warning("Warning: rates and image sizes are from now on those of a training of %d epochs.", wanted)
    if config != saved:
        write_text(run.config, to_toml(config))
    return config


@contextmanager
def only_one(run: RunDir) -> Iterator[None]:
    """Hold the run for this process; the system lets go of it when the process ends, however that comes about.

    Raises:
        ConfigError: another process trains it.
    """
    lock = FileLock(run.lock, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise ConfigError(
            f"run {run.root} is being trained by another process; wait for it, or choose another --name."
        ) from error
    try:
        yield
    finally:
        lock.release()


def tidy(run: RunDir) -> None:
    """Delete what a process that was killed left half written."""
    for path in [*run.root.glob(".partial-*"), *run.root.glob("*/.partial-*"), run.last.with_name("next.safetensors")]:
        path.unlink(missing_ok=True)


def warn_of_versions(run: RunDir) -> None:
    """Say where packages have changed since the run was begun: the result is then not the same bit for bit."""
    before, now = read_environment(run)["packages"], installed_versions()
    changed = [f"{name} {before[name]} to {now.get(name, 'none')}" for name in before if before[name] != now.get(name)]
    if changed:
        log.warning("Warning: packages have changed since the run was begun (%s); bits may differ.", ", ".join(changed))
