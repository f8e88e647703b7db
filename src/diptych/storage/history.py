"""The history of a training: its columns, its times, and reading it from history.csv."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from typing import Literal

import pandas as pd

from diptych.storage.run_dir import RunDir

HISTORY_COLUMNS = (
    "epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "image_size", "seconds", "images_per_second",
)  # fmt: skip
Row = Mapping[str, float]
Ending = Literal["finished", "stopped", "failed"]


def times_of(created: str, history: Sequence[Row]) -> list[float]:
    """Return when the training began and each epoch ended, in seconds since 1970, as if it had never been stopped.

    Args:
        created: when the run was made, as environment.json has it.
        history: the epochs.
    """
    return list(accumulate((row["seconds"] for row in history), initial=datetime.fromisoformat(created).timestamp()))


def read_epochs(run: RunDir) -> pd.DataFrame:
    """Read the history of a run, which may have none yet: a row an epoch."""
    try:
        return pd.read_csv(run.history)
    except (OSError, pd.errors.EmptyDataError):
        return pd.DataFrame(columns=["epoch", "val_loss", "val_accuracy", "image_size", "seconds"])


def lowest_loss(epochs: pd.DataFrame, image_size: int) -> pd.Series | None:
    """Return the row with the lowest validation loss at the full image size, in pixels; None where there is none."""
    counted = epochs[(epochs["image_size"] == image_size) & epochs["val_loss"].map(math.isfinite)]
    return counted.sort_values("val_loss", kind="stable").iloc[0] if len(counted) else None
