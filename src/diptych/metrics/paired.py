"""Paired comparison of classifiers on the same images: McNemar's test, and the bootstrap of the difference of each figure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from diptych.metrics.intervals import LEVEL, Interval, bootstrap, percentile_interval
from diptych.metrics.weighted import Answers, Figures, Weights

Verdict = Literal["better", "worse", "no difference shown"]
# The calibration error is left out: it is too high on average, and not by as much for two classifiers.
FIGURES = ("accuracy", "balanced_accuracy", "f1", "mcc", "roc_auc", "average_precision", "loss", "brier")
LOWER_IS_BETTER = ("loss", "brier")
# The smallest p value is 1 in as many: small enough to be multiplied by the number of some pairs.
DRAWS = 2000


@dataclass(frozen=True)
class McNemar:
    """McNemar's exact test of two classifiers (McNemar, Psychometrika 1947).

    Attributes:
        only_first: images that the first alone has right.
        only_second: images that the second alone has right.
        p_value: probability of counts at least as uneven where both are as good.
    """

    only_first: int
    only_second: int
    p_value: float


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> McNemar:
    """Test two classifiers by the images that one of them alone has right.

    Each such image is a toss of a fair coin where both are as good; the test is the two-sided binomial one. It takes the
    images as independent of each other, which those of one group are not.

    Args:
        first: (N,), whether the first is right.
        second: (N,), whether the second is, on the same images.
    """
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    tosses = only_first + only_second
    return McNemar(only_first, only_second, float(binomtest(only_first, tosses, 0.5).pvalue) if tosses else 1.0)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct the p values of several tests, so that the chance of even one false alarm stays that of one test.

    Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 1979.
    """
    order = np.argsort(p_values, kind="stable")
    scaled = np.asarray(p_values, float)[order] * np.arange(len(order), 0, -1)
    corrected = np.empty(len(order))
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return [float(value) for value in corrected]


@dataclass(frozen=True)
class Difference:
    """How a figure of the second differs from that of the first.

    Attributes:
        figure: its name.
        first: the figure of the first; NaN where it is not defined.
        second: that of the second.
        interval: 95 % interval of second minus first; None where there is none.
        p_value: two-sided, that both are the same.
        corrected: the same, after Holm's correction for all pairs that were compared.
    """

    figure: str
    first: float
    second: float
    interval: Interval | None
    p_value: float
    corrected: float

    @property
    def difference(self) -> float:
        return self.second - self.first

    @property
    def verdict(self) -> Verdict:
        """Return "better" or "worse" only if the interval and the corrected p value agree on it."""
        if self.interval is None or self.interval[0] <= 0 <= self.interval[1] or self.corrected >= 1 - LEVEL:
            return "no difference shown"
        return "better" if (self.interval[0] > 0) != (self.figure in LOWER_IS_BETTER) else "worse"


@dataclass(frozen=True)
class Pair:
    """Two sides, by their places, and how the second differs from the first; `mcnemar` where each is one classifier."""

    first: int
    second: int
    differences: tuple[Difference, ...]
    mcnemar: McNemar | None

    def of(self, figure: str) -> Difference:
        """Return the difference of one figure."""
        return next(found for found in self.differences if found.figure == figure)


def compare_pairs(
    sides: Sequence[Sequence[Answers]],
    pairs: Sequence[tuple[int, int]],
    strata: NDArray[np.int64],
    groups: NDArray[np.int64] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[Pair]:
    """Compare pairs of classifiers on the same images, all of them under the same resampled test sets.

    A side is one classifier, or several of a kind (such as other seeds), whose figures are averaged. The intervals then tell how
    the mean of these very classifiers would differ on other images; they know nothing of other seeds.

    The p value of the accuracy is McNemar's where both sides are one classifier and there are no groups; any other is twice
    the smaller share of the draws on either side of 0 (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, 15.4).

    Args:
        sides: the classifiers' answers on the same images, in the same order.
        pairs: which of them to compare: the places of the first and the second.
        strata: (N,), the class of each image; each draw has as many of a class.
        groups: (N,), the group of each image, of which whole ones are drawn; None for none.
        draws: how many test sets.
        seed: of the draws.

    Returns:
        A comparison for each pair; p values are corrected for all of them, for each figure by itself.
    """

    def figures(weights: Weights) -> Figures:
        return {f"{place} {name}": row for place, side in enumerate(sides) for name, row in mean_figures(side, weights).items()}

    plain = {name: float(values[0]) for name, values in figures(np.ones((1, len(strata)))).items()}
    drawn = bootstrap(figures, strata, groups, draws, seed)
    tests = [mcnemar_of(sides[first], sides[second]) for first, second in pairs]
    found: dict[str, list[Difference]] = {}
    for name in FIGURES:
        rows: list[tuple[float, float, Interval | None, float]] = []
        for (first, second), test in zip(pairs, tests, strict=True):
            before, after = plain[f"{first} {name}"], plain[f"{second} {name}"]
            spread = drawn[f"{second} {name}"] - drawn[f"{first} {name}"]
            use_test = name == "accuracy" and groups is None and test is not None
            p_value = test.p_value if use_test and test is not None else share_beyond(spread)
            rows.append((before, after, percentile_interval(after - before, spread), p_value))
        corrected = holm([row[-1] for row in rows])
        found[name] = [Difference(name, *row, value) for row, value in zip(rows, corrected, strict=True)]
    return [
        Pair(first, second, tuple(found[name][place] for name in FIGURES), tests[place])
        for place, (first, second) in enumerate(pairs)
    ]


def mean_figures(side: Sequence[Answers], weights: Weights) -> Figures:
    """Return the mean of each of FIGURES over classifiers, (B,), under weights (B, N)."""
    each = [answers.figures(weights) for answers in side]
    return {name: np.mean([found[name] for found in each], axis=0) for name in FIGURES}


def mcnemar_of(first: Sequence[Answers], second: Sequence[Answers]) -> McNemar | None:
    """Return the test of two sides of one classifier each, or None."""
    if len(first) != 1 or len(second) != 1:
        return None
    return mcnemar(right_ones(first[0]), right_ones(second[0]))


def right_ones(answers: Answers) -> NDArray[np.bool_]:
    """Return (N,), whether each image was answered right."""
    right: NDArray[np.bool_] = answers.columns[:, 0] > 0
    return right


def share_beyond(drawn: NDArray[np.float64]) -> float:
    """Return twice the share of the draws on the side of 0 where fewer are, never 0; 1 where none is defined."""
    defined = drawn[~np.isnan(drawn)]
    fewer = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    return min(1.0, 2 * (fewer + 1) / (len(defined) + 1))
