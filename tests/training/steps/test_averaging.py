"""The moving average of the weights, put into the network and taken out again."""

import keras
import numpy as np
import pytest
from small import same, small_batch, small_network, values

from diptych.settings.config import TrainingConfig
from diptych.training.steps.averaging import Averaging
from diptych.training.steps.optimizers import build_loss, build_optimizer, parts_of

EMA = TrainingConfig(optimizer="adamw", learning_rate=1e-2, ema=0.8, schedule="constant")
DEEP = TrainingConfig(optimizer="adamw", learning_rate=1e-2, ema=0.8, schedule="constant", depth_factor=0.5, gradient_clip=1.0)


def compiled(settings: TrainingConfig, dropout: float = 0.3, *, traced: bool = False) -> keras.Model:
    """A small network; its steps are not traced where that would only take time."""
    network = small_network(dropout=dropout)
    optimizer = build_optimizer(settings, network, 100, pretrained=settings.depth_factor < 1)
    optimizer.build(network.trainable_variables)
    network.compile(optimizer, loss=build_loss("cross-entropy", 2), run_eagerly=not traced)
    return network


def train(network: keras.Model, steps: int, first: int = 0) -> None:
    for step in range(first, first + steps):
        network.train_on_batch(*small_batch(seed=step))


def averages_of(network: keras.Model) -> dict[str, np.ndarray]:
    """What the optimizer holds, by the path of the weight."""
    parts = parts_of(network.optimizer)
    pairs = [pair for part in parts for pair in zip(part._trainable_variables, part._model_variables_moving_average, strict=True)]
    return {variable.path: np.array(keras.ops.convert_to_numpy(average)) for variable, average in pairs}


@pytest.mark.parametrize("settings", [EMA, DEEP], ids=["one optimizer", "by depth"])
def test_averaged__gives_the_averages_and_then_everything_back(settings):
    network = compiled(settings)
    train(network, 3)
    before, optimizer_before = values(network.variables), values(network.optimizer.variables)
    expected = averages_of(network)
    assert len(expected) == len(network.trainable_variables)
    with Averaging(network, network.optimizer).averaged(None, 0):
        inside = dict(zip([v.path for v in network.trainable_variables], values(network.trainable_variables), strict=True))
        assert all(np.array_equal(inside[path], expected[path]) for path in expected)
        kernel = network.get_layer("dense").kernel.path
        assert not np.array_equal(inside[kernel], before[[v.path for v in network.variables].index(kernel)])
        network.evaluate(*small_batch(), verbose=0)
    assert same(values(network.variables), before)
    assert same(values(network.optimizer.variables), optimizer_before)


def test_averaged__gives_everything_back_after_an_error():
    network = compiled(EMA)
    train(network, 2)
    before = values(network.variables)
    with pytest.raises(ZeroDivisionError), Averaging(network, network.optimizer).averaged(iter([small_batch()[0]]), 1):
        raise ZeroDivisionError
    assert same(values(network.variables), before)

    def broken():
        yield small_batch()[0]
        raise OSError("unreadable")

    with pytest.raises(OSError, match="unreadable"), Averaging(network, network.optimizer).averaged(broken(), 2):
        pass
    assert same(values(network.variables), before)
    assert network.get_layer("resnet50").get_layer("conv1_bn").momentum == 0.99


def test_averaged__without_an_average_reads_and_changes_nothing():
    def unread():
        raise AssertionError
        yield

    without = compiled(TrainingConfig())
    train(without, 1)
    for network in (without, compiled(EMA)):  # the second one has not seen a batch yet: its averages are zero
        before = values(network.variables)
        with Averaging(network, network.optimizer).averaged(unread(), 1):
            assert same(values(network.variables), before)


def test_averaged__measures_batch_normalisation_anew():
    # Without dropout, so that the reference can be computed layer by layer.
    network = compiled(EMA, dropout=0.0)
    train(network, 3)
    batches = [small_batch(seed=20 + number)[0] for number in range(3)]
    branch = network.get_layer("resnet50")
    first, second = (branch.get_layer(f"conv{number}_bn") for number in (1, 2))
    with Averaging(network, network.optimizer).averaged(iter(batches), 2):
        found = values([first.moving_mean, first.moving_variance, second.moving_mean, second.moving_variance])
        expected = [[], [], [], []]
        for images in batches[:2]:
            features = keras.ops.convert_to_numpy(branch.get_layer("conv1_conv")(images / np.float32(255))).astype(np.float64)
            expected[0].append(features.mean((0, 1, 2)))
            expected[1].append(features.var((0, 1, 2)))
            gamma, beta = values([first.gamma, first.beta])
            normalised = (features - expected[0][-1]) / np.sqrt(expected[1][-1] + first.epsilon) * gamma + beta
            active = keras.ops.gelu(keras.ops.convert_to_tensor(normalised.astype(np.float32)), approximate=False)
            features = keras.ops.convert_to_numpy(branch.get_layer("conv2_conv")(active)).astype(np.float64)
            expected[2].append(features.mean((0, 1, 2)))
            expected[3].append(features.var((0, 1, 2)))
    for one, several in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, np.mean(several, axis=0), rtol=2e-5, atol=2e-6)


def test_averaged__leaves_frozen_batch_normalisation_alone():
    network = compiled(EMA)
    frozen, free = network.get_layer("resnet50").get_layer("conv1_bn"), network.get_layer("convnet").get_layer("stem_bn")
    frozen.trainable = False
    optimizer = build_optimizer(EMA, network, 100)
    optimizer.build(network.trainable_variables)
    network.compile(optimizer, loss=build_loss("cross-entropy", 2), run_eagerly=True)
    train(network, 2)
    before = values([frozen.moving_mean, frozen.moving_variance]), values([free.moving_mean])
    with Averaging(network, network.optimizer).averaged(iter([small_batch(seed=9)[0]]), 1):
        assert same(values([frozen.moving_mean, frozen.moving_variance]), before[0])
        assert not same(values([free.moving_mean]), before[1])


def test_training_goes_on_as_if_nothing_had_been_averaged():
    """The compiled steps, of training and of validation, must not see the momentum that the statistics are measured with."""
    ends = []
    for times in (0, 2):
        keras.utils.set_random_seed(0)
        network = compiled(EMA, traced=True)
        train(network, 2)
        averaging = Averaging(network, network.optimizer)
        for _ in range(times):
            with averaging.averaged(iter([small_batch(seed=7)[0]]), 1):
                network.evaluate(*small_batch(), verbose=0)
        train(network, 2, first=2)
        ends.append([*values(network.variables), *values(network.optimizer.variables)])
    assert same(*ends)
