"""A sheet of augmented images, as the network will see them."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from diptych.data.contact_sheet import GAP, INK, LINE, PAPER, TILE, draw_tile, write_line
from diptych.data.dataset import read_data
from diptych.data.loader import BatchLoader
from diptych.data.pixels.decode import spec_of
from diptych.data.pixels.greys import warn_of_doubts
from diptych.data.pixels.prepare import prepare
from diptych.data.pixels.store import PixelStore
from diptych.data.reading.class_folders import SHEET_MARK
from diptych.errors import DataError
from diptych.rng import generator
from diptych.screen import count_of
from diptych.settings.config import AugmentConfig, DataConfig
from diptych.storage.atomic import write_atomically

log = logging.getLogger(__name__)


class Chosen:
    """Images of a data set of which only these are prepared, by their rows in the whole."""

    def __init__(self, store: PixelStore, rows: NDArray[np.int64]) -> None:
        """Take the rows in rising order, as many as the store has images."""
        self.store = store
        self.rows = rows

    def __len__(self) -> int:
        return int(self.rows[-1]) + 1

    def __getitem__(self, rows: NDArray[np.int64], /) -> NDArray[np.uint8]:
        return self.store[np.searchsorted(self.rows, rows)]


def preview(data: DataConfig, settings: AugmentConfig, seed: int, count: int, path: Path) -> None:
    """Choose images of a data folder, about as many of each class, and draw them as `write_preview` does.

    Only these are prepared. One that cannot be read is left out.

    Args:
        data: where the images are, and how they become pixels.
        settings: the augmentation.
        seed: of the choice and of the augmentation.
        count: how many images, at least 1.
        path: the PNG file.

    Raises:
        DataError: the data folder is not as it should be, or none of the chosen images can be read.
        OSError: the file cannot be written.
    """
    manifest = read_data(data)
    for remark in manifest.remarks:
        log.warning("Warning: %s.", remark.title)
    targets = manifest.table["target"].to_numpy(np.int64)
    names = manifest.table["path"]
    rows = choose_rows(targets, seed, count)
    paths = [manifest.root / name for name in names[rows]]
    store, outcome = prepare(paths, spec_of(data), data.cache)
    warn_of_doubts(outcome)
    readable = rows[(outcome["problem"] == "").to_numpy()]
    if not len(readable):
        raise DataError(
            f"{paths[0]}: {outcome['problem'].iloc[0]}. None of {count_of(len(paths))} can be read; see diptych check."
        )
    readable = readable[np.argsort(targets[readable], kind="stable")]
    classes = manifest.class_names
    loader = BatchLoader(Chosen(store, rows), targets, readable, len(readable), settings, seed, classes=len(classes))
    write_preview(path, loader, tuple(names[readable]), classes)


def choose_rows(targets: NDArray[np.int64], seed: int, count: int) -> NDArray[np.int64]:
    """Return up to `count` rows, drawn from the classes in turn, in rising order."""
    order = generator(seed, "preview").permutation(len(targets))
    turn = pd.Series(order).groupby(targets[order]).cumcount().to_numpy()
    return np.sort(order[np.lexsort((targets[order], turn))][:count])


def write_preview(
    path: Path, loader: BatchLoader, titles: tuple[str, ...], class_names: tuple[str, ...], epochs: int = 7
) -> None:
    """Write a PNG: a row for each image, first as it was prepared, then as the network sees it in each epoch.

    With the seed of a run, the loader changes an image as the training does; but MixUp and CutMix mix the images of the sheet
    with each other.

    Args:
        path: the PNG file.
        loader: of the images to show, different ones and all of them in one batch.
        titles: one for each of its rows, such as a file's name.
        class_names: the names of all classes.
        epochs: how many epochs to show, at least 1.

    Raises:
        OSError: the file cannot be written.
    """
    rows = loader.rows
    sheet = Image.new("RGB", (GAP + (1 + epochs) * (TILE + GAP), 2 * GAP + LINE + len(rows) * (TILE + 2 * LINE + GAP)), PAPER)
    originals = loader.images[rows]
    write_line(sheet, 0, GAP, "prepared", INK)
    for place, row in enumerate(rows.tolist()):
        draw_tile(sheet, 0, place, originals[place], (titles[place], class_names[loader.labels[row]]))
    for epoch in range(epochs):
        pixels, labels, _ = loader.batch(epoch)
        write_line(sheet, 1 + epoch, GAP, f"epoch {epoch + 1}", INK)
        places = {row: place for place, row in enumerate(loader.order(epoch).tolist())}
        for place, row in enumerate(rows.tolist()):
            lines = describe_label(labels[places[row]], class_names)
            draw_tile(sheet, 1 + epoch, place, pixels[places[row]], lines)
    made_by = PngInfo()
    key, value = SHEET_MARK.decode().split("\0")
    made_by.add_text(key, value)
    write_atomically(path, lambda partial: sheet.save(partial, pnginfo=made_by))


def describe_label(label: NDArray[np.float32], class_names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the class, or two lines with the shares of the two mixed classes."""
    shares = np.array([1 - label[0], label[0]]) if len(label) == 1 else label
    percent = np.round(100 * shares).astype(int)
    first, second = np.argsort(-shares, kind="stable")[:2]
    if percent[second] == 0:
        return (class_names[first],)
    return tuple(f"{percent[number]} % {class_names[number]}" for number in (first, second))
