"""Files that are either whole or not there, and where everything of a run lies."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from diptych.errors import CheckpointError, ConfigError

FORMAT_VERSION = 1
# Where runs are kept, unless another folder is named.
RUNS = Path("runs")
# The classes of a run from before their names were written down.
TWO_CLASSES = ("0", "1")


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, sync it, and move it into place: `path` is never half written.

    Args:
        path: where the file shall stand; its folder is made if need be.
        write: is given the path to write to; its name ends like `path`.

    Raises:
        OSError: the disk is full or the folder cannot be written; `path` is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        write(partial)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_atomically(path, lambda partial: partial.write_bytes(text.encode("utf-8")))


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON atomically; NaN and infinities are refused, for JSON has none."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV atomically, without its index."""
    write_text(path, table.to_csv(index=False))


def sha256(content: bytes) -> str:
    """Return the SHA-256 of `content`, 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class RunDir:
    """The folder of one run; every file of it has its name here and nowhere else."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "config.toml"

    @property
    def environment(self) -> Path:
        return self.root / "environment.json"

    @property
    def audit(self) -> Path:
        return self.root / "audit.json"

    @property
    def folds(self) -> Path:
        return self.root / "folds.csv"

    @property
    def classes(self) -> Path:
        return self.root / "classes.json"

    @property
    def split(self) -> Path:
        return self.root / "split.csv"

    @property
    def problems(self) -> Path:
        return self.root / "problems.csv"

    @property
    def history(self) -> Path:
        return self.root / "history.csv"

    @property
    def log(self) -> Path:
        return self.root / "log.txt"

    @property
    def best(self) -> Path:
        return self.root / "checkpoints" / "best.safetensors"

    @property
    def last(self) -> Path:
        return self.root / "checkpoints" / "last.safetensors"

    @property
    def best_keras(self) -> Path:
        return self.root / "best.keras"

    @property
    def plots(self) -> Path:
        return self.root / "plots"

    @property
    def metrics(self) -> Path:
        return self.root / "evaluation" / "metrics.json"

    @property
    def predictions(self) -> Path:
        return self.root / "evaluation" / "predictions.csv"


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


def create_run(runs: Path, name: str) -> RunDir:
    """Make the folder of a new run.

    Raises:
        ConfigError: as `new_run`, or nothing can be written there.
    """
    run = new_run(runs, name)
    try:
        run.root.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"run {run.root} cannot be made: {error.strerror}. Choose a folder with --runs.") from error
    return run


def is_run(folder: Path) -> bool:
    """Tell whether `folder` is the folder of a run."""
    return RunDir(folder).config.is_file() and RunDir(folder).environment.is_file()


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
    folders = [folder for folder in runs.iterdir() if is_run(folder)] if runs.is_dir() else []
    if not folders:
        raise CheckpointError(f"no run in {runs}; train one first (diptych train), or name the folder with --runs.")
    return RunDir(max(folders, key=lambda folder: (read_environment(RunDir(folder))["created"], folder.name)))


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


def write_classes(run: RunDir, class_names: Sequence[str]) -> None:
    """Write the names of a run's classes in the order of their targets."""
    write_json(run.classes, {"format_version": FORMAT_VERSION, "class_names": list(class_names)})


def read_classes(run: RunDir) -> tuple[str, ...]:
    """Read the names of a run's classes in the order of their targets.

    Raises:
        CheckpointError: the file is damaged, or of a format that this version does not know.
    """
    if not run.classes.is_file():
        return TWO_CLASSES
    try:
        content = json.loads(run.classes.read_text(encoding="utf-8"))
        version, names = content["format_version"], tuple(content["class_names"])
        listed = isinstance(content["class_names"], list) and all(isinstance(name, str) for name in names)
        if not listed or len(set(names)) < max(2, len(names)):
            raise ValueError("class_names are not two or more names, each once")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{run.classes} is damaged: {error!r}. Bring back the file that the training wrote.") from error
    if version != FORMAT_VERSION:
        raise CheckpointError(f"{run.root}: run format {version}; this version of Diptych reads {FORMAT_VERSION}.")
    return names
