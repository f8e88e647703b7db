"""One temperature for the logits: found again where it is known, kept where it helps, and reliability bins by hand."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.metrics import log_loss

from diptych.evaluation.curves import reliability
from diptych.evaluation.report import ReliabilityBin
from diptych.inference.calibration import HIGHEST, LOWEST, calibrate, fit_temperature, losses, platt_targets
from diptych.inference.decision import scale_temperature
from diptych.metrics.weighted import BINS


def draw(classes: int, images: int, sharpened: float, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Targets drawn from probabilities, and these probabilities with their logits multiplied."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1.5, (images, classes))
    true = softmax(logits, axis=1)
    targets = (random.random((images, 1)) > np.cumsum(true, axis=1)[:, :-1]).sum(axis=1)
    return targets, softmax(logits * sharpened, axis=1)


@pytest.mark.parametrize("classes", [2, 4, 20])
@pytest.mark.parametrize("sharpened", [0.4, 2.5, 6.0])
def test_calibrate__finds_the_temperature_that_the_data_were_drawn_with(classes: int, sharpened: float) -> None:
    targets, probabilities = draw(classes, 4000, sharpened)
    found = calibrate(probabilities, targets, seed=0)
    assert found.temperature == found.fitted == pytest.approx(sharpened, rel=0.1)
    assert found.loss_after < found.loss_before
    assert f"{found.temperature:.3f}" in found.reason


@given(st.integers(0, 50), st.integers(2, 5), st.floats(0.2, 5))
def test_fit_temperature__no_other_temperature_gives_a_lower_loss(seed: int, classes: int, sharpened: float) -> None:
    targets, probabilities = draw(classes, 60, sharpened, seed)

    def loss(temperature: float) -> float:
        return sum(
            log_loss_of(row, calibrated)
            for row, calibrated in zip(
                platt_targets(probabilities, targets), scale_temperature(probabilities, temperature), strict=True
            )
        )

    lowest = loss(fit_temperature(probabilities, targets))
    assert lowest <= min(loss(float(other)) for other in np.geomspace(LOWEST, HIGHEST, 60)) + 1e-6


def log_loss_of(wanted: NDArray[np.float64], said: NDArray[np.float64]) -> float:
    return -float(wanted @ np.log(np.clip(said, 1e-15, 1)))


def test_platt_targets__is_as_if_one_image_more_were_taken_for_the_likeliest_other_class() -> None:
    probabilities = np.array([[0.5, 0.3, 0.2], [0.1, 0.3, 0.6], [0.2, 0.5, 0.3]])
    soft = platt_targets(probabilities, np.array([0, 0, 1]))
    np.testing.assert_allclose(soft, [[4 / 5, 1 / 5, 0], [4 / 5, 0, 1 / 5], [0, 4 / 5, 1 / 5]])


def test_calibrate__all_right_is_not_certain() -> None:
    """Forty images that are right with 0.7: so few vouch for 41 of 42, and not for more."""
    targets = np.repeat([0, 1], 20)
    probabilities = np.where(np.eye(2)[targets] == 1, 0.7, 0.3)
    found = calibrate(probabilities, targets, seed=0)
    assert scale_temperature(probabilities, found.temperature).max() == pytest.approx(41 / 42, abs=1e-3)
    assert found.loss_after < found.loss_before
    # What is surer already is left as it is.
    sure = np.where(np.eye(2)[targets] == 1, 0.999, 0.001)
    assert calibrate(sure, targets, seed=0).temperature == 1


def test_calibrate__few_images_of_many_classes_have_the_true_temperature() -> None:
    """Ten images of each of twenty classes, nearly all right and somewhat too sure: the temperature is near the true one."""
    random = np.random.default_rng(0)
    logits = random.normal(size=(200, 20)) + 7 * np.eye(20)[np.repeat(np.arange(20), 10)]
    probabilities = softmax(logits, axis=1)
    targets = (random.random((len(probabilities), 1)) > np.cumsum(probabilities, axis=1)[:, :-1]).sum(axis=1)
    assert 0.9 < (targets == probabilities.argmax(axis=1)).mean() < 1
    found = calibrate(softmax(2 * logits, axis=1), targets, seed=0)
    assert 1.4 < found.fitted < 2.6
    assert found.temperature == found.fitted


def test_losses__of_two_images_by_hand() -> None:
    probabilities, targets = np.array([[0.2, 0.8], [0.9, 0.1]]), np.array([1, 1])
    assert losses(probabilities, targets, 1.0) == pytest.approx([-math.log(0.8), -math.log(0.1)])
    # Halving logits takes the square root of the odds: 4 becomes 2, and 1/9 becomes 1/3.
    assert losses(probabilities, targets, 2.0) == pytest.approx([-math.log(2 / 3), -math.log(1 / 4)])


@pytest.mark.parametrize("classes", [2, 4])
def test_losses__mean_is_the_log_loss_of_scikit_learn(classes: int) -> None:
    targets, probabilities = draw(classes, 200, 3.0)
    for temperature in (0.5, 1.0, 3.0):
        expected = log_loss(targets, scale_temperature(probabilities, temperature), labels=range(classes))
        assert losses(probabilities, targets, temperature).mean() == pytest.approx(expected, rel=1e-12)


def test_losses__of_a_wrong_certainty_is_finite() -> None:
    assert np.isfinite(losses(np.array([[1.0, 0.0]]), np.array([1]), 0.1)).all()


def test_scale_temperature__of_1_changes_nothing() -> None:
    _, probabilities = draw(3, 20, 1.0)
    np.testing.assert_array_equal(scale_temperature(probabilities, 1.0), probabilities)
    np.testing.assert_allclose(scale_temperature(probabilities, 1.0 + 1e-12), probabilities, rtol=1e-9)


@given(st.integers(0, 100), st.integers(2, 6), st.floats(LOWEST, HIGHEST))
def test_scale_temperature__gives_probabilities_in_the_same_order(seed: int, classes: int, temperature: float) -> None:
    # Apart from each other by more than what a very high or low temperature rounds away.
    ranks = np.random.default_rng(seed).permuted(np.tile(np.arange(1.0, classes + 1), (20, 1)), axis=1)
    probabilities = ranks / ranks.sum(axis=1, keepdims=True)
    calibrated = scale_temperature(probabilities, temperature)
    assert calibrated.sum(axis=1) == pytest.approx(1)
    np.testing.assert_array_equal(calibrated.argmax(axis=1), probabilities.argmax(axis=1))
    np.testing.assert_array_equal(np.sign(np.diff(calibrated, axis=1)), np.sign(np.diff(probabilities, axis=1)))
    # A high temperature brings all classes nearer to each other.
    assert (np.sign(calibrated.max(axis=1) - probabilities.max(axis=1)) == np.sign(1 - temperature)).all() or abs(
        temperature - 1
    ) < 1e-6


@pytest.mark.parametrize("seed", range(40))
def test_calibrate__a_temperature_is_kept_only_if_the_held_out_folds_gain(seed: int) -> None:
    targets, probabilities = draw(2, 60, 1.0, seed)
    found = calibrate(probabilities, targets, seed)
    assert found.loss_before == pytest.approx(log_loss(targets, probabilities, labels=[0, 1]))
    assert found.temperature == (found.fitted if found.loss_after < found.loss_before else 1.0)
    assert ("no temperature" in found.reason) == (found.temperature == 1.0)
    assert f"from {found.loss_before:.4f} to {found.loss_after:.4f}" in found.reason


def test_calibrate__small_samples_that_are_calibrated_are_mostly_left_alone() -> None:
    found = [calibrate(*reversed(draw(2, 60, 1.0, seed)), seed=seed).temperature for seed in range(60)]
    assert sum(temperature == 1.0 for temperature in found) > 0.6 * len(found)


def test_calibrate__the_seed_alone_decides_about_the_folds() -> None:
    targets, probabilities = draw(3, 90, 1.3)
    assert calibrate(probabilities, targets, 4) == calibrate(probabilities, targets, 4)
    assert calibrate(probabilities, targets, 4).loss_after != calibrate(probabilities, targets, 5).loss_after


@pytest.mark.parametrize("targets", [[0], [1], [0, 0, 0, 0], [0, 1], [0, 0, 0, 1], [0, 0, 0, 1, 1, 1, 2]])
def test_calibrate__of_too_few_images_changes_nothing(targets: list[int]) -> None:
    _, probabilities = draw(max(2, max(targets) + 1), len(targets), 3.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = calibrate(probabilities, np.array(targets), seed=0)
    assert found.temperature == 1.0
    assert "too few" in found.reason
    assert found.loss_after == found.loss_before
    assert LOWEST <= found.fitted <= HIGHEST


@pytest.mark.parametrize("each", [(1, 20, 20), (4, 5, 20), (4, 4, 2), (5, 5, 5)])
def test_calibrate__classes_with_fewer_images_than_folds_do_not_stop_it(each: tuple[int, ...]) -> None:
    targets = np.repeat([0, 1, 2], each)
    probabilities = np.full((len(targets), 3), 0.05) + 0.85 * np.eye(3)[np.random.default_rng(0).integers(0, 3, len(targets))]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = calibrate(probabilities, targets, seed=0)
    # Random answers that are sure of themselves: the temperature rises on every fold.
    assert found.temperature > 2


def test_reliability__of_five_images_by_hand() -> None:
    scores = np.array([0.0, 0.05, 0.52, 0.51, 1.0])
    right = np.array([False, True, True, False, True])
    assert reliability(scores, right) == (
        ReliabilityBin(2, pytest.approx(0.025), 0.5),
        ReliabilityBin(2, pytest.approx(0.515), 0.5),
        ReliabilityBin(1, 1.0, 1.0),
    )


@given(st.integers(0, 100), st.integers(1, 300))
def test_reliability__bins_hold_every_image_once(seed: int, images: int) -> None:
    random = np.random.default_rng(seed)
    scores = random.random(images)
    right = random.random(images) < 0.5
    rows = reliability(scores, right)
    assert sum(row.images for row in rows) == images
    assert sum(row.images * row.share for row in rows) == pytest.approx(right.sum())
    assert sum(row.images * row.mean_probability for row in rows) == pytest.approx(scores.sum())
    edges = [math.floor(row.mean_probability * BINS) for row in rows]
    assert edges == sorted(set(edges))
