"""Intervals: Wilson's for a share, and those of a stratified bootstrap for everything else."""

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import binomtest, norm
from scipy.stats import t as student

from diptych.evaluation.scores import Figures, Weights
from diptych.rng import generator

# The lower and the upper end.
Interval = list[float]

LEVEL = 0.95
# Wilson's interval of n right of n begins where the share is that of n right and so many wrong.
MORE = float(norm.ppf((1 + LEVEL) / 2)) ** 2
# Scales without bounds: there and back, and the bounds.
SCALES: dict[str, tuple[Any, Any, float, float]] = {
    "mcc": (np.arctanh, np.tanh, -1.0, 1.0),
    "loss": (np.log, np.exp, 0.0, math.inf),
}
ROUNDING = 1e-12
DRAWS = 1000
# Weights that are in memory at a time, for each thread; of more, the processor's cache holds too little.
CHUNK = 500_000


def wilson(right: float, of: float) -> Interval | None:
    """Return Wilson's 95 % interval of the share `right` of `of` (Wilson, JASA 1927); None where `of` is 0."""
    if of == 0:
        return None
    found = binomtest(round(right), round(of)).proportion_ci(LEVEL, "wilson")
    return [float(found.low), float(found.high)]


def mean_interval(shares: Sequence[tuple[int, int]]) -> Interval | None:
    """Return the 95 % interval of the mean of a few shares, from Wilson's of each.

    The distances to the ends add up as squares (MOVER: Zou and Donner, Statistics in Medicine 2008). A bootstrap takes a share
    of 1 for certain: of 8 images with a true share of 0.9 that is so in two of five tests. Of the mean of ten shares the
    bootstrap is the better one.

    Args:
        shares: of each, so many of so many images; those of 0 images do not count.

    Returns:
        The interval, 0 to 1; None where there are no images.
    """
    found = [(right / of, *ends) for right, of in shares if (ends := wilson(right, of))]
    if not found:
        return None
    each, low, high = np.array(found).T
    middle = each.mean()
    return [float(middle - np.linalg.norm(each - low) / len(found)), float(middle + np.linalg.norm(high - each) / len(found))]


def number_groups(names: NDArray[np.str_]) -> NDArray[np.int64] | None:
    """Number the groups of images by the names of the groups, (N,), "" for none; an image without one is one by itself.

    Returns:
        (N,); None where no image has a group.
    """
    if not (names != "").any():
        return None
    own = np.char.add("image ", np.arange(len(names)).astype(str))
    numbers: NDArray[np.int64] = np.unique(np.where(names == "", own, np.char.add("group ", names)), return_inverse=True)[1]
    return numbers


def draw_weights(strata: NDArray[np.int64], groups: NDArray[np.int64] | None, first: int, draws: int, seed: int) -> Weights:
    """Draw test sets with replacement, as often from each stratum as it has members.

    Args:
        strata: (N,), the stratum of each image; its class, say.
        groups: (N,), the group of each image, of which whole ones are drawn, those with the same strata in them among each
            other; None to draw single images.
        first: number of the first draw.
        draws: how many.
        seed: of the draws.

    Returns:
        float64 (draws, N): how often each image is in each draw.
    """
    units = np.arange(len(strata)) if groups is None else np.unique(groups, return_inverse=True)[1]
    kinds = strata if groups is None else kinds_of(units, strata)
    counts = np.empty((draws, units.max() + 1))
    for kind in np.unique(kinds):
        members = np.flatnonzero(kinds == kind)
        size = len(members)
        random = generator(seed, "bootstrap", first, int(kind))
        drawn = random.integers(0, size, (draws, size)) + size * np.arange(draws)[:, None]
        counts[:, members] = np.bincount(drawn.ravel(), minlength=draws * size).reshape(draws, size)
    return counts if groups is None else counts[:, units]


def kinds_of(units: NDArray[np.int64], strata: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the groups by which strata are in them."""
    there = np.zeros((units.max() + 1, strata.max() + 1), bool)
    there[units, strata] = True
    kinds: NDArray[np.int64] = np.unique(there, axis=0, return_inverse=True)[1].ravel()
    return kinds


def bootstrap(
    figures: Callable[[Weights], Figures],
    strata: NDArray[np.int64],
    groups: NDArray[np.int64] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Figures:
    """Return figures under resampled test sets (Efron and Tibshirani, An Introduction to the Bootstrap, 1993).

    Args:
        figures: returns named figures, each (B,), under weights (B, N).
        strata: as `draw_weights`.
        groups: as `draw_weights`.
        draws: how many test sets.
        seed: of the draws; the same seed gives the same draws on every machine.

    Returns:
        Each figure, (draws,).
    """
    each = max(1, min(draws, CHUNK // len(strata)))

    def part(first: int) -> Figures:
        return figures(draw_weights(strata, groups, first, min(each, draws - first), seed))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = list(pool.map(part, range(0, draws, each)))
    return {name: np.concatenate([found[name] for found in parts]) for name in parts[0]}


def percentile_interval(figure: float, drawn: NDArray[np.float64]) -> Interval | None:
    """Return the middle 95 % of the draws, such as those of a difference.

    Returns:
        The interval; None where the figure is not defined (NaN), or in fewer than half of the draws.
    """
    defined = drawn[~np.isnan(drawn)]
    if np.isnan(figure) or 2 * len(defined) < len(drawn):
        return None
    return [float(end) for end in np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])]


def figure_interval(
    name: str,
    figure: float,
    drawn: NDArray[np.float64],
    units: int,
    least: float = 0.0,
    beyond: Sequence[float] = (),
) -> Interval | None:
    """Return a figure's 95 % interval from what it is in the draws of a bootstrap.

    It is normal on a scale without bounds: the logit for figures from 0 to 1 (for the average precision: Boyd, Eng and Page,
    ECML 2013), Fisher's for MCC, the logarithm for the loss. In simulations with 200 images, 80 % of them right, it holds the
    true figure in 94 to 96 of 100 cases, and percentiles of the draws in 93 to 94; where hardly a mistake is made, both hold it
    less often (docs/experiments.md). The calibration error, which is
    too high on average, is moved by how much it is higher in the draws (Efron and Tibshirani 1993, section 10.3).

    Args:
        name: of the figure; what follows a slash does not count.
        figure: its value; NaN where it is not defined.
        drawn: (draws,), with NaN where it is not defined.
        units: how many images, or groups, the smaller class has: the fewer, the wider.
        least: of the calibration error: up to here, a perfectly calibrated classifier could show it, and the interval begins
            at 0.
        beyond: what the figure would be with a few images more (`Answers.with_more`). At a bound of the scale, such as a ROC
            AUC of 1, where all draws are the same, the interval reaches as far as these.

    Returns:
        The interval; None where the figure is not defined, or in fewer than half of the draws, or with fewer than 2 units.
    """
    if percentile_interval(figure, drawn) is None or units < 2:
        return None
    defined, reach = drawn[~np.isnan(drawn)], widen(units)
    kind = name.split("/", maxsplit=1)[0]
    if kind == "ece":
        middle, spread = 2 * figure - defined.mean(), reach * defined.std()
        low = 0.0 if figure <= least else max(0.0, min(figure, middle - spread))
        return [float(low), float(min(1.0, max(figure, middle + spread)))]
    bend, unbend, lowest, highest = SCALES.get(kind, (logit, expit, 0.0, 1.0))
    # An MCC of 1 may come out as a little less.
    if not lowest + ROUNDING < figure < highest - ROUNDING:
        ends = [figure, *beyond]
        return [max(lowest, min(ends)), min(highest, max(ends))]
    # Draws at a bound are taken for so far from it; no further than halfway from the figure.
    edge = min(1 / (4 * units * units), (figure - lowest) / 2, (highest - figure) / 2)
    bent = bend(np.clip(defined, lowest + edge, highest - edge))
    middle, spread = bend(figure), reach * bent.std()
    return [float(unbend(middle - spread)), float(unbend(middle + spread))]


def widen(units: int) -> float:
    """Return how many standard deviations of a bootstrap the interval reaches, for so many units (Hesterberg 2015, 3.2)."""
    units = max(2, units)
    return float(student.ppf((1 + LEVEL) / 2, units - 1)) * math.sqrt(units / (units - 1))
