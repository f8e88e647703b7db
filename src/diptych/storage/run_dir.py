"""RunDir: the folder of a run, with a name for each of its files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych.storage.atomic import FORMAT_VERSION, delete, is_abandoned, is_old, read_json, write_json

# The classes of a folder 0/ and 1/.
TWO_CLASSES = ("0", "1")


def tidy(run: "RunDir", *, alone: bool = False) -> None:
    """Delete what processes that were killed left half written in a run.

    Args:
        run: the run.
        alone: whether this process holds the run, so that no other one writes checkpoints.
    """
    for path in [*run.root.glob(".partial-*"), *run.root.glob("*/.partial-*")]:
        if is_abandoned(path) or is_old(path):
            delete(path)
    # A snapshot that had not got its name yet.
    waiting = run.last.with_name("next.safetensors")
    if alone or is_old(waiting):
        delete(waiting)


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
    def thinned(self) -> Path:
        """Why the state to resume from was deleted, if it was."""
        return self.root / "thinned.txt"

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
        CheckpointError: the file is missing, damaged, or of a format that this version does not know.
    """
    return read_json(run.classes, class_names_of, "Bring back the file that the training wrote.")


def class_names_of(content: dict[str, Any]) -> tuple[str, ...]:
    names = content["class_names"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(set(names)) < max(2, len(names)):
        raise ValueError("class_names are not two or more names, each once")
    return tuple(names)
