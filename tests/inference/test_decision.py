"""From probabilities to answers, how the run keeps that, and what is said of a damaged file."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from diptych.errors import CheckpointError, ConfigError
from diptych.inference.calibration import calibrate
from diptych.inference.choosing import check_rules, choose_decision
from diptych.inference.decision import (
    Calibration,
    Decision,
    Rules,
    certainty,
    hash_of_weights,
    read_decision,
    scale_temperature,
    write_decision,
)
from diptych.inference.thresholds import choose_threshold
from diptych.storage.atomic import sha256, write_text
from diptych.storage.run_dir import RunDir

TWO = np.array([[0.9, 0.1], [0.7, 0.3], [0.6, 0.4], [0.45, 0.55], [0.1, 0.9]])
THREE = np.array([[0.5, 0.3, 0.2], [0.1, 0.3, 0.6], [0.4, 0.4, 0.2], [0.05, 0.9, 0.05]])


def draw(classes: int, images: int, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Targets and probabilities that are right more often than not, and too sure."""
    random = np.random.default_rng(seed)
    targets = random.integers(0, classes, images)
    logits = random.normal(0, 2, (images, classes)) + 2 * np.eye(classes)[targets]
    return targets, scale_temperature(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), 0.5)


def test_predicted__of_two_classes_is_1_from_the_threshold_on() -> None:
    assert Decision(threshold=0.4).predicted(TWO).tolist() == [0, 0, 1, 1, 1]
    assert Decision().predicted(TWO).tolist() == [0, 0, 0, 1, 1]


def test_predicted__of_three_classes_is_the_most_probable_whatever_the_threshold() -> None:
    assert Decision(threshold=0.99).predicted(THREE).tolist() == [0, 2, 0, 1]


def test_answered__of_two_classes_is_outside_of_the_range() -> None:
    assert Decision(abstain=(0.3, 0.55)).answered(TWO).tolist() == [True, False, False, True, True]
    assert Decision(abstain=(0.4, 0.4)).answered(TWO).all()


def test_answered__of_three_classes_is_from_a_probability_on() -> None:
    assert Decision(abstain=(0.0, 0.6)).answered(THREE).tolist() == [False, True, False, True]
    assert Decision().answered(THREE).all()


def test_sets__hold_the_classes_from_the_limit_on() -> None:
    assert Decision(set_limit=0.4).sets(TWO).tolist() == [[1, 0], [1, 0], [1, 1], [1, 1], [0, 1]]
    assert Decision(set_limit=0.3).sets(THREE).tolist() == [[1, 1, 0], [0, 1, 1], [1, 1, 0], [0, 1, 0]]
    assert Decision().sets(THREE).all()


def test_sets__always_hold_the_predicted_class() -> None:
    assert Decision(set_limit=0.7).sets(THREE).tolist() == [[1, 0, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0]]
    assert Decision(set_limit=0.8, threshold=0.35).sets(TWO).tolist() == [[1, 0], [1, 0], [0, 1], [0, 1], [0, 1]]


def test_calibrated__divides_the_logits() -> None:
    halved = Decision(temperature=2.0).calibrated(TWO)
    np.testing.assert_allclose(np.log(halved[:, 1] / halved[:, 0]), np.log(TWO[:, 1] / TWO[:, 0]) / 2)


def test_certainty__by_hand() -> None:
    assert certainty(TWO, 0.4) == pytest.approx([0.75, 0.25, 0.0, 0.25, 5 / 6])
    assert certainty(THREE, 0.4).tolist() == [0.5, 0.6, 0.4, 0.9]


@pytest.mark.parametrize("threshold", [0.0, 1.0, float(np.nextafter(1, 2))])
def test_certainty__of_a_threshold_at_the_end_is_defined(threshold: float) -> None:
    ones = np.array([0.0, 0.3, 1.0])
    sure = certainty(np.stack([1 - ones, ones], axis=1), threshold)
    assert ((sure >= 0) & (sure <= 1)).all()


def test_choose_decision__is_made_of_its_parts() -> None:
    targets, probabilities = draw(2, 200)
    found = choose_decision(targets, probabilities, "youden", "error:0.1", 0.9, seed=3)
    calibration = calibrate(probabilities, targets, 3)
    assert found.calibration == calibration
    assert found.temperature == calibration.temperature > 1.2
    calibrated = scale_temperature(probabilities, calibration.temperature)
    assert found.threshold == choose_threshold("youden", targets, calibrated[:, 1])
    assert (found.rule, found.abstain_rule, found.coverage, found.validation_images) == ("youden", "error:0.1", 0.9, 200)
    assert (calibrated[np.arange(200), targets] >= found.set_limit).sum() == np.ceil(201 * 0.9)
    assert (found.weights, found.test_size, found.views) == ("", 0, 0)


@given(st.integers(0, 200), st.sampled_from([2, 3, 5]), st.sampled_from(["0.5", "youden", "0.2"]), st.floats(0, 0.5))
def test_choose_decision__of_the_answers_at_most_so_many_are_wrong(seed: int, classes: int, rule: str, share: float) -> None:
    targets, probabilities = draw(classes, 80, seed)
    try:
        found = choose_decision(targets, probabilities, rule if classes == 2 else "0.5", f"error:{share}")
    except ConfigError:
        calibrated = scale_temperature(probabilities, calibrate(probabilities, targets, 0).temperature)
        threshold = choose_threshold(rule, targets, calibrated[:, 1]) if classes == 2 else 0.5
        surest = certainty(calibrated, threshold) == certainty(calibrated, threshold).max()
        assert (Decision(threshold=threshold).predicted(calibrated) != targets)[surest].mean() > share
        return
    calibrated = found.calibrated(probabilities)
    answered = found.answered(calibrated)
    assert answered.any()
    assert (found.predicted(calibrated) != targets)[answered].mean() <= share
    # One image less sure, and there would be too many wrong ones; or all are answered.
    sure = certainty(calibrated, found.threshold)
    assert sure[answered].min() > (sure[~answered].max() if (~answered).any() else -1)


@pytest.mark.parametrize("threshold", [0.05, 0.5, 0.93])
@pytest.mark.parametrize("limit", [0.5, 0.8, 1.0])
def test_choose_decision__an_answer_has_the_least_probability_that_was_given(threshold: float, limit: float) -> None:
    targets, probabilities = draw(2, 300)
    found = choose_decision(targets, probabilities, str(threshold), str(limit))
    calibrated = found.calibrated(probabilities)
    answered, predicted = found.answered(calibrated), found.predicted(calibrated)
    own = calibrated[np.arange(300), predicted]
    np.testing.assert_array_equal(answered, own >= limit - 1e-12)


def test_choose_decision__of_more_classes_an_answer_has_the_least_probability_too() -> None:
    targets, probabilities = draw(4, 100)
    found = choose_decision(targets, probabilities, abstain_rule="0.4")
    calibrated = found.calibrated(probabilities)
    np.testing.assert_array_equal(found.answered(calibrated), calibrated.max(axis=1) >= 0.4)


def test_choose_decision__a_range_is_taken_as_it_is() -> None:
    targets, probabilities = draw(2, 60)
    assert choose_decision(targets, probabilities, abstain_rule="0.25,0.7").abstain == (0.25, 0.7)
    assert choose_decision(targets, probabilities).abstain == (0.0, 0.0)


def test_choose_decision__names_the_flag_where_no_answer_is_left() -> None:
    targets, probabilities = np.array([0, 1, 0, 1]), np.array([[0.1, 0.9], [0.9, 0.1], [0.2, 0.8], [0.8, 0.2]])
    with pytest.raises(ConfigError, match=r"abstain error:0\.1: even the surest validation images .* larger share"):
        choose_decision(targets, probabilities, abstain_rule="error:0.1")


@pytest.mark.parametrize(
    ("rule", "abstain", "coverage", "classes"),
    [
        ("youden", "none", 0.95, 2),
        ("0.5", "none", 0.95, 3),
        ("0.5", "0.2,0.7", 0.5, 2),
        ("0.5", "0.2", 0.5, 3),
        ("0.5", "error:0", 0.5, 1000),
    ],
)
def test_check_rules__lets_good_ones_through(rule: str, abstain: str, coverage: float, classes: int) -> None:
    check_rules(rule, abstain, coverage, classes)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(
    "abstain",
    ["", "never", "error", "error:", "error:1", "error:-0.1", "error:nan", "nan", "1.1", "0.7,0.2", "0.1,0.2,0.3", "a,b"],
)
def test_check_rules__of_a_bad_abstention(abstain: str, classes: int) -> None:
    with pytest.raises(ConfigError, match=r"abstain is .*; expected none, error:SHARE"):
        check_rules("0.5", abstain, 0.95, classes)


@pytest.mark.parametrize(
    ("rule", "abstain", "coverage", "classes", "expected"),
    [
        ("0.4", "none", 0.95, 3, "threshold 0.4 is for two classes; these are 3"),
        ("youden", "none", 0.95, 10, "threshold youden is for two classes"),
        ("0.5", "0.2,0.7", 0.95, 3, "abstain is '0.2,0.7'"),
        ("0.5", "0.4", 0.95, 2, "the least probability of an answer (0.5 to 1)"),
        ("0.5", "none", 0.0, 2, "coverage is 0.0"),
        ("0.5", "none", 1.0, 2, "coverage is 1.0"),
        ("0.5", "none", float("nan"), 2, "coverage is nan"),
    ],
)
def test_check_rules__of_a_rule_that_does_not_fit(rule: str, abstain: str, coverage: float, classes: int, expected: str) -> None:
    with pytest.raises(ConfigError) as raised:
        check_rules(rule, abstain, coverage, classes)
    assert expected in str(raised.value)


@pytest.mark.parametrize("calibration", [None, Calibration(1.0, 0.1 + 0.2, 1 / 3, 2 / 3, "why – because")])
def test_write_decision__is_read_back_bit_for_bit(tmp_path: Path, calibration: Calibration | None) -> None:
    run = RunDir(tmp_path)
    written = Decision(1 / 3, 2 / 7, "cost:1,5", (0.1, 1 / 7), "0.1,0.14", 0.9, 1e-300, calibration, 17, "ab" * 32, 64, 8)
    assert read_decision(run) is None
    write_decision(run, written)
    assert read_decision(run) == written
    assert read_decision(run).made_for == ("ab" * 32, 64, 8, Rules("cost:1,5", "0.1,0.14", 0.9))


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.pop("threshold") and {"format_version": 1},
        lambda content: content | {"unknown": 1},
        lambda content: content | {"abstain": [0.1]},
        lambda content: content | {"abstain": None},
        lambda content: content | {"calibration": {"temperature": 1}},
        lambda content: {name: value for name, value in content.items() if name != "format_version"},
        lambda content: [content],
        list,
    ],
)
def test_read_decision__of_a_damaged_file(tmp_path: Path, change) -> None:
    run = RunDir(tmp_path)
    write_decision(run, Decision())
    write_text(run.decision, json.dumps(change(json.loads(run.decision.read_text()))))
    with pytest.raises(CheckpointError, match=r"decision\.json is damaged: .* run diptych evaluate again"):
        read_decision(run)


def test_read_decision__of_half_a_file(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    write_decision(run, Decision())
    run.decision.write_bytes(run.decision.read_bytes()[:50])
    with pytest.raises(CheckpointError, match="is damaged"):
        read_decision(run)


def test_read_decision__of_another_format(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    write_text(run.decision, json.dumps({"format_version": 2, **dataclasses.asdict(Decision())}))
    with pytest.raises(CheckpointError, match=r"decision\.json: format 2; this version of Diptych reads 1"):
        read_decision(run)


def test_hash_of_weights__is_that_of_the_file(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.best.parent.mkdir()
    run.best.write_bytes(b"weights")
    assert hash_of_weights(run) == sha256(b"weights")
