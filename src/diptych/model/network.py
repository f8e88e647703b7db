"""The dual model: pixels in, probabilities out; every normalisation is inside."""

import random

import keras
from keras import layers

from diptych.machine.backend import keras_without_tensorflow
from diptych.model import convnet, resnet
from diptych.model.attention import global_attention
from diptych.settings.config import ModelConfig


def build_network(
    settings: ModelConfig, image_size: int | None = None, classes: int = 2, precision: str = "float32"
) -> keras.Model:
    """Build the dual model with random weights.

    Args:
        settings: width, attention, head.
        image_size: fixed height and width of the input, in pixels; None for any.
        classes: number of classes K, at least 2.
        precision: "float32", or "bfloat16" to compute the branches with that, with all weights in float32.

    Returns:
        A model from uint8 (N, H, W, 3) RGB to probabilities, float32: of class 1, (N, 1), by a sigmoid where there are two
        classes; else of each class, (N, K), by a softmax. Its last layer is "probability", its layers "resnet50" and
        "convnet" are the branches; see `global_attention` for the names of the attention maps.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else precision)
    try:
        # ResNet50 is cloned from its settings.
        with keras_without_tensorflow():
            return connect(settings, image_size, classes)
    finally:
        keras.config.set_dtype_policy(before)


def connect(settings: ModelConfig, image_size: int | None, classes: int) -> keras.Model:
    momentum = settings.batch_norm_momentum
    pixels = keras.Input((image_size, image_size, 3), dtype="uint8", name="pixels")
    unit = layers.Rescaling(1 / 255, dtype="float32", name="zero_to_one")(pixels)
    refined = []
    if settings.branches in ("both", resnet.NAME):
        deep = resnet.resnet50(settings.width, momentum, image_size)(resnet.caffe_pixels(unit))
        refined.append(global_attention(deep, settings.attention, resnet.NAME))
    if settings.branches in ("both", convnet.NAME):
        light = convnet.convnet(settings.width, momentum, image_size)(unit)
        refined.append(global_attention(light, settings.attention, convnet.NAME))
    joined = layers.Concatenate(name="join")(refined) if len(refined) > 1 else refined[0]
    pooled = layers.GlobalAveragePooling2D(name="pool")(joined)
    # As Keras draws it; but without a seed of its own, the layer draws from a generator on PyTorch that no checkpoint holds.
    seed = random.randint(1, 10**9)
    kept = layers.Dropout(settings.dropout, seed=seed, name="dropout")(pooled)
    hidden = layers.Dense(settings.dense_units, activation="relu", name="dense")(kept)
    units, activation = (1, "sigmoid") if classes == 2 else (classes, "softmax")
    probability = layers.Dense(units, activation=activation, dtype="float32", name="probability")(hidden)
    return keras.Model(pixels, probability, name="diptych")
