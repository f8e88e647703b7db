"""Greys and colours of more than 8 bits: which stored values become black and white."""

import logging
import struct
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from diptych.data.pixels import tiff
from diptych.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

FULL = 65535
# An image of 16 bits that does not reach this part of their range is nearly black, and surely holds fewer bits than that.
SLIVER = 1 / 8
ROWS = 256


class Spread(NamedTuple):
    """The values of more than 8 bits that an image is stored with, 0 each where it has none.

    Attributes:
        lowest: smallest stored value.
        highest: largest stored value; of 16-bit colours that are read with 8 bits, up to 255 more.
        white: the stored value that became white.
        assumed: whether that is the largest value of 16 bits because nobody says another one.
    """

    lowest: float = 0.0
    highest: float = 0.0
    white: float = 0.0
    assumed: bool = False


def declared_white(form: str, content: bytes, page: tiff.Page) -> int:
    """Return the value that a file of 16-bit samples declares to be its largest: 4095 for 12 bits, 65535 where it says nothing.

    TIFF declares it by BitsPerSample, or by a MaxSampleValue that is all ones; other such values are statistics. PNG declares
    it by its chunk sBIT.

    Args:
        form: "TIFF", "PNG", ...
        content: the bytes of the file.
        page: the tags of a TIFF's first page.
    """
    if form == "TIFF":
        bits = tiff.first(page, tiff.BITS, 16)
        declared = tiff.first(page, tiff.HIGHEST, tiff.first(page, tiff.HIGHEST_OF_FORMAT, FULL))
        if bits == 16:
            return declared if 255 < declared < FULL and declared & (declared + 1) == 0 else FULL
        return 2**bits - 1 if 8 < bits < 16 else FULL
    if form == "PNG":
        bits = max(significant_bits(content), default=16)
        return 2**bits - 1 if 8 < bits < 16 else FULL
    return FULL


def significant_bits(content: bytes) -> bytes:
    """Return the significant bits of each channel from the chunk sBIT of a PNG; empty without one."""
    place = 8
    while place + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        if kind == b"sBIT":
            return content[place + 8 : place + 8 + length]
        if kind in (b"IDAT", b"IEND"):
            break
        place += 12 + length
    return b""


def find_white(values: NDArray[np.generic], declared: int, form: str) -> int:
    """Return the value that becomes white in an image, given what its file declares.

    The standard of PNG has samples of 12 bits spread over all 16, but many programs store them as they are: where the low
    bits are neither zeros nor the high ones again, and no value is above 4095, it was done that way.

    Raises:
        DataError: values above what a TIFF declares.
    """
    if declared == FULL:
        return FULL
    highest = int(values.max())
    if form == "PNG":
        if highest > declared:
            return FULL
        bits = declared.bit_length()
        numbers = np.flatnonzero(np.bincount(values.ravel()))
        top = numbers >> (16 - bits)
        shifted = top << (16 - bits)
        spread = np.all((numbers == shifted) | (numbers == (shifted | (top >> (2 * bits - 16)))))
        return FULL if spread else declared
    if highest > declared:
        raise DataError(
            f"it declares values up to {declared} and holds {highest}; --grey-range of the training says which is white"
        )
    return declared


def scale(values: NDArray[np.generic], low: float, high: float) -> NDArray[np.uint8]:
    """Scale numbers so that `low` becomes 0 and `high` 255; what lies beyond becomes 0 or 255 too."""
    scaled = np.empty(values.shape, np.uint8)
    # Some rows at a time: as numbers of 64 bits, all of them take eight times the memory of the image.
    for start in range(0, len(values), ROWS):
        numbers = (values[start : start + ROWS].astype(np.float64) - low) * (255 / (high - low))
        scaled[start : start + ROWS] = np.floor(numbers.clip(0, 255) + 0.5)
    return scaled


class Doubt(NamedTuple):
    """What is wrong with the greys of a set of images.

    Attributes:
        kind: "grey-range", or "beyond-grey-range".
        level: whether training stops there, or continues with a warning.
        title: what is so, with the number of images.
        advice: how to correct it.
        rows: which images, by their index in the table of `prepare`.
        reasons: their values.
    """

    kind: str
    level: Literal["error", "warning"]
    title: str
    advice: str
    rows: "pd.Index"
    reasons: tuple[str, ...]


def find_doubts(outcome: "pd.DataFrame") -> list[Doubt]:
    """Find images of more than 8 bits that are nearly black or cut off at white, given the range that they were scaled from.

    Args:
        outcome: what `prepare` said of the files.
    """
    deep = outcome[(outcome["problem"] == "") & (outcome["white"] > 0)]
    assumed = deep[deep["assumed"]]
    dark = assumed[assumed["highest"] < SLIVER * FULL]
    beyond = deep[deep["highest"] > deep["white"]]
    doubts = []
    if len(dark):
        many = 2 * len(dark) >= len(assumed)
        doubts.append(doubt_range("error" if many else "warning", dark, len(assumed), "an eighth"))
    elif len(assumed) and assumed["highest"].max() <= FULL // 2:
        doubts.append(doubt_range("warning", assumed, len(assumed), "half"))
    if len(beyond):
        title = f"{len(beyond)} of {len(deep)} images of more than 8 bits have values above the grey range: these are white"
        advice = "Where that hides something, widen --grey-range."
        doubts.append(Doubt("beyond-grey-range", "warning", title, advice, beyond.index, describe_values(beyond)))
    return doubts


def doubt_range(level: Literal["error", "warning"], rows: "pd.DataFrame", images: int, part: str) -> Doubt:
    bits = max(8, int(rows["highest"].max()).bit_length())
    title = f"{len(rows)} of {images} 16-bit images use less than {part} of the range, so they are dark or nearly black"
    advice = (
        f"Do they hold {bits} bits? Set --grey-range {2**bits - 1} (the value that becomes white; key grey_range in [data]). "
        f"If they are meant to be that dark: --grey-range {FULL}."
    )
    return Doubt("grey-range", level, title, advice, rows.index, describe_values(rows))


def describe_values(rows: "pd.DataFrame") -> tuple[str, ...]:
    return tuple(f"{low:g} to {high:g}" for low, high in zip(rows["lowest"], rows["highest"], strict=True))


def warn_of_doubts(outcome: "pd.DataFrame", advice: str = "") -> None:
    """Warn of images that are nearly black or cut off at white, with other advice than the usual one where it is given."""
    for doubt in find_doubts(outcome):
        log.warning("Warning: %s. %s", doubt.title, advice or doubt.advice)


def refuse_dark(outcome: "pd.DataFrame") -> None:
    """Stop where most 16-bit images use a sliver of the range: a network would see them nearly black.

    Raises:
        DataError: it is so; the message says what to set.
    """
    for doubt in find_doubts(outcome):
        if doubt.level == "error":
            raise DataError(f"{doubt.title} (the first: {doubt.reasons[0]} of {FULL}). {doubt.advice}")
