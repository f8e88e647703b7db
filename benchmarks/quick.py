"""The quick preset on ELPV and the split of elpv_split.csv, beside a plain ResNet50 trained by hand, both without pretrained
weights. The value is the ROC AUC of the test; times are whole processes, evaluation included.

The reference is the best recipe that was found for plain Keras in such a time: 96 px, six epochs of one cycle with AdamW
1e-3, BatchNorm momentum 0.9, quarter turns, flips, brightness and contrast.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

SPLIT = Path(__file__).with_name("elpv_split.csv")


def read_pixels(data: Path, size: int) -> tuple[Any, Any, pd.Series]:
    """Return images, uint8 (N, size, size, 3), labels, float32 (N, 1), and the part of each."""
    table = pd.concat([pd.read_csv(data / f"{target}.csv") for target in (0, 1)], ignore_index=True)
    files = [data / str(target) / name for target, name in zip(table["target"], table["image_name"], strict=True)]
    images = np.stack([np.asarray(Image.open(file).convert("RGB").resize((size, size))) for file in files])
    labels = table["target"].to_numpy(np.float32)[:, None]
    return images, labels, table["image_name"].map(pd.read_csv(SPLIT, index_col="image_name")["split"])


def one_cycle(share: float) -> float:
    """Return the rate at a share of the time of the training: up to 1e-3 in a quarter, then down along a cosine."""
    if share < 0.25:
        return 4e-5 + (1e-3 - 4e-5) * share / 0.25
    return 1e-3 * (0.5 + 0.5 * math.cos(math.pi * min(1.0, (share - 0.25) / 0.75)))


def by_hand(data: Path, epochs: int, seconds: float | None, started: float) -> None:
    """Train the reference and print its figures.

    Args:
        data: the data folder.
        epochs: how many; with `seconds`, at most.
        seconds: wall time of the whole process in which the one cycle of the rate is run through; None to run through it in
            the epochs. The test after each epoch is then left out of the time.
        started: when the process was started, in the time of `time.time`.
    """
    import keras
    from sklearn.metrics import roc_auc_score

    size, batch = 96, 32
    keras.utils.set_random_seed(0)
    images, labels, parts = read_pixels(data, size)
    train, test = ((parts == part).to_numpy() for part in ("train", "test"))
    network = keras.applications.ResNet50(weights=None, classes=1, classifier_activation="sigmoid", input_shape=(size, size, 3))
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9
    steps = int(train.sum()) // batch
    generator = np.random.default_rng(0)
    tests: list[dict[str, float]] = []

    def batches():
        rows = np.flatnonzero(train)
        while True:
            for picked in generator.permutation(rows)[: steps * batch].reshape(steps, batch):
                turned = [np.rot90(images[row], generator.integers(4))[:: generator.choice([-1, 1])] for row in picked]
                pixels = np.stack(turned).astype(np.float32) / 255
                pixels = (pixels - 0.5) * generator.uniform(0.8, 1.2, (batch, 1, 1, 1)) + 0.5
                yield pixels + generator.uniform(-0.1, 0.1, (batch, 1, 1, 1)), labels[picked]

    def test_now(network: keras.Model) -> dict[str, float]:
        probabilities = network.predict(images[test] / np.float32(255), verbose=0)[:, 0]
        accuracy = float(np.mean((probabilities >= 0.5) == labels[test][:, 0]))
        return {"accuracy": accuracy, "auc": float(roc_auc_score(labels[test][:, 0], probabilities))}

    class ByTheClock(keras.callbacks.Callback):
        testing = 0.0

        def now(self) -> float:
            return time.time() - started - self.testing

        def on_train_batch_begin(self, batch, logs=None) -> None:  # noqa: ARG002
            # Asked for as self.model, for on JAX that brings its variables up to date.
            self.model.optimizer.learning_rate = one_cycle(self.now() / seconds)

        def on_train_batch_end(self, batch, logs=None) -> None:  # noqa: ARG002
            if self.now() >= seconds:
                self.model.stop_training = True

        def on_epoch_end(self, epoch, logs=None) -> None:  # noqa: ARG002
            at, begun = self.now(), time.time()
            tests.append({"seconds": at, **test_now(self.model)})
            self.testing += time.time() - begun

    rate, clock = 1e-3, [ByTheClock()]
    if seconds is None:
        warmup = epochs * steps // 4
        rate = keras.optimizers.schedules.CosineDecay(4e-5, epochs * steps - warmup, warmup_target=1e-3, warmup_steps=warmup)
        clock = []
    network.compile(keras.optimizers.AdamW(rate, weight_decay=0.01), loss="binary_crossentropy", metrics=["accuracy"])
    network.fit(batches(), steps_per_epoch=steps, epochs=epochs, verbose=0, callbacks=clock)
    print(json.dumps({**(test_now(network) if seconds is None else tests[-1]), "tests": tests}))


def diptych(data: Path, runs: Path, seed: int) -> dict[str, float]:
    command = [sys.executable, "-m", "diptych"]
    started = time.perf_counter()
    flags = ["--data", str(data), "--split", str(SPLIT), "--preset", "quick", "--weights", "none", "--quarter-turns"]
    flags += ["--seed", str(seed)]
    subprocess.run([*command, "train", *flags, "--runs", str(runs), "--name", f"seed{seed}"], check=True)
    subprocess.run([*command, "evaluate", f"seed{seed}", "--maps", "0", "--runs", str(runs)], check=True)
    figures = json.loads((runs / f"seed{seed}" / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
    return {"seconds": time.perf_counter() - started, "accuracy": figures["test_accuracy"], "auc": figures["roc_auc"]}


def run_by_hand(data: Path, *flags: object) -> dict[str, Any]:
    """Train the reference in a process of its own, and return its figures; the whole process is timed."""
    started = time.time()
    command = [sys.executable, __file__, "--by-hand", "--data", data, "--started", started, *flags]
    output = subprocess.run([*map(str, command)], check=True, stdout=subprocess.PIPE, text=True).stdout
    return {**json.loads(output.splitlines()[-1]), "seconds": time.time() - started}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/elpv"))
    parser.add_argument("--seeds", type=int, default=1, help="Diptych is run with seeds 0, 1, ...; the mean is the value")
    parser.add_argument("--epochs", type=int, default=6, help="epochs of the reference")
    parser.add_argument("--by-hand", action="store_true", help="the reference alone")
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--started", type=float, default=time.time(), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.by_hand:
        return by_hand(arguments.data, arguments.epochs, arguments.seconds, arguments.started)
    with tempfile.TemporaryDirectory() as folder:
        ours = [diptych(arguments.data, Path(folder), seed) for seed in range(arguments.seeds)]
    reference = run_by_hand(arguments.data, "--epochs", arguments.epochs)
    del reference["tests"]
    mean = {key: sum(run[key] for run in ours) / len(ours) for key in reference}
    result = {"benchmark": "quick", "value": mean["auc"], "reference": reference["auc"]}
    result |= {"ratio": result["value"] / result["reference"], "unit": "ROC AUC", "diptych": ours, "by_hand": reference}
    print(json.dumps(result))
    return None


if __name__ == "__main__":
    main()
