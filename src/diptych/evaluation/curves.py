"""Curves of a test, the confusion matrix at every threshold, and the effect of "don't know" and of prediction sets."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from diptych.inference.calibration import reliability
from diptych.inference.decision import Decision, certainty
from diptych.inference.thresholds import risk_coverage
from diptych.metrics.influence import share_interval

Probabilities = NDArray[np.float64]

# Points of a curve that are kept; a line through so many looks like the whole one.
POINTS = 200
THRESHOLDS = np.linspace(0, 1, 201)
# Of more classes, ROC and precision-recall curves are not drawn one by one.
CURVED_CLASSES = 10


def compute_curves(
    targets: NDArray[np.int64], raw: Probabilities, probabilities: Probabilities, decision: Decision
) -> dict[str, Any]:
    """Compute the curves of a test.

    Args:
        targets: (N,), 0 to K - 1.
        raw: probabilities as the network gives them (N, K).
        probabilities: the calibrated ones.
        decision: of the run.

    Returns:
        `roc` and `precision_recall`: for each class that has both kinds of images, of two classes for class 1 alone, the
        `class` and two lists; `risk_coverage`; `reliability`: the bins `before` and `after` the temperature; and of two
        classes `by_threshold`: the four counts at thresholds from 0 to 1.
    """
    classes = probabilities.shape[1]
    drawn = (1,) if classes == 2 else range(classes) if classes <= CURVED_CLASSES else ()
    pairs = [(k, targets == k, probabilities[:, k]) for k in drawn if 0 < (targets == k).sum() < len(targets)]
    right = decision.predicted(probabilities) == targets
    coverage, risk = thin(*risk_coverage(right, certainty(probabilities, decision.threshold)))
    curves: dict[str, Any] = {
        "roc": [of_roc(*pair) for pair in pairs],
        "precision_recall": [of_precision(*pair) for pair in pairs],
        "risk_coverage": {"coverage": coverage, "risk": risk},
        "reliability": {name: bins_of(targets, found) for name, found in (("before", raw), ("after", probabilities))},
    }
    return curves | ({"by_threshold": by_threshold(targets, probabilities[:, 1])} if classes == 2 else {})


def of_roc(target: int, positive: NDArray[np.bool_], scores: Probabilities) -> dict[str, Any]:
    false_rate, true_rate = thin(*roc_curve(positive, scores)[:2])
    return {"class": target, "false_positive_rate": false_rate, "true_positive_rate": true_rate}


def of_precision(target: int, positive: NDArray[np.bool_], scores: Probabilities) -> dict[str, Any]:
    recall, precision = thin(*precision_recall_curve(positive, scores)[1::-1])
    return {"class": target, "recall": recall, "precision": precision}


def bins_of(targets: NDArray[np.int64], probabilities: Probabilities) -> list[dict[str, float]]:
    if probabilities.shape[1] == 2:
        return reliability(probabilities[:, 1], targets == 1)
    return reliability(probabilities.max(axis=1), probabilities.argmax(axis=1) == targets)


def by_threshold(targets: NDArray[np.int64], ones: Probabilities) -> dict[str, list[float]]:
    found = np.sort(ones[targets == 1]), np.sort(ones[targets == 0])
    below_one, below_zero = (np.searchsorted(scores, THRESHOLDS) for scores in found)
    return {
        "threshold": THRESHOLDS.round(3).tolist(),
        "true_positive": (len(found[0]) - below_one).tolist(),
        "false_negative": below_one.tolist(),
        "false_positive": (len(found[1]) - below_zero).tolist(),
        "true_negative": below_zero.tolist(),
    }


def thin(*columns: NDArray[np.float64]) -> list[list[float]]:
    """Keep up to 200 points of a curve, its ends among them, six digits each."""
    places = np.unique(np.linspace(0, len(columns[0]) - 1, POINTS).round().astype(int))
    return [[float(f"{value:.6g}") for value in column[places]] for column in columns]


def describe_answers(
    targets: NDArray[np.int64], probabilities: Probabilities, decision: Decision, groups: NDArray[np.int64] | None = None
) -> dict[str, Any]:
    """Describe the effect of "don't know": how many images are answered, and how many of them correctly.

    With groups (N,), intervals are by group.
    """
    answered = decision.answered(probabilities)
    right = (decision.predicted(probabilities) == targets)[answered]
    count = int(answered.sum())
    return {
        "rule": decision.abstain_rule,
        "abstain": list(decision.abstain),
        "answered": count,
        "coverage": count / len(targets),
        "coverage_interval": share_interval(answered, groups).interval,
        "accuracy": float(right.mean()) if count else None,
        "accuracy_interval": share_interval(right, None if groups is None else groups[answered]).interval,
    }


def describe_sets(
    targets: NDArray[np.int64], probabilities: Probabilities, decision: Decision, groups: NDArray[np.int64] | None = None
) -> dict[str, Any]:
    """Describe the prediction sets: their coverage and their mean size; with groups (N,), the interval is by group."""
    sets = decision.sets(probabilities)
    held = sets[np.arange(len(targets)), targets]
    sizes, counts = np.unique(sets.sum(axis=1), return_counts=True)
    return {
        "asked_coverage": decision.coverage,
        "limit": decision.set_limit,
        "coverage": float(held.mean()),
        "coverage_interval": share_interval(held, groups).interval,
        "mean_size": float(sets.sum(axis=1).mean()),
        "sizes": {str(size): int(count) for size, count in zip(sizes, counts, strict=True)},
    }
