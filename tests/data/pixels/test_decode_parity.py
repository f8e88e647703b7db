"""Every kind of file against a second reader: the same pixels, or a refusal in its own words.

The files are written by tifffile and imagecodecs and read back by them; what the numbers mean (which is white, where alpha goes,
how many bits there are) is applied here once more, from the standards. Pillow has no part in what is expected.
"""

import io
import itertools
import re
import struct
import warnings
import zlib
from collections.abc import Iterator

import imagecodecs
import numpy as np
import pytest
import tifffile
from making import encode_png, encode_tiff
from numpy.typing import NDArray

from diptych.data.pixels.decode import ImageSpec, decode_image
from diptych.errors import DataError

SIZE = 37  # Neither of whole bytes in a row of bits nor of whole tiles.
TILE = (16, 32)
PLAIN = ImageSpec(SIZE)
REFUSED = r"of a kind that is not read \(.+\)|no known range|16-bit colours .*; save the image|-bit greys go from"
COMPRESSIONS = (None, "lzw", "zlib", "packbits", "zstd", "lzma")
PREDICTED = ("lzw", "zlib", "zstd")
WHOLE = {np.dtype(kind): np.iinfo(kind).max for kind in (np.uint8, np.uint16)}


def ramp(channels: int, kind: type[np.generic], top: float) -> NDArray[np.generic]:
    """(SIZE, SIZE, channels), each channel another gradient from 0 to `top`."""
    rows, columns = np.mgrid[:SIZE, :SIZE] / (SIZE - 1)
    every = np.stack([columns, rows, (rows + columns) / 2, 1 - columns, rows * columns], axis=2)[..., :channels] * top
    return (every if np.issubdtype(kind, np.floating) else np.round(every)).astype(kind)


def write(values: NDArray[np.generic], **options: object) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(action="ignore"):
        tifffile.imwrite(buffer, values, metadata=None, **options)
    return buffer.getvalue()


def second_reader(content: bytes, white: float | None = None) -> NDArray[np.float64]:
    """Read a TIFF with tifffile and interpret its numbers; (SIZE, SIZE, 3), 0 to 255."""
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.pages[0]
        values = page.asarray()
        photometric, extra = int(page.photometric), tuple(map(int, page.extrasamples))
        colormap, converted = page.colormap, int(page.compression) == 7 and page.planarconfig == 1
        if page.planarconfig == 2 and values.ndim == 3:
            values = np.moveaxis(values, 0, 2)
    numbers = np.atleast_3d(values).astype(np.float64)
    if photometric == 3:
        return colormap.T[np.atleast_3d(values)[..., 0]] / 257
    top = white or WHOLE.get(values.dtype, 1 if values.dtype == bool else 65535)
    numbers = numbers / top
    if photometric == 0:
        numbers = 1 - numbers
    colours = {2: 3, 5: 4, 6: 3}.get(photometric, 1)
    alpha = numbers[..., colours : colours + 1] if extra and extra[0] in (1, 2) else None
    rgb = numbers[..., :colours]
    if photometric == 5:
        rgb = (1 - rgb[..., :3]) * (1 - rgb[..., 3:])
    if photometric == 6 and not converted:
        luma, blue, red = (rgb[..., place] - (place > 0) * 128 / 255 for place in range(3))
        rgb = np.stack([luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue], axis=2).clip(0, 1)
    rgb = np.broadcast_to(rgb, (SIZE, SIZE, 3))
    if alpha is not None:
        rgb = (rgb if extra[0] == 1 else rgb * alpha) + 1 - alpha
    return rgb.clip(0, 1) * 255


def compare(content: bytes, expected: NDArray[np.float64], spec: ImageSpec = PLAIN) -> float | None:
    """Return by how much an image differs at most; None where it is refused in its own words."""
    try:
        return float(np.abs(decode_image(content, spec) - expected).max())
    except DataError as error:
        if not re.search(REFUSED, str(error)):
            raise
        return None


def layouts(deep: bool = True) -> Iterator[dict[str, object]]:
    """Byte orders, compressions with and without predictor, strips and tiles."""
    for byteorder, compression, tile in itertools.product("<>", COMPRESSIONS, (None, TILE)):
        for predictor in (False, True) if compression in PREDICTED and deep else (False,):
            place = {"rowsperstrip": 10} if tile is None else {"tile": tile}
            yield {"byteorder": byteorder, "compression": compression, "predictor": predictor, **place}


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_tiff__greys(photometric: str, kind: type[np.generic]) -> None:
    for options in layouts():
        content = write(ramp(1, kind, np.iinfo(kind).max)[..., 0], photometric=photometric, **options)
        difference = compare(content, second_reader(content))
        assert difference is not None, options
        assert difference <= 1, options


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.uint32, np.float32])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_tiff__greys_with_a_grey_range(photometric: str, kind: type[np.generic]) -> None:
    read = 0
    for options in layouts(deep=np.dtype(kind) != np.float32):
        content = write(ramp(1, kind, 4095)[..., 0], photometric=photometric, **options)
        difference = compare(content, second_reader(content, 4095), ImageSpec(SIZE, "stretch", (0, 4095)))
        read += difference is not None
        assert difference is None or difference <= 1, options
    assert read or photometric == "miniswhite", "signed negatives and the like may be refused, but nothing else"


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ("photometric", "channels", "extra"),
    [
        ("rgb", 3, ()),
        ("rgb", 4, ("unassalpha",)),
        ("rgb", 4, ("assocalpha",)),
        ("rgb", 4, ("unspecified",)),
        ("rgb", 5, ("unspecified",) * 2),
        ("minisblack", 2, ("unassalpha",)),
        ("minisblack", 2, ("unspecified",)),
        ("minisblack", 5, ("unspecified",) * 4),
        ("separated", 4, ()),
        ("cielab", 3, ()),
    ],
)
def test_tiff__colours_and_alpha(
    photometric: str, channels: int, extra: tuple[str, ...], kind: type[np.generic], planar: str
) -> None:
    read = 0
    every = list(layouts())
    for options in every:
        top = np.iinfo(kind).max
        values = ramp(channels, kind, top)
        if extra == ("assocalpha",):
            values = np.concatenate([np.round(values[..., :3] * (values[..., 3:] / top)), values[..., 3:]], axis=2).astype(kind)
        values = np.moveaxis(values, 2, 0) if planar == "separate" else values
        content = write(values, photometric=photometric, planarconfig=planar, extrasamples=extra or None, **options)
        difference = compare(content, second_reader(content))
        read += difference is not None
        assert difference is None or difference <= (3 if extra == ("assocalpha",) else 2), options
    if photometric == "separated" or (photometric == "rgb" and channels < 5 and "unspecified" not in extra):
        assert read == len(every), "read in all layouts"


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_tiff__few_bits_and_palettes(byteorder: str) -> None:
    for bits, photometric in itertools.product((1, 2, 4), ("minisblack", "miniswhite")):
        values = ramp(1, np.uint8, 2**bits - 1)[..., 0]
        options = {"photometric": photometric, "byteorder": byteorder, **({} if bits == 1 else {"bitspersample": bits})}
        content = write(values == 1 if bits == 1 else values, **options)
        difference = compare(content, second_reader(content, 2**bits - 1))
        assert difference is not None, (bits, photometric)
        assert difference <= 1, (bits, photometric)
    index = np.arange(256)
    colormap = np.stack([index * 257, (255 - index) * 257, index * 7 % 256 * 257]).astype(np.uint16)
    for options in layouts():
        content = write(ramp(1, np.uint8, 255)[..., 0], photometric="palette", colormap=colormap, **options)
        assert compare(content, second_reader(content)) == 0, options


@pytest.mark.parametrize("bits", [1, 8, 16])
def test_tiff__one_channel_in_planes_is_one_channel(bits: int) -> None:
    """With one sample a pixel both planar configurations mean the same."""
    for order, photometric in itertools.product("<>", (0, 1)):
        values = ramp(1, np.uint16, 2**bits - 1)[..., 0]
        data = np.packbits(values.astype(np.uint8), axis=1) if bits == 1 else values.astype(f"{order}u{bits // 8}")
        tags = {256: SIZE, 257: SIZE, 258: bits, 259: 1, 262: photometric, 277: 1, 278: SIZE, 284: 2}
        content = encode_tiff(order, {tag: ("H", [value]) for tag, value in tags.items()}, data.tobytes())
        shades = values / (2**bits - 1) * 255
        difference = compare(content, np.dstack([255 - shades if photometric == 0 else shades] * 3))
        assert difference is not None
        assert difference <= 1, (order, photometric)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("photometric", ["ycbcr", "rgb", "minisblack", "separated"])
def test_tiff__jpeg_inside(photometric: str, planar: str) -> None:
    values = ramp({"minisblack": 1, "separated": 4}.get(photometric, 3), np.uint8, 255)
    if photometric == "minisblack":
        values = values[..., 0]
    elif planar == "separate":
        values = np.moveaxis(values, 2, 0)
    for subsampling in ((1, 1), (2, 2)) if photometric == "ycbcr" else ((1, 1),):
        content = write(
            values, photometric=photometric, planarconfig=planar, compression="jpeg", compressionargs={"level": 98},
            **({"subsampling": subsampling} if photometric == "ycbcr" else {}),
        )  # fmt: skip
        difference = compare(content, second_reader(content))
        assert difference is None or difference <= 12, subsampling
        assert difference is not None or photometric != "rgb"


def test_tiff__subsampled_colours_without_compression_are_refused() -> None:
    tags = {256: [2], 257: [2], 258: [8, 8, 8], 259: [1], 262: [6], 277: [3], 278: [2], 530: [2, 2]}
    for order in "<>":
        content = encode_tiff(order, {tag: ("H", value) for tag, value in tags.items()}, bytes(6))
        with pytest.raises(DataError, match="subsampled YCbCr colours"):
            decode_image(content, PLAIN)


@pytest.mark.parametrize("compression", [None, "lzw"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_tiff__ycbcr(compression: str | None, planar: str) -> None:
    values = (ramp(3, np.uint8, 127) + 64).astype(np.uint8)
    values = np.moveaxis(values, 2, 0) if planar == "separate" else values
    content = write(values, photometric="ycbcr", planarconfig=planar, subsampling=(1, 1), compression=compression)
    difference = compare(content, second_reader(content))
    assert difference is not None
    assert difference <= 3


def png(depth: int, colour: int, values: NDArray[np.generic], *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG with all rows alike, and further chunks."""
    row = values[0].astype(">u2" if depth == 16 else np.uint8).tobytes()
    whole = encode_png((SIZE, SIZE), depth, colour, row)
    packed = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return whole[:33] + packed + whole[33:]


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
@pytest.mark.parametrize("transparent", [False, True])
def test_png(depth: int, colour: int, channels: int, transparent: bool) -> None:
    """Grey, RGB, with alpha and with one transparent colour; imagecodecs (libpng) reads the numbers."""
    top = 2**depth - 1
    row = ramp(4, np.uint16, top)[SIZE // 2][:, [0, 3, 0, 3][:channels]]
    values = np.tile(row, (SIZE, 1, 1))
    chunks = []
    if transparent and colour in (0, 2):
        chunks = [(b"tRNS", struct.pack(f">{channels}H", *values[0, 5].tolist()))]
    content = png(depth, colour, values, *chunks)
    read = np.atleast_3d(imagecodecs.png_decode(png(depth, colour, values))).astype(float) / top
    alpha = read[..., -1:] if colour in (4, 6) else np.ones((SIZE, SIZE, 1))
    if chunks:
        alpha = np.any(values != values[0, 5], axis=2, keepdims=True).astype(float)
    rgb = np.broadcast_to(read[..., : 3 if colour in (2, 6) else 1], (SIZE, SIZE, 3))
    difference = compare(content, (rgb * alpha + 1 - alpha) * 255)
    assert difference is not None
    assert difference <= 2


@pytest.mark.parametrize("outer", ["cmyk", "ycck"])
def test_jpeg__four_channels(outer: str) -> None:
    """Adobe's programs store the inks of CMYK and YCCK JPEGs as negatives, and say so in a marker of theirs."""
    inks = ramp(4, np.uint8, 255)
    content = imagecodecs.jpeg8_encode(255 - inks, level=98, colorspace="cmyk", outcolorspace=outer, subsampling="444")
    assert b"Adobe" in content[:200]
    shades = inks / 255
    difference = compare(content, (1 - shades[..., :3]) * (1 - shades[..., 3:]) * 255)
    assert difference is not None
    assert difference <= 12
