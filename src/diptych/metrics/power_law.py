"""How the error falls with the number of training images, as a power law; and subsets of the images to measure it on."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diptych.metrics.intervals import Interval, percentile_interval
from diptych.rng import generator

# Of real tasks, exponents of 0.07 to 0.35 are reported (Hestness et al. 2017, https://arxiv.org/abs/1712.00409, section 6).
EXPONENTS = np.linspace(0.01, 2.0, 399)
# Three unknowns are not fitted to fewer points.
FEWEST_SIZES = 4
# Below, the errors do not follow the law.
EXPLAINED = 0.8
AHEAD = (2, 4)


@dataclass(frozen=True)
class PowerLaw:
    """error(n) = floor + scale * (n / largest) ** -exponent, with one law for each of B rows of errors.

    Attributes:
        largest: the number of images that `scale` belongs to.
        floor: (B,), the error that no number of images goes below; at least 0.
        scale: (B,), at least 0.
        exponent: (B,), one of EXPONENTS.
        explained: (B,), the share of the errors' variance that the law explains; NaN where they do not vary.
    """

    largest: float
    floor: NDArray[np.float64]
    scale: NDArray[np.float64]
    exponent: NDArray[np.float64]
    explained: NDArray[np.float64]

    def at(self, images: float) -> NDArray[np.float64]:
        """Return the error (B,) at a number of training images."""
        return self.floor + self.scale * (images / self.largest) ** -self.exponent


@dataclass(frozen=True)
class Ahead:
    """What more training images are expected to bring: the accuracy with them, and the gain over the fitted accuracy now."""

    images: int
    accuracy: float
    interval: Interval
    gain: float
    gain_interval: Interval


@dataclass(frozen=True)
class LearningCurve:
    """A learning curve.

    Attributes:
        points: a row a training: `share`, `seed`, `images` (in the training), `accuracy`, `name`.
        sizes: a row a share: `share`, `images` and `accuracy` (means over the seeds), `low` and `high` (95 % interval).
        test_images: how many.
        law: the fitted law (one row); None where it is not determined.
        reason: why not, else "".
        ahead: what twice and four times the images would bring; empty without a law.
    """

    points: pd.DataFrame
    sizes: pd.DataFrame
    test_images: int
    law: PowerLaw | None
    reason: str
    ahead: tuple[Ahead, ...]


def fit_power_law(images: NDArray[np.float64], errors: NDArray[np.float64]) -> PowerLaw:
    """Fit the law of Hestness et al. (2017) by least squares, with floor and scale not below 0.

    For a given exponent the best floor and scale have a closed form, so that the fit is a search over the exponents alone.

    Args:
        images: (S,), numbers of training images, rising.
        errors: (B, S), shares of wrong answers; each row gets a law of its own.
    """
    power = (images / images[-1])[None, :] ** -EXPONENTS[:, None]
    offset, mean = power - power.mean(axis=1, keepdims=True), errors.mean(axis=1, keepdims=True)
    scale = np.maximum((errors @ offset.T) / (offset**2).sum(axis=1), 0.0)
    floor = mean - scale * power.mean(axis=1)
    alone = (errors @ power.T) / (power**2).sum(axis=1)
    scale, floor = np.where(floor < 0, alone, scale), np.maximum(floor, 0.0)
    # The squared residuals, multiplied out, for (B, exponents, S) would be large.
    left = (errors**2).sum(axis=1)[:, None] + len(images) * floor**2 + scale**2 * (power**2).sum(axis=1)
    left += 2 * floor * scale * power.sum(axis=1) - 2 * floor * len(images) * mean - 2 * scale * (errors @ power.T)
    best = left.argmin(axis=1)
    rows = np.arange(len(errors))
    whole = ((errors - mean) ** 2).sum(axis=1)
    explained = np.full(len(errors), np.nan)
    np.divide(left[rows, best], whole, out=explained, where=whole > 0)
    return PowerLaw(float(images[-1]), floor[rows, best], scale[rows, best], EXPONENTS[best], 1 - explained)


def place_images(targets: "pd.Series[int]", clusters: "pd.Series[int]", seed: int) -> "pd.Series[float]":
    """Give each training image a place in [0, 1), so that those below a share are that share of each class.

    Subsets are nested in each other, clusters (copies, and the images of a group) stay whole, and of each class there is at least
    one cluster in every subset.

    Args:
        targets: the class of each training image.
        clusters: the number of its cluster, on the same index.
        seed: of the order.
    """
    facts = pd.DataFrame({"target": targets, "cluster": clusters}).groupby("cluster")["target"].agg([most_frequent, "size"])
    places = pd.Series(0.0, index=facts.index)
    for target, own in facts.groupby("most_frequent"):
        order = generator(seed, "learning curve", index=int(str(target))).permutation(len(own))
        sizes = own["size"].to_numpy()[order]
        middle = (np.cumsum(sizes) - sizes / 2) / sizes.sum()
        middle[0] = 0.0
        places[own.index[order]] = middle
    return clusters.map(places)


def most_frequent(values: "pd.Series[int]") -> int:
    """Return the most frequent value; of equals the smallest."""
    return int(values.mode().iloc[0])


def fit_curve(points: pd.DataFrame, drawn: NDArray[np.float64], test_images: int, seed: int = 0) -> LearningCurve:
    """Fit the law to the mean errors of the sizes, and once more to each draw.

    Args:
        points: as in LearningCurve.
        drawn: (draws, points), the errors under resampled test images; the seeds are drawn here.
        test_images: how many.
        seed: of the draws of the seeds.
    """
    shares = np.unique(points["share"])
    members = [np.flatnonzero(points["share"] == share) for share in shares]
    random = generator(seed, "seeds of a learning curve")
    each = np.arange(len(drawn))[:, None]
    chosen = [random.choice(rows, (len(drawn), len(rows))) for rows in members]
    redrawn = np.stack([drawn[each, rows].mean(axis=1) for rows in chosen], axis=1)
    images = np.array([points["images"].iloc[rows].mean() for rows in members])
    plain = np.array([1 - points["accuracy"].iloc[rows].mean() for rows in members])
    spans = [interval_of(1 - error, 1 - column) for error, column in zip(plain, redrawn.T, strict=True)]
    low, high = np.array(spans).T
    sizes = pd.DataFrame({"share": shares, "images": images, "accuracy": 1 - plain, "low": low, "high": high})
    if len(shares) < FEWEST_SIZES:
        reason = f"{len(shares)} sizes are too few for a law of three numbers; take {FEWEST_SIZES} or more"
        return LearningCurve(points, sizes, test_images, None, reason, ())
    law, laws = fit_power_law(images, plain[None, :]), fit_power_law(images, redrawn)
    ahead = tuple(look_ahead(law, laws, round(factor * images[-1])) for factor in AHEAD)
    reason = doubt(law, plain, redrawn, ahead[0])
    return LearningCurve(points, sizes, test_images, None if reason else law, reason, () if reason else ahead)


def doubt(law: PowerLaw, plain: NDArray[np.float64], redrawn: NDArray[np.float64], twice: Ahead) -> str:
    """Explain why the law is not determined, or ""."""
    fall = plain[0] - plain[-1]
    lowest, _ = interval_of(fall, redrawn[:, 0] - redrawn[:, -1])
    if lowest <= 0:
        return "no fall of the error is shown between the fewest and the most images"
    if not law.explained[0] >= EXPLAINED:
        return f"the errors do not follow the law, which explains {law.explained[0]:.0%} of their variance"
    if twice.interval[1] - twice.interval[0] > fall:
        return "the interval for twice the images is wider than the whole measured decrease"
    return ""


def look_ahead(law: PowerLaw, laws: PowerLaw, images: int) -> Ahead:
    accuracy, gain = 1 - float(law.at(images)[0]), float((law.at(law.largest) - law.at(images))[0])
    gains = laws.at(laws.largest) - laws.at(images)
    return Ahead(images, accuracy, interval_of(accuracy, 1 - laws.at(images)), gain, interval_of(gain, gains))


def interval_of(value: float, drawn: NDArray[np.float64]) -> Interval:
    return percentile_interval(value, drawn) or [float("nan"), float("nan")]
