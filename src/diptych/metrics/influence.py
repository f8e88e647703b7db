"""Confidence intervals of test figures, from the influence of each image on a figure.

A figure is as sure as the share of so many images, its *effective number*: the variance of a share of n images is
share (1 - share) / n, so that of a figure with its variance, solved for n. Wilson's interval of a share of that many images
then is the figure's. Complex surveys do so with shares (Korn and Graubard, Survey Methodology 1998; Franco et al., Journal of
Survey Statistics and Methodology 2019). The variance is the sum of the squared influences (infinitesimal jackknife: Efron,
The Jackknife, the Bootstrap and Other Resampling Plans, 1982, chapter 6; for the ROC area DeLong et al., Biometrics 1988).

What went wrong once or never has an influence that no image shows. Effective numbers are therefore those of the test with one
image more of each class about which nothing is known.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from diptych.metrics.intervals import LEVEL, REACH, Interval, score_interval, wilson
from diptych.metrics.weighted import Answers, Effects, OneClass, count_effects

Floats = NDArray[np.float64]

# Of so few images or groups no interval says much; how few images may make up the loss, benchmarks/coverage.py chose.
FEWEST_IMAGES = 5
FEWEST_GROUPS = 10
FEWEST_CARRIERS = 20
# Why a figure has no interval, in words.
REASONS = {
    "not_defined": "the figure is not defined",
    "biased": "it is too high on average, by more than chance moves it",
    "one_class": "all images are of one class",
    "one_answer": "all images have the same answer",
    "few_images": f"fewer than {FEWEST_IMAGES} images of a class",
    "few_answers": f"fewer than {FEWEST_IMAGES} images are predicted as the class",
    "few_groups": f"fewer than {FEWEST_GROUPS} groups of a class",
    "few_carry_it": "very few images make up most of it",
}


@dataclass(frozen=True)
class Found:
    """The interval of a figure, or why it has none: a key of REASONS."""

    interval: Interval | None
    reason: str | None = None


@dataclass(frozen=True)
class Sample:
    """How the images of a test were drawn: so many of each class, by themselves or in whole groups.

    Attributes:
        targets: int64 (N,), the class of each image.
        groups: int64 (N,), the group of each image; None where each image was drawn by itself.
    """

    targets: NDArray[np.int64]
    groups: NDArray[np.int64] | None = None

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """How many images are of each class, (K,)."""
        return np.bincount(self.targets)

    @cached_property
    def clusters(self) -> int:
        """How many images, or groups, the class has that has the fewest."""
        if self.groups is None:
            return int(self.counts[self.counts > 0].min())
        pairs = np.unique(np.stack([self.targets, self.groups]), axis=1)
        held = np.bincount(pairs[0])
        return int(held[held > 0].min())

    @cached_property
    def numbers(self) -> NDArray[np.int64]:
        """The number of each image's group, (N,), without gaps."""
        groups = np.zeros(len(self.targets), np.int64) if self.groups is None else self.groups
        numbers: NDArray[np.int64] = np.unique(groups, return_inverse=True)[1]
        return numbers

    @cached_property
    def size(self) -> float:
        """How many images are in the group of an image, on average over images; 1 without groups."""
        if self.groups is None:
            return 1.0
        sizes = np.bincount(self.numbers)
        return float((sizes**2).sum() / sizes.sum())

    @cached_property
    def reach(self) -> float:
        """Standard deviations on each side of an interval: of few groups, Student's."""
        return REACH if self.groups is None else float(student.ppf((1 + LEVEL) / 2, max(1, self.clusters - 1)))

    def centred(self, influence: Floats) -> Floats:
        """Return influences (N,) less the mean of their class, for each class has as many images in every such test."""
        means = np.bincount(self.targets, influence) / np.maximum(self.counts, 1)
        centred: Floats = influence - means[self.targets]
        return centred

    def moments(self, influence: Floats) -> tuple[float, float]:
        """Return the variance and the third moment of a figure, from the influences (N,) of the images on it."""
        centred = self.centred(influence)
        factor = self.counts / np.maximum(self.counts - 1, 1)
        alone = float((factor * np.bincount(self.targets, centred**2)).sum())
        if self.groups is None:
            return alone, float((centred**3).sum())
        sums = np.bincount(self.numbers, centred)
        together = float((sums**2).sum() * len(sums) / max(1, len(sums) - 1))
        # That a group's images are more unlike than those of several groups is chance.
        return max(alone, together), float((sums**3).sum())


def share_interval(held: NDArray[np.bool_], groups: NDArray[np.int64] | None) -> Found:
    """Return the interval of the share of images (N,) of which something holds.

    Args:
        held: whether it does.
        groups: (N,), the group of each image; None where each was drawn by itself. The share then has Wilson's interval.
    """
    if len(held) == 0:
        return Found(None, "not_defined")
    if groups is None:
        return Found(wilson(int(held.sum()), len(held)))
    sample, images = Sample(np.zeros(len(held), np.int64), groups), len(held)
    if sample.clusters < FEWEST_GROUPS:
        return Found(None, "few_groups")
    shrunk = (held.sum() + 1) / (images + 2)
    unseen = (shrunk * (1 - shrunk) - held.mean() * (1 - held.mean())) / images
    variance = sample.moments(held / images)[0] + max(0.0, float(unseen)) * sample.size
    return Found(score_interval(float(held.mean()), shrunk * (1 - shrunk) / variance, reach=sample.reach))


def find_intervals(answers: Answers, figures: Mapping[str, float], sample: Sample) -> dict[str, Found]:
    """Return the interval of each figure of `Answers.figures`, or why it has none.

    Args:
        answers: what was answered.
        figures: its figures, NaN where one is not defined.
        sample: how the images were drawn.
    """
    found = {**of_counts(answers, figures, sample), **of_ranks(answers, figures, sample), **of_means(answers, figures, sample)}
    few = sample.groups is not None and sample.clusters < FEWEST_GROUPS
    for name, value in figures.items():
        if np.isnan(value):
            found[name] = Found(None, "not_defined")
        elif name.split("/")[0] == "ece":
            found[name] = Found(None, "biased")
        elif few:
            found[name] = Found(None, "few_groups")
    return {name: found[name] for name in figures}


def of_counts(answers: Answers, figures: Mapping[str, float], sample: Sample) -> dict[str, Found]:
    """Return the intervals of the figures that follow from the confusion matrix."""
    matrix, there = answers.matrix, answers.matrix.sum(axis=1) > 0
    # One more image of each class that is right, and one that is wrong, in whatever way; with as many of the class as before.
    total = matrix.sum(axis=1, keepdims=True)
    others = there if there.sum() > 1 else np.ones(len(matrix), bool)
    more = np.where(np.eye(len(matrix), dtype=bool), 1.0, others / (others.sum() - 1))
    shrunk = np.where(there[:, None], (matrix + more) * total / (total + 2), 0.0)
    totals = np.maximum(total[:, 0], 1)
    found: dict[str, Found] = {}
    for name, effect in count_effects(shrunk).items():
        if name not in figures or np.isnan(figures[name]):
            continue
        kind = name.split("/")[0]
        if kind == "precision" and effect.column is not None and matrix[:, effect.column].sum() < FEWEST_IMAGES:
            found[name] = Found(None, "few_answers")
            continue
        lowest = -1.0 if kind == "mcc" else 0.0
        variance = variance_of_cells(effect, shrunk, totals)
        if sample.groups is not None:
            unseen = max(0.0, variance - variance_of_cells(effect, matrix, totals))
            together, _ = sample.moments(effect.influence(answers.targets, answers.predicted))
            variance = max(variance, together + unseen * sample.size)
        one_class = variance <= 0 or (kind == "mcc" and there.sum() < 2)
        interval = None if one_class else interval_of(figures[name], effect.figure, variance, sample.reach, lowest)
        found[name] = Found(interval, "one_class" if one_class else None)
    return found


def variance_of_cells(effect: Effects, matrix: Floats, totals: Floats) -> float:
    """Return the variance of a figure whose images fall into the cells of each row of a confusion matrix by chance.

    The totals (K,) are those of its rows; of a row without images, above 0.
    """
    part = effect.part(matrix)
    squares, sums = (part * effect.cells**2).sum(axis=1), (part * effect.cells).sum(axis=1)
    return float(np.maximum(squares - sums**2 / totals, 0.0).sum())


def interval_of(figure: float, near: float, variance: float, reach: float, lowest: float = 0.0, highest: float = 1.0) -> Interval:
    """Return the interval of a figure.

    Args:
        figure: its value.
        near: what it would be with the images more of which nothing is known; never at a bound.
        variance: its variance, these images among the others.
        reach: standard deviations on each side.
        lowest: the figure can be no lower.
        highest: nor higher.
    """
    images = (near - lowest) * (highest - near) / variance
    return score_interval(figure, images, lowest, highest, reach)


def of_ranks(answers: Answers, figures: Mapping[str, float], sample: Sample) -> dict[str, Found]:
    """Return the intervals of ROC area and average precision, of each class and of the mean over those that are there."""
    found: dict[str, Found] = {}
    names = [""] if answers.classes == 2 else [f"/{k}" for k in range(answers.classes)]
    for kind in ("roc_auc", "average_precision"):
        parts: list[Rank] = []
        for part, suffix in zip(answers.parts, names, strict=True):
            name, smaller = f"{kind}{suffix}", min(int(part.positive.sum()), int((~part.positive).sum()))
            if smaller == 0:
                # The average precision of one class alone is 1, whatever was answered.
                found[name] = Found(None, "not_defined")
                continue
            parts.append(rank_of(part, kind, figures[name]))
            found[name] = rank_interval(kind, figures[name], parts[-1], smaller, sample)
        if answers.classes > 2:
            found[kind] = Found(None, "not_defined")
        if answers.classes > 2 and parts:
            # An image more of one class is one more of the others for another class.
            unseen = np.array([part.unseen for part in parts])
            unseen = (unseen[:, 0] + unseen[:, 1].mean()) / len(parts)
            influence = np.mean([part.influence for part in parts], axis=0)
            mean = Rank(influence, unseen, all(part.same for part in parts))
            found[kind] = rank_interval(kind, figures[kind], mean, int(sample.counts[sample.counts > 0].min()), sample)
    return found


@dataclass(frozen=True)
class Rank:
    """What the interval of a ROC area or an average precision is made of.

    Attributes:
        influence: of each image on it, (N,).
        unseen: what one more image of each class, of which nothing is known, would change.
        same: whether all scores are equal.
    """

    influence: Floats
    unseen: Floats
    same: bool


def rank_of(part: OneClass, kind: str, figure: float) -> Rank:
    """Return the parts of the interval of a figure of one class against the rest.

    One more image of the class stands where chance would have it; before one more of the others is half of the class.
    """
    positive, negative = int(part.positive.sum()), int((~part.positive).sum())
    total, same = positive + negative, len(part.ranked.starts) == 1
    if kind == "roc_auc":
        unseen = np.array([(0.5 - figure) / (positive + 1), (0.5 - figure) / (negative + 1)])
        return Rank(part.ranked.roc_influence(), unseen, same)
    influence, middle = part.ranked.precision_influence()
    return Rank(influence, np.array([(positive / total - figure) / (positive + 1), middle]), same)


def rank_interval(kind: str, figure: float, rank: Rank, smaller: int, sample: Sample) -> Found:
    """Return the interval of a ROC area or an average precision.

    Args:
        kind: which of the two.
        figure: its value.
        rank: its parts.
        smaller: images of the smaller side.
        sample: how the images were drawn.
    """
    if rank.same:
        return Found(None, "one_answer")
    if smaller < FEWEST_IMAGES:
        return Found(None, "few_images")
    variance = sample.moments(rank.influence)[0] + float((rank.unseen**2).sum()) * sample.size
    near = min(1 - 1e-9, max(1e-9, figure + float(rank.unseen.sum())))
    # The ranks of a small class vary more than their influences say.
    reach = max(sample.reach, float(student.ppf((1 + LEVEL) / 2, smaller - 1))) if kind == "average_precision" else sample.reach
    return Found(interval_of(figure, near, variance, reach))


def of_means(answers: Answers, figures: Mapping[str, float], sample: Sample) -> dict[str, Found]:
    """Return the intervals of the means over images: the loss, and the Brier scores."""
    one = len(np.unique(answers.predicted)) == 1
    found = {"loss": Found(None, "one_answer") if one else loss_interval(answers.losses, sample)}
    briers = {"brier": answers.squares}
    if answers.classes > 2:
        briers |= {f"brier/{k}": part.squares for k, part in enumerate(answers.parts)}
    images = len(answers.targets)
    for name, squares in briers.items():
        highest = 2.0 if name == "brier" and answers.classes > 2 else 1.0
        value = figures[name]
        # Two images more, rather wrong than right.
        unseen = (0.75 * highest - value) / (images + 1)
        variance = sample.moments(squares / images)[0] + 2 * unseen**2 * sample.size
        interval = interval_of(value, value + 2 * unseen, variance, sample.reach, 0.0, highest) if variance > 0 else None
        found[name] = Found(None, "one_answer") if one or interval is None else Found(interval)
    return found


def loss_interval(losses: Floats, sample: Sample) -> Found:
    """Return the interval of the mean of losses (N,): Student's with Hall's correction of its skewness (JRSS B 1992).

    A loss knows no upper bound, so that a mistake that was not made cannot be allowed for. Where a few images make up most of
    it, there is none.
    """
    sums = losses if sample.groups is None else np.bincount(sample.numbers, losses)
    squares = float((sums**2).sum())
    if squares == 0 or float(sums.sum()) ** 2 / squares < FEWEST_CARRIERS:
        return Found(None, "few_carry_it")
    mean, (variance, third) = float(losses.mean()), sample.moments(losses / len(losses))
    if variance == 0:
        return Found(None, "one_answer")
    reach = float(student.ppf((1 + LEVEL) / 2, len(losses) - 1)) if sample.groups is None else sample.reach
    spread, skewness = variance**0.5, max(third / variance**1.5, 1e-6)
    low, high = (mean - spread * 3 / skewness * (np.cbrt(1 + skewness * (side - skewness / 6)) - 1) for side in (reach, -reach))
    return Found([float(max(0.0, min(low, mean))), float(max(high, mean))])
