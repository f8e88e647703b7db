"""Images/s of a real training epoch (loader, augmentation, callbacks, checkpoints and all), beside the bare network on one
synthetic batch in the same process. The promise: a ratio of at least 0.95 at 224 px, batch 32, on a processor with
TensorFlow; at least 0.90 on a graphics card with JAX and bfloat16, and there at least 2,500 images/s on an H100.

The bare network runs before and after the epoch, for the machine drifts. The epoch is the second one, from the end of the
first to its own end, so that building the graph and the rehearsal, which come once in a run, do not count; two images are
validated. On a graphics card the bare
network is also fed by `fit`, which need not wait for the result of each step, and the faster of the two is the reference.
There, take an epoch of hundreds of steps: what comes once an epoch (validation, checkpoints) counts in it.

The share of the graphics card's peak counts the multiply-adds of the convolutions and dense layers, two operations each, and
the backward pass as twice the forward one.
"""

import argparse
import itertools
import json
import logging
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

# Dense bfloat16 operations a second with float32 sums, without sparsity, from NVIDIA's data sheets; the first name that
# nvidia-smi's begins with counts.
PEAKS = {
    "NVIDIA H200 NVL": 835e12,
    "NVIDIA H200": 989e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H100 NVL": 835e12,
    "NVIDIA H100": 989e12,
    "NVIDIA A100": 312e12,
    "NVIDIA L40S": 362e12,
    "NVIDIA L4": 121e12,
    "NVIDIA A10": 125e12,
    "NVIDIA GeForce RTX 4090": 165e12,
    "NVIDIA GeForce RTX 3090": 71e12,
}
# So many different images are made; an epoch of more sees them again, so that its size does not depend on the memory.
DIFFERENT = 1024


class MadeImages:
    """Noise, uint8 (N, S, S, 3)."""

    def __init__(self, count: int, size: int) -> None:
        self.count = count
        self.images = np.random.default_rng(0).integers(0, 256, (min(count, DIFFERENT), size, size, 3), np.uint8)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return self.images[rows % len(self.images)]


class EndsOfEpochs(logging.Handler):
    """The times at which the training says that an epoch is over, its checkpoints included."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("epoch "):
            self.times.append(time.perf_counter())


def graphics_card() -> str | None:
    try:
        command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return None


def share_of_peak(card: str | None, images_per_second: float, multiply_adds: int) -> float | None:
    peak = next((value for name, value in PEAKS.items() if card is not None and card.startswith(name)), None)
    return None if peak is None else images_per_second * multiply_adds * 2 * 3 / peak


def by_steps(network: Any, images: np.ndarray, labels: np.ndarray, steps: int) -> float:
    """Return the bare network's images/s, the result of each step waited for."""
    started = time.perf_counter()
    for _ in range(steps):
        network.train_on_batch(images, labels)
    return steps * len(images) / (time.perf_counter() - started)


def by_fit(network: Any, images: np.ndarray, labels: np.ndarray, steps: int) -> float:
    """Return the bare network's images/s in Keras's own loop, without any callback of ours."""
    from diptych.machine.memory import keep_freed_memory

    batches = itertools.repeat((images, labels))
    network.fit(batches, steps_per_epoch=2, verbose=0)
    started = time.perf_counter()
    network.fit(batches, steps_per_epoch=steps, verbose=0)
    seconds = time.perf_counter() - started
    keep_freed_memory()
    return steps * len(images) / seconds


def measure(arguments: argparse.Namespace, card: str | None) -> dict[str, Any]:
    """Train and time; Keras is imported here, once the backend is chosen."""
    import keras
    import pandas as pd

    from diptych.data.reading.manifest import Manifest
    from diptych.machine.memory import keep_freed_memory
    from diptych.model.summary import summarise
    from diptych.settings.config import ComputeConfig, Config, DataConfig, ModelConfig, TrainingConfig
    from diptych.storage.run_dir import RunDir
    from diptych.training.fit import fit, start_network
    from diptych.training.loop import TrainingTask
    from diptych.training.steps.optimizers import compile_network

    size, batch, steps = arguments.image_size, arguments.batch_size, arguments.steps
    config = Config(
        DataConfig(image_size=size),
        model=ModelConfig(weights="none", branches=arguments.branches, width=arguments.width),
        training=TrainingConfig(epochs=2, batch_size=batch),
        compute=ComputeConfig(backend=keras.backend.backend(), precision=arguments.precision),
    )
    count = steps * batch
    names = [f"{number}.png" for number in range(count + 2)]
    table = pd.DataFrame({"path": names, "image_name": names, "target": np.arange(count + 2) % 2, "split": "train"})
    table.loc[count:, "split"] = "validation"
    manifest, made = Manifest(Path("made"), table, ("0", "1")), MadeImages(count + 2, size)
    images, labels = made[np.arange(batch)], np.ones((batch, 1), np.float32)
    ways = {"train_on_batch": by_steps} | ({"fit": by_fit} if card else {})
    with tempfile.TemporaryDirectory() as folder:
        bare, _ = start_network(config, Path(folder), ("0", "1"))
        compile_network(bare, keras.optimizers.Adam(1e-4))
        bare.train_on_batch(images, labels)
        before = {name: way(bare, images, labels, max(1, steps // 2)) for name, way in ways.items()}
        network, _ = start_network(config, Path(folder), ("0", "1"))
        run = RunDir(Path(folder) / "step")
        run.root.mkdir()
        ends, log = EndsOfEpochs(), logging.getLogger("diptych")
        log.setLevel(logging.INFO)
        log.addHandler(ends)
        fit(TrainingTask(network, run, config, manifest, made))
        # Or the end of the validation's generator would slow the reference down, and flatter the ratio.
        keep_freed_memory()
        # The first call after another network's training takes longer.
        bare.train_on_batch(images, labels)
        after = {name: way(bare, images, labels, max(1, steps // 2)) for name, way in ways.items()}
        history = pd.read_csv(run.history).iloc[-1]
    references = {name: (before[name] + after[name]) / 2 for name in ways}
    value, reference = count / (ends.times[1] - ends.times[0]), max(references.values())
    multiply_adds = sum(part.multiply_adds for part in summarise(config.model, size))
    result = {"benchmark": "step", "value": value, "reference": reference, "ratio": value / reference, "unit": "images/s"}
    shares = {"share_of_peak": value, "share_of_peak_bare": reference}
    return result | {
        **{name: share_of_peak(card, speed, multiply_adds) for name, speed in shares.items()},
        # The steps alone, without what comes once an epoch.
        "steps_alone": history["images_per_second"],
        "bare_before": before,
        "bare_after": after,
        "multiply_adds": multiply_adds,
        "card": card,
        "keras_backend": keras.backend.backend(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", default="tensorflow", choices=("tensorflow", "jax", "torch"))
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=20, help="steps of the epoch, and of the bare network")
    parser.add_argument("--branches", default="both", choices=("both", "resnet50", "convnet"))
    parser.add_argument("--width", type=float, default=1.0)
    arguments = parser.parse_args()
    os.environ["KERAS_BACKEND"] = arguments.backend
    from diptych.machine.backend import load_backend
    from diptych.machine.host_process import claim_process

    load_backend()
    claim_process()  # As the command does.
    card = graphics_card()
    print(json.dumps(measure(arguments, card) | vars(arguments)))


if __name__ == "__main__":
    main()
