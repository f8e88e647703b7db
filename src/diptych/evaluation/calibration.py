"""Calibration: one temperature for all logits, fitted on the validation images, and kept only where it helps on others."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from sklearn.model_selection import StratifiedKFold

from diptych.evaluation.scores import SMALLEST, bin_of

FOLDS = 5
# Beyond these, the network knows nothing, or has hardly learned yet.
LOWEST, HIGHEST = 0.05, 20.0


@dataclass(frozen=True)
class Calibration:
    """What was found.

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


def soften(targets: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Return the classes as probabilities (N, K) that n images of a class can vouch for: (n + 1) / (n + K) for their own.

    Against certainties, a network that has all validation images right would be best at a temperature of nearly 0, and then
    be sure of everything (Platt, Probabilistic outputs for support vector machines, 1999, section 2.2).
    """
    counts = np.bincount(targets, minlength=classes)[targets, None]
    soft: NDArray[np.float64] = (np.eye(classes)[targets] * counts + 1) / (counts + classes)
    return soft


def fit_temperature(shares: NDArray[np.float64], targets: NDArray[np.int64]) -> float:
    """Return the temperature under which the mean cross-entropy against the softened classes is lowest."""
    soft = soften(targets, shares.shape[1])
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
    smallest = int(np.unique(targets, return_counts=True)[1].min())
    folds = min(FOLDS, smallest)
    if folds < 2 or len(np.unique(targets)) < 2:
        return Calibration(1.0, fitted, before, before, "too few validation images to tell whether a temperature helps")
    after = np.empty(len(targets))
    for others, held_out in StratifiedKFold(folds, shuffle=True, random_state=seed).split(shares, targets):
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
