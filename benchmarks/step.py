"""Images/s of a real training epoch (loader, augmentation, callbacks, checkpoints and all), beside the bare network on one
synthetic batch in the same process. The promise: a ratio of at least 0.95 at 224 px, batch 32.

The bare network runs before and after the epoch, for the machine drifts. The epoch is the second one, so that building the
graph, which happens once in a run, does not count; two images are validated.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from diptych.backend import keep_freed_memory
from diptych.config import Config, DataConfig, ModelConfig, TrainingConfig
from diptych.data.manifest import Manifest
from diptych.storage import create_run
from diptych.training.fit import compile_network, fit, start_network


def made_data(count: int, size: int) -> tuple[Manifest, np.ndarray]:
    images = np.random.default_rng(0).integers(0, 256, (count + 2, size, size, 3), np.uint8)
    names = [f"{number}.png" for number in range(count + 2)]
    table = pd.DataFrame({"path": names, "image_name": names, "target": np.arange(count + 2) % 2, "split": "train"})
    table.loc[count:, "split"] = "validation"
    return Manifest(Path("made"), table, ("0", "1")), images


def bare_images_per_second(network: keras.Model, images: np.ndarray, labels: np.ndarray, steps: int) -> float:
    started = time.perf_counter()
    for _ in range(steps):
        network.train_on_batch(images, labels)
    return steps * len(images) / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=20, help="steps of the epoch, and of the bare network")
    arguments = parser.parse_args()
    config = Config(
        DataConfig(image_size=arguments.image_size),
        model=ModelConfig(weights="none"),
        training=TrainingConfig(epochs=2, batch_size=arguments.batch_size),
    )
    manifest, made = made_data(arguments.steps * arguments.batch_size, arguments.image_size)
    images, labels = made[: arguments.batch_size], np.ones((arguments.batch_size, 1), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        bare, _ = start_network(config, Path(folder))
        compile_network(bare, keras.optimizers.Adam(1e-4))
        bare.train_on_batch(images, labels)
        before = bare_images_per_second(bare, images, labels, arguments.steps // 2)
        network, _ = start_network(config, Path(folder))
        run = create_run(Path(folder), "step")
        fit(network, run, config, manifest, made)
        # Or the end of the validation's generator would slow the reference down, and flatter the ratio.
        keep_freed_memory()
        after = bare_images_per_second(bare, images, labels, arguments.steps - arguments.steps // 2)
        seconds = pd.read_csv(run.history)["seconds"].iloc[-1]
    value, reference = arguments.steps * arguments.batch_size / seconds, (before + after) / 2
    result = {"benchmark": "step", "value": value, "reference": reference, "ratio": value / reference, "unit": "images/s"}
    print(json.dumps(result | {"reference_before": before, "reference_after": after} | vars(arguments)))


if __name__ == "__main__":
    main()
