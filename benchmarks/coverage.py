"""How often the 95 % intervals of evaluate hold the true figure, in simulated tests of 100 and 100 images. The reference is the
middle 95 % of the same draws. The promise: between 0.93 and 0.97 for every figure; value and reference are the lowest.
"""

import argparse
import json

import numpy as np
from scipy.special import expit

from diptych.evaluation.intervals import bootstrap, figure_interval, percentile_interval
from diptych.evaluation.scores import Answers

FIGURES = ("roc_auc", "average_precision", "f1", "mcc", "balanced_accuracy", "loss", "brier")
EACH = 100
POPULATION = 400_000


def answers_of(scores: np.ndarray, targets: np.ndarray) -> Answers:
    return Answers(targets, np.stack([1 - scores, scores], axis=1), (scores >= 0.5).astype(np.int64))


def simulate(tests: int, draws: int) -> dict[str, dict[str, float]]:
    """Draw tests from a large calibrated population, and count how often each interval holds the population's figure."""
    random = np.random.default_rng(0)
    logits = 2 * random.normal(size=POPULATION)
    targets, scores = (random.random(POPULATION) < expit(logits)).astype(np.int64), expit(logits)
    truth = answers_of(scores, targets).figures(np.ones((1, POPULATION)))
    sides, labels = [scores[targets == 0], scores[targets == 1]], np.repeat([0, 1], EACH)
    held = {kind: dict.fromkeys(FIGURES, 0) for kind in ("value", "reference")}
    for number in range(tests):
        answers = answers_of(np.concatenate([random.choice(side, EACH) for side in sides]), labels)
        figures = answers.figures(np.ones((1, 2 * EACH)))
        drawn = bootstrap(answers.figures, labels, draws=draws, seed=number)
        for name in FIGURES:
            figure = float(figures[name][0])
            found = {
                "value": figure_interval(name, figure, drawn[name], EACH),
                "reference": percentile_interval(figure, drawn[name]),
            }
            for kind, interval in found.items():
                held[kind][name] += interval is not None and interval[0] <= truth[name][0] <= interval[1]
    return {kind: {name: count / tests for name, count in counts.items()} for kind, counts in held.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tests", type=int, default=1000)
    parser.add_argument("--draws", type=int, default=1000)
    arguments = parser.parse_args()
    shares = simulate(arguments.tests, arguments.draws)
    lowest = {kind: min(found.values()) for kind, found in shares.items()}
    highest = {f"highest_{kind}": max(found.values()) for kind, found in shares.items()}
    result = {"benchmark": "coverage", **lowest, **highest, "unit": "share of tests", "figures": shares}
    print(json.dumps(result | vars(arguments)))


if __name__ == "__main__":
    main()
