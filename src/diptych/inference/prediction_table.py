"""Predictions as a table: a row an image, with its class, the probabilities, and whether it is answered.

To make the columns takes NumPy alone: no Keras, no scikit-learn, no pandas.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diptych.inference.decision import DEFAULT, Decision
from diptych.storage.run_dir import TWO_CLASSES

if TYPE_CHECKING:
    import pandas as pd


def probability_column(class_name: str) -> str:
    """Name the column of the predictions that holds the probability of a class."""
    return f"probability_{class_name}"


def prediction_columns(
    probabilities: NDArray[np.float64],
    class_names: Sequence[str] = TWO_CLASSES,
    decision: Decision = DEFAULT,
    outlier_scores: NDArray[np.float64] | None = None,
    outlier_limit: float | None = None,
) -> dict[str, NDArray[Any] | list[str] | None]:
    """Return the predictions of M images, column by column.

    Args:
        probabilities: (M, K), as the network gives them.
        class_names: the K names.
        decision: turns them into answers.
        outlier_scores: (M,); None where there are none.
        outlier_limit: above it, an image is an outlier; None where there is no limit, and `outlier` is empty.

    Returns:
        `predicted_target` (an index into the names), `predicted_class` (its name), `probability` (float32, calibrated, of the
        predicted class), `probability_NAME` of each class; `answered`, False for "don't know"; `class_set`, the classes that
        the image may be of, separated by "|"; and where there are scores `outlier_score` and `outlier`.
    """
    calibrated = decision.calibrated(probabilities)
    targets, names = decision.predicted(calibrated), np.array(class_names, object)
    columns: dict[str, NDArray[Any] | list[str] | None] = {
        "predicted_target": targets,
        "predicted_class": names[targets],
        "probability": calibrated[np.arange(len(calibrated)), targets].astype(np.float32),
    }
    for target, name in enumerate(class_names):
        columns[probability_column(name)] = calibrated[:, target].astype(np.float32)
    columns["answered"] = decision.answered(calibrated)
    columns["class_set"] = ["|".join(names[inside]) for inside in decision.sets(calibrated)]
    if outlier_scores is not None:
        columns["outlier_score"] = outlier_scores.astype(np.float32)
        columns["outlier"] = None if outlier_limit is None else outlier_scores > outlier_limit
    return columns


def with_predictions(
    table: "pd.DataFrame",
    probabilities: NDArray[np.float64],
    class_names: Sequence[str] = TWO_CLASSES,
    decision: Decision = DEFAULT,
    outlier_scores: NDArray[np.float64] | None = None,
    outlier_limit: float | None = None,
) -> "pd.DataFrame":
    """Return a table of M rows with the columns of `prediction_columns` behind its own.

    A column of the table that has one of these names is kept with "given_" before it.
    """
    import pandas as pd

    predicted = prediction_columns(probabilities, class_names, decision, outlier_scores, outlier_limit)
    kept = table.rename(columns={name: f"given_{name}" for name in predicted})
    return pd.concat([kept, pd.DataFrame(predicted, index=table.index)], axis=1)


def read_probabilities(table: "pd.DataFrame", class_names: Sequence[str]) -> NDArray[np.float64]:
    """Return the probabilities (N, K) in a table of predictions; each row adds up to 1.

    Raises:
        ValueError: a column is not there, or holds no probabilities.
    """
    columns = [probability_column(name) for name in class_names]
    missing = [column for column in columns if column not in table]
    if missing:
        raise ValueError(f"there is no column {missing[0]} (another version of Diptych wrote it, perhaps)")
    # They are written with seven digits.
    rounded = table[columns].to_numpy(np.float64)
    probabilities: NDArray[np.float64] = rounded / rounded.sum(axis=1, keepdims=True)
    if not np.isfinite(probabilities).all() or probabilities.min(initial=0) < 0:
        raise ValueError("a probability that cannot be")
    return probabilities
