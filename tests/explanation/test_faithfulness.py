"""Scores of maps: cases by hand, and maps of which it is known what they are worth."""

from itertools import permutations

import cv2
import numpy as np
import pytest
from scipy.stats import spearmanr

from diptych.explanation.faithfulness import area, deletion_insertion, enlarge, pixel_order, randomisation_check


def mean_of(rows: slice = slice(None), columns: slice = slice(None)):
    """A network that sees nothing but how bright a part of the image is."""

    def predict(images):
        seen = images[np.arange(len(images))][:, rows, columns]
        return (seen.mean(axis=(1, 2, 3)) / 255).astype(np.float32)

    return predict


def test_area__is_that_of_trapezoids():
    assert area(np.array([1, 0.5, 0], np.float32)) == pytest.approx(0.5)
    assert area(np.array([1, 0, 0, 0, 1], np.float32)) == pytest.approx(0.25)


def test_deletion_insertion__by_hand():
    grey = np.array([[200, 100], [60, 40]], np.uint8)
    image = np.repeat(grey[..., None], 3, axis=2)
    values = np.array([[0.9, 0.1], [0.2, 0.5]], np.float32)
    (score,) = deletion_insertion(mean_of(), image, [values], steps=4)
    # The mean is 100. Away go 200, then 40, then 60, then 100.
    np.testing.assert_allclose(score.deletion, np.array([100, 75, 90, 100, 100]) / 255, rtol=1e-6)
    assert score.deletion_area == pytest.approx((87.5 + 82.5 + 95 + 100) / 4 / 255)
    blurred = cv2.GaussianBlur(image, (0, 0), 0.2)[..., 0].astype(float)
    steps = [blurred.sum()]
    for place in ((0, 0), (1, 1), (1, 0), (0, 1)):
        steps.append(steps[-1] + grey[place] - blurred[place])
    np.testing.assert_allclose(score.insertion, np.array(steps) / 4 / 255, rtol=1e-6)


@pytest.fixture
def lamp() -> np.ndarray:
    """A dark image with a bright corner, uint8 (40, 40, 3)."""
    image = np.random.default_rng(0).integers(0, 60, (40, 40, 3), np.uint8)
    image[:10, 30:] += 190
    return image


def grid(row: int, column: int) -> np.ndarray:
    values = np.zeros((4, 4), np.float32)
    values[row, column] = 1
    return values


def test_deletion_insertion__tells_the_map_that_knows_from_those_that_do_not(lamp):
    predict = mean_of(slice(0, 10), slice(30, 40))
    right, wrong = deletion_insertion(predict, lamp, [grid(0, 3), -grid(0, 3)])
    assert right.deletion_area < right.chance_deletion - 0.1 < wrong.deletion_area - 0.2
    assert right.insertion_area > right.chance_insertion + 0.05 > wrong.insertion_area + 0.1
    assert (right.chance_deletion, right.chance_insertion) == (wrong.chance_deletion, wrong.chance_insertion)


def test_deletion_insertion__a_random_map_is_as_good_as_chance(lamp):
    predict = mean_of(slice(0, 10), slice(30, 40))
    maps = list(np.random.default_rng(5).normal(size=(60, 4, 4)).astype(np.float32))
    scores = deletion_insertion(predict, lamp, maps, chance_orders=60)
    # The mean of 60 areas whose standard deviation is below 0.3.
    assert np.mean([score.deletion_area for score in scores]) == pytest.approx(scores[0].chance_deletion, abs=0.1)
    assert np.mean([score.insertion_area for score in scores]) == pytest.approx(scores[0].chance_insertion, abs=0.1)


def test_deletion_insertion__begins_and_ends_with_the_image_and_without_it(lamp):
    predict = mean_of()
    (score,) = deletion_insertion(predict, lamp, [grid(1, 1)], steps=7)
    whole, blurred = predict(lamp[None])[0], predict(cv2.GaussianBlur(lamp, (0, 0), 4.0)[None])[0]
    assert (len(score.deletion), len(score.insertion)) == (8, 8)
    assert (score.deletion[0], score.insertion[-1], score.insertion[0]) == (whole, whole, blurred)


def test_deletion_insertion__is_the_same_again_and_depends_on_the_seed(lamp):
    first, again, other = (deletion_insertion(mean_of(slice(0, 9)), lamp, [grid(0, 3)], seed=seed)[0] for seed in (1, 1, 2))
    assert (first.chance_deletion, first.chance_insertion) == (again.chance_deletion, again.chance_insertion)
    assert first.chance_deletion != other.chance_deletion


def test_pixel_order__goes_down_the_map():
    values = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)
    order, large = pixel_order(values, 30, 0, 0), enlarge(values, 30)
    assert sorted(order.ravel()) == list(range(900))
    falling = large.ravel()[np.argsort(order.ravel())]
    assert (np.diff(falling) <= 0).all()


def test_pixel_order__of_equal_values_is_smooth():
    """What is taken first is in a few large pieces, not a sieve."""
    order = pixel_order(np.zeros((4, 4), np.float32), 64, 0, 0)
    pieces = cv2.connectedComponents((order < 64 * 64 // 4).astype(np.uint8))[0] - 1
    assert 1 <= pieces <= 6


def edges(images: np.ndarray) -> list[np.ndarray]:
    """What an edge detector says of grey images: it has no weights."""
    return [np.abs(cv2.resize(cv2.Laplacian(image, cv2.CV_32F), (12, 12), interpolation=cv2.INTER_AREA)) for image in images]


def filtered(images: np.ndarray, weights: np.ndarray) -> list[np.ndarray]:
    """What a layer of random weights says of them."""
    responses = [cv2.filter2D(image, cv2.CV_32F, weights) for image in images]
    return [cv2.resize(response, (12, 12), interpolation=cv2.INTER_AREA) for response in responses]


PICTURES = np.random.default_rng(3).integers(0, 256, (8, 60, 60), np.uint8)


def test_randomisation_check__of_an_edge_detector_does_not_change():
    check = randomisation_check(edges(PICTURES), edges(PICTURES))
    assert check.verdict == "does not change with the weights: do not trust it"
    assert check.correlation == pytest.approx(1)
    assert check.images == 8


def test_randomisation_check__of_a_map_of_the_weights_changes():
    random = np.random.default_rng(4)
    before, after = (filtered(PICTURES, random.normal(size=(9, 9)).astype(np.float32)) for _ in range(2))
    check = randomisation_check(before, after)
    expected = np.mean([abs(spearmanr(one.ravel(), other.ravel()).statistic) for one, other in zip(before, after, strict=True)])
    assert check.verdict == "changes with the weights"
    assert check.correlation == pytest.approx(expected)
    assert check.limit == pytest.approx((1 + check.chance) / 2)


def test_randomisation_check__turned_round_is_unchanged():
    maps = edges(PICTURES)
    assert randomisation_check(maps, [-values for values in maps]).correlation == pytest.approx(1)


def test_randomisation_check__chance_of_few_places_is_high():
    """Of four places, the mean over all orders can be counted."""
    exact = np.mean([abs(spearmanr(range(4), order).statistic) for order in permutations(range(4))])
    maps = list(np.random.default_rng(0).normal(size=(400, 2, 2)))
    check = randomisation_check(maps, maps[::-1])
    assert check.chance == pytest.approx(exact, abs=0.06)
    assert check.correlation == pytest.approx(exact, abs=0.06)
    assert check.verdict == "changes with the weights"


def test_randomisation_check__of_flat_maps():
    flat, bumpy = np.ones((2, 2)), np.eye(2)
    assert randomisation_check([flat, flat], [bumpy, flat]).verdict == "flat: shows nothing"
    gone = randomisation_check([bumpy, bumpy], [flat, flat])
    assert (gone.correlation, gone.images, gone.verdict) == (0, 0, "changes with the weights")
    assert randomisation_check([bumpy, bumpy, flat], [bumpy, flat, bumpy]).images == 1
