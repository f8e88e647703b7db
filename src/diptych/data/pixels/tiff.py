"""TIFF: the pages of a file, and corrections of what Pillow reads wrongly."""

import ctypes
import struct
from contextlib import suppress
from functools import cache
from pathlib import Path

import PIL
from PIL import Image
from PIL.TiffImagePlugin import II, MM, OPEN_INFO, TiffImageFile

MOST_PAGES = 10_000
MOST_VALUES = 100
SUBFILE = 254  # fmt: skip
OLD_SUBFILE = 255
WIDTH = 256
HEIGHT = 257
BITS = 258
COMPRESSION = 259
PHOTOMETRIC = 262
SAMPLES = 277
HIGHEST = 281
PLANAR = 284
SUB_PAGES = 330
SAMPLE_FORMAT = 339
HIGHEST_OF_FORMAT = 341
SUBSAMPLING = 530
DNG_VERSION = 50706
TAGS = {
    SUBFILE, OLD_SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, HIGHEST, PLANAR, SUB_PAGES, SAMPLE_FORMAT,
    HIGHEST_OF_FORMAT, SUBSAMPLING, DNG_VERSION,
}  # fmt: skip
Page = dict[int, tuple[int, ...]]

# What Pillow's decoders can read and its table of kinds lacks: 16-bit greys with white as 0 and greys of 12 and 32 bits,
# big-endian. Bits that are not whole bytes are packed alike in both orders.
OPEN_INFO.update({
    (MM, 0, (1,), 1, (16,), ()): ("I;16B", "I;16B"),
    (II, 0, (1,), 1, (12,), ()): ("I;16", "I;12"),
    (MM, 0, (1,), 1, (12,), ()): ("I;16", "I;12"),
    (MM, 1, (1,), 1, (12,), ()): ("I;16", "I;12"),
    (MM, 1, (1,), 1, (32,), ()): ("I", "I;32B"),
})  # fmt: skip
# libtiff gives numbers in the order of this machine, whatever that of the file is.
NATIVE = {"I;16S": "I;16NS", "I;16BS": "I;16NS", "I;32B": "I;32N", "I;32S": "I;32NS", "I;32BS": "I;32NS", "F;32BF": "F;32NF"}
DEFLATE = 8
READ_COMPRESSIONS = {1, 2, 3, 4, 5, 6, 7, DEFLATE, 32773, 32946, 34925, 50000}
COMPRESSIONS = {
    22610: "JPEG XR", 32809: "ThunderScan", 33003: "JPEG 2000", 33004: "JPEG 2000", 33005: "JPEG 2000", 34661: "JBIG",
    34712: "JPEG 2000", 34676: "SGI LogLuv", 34677: "SGI LogLuv", 34887: "LERC", 34892: "lossy JPEG of a camera raw",
    34933: "PNG", 34934: "JPEG XR", 50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL",
}  # fmt: skip
READ_PHOTOMETRICS = {0, 1, 2, 3, 5, 6}
PHOTOMETRICS = {
    4: "a transparency mask", 8: "CIELAB colours", 9: "ICC Lab colours", 10: "ITU Lab colours", 32803: "raw data of a camera",
    32844: "logarithmic luminance", 32845: "logarithmic colours", 34892: "raw data of a camera",
}  # fmt: skip
FORMATS_OF_SAMPLES = {2: "signed", 3: "floating-point", 5: "complex", 6: "complex"}


def read_pages(content: bytes) -> list[Page]:
    """Return the tags that matter here, those of whole numbers, of each page of a TIFF or BigTIFF file.

    Returns:
        As many pages as can be read, at most 10,000; none where the bytes are no TIFF.
    """
    order = {b"II": "<", b"MM": ">"}.get(bytes(content[:2]), "")
    big = content[2:4] in (b"\x2b\0", b"\0\x2b")
    if not order or not (big or content[2:4] in (b"\x2a\0", b"\0\x2a")):
        return []
    number, word, inside = ("Q", "Q", 8) if big else ("H", "I", 4)
    kinds = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
    pages: list[Page] = []
    seen = {0}
    with suppress(struct.error):
        (place,) = struct.unpack_from(order + word, content, 8 if big else 4)
        while place not in seen and len(pages) < MOST_PAGES:
            seen.add(place)
            page: Page = {}
            (count,) = struct.unpack_from(order + number, content, place)
            place += struct.calcsize(order + number)
            for _ in range(count):
                tag, kind, values = struct.unpack_from(f"{order}HH{word}", content, place)
                place += 4 + inside
                if tag in TAGS and kind in kinds and values <= MOST_VALUES:
                    form = f"{order}{values}{kinds[kind]}"
                    far = struct.calcsize(form) > inside
                    at = struct.unpack_from(order + word, content, place)[0] if far else place
                    page[tag] = struct.unpack_from(form, content, at)
                place += inside
            pages.append(page)
            (place,) = struct.unpack_from(order + word, content, place)
    return pages


def first(page: Page, tag: int, default: int) -> int:
    return page.get(tag, (default,))[0] if page.get(tag) else default


def is_smaller_copy(page: Page) -> bool:
    """Tell whether a page is a thumbnail, a step of a pyramid, or a mask."""
    return bool(first(page, SUBFILE, 0) & 0b101) or first(page, OLD_SUBFILE, 1) == 2


def count_pages(pages: list[Page]) -> int:
    """Return the number of pages that show something of their own, at least 1."""
    return max(1, sum(not is_smaller_copy(page) for page in pages))


def describe_kind(page: Page) -> str:
    """Describe a page that is not read: "5 channels of 16 bits", "JPEG 2000 inside"; "" where nothing speaks against it."""
    compression = first(page, COMPRESSION, 1)
    photometric = first(page, PHOTOMETRIC, 0)
    if DNG_VERSION in page or (is_smaller_copy(page) and SUB_PAGES in page):
        return "the raw data of a camera"
    if compression not in READ_COMPRESSIONS:
        return f"{COMPRESSIONS.get(compression, f'compression {compression}')} inside"
    if photometric not in READ_PHOTOMETRICS:
        return PHOTOMETRICS.get(photometric, f"photometric interpretation {photometric}")
    channels = first(page, SAMPLES, 1)
    if photometric in (0, 1, 3) and (channels > 2 or (channels == 2 and first(page, PLANAR, 1) == 2)):
        return describe_samples(page)
    return ""


def describe_samples(page: Page) -> str:
    """Describe how many channels a page has, and of what: "5 channels of 16 bits", "1 channel of 64 bits, floating-point"."""
    channels = first(page, SAMPLES, 1)
    bits = " and ".join(map(str, dict.fromkeys(page.get(BITS) or (1,))))
    kind = FORMATS_OF_SAMPLES.get(first(page, SAMPLE_FORMAT, 1), "")
    return f"{channels} channel{'s' * (channels > 1)} of {bits} bits{f', {kind}' if kind else ''}"


def mend(image: TiffImageFile, page: Page) -> str:
    """Make Pillow read an open image as its file means it; return why that is impossible, else ""."""
    kind = describe_kind(page)
    if kind:
        return kind
    if first(page, COMPRESSION, 1) == 1:
        if first(page, PHOTOMETRIC, 0) == 6 and page.get(SUBSAMPLING, (2, 2)) != (1, 1):
            return "subsampled YCbCr colours without compression"
        if first(page, PLANAR, 1) == 2:
            # Pillow itself reads planes of 8 bits only; libtiff, which it hands compressed files to, reads all.
            image.tag_v2[COMPRESSION] = DEFLATE
            image._setup()
    if image.use_load_libtiff:
        silence_libtiff()
        tile = image.tile[0]
        if isinstance(tile.args, tuple):
            image.tile = [tile._replace(args=(NATIVE.get(tile.args[0], tile.args[0]), *tile.args[1:]))]
    return ""


@cache
def silence_libtiff() -> None:
    """Keep libtiff from writing about damaged files to standard error: the file's name is not in it, and what cannot be read
    raises all the same. Only libtiff's own handler is taken away, so nothing else is silenced, in any thread.
    """
    wheel = Path(PIL.__file__).parent
    found = [*wheel.parent.glob("[Pp]illow.libs/libtiff*"), *wheel.glob(".dylibs/libtiff*")]
    # Without the libraries of a wheel Pillow uses the system's; loaded already, it is not loaded twice.
    for library in map(str, found or [Path("libtiff.so.6")]):
        with suppress(OSError, AttributeError):
            set_handler = ctypes.CDLL(library).TIFFSetErrorHandler
            set_handler.argtypes = [ctypes.c_void_p]
            set_handler.restype = ctypes.c_void_p
            set_handler(None)


def is_white_zero(image: Image.Image, page: Page) -> bool:
    """Tell whether the numbers of a loaded image stand for the negative; Pillow turns those of up to 8 bits itself."""
    return image.mode in ("I;16", "I;16B", "I", "F") and first(page, PHOTOMETRIC, 1) == 0
