"""Probabilities of each class, and the classes that follow from them."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    pass


def as_shares(probabilities: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return probabilities of class 1 (N,), or of K classes (N, K), as float64 (N, 2) or (N, K) whose rows add up to 1."""
    exact = probabilities.astype(np.float64)
    if exact.ndim == 1:
        return np.stack([1 - exact, exact], axis=1)
    # Of float32, the sum is 1 up to rounding only.
    shares: NDArray[np.float64] = exact / exact.sum(axis=1, keepdims=True)
    return shares


def predict_targets(probabilities: NDArray[np.floating[Any]], threshold: float) -> NDArray[np.int64]:
    """Return the predicted targets (N,): class 1 from the threshold on, or the most probable of K classes."""
    if probabilities.ndim == 1:
        return (probabilities >= threshold).astype(np.int64)
    targets: NDArray[np.int64] = probabilities.argmax(axis=1)
    return targets
