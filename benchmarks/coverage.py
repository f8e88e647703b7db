"""How often the 95 % intervals of evaluate hold the true figure, in simulated tests. The reference is the middle 95 % of
the draws of the same bootstrap. The promise: between 0.93 and 0.97 for every figure; value and reference are the lowest.

A class is a normal distribution, whose mean is so far from 0 along an axis of its own (--separation); the probabilities are the
true ones. Of networks that make hardly a mistake, and of a handful of images, the intervals hold less:

    python benchmarks/coverage.py --images 25 25 25 25 25 25 25 25 25 25 --separation 3.7
"""

import argparse
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import softmax

from diptych.evaluation.intervals import bootstrap, percentile_interval
from diptych.evaluation.metrics import RENAMED, compute_metrics
from diptych.evaluation.scores import Answers

FIGURES = ("roc_auc", "average_precision", "f1", "mcc", "balanced_accuracy", "loss", "brier")
POPULATION = 100_000


def simulate(images: Sequence[int], separation: float, tests: int, draws: int) -> dict[str, Any]:
    """Draw tests with so many images of each class, and count how often each interval holds the figure of the population."""
    random, classes = np.random.default_rng(0), len(images)
    targets = random.integers(0, classes, POPULATION)
    shares = softmax(separation * (random.normal(size=(POPULATION, classes)) + separation * np.eye(classes)[targets]), axis=1)
    everyone = Answers(targets, shares, shares.argmax(axis=1))
    # The classes are as frequent in it as in the tests.
    truth = everyone.figures((np.array(images) / np.bincount(targets))[targets][None])
    held: dict[str, Any] = {kind: dict.fromkeys(FIGURES, 0) for kind in ("value", "reference")}
    for number in range(tests):
        rows = np.concatenate([random.choice(np.flatnonzero(targets == k), count) for k, count in enumerate(images)])
        probabilities = shares[rows, 1] if classes == 2 else shares[rows]
        found = compute_metrics(
            targets[rows], probabilities, class_names=[str(k) for k in range(classes)], draws=draws, seed=number
        )
        answers = Answers(targets[rows], shares[rows], shares[rows].argmax(axis=1))
        drawn = bootstrap(answers.figures, targets[rows], draws=draws, seed=number)
        for name in FIGURES:
            figure, true = RENAMED.get(name, name), float(truth[name][0])
            intervals = {"value": found["intervals"][figure], "reference": percentile_interval(found[figure], drawn[name])}
            for kind, interval in intervals.items():
                held[kind][name] += interval is not None and interval[0] <= true <= interval[1]
    return {"accuracy": float(truth["accuracy"][0])} | {
        kind: {name: count / tests for name, count in counts.items()} for kind, counts in held.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[100, 100], help="of each class")
    parser.add_argument("--separation", type=float, default=1.2, help="1.2: of two classes, 80 %% are right")
    parser.add_argument("--tests", type=int, default=1000)
    parser.add_argument("--draws", type=int, default=1000)
    arguments = parser.parse_args()
    found = simulate(**vars(arguments))
    lowest = {kind: min(found[kind].values()) for kind in ("value", "reference")}
    highest = {f"highest_{kind}": max(found[kind].values()) for kind in ("value", "reference")}
    print(
        json.dumps({"benchmark": "coverage", **lowest, **highest, "unit": "share of tests", "figures": found, **vars(arguments)})
    )


if __name__ == "__main__":
    main()
