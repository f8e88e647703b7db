"""Intervals: Wilson's for a share of images, and the stratified bootstrap that differences of runs are judged by."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from diptych.metrics.weighted import Figures, Weights
from diptych.rng import generator

# The lower and the upper end.
Interval = list[float]

LEVEL = 0.95
# How many standard deviations a normal distribution has on each side of its middle 95 %.
REACH = float(norm.ppf((1 + LEVEL) / 2))
DRAWS = 1000
# Weights that are in memory at a time, for each thread; of more, the processor's cache holds too little.
CHUNK = 500_000


def standard_deviation(values: NDArray[np.float64]) -> float:
    """Return the standard deviation over seeds or folds, with n - 1; NaN for a single one."""
    return float(values.std(ddof=1)) if len(values) > 1 else float("nan")


def wilson(right: float, of: float) -> Interval | None:
    """Return Wilson's 95 % interval of the share `right` of `of` (Wilson, JASA 1927); None where `of` is 0."""
    return None if of == 0 else score_interval(right / of, of)


def score_interval(figure: float, images: float, lowest: float = 0.0, highest: float = 1.0, reach: float = REACH) -> Interval:
    """Return Wilson's interval of a figure that varies as the share of `images` images would, on the scale from bound to bound.

    Args:
        figure: from `lowest` to `highest`.
        images: how many independent images of a share would be as sure; above 0, and not necessarily a whole number.
        lowest: the figure can be no lower.
        highest: nor higher.
        reach: standard deviations on each side.
    """
    share = (figure - lowest) / (highest - lowest)
    squared = reach**2 / images
    middle = (share + squared / 2) / (1 + squared)
    half = np.sqrt(max(0.0, share * (1 - share)) * squared + squared**2 / 4) / (1 + squared)
    # At a bound, the end lies on it but for rounding.
    low, high = (min(1.0, max(0.0, end)) for end in (middle - half, middle + half))
    low, high = min(low, share), max(high, share)
    return [float(lowest + end * (highest - lowest)) for end in (low, high)]


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
        strata: (N,), the stratum of each image, such as its class.
        groups: (N,), the group of each image, of which whole ones are drawn, those with the same strata in them among each
            other; None to draw single images.
        first: number of the first draw.
        draws: how many.
        seed: of the draws.

    Returns:
        float64 (draws, N): how often each image is in each draw.
    """
    clusters = np.arange(len(strata)) if groups is None else np.unique(groups, return_inverse=True)[1]
    kinds = strata if groups is None else kinds_of(clusters, strata)
    counts = np.empty((draws, clusters.max() + 1))
    for kind in np.unique(kinds):
        members = np.flatnonzero(kinds == kind)
        size = len(members)
        random = generator(seed, "bootstrap", first, int(kind))
        drawn = random.integers(0, size, (draws, size)) + size * np.arange(draws)[:, None]
        counts[:, members] = np.bincount(drawn.ravel(), minlength=draws * size).reshape(draws, size)
    return counts if groups is None else counts[:, clusters]


def kinds_of(clusters: NDArray[np.int64], strata: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the groups by which strata are in them."""
    there = np.zeros((clusters.max() + 1, strata.max() + 1), bool)
    there[clusters, strata] = True
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
