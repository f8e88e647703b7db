"""The second branch: a light network of parallel, concatenated convolutions.

Each stage halves the grid, looks at it through three receptive fields side by side (1x1, 3x3, and 3x3 dilated to 5x5),
concatenates what they see (as GoogLeNet does: Szegedy et al., CVPR 2015, https://arxiv.org/abs/1409.4842) and refines it
by a 1x1 convolution. Dilation instead of a 5x5 kernel keeps the third field at the second one's cost.
"""

import keras
from keras import KerasTensor, layers

NAME = "convnet"
STEM_FILTERS = 24
STAGE_FILTERS = (48, 96, 192, 384)


def convnet(width: float = 1.0, batch_norm_momentum: float = 0.99, image_size: int | None = None) -> keras.Model:
    """Build the branch.

    Args:
        width: factor on the number of filters of every layer.
        batch_norm_momentum: share of the old moving statistics kept at each step, in [0, 1).
        image_size: fixed H and W, in pixels; None for any.

    Returns:
        A model from float (N, H, W, 3), [0, 1], to float (N, H/32, W/32, 384 * width), with random weights.
    """

    def filters(published: int) -> int:
        return max(3, round(published * width))

    pixels = keras.Input((image_size, image_size, 3), name="convnet_pixels")
    features = convolve(pixels, filters(STEM_FILTERS), 5, "stem", batch_norm_momentum, strides=2)
    for number, published in enumerate(STAGE_FILTERS, start=1):
        features = convolve(features, filters(published), 3, f"stage{number}_down", batch_norm_momentum, strides=2)
        features = look_in_parallel(features, filters(published), f"stage{number}", batch_norm_momentum)
    return keras.Model(pixels, features, name=NAME)


def look_in_parallel(features: KerasTensor, filters: int, name: str, momentum: float) -> KerasTensor:
    each = filters // 3
    narrow = convolve(features, each, 1, f"{name}_1x1", momentum)
    middle = convolve(features, each, 3, f"{name}_3x3", momentum)
    wide = convolve(features, each, 3, f"{name}_3x3_dilated", momentum, dilation=2)
    joined = layers.Concatenate(name=f"{name}_concatenate")([narrow, middle, wide])
    return convolve(joined, filters, 1, f"{name}_refine", momentum)


def convolve(
    features: KerasTensor, filters: int, kernel: int, name: str, momentum: float, *, strides: int = 1, dilation: int = 1
) -> KerasTensor:
    """Convolution, batch normalisation, ReLU."""
    convolution = layers.Conv2D(
        filters, kernel, strides, padding="same", dilation_rate=dilation, use_bias=False, name=f"{name}_conv"
    )
    normalised = layers.BatchNormalization(momentum=momentum, name=f"{name}_bn")(convolution(features))
    return layers.ReLU(name=f"{name}_relu")(normalised)
