"""PixelStore reads as an array does, from many threads; the cache folder can be listed and cleared."""

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import encode, make_image

from diptych.data.pixels.decode import ImageSpec
from diptych.data.pixels.prepare import prepare
from diptych.data.pixels.store import PixelStore, clear_cache, list_caches
from diptych.errors import DataError

SPEC = ImageSpec(3)
SLOTS = np.array([4, 0, -1, 2, 0, 5])
PIXELS = np.random.default_rng(0).integers(1, 256, (6, 3, 3, 3), np.uint8)
# What the store shall be equal to: row 2 cannot be read, rows 1 and 4 are twins.
EXPECTED = np.where((SLOTS >= 0)[:, None, None, None], PIXELS[SLOTS], 0).astype(np.uint8)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> PixelStore:
    path = tmp_path_factory.mktemp("store") / "pixels"
    path.write_bytes(PIXELS.tobytes())
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return PixelStore(descriptor, SLOTS, SPEC)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(
    "row", [0, 2, -1, np.int64(3), np.array([], np.int64), np.array([2]), slice(1, 4), slice(None, None, -2)]
)
def test_store__is_read_like_an_array(store: PixelStore, row: int) -> None:
    image = store[row]
    assert image.dtype == np.uint8
    assert image.shape == EXPECTED[row].shape
    assert np.array_equal(image, EXPECTED[row])


@given(st.lists(st.integers(-6, 5), max_size=12))
def test_store__any_rows_in_any_order(store: PixelStore, rows: list[int]) -> None:
    picked = np.array(rows, np.int64)
    assert np.array_equal(store[picked], EXPECTED[picked])


@pytest.mark.parametrize("row", [6, -7, np.array([0, 6])])
def test_store__row_that_there_is_not(store: PixelStore, row: int) -> None:
    with pytest.raises(IndexError):
        store[row]


def test_store__what_is_read_is_fresh(store: PixelStore) -> None:
    store[0][:] = 0
    image = store[np.array([0])]
    image[:] = 7
    assert np.array_equal(store[0], EXPECTED[0])


def test_store__has_the_length_of_its_rows(store: PixelStore) -> None:
    assert len(store) == 6
    assert store.spec == SPEC


def test_store__is_read_by_many_threads(store: PixelStore) -> None:
    orders = [np.random.default_rng(number).integers(0, 6, 200) for number in range(32)]
    with ThreadPoolExecutor(8) as pool:
        for order, images in zip(orders, pool.map(store.__getitem__, orders), strict=True):
            assert np.array_equal(images, EXPECTED[order])


def test_store__closes_its_file(tmp_path: Path) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").is_dir() else 0

    path = tmp_path / "image.png"
    path.write_bytes(encode(make_image(0)))
    before = descriptors()
    for cache in (None, tmp_path / "cache", tmp_path / "cache"):
        kept = prepare([path], SPEC, cache)[0]
        assert kept[0].any()
        del kept
        assert descriptors() == before


def fill(cache: Path, folder: Path) -> None:
    paths = []
    for number in range(3):
        paths.append(folder / f"{number}.png")
        paths[-1].write_bytes(encode(make_image(0, number)))
    for spec in (ImageSpec(8), ImageSpec(8, "crop")):
        prepare(paths[: 3 if spec.resize == "crop" else 2], spec, cache)


def test_list_caches__one_entry_an_image_spec(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    fill(cache, tmp_path)
    (cache / "v2-8-other").mkdir()
    (cache / "v0-16-letterbox").mkdir()
    (cache / "v0-16-letterbox" / "pixels-0.u8").write_bytes(bytes(100))
    old, crop, stretch = list_caches(cache)
    assert [entry.folder for entry in (old, crop, stretch)] == [
        cache / f"v{name}" for name in ("0-16-letterbox", "2-8-crop", "2-8-stretch")
    ]
    assert (old.spec, old.images, old.bytes) == (ImageSpec(16, "letterbox"), 0, 100)
    assert (crop.spec, crop.images) == (ImageSpec(8, "crop"), 3)
    assert (stretch.spec, stretch.images) == (ImageSpec(8), 2)
    assert crop.bytes == sum(file.stat().st_size for file in (cache / "v2-8-crop").iterdir()) > 3 * 8 * 8 * 3
    assert timedelta() <= datetime.now().astimezone() - crop.last_used < timedelta(minutes=5)


@pytest.mark.parametrize("make", [False, True])
def test_list_caches__nothing_there(tmp_path: Path, make: bool) -> None:
    if make:
        (tmp_path / "cache").mkdir()
    assert list_caches(tmp_path / "cache") == []
    assert clear_cache(tmp_path / "cache") == 0


def test_list_caches__damaged_index_counts_nothing(tmp_path: Path) -> None:
    fill(tmp_path / "cache", tmp_path)
    (index,) = (tmp_path / "cache" / "v2-8-crop").glob("index-*")
    index.write_bytes(b"damaged" * 1000)
    assert [entry.images for entry in list_caches(tmp_path / "cache")] == [0, 2]


def test_clear_cache__deletes_what_is_its_own_only(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    fill(cache, tmp_path)
    foreign = [cache / "notes.txt", cache / "v2-8-crop" / "pixels.u8", cache / "v2-9-mine" / "pixels-1.u8"]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_text("the user's")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "pixels-1.u8").write_text("the user's")
    (cache / "v2-7-stretch").symlink_to(elsewhere)
    size = sum(entry.bytes for entry in list_caches(cache))
    assert clear_cache(cache) == size
    assert all(path.read_text() == "the user's" for path in [*foreign, elsewhere / "pixels-1.u8"])
    assert not (cache / "v2-8-stretch").exists()
    assert [path.name for path in (cache / "v2-8-crop").iterdir()] == ["pixels.u8"]
    assert list_caches(cache) == []


def test_clear_cache__folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    assert clear_cache(tmp_path / "cache") == 0


def test_store__file_cut_short_while_in_use(tmp_path: Path) -> None:
    path = tmp_path / "pixels"
    path.write_bytes(PIXELS.tobytes())
    with path.open("r+b") as file:
        store = PixelStore(file.fileno(), SLOTS, SPEC)
        file.truncate(5 * 27 + 3)
        assert np.array_equal(store[0], EXPECTED[0])
        with pytest.raises(DataError, match="cut short while it was in use"):
            store[5]
