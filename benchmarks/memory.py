"""Peak memory of `prepare` and of a training epoch, each in a process of its own, for 2,000 and for 50,000 made-up images.
The promise: a difference of at most 200 MB. The value is the larger of the two differences, the reference the limit.

The images are small PNGs on the disk; prepared, those of the larger set have 1.4 GB. The network is a narrow one, for it is
the same for both numbers; its steps are large, so that an epoch of them ends in minutes.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT_MB = 200


def make_images(folder: Path, count: int) -> None:
    import numpy as np
    from PIL import Image

    generator = np.random.default_rng(0)
    for number in range(count):
        coarse = Image.fromarray(generator.integers(0, 256, (8, 8, 3), np.uint8))
        coarse.resize((48, 48)).save(folder / f"{number:05d}.png", compress_level=1)


def prepare_some(folder: Path, cache: Path, count: int, size: int) -> None:
    from diptych.data.pixels.decode import ImageSpec
    from diptych.data.pixels.prepare import prepare

    prepare([folder / f"{number:05d}.png" for number in range(count)], ImageSpec(size), cache, progress=False)


def train_some(folder: Path, cache: Path, count: int, size: int) -> None:
    import numpy as np
    import pandas as pd

    from diptych.data.dataset import set_aside
    from diptych.data.pixels.decode import ImageSpec
    from diptych.data.pixels.prepare import prepare
    from diptych.data.reading.manifest import Manifest
    from diptych.machine.backend import load_backend
    from diptych.settings.config import Config, DataConfig, ModelConfig, TrainingConfig

    load_backend()
    from diptych.storage.run_dir import RunDir
    from diptych.training.fit import fit, start_network
    from diptych.training.loop import TrainingTask

    names = [f"{number:05d}.png" for number in range(count)]
    table = pd.DataFrame({"path": names, "image_name": names, "target": np.arange(count) % 2, "split": "train"})
    table.loc[::10, "split"] = "validation"
    store, outcome = prepare([folder / name for name in names], ImageSpec(size), cache, progress=False)
    manifest, _ = set_aside(Manifest(folder, table, ("0", "1"), (), "made"), outcome, 0.0, True)
    config = Config(
        DataConfig(image_size=size),
        model=ModelConfig(weights="none", width=0.125, dense_units=32),
        training=TrainingConfig(epochs=1, batch_size=64),
    )
    with tempfile.TemporaryDirectory() as runs:
        network, _ = start_network(config, Path(runs), ("0", "1"))
        fit(TrainingTask(network, RunDir(Path(runs) / "memory"), config, manifest, store))


def peak_of(part: str, *arguments: object) -> dict[str, float]:
    command = [sys.executable, __file__, "--part", part, *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--counts", type=int, nargs=2, default=(2_000, 50_000))
    parser.add_argument("--part", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        from diptych.machine.memory import ram_peak

        part, folder, cache, count = arguments.part
        started = time.perf_counter()
        {"prepare": prepare_some, "train": train_some}[part](Path(folder), Path(cache), int(count), arguments.image_size)
        peak = ram_peak() / 2**20
        return print(json.dumps({"peak_mb": round(peak, 1), "seconds": round(time.perf_counter() - started, 1)}))
    peaks = {}
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "images"
        folder.mkdir()
        make_images(folder, max(arguments.counts))
        for part in ("prepare", "train"):
            for count in arguments.counts:
                cache = Path(root) / f"cache-{count}"
                peaks[f"{part}_{count}"] = peak_of(part, folder, cache, count, "--image-size", arguments.image_size)
    few, many = arguments.counts
    value = max(peaks[f"{part}_{many}"]["peak_mb"] - peaks[f"{part}_{few}"]["peak_mb"] for part in ("prepare", "train"))
    result = {"benchmark": "memory", "value": value, "reference": LIMIT_MB, "ratio": value / LIMIT_MB, "unit": "MB"}
    print(json.dumps(result | peaks | {"image_size": arguments.image_size}))
    return None


if __name__ == "__main__":
    main()
