"""The averaged weights, put into the network for as long as they are looked at."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

import keras
import numpy as np
from numpy.typing import NDArray

from diptych.training.optim import parts_of


@contextmanager
def averaged(
    network: keras.Model, optimizer: keras.Optimizer, batches: Iterator[NDArray[np.uint8]] | None, count: int
) -> Iterator[None]:
    """Let the network have the moving average of its weights, and batch normalisation what goes with them.

    Averaged weights meet statistics that were gathered under other weights; they are therefore gathered anew (Izmailov et
    al., UAI 2018, https://arxiv.org/abs/1803.05407, section 3.2). On leaving, also by an exception, every variable is what
    it was, bit for bit.

    Args:
        network: what is trained.
        optimizer: its optimizer, built; without a moving average, or before its first batch, nothing changes.
        batches: training images, uint8 (B, S, S, 3), read only where there is an average; None to keep the statistics.
        count: batches to take, at least 1 where there are batches.
    """
    pairs = average_pairs(optimizer)
    if not pairs:
        yield
        return
    kept = [read(variable) for variable in network.variables]
    try:
        for variable, average in pairs:
            # A copy: on JAX the two would share one buffer, which `evaluate` gives away.
            variable.assign(read(average))
        if batches is not None:
            recompute_statistics(network, islice(batches, count))
        yield
    finally:
        for variable, value in zip(network.variables, kept, strict=True):
            variable.assign(value)


def read(variable: keras.Variable) -> NDArray[np.generic]:
    """Copy a variable: on PyTorch and TensorFlow its array may be a view, which the next assignment changes."""
    return np.array(keras.ops.convert_to_numpy(variable))


def average_pairs(optimizer: keras.Optimizer) -> list[tuple[keras.Variable, keras.Variable]]:
    """Return each trained variable with its moving average, which Keras keeps in the optimizer."""
    # Before its first batch, which the first variable counts, the averages are zero.
    parts = [part for part in parts_of(optimizer) if part.use_ema and part.built and int(read(part.variables[0]))]
    return [pair for part in parts for pair in zip(part._trainable_variables, part._model_variables_moving_average, strict=True)]


def recompute_statistics(network: keras.Model, batches: Iterator[NDArray[np.uint8]]) -> None:
    """Set the statistics of each trainable batch normalisation to their mean over batches in training mode.

    Nothing but the statistics changes. The pass is neither traced nor compiled, for a traced one would keep the momentum.
    """
    layers = [layer for layer in network._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    layers = [layer for layer in layers if layer.trainable]
    if not layers:
        return
    trained = [keras.ops.stop_gradient(variable) for variable in network.trainable_variables]
    others = network.non_trainable_variables
    places = {id(variable): place for place, variable in enumerate(others)}
    statistics = [variable for layer in layers for variable in (layer.moving_mean, layer.moving_variance)]
    sums, seen = [np.zeros(variable.shape) for variable in statistics], 0
    momenta = [layer.momentum for layer in layers]
    try:
        for layer in layers:
            layer.momentum = 0.0
        state = [keras.ops.convert_to_tensor(variable) for variable in others]
        for images in batches:
            _, state = network.stateless_call(trained, state, images, training=True)
            found = [keras.ops.convert_to_numpy(state[places[id(variable)]]) for variable in statistics]
            sums = [total + value for total, value in zip(sums, found, strict=True)]
            seen += 1
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
    for variable, total in zip(statistics, sums, strict=True):
        variable.assign((total / seen).astype(np.float32))
