"""The figures of a test, as lines for the screen."""

import textwrap
from collections.abc import Mapping
from typing import Any

from diptych.inference.outliers import FEWEST_VALIDATION
from diptych.inference.tta import describe_test
from diptych.metrics.classification import shorten
from diptych.metrics.influence import REASONS

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


NOT_DEFINED = "not defined"
NO_INTERVAL = "no interval"


def describe(figures: dict[str, Any]) -> str:
    """Format the figures of `compute_metrics` or `evaluate` for the screen."""
    of_two = "per_class" not in figures
    of_what = f"class {figures.get('positive', figures['class_names'][-1])}" if of_two else "mean over the classes"
    rows = {"test images": str(figures["test_images"])}
    if "views" in figures:
        rows["tested at"] = describe_test(figures["test_size"], figures["views"])
    for name, shown in NAMES.items():
        note = f"  ({of_what})" if name in ("precision", "recall", "specificity", "f1", "average_precision") else ""
        why = describe_reason(figures, name)
        rows[shown] = with_interval(figures[name], figures["intervals"].get(name), name in PERCENT, why) + note
    rows["test accuracy"] += "".join(f"; {text}" for text in describe_baseline(figures))
    shortcut = figures.get("data", {}).get("shortcut")
    if shortcut is not None:
        rows["ROC AUC"] += f"\n{'':19} ({shortcut['roc_auc']:.4f} without looking at what the images show)"
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
    beware = [describe_shortcut(shortcut)] if shortcut is not None and shortcut["level"] == "error" else []
    return "\n\n".join([*beware, lines, *tables])


def describe_shortcut(shortcut: dict[str, Any]) -> str:
    """Describe what spoils the figures, in lines for a narrow screen."""
    said = [f"Beware: {shortcut['title']}.", *(f"  {detail}" for detail in shortcut["details"]), shortcut["advice"]]
    return "\n".join(textwrap.fill(text, 79, subsequent_indent="  " * text.startswith("  ")) for text in said)


def with_interval(value: float | None, interval: list[float] | None, percent: bool, why: str = "") -> str:
    """Write "82.99%  (95 % interval 78.97% to 86.38%)", or why there is no interval."""
    if value is None:
        return NOT_DEFINED
    form = "{:.2%}" if percent else "{:.4f}"
    if interval is None:
        return form.format(value) + (f"  ({why})" if why else "")
    return form.format(value) + f"  (95 % interval {form.format(interval[0])} to {form.format(interval[1])})"


def describe_reason(figures: Mapping[str, Any], name: str) -> str:
    """Explain why a figure has no interval; of the calibration error, what chance alone could show. Nothing where it has one."""
    reason = figures.get("no_interval", {}).get(name)
    if reason is None or reason == "not_defined":
        return ""
    if reason == "biased":
        return f"no interval; perfectly calibrated, it would be up to {figures['ece_by_chance']:.4f} by chance"
    return f"no interval: {REASONS[reason]}"


def describe_baseline(figures: Mapping[str, Any]) -> list[str]:
    """Describe that the accuracy is not, or not shown to be, better than always answering the most frequent class."""
    found = figures["baseline"]
    if found["better"]:
        return []
    shown = "no better" if figures["test_accuracy"] <= found["accuracy"] else "not shown to be better"
    texts = [f"{shown} than always answering {shorten(found['class'])} ({found['accuracy']:.1%})"]
    if found["one_answer"]:
        flags = "--class-weights balanced at the training"
        flags += ", or --threshold youden at the test," if len(figures["class_names"]) == 2 else ""
        texts.append(f"the network gives one answer to all images: {flags} may help")
    return texts


def describe_choices(figures: dict[str, Any]) -> dict[str, str]:
    """Describe what was chosen on the validation images, and its effect on the test."""
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
            f"target coverage {sets['asked_coverage']:.0%}; contain the true class in {held}, mean size {sets['mean_size']:.2f}"
        )
    if outliers is not None:
        rows["outliers"] = describe_outliers(outliers)
    return rows


def describe_outliers(outliers: Mapping[str, Any]) -> str:
    """Describe how many test images are unlike any training image, and how many were to be expected; or why there is no limit."""
    units = outliers["validation_units"]
    if outliers["limit"] is None:
        return f"no limit: it would rest on {units} validation images or groups; expected at least {FEWEST_VALIDATION}"
    low, high = outliers["expected_interval"] or (0.0, 1.0)
    expected = f"{outliers['expected_share']:.0%} are expected, {low:.1%} to {high:.1%} with {units} validation images or groups"
    return f"{outliers['flagged']} of the test images ({outliers['share']:.1%}; {expected}) are unlike any training image"


def describe_classes(per_class: list[dict[str, Any]]) -> str:
    """Lay the figures of each class out as a table in their order; of many classes, those with the lowest F1."""
    shown, rest = per_class, ""
    if len(per_class) > SHOWN_CLASSES:
        tested = [row for row in per_class if row["test_images"] > 0]
        shown = sorted(tested, key=lambda row: row["f1"])[:SHOWN_CLASSES]
        rest = f"\n… these are the worst by F1; all {len(per_class)} classes are in metrics.json"
    names = [shorten(row["class_name"]) for row in shown]
    width = max(len("class"), *map(len, names))
    lines = [f"{'class':{width}}  images    precision   recall       F1  ROC AUC"]
    for name, row in zip(names, shown, strict=True):
        precision = f"{NOT_DEFINED:>11}" if row["precision"] is None else f"{row['precision']:11.2%}"
        figures = f"{precision}  {row['recall']:7.2%}  {row['f1']:7.2%}" if row["test_images"] else "not tested"
        area = "" if row["roc_auc"] is None else f"  {row['roc_auc']:7.4f}"
        lines.append(f"{name:{width}}  {row['test_images']:6}  {figures}{area}")
    return "\n".join(lines) + rest


def describe_subgroups(column: str, rows: list[dict[str, Any]]) -> str:
    """Lay the subgroups of one column out as a table."""
    names = [shorten(row["value"]) or "(none)" for row in rows]
    width = max(len(shorten(column)), *map(len, names))
    lines = [f"{shorten(column):{width}}  images  accuracy  (95 % interval)       ROC AUC"]
    for name, row in zip(names, rows, strict=True):
        between = NO_INTERVAL
        if row["test_accuracy_interval"] is not None:
            between = "({:.2%} to {:.2%})".format(*row["test_accuracy_interval"])
        area = f"{row['roc_auc']:7.4f}" if row["roc_auc"] is not None else " " * 7
        mark = f"  significantly worse than the rest (p = {row['p_value']:.2g})" if row["worse"] else ""
        lines.append(f"{name:{width}}  {row['test_images']:6}  {row['test_accuracy']:8.2%}  {between:20}  {area}{mark}")
    return "\n".join(lines)
