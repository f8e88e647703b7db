"""BatchLoader: every batch is a function of the seed and the step."""

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import numpy as np
from numpy.typing import NDArray

from diptych.config import AugmentConfig
from diptych.data.augment import augment_image
from diptych.rng import generator

Batch = tuple[NDArray[np.uint8], NDArray[np.float32]]


class BatchLoader:
    """An endless, shuffled, augmented stream of full batches.

    The images are seen in a new order on each pass; passes follow one another without a gap, so that a batch may hold
    the end of one and the beginning of the next. All batches have the same size, and no image is left out.
    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        labels: NDArray[np.int64],
        rows: NDArray[np.int64],
        batch_size: int,
        settings: AugmentConfig,
        seed: int,
    ) -> None:
        """Set up the stream; nothing is read yet.

        Args:
            images: uint8 (N, S, S, 3), RGB.
            labels: (N,), 0 or 1.
            rows: the rows of `images` to train on, at least one.
            batch_size: images per batch.
            settings: the augmentation.
            seed: of order and augmentation.
        """
        self.images, self.labels, self.rows = images, labels, rows
        self.batch_size, self.settings, self.seed = batch_size, settings, seed

    @property
    def steps_per_epoch(self) -> int:
        """Batches that it takes to see every image once, the last one filled up from the next pass."""
        return -(-len(self.rows) // self.batch_size)

    def batch(self, step: int) -> Batch:
        """Return batch number `step`, counted from 0 over the whole training.

        Returns:
            images uint8 (batch_size, S, S, 3), and labels float32 (batch_size, 1).
        """
        positions = range(step * self.batch_size, (step + 1) * self.batch_size)
        places = [divmod(position, len(self.rows)) for position in positions]
        orders = {number: generator(self.seed, "order", number).permutation(self.rows) for number, _ in places}
        picked = [(number, int(orders[number][place])) for number, place in places]
        images = np.stack([self.image(number, row) for number, row in picked])
        return images, self.labels[[row for _, row in picked]].astype(np.float32)[:, None]

    def image(self, number: int, row: int) -> NDArray[np.uint8]:
        image: NDArray[np.uint8] = self.images[row]
        if self.settings.augment == "none":
            return image
        return augment_image(image, generator(self.seed, "augment", number, row), self.settings)

    def stream(self, first_step: int = 0) -> Iterator[Batch]:
        """Yield batches `first_step`, `first_step` + 1, ... without end; threads make the next ones ahead."""
        workers = max(1, (os.cpu_count() or 1) // 2)
        with ThreadPoolExecutor(workers) as pool:
            ahead = deque(pool.submit(self.batch, first_step + number) for number in range(workers + 1))
            for step in count(first_step + workers + 1):
                yield ahead.popleft().result()
                ahead.append(pool.submit(self.batch, step))
