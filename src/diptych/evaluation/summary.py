"""The report of a test as lines for the screen."""

import textwrap
from collections.abc import Sequence

from diptych.evaluation.report import OutlierCount, Report, Shortcut
from diptych.inference.outliers import FEWEST_VALIDATION
from diptych.inference.tta import describe_test
from diptych.metrics.classification import NAMES, PERCENT, Baseline, ClassMetrics, Metrics, shorten
from diptych.metrics.influence import REASONS
from diptych.metrics.intervals import Interval
from diptych.metrics.subgroups import Subgroup

# A table of more lines does not fit on a screen beside the other metrics.
SHOWN_CLASSES = 15
NOT_DEFINED = "not defined"
NO_INTERVAL = "no interval"


def describe(report: Report) -> str:
    """Format a report for the screen."""
    metrics, of_two = report.metrics, report.positive is not None
    of_what = f"class {report.positive}" if of_two else "mean over the classes"
    rows = {"test images": str(metrics.test_images), "tested at": describe_test(report.test_size, report.views)}
    for name, metric in metrics.named().items():
        note = f"  ({of_what})" if name in ("precision", "recall", "specificity", "f1", "average_precision") else ""
        why = describe_reason(metrics, name)
        rows[NAMES[name]] = with_interval(metric.value, metric.interval, name in PERCENT, why) + note
    rows[NAMES["accuracy"]] += "".join(f"; {text}" for text in describe_baseline(metrics))
    shortcut = report.data.shortcut
    if shortcut is not None:
        rows[NAMES["roc_auc"]] += f"\n{'':19} ({shortcut.roc_auc:.4f} without looking at what the images show)"
    rows |= describe_choices(report)
    if of_two:
        zero, one = metrics.class_names
        (true0, false1), (false0, true1) = metrics.confusion_matrix
        rows["confusion matrix"] = (
            f"class {zero}: {true0} as {zero}, {false1} as {one};  class {one}: {false0} as {zero}, {true1} as {one}"
        )
    lines = "\n".join(f"{name + ':':19} {value}" for name, value in rows.items())
    tables = [] if of_two else [describe_classes(metrics.per_class)]
    tables += [describe_subgroups(column, found) for column, found in report.subgroups.items()]
    beware = [describe_shortcut(shortcut)] if shortcut is not None and shortcut.level == "error" else []
    return "\n\n".join([*beware, lines, *tables])


def describe_shortcut(shortcut: Shortcut) -> str:
    """Describe what spoils the metrics, in lines for a narrow screen."""
    said = [f"Beware: {shortcut.title}.", *(f"  {detail}" for detail in shortcut.details), shortcut.advice]
    return "\n".join(textwrap.fill(text, 79, subsequent_indent="  " * text.startswith("  ")) for text in said)


def with_interval(value: float | None, interval: Interval | None, percent: bool, why: str = "") -> str:
    """Return "82.99%  (95 % interval 78.97% to 86.38%)", or why there is no interval."""
    if value is None:
        return NOT_DEFINED
    form = "{:.2%}" if percent else "{:.4f}"
    if interval is None:
        return form.format(value) + (f"  ({why})" if why else "")
    return form.format(value) + f"  (95 % interval {form.format(interval[0])} to {form.format(interval[1])})"


def describe_reason(metrics: Metrics, name: str) -> str:
    """Explain why a metric has no interval; of the calibration error, what chance alone could show. "" where it has one."""
    reason = metrics.named()[name].reason
    if reason is None or reason == "not_defined":
        return ""
    if reason == "biased":
        return f"no interval; perfectly calibrated, it would be up to {metrics.ece_by_chance:.4f} by chance"
    return f"no interval: {REASONS[reason]}"


def describe_baseline(metrics: Metrics) -> list[str]:
    """Describe that the accuracy is not, or not shown to be, better than always answering the most frequent class."""
    return compare_with_baseline(metrics.baseline, metrics.accuracy.value or 0.0, len(metrics.class_names))


def compare_with_baseline(found: Baseline, accuracy: float, classes: int) -> list[str]:
    """Return the sentences of `describe_baseline`, for the accuracy of any test with `classes` classes."""
    if found.better:
        return []
    shown = "no better" if accuracy <= found.accuracy else "not shown to be better"
    texts = [f"{shown} than always answering {shorten(found.class_name)} ({found.accuracy:.1%})"]
    if found.one_answer:
        flags = "--class-weights balanced at the training"
        flags += ", or --threshold youden at the test," if classes == 2 else ""
        texts.append(f"the network gives one answer to all images: {flags} may help")
    return texts


def describe_choices(report: Report) -> dict[str, str]:
    """Describe what was chosen on the validation images, and its effect on the test."""
    rows: dict[str, str] = {}
    decision, answers, sets = report.decision, report.answers, report.class_sets
    if report.positive is not None:
        rows["threshold"] = f"{decision.threshold:.4g}" + (
            "" if decision.rule == f"{decision.threshold:g}" else f"  ({decision.rule}, on the validation images)"
        )
    if decision.calibration is not None:
        rows["calibration"] = decision.calibration.reason
    if decision.abstain_rule != "none":
        rows["answered"] = f"{answers.coverage:.2%} of the images; of these right: " + with_interval(
            answers.accuracy, answers.accuracy_interval, percent=True
        )
    if decision.validation_images:
        held = with_interval(sets.coverage, sets.coverage_interval, percent=True)
        rows["sets of classes"] = (
            f"target coverage {sets.asked_coverage:.0%}; contain the true class in {held}, mean size {sets.mean_size:.2f}"
        )
    if report.outliers is not None:
        rows["outliers"] = describe_outliers(report.outliers)
    return rows


def describe_outliers(outliers: OutlierCount) -> str:
    """Describe how many test images are unlike any training image, and how many were to be expected; or why there is no limit."""
    clusters = outliers.validation_units
    if outliers.limit is None or outliers.flagged is None or outliers.share is None:
        return f"no limit: it would rest on {clusters} validation images or groups; expected at least {FEWEST_VALIDATION}"
    low, high = outliers.expected_interval or (0.0, 1.0)
    expected = f"{outliers.expected_share:.0%} are expected, {low:.1%} to {high:.1%} with {clusters} validation images or groups"
    return f"{outliers.flagged} of the test images ({outliers.share:.1%}; {expected}) are unlike any training image"


def describe_classes(per_class: Sequence[ClassMetrics]) -> str:
    """Return the metrics of each class as a table in their order; of many classes, those with the lowest F1."""
    shown, rest = list(per_class), ""
    if len(per_class) > SHOWN_CLASSES:
        tested = [row for row in per_class if row.test_images > 0]
        shown = sorted(tested, key=lambda row: row.f1.value or 0.0)[:SHOWN_CLASSES]
        rest = f"\n… these are the worst by F1; all {len(per_class)} classes are in metrics.json"
    names = [shorten(row.class_name) for row in shown]
    width = max(len("class"), *map(len, names))
    lines = [f"{'class':{width}}  images    precision   recall       F1  ROC AUC"]
    for name, row in zip(names, shown, strict=True):
        precision = f"{NOT_DEFINED:>11}" if row.precision.value is None else f"{row.precision.value:11.2%}"
        found = f"{precision}  {row.recall.value:7.2%}  {row.f1.value:7.2%}" if row.test_images else "not tested"
        area = "" if row.roc_auc.value is None else f"  {row.roc_auc.value:7.4f}"
        lines.append(f"{name:{width}}  {row.test_images:6}  {found}{area}")
    return "\n".join(lines) + rest


def describe_subgroups(column: str, rows: Sequence[Subgroup]) -> str:
    """Return the subgroups of one column as a table."""
    names = [shorten(row.value) or "(none)" for row in rows]
    width = max(len(shorten(column)), *map(len, names))
    lines = [f"{shorten(column):{width}}  images  accuracy  (95 % interval)       ROC AUC"]
    for name, row in zip(names, rows, strict=True):
        accuracy, area = row.metrics.accuracy, row.metrics.roc_auc.value
        between = NO_INTERVAL if accuracy.interval is None else "({:.2%} to {:.2%})".format(*accuracy.interval)
        shown = f"{area:7.4f}" if area is not None else " " * 7
        mark = f"  significantly worse than the rest (p = {row.p_value:.2g})" if row.worse else ""
        lines.append(f"{name:{width}}  {row.metrics.test_images:6}  {accuracy.value:8.2%}  {between:20}  {shown}{mark}")
    return "\n".join(lines)
