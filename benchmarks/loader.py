"""Augmented images/s of the loader on one core at 224 px, from a prepared file, beside Keras's own preprocessing layers in a
tf.data map on the same images and the same core. The promise: 1,500 with standard augmentation, 8,000 without.

One core: the process is pinned to one of the machine's (logical) cores with os.sched_setaffinity before TensorFlow starts, so
that the loader's threads and TensorFlow's share it; and a second is one of processor time, of all threads and of the system
calls, so that whatever else runs on that core does not count. The prepared file stays in the page cache, as a data set that
fits in memory does after its first pass. The reference does what the level standard does, with one layer for each piece.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from itertools import islice

import cv2
import numpy as np

from diptych.data.loader import BatchLoader
from diptych.data.pixels.decode import ImageSpec
from diptych.data.pixels.store import PixelStore
from diptych.machine.memory import keep_freed_memory
from diptych.settings.presets import augmentation

BATCH = 32


def made_store(folder: str, count: int, size: int) -> PixelStore:
    """Blurred noise: the cost of a resampling depends on the memory, not on what is in the image."""
    draw = np.random.default_rng(0)
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(count):
            file.write(cv2.GaussianBlur(draw.integers(0, 256, (size, size, 3), np.uint8), (0, 0), 2).tobytes())
        file.flush()
        return PixelStore(file.fileno(), np.arange(count), ImageSpec(size))


def per_second(batches: Iterator[object], steps: int) -> float:
    deque(islice(batches, 3), maxlen=1)
    started = time.process_time()
    deque(islice(batches, steps), maxlen=1)
    return steps * BATCH / (time.process_time() - started)


def ours(store: PixelStore, level: str, steps: int) -> float:
    # As a training does; or the end of the reference's iterator would slow the loader down.
    keep_freed_memory()
    rows = np.arange(len(store))
    stream = BatchLoader(store, rows % 2, rows, BATCH, augmentation(level), 0).stream()
    return per_second(stream, steps)


def by_keras(store: PixelStore, steps: int) -> float:
    import keras
    import tensorflow as tf

    settings = augmentation("standard")
    layers = keras.Sequential(
        [
            keras.layers.RandomFlip("horizontal_and_vertical"),
            keras.layers.RandomRotation(settings.rotation / 360),
            keras.layers.RandomZoom(settings.zoom),
            keras.layers.RandomTranslation(settings.shift, settings.shift),
            keras.layers.RandomContrast(settings.contrast, value_range=(0, 255)),
            keras.layers.RandomBrightness(settings.brightness, value_range=(0, 255)),
        ]
    )
    images = store[np.arange(min(len(store), 512))]
    data = tf.data.Dataset.from_tensor_slices(images).repeat().batch(BATCH).map(lambda batch: layers(batch, training=True))
    return per_second(iter(data), steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--steps", type=int, default=60, help="batches of 32 of each measurement")
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="where the prepared file is made")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    store = made_store(arguments.folder, arguments.images, arguments.image_size)
    # In turn, and the median: the machine drifts.
    levels = "none", "light", "standard", "strong"
    rounds = [
        {level: ours(store, level, arguments.steps) for level in levels}
        | {"keras": by_keras(store, max(1, arguments.steps // 4))}
        for _ in range(3)
    ]
    speed = {name: statistics.median(found[name] for found in rounds) for name in rounds[0]}
    value, reference = speed["standard"], speed["keras"]
    result = {"benchmark": "loader", "value": value, "reference": reference, "ratio": value / reference}
    result |= {"unit": "images/s per core", "without_augmentation": speed["none"], "light": speed["light"]}
    print(json.dumps(result | {"strong": speed["strong"]} | vars(arguments)))


if __name__ == "__main__":
    main()
