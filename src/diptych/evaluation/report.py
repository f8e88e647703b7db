"""The test of a run: figures on the screen and in metrics.json, predictions in predictions.csv."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from diptych.config import Config
from diptych.data.prepare import prepare
from diptych.errors import CheckpointError, DataError
from diptych.evaluation.metrics import compute_metrics, shorten
from diptych.evaluation.predictions import THRESHOLD, predict_probabilities, with_predictions
from diptych.evaluation.views import describe_test, plan_test
from diptych.presets import read_toml
from diptych.storage import FORMAT_VERSION, RunDir, write_json, write_table
from diptych.training.checkpoint import load_run_network
from diptych.training.state import read_state

log = logging.getLogger(__name__)

# A table of more lines does not fit on a screen beside the other figures.
SHOWN_CLASSES = 15


def evaluate(
    run: RunDir, data: Path | None = None, cache: Path | None = None, *, tta: bool = False, test_size: int | None = None
) -> dict[str, Any]:
    """Test the best checkpoint of a run on the images that its split keeps for the test.

    Args:
        run: a trained run.
        data: the data folder or table, where it has moved since; None for the one that the run was trained on.
        cache: the folder that keeps the prepared images; None for the one of the training.
        tta: test-time augmentation: the mean over the flips and quarter turns that the run was trained with.
        test_size: height and width of the images for the network, in pixels; None for those of the training.

    Returns:
        The figures of `compute_metrics`, with `test_size` and the number of `views` of each image, as written to
        evaluation/metrics.json.

    Raises:
        DataError: a test image is missing, unreadable, or not the same file as when the run was trained.
        CheckpointError: the run has no checkpoint or no split.
        ConfigError: as `plan_test`.
    """
    spec, views = plan_test(read_toml(run.config, Config()), tta, test_size)
    network, config, class_names = load_run_network(run)
    state = read_state(run)
    if state is not None and not state.finished(config.training.epochs):
        done, best = f"{state.epoch} of {config.training.epochs} epochs", f"epoch {state.best_epoch}"
        log.warning("The training of %s is not finished (%s); tested is the best up to now, %s.", run.root, done, best)
    test = read_split(run)
    place = data or config.data.data
    # The paths in a table are relative to the folder that it lies in.
    root = place.parent if place.is_file() else place
    store, outcome = prepare([root / path for path in test["path"]], spec, (cache or config.data.cache).expanduser())
    check_unchanged(root, test, outcome)
    probabilities = predict_probabilities(network, store, np.arange(len(test)), views)
    figures = compute_metrics(test["target"].to_numpy(), probabilities, THRESHOLD, class_names)
    figures |= {"test_size": spec.size, "views": len(views)}
    write_table(run.predictions, with_predictions(test, probabilities, class_names))
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
    of_two = "per_class" not in figures
    of_what = f"of class {figures['class_names'][1]}" if of_two else "mean over the classes"
    looked_at = {"tested at": describe_test(figures["test_size"], figures["views"])} if "views" in figures else {}
    rows = {
        "test images": figures["test_images"],
        **looked_at,
        "test loss": f"{figures['test_loss']:.4f}",
        "test accuracy": f"{figures['test_accuracy']:.2%}  (95 % interval {low:.2%} to {high:.2%})",
        "precision": f"{figures['precision']:.2%}  ({of_what})",
        "recall": f"{figures['recall']:.2%}  ({of_what})",
        "F1": f"{figures['f1']:.2%}  ({of_what})",
        "ROC AUC": "not defined (one class only)" if figures["roc_auc"] is None else f"{figures['roc_auc']:.4f}",
    }
    if of_two:
        zero, one = figures["class_names"]
        (true0, false1), (false0, true1) = figures["confusion_matrix"]
        rows["confusion matrix"] = (
            f"class {zero}: {true0} as {zero}, {false1} as {one};  class {one}: {false0} as {zero}, {true1} as {one}"
        )
    lines = "\n".join(f"{name + ':':18} {value}" for name, value in rows.items())
    return lines if of_two else f"{lines}\n\n{describe_classes(figures['per_class'])}"


def describe_classes(per_class: list[dict[str, Any]]) -> str:
    """Lay the figures of each class out as a table in their order; of many classes, those with the lowest F1."""
    shown, rest = per_class, ""
    if len(per_class) > SHOWN_CLASSES:
        tested = [row for row in per_class if row["test_images"] > 0]
        shown = sorted(tested, key=lambda row: row["f1"])[:SHOWN_CLASSES]
        rest = f"\n… these are the worst by F1; all {len(per_class)} classes are in metrics.json"
    names = [shorten(row["class_name"]) for row in shown]
    width = max(len("class"), *map(len, names))
    lines = [f"{'class':{width}}  images  precision   recall       F1  ROC AUC"]
    for name, row in zip(names, shown, strict=True):
        figures = f"{row['precision']:9.2%}  {row['recall']:7.2%}  {row['f1']:7.2%}" if row["test_images"] else "not tested"
        area = "" if row["roc_auc"] is None else f"  {row['roc_auc']:7.4f}"
        lines.append(f"{name:{width}}  {row['test_images']:6}  {figures}{area}")
    return "\n".join(lines) + rest
