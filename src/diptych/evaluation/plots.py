"""Plots of a run as PNG files, in colours that colour-blind readers tell apart, each line with its own style."""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from diptych.drawing import write_figure
from diptych.errors import CheckpointError
from diptych.evaluation.report import Report, read_report
from diptych.inference.prediction_table import read_probabilities
from diptych.metrics.classification import Metrics, shorten
from diptych.storage.run_dir import RunDir
from diptych.training.state import read_kept_epoch

DOTS_PER_INCH = 150
SCREEN_DOTS_PER_INCH = 80
COLOURS = sns.color_palette("colorblind")
TRAINING, VALIDATION = COLOURS[:2]
STYLES = ("-", "--", "-.", (0, (3, 1, 1, 1, 1, 1)))

# Up to how many classes there is room for numbers in the confusion matrix, for names beside it, and for a ROC curve each;
# else the worst few.
ANNOTATED_CLASSES = 20
NAMED_CLASSES = 50
ROC_CLASSES = 8
WORST_CLASSES = 5


def plot(run: RunDir) -> list[Path]:
    """Draw the curves of the training and, once `evaluate` has run, the confusion matrix and the ROC curve.

    Returns:
        The files, the accuracy against the epoch first.

    Raises:
        CheckpointError: the run has no history yet, or a damaged one.
    """
    history = read_history(run)
    kept = read_kept_epoch(run)
    files = [plot_accuracy(run, history, kept), plot_loss(run, history, kept), plot_learning_rate(run, history)]
    report = read_report(run)
    if report is not None:
        files.append(plot_confusion_matrix(run, report.metrics))
        if report.metrics.roc_auc.value is not None:
            files.append(plot_roc(run, report))
    return files


def read_history(run: RunDir) -> pd.DataFrame:
    try:
        history = pd.read_csv(run.history)
        if history.empty or "val_accuracy" not in history:
            raise ValueError("no finished epoch in it")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{run.history}: {error}. It grows by a line at the end of each epoch of diptych train.") from error
    return history


@contextmanager
def figure(path: Path, title: str, x: str, y: str, size: tuple[float, float] = (7, 4.5)) -> Iterator[Axes]:
    """Open a figure to draw in; it is written to `path` at the end. None of it is pyplot's: a notebook keeps its own figures."""
    # The user's names are shown as they are: a $ begins no formula.
    plain = mpl.rc_context({"text.parse_math": False})
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook"), plain, warnings.catch_warnings():
        # Seaborn draws once to see whether names overlap, before the fonts that have their letters are set.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        drawing = Figure(size, layout="constrained")
        axes = drawing.add_subplot()
        yield axes
        axes.set(title=title, xlabel=x, ylabel=y)
        write_figure(path, drawing, DOTS_PER_INCH)


class ShownFigure(Figure):
    """A Figure that a notebook shows, whether or not pyplot was imported there."""

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        self.savefig(content, format="png", dpi=SCREEN_DOTS_PER_INCH)
        return content.getvalue()


def draw_history(run: RunDir) -> ShownFigure:
    """Draw accuracy and loss against the epoch, side by side; nothing is written.

    Raises:
        CheckpointError: the run has no history yet, or a damaged one.
    """
    history, kept = read_history(run), read_kept_epoch(run)
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook"), mpl.rc_context({"text.parse_math": False}):
        drawing = ShownFigure((11, 4), layout="constrained")
        left, right = drawing.subplots(1, 2)
        draw_against_epoch(left, history, "accuracy", kept)
        left.yaxis.set_major_formatter(PercentFormatter(1.0))
        draw_against_epoch(right, history, "loss", kept)
        right.set_ylim(bottom=0)
        for axes, name in ((left, "accuracy"), (right, "loss")):
            axes.set(title=f"{name.capitalize()} of run {run.root.name}", xlabel="epoch", ylabel=name)
    return drawing


def draw_against_epoch(axes: Axes, history: pd.DataFrame, column: str, kept: int | None) -> None:
    """Draw the training's and the validation's line of one column, and mark the epoch that was kept, where that is known."""
    axes.plot(history["epoch"], history[column], "o-", color=TRAINING, label="training", markersize=4)
    axes.plot(history["epoch"], history[f"val_{column}"], "s--", color=VALIDATION, label="validation", markersize=4)
    best = history[history["epoch"] == kept]
    if len(best):
        axes.plot(best["epoch"], best[f"val_{column}"], "*", color="black", markersize=13, label=f"kept (epoch {kept})")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()


def plot_accuracy(run: RunDir, history: pd.DataFrame, kept: int | None) -> Path:
    path = run.plots / "accuracy.png"
    with figure(path, f"Accuracy of run {run.root.name}", "epoch", "accuracy") as axes:
        draw_against_epoch(axes, history, "accuracy", kept)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    return path


def plot_loss(run: RunDir, history: pd.DataFrame, kept: int | None) -> Path:
    path = run.plots / "loss.png"
    with figure(path, f"Loss of run {run.root.name}", "epoch", "loss") as axes:
        draw_against_epoch(axes, history, "loss", kept)
        axes.set_ylim(bottom=0)
    return path


def plot_learning_rate(run: RunDir, history: pd.DataFrame) -> Path:
    path = run.plots / "learning_rate.png"
    with figure(path, f"Learning rate of run {run.root.name}", "epoch", "learning rate at the end of the epoch") as axes:
        axes.plot(history["epoch"], history["learning_rate"], "o-", color=TRAINING, markersize=4)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylim(bottom=0)
    return path


def plot_confusion_matrix(run: RunDir, metrics: Metrics) -> Path:
    """Draw counts, and below each its share of the row, which also gives the shade; of many classes the shades alone."""
    path = run.plots / "confusion_matrix.png"
    names = [shorten(name) for name in metrics.class_names]
    counts = np.array(metrics.confusion_matrix)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    labels = [
        [f"{n}\n{share:.1%}" if n else "0" for n, share in zip(row, part, strict=True)]
        for row, part in zip(counts, shares, strict=True)
    ]
    annotated = len(names) <= ANNOTATED_CLASSES
    interval = metrics.accuracy.interval
    title = f"Test: accuracy {metrics.accuracy.value:.1%}"
    title += f" (95 % interval {interval[0]:.1%} to {interval[1]:.1%})" if interval else ""
    every = -(-len(names) // NAMED_CLASSES)
    width = min(13.0, max(6.0, 2.4 + 0.66 * len(names)))
    with figure(path, title, "predicted class", "true class", (width, 0.8 * width)) as axes:
        sns.heatmap(
            pd.DataFrame(shares, names, names),
            annot=labels if annotated else None,
            annot_kws={"fontsize": 12 if len(names) <= 3 else 8},
            fmt="",
            cmap="Blues",
            vmin=0,
            vmax=1,
            xticklabels=every,
            yticklabels=every,
            ax=axes,
            cbar_kws={"label": "share of the true class"},
        )
    return path


def plot_roc(run: RunDir, report: Report) -> Path:
    """Draw the ROC curve of the positive class; of K > 2 classes, of each against all others and their mean.

    Of many classes only those with the smallest areas are drawn, and the mean of all.
    """
    path = run.plots / "roc.png"
    class_names = report.class_names
    targets, probabilities = read_answers(run, class_names)
    of_two, positive = report.positive is not None, report.decision.positive
    what = (
        f"ROC curve of class {shorten(class_names[positive])}, area"
        if of_two
        else "ROC curves of one class against the rest, mean area"
    )
    title = f"Test: {what} {report.metrics.roc_auc.value:.3f}"
    size = (5.6, 5.4) if of_two else (7.2, 7.0)
    with figure(path, title, "false positive rate (1 - specificity)", "true positive rate (recall)", size) as axes:
        if of_two:
            false_rate, true_rate, _ = roc_curve(targets == positive, probabilities[:, positive])
            axes.plot(false_rate, true_rate, color=TRAINING, label="test images")
        else:
            draw_roc_per_class(axes, targets, probabilities, report.metrics)
        axes.plot([0, 1], [0, 1], ":", color="grey", label="chance")
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        axes.legend(loc="lower right", fontsize="small")
    return path


def read_answers(run: RunDir, class_names: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Read the classes (N,) of the test images, and their probabilities (N, K).

    Raises:
        CheckpointError: the table of predictions is damaged.
    """
    try:
        table = pd.read_csv(run.predictions)
        return table["target"].to_numpy(np.int64), read_probabilities(table, class_names)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{run.predictions} is damaged: {error}. Run diptych evaluate again.") from error


def draw_roc_per_class(
    axes: Axes,
    targets: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    metrics: Metrics,
) -> None:
    found = {target: row.roc_auc.value for target, row in enumerate(metrics.per_class)}
    areas = {target: area for target, area in found.items() if area is not None}
    drawn = list(areas) if len(areas) <= ROC_CLASSES else sorted(areas, key=lambda target: areas[target])[:WORST_CLASSES]
    grid = np.linspace(0, 1, 501)
    mean = np.zeros(len(grid))
    curves = {}
    for target in areas:
        curve = roc_curve(targets == target, probabilities[:, target])[:2]
        mean += np.interp(grid, *curve) / len(areas)
        if target in drawn:
            curves[target] = curve
    label = f"{metrics.roc_auc.value:.3f}  mean of {len(areas)} classes{', and the worst:' if len(drawn) < len(areas) else ''}"
    axes.plot([0, *grid], [0, *mean], color="black", linewidth=2.5, label=label)
    for place, target in enumerate(drawn):
        # The area first, since Matplotlib leaves out labels that begin with an underscore.
        label = f"{areas[target]:.3f}  {shorten(metrics.class_names[target])}"
        axes.plot(*curves[target], linestyle=STYLES[place % len(STYLES)], color=COLOURS[place], label=label)


def plot_range_test(path: Path, table: pd.DataFrame, suggestion: float | None) -> None:
    """Draw a learning-rate range test: the loss against the logarithm of the rate.

    Args:
        path: the PNG file.
        table: `learning_rate`, `loss` and `smoothed_loss`, a row a step.
        suggestion: the rate to mark, if there is one.
    """
    with figure(path, "Learning-rate range test", "learning rate", "loss of the training batches") as axes:
        axes.semilogx(table["learning_rate"], table["loss"], ".", color="grey", alpha=0.6, label="each batch")
        axes.semilogx(table["learning_rate"], table["smoothed_loss"], color=TRAINING, linewidth=2.5, label="smoothed")
        if suggestion is not None:
            axes.axvline(suggestion, color=VALIDATION, linestyle="--", label=f"suggested: {suggestion:.2g}")
        # A loss that has run away would press the valley flat.
        low, high = table["smoothed_loss"].min(), table["smoothed_loss"].iloc[0]
        axes.xaxis.set_major_formatter(lambda rate, _: f"{rate:g}")
        axes.set_ylim(max(0.0, low - 0.5 * (high - low)), min(table["loss"].max(), max(high, low) * 2.5) * 1.05)
        axes.legend()
