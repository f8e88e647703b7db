"""Figures of a classifier on a test set, each with its 95 % interval."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diptych.errors import CheckpointError
from diptych.evaluation.intervals import DRAWS, MORE, Interval, bootstrap, figure_interval, mean_interval, wilson
from diptych.evaluation.scores import Answers, Figures, chance_error
from diptych.storage import TWO_CLASSES, RunDir, reason_of

if TYPE_CHECKING:
    import pandas as pd

# So many classes have the full number of draws; of more, a draw takes long, and there are fewer.
QUICK_CLASSES = 10
FEWEST_DRAWS = 100
RENAMED = {"accuracy": "test_accuracy", "loss": "test_loss"}


def compute_metrics(
    targets: NDArray[np.int64],
    probabilities: NDArray[np.floating[Any]],
    threshold: float = 0.5,
    class_names: Sequence[str] = TWO_CLASSES,
    *,
    groups: NDArray[np.int64] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Any]:
    """Compute the test figures of two classes, of which class 1 is the positive one, or of K > 2.

    docs/metrics.md says what each figure is. A figure that is not defined is None: recall where the class is not there,
    precision where it neither is there nor is predicted, the areas where only one class is there. Precision is 0 where the
    class is there but never predicted.

    Args:
        targets: (N,), 0 to K - 1; at least one. Classes that are in none of them shift no figure.
        probabilities: of two classes (N,), that of class 1; of more (N, K), each row adding up to 1; [0, 1].
        threshold: of two classes: from this probability on the prediction is 1.
        class_names: the K names.
        groups: (N,), the group of each image; None where there are no groups, and each image is drawn by itself.
        draws: of the bootstrap; 0 to leave its intervals out. Of more than 10 classes they are fewer.
        seed: of the draws.

    Returns:
        `class_names`, `test_images`, `test_loss` (mean cross-entropy in nats), `test_accuracy`, `balanced_accuracy`,
        `precision`, `recall`, `specificity`, `f1`, `mcc`, `roc_auc`, `average_precision`, `brier`, `ece`; `intervals`: of
        each of these that is a figure, [low, high], or None where it is not defined; `test_accuracy_interval`, the one of
        the accuracy; `bootstrap_draws`; `confusion_matrix` (rows: targets; columns: predictions); and of two classes
        `threshold`. Of K > 2 classes, `per_class` has the figures of each class against the rest with their intervals, and
        precision, recall, specificity, F1 and the two areas are the mean over the classes that are there.
    """
    shares, count = as_shares(probabilities), len(class_names)
    predicted = predict_targets(probabilities, threshold)
    answers = Answers(targets, shares, predicted)
    figures = {name: float(values[0]) for name, values in answers.figures(np.ones((1, len(targets)))).items()}
    matrix = np.zeros((count, count), np.int64)
    np.add.at(matrix, (targets, predicted), 1)
    draws = draws if count <= QUICK_CLASSES else min(draws, max(FEWEST_DRAWS, QUICK_CLASSES * draws // count))
    drawn = bootstrap(answers.figures, targets, groups, draws, seed) if draws else {}
    units = count_units(targets, groups, count)
    least = {f"ece/{k}": chance_error(shares[:, k], seed) for k in range(count) if count > 2}
    least["ece"] = chance_error(shares[:, 1] if count == 2 else shares[np.arange(len(targets)), predicted], seed)
    beyond = few_more(answers, units) if drawn and any(abs(value) in (0, 1) for value in figures.values()) else {}
    counted = {} if groups is not None else shares_of(matrix, count)
    intervals = find_intervals(figures, drawn, counted, units, least, beyond)
    plain = {name: value for name, value in figures.items() if "/" not in name}
    return {
        "class_names": list(class_names),
        "test_images": len(targets),
        **{RENAMED.get(name, name): defined(value) for name, value in plain.items()},
        "test_accuracy_interval": intervals["accuracy"],
        "intervals": {RENAMED.get(name, name): intervals[name] for name in plain},
        "bootstrap_draws": draws,
        **({"threshold": threshold} if count == 2 else {"per_class": rows_of(figures, intervals, matrix, class_names)}),
        "confusion_matrix": matrix.tolist(),
    }


def count_units(targets: NDArray[np.int64], groups: NDArray[np.int64] | None, count: int) -> NDArray[np.int64]:
    """Count the images of each class, or the groups that hold any of it, (K,)."""
    pairs = np.unique(np.stack([targets, np.arange(len(targets)) if groups is None else groups]), axis=1)
    return np.bincount(pairs[0], minlength=count)


def few_more(answers: Answers, units: NDArray[np.int64]) -> dict[str, list[float]]:
    """Return what each figure would be, had a few images more of one class been answered wrong, or right.

    They are as many, or as many groups, as bring a share of 1 to the lower end of Wilson's interval. Of many classes, each of
    which would have to be looked at, all have them at once.
    """
    count = len(units)
    each = MORE * np.bincount(answers.targets, minlength=count) / np.maximum(units, 1)
    more = np.diag(each) if count <= QUICK_CLASSES else each[None]
    found = [answers.with_more(more, right) for right in (False, True)]
    return {name: [float(value) for part in found for value in part[name] if not np.isnan(value)] for name in found[0]}


def find_intervals(
    figures: dict[str, float],
    drawn: Figures,
    shares: dict[str, tuple[int, int]],
    units: NDArray[np.int64],
    least: dict[str, float],
    beyond: dict[str, list[float]],
) -> dict[str, Interval | None]:
    """Return the interval of each figure: Wilson's where it is a share of images, or made of those, else that of the draws."""
    found: dict[str, Interval | None] = {}
    sides = [shares[name] for name in ("recall", "specificity") if name in shares]
    for name, value in figures.items():
        if name in shares:
            found[name] = wilson(*shares[name])
        elif name == "balanced_accuracy" and sides:
            found[name] = mean_interval(sides)
        elif name in drawn:
            found[name] = figure_interval(
                name, value, drawn[name], units_of(name, units), least.get(name, 0.0), beyond.get(name, ())
            )
        else:
            found[name] = None
    return found


def units_of(name: str, units: NDArray[np.int64]) -> int:
    """Return how many units decide how sure a figure is: those of the smaller side, or of a class of many on average."""
    total = int(units.sum())
    if name in ("accuracy", "loss", "brier"):
        return total
    _, _, target = name.partition("/")
    if target:
        return min(int(units[int(target)]), total - int(units[int(target)]))
    return int(units.min()) if len(units) == 2 else total // int((units > 0).sum())


def shares_of(matrix: NDArray[np.int64], count: int) -> dict[str, tuple[int, int]]:
    """Return the figures that are a share of images as that share: so many of so many."""
    total, correct = int(matrix.sum()), int(np.trace(matrix))
    shares = {"accuracy": (correct, total)}
    for k in range(count) if count > 2 else (1,):
        suffix = f"/{k}" if count > 2 else ""
        right, there, predicted = int(matrix[k, k]), int(matrix[k].sum()), int(matrix[:, k].sum())
        others, left = total - there, total - there - (predicted - right)
        shares |= {f"precision{suffix}": (right, predicted), f"recall{suffix}": (right, there)}
        shares[f"specificity{suffix}"] = (left, others)
    return shares


def rows_of(
    figures: dict[str, float], intervals: dict[str, Interval | None], matrix: NDArray[np.int64], class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """Return a row of figures and intervals for each class."""
    rows: list[dict[str, Any]] = []
    for k, class_name in enumerate(class_names):
        own = [name for name in figures if name.endswith(f"/{k}")]
        plain = {name: name.rpartition("/")[0] for name in own}
        row: dict[str, Any] = {"class_name": class_name, "test_images": int(matrix[k].sum())}
        row |= {plain[name]: defined(figures[name]) for name in own}
        rows.append(row | {"intervals": {plain[name]: intervals[name] for name in own}})
    return rows


def as_shares(probabilities: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return probabilities of class 1 (N,), or of K classes (N, K), as float64 (N, 2) or (N, K) whose rows add up to 1."""
    exact = probabilities.astype(np.float64)
    if exact.ndim == 1:
        return np.stack([1 - exact, exact], axis=1)
    # Of float32, the sum is 1 up to rounding only.
    shares: NDArray[np.float64] = exact / exact.sum(axis=1, keepdims=True)
    return shares


def predict_targets(probabilities: NDArray[np.floating[Any]], threshold: float) -> NDArray[np.int64]:
    """Return the predicted targets (N,): class 1 from the threshold on, or the most probable of K classes."""
    if probabilities.ndim == 1:
        return (probabilities >= threshold).astype(np.int64)
    targets: NDArray[np.int64] = probabilities.argmax(axis=1)
    return targets


def defined(value: float) -> float | None:
    """Return a figure, or None for NaN, which JSON does not have."""
    return None if np.isnan(value) else value


def probability_column(class_name: str) -> str:
    """Name the column of the predictions that holds the probability of a class."""
    return f"probability_{class_name}"


def read_shares(table: "pd.DataFrame", class_names: Sequence[str]) -> NDArray[np.float64]:
    """Return the probabilities (N, K) in a table of predictions; each row adds up to 1.

    Raises:
        ValueError: a column is not there, or holds no probabilities.
    """
    columns = [probability_column(name) for name in class_names]
    missing = [column for column in columns if column not in table]
    if missing:
        raise ValueError(f"there is no column {missing[0]} (another version of Diptych wrote it, perhaps)")
    shares = as_shares(table[columns].to_numpy(np.float64))
    if not np.isfinite(shares).all() or shares.min(initial=0) < 0:
        raise ValueError("a probability that cannot be")
    return shares


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
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{run.metrics} {reason_of(error)}. Run diptych evaluate again.") from error
    return figures
