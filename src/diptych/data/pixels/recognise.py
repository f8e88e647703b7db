"""Explain why bytes cannot be read as an image: another format, a web page, a pointer, or damage."""

import re
import struct

from diptych.data.pixels import tiff
from diptych.data.pixels.formats import readable_formats

# How files begin that hold something else, what they are, and what to do about them.
BEGINNINGS = {
    b"version https://git-lfs": "a pointer of Git LFS, not the image itself; run git lfs pull",
    b"/annex/objects/": "a pointer of git-annex, not the image itself; run git annex get",
    b"\0\x05\x16\x07": "an AppleDouble file of macOS, which holds no picture; delete it",
    b"\0\x05\x16\0": "an AppleSingle file of macOS; unpack it on a Mac",
    b"%PDF": "a PDF document; export its pages as JPEG or PNG",
    b"%!PS": "a PostScript document; export its pages as JPEG or PNG",
    b"\xc5\xd0\xd3\xc6": "a PostScript document; export its pages as JPEG or PNG",
    b"8BPS": "a Photoshop document (PSD); export it as JPEG or PNG",
    b"gimp xcf": "a GIMP document (XCF); export it as JPEG or PNG",
    b"\xff\x0a": "a JPEG XL image; convert it to JPEG or PNG",
    b"\0\0\0\x0cJXL \r\n": "a JPEG XL image; convert it to JPEG or PNG",
    b"\xff\x4f\xff\x51": "a JPEG 2000 image; convert it to JPEG or PNG",
    b"\0\0\0\x0cjP  \r\n": "a JPEG 2000 image; convert it to JPEG or PNG",
    b"II\xbc": "a JPEG XR image; convert it to JPEG or PNG",
    b"\0\0\1\0": "an ICO icon; convert it to PNG",
    b"\0\0\2\0": "a CUR cursor or TGA image; convert it to PNG",
    b"icns": "an ICNS icon; convert it to PNG",
    b"qoif": "a QOI image; convert it to PNG",
    b"v/1\x01": "an OpenEXR image; convert it to PNG or TIFF with 16 bits",
    b"#?RADIANCE": "a Radiance HDR image; convert it to PNG or TIFF with 16 bits",
    b"SIMPLE  =": "a FITS image; convert it to PNG or TIFF with 16 bits",
    b"AT&TFORM": "a DjVu document; export its pages as JPEG or PNG",
    b"IIRO": "a camera raw (ORF); develop it to JPEG or TIFF",
    b"IIRS": "a camera raw (ORF); develop it to JPEG or TIFF",
    b"MMOR": "a camera raw (ORF); develop it to JPEG or TIFF",
    b"IIU\0": "a camera raw (RW2); develop it to JPEG or TIFF",
    b"FUJIFILMCCD-RAW": "a camera raw (RAF); develop it to JPEG or TIFF",
    b"FOVb": "a camera raw (X3F); develop it to JPEG or TIFF",
    b"\0MRM": "a camera raw (MRW); develop it to JPEG or TIFF",
    b"\x1aE\xdf\xa3": "a Matroska or WebM video; save its frames as JPEG or PNG",
    b"\0\0\1\xba": "an MPEG video; save its frames as JPEG or PNG",
    b"\0\0\1\xb3": "an MPEG video; save its frames as JPEG or PNG",
    b"PK\3\4": "a ZIP archive; unpack it",
    b"Rar!": "a RAR archive; unpack it",
    b"7z\xbc\xaf": "a 7-Zip archive; unpack it",
    b"\x1f\x8b": "a file packed with gzip; unpack it",
    b"BZh": "a file packed with bzip2; unpack it",
    b"\xfd7zXZ": "a file packed with xz; unpack it",
    b"(\xb5/\xfd": "a file packed with zstd; unpack it",
    b"\x93NUMPY": "a NumPy array; save the picture in it as PNG or TIFF",
    b"\x89HDF": "an HDF5 file; save the pictures in it as PNG or TIFF",
    b"MATLAB 5.0": "a MATLAB file; save the pictures in it as PNG or TIFF",
    b"NRRD": "an NRRD volume; export its slices as PNG or TIFF with 16 bits",
}
# How images begin that are read, where nothing is wrong with them.
IMAGES = {b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"GIF8": "GIF", b"BM": "BMP", b"II*\0": "TIFF", b"MM\0*": "TIFF"}
IMAGES |= {b"II+\0": "TIFF", b"MM\0+": "TIFF"}
# Of the files of ISO's media format, by their brands.
BRANDS = {
    "HEIF": (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"),
    "AVIF": (b"avif", b"avis"),
}
HOW = {
    "HEIF": "pip install pillow-heif, or convert it to JPEG",
    "AVIF": "install a Pillow that reads AVIF, or convert it to JPEG",
}
DAMAGED = "damaged or truncated: the header of the {} cannot be read"
NOT_READ = "a {} of a kind that is not read ({}); convert it to an ordinary PNG, TIFF or JPEG"


def explain_unread(content: bytes) -> str:
    """Describe what a file is that Pillow did not open as an image, and what to do about it."""
    content = content.removeprefix(b"\xef\xbb\xbf")  # PowerShell and others put a byte order mark before a text.
    if not content:
        return "the file is empty"
    for beginning, words in BEGINNINGS.items():
        if content.startswith(beginning):
            return words
    # What a link becomes where the file system has none.
    if b"annex/objects/" in content[:1000] and len(content) < 1000:
        return BEGINNINGS[b"/annex/objects/"]
    return explain_media(content) or explain_medical(content) or explain_image(content) or explain_text(content)


def explain_media(content: bytes) -> str:
    """Tell HEIC, AVIF, camera raws and videos from one another; "" for others."""
    if content[:4] == b"RIFF" and content[8:12] == b"AVI ":
        return "an AVI video; save its frames as JPEG or PNG"
    if content[4:8] in (b"moov", b"mdat", b"wide"):
        return "a QuickTime video; save its frames as JPEG or PNG"
    if content[4:8] != b"ftyp":
        return ""
    length = min(int.from_bytes(content[:4], "big"), 256)
    brands = [content[8:12], *(content[place : place + 4] for place in range(16, length, 4))]
    # A HEIC may name avif among the brands that it goes with: the first that is known counts.
    for brand in brands:
        for form, own in BRANDS.items():
            if brand in own:
                name = "HEIC" if form == "HEIF" else form
                return DAMAGED.format(name) if form in readable_formats() else f"a {name} image; {HOW[form]}"
    if brands[0] == b"crx ":
        return "a camera raw (CR3); develop it to JPEG or TIFF"
    if brands[0] == b"jxl ":
        return "a JPEG XL image; convert it to JPEG or PNG"
    return "an MP4 or QuickTime video; save its frames as JPEG or PNG"


def explain_medical(content: bytes) -> str:
    if content[128:132] == b"DICM":
        return "a DICOM file; export it as PNG or TIFF with 16 bits"
    if content[344:348] in (b"n+1\0", b"ni1\0") or content[4:8] in (b"n+2\0", b"ni2\0"):
        return "a NIfTI volume; export its slices as PNG or TIFF with 16 bits"
    return ""


def explain_image(content: bytes) -> str:
    """Explain why an image of a format that is read is not read; "" for others."""
    form = next((form for beginning, form in IMAGES.items() if content.startswith(beginning)), "")
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        form = "WebP"
    kind = ""
    if form == "TIFF":
        pages = tiff.read_pages(content)
        readable = pages and tiff.WIDTH in pages[0] and tiff.HEIGHT in pages[0]
        kind = (tiff.describe_kind(pages[0]) or tiff.describe_samples(pages[0])) if readable else ""
    elif form == "JPEG":
        kind = describe_jpeg(content)
    if form:
        return NOT_READ.format(form, kind) if kind else DAMAGED.format(form)
    return ""


def describe_jpeg(content: bytes) -> str:
    """Describe a JPEG that libjpeg does not read: "12 bits", "2 channels", "lossless"; "" where its header is as usual."""
    place = 2
    while place + 10 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            bits = content[place + 4]
            channels = content[place + 9]
            if marker in (0xC3, 0xC7, 0xCB, 0xCF):
                return "lossless"
            if marker in (0xC5, 0xC6, 0xCD, 0xCE):
                return "hierarchical"
            return f"{bits} bits" if bits != 8 else f"{channels} channels" if channels not in (1, 3, 4) else ""
        if marker == 0xFF or 0xD0 <= marker <= 0xD8:
            place += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", content, place + 2)
        place += 2 + length
    return ""


def explain_text(content: bytes) -> str:
    """Tell web pages, drawings and other text; everything else is not known."""
    if not content.strip(b"\0"):
        return "nothing but zero bytes, as a copy or download that was cut off leaves them; copy it again"
    text = content[:2000].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if re.match(rb"<!doctype html|<html|<head|<body|<script", text):
        return "a web page, perhaps saved instead of the image; download the image again"
    if b"<svg" in text:
        return "an SVG drawing; export it as PNG"
    if text.startswith(b"<?xml"):
        return "an XML document, not an image"
    formats = ", ".join(readable_formats())
    if re.match(rb"p[1-7]\s", text):
        return "a portable anymap (PPM, PGM, PBM); convert it to PNG"
    with_text = content[:2000].decode("utf-8", "ignore")
    if (
        with_text
        and len(with_text.encode()) >= len(content[:2000]) - 3
        and all(c.isprintable() or c.isspace() for c in with_text)
    ):
        return f"text, not an image; formats that are read: {formats}"
    return f"not an image of a format that is read ({formats})"
