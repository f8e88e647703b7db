"""Small data folders and images, made afresh for each test."""

import csv
import hashlib
import importlib.util
import io
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[1]
INSTALLED_BY = {"tensorflow": "make venv", "jax": "make test-jax", "jaxlib": "make test-jax", "torch": "make test"}


def make_image(target: int, number: int = 0, size: int = 32) -> NDArray[np.uint8]:
    """Noise, with a bright disc in class 1 and a dark one in class 0; uint8 (size, size, 3). No two numbers are alike."""
    image = np.random.default_rng((target, number)).integers(96, 160, (size, size, 3), np.uint8)
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    image[rows**2 + columns**2 < (size / 3) ** 2] += np.uint8(80) if target else np.uint8(176)  # 176 is -80 modulo 256
    return image


def encode(image: NDArray[np.generic] | Image.Image, form: str = "PNG", **options: object) -> bytes:
    """The bytes of an image file of a Pillow format."""
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, form, **options)
    return buffer.getvalue()


def encode_png(size: tuple[int, int], depth: int, colour: int, row: bytes | None) -> bytes:
    """A PNG file made by hand, for what Pillow does not write; all its rows are alike.

    Args:
        size: width and height, in pixels.
        depth: bits per sample.
        colour: PNG's colour type: 0 grey, 2 RGB, 4 grey with alpha, 6 RGB with alpha.
        row: the bytes of a row; None for a file that ends after its header's claims.
    """

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0))
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(b"\0" + row) for _ in range(size[1])) + packer.flush() if row is not None else b""
    return head + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def skip_unless_installed(package: str) -> None:
    """Skip a test that needs a backend, or a package of one, which is not installed here."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(needs(package))


def needs(package: str) -> str:
    """Why a test is skipped that needs a backend, or a package of one."""
    return f"need {package}, which {INSTALLED_BY.get(package, 'make check')} installs"


def encode_tiff(order: str, tags: Mapping[int, tuple[str, Sequence[int]]], data: bytes) -> bytes:
    """A TIFF of one strip made by hand, for what tifffile does not write.

    Args:
        order: "<" or ">".
        tags: kind ("H" or "I") and values by tag, without those of the strip.
        data: the bytes of the strip.
    """
    every = {**tags, 273: ("I", [8]), 279: ("I", [len(data)])}
    place = 8 + len(data) + len(data) % 2
    far = place + 2 + 12 * len(every) + 4
    entries, tail = b"", b""
    for tag, (kind, values) in sorted(every.items()):
        packed = struct.pack(f"{order}{len(values)}{kind}", *values)
        if len(packed) > 4:
            where = struct.pack(f"{order}I", far + len(tail))
            tail += packed
        else:
            where = packed.ljust(4, b"\0")
        entries += struct.pack(f"{order}HHI", tag, {"H": 3, "I": 4}[kind], len(values)) + where
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, place)
    return head + data + b"\0" * (len(data) % 2) + struct.pack(f"{order}H", len(every)) + entries + bytes(4) + tail


def write_table(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """A CSV table; the keys of the first row are its header."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def make_data(
    root: Path, count: int = 8, size: int = 32, columns: Mapping[str, Sequence[object]] | None = None, inside: bool = False
) -> Path:
    """Write a data folder of two classes: 0/00.png ... with 0.csv, 1/00.png ... with 1.csv.

    Args:
        root: the folder to make.
        count: images of each class.
        size: their height and width, in pixels.
        columns: further columns of both tables, `count` values each.
        inside: put the tables into the class folders instead of beside them.

    Returns:
        `root`.
    """
    for target in (0, 1):
        folder = root / str(target)
        folder.mkdir(parents=True)
        rows = []
        for number in range(count):
            name = f"{number:02d}.png"
            (folder / name).write_bytes(encode(make_image(target, number, size)))
            further = {column: values[number] for column, values in (columns or {}).items()}
            rows.append({"image_name": name, "target": target, **further})
        write_table((folder if inside else root) / f"{target}.csv", rows)
    return root


def fingerprint(root: Path) -> dict[str, str]:
    """What lies below a folder: the SHA-256 of each file, "folder" or where a link leads, by relative path."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        else:
            found[name] = "folder" if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def run_python(*arguments: str | Path, timeout: float = 120, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `python ARGUMENTS` in a fresh process that finds this checkout's diptych."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=cwd, env=environment, check=False)
