"""Temporarily swap the EMA weights into the network (for validation), with re-estimated BatchNorm statistics."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from diptych.machine.backend import compiled
from diptych.training.steps.optimizers import parts_of


class Averaging:
    """The averaged weights of one network and its optimizer.

    Averaged weights meet statistics of batch normalisation that were gathered under other weights; they are therefore gathered
    anew (Izmailov et al., UAI 2018, https://arxiv.org/abs/1803.05407, section 3.2), by a pass that is compiled once.
    """

    def __init__(self, network: keras.Model, optimizer: keras.Optimizer | None = None) -> None:
        """Take a network after its layers were frozen.

        Args:
            network: a compiled network.
            optimizer: its optimizer; None where only `reestimate_batch_norm` is called.
        """
        self.network = network
        self.optimizer = optimizer
        layers = [layer for layer in network._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
        self.layers = [layer for layer in layers if layer.trainable]
        self.next_state = compiled(self.pass_images)

    @contextmanager
    def averaged(self, batches: Iterator[NDArray[np.uint8]] | None, count: int) -> Iterator[None]:
        """Swap in the moving average of the weights, with batch-normalisation statistics re-estimated for them.

        On leaving, also by an exception, every variable is what it was, bit for bit. Without a moving average, or before the
        optimizer's first batch, nothing changes.

        Args:
            batches: training images, uint8 (B, S, S, 3), read only where there is an average; None to keep the statistics.
            count: batches to take, at least 1 where there are batches.
        """
        pairs = average_pairs(self.optimizer)
        if not pairs:
            yield
            return
        kept = [read(variable) for variable in self.network.variables]
        try:
            for variable, average in pairs:
                # A copy: on JAX the two would share one buffer, which `evaluate` gives away.
                variable.assign(read(average))
            if batches is not None and self.layers:
                self.reestimate_batch_norm(islice(batches, count))
            yield
        finally:
            for variable, value in zip(self.network.variables, kept, strict=True):
                variable.assign(value)

    def reestimate_batch_norm(self, batches: Iterator[NDArray[np.uint8]]) -> None:
        """Set the statistics of each trainable batch normalisation to their mean over batches in training mode.

        Nothing but the statistics changes.
        """
        trained = [keras.ops.stop_gradient(variable) for variable in self.network.trainable_variables]
        others = self.network.non_trainable_variables
        places = {id(variable): place for place, variable in enumerate(others)}
        statistics = [variable for layer in self.layers for variable in (layer.moving_mean, layer.moving_variance)]
        sums = [np.zeros(variable.shape) for variable in statistics]
        seen = 0
        state = [keras.ops.convert_to_tensor(variable) for variable in others]
        for images in batches:
            state = self.next_state(trained, state, images)
            found = [keras.ops.convert_to_numpy(state[places[id(variable)]]) for variable in statistics]
            sums = [total + value for total, value in zip(sums, found, strict=True)]
            seen += 1
        for variable, total in zip(statistics, sums, strict=True):
            variable.assign((total / seen).astype(np.float32))

    def pass_images(self, trained: list[Any], state: list[Any], images: Any) -> list[Any]:
        """Return the non-trainable variables after a batch, with the statistics of this batch alone."""
        momenta = [layer.momentum for layer in self.layers]
        try:
            # What is traced here keeps this momentum; what `fit` traced keeps the other one.
            for layer in self.layers:
                layer.momentum = 0.0
            after: list[Any] = self.network.stateless_call(trained, state, images, training=True)[1]
        finally:
            for layer, momentum in zip(self.layers, momenta, strict=True):
                layer.momentum = momentum
        return after


def read(variable: keras.Variable) -> NDArray[np.generic]:
    """Copy a variable: on PyTorch and TensorFlow its array may be a view, which the next assignment changes."""
    return np.array(keras.ops.convert_to_numpy(variable))


def average_pairs(optimizer: keras.Optimizer) -> list[tuple[keras.Variable, keras.Variable]]:
    """Return each trained variable with its moving average, which Keras keeps in the optimizer."""
    # Before its first batch, which the first variable counts, the averages are zero.
    parts = [part for part in parts_of(optimizer) if part.use_ema and part.built and int(read(part.variables[0]))]
    return [pair for part in parts for pair in zip(part._trainable_variables, part._model_variables_moving_average, strict=True)]
