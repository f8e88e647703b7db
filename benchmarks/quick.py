"""The quick preset on ELPV and the split of elpv_split.csv, beside a plain ResNet50 trained by hand, both without pretrained
weights. The value is the ROC AUC of the test; times are whole processes, evaluation included.

The reference is the best recipe that was found for plain Keras in such a time: 96 px, six epochs of one cycle with AdamW
1e-3, BatchNorm momentum 0.9, quarter turns, flips, brightness and contrast.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SPLIT = Path(__file__).with_name("elpv_split.csv")


def by_hand(data: Path, epochs: int) -> None:
    import keras
    import numpy as np
    import pandas as pd
    from PIL import Image
    from sklearn.metrics import roc_auc_score

    size, batch = 96, 32
    keras.utils.set_random_seed(0)
    table = pd.concat([pd.read_csv(data / f"{target}.csv") for target in (0, 1)], ignore_index=True)
    files = [data / str(target) / name for target, name in zip(table["target"], table["image_name"], strict=True)]
    images = np.stack([np.asarray(Image.open(file).convert("RGB").resize((size, size))) for file in files])
    labels = table["target"].to_numpy(np.float32)[:, None]
    table["split"] = table["image_name"].map(pd.read_csv(SPLIT, index_col="image_name")["split"])
    train, test = ((table["split"] == part).to_numpy() for part in ("train", "test"))
    network = keras.applications.ResNet50(weights=None, classes=1, classifier_activation="sigmoid", input_shape=(size, size, 3))
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9
    steps = int(train.sum()) // batch
    warmup = epochs * steps // 4
    rate = keras.optimizers.schedules.CosineDecay(4e-5, epochs * steps - warmup, warmup_target=1e-3, warmup_steps=warmup)
    network.compile(keras.optimizers.AdamW(rate, weight_decay=0.01), loss="binary_crossentropy", metrics=["accuracy"])
    generator = np.random.default_rng(0)

    def batches():
        rows = np.flatnonzero(train)
        while True:
            for picked in generator.permutation(rows)[: steps * batch].reshape(steps, batch):
                turned = [np.rot90(images[row], generator.integers(4))[:: generator.choice([-1, 1])] for row in picked]
                pixels = np.stack(turned).astype(np.float32) / 255
                pixels = (pixels - 0.5) * generator.uniform(0.8, 1.2, (batch, 1, 1, 1)) + 0.5
                yield pixels + generator.uniform(-0.1, 0.1, (batch, 1, 1, 1)), labels[picked]

    network.fit(batches(), steps_per_epoch=steps, epochs=epochs, verbose=0)
    probabilities = network.predict(images[test] / np.float32(255), verbose=0)[:, 0]
    accuracy = float(np.mean((probabilities >= 0.5) == labels[test][:, 0]))
    print(json.dumps({"accuracy": accuracy, "auc": float(roc_auc_score(labels[test][:, 0], probabilities))}))


def diptych(data: Path, runs: Path, seed: int) -> dict[str, float]:
    command = [sys.executable, "-m", "diptych"]
    started = time.perf_counter()
    flags = ["--data", str(data), "--split", str(SPLIT), "--preset", "quick", "--weights", "none", "--quarter-turns"]
    flags += ["--seed", str(seed)]
    subprocess.run([*command, "train", *flags, "--runs", str(runs), "--name", f"seed{seed}"], check=True)
    subprocess.run([*command, "evaluate", f"seed{seed}", "--runs", str(runs)], check=True)
    figures = json.loads((runs / f"seed{seed}" / "evaluation" / "metrics.json").read_text())
    return {"seconds": time.perf_counter() - started, "accuracy": figures["test_accuracy"], "auc": figures["roc_auc"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/elpv"))
    parser.add_argument("--seeds", type=int, default=1, help="Diptych is run with seeds 0, 1, ...; the mean is the value")
    parser.add_argument("--epochs", type=int, default=6, help="epochs of the reference")
    parser.add_argument("--by-hand", action="store_true", help="the reference alone")
    arguments = parser.parse_args()
    if arguments.by_hand:
        return by_hand(arguments.data, arguments.epochs)
    with tempfile.TemporaryDirectory() as folder:
        ours = [diptych(arguments.data, Path(folder), seed) for seed in range(arguments.seeds)]
    started = time.perf_counter()
    command = [sys.executable, __file__, "--by-hand", "--data", str(arguments.data), "--epochs", str(arguments.epochs)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    reference = json.loads(output.splitlines()[-1]) | {"seconds": time.perf_counter() - started}
    mean = {key: sum(run[key] for run in ours) / len(ours) for key in reference}
    result = {"benchmark": "quick", "value": mean["auc"], "reference": reference["auc"]}
    result |= {"ratio": result["value"] / result["reference"], "unit": "ROC AUC", "diptych": ours, "by_hand": reference}
    print(json.dumps(result))
    return None


if __name__ == "__main__":
    main()
