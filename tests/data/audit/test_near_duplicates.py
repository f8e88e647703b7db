"""Near twins: copies are found however they were made, and images that only look alike are not."""

from collections.abc import Callable, Iterable

import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from making import encode, make_image
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from scipy.ndimage import gaussian_filter

from diptych.data.audit.near_duplicates import connect, find_near_twins
from diptych.data.pixels.decode import ImageSpec, decode_image

COUNT = 24


def make_photograph(number: int, size: int = 160) -> Image.Image:
    """Clouds of several sizes in colour, with a bright and a dark shape: what a photograph's spectrum looks like."""
    random = np.random.default_rng((5, number))
    clouds = sum(gaussian_filter(random.normal(size=(size, size)), width) * width**1.3 for width in (1, 3, 8, 20))
    image = random.uniform(90, 160, 3) + 18 * random.uniform(0.7, 1.3) * clouds[..., None]
    rows, columns = np.mgrid[:size, :size] / size
    for light in (70, -70):
        (row, column), radius = random.uniform(0.1, 0.9, 2), random.uniform(0.05, 0.2)
        image[np.hypot(rows - row, columns - column) < radius] += light
    return Image.fromarray(image.clip(0, 255).astype(np.uint8))


def make_cell(number: int, size: int = 160) -> Image.Image:
    """A grid on a grey plate, in every picture at the same place; a few spots and some noise are a picture's own."""
    random = np.random.default_rng((6, number))
    image = np.full((size, size), 150.0) + 12 * np.sin(np.arange(size) / 12)[:, None] + random.normal(0, 1, (size, size))
    image[size // 6 :: size // 3] = 60
    image[:3] = image[-3:] = image[:, :3] = image[:, -3:] = 30
    for row, column in random.uniform(0.05, 0.95, (12, 2)) * size:
        rows, columns = np.mgrid[:size, :size]
        image -= random.uniform(20, 60) * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / random.uniform(10, 150))
    return Image.fromarray(image.clip(0, 255).astype(np.uint8)).convert("RGB")


def crop(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    width, height = image.size
    return image.crop((round(left * width), round(top * height), round((1 - right) * width), round((1 - bottom) * height)))


CHANGES: dict[str, Callable[[Image.Image], bytes]] = {
    "saved as JPEG": lambda image: encode(image, "JPEG", quality=80),
    "saved as WebP": lambda image: encode(image, "WEBP", quality=70),
    "half the size": lambda image: encode(image.resize((80, 80), Image.Resampling.LANCZOS)),
    "another shape": lambda image: encode(image.resize((200, 120))),
    "brighter": lambda image: encode(ImageEnhance.Brightness(image).enhance(1.1)),
    "less contrast": lambda image: encode(ImageEnhance.Contrast(image).enhance(0.85)),
    "cropped on one side": lambda image: encode(crop(image, 0.08, 0, 0, 0)),
    "cropped all round": lambda image: encode(crop(image, 0.05, 0.04, 0.06, 0.03)),
    "turned, cropped, darker, saved as JPEG": lambda image: encode(
        ImageEnhance.Brightness(crop(image.transpose(Image.Transpose.ROTATE_90), 0.03, 0.02, 0, 0.05)).enhance(0.92),
        "JPEG",
        quality=75,
    ),
} | {turn.name.lower(): lambda image, turn=turn: encode(image.transpose(turn)) for turn in Image.Transpose}


def prepared(contents: Iterable[bytes], size: int = 64) -> NDArray[np.uint8]:
    return np.stack([decode_image(content, ImageSpec(size)) for content in contents])


def pairs_in(images: NDArray[np.uint8]) -> set[tuple[int, int]]:
    return {(first, second) for first, second in find_near_twins(images, np.arange(len(images)), progress=False).tolist()}


@pytest.fixture(scope="module")
def photographs() -> list[Image.Image]:
    return [make_photograph(number) for number in range(COUNT)]


@pytest.fixture(scope="module")
def cells() -> list[Image.Image]:
    return [make_cell(number) for number in range(COUNT)]


@pytest.mark.parametrize("change", CHANGES)
def test_near_twins__each_kind_of_copy_is_found_and_nothing_else(photographs, change):
    images = prepared([*map(encode, photographs), *map(CHANGES[change], photographs)])
    assert pairs_in(images) == {(number, COUNT + number) for number in range(COUNT)}


@pytest.mark.parametrize("size", [32, 150])
def test_near_twins__are_found_among_small_and_large_images(photographs, size):
    images = prepared([*map(encode, photographs), *map(CHANGES["cropped on one side"], photographs)], size)
    assert pairs_in(images) == {(number, COUNT + number) for number in range(COUNT)}


@pytest.mark.parametrize("change", ["saved as JPEG", "half the size", "brighter", "transpose", "cropped on one side"])
def test_near_twins__are_told_from_images_with_the_same_layout(cells, change):
    images = prepared([*map(encode, cells), *map(CHANGES[change], cells)])
    assert pairs_in(images) == {(number, COUNT + number) for number in range(COUNT)}


@pytest.mark.parametrize("size", [8, 32, 64])
def test_near_twins__noise_in_the_same_shape_is_no_twin(size):
    images = np.stack([make_image(target, number, size) for target in (0, 1) for number in range(20)])
    assert pairs_in(images) == set()


def test_near_twins__a_negative_and_another_colour_are_no_twins(photographs):
    first = np.asarray(photographs[0])
    others = [make_photograph(number) for number in range(1, 8)]
    tinted = first.astype(float) * [1.3, 1.0, 0.7]
    strange = [Image.fromarray(255 - first), Image.fromarray(tinted.clip(0, 255).astype(np.uint8))]
    assert pairs_in(prepared(map(encode, [photographs[0], *others, *strange]))) == set()


def test_near_twins__what_imagehash_takes_for_copies_among_photographs(photographs):
    content = [
        *map(encode, photographs),
        *map(CHANGES["saved as JPEG"], photographs),
        *map(CHANGES["half the size"], photographs),
    ]
    images = prepared(content)
    hashes = [imagehash.phash(Image.fromarray(image)) for image in images]
    near = {(i, j) for i in range(len(images)) for j in range(i + 1, len(images)) if hashes[i] - hashes[j] <= 8}
    assert len(near) == 3 * COUNT
    assert pairs_in(images) == near


def test_near_twins__do_not_depend_on_the_order_of_rows(photographs):
    images = prepared([*map(encode, photographs), *map(CHANGES["cropped all round"], photographs)])
    order = np.random.default_rng(0).permutation(len(images))
    shuffled = {tuple(sorted((int(order[first]), int(order[second])))) for first, second in pairs_in(images[order])}
    assert shuffled == pairs_in(images)


def test_near_twins__are_rows_of_the_store_and_only_those_asked_for(photographs):
    images = prepared([*map(encode, photographs[:4]), *map(CHANGES["saved as JPEG"], photographs[:4])])
    found = find_near_twins(images, np.array([7, 0, 2, 3, 5]), progress=False)
    assert found.tolist() == [[3, 7]]
    assert found.dtype == np.int64


def test_near_twins__the_same_pixels_many_times_are_a_star(photographs):
    image = prepared([encode(photographs[0])])
    images = np.concatenate([prepared(map(encode, photographs[1:4])), np.repeat(image, 200, axis=0)])
    assert pairs_in(images) == {(3, row) for row in range(4, 203)}


@pytest.mark.parametrize("kinds", [1, 3])
def test_near_twins__hundreds_of_copies_of_few_images_are_as_many_groups(photographs, kinds):
    qualities = range(40, 95)
    contents = [encode(photograph, "JPEG", quality=quality) for photograph in photographs[:kinds] for quality in qualities]
    groups = connect(kinds * len(qualities), np.array(sorted(pairs_in(prepared(contents)))))
    assert groups.tolist() == [kind for kind in range(kinds) for _ in qualities]


def test_near_twins__blank_images_are_twins_only_when_their_pixels_are_the_same():
    greys = np.array([0, 1, 60, 60, 128, 254, 255], np.uint8)
    noisy = np.random.default_rng(0).integers(100, 104, (5, 64, 64, 3), np.uint8)
    red_of_grey_60 = np.broadcast_to(np.array([201, 0, 0], np.uint8), (1, 64, 64, 3))
    plain = np.broadcast_to(greys[:, None, None, None], (7, 64, 64, 3))
    assert pairs_in(np.concatenate([plain, noisy, red_of_grey_60])) == {(2, 3)}


@pytest.mark.parametrize("count", [0, 1, 2])
def test_near_twins__few_images(photographs, count):
    assert find_near_twins(prepared(map(encode, photographs[:count])) if count else np.zeros((0, 64, 64, 3), np.uint8),
                           np.arange(count), progress=False).shape == (0, 2)  # fmt: skip


def test_near_twins__two_copies_alone_are_found(photographs):
    assert pairs_in(prepared([encode(photographs[0]), CHANGES["cropped all round"](photographs[0])])) == {(0, 1)}


PAIRS = st.integers(1, 12).flatmap(
    lambda count: st.tuples(
        st.just(count), st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=20)
    )
)


@settings(deadline=None)
@given(PAIRS)
def test_connect__agrees_with_following_the_pairs_one_by_one(drawn):
    count, pairs = drawn
    groups = connect(count, np.array(pairs, np.int64).reshape(-1, 2))
    reached = [{row} for row in range(count)]
    for _ in range(count):
        for first, second in pairs:
            reached[first] = reached[second] = reached[first] | reached[second]
    assert groups.dtype == np.int64
    assert all((groups[i] == groups[j]) == (j in reached[i]) for i in range(count) for j in range(count))
    assert list(dict.fromkeys(groups.tolist())) == list(range(groups.max() + 1))
