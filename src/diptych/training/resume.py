"""Checks before resuming a run: same settings, same images, no other process training it."""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from diptych.data.dataset import LoadedData
from diptych.data.reading.layouts import image_folder
from diptych.errors import CheckpointError, ConfigError, DataError
from diptych.machine.environment import installed_versions
from diptych.screen import command_line, quoted
from diptych.settings.config import Config
from diptych.settings.sources import read_toml, to_toml
from diptych.storage.atomic import reason_of, write_text
from diptych.storage.lock import only_one
from diptych.storage.run_dir import RunDir
from diptych.storage.runs import is_run, new_run, read_environment
from diptych.training.resolve import Wanted
from diptych.training.state import read_state

log = logging.getLogger(__name__)

# These change nothing of what is trained.
FREE = (
    *(("data", "cache"), ("data", "max_unreadable"), ("data", "strict"), ("training", "checkpoint_minutes")),
    *(("tracking", "tensorboard"), ("tracking", "mlflow")),
)
SHOWN = 5


def changes_of_settings(saved: Config, wanted: Config, *, may_be_longer: bool = True) -> list[str]:
    """Name the settings that differ and that a training cannot resume with.

    Args:
        saved: the settings that it was begun with.
        wanted: those asked for.
        may_be_longer: whether more epochs are allowed; not where trainings of several lengths could not be compared.
    """
    found = []
    for section in dataclasses.fields(Config):
        before, after = vars(getattr(saved, section.name)), vars(getattr(wanted, section.name))
        for key, value in before.items():
            longer = key == "epochs" and after[key] > value and may_be_longer
            if after[key] != value and not longer and (section.name, key) not in FREE:
                found.append(f"{key} is {after[key]}, was {value}")
    return found


def refuse_changes(what: str, changes: Sequence[str], again: str) -> None:
    """Refuse a name that is taken by a training with other settings.

    Args:
        what: the training and its folder.
        changes: what differs, as `changes_of_settings` names it; nothing is refused where it is empty.
        again: how to resume it as it was.

    Raises:
        ConfigError: there are changes.
    """
    if changes:
        raise ConfigError(
            f"{what} exists already, with other settings: {'; '.join(changes)}. Resume it with the same settings {again}, or "
            "choose another --name."
        )


def is_finished(run: RunDir, config: Config) -> bool:
    """Tell whether the training of a run came to its end, for the epochs of `config`, and best.keras was written.

    One whose checkpoints were deleted is finished for good: to begin again would write over its best weights.
    """
    if why_thinned(run):
        return True
    state = read_state(run)
    return state is not None and state.finished(config.training.epochs) and run.best_keras.is_file()


def thin(run: RunDir, why: str) -> None:
    """Delete the state that a finished training could resume from, and record that it is finished, and why."""
    if not run.thinned.is_file():
        write_text(run.thinned, f"its checkpoints were deleted {why}.\n")
    for path in (run.last, run.previous, run.best_keras):
        path.unlink(missing_ok=True)


def why_thinned(run: RunDir) -> str:
    """Return why the state of a finished training was deleted; "" if it was not."""
    if run.thinned.is_file():
        return run.thinned.read_text(encoding="utf-8").strip()
    if run.best_keras.is_file() and not run.last.is_file() and not run.previous.is_file():
        return (
            f"it is finished, and {run.last.name} and {run.previous.name} are gone. Restore one of them, or start a new run "
            f"from its best epoch: --weights {quoted(run.root)}."
        )
    return ""


def find_named(wanted: Wanted, name: str) -> tuple[RunDir, Config] | None:
    """Find the stopped run of a name, as far as its settings tell; or make sure that the name is free for a new one.

    Args:
        wanted: the settings asked for.
        name: of the run; "" for a new one whatever there is.

    Returns:
        The run, and the settings to resume it with; None where the name is free.

    Raises:
        ConfigError: the run has other settings, or is finished, or the name is not one for a folder.
    """
    run = RunDir(wanted.runs / name)
    if not name or not is_run(run.root) or run.folds.is_file():
        new_run(wanted.runs, name)
        return None
    saved = read_toml(run.config, Config())
    config = wanted.like(saved)
    again = f"({command_line('resume', run.root)}){how_to_resume_moved(run, saved, config)}"
    refuse_changes(f"run {run.root}", changes_of_settings(saved, config), again)
    if is_finished(run, config):
        raise ConfigError(f"run {run.root} exists already, and is finished; choose another --name, or delete that folder.")
    return run, config


def how_to_resume_moved(run: RunDir, saved: Config, wanted: Config) -> str:
    """Return how to resume a training whose images have moved, if a changed setting looks like that; else ""."""
    if wanted.data.data == saved.data.data:
        return ""
    return f"; if its images have only moved, with {command_line('resume', run.root, '--data', wanted.data.data)}"


def find_alike(wanted: Wanted, data: LoadedData) -> tuple[RunDir, Config] | None:
    """Return the newest unfinished run of the very same settings and images that nobody is training now, and those settings."""
    alike = []
    for folder in wanted.runs.iterdir() if wanted.runs.is_dir() else ():
        run = RunDir(folder)
        try:
            if not is_run(folder) or run.folds.is_file():
                continue
            saved = read_toml(run.config, Config())
            config = wanted.like(saved)
            same = not changes_of_settings(saved, config) and config.training.epochs == saved.training.epochs
            if same and not is_finished(run, config) and not changes_of_data(run, data):
                with only_one(run):
                    alike.append((read_environment(run)["created"], folder, config))
        # A run that cannot be read, or is being trained, cannot be resumed.
        except (ConfigError, CheckpointError, OSError):
            continue
    if not alike:
        return None
    _, folder, config = max(alike, key=lambda found: found[:2])
    return RunDir(folder), config


def changes_of_data(run: RunDir, data: LoadedData) -> list[str]:
    """Name the images that have changed since the run was started.

    Raises:
        CheckpointError: the run's split cannot be read.
    """
    # The folds of a cross-validation are the split.
    table, columns = (run.folds, []) if run.folds.is_file() else (run.split, ["split"])
    columns = ["path", "target", "sha256", *columns]
    try:
        before = pd.read_csv(table, dtype=str, keep_default_na=False)[columns].set_index("path")
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{table} {reason_of(error)}. Bring back the file that the training wrote.") from error
    now = data.manifest.table[columns].astype(str).set_index("path")
    found = [f"{path} is gone" for path in before.index.difference(now.index)]
    found += [f"{path} is new" for path in now.index.difference(before.index)]
    both = before.index.intersection(now.index)
    words = {"sha256": "is another file", "target": "has another label", "split": "is in another part of the split"}
    for column in before.columns:
        other = both[(before.loc[both, column] != now.loc[both, column]).to_numpy()]
        found += [f"{path} {words[column]}" for path in other]
    return found


def refuse_changes_of_data(run: RunDir, data: LoadedData, what: str = "run") -> None:
    """Raise a DataError that names changed images, if there are any; `what` is "run", "search" and so on."""
    changes = changes_of_data(run, data)
    if changes:
        more = f" and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
        raise DataError(
            f"the images are not those that the {what} {run.root} was started with: {'; '.join(changes[:SHOWN])}{more}. Bring "
            "them "
            f"back, or start a new {what} with another --name."
        )


def refuse_to_resume(run: RunDir, config: Config) -> None:
    """Raise an error if a run cannot be resumed.

    Args:
        run: the run.
        config: its settings, perhaps with more epochs, a folder to which its images have moved, and what changes nothing of
            the result.

    Raises:
        ConfigError: there is nothing left to train, or fewer epochs are asked for than before.
        CheckpointError: the state to resume from was deleted.
    """
    epochs, before = config.training.epochs, read_toml(run.config, Config()).training.epochs
    if why := why_thinned(run):
        raise CheckpointError(f"run {run.root} cannot be resumed: {why}")
    if epochs < before:
        raise ConfigError(f"epochs is {epochs}, but {run.root} was started with {before}; only more are allowed.")
    if is_finished(run, config):
        raise ConfigError(f"run {run.root} is finished. To train it for longer, give more epochs than {epochs}.")


def write_changes(run: RunDir, config: Config) -> None:
    """Write the settings that a resumed run has from now on, if they changed. Only for the holder of the run's lock."""
    saved, epochs = read_toml(run.config, Config()), config.training.epochs
    if epochs > saved.training.epochs and (saved.training.schedule == "one-cycle" or saved.training.start_size < 1):
        log.warning("Warning: the learning-rate and image-size schedules are now recomputed for %d epochs.", epochs)
    if config != saved:
        write_text(run.config, to_toml(config))


def moved_to(saved: Config, wanted: Config) -> Config:
    """Return saved settings for the place where the images of `wanted` lie, if that is another one."""
    return saved if wanted.data.data == saved.data.data else with_data(saved, wanted.data.data)


def with_data(config: Config, data: Path) -> Config:
    """Return settings for a data folder that has moved, with the tables that lay in it."""
    before, now = config.data.data, data.resolve()
    if not now.exists():
        raise DataError(f"--data {data}: no such folder or table.")
    if (now / before.name).is_file() and not before.is_dir():
        # The table, by the folder that it lies in.
        now /= before.name
    # Of a table, the folder around it has moved.
    old, new = (before, now) if now.is_dir() else (before.parent, now.parent)
    moved = {
        key: new / table.relative_to(old)
        for key in ("fixes", "split")
        if (table := getattr(config.data, key)) is not None and table.is_relative_to(old)
    }
    if config.data.images is not None:
        moved["images"] = image_folder(config.data, now)
    return dataclasses.replace(config, data=dataclasses.replace(config.data, data=now, **moved))


def warn_of_versions(run: RunDir) -> None:
    """Warn if packages have changed since the run was started: the result may then differ in some bits."""
    before, now = read_environment(run)["packages"], installed_versions()
    changed = [f"{name} {before[name]} to {now.get(name, 'none')}" for name in before if before[name] != now.get(name)]
    if changed:
        log.warning("Warning: packages have changed since the run was started (%s); bits may differ.", ", ".join(changed))
