"""Bytes into pixels: every format, mode and orientation of the data contract, and every way of being broken."""

import io
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from making import encode, encode_png, make_image, run_python
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Transpose

from diptych.data.pixels import heic
from diptych.data.pixels.decode import ImageFacts, ImageSpec, decode_image, decode_with_facts, read_bytes
from diptych.data.pixels.formats import ADVICE, advice, readable_formats, readable_suffixes
from diptych.errors import ConfigError, DataError

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "AVIF")
LOSSLESS = {
    "WEBP": {"lossless": True},
    "JPEG": {"quality": 95, "subsampling": 0},
    "AVIF": {"quality": 100, "subsampling": "4:4:4", "max_threads": 1},
    "HEIF": {"quality": -1, "chroma": 444},
}
RESIZES = ("stretch", "letterbox", "crop")


def pixel(content: bytes, row: int = 0, column: int = 0, size: int = 2) -> tuple[int, int, int]:
    image = decode_image(content, ImageSpec(size))
    assert image.shape == (size, size, 3)
    assert image.dtype == np.uint8
    red, green, blue = image[row, column].tolist()
    return red, green, blue


def distance(image: NDArray[np.uint8], other: NDArray[np.uint8]) -> int:
    return int(np.abs(image.astype(int) - other).max())


def four_colours(height: int = 40, width: int = 60) -> NDArray[np.uint8]:
    """Red, green, blue, white quarters: no turn or flip leaves it as it is."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2], image[: height // 2, width // 2 :] = RED, GREEN
    image[height // 2 :, : width // 2], image[height // 2 :, width // 2 :] = BLUE, WHITE
    return image


@pytest.mark.parametrize("form", [*FORMATS, "HEIF"])
def test_decode_image__each_format(form: str) -> None:
    image = decode_image(encode(four_colours(64, 64), form, **LOSSLESS.get(form, {})), ImageSpec(64))
    assert image.shape == (64, 64, 3)
    assert image.dtype == np.uint8
    assert distance(image, four_colours(64, 64)) <= {"JPEG": 16, "AVIF": 2, "HEIF": 8}.get(form, 0)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
def test_decode_image__each_compression_of_tiff(compression: str) -> None:
    image = decode_image(encode(four_colours(64, 64), "TIFF", compression=compression), ImageSpec(64))
    assert np.abs(image.astype(int) - four_colours(64, 64)).mean() < (2 if compression == "jpeg" else 1e-9)


def test_decode_image__result_can_be_written_to() -> None:
    image = decode_image(encode(make_image(1)), ImageSpec(32))
    image[0, 0] = 7
    assert image[0, 0].tolist() == [7, 7, 7]


def test_readable_suffixes__are_lower_case_and_known_to_pillow() -> None:
    heic.register()
    forms = {Image.registered_extensions()[suffix] for suffix in readable_suffixes()}
    assert forms == {*FORMATS, "HEIF", "DIB"}  # Windows writes whole BMP files under that name too.
    assert set(readable_formats()) == {*FORMATS, "HEIF"}


def test_advice__for_what_is_not_read_and_for_nothing_else() -> None:
    assert advice(".JXL").startswith("convert them to JPEG")
    assert advice(".nii.gz") == advice(".dcm") != advice(".nef") != ""
    assert [advice(suffix) for suffix in (".png", ".heic", ".csv", ".txt", "")] == [""] * 5
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in ADVICE)


def test_heic__without_pillow_heif_is_not_read_and_says_what_to_install() -> None:
    code = """
import sys
sys.modules["pillow_heif"] = None
from diptych.data.pixels.formats import advice, readable_suffixes
from diptych.data.pixels.decode import ImageSpec, decode_image
print(".heic" in readable_suffixes(), advice(".HEIC"))
try:
    decode_image(b"\\0\\0\\0\\x1cftypheic\\0\\0\\0\\0mif1heicmiaf" + bytes(100), ImageSpec(8))
except Exception as error:
    print(error)
"""
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "False convert them to JPEG, or pip install pillow-heif",
        "a HEIC image; pip install pillow-heif, or convert it to JPEG",
    ]


@pytest.mark.parametrize("form", ["GIF", "WEBP", "TIFF", "PNG"])
def test_decode_image__first_frame_of_several(form: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE, GREEN)]
    content = encode(frames[0], form, save_all=True, append_images=frames[1:], **LOSSLESS.get(form, {}))
    assert pixel(content) == RED


@pytest.mark.parametrize(
    ("mode", "colour", "form", "expected"),
    [
        ("1", 1, "PNG", WHITE),
        ("1", 0, "PNG", (0, 0, 0)),
        ("1", 1, "TIFF", WHITE),
        ("1", 1, "BMP", WHITE),
        ("L", 77, "JPEG", (77, 77, 77)),
        ("L", 77, "PNG", (77, 77, 77)),
        ("L", 77, "BMP", (77, 77, 77)),
        ("L", 77, "GIF", (77, 77, 77)),
        ("L", 77, "WEBP", (77, 77, 77)),
        ("L", 77, "TIFF", (77, 77, 77)),
        ("LA", (100, 255), "PNG", (100, 100, 100)),
        ("LA", (100, 0), "PNG", WHITE),
        ("LA", (100, 0), "TIFF", WHITE),
        ("LA", (0, 128), "PNG", (127, 127, 127)),
        ("RGBA", (10, 20, 30, 255), "PNG", (10, 20, 30)),
        ("RGBA", (10, 20, 30, 0), "PNG", WHITE),
        ("RGBA", (10, 20, 30, 0), "WEBP", WHITE),
        ("RGBA", (10, 20, 30, 0), "TIFF", WHITE),
        ("RGBA", (0, 0, 0, 128), "PNG", (127, 127, 127)),
        ("RGBA", (255, 0, 0, 128), "TIFF", (255, 127, 127)),
        ("CMYK", (0, 255, 255, 0), "JPEG", RED),
        ("CMYK", (0, 255, 255, 0), "TIFF", RED),
        ("CMYK", (0, 0, 0, 255), "JPEG", (0, 0, 0)),
        ("CMYK", (0, 0, 0, 0), "JPEG", WHITE),
        ("YCbCr", (76, 85, 255), "TIFF", (254, 0, 0)),
    ],
)
def test_decode_image__each_mode(mode: str, colour: int | tuple[int, ...], form: str, expected: tuple[int, int, int]) -> None:
    assert pixel(encode(Image.new(mode, (8, 8), colour), form)) == expected


@pytest.mark.parametrize("form", ["PNG", "GIF", "BMP", "TIFF"])
def test_decode_image__palette(form: str) -> None:
    image = Image.new("P", (2, 2), 0)
    image.putpalette([10, 200, 30, 50, 60, 70])
    image.putpixel((0, 0), 1)
    content = encode(image, form)
    assert Image.open(io.BytesIO(content)).mode == "P"
    assert (pixel(content, 0, 0), pixel(content, 0, 1)) == ((50, 60, 70), (10, 200, 30))


@pytest.mark.parametrize("form", ["PNG", "GIF"])
def test_decode_image__palette_with_a_transparent_colour(form: str) -> None:
    image = Image.new("P", (2, 2), 0)
    image.putpalette([10, 200, 30, 50, 60, 70])
    image.putpixel((0, 0), 1)
    content = encode(image, form, transparency=1)
    assert (pixel(content, 0, 0), pixel(content, 0, 1)) == (WHITE, (10, 200, 30))


def test_decode_image__palette_with_alpha_for_each_colour() -> None:
    image = Image.new("P", (2, 2), 0)
    image.putpalette([0, 0, 0, 50, 60, 70])
    image.putpixel((0, 0), 1)
    content = encode(image, "PNG", transparency=bytes([128, 255]))
    assert (pixel(content, 0, 0), pixel(content, 0, 1)) == ((50, 60, 70), (127, 127, 127))


@pytest.mark.parametrize(("mode", "colour"), [("RGB", (1, 2, 3)), ("L", 5), ("1", 0)])
def test_decode_image__one_transparent_colour_without_a_palette(mode: str, colour: int | tuple[int, ...]) -> None:
    assert pixel(encode(Image.new(mode, (4, 4), colour), "PNG", transparency=colour)) == WHITE


@pytest.mark.parametrize("form", ["PNG", "TIFF", "TIFF big-endian"])
@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, 0), (128, 0), (129, 1), (257, 1), (257 * 100, 100), (257 * 100 + 128, 100), (257 * 100 + 129, 101), (65535, 255)],
)
def test_decode_image__sixteen_bit_grey_is_scaled(form: str, value: int, expected: int) -> None:
    kind = ">u2" if form.endswith("endian") else "<u2"
    assert pixel(encode(np.full((2, 2), value, kind), form.removesuffix(" big-endian"))) == (expected, expected, expected)


def test_decode_image__sixteen_bit_gradient_keeps_its_order() -> None:
    """Saturated, all but the first 256 columns would be white."""
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (64, 1))
    row = decode_image(encode(ramp), ImageSpec(64))[0, :, 0].astype(int)
    assert row.tolist() == [round(value / 257) for value in ramp[0].tolist()]


@pytest.mark.parametrize(
    ("colour", "samples", "expected"),
    [
        (2, (25700, 51400, 0), (100, 200, 0)),
        (4, (25700, 65535), (100, 100, 100)),
        (4, (25700, 0), WHITE),
        (6, (25700, 51400, 65535, 65535), (100, 200, 255)),
        (6, (25700, 51400, 65535, 0), WHITE),
    ],
)
def test_decode_image__sixteen_bit_colour_and_alpha(colour: int, samples: tuple[int, ...], expected: tuple[int, ...]) -> None:
    row = struct.pack(f">{len(samples)}H", *samples) * 2
    assert pixel(encode_png((2, 2), 16, colour, row)) == expected


@pytest.mark.parametrize(("depth", "byte", "expected"), [(1, 0b10000000, 255), (2, 0b01000000, 85), (4, 0b00110000, 51)])
def test_decode_image__grey_of_few_bits(depth: int, byte: int, expected: int) -> None:
    assert pixel(encode_png((1, 1), depth, 0, bytes([byte])), size=1) == (expected, expected, expected)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.full((2, 2), 70000, np.int32), "pixels from 70000 to 70000"),
        (np.full((2, 2), -1, np.int32), "pixels from -1 to -1"),
        (np.full((2, 2), 0.5, np.float32), "floating-point pixels from 0.5 to 0.5 have no known range.*--grey-range"),
        (np.full((2, 2), np.nan, np.float32), "not numbers"),
    ],
)
def test_decode_image__pixels_of_unknown_range(values: NDArray[np.generic], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        decode_image(encode(values, "TIFF"), ImageSpec(2))


# How a camera held that way stores the upright picture: the inverse of what each orientation asks for.
STORED = {
    1: None,
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_90,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_270,
}


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
@pytest.mark.parametrize("orientation", STORED)
def test_decode_image__is_turned_upright(form: str, orientation: int, resize: str) -> None:
    upright = Image.fromarray(four_colours())
    turn = STORED[orientation]
    stored = upright if turn is None else upright.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    # As bytes: from these pillow-heif takes the turn of the picture itself, as telephones write it.
    content = encode(stored, form, exif=exif.tobytes(), **LOSSLESS.get(form, {}))
    spec = ImageSpec(32, resize)
    expected = decode_image(encode(upright), spec)
    assert distance(decode_image(content, spec), expected) <= {"JPEG": 16, "AVIF": 3, "HEIF": 12}.get(form, 1)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_decode_image__orientation_that_there_is_not(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(
        decode_image(encode(four_colours(), exif=exif), ImageSpec(32)), decode_image(encode(four_colours()), ImageSpec(32))
    )


def test_decode_image__stretch_shows_all_of_the_image_and_nothing_else() -> None:
    image = decode_image(encode(four_colours(30, 60)), ImageSpec(32, "stretch"))
    assert distance(image[8::15, 8::15], four_colours(32, 32)[8::15, 8::15]) == 0
    assert image.sum(-1).min() >= 255, "there is black"


@pytest.mark.parametrize("turned", [False, True])
def test_decode_image__letterbox_pads_the_short_sides_with_black(turned: bool) -> None:
    wide = np.full((30, 60, 3), 200, np.uint8)
    image = decode_image(encode(np.rot90(wide) if turned else wide), ImageSpec(32, "letterbox"))
    expected = np.zeros((32, 32, 3), np.uint8)
    expected[8:24] = 200
    assert np.array_equal(image, np.rot90(expected) if turned else expected)


@pytest.mark.parametrize("turned", [False, True])
def test_decode_image__crop_cuts_the_long_sides_to_the_middle(turned: bool) -> None:
    wide = np.zeros((30, 60, 3), np.uint8)
    wide[:, :15], wide[:, 15:30], wide[:, 30:45], wide[:, 45:] = GREEN, RED, BLUE, GREEN
    image = decode_image(encode(np.rot90(wide) if turned else wide), ImageSpec(30, "crop"))
    expected = wide[:, 15:45]
    assert np.array_equal(image, np.rot90(expected) if turned else expected)


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (7, 3), (33, 32)])
def test_decode_image__any_shape_becomes_a_square(shape: tuple[int, int], resize: str) -> None:
    assert decode_image(encode(np.full((*shape, 3), 90, np.uint8)), ImageSpec(32, resize)).shape == (32, 32, 3)


def test_decode_image__large_jpeg_shrunk_on_load_is_close_to_the_full_decode() -> None:
    rows, columns = np.mgrid[:768, :1024]
    picture = np.stack([127 + 120 * np.sin(rows / 50), 127 + 120 * np.cos(columns / 70), (rows + columns) / 8], -1)
    content = encode(picture.astype(np.uint8), "JPEG", quality=92)
    full = Image.open(io.BytesIO(content)).convert("RGB").resize((64, 64), Image.Resampling.BILINEAR)
    difference = np.abs(decode_image(content, ImageSpec(64)).astype(int) - np.asarray(full))
    assert difference.mean() < 1
    assert difference.max() <= 6


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("BMP", {}),
        ("GIF", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "jpeg"}),
    ],
)
def test_decode_image__truncated(form: str, options: dict[str, object], share: float) -> None:
    content = encode(make_image(1, size=96), form, **options)
    spec = ImageSpec(32)
    assert decode_image(content, spec).shape == (32, 32, 3)
    with pytest.raises(DataError):
        decode_image(content[: int(share * len(content))], spec)


@pytest.mark.parametrize("form", ["JPEG", "BMP", "WEBP", "TIFF"])
def test_decode_image__a_single_byte_too_few(form: str) -> None:
    with pytest.raises(DataError, match="damaged or truncated"):
        decode_image(encode(make_image(1), form)[:-1], ImageSpec(32))


BOMBS = {
    "PNG header": encode_png((60000, 60000), 8, 0, None),
    "GIF header": b"GIF89a"
    + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0)
    + b","
    + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0)
    + b"\x02\x01\0\0;",
    "BMP header": b"BM" + struct.pack("<IIIIIIHHIIIIII", 54, 0, 54, 40, 60000, 60000, 1, 24, 0, 0, 0, 0, 0, 0),
}


@pytest.mark.parametrize("content", BOMBS.values(), ids=BOMBS)
def test_decode_image__header_claims_too_many_pixels(content: bytes) -> None:
    with pytest.raises(DataError, match="too many pixels"):
        decode_image(content, ImageSpec(32))


def test_decode_image__decompression_bomb() -> None:
    """400 million pixels, whole and well-formed, in a file of less than 100 kB."""
    content = encode_png((20000, 20000), 1, 0, bytes(2500))
    assert len(content) < 100_000
    with pytest.raises(DataError, match="too many pixels"):
        decode_image(content, ImageSpec(32))


@pytest.mark.parametrize("content", ["a.jpg", Path("a.jpg"), None, np.zeros(9, np.uint8), io.BytesIO(b"a")])
def test_decode_image__takes_bytes_and_says_so(content: object) -> None:
    with pytest.raises(TypeError, match=r"expected as bytes; got .*read_bytes\(\)"):
        decode_image(content, ImageSpec(8))


def test_decode_image__takes_any_buffer() -> None:
    content = encode(make_image(1))
    for buffer in (bytearray(content), memoryview(content)):
        assert np.array_equal(decode_image(buffer, ImageSpec(8)), decode_image(content, ImageSpec(8)))


def test_decode_image__odd_metadata_is_passed_over_in_silence() -> None:
    """Pillow warns of it; only a process without pytest's own filters shows what the user sees."""
    exif = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\x0f\x01\x02\0\xff\xff\0\0\xff\xff\0\0"
    code = f"""
import io, numpy as np
from PIL import Image
from diptych.data.pixels.decode import ImageSpec, decode_image
buffer = io.BytesIO()
Image.new("RGB", (16, 16), "red").save(buffer, "JPEG", exif={exif!r})
print(decode_image(buffer.getvalue(), ImageSpec(8)).shape)
"""
    done = run_python("-c", code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "(8, 8, 3)\n", "")


@given(st.binary(max_size=200))
def test_decode_image__any_bytes_give_a_dataerror(content: bytes) -> None:
    with pytest.raises(DataError):
        decode_image(content, ImageSpec(8))


@given(st.sampled_from(FORMATS), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=8))
def test_decode_image__damaged_bytes_give_pixels_or_a_dataerror(form: str, changes: list[tuple[int, int]]) -> None:
    content = bytearray(encode(make_image(1, size=16), form))
    for place, value in changes:
        content[place % len(content)] = value
    try:
        image = decode_image(bytes(content), ImageSpec(8))
    except DataError:
        return
    assert image.shape == (8, 8, 3)


@pytest.mark.parametrize(("size", "resize"), [(0, "stretch"), (-1, "crop"), (32, "squash"), ("32", "crop"), (16.5, "crop")])
def test_imagespec__is_checked_when_made(size: int, resize: str) -> None:
    with pytest.raises(ConfigError, match="expected a positive size"):
        ImageSpec(size, resize)


@pytest.mark.parametrize("grey_range", [4095, (5,), (5, 5), (9, 1)])
def test_imagespec__grey_range_is_two_numbers(grey_range: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="expected two numbers, the smaller one first"):
        ImageSpec(32, "stretch", grey_range)


def test_read_bytes__whole_content(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"content")
    assert read_bytes(tmp_path / "a.png") == b"content"


def test_read_bytes__empty_missing_folder(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    with pytest.raises(DataError, match="the file is empty"):
        read_bytes(tmp_path / "empty.png")
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_bytes(tmp_path / "none.png")
    with pytest.raises(DataError, match="cannot be read"):
        read_bytes(tmp_path)


def test_read_bytes__too_large(tmp_path: Path) -> None:
    with (tmp_path / "large.png").open("wb") as file:
        file.truncate(2**30 + 1)  # A hole: it takes no room on the disk.
    with pytest.raises(DataError, match="at most 1 GiB"):
        read_bytes(tmp_path / "large.png")


def facts_of(content: bytes) -> ImageFacts:
    pixels, facts = decode_with_facts(content, ImageSpec(8))
    assert np.array_equal(pixels, decode_image(content, ImageSpec(8)))
    return facts


@pytest.mark.parametrize("form", FORMATS)
def test_image_facts__format_and_size_as_stored(form: str) -> None:
    facts = facts_of(encode(four_colours(40, 60), form))
    assert (facts.format, facts.width, facts.height) == (form, 60, 40)
    assert facts.mode == ("P" if form == "GIF" else "RGB")
    assert (facts.orientation, facts.exif, facts.camera, facts.progressive) == (1, False, "", False)
    assert (facts.quantization > 0) == (form == "JPEG")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_image_facts__exif(form: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0112] = "Maker\0", "Model 7", orientation
    facts = facts_of(encode(four_colours(40, 60), form, exif=exif))
    assert (facts.exif, facts.camera, facts.orientation) == (True, "Maker Model 7", orientation)
    assert (facts.width, facts.height) == (60, 40), "not turned"


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_image_facts__orientation_that_there_is_not(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert facts_of(encode(four_colours(), "JPEG", exif=exif)).orientation == 1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_image_facts__mode_as_stored(mode: str) -> None:
    assert facts_of(encode(Image.new(mode, (9, 9)), "PNG")).mode == mode


def test_image_facts__size_of_a_jpeg_shrunk_on_load() -> None:
    facts = facts_of(encode(np.zeros((300, 500, 3), np.uint8), "JPEG"))
    assert (facts.width, facts.height) == (500, 300)


def test_image_facts__quantization_tells_the_quality() -> None:
    table = [17] * 64
    assert facts_of(encode(make_image(0), "JPEG", qtables=[table, table])).quantization == 17
    low, high = (facts_of(encode(make_image(0), "JPEG", quality=quality)).quantization for quality in (20, 95))
    assert low > 5 * high


@pytest.mark.parametrize("progressive", [False, True])
def test_image_facts__progressive(progressive: bool) -> None:
    assert facts_of(encode(make_image(0), "JPEG", progressive=progressive)).progressive == progressive


def test_image_facts__jpeg_with_further_pictures_is_a_jpeg() -> None:
    frames = [Image.fromarray(make_image(0, number)) for number in range(2)]
    content = encode(frames[0], "MPO", save_all=True, append_images=frames[1:])
    facts = facts_of(content)
    assert (facts.format, facts.quantization > 0) == ("JPEG", True)


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF", "AVIF", "HEIF"])
def test_image_facts__frames(form: str) -> None:
    frames = [Image.fromarray(make_image(0, number)) for number in range(3)]
    assert facts_of(encode(frames[0], form)).frames == 1
    assert facts_of(encode(frames[0], form, save_all=True, append_images=frames[1:])).frames == 3


def test_image_facts__frames_of_a_gif_that_breaks_off() -> None:
    frames = [Image.fromarray(make_image(0, number)) for number in range(3)]
    content = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert facts_of(content[: len(content) * 3 // 4]).frames >= 1


def test_image_facts__small_copies_are_no_pages() -> None:
    """Pyramids of microscopes keep the picture once more, smaller, in further pages."""
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        file.write(make_image(0), metadata=None)
        file.write(make_image(0)[::2, ::2], subfiletype=1, metadata=None)
    assert facts_of(buffer.getvalue()).frames == 1


@given(st.binary(max_size=60))
def test_image_facts__damaged_exif_block_costs_no_image(block: bytes) -> None:
    """What stands in the way of the camera's name only shall not make the image unreadable."""
    content = encode(make_image(0), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0" + block)
    with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(content)) as image:
        try:
            image.getexif().get(0x0112)
        except Exception:
            return
        assert facts_of(content).format == "JPEG"
