"""Optimizers and schedules."""

import math

import keras
import numpy as np
import pytest

from diptych.config import Config, TrainingConfig
from diptych.data.loader import encode_labels
from diptych.training.fit import compile_network
from diptych.training.optim import build_accuracy, build_loss, build_optimizer, plateau_callbacks


def rate_at(optimizer: keras.Optimizer, step: int) -> float:
    optimizer.iterations.assign(step)
    return float(keras.ops.convert_to_numpy(optimizer.learning_rate))


def test_one_cycle__warms_up_linearly_and_anneals_along_a_cosine():
    steps, warmup, highest = 40, 10, 2e-3
    settings = TrainingConfig(schedule="one-cycle", learning_rate=highest, warmup_share=0.25)
    optimizer = build_optimizer(settings, steps)
    for step in range(steps + 1):
        if step < warmup:
            expected = highest / 25 + (highest - highest / 25) * step / warmup
        else:
            expected = highest * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
        assert rate_at(optimizer, step) == pytest.approx(expected, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("steps", [1, 2])
def test_one_cycle__of_very_few_steps_stays_within_its_rates(steps):
    optimizer = build_optimizer(TrainingConfig(schedule="one-cycle", learning_rate=1e-3), steps)
    assert all(0 <= rate_at(optimizer, step) <= 1e-3 * (1 + 1e-6) for step in range(steps + 1))


@pytest.mark.parametrize("schedule", ["constant", "plateau"])
def test_other_schedules__do_not_change_the_rate_by_themselves(schedule):
    optimizer = build_optimizer(TrainingConfig(schedule=schedule, learning_rate=3e-4), 100)
    assert [rate_at(optimizer, step) for step in (0, 50, 99)] == pytest.approx([3e-4] * 3)


def test_pretrained_factor__lowers_the_rate_of_pretrained_weights_only():
    settings = TrainingConfig(schedule="constant", learning_rate=1e-3, pretrained_factor=0.1)
    assert rate_at(build_optimizer(settings, 10), 0) == pytest.approx(1e-3)
    assert rate_at(build_optimizer(settings, 10, pretrained=True), 0) == pytest.approx(1e-4)


def test_plateau__lowers_the_rate_on_the_validation_loss():
    (callback,) = plateau_callbacks(TrainingConfig(schedule="plateau", plateau_factor=0.3, plateau_patience=4))
    assert isinstance(callback, keras.callbacks.ReduceLROnPlateau)
    assert (callback.monitor, callback.factor, callback.patience) == ("val_loss", 0.3, 4)


@pytest.mark.parametrize("schedule", ["constant", "one-cycle"])
def test_plateau__is_left_out_of_other_schedules(schedule):
    assert plateau_callbacks(TrainingConfig(schedule=schedule)) == []


def test_adamw__decays_weights():
    optimizer = build_optimizer(TrainingConfig(optimizer="adamw", weight_decay=0.07), 10)
    assert isinstance(optimizer, keras.optimizers.AdamW)
    assert optimizer.weight_decay == 0.07


def test_defaults__are_those_that_were_asked_for(network):
    settings = Config().training
    assert (settings.epochs, settings.batch_size, settings.learning_rate) == (70, 32, 1e-4)
    assert settings.schedule == "plateau"
    assert Config().augment.augment
    optimizer = build_optimizer(settings, 100)
    assert type(optimizer) is keras.optimizers.Adam
    compile_network(network, optimizer)
    assert type(network.loss) is keras.losses.BinaryCrossentropy
    assert network.get_layer("probability").activation is keras.activations.sigmoid
    assert network.get_layer("probability").units == 1


def test_defaults__train_every_layer(network):
    layers = [*network.layers, *network.get_layer("resnet50").layers, *network.get_layer("convnet").layers]
    assert [layer.name for layer in layers if not layer.trainable] == []
    frozen = {variable.name for variable in network.non_trainable_variables}
    assert frozen <= {"moving_mean", "moving_variance", "seed_generator_state"}


# Two images: their true classes have the probabilities 0.8 and 0.6.
OF_TWO = np.array([[1.0], [0.0]]), np.array([[0.8], [0.4]])
OF_THREE = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]), np.array([[0.1, 0.8, 0.1], [0.6, 0.1, 0.3]])


@pytest.mark.parametrize(("classes", "batch"), [(2, OF_TWO), (3, OF_THREE)])
def test_losses__are_those_of_their_names(classes, batch):
    entropy = -np.log([0.8, 0.6])
    assert float(build_loss("cross-entropy", classes)(*batch)) == pytest.approx(entropy.mean(), rel=1e-5)
    # Focal: each image weighted by (1 - probability of its true class) squared.
    assert float(build_loss("focal", classes)(*batch)) == pytest.approx((entropy * [0.2**2, 0.4**2]).mean(), rel=1e-5)


def test_cross_entropy__of_soft_labels():
    labels, probabilities = np.array([[0.3]]), np.array([[0.8]])
    expected = -0.3 * math.log(0.8) - 0.7 * math.log(0.2)
    assert float(build_loss("cross-entropy", 2)(labels, probabilities)) == pytest.approx(expected, rel=1e-5)
    labels, probabilities = np.array([[0.3, 0.7, 0.0]]), np.array([[0.8, 0.15, 0.05]])
    expected = -0.3 * math.log(0.8) - 0.7 * math.log(0.15)
    assert float(build_loss("cross-entropy", 3)(labels, probabilities)) == pytest.approx(expected, rel=1e-5)


def test_accuracy__of_soft_labels_of_two_classes():
    accuracy = build_accuracy(2)
    labels = np.array([[0.5], [0.7], [0.49], [0.0], [1.0]], np.float32)
    accuracy.update_state(labels, np.array([[0.5], [0.1], [0.2], [0.6], [0.9]], np.float32))
    assert float(accuracy.result()) == pytest.approx(3 / 5)
    accuracy.update_state(labels[:1], np.array([[0.9]], np.float32))
    assert float(accuracy.result()) == pytest.approx(4 / 6)


def test_accuracy__of_soft_labels_of_three_classes():
    accuracy = build_accuracy(3)
    labels = np.array([[0.4, 0.6, 0.0], [0.4, 0.0, 0.6], [1.0, 0.0, 0.0]], np.float32)
    accuracy.update_state(labels, np.array([[0.1, 0.5, 0.4], [0.5, 0.1, 0.4], [0.4, 0.3, 0.3]], np.float32))
    assert float(accuracy.result()) == pytest.approx(2 / 3)


@pytest.mark.parametrize("classes", [2, 3])
def test_weights__count_in_the_loss_and_not_in_the_accuracy(classes):
    pixels, units = keras.Input((4,)), 1 if classes == 2 else classes
    output = keras.layers.Dense(units, activation="sigmoid" if classes == 2 else "softmax")(pixels)
    network = keras.Model(pixels, output)
    compile_network(network, keras.optimizers.Adam())
    inputs = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    targets = np.arange(6) % classes
    weights = np.array([0.5, 2, 1, 0, 3, 1], np.float32)
    found = network.test_on_batch(inputs, encode_labels(targets, classes), weights, return_dict=True)
    probabilities = np.array(network(inputs))
    probabilities = np.hstack([1 - probabilities, probabilities]) if classes == 2 else probabilities
    losses = -np.log(probabilities[np.arange(6), targets])
    assert found["loss"] == pytest.approx((weights * losses).mean(), rel=1e-5)
    assert found["accuracy"] == pytest.approx(np.mean(probabilities.argmax(axis=1) == targets))
