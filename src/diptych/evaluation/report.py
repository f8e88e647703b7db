"""The test of a run: figures on the screen and in metrics.json, predictions in predictions.csv."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from diptych.data.images import ImageSpec
from diptych.data.prepare import prepare
from diptych.errors import CheckpointError, DataError
from diptych.evaluation.metrics import compute_metrics
from diptych.evaluation.predictions import THRESHOLD, predict_probabilities, with_predictions
from diptych.storage import FORMAT_VERSION, RunDir, write_json, write_table
from diptych.training.checkpoint import load_run_network

log = logging.getLogger(__name__)


def evaluate(run: RunDir, data: Path | None = None) -> dict[str, Any]:
    """Test the best checkpoint of a run on the images that its split keeps for the test.

    Args:
        run: a trained run.
        data: the data folder, where it has moved since; None for the one that the run was trained on.

    Returns:
        The figures of `compute_metrics`, as written to evaluation/metrics.json.

    Raises:
        DataError: a test image is missing, unreadable, or not the same file as when the run was trained.
        CheckpointError: the run has no checkpoint or no split.
    """
    network, config = load_run_network(run)
    test = read_split(run)
    root = data or config.data.data
    store, outcome = prepare([root / path for path in test["path"]], ImageSpec(config.data.image_size, config.data.resize))
    check_unchanged(root, test, outcome)
    predictions = with_predictions(test, predict_probabilities(network, store.images, np.arange(len(test))))
    figures = compute_metrics(test["target"].to_numpy(), predictions["predicted_probability"].to_numpy(np.float32), THRESHOLD)
    write_table(run.predictions, predictions)
    write_json(run.metrics, {"format_version": FORMAT_VERSION, **figures})
    return figures


def read_split(run: RunDir) -> pd.DataFrame:
    try:
        table = pd.read_csv(run.split, dtype=str, keep_default_na=False).astype({"target": int})
        return table[table["split"] == "test"].reset_index(drop=True)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{run.split} is missing or damaged: {error}") from error


def check_unchanged(root: Path, test: pd.DataFrame, outcome: pd.DataFrame) -> None:
    for path, expected, digest, problem in zip(test["path"], test["sha256"], outcome["sha256"], outcome["problem"], strict=True):
        if problem:
            raise DataError(
                f"{root / path}: {problem}. It was readable when the run was trained; bring it back, "
                "or name the folder with --data."
            )
        if digest != expected:
            raise DataError(f"{root / path} has changed since the run was trained; bring the file back, or train anew.")


def describe(figures: dict[str, Any]) -> str:
    """Put the figures into lines for the screen."""
    low, high = figures["test_accuracy_interval"]
    (true0, false1), (false0, true1) = figures["confusion_matrix"]
    auc = "not defined (one class only)" if figures["roc_auc"] is None else f"{figures['roc_auc']:.4f}"
    rows = {
        "test images": figures["test_images"],
        "test loss": f"{figures['test_loss']:.4f}",
        "test accuracy": f"{figures['test_accuracy']:.2%}  (95 % interval {low:.2%} to {high:.2%})",
        "precision": f"{figures['precision']:.2%}",
        "recall": f"{figures['recall']:.2%}",
        "F1": f"{figures['f1']:.2%}",
        "ROC AUC": auc,
        "confusion matrix": f"target 0: {true0} as 0, {false1} as 1;  target 1: {false0} as 0, {true1} as 1",
    }
    return "\n".join(f"{name + ':':18} {value}" for name, value in rows.items())
