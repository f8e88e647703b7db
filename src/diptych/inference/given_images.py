"""Images as Python has them: arrays and PIL images beside files, through the one decoder of Diptych."""

import io
from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diptych.data.pixels.decode import DEEP_MODES, ImageSpec, decode_image, read_bytes
from diptych.data.reading.class_folders import find_images
from diptych.data.reading.manifest import printable
from diptych.errors import DataError
from diptych.settings.config import at_home

ImageLike = str | PathLike[str] | NDArray[np.uint8] | Image.Image
# What a PNG file holds as it is.
PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
# What PNG holds of further modes with transparency.
TRANSPARENT_MODES = {"PA": "RGBA", "La": "LA", "RGBa": "RGBA"}
ORIENTATION = 0x0112
SHAPES = "(H, W, 3), (H, W, 4) or (H, W), or (N, H, W, 3) for several"


def as_list(images: ImageLike | Iterable[ImageLike]) -> list[ImageLike]:
    """Return the images that a caller in Python gives, one by one.

    Args:
        images: a file, a folder, a pattern, an array or a PIL image; a sequence of these; or an array (N, H, W, 3). In a path,
            "~" is the home folder.

    Raises:
        TypeError: one of them is none of these, or an array is not uint8.
        DataError: an array has another shape.
    """
    if isinstance(images, Image.Image):
        return [images]
    if isinstance(images, str | PathLike):
        return [at_home(Path(images))]
    if isinstance(images, np.ndarray) and images.dtype.kind not in "OUS":
        return [checked(image) for image in images] if images.ndim == 4 else [checked(images)]
    if not isinstance(images, Iterable) or isinstance(images, bytes):
        raise TypeError(f"expected an image (a path, a uint8 array or a PIL image) or several of them; got {kind_of(images)}.")
    return [image if isinstance(image, Image.Image) else path_or_checked(image) for image in images]


def path_or_checked(image: object) -> Path | NDArray[np.uint8]:
    return at_home(Path(image)) if isinstance(image, str | PathLike) else checked(image)


def checked(image: object) -> NDArray[np.uint8]:
    """Return an array that is an image."""
    if not isinstance(image, np.ndarray):
        raise TypeError(f"expected images (paths, uint8 arrays or PIL images); got {kind_of(image)} among them.")
    if image.dtype != np.uint8:
        raise TypeError(
            f"expected pixels as uint8, 0 to 255; got {image.dtype}. Values from 0 to 1: (255 * array).astype('uint8')."
        )
    if image.ndim == 3 and image.shape[-1] == 1:
        image = image[..., 0]
    if not (image.ndim == 2 or (image.ndim == 3 and image.shape[-1] in (3, 4))) or 0 in image.shape:
        raise DataError(f"an array of shape {image.shape} is no image; expected {SHAPES}.")
    return image


def kind_of(value: object) -> str:
    return f"{value!r:.80}, a {type(value).__name__}"


def all_paths(images: Sequence[ImageLike]) -> list[Path] | None:
    """Return the paths where all images are files, folders or patterns; None where some are not."""
    found = [Path(image) for image in images if isinstance(image, str | PathLike)]
    return found if len(found) == len(images) else None


def to_file(image: NDArray[np.uint8] | Image.Image) -> bytes:
    """Return an image as the bytes of a lossless file, its EXIF data with it, so that it is decoded as a file is.

    That is a PNG; for greys of 32 bits, floating-point ones and CIELAB, which no PNG holds, a TIFF. White is 65535 in 16 bits:
    what else the file of an opened image declares (12 bits) is not known any more.

    Raises:
        DataError: the image has no pixel, or its file cannot be read any more.
    """
    plain = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    if 0 in plain.size:
        raise DataError(f"an image of {plain.width} x {plain.height} pixels is empty")
    try:
        plain.load()
    # An opened image is read only now, and Pillow's decoders raise whatever their parsers raise.
    except Exception as error:
        raise DataError(f"damaged or truncated: {error}") from error
    content, exif = io.BytesIO(), plain.getexif()
    if plain.mode == "LAB" or (plain.mode in DEEP_MODES and plain.mode != "I;16"):
        # Of the other tags, those of an opened TIFF say how its own pixels were stored.
        kept = Image.Exif()
        if ORIENTATION in exif:
            kept[ORIENTATION] = exif[ORIENTATION]
        (plain.convert("I") if plain.mode.startswith("I") else plain).save(content, "TIFF", exif=kept)
        return content.getvalue()
    if plain.mode not in PNG_MODES:
        plain = plain.convert(TRANSPARENT_MODES.get(plain.mode, "RGB"))
    plain.save(content, "PNG", compress_level=1, exif=exif)
    return content.getvalue()


def name_of(image: ImageLike, number: int) -> str:
    """Name an image in a table: by its path where it has one, else by its place, counted from 0."""
    if isinstance(image, str | PathLike):
        return printable(str(Path(image)))
    return printable(str(getattr(image, "filename", "") or f"[{number}]"))


def decode_given(images: Sequence[ImageLike], spec: ImageSpec) -> tuple[list[str], NDArray[np.uint8], list[str]]:
    """Decode images in memory, folders and patterns among them image by image.

    Returns:
        The names (N,), the pixels, uint8 (N, S, S, 3), and why one could not be read (it is black then); "" where it could.

    Raises:
        DataError: a path does not exist, or a folder holds no image.
    """
    names, pixels, problems = [], [], []
    for number, given in enumerate(images):
        for image in find_images([Path(given)]) if isinstance(given, str | PathLike) else [given]:
            names.append(name_of(image, number))
            try:
                content = read_bytes(image) if isinstance(image, Path) else to_file(image)
                pixels.append(decode_image(content, spec))
                problems.append("")
            except DataError as error:
                pixels.append(np.zeros((spec.size, spec.size, 3), np.uint8))
                problems.append(str(error))
    return names, np.stack(pixels) if pixels else np.zeros((0, spec.size, spec.size, 3), np.uint8), problems
