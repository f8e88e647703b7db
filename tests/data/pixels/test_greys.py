"""Images of more than 8 bits: which stored value becomes white is what the file declares, what the settings say, or doubted."""

import io
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from making import encode, encode_png, encode_tiff
from numpy.typing import NDArray

from diptych.data.check import check
from diptych.data.dataset import load
from diptych.data.pixels.decode import ImageSpec, decode_image, decode_with_facts, spec_of
from diptych.data.pixels.prepare import prepare
from diptych.data.pixels.store import list_caches
from diptych.errors import ConfigError, DataError
from diptych.settings.config import DataConfig, parse_grey_range

SIZE = 32
RAMP = np.tile(np.arange(SIZE) / (SIZE - 1), (SIZE, 1))
SHADES = np.dstack([np.round(RAMP * 255)] * 3)
TWELVE = np.round(RAMP * 4095).astype(np.uint16)


def tiff(values: NDArray[np.generic], **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, metadata=None, **options)
    return buffer.getvalue()


def png(values: NDArray[np.uint16], significant: int) -> bytes:
    """A grey PNG of 16 bits, all rows alike, that declares so many significant bits."""
    whole = encode_png((values.shape[1], values.shape[0]), 16, 0, values[0].astype(">u2").tobytes())
    chunk = b"sBIT" + bytes([significant])
    return whole[:33] + struct.pack(">I", 1) + chunk + struct.pack(">I", zlib.crc32(chunk)) + whole[33:]


def error_of(content: bytes, expected: NDArray[np.float64] = SHADES, grey_range: tuple[float, float] | None = None) -> float:
    image = decode_image(content, ImageSpec(SIZE, "stretch", grey_range))
    return float(np.abs(image - expected).max())


@pytest.mark.parametrize("declared", [1023, 4095, 16383])
@pytest.mark.parametrize("tag", [281, 341])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_decode_image__tiff_that_declares_its_largest_value(declared: int, tag: int, byteorder: str) -> None:
    values = np.round(RAMP * declared).astype(np.uint16)
    options = {"byteorder": byteorder, "extratags": [(tag, 3, 1, declared, True)]}
    assert error_of(tiff(values, **options)) <= 1
    colours = np.dstack([values, values[:, ::-1], values])
    options["extratags"] = [(tag, 3, 3, (declared,) * 3, True)]
    expected = np.dstack([SHADES[..., 0], SHADES[:, ::-1, 0], SHADES[..., 0]])
    assert error_of(tiff(colours, photometric="rgb", **options), expected) <= 1


def test_decode_image__transparency_with_as_few_bits_as_the_colours() -> None:
    """The fault: 4095 of 4095, read with 16 bits, was all but transparent, and the image white."""
    whole = encode_png((SIZE, SIZE), 16, 6, np.dstack([TWELVE[0]] * 3 + [np.full(SIZE, 4095)]).astype(">u2").tobytes())
    chunk = b"sBIT" + bytes([12] * 4)
    assert error_of(whole[:33] + struct.pack(">I", 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + whole[33:]) <= 1


def test_decode_image__a_largest_value_that_is_a_statistic_says_nothing() -> None:
    """Else images of one camera would be scaled each in its own way."""
    content = tiff(TWELVE, extratags=[(281, 3, 1, 3967, True)])
    assert np.array_equal(decode_image(content, ImageSpec(8)), decode_image(tiff(TWELVE), ImageSpec(8)))


def test_decode_image__values_above_what_is_declared() -> None:
    with pytest.raises(DataError, match=r"declares values up to 1023 and holds 4095.*--grey-range"):
        decode_image(tiff(TWELVE, extratags=[(281, 3, 1, 1023, True)]), ImageSpec(8))


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_decode_image__tiff_of_twelve_bits(byteorder: str, photometric: str) -> None:
    """Three bytes hold two samples, in both byte orders."""
    bits = np.unpackbits(TWELVE.astype(">u2").view(np.uint8).reshape(SIZE, SIZE, 2), axis=2)[..., 4:]
    kind = 0 if photometric == "miniswhite" else 1
    tags = {256: [SIZE], 257: [SIZE], 258: [12], 259: [1], 262: [kind], 277: [1], 278: [SIZE]}
    data = np.packbits(bits.reshape(SIZE, -1), axis=1).tobytes()
    content = encode_tiff(byteorder, {tag: ("H", value) for tag, value in tags.items()}, data)
    assert error_of(content, 255 - SHADES if kind == 0 else SHADES) <= 1


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_decode_image__png_with_significant_bits(bits: int) -> None:
    """By the standard they are spread over 16 bits; many programs leave them as they are."""
    values = np.round(RAMP * (2**bits - 1)).astype(np.uint16)
    shifted = values << (16 - bits)
    for stored in (values, shifted, shifted | values >> (2 * bits - 16), np.round(RAMP * 65535).astype(np.uint16)):
        assert error_of(png(stored, bits)) <= 1


@pytest.mark.parametrize("kind", [np.uint16, np.int16, np.uint32, np.int32, np.float32])
@pytest.mark.parametrize("compression", [None, "lzw"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_decode_image__grey_range_that_is_given(kind: type[np.generic], compression: str | None, byteorder: str) -> None:
    values = np.round(RAMP * 3000).astype(kind)
    content = tiff(values, compression=compression, byteorder=byteorder)
    assert error_of(content, grey_range=(0, 3000)) <= 1
    expected = ((np.dstack([values] * 3).astype(float) - 1000) / 500 * 255).clip(0, 255)
    assert error_of(content, expected, (1000, 1500)) <= 1, "what lies beyond is black or white"


def test_decode_image__grey_range_below_zero() -> None:
    values = np.round(RAMP * 4000 - 1000).astype(np.int16)
    assert error_of(tiff(values), grey_range=(-1000, 3000)) <= 1
    assert error_of(tiff(RAMP.astype(np.float32)), grey_range=(0, 1)) <= 1


def test_decode_image__grey_range_is_for_colours_of_16_bits_and_not_of_8() -> None:
    colours = np.dstack([TWELVE] * 3)
    alpha = np.full((SIZE, SIZE, 1), 65535, np.uint16)
    transparent = np.concatenate([colours, alpha], axis=2)
    row = encode_png((SIZE, SIZE), 16, 2, colours[0].astype(">u2").tobytes())
    for content in (tiff(colours, photometric="rgb"), tiff(transparent, photometric="rgb", extrasamples=["unassalpha"]), row):
        assert error_of(content, grey_range=(0, 4095)) <= 1
    assert error_of(encode(SHADES.astype(np.uint8)), grey_range=(0, 4095)) == 0


@pytest.mark.parametrize("text", ["4095", "0,4095", " 0 , 4095.0"])
def test_parse_grey_range(text: str) -> None:
    assert parse_grey_range(text) == (0, 4095)


@pytest.mark.parametrize("text", ["", "0", "-5", "5,5", "9,1", "1,2,3", "all", "nan", "0,inf"])
def test_parse_grey_range__says_what_is_expected(text: str) -> None:
    with pytest.raises(ConfigError, match=r"expected declared, MAX above 0 .* or LOW,HIGH"):
        DataConfig(grey_range=text)


def test_spec_of__has_the_grey_range() -> None:
    assert spec_of(DataConfig(grey_range="-10,300", image_size=64), 96) == ImageSpec(96, "stretch", (-10, 300))
    assert spec_of(DataConfig()).grey_range is None


def test_prepare__each_grey_range_has_its_own_cache(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(TWELVE))
    specs = [ImageSpec(8, "stretch", greys) for greys in (None, (0, 4095), (0, 4095.5), (-1.5, 1e7))]
    for spec in specs:
        store, outcome = prepare([path], spec, tmp_path / "cache")
        pixels, facts = decode_with_facts(path.read_bytes(), spec)
        assert np.array_equal(store[0], pixels)
        assert outcome.loc[0, list(vars(facts))].to_dict() == vars(facts)
    assert {entry.spec for entry in list_caches(tmp_path / "cache")} == set(specs)


def write_set(root: Path, highest: list[int]) -> DataConfig:
    """Two classes of 16-bit greys, each image with its own highest value."""
    random = np.random.default_rng(0)
    for number, value in enumerate(highest):
        folder = root / "data" / ("bad", "ok")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        values = random.integers(0, value, (48, 48)).astype(np.uint16)
        values[0, 0] = value
        (folder / f"{number}.tif").write_bytes(tiff(values))
    return DataConfig(data=root / "data", image_size=32, cache=root / "cache")


def check_messages(settings: DataConfig, root: Path, caplog: pytest.LogCaptureFixture) -> tuple[int, str]:
    with caplog.at_level("INFO", "diptych"):
        return check(settings, root / "check"), caplog.text


def test_twelve_bits_undeclared__stop_check_and_training_and_the_way_out_mends_it(tmp_path, caplog) -> None:
    settings = write_set(tmp_path, [4095, 3100, 2900, 4000] * 3)
    errors, text = check_messages(settings, tmp_path, caplog)
    assert errors == 1
    assert "12 of 12 16-bit images use less than an eighth of the range" in text
    with pytest.raises(DataError, match="12 of 12 16-bit images") as error:
        load(settings, 0)
    said = re.search(r"--grey-range (\d+)", str(error.value))
    assert said is not None
    assert said[1] == "4095"
    loaded = load(DataConfig(settings.data, 32, grey_range=said[1], cache=settings.cache), 0)
    assert loaded.store[np.arange(12)].max(axis=(1, 2, 3)).min() > 120
    # As dark as it is, where that is meant.
    assert len(load(DataConfig(settings.data, 32, grey_range="65535", cache=settings.cache), 0).store) == 12


@pytest.mark.parametrize(
    ("highest", "words"),
    [
        ([65000] * 8 + [3000, 4000], "2 of 10 16-bit images use less than an eighth of the range"),
        ([16383, 12000] * 5, "10 of 10 16-bit images use less than half of the range"),
        ([65535, 30000] * 5, ""),
    ],
)
def test_check__16_bits_that_are_used_in_part_are_a_warning(tmp_path, caplog, highest: list[int], words: str) -> None:
    errors, text = check_messages(write_set(tmp_path, highest), tmp_path, caplog)
    assert errors == 0
    assert (words or "16-bit images") in text if words else "16-bit images" not in text


def test_check__values_above_the_grey_range_are_a_warning(tmp_path, caplog) -> None:
    settings = write_set(tmp_path, [4000] * 9 + [60000])
    beyond = DataConfig(settings.data, 32, grey_range="4095", cache=settings.cache)
    errors, text = check_messages(beyond, tmp_path, caplog)
    assert errors == 0
    assert "1 of 10 images of more than 8 bits have values above the grey range" in text
