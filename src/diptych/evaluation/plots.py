"""Plots of a run as PNG files, in colours that colour-blind readers tell apart, each line with its own style."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter
from sklearn.metrics import RocCurveDisplay

from diptych.config import Config
from diptych.errors import CheckpointError
from diptych.evaluation.metrics import read_metrics
from diptych.presets import read_toml
from diptych.storage import RunDir, write_atomically

DOTS_PER_INCH = 150
TRAINING, VALIDATION = sns.color_palette("colorblind")[:2]


def plot(run: RunDir) -> list[Path]:
    """Draw the curves of the training and, once `evaluate` has run, the confusion matrix and the ROC curve.

    Returns:
        The files, the accuracy against the epoch first.

    Raises:
        CheckpointError: the run has no history yet, or a damaged one.
    """
    history = read_history(run)
    best_by = read_toml(run.config, Config()).training.best_by
    files = [plot_accuracy(run, history, best_by), plot_loss(run, history, best_by), plot_learning_rate(run, history)]
    figures = read_metrics(run)
    if figures is not None:
        predictions = pd.read_csv(run.predictions)
        files.append(plot_confusion_matrix(run, figures))
        if figures["roc_auc"] is not None:
            files.append(plot_roc(run, predictions, figures["roc_auc"]))
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
    """Open a figure to draw in; it is written to `path` at the end."""
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook"):
        drawing, axes = plt.subplots(figsize=size, layout="constrained")
        try:
            yield axes
            axes.set(title=title, xlabel=x, ylabel=y)
            content = io.BytesIO()
            drawing.savefig(content, format="png", dpi=DOTS_PER_INCH)
            write_atomically(path, lambda partial: partial.write_bytes(content.getvalue()))
        finally:
            plt.close(drawing)


def draw_against_epoch(axes: Axes, history: pd.DataFrame, column: str, best_by: str) -> None:
    """Draw the training's and the validation's line of one column, and mark the epoch that was kept."""
    axes.plot(history["epoch"], history[column], "o-", color=TRAINING, label="training", markersize=4)
    axes.plot(history["epoch"], history[f"val_{column}"], "s--", color=VALIDATION, label="validation", markersize=4)
    ranked = history.sort_values("val_loss", kind="stable")
    best = (ranked.sort_values("val_accuracy", ascending=False, kind="stable") if best_by == "accuracy" else ranked).iloc[0]
    axes.plot(
        best["epoch"],
        best[f"val_{column}"],
        "*",
        color="black",
        markersize=13,
        label=f"kept (epoch {best['epoch']:.0f})",
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()


def plot_accuracy(run: RunDir, history: pd.DataFrame, best_by: str) -> Path:
    path = run.plots / "accuracy.png"
    with figure(path, f"Accuracy of run {run.root.name}", "epoch", "accuracy") as axes:
        draw_against_epoch(axes, history, "accuracy", best_by)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    return path


def plot_loss(run: RunDir, history: pd.DataFrame, best_by: str) -> Path:
    path = run.plots / "loss.png"
    with figure(path, f"Loss of run {run.root.name}", "epoch", "loss") as axes:
        draw_against_epoch(axes, history, "loss", best_by)
        axes.set_ylim(bottom=0)
    return path


def plot_learning_rate(run: RunDir, history: pd.DataFrame) -> Path:
    path = run.plots / "learning_rate.png"
    with figure(path, f"Learning rate of run {run.root.name}", "epoch", "learning rate at the end of the epoch") as axes:
        axes.plot(history["epoch"], history["learning_rate"], "o-", color=TRAINING, markersize=4)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylim(bottom=0)
    return path


def plot_confusion_matrix(run: RunDir, figures: dict[str, Any]) -> Path:
    """Draw counts, and below each its share of the row, which also gives the shade."""
    path = run.plots / "confusion_matrix.png"
    counts = np.array(figures["confusion_matrix"])
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    labels = [[f"{n}\n{share:.1%}" for n, share in zip(row, part, strict=True)] for row, part in zip(counts, shares, strict=True)]
    low, high = figures["test_accuracy_interval"]
    title = f"Test: accuracy {figures['test_accuracy']:.1%} (95 % interval {low:.1%} to {high:.1%})"
    with figure(path, title, "predicted class", "true class", (6, 4.8)) as axes:
        sns.heatmap(
            shares,
            annot=labels,
            fmt="",
            cmap="Blues",
            vmin=0,
            vmax=1,
            ax=axes,
            cbar_kws={"label": "share of the true class"},
        )
    return path


def plot_roc(run: RunDir, predictions: pd.DataFrame, roc_auc: float) -> Path:
    path = run.plots / "roc.png"
    title = f"Test: ROC curve, area {roc_auc:.3f}"
    with figure(path, title, "false positive rate (1 - specificity)", "true positive rate (recall)", (5.6, 5.4)) as axes:
        RocCurveDisplay.from_predictions(
            predictions["target"],
            predictions["predicted_probability"],
            ax=axes,
            name="test images",
            curve_kwargs={"color": TRAINING},
        )
        axes.plot([0, 1], [0, 1], ":", color="grey", label="chance")
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        axes.legend(loc="lower right")
    return path
