"""Calibration: one temperature for all logits, fitted on the validation images, and kept only where it helps on others."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.model_selection import StratifiedKFold

from diptych.inference.decision import Calibration, scale_temperature
from diptych.metrics.weighted import SMALLEST

FOLDS = 5
# Beyond these, the network knows nothing, or has hardly learned yet.
LOWEST, HIGHEST = 0.05, 20.0


def losses(probabilities: NDArray[np.float64], targets: NDArray[np.int64], temperature: float) -> NDArray[np.float64]:
    """Return the cross-entropy of each image (N,), in nats."""
    true = scale_temperature(probabilities, temperature)[np.arange(len(targets)), targets]
    return -np.log(np.clip(true, SMALLEST, 1.0))


def platt_targets(probabilities: NDArray[np.float64], targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return Platt's smoothed targets (N, K): (N + 1) / (N + 2) for the label, the rest for the likeliest other class.

    As if one image more were wrong, in the way that surprises least (Laplace's rule of succession). Against certainties, a
    network that has all validation images right would be best at a temperature of nearly 0, and then be sure of everything
    (Platt, Probabilistic outputs for support vector machines, 1999, section 2.2, for two classes).
    """
    own = np.eye(probabilities.shape[1])[targets]
    next_to_it = np.eye(probabilities.shape[1])[np.where(own == 1, -1.0, probabilities).argmax(axis=1)]
    smoothed: NDArray[np.float64] = (own * (len(targets) + 1) + next_to_it) / (len(targets) + 2)
    return smoothed


def fit_temperature(probabilities: NDArray[np.float64], targets: NDArray[np.int64]) -> float:
    """Return the temperature under which the mean cross-entropy against `platt_targets` is lowest."""
    smoothed = platt_targets(probabilities, targets)

    def cross_entropy(power: float) -> float:
        calibrated = scale_temperature(probabilities, float(np.exp(power)))
        return -float((smoothed * np.log(np.clip(calibrated, SMALLEST, 1.0))).sum(axis=1).mean())

    found = minimize_scalar(cross_entropy, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded")
    return float(np.exp(found.x))


def calibrate(probabilities: NDArray[np.float64], targets: NDArray[np.int64], seed: int) -> Calibration:
    """Fit a temperature, and keep it if temperatures fitted likewise lower the loss of images that they were not fitted to.

    Args:
        probabilities: of the validation images (N, K), each row adding up to 1.
        targets: (N,), 0 to K - 1.
        seed: of the folds.
    """
    before = float(losses(probabilities, targets, 1.0).mean())
    fitted = fit_temperature(probabilities, targets)
    counts = np.bincount(targets)
    if len(targets) < 2 * FOLDS or counts.max() == len(targets):
        return Calibration(1.0, fitted, before, before, "too few validation images to tell whether a temperature helps")
    # Classes of which not each fold can have an image go with the largest.
    strata = np.where(counts[targets] < FOLDS, counts.argmax(), targets)
    after = np.empty(len(targets))
    for others, held_out in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(probabilities, strata):
        temperature = fit_temperature(probabilities[others], targets[others])
        after[held_out] = losses(probabilities[held_out], targets[held_out], temperature)
    mean = float(after.mean())
    change = f"on held-out folds of the validation images it changes the loss from {before:.4f} to {mean:.4f}"
    if mean < before:
        return Calibration(fitted, fitted, before, mean, f"temperature {fitted:.3f}: {change}")
    return Calibration(1.0, fitted, before, mean, f"no temperature ({fitted:.3f} would fit best): {change}")
