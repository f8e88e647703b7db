"""Training and validation batches of a Manifest, at any image size up to the prepared one."""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from diptych.data.loader import BatchLoader, class_weights, encode_labels
from diptych.data.pixels.store import Images
from diptych.data.reading.manifest import Manifest
from diptych.settings.config import Config


class Shrunk:
    """Images at a smaller size than they were prepared at; `shrunk[rows]` is what `images[rows]` is, only smaller."""

    def __init__(self, images: Images, size: int) -> None:
        """Wrap images: uint8 (N, S, S, 3), of which S is at least `size` pixels."""
        self.images = images
        self.size = size

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        found = self.images[rows]
        if found.shape[1] == self.size:
            return found
        shrunk = np.empty((len(found), self.size, self.size, 3), np.uint8)
        for image, small in zip(found, shrunk, strict=True):
            cv2.resize(image, (self.size, self.size), dst=small, interpolation=cv2.INTER_AREA)
        return shrunk


class OrderedBatches:
    """Images as they are and in order, with their labels, read batch by batch."""

    def __init__(
        self,
        images: Images,
        targets: NDArray[np.int64],
        rows: NDArray[np.int64],
        batch_size: int,
        classes: int,
    ) -> None:
        self.images = images
        self.targets = targets
        self.rows = rows
        self.batch_size = batch_size
        self.classes = classes

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __getitem__(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        rows = self.rows[number * self.batch_size : (number + 1) * self.batch_size]
        return self.images[rows], encode_labels(self.targets[rows], self.classes)

    def __iter__(self) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
        return (self[number] for number in range(len(self)))


def training_batches(manifest: Manifest, store: Images, config: Config, image_size: int) -> BatchLoader:
    """Return the endless stream of training batches at one image size, in pixels."""
    settings = config.training
    targets = targets_of(manifest, store)
    rows = rows_of(manifest, "train")
    classes = len(manifest.class_names)
    weights = class_weights(targets[rows], classes, settings.class_weights)
    images = Shrunk(store, image_size)
    return BatchLoader(
        images, targets, rows, settings.batch_size, config.augment, settings.seed, classes=classes, class_weights=weights
    )


def validation_batches(manifest: Manifest, store: Images, batch_size: int, image_size: int) -> OrderedBatches:
    """Return the validation images, at one image size in pixels, in order."""
    targets = targets_of(manifest, store)
    images = Shrunk(store, image_size)
    return OrderedBatches(images, targets, rows_of(manifest, "validation"), batch_size, len(manifest.class_names))


def rows_of(manifest: Manifest, part: str) -> NDArray[np.int64]:
    """Return the rows of the store that hold a part: "train", "validation" or "test"."""
    return np.asarray(manifest.table.index[manifest.table["split"] == part], np.int64)


def targets_of(manifest: Manifest, store: Images) -> NDArray[np.int64]:
    targets = np.zeros(len(store), np.int64)
    targets[manifest.table.index] = manifest.table["target"]
    return targets
