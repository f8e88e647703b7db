"""Metrics of a classifier on a test set, each with its 95 % interval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from diptych.metrics.influence import Found, Sample, find_intervals
from diptych.metrics.intervals import Interval
from diptych.metrics.probabilities import predict_targets
from diptych.metrics.weighted import Answers, chance_error
from diptych.storage.run_dir import TWO_CLASSES

# Of each metric its name for people, in the order in which they are shown.
NAMES = {
    "accuracy": "test accuracy",
    "balanced_accuracy": "balanced accuracy",
    "precision": "precision",
    "recall": "recall",
    "specificity": "specificity",
    "f1": "F1",
    "mcc": "MCC",
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
    "loss": "test loss",
    "brier": "Brier score",
    "ece": "calibration error",
}
PERCENT = ("accuracy", "balanced_accuracy", "precision", "recall", "specificity", "f1")
# Metrics whose key in metrics.json is another one than their name in Python.
KEYS = {"accuracy": "test_accuracy", "loss": "test_loss"}
NAMES_OF_CLASS = ("precision", "recall", "specificity", "f1", "mcc", "brier", "roc_auc", "average_precision", "ece")


@dataclass(frozen=True)
class Metric:
    """A metric and how sure it is.

    Attributes:
        value: the metric; None where it is not defined, such as the recall of a class that is not there.
        interval: 95 % interval, low and high; None where there is none.
        reason: why there is no interval, a key of `influence.REASONS`.
    """

    value: float | None
    interval: Interval | None = None
    reason: str | None = None

    @classmethod
    def of(cls, value: float, found: Found) -> Self:
        """Join a value, NaN where it is not defined, with its interval."""
        return cls(None if np.isnan(value) else value, found.interval, found.reason if found.interval is None else None)


@dataclass(frozen=True)
class Baseline:
    """The accuracy against that of always answering the most frequent class.

    Attributes:
        class_name: that class.
        accuracy: of answering it always.
        better: whether the interval of the accuracy begins above that, or, where there is none, the accuracy lies above it.
        one_answer: whether all images get the same answer.
    """

    class_name: str
    accuracy: float
    better: bool
    one_answer: bool


@dataclass(frozen=True)
class ClassMetrics:
    """The metrics of one class of several against the rest."""

    class_name: str
    test_images: int
    precision: Metric
    recall: Metric
    specificity: Metric
    f1: Metric
    mcc: Metric
    brier: Metric
    roc_auc: Metric
    average_precision: Metric
    ece: Metric


@dataclass(frozen=True)
class Metrics:
    """The metrics of a test of K classes; docs/metrics.md describes each.

    Attributes:
        class_names: the K names.
        test_images: how many.
        accuracy: share of right predictions.
        loss: mean cross-entropy, in nats.
        balanced_accuracy: mean of the recalls.
        precision: of the positive class; of K > 2 classes, this and what follows are means over the classes that are there.
        recall: likewise.
        specificity: likewise.
        f1: likewise.
        mcc: Matthews' correlation coefficient.
        brier: mean squared error of the probabilities.
        roc_auc: area under the ROC curve.
        average_precision: area under the precision-recall curve, by steps.
        ece: expected calibration error; it has no interval.
        ece_by_chance: what the calibration error of a perfectly calibrated network stays below in 95 of 100 tests.
        baseline: the comparison with always answering the most frequent class.
        confusion_matrix: (K, K) counts; rows: targets, columns: predictions.
        threshold: of two classes, from this probability of the positive class on it is predicted; None for more.
        per_class: of K > 2 classes, the metrics of each.
    """

    class_names: tuple[str, ...]
    test_images: int
    accuracy: Metric
    loss: Metric
    balanced_accuracy: Metric
    precision: Metric
    recall: Metric
    specificity: Metric
    f1: Metric
    mcc: Metric
    brier: Metric
    roc_auc: Metric
    average_precision: Metric
    ece: Metric
    ece_by_chance: float
    baseline: Baseline
    confusion_matrix: tuple[tuple[int, ...], ...]
    threshold: float | None = None
    per_class: tuple[ClassMetrics, ...] = ()

    def named(self) -> dict[str, Metric]:
        """Return each metric by its key in NAMES, in that order."""
        return {name: getattr(self, name) for name in NAMES}

    def turned(self) -> "Metrics":
        """Return the same of two classes in the other order; the metrics stay, which are about the positive class."""
        matrix = tuple(row[::-1] for row in self.confusion_matrix[::-1])
        return replace(self, class_names=self.class_names[::-1], confusion_matrix=matrix)

    def to_json(self) -> dict[str, Any]:
        """Return the values as metrics.json has them."""
        content = {
            "class_names": list(self.class_names),
            "test_images": self.test_images,
            **metrics_to_json({name: getattr(self, name) for name in METRICS_IN_ORDER}),
            "test_accuracy_interval": self.accuracy.interval,
            "ece_by_chance": self.ece_by_chance,
            "baseline": baseline_to_json(self.baseline),
            "confusion_matrix": [list(row) for row in self.confusion_matrix],
        }
        if self.threshold is not None:
            return content | {"threshold": self.threshold}
        rows = [
            {"class_name": row.class_name, "test_images": row.test_images}
            | metrics_to_json({name: getattr(row, name) for name in NAMES_OF_CLASS})
            for row in self.per_class
        ]
        return content | {"per_class": rows}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read what `to_json` returned.

        Raises:
            KeyError: a value is not there.
        """
        baseline = content["baseline"]
        return cls(
            class_names=tuple(content["class_names"]),
            test_images=content["test_images"],
            **{name: metric_from_json(content, name) for name in METRICS_IN_ORDER},
            ece_by_chance=content["ece_by_chance"],
            baseline=Baseline(baseline["class"], baseline["accuracy"], baseline["better"], baseline["one_answer"]),
            confusion_matrix=tuple(tuple(row) for row in content["confusion_matrix"]),
            threshold=content.get("threshold"),
            per_class=tuple(
                ClassMetrics(
                    row["class_name"], row["test_images"], **{name: metric_from_json(row, name) for name in NAMES_OF_CLASS}
                )
                for row in content.get("per_class", ())
            ),
        )


METRICS_IN_ORDER = tuple(field.name for field in fields(Metrics) if field.type is Metric)


def baseline_to_json(found: Baseline) -> dict[str, Any]:
    """Return the values as metrics.json has them."""
    return {"class": found.class_name, "accuracy": found.accuracy, "better": found.better, "one_answer": found.one_answer}


def metrics_to_json(found: Mapping[str, Metric]) -> dict[str, Any]:
    """Return each value, `intervals`, and `no_interval` with the reason of those without one."""
    named = {KEYS.get(name, name): metric for name, metric in found.items()}
    return {
        **{name: metric.value for name, metric in named.items()},
        "intervals": {name: metric.interval for name, metric in named.items()},
        "no_interval": {name: metric.reason for name, metric in named.items() if metric.interval is None},
    }


def metric_from_json(content: Mapping[str, Any], name: str) -> Metric:
    key = KEYS.get(name, name)
    return Metric(content[key], content["intervals"][key], content["no_interval"].get(key))


def compute_metrics(
    targets: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    threshold: float = 0.5,
    class_names: Sequence[str] = TWO_CLASSES,
    *,
    groups: NDArray[np.int64] | None = None,
    seed: int = 0,
) -> Metrics:
    """Compute the metrics of two classes, of which class 1 is the positive one, or of K > 2.

    Args:
        targets: (N,), 0 to K - 1; at least one. Classes that are in none of them shift no metric.
        probabilities: (N, K), each row adding up to 1.
        threshold: of two classes: from this probability on the prediction is 1.
        class_names: the K names.
        groups: (N,), the group of each image; None where there are no groups, and each image is drawn by itself.
        seed: of the draws behind `ece_by_chance`.
    """
    count = len(class_names)
    predicted = predict_targets(probabilities, threshold)
    answers = Answers(targets, probabilities, predicted)
    values = {name: float(column[0]) for name, column in answers.figures(np.ones((1, len(targets)))).items()}
    found = find_intervals(answers, values, Sample(targets, groups))
    metrics = {name: Metric.of(value, found[name]) for name, value in values.items()}
    matrix = answers.matrix.astype(np.int64)
    top = probabilities[:, 1] if count == 2 else probabilities[np.arange(len(targets)), predicted]
    per_class = [
        ClassMetrics(class_names[k], int(matrix[k].sum()), **{name: metrics[f"{name}/{k}"] for name in NAMES_OF_CLASS})
        for k in range(count if count > 2 else 0)
    ]
    return Metrics(
        class_names=tuple(class_names),
        test_images=len(targets),
        **{name: metrics[name] for name in METRICS_IN_ORDER},
        ece_by_chance=chance_error(top, seed),
        baseline=find_baseline(matrix, class_names, values["accuracy"], found["accuracy"].interval),
        confusion_matrix=tuple(tuple(row) for row in matrix.tolist()),
        threshold=threshold if count == 2 else None,
        per_class=tuple(per_class),
    )


def find_baseline(
    matrix: NDArray[np.number[Any]], class_names: Sequence[str], accuracy: float, interval: Interval | None
) -> Baseline:
    """Compare the accuracy, with its interval, with that of always answering the most frequent class."""
    counts = matrix.sum(axis=1)
    share = float(counts.max() / counts.sum())
    return Baseline(
        class_name=class_names[int(counts.argmax())],
        accuracy=share,
        better=bool((accuracy if interval is None else interval[0]) > share),
        one_answer=int((matrix.sum(axis=0) > 0).sum()) == 1,
    )


def shorten(class_name: str) -> str:
    """Cut a long name for a table or a plot, in its middle: what tells names apart often stands last."""
    return class_name if len(class_name) <= 24 else f"{class_name[:12]}…{class_name[-11:]}"
