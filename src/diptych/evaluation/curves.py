"""Curves of a test, the confusion matrix at every threshold, and the effect of "don't know" and of prediction sets."""

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from diptych.evaluation.report import (
    Answered,
    ClassSets,
    CountsByThreshold,
    Curves,
    OutlierCount,
    PrecisionRecallCurve,
    Reliability,
    ReliabilityBin,
    RiskCoverage,
    RocCurve,
)
from diptych.inference.decision import Decision, certainty
from diptych.inference.outliers import FLAGGED_SHARE, Outliers
from diptych.inference.thresholds import risk_coverage
from diptych.metrics.influence import share_interval
from diptych.metrics.weighted import bin_of

Probabilities = NDArray[np.float64]

# Points of a curve that are kept; a line through so many looks like the whole one.
POINTS = 200
THRESHOLDS = np.linspace(0, 1, 201)
# Of more classes, ROC and precision-recall curves are not drawn one by one.
CURVED_CLASSES = 10


def compute_curves(targets: NDArray[np.int64], raw: Probabilities, probabilities: Probabilities, decision: Decision) -> Curves:
    """Compute the curves of a test.

    Args:
        targets: (N,), 0 to K - 1.
        raw: probabilities as the network gives them (N, K).
        probabilities: the calibrated ones.
        decision: of the run.

    Returns:
        ROC and precision-recall curves are of each class that has both kinds of images, of two classes of class 1 alone.
    """
    classes = probabilities.shape[1]
    drawn = (1,) if classes == 2 else range(classes) if classes <= CURVED_CLASSES else ()
    pairs = [(k, targets == k, probabilities[:, k]) for k in drawn if 0 < (targets == k).sum() < len(targets)]
    right = decision.predicted(probabilities) == targets
    coverage, risk = thin(*risk_coverage(right, certainty(probabilities, decision.threshold)))
    return Curves(
        roc=tuple(of_roc(*pair) for pair in pairs),
        precision_recall=tuple(of_precision(*pair) for pair in pairs),
        risk_coverage=RiskCoverage(coverage, risk),
        reliability=Reliability(bins_of(targets, raw), bins_of(targets, probabilities)),
        by_threshold=by_threshold(targets, probabilities[:, 1]) if classes == 2 else None,
    )


def of_roc(target: int, positive: NDArray[np.bool_], scores: Probabilities) -> RocCurve:
    false_rate, true_rate = thin(*roc_curve(positive, scores)[:2])
    return RocCurve(target, false_rate, true_rate)


def of_precision(target: int, positive: NDArray[np.bool_], scores: Probabilities) -> PrecisionRecallCurve:
    recall, precision = thin(*precision_recall_curve(positive, scores)[1::-1])
    return PrecisionRecallCurve(target, recall, precision)


def bins_of(targets: NDArray[np.int64], probabilities: Probabilities) -> tuple[ReliabilityBin, ...]:
    if probabilities.shape[1] == 2:
        return reliability(probabilities[:, 1], targets == 1)
    return reliability(probabilities.max(axis=1), probabilities.argmax(axis=1) == targets)


def reliability(scores: Probabilities, right: NDArray[np.bool_]) -> tuple[ReliabilityBin, ...]:
    """Return the filled bins of a reliability diagram (Niculescu-Mizil and Caruana, ICML 2005).

    Args:
        scores: (N,), the probability of class 1, or of more classes that of the predicted one.
        right: (N,), whether the image is of that class.
    """
    numbers = bin_of(scores)
    insides = [numbers == number for number in np.unique(numbers)]
    return tuple(
        ReliabilityBin(int(inside.sum()), float(scores[inside].mean()), float(right[inside].mean())) for inside in insides
    )


def by_threshold(targets: NDArray[np.int64], ones: Probabilities) -> CountsByThreshold:
    found = np.sort(ones[targets == 1]), np.sort(ones[targets == 0])
    below_one, below_zero = (np.searchsorted(scores, THRESHOLDS) for scores in found)
    return CountsByThreshold(
        threshold=tuple(THRESHOLDS.round(3).tolist()),
        true_positive=tuple((len(found[0]) - below_one).tolist()),
        false_negative=tuple(below_one.tolist()),
        false_positive=tuple((len(found[1]) - below_zero).tolist()),
        true_negative=tuple(below_zero.tolist()),
    )


def thin(*columns: NDArray[np.float64]) -> list[tuple[float, ...]]:
    """Keep up to 200 points of a curve, its ends among them, six digits each."""
    places = np.unique(np.linspace(0, len(columns[0]) - 1, POINTS).round().astype(int))
    return [tuple(float(f"{value:.6g}") for value in column[places]) for column in columns]


def describe_answers(
    targets: NDArray[np.int64], probabilities: Probabilities, decision: Decision, groups: NDArray[np.int64] | None = None
) -> Answered:
    """Describe the effect of "don't know": how many images are answered, and how many of them correctly.

    With groups (N,), intervals are by group.
    """
    answered = decision.answered(probabilities)
    right = (decision.predicted(probabilities) == targets)[answered]
    count = int(answered.sum())
    return Answered(
        rule=decision.abstain_rule,
        abstain=decision.abstain,
        answered=count,
        coverage=count / len(targets),
        coverage_interval=share_interval(answered, groups).interval,
        accuracy=float(right.mean()) if count else None,
        accuracy_interval=share_interval(right, None if groups is None else groups[answered]).interval,
    )


def describe_sets(
    targets: NDArray[np.int64], probabilities: Probabilities, decision: Decision, groups: NDArray[np.int64] | None = None
) -> ClassSets:
    """Describe the prediction sets: their coverage and their mean size; with groups (N,), the interval is by group."""
    sets = decision.sets(probabilities)
    held = sets[np.arange(len(targets)), targets]
    sizes, counts = np.unique(sets.sum(axis=1), return_counts=True)
    return ClassSets(
        asked_coverage=decision.coverage,
        limit=decision.set_limit,
        coverage=float(held.mean()),
        coverage_interval=share_interval(held, groups).interval,
        mean_size=float(sets.sum(axis=1).mean()),
        sizes={str(size): int(count) for size, count in zip(sizes, counts, strict=True)},
    )


def count_outliers(
    outliers: Outliers | None, scores: NDArray[np.float64] | None, groups: NDArray[np.int64] | None = None
) -> OutlierCount | None:
    """Count the test images (N,) that are outliers; with groups (N,), the interval is by group. None without scores."""
    if outliers is None or scores is None:
        return None
    flagged = None if outliers.limit is None else scores > outliers.limit
    return OutlierCount(
        references=len(outliers.references),
        neighbour=outliers.neighbour,
        validation_units=outliers.clusters,
        limit=outliers.limit,
        expected_share=FLAGGED_SHARE,
        expected_interval=outliers.expected,
        flagged=None if flagged is None else int(flagged.sum()),
        share=None if flagged is None else float(flagged.mean()),
        share_interval=None if flagged is None else share_interval(flagged, groups).interval,
    )
