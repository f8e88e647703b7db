"""Faithfulness of saliency maps: deletion, insertion, and the check with randomised weights."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from diptych.explanation.activations import Floats
from diptych.explanation.map_check import Randomisation
from diptych.explanation.saliency import Predict, Variants
from diptych.rng import generator

STEPS = 20
CHANCE_ORDERS = 3
# Standard deviation of the blur that insertion begins with, as a share of the image's height: shapes of the size of an
# occlusion patch are gone.
BLUR = 0.1
SHUFFLES = 100


@dataclass(frozen=True)
class Faithfulness:
    """Deletion and insertion scores of a map.

    Attributes:
        deletion: float32 (steps + 1,), the probability while the most important pixels give way to the mean colour.
        insertion: float32 (steps + 1,), the probability while they come into the blurred image.
        chance_deletion: the area under the deletion curve of orders that know nothing, their mean; 0 to 1.
        chance_insertion: the same of insertion.
    """

    deletion: Floats
    insertion: Floats
    chance_deletion: float
    chance_insertion: float

    @property
    def deletion_area(self) -> float:
        """The area under the curve, 0 to 1: of a good map lower than by chance."""
        return area(self.deletion)

    @property
    def insertion_area(self) -> float:
        """The area under the curve, 0 to 1: of a good map higher than by chance."""
        return area(self.insertion)


def area(curve: Floats) -> float:
    return float(np.trapezoid(curve, dx=1 / (len(curve) - 1)))


def deletion_insertion(
    predict: Predict,
    image: NDArray[np.uint8],
    maps: Sequence[Floats],
    steps: int = STEPS,
    chance_orders: int = CHANCE_ORDERS,
    seed: int = 0,
) -> list[Faithfulness]:
    """Score maps by deletion and insertion (Petsiuk, Das and Saenko, BMVC 2018, arXiv 1806.07421, section 4.2).

    Single pixels drawn at random would be no fair chance: such a sieve makes any network fall. Here the orders of chance are
    those of noise that is as coarse as the map, drawn anew for each of them; maps of one shape share them.

    Args:
        predict: of the class that the maps explain.
        image: uint8 (S, S, 3).
        maps: each (h, w), high where it matters; the places of equal values come in a random, smooth order.
        steps: equal shares of the pixels that are taken one after another.
        chance_orders: how many are drawn for each shape.
        seed: of what is drawn.

    Returns:
        One score a map.
    """
    size = len(image)
    flat = np.full_like(image, image.mean(axis=(0, 1)).round().astype(np.uint8))
    blurred = cv2.GaussianBlur(image, (0, 0), BLUR * size)
    orders = [pixel_order(values, size, seed, 0) for values in maps]
    shapes = list(dict.fromkeys(values.shape for values in maps))
    chances = range(1, chance_orders + 1)
    orders += [pixel_order(np.zeros(shape, np.float32), size, seed, chance) for shape in shapes for chance in chances]
    counts = np.round(np.linspace(0, size * size, steps + 1))

    def make(number: int) -> NDArray[np.uint8]:
        which, inserted, step = np.unravel_index(number, (len(orders), 2, steps + 1))
        first = (orders[which] < counts[step])[..., None]
        changed: NDArray[np.uint8] = np.where(first, image, blurred) if inserted else np.where(first, flat, image)
        return changed

    curves = predict(Variants(len(orders) * 2 * (steps + 1), make)).reshape(len(orders), 2, steps + 1)
    by_chance = {}
    for place, shape in enumerate(shapes):
        begin = len(maps) + place * chance_orders
        found = [[area(curve) for curve in pair] for pair in curves[begin : begin + chance_orders]]
        by_chance[shape] = np.mean(found, axis=0)
    return [
        Faithfulness(curves[row, 0], curves[row, 1], float(by_chance[values.shape][0]), float(by_chance[values.shape][1]))
        for row, values in enumerate(maps)
    ]


def pixel_order(values: Floats, size: int, seed: int, number: int) -> NDArray[np.int64]:
    """Return the rank of each pixel, (size, size), 0 for the most important; equals stand in the order of smooth noise."""
    noise = generator(seed, "order of equal places", index=number).normal(size=values.shape)
    keys = (enlarge(noise.astype(np.float32), size).ravel(), enlarge(values, size).ravel())
    ranks = np.empty(size * size, np.int64)
    ranks[np.lexsort(keys)[::-1]] = np.arange(size * size)
    return ranks.reshape(size, size)


def enlarge(values: Floats, size: int) -> Floats:
    """Lay a grid (h, w) over an image of size x size pixels, linear between the middles of its cells."""
    return cv2.resize(values, (size, size), interpolation=cv2.INTER_LINEAR).astype(np.float32)


def randomisation_check(trained: Sequence[Floats], randomised: Sequence[Floats], seed: int = 0) -> Randomisation:
    """Compare maps of a trained network with those of a randomised one (Adebayo et al., NeurIPS 2018, arXiv 1810.03292).

    A map that stays the same shows what is in the image (edges, for example) and not what the network has learned. Rank
    correlations (Spearman's) are taken as absolute values, as in the paper: randomised weights may as well turn a map round.

    Args:
        trained: maps, each (h, w).
        randomised: of the same images.
        seed: of the shuffles that chance is measured with.
    """
    pairs = [(before, after) for before, after in zip(trained, randomised, strict=True) if np.ptp(before) > 0]
    if not pairs:
        return Randomisation(None, None, None, 0, "flat: shows nothing")
    both = [(before.ravel(), after.ravel()) for before, after in pairs if np.ptp(after) > 0]
    if not both:
        return Randomisation(0.0, None, None, 0, "changes with the weights")
    random = generator(seed, "shuffled places")
    correlation = float(np.mean([abs(spearmanr(before, after).statistic) for before, after in both]))
    shuffles = -(-SHUFFLES // len(both))
    drawn = [abs(spearmanr(before, random.permutation(after)).statistic) for before, after in both for _ in range(shuffles)]
    chance = float(np.mean(drawn))
    limit = (1 + chance) / 2
    verdict = "changes with the weights" if correlation < limit else "does not change with the weights: do not trust it"
    return Randomisation(correlation, chance, limit, len(both), verdict)
