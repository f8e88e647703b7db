"""Metrics and predictions of a tested run, read from its files."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diptych.errors import CheckpointError
from diptych.metrics.classification import probability_column
from diptych.metrics.probabilities import as_shares
from diptych.storage.atomic import reason_of
from diptych.storage.run_dir import RunDir

if TYPE_CHECKING:
    import pandas as pd


def read_shares(table: "pd.DataFrame", class_names: Sequence[str]) -> NDArray[np.float64]:
    """Return the probabilities (N, K) in a table of predictions; each row adds up to 1.

    Raises:
        ValueError: a column is not there, or holds no probabilities.
    """
    columns = [probability_column(name) for name in class_names]
    missing = [column for column in columns if column not in table]
    if missing:
        raise ValueError(f"there is no column {missing[0]} (another version of Diptych wrote it, perhaps)")
    shares = as_shares(table[columns].to_numpy(np.float64))
    if not np.isfinite(shares).all() or shares.min(initial=0) < 0:
        raise ValueError("a probability that cannot be")
    return shares


def read_metrics(run: RunDir) -> dict[str, Any] | None:
    """Read the figures of the last `evaluate`, or None if there was none.

    Raises:
        CheckpointError: the file is damaged.
    """
    if not run.metrics.is_file():
        return None
    try:
        figures: dict[str, Any] = json.loads(run.metrics.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{run.metrics} {reason_of(error)}. Run diptych evaluate again.") from error
    return figures
