"""Figures of a classifier under many weightings of its test images at once: the plain one, and the draws of a bootstrap."""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diptych.rng import generator

Weights = NDArray[np.float64]
Figures = dict[str, NDArray[np.float64]]

# Of equal width over [0, 1] (Guo et al., ICML 2017, https://arxiv.org/abs/1706.04599, section 2).
BINS = 15
CHANCES = 10_000
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
    """Return what follows from the four counts of one class against the rest, each (B,).

    Precision is 0 where the class is there but never predicted, and MCC is 0 where all images, or all predictions, are of one
    kind; else what would be divided by 0 is NaN.
    """
    there, absent = true_positive + false_negative, false_positive + true_negative
    predicted, left = true_positive + false_positive, false_negative + true_negative
    product = np.sqrt(predicted) * np.sqrt(left) * np.sqrt(there) * np.sqrt(absent)
    correlation = ratio(true_positive * true_negative - false_positive * false_negative, product)
    return {
        "precision": np.where((predicted == 0) & (there > 0), 0.0, ratio(true_positive, predicted)),
        "recall": ratio(true_positive, there),
        "specificity": ratio(true_negative, absent),
        "f1": ratio(2 * true_positive, 2 * true_positive + false_positive + false_negative),
        "mcc": np.where(product > 0, correlation, 0.0),
    }


class OneClass:
    """One class against the rest."""

    def __init__(self, positive: NDArray[np.bool_], scores: NDArray[np.float64], predicted: NDArray[np.bool_]) -> None:
        """Take N images: whether each is of the class, its probability of it, and whether it is predicted to be."""
        self.ranked = Ranked.of(positive, scores)
        counts = [positive & predicted, ~positive & predicted, positive & ~predicted, ~positive & ~predicted]
        self.columns = np.stack([*counts, (scores - positive) ** 2], axis=1).astype(np.float64)

    def figures(self, weights: Weights) -> Figures:
        """Return the figures, each (B,), under weights (B, N); NaN where one is not defined."""
        *counts, squared = (weights @ self.columns).T
        return {
            **counted(*counts),
            "brier": ratio(squared, weights.sum(axis=1)),
            **self.ranked.figures(weights),
        }


class Answers:
    """What a classifier answered on a test set, and what was right."""

    def __init__(self, targets: NDArray[np.int64], shares: NDArray[np.float64], predicted: NDArray[np.int64]) -> None:
        """Take N images: targets (N,), predictions (N,), and probabilities (N, K), each row adding up to 1."""
        self.targets, self.shares, self.predicted = targets, shares, predicted
        rows, self.classes = np.arange(len(targets)), shares.shape[1]
        true = np.clip(shares[rows, targets], SMALLEST, 1.0)
        self.parts = [OneClass(targets == k, shares[:, k], predicted == k) for k in range(self.classes)]
        if self.classes == 2:
            self.parts = self.parts[1:]
        squared = ((shares - np.eye(self.classes)[targets]) ** 2).sum(axis=1)
        self.columns = np.stack([predicted == targets, -np.log(true), squared], axis=1).astype(np.float64)
        self.sure = Ranked.of(predicted == targets, shares[rows, predicted])

    def with_more(self, more: NDArray[np.float64], right: bool) -> Figures:
        """Return what the figures would be with more images, all of which are surely right or surely wrong.

        Args:
            more: (B, K), how many of each class.
            right: or wrong, taken for the next class.

        Returns:
            Each figure, (B,).
        """
        targets = np.arange(self.classes)
        said = targets if right else (targets + 1) % self.classes
        shares = np.concatenate([self.shares, np.eye(self.classes)[said]])
        extended = Answers(np.r_[self.targets, targets], shares, np.r_[self.predicted, said])
        return extended.figures(np.concatenate([np.ones((len(more), len(self.targets))), more], axis=1))

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
        return np.where(spread > 0, ratio(correct * total - (there * predicted).sum(axis=0), spread), 0.0)


def mean_of(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over the rows that are not NaN; NaN where all are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        found: NDArray[np.float64] = np.nanmean(rows, axis=0)
    return found
