"""Random changes of one image, each piece alone and all of them together."""

import dataclasses

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import make_image
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, gaussian_filter
from scipy.spatial.transform import Rotation
from scipy.stats import beta, kstest

from diptych.data.augment import augment_image, blur, change_tones, changes_images, mix_batch, move
from diptych.settings.config import AugmentConfig
from diptych.settings.presets import augmentation

ALL_ON = AugmentConfig(
    quarter_turns=True, rotation=30, zoom=0.3, shift=0.3, brightness=0.3, contrast=0.3, colour=0.3, blur=2, erasing=0.5
)


def only(**settings: float) -> AugmentConfig:
    return dataclasses.replace(augmentation("none"), **settings)


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
        colour=st.floats(0, 0.99),
        blur=st.floats(0, 20),
        erasing=st.floats(0, 1),
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
    assert result.flags.c_contiguous


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


@pytest.mark.parametrize("settings", [only(), only(mixup=1.0, cutmix=1.0)])
def test_changes_images__not_without_a_piece(settings: AugmentConfig) -> None:
    assert not changes_images(settings)


@pytest.mark.parametrize(
    "piece",
    [
        {"flip_horizontal": True},
        {"flip_vertical": True},
        {"quarter_turns": True},
        {"rotation": 5.0},
        {"zoom": 0.1},
        {"shift": 0.1},
        {"brightness": 0.1},
        {"contrast": 0.1},
        {"colour": 0.1},
        {"blur": 1.0},
        {"erasing": 0.5},
    ],
)
def test_augment_image__each_piece_is_a_change(piece: dict[str, float]) -> None:
    assert changes_images(only(**piece))
    assert len(seen(draws(make_image(1), only(**piece)))) > 1


def test_augment_image__a_piece_leaves_the_draws_of_the_others_alone() -> None:
    """One after the other from the same state, or all at once: the same image."""
    pieces = [
        {"flip_horizontal": True, "flip_vertical": True},
        {"quarter_turns": True},
        {"rotation": 30.0, "zoom": 0.2, "shift": 0.1},
        {"blur": 2.0},
        {"brightness": 0.2, "contrast": 0.2, "colour": 0.2},
        {"erasing": 0.7},
    ]
    everything = only(**{key: value for piece in pieces for key, value in piece.items()})
    for seed in range(20):
        image = make_image(1, seed)
        expected = augment_image(image, np.random.default_rng(seed), everything)
        for piece in pieces:
            image = augment_image(image, np.random.default_rng(seed), only(**piece))
        assert np.array_equal(image, expected)


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=4, max_size=4), st.integers(32, 48))
def test_move__parity_with_scipy(draw: list[float], size: int) -> None:
    settings = only(rotation=180.0, zoom=0.5, shift=0.5)
    image = cv2.GaussianBlur(make_image(1, size=size), (0, 0), 1.5)
    angle, scale, right, down = (2 * number - 1 for number in draw)
    turn = Rotation.from_euler("z", 180 * angle, degrees=True).as_matrix()[:2, :2] * 1.5**scale
    middle = np.full(2, (size - 1) / 2)
    offset = middle - turn @ middle + 0.5 * size * np.array([down, right])
    expected = np.stack(
        [affine_transform(channel.astype(float), turn, offset, order=1, mode="mirror") for channel in image.transpose(2, 0, 1)],
        axis=-1,
    )
    # OpenCV rounds a place to 1/32 of a pixel on some processors; neighbours differ by up to 30 levels here.
    assert np.abs(move(image, draw, settings) - expected).max() <= 2


@given(st.floats(0.2, 4))
def test_blur__parity_with_scipy(sigma: float) -> None:
    image = make_image(1)
    expected = gaussian_filter(image.astype(float), sigma, mode="mirror", axes=(0, 1), truncate=3)
    assert np.abs(blur(image, 0.5, only(blur=2 * sigma)) - expected).max() <= 4


def test_blur__no_draw_no_blur() -> None:
    image = make_image(1)
    assert blur(image, 0.0, only(blur=2.0)) is image


TONES = st.floats(0, 0.99)


@given(TONES, TONES, TONES, st.lists(st.floats(0, 1), min_size=6, max_size=6))
def test_change_tones__against_a_formula_and_never_beyond_black_and_white(
    brightness: float, contrast: float, colour: float, draw: list[float]
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    offset, strength, saturation, *gains = (2 * number - 1 for number in draw)
    grey = image @ [0.299, 0.587, 0.114]
    expected = grey[..., None] + (1 + colour * saturation) * (image - grey[..., None])
    expected *= 1 + colour * np.array(gains)
    expected = 127.5 + (1 + contrast * strength) * (expected - 127.5) + 255 * brightness * offset
    result = change_tones(image, draw, only(brightness=brightness, contrast=contrast, colour=colour))
    # OpenCV rounds the factors to 1/1024.
    assert np.abs(result - np.clip(expected, 0, 255)).max() <= 1


def test_augment_image__brightness_moves_a_mid_grey_both_ways_and_within_its_range() -> None:
    grey = np.full((32, 32, 3), 128, np.uint8)
    levels = [int(result[0, 0, 0]) for result in draws(grey, only(brightness=0.1), 200)]
    assert 128 - 26 <= min(levels) < 128 - 20
    assert 128 + 20 < max(levels) <= 128 + 26


def test_augment_image__contrast_leaves_mid_grey_alone() -> None:
    grey = np.full((32, 32, 3), 127, np.uint8)
    assert {int(level) for result in draws(grey, only(contrast=0.5)) for level in np.unique(result)} <= {126, 127, 128}


def test_augment_image__colour_tints_a_grey_in_each_channel_by_itself() -> None:
    grey = np.full((32, 32, 3), 100, np.uint8)
    tints = np.array([result[0, 0] for result in draws(grey, only(colour=0.2), 200)], float)
    assert tints.min(axis=0) == pytest.approx([80, 80, 80], abs=3)
    assert tints.max(axis=0) == pytest.approx([120, 120, 120], abs=3)
    assert np.abs(np.corrcoef(tints.T) - np.eye(3)).max() < 0.3


def erased(image: NDArray[np.uint8], result: NDArray[np.uint8]) -> tuple[slice, slice] | None:
    """The rectangle in which two images differ."""
    rows, columns = (np.flatnonzero((image != result).any(axis=(2, axis))) for axis in (1, 0))
    return (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)) if len(rows) else None


def test_augment_image__erasing_takes_its_share_of_the_images() -> None:
    image = make_image(1)
    changed = sum(erased(image, result) is not None for result in draws(image, only(erasing=0.3), 400))
    assert changed / 400 == pytest.approx(0.3, abs=0.07)


def test_augment_image__erased_rectangle_has_the_promised_area_shape_and_filling() -> None:
    size = 100
    # Nothing in it is like the noise or the mean, so that all of the rectangle shows.
    image = np.zeros((size, size, 3), np.uint8)
    image[:, ::2] = 255
    flat = np.round(image.mean(axis=(0, 1)))
    areas, aspects, fillings = [], [], []
    for result in draws(image, only(erasing=1.0), 300):
        place = erased(image, result)
        assert place is not None
        rectangle = result[place]
        height, width = rectangle.shape[:2]
        areas.append(height * width / size**2)
        aspects.append(height / width)
        fillings.append(bool((rectangle == flat).all()))
        assert fillings[-1] or rectangle.std() > 60
    assert 0.015 < min(areas) < 0.03
    assert 0.19 < max(areas) < 0.21
    assert 0.27 < min(aspects) < 0.36
    assert 2.8 < max(aspects) < 3.7
    assert np.mean(fillings) == pytest.approx(0.5, abs=0.1)


def test_augment_image__erasing_reaches_every_edge() -> None:
    image = np.zeros((40, 40, 3), np.uint8)
    image[:, ::2] = 255
    counts = sum((result != image).any(axis=2).astype(int) for result in draws(image, only(erasing=1.0), 300))
    assert counts.max(axis=0).min() > 0
    assert counts.max(axis=1).min() > 0


# As many flat images as a batch has, each of its own grey, label and weight.
GREYS = np.array([0, 200, 30, 250, 90, 140, 60, 220], np.uint8)
BATCH = len(GREYS)
FLAT = np.broadcast_to(GREYS[:, None, None, None], (BATCH, 40, 40, 3))


def mixed(settings: AugmentConfig, seed: int, images: NDArray[np.uint8] = FLAT) -> tuple[NDArray, NDArray, NDArray]:
    """The images of a batch, one-hot labels that tell which image is in which, and weights, all mixed."""
    images = images.copy()
    weights = (GREYS / 100).astype(np.float32)
    generators = [np.random.default_rng((seed, place)) for place in range(BATCH)]
    return images, *mix_batch(images, np.eye(BATCH, dtype=np.float32), weights, generators, settings)


def own_share(labels: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.diagonal(labels)


@pytest.mark.parametrize("settings", [only(mixup=0.2), only(cutmix=1.0), only(mixup=0.2, cutmix=1.0)])
def test_mix_batch__pixels_labels_and_weights_have_the_same_shares(settings: AugmentConfig) -> None:
    for seed in range(30):
        images, labels, weights = mixed(settings, seed)
        share = own_share(labels)
        following = np.roll(np.eye(BATCH), 1, axis=1)
        assert labels == pytest.approx(share[:, None] * np.eye(BATCH) + (1 - share[:, None]) * following, abs=1e-6)
        greys = share * GREYS + (1 - share) * np.roll(GREYS, -1)
        assert weights == pytest.approx(greys / 100, abs=1e-5)
        assert images.mean(axis=(1, 2, 3)) == pytest.approx(greys, abs=0.5 + 1e-3)
        assert labels.dtype == weights.dtype == np.float32


def test_mix_batch__mixup_blends_every_pixel_and_rounds() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (BATCH, 32, 32, 3), np.uint8)
    images, labels, _ = mixed(only(mixup=1.0), 0, noise)
    share = own_share(labels)[:, None, None, None]
    assert np.abs(images - (share * noise + (1 - share) * np.roll(noise, -1, axis=0))).max() <= 0.5 + 1e-3


def test_mix_batch__cutmix_pastes_one_rectangle_from_the_same_place() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (BATCH, 32, 32, 3), np.uint8)
    areas = []
    for seed in range(30):
        images, labels, _ = mixed(only(cutmix=1.0), seed, noise)
        for image, own, partner, share in zip(images, noise, np.roll(noise, -1, axis=0), own_share(labels), strict=True):
            place = erased(own, image)
            if place is not None:
                assert np.array_equal(image[place], partner[place])
            areas.append(0 if place is None else image[place][..., 0].size / 32**2)
            assert share == pytest.approx(1 - areas[-1], abs=1e-6)
    assert min(areas) < 0.05
    assert 0.4 < max(areas) <= 0.55


def test_mix_batch__with_both_each_image_takes_one_and_half_of_them_each() -> None:
    kinds = []
    for seed in range(40):
        images, labels, _ = mixed(only(mixup=1.0, cutmix=1.0), seed)
        levels = [len(np.unique(image)) for image, share in zip(images, own_share(labels), strict=True) if 0.55 < share < 0.95]
        kinds += levels
    assert set(kinds) == {1, 2}
    assert np.mean(np.array(kinds) == 1) == pytest.approx(0.5, abs=0.12)


def test_mix_batch__shares_are_those_of_the_beta_distribution() -> None:
    shares = np.concatenate([own_share(mixed(only(mixup=0.4), seed)[1]) for seed in range(100)])
    assert shares.min() >= 0.5
    # Its larger part: above one half, the density is twice that of Beta(0.4, 0.4).
    assert kstest(shares, lambda share: 2 * beta(0.4, 0.4).cdf(share) - 1).pvalue > 0.01


def test_mix_batch__shares_differ_from_image_to_image() -> None:
    assert len(np.unique(own_share(mixed(only(mixup=1.0), 0)[1]))) == BATCH


@given(st.floats(0, 1), st.integers(0, 100))
def test_mix_batch__equal_labels_and_weights_stay_as_they_are(label: float, seed: int) -> None:
    labels, weights = np.full((BATCH, 1), label, np.float32), np.full(BATCH, label, np.float32)
    generators = [np.random.default_rng((seed, place)) for place in range(BATCH)]
    result = mix_batch(FLAT.copy(), labels, weights, generators, only(mixup=0.5, cutmix=0.5))
    assert np.array_equal(result[0], labels)
    assert np.array_equal(result[1], weights)


def test_mix_batch__an_image_alone_stays_as_it_is() -> None:
    image, label, weight = make_image(1)[None], np.ones((1, 1), np.float32), np.ones(1, np.float32)
    for settings in (only(mixup=1.0), only(cutmix=1.0)):
        images = image.copy()
        labels, weights = mix_batch(images, label, weight, [np.random.default_rng(0)], settings)
        assert np.abs(images.astype(int) - image).max() <= 1
        assert (labels.tolist(), weights.tolist()) == ([[1.0]], [1.0])
