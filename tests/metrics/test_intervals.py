"""Wilson's interval, and the draws of the bootstrap."""

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binomtest

from diptych.metrics.intervals import bootstrap, draw_weights, score_interval, wilson
from diptych.metrics.weighted import Answers

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


@pytest.mark.parametrize(("right", "of"), [(0, 7), (7, 7), (3, 10), (349, 394), (999, 1000)])
def test_wilson__is_that_of_scipy(right: int, of: int) -> None:
    found = binomtest(right, of).proportion_ci(0.95, "wilson")
    assert wilson(right, of) == pytest.approx([found.low, found.high], abs=1e-12)


def test_score_interval__of_another_scale_is_that_of_the_share() -> None:
    low, high = score_interval(0.75, 20)
    assert score_interval(0.5, 20, -1, 1) == pytest.approx([2 * low - 1, 2 * high - 1])
    # Between two whole numbers of images, the width lies between those of both.
    widths = [np.ptp(score_interval(0.75, images)) for images in (20, 20.5, 21)]
    assert widths[0] > widths[1] > widths[2]


def simulate(images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Targets and probabilities of class 1 that are calibrated: logits are normal, targets are drawn by them."""
    random = np.random.default_rng(seed)
    logits = 2 * random.normal(size=images)
    return (random.random(images) < expit(logits)).astype(np.int64), expit(logits)


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
