"""How often the 95 % intervals of evaluate hold the true figure, in simulated tests. The promise: between 0.93 and 0.97.

The true figure is that of endless images whose classes are as frequent as in the test. A cell of the grid is a number of images
of each class (and of groups), and how good the network is; its tests are drawn from networks that are somewhat better and worse
than that, for of a few mistakes no interval can hold each true value equally often (Brown, Cai and DasGupta, Statistical Science
2001). The value is the lowest coverage among the cells and figures whose tests have an interval in half of the cases or more.

    python benchmarks/coverage.py                                   # some cells, a minute
    python benchmarks/coverage.py --full --table coverage.csv  # all of them, an hour or two on two cores
"""

import argparse
import csv
import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from diptych.metrics.influence import Sample, find_intervals
from diptych.metrics.weighted import Answers

FIGURES = (
    *("accuracy", "balanced_accuracy", "precision", "recall", "specificity", "f1", "mcc"),
    *("roc_auc", "average_precision", "loss", "brier"),
)
POPULATION = 200_000
# The networks of a cell differ by these factors in their share of mistakes, or in how far they hold the classes apart.
MISTAKES = (0.5, 0.71, 1.0, 1.41, 2.0)
SEPARATIONS = (0.9, 0.95, 1.0, 1.05, 1.1)
GROUP_SIZE = 5
# Of the variance within a class, so much is between groups.
ALIKE = 0.5

BALANCED = [(images,) * classes for classes in (2, 3, 5, 10) for images in (10, 20, 50, 100, 500)]
UNEVEN = [(600, 10), (10, 600), (3000, 50), (1000, 100), (300, 100, 10), (600, 300, 100, 50, 10)]
LEVELS = ("perfect", "0.5 mistakes", "1 mistakes", "2 mistakes", "4 mistakes", "good", "fair", "poor", "chance", "one answer")
# How far apart the classes are; of two balanced ones, 98, 90 and 70 % are right.
APART = {"good": 2.9, "fair": 1.8, "poor": 0.75}


@dataclass(frozen=True)
class Cell:
    """A cell of the grid.

    Attributes:
        images: of each class.
        level: how good the network is; one of LEVELS.
        groups: "" for none; "pure" for groups of one class; "mixed" for groups that hold images of each class.
    """

    images: tuple[int, ...]
    level: str
    groups: str = ""


def grid(full: bool) -> list[Cell]:
    if not full:
        few = [(10, 10), (100, 100), (600, 10), (20, 20, 20)]
        cells = [Cell(images, level) for images in few for level in LEVELS]
        return [*cells, *(Cell((100, 100), level, "mixed") for level in ("2 mistakes", "fair", "chance"))]
    cells = [Cell(images, level) for images in (*BALANCED, *UNEVEN) for level in LEVELS]
    grouped = [(25, 25), (50, 50), (100, 100), (200, 200), (500, 50), (100,) * 5]
    return [*cells, *(Cell(images, level, kind) for images in grouped for kind in ("pure", "mixed") for level in LEVELS)]


def networks(cell: Cell) -> Iterator[tuple[float, float]]:
    """Yield the separation of the classes and the share of mistakes of each network of a cell."""
    count, _, kind = cell.level.partition(" ")
    if kind == "mistakes":
        yield from ((6.0, factor * float(count) / sum(cell.images)) for factor in MISTAKES)
    elif cell.level in APART:
        yield from ((factor * APART[cell.level], 0.0) for factor in SEPARATIONS)
    else:
        yield (9.0 if cell.level == "perfect" else 0.0), 0.0


def answers_of(
    cell: Cell, targets: NDArray[np.int64], noise: NDArray[np.float64], looks: NDArray[np.int64], separation: float
) -> Answers:
    """Return what a network answers on images of some classes, of which each looks like one of some class.

    Args:
        cell: of the grid.
        targets: (N,), the true classes.
        noise: (N, K), normal.
        looks: (N,), the classes that they look like.
        separation: of the classes.
    """
    frequent = np.array(cell.images) / sum(cell.images)
    # At chance, the network is sure of itself nevertheless.
    logits = (separation or 1.0) * (noise + separation * np.eye(len(frequent))[looks]) + np.log(frequent)
    if cell.level == "one answer":
        logits[:, 0] += 12
    shares = softmax(logits, axis=1)
    return Answers(targets, shares, shares.argmax(axis=1))


def true_figures(cell: Cell, separation: float, mistakes: float, random: np.random.Generator) -> dict[str, float]:
    """Return the figures of the population. Half of it looks like another class, and counts as much as there are such."""
    classes = len(cell.images)
    targets = np.arange(POPULATION) % classes
    other = np.arange(POPULATION) // classes % 2 == 1
    looks = np.where(other, (targets + random.integers(1, classes, POPULATION)) % classes, targets)
    answers = answers_of(cell, targets, random.normal(size=(POPULATION, classes)), looks, separation)
    weights = np.array(cell.images)[targets] * np.where(other, mistakes, 1 - mistakes)
    return {name: float(values[0]) for name, values in answers.figures(weights[None]).items()}


def draw_test(
    cell: Cell, separation: float, mistakes: float, random: np.random.Generator
) -> tuple[Answers, NDArray[np.int64] | None]:
    """Return a test, and the groups of its images."""
    targets = np.repeat(np.arange(len(cell.images)), cell.images)
    count, classes = len(targets), len(cell.images)
    groups, noise, wrong = None, random.normal(size=(count, classes)), random.random(count) < mistakes
    if cell.groups:
        place = np.concatenate([np.arange(images) for images in cell.images])
        # Mixed ones hold as large a share of each class.
        number = [place[targets == k] * (max(cell.images) // GROUP_SIZE) // images for k, images in enumerate(cell.images)]
        groups = np.concatenate(number) if cell.groups == "mixed" else targets * count + place // GROUP_SIZE
        _, groups = np.unique(groups, return_inverse=True)
        common = random.normal(size=(groups.max() + 1, classes))[groups]
        noise = np.sqrt(1 - ALIKE) * noise + np.sqrt(ALIKE) * common
        wrong = random.random(groups.max() + 1)[groups] < mistakes
    looks = np.where(wrong, (targets + random.integers(1, classes, count)) % classes, targets)
    return answers_of(cell, targets, noise, looks, separation), groups


def simulate(cell: Cell, tests: int, seed: int = 0) -> dict[str, tuple[int, int, int]]:
    """Return of each figure how many tests there were, in how many it has an interval, and how many of these hold it.

    Those of all classes against the rest count together, as NAME/.
    """
    random = np.random.default_rng(seed)
    counts = {name: np.zeros(3, np.int64) for name in FIGURES}
    each = list(networks(cell))
    for separation, mistakes in each:
        truth = true_figures(cell, separation, mistakes, random)
        for _ in range(tests // len(each)):
            answers, groups = draw_test(cell, separation, mistakes, random)
            figures = {name: float(values[0]) for name, values in answers.figures(np.ones((1, len(answers.targets)))).items()}
            for name, found in find_intervals(answers, figures, Sample(answers.targets, groups)).items():
                kind, slash, _ = name.partition("/")
                if kind == "ece":
                    continue
                low, high = found.interval or (1.0, 0.0)
                # The figures of the population are exact up to rounding.
                held = low - 1e-9 <= truth[name] <= high + 1e-9
                counts.setdefault(kind + slash, np.zeros(3, np.int64))
                counts[kind + slash] += [1, found.interval is not None, found.interval is not None and held]
    return {name: (int(count[0]), int(count[1]), int(count[2])) for name, count in counts.items()}


def row_of(cell: Cell, name: str, count: tuple[int, int, int]) -> dict[str, object]:
    tests, shown, held = count
    images = f"{len(cell.images)} x {cell.images[0]}" if len(set(cell.images)) == 1 else " + ".join(map(str, cell.images))
    return {
        "images": images,
        "groups": cell.groups,
        "network": cell.level,
        "figure": name.replace("/", " of a class"),
        "with_interval": round(shown / tests, 3),
        "coverage": round(held / shown, 3) if shown else "",
        "wrong": round((shown - held) / tests, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the whole grid")
    parser.add_argument("--tests", type=int, help="simulated tests of each cell; 400, of the whole grid 1000")
    parser.add_argument("--seed", type=int, default=0, help="of the simulated tests; another one than 0 is an independent check")
    parser.add_argument("--table", type=Path, help="a CSV file for all cells")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    cells, tests = grid(arguments.full), arguments.tests or (1000 if arguments.full else 400)
    with ProcessPoolExecutor(arguments.processes) as pool:
        found = list(pool.map(simulate, cells, [tests] * len(cells), [arguments.seed] * len(cells)))
    rows = [row_of(cell, name, count) for cell, counts in zip(cells, found, strict=True) for name, count in counts.items()]
    if arguments.table:
        with arguments.table.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    shown = [row for row in rows if row["with_interval"] >= 0.5]
    low, high = (sum(bad(row["coverage"]) for row in shown) for bad in (lambda share: share < 0.93, lambda share: share > 0.97))
    coverages = [row["coverage"] for row in shown]
    result = {"benchmark": "coverage", "value": min(coverages), "highest": max(coverages), "mean": float(np.mean(coverages))}
    result |= {"unit": "share of tests", "shown": len(shown), "below_93": low, "above_97": high, "none": len(rows) - len(shown)}
    print(json.dumps({**result, "most_wrong": max(row["wrong"] for row in rows), "tests": tests, "seed": arguments.seed}))


if __name__ == "__main__":
    main()
