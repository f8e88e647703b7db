"""Thresholds against brute force and scikit-learn, "don't know" by hand, and sets of classes by simulation."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import f1_score, precision_recall_curve, roc_curve

from diptych.errors import ConfigError
from diptych.inference.thresholds import candidates, choose_threshold, conformal_limit, error_limit, read_rule, risk_coverage

Case = tuple[NDArray[np.int64], NDArray[np.float64]]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Up to 30 images of both classes; with one digit, many probabilities are the same, and some are 0 or 1."""
    count = draw(st.integers(2, 30))
    ones = draw(st.lists(st.booleans(), min_size=count, max_size=count).filter(lambda found: len(set(found)) == 2))
    digits = draw(st.sampled_from([1, 3]))
    probabilities = draw(st.lists(st.integers(0, 10**digits), min_size=count, max_size=count))
    return np.array(ones, np.int64), np.array(probabilities) / 10**digits


def counts(targets: NDArray[np.int64], probabilities: NDArray[np.float64], threshold: float) -> tuple[int, int, int, int]:
    """True and false positives, false and true negatives, one image after another."""
    said = [probability >= threshold for probability in probabilities]
    pairs = list(zip(said, targets == 1, strict=True))
    return (
        pairs.count((True, True)),
        pairs.count((True, False)),
        pairs.count((False, True)),
        pairs.count((False, False)),
    )


def all_counts(case: Case) -> list[tuple[int, int, int, int]]:
    """The counts at every threshold that decides differently, from the lowest to the highest: each probability, and above all."""
    return [counts(*case, threshold) for threshold in [*np.unique(case[1]), 2.0]]


def gain(rule: str, found: tuple[int, int, int, int]) -> Fraction:
    tp, fp, fn, tn = found
    if rule == "youden":
        return Fraction(tp, tp + fn) + Fraction(tn, tn + fp) - 1
    if rule == "f1":
        return Fraction(2 * tp, 2 * tp + fp + fn)
    _, _, costs = rule.partition(":")
    of_fp, of_fn = map(Fraction, costs.split(","))
    return -(of_fp * fp + of_fn * fn)


@pytest.mark.parametrize("rule", ["youden", "f1", "cost:1,1", "cost:1,5", "cost:3,0.5", "cost:0,1", "cost:1,0"])
@given(case=cases())
def test_choose_threshold__is_as_good_as_the_best_of_all(rule: str, case: Case) -> None:
    best = max(gain(rule, found) for found in all_counts(case))
    assert float(gain(rule, counts(*case, choose_threshold(rule, *case)))) == pytest.approx(float(best), abs=1e-12)


@given(case=cases(), share=st.integers(1, 20))
def test_choose_threshold__recall_is_the_highest_with_at_least_that_recall(case: Case, share: int) -> None:
    threshold = choose_threshold(f"recall:{share / 20}", *case)
    meeting = [found for found in all_counts(case) if Fraction(found[0], found[0] + found[2]) >= Fraction(share, 20)]
    assert counts(*case, threshold) == meeting[-1]


@given(case=cases(), share=st.integers(1, 20))
def test_choose_threshold__precision_is_the_lowest_with_at_least_that_precision(case: Case, share: int) -> None:
    said = [found for found in all_counts(case) if found[0] + found[1]]
    meeting = [found for found in said if Fraction(found[0], found[0] + found[1]) >= Fraction(share, 20)]
    if meeting:
        assert counts(*case, choose_threshold(f"precision:{share / 20}", *case)) == meeting[0]
    else:
        highest = max(found[0] / (found[0] + found[1]) for found in said)
        with pytest.raises(ConfigError, match=rf"no threshold has that precision; the highest is {highest:.3f}\."):
            choose_threshold(f"precision:{share / 20}", *case)


@given(case=cases())
def test_choose_threshold__of_equally_good_ones_it_is_the_nearest_to_a_half(case: Case) -> None:
    there = np.unique(case[1])
    between = [0.0, *(there[1:] + there[:-1]) / 2, math.nextafter(1, 2)]
    costs = [gain("cost:1,1", counts(*case, place)) for place in between]
    nearest = min(abs(place - 0.5) for place, cost in zip(between, costs, strict=True) if cost == max(costs))
    threshold = choose_threshold("cost:1,1", *case)
    assert threshold in between
    assert abs(threshold - 0.5) == nearest


def draw(images: int, seed: int) -> Case:
    random = np.random.default_rng(seed)
    targets = random.integers(0, 2, images)
    return targets, np.clip(random.normal(0.4 + 0.2 * targets, 0.2), 0, 1).round(3)


@pytest.mark.parametrize("seed", range(5))
def test_choose_threshold__is_as_good_as_the_best_point_of_scikit_learn(seed: int) -> None:
    targets, probabilities = draw(300, seed)
    false_rate, true_rate, _ = roc_curve(targets, probabilities, drop_intermediate=False)
    tp, fp, fn, tn = counts(targets, probabilities, choose_threshold("youden", targets, probabilities))
    assert tp / (tp + fn) - fp / (fp + tn) == pytest.approx((true_rate - false_rate).max())
    precision, recall, thresholds = precision_recall_curve(targets, probabilities)
    found = choose_threshold("f1", targets, probabilities)
    scores = 2 * precision * recall / (precision + recall)
    assert f1_score(targets, probabilities >= found) == pytest.approx(scores.max())
    found = choose_threshold("recall:0.9", targets, probabilities)
    highest = thresholds[recall[:-1] >= 0.9].max()
    np.testing.assert_array_equal(probabilities >= found, probabilities >= highest)
    found = choose_threshold("precision:0.7", targets, probabilities)
    lowest = thresholds[precision[:-1] >= 0.7].min()
    np.testing.assert_array_equal(probabilities >= found, probabilities >= lowest)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        *[("0.3", 0.3), ("0", 0.0), ("1", 1.0), ("youden", 0.5), ("f1", 0.5), ("recall:1", 0.5), ("recall:0.5", 0.75)],
        # Where a wrong 1 costs nothing, all thresholds with every 1 found cost the same; the nearest to a half is taken.
        *[("cost:1,0", 0.5), ("cost:0,1", 0.5), ("precision:1", 0.5), ("precision:0.6", 0.25)],
    ],
)
def test_choose_threshold__of_four_images_by_hand(rule: str, expected: float) -> None:
    assert choose_threshold(rule, np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.6, 0.9])) == expected


def test_choose_threshold__of_ties_alone_says_the_same_of_all() -> None:
    targets, probabilities = np.array([0, 1, 1, 0, 1]), np.full(5, 0.7)
    assert choose_threshold("f1", targets, probabilities) == 0.0
    assert choose_threshold("recall:1", targets, probabilities) == 0.0
    assert choose_threshold("cost:10,1", targets, probabilities) > 1
    with pytest.raises(ConfigError, match=r"the highest is 0\.600"):
        choose_threshold("precision:0.8", targets, probabilities)


@pytest.mark.parametrize("rule", ["youden", "f1", "cost:1,2", "recall:0.9", "precision:0.9"])
@pytest.mark.parametrize("target", [0, 1])
def test_choose_threshold__of_one_class_is_an_error(rule: str, target: int) -> None:
    with pytest.raises(ConfigError, match="all of them are of one class"):
        choose_threshold(rule, np.full(4, target), np.array([0.1, 0.2, 0.3, 0.4]))


@pytest.mark.parametrize("rule", ["0.3", "0.5"])
def test_choose_threshold__a_given_one_needs_no_images(rule: str) -> None:
    assert choose_threshold(rule, np.zeros(0, np.int64), np.zeros(0)) == float(rule)


BAD_RULES = (
    *("", "1.5", "-0.1", "nan", "inf", "best", "youden:1", "F1", "0.5,0.6", "cost", "cost:1", "cost:1,2,3", "cost:-1,1"),
    *("cost:0,0", "cost:1,inf", "cost:1,nan", "cost:nan,1", "cost:a,b", "recall", "recall:0", "recall:1.1", "recall:nan"),
    *("recall:0.5,0.6", "precision:", "precision:-1", "probability:0.5:", "error:0.1"),
)


@pytest.mark.parametrize("rule", BAD_RULES)
def test_read_rule__a_bad_one_is_an_error_that_names_the_good_ones(rule: str) -> None:
    with pytest.raises(ConfigError, match="expected a probability, youden, f1, cost:FP,FN") as raised:
        read_rule(rule)
    assert repr(rule) in str(raised.value)


def test_candidates__decide_differently_and_are_all_that_do() -> None:
    probabilities = np.array([0.5, 0.0, 1.0, 0.5, 0.25])
    places = candidates(probabilities)
    answers = [tuple(probabilities >= place) for place in places]
    assert len(set(answers)) == len(answers) == len(np.unique(probabilities)) + 1
    assert places == sorted(places)


def test_risk_coverage__of_five_images_by_hand() -> None:
    right = np.array([True, False, True, True, False])
    confidence = np.array([0.9, 0.8, 0.8, 0.6, 0.5])
    coverage, risk = risk_coverage(right, confidence)
    assert coverage.tolist() == [1 / 5, 3 / 5, 4 / 5, 1]
    assert risk.tolist() == pytest.approx([0, 1 / 3, 1 / 4, 2 / 5])


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=1, max_size=25), st.integers(0, 10))
def test_error_limit__answers_as_many_as_can_be_answered(images: list[tuple[bool, int]], tenths: int) -> None:
    right, confidence = np.array([one for one, _ in images]), np.array([one for _, one in images]) / 8
    best = 0
    for limit in np.unique(confidence):
        answered = [one for one, sure in zip(right, confidence, strict=True) if sure >= limit]
        if Fraction(answered.count(False), len(answered)) <= Fraction(tenths, 10):
            best = max(best, len(answered))
    found = error_limit(right, confidence, tenths / 10)
    assert (found is None) == (best == 0)
    if found is not None:
        assert (confidence >= found).sum() == best
        assert found == 0 or found not in confidence


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("images", [19, 100])
def test_conformal_limit__sets_hold_the_true_class_as_often_as_asked(coverage: float, images: int) -> None:
    random, held = np.random.default_rng(images), []
    for _ in range(1000):
        true_shares = random.beta(3, 1.5, images + 50)
        held.append((true_shares[images:] >= conformal_limit(true_shares[:images], coverage)).mean())
    mean, error = np.mean(held), np.std(held) / math.sqrt(len(held))
    assert mean >= coverage - 3 * error
    # Without ties the chance is rank / (images + 1), at most one image more than asked.
    assert mean <= coverage + 1 / (images + 1) + 3 * error


def test_conformal_limit__of_too_few_images_lets_every_class_in() -> None:
    true_shares = np.linspace(0.5, 0.9, 18)
    assert conformal_limit(true_shares, 0.95) == 0
    assert conformal_limit(np.append(true_shares, 0.7), 0.95) == 0.5
    assert conformal_limit(np.zeros(0), 0.5) == 0
