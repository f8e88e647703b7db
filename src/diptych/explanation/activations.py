"""Intermediate activations of a trained network, and its head as NumPy arrays."""

from collections.abc import Mapping
from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

from diptych.data.batches import OrderedBatches
from diptych.inference.predict import BATCH_SIZE
from diptych.machine.backend import feed
from diptych.model import convnet, resnet

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Head:
    """The two dense layers behind the pooled features.

    Attributes:
        kernel1: float32 (C, U).
        bias1: float32 (U,).
        kernel2: float32 (U, 1) of two classes, else (U, K).
        bias2: float32 (1,) or (K,).
    """

    kernel1: Floats
    bias1: Floats
    kernel2: Floats
    bias2: Floats

    def probabilities(self, pooled: Floats) -> Floats:
        """Return the probabilities, float32 (N, K), that follow from pooled features (N, C)."""
        logits = np.maximum(pooled @ self.kernel1 + self.bias1, 0) @ self.kernel2 + self.bias2
        if logits.shape[1] == 1:
            logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities: Floats = powers / powers.sum(axis=1, keepdims=True)
        return probabilities

    def slopes(self, pooled: Floats, targets: NDArray[np.int64]) -> Floats:
        """Return the gradient, float32 (N, C), of each target's logit; of two classes, class 0 has the negative of class 1's."""
        open_units = pooled @ self.kernel1 + self.bias1 > 0
        if self.kernel2.shape[1] == 1:
            outward = np.where(targets == 1, 1, -1)[:, None] * self.kernel2[:, 0]
        else:
            outward = self.kernel2[:, targets].T
        slopes: Floats = (open_units * outward) @ self.kernel1.T
        return slopes.astype(np.float32)


class Activations:
    """Reads the intermediate activations of a dual model: the features and the gates of its branches, and its head."""

    def __init__(self, network: keras.Model) -> None:
        names = {layer.name for layer in network.layers}
        self.network = network
        self.branches = tuple(name for name in (resnet.NAME, convnet.NAME) if name in names)
        self.gated = tuple(name for name in self.branches if f"{name}_spatial_gate" in names)
        joined = network.get_layer("join" if "join" in names else "pool").input
        outputs = dict(zip(self.branches, joined if isinstance(joined, list) else [joined], strict=True))
        outputs |= {f"{name}_gate": network.get_layer(f"{name}_spatial_gate").output for name in self.gated}
        self.model = keras.Model(network.input, outputs)

    def read(self, images: NDArray[np.uint8]) -> dict[str, Floats]:
        """Return each branch's refined features, float32 (N, h, w, C), and as `NAME_gate` its attention, (N, h, w, 1)."""
        rows = np.arange(len(images))
        batches = OrderedBatches(images, np.zeros(len(images), np.int64), rows, BATCH_SIZE, 2)
        found = self.model.predict(feed(iter(batches)), steps=len(batches), verbose=0)
        return {name: np.asarray(values, np.float32) for name, values in found.items()}

    def head(self) -> Head:
        """Return the head as its weights are now."""
        layers = [self.network.get_layer(name) for name in ("dense", "probability")]
        weights = [variable for layer in layers for variable in (layer.kernel, layer.bias)]
        return Head(*(np.array(keras.ops.convert_to_numpy(variable), np.float32) for variable in weights))


def pool(activations: Activations, features: Mapping[str, Floats]) -> Floats:
    """Return the pooled features of all branches, float32 (N, C)."""
    return np.concatenate([features[name].mean(axis=(1, 2)) for name in activations.branches], axis=1)


def pooled_means(activations: Activations, images: NDArray[np.uint8]) -> dict[str, Floats]:
    """Return the mean of each branch's pooled features, float32 (C,), over reference images, uint8 (N, S, S, 3)."""
    features = activations.read(images)
    return {name: features[name].mean(axis=(0, 1, 2)) for name in activations.branches}
