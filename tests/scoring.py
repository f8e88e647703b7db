"""Probabilities by hand, and their metrics as metrics.json has them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.evaluation.judge import JudgeOptions, Predictions, judge
from diptych.evaluation.report import Report
from diptych.inference.decision import DEFAULT, Decision
from diptych.metrics.classification import compute_metrics


def of_two(ones: Sequence[float] | NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Probabilities of two classes (N, 2) from those of class 1 (N,)."""
    exact = np.asarray(ones, np.float64)
    return np.stack([1 - exact, exact], axis=1)


def wide(probabilities: Sequence[float] | NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Probabilities (N, K) whose rows add up to 1, from those, or of two classes from those of class 1 (N,)."""
    found = np.asarray(probabilities, np.float64)
    return of_two(found) if found.ndim == 1 else found / found.sum(axis=1, keepdims=True)


def metrics_of(
    targets: NDArray[np.int64],
    probabilities: Sequence[float] | NDArray[np.floating[Any]],
    threshold: float = 0.5,
    class_names: Sequence[str] = ("0", "1"),
    **options: Any,
) -> dict[str, Any]:
    """What `compute_metrics` says, as metrics.json has it."""
    return compute_metrics(targets, wide(probabilities), threshold, class_names, **options).to_json()


def report_of(
    targets: NDArray[np.int64],
    probabilities: Sequence[float] | NDArray[np.floating[Any]],
    class_names: Sequence[str] = ("0", "1"),
    decision: Decision = DEFAULT,
    **further: Any,
) -> Report:
    """What `judge` says of images without names; `further` are fields of the predictions."""
    predictions = Predictions(tuple(class_names), np.asarray(targets, np.int64), wide(probabilities), **further)
    return judge(predictions, JudgeOptions(decision))
