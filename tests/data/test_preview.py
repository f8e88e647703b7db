"""The sheet of augmented images shows what the network will see."""

from pathlib import Path

import numpy as np
import pytest
from making import encode, make_data, make_image
from numpy.typing import NDArray
from PIL import Image

from diptych.data.augment import augment_image
from diptych.data.contact_sheet import GAP, LINE, PAPER, TILE
from diptych.data.loader import BatchLoader
from diptych.data.preview import choose_rows, describe_label, preview, write_preview
from diptych.errors import DataError
from diptych.rng import generator
from diptych.settings.config import AugmentConfig, DataConfig
from diptych.settings.presets import augmentation

IMAGES = np.stack([make_image(number % 2, number, size=TILE) for number in range(5)])
TARGETS = np.arange(5) % 2
TITLES = ("a.png", "b.png", "c.png")
ROWS = np.array([3, 0, 4])


def tiles_of(path: Path) -> NDArray[np.uint8]:
    """The tiles of a sheet, uint8 (rows, columns, TILE, TILE, 3)."""
    sheet = np.asarray(Image.open(path))
    tops = range(2 * GAP + LINE, sheet.shape[0] - TILE, TILE + 2 * LINE + GAP)
    lefts = range(GAP, sheet.shape[1] - TILE, TILE + GAP)
    return np.array([[sheet[top : top + TILE, left : left + TILE] for left in lefts] for top in tops])


@pytest.mark.parametrize("level", ["none", "standard", "strong"])
def test_write_preview__tiles_are_the_images_and_then_the_batches_of_the_loader(level: str, tmp_path: Path) -> None:
    path, settings = tmp_path / "sheet.png", augmentation(level)
    loader = BatchLoader(IMAGES, TARGETS, ROWS, 3, settings, 7)
    write_preview(path, loader, TITLES, ("cat", "dog"), epochs=4)
    tiles = tiles_of(path)
    assert tiles.shape == (3, 5, TILE, TILE, 3)
    assert np.array_equal(tiles[:, 0], IMAGES[ROWS])
    for epoch in range(4):
        shown = {tile.tobytes() for tile in tiles[:, 1 + epoch]}
        assert shown == {image.tobytes() for image in loader.batch(epoch)[0]}
    if level == "none":
        assert (tiles == tiles[:, :1]).all()


def test_write_preview__each_image_stays_in_its_row(tmp_path: Path) -> None:
    settings = AugmentConfig()
    write_preview(tmp_path / "sheet.png", BatchLoader(IMAGES, TARGETS, ROWS, 3, settings, 7), TITLES, ("cat", "dog"))
    for row, tiles in zip(ROWS.tolist(), tiles_of(tmp_path / "sheet.png"), strict=True):
        for epoch, tile in enumerate(tiles[1:]):
            assert np.array_equal(tile, augment_image(IMAGES[row], generator(7, "augment", epoch, row), settings))


@pytest.mark.parametrize("size", [32, 300])
def test_write_preview__images_of_any_size_and_names_of_any_length_stay_in_their_tiles(size: int, tmp_path: Path) -> None:
    images = np.full((3, size, size, 3), 90, np.uint8)
    names = ("W" * 200, "猫 ⚡", "")
    loader = BatchLoader(images, np.arange(3), np.arange(3), 3, augmentation("strong"), 0, classes=3)
    write_preview(tmp_path / "sheet.png", loader, ("x" * 200,) * 3, names)
    sheet = Image.open(tmp_path / "sheet.png")
    assert tiles_of(tmp_path / "sheet.png").shape[:2] == (3, 8)
    paper = Image.new("RGB", (1, 1), PAPER).getpixel((0, 0))
    gaps = [x for left in range(0, sheet.width, TILE + GAP) for x in range(left, left + GAP)]
    assert (np.asarray(sheet)[:, gaps] == paper).all()


@pytest.mark.parametrize(
    ("label", "lines"),
    [
        ([0.0], ("cat",)),
        ([1.0], ("dog",)),
        ([0.25], ("75 % cat", "25 % dog")),
        ([0.997], ("dog",)),
        ([0, 1, 0], ("dog",)),
        ([0.4, 0, 0.6], ("60 % eel", "40 % cat")),
    ],
)
def test_describe_label__names_the_class_or_both(label: list[float], lines: tuple[str, ...]) -> None:
    assert describe_label(np.array(label, np.float32), ("cat", "dog", "eel")) == lines


def test_choose_rows__takes_the_classes_in_turn() -> None:
    targets = np.array([0] * 90 + [1] * 9 + [2])
    rows = choose_rows(targets, 0, 7)
    assert sorted(targets[rows].tolist()) == [0, 0, 0, 1, 1, 1, 2]
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert rows.tolist() != choose_rows(targets, 1, 7).tolist()
    assert choose_rows(targets, 0, 1000).tolist() == list(range(100))


def settings_of(data: Path, tmp_path: Path) -> DataConfig:
    return DataConfig(data, image_size=TILE, cache=tmp_path / "cache")


def test_preview__shows_images_of_both_classes_as_the_training_would_change_them(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data", count=6, size=TILE)
    preview(settings_of(data, tmp_path), AugmentConfig(), 3, 4, tmp_path / "sheet.png")
    tiles = tiles_of(tmp_path / "sheet.png")
    everything = [make_image(target, number, TILE) for target in (0, 1) for number in range(6)]
    rows = [next(row for row, image in enumerate(everything) if np.array_equal(image, tile)) for tile in tiles[:, 0]]
    assert [row // 6 for row in rows] == [0, 0, 1, 1]
    for row, shown in zip(rows, tiles, strict=True):
        assert np.array_equal(shown[2], augment_image(everything[row], generator(3, "augment", 1, row), AugmentConfig()))


def test_preview__leaves_out_what_cannot_be_read(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data", count=3, size=TILE)
    (data / "0" / "01.png").write_bytes(encode(make_image(0))[:100])
    preview(settings_of(data, tmp_path), augmentation("none"), 0, 6, tmp_path / "sheet.png")
    expected = [make_image(target, number, TILE) for target in (0, 1) for number in range(3) if (target, number) != (0, 1)]
    assert np.array_equal(tiles_of(tmp_path / "sheet.png")[:, 0], expected)


def test_preview__nothing_readable_is_an_error(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data", count=1)
    for path in data.glob("*/*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(DataError, match="None of 2 images can be read"):
        preview(settings_of(data, tmp_path), AugmentConfig(), 0, 6, tmp_path / "sheet.png")
    assert not (tmp_path / "sheet.png").exists()
