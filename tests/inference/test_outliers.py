"""Distances to the training images' features: by brute force, with a limit from validation images, kept in the run."""

import dataclasses
import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from diptych.errors import CheckpointError
from diptych.inference.outliers import (
    REFERENCES,
    Outliers,
    fit_outliers,
    normalise,
    pick_references,
    read_outliers,
    write_outliers,
)
from diptych.storage.arrays import read_arrays
from diptych.storage.run_dir import RunDir

Features = NDArray[np.float32]


def cloud(count: int, middle: float = 1.0, seed: int = 0, channels: int = 6) -> Features:
    """Features around (middle, 1, 1, …), not below 0, as after a rectifier."""
    random = np.random.default_rng(seed)
    features = random.normal(1, 0.3, (count, channels))
    features[:, 0] += middle - 1
    return np.maximum(features, 0).astype(np.float32)


def by_brute_force(references: Features, features: Features, neighbour: int) -> NDArray[np.float64]:
    """The distance to the k-th nearest reference, both brought to length 1."""
    first, second = (
        rows.astype(float) / np.linalg.norm(rows.astype(float), axis=1, keepdims=True) for rows in (features, references)
    )
    return np.sort(cdist(first, second), axis=1)[:, neighbour - 1]


def test_scores__of_four_references_by_hand() -> None:
    references = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]], np.float32)
    features = np.array([[5, 0], [1, 1]], np.float32)
    near = np.sqrt(2 - np.sqrt(2))
    for neighbour, expected in ((1, [0, near]), (2, [np.sqrt(2), near]), (4, [2, np.sqrt(2 + np.sqrt(2))])):
        found = Outliers(references, neighbour, 0.0, "", 0).scores(features)
        assert found == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(("count", "neighbour"), [(3, 1), (99, 1), (149, 1), (151, 2), (400, 4)])
def test_scores__are_the_distance_to_the_kth_neighbour(count: int, neighbour: int) -> None:
    training, others = cloud(count), cloud(40, 1.4, seed=1)
    found = fit_outliers(training, cloud(50, seed=2), "", 32)
    assert found.neighbour == neighbour
    np.testing.assert_allclose(found.scores(others), by_brute_force(training, others, neighbour), atol=2e-3)
    assert found.scores(others).dtype == np.float64


def test_scores__do_not_depend_on_the_length_of_the_features() -> None:
    found = fit_outliers(cloud(100), cloud(20, seed=1), "", 32)
    others = cloud(10, seed=2)
    np.testing.assert_allclose(found.scores(others), found.scores(1000 * others), atol=1e-4)


def test_scores__of_no_images() -> None:
    assert fit_outliers(cloud(10), cloud(5, seed=1), "", 32).scores(np.zeros((0, 6), np.float32)).shape == (0,)


@pytest.mark.parametrize(("images", "above"), [(59, 2), (100, 4), (1000, 49)])
def test_fit_outliers__flags_at_most_one_in_twenty_validation_images(images: int, above: int) -> None:
    validation = cloud(images, seed=1)
    found = fit_outliers(cloud(300), validation, "w", 32)
    assert found.limit is not None
    assert (found.scores(validation) > found.limit).sum() == above
    assert found.made_for == ("w", 32)


@pytest.mark.parametrize(("images", "groups"), [(1, None), (42, None), (58, None), (1000, 58)])
def test_fit_outliers__of_few_validation_images_or_groups_has_no_limit(images: int, groups: int | None) -> None:
    found = fit_outliers(cloud(300), cloud(images, seed=1), "w", 32, groups)
    assert (found.limit, found.expected, found.clusters) == (None, None, groups or images)


def test_fit_outliers__flags_5_of_100_like_ones_on_average_and_as_many_as_it_says() -> None:
    shares, inside = [], 0
    for seed in range(30):
        found = fit_outliers(cloud(200), cloud(80, seed=3 * seed + 1), "", 32)
        shares.append(float((found.scores(cloud(1000, seed=3 * seed + 2)) > (found.limit or 0)).mean()))
        low, high = found.expected or [1, 0]
        inside += low <= shares[-1] <= high
    # The shares have a standard deviation of 2.4 %, their mean one of 0.5 %.
    assert 0.03 < np.mean(shares) < 0.065
    assert inside >= 24


def test_read_outliers__that_do_not_say_what_the_limit_rests_on_are_made_anew(tmp_path: Path) -> None:
    written = dataclasses.replace(fit_outliers(cloud(300), cloud(60, seed=1), "w", 32), clusters=0)
    write_outliers(RunDir(tmp_path), written)
    # The name that the file has for the clusters since runs have it.
    assert read_arrays(RunDir(tmp_path).outliers, "outliers")[0]["units"] == 0
    found = read_outliers(RunDir(tmp_path))
    assert found is not None
    assert found.made_for != ("w", 32)


def test_fit_outliers__flags_what_is_far_and_little_of_what_is_alike() -> None:
    found = fit_outliers(cloud(500), cloud(500, seed=1), "", 32)
    assert (found.scores(cloud(200, 6.0, seed=2)) > found.limit).all()
    assert 0.01 < (found.scores(cloud(1000, seed=3)) > found.limit).mean() < 0.1


def test_normalise__gives_length_1_and_lets_zeros_be() -> None:
    features = np.array([[3, 4], [0, 0], [1e-3, 0]], np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = normalise(features)
    np.testing.assert_allclose(found, [[0.6, 0.8], [0, 0], [1, 0]], rtol=1e-6)
    assert found.dtype == np.float32


def test_fit_outliers__of_features_that_are_all_zero() -> None:
    zeros = np.zeros((20, 4), np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = fit_outliers(zeros, np.zeros((60, 4), np.float32), "", 32)
    assert found.limit == 0
    assert not (found.scores(zeros) > found.limit).any()
    assert (found.scores(np.ones((3, 4), np.float32)) > found.limit).all()


def test_pick_references__takes_all_of_few_and_some_of_many() -> None:
    few, many = np.arange(5, 5 + REFERENCES), np.arange(7, 7 + 3 * REFERENCES)
    np.testing.assert_array_equal(pick_references(few, 0), few)
    found = pick_references(many, 0)
    assert len(np.unique(found)) == REFERENCES
    assert set(found) <= set(many)
    assert (np.diff(found) > 0).all()
    np.testing.assert_array_equal(found, pick_references(many, 0))
    assert (found != pick_references(many, 1)).any()
    # From all over, not from the beginning.
    assert abs(found.mean() - many.mean()) < REFERENCES / 10


def test_write_outliers__is_read_back_and_gives_the_very_same_scores(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    assert read_outliers(run) is None
    written = fit_outliers(cloud(300, channels=64), cloud(60, seed=1, channels=64), "ab" * 32, 224)
    write_outliers(run, written)
    found = read_outliers(run)
    assert found is not None
    assert (found.neighbour, found.limit, found.made_for) == (written.neighbour, written.limit, ("ab" * 32, 224))
    others = cloud(500, 1.3, seed=2, channels=64)
    # Or the first evaluate would flag other images than the next one, and than predict.
    np.testing.assert_array_equal(found.scores(others), written.scores(others))
    assert run.outliers.stat().st_size < 2.1 * 300 * 64 + 1000


def test_write_outliers__half_precision_moves_no_score_by_much(tmp_path: Path) -> None:
    run, training, others = RunDir(tmp_path), cloud(300, channels=64), cloud(500, 1.3, seed=2, channels=64)
    write_outliers(run, fit_outliers(training, cloud(60, seed=1, channels=64), "", 224))
    found = read_outliers(run)
    assert found is not None
    np.testing.assert_allclose(found.scores(others), by_brute_force(training, others, found.neighbour), atol=2e-3)


def test_read_outliers__of_a_damaged_file(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    write_outliers(run, fit_outliers(cloud(30), cloud(20, seed=1), "", 32))
    content = bytearray(run.outliers.read_bytes())
    content[-1] ^= 1
    run.outliers.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"outliers\.safetensors is damaged"):
        read_outliers(run)
