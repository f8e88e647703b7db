"""The figures of a test as lines for the screen."""

from typing import Any

from diptych.evaluation.metrics import shorten
from diptych.evaluation.views import describe_test

# A table of more lines does not fit on a screen beside the other figures.
SHOWN_CLASSES = 15
PERCENT = ("test_accuracy", "balanced_accuracy", "precision", "recall", "specificity", "f1")
NAMES = {
    "test_accuracy": "test accuracy",
    "balanced_accuracy": "balanced accuracy",
    "precision": "precision",
    "recall": "recall",
    "specificity": "specificity",
    "f1": "F1",
    "mcc": "MCC",
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
    "test_loss": "test loss",
    "brier": "Brier score",
    "ece": "calibration error",
}


def describe(figures: dict[str, Any]) -> str:
    """Put the figures of `compute_metrics` or of `evaluate` into lines."""
    of_two = "per_class" not in figures
    of_what = f"class {figures.get('positive', figures['class_names'][-1])}" if of_two else "mean over the classes"
    rows = {"test images": str(figures["test_images"])}
    if "views" in figures:
        rows["tested at"] = describe_test(figures["test_size"], figures["views"])
    for name, shown in NAMES.items():
        note = f"  ({of_what})" if name in ("precision", "recall", "specificity", "f1", "average_precision") else ""
        rows[shown] = with_interval(figures[name], figures["intervals"].get(name), name in PERCENT) + note
    rows |= describe_choices(figures)
    if of_two:
        zero, one = figures["class_names"]
        (true0, false1), (false0, true1) = figures["confusion_matrix"]
        rows["confusion matrix"] = (
            f"class {zero}: {true0} as {zero}, {false1} as {one};  class {one}: {false0} as {zero}, {true1} as {one}"
        )
    lines = "\n".join(f"{name + ':':19} {value}" for name, value in rows.items())
    tables = [] if of_two else [describe_classes(figures["per_class"])]
    tables += [describe_subgroups(column, found) for column, found in figures.get("subgroups", {}).items()]
    return "\n\n".join([lines, *tables])


def with_interval(value: float | None, interval: list[float] | None, percent: bool) -> str:
    """Write "82.99%  (78.97% to 86.38%)"."""
    if value is None:
        return "not defined"
    form = "{:.2%}" if percent else "{:.4f}"
    between = "" if interval is None else f"  (95 % interval {form.format(interval[0])} to {form.format(interval[1])})"
    return form.format(value) + between


def describe_choices(figures: dict[str, Any]) -> dict[str, str]:
    """Say what was chosen on the validation images, and what came of it."""
    rows: dict[str, str] = {}
    decision = figures.get("decision")
    if decision is None:
        return rows
    if "threshold" in figures:
        rows["threshold"] = f"{decision['threshold']:.4g}" + (
            "" if decision["rule"] == f"{decision['threshold']:g}" else f"  ({decision['rule']}, on the validation images)"
        )
    if decision["calibration"] is not None:
        rows["calibration"] = decision["calibration"]["reason"]
    answers, sets, outliers = figures["answers"], figures["class_sets"], figures["outliers"]
    if decision["abstain_rule"] != "none":
        rows["answered"] = f"{answers['coverage']:.2%} of the images; of these right: " + with_interval(
            answers["accuracy"], answers["accuracy_interval"], percent=True
        )
    if decision["validation_images"]:
        held = with_interval(sets["coverage"], sets["coverage_interval"], percent=True)
        rows["sets of classes"] = (
            f"asked for {sets['asked_coverage']:.0%}: hold the true class in {held}, mean size {sets['mean_size']:.2f}"
        )
    if outliers is not None:
        rows["outliers"] = (
            f"{outliers['flagged']} of the test images ({outliers['share']:.1%}; 5% are expected) look like no training image"
        )
    return rows


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


def describe_subgroups(column: str, rows: list[dict[str, Any]]) -> str:
    """Lay the subgroups of one column out as a table."""
    names = [shorten(row["value"]) or "(none)" for row in rows]
    width = max(len(shorten(column)), *map(len, names))
    lines = [f"{shorten(column):{width}}  images  accuracy  (95 % interval)       ROC AUC"]
    for name, row in zip(names, rows, strict=True):
        low, high = row["test_accuracy_interval"]
        area = f"{row['roc_auc']:7.4f}" if row["roc_auc"] is not None else " " * 7
        mark = f"  significantly worse than the rest (p = {row['p_value']:.2g})" if row["worse"] else ""
        lines.append(
            f"{name:{width}}  {row['test_images']:6}  {row['test_accuracy']:8.2%}  ({low:.2%} to {high:.2%})  {area}{mark}"
        )
    return "\n".join(lines)
