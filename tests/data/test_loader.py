"""Every batch is a function of the seed and the step."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import make_image

from diptych.config import AugmentConfig
from diptych.data.augment import augment_image
from diptych.data.loader import BatchLoader
from diptych.presets import augmentation
from diptych.rng import generator

PLAIN = augmentation("none")
COUNT = 20
# The row's number stands in the first pixel, so that a batch tells which images are in it.
IMAGES = np.stack([make_image(row % 2, row, size=32) for row in range(COUNT)])
IMAGES[:, 0, 0, 0] = np.arange(COUNT)
LABELS = np.arange(COUNT) % 2


def make_loader(
    rows: list[int] | None = None, batch_size: int = 4, settings: AugmentConfig = PLAIN, seed: int = 0
) -> BatchLoader:
    return BatchLoader(IMAGES, LABELS, np.array(range(COUNT) if rows is None else rows), batch_size, settings, seed)


def rows_of(loader: BatchLoader, steps: int) -> list[int]:
    return [int(row) for step in range(steps) for row in loader.batch(step)[0][:, 0, 0, 0]]


def test_batch__shapes_and_types() -> None:
    images, labels = make_loader().batch(0)
    assert (images.shape, images.dtype) == ((4, 32, 32, 3), np.uint8)
    assert (labels.shape, labels.dtype) == ((4, 1), np.float32)


def test_batch__each_image_has_its_own_label() -> None:
    images, labels = make_loader(batch_size=COUNT).batch(0)
    assert labels[:, 0].tolist() == [row % 2 for row in images[:, 0, 0, 0].tolist()]
    for image in images:
        assert np.array_equal(image, IMAGES[image[0, 0, 0]])


@pytest.mark.parametrize("settings", [PLAIN, AugmentConfig()])
def test_batch__is_a_function_of_seed_and_step_alone(settings: AugmentConfig) -> None:
    loader = make_loader(settings=settings)
    forwards = [loader.batch(step) for step in range(12)]
    backwards = [make_loader(settings=settings).batch(step) for step in reversed(range(12))][::-1]
    for (images, labels), (again, labels_again) in zip(forwards, backwards, strict=True):
        assert np.array_equal(images, again)
        assert np.array_equal(labels, labels_again)


@pytest.mark.parametrize("settings", [PLAIN, AugmentConfig()])
def test_batch__other_seed_other_images(settings: AugmentConfig) -> None:
    batches = [make_loader(settings=settings, seed=seed).batch(0)[0] for seed in (0, 1)]
    assert not np.array_equal(*batches)


@given(st.lists(st.integers(0, COUNT - 1), min_size=1, unique=True), st.integers(1, 25), st.integers(0, 100))
def test_batch__each_pass_sees_each_row_once(rows: list[int], batch_size: int, seed: int) -> None:
    loader = make_loader(rows, batch_size, seed=seed)
    seen = rows_of(loader, steps=-(-3 * len(rows) // batch_size))
    for first in range(0, 3 * len(rows), len(rows)):
        assert Counter(seen[first : first + len(rows)]) == Counter(rows)


@given(st.integers(1, COUNT), st.integers(1, 25))
def test_steps_per_epoch__just_enough_full_batches_to_see_every_image(count: int, batch_size: int) -> None:
    loader = make_loader(list(range(count)), batch_size)
    steps = loader.steps_per_epoch
    assert (steps - 1) * batch_size < count <= steps * batch_size
    assert len(loader.batch(steps - 1)[0]) == batch_size


def test_batch__passes_come_in_different_orders() -> None:
    seen = rows_of(make_loader(), steps=10)
    assert seen[:COUNT] != seen[COUNT:]
    assert seen[:COUNT] != sorted(seen[:COUNT])


def test_batch__passes_augment_differently_and_each_as_said() -> None:
    settings = AugmentConfig(brightness=0.3)
    loader = make_loader([3], 3, settings)
    images, _ = loader.batch(0)
    assert len({image.tobytes() for image in images}) == 3
    for number, image in enumerate(images):
        assert np.array_equal(image, augment_image(IMAGES[3], generator(0, "augment", number, 3), settings))


def test_batch__does_not_touch_the_store() -> None:
    before = IMAGES.copy()
    images, _ = make_loader(batch_size=COUNT, settings=AugmentConfig()).batch(0)
    images[:] = 0
    images, _ = make_loader(batch_size=COUNT).batch(0)
    images[:] = 0
    assert np.array_equal(IMAGES, before)


@pytest.mark.parametrize("first_step", [0, 1, 3, 4, 17])
def test_stream__resumed_is_the_tail_of_the_whole(first_step: int) -> None:
    settings = AugmentConfig()
    whole = list(islice(make_loader(batch_size=7, settings=settings).stream(), 20))
    tail = list(islice(make_loader(batch_size=7, settings=settings).stream(first_step), 20 - first_step))
    for (images, labels), (again, labels_again) in zip(whole[first_step:], tail, strict=True):
        assert np.array_equal(images, again)
        assert np.array_equal(labels, labels_again)


def test_stream__is_the_batches_in_order() -> None:
    loader = make_loader(settings=AugmentConfig())
    for step, (images, _) in enumerate(islice(loader.stream(), 8)):
        assert np.array_equal(images, loader.batch(step)[0])


def test_stream__error_in_a_batch_reaches_the_caller() -> None:
    stream = make_loader([COUNT + 1]).stream()
    with pytest.raises(IndexError):
        next(stream)
