"""Figures of a binary classifier on a test set."""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn import metrics

from diptych.errors import CheckpointError
from diptych.storage import RunDir


def compute_metrics(targets: NDArray[np.int64], probabilities: NDArray[np.float32], threshold: float) -> dict[str, Any]:
    """Compute the test figures; class 1 is the positive class.

    Args:
        targets: (N,), 0 or 1; at least one.
        probabilities: (N,), of class 1, [0, 1].
        threshold: from this probability on the prediction is 1.

    Returns:
        `test_images`, `test_loss` (mean binary cross-entropy in nats), `test_accuracy` with its 95 % Wilson interval
        `test_accuracy_interval`, `precision`, `recall`, `f1` (0 where nothing is predicted or nothing is there), `roc_auc`
        (None where only one class is there), `confusion_matrix` (rows: target 0, 1; columns: prediction 0, 1), `threshold`.
    """
    predicted = (probabilities >= threshold).astype(int)
    correct = int((predicted == targets).sum())
    interval = binomtest(correct, len(targets)).proportion_ci(0.95, "wilson")
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        targets, predicted, labels=[0, 1], pos_label=1, average="binary", zero_division=0.0
    )
    both = len(np.unique(targets)) == 2
    return {
        "test_images": len(targets),
        "test_loss": float(metrics.log_loss(targets, probabilities.astype(np.float64), labels=[0, 1])),
        "test_accuracy": correct / len(targets),
        "test_accuracy_interval": [float(interval.low), float(interval.high)],
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "roc_auc": float(metrics.roc_auc_score(targets, probabilities)) if both else None,
        "confusion_matrix": metrics.confusion_matrix(targets, predicted, labels=[0, 1]).tolist(),
        "threshold": threshold,
    }


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
