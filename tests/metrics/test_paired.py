"""Paired comparisons: hand-computed tests, and how often chance alone is taken for a difference."""

import numpy as np
import pytest
from sklearn import metrics

from diptych.metrics.intervals import draw_weights
from diptych.metrics.paired import FIGURES, Difference, compare_pairs, holm, mcnemar
from diptych.metrics.weighted import Answers
from diptych.rng import generator


def answers_of(targets: np.ndarray, scores: np.ndarray) -> Answers:
    """Answers of a classifier of two classes by its probabilities of class 1."""
    return Answers(targets, np.stack([1 - scores, scores], axis=1), (scores >= 0.5).astype(np.int64))


def draw_scores(targets: np.ndarray, random: np.random.Generator, shift: float = 1.0) -> np.ndarray:
    return 1 / (1 + np.exp(-(shift * (2 * targets - 1) + random.normal(0, 1.5, len(targets)))))


@pytest.mark.parametrize(
    ("only_first", "only_second", "p_value"),
    [
        (0, 0, 1.0),
        (0, 5, 2 / 2**5),
        (1, 7, 2 * (1 + 8) / 2**8),
        # 2 (C(10, 0) + C(10, 1) + C(10, 2)) / 2^10
        (8, 2, 2 * (1 + 10 + 45) / 2**10),
        (4, 4, 1.0),
    ],
)
def test_mcnemar__is_the_exact_binomial_test_of_the_discordant_images(only_first, only_second, p_value):
    first = np.array([True] * only_first + [False] * only_second + [True] * 20 + [False] * 3)
    second = np.array([False] * only_first + [True] * only_second + [True] * 20 + [False] * 3)
    found = mcnemar(first, second)
    assert (found.only_first, found.only_second) == (only_first, only_second)
    assert found.p_value == pytest.approx(p_value)


def test_holm__is_the_hand_computed_correction():
    # Sorted: .01 * 4, .02 * 3, .03 * 2 raised to .06, .04 raised to .06.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]


@pytest.mark.parametrize(
    ("figure", "interval", "corrected", "verdict"),
    [
        ("accuracy", (0.01, 0.2), 0.01, "better"),
        ("accuracy", (-0.2, -0.01), 0.01, "worse"),
        ("loss", (-0.2, -0.01), 0.01, "better"),
        ("brier", (0.01, 0.2), 0.01, "worse"),
        ("accuracy", (0.0, 0.2), 0.01, "no difference shown"),
        ("accuracy", (-0.1, 0.2), 0.01, "no difference shown"),
        ("accuracy", (0.01, 0.2), 0.06, "no difference shown"),
        ("roc_auc", None, 0.01, "no difference shown"),
    ],
)
def test_verdict__needs_an_interval_without_0_and_a_small_p(figure, interval, corrected, verdict):
    assert Difference(figure, 0.5, 0.6, interval, 0.001, corrected).verdict == verdict


def test_compare_pairs__differences_are_those_of_scikit_learn():
    random = np.random.default_rng(0)
    targets = random.integers(0, 2, 120)
    scores = [draw_scores(targets, random), draw_scores(targets, random, 0.5)]
    (pair,) = compare_pairs([[answers_of(targets, one)] for one in scores], [(0, 1)], targets, draws=50)
    expected = {
        "accuracy": [metrics.accuracy_score(targets, one >= 0.5) for one in scores],
        "balanced_accuracy": [metrics.balanced_accuracy_score(targets, one >= 0.5) for one in scores],
        "f1": [metrics.f1_score(targets, one >= 0.5) for one in scores],
        "roc_auc": [metrics.roc_auc_score(targets, one) for one in scores],
        "loss": [metrics.log_loss(targets, one) for one in scores],
    }
    assert [found.figure for found in pair.differences] == list(FIGURES)
    for name, (first, second) in expected.items():
        assert pair.of(name).first == pytest.approx(first)
        assert pair.of(name).difference == pytest.approx(second - first)


def test_compare_pairs__interval_is_that_of_a_loop_over_the_same_draws():
    random = np.random.default_rng(1)
    targets = np.repeat([0, 1], [50, 30])
    scores = [draw_scores(targets, random), draw_scores(targets, random)]
    (pair,) = compare_pairs([[answers_of(targets, one)] for one in scores], [(0, 1)], targets, draws=200, seed=4)
    differences = []
    for counts in draw_weights(targets, None, 0, 200, 4).astype(int):
        rows = np.repeat(np.arange(len(targets)), counts)
        areas = [metrics.roc_auc_score(targets[rows], one[rows]) for one in scores]
        differences.append(areas[1] - areas[0])
    assert pair.of("roc_auc").interval == pytest.approx(tuple(np.quantile(differences, [0.025, 0.975])))
    fewer = min(sum(value <= 0 for value in differences), sum(value >= 0 for value in differences))
    assert pair.of("roc_auc").p_value == pytest.approx(2 * (fewer + 1) / 201)


def test_compare_pairs__a_classifier_against_itself_never_differs():
    random = np.random.default_rng(2)
    targets = random.integers(0, 2, 60)
    side = [answers_of(targets, draw_scores(targets, random))]
    (pair,) = compare_pairs([side, side], [(0, 1)], targets, draws=100)
    for found in pair.differences:
        assert (found.difference, found.interval, found.p_value) == (0.0, [0.0, 0.0], 1.0)
        assert found.verdict == "no difference shown"


def test_compare_pairs__sides_of_several_are_their_mean():
    random = np.random.default_rng(3)
    targets = random.integers(0, 2, 80)
    sides = [[answers_of(targets, draw_scores(targets, random)) for _ in range(3)] for _ in range(2)]
    (pair,) = compare_pairs(sides, [(0, 1)], targets, draws=50)
    one = np.ones((1, 80))
    means = [np.mean([answers.figures(one)["loss"][0] for answers in side]) for side in sides]
    assert (pair.of("loss").first, pair.of("loss").second) == pytest.approx(tuple(means))
    assert pair.mcnemar is None


def test_compare_pairs__groups_are_drawn_whole_and_make_the_interval_wider():
    random = np.random.default_rng(5)
    groups = np.repeat(np.arange(40), 10)
    targets = np.repeat(np.tile([0, 1], 20), 10)
    # All images of a group are easy or hard together.
    scores = [draw_scores(targets[::10], random).repeat(10) for _ in range(2)]
    sides = [[answers_of(targets, one)] for one in scores]
    (alone,) = compare_pairs(sides, [(0, 1)], targets, draws=400)
    (grouped,) = compare_pairs(sides, [(0, 1)], targets, groups, draws=400)
    widths = [np.diff(pair.of("accuracy").interval)[0] for pair in (alone, grouped)]
    assert widths[1] == pytest.approx(widths[0] * np.sqrt(10), rel=0.3)
    # Ten copies of each group are no ten proofs.
    assert alone.of("accuracy").p_value == pytest.approx(alone.mcnemar.p_value)
    assert grouped.of("accuracy").p_value > alone.of("accuracy").p_value


def test_compare_pairs__chance_alone_is_taken_for_a_difference_in_about_one_of_twenty():
    trials, images = 400, 150
    falsely = dict.fromkeys(("mcnemar", "accuracy interval", "loss interval", "area interval", "accuracy"), 0)
    for number in range(trials):
        random = generator(0, "no difference", number)
        targets = np.repeat([0, 1], images // 2)
        sides = [[answers_of(targets, draw_scores(targets, random))] for _ in range(2)]
        (pair,) = compare_pairs(sides, [(0, 1)], targets, draws=200, seed=number)
        falsely["mcnemar"] += pair.mcnemar.p_value < 0.05
        for name, figure in (("accuracy", "accuracy"), ("loss", "loss"), ("area", "roc_auc")):
            low, high = pair.of(figure).interval
            falsely[f"{name} interval"] += not low <= 0 <= high
        falsely["accuracy"] += pair.of("accuracy").verdict != "no difference shown"
    rates = {name: count / trials for name, count in falsely.items()}
    # The exact test is careful; the intervals are of 200 draws each.
    assert 0.01 <= rates["mcnemar"] <= 0.06
    assert all(0.02 <= rates[f"{name} interval"] <= 0.085 for name in ("accuracy", "loss", "area")), rates
    assert rates["accuracy"] <= rates["mcnemar"]


def test_compare_pairs__a_true_difference_is_found():
    random = np.random.default_rng(7)
    targets = np.tile([0, 1], 300)
    sides = [[answers_of(targets, draw_scores(targets, random, shift))] for shift in (0.5, 2.0)]
    (pair,) = compare_pairs(sides, [(0, 1)], targets, draws=500)
    assert {found.verdict for found in pair.differences} == {"better"}
    (back,) = compare_pairs(sides, [(1, 0)], targets, draws=500)
    assert {found.verdict for found in back.differences} == {"worse"}


def test_compare_pairs__p_values_of_several_pairs_are_corrected():
    random = np.random.default_rng(8)
    targets = np.tile([0, 1], 100)
    sides = [[answers_of(targets, draw_scores(targets, random, shift))] for shift in (0.6, 1.0, 1.4)]
    pairs = compare_pairs(sides, [(0, 1), (0, 2), (1, 2)], targets, draws=500)
    for name in FIGURES:
        found = [pair.of(name) for pair in pairs]
        assert [one.corrected for one in found] == pytest.approx(holm([one.p_value for one in found]))
    assert any(pair.of("loss").corrected > pair.of("loss").p_value for pair in pairs)
