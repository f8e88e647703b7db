"""The folder of runs: making a new one, finding an old one."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from diptych.errors import CheckpointError, ConfigError
from diptych.storage import FORMAT_VERSION, RunDir

# Where runs are kept, unless another folder is named.
RUNS = Path("runs")
# A run's folder is filled within seconds.
ABANDONED_SECONDS = 3600


def new_run(runs: Path, name: str) -> RunDir:
    """Name the folder of a new run, without making it.

    Args:
        runs: the folder that holds all runs.
        name: the run's name; "" for one made of the date and time.

    Raises:
        ConfigError: a run of that name exists, or the name is not a plain folder name.
    """
    name = name or f"{datetime.now():%Y%m%d-%H%M%S}"
    if Path(name).name != name or name in {".", ".."}:
        raise ConfigError(f"run name {name!r}: expected a plain folder name, without slashes.")
    if (runs / name).exists():
        raise ConfigError(f"run {runs / name} exists already; choose another --name, or delete that folder.")
    return RunDir(runs / name)


def tidy(runs: Path) -> None:
    """Delete folders that a process began to fill and was killed at."""
    for folder in runs.glob(".partial-*"):
        if time.time() - folder.stat().st_mtime > ABANDONED_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def creating_run(runs: Path, name: str) -> Iterator[RunDir]:
    """Make the folder of a new run: fill what is yielded; it gets its name when all of it is there.

    Raises:
        ConfigError: as `new_run`, or nothing can be written there.
    """
    run = new_run(runs, name)
    tidy(runs)
    aside = RunDir(runs / f".partial-{os.getpid()}-{run.root.name}")
    try:
        aside.root.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"run {run.root} cannot be made: {error.strerror}. Choose a folder with --runs.") from error
    try:
        yield aside
        aside.root.replace(run.root)
    finally:
        shutil.rmtree(aside.root, ignore_errors=True)


def is_run(folder: Path) -> bool:
    """Tell whether `folder` is the folder of a run."""
    run = RunDir(folder)
    return run.config.is_file() and run.environment.is_file() and not folder.name.startswith(".partial-")


def open_run(run: object) -> RunDir:
    """Return the run that a caller in Python names: a RunDir, or the folder of a run or its name in runs/ as text or path.

    Raises:
        TypeError: it is none of these.
        CheckpointError: as `find_run`.
    """
    if isinstance(run, RunDir):
        return run
    if not isinstance(run, str | os.PathLike):
        raise TypeError(f"expected a run: its folder or its name as text or pathlib.Path; got {run!r}, a {type(run).__name__}")
    return find_run(Path(run), RUNS, folds=False)


def find_run(run: Path | None, runs: Path, *, folds: bool = True) -> RunDir:
    """Find a run by its path or its name, or the newest one.

    Args:
        run: path of a run, or its name in `runs`; None for the run that was started last.
        runs: the folder that holds all runs.
        folds: whether it may be the folder of a cross-validation.

    Raises:
        CheckpointError: there is no such run, or none at all, or it is a cross-validation.
    """
    found = find_any_run(run, runs)
    if found.folds.is_file() and not folds:
        raise CheckpointError(f"{found.root} holds the runs of a cross-validation; name one of them: {found.root / 'fold-1'}.")
    return found


def find_any_run(run: Path | None, runs: Path) -> RunDir:
    if run is not None:
        for folder in (run, runs / run):
            if is_run(folder):
                return RunDir(folder)
        raise CheckpointError(f"{run} is not a run: no config.toml in it, nor in {runs / run}. Runs are made by diptych train.")
    folders = list_runs(runs)
    if not folders:
        raise CheckpointError(f"no run in {runs}; train one first (diptych train), or name the folder with --runs.")
    return folders[-1]


def list_runs(runs: Path) -> list[RunDir]:
    """Return the runs in a folder, the one that was started last at the end."""
    folders = [folder for folder in runs.iterdir() if is_run(folder)] if runs.is_dir() else []
    return [
        RunDir(folder) for folder in sorted(folders, key=lambda found: (read_environment(RunDir(found))["created"], found.name))
    ]


def read_environment(run: RunDir) -> dict[str, Any]:
    """Read environment.json of a run.

    Raises:
        CheckpointError: it is damaged, or of a format that this version does not know.
    """
    try:
        environment: dict[str, Any] = json.loads(run.environment.read_text(encoding="utf-8"))
        version, _ = environment["format_version"], environment["created"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{run.environment} is damaged: {error!r}. Delete the folder if the run is not needed.") from error
    if version != FORMAT_VERSION:
        raise CheckpointError(f"{run.root}: run format {version}; this version of Diptych reads {FORMAT_VERSION}.")
    return environment
