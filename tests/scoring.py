"""Probabilities by hand, and their metrics as metrics.json has them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.metrics.classification import compute_metrics


def of_two(ones: Sequence[float] | NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Probabilities of two classes (N, 2) from those of class 1 (N,)."""
    exact = np.asarray(ones, np.float64)
    return np.stack([1 - exact, exact], axis=1)


def metrics_of(
    targets: NDArray[np.int64],
    probabilities: Sequence[float] | NDArray[np.floating[Any]],
    threshold: float = 0.5,
    class_names: Sequence[str] = ("0", "1"),
    **options: Any,
) -> dict[str, Any]:
    """What `compute_metrics` says, of probabilities (N, K), or of two classes those of class 1 (N,)."""
    found = np.asarray(probabilities, np.float64)
    wide = of_two(found) if found.ndim == 1 else found / found.sum(axis=1, keepdims=True)
    return compute_metrics(targets, wide, threshold, class_names, **options)
