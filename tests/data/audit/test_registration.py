"""Images as cosine spectra: turned, cropped and aligned like the pixels that they come from."""

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from diptych.data.audit.registration import (
    BAND,
    INVERSE,
    ORIENTATIONS,
    align,
    crop,
    differ,
    framed,
    grid,
    invert,
    sample,
    take_spectra,
    turn,
)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Eight smooth colour images, uint8 (8, 128, 128, 3)."""
    clouds = gaussian_filter(np.random.default_rng(0).normal(size=(8, 128, 128, 3)), (0, 5, 5, 0))
    return (128 + 40 * clouds / clouds.std()).clip(0, 255).astype(np.uint8)


def turn_pixels(images: np.ndarray, orientation: int) -> np.ndarray:
    turned = images.swapaxes(1, 2) if orientation & 4 else images
    turned = turned[:, ::-1] if orientation & 2 else turned
    return turned[:, :, ::-1] if orientation & 1 else turned


def test_take_spectra__give_the_grey_image_back(images):
    spectra, contrast = take_spectra(images)
    middles = grid(BAND) + np.float32(0.5)
    small = np.stack(
        [np.asarray(Image.fromarray(image).convert("L").resize((BAND, BAND), Image.Resampling.BOX)) for image in images]
    )
    assert np.abs(sample(spectra, middles, middles) - small).max() < 5
    assert contrast == pytest.approx(small.std(axis=(1, 2)), rel=0.05)


@pytest.mark.parametrize("orientation", range(ORIENTATIONS))
def test_turn__is_what_turned_pixels_give_and_has_an_inverse(images, orientation):
    spectra, _ = take_spectra(images)
    turned, _ = take_spectra(np.ascontiguousarray(turn_pixels(images, orientation)))
    assert turn(spectra, orientation) == pytest.approx(turned, abs=0.02)
    assert np.array_equal(turn(turn(spectra, orientation), INVERSE[orientation]), spectra)


def test_crop__is_what_cropped_pixels_give(images):
    spectra, _ = take_spectra(images)
    left, right, top, bottom = 6, 10, 0, 12
    cut, _ = take_spectra(np.ascontiguousarray(images[:, top : 128 - bottom, left : 128 - right]))
    sides = np.tile(np.array([left, right, top, bottom], np.float32) / 128, (8, 1))
    assert crop(spectra, sides)[:, :8, :8] == pytest.approx(cut[:, :8, :8], abs=1)


@pytest.mark.parametrize("part_first", [False, True])
def test_align__finds_where_a_part_lies(images, part_first):
    whole, _ = take_spectra(images)
    part, _ = take_spectra(np.ascontiguousarray(images[:, 4:, 8:122]) // 2 + 40)
    scales, shifts = np.array([114 / 128, 124 / 128]), np.array([1 / 128, 2 / 128])
    left, frames = align(part, whole) if part_first else align(whole, part)
    assert left.tolist() == list(range(8))
    found = invert(frames) if part_first else frames
    assert found[:, ::2] == pytest.approx(np.tile(scales, (8, 1)), abs=0.01)
    assert found[:, 1::2] == pytest.approx(np.tile(shifts, (8, 1)), abs=0.01)
    first, difference = differ(part, whole, frames) if part_first else differ(whole, part, frames)
    assert np.array_equal(first, whole), "the one that shows more"
    assert (difference**2).sum() < 0.01 * ((whole[:, 1:, 1:]) ** 2).sum()


def test_align__leaves_out_what_is_not_alike(images):
    spectra, _ = take_spectra(images)
    left, frames = align(spectra, np.roll(spectra, 1, axis=0))
    assert (len(left), frames.shape) == (0, (0, 4))


def test_invert__leads_back():
    random = np.random.default_rng(0)
    frames = np.stack([random.uniform(0.8, 1.2, 50), random.uniform(-0.1, 0.1, 50)] * 2, 1).astype(np.float32)
    assert invert(invert(frames)) == pytest.approx(frames, abs=1e-6)
    across, _ = framed(frames, 5)
    there = frames[:, :1] * (invert(frames)[:, :1] * grid(5) + invert(frames)[:, 1:2]) + frames[:, 1:2]
    assert across.shape == (50, 5)
    assert there == pytest.approx(np.tile(grid(5), (50, 1)), abs=1e-6)
