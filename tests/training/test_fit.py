"""Fitting in this process: what is frozen stays as it is, and the rest learns, of two classes and of three."""

import dataclasses
import logging
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from contract import to_numpy
from making import run_python
from numpy.typing import NDArray

from diptych.data.batches import OrderedBatches
from diptych.data.reading.manifest import Manifest
from diptych.machine.quiet import quiet_backend
from diptych.model.checkpoint import assign, load_run_network, read_checkpoint
from diptych.settings.config import Config, DataConfig, ModelConfig, TrainingConfig
from diptych.settings.presets import augmentation
from diptych.settings.sources import to_toml
from diptych.storage.atomic import write_text
from diptych.storage.run_dir import RunDir, write_classes
from diptych.training.fit import fit, keep_best, start_network
from diptych.training.loop import TrainingTask

pytestmark = [pytest.mark.slow, pytest.mark.on_tensorflow]

CLASS_NAMES = ("blue", "green", "red")
# Uneven, so that each class has a weight of its own.
TRAINING_TARGETS = np.repeat([0, 1, 2], (12, 4, 8))
VALIDATION_TARGETS = np.repeat([0, 1, 2], (6, 3, 3))
EPOCHS = 8

LOAD_WITH_PLAIN_KERAS = """
import sys
import keras, numpy
network = keras.models.load_model(sys.argv[1])
numpy.save(sys.argv[3], network.predict(numpy.load(sys.argv[2]), verbose=0))
assert not [name for name in sys.modules if name.startswith("diptych")]
"""


def make_manifest(root: Path, targets: NDArray[np.int64], splits: list[str], class_names: tuple[str, ...]) -> Manifest:
    names = [f"{number}.png" for number in range(len(targets))]
    table = pd.DataFrame({"path": names, "image_name": names, "target": targets, "split": splits})
    return Manifest(root, table, class_names, (), "")


def make_colours(targets: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Noise that is brighter in the channel of its class."""
    images = np.random.default_rng(0).integers(0, 100, (len(targets), 32, 32, 3), dtype=np.uint8)
    images[np.arange(len(targets)), :, :, 2 - targets] += 120
    return images


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A finished training of three classes, with what its network said of the training images before."""

    run: RunDir
    images: NDArray[np.uint8]
    before: NDArray[np.float32]

    @property
    def history(self) -> pd.DataFrame:
        return pd.read_csv(self.run.history)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """All training images are one batch, unchanged, so that the loss of the first epoch is known beforehand."""
    root = tmp_path_factory.mktemp("fitted")
    targets = np.concatenate([TRAINING_TARGETS, VALIDATION_TARGETS])
    count = len(TRAINING_TARGETS)
    settings = TrainingConfig(epochs=EPOCHS, batch_size=count, class_weights="balanced", learning_rate=3e-3, schedule="constant")
    model = ModelConfig(weights="none", width=0.125, dense_units=32, dropout=0.0, batch_norm_momentum=0.5)
    config = Config(DataConfig(image_size=32), augmentation("none"), model, settings)
    images = make_colours(targets)
    network, _ = start_network(config, root, CLASS_NAMES)
    before = to_numpy(network(images[:count], training=True))
    run = RunDir(root / "colours")
    write_text(run.config, to_toml(config))
    write_classes(run, CLASS_NAMES)
    splits = ["train"] * count + ["validation"] * len(VALIDATION_TARGETS)
    fit(TrainingTask(network, run, config, make_manifest(root, targets, splits, CLASS_NAMES), images))
    keep_best(run, model, 32)
    return Fitted(run, images, before)


def test_three_classes__training_loss_is_weighted_by_class(fitted: Fitted) -> None:
    losses = -np.log(fitted.before[np.arange(len(TRAINING_TARGETS)), TRAINING_TARGETS])
    weights = (24 / 3 / np.array([12, 4, 8]))[TRAINING_TARGETS]
    assert abs((weights * losses).mean() - losses.mean()) > 1e-3
    assert fitted.history["loss"][0] == pytest.approx((weights * losses).mean(), rel=1e-4)


def test_three_classes__training_accuracy_is_not_weighted(fitted: Fitted) -> None:
    assert fitted.history["accuracy"][0] == pytest.approx(np.mean(fitted.before.argmax(axis=1) == TRAINING_TARGETS), rel=1e-4)


def test_three_classes__are_learnt(fitted: Fitted) -> None:
    history = fitted.history
    assert len(history) == EPOCHS
    assert history["loss"].iloc[-1] < 0.5 * history["loss"].iloc[0]


def test_three_classes__validation_loss_is_not_weighted(fitted: Fitted) -> None:
    network, _, _ = load_run_network(fitted.run)
    assign(network, read_checkpoint(fitted.run.last))
    probabilities = network.predict(fitted.images[len(TRAINING_TARGETS) :], verbose=0)
    losses = -np.log(probabilities[np.arange(len(VALIDATION_TARGETS)), VALIDATION_TARGETS])
    last = fitted.history.iloc[-1]
    assert last["val_loss"] == pytest.approx(losses.mean(), rel=1e-3, abs=1e-6)
    assert last["val_accuracy"] == pytest.approx(np.mean(probabilities.argmax(axis=1) == VALIDATION_TARGETS), rel=1e-4)


def test_three_classes__names_are_in_the_checkpoints(fitted: Fitted) -> None:
    assert load_run_network(fitted.run)[2] == CLASS_NAMES
    for path in (fitted.run.best, fitted.run.last):
        assert read_checkpoint(path).facts["class_names"] == list(CLASS_NAMES)


def test_three_classes__best_keras_predicts_the_same_without_diptych(fitted: Fitted, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", fitted.images)
    places = [fitted.run.best_keras, tmp_path / "images.npy", tmp_path / "predicted.npy"]
    done = run_python("-c", LOAD_WITH_PLAIN_KERAS, *places)
    assert done.returncode == 0, done.stderr
    expected = load_run_network(fitted.run)[0].predict(fitted.images, verbose=0)
    assert expected.shape == (len(fitted.images), 3)
    np.testing.assert_allclose(np.load(tmp_path / "predicted.npy"), expected, rtol=1e-5, atol=1e-6)


def test_freeze_resnet50__leaves_its_weights_and_statistics_alone(tiny: ModelConfig, tmp_path: Path) -> None:
    settings = TrainingConfig(epochs=1, batch_size=4, freeze_resnet50=True, loss="focal", best_by="loss")
    config = Config(DataConfig(image_size=32), model=tiny, training=settings)
    images = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), np.uint8)
    manifest = make_manifest(tmp_path, np.array([0, 1] * 6), ["train"] * 8 + ["validation"] * 4, ("0", "1"))
    network, _ = start_network(config, tmp_path, ("0", "1"))
    before = {variable.path: to_numpy(variable) for variable in network.variables}
    resnet = {variable.path for variable in network.get_layer("resnet50").variables}
    fit(TrainingTask(network, RunDir(tmp_path / "frozen"), config, manifest, images))
    changed = {variable.path for variable in network.variables if not np.array_equal(before[variable.path], to_numpy(variable))}
    assert len(resnet) > 300
    assert not changed & resnet
    assert {"stem_conv/kernel", "stem_bn/moving_mean", "probability/kernel"} <= changed


def test_ordered_batches__are_the_images_in_order_with_their_labels() -> None:
    images, targets, rows = make_colours(VALIDATION_TARGETS), VALIDATION_TARGETS, np.array([7, 0, 11, 3, 5])
    batches = OrderedBatches(images, targets, rows, 2, 3)
    assert len(batches) == 3
    found = [batches[number] for number in range(3)]
    np.testing.assert_array_equal(np.concatenate([pixels for pixels, _ in found]), images[rows])
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in found]), np.eye(3)[targets[rows]])


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="need KERAS_BACKEND=tensorflow (make test-tensorflow)")
def test_several_networks__bring_no_advice_on_tracing_to_the_screen() -> None:
    heard: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())
    logger = logging.getLogger("tensorflow")
    logger.addHandler(handler)
    try:
        with quiet_backend():
            for _ in range(7):
                network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
                network.predict(np.zeros((4, 3), np.float32), verbose=0)
            logger.warning("something else")
    finally:
        logger.removeHandler(handler)
    assert heard == ["something else"]
