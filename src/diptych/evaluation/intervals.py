"""Intervals: Wilson's for a share, and those of a stratified bootstrap for everything else."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from diptych.evaluation.scores import Figures, Weights
from diptych.rng import generator

# The lower and the upper end.
Interval = list[float]

LEVEL = 0.95
DRAWS = 1000
# Weights that are in memory at a time, for each thread.
CHUNK = 2_000_000
# These cannot be negative and are too high on average, the more so the fewer images: their interval is turned round the
# figure (the basic bootstrap: Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 5.2).
TURNED = ("ece",)


def wilson(right: float, of: float) -> Interval | None:
    """Return Wilson's 95 % interval of the share `right` of `of` (Wilson, JASA 1927); None where `of` is 0."""
    if of == 0:
        return None
    found = binomtest(round(right), round(of)).proportion_ci(LEVEL, "wilson")
    return [float(found.low), float(found.high)]


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


def percentile_interval(name: str, figure: float, drawn: NDArray[np.float64]) -> Interval | None:
    """Return the middle 95 % of the draws of a figure; None where it is not defined, or in fewer than half of the draws."""
    defined = drawn[~np.isnan(drawn)]
    if np.isnan(figure) or 2 * len(defined) < len(drawn):
        return None
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    if name.split("/", maxsplit=1)[0] in TURNED:
        low, high = np.clip([2 * figure - high, 2 * figure - low], 0.0, 1.0)
    return [float(low), float(high)]
