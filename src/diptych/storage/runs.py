"""The folder of runs: making a new one, finding an old one."""

import itertools
import logging
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from diptych.errors import CheckpointError, ConfigError
from diptych.storage.atomic import as_path, delete, is_abandoned, is_old, read_json, rename
from diptych.storage.run_dir import RunDir

log = logging.getLogger(__name__)

# Where runs are kept, unless another folder is named.
RUNS = Path("runs")
# What the folders hold that check, find-lr, explain, label-errors and series of trainings write.
OUTPUTS = (
    ("check.json", "check.html"),
    ("find_lr.json", "find_lr.csv"),
    ("explanations.json",),
    ("label_errors.csv",),
    ("series.json", "config.toml"),
)
# How the folders of prepared images are called: v1-224-stretch.
CACHE_NAME = re.compile(r"v[0-9]+-[0-9]+-.+")


def new_run(runs: Path, name: str) -> RunDir:
    """Name the folder of a new run, without making it.

    Args:
        runs: the folder that holds all runs.
        name: the run's name; "" for one made of the date and time.

    Raises:
        ConfigError: a run of that name exists, or the name is not a plain folder name.
    """
    if not name:
        now = f"{datetime.now():%Y%m%d-%H%M%S}"
        names = itertools.chain([now], (f"{now}-{number}" for number in itertools.count(2)))
        name = next(free for free in names if not (runs / free).exists() and not any(runs.glob(f".partial-*-{free}")))
    check_name(name)
    if (runs / name).exists():
        raise ConfigError(f"run {runs / name} exists already; choose another --name, or delete that folder.")
    return RunDir(runs / name)


def check_name(name: str) -> None:
    """Raise a ConfigError where `name` is not the plain name of a folder."""
    if Path(name).name != name or name in {"", ".", ".."}:
        raise ConfigError(f"--name is {name!r}; expected a plain folder name, without slashes.")


def delete_abandoned_runs(runs: Path) -> None:
    """Delete folders that a process began to fill and was killed at; not too soon, for it may run on another machine."""
    for folder in runs.glob(".partial-*"):
        if is_old(folder) and is_abandoned(folder):
            delete(folder)


@contextmanager
def creating_run(runs: Path, name: str) -> Iterator[tuple[RunDir, RunDir]]:
    """Make the folder of a new run, or of several: fill the first that is yielded; it becomes the second when it is whole.

    Raises:
        ConfigError: as `new_run`, or another process was quicker, or nothing can be written there.
    """
    run = new_run(runs, name)
    delete_abandoned_runs(runs)
    # In a container, each process may have the same number.
    aside = RunDir(runs / f".partial-{os.getpid()}.{secrets.token_hex(4)}-{run.root.name}")
    try:
        aside.root.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"run {run.root} cannot be made: {error.strerror}. Choose a folder with --runs.") from error
    try:
        yield aside, run
        try:
            rename(aside.root, run.root)
        except OSError as error:
            if not run.root.exists():
                raise
            # Two processes were started with the same new name.
            raise ConfigError(f"{run.root} was made by another process in the meantime; choose another --name.") from error
    finally:
        shutil.rmtree(aside.root, ignore_errors=True)


def is_run(folder: Path) -> bool:
    """Tell whether `folder` is the folder of a run; one that may not be looked into is none."""
    run = RunDir(folder)
    return holds(folder, run.config.name, run.environment.name) and not folder.name.startswith(".partial-")


def is_output(folder: Path) -> bool:
    """Tell whether `folder` is one that a command of Diptych wrote: a run, a series of runs, a report, or prepared images."""
    if CACHE_NAME.fullmatch(folder.name) and any(folder.glob("pixels-*.u8")):
        return True
    return is_run(folder) or any(holds(folder, *names) for names in OUTPUTS)


def holds(folder: Path, *names: str) -> bool:
    """Tell whether files of these names are in a folder; of a locked folder nobody knows."""
    try:
        return all((folder / name).is_file() for name in names)
    except OSError:
        return False


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
    return find_run(as_path(run), RUNS, folds=False)


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
    found = []
    for folder in sorted(runs.iterdir()) if runs.is_dir() else ():
        try:
            if is_run(folder):
                found.append((read_environment(RunDir(folder))["created"], folder))
        # One of them shall not stand in the way of all others.
        except (CheckpointError, OSError) as error:
            log.warning("Warning: %s is passed over: %s", folder, error)
    return [RunDir(folder) for _, folder in sorted(found)]


def read_environment(run: RunDir) -> dict[str, Any]:
    """Read environment.json of a run.

    Raises:
        CheckpointError: it is missing, damaged, or of a format that this version does not know.
    """

    def complete(content: dict[str, Any]) -> dict[str, Any]:
        if "created" not in content:
            raise KeyError("created")
        return content

    return read_json(run.environment, complete, "Delete the folder if the run is not needed.")


def folds_of(run: RunDir) -> list[RunDir]:
    """Return the runs of a cross-validation, trained or not; none of any other run."""
    count = len(list((run.root / "splits").glob("fold-*.csv")))
    return [RunDir(run.root / f"fold-{number}") for number in range(1, count + 1)]
