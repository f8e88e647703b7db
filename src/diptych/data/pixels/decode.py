"""The one function that turns the bytes of an image file into pixels; training and prediction both call it."""

import io
import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.Image import Transpose
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from diptych.data.pixels import greys, heic, tiff
from diptych.data.pixels.formats import readable_formats
from diptych.data.pixels.recognise import NOT_READ, describe_jpeg, explain_unread
from diptych.errors import ConfigError, DataError
from diptych.machine.host_process import Borrowed
from diptych.settings.config import DataConfig, Resize, parse_grey_range

MAX_BYTES = 2**30
DEEP_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
# What Pillow says where it is not the file that is wrong.
UNSUPPORTED = ("unsupported", "not supported", "unknown raw mode", "not available")
Buffer = bytes | bytearray | memoryview
EXIF_MAKE = 0x010F
EXIF_MODEL = 0x0110
EXIF_ORIENTATION = 0x0112
EXIF_FOLDER = 0x8769
UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}


@Borrowed
@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Keep Pillow's warnings of odd metadata and of large images to itself: what cannot be read raises all the same."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


@dataclass(frozen=True)
class ImageSpec:
    """How images become pixels.

    Attributes:
        size: height and width of the result, in pixels.
        resize: "stretch" changes the aspect ratio, "letterbox" pads the short sides with black, "crop" cuts the
            long sides to the middle.
        grey_range: the stored values that become black and white in images of more than 8 bits; None for 0 and what the
            file declares to be its largest value, else 65535. What lies beyond becomes black or white too.
    """

    size: int = 224
    resize: Resize = "stretch"
    grey_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if not hasattr(self.size, "__index__") or self.size < 1 or self.resize not in ("stretch", "letterbox", "crop"):
            raise ConfigError(
                f"ImageSpec({self.size!r}, {self.resize!r}): expected a positive size (whole), and stretch, letterbox or crop."
            )
        if self.grey_range is not None and (np.shape(self.grey_range) != (2,) or not self.grey_range[0] < self.grey_range[1]):
            raise ConfigError(f"ImageSpec: grey_range is {self.grey_range}; expected two numbers, the smaller one first.")


@dataclass(frozen=True)
class ImageFacts:
    """Facts of a file besides its pixels: format, size, mode, orientation and so on.

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
        frames: number of frames or pages, of which the first is read; thumbnails and the like are not counted.
        lowest: smallest stored value of an image of more than 8 bits; this and the following are 0 for others.
        highest: its largest stored value; of 16-bit colours that are read with 8 bits, up to 255 more.
        white: the stored value that became white.
        assumed: whether that is 65535 because neither the file nor the settings say another one.
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
    frames: int = 1
    lowest: float = 0.0
    highest: float = 0.0
    white: float = 0.0
    assumed: bool = False


def spec_of(settings: DataConfig, size: int | None = None) -> ImageSpec:
    """Return how the images of a run or a command become pixels: the one way from the settings to an ImageSpec.

    Args:
        settings: of the run or the command.
        size: another height and width than that of the settings, in pixels.
    """
    return ImageSpec(size or settings.image_size, settings.resize, parse_grey_range(settings.grey_range))


def read_bytes(path: Path) -> bytes:
    """Read an image file.

    Raises:
        DataError: it cannot be read, is empty, or is larger than 1 GiB; the message is a reason without a file name.
    """
    return read_with_status(path)[0]


def read_with_status(path: Path) -> tuple[bytes, os.stat_result]:
    """Read an image file as `read_bytes` does, and return what the system said of it before the first byte was read."""
    try:
        # Without a buffer: with as few system calls as can be, after each of which a thread waits for Python's lock.
        with path.open("rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            if status.st_size > MAX_BYTES:
                raise DataError(f"the file has {status.st_size / 2**30:.1f} GiB; at most 1 GiB is read")
            content = file.read(status.st_size + 1)
            if len(content) != status.st_size:  # It is being written, or its file system does not tell the size.
                content += file.readall()
    except OSError as error:
        raise DataError(f"the file cannot be read: {error.strerror}") from error
    if not content:
        raise DataError("the file is empty")
    return content, status


def decode_image(content: Buffer, spec: ImageSpec) -> NDArray[np.uint8]:
    """Decode an image, make it RGB, turn it upright and resize it.

    JPEG, PNG, BMP, GIF, WebP, TIFF, AVIF and, where pillow-heif is installed, HEIC; of several frames or pages, the
    first. What has more than 8 bits is scaled from the grey range (of the spec, else 0 to what the file declares, else 0 to
    65535) to 0..255, transparent parts are laid on white, the EXIF orientation is applied. Large JPEGs are shrunk while
    they are decoded; the rest of the way is an antialiased bilinear filter.

    Args:
        content: the bytes of the file.
        spec: the size and the way to it; that of a run is `spec_of(config.data)`.

    Returns:
        uint8 (size, size, 3), RGB.

    Raises:
        DataError: the bytes are not an image of these formats, are truncated or damaged, or hold too many pixels.
            The message is a reason without a file name: the caller knows the name.
        TypeError: `content` is not bytes but a path, for example.
    """
    return decode_with_facts(content, spec)[0].copy()


def decode_with_facts(content: Buffer, spec: ImageSpec) -> tuple[NDArray[np.uint8], ImageFacts]:
    """Decode an image as `decode_image` does, into an array that cannot be written to, and say what its header holds."""
    content = as_bytes(content)
    try:
        with quiet_pillow, open_image(content) as image:
            pages = tiff.read_pages(content) if isinstance(image, TiffImageFile) else []
            before = header_facts(image, content, pages)
            prepare_to_load(image, content, pages, spec)
            image.load()
            # Only after load: a TIFF is turned by Pillow itself, and then says so.
            exif = image.getexif()
            turn = UPRIGHT.get(exif.get(EXIF_ORIENTATION, 1))
            plain, spread = to_grey_or_rgb(image, content, pages[0] if pages else {}, spec)
            pixels = np.asarray(fit(plain if turn is None else plain.transpose(turn), spec).convert("RGB"))
            return pixels, replace(with_exif(before, exif), **spread._asdict())
    except DataError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"too many pixels to be decoded safely: {error}") from error
    # Pillow's decoders raise whatever their parsers raise: OSError, SyntaxError, struct.error, ValueError, ...
    except Exception as error:
        lossless = describe_jpeg(content)
        if lossless:
            raise DataError(NOT_READ.format("JPEG", lossless)) from error
        if any(words in str(error).lower() for words in UNSUPPORTED):
            raise DataError(NOT_READ.format("file", error)) from error
        raise DataError(f"damaged or truncated: {error}") from error


def as_bytes(content: Buffer) -> bytes:
    if isinstance(content, bytes):
        return content
    if isinstance(content, bytearray | memoryview):
        return bytes(content)
    raise TypeError(
        f"the content of an image file is expected as bytes; got {content!r:.100} of type {type(content).__name__}. "
        "For a file: decode_image(Path(name).read_bytes(), spec)."
    )


def open_image(content: bytes) -> Image.Image:
    """Open an image of a format that is read.

    Raises:
        DataError: it is none; the message says what it is.
    """
    forms = list(readable_formats())
    if heic.FORMAT in forms:
        if content[4:8] == b"ftyp":
            heic.register()
        else:
            forms.remove(heic.FORMAT)
    try:
        return Image.open(io.BytesIO(content), formats=forms)
    except UnidentifiedImageError as error:
        raise DataError(explain_unread(content)) from error


def prepare_to_load(image: Image.Image, content: bytes, pages: list[tiff.Page], spec: ImageSpec) -> None:
    """Set how the pixels of an open image are to be read.

    Raises:
        DataError: it is of a kind that is not read.
    """
    if image.format in ("JPEG", "MPO"):  # Not for others: pillow-heif would take a thumbnail.
        image.draft("RGB", (spec.size, spec.size))
    if isinstance(image, TiffImageFile) and pages:
        kind = tiff.mend(image, pages[0])
        if kind:
            raise DataError(NOT_READ.format("TIFF", kind))
    if isinstance(image, ImageFile):
        # All at once: in Pillow's pieces of 64 KiB a 12-megapixel JPEG takes 2 % longer.
        image.decodermaxblock = max(image.decodermaxblock, len(content))


def header_facts(image: Image.Image, content: bytes, pages: list[tiff.Page]) -> ImageFacts:
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
        frames=tiff.count_pages(pages) if pages else count_frames(image, content),
    )


def count_frames(image: Image.Image, content: bytes) -> int:
    """Return the number of frames of an open image; of a file that breaks off, 1."""
    if image.format != "GIF":  # The pictures behind a JPEG (MPO) belong to the first: another eye, a map of brightness.
        return 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    # To count them is to go through them, and a damaged later one leaves the image unreadable.
    with suppress(Exception), Image.open(io.BytesIO(content), formats=["GIF"]) as other:
        return int(getattr(other, "n_frames", 1))
    return 1


def with_exif(facts: ImageFacts, exif: Image.Exif) -> ImageFacts:
    """Add the facts of the EXIF block. A TIFF's own tags are no EXIF block."""
    if not exif or (facts.format == "TIFF" and EXIF_FOLDER not in exif and EXIF_MAKE not in exif):
        return facts
    camera = " ".join(str(exif[tag]).replace("\0", "").strip() for tag in (EXIF_MAKE, EXIF_MODEL) if tag in exif)
    orientation = facts.orientation if facts.format == "TIFF" else valid_orientation(exif.get(EXIF_ORIENTATION))
    return replace(facts, exif=True, camera=camera[:100], orientation=orientation)


def valid_orientation(value: object) -> int:
    return value if isinstance(value, int) and value in UPRIGHT else 1


def to_grey_or_rgb(image: Image.Image, content: bytes, page: tiff.Page, spec: ImageSpec) -> tuple[Image.Image, greys.Spread]:
    """Bring any colour mode to 8-bit "L" or "RGB".

    Args:
        image: loaded.
        content: the bytes of the file.
        page: the tags of a TIFF's first page.
        spec: the grey range.
    """
    if image.mode in DEEP_MODES:
        return deep_grey(image, content, page, spec)
    spread = greys.Spread()
    if image.mode in ("LA", "RGB", "RGBA") and (
        content[24] == 16 if image.format == "PNG" else tiff.first(page, tiff.BITS, 8) > 8
    ):
        image, spread = deep_colours(image, content, page, spec)
    if image.has_transparency_data:
        opaque = Image.new("RGBA", image.size, "white")
        opaque.alpha_composite((image.convert("LA") if image.mode == "La" else image).convert("RGBA"))
        return opaque.convert("RGB"), spread
    return image if image.mode in ("L", "RGB") else image.convert("L" if image.mode == "1" else "RGB"), spread


def deep_grey(image: Image.Image, content: bytes, page: tiff.Page, spec: ImageSpec) -> tuple[Image.Image, greys.Spread]:
    """Scale greys of more than 8 bits, of 32 bits and floating-point ones."""
    values = np.asarray(image)
    lowest = float(values.min())
    highest = float(values.max())
    pixels = f"pixels from {lowest:g} to {highest:g}"
    if image.mode == "F" and not (math.isfinite(lowest) and math.isfinite(highest)):
        raise DataError("floating-point pixels that are not numbers, or infinite")
    if image.mode == "I" and lowest < 0 and tiff.first(page, tiff.SAMPLE_FORMAT, 1) == 1:
        raise DataError("pixels above 2147483647; save the image with 8 or 16 bits")
    if spec.grey_range:
        low, high = spec.grey_range
    elif image.mode == "F":
        raise DataError(
            f"floating-point {pixels} have no known range; --grey-range LOW,HIGH of the training says which are black and white"
        )
    elif lowest < 0 or highest > greys.FULL:
        raise DataError(
            f"{pixels}; 16-bit greys go from 0 to 65535; --grey-range LOW,HIGH of the training says which are black and white"
        )
    else:
        form = image.format or ""
        low = 0.0
        high = float(greys.find_white(values, greys.declared_white(form, content, page), form))
    scaled = greys.scale(values, low, high)
    if tiff.is_white_zero(image, page):
        scaled = 255 - scaled
    if isinstance(image.info.get("transparency"), int):
        scaled[values == image.info["transparency"]] = 255
    return Image.fromarray(scaled), greys.Spread(lowest, highest, high, spec.grey_range is None and high == greys.FULL)


def deep_colours(image: Image.Image, content: bytes, page: tiff.Page, spec: ImageSpec) -> tuple[Image.Image, greys.Spread]:
    """Scale 16-bit colours, of which Pillow keeps the high 8 bits, where these are not what is to be seen."""
    form = image.format or ""
    eight = np.asarray(image.convert("RGBA" if image.mode == "LA" else image.mode))
    declared = greys.declared_white(form, content, page)
    transparent = image.info.get("transparency")
    if spec.grey_range is None and declared == greys.FULL and transparent is None:
        return image, greys.Spread(256.0 * eight[..., :3].min(), 256.0 * eight[..., :3].max() + 255, greys.FULL, True)
    read = read_deep_colours(content, eight)
    values = read[..., :3]
    low, high = spec.grey_range or (0.0, float(greys.find_white(values, declared, form)))
    scaled = greys.scale(values, low, high)
    if isinstance(transparent, tuple):
        scaled[np.all(values == transparent, axis=-1)] = 255
    if eight.shape[-1] == 4:
        # Where colours are stored with fewer bits, transparency is too: 4095 is opaque then.
        fewer = read.shape[-1] == 4 and 0 < read[..., 3].max() <= high < greys.FULL
        scaled = np.dstack([scaled, greys.scale(read[..., 3], 0, high) if fewer else eight[..., 3]])
    return Image.fromarray(scaled), greys.Spread(
        float(values.min()), float(values.max()), high, spec.grey_range is None and high == greys.FULL
    )


def read_deep_colours(content: bytes, eight_bits: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Read the colours of an image with all 16 bits, of which Pillow gives 8.

    Args:
        content: the bytes of a PNG or TIFF.
        eight_bits: (H, W, 3 or 4), what Pillow made of it.

    Returns:
        (H, W, 3 or 4), RGB or, as `eight_bits`, RGBA.

    Raises:
        DataError: they cannot be read.
    """
    read = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if read is None or read.dtype != np.uint16 or read.ndim != 3 or read.shape[:2] != eight_bits.shape[:2]:
        raise DataError("16-bit colours of a kind that is not read with all bits; save the image with 8 bits")
    order = [2, 1, 0, 3] if read.shape[2] == eight_bits.shape[2] == 4 else [2, 1, 0]
    colours: NDArray[np.uint16] = np.ascontiguousarray(read[..., order])
    if np.any(colours[..., :3] >> 8 != eight_bits[..., :3]):
        raise DataError("16-bit colours that two readers read differently; save the image with 8 bits")
    return colours


def fit(image: Image.Image, spec: ImageSpec) -> Image.Image:
    square = (spec.size, spec.size)
    if spec.resize == "letterbox":
        return ImageOps.pad(image, square, Image.Resampling.BILINEAR)
    if spec.resize == "crop":
        return ImageOps.fit(image, square, Image.Resampling.BILINEAR)
    return image.resize(square, Image.Resampling.BILINEAR)
