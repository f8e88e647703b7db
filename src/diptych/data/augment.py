"""Random changes of one training image: one resampling for the geometry, one table for the tones."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diptych.config import AugmentConfig


def augment_image(image: NDArray[np.uint8], generator: np.random.Generator, settings: AugmentConfig) -> NDArray[np.uint8]:
    """Change an image at random; its size stays. What moves in from outside is the image mirrored at its edge.

    Args:
        image: uint8 (S, S, 3), RGB.
        generator: draws for this image and epoch alone.
        settings: what to change, and how far.

    Returns:
        uint8 (S, S, 3), RGB; the input is left as it is.
    """
    if settings.flip_horizontal and generator.random() < 0.5:
        image = image[:, ::-1]
    if settings.flip_vertical and generator.random() < 0.5:
        image = image[::-1]
    if settings.quarter_turns:
        image = np.rot90(image, int(generator.integers(4)))
    if settings.rotation or settings.zoom or settings.shift:
        image = move(image, generator, settings)
    return change_tones(image, generator, settings)


def move(image: NDArray[np.uint8], generator: np.random.Generator, settings: AugmentConfig) -> NDArray[np.uint8]:
    """Rotate, zoom and shift in one bilinear resampling."""
    size = image.shape[0]
    angle = np.deg2rad(generator.uniform(-settings.rotation, settings.rotation))
    scale = np.exp(generator.uniform(-1, 1) * np.log1p(settings.zoom))
    shift = generator.uniform(-settings.shift, settings.shift, size=2) * size
    # What the farthest corner can reach beyond the edge.
    reach = 0.5 * size * ((abs(np.cos(angle)) + abs(np.sin(angle))) * scale - 1) + abs(shift).max()
    margin = max(1, int(np.ceil(reach)) + 1)
    padded = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    middle = np.array([0.5 * size, 0.5 * size])
    offset = middle + margin + shift - np.array([[cos, sin], [-sin, cos]]) @ middle
    matrix = (cos, sin, offset[0], -sin, cos, offset[1])
    moved = Image.fromarray(padded).transform((size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    return np.asarray(moved)


def change_tones(image: NDArray[np.uint8], generator: np.random.Generator, settings: AugmentConfig) -> NDArray[np.uint8]:
    """Change contrast about mid-grey, then brightness, by one table of 256 values."""
    if not (settings.brightness or settings.contrast):
        return np.array(image)
    factor = 1 + generator.uniform(-settings.contrast, settings.contrast)
    offset = 255 * generator.uniform(-settings.brightness, settings.brightness)
    levels = np.clip((np.arange(256) - 127.5) * factor + 127.5 + offset, 0, 255)
    tones: NDArray[np.uint8] = np.round(levels).astype(np.uint8)
    return np.take(tones, image)
