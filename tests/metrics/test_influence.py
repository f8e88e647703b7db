"""Intervals of figures: corners by hand, formulas of the literature, and how often they hold the true figure."""

import itertools
import warnings

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import beta, t
from scoring import metrics_of
from test_benchmarks import load

from diptych.metrics.influence import FEWEST_GROUPS, REASONS, Sample, find_intervals, share_interval
from diptych.metrics.intervals import score_interval, wilson
from diptych.metrics.weighted import Answers, count_effects


def answers_of(matrix: list[list[int]], seed: int = 0) -> Answers:
    """Answers with a confusion matrix, and probabilities that go with them."""
    counts = np.array(matrix)
    targets, predicted = (np.repeat(place.ravel(), counts.ravel()) for place in np.indices(counts.shape))
    random = np.random.default_rng(seed)
    shares = random.dirichlet(np.ones(len(counts)), len(targets)) + 1.01 * np.eye(len(counts))[predicted]
    return Answers(targets, shares / shares.sum(axis=1, keepdims=True), predicted)


def intervals_of(answers: Answers, groups: NDArray[np.int64] | None = None) -> dict[str, list[float] | None]:
    figures = {name: float(values[0]) for name, values in answers.figures(np.ones((1, len(answers.targets)))).items()}
    return {name: found.interval for name, found in find_intervals(answers, figures, Sample(answers.targets, groups)).items()}


def test_one_mistake_of_a_thousand__is_one_in_a_thousand_for_every_figure() -> None:
    found = intervals_of(answers_of([[499, 1], [0, 500]]))
    low, high = wilson(999, 1000) or (0, 0)
    for name in ("accuracy", "balanced_accuracy", "f1"):
        assert found[name] == pytest.approx([low, high], abs=2e-4), name
    assert found["mcc"] == pytest.approx([2 * low - 1, 2 * high - 1], abs=4e-4)
    assert found["recall"] == pytest.approx(wilson(500, 500))
    assert found["specificity"] == pytest.approx(wilson(499, 500))


@pytest.mark.parametrize("matrix", [[[40, 0], [0, 20]], [[0, 40], [20, 0]], [[9, 0, 0], [0, 9, 0], [0, 0, 9]]])
def test_no_mistake_and_nothing_right__reach_the_bound_and_have_a_width(matrix: list[list[int]]) -> None:
    answers = answers_of(matrix)
    for name, interval in intervals_of(answers).items():
        if name.split("/")[0] in ("accuracy", "balanced_accuracy", "recall", "specificity", "f1", "roc_auc"):
            low, high = interval or (0, 0)
            assert high - low > 0.03, name
            assert (high == 1) if np.trace(answers.matrix) else (low == 0), name
    if len(matrix) == 2:
        assert intervals_of(answers)["recall"] == pytest.approx(wilson(matrix[1][1], 20))


@pytest.mark.parametrize("images", [2, 6, 30])
@pytest.mark.parametrize("classes", [2, 4])
def test_one_answer_for_all__has_widths_where_it_says_anything(images: int, classes: int) -> None:
    targets = np.repeat(np.arange(classes), images)
    shares = np.full((len(targets), classes), 0.1)
    shares[:, 0] = 1 - 0.1 * (classes - 1)
    found = metrics_of(targets, shares[:, 1] if classes == 2 else shares, class_names=[str(k) for k in range(classes)])
    low, high = found["test_accuracy_interval"]
    assert low < 1 / classes < high
    assert high - low > 0.5 / images
    for name in ("test_loss", "brier", "roc_auc", "average_precision"):
        assert (found["intervals"][name], found["no_interval"][name]) == (None, "one_answer")
    assert set(found["no_interval"].values()) <= REASONS.keys()


@pytest.mark.parametrize("target", [0, 1])
def test_one_class_alone__has_the_share_alone(target: int) -> None:
    found = metrics_of(np.full(20, target), np.linspace(0.1, 0.9, 20))
    assert found["test_accuracy_interval"] == pytest.approx(wilson(10, 20))
    reasons = found["no_interval"]
    assert (reasons["roc_auc"], reasons["average_precision"], reasons["mcc"]) == ("not_defined", "not_defined", "one_class")
    assert (found["precision"], reasons["precision"]) == (target, "one_class")


def test_figures_of_any_small_test__have_an_interval_that_holds_them_or_a_reason() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for counts in itertools.product(range(4), repeat=4):
            if sum(counts) == 0:
                continue
            matrix = [list(counts[:2]), list(counts[2:])]
            answers = answers_of(matrix)
            figures = {name: float(value[0]) for name, value in answers.figures(np.ones((1, sum(counts)))).items()}
            for name, found in find_intervals(answers, figures, Sample(answers.targets)).items():
                assert (found.interval is None) == (found.reason in REASONS), (matrix, name)
                low, high = found.interval or (figures[name], figures[name])
                if found.interval:
                    assert low <= figures[name] <= high, (matrix, name)
                    assert high - low > 1e-6, (matrix, name)


def test_recall_and_specificity__are_wilsons() -> None:
    found = intervals_of(answers_of([[37, 3, 2], [4, 18, 0], [1, 0, 9]]))
    assert found["recall/1"] == pytest.approx(wilson(18, 22))
    assert found["recall/2"] == pytest.approx(wilson(9, 10))


def test_variance_of_the_roc_area__is_that_of_delong() -> None:
    random = np.random.default_rng(0)
    targets = np.repeat([0, 1], [60, 25])
    scores = np.clip(random.normal(0.4 + 0.2 * targets, 0.2), 0, 1).round(2)
    part = Answers(targets, np.stack([1 - scores, scores], axis=1), (scores > 0.5).astype(np.int64)).parts[0]
    ones, zeros = scores[targets == 1], scores[targets == 0]
    before = (ones[:, None] > zeros) + (ones[:, None] == zeros) / 2
    expected = before.mean(axis=1).var(ddof=1) / 25 + before.mean(axis=0).var(ddof=1) / 60
    assert Sample(targets).moments(part.ranked.roc_influence())[0] == pytest.approx(expected)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_influences__are_the_derivatives_of_the_figures(classes: int) -> None:
    """By small changes of the weight of each image, with the weight of its class kept."""
    random = np.random.default_rng(classes)
    targets = np.r_[np.arange(classes), random.integers(0, classes, 50)]
    shares = random.dirichlet(np.ones(classes), len(targets)).round(1) + 0.05
    shares /= shares.sum(axis=1, keepdims=True)
    answers, sample = Answers(targets, shares, shares.argmax(axis=1)), Sample(targets)

    def changed(step: float) -> dict[str, NDArray[np.float64]]:
        weights = np.ones((len(targets), len(targets))) + step * np.eye(len(targets))
        for row, target in zip(weights, targets, strict=True):
            row[targets == target] *= (targets == target).sum() / row[targets == target].sum()
        return answers.figures(weights)

    more, less = changed(1e-5), changed(-1e-5)
    influences = {name: effect.influence(targets, answers.predicted) for name, effect in count_effects(answers.matrix).items()}
    for place, part in enumerate(answers.parts):
        suffix = "" if classes == 2 else f"/{place}"
        influences[f"roc_auc{suffix}"] = part.ranked.roc_influence()
        influences[f"average_precision{suffix}"] = part.ranked.precision_influence()[0]
    assert len(influences) == (9 if classes == 2 else 7 + 7 * classes)
    for name, influence in influences.items():
        np.testing.assert_allclose(sample.centred(influence), (more[name] - less[name]) / 2e-5, atol=1e-8, err_msg=name)


def test_groups_of_one_image__are_images_but_for_student() -> None:
    answers = answers_of([[50, 10], [8, 40]])
    alone, grouped = intervals_of(answers), intervals_of(answers, np.arange(108))
    for name in ("accuracy", "f1", "mcc", "roc_auc", "brier"):
        (low, high), (low2, high2) = alone[name] or (0, 0), grouped[name] or (0, 0)
        assert high2 - low2 == pytest.approx(high - low, rel=0.06), name


def test_groups_that_are_alike__count_as_one_image_each() -> None:
    """Ten images of a group, all answered alike: as sure as a tenth of the images, with Student's t of the groups."""
    targets, groups = np.repeat([0, 1], 400), np.arange(800) // 10
    right = (groups % 5) > 0
    predicted = np.where(right, targets, 1 - targets)
    ones = np.where(predicted == 1, 0.8, 0.2)
    low, high = metrics_of(targets, ones, groups=groups)["intervals"]["recall"]
    assert [low, high] == pytest.approx(score_interval(0.8, 40, reach=float(t.ppf(0.975, 39))), abs=0.012)


def test_few_groups__have_no_intervals() -> None:
    targets = np.tile([0, 1], 60)
    found = metrics_of(targets, np.linspace(0, 1, 120), groups=np.arange(120) // (120 // (FEWEST_GROUPS - 1) + 1))
    assert all(interval is None for interval in found["intervals"].values())
    assert found["no_interval"]["test_accuracy"] == "few_groups"
    assert found["no_interval"]["ece"] == "biased"


def test_share_interval__is_wilsons_or_by_group() -> None:
    held = np.arange(200) % 10 < 7
    assert share_interval(held, None).interval == pytest.approx(wilson(140, 200))
    alike, groups = np.arange(200) // 10 % 10 < 7, np.arange(200) // 10
    low, high = share_interval(alike, groups).interval or (0, 0)
    assert [low, high] == pytest.approx(score_interval(0.7, 20, reach=float(t.ppf(0.975, 19))), abs=0.02)
    assert share_interval(held, np.arange(200) // 50).reason == "few_groups"
    assert share_interval(np.zeros(0, bool), None).reason == "not_defined"


def test_loss_that_few_images_make_up__has_no_interval() -> None:
    targets = np.repeat([0, 1], 50)
    ones = np.where(targets == 1, 0.999, 0.001)
    ones[0] = 0.99
    found = metrics_of(targets, ones)
    assert (found["intervals"]["test_loss"], found["no_interval"]["test_loss"]) == (None, "few_carry_it")
    assert found["intervals"]["brier"][1] > found["brier"]


def test_calibration_error__is_told_with_what_chance_shows() -> None:
    random = np.random.default_rng(0)
    higher = 0
    for seed in range(300):
        ones = beta(2, 2).rvs(150, random_state=random)
        found = metrics_of((random.random(150) < ones).astype(np.int64), ones, seed=seed)
        higher += found["ece"] > found["ece_by_chance"]
    assert found["no_interval"]["ece"] == "biased"
    # Of 300 tests, 5 % are 15, with a standard deviation of 3.8.
    assert 4 <= higher <= 27


@pytest.mark.parametrize(
    ("images", "level", "groups"),
    [((100, 100), "2 mistakes", ""), ((100, 100), "fair", ""), ((20, 20, 20), "fair", ""), ((100, 100), "fair", "pure")],
)
def test_intervals__hold_the_true_figure_in_95_of_100_tests(
    images: tuple[int, ...], level: str, groups: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few cells of benchmarks/coverage.py; in 300 tests, a share of 95 % has a standard deviation of 1.3 %."""
    coverage = load("coverage", monkeypatch)
    monkeypatch.setattr(coverage, "POPULATION", 60_000)
    found = coverage.simulate(coverage.Cell(images, level, groups), 300)
    for name, (tests, shown, held) in found.items():
        assert held / max(1, shown) >= 0.905 or shown < tests / 2, name
        assert (shown - held) / tests <= 0.095, name
