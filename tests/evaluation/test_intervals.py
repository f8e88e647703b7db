"""Intervals: how often they hold the true value, by simulation; what they do at the edges."""

import numpy as np
import pytest
from scipy.special import expit

from diptych.evaluation.intervals import bootstrap, draw_weights, figure_interval, mean_interval, wilson
from diptych.evaluation.metrics import compute_metrics
from diptych.evaluation.scores import Answers

SIMULATIONS = 1000


def test_wilson__holds_the_true_share_in_95_of_100_cases() -> None:
    random = np.random.default_rng(0)
    held = 0
    for right in random.binomial(200, 0.83, SIMULATIONS):
        low, high = wilson(int(right), 200) or (0, 0)
        held += low <= 0.83 <= high
    assert 0.93 <= held / SIMULATIONS <= 0.97


def test_wilson__of_nothing() -> None:
    assert wilson(0, 0) is None


@pytest.mark.parametrize(
    ("images", "shares"), [((100, 100), (0.8, 0.85)), ((8, 500), (0.9, 0.95)), ((1000, 1000), (0.999, 0.999))]
)
def test_mean_interval__holds_the_true_mean_in_95_of_100_cases(images: tuple[int, int], shares: tuple[float, float]) -> None:
    right = np.random.default_rng(0).binomial(images, shares, (SIMULATIONS, 2))
    held = 0
    for row in right.tolist():
        low, high = mean_interval(list(zip(row, images, strict=True))) or (0, 0)
        held += low <= np.mean(shares) <= high
    assert 0.93 <= held / SIMULATIONS <= 0.97


def test_mean_interval__by_hand() -> None:
    low, high = wilson(3, 10) or (0, 0)
    assert mean_interval([(3, 10)]) == pytest.approx([low, high])
    twice = [0.3 - (0.3 - low) / np.sqrt(2), 0.3 + (high - 0.3) / np.sqrt(2)]
    assert mean_interval([(3, 10), (0, 0), (3, 10)]) == pytest.approx(twice)
    assert mean_interval([(0, 0)]) is None


def test_figure_interval__near_a_bound_has_a_width() -> None:
    """Five images of a class among a thousand: draws lie nearer to 1 than any share of five could."""
    drawn = np.random.default_rng(0).uniform(0.993, 0.999, 1000)
    low, high = figure_interval("roc_auc", 0.996, drawn, 5) or (0, 0)
    assert low < 0.994 < 0.998 < high < 1


def simulate(images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Targets and probabilities of class 1 that are calibrated: logits are normal, targets are drawn by them."""
    random = np.random.default_rng(seed)
    logits = 2 * random.normal(size=images)
    return (random.random(images) < expit(logits)).astype(np.int64), expit(logits)


def test_bootstrap__holds_the_true_figures_in_95_of_100_cases() -> None:
    """With the classes as frequent as they are (stratified), for figures that are means over images or pairs of them."""
    targets, ones = simulate(400_000, 1)
    truth = Answers(targets, np.stack([1 - ones, ones], axis=1), (ones >= 0.5).astype(np.int64)).figures(
        np.ones((1, len(targets)))
    )
    zeros_of, ones_of = ones[targets == 0], ones[targets == 1]
    random = np.random.default_rng(2)
    names = ("roc_auc", "loss", "brier", "f1", "mcc", "average_precision", "balanced_accuracy")
    held = dict.fromkeys(names, 0)
    for simulation in range(SIMULATIONS):
        scores = np.concatenate([random.choice(zeros_of, 100), random.choice(ones_of, 100)])
        drawn_targets = np.repeat([0, 1], 100)
        answers = Answers(drawn_targets, np.stack([1 - scores, scores], axis=1), (scores >= 0.5).astype(np.int64))
        figures = answers.figures(np.ones((1, 200)))
        found = bootstrap(answers.figures, drawn_targets, draws=400, seed=simulation)
        for name in names:
            low, high = figure_interval(name, float(figures[name][0]), found[name], 100) or (0, 0)
            held[name] += low <= truth[name][0] <= high
    # The classes are equally frequent in both: logits are symmetric.
    shares = {name: count / SIMULATIONS for name, count in held.items()}
    assert all(0.93 <= share <= 0.97 for share in shares.values()), str(shares)


def test_bootstrap__of_groups_is_wider_where_they_are_alike() -> None:
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 10)
    right = np.repeat(random.random(40) < 0.7, 10)
    answers = Answers(np.ones(400, np.int64), np.tile([0.4, 0.6], (400, 1)), right.astype(np.int64))
    alone = bootstrap(answers.figures, np.ones(400, np.int64), None, 500)["accuracy"]
    together = bootstrap(answers.figures, np.ones(400, np.int64), groups, 500)["accuracy"]
    # Ten images that are alike are one: the spread of a mean over 40 is sqrt(10) times that over 400.
    assert together.std() / alone.std() == pytest.approx(np.sqrt(10), rel=0.15)


def test_draw_weights__keeps_each_stratum_as_large_as_it_is() -> None:
    strata = np.array([0] * 7 + [1] * 30 + [2])
    weights = draw_weights(strata, None, 0, 50, 0)
    for stratum, size in ((0, 7), (1, 30), (2, 1)):
        assert (weights[:, strata == stratum].sum(axis=1) == size).all()
    assert len(np.unique(weights, axis=0)) > 45


def test_draw_weights__draws_whole_groups() -> None:
    groups = np.array([3, 3, 1, 1, 1, 0, 2, 2])
    strata = np.array([0, 0, 1, 1, 1, 1, 0, 1])
    weights = draw_weights(strata, groups, 0, 200, 0)
    for group in range(4):
        assert (np.ptp(weights[:, groups == group], axis=1) == 0).all()
    # Groups 0 and 1 hold class 1 alone and take each other's place; group 3 and 2 have no like.
    assert (weights[:, groups == 3] == 1).all()
    assert (weights[:, groups == 2] == 1).all()
    assert (weights[:, 5] + weights[:, 2] == 2).all()
    assert set(weights[:, 5]) == {0, 1, 2}


def test_bootstrap__of_a_seed_is_the_same_however_many_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    targets, ones = simulate(300, 3)
    answers = Answers(targets, np.stack([1 - ones, ones], axis=1), (ones >= 0.5).astype(np.int64))
    first = bootstrap(answers.figures, targets, draws=50, seed=4)
    again = bootstrap(answers.figures, targets, draws=50, seed=4)
    other = bootstrap(answers.figures, targets, draws=50, seed=5)
    assert all(np.array_equal(first[name], again[name], equal_nan=True) for name in first)
    assert not np.array_equal(first["roc_auc"], other["roc_auc"])


def test_figure_interval__is_none_where_most_draws_are_not_defined() -> None:
    drawn = np.array([np.nan] * 6 + [0.4, 0.4, 0.6, 0.6])
    assert figure_interval("recall", 0.5, drawn, 10) is None
    low, high = figure_interval("recall", 0.5, drawn[2:], 10) or (0, 0)
    assert low < 0.5 < high
    assert figure_interval("recall", float("nan"), np.full(10, 0.5), 10) is None


def test_figure_interval__by_hand() -> None:
    # Logits of -1 and 1 around 0: their standard deviation is 1; of 30 units, 2.045 times sqrt(30 / 29) of it.
    drawn = expit(np.array([-1.0, 1.0] * 50))
    assert figure_interval("roc_auc", 0.5, drawn, 30) == pytest.approx([expit(-2.0801), expit(2.0801)], abs=1e-4)


@pytest.mark.parametrize(("name", "value"), [("roc_auc", 1.0), ("f1", 0.0), ("mcc", 1.0), ("loss", 0.0)])
def test_figure_interval__at_a_bound(name: str, value: float) -> None:
    assert figure_interval(name, value, np.full(100, value), 10, beyond=(0.4, value)) == sorted([value, 0.4])


@pytest.mark.parametrize("right", [True, False])
def test_compute_metrics__of_a_perfect_test_is_as_sure_as_wilson(right: bool) -> None:
    targets = np.array([0] * 40 + [1] * 20)
    probabilities = np.where((targets == 1) == right, 0.9, 0.1)
    # In groups of one image each, no figure is a share of images.
    found = compute_metrics(targets, probabilities, groups=np.arange(60))["intervals"]
    correct = 60 if right else 0
    assert found["recall"] == pytest.approx(wilson(correct / 3, 20))
    assert found["specificity"] == pytest.approx(wilson(correct * 2 / 3, 40))
    assert found["roc_auc"] == pytest.approx(wilson(correct / 3, 20))
    low, high = found["mcc"]
    assert (-1 < low < high == 1) if right else (-1 == low < high < 1)


@pytest.mark.parametrize("name", ["roc_auc", "mcc", "loss", "ece", "brier", "f1"])
def test_figure_interval__holds_the_figure_and_stays_in_its_bounds(name: str) -> None:
    random = np.random.default_rng(0)
    for value in (0.001, 0.03, 0.5, 0.97, 0.999):
        low, high = figure_interval(name, value, np.clip(value + 0.05 * random.normal(size=200), 0, 1), 5) or (1, 0)
        assert 0 <= low <= value <= high or name == "mcc"
        assert low <= value <= high <= 1 or name == "loss"


def test_ece__of_a_calibrated_classifier_has_an_interval_from_0() -> None:
    """In 95 of 100 cases; the true error is 0.002, which is what the bins cut off."""
    _, ones = simulate(400_000, 1)
    random = np.random.default_rng(3)
    held = 0
    for simulation in range(SIMULATIONS):
        scores = random.choice(ones, 200)
        targets = (random.random(200) < scores).astype(np.int64)
        figures = compute_metrics(targets, scores, draws=100, seed=simulation)
        low, high = figures["intervals"]["ece"]
        held += low <= 0.002 <= high
    assert 0.93 <= held / SIMULATIONS <= 0.98


def test_ece__of_one_that_is_not_has_an_interval_above_0() -> None:
    targets, ones = simulate(2000, 4)
    figures = compute_metrics(targets, expit(3 * np.log(ones / (1 - ones))))
    low, high = figures["intervals"]["ece"]
    assert 0.05 < low < figures["ece"] < high
