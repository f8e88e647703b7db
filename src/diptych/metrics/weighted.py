"""Metrics of a classifier under many weightings of its test images at once: all equal, or the draws of a bootstrap."""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diptych.rng import generator

Weights = NDArray[np.float64]
Figures = dict[str, NDArray[np.float64]]

# Of equal width over [0, 1] (Guo et al., ICML 2017, https://arxiv.org/abs/1706.04599, section 2).
BINS = 15
CHANCES = 2_000
# A probability of 0 for what then is the case would cost infinitely much; scikit-learn's log loss clips at the same place.
SMALLEST = float(np.finfo(np.float64).eps)


def ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide; NaN where nothing can be divided by."""
    quotient = np.full(np.broadcast(above, below).shape, np.nan)
    np.divide(above, below, out=quotient, where=below > 0)
    return quotient


@dataclass(frozen=True)
class Ranked:
    """Scores in falling order, and where the blocks of equal ones begin.

    Attributes:
        order: (N,), rows by falling score.
        starts: of each block of equal scores, its first place in `order`.
        positive: float64 (N,), in that order: 1 for the class in question, 0 for another.
        bins: of each filled bin, its first place in `order`.
        scores: float64 (N,), in that order.
    """

    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    positive: NDArray[np.float64]
    bins: NDArray[np.int64]
    scores: NDArray[np.float64]

    @classmethod
    def of(cls, positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> "Ranked":
        """Rank scores, float64 (N,) in [0, 1], of images of which some are positive."""
        order = np.argsort(-scores, kind="stable")
        ranked = scores[order]
        starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
        number = bin_of(ranked)
        bins = np.flatnonzero(np.r_[True, number[1:] != number[:-1]])
        return cls(order, starts, positive[order].astype(np.float64), bins, ranked)

    def figures(self, weights: Weights) -> Figures:
        """Return the ROC area, the average precision and the calibration error, each (B,), under weights (B, N)."""
        placed = weights[:, self.order]
        blocks, found = placed, placed
        if len(self.starts) < len(self.order):
            blocks = np.add.reduceat(placed, self.starts, axis=1)
            found = np.add.reduceat(placed * self.positive, self.starts, axis=1)
        # Only where there are positive images does anything change.
        there = np.flatnonzero(np.add.reduceat(self.positive, self.starts))
        ahead = np.cumsum(blocks, axis=1)
        found, total, here = found[:, there], ahead[:, there], blocks[:, there]
        until = np.cumsum(found, axis=1)
        all_found = found.sum(axis=1)
        absent = ahead[:, -1] - all_found
        # Of two images with the same score, each is half before the other.
        behind = absent[:, None] - total + until + (here - found) / 2
        precision = np.divide(until, total, out=np.zeros_like(until), where=total > 0)
        return {
            "roc_auc": ratio(np.einsum("bn,bn->b", found, behind), all_found * absent),
            "average_precision": ratio(np.einsum("bn,bn->b", found, precision), all_found),
            "ece": self.calibration_error(placed),
        }

    def roc_influence(self) -> NDArray[np.float64]:
        """Return by how much the ROC area changes with the weight of each image, (N,), in the order of the images."""
        found, others, block = self.blocks()
        there, absent = found.sum(), others.sum()
        # Of the other class: those behind each block, and half of those in it; before it likewise.
        behind = (absent - np.cumsum(others) + others / 2) / absent
        before = (np.cumsum(found) - found / 2) / there
        placed = np.where(self.positive > 0, behind[block] / there, before[block] / absent)
        return self.in_order(placed)

    def precision_influence(self) -> tuple[NDArray[np.float64], float]:
        """Return the same of the average precision, and that of an image of another class behind half of the class."""
        found, others, block = self.blocks()
        there, until = found.sum(), np.cumsum(found)
        total = until + np.cumsum(others)
        raised = np.cumsum((found * (total - until) / total**2)[::-1])[::-1]
        lowered = np.cumsum((found * until / total**2)[::-1])[::-1]
        placed = np.where(self.positive > 0, (until / total + raised)[block], -lowered[block]) / there
        middle = int(np.searchsorted(until, there / 2))
        return self.in_order(placed), float(-lowered[middle] / there)

    def blocks(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """Return how many images in each block of equal scores are of the class, and are not; and the block of each place."""
        lengths = np.diff(np.r_[self.starts, len(self.order)])
        found = np.add.reduceat(self.positive, self.starts)
        return found, lengths - found, np.repeat(np.arange(len(lengths)), lengths)

    def in_order(self, placed: NDArray[np.float64]) -> NDArray[np.float64]:
        """Reorder values from the falling order of scores to the order of the images."""
        values = np.empty(len(placed))
        values[self.order] = placed
        return values

    def calibration_error(self, placed: Weights) -> NDArray[np.float64]:
        """Return the expected calibration error (B,): the mean distance of score and share of positives over the bins.

        Args:
            placed: weights (B, N) of the images in falling order of their scores.
        """
        gap = np.add.reduceat(placed * (self.positive - self.scores), self.bins, axis=1)
        return ratio(np.abs(gap).sum(axis=1), placed.sum(axis=1))


def chance_error(scores: NDArray[np.float64], seed: int) -> float:
    """Return the calibration error that scores of perfectly calibrated probabilities stay below in 95 of 100 cases.

    In each bin, the sum of as many draws as there are scores is taken as normal (consistency resampling: Bröcker and Smith,
    Weather and Forecasting 2007).
    """
    variances = np.bincount(bin_of(scores), scores * (1 - scores), minlength=BINS)
    gaps = np.abs(generator(seed, "chance").standard_normal((CHANCES, BINS))) * np.sqrt(variances)
    return float(np.quantile(gaps.sum(axis=1) / len(scores), 0.95))


def bin_of(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the bin of each score, 0 to BINS - 1; each holds its lower edge, the last one both."""
    return np.minimum((scores * BINS).astype(np.int64), BINS - 1)


def counted(true_positive: Weights, false_positive: Weights, false_negative: Weights, true_negative: Weights) -> Figures:
    """Return the metrics that follow from the four counts of one class against the rest, each (B,).

    MCC is 0 where all images, or all predictions, are of one kind; else what would be divided by 0 is NaN.
    """
    there, absent = true_positive + false_negative, false_positive + true_negative
    predicted, left = true_positive + false_positive, false_negative + true_negative
    product = np.sqrt(predicted) * np.sqrt(left) * np.sqrt(there) * np.sqrt(absent)
    correlation = ratio(true_positive * true_negative - false_positive * false_negative, product)
    return {
        "precision": ratio(true_positive, predicted),
        "recall": ratio(true_positive, there),
        "specificity": ratio(true_negative, absent),
        "f1": ratio(2 * true_positive, 2 * true_positive + false_positive + false_negative),
        "mcc": np.where(product > 0, np.clip(correlation, -1.0, 1.0), 0.0),
    }


@dataclass(frozen=True)
class Effects:
    """A metric of a confusion matrix, and the effect of an image in each cell.

    Attributes:
        figure: its value.
        cells: by how much it changes with one image more in each cell: (K, K); (K, 1) where only one column changes it.
        column: that column; None for all.
    """

    figure: float
    cells: NDArray[np.float64]
    column: int | None = None

    def part(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return those cells of a confusion matrix that change the figure."""
        return matrix if self.column is None else matrix[:, [self.column]]

    def influence(self, targets: NDArray[np.int64], predicted: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return by how much each image changes the figure, (N,)."""
        if self.column is None:
            return self.cells[targets, predicted]
        return np.where(predicted == self.column, self.cells[targets, 0], 0.0)


def count_effects(matrix: NDArray[np.float64]) -> dict[str, Effects]:
    """Return the metrics of a confusion matrix, and the effect of an image in each cell, with class frequencies unchanged.

    Args:
        matrix: (K, K), rows of true classes, columns of predicted ones; above 0 in the rows of classes that are there.

    Returns:
        The figures of `Answers.figures` that follow from it.
    """
    count, total, right = len(matrix), float(matrix.sum()), np.eye(len(matrix))
    there, predicted, hits = matrix.sum(axis=1), matrix.sum(axis=0), np.diag(matrix)
    absent, known = total - there, there > 0
    figures = {
        "precision": ratio(hits, predicted),
        "recall": ratio(hits, there),
        "specificity": 1 - ratio(predicted - hits, absent),
        "f1": ratio(2 * hits, there + predicted),
    }
    # Of the figures of class k, only images that are said to be of it change anything: column k.
    with np.errstate(divide="ignore", invalid="ignore"):
        columns = {
            "precision": (right - figures["precision"]) / predicted,
            "recall": right / there,
            "specificity": (right - 1) / absent,
            "f1": (2 * right - figures["f1"]) / (there + predicted),
        }
    found = {"accuracy": Effects(float(hits.sum() / total), right / total)}
    found["balanced_accuracy"] = Effects(
        float(figures["recall"][known].mean()), np.where(known, columns["recall"], 0.0) / known.sum()
    )
    found["mcc"] = correlation_effects(matrix)
    for name, column in columns.items():
        if count > 2:
            found[name] = Effects(float(figures[name][known].mean()), np.where(known, column, 0.0) / known.sum())
        for k in range(count) if count > 2 else (1,):
            found[f"{name}/{k}" if count > 2 else name] = Effects(float(figures[name][k]), column[:, [k]], k)
    for k in range(count) if count > 2 else ():
        missed, false = there[k] - hits[k], predicted[k] - hits[k]
        pair = correlation_effects(np.array([[absent[k] - false, false], [missed, hits[k]]]))
        # Said to be of the class instead of another one.
        raised = pair.cells[:, 1] - pair.cells[:, 0]
        found[f"mcc/{k}"] = Effects(pair.figure, np.where(right[:, [k]] > 0, raised[1], raised[0]), k)
    return found


def correlation_effects(matrix: NDArray[np.float64]) -> Effects:
    """Return the same for the correlation coefficient of K classes; 0 where all images are of one class."""
    total, right = float(matrix.sum()), np.eye(len(matrix))
    there, predicted = matrix.sum(axis=1), matrix.sum(axis=0)
    product = np.trace(matrix) * total - (there * predicted).sum()
    true_spread, spread = (float(np.sqrt(max(0.0, total**2 - (counts**2).sum()))) for counts in (there, predicted))
    if true_spread * spread == 0:
        return Effects(0.0, np.zeros_like(matrix))
    cells = (total * right - there) / (true_spread * spread) + product / true_spread * predicted / spread**3
    return Effects(float(product / (true_spread * spread)), cells)


class OneClass:
    """One class against the rest."""

    def __init__(self, positive: NDArray[np.bool_], scores: NDArray[np.float64], predicted: NDArray[np.bool_]) -> None:
        """Take N images: whether each is of the class, its probability of it, and whether it is predicted to be."""
        self.positive, self.squares = positive, (scores - positive) ** 2
        self.ranked = Ranked.of(positive, scores)
        counts = [positive & predicted, ~positive & predicted, positive & ~predicted, ~positive & ~predicted]
        self.columns = np.stack([*counts, self.squares], axis=1).astype(np.float64)

    def figures(self, weights: Weights) -> Figures:
        """Return the figures, each (B,), under weights (B, N); NaN where one is not defined."""
        *counts, squared = (weights @ self.columns).T
        return {
            **counted(*counts),
            "brier": ratio(squared, weights.sum(axis=1)),
            **self.ranked.figures(weights),
        }


class Answers:
    """The answers of a classifier on a test set, and the true classes."""

    def __init__(self, targets: NDArray[np.int64], probabilities: NDArray[np.float64], predicted: NDArray[np.int64]) -> None:
        """Take N images: targets (N,), predictions (N,), and probabilities (N, K), each row adding up to 1."""
        self.targets, self.probabilities, self.predicted = targets, probabilities, predicted
        rows, self.classes = np.arange(len(targets)), probabilities.shape[1]
        true = np.clip(probabilities[rows, targets], SMALLEST, 1.0)
        self.parts = [OneClass(targets == k, probabilities[:, k], predicted == k) for k in range(self.classes)]
        if self.classes == 2:
            self.parts = self.parts[1:]
        self.losses = -np.log(true)
        summed = ((probabilities - np.eye(self.classes)[targets]) ** 2).sum(axis=1)
        self.columns = np.stack([predicted == targets, self.losses, summed], axis=1).astype(np.float64)
        # As the Brier score takes them: of two classes, of class 1 alone.
        self.squares = self.parts[0].squares if self.classes == 2 else summed
        self.matrix = np.bincount(targets * self.classes + predicted, minlength=self.classes**2).astype(np.float64)
        self.matrix = self.matrix.reshape(self.classes, self.classes)
        self.sure = Ranked.of(predicted == targets, probabilities[rows, predicted])

    def figures(self, weights: Weights) -> Figures:
        """Return the figures, each (B,), under weights (B, N); NaN where one is not defined.

        Of K > 2 classes, those of class k have the name NAME/k, and NAME is their mean over the classes that are there.
        """
        total = weights.sum(axis=1)
        correct, loss, squared = (weights @ self.columns).T
        figures = {"accuracy": ratio(correct, total), "loss": ratio(loss, total)}
        parts = [part.figures(weights) for part in self.parts]
        if self.classes == 2:
            figures |= parts[0]
            sides = np.stack([figures["recall"], figures["specificity"]])
            return figures | {"balanced_accuracy": mean_of(sides)}
        for name in ("precision", "recall", "specificity", "f1", "roc_auc", "average_precision"):
            stacked = np.stack([part[name] for part in parts])
            there = np.stack([~np.isnan(part["recall"]) for part in parts])
            if name == "precision":
                # A class that is never predicted counts as 0 in the mean, as a recall of 0 does.
                stacked = np.nan_to_num(stacked)
            figures[name] = mean_of(np.where(there, stacked, np.nan))
        figures |= {"balanced_accuracy": figures["recall"], "mcc": self.correlation(weights, correct, total)}
        figures |= {"brier": ratio(squared, total), "ece": self.sure.calibration_error(weights[:, self.sure.order])}
        return figures | {f"{name}/{k}": values for k, part in enumerate(parts) for name, values in part.items()}

    def correlation(self, weights: Weights, correct: Weights, total: Weights) -> NDArray[np.float64]:
        """Return the correlation coefficient of K classes (Gorodkin, Computational Biology and Chemistry 2004)."""
        true_positive, false_positive, false_negative, _ = (
            np.stack([weights @ part.columns[:, place] for part in self.parts]) for place in range(4)
        )
        there, predicted = true_positive + false_negative, true_positive + false_positive
        spread = np.sqrt(total**2 - (there**2).sum(axis=0)) * np.sqrt(total**2 - (predicted**2).sum(axis=0))
        found = ratio(correct * total - (there * predicted).sum(axis=0), spread)
        return np.where(spread > 0, np.clip(found, -1.0, 1.0), 0.0)


def mean_of(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over the rows that are not NaN; NaN where all are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        found: NDArray[np.float64] = np.nanmean(rows, axis=0)
    return found
