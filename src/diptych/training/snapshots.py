"""Snapshots: the whole state of a training, saved between two batches, to resume from bit for bit."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from diptych.errors import CheckpointError, TrainingError
from diptych.model.checkpoint import named_arrays
from diptych.storage.arrays import read_arrays, write_arrays
from diptych.storage.atomic import rename
from diptych.storage.run_dir import RunDir
from diptych.training.state import TrainState

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Snapshot:
    """What a file of a training's state holds.

    Attributes:
        path: the file.
        state: where the training stood.
        arrays: the variables of the network, the optimizer and the metrics, by "OWNER/NUMBER/PATH".
    """

    path: Path
    state: TrainState
    arrays: dict[str, NDArray[Any]]

    def restore(self, owner: str, variables: Iterable[keras.Variable]) -> None:
        """Give the variables of "model", "optimizer" or "metrics" their saved values.

        Raises:
            CheckpointError: the file has other variables than these.
        """
        saved = [array for name, array in self.arrays.items() if name.startswith(f"{owner}/")]
        variables = list(variables)
        if [array.shape for array in saved] != [tuple(variable.shape) for variable in variables]:
            raise CheckpointError(f"{self.path} does not fit: {len(saved)} variables of the {owner}, expected {len(variables)}.")
        for variable, array in zip(variables, saved, strict=True):
            variable.assign(array)


def save_snapshot(run: RunDir, network: keras.Model, state: TrainState, class_names: Sequence[str]) -> None:
    """Write the training down as last.safetensors; the one before becomes previous.safetensors.

    Raises:
        TrainingError: a weight is not finite, so that nothing is to be gained from it; the files are as they were.
        OSError: the disk is full, or the folder cannot be written; the files are as they were.
    """
    arrays = named_arrays("model", network.variables)
    broken = [name for name, array in arrays.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]
    if broken:
        raise TrainingError(
            f"the weights are not finite any more: {broken[0]}{f' and {len(broken) - 1} more' * (len(broken) > 1)}"
        )
    arrays |= named_arrays("optimizer", network.optimizer.variables) | named_arrays("metrics", network.metrics_variables)
    waiting = run.last.with_name("next.safetensors")
    write_arrays(waiting, arrays, {"class_names": list(class_names), "epoch": state.epoch, "state": state.to_json()})
    if run.last.is_file():
        rename(run.last, run.previous)
    rename(waiting, run.last)


def read_snapshot(run: RunDir) -> Snapshot | None:
    """Read the last snapshot that is whole; say which ones are not. None where there is none.

    Raises:
        CheckpointError: there is one, and it may not be read.
    """
    for path in (run.last, run.previous):
        if path.is_file():
            try:
                facts, arrays = read_arrays(path, "model", "optimizer", "metrics")
                return Snapshot(path, TrainState.from_json(facts["state"]), arrays)
            except (CheckpointError, KeyError, TypeError) as error:
                # It may be as good as ever: to begin again would write over it.
                if isinstance(error.__cause__, PermissionError):
                    raise
                log.warning(
                    "Warning: %s", error if isinstance(error, CheckpointError) else f"{path} holds no training: {error!r}"
                )
    return None
