"""Files that are either whole or not there, and where everything of a run lies."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diptych.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    import pandas as pd

FORMAT_VERSION = 1
PathLike = str | os.PathLike[str]
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


def write_table(path: Path, table: "pd.DataFrame") -> None:
    """Write a table as CSV atomically, without its index."""
    write_text(path, table.to_csv(index=False))


def refuse_unwritable(folder: Path, mend: str) -> None:
    """Raise a ConfigError where no file can be written into a folder, before the work whose result shall lie there.

    Nothing is left behind, and a folder that is not there yet is not made.

    Args:
        folder: it, or the nearest one above it that exists, is tried.
        mend: what to do about it.
    """
    nearest = folder
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written: {error.strerror or error}. {mend}") from error


def as_paths(paths: object) -> list[Path]:
    """Return the paths that a caller gives as text, as a path, or as several of these.

    Raises:
        TypeError: they are anything else.
    """
    if isinstance(paths, str | os.PathLike):
        return [Path(paths)]
    if not isinstance(paths, Iterable) or isinstance(paths, bytes):
        raise TypeError(f"expected a path (text or pathlib.Path) or several of them; got {paths!r}, a {type(paths).__name__}")
    found = list(paths)
    for path in found:
        if not isinstance(path, str | os.PathLike):
            raise TypeError(f"expected paths (text or pathlib.Path); got {path!r} among them, a {type(path).__name__}")
    return [Path(path) for path in found]


def sha256(content: bytes) -> str:
    """Return the SHA-256 of `content`, 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class RunDir:
    """The folder of one run; every file of it has its name here and nowhere else. In Python, text will do for `root`."""

    root: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root))

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
    def tensorboard(self) -> Path:
        return self.root / "tensorboard"

    @property
    def mlflow(self) -> Path:
        return self.root / "mlflow.json"

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
    def previous(self) -> Path:
        return self.root / "checkpoints" / "previous.safetensors"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

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
    def decision(self) -> Path:
        return self.root / "decision.json"

    @property
    def outliers(self) -> Path:
        return self.root / "outliers.safetensors"

    @property
    def report(self) -> Path:
        return self.root / "evaluation" / "report.html"

    @property
    def model_card(self) -> Path:
        return self.root / "model_card.md"

    @property
    def predictions(self) -> Path:
        return self.root / "evaluation" / "predictions.csv"

    @property
    def explanations(self) -> Path:
        return self.root / "explanations"


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
