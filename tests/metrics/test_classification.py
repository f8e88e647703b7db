"""The test figures, against scikit-learn and by hand."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoring import metrics_of
from sklearn import metrics

from diptych.errors import CheckpointError
from diptych.evaluation.report import read_report
from diptych.evaluation.summary import compare_with_baseline
from diptych.metrics.classification import Baseline


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("threshold", [0.3, 0.5])
def test_metrics__equal_those_of_scikit_learn(seed, threshold):
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, 2, 200)
    probabilities = generator.uniform(0, 1, 200).astype(np.float32)
    predicted = (probabilities >= threshold).astype(int)
    figures = metrics_of(targets, probabilities, threshold)
    assert figures["test_images"] == 200
    assert figures["test_accuracy"] == metrics.accuracy_score(targets, predicted)
    assert figures["precision"] == pytest.approx(metrics.precision_score(targets, predicted))
    assert figures["recall"] == pytest.approx(metrics.recall_score(targets, predicted))
    assert figures["f1"] == pytest.approx(metrics.f1_score(targets, predicted))
    assert figures["roc_auc"] == pytest.approx(metrics.roc_auc_score(targets, probabilities))
    assert figures["confusion_matrix"] == metrics.confusion_matrix(targets, predicted).tolist()
    losses = -np.log(np.where(targets == 1, probabilities, 1 - probabilities), dtype=np.float64)
    assert figures["test_loss"] == pytest.approx(losses.mean(), rel=1e-5)


def test_metrics__of_five_images_by_hand():
    figures = metrics_of(np.array([0, 0, 1, 1, 1]), np.array([0.1, 0.7, 0.4, 0.8, 0.9], np.float32), 0.5)
    assert figures["confusion_matrix"] == [[1, 1], [1, 2]]
    assert figures["test_accuracy"] == pytest.approx(3 / 5)
    assert figures["precision"] == pytest.approx(2 / 3)
    assert figures["recall"] == pytest.approx(2 / 3)
    assert figures["f1"] == pytest.approx(2 / 3)
    # Of the six pairs of a 0 and a 1, the one of 0.7 and 0.4 stands the wrong way round.
    assert figures["roc_auc"] == pytest.approx(5 / 6)
    assert figures["test_loss"] == pytest.approx(-sum(map(math.log, (0.9, 0.3, 0.4, 0.8, 0.9))) / 5, rel=1e-6)


@pytest.mark.parametrize(("correct", "images"), [(8, 10), (0, 10), (10, 10), (349, 394)])
def test_interval__is_the_one_of_wilson(correct, images):
    targets = np.ones(images, int)
    probabilities = np.where(np.arange(images) < correct, 0.9, 0.1).astype(np.float32)
    share, z = correct / images, 1.959964
    middle = (share + z**2 / (2 * images)) / (1 + z**2 / images)
    reach = z / (1 + z**2 / images) * math.sqrt(share * (1 - share) / images + z**2 / (4 * images**2))
    interval = metrics_of(targets, probabilities, 0.5)["test_accuracy_interval"]
    assert interval == pytest.approx([middle - reach, middle + reach], abs=1e-6)


def test_threshold__itself_is_class_1():
    assert metrics_of(np.array([1, 0]), np.array([0.5, 0.4999], np.float32), 0.5)["test_accuracy"] == 1


@pytest.mark.parametrize("target", [0, 1])
def test_one_class_only__has_no_roc_auc_and_figures_else(target):
    figures = metrics_of(np.full(4, target), np.array([0.2, 0.4, 0.6, 0.9], np.float32), 0.5)
    assert figures["roc_auc"] is None
    assert figures["confusion_matrix"][target] == [2, 2]
    assert figures["test_accuracy"] == 0.5
    assert figures["recall"] == (0.5 if target else None)
    assert figures["specificity"] == (None if target else 0.5)
    assert (figures["precision"], figures["mcc"]) == (target, 0)
    assert figures["intervals"]["roc_auc"] is None


def test_all_wrong_and_sure__gives_finite_figures():
    figures = metrics_of(np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0], np.float32), 0.5)
    assert (figures["test_accuracy"], figures["precision"], figures["recall"], figures["f1"]) == (0, 0, 0, 0)
    assert figures["roc_auc"] == 0
    assert figures["confusion_matrix"] == [[0, 2], [2, 0]]
    assert 10 < figures["test_loss"] < math.inf


def test_nothing_predicted__has_no_precision():
    figures = metrics_of(np.array([0, 1]), np.array([0.1, 0.2], np.float32), 0.5)
    assert (figures["precision"], figures["recall"], figures["f1"]) == (None, 0, 0)
    assert (figures["intervals"]["precision"], figures["no_interval"]["precision"]) == (None, "not_defined")


@pytest.mark.parametrize(
    ("zeros", "found", "left", "better", "one"),
    [(89, 0, 89, False, True), (89, 3, 88, False, False), (89, 11, 88, True, False), (50, 30, 40, True, False)],
)
def test_baseline__is_the_most_frequent_class(zeros, found, left, better, one):
    """Of 100 images, `zeros` are of class 0; `found` of class 1 and `left` of class 0 are classified correctly."""
    targets = np.repeat([0, 1], [zeros, 100 - zeros])
    ones = np.concatenate([np.arange(zeros) >= left, np.arange(100 - zeros) < found])
    baseline = metrics_of(targets, np.where(ones, 0.8, 0.2), class_names=("no", "yes"))["baseline"]
    assert baseline == {"class": "no", "accuracy": zeros / 100, "better": better, "one_answer": one}


@pytest.mark.parametrize(
    ("right", "said"),
    [(0.88, ["no better than always answering no (89.0%)"]), (0.91, ["not shown to be better than always answering no (89.0%)"])],
)
def test_baseline__a_higher_accuracy_is_not_called_no_better(right: float, said: list[str]) -> None:
    assert compare_with_baseline(Baseline("no", 0.89, better=False, one_answer=False), right, classes=2) == said


def draw(seed: int, images: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Targets, and probabilities (N, K) float32 that are right more often than not."""
    generator = np.random.default_rng(seed)
    targets = np.arange(images) % classes
    scores = np.exp(generator.normal(size=(images, classes)) + 1.5 * np.eye(classes)[targets])
    return targets, (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)


def names_of(classes: int) -> tuple[str, ...]:
    return tuple(f"class {number}" for number in range(classes))


@pytest.mark.parametrize(("seed", "images", "classes"), [(0, 200, 3), (1, 500, 12), (2, 3000, 1000)])
def test_many_classes__have_the_figures_of_scikit_learn(seed, images, classes):
    targets, probabilities = draw(seed, images, classes)
    predicted = probabilities.argmax(axis=1)
    figures = metrics_of(targets, probabilities, 0.5, names_of(classes))
    assert figures["class_names"] == list(names_of(classes))
    assert figures["test_accuracy"] == metrics.accuracy_score(targets, predicted)
    mean = {"average": "macro", "zero_division": 0.0}
    assert figures["precision"] == pytest.approx(metrics.precision_score(targets, predicted, **mean))
    assert figures["recall"] == pytest.approx(metrics.recall_score(targets, predicted, **mean))
    assert figures["recall"] == pytest.approx(metrics.balanced_accuracy_score(targets, predicted))
    assert figures["f1"] == pytest.approx(metrics.f1_score(targets, predicted, **mean))
    whole = probabilities.astype(np.float64) / probabilities.sum(axis=1, keepdims=True, dtype=np.float64)
    assert figures["roc_auc"] == pytest.approx(metrics.roc_auc_score(targets, whole, multi_class="ovr"))
    assert figures["confusion_matrix"] == metrics.confusion_matrix(targets, predicted).tolist()
    assert figures["test_loss"] == pytest.approx(-np.log(probabilities[np.arange(images), targets]).mean(), rel=1e-5)


def test_many_classes__have_figures_of_each():
    classes = 4
    targets, probabilities = draw(5, 60, classes)
    predicted = probabilities.argmax(axis=1)
    report = metrics.classification_report(targets, predicted, output_dict=True, zero_division=0.0)
    rows = metrics_of(targets, probabilities, 0.5, names_of(classes))["per_class"]
    assert [row["class_name"] for row in rows] == list(names_of(classes))
    for target, row in enumerate(rows):
        expected = report[str(target)]
        assert [row[name] for name in ("precision", "recall", "f1", "test_images")] == pytest.approx(
            [expected[name] for name in ("precision", "recall", "f1-score", "support")]
        )
        assert row["roc_auc"] == pytest.approx(metrics.roc_auc_score(targets == target, probabilities[:, target]))


def test_three_classes__of_four_images_by_hand():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.3, 0.4, 0.3], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]], np.float32)
    figures = metrics_of(np.array([0, 0, 1, 2]), probabilities, 0.5, ("a", "b", "c"))
    assert figures["confusion_matrix"] == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert figures["test_accuracy"] == 3 / 4
    assert [row["precision"] for row in figures["per_class"]] == [1, 1 / 2, 1]
    assert [row["recall"] for row in figures["per_class"]] == [1 / 2, 1, 1]
    assert figures["recall"] == pytest.approx(5 / 6)
    assert figures["test_loss"] == pytest.approx(-sum(map(math.log, (0.7, 0.3, 0.8, 0.6))) / 4, rel=1e-6)
    assert "threshold" not in figures


@given(st.integers(0, 2**32), st.integers(3, 6), st.integers(1, 30), st.data())
def test_absent_classes__shift_no_figure(seed, classes, images, data):
    """A class that no image has, and that the network rules out, may stand at any place among the others."""
    targets, probabilities = draw(seed, images, classes)
    place = data.draw(st.integers(0, classes))
    kept = [number for number in range(classes + 1) if number != place]
    figures = metrics_of(targets, probabilities, 0.5, names_of(classes))
    wider = np.insert(probabilities, place, 0, axis=1)
    more = metrics_of(np.array(kept)[targets], wider, 0.5, names_of(classes + 1))
    for name, value in figures.items():
        if isinstance(value, int | float | None):
            assert more[name] == pytest.approx(value)
    matrix = np.array(more["confusion_matrix"])
    assert matrix[np.ix_(kept, kept)].tolist() == figures["confusion_matrix"]
    assert matrix.sum() == images
    for number, row in zip(kept, figures["per_class"], strict=True):
        found = {**more["per_class"][number], "class_name": row["class_name"]}
        assert found.pop("no_interval") == row.pop("no_interval")
        ends, own = ({name: value or [] for name, value in rows.pop("intervals").items()} for rows in (found, row))
        assert ends.keys() == own.keys()
        assert all(ends[name] == pytest.approx(own[name]) for name in ends)
        assert found == pytest.approx(row)
    assert more["per_class"][place]["test_images"] == 0
    assert more["per_class"][place]["roc_auc"] is None


def test_absent_class__that_is_predicted_counts_against_the_others():
    probabilities = np.array([[0.1, 0.8, 0.1], [0.8, 0.1, 0.1], [0.1, 0.1, 0.8]], np.float32)
    figures = metrics_of(np.array([0, 0, 2]), probabilities, 0.5, ("a", "b", "c"))
    assert figures["recall"] == pytest.approx((1 / 2 + 1) / 2)
    assert figures["precision"] == 1
    assert figures["per_class"][1]["precision"] == 0
    # Of class 0 against the rest, one of the two pairs is a tie.
    assert figures["roc_auc"] == pytest.approx((3 / 4 + 1) / 2)


def test_one_of_many_classes_only__has_no_roc_auc():
    figures = metrics_of(np.array([1, 1]), draw(0, 2, 3)[1], 0.5, ("a", "b", "c"))
    assert figures["roc_auc"] is None
    assert len(figures["confusion_matrix"]) == 3


def test_sure_and_wrong__of_three_classes_gives_a_finite_loss():
    figures = metrics_of(np.array([0, 1]), np.array([[0, 1, 0], [0, 0, 1]], np.float32), 0.5, ("a", "b", "c"))
    assert 10 < figures["test_loss"] < math.inf
    assert (figures["test_accuracy"], figures["f1"]) == (0, 0)


def test_figures__are_json():
    for targets, probabilities, names in ((*draw(0, 9, 3), "abc"), (np.array([0, 1]), np.array([0.2, 0.6], np.float32), "ab")):
        figures = metrics_of(targets, probabilities, 0.5, tuple(names))
        assert json.loads(json.dumps(figures, allow_nan=False)) == figures


def test_read__without_an_evaluation(run):
    assert read_report(run) is None


def test_read__gives_what_was_written(tested):
    assert read_report(tested).metrics.test_images == 80


def test_read__of_a_damaged_file(run):
    run.metrics.parent.mkdir()
    run.metrics.write_text('{"test_loss": ')
    with pytest.raises(CheckpointError, match=r"metrics\.json"):
        read_report(run)
