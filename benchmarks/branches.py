"""Step time of the dual model, beside that of its ResNet50 branch alone. The promise: a ratio of at most 1.15.

224 px, batch 32, random weights, Adam; the two take turns, and the medians are compared.
"""

import argparse
import json
import statistics
import time
from typing import Any


def resnet50_alone() -> Any:
    """The same network without the second branch, attention and hidden layer."""
    import keras
    from keras import layers

    from diptych.model.resnet import caffe_pixels, resnet50

    pixels = keras.Input((None, None, 3), dtype="uint8")
    features = resnet50()(caffe_pixels(layers.Rescaling(1 / 255)(pixels)))
    return keras.Model(pixels, layers.Dense(1, activation="sigmoid")(layers.GlobalAveragePooling2D()(features)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=8, help="timed steps of each network")
    arguments = parser.parse_args()
    import keras
    import numpy as np

    from diptych.model.network import build_network
    from diptych.settings.config import ModelConfig
    from diptych.training.steps.optimizers import compile_network

    generator = np.random.default_rng(0)
    shape = (arguments.batch_size, arguments.image_size, arguments.image_size, 3)
    images = generator.integers(0, 256, shape, np.uint8)
    labels = generator.integers(0, 2, (arguments.batch_size, 1)).astype(np.float32)
    networks = {"value": build_network(ModelConfig()), "reference": resnet50_alone()}
    times: dict[str, list[float]] = {name: [] for name in networks}
    for network in networks.values():
        compile_network(network, keras.optimizers.Adam(1e-4))
        network.train_on_batch(images, labels)
    for _ in range(arguments.steps):
        for name, network in networks.items():
            started = time.perf_counter()
            network.train_on_batch(images, labels)
            times[name].append(time.perf_counter() - started)
    seconds = {name: statistics.median(values) for name, values in times.items()}
    result = {"benchmark": "branches", **seconds, "ratio": seconds["value"] / seconds["reference"], "unit": "s per step"}
    print(json.dumps(result | vars(arguments)))


if __name__ == "__main__":
    main()
