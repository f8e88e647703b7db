"""Random changes of one image, each piece alone and all of them together."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import make_image
from numpy.typing import NDArray

from diptych.config import AugmentConfig
from diptych.data.augment import augment_image

OFF = {
    "flip_horizontal": False,
    "flip_vertical": False,
    "quarter_turns": False,
    "rotation": 0.0,
    "zoom": 0.0,
    "shift": 0.0,
    "brightness": 0.0,
    "contrast": 0.0,
}
ALL_ON = AugmentConfig(quarter_turns=True, rotation=30, zoom=0.3, shift=0.3, brightness=0.3, contrast=0.3)


def only(**settings: float) -> AugmentConfig:
    return AugmentConfig(**{**OFF, **settings})


def draws(image: NDArray[np.uint8], settings: AugmentConfig, count: int = 40) -> list[NDArray[np.uint8]]:
    return [augment_image(image, np.random.default_rng(seed), settings) for seed in range(count)]


def seen(images: list[NDArray[np.uint8]]) -> set[bytes]:
    return {image.tobytes() for image in images}


def disc(size: int = 64, radius: float = 16, middle: tuple[float, float] = (0, 0)) -> NDArray[np.uint8]:
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    inside = (rows - middle[0]) ** 2 + (columns - middle[1]) ** 2 < radius**2
    return np.repeat(np.where(inside, 200, 50).astype(np.uint8)[..., None], 3, axis=2)


@given(
    st.builds(
        AugmentConfig,
        quarter_turns=st.booleans(),
        rotation=st.floats(0, 180),
        zoom=st.floats(0, 0.99),
        shift=st.floats(0, 0.99),
        brightness=st.floats(0, 0.99),
        contrast=st.floats(0, 0.99),
    ),
    st.integers(32, 40),
    st.integers(0, 1000),
)
def test_augment_image__shape_and_dtype_stay_and_the_input_is_unchanged(settings: AugmentConfig, size: int, seed: int) -> None:
    image = make_image(1, size=size)
    before = image.copy()
    result = augment_image(image, np.random.default_rng(seed), settings)
    assert (result.shape, result.dtype) == (image.shape, np.uint8)
    assert np.array_equal(image, before)
    assert not np.shares_memory(result, image)


def test_augment_image__same_generator_state_gives_the_same_image() -> None:
    image = make_image(1)
    assert seen(draws(image, ALL_ON)) == seen(draws(image, ALL_ON))
    assert len(seen(draws(image, ALL_ON))) == 40


def test_augment_image__read_only_input() -> None:
    image = make_image(1)
    image.flags.writeable = False
    assert augment_image(image, np.random.default_rng(0), ALL_ON).shape == image.shape


def test_augment_image__all_off_is_the_identity() -> None:
    image = make_image(1)
    assert seen(draws(image, only())) == {image.tobytes()}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"flip_horizontal": True}, [lambda x: x, np.fliplr]),
        ({"flip_vertical": True}, [lambda x: x, np.flipud]),
        ({"flip_horizontal": True, "flip_vertical": True}, [lambda x: x, np.fliplr, np.flipud, lambda x: np.rot90(x, 2)]),
        ({"quarter_turns": True}, [lambda x, turns=turns: np.rot90(x, turns) for turns in range(4)]),
        (
            {"quarter_turns": True, "flip_horizontal": True},
            [lambda x, turns=turns, flip=flip: np.rot90(flip(x), turns) for turns in range(4) for flip in (np.fliplr, np.array)],
        ),
    ],
)
def test_augment_image__flips_and_turns_are_exact_and_all_of_them_come(settings: dict[str, bool], expected: list) -> None:
    image = make_image(1)
    assert seen(draws(image, only(**settings), 100)) == {np.ascontiguousarray(change(image)).tobytes() for change in expected}


def test_augment_image__flips_come_half_of_the_time() -> None:
    image = make_image(1)
    flipped = sum(not np.array_equal(result, image) for result in draws(image, only(flip_horizontal=True), 400))
    assert 150 < flipped < 250


def test_augment_image__rotation_keeps_a_centred_disc_in_place() -> None:
    image = disc()
    for result in draws(image, only(rotation=180.0)):
        assert np.abs(result.astype(int) - image).mean() < 4  # The rim alone; a shift by one pixel gives about 6.
        rows, columns = np.nonzero(result[..., 0] > 125)
        assert abs(rows.mean() - 31.5) < 0.2
        assert abs(columns.mean() - 31.5) < 0.2


def test_augment_image__rotation_stays_within_its_range() -> None:
    image = disc(radius=6, middle=(0, 20))
    angles = []
    for result in draws(image, only(rotation=30.0), 200):
        rows, columns = np.nonzero(result[..., 0] > 125)
        angles.append(np.degrees(np.arctan2(rows.mean() - 31.5, columns.mean() - 31.5)))
    assert -31 < min(angles) < -25
    assert 25 < max(angles) < 31


def test_augment_image__zoom_stays_within_its_range_in_and_out() -> None:
    image = disc(radius=16)
    areas = np.array([(result[..., 0] > 125).sum() for result in draws(image, only(zoom=0.25), 200)])
    factors = np.sqrt(areas / (image[..., 0] > 125).sum())
    assert 0.78 < factors.min() < 0.85
    assert 1.18 < factors.max() < 1.28
    assert (factors < 1).mean() == pytest.approx(0.5, abs=0.15)


def test_augment_image__shift_stays_within_its_range_along_each_axis() -> None:
    image = disc(radius=8)
    middles = []
    for result in draws(image, only(shift=0.2), 200):
        middles.append([place.mean() - 31.5 for place in np.nonzero(result[..., 0] > 125)])
    for axis in np.array(middles).T:
        assert -0.2 * 64 - 0.6 < axis.min() < -0.15 * 64
        assert 0.15 * 64 < axis.max() < 0.2 * 64 + 0.6


@pytest.mark.parametrize(
    "settings", [{"rotation": 180.0}, {"shift": 0.99}, {"zoom": 0.99}, {"rotation": 180.0, "shift": 0.99, "zoom": 0.99}]
)
def test_augment_image__what_moves_in_from_outside_is_the_image_mirrored(settings: dict[str, float]) -> None:
    """Never black: the greys of an image stay between its darkest and its brightest."""
    image = np.random.default_rng(0).integers(90, 110, (32, 32, 3), np.uint8)
    for result in draws(image, only(**settings), 100):
        assert 90 <= result.min() <= result.max() < 110


def test_augment_image__shifted_ramp_goes_on_and_turns_back_at_the_edge() -> None:
    ramps = np.zeros((32, 32, 3), np.uint8)
    ramps[..., 0], ramps[..., 1] = 7 * np.mgrid[:32, :32]
    for result in draws(ramps, only(shift=0.4)):
        for values in (result[:, 16, 0], result[16, :, 1]):
            places = np.arange(32) + values[16] / 7 - 16
            mirrored = 31 - abs(31 - abs(places))
            assert np.abs(values - 7 * mirrored).max() < 5


@pytest.mark.parametrize(("brightness", "contrast"), [(0.2, 0.0), (0.0, 0.4), (0.2, 0.4), (0.9, 0.9)])
def test_augment_image__tones_against_a_formula(brightness: float, contrast: float) -> None:
    image = make_image(1)
    for seed in range(20):
        draw = np.random.default_rng(seed)
        factor, offset = 1 + draw.uniform(-contrast, contrast), 255 * draw.uniform(-brightness, brightness)
        expected = np.clip(127.5 + factor * (image.astype(float) - 127.5) + offset, 0, 255)
        result = augment_image(image, np.random.default_rng(seed), only(brightness=brightness, contrast=contrast))
        assert np.abs(result - expected).max() <= 0.5 + 1e-9


def test_augment_image__brightness_moves_a_mid_grey_both_ways_and_within_its_range() -> None:
    grey = np.full((32, 32, 3), 128, np.uint8)
    levels = [int(result[0, 0, 0]) for result in draws(grey, only(brightness=0.1), 200)]
    assert 128 - 26 <= min(levels) < 128 - 20
    assert 128 + 20 < max(levels) <= 128 + 26


def test_augment_image__contrast_leaves_mid_grey_alone() -> None:
    grey = np.full((32, 32, 3), 127, np.uint8)
    assert seen(draws(grey, only(contrast=0.5))) <= {np.full_like(grey, level).tobytes() for level in (127, 128)}
