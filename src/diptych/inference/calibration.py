"""Calibration: one temperature for all logits, fitted on the validation images, and kept only where it helps on others."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from sklearn.model_selection import StratifiedKFold

from diptych.metrics.weighted import SMALLEST, bin_of

FOLDS = 5
# Beyond these, the network knows nothing, or has hardly learned yet.
LOWEST, HIGHEST = 0.05, 20.0


@dataclass(frozen=True)
class Calibration:
    """A fitted temperature, and whether it is kept.

    Attributes:
        temperature: by which logits are divided; 1 where dividing did not help.
        fitted: the temperature that fits all validation images best.
        loss_before: mean cross-entropy, in nats, of the validation images as the network answers.
        loss_after: the same of each fold under the temperature that the other folds gave.
        reason: why the temperature is kept or not, for people.
    """

    temperature: float
    fitted: float
    loss_before: float
    loss_after: float
    reason: str


def heat(shares: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Divide the logits behind probabilities (N, K) by a temperature above 0 (Guo et al., ICML 2017, arXiv 1706.04599)."""
    if temperature == 1.0:
        return shares
    warm: NDArray[np.float64] = softmax(np.log(np.clip(shares, SMALLEST, 1.0)) / temperature, axis=1)
    return warm


def losses(shares: NDArray[np.float64], targets: NDArray[np.int64], temperature: float) -> NDArray[np.float64]:
    """Return the cross-entropy of each image (N,), in nats."""
    true = heat(shares, temperature)[np.arange(len(targets)), targets]
    return -np.log(np.clip(true, SMALLEST, 1.0))


def soften(shares: NDArray[np.float64], targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return Platt's smoothed targets (N, K): (N + 1) / (N + 2) for the label, the rest for the likeliest other class.

    (N + 1) / (N + 2) for its own class (Laplace's rule of succession), the rest for the likeliest of the others: as if one
    image more were wrong, in the way that surprises least. Against certainties, a network that has all validation images
    right would be best at a temperature of nearly 0, and then be sure of everything (Platt, Probabilistic outputs for
    support vector machines, 1999, section 2.2, for two classes).
    """
    own = np.eye(shares.shape[1])[targets]
    next_to_it = np.eye(shares.shape[1])[np.where(own == 1, -1.0, shares).argmax(axis=1)]
    soft: NDArray[np.float64] = (own * (len(targets) + 1) + next_to_it) / (len(targets) + 2)
    return soft


def fit_temperature(shares: NDArray[np.float64], targets: NDArray[np.int64]) -> float:
    """Return the temperature under which the mean cross-entropy against the softened classes is lowest."""
    soft = soften(shares, targets)
    found = minimize_scalar(
        lambda power: -float((soft * np.log(np.clip(heat(shares, float(np.exp(power))), SMALLEST, 1.0))).sum(axis=1).mean()),
        bounds=(np.log(LOWEST), np.log(HIGHEST)),
        method="bounded",
    )
    return float(np.exp(found.x))


def calibrate(shares: NDArray[np.float64], targets: NDArray[np.int64], seed: int) -> Calibration:
    """Fit a temperature, and keep it if temperatures fitted likewise lower the loss of images that they were not fitted to.

    Args:
        shares: probabilities of the validation images (N, K), each row adding up to 1.
        targets: (N,), 0 to K - 1.
        seed: of the folds.
    """
    before = float(losses(shares, targets, 1.0).mean())
    fitted = fit_temperature(shares, targets)
    counts = np.bincount(targets)
    if len(targets) < 2 * FOLDS or counts.max() == len(targets):
        return Calibration(1.0, fitted, before, before, "too few validation images to tell whether a temperature helps")
    # Classes of which not each fold can have an image go with the largest.
    strata = np.where(counts[targets] < FOLDS, counts.argmax(), targets)
    after = np.empty(len(targets))
    for others, held_out in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(shares, strata):
        temperature = fit_temperature(shares[others], targets[others])
        after[held_out] = losses(shares[held_out], targets[held_out], temperature)
    mean = float(after.mean())
    change = f"on held-out folds of the validation images it changes the loss from {before:.4f} to {mean:.4f}"
    if mean < before:
        return Calibration(fitted, fitted, before, mean, f"temperature {fitted:.3f}: {change}")
    return Calibration(1.0, fitted, before, mean, f"no temperature ({fitted:.3f} would fit best): {change}")


def reliability(scores: NDArray[np.float64], right: NDArray[np.bool_]) -> list[dict[str, float]]:
    """Return the filled bins of a reliability diagram (Niculescu-Mizil and Caruana, ICML 2005).

    Args:
        scores: (N,), the probability of class 1, or of more classes that of the predicted one.
        right: (N,), whether the image is of that class.

    Returns:
        Of each: `images`, `mean_probability`, `share` of those that are of the class.
    """
    numbers = bin_of(scores)
    return [
        {
            "images": int((numbers == number).sum()),
            "mean_probability": float(scores[numbers == number].mean()),
            "share": float(right[numbers == number].mean()),
        }
        for number in np.unique(numbers)
    ]
