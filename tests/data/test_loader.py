"""Every batch is a function of the seed and the step."""

import dataclasses
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import make_image
from numpy.typing import NDArray
from sklearn.utils.class_weight import compute_class_weight

from diptych.data.augment import augment_image, mix_batch
from diptych.data.loader import Batch, BatchLoader, class_weights, encode_labels
from diptych.data.pixels.decode import ImageSpec
from diptych.data.pixels.store import PixelStore
from diptych.rng import generator
from diptych.settings.config import AugmentConfig, ClassWeights
from diptych.settings.presets import augmentation

PLAIN = augmentation("none")
COUNT = 20
# The row's number stands in the first pixel, so that a batch tells which images are in it.
IMAGES = np.stack([make_image(row % 2, row, size=32) for row in range(COUNT)])
IMAGES[:, 0, 0, 0] = np.arange(COUNT)
LABELS = np.arange(COUNT) % 2


STRONG = augmentation("strong")


def make_loader(
    rows: list[int] | None = None, batch_size: int = 4, settings: AugmentConfig = PLAIN, seed: int = 0
) -> BatchLoader:
    return BatchLoader(IMAGES, LABELS, np.array(range(COUNT) if rows is None else rows), batch_size, settings, seed)


def assert_equal(batch: Batch, again: Batch) -> None:
    for ours, theirs in zip(batch, again, strict=True):
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)


def rows_of(loader: BatchLoader, steps: int) -> list[int]:
    return [int(row) for step in range(steps) for row in loader.batch(step)[0][:, 0, 0, 0]]


def test_batch__shapes_and_types() -> None:
    images, labels, weights = make_loader().batch(0)
    assert (images.shape, images.dtype) == ((4, 32, 32, 3), np.uint8)
    assert (labels.shape, labels.dtype) == ((4, 1), np.float32)
    assert (weights.shape, weights.dtype) == ((4,), np.float32)
    assert weights.tolist() == [1.0] * 4


def test_batch__each_image_has_its_own_label() -> None:
    images, labels, _ = make_loader(batch_size=COUNT).batch(0)
    assert labels[:, 0].tolist() == [row % 2 for row in images[:, 0, 0, 0].tolist()]
    for image in images:
        assert np.array_equal(image, IMAGES[image[0, 0, 0]])


@pytest.mark.parametrize("settings", [PLAIN, AugmentConfig(), STRONG])
def test_batch__is_a_function_of_seed_and_step_alone(settings: AugmentConfig) -> None:
    loader = make_loader(settings=settings)
    forwards = [loader.batch(step) for step in range(12)]
    backwards = [make_loader(settings=settings).batch(step) for step in reversed(range(12))][::-1]
    for batch, again in zip(forwards, backwards, strict=True):
        assert_equal(batch, again)


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


def test_batch__passes_come_in_different_orders() -> None:
    seen = rows_of(make_loader(), steps=10)
    assert seen[:COUNT] != seen[COUNT:]
    assert seen[:COUNT] != sorted(seen[:COUNT])


def test_batch__passes_augment_differently_and_each_as_said() -> None:
    settings = AugmentConfig(brightness=0.3)
    loader = make_loader([3], 3, settings)
    images, _, _ = loader.batch(0)
    assert len({image.tobytes() for image in images}) == 3
    for number, image in enumerate(images):
        assert np.array_equal(image, augment_image(IMAGES[3], generator(0, "augment", number, 3), settings))


@pytest.mark.parametrize("settings", [dataclasses.replace(PLAIN, brightness=0.3), AugmentConfig(augment="none")])
def test_batch__keys_count_and_not_the_level_that_they_began_with(settings: AugmentConfig) -> None:
    assert not np.array_equal(make_loader(settings=settings).batch(0)[0], make_loader().batch(0)[0])


@given(st.permutations(range(9)), st.integers(1, 4))
def test_batch__is_the_same_whatever_was_asked_before_and_by_which_thread(steps: list[int], threads: int) -> None:
    loader = make_loader(batch_size=7, settings=STRONG)
    with ThreadPoolExecutor(threads) as pool:
        for step, batch in zip(steps, pool.map(loader.batch, steps), strict=True):
            assert_equal(batch, EXPECTED[step])


EXPECTED = [make_loader(batch_size=7, settings=STRONG).batch(step) for step in range(9)]


def test_batch__from_a_pixel_store_is_that_from_an_array(tmp_path: Path) -> None:
    (tmp_path / "pixels").write_bytes(IMAGES.tobytes())
    with (tmp_path / "pixels").open("rb") as file:
        store = PixelStore(file.fileno(), np.arange(COUNT), ImageSpec(32))
    loader = BatchLoader(store, LABELS, np.arange(COUNT), 7, STRONG, 0)
    assert_equal(loader.batch(2), make_loader(batch_size=7, settings=STRONG).batch(2))


def test_batch__many_classes_are_one_hot_with_their_weights() -> None:
    classes, wide = np.arange(COUNT) % 5, np.arange(5, dtype=np.float32)
    images, labels, weights = BatchLoader(
        IMAGES, classes, np.arange(COUNT), COUNT, PLAIN, 0, classes=5, class_weights=wide
    ).batch(0)
    assert labels.dtype == weights.dtype == np.float32
    assert np.array_equal(labels, np.eye(5)[images[:, 0, 0, 0] % 5])
    assert np.array_equal(weights, images[:, 0, 0, 0] % 5)


def test_batch__mixed_as_said_with_the_next_image_in_the_batch() -> None:
    settings = dataclasses.replace(PLAIN, mixup=0.4, cutmix=1.0)
    classes, wide = np.arange(COUNT) % 5, np.linspace(0.5, 2, 5, dtype=np.float32)
    plain = BatchLoader(IMAGES, classes, np.arange(COUNT), 6, PLAIN, 3, classes=5, class_weights=wide)
    mixed = BatchLoader(IMAGES, classes, np.arange(COUNT), 6, settings, 3, classes=5, class_weights=wide)
    for step in range(6):
        images, labels, weights = plain.batch(step)
        keys = [divmod(position, COUNT)[0] for position in range(6 * step, 6 * step + 6)]
        draws = [generator(3, "mix", number, int(row)) for number, row in zip(keys, images[:, 0, 0, 0], strict=True)]
        assert_equal(mixed.batch(step), (images, *mix_batch(images, labels, weights, draws, settings)))
    assert labels.sum(axis=1) == pytest.approx(1)


def test_batch__mixed_binary_labels_lie_between_the_two() -> None:
    labels = np.concatenate([make_loader(settings=dataclasses.replace(PLAIN, mixup=1.0)).batch(step)[1] for step in range(20)])
    assert labels.shape == (80, 1)
    assert 0 <= labels.min() < labels.max() <= 1
    assert len(np.unique(labels)) > 20


def test_batch__does_not_touch_the_store() -> None:
    before = IMAGES.copy()
    images, _, _ = make_loader(batch_size=COUNT, settings=STRONG).batch(0)
    images[:] = 0
    images, _, _ = make_loader(batch_size=COUNT).batch(0)
    images[:] = 0
    assert np.array_equal(IMAGES, before)


@pytest.mark.parametrize("first_step", [0, 1, 3, 4, 17])
def test_stream__resumed_is_the_tail_of_the_whole(first_step: int) -> None:
    settings = AugmentConfig()
    whole = list(islice(make_loader(batch_size=7, settings=settings).stream(), 20))
    tail = list(islice(make_loader(batch_size=7, settings=settings).stream(first_step), 20 - first_step))
    for batch, again in zip(whole[first_step:], tail, strict=True):
        assert_equal(batch, again)


def test_stream__is_the_batches_in_order() -> None:
    loader = make_loader(settings=AugmentConfig())
    for step, (images, _, _) in enumerate(islice(loader.stream(), 8)):
        assert np.array_equal(images, loader.batch(step)[0])


def test_stream__error_in_a_batch_reaches_the_caller() -> None:
    stream = make_loader([COUNT + 1]).stream()
    with pytest.raises(IndexError):
        next(stream)


@given(st.lists(st.integers(0, 4), max_size=20), st.integers(2, 7))
def test_encode_labels__one_number_for_two_classes_and_one_hot_for_more(targets: list[int], classes: int) -> None:
    found = encode_labels(np.array(targets, np.int64) % classes, classes)
    assert found.dtype == np.float32
    if classes == 2:
        assert found.tolist() == [[target % 2] for target in targets]
    else:
        assert np.array_equal(found, np.eye(classes)[np.array(targets, int) % classes])


TARGETS = st.lists(st.integers(0, 5), min_size=1, max_size=60).map(np.array)


@given(TARGETS, st.sampled_from(["none", "balanced", "sqrt"]))
def test_class_weights__mean_over_the_images_is_one(targets: NDArray[np.int64], kind: ClassWeights) -> None:
    weights = class_weights(targets, 6, kind)
    assert (weights.shape, weights.dtype) == ((6,), np.float32)
    assert weights[targets].mean() == pytest.approx(1, abs=1e-6)
    assert (weights > 0).tolist() == [kind == "none" or bool((targets == number).any()) for number in range(6)]


@given(TARGETS)
def test_class_weights__balanced_is_in_proportion_to_scikit_learns_and_sqrt_to_its_root(targets: NDArray[np.int64]) -> None:
    present = np.unique(targets)
    theirs = compute_class_weight("balanced", classes=present, y=targets)
    balanced, root = (class_weights(targets, 6, kind)[present] for kind in ("balanced", "sqrt"))
    assert balanced / balanced[0] == pytest.approx(theirs / theirs[0], rel=1e-5)
    assert root / root[0] == pytest.approx(np.sqrt(theirs / theirs[0]), rel=1e-5)


def test_class_weights__by_hand() -> None:
    targets = np.array([0] * 90 + [1] * 10)
    assert class_weights(targets, 2, "none").tolist() == [1, 1]
    assert class_weights(targets, 2, "balanced") == pytest.approx([100 / 180, 100 / 20])
    assert class_weights(targets, 2, "sqrt") == pytest.approx([100 / 120, 100 / 40])
