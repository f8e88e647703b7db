"""Data parallelism: train and validate on several devices, each with a part of every batch.

Measured with Keras 3.15: under TensorFlow's MirroredStrategy, `fit` loses batches of a generator, so it is given numbered
batches here; a batch that does not divide by the devices is an error on JAX, so the last batch of the validation is padded.
"""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from diptych.data.batches import OrderedBatches
from diptych.data.loader import Batch, BatchLoader
from diptych.errors import ConfigError
from diptych.training.steps.optimizers import smooth_labels


def check_divisible(batch_size: int, devices: int) -> None:
    """Raise a ConfigError where a batch cannot be shared out evenly."""
    if batch_size % devices:
        fits = max(devices, batch_size // devices * devices)
        raise ConfigError(f"batch_size is {batch_size}; expected a multiple of the {devices} devices. Set --batch-size {fits}.")


def smoothed_batches(loader: BatchLoader, first: int, steps: int, label_smoothing: float) -> Iterator[Batch]:
    """Yield `steps` training batches of a loader, beginning with batch `first`, with smoothed labels."""
    for images, labels, weights in loader.stream(first, steps):
        yield images, smooth_labels(labels, label_smoothing), weights


class NumberedBatches(keras.utils.PyDataset):
    """The same as `smoothed_batches`, by their numbers, made when they are asked for."""

    def __init__(self, loader: BatchLoader, first: int, steps: int, label_smoothing: float) -> None:
        super().__init__()
        self.loader = loader
        self.first = first
        self.steps = steps
        self.label_smoothing = label_smoothing

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, number: int) -> Batch:
        images, labels, weights = self.loader.batch(self.first + number)
        return images, smooth_labels(labels, self.label_smoothing), weights


class PaddedImages(keras.utils.PyDataset):
    """The images of ordered batches, the last batch filled up with its last image."""

    def __init__(self, batches: OrderedBatches) -> None:
        super().__init__()
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> tuple[NDArray[np.uint8]]:
        images, _ = self.batches[number]
        missing = self.batches.batch_size - len(images)
        return (np.concatenate([images, np.repeat(images[-1:], missing, axis=0)]),)


def evaluate_in_parallel(network: keras.Model, batches: OrderedBatches) -> dict[str, Any]:
    """Return what `network.evaluate` does: the mean loss and the accuracy."""
    probabilities = network.predict(PaddedImages(batches), verbose=0)[: len(batches.rows)]
    labels = np.concatenate([batches[number][1] for number in range(len(batches))])
    if labels.shape[1] == 1:
        right = (probabilities >= 0.5) == (labels >= 0.5)
    else:
        right = probabilities.argmax(axis=1) == labels.argmax(axis=1)
    # Of each image, and the mean here: under MirroredStrategy, Keras divides a loss that it reduces by the number of devices.
    losses = network.loss.call(keras.ops.convert_to_tensor(labels), keras.ops.convert_to_tensor(probabilities))
    return {"loss": float(np.mean(keras.ops.convert_to_numpy(losses))), "accuracy": float(np.mean(right))}


def synchronise_batch_norm(network: keras.Model) -> None:
    """Average batch-normalisation statistics over all devices, which TensorFlow lets differ."""
    for variable in network.non_trainable_variables:
        variable.assign(keras.ops.convert_to_numpy(variable))
