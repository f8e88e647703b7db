"""Random changes of training images: one image alone, or two of a batch mixed. OpenCV does the pixel work."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import cv2
import numpy as np
from numpy.typing import NDArray

from diptych.machine.host_process import Borrowed
from diptych.settings.config import AugmentConfig

Pixels = NDArray[np.uint8]


@Borrowed
@contextmanager
def one_thread_each() -> Iterator[None]:
    """Let OpenCV compute in the thread that calls it: the loader's own threads do the work in parallel."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(0)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


PIECES = (
    "flip_horizontal", "flip_vertical", "quarter_turns", "rotation", "zoom", "shift", "brightness", "contrast", "colour",
    "blur", "erasing",
)  # fmt: skip
TURNS = (None, cv2.ROTATE_90_COUNTERCLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_CLOCKWISE)
# Share of red, green and blue in what the eye sees as brightness (ITU-R BT.601).
LUMA = np.array([0.299, 0.587, 0.114])


def changes_images(settings: AugmentConfig) -> bool:
    """Tell whether `augment_image` would change anything."""
    return any(getattr(settings, piece) for piece in PIECES)


def augment_image(image: Pixels, generator: np.random.Generator, settings: AugmentConfig) -> Pixels:
    """Change an image at random; its size stays. What moves in from outside is the image mirrored at its edge.

    Each piece has its own draws, which are taken whether the piece is on or off: turning one on or off leaves the draws of
    the others as they are.

    Args:
        image: uint8 (S, S, 3), RGB.
        generator: draws for this image and epoch alone.
        settings: what to change, and how far.

    Returns:
        uint8 (S, S, 3), RGB, contiguous; the input is left as it is.
    """
    draws = generator.random(20).tolist()
    result = flip_and_turn(image, draws[:3], settings)
    result = move(result, draws[3:7], settings)
    result = blur(result, draws[7], settings)
    result = change_tones(result, draws[8:14], settings)
    if result is image:
        result = image.copy()
    if draws[14] < settings.erasing:
        erase(result, draws[15:], generator)
    return result


def flip_and_turn(image: Pixels, draws: Sequence[float], settings: AugmentConfig) -> Pixels:
    horizontal = settings.flip_horizontal and draws[0] < 0.5
    vertical = settings.flip_vertical and draws[1] < 0.5
    if horizontal or vertical:
        code = -1 if horizontal and vertical else int(horizontal)
        image = np.asarray(cv2.flip(image, code), np.uint8)
    turn = TURNS[int(4 * draws[2])] if settings.quarter_turns else None
    return image if turn is None else np.asarray(cv2.rotate(image, turn), np.uint8)


def move(image: Pixels, draws: Sequence[float], settings: AugmentConfig) -> Pixels:
    """Rotate, zoom and shift in one bilinear resampling."""
    if not (settings.rotation or settings.zoom or settings.shift):
        return image
    size = len(image)
    angle, scale, right, down = (2 * draw - 1 for draw in draws)
    angle = np.deg2rad(angle * settings.rotation)
    factor = (1 + settings.zoom) ** scale
    cos = np.cos(angle) * factor
    sin = np.sin(angle) * factor
    middle = (size - 1) / 2
    x = middle - (cos + sin) * middle + right * settings.shift * size
    y = middle - (cos - sin) * middle + down * settings.shift * size
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    matrix = np.array([[cos, sin, x], [-sin, cos, y]])
    moved = cv2.warpAffine(image, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(moved, np.uint8)


def blur(image: Pixels, draw: float, settings: AugmentConfig) -> Pixels:
    """Blur with a Gaussian whose standard deviation is uniform from 0 to `settings.blur` pixels."""
    sigma = draw * settings.blur
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8) if sigma else image


def change_tones(image: Pixels, draws: Sequence[float], settings: AugmentConfig) -> Pixels:
    """Change saturation and the gain of each channel, then contrast about mid-grey, then brightness: one linear map."""
    if not (settings.brightness or settings.contrast or settings.colour):
        return image
    brightness, contrast, saturation, *gains = (2 * draw - 1 for draw in draws)
    strength = 1 + settings.contrast * contrast
    matrix = np.empty((3, 4))
    matrix[:, 3] = 127.5 * (1 - strength) + 255 * settings.brightness * brightness
    saturation = 1 + settings.colour * saturation
    matrix[:, :3] = saturation * np.eye(3) + (1 - saturation) * LUMA
    matrix[:, :3] *= strength * (1 + settings.colour * np.array(gains)[:, None])
    return np.asarray(cv2.transform(image, matrix), np.uint8)


def erase(image: Pixels, draws: Sequence[float], generator: np.random.Generator) -> None:
    """Random Erasing (Zhong et al., AAAI 2020), in place.

    The rectangle has 2 to 20 % of the area (the paper: up to 40 %) and an aspect ratio from 0.3 to 1 / 0.3, and lies wholly
    inside. It is filled with noise or with the image's mean colour, with equal chance.
    """
    size = len(image)
    area = 0.02 + 0.18 * draws[0]
    aspect = 0.3 ** (2 * draws[1] - 1)
    height, width = (max(1, round(size * math.sqrt(area * ratio))) for ratio in (aspect, 1 / aspect))
    top = int(draws[2] * (size - height + 1))
    left = int(draws[3] * (size - width + 1))
    rectangle = image[top : top + height, left : left + width]
    noise = draws[4] < 0.5
    rectangle[:] = generator.integers(0, 256, rectangle.shape, np.uint8) if noise else np.round(cv2.mean(image)[:3])


def mix_batch(
    images: Pixels,
    labels: NDArray[np.float32],
    weights: NDArray[np.float32],
    generators: Sequence[np.random.Generator],
    settings: AugmentConfig,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mix each image of a batch with the next one, the last with the first.

    MixUp (Zhang et al., ICLR 2018) blends the two; CutMix (Yun et al., ICCV 2019) pastes a rectangle of the other. With
    both on, each image takes one or the other with equal chance. The image's own share is drawn from Beta(alpha, alpha) for
    each image (the papers: for each batch). Where it is below one half, it is replaced by one minus it, so that each image is
    still seen once in each pass. The CutMix share is then corrected to the area that was pasted.

    Args:
        images: uint8 (B, S, S, 3), RGB; changed in place.
        labels: float32 (B, 1) or (B, K).
        weights: float32 (B,), the weight of each image in the loss.
        generators: one for each image.
        settings: `mixup` and `cutmix`, at least one of them above 0.

    Returns:
        The labels and the weights, mixed with the shares of the pixels.
    """
    shares = np.empty(len(images), np.float32)
    first = images[0].copy()
    for place, (image, generator) in enumerate(zip(images, generators, strict=True)):
        partner = images[place + 1] if place + 1 < len(images) else first
        shares[place] = mix_image(image, partner, generator, settings)
    others = np.roll(labels, -1, axis=0), np.roll(weights, -1)
    return others[0] + shares[:, None] * (labels - others[0]), others[1] + shares * (weights - others[1])


def mix_image(image: Pixels, partner: Pixels, generator: np.random.Generator, settings: AugmentConfig) -> float:
    """Mix `partner` into `image` in place, and return the share that is left of `image`."""
    choice, x, y = (float(draw) for draw in generator.random(3))
    cut = settings.cutmix > 0 and (settings.mixup == 0 or choice < 0.5)
    alpha = settings.cutmix if cut else settings.mixup
    share = float(generator.beta(alpha, alpha))
    share = max(share, 1 - share)
    if not cut:
        cv2.addWeighted(image, share, partner, 1 - share, 0, dst=image)
        return share
    size = len(image)
    half = 0.5 * size * math.sqrt(1 - share)
    edges = (x * size - half, x * size + half, y * size - half, y * size + half)
    left, right, top, bottom = (min(max(round(edge), 0), size) for edge in edges)
    image[top:bottom, left:right] = partner[top:bottom, left:right]
    return 1 - (bottom - top) * (right - left) / (size * size)
