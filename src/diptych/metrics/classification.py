"""Figures of a classifier on a test set, each with its 95 % interval."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.metrics.influence import Found, Sample, find_intervals
from diptych.metrics.intervals import Interval
from diptych.metrics.probabilities import predict_targets
from diptych.metrics.weighted import Answers, chance_error
from diptych.storage.run_dir import TWO_CLASSES

RENAMED = {"accuracy": "test_accuracy", "loss": "test_loss"}


def compute_metrics(
    targets: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    threshold: float = 0.5,
    class_names: Sequence[str] = TWO_CLASSES,
    *,
    groups: NDArray[np.int64] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Compute the test figures of two classes, of which class 1 is the positive one, or of K > 2.

    docs/metrics.md says what each figure is. A figure that is not defined is None: recall where the class is not there,
    precision where it is never predicted, the areas where only one class is there.

    Args:
        targets: (N,), 0 to K - 1; at least one. Classes that are in none of them shift no figure.
        probabilities: (N, K), each row adding up to 1.
        threshold: of two classes: from this probability on the prediction is 1.
        class_names: the K names.
        groups: (N,), the group of each image; None where there are no groups, and each image is drawn by itself.
        seed: of the draws behind `ece_by_chance`.

    Returns:
        `class_names`, `test_images`, `test_loss` (mean cross-entropy in nats), `test_accuracy`, `balanced_accuracy`,
        `precision`, `recall`, `specificity`, `f1`, `mcc`, `roc_auc`, `average_precision`, `brier`, `ece`; `intervals`: of
        each of these that is a figure, [low, high], or None; `no_interval`: of those without one the reason, a key of
        `spread.REASONS`; `test_accuracy_interval`, the one of the accuracy; `ece_by_chance`, what the calibration error of a
        perfectly calibrated network stays below in 95 of 100 tests; `baseline`, the accuracy against that of always
        answering the most frequent class; `confusion_matrix` (rows: targets; columns: predictions); and of two classes
        `threshold`. Of K > 2 classes, `per_class` has the figures of each class against the rest with their intervals, and
        precision, recall, specificity, F1 and the two areas are the mean over the classes that are there.
    """
    count = len(class_names)
    predicted = predict_targets(probabilities, threshold)
    answers = Answers(targets, probabilities, predicted)
    figures = {name: float(values[0]) for name, values in answers.figures(np.ones((1, len(targets)))).items()}
    found = find_intervals(answers, figures, Sample(targets, groups))
    matrix = answers.matrix.astype(np.int64)
    plain = {name: value for name, value in figures.items() if "/" not in name}
    top = probabilities[:, 1] if count == 2 else probabilities[np.arange(len(targets)), predicted]
    return {
        "class_names": list(class_names),
        "test_images": len(targets),
        **{RENAMED.get(name, name): defined(value) for name, value in plain.items()},
        "test_accuracy_interval": found["accuracy"].interval,
        **told_intervals({RENAMED.get(name, name): found[name] for name in plain}),
        "ece_by_chance": chance_error(top, seed),
        "baseline": find_baseline(matrix, class_names, figures["accuracy"], found["accuracy"].interval),
        **({"threshold": threshold} if count == 2 else {"per_class": rows_of(figures, found, matrix, class_names)}),
        "confusion_matrix": matrix.tolist(),
    }


def find_baseline(
    matrix: NDArray[np.number[Any]], class_names: Sequence[str], accuracy: float, interval: Interval | None
) -> dict[str, Any]:
    """Compare the accuracy with that of always answering the most frequent class.

    Returns:
        That `class`; the `accuracy` of answering it always; whether the network is `better`: its interval begins above that,
        or, where it has none, the accuracy lies above it; and whether all answers are `one_answer`.
    """
    counts = matrix.sum(axis=1)
    share = float(counts.max() / counts.sum())
    return {
        "class": class_names[int(counts.argmax())],
        "accuracy": share,
        "better": bool((accuracy if interval is None else interval[0]) > share),
        "one_answer": int((matrix.sum(axis=0) > 0).sum()) == 1,
    }


def told_intervals(found: dict[str, Found]) -> dict[str, dict[str, Any]]:
    """Return `intervals`, None where there is none, and `no_interval`, which says why of those."""
    reasons = {name: one.reason for name, one in found.items() if one.interval is None}
    return {"intervals": {name: one.interval for name, one in found.items()}, "no_interval": reasons}


def rows_of(
    figures: dict[str, float], found: dict[str, Found], matrix: NDArray[np.int64], class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """Return a row of figures and intervals for each class."""
    rows: list[dict[str, Any]] = []
    of_class: dict[int, list[str]] = {k: [] for k in range(len(class_names))}
    for name in figures:
        if "/" in name:
            of_class[int(name.rpartition("/")[2])].append(name)
    for k, own in of_class.items():
        plain = {name: name.rpartition("/")[0] for name in own}
        row: dict[str, Any] = {"class_name": class_names[k], "test_images": int(matrix[k].sum())}
        row |= {plain[name]: defined(figures[name]) for name in own}
        rows.append(row | told_intervals({plain[name]: found[name] for name in own}))
    return rows


def defined(value: float) -> float | None:
    """Return a figure, or None for NaN, which JSON does not have."""
    return None if np.isnan(value) else value


def shorten(class_name: str) -> str:
    """Cut a long name for a table or a plot, in its middle: what tells names apart often stands last."""
    return class_name if len(class_name) <= 24 else f"{class_name[:12]}…{class_name[-11:]}"
