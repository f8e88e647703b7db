"""Images/s of `prepare` into a fresh cache, beside the bare decoder: Pillow's open, draft, convert and resize of the same
files on all cores, in threads or in processes, whichever is faster. The promise: a ratio of at least 0.9.

The files: made-up 12-megapixel JPEGs (smooth, with noise), and small grey PNGs. All take turns, for the machine drifts, and
the medians are compared; every round of ours has a cache of its own. The value is that of the worse kind of files. The
milliseconds of CPU an image say how it stands where others use the cores too.
"""

import argparse
import io
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from diptych.data.pixels.decode import ImageSpec
from diptych.data.pixels.prepare import prepare

DIFFERENT_PHOTOGRAPHS = 4


def make_photographs(folder: Path, count: int) -> list[Path]:
    generator = np.random.default_rng(0)
    noise = generator.normal(0, 8, (3000, 4000, 1)).astype(np.float32)
    made = []
    for _ in range(DIFFERENT_PHOTOGRAPHS):
        coarse = Image.fromarray(generator.integers(0, 256, (15, 20, 3), np.uint8)).resize((4000, 3000), Image.Resampling.BICUBIC)
        grain = np.roll(noise, generator.integers(0, 3000, 2), (0, 1))
        file = io.BytesIO()
        Image.fromarray(np.clip(np.asarray(coarse) + grain, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
        made.append(file.getvalue())
    paths = [folder / f"{number:05d}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        # A comment (JPEG's segment COM, with its length) makes another file of it: the same content is decoded once only.
        content = made[number % len(made)]
        path.write_bytes(content[:2] + b"\xff\xfe\x00\x07" + b"%05d" % number + content[2:])
    return paths


def make_cells(folder: Path, count: int) -> list[Path]:
    generator = np.random.default_rng(0)
    noise = generator.normal(0, 4, (600, 600))
    paths = [folder / f"{number:05d}.png" for number in range(count)]
    for path in paths:
        coarse = Image.fromarray(generator.integers(60, 200, (6, 6), np.uint8)).resize((300, 300), Image.Resampling.BICUBIC)
        row, column = generator.integers(0, 300, 2)
        cell = np.asarray(coarse) + noise[row : row + 300, column : column + 300]
        Image.fromarray(np.clip(cell, 0, 255).astype(np.uint8)).save(path)
    return paths


def decode(size: int, path: Path) -> None:
    with Image.open(path) as image:
        image.draft("RGB", (size, size))
        image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)


def decode_all(pool: Executor, paths: Sequence[Path], size: int) -> None:
    for _ in pool.map(partial(decode, size), paths, chunksize=max(1, min(16, len(paths) // 16))):
        pass


def one_round(works: Mapping[str, Callable[[], object]], count: int, cache: Path) -> dict[str, float]:
    speeds = {}
    for name, work in works.items():
        started, used = time.perf_counter(), time.process_time()
        work()
        speeds[name] = count / (time.perf_counter() - started)
        speeds[f"{name}_cpu_ms"] = (time.process_time() - used) / count * 1000
    shutil.rmtree(cache)
    return speeds


def compare(paths: Sequence[Path], size: int, rounds: int, folder: Path) -> dict[str, float]:
    cores = os.cpu_count() or 1
    with ProcessPoolExecutor(cores) as processes, ThreadPoolExecutor(cores) as threads:
        works = {
            "prepare": partial(prepare, paths, ImageSpec(size), folder / "cache", progress=False),
            "threads": partial(decode_all, threads, paths, size),
            "processes": partial(decode_all, processes, paths, size),
        }
        processes.submit(int).result()
        speeds = [one_round(works, len(paths), folder / "cache") for _ in range(rounds + 1)][1:]
    medians = {name: statistics.median(speed[name] for speed in speeds) for name in speeds[0] if name != "processes_cpu_ms"}
    reference = max(medians["threads"], medians["processes"])
    bytes_each = sum(path.stat().st_size for path in paths) / len(paths)
    return {"value": medians["prepare"], "reference": reference, "ratio": medians["prepare"] / reference} | {
        **medians, "images": len(paths), "bytes_each": round(bytes_each),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--photographs", type=int, default=60, help="number of 12-megapixel JPEGs")
    parser.add_argument("--cells", type=int, default=1500, help="number of 300 x 300 PNGs")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds; one more goes before")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = {"photographs": make_photographs(Path(folder), arguments.photographs)}
        paths["cells"] = make_cells(Path(folder), arguments.cells)
        kinds = {name: compare(files, arguments.image_size, arguments.rounds, Path(folder)) for name, files in paths.items()}
    worse = min(kinds.values(), key=lambda kind: kind["ratio"])
    result = {"benchmark": "prepare", **{key: worse[key] for key in ("value", "reference", "ratio")}, "unit": "images/s"}
    print(json.dumps(result | kinds | {"image_size": arguments.image_size, "cores": os.cpu_count()}))


if __name__ == "__main__":
    main()
