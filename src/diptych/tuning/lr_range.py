"""The learning-rate range test: the rate grows from step to step, and the loss tells which rate to train with.

Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017 (arXiv 1506.01186). Smith lets the rate grow linearly
and reads it off the accuracy; here it grows exponentially, and is read off the smoothed loss, as in fastai.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diptych.errors import ConfigError

# Share of the old mean that the smoothed loss keeps: a memory of ten steps, a tenth of the hundred that are usual.
SMOOTHING = 0.9
# The test ends where the smoothed loss is this many times the lowest one; as in fastai.
DIVERGED = 4.0
# A loss that falls by less than this share, from beginning to lowest, says nothing about rates.
LEAST_FALL = 0.02


@dataclass(frozen=True)
class RangeTest:
    """A finished range test.

    Attributes:
        table: a row a step: `learning_rate`, `loss`, `smoothed_loss`; of the steps with a finite loss.
        suggestions: what each rule suggests, by its name; empty where the loss did not fall.
        ended: why the test ended, in words.
    """

    table: pd.DataFrame
    suggestions: Mapping[str, float]
    ended: str

    @property
    def suggestion(self) -> float | None:
        """The suggested rate, to two digits: the lower of `valley` and `tenth_of_minimum`; None where the loss did not fall.

        Each rule is far off at times, for the loss of a batch is noisy. A rate that is too low costs less than one that is
        too high, and below a tenth of the lowest point the loss is never near to turning. Over six seeds of ELPV at 32 px the
        valley was between 0.66e-3 and 8.9e-3, the tenth between 0.39e-3 and 7.4e-3, the lower of them between 0.39e-3 and
        5.5e-3; of seven rates that were trained with, those from 0.3e-3 to 3e-3 were best. The steepest point was between
        0.07e-3 and 17e-3, and is told only.
        """
        if not self.suggestions:
            return None
        return float(f"{min(self.suggestions['valley'], self.suggestions['tenth_of_minimum']):.1e}")

    @property
    def verdict(self) -> str:
        """What to do now."""
        if self.suggestion is not None:
            return f"Suggested: --learning-rate {self.suggestion:.2g}"
        return (
            f"The loss fell at no rate: {self.ended}. Look at the plot, try other --lowest and --highest or more --steps, and "
            "look at the data with diptych check."
        )


@dataclass(frozen=True)
class RateRange:
    """The learning rates of a range test: each the same factor above the one before."""

    lowest: float = 1e-7
    """Rate of the first step, above 0."""
    highest: float = 1.0
    """Rate of the last step, below 10."""
    steps: int = 100
    """Optimizer updates, at least 20."""

    def __post_init__(self) -> None:
        if not 0 < self.lowest < self.highest < 10 or self.steps < 20:
            raise ConfigError(
                f"a range test of {self.steps} steps from {self.lowest:g} to {self.highest:g}: expected at least 20 steps, and "
                "rates above 0 and below 10, the lower one first. Set --steps, --lowest and --highest."
            )

    def rates(self) -> NDArray[np.float64]:
        """Return them all, (steps,)."""
        return np.geomspace(self.lowest, self.highest, self.steps)


def range_test(rates: NDArray[np.float64], loss_at: Callable[[float], float]) -> RangeTest:
    """Train one step at each rate until the loss diverges.

    Args:
        rates: (N,), growing.
        loss_at: makes one step at a rate and returns its loss.
    """
    rows: list[tuple[float, float, float]] = []
    mean, lowest, ended = 0.0, math.inf, "the highest rate was reached"
    for number, rate in enumerate(rates, 1):
        loss = loss_at(float(rate))
        if not math.isfinite(loss):
            ended = f"the loss was {loss} at the rate {rate:.2g}"
            break
        # Without the division the mean would begin near its start, zero (Kingma and Ba, ICLR 2015, section 3).
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        smoothed = mean / (1 - SMOOTHING**number)
        rows.append((float(rate), loss, smoothed))
        lowest = min(lowest, smoothed)
        if smoothed > DIVERGED * lowest:
            ended = f"the smoothed loss was more than {DIVERGED:g} times its lowest at the rate {rate:.2g}"
            break
    table = pd.DataFrame(rows, columns=["learning_rate", "loss", "smoothed_loss"])
    # The mean of the first few steps is no mean yet.
    settled = table.iloc[len(rates) // 10 :]
    found = settled["learning_rate"].to_numpy(), settled["smoothed_loss"].to_numpy()
    return RangeTest(table, {name: rule(*found) for name, rule in RULES.items()} if falls(found[1]) else {}, ended)


def falls(smoothed: NDArray[np.float64]) -> bool:
    """Tell whether a smoothed loss (N,) falls at all."""
    return len(smoothed) >= 5 and bool(smoothed.min() < (1 - LEAST_FALL) * smoothed[0])


def tenth_of_minimum(rates: NDArray[np.float64], smoothed: NDArray[np.float64]) -> float:
    """Return a tenth of the rate at which the smoothed loss is lowest; both (N,)."""
    return float(rates[np.argmin(smoothed)]) / 10


def steepest(rates: NDArray[np.float64], smoothed: NDArray[np.float64]) -> float:
    """Return the rate at which the smoothed loss falls fastest against the logarithm of the rate, before its minimum; (N,)."""
    end = max(2, int(np.argmin(smoothed)) + 1)
    return float(rates[np.argmin(np.gradient(smoothed[:end], np.log(rates[:end])))])


def valley(rates: NDArray[np.float64], smoothed: NDArray[np.float64]) -> float:
    """Return the rate in the middle of the longest valley: the longest falling subsequence of the smoothed loss; (N,).

    As fastai's `valley` (fastai/callback/schedule.py), found in N log N steps instead of N squared.
    """
    lengths = falling_lengths(smoothed)
    end = int(np.argmax(lengths))
    start = end - int(lengths[end]) if lengths[end] > 1 else end
    third = (end - start) / 3
    return float(rates[start + int(third) + int(third / 2)])


def falling_lengths(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return for each value (N,) the length of the longest strictly falling subsequence that ends with it."""
    # ends[k]: minus the highest value that a falling subsequence of length k + 1 can end with; it is sorted.
    ends = np.empty(0)
    lengths = np.empty(len(values), np.int64)
    for place, value in enumerate(-values):
        length = int(np.searchsorted(ends, value))
        ends = np.append(ends, value) if length == len(ends) else ends
        ends[length] = value
        lengths[place] = length + 1
    return lengths


RULES: Mapping[str, Callable[[NDArray[np.float64], NDArray[np.float64]], float]] = {
    "valley": valley,
    "steepest": steepest,
    "tenth_of_minimum": tenth_of_minimum,
}
