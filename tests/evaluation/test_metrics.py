"""The test figures, against scikit-learn and by hand."""

import math

import numpy as np
import pytest
from sklearn import metrics

from diptych.errors import CheckpointError
from diptych.evaluation.metrics import compute_metrics, read_metrics


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("threshold", [0.3, 0.5])
def test_metrics__equal_those_of_scikit_learn(seed, threshold):
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, 2, 200)
    probabilities = generator.uniform(0, 1, 200).astype(np.float32)
    predicted = (probabilities >= threshold).astype(int)
    figures = compute_metrics(targets, probabilities, threshold)
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
    figures = compute_metrics(np.array([0, 0, 1, 1, 1]), np.array([0.1, 0.7, 0.4, 0.8, 0.9], np.float32), 0.5)
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
    interval = compute_metrics(targets, probabilities, 0.5)["test_accuracy_interval"]
    assert interval == pytest.approx([middle - reach, middle + reach], abs=1e-6)


def test_threshold__itself_is_class_1():
    assert compute_metrics(np.array([1, 0]), np.array([0.5, 0.4999], np.float32), 0.5)["test_accuracy"] == 1


@pytest.mark.parametrize("target", [0, 1])
def test_one_class_only__has_no_roc_auc_and_figures_else(target):
    figures = compute_metrics(np.full(4, target), np.array([0.2, 0.4, 0.6, 0.9], np.float32), 0.5)
    assert figures["roc_auc"] is None
    assert figures["confusion_matrix"][target] == [2, 2]
    assert figures["test_accuracy"] == 0.5
    assert figures["recall"] == (0.5 if target else 0)


def test_all_wrong_and_sure__gives_finite_figures():
    figures = compute_metrics(np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0], np.float32), 0.5)
    assert (figures["test_accuracy"], figures["precision"], figures["recall"], figures["f1"]) == (0, 0, 0, 0)
    assert figures["roc_auc"] == 0
    assert figures["confusion_matrix"] == [[0, 2], [2, 0]]
    assert 10 < figures["test_loss"] < math.inf


def test_nothing_predicted__gives_a_precision_of_0():
    figures = compute_metrics(np.array([0, 1]), np.array([0.1, 0.2], np.float32), 0.5)
    assert (figures["precision"], figures["recall"], figures["f1"]) == (0, 0, 0)


def test_read__without_an_evaluation(run):
    assert read_metrics(run) is None


def test_read__gives_what_was_written(tested):
    assert read_metrics(tested)["test_images"] == 80


def test_read__of_a_damaged_file(run):
    run.metrics.parent.mkdir()
    run.metrics.write_text('{"test_loss": ')
    with pytest.raises(CheckpointError, match=r"metrics\.json"):
        read_metrics(run)
