"""Register small grey images in the DCT domain: flip and rotate, sample, align (Lucas-Kanade).

An image is its spectrum, float (BAND, BAND): its grey at the place (x, y), from 0 to 1 across and down, is the sum over v and u
of spectrum[v, u] cos(pi v y) cos(pi u x). A frame is float (4,): scale and shift across, then scale and shift down; what is at c
from the middle of an image is at scale * c + shift from the middle of the other.
"""

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn

Floats = NDArray[np.float32]

BAND = 32  # frequencies kept, each way
THUMBNAIL = 64  # pixels a side from which they are taken
ORIENTATIONS = 8
INVERSE = (0, 1, 2, 3, 4, 6, 5, 7)  # of each orientation
TABLE = 8192  # cosines are looked up at multiples of 1/8192 of the image's side
ANGLES = np.pi * np.arange(BAND) * np.linspace(0, 1, TABLE + 1)[:, None]
COSINES = np.cos(ANGLES).astype(np.float32)
SLOPES = (-np.pi * np.arange(BAND) * np.sin(ANGLES)).astype(np.float32)


class Step(NamedTuple):
    """One round of Gauss-Newton: frequencies, grid points a side, iterations, share of the variance to be explained then."""

    band: int
    size: int
    times: int
    least: float


STEPS = (Step(8, 12, 5, 0.6), Step(16, 24, 3, 0.8), Step(BAND, BAND, 2, 0.8))


def take_spectra(images: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Return the spectra (N, BAND, BAND) of images, uint8 (N, S, S, 3), and their standard deviation (N,) in grey levels."""
    shrink = cv2.INTER_AREA if images.shape[1] > THUMBNAIL else cv2.INTER_LINEAR
    grey = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) for image in images)
    small = np.stack([cv2.resize(image, (THUMBNAIL, THUMBNAIL), interpolation=shrink) for image in grey])
    return to_spectra(dctn(small, axes=(1, 2))[:, :BAND, :BAND] / THUMBNAIL**2), small.std((1, 2))


def to_spectra(transform: Floats) -> Floats:
    """Turn a discrete cosine transform into the coefficients of a cosine series, in place: frequency 0 counts half."""
    transform[:, 0] *= 0.5
    transform[:, :, 0] *= 0.5
    return transform


def turn(spectra: Any, orientation: int) -> Any:
    """Turn images into one of eight orientations: transposed (4), then upside down (2), then mirrored (1)."""
    signs = np.where(np.arange(spectra.shape[-1]) % 2, -1, 1).astype(spectra.dtype)
    spectra = np.swapaxes(spectra, -1, -2) if orientation & 4 else spectra
    spectra = spectra * signs[:, None] if orientation & 2 else spectra
    return spectra * signs if orientation & 1 else spectra


def grid(size: int) -> Floats:
    """The middles of `size` pixels, from the middle of the image: -0.5 to 0.5."""
    return (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size) - np.float32(0.5)


def look_up(places: Floats) -> NDArray[np.int64]:
    return np.asarray(np.rint(places.clip(0, 1) * TABLE), np.int64)


def framed(frames: Floats, size: int) -> tuple[Floats, Floats]:
    """Return where a grid's columns (N, size) and rows (N, size) lie under frames (N, 4); 0 to 1 is inside the image."""
    points = grid(size)
    return 0.5 + frames[:, :1] * points + frames[:, 1:2], 0.5 + frames[:, 2:3] * points + frames[:, 3:]


def sample(spectra: Floats, across: Floats, down: Floats) -> Floats:
    """Return the grey values (N, rows, columns) of images at columns and rows, (N, columns) and (N, rows)."""
    band = spectra.shape[-1]
    return np.asarray(COSINES[look_up(down), :band] @ spectra @ COSINES[look_up(across), :band].swapaxes(-1, -2), np.float32)


def analyse(values: Floats) -> Floats:
    """Return the spectra of images given on a grid of BAND or fewer points, (N, size, size)."""
    size = values.shape[-1]
    return to_spectra(dctn(values, axes=(1, 2)) / np.float32(size**2))


def crop(spectra: Floats, sides: Floats) -> Floats:
    """Return images less shares (N, 4) of their left, right, top and bottom: spectra (N, BAND, BAND)."""
    left, right, top, bottom = sides.T
    frames = np.stack([1 - left - right, (left - right) / 2, 1 - top - bottom, (top - bottom) / 2], 1)
    return analyse(sample(spectra, *framed(frames, BAND)))


def align(first: Floats, second: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Align the first image of each pair with the second, up to brightness and contrast.

    Gauss-Newton on four numbers and a gain and an offset (Lucas & Kanade 1981), from coarse to fine; at first both ways round,
    as it finds a part in the whole more surely than the whole around a part.

    Returns:
        The pairs (P,) for which it comes near enough, and their frames, float (P, 4).
    """
    count = len(first)
    ones = np.concatenate([first, second])
    others = np.concatenate([second, first])
    frames, explained = descend(ones, others, np.tile(np.array([1, 0, 1, 0], np.float32), (2 * count, 1)), STEPS[0])
    left = np.arange(count) + count * (explained[count:] > explained[:count])
    left = left[explained[left] > STEPS[0].least]
    frames = frames[left]
    for step in STEPS[1:]:
        if len(left):
            frames, explained = descend(ones[left], others[left], frames, step)
            left = left[explained > step.least]
            frames = frames[explained > step.least]
    return left % count, np.where(left[:, None] < count, frames, invert(frames))


def descend(first: Floats, second: Floats, frames: Floats, step: Step) -> tuple[Floats, Floats]:
    first = first[:, : step.band, : step.band]
    second = second[:, : step.band, : step.band]
    middles = grid(step.size) + np.float32(0.5)
    wanted = sample(second, middles, middles)
    for _ in range(step.times):
        products = normal_equations(first, wanted, frames, step.size)
        matrix = products[:, :6, :6].astype(np.float64)
        diagonal = np.einsum("pii->pi", matrix)
        # Levenberg's damping: where an image has no slopes, the equations would be singular.
        diagonal[:, :4] *= 1.003
        diagonal += 1e-4
        solved = np.linalg.solve(matrix, products[:, :6, 6:])[..., 0]
        gain = np.where(np.abs(solved[:, 4:5]) < 0.3, 0.3, solved[:, 4:5])
        # The moves are solved for times the gain. Short steps, and no frame beyond a crop of a quarter: far from the answer the
        # linear model points anywhere.
        frames = frames + (solved[:, :4] / gain).clip(-0.05, 0.05).astype(np.float32)
        frames = frames.clip(*np.array([[0.75, -0.14] * 2, [1.34, 0.14] * 2], np.float32))
    unexplained = products[:, 6, 6] - (solved * products[:, :6, 6]).sum(1)
    total = products[:, 6, 6] - products[:, 5, 6] ** 2 / products[:, 5, 5].clip(1)
    return frames, 1 - unexplained / total.clip(1e-6)


def normal_equations(first: Floats, wanted: Floats, frames: Floats, size: int) -> Floats:
    """Return the normal equations (P, 7, 7): products of four slopes, image, one and target, summed over the overlap."""
    band = first.shape[-1]
    points = grid(size)
    across, down = framed(frames, size)
    columns = look_up(across)
    rows = look_up(down)
    wide = COSINES[columns, :band].swapaxes(1, 2)
    high = COSINES[rows, :band] @ first
    maps = np.empty((len(first), 7, size, size), np.float32)
    maps[:, 1] = high @ SLOPES[columns, :band].swapaxes(1, 2)
    maps[:, 3] = SLOPES[rows, :band] @ first @ wide
    maps[:, 0] = maps[:, 1] * points
    maps[:, 2] = maps[:, 3] * points[:, None]
    maps[:, 4] = high @ wide
    maps[:, 5] = 1
    maps[:, 6] = wanted
    maps *= inside(across, down)[:, None]
    flat = maps.reshape(len(first), 7, -1)
    return np.asarray(flat @ flat.swapaxes(1, 2), np.float32)


def inside(across: Floats, down: Floats) -> NDArray[np.bool_]:
    """Tell (N, rows, columns) whether places are inside the image."""
    return ((across >= 0) & (across <= 1))[:, None] & ((down >= 0) & (down <= 1))[:, :, None]


def differ(first: Floats, second: Floats, frames: Floats) -> tuple[Floats, Floats]:
    """Subtract the second image from the first where they overlap, at the best brightness and contrast.

    Returns:
        The first image (of the two, the one that shows more) and the difference in its frame, spectra (P, BAND, BAND) both.
    """
    larger = frames[:, 0] * frames[:, 2] > 1
    frames = np.where(larger[:, None], invert(frames), frames)
    first, second = np.where(larger[:, None, None], second, first), np.where(larger[:, None, None], first, second)
    across, down = framed(invert(frames), BAND)
    shared = inside(across, down).astype(np.float32)
    both = np.stack([sample(first, grid(BAND) + np.float32(0.5), grid(BAND) + np.float32(0.5)), sample(second, across, down)])
    both -= (both * shared).sum((2, 3), keepdims=True) / shared.sum((1, 2))[:, None, None]
    both *= shared
    gain = (both[0] * both[1]).sum((1, 2)) / (both[1] ** 2).sum((1, 2)).clip(1e-6)
    return first, analyse(both[0] - gain[:, None, None] * both[1])


def invert(frames: Floats) -> Floats:
    scales = frames[:, ::2]
    shifts = frames[:, 1::2]
    return np.stack([1 / scales, -shifts / scales], 2).reshape(-1, 4)
