"""Thresholds chosen on validation images: for the decision, for "don't know", and for prediction sets."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from diptych.errors import ConfigError

RULES = "a probability, youden, f1, cost:FP,FN, recall:SHARE or precision:SHARE"


def choose_threshold(rule: str, targets: NDArray[np.int64], probabilities: NDArray[np.float64]) -> float:
    """Choose from which probability of class 1 on the decision is 1.

    Args:
        rule: "0.5" or another probability; "youden" (highest recall plus specificity: Youden, Cancer 1950); "f1" (highest F1);
            "cost:FP,FN" (lowest cost, where one wrong 1 costs FP and one wrong 0 costs FN); "recall:0.95" (the highest threshold
            with at least that recall); "precision:0.9" (the lowest one with at least that precision).
        targets: (N,), 0 and 1, of the validation images.
        probabilities: (N,), of class 1, calibrated as they will be when the threshold is applied.

    Returns:
        In the middle between two neighbouring probabilities, so that those of another machine, which differ in the last digits,
        are decided alike.

    Raises:
        ConfigError: there is no such rule, or no threshold meets it.
    """
    name, given = read_rule(rule)
    if name == "probability":
        return given[0]
    places = candidates(probabilities)
    ones, zeros = float((targets == 1).sum()), float((targets == 0).sum())
    hit = ones - np.searchsorted(np.sort(probabilities[targets == 1]), places)
    wrong = zeros - np.searchsorted(np.sort(probabilities[targets == 0]), places)
    if ones == 0 or zeros == 0:
        raise ConfigError(f"threshold {rule} is chosen on the validation images, and all of them are of one class.")
    if name in ("recall", "precision"):
        figure = hit / ones if name == "recall" else np.divide(hit, hit + wrong, out=np.zeros_like(hit), where=hit + wrong > 0)
        meets = np.flatnonzero(figure >= given[0])
        if len(meets) == 0:
            raise ConfigError(
                f"threshold {rule}: on the validation images no threshold has that {name}; the highest is {figure.max():.3f}."
            )
        return places[int(meets[-1] if name == "recall" else meets[0])]
    gains: dict[str, Callable[[], NDArray[np.float64]]] = {
        "youden": lambda: hit / ones - wrong / zeros,
        "f1": lambda: 2 * hit / (hit + wrong + ones),
        "cost": lambda: -(given[0] * wrong + given[1] * (ones - hit)),
    }
    gain = gains[name]()
    best = np.flatnonzero(gain == gain.max())
    # Of equally good ones, the one nearest to a half.
    return min((places[place] for place in best), key=lambda place: abs(place - 0.5))


def read_rule(rule: str) -> tuple[str, tuple[float, ...]]:
    """Split a rule into its name and its numbers.

    Raises:
        ConfigError: there is no such rule.
    """
    name, _, rest = rule.partition(":")
    try:
        if not rest:
            if name in ("youden", "f1"):
                return name, ()
            name, rest = "probability", rule
        given = tuple(float(part) for part in rest.split(","))
        costs = name == "cost" and len(given) == 2 and all(0 <= cost < math.inf for cost in given) and sum(given) > 0
        shares = name in ("recall", "precision") and len(given) == 1 and 0 < given[0] <= 1
        if costs or shares or (name == "probability" and len(given) == 1 and 0 <= given[0] <= 1):
            return name, given
    except ValueError:
        pass
    raise ConfigError(f"threshold is {rule!r}; expected {RULES}.")


def candidates(probabilities: NDArray[np.float64]) -> list[float]:
    """Return the thresholds that decide a set of images differently, from the lowest to the highest."""
    there = np.unique(probabilities)
    return [0.0, *((there[1:] + there[:-1]) / 2).tolist(), float(np.nextafter(1.0, 2.0))]


def risk_coverage(right: NDArray[np.bool_], confidence: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the share of wrong answers among the surest images, for every share of images that is answered.

    (El-Yaniv and Wiener, JMLR 2010; Geifman and El-Yaniv, NeurIPS 2017.)

    Args:
        right: (N,), whether the answer is right.
        confidence: (N,), how sure it is.

    Returns:
        coverage and risk, each (M,), one entry for each confidence that occurs, from the highest on.
    """
    order = np.argsort(-confidence, kind="stable")
    ends = np.flatnonzero(np.r_[confidence[order][1:] != confidence[order][:-1], True])
    answered = ends + 1.0
    return answered / len(right), np.cumsum(~right[order])[ends] / answered


def error_limit(right: NDArray[np.bool_], confidence: NDArray[np.float64], share: float) -> float | None:
    """Return the lowest confidence from which on at most a share of the answers is wrong; None where there is none.

    It lies in the middle to the next lower confidence, so that another machine's last digits change no answer.
    """
    _, risk = risk_coverage(right, confidence)
    meets = np.flatnonzero(risk <= share)
    if len(meets) == 0:
        return None
    steps = np.unique(confidence)[::-1]
    place = int(meets[-1])
    return 0.0 if place == len(steps) - 1 else float((steps[place] + steps[place + 1]) / 2)


def conformal_limit(true_probabilities: NDArray[np.float64], coverage: float) -> float:
    """Return the least probability with which a class belongs to an image's set.

    A set of classes of at least that probability holds the true class with at least the given chance, if the images are like
    the validation images (split conformal prediction: Vovk et al. 2005; the score is that of Sadinle et al., JASA 2019).

    Args:
        true_probabilities: (N,), probabilities of the true classes of the validation images.
        coverage: the chance, between 0 and 1.

    Returns:
        The limit; 0, so that every set holds all classes, where there are too few images for that coverage.
    """
    rank = math.ceil((len(true_probabilities) + 1) * coverage)
    if rank > len(true_probabilities):
        return 0.0
    return float(np.sort(true_probabilities)[::-1][rank - 1])
