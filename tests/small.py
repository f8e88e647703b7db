"""A network that is quick to trace, with the names and the structure of the dual model."""

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

SIZE = 8


def small_network(batch_norm: bool = True, dropout: float = 0.0) -> keras.Model:
    """Two branches, "resnet50" with one convolution for each of its five stages and "convnet" with one, and a head."""
    pixels = keras.Input((SIZE, SIZE, 3), dtype="uint8", name="pixels")
    unit = layers.Rescaling(1 / 255, dtype="float32")(pixels)
    deep = branch("resnet50", [f"conv{number}" for number in range(1, 6)], batch_norm)(unit)
    joined = layers.Concatenate(name="join")([deep, branch("convnet", ["stem"], batch_norm)(unit)])
    pooled = layers.Dropout(dropout, seed=3)(layers.GlobalAveragePooling2D(name="pool")(joined))
    hidden = layers.Dense(6, activation="gelu", name="dense")(pooled)
    return keras.Model(pixels, layers.Dense(1, activation="sigmoid", name="probability")(hidden))


def branch(name: str, stages: list[str], batch_norm: bool) -> keras.Model:
    start = keras.Input((SIZE, SIZE, 3))
    features = start
    for stage in stages:
        features = layers.Conv2D(4, 3, padding="same", name=f"{stage}_conv")(features)
        if batch_norm:
            features = layers.BatchNormalization(name=f"{stage}_bn")(features)
        features = layers.Activation("gelu", name=f"{stage}_gelu")(features)
    return keras.Model(start, features, name=name)


def small_batch(images: int = 8, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Images, uint8 (images, 8, 8, 3), and labels, float32 (images, 1)."""
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (images, SIZE, SIZE, 3), np.uint8), random.integers(0, 2, (images, 1)).astype(np.float32)


def values(variables: list[keras.Variable]) -> list[NDArray[np.generic]]:
    """Copies of variables."""
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def same(first: list[NDArray[np.generic]], second: list[NDArray[np.generic]]) -> bool:
    """Whether all arrays are equal bit for bit."""
    return all(one.tobytes() == two.tobytes() for one, two in zip(first, second, strict=True))
