"""Runs that tests of several rooms look at. Keras is loaded by those alone that need it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import running
from making import encode, make_image
from numpy.typing import NDArray
from scoring import report_of

from diptych.settings.config import Config, DataConfig, ModelConfig
from diptych.settings.sources import to_toml
from diptych.storage.atomic import sha256, write_atomically, write_json, write_table, write_text
from diptych.storage.run_dir import RunDir, write_classes

if TYPE_CHECKING:
    import keras


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> running.Trained:
    """A run of one branch that was trained and tested through the command line."""
    return running.small_once(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def trained_both(tmp_path_factory: pytest.TempPathFactory) -> running.Trained:
    """A run of both branches that was trained through the door `train.py`, and not tested."""
    return running.trained_once(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def of_both(tmp_path_factory: pytest.TempPathFactory) -> running.Trained:
    """The same run, tested through the door `evaluate.py`."""
    return running.evaluated_once(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def quickest_backend() -> Iterator[None]:
    """Processes that are started here load the backend that is the quickest to start, for tests that are the same on each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", running.QUICKEST)
        yield


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """The tables of a run of five epochs, written by hand; no network is in it."""
    run = RunDir(tmp_path / "runs" / "by-hand")
    write_text(run.config, to_toml(Config()))
    write_json(run.environment, {"format_version": 1, "created": "2026-01-01T00:00:00+00:00"})
    history = pd.DataFrame(
        {
            "epoch": [1, 2, 3, 4, 5],
            "loss": [0.9, 0.6, 0.5, 0.4, 0.3],
            "accuracy": [0.5, 0.6, 0.7, 0.8, 0.9],
            "val_loss": [0.8, 0.7, 0.5, 0.5, 0.6],
            "val_accuracy": [0.5, 0.6, 0.8, 0.8, 0.7],
            "learning_rate": [1e-3, 1e-3, 1e-3, 5e-4, 5e-4],
            "seconds": [3.0, 2.0, 2.0, 2.0, 2.0],
            "images_per_second": [20.0, 30.0, 30.0, 30.0, 30.0],
        }
    )
    write_table(run.history, history)
    return run


@dataclass(frozen=True)
class Handmade:
    """A run of three classes that was never trained: the weights of its network are random.

    Attributes:
        run: with config, class names, split and best checkpoint.
        data: the data folder.
        network: what is in the checkpoint.
        pixels: uint8 (N, 32, 32, 3), of the test images in their order.
        targets: (N,), of the test images.
    """

    run: RunDir
    data: Path
    network: "keras.Model"
    pixels: NDArray[np.uint8]
    targets: NDArray[np.int64]


THREE = ("ash", "10 birch", "2 cedar")


@pytest.fixture(scope="session")
def of_three(tmp_path_factory: pytest.TempPathFactory) -> Handmade:
    from contract import randomise

    from diptych.model.checkpoint import save_checkpoint
    from diptych.model.network import build_network

    root = tmp_path_factory.mktemp("of_three")
    targets = np.repeat([0, 2], 6)
    rows, pixels = [], []
    for number, target in enumerate(targets):
        image = make_image(number % 2, number)
        file = root / "data" / THREE[target] / f"{number}.png"
        write_atomically(file, lambda partial, image=image: partial.write_bytes(encode(image)))
        path = file.relative_to(root / "data").as_posix()
        rows.append({"path": path, "image_name": file.name, "target": target, "stem": "s", "split": "test"})
        rows[-1]["sha256"] = sha256(file.read_bytes())
        pixels.append(image)
    rows.append({**rows[0], "target": 1, "path": "10 birch/gone.png", "split": "train"})
    model = ModelConfig(weights="none", branches="convnet", width=0.125, dense_units=16)
    data = DataConfig(data=root / "data", image_size=32, cache=root / "cache")
    run = RunDir(root / "runs" / "handmade")
    write_text(run.config, to_toml(Config(data=data, model=model)))
    write_classes(run, THREE)
    write_table(run.split, pd.DataFrame(rows))
    network = build_network(model, classes=3)
    randomise(network)
    save_checkpoint(run.best, network, {"epoch": 1, "class_names": THREE})
    return Handmade(run, root / "data", network, np.stack(pixels), targets)


@pytest.fixture
def tested(run: RunDir) -> RunDir:
    """The same with test figures and predictions."""
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 2, 80)
    probabilities = np.clip(0.5 * targets + generator.uniform(0, 0.6, 80), 0, 1).astype(np.float32)
    write_json(run.metrics, report_of(targets, probabilities).to_json())
    shares = {"probability_0": 1 - probabilities, "probability_1": probabilities}
    write_table(run.predictions, pd.DataFrame({"target": targets, **shares}))
    return run
