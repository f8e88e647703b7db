"""Figures under weights, against scikit-learn with the same sample weights, and by hand."""

import warnings

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics

from diptych.metrics.weighted import BINS, Answers


def draw(classes: int, images: int, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Targets that hold each class, probabilities with ties among them, and three rows of whole weights, the first all 1."""
    random = np.random.default_rng(seed)
    targets = random.integers(0, classes, images)
    targets[:classes] = range(classes)
    shares = (random.dirichlet(np.ones(classes), images) + np.eye(classes)[targets] * random.random((images, 1))).round(1) + 0.05
    weights = random.integers(0, 4, (3, images)).astype(float)
    weights[0], weights[:, :classes] = 1, 1
    return targets, shares / shares.sum(axis=1, keepdims=True), weights


def of_scikit_learn(
    targets: NDArray[np.int64], shares: NDArray[np.float64], predicted: NDArray[np.int64], weights: NDArray[np.float64]
) -> dict[str, float]:
    classes, weighed = shares.shape[1], {"sample_weight": weights}
    mean = {"average": "binary" if classes == 2 else "macro", "zero_division": 0.0, **weighed}
    found = {
        "accuracy": metrics.accuracy_score(targets, predicted, **weighed),
        "loss": metrics.log_loss(targets, shares, labels=range(classes), **weighed),
        "balanced_accuracy": metrics.balanced_accuracy_score(targets, predicted, **weighed),
        "precision": metrics.precision_score(targets, predicted, **mean),
        "recall": metrics.recall_score(targets, predicted, **mean),
        "f1": metrics.f1_score(targets, predicted, **mean),
        "mcc": metrics.matthews_corrcoef(targets, predicted, **weighed),
    }
    if classes == 2:
        found["roc_auc"] = metrics.roc_auc_score(targets, shares[:, 1], **weighed)
        found["average_precision"] = metrics.average_precision_score(targets, shares[:, 1], **weighed)
        found["brier"] = metrics.brier_score_loss(targets, shares[:, 1], **weighed)
        found["specificity"] = metrics.recall_score(targets, predicted, pos_label=0, **weighed)
        return found
    kinds = [targets == k for k in range(classes)]
    found["roc_auc"] = np.mean([metrics.roc_auc_score(kind, shares[:, k], **weighed) for k, kind in enumerate(kinds)])
    found["average_precision"] = np.mean(
        [metrics.average_precision_score(kind, shares[:, k], **weighed) for k, kind in enumerate(kinds)]
    )
    found["brier"] = (weights @ ((shares - np.eye(classes)[targets]) ** 2).sum(axis=1)) / weights.sum()
    return found


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("images", [8, 300])
@pytest.mark.parametrize("seed", range(3))
def test_figures__equal_those_of_scikit_learn(classes: int, images: int, seed: int) -> None:
    targets, shares, weights = draw(classes, images, seed)
    predicted = shares.argmax(axis=1)
    found = Answers(targets, shares, predicted).figures(weights)
    for row, weighed in enumerate(weights):
        for name, value in of_scikit_learn(targets, shares, predicted, weighed).items():
            assert found[name][row] == pytest.approx(value, abs=1e-9), name


@pytest.mark.parametrize("classes", [2, 4])
def test_figures__of_whole_weights_are_those_of_repeated_images(classes: int) -> None:
    targets, shares, weights = draw(classes, 40)
    predicted = shares.argmax(axis=1)
    weighed = Answers(targets, shares, predicted).figures(weights)
    for row, times in enumerate(weights.astype(int)):
        rows = np.repeat(np.arange(40), times)
        plain = Answers(targets[rows], shares[rows], predicted[rows]).figures(np.ones((1, len(rows))))
        for name, values in plain.items():
            assert weighed[name][row] == pytest.approx(values[0], abs=1e-9, nan_ok=True), name


def test_ece__by_hand() -> None:
    # Bins of a fifteenth: 0.62 and 0.65 are in [9/15, 10/15), 0.1 is in [1/15, 2/15), 1.0 in the last.
    shares = np.array([0.62, 0.65, 0.1, 1.0])
    found = Answers(np.array([1, 0, 0, 1]), np.stack([1 - shares, shares], axis=1), np.array([1, 1, 0, 1]))
    gaps = [abs(0.62 + 0.65 - 1), 0.1, 0]
    assert BINS == 15
    assert found.figures(np.ones((1, 4)))["ece"][0] == pytest.approx(sum(gaps) / 4)


def test_ece__of_more_classes_is_of_the_predicted_one() -> None:
    shares = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    found = Answers(np.array([0, 1]), shares, np.array([0, 2])).figures(np.ones((1, 2)))
    assert found["ece"][0] == pytest.approx((0.3 + 0.6) / 2)


@pytest.mark.parametrize("targets", [[0], [1], [0, 0], [1, 1, 1]])
def test_figures__of_one_class_are_defined_or_nan_without_warning(targets: list[int]) -> None:
    shares = np.tile([0.4, 0.6], (len(targets), 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = Answers(np.array(targets), shares, np.ones(len(targets), int)).figures(np.ones((2, len(targets))))
    assert np.isnan(found["roc_auc"]).all()
    assert (found["accuracy"] == np.mean(targets)).all()
    assert np.isnan(found["recall"]).all() == (targets[0] == 0)
    assert (found["mcc"] == 0).all()


def test_figures__of_equal_scores_know_nothing() -> None:
    targets = np.array([0, 1, 1, 0, 1])
    found = Answers(targets, np.full((5, 2), 0.5), np.ones(5, int)).figures(np.ones((1, 5)))
    assert found["roc_auc"][0] == 0.5
    assert found["average_precision"][0] == pytest.approx(3 / 5)
