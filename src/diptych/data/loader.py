"""BatchLoader: every batch is a function of the seed and the step."""

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import count, islice

import numpy as np
from numpy.typing import NDArray

from diptych.data.augment import augment_image, changes_images, mix_batch, one_thread_each
from diptych.data.pixels.store import Images
from diptych.rng import generator
from diptych.settings.config import AugmentConfig, ClassWeights

Batch = tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]


class BatchLoader:
    """An endless, shuffled, augmented stream of full batches.

    The images are seen in a new order on each pass; passes follow one another without a gap, so that a batch may hold
    the end of one and the beginning of the next. All batches have the same size, and no image is left out.
    """

    def __init__(
        self,
        images: Images,
        labels: NDArray[np.int64],
        rows: NDArray[np.int64],
        batch_size: int,
        settings: AugmentConfig,
        seed: int,
        *,
        classes: int = 2,
        class_weights: NDArray[np.float32] | None = None,
    ) -> None:
        """Set up the stream; nothing is read yet.

        Args:
            images: uint8 (N, S, S, 3), RGB; only `images[rows]` is asked for, which gives a fresh array.
            labels: (N,), from 0 to `classes` - 1.
            rows: the rows of `images` to train on, at least one.
            batch_size: images per batch.
            settings: the augmentation.
            seed: of order and augmentation.
            classes: how many there are, at least 2.
            class_weights: float32 (classes,), the weight of an image of each class; None for 1.
        """
        self.images = images
        self.labels = labels
        self.rows = rows
        self.batch_size = batch_size
        self.settings = settings
        self.seed = seed
        self.classes = classes
        self.class_weights = np.ones(classes, np.float32) if class_weights is None else class_weights
        # A batch needs the order of its pass, or of two; to draw 10 million rows anew for each would take half a second.
        self.order = lru_cache(maxsize=2)(self.draw_order)

    def draw_order(self, number: int) -> NDArray[np.int64]:
        return generator(self.seed, "order", number).permutation(self.rows)

    def batch(self, step: int) -> Batch:
        """Return batch number `step`, counted from 0 over the whole training.

        Returns:
            images uint8 (B, S, S, 3); labels float32, (B, 1) from 0 to 1 for two classes, (B, K) for more, mixed where
            MixUp or CutMix mixed the images; weights float32 (B,), mixed likewise.
        """
        positions = range(step * self.batch_size, (step + 1) * self.batch_size)
        places = [divmod(position, len(self.rows)) for position in positions]
        rows = np.array([self.order(number)[place] for number, place in places])
        keys = [(number, int(row)) for (number, _), row in zip(places, rows, strict=True)]
        images = self.images[rows]
        labels = encode_labels(self.labels[rows], self.classes)
        weights = self.class_weights[self.labels[rows]]
        if changes_images(self.settings):
            for image, (number, row) in zip(images, keys, strict=True):
                image[:] = augment_image(image, generator(self.seed, "augment", number, row), self.settings)
        if self.settings.mixup or self.settings.cutmix:
            draws = [generator(self.seed, "mix", number, row) for number, row in keys]
            labels, weights = mix_batch(images, labels, weights, draws, self.settings)
        return images, labels, weights

    def stream(self, first_step: int = 0, steps: int | None = None) -> Iterator[Batch]:
        """Yield batches `first_step`, `first_step` + 1, ..., `steps` of them or without end; threads prepare the next ones."""
        workers = max(1, (os.cpu_count() or 1) // 2)
        wanted = iter(count(first_step) if steps is None else range(first_step, first_step + steps))
        with one_thread_each, ThreadPoolExecutor(workers) as pool:
            ahead = deque(pool.submit(self.batch, step) for step in islice(wanted, workers + 1))
            while ahead:
                yield ahead.popleft().result()
                ahead.extend(pool.submit(self.batch, step) for step in islice(wanted, 1))


def encode_labels(targets: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    """Turn class numbers into the targets of the loss.

    Args:
        targets: (N,), from 0 to `classes` - 1.
        classes: how many there are, at least 2.

    Returns:
        float32: (N, 1), 0 or 1, for two classes; one-hot (N, classes) for more.
    """
    if classes == 2:
        return targets.astype(np.float32)[:, None]
    labels = np.zeros((len(targets), classes), np.float32)
    labels[np.arange(len(targets)), targets] = 1
    return labels


def class_weights(targets: NDArray[np.int64], classes: int, kind: ClassWeights) -> NDArray[np.float32]:
    """Weigh the classes against their imbalance.

    Args:
        targets: (N,), the classes of the training images, at least one.
        classes: how many there are.
        kind: none: 1 each; balanced: N / (classes * n), n being the images of the class; sqrt: the square root of it.

    Returns:
        float32 (classes,), scaled so that the mean over the training images is 1; 0 for a class without an image, unless
        `kind` is none.
    """
    if kind == "none":
        return np.ones(classes, np.float32)
    counts = np.bincount(targets, minlength=classes)
    power = {"balanced": -1.0, "sqrt": -0.5}[kind]
    weights = np.where(counts > 0, np.maximum(counts, 1) ** power, 0)
    return (weights * len(targets) / (weights @ counts)).astype(np.float32)
