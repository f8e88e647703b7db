"""What an epoch's figures lead to, beside Keras's own callbacks."""

import dataclasses
import json

import keras
import numpy as np
import pytest

from diptych.settings.config import TrainingConfig
from diptych.training.monitor import judge
from diptych.training.state import TrainState

# (validation accuracy, validation loss) of four epochs.
EPOCHS = [(0.6, 0.5), (0.8, 0.7), (0.8, 0.6), (0.7, 0.4)]


def row(number: int, accuracy: float, loss: float) -> dict[str, float]:
    return {"epoch": number, "val_accuracy": accuracy, "val_loss": loss}


@pytest.mark.parametrize(("best_by", "best"), [("accuracy", 3), ("loss", 4)])
def test_judge__best_epoch(best_by, best):
    state, settings, kept = TrainState(), TrainingConfig(best_by=best_by), 0
    for number, (accuracy, loss) in enumerate(EPOCHS, start=1):
        verdict = judge(state, row(number, accuracy, loss), settings)
        state, kept = verdict.state, number if verdict.best else kept
    assert kept == state.best_epoch == best
    assert [entry["epoch"] for entry in state.history] == [1, 2, 3, 4]
    assert (state.epoch, state.batch, state.figures) == (4, 0, None)


def test_judge__new_image_size_begins_the_search_for_the_best_anew():
    settings = TrainingConfig()
    state = judge(TrainState(), row(1, 0.9, 0.3), settings).state
    verdict = judge(state, row(2, 0.6, 0.9), settings, new_size=True)
    assert verdict.best
    assert verdict.state.best_epoch == 2
    assert not judge(state, row(2, 0.6, 0.9), settings).best


@pytest.mark.parametrize("patience", [1, 2, 5])
@pytest.mark.parametrize("min_delta", [TrainingConfig().plateau_min_delta, 0.0, 0.15, 999.0])
@pytest.mark.parametrize("seed", range(4))
def test_judge__lowers_the_rate_when_keras_does(seed: int, min_delta: float, patience: int):
    losses = np.random.default_rng(seed).choice([0.5, 0.49995, 0.4, 0.3, 0.6], 40)
    callback = keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.5, patience=patience, min_delta=min_delta)
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    network.compile(keras.optimizers.SGD(1.0), "mse")
    callback.set_model(network)
    callback.on_train_begin()
    settings = TrainingConfig(plateau_patience=patience, plateau_factor=0.5, plateau_min_delta=min_delta)
    state, rate = TrainState(), 1.0
    for number, loss in enumerate(losses, start=1):
        verdict = judge(state, row(number, 0.5, float(loss)), settings)
        state, rate = verdict.state, rate * 0.5 if verdict.lower_rate else rate
        callback.on_epoch_end(number - 1, {"val_loss": float(loss)})
        assert rate == pytest.approx(float(keras.ops.convert_to_numpy(network.optimizer.learning_rate)), rel=1e-6)
    assert rate < 1


@pytest.mark.parametrize("patience", [1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_judge__ends_the_training_when_keras_does(seed: int, patience: int):
    losses = np.random.default_rng(seed).random(40)
    callback = keras.callbacks.EarlyStopping("val_loss", patience=patience)
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    network.stop_training = False
    callback.set_model(network)
    callback.on_train_begin()
    state, settings = TrainState(), TrainingConfig(early_stopping=patience)
    for number, loss in enumerate(losses, start=1):
        state = judge(state, row(number, 0.5, float(loss)), settings).state
        callback.on_epoch_end(number - 1, {"val_loss": float(loss)})
        assert state.stopped == network.stop_training
        if state.stopped:
            break
    assert state.stopped


def test_early_stopping__is_off_by_default():
    state = TrainState()
    for number in range(1, 200):
        state = judge(state, row(number, 0.5, float(number)), TrainingConfig()).state
    assert not state.stopped


def test_state__is_the_same_after_json():
    """Each field, the counters of the plateau schedule and of early stopping too, with another value than it begins with."""
    settings = TrainingConfig(early_stopping=2, plateau_patience=5)
    state = judge(TrainState(), row(1, 1 / 3, 0.1 + 0.2), settings).state
    for number in (2, 3):
        state = judge(state, row(number, 1 / 3, 1 / 3), settings).state
    state = dataclasses.replace(state, batch=3, phase=1, seconds=0.1, figures={"loss": 2 / 3})
    assert not {name for name, value in vars(state).items() if value == getattr(TrainState(), name)}
    assert TrainState.from_json(json.loads(json.dumps(state.to_json()))) == state
