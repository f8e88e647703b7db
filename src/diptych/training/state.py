"""TrainState: the progress of a training, besides the variables of network and optimizer."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import safetensors

from diptych.storage.history import Row
from diptych.storage.run_dir import RunDir


@dataclass(frozen=True)
class TrainState:
    """All that a training needs to resume as if it had never been stopped, except the variables.

    Attributes:
        epoch: epochs that are finished.
        batch: batches of the running epoch that are done.
        phase: the phase of the recipe's plan that the saved optimizer belongs to.
        seconds: time that the running epoch has taken so far.
        figures: loss and accuracy of the running epoch's training, once it is done and the validation is not.
        history: a row an epoch, as in history.csv.
        best_score: what the best checkpoint was chosen by; None where there is none yet.
        best_epoch: the epoch of the best checkpoint, counted from 1; 0 where there is none yet.
        plateau_loss: the lowest validation loss that the plateau schedule has seen.
        plateau_wait: epochs since then, or since the rate was lowered.
        stop_loss: the lowest validation loss that early stopping has seen.
        stop_wait: epochs since then.
        stopped: whether early stopping has ended the training.
    """

    epoch: int = 0
    batch: int = 0
    phase: int = 0
    seconds: float = 0.0
    figures: Mapping[str, float] | None = None
    history: tuple[Row, ...] = ()
    best_score: tuple[float, float] | None = None
    best_epoch: int = 0
    plateau_loss: float | None = None
    plateau_wait: int = 0
    stop_loss: float | None = None
    stop_wait: int = 0
    stopped: bool = False

    def finished(self, epochs: int) -> bool:
        """Tell whether a training of `epochs` epochs is at its end."""
        return self.stopped or self.epoch >= epochs

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values; JSON keeps every bit of a float."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "TrainState":
        """Return the state that `to_json` wrote.

        Raises:
            TypeError: a field is missing or unknown.
        """
        score = content["best_score"]
        return cls(**{**content, "history": tuple(content["history"]), "best_score": None if score is None else tuple(score)})


def read_state(run: RunDir) -> TrainState | None:
    """Read the state of a run's training, without its variables; None if no snapshot is intact."""
    for path in (run.last, run.previous):
        try:
            with safetensors.safe_open(path, framework="numpy") as file:
                return TrainState.from_json(json.loads((file.metadata() or {})["diptych"])["state"])
        except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError):
            continue
    return None


def read_kept_epoch(run: RunDir) -> int | None:
    """Return the epoch, counted from 1, whose weights are in the best checkpoint; None where there is no whole one."""
    try:
        with safetensors.safe_open(run.best, framework="numpy") as file:
            return int(json.loads((file.metadata() or {})["diptych"])["epoch"])
    except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError):
        return None
