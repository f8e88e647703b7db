"""What is not read is called by its name: another format, a kind of a format, a pointer, a web page; "damaged" is damage only."""

import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
import tifffile
from making import encode, make_image, run_python
from PIL import Image

from diptych.data.pixels.decode import ImageSpec, decode_image
from diptych.errors import DataError

JPEG = encode(make_image(0), "JPEG")


def tiff(values: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, metadata=None, **options)
    return buffer.getvalue()


def media(*brands: bytes) -> bytes:
    box = b"ftyp" + brands[0] + bytes(4) + b"".join(brands[1:])
    return struct.pack(">I", len(box) + 4) + box + bytes(200)


def jpeg_with(place: int, value: int) -> bytes:
    """A JPEG with another byte behind the marker of its frame: 0 the marker itself, 3 bits, 8 channels."""
    start = JPEG.index(b"\xff\xc0") + 1
    return JPEG[: start + place] + bytes([value]) + JPEG[start + place + 1 :]


COLOURS = make_image(0)
FIVE = np.zeros((9, 9, 5), np.uint8)
# The bytes, and words of the answer.
OTHERS: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "the file is empty"),
    "zeros": (lambda: bytes(5000), "nothing but zero bytes"),
    "LFS": (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "run git lfs pull"),
    "annex": (lambda: b"/annex/objects/SHA256E-s1--0.jpg\n", "run git annex get"),
    "LFS after a byte order mark": (lambda: b"\xef\xbb\xbfversion https://git-lfs.github.com/spec/v1\r\n", "run git lfs pull"),
    "annex, a link as text": (lambda: b"../../.git/annex/objects/a1/b2/SHA256E-s1--0.jpg", "run git annex get"),
    "text after a byte order mark": ("\ufeffnot found".encode, "text, not an image"),
    "AppleDouble": (lambda: b"\0\5\x16\7\0\2\0\0Mac OS X" + bytes(90), "an AppleDouble file of macOS"),
    "HTML": (lambda: b"\n<!DOCTYPE html>\n<html><body>404", "a web page"),
    "HTML without doctype": (lambda: b"\xef\xbb\xbf<HTML><head>", "a web page"),
    "SVG": (lambda: b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
    "XML": (lambda: b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "an XML document"),
    "PDF": (lambda: encode(make_image(0), "PDF"), "a PDF document"),
    "PostScript": (lambda: encode(make_image(0), "EPS"), "a PostScript document"),
    "PSD": (lambda: b"8BPS\0\1" + bytes(90), "a Photoshop document"),
    "JPEG XL": (lambda: b"\xff\x0a" + bytes(90), "a JPEG XL image"),
    "JPEG XL in boxes": (lambda: b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(90), "a JPEG XL image"),
    "JPEG 2000": (lambda: encode(make_image(0), "JPEG2000"), "a JPEG 2000 image"),
    "JPEG 2000 stream": (lambda: encode(make_image(0), "JPEG2000", no_jp2=True), "a JPEG 2000 image"),
    "ICO": (lambda: encode(make_image(0), "ICO"), "an ICO icon"),
    "PPM": (lambda: encode(make_image(0), "PPM"), "a portable anymap"),
    "DICOM": (lambda: bytes(128) + b"DICM" + bytes(90), "a DICOM file"),
    "NIfTI": (lambda: struct.pack("<i", 348) + bytes(340) + b"n+1\0", "a NIfTI volume"),
    "gzip": (lambda: b"\x1f\x8b\x08" + bytes(90), "packed with gzip"),
    "ZIP": (lambda: b"PK\3\4" + bytes(90), "a ZIP archive"),
    "NumPy": (lambda: b"\x93NUMPY\1\0" + bytes(90), "a NumPy array"),
    "CR3": (lambda: media(b"crx ", b"crx ", b"isom"), "a camera raw (CR3)"),
    "RAF": (lambda: b"FUJIFILMCCD-RAW 0201" + bytes(90), "a camera raw (RAF)"),
    "DNG": (lambda: tiff(COLOURS, extratags=[(50706, 1, 4, (1, 4, 0, 0), True)]), "the raw data of a camera"),
    "MP4": (lambda: media(b"isom", b"iso2", b"mp41"), "an MP4 or QuickTime video"),
    "AVI": (lambda: b"RIFF\0\0\0\0AVI LIST" + bytes(90), "an AVI video"),
    "WebM": (lambda: b"\x1aE\xdf\xa3" + bytes(90), "a Matroska or WebM video"),
    "text": (lambda: "Größe, Klasse\n1, gut\n".encode() * 500, "text, not an image"),
    "anything": (lambda: bytes(range(200, 256)) * 9, "not an image of a format that is read (JPEG, PNG"),
    "TIFF of five channels": (
        lambda: tiff(FIVE, photometric="minisblack", planarconfig="contig"),
        "TIFF of a kind that is not read (5 channels of 8 bits)",
    ),
    "TIFF of five planes": (
        lambda: tiff(np.moveaxis(FIVE, 2, 0), photometric="minisblack", planarconfig="separate", compression="lzw"),
        "TIFF of a kind that is not read (5 channels of 8 bits)",
    ),
    "TIFF of 64 bits": (
        lambda: tiff(np.ones((9, 9))), "TIFF of a kind that is not read (1 channel of 64 bits, floating-point)"
    ),
    "TIFF of 10 bits": (
        lambda: tiff(np.ones((9, 9), np.uint16), bitspersample=10), "TIFF of a kind that is not read (1 channel of 10 bits)"
    ),
    "CIELAB TIFF": (lambda: tiff(COLOURS, photometric="cielab"), "TIFF of a kind that is not read (CIELAB colours)"),
    "JPEG 2000 in TIFF": (lambda: tiff(COLOURS, compression="jpeg2000"), "(JPEG 2000 inside)"),
    "JPEG XL in TIFF": (lambda: tiff(COLOURS, compression="jpegxl"), "(JPEG XL inside)"),
    "WebP in TIFF": (lambda: tiff(COLOURS, compression="webp"), "(WebP inside)"),
    "JPEG of 12 bits": (lambda: jpeg_with(3, 12), "a JPEG of a kind that is not read (12 bits)"),
    "JPEG of two channels": (lambda: jpeg_with(8, 2), "a JPEG of a kind that is not read (2 channels)"),
    "lossless JPEG": (lambda: jpeg_with(0, 0xC3), "a JPEG of a kind that is not read (lossless)"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_decode_image__what_is_not_read_is_called_by_its_name(name: str) -> None:
    make, words = OTHERS[name]
    with pytest.raises(DataError) as error:
        decode_image(make(), ImageSpec(8))
    assert words in str(error.value)
    assert "damaged" not in str(error.value)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF", "HEIF"])
def test_decode_image__a_header_cut_off_is_damage(form: str) -> None:
    with pytest.raises(DataError, match="damaged or truncated"):
        decode_image(encode(make_image(0), form)[:40], ImageSpec(8))


def test_libtiff__is_silent_and_python_is_not() -> None:
    """Damaged TIFFs make libtiff write to the descriptor of standard error, without a file's name."""
    code = """
import io, logging, sys, threading
import numpy as np, tifffile
from diptych.data.pixels.decode import ImageSpec, decode_image
from diptych.errors import DataError
buffer = io.BytesIO()
noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
tifffile.imwrite(buffer, noise, photometric="rgb", compression="lzw", rowsperstrip=5, metadata=None)
content = bytearray(buffer.getvalue())
content[300::97] = bytes(len(content[300::97]))
def work():
    try:
        decode_image(bytes(content), ImageSpec(8))
    except DataError:
        logging.getLogger().error("damaged")
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
    done = run_python("-c", code)
    assert (done.returncode, done.stderr.splitlines()) == (0, ["damaged"] * 4)


def test_decode_image__a_thumbnail_is_not_taken_for_the_picture() -> None:
    """NEF and other camera raws are TIFFs whose first page is a small copy, with the rest below it."""
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        file.write(COLOURS, subfiletype=1, subifds=1, metadata=None)
        file.write(np.zeros((99, 99), np.uint16), metadata=None)
    with pytest.raises(DataError, match="the raw data of a camera"):
        decode_image(buffer.getvalue(), ImageSpec(8))


def test_making__pillow_would_open_what_is_refused_here() -> None:
    """Else the lists of formats would be of no use: Pillow itself reads an icon, an anymap and JPEG 2000."""
    for name in ("ICO", "PPM", "JPEG 2000"):
        with Image.open(io.BytesIO(OTHERS[name][0]())) as image:
            image.load()
