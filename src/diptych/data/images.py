"""The one function that turns the bytes of an image file into pixels; training and prediction both call it."""

import io
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.Image import Transpose

from diptych.config import DataConfig, Resize
from diptych.data import heic
from diptych.data.formats import readable_formats
from diptych.errors import ConfigError, DataError

MAX_BYTES = 2**30
SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")
EXIF_MAKE, EXIF_MODEL, EXIF_ORIENTATION, EXIF_FOLDER = 0x010F, 0x0110, 0x0112, 0x8769
UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}

# Pillow warns of odd metadata and of large (not yet forbidden) images; what cannot be read raises all the same.
warnings.filterwarnings("ignore", module=r"PIL\.")


@dataclass(frozen=True)
class ImageSpec:
    """How images become pixels.

    Attributes:
        size: height and width of the result, in pixels.
        resize: "stretch" changes the aspect ratio, "letterbox" pads the short sides with black, "crop" cuts the
            long sides to the middle.
    """

    size: int = 224
    resize: Resize = "stretch"

    def __post_init__(self) -> None:
        if self.size < 1 or self.resize not in ("stretch", "letterbox", "crop"):
            raise ConfigError(
                f"ImageSpec({self.size}, {self.resize!r}): expected a positive size and stretch, letterbox or crop."
            )


@dataclass(frozen=True)
class ImageFacts:
    """What a file says of itself, besides what the image shows.

    Attributes:
        format: one of `readable_formats`, whatever the file's name ends with.
        width: in pixels, as stored: before the EXIF turn.
        height: in pixels, as stored.
        mode: Pillow's name of the stored colour mode, "RGB", "L", "I;16", ...
        orientation: EXIF's 1 to 8; 1 where there is none.
        exif: whether there is an EXIF block.
        camera: EXIF's make and model; "" without.
        quantization: mean of the first JPEG quantisation table, larger for lower quality; 0 where there is none.
        progressive: whether a JPEG is stored in several passes.
    """

    format: str = ""
    width: int = 0
    height: int = 0
    mode: str = ""
    orientation: int = 1
    exif: bool = False
    camera: str = ""
    quantization: float = 0.0
    progressive: bool = False


def spec_of(settings: DataConfig, size: int | None = None) -> ImageSpec:
    """Return how the images of a run or a command become pixels: the one way from the settings to an ImageSpec.

    Args:
        settings: of the run or the command.
        size: another height and width than that of the settings, in pixels.
    """
    return ImageSpec(size or settings.image_size, settings.resize)


def read_bytes(path: Path) -> bytes:
    """Read an image file.

    Raises:
        DataError: it cannot be read, is empty, or is larger than 1 GiB; the message is a reason without a file name.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DataError(f"the file has {size / 2**30:.1f} GiB; at most 1 GiB is read")
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"the file cannot be read: {error.strerror}") from error
    if not content:
        raise DataError("the file is empty")
    return content


def decode_image(content: bytes, spec: ImageSpec) -> NDArray[np.uint8]:
    """Decode an image, make it RGB, turn it upright and resize it.

    JPEG, PNG, BMP, GIF, WebP, TIFF, AVIF and, where pillow-heif is installed, HEIC; of several frames or pages, the
    first. 16-bit greys are scaled from 0..65535 to 0..255, transparent parts are laid on white, the EXIF orientation is
    applied. Large JPEGs are shrunk while they are decoded; the rest of the way is an antialiased bilinear filter.

    Args:
        content: the bytes of the file.
        spec: the size and the way to it.

    Returns:
        uint8 (size, size, 3), RGB.

    Raises:
        DataError: the bytes are not an image of these formats, are truncated or damaged, or hold too many pixels.
            The message is a reason without a file name: the caller knows the name.
    """
    return decode_with_facts(content, spec)[0]


def decode_with_facts(content: bytes, spec: ImageSpec) -> tuple[NDArray[np.uint8], ImageFacts]:
    """Decode an image as `decode_image` does, and say what its header holds."""
    try:
        if heic.FORMAT in readable_formats():
            heic.register()
        with Image.open(io.BytesIO(content), formats=readable_formats()) as image:
            before = header_facts(image)
            if image.format in ("JPEG", "MPO"):  # pillow-heif would take a thumbnail.
                image.draft("RGB", (spec.size, spec.size))
            # All at once: in Pillow's pieces of 64 KiB a 12-megapixel JPEG takes 2 % longer.
            image.decodermaxblock = max(image.decodermaxblock, len(content))
            image.load()
            # Only after load: a TIFF is turned by Pillow itself, and then says so.
            exif = image.getexif()
            turn = UPRIGHT.get(exif.get(EXIF_ORIENTATION, 1))
            plain = to_grey_or_rgb(image)
            pixels = np.array(fit(plain if turn is None else plain.transpose(turn), spec).convert("RGB"))
            return pixels, with_exif(before, exif)
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(f"not an image of a format that is read ({', '.join(readable_formats())})") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"too many pixels to be decoded safely: {error}") from error
    # Pillow's decoders raise whatever their parsers raise: OSError, SyntaxError, struct.error, ValueError, ...
    except Exception as error:
        raise DataError(f"damaged or truncated: {error}") from error


def header_facts(image: Image.Image) -> ImageFacts:
    """Return the facts of an image that is open and not yet loaded, for loading changes its size and mode."""
    width, height = image.size
    orientation = 1
    if image.format == "TIFF":
        orientation = valid_orientation(getattr(image, "tag_v2", {}).get(EXIF_ORIENTATION))
        if orientation >= 5:  # Pillow gives a TIFF's size as it will be after the turn.
            width, height = height, width
    tables: dict[int, list[int]] = getattr(image, "quantization", {})
    table = next(iter(tables.values()), [])
    return ImageFacts(
        format="JPEG" if image.format == "MPO" else image.format or "",  # MPO: a JPEG with further pictures behind it.
        width=width,
        height=height,
        mode=image.mode,
        orientation=orientation,
        quantization=sum(table) / len(table) if table else 0.0,
        progressive="progressive" in image.info,
    )


def with_exif(facts: ImageFacts, exif: Image.Exif) -> ImageFacts:
    """Add what the EXIF block says. A TIFF's own tags are no EXIF block."""
    if not exif or (facts.format == "TIFF" and EXIF_FOLDER not in exif and EXIF_MAKE not in exif):
        return facts
    camera = " ".join(str(exif[tag]).replace("\0", "").strip() for tag in (EXIF_MAKE, EXIF_MODEL) if tag in exif)
    orientation = facts.orientation if facts.format == "TIFF" else valid_orientation(exif.get(EXIF_ORIENTATION))
    return replace(facts, exif=True, camera=camera[:100], orientation=orientation)


def valid_orientation(value: object) -> int:
    return value if isinstance(value, int) and value in UPRIGHT else 1


def to_grey_or_rgb(image: Image.Image) -> Image.Image:
    """Bring any colour mode to 8-bit "L" or "RGB"."""
    if image.mode in SIXTEEN_BIT_MODES:
        return sixteen_bit_to_grey(image)
    if image.mode == "F":
        raise DataError("floating-point pixels have no known range; save the image with 8 or 16 bits")
    if image.has_transparency_data:
        opaque = Image.new("RGBA", image.size, "white")
        opaque.alpha_composite((image.convert("LA") if image.mode == "La" else image).convert("RGBA"))
        return opaque.convert("RGB")
    return image if image.mode in ("L", "RGB") else image.convert("L" if image.mode == "1" else "RGB")


def sixteen_bit_to_grey(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise DataError(f"pixels from {values.min()} to {values.max()}; 16-bit greys go from 0 to 65535")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def fit(image: Image.Image, spec: ImageSpec) -> Image.Image:
    square = (spec.size, spec.size)
    if spec.resize == "letterbox":
        return ImageOps.pad(image, square, Image.Resampling.BILINEAR)
    if spec.resize == "crop":
        return ImageOps.fit(image, square, Image.Resampling.BILINEAR)
    return image.resize(square, Image.Resampling.BILINEAR)
