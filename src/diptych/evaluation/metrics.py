"""Figures of a classifier on a test set."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn import metrics

from diptych.errors import CheckpointError
from diptych.storage import TWO_CLASSES, RunDir


def compute_metrics(
    targets: NDArray[np.int64],
    probabilities: NDArray[np.float32],
    threshold: float = 0.5,
    class_names: Sequence[str] = TWO_CLASSES,
) -> dict[str, Any]:
    """Compute the test figures of two classes, of which class 1 is the positive one, or of K > 2.

    Args:
        targets: (N,), 0 to K - 1; at least one. Classes that are in none of them shift no figure.
        probabilities: of two classes (N,), that of class 1; of more (N, K), each row adding up to 1; [0, 1].
        threshold: of two classes: from this probability on the prediction is 1.
        class_names: the K names.

    Returns:
        `class_names`, `test_images`, `test_loss` (mean cross-entropy in nats), `test_accuracy` with its 95 % Wilson interval
        `test_accuracy_interval`, `precision`, `recall`, `f1`, `roc_auc`, `confusion_matrix` (rows: targets; columns:
        predictions), and of two classes `threshold`. Precision, recall and F1 are 0 where nothing is predicted or nothing
        is there, and the area is None where only one class is there. Of K > 2 classes these four are the mean over the
        classes that are there (so that recall is also the balanced accuracy), each against all others, and `per_class`
        has them for each class, in order, with `class_name` and `test_images`.
    """
    binary = probabilities.ndim == 1
    predicted = predict_targets(probabilities, threshold)
    labels = range(len(class_names))
    correct = int((predicted == targets).sum())
    interval = binomtest(correct, len(targets)).proportion_ci(0.95, "wilson")
    shares = probabilities.astype(np.float64)
    if not binary:
        # Of float32, the sum is 1 up to rounding only, which scikit-learn warns of.
        shares = shares / shares.sum(axis=1, keepdims=True)
    return {
        "class_names": list(class_names),
        "test_images": len(targets),
        "test_loss": float(metrics.log_loss(targets, shares, labels=labels)),
        "test_accuracy": correct / len(targets),
        "test_accuracy_interval": [float(interval.low), float(interval.high)],
        **(of_two(targets, predicted, shares) if binary else of_many(targets, predicted, shares, class_names)),
        "confusion_matrix": metrics.confusion_matrix(targets, predicted, labels=labels).tolist(),
        **({"threshold": threshold} if binary else {}),
    }


def predict_targets(probabilities: NDArray[np.float32], threshold: float) -> NDArray[np.int64]:
    """Return the predicted targets (N,): class 1 from the threshold on, or the most probable of K classes."""
    if probabilities.ndim == 1:
        return (probabilities >= threshold).astype(np.int64)
    targets: NDArray[np.int64] = probabilities.argmax(axis=1)
    return targets


def of_two(targets: NDArray[np.int64], predicted: NDArray[np.int64], probabilities: NDArray[np.float64]) -> dict[str, Any]:
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        targets, predicted, labels=[0, 1], pos_label=1, average="binary", zero_division=0.0
    )
    return {
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "roc_auc": area(targets == 1, probabilities),
    }


def of_many(
    targets: NDArray[np.int64], predicted: NDArray[np.int64], probabilities: NDArray[np.float64], class_names: Sequence[str]
) -> dict[str, Any]:
    precision, recall, f1, images = metrics.precision_recall_fscore_support(
        targets, predicted, labels=range(len(class_names)), average=None, zero_division=0.0
    )
    per_class: list[dict[str, Any]] = [
        {
            "class_name": name,
            "test_images": int(images[target]),
            "precision": float(precision[target]),
            "recall": float(recall[target]),
            "f1": float(f1[target]),
            "roc_auc": area(targets == target, probabilities[:, target]),
        }
        for target, name in enumerate(class_names)
    ]
    there = images > 0
    areas = [row["roc_auc"] for row in per_class if row["roc_auc"] is not None]
    return {
        "precision": float(precision[there].mean()),
        "recall": float(recall[there].mean()),
        "f1": float(f1[there].mean()),
        "roc_auc": float(np.mean(areas)) if areas else None,
        "per_class": per_class,
    }


def area(positive: NDArray[np.bool_], probabilities: NDArray[np.float64]) -> float | None:
    """Return the area under the ROC curve, or None where all or none are positive."""
    if positive.all() or not positive.any():
        return None
    return float(metrics.roc_auc_score(positive, probabilities))


def probability_column(class_name: str) -> str:
    """Name the column of the predictions that holds the probability of one of K > 2 classes."""
    return f"probability_{class_name}"


def shorten(class_name: str) -> str:
    """Cut a long name for a table or a plot, in its middle: what tells names apart often stands last."""
    return class_name if len(class_name) <= 24 else f"{class_name[:12]}…{class_name[-11:]}"


def read_metrics(run: RunDir) -> dict[str, Any] | None:
    """Read the figures of the last `evaluate`, or None if there was none.

    Raises:
        CheckpointError: the file is damaged.
    """
    if not run.metrics.is_file():
        return None
    try:
        figures: dict[str, Any] = json.loads(run.metrics.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{run.metrics} is damaged: {error}. Run diptych evaluate again.") from error
    return figures
