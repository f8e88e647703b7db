"""The whole network: pixels in, probability out; and its table of parts."""

import math
from collections.abc import Iterator

import keras
import numpy as np
import pytest
from contract import check_every_weight_learns, check_save_and_load, randomise

from diptych.config import ModelConfig
from diptych.model.network import build_network, describe_parts, multiply_adds, summarise

BRANCHES = ("resnet50", "convnet")


@pytest.fixture(scope="module")
def full_parts():
    return summarise(ModelConfig(), 224)


def all_layers(model: keras.Model) -> Iterator[keras.Layer]:
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from all_layers(layer)


def pixels(height: int, width: int, count: int = 2) -> np.ndarray:
    return np.random.default_rng(4).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 64), (97, 100), (224, 65)])
def test_network__takes_any_size_and_gives_probabilities(network, height, width):
    probabilities = np.array(network(pixels(height, width)))
    assert probabilities.dtype == np.float32
    assert probabilities.shape == (2, 1)
    assert ((probabilities >= 0) & (probabilities <= 1)).all()


@pytest.fixture(scope="module")
def of_three(images) -> keras.Model:
    built = build_network(ModelConfig(width=0.0625, dense_units=16), classes=3)
    randomise(built)
    return built


def test_network__of_two_classes_ends_in_a_sigmoid(network):
    last = network.get_layer("probability")
    assert (last.units, last.activation) == (1, keras.activations.sigmoid)


def test_network__of_three_classes_gives_probabilities_that_add_up_to_one(of_three):
    probabilities = np.array(of_three(pixels(64, 64, 5)))
    assert probabilities.dtype == np.float32
    assert probabilities.shape == (5, 3)
    assert probabilities.min() >= 0
    assert np.ptp(probabilities, axis=0).min() > 0
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)


def test_network__of_three_classes_is_the_same_after_save_and_load(of_three, images, tmp_path):
    check_save_and_load(of_three, images, tmp_path / "network.keras")


def test_network__of_three_classes_learns_in_its_last_layer():
    """The layers before it are those of two classes, which `test_network__every_weight_learns` sees to."""
    fresh = build_network(ModelConfig(width=0.0625, dense_units=16), classes=3)
    for layer in fresh.layers:
        layer.trainable = layer.name == "probability"
    labels = np.eye(3, dtype=np.float32)[np.arange(8) % 3]
    check_every_weight_learns(fresh, pixels(32, 32, 8), labels, "categorical_crossentropy")


def test_network__in_half_precision_gives_probabilities_in_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        built = build_network(ModelConfig(width=0.0625, dense_units=16), classes=4)
    finally:
        keras.config.set_dtype_policy("float32")
    assert built.output.dtype == "float32"
    assert built.get_layer("dense").compute_dtype == "bfloat16"


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 64), (97, 100), (224, 65)])
def test_network__both_branches_see_the_same_grid(network, height, width):
    maps = [network.get_layer(f"{branch}_spatial_gate").output for branch in BRANCHES]
    grid = (2, math.ceil(height / 32), math.ceil(width / 32), 1)
    assert [tuple(m.shape) for m in keras.Model(network.input, maps)(pixels(height, width))] == [grid, grid]


@pytest.mark.parametrize("branch", BRANCHES)
def test_network__has_a_channel_map_for_each_branch(network, branch):
    tap = keras.Model(network.input, network.get_layer(f"{branch}_channel_gate").output)
    channels = network.get_layer(branch).output.shape[-1]
    assert tap(pixels(64, 64)).shape == (2, 1, 1, channels)


def test_network__input_is_uint8(network):
    assert network.input.dtype == "uint8"


@pytest.mark.parametrize("branch", BRANCHES)
def test_network__each_branch_decides(network, branch):
    images = pixels(64, 64)
    before = np.array(network(images))
    weights = network.get_layer(branch).get_weights()
    network.get_layer(branch).set_weights([weight + 0.05 for weight in weights])
    try:
        assert not np.allclose(np.array(network(images)), before, rtol=1e-6, atol=1e-9)
    finally:
        network.get_layer(branch).set_weights(weights)


def test_network__every_weight_learns():
    # Of the tiniest width, a gate of one unit may begin on the flat side of its ReLU.
    fresh = build_network(ModelConfig(width=0.125, dense_units=64))
    targets = np.arange(8)[:, None] % 2
    check_every_weight_learns(fresh, pixels(64, 64, 8), targets, "binary_crossentropy")


def test_network__is_the_same_after_save_and_load(network, images, tmp_path):
    check_save_and_load(network, images, tmp_path / "network.keras")


def test_network__without_attention_has_no_gates():
    bare = build_network(ModelConfig(width=0.0625, attention="none"))
    assert not [layer.name for layer in all_layers(bare) if "gate" in layer.name]


def test_network__batch_norm_momentum_reaches_every_layer():
    built = build_network(ModelConfig(width=0.0625, batch_norm_momentum=0.7))
    normalisations = [layer for layer in all_layers(built) if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(normalisations) > 53
    assert {layer.momentum for layer in normalisations} == {0.7}


def test_network__head_follows_its_settings():
    built = build_network(ModelConfig(width=0.0625, dense_units=11, dropout=0.35))
    assert built.get_layer("dense").units == 11
    assert built.get_layer("dropout").rate == 0.35


def test_summarise__parameters_add_up(network, tiny):
    assert sum(part.parameters for part in summarise(tiny, 64)) == network.count_params()


def test_summarise__head_has_an_output_for_each_class(tiny):
    (last,) = [part for part in summarise(tiny, 64, classes=7) if part.part == "probability"]
    assert last.shape == (7,)
    assert last.parameters == 7 * (tiny.dense_units + 1)
    assert last.multiply_adds == 7 * tiny.dense_units


def test_summarise__resnet50_has_the_published_multiply_adds(full_parts):
    counted = sum(part.multiply_adds for part in full_parts if part.branch == "resnet50" and part.part != "attention")
    assert counted == pytest.approx(3.86e9, rel=0.01)


def test_summarise__convnet_and_attention_are_light(full_parts):
    resnet = sum(part.multiply_adds for part in full_parts if part.branch == "resnet50" and part.part != "attention")
    assert 0 < sum(part.multiply_adds for part in full_parts if part.branch != "head") - resnet <= 0.15 * resnet


def test_summarise__gives_the_shapes(full_parts):
    shapes = {(part.branch, part.part): part.shape for part in full_parts}
    assert shapes["resnet50", "conv5"] == (7, 7, 2048)
    assert shapes["resnet50", "attention"] == (7, 7, 2048)
    assert shapes["head", "probability"] == (1,)


def test_describe_parts__shows_each_part_and_the_sums(full_parts):
    text = describe_parts(full_parts)
    assert "7 x 7 x 2048" in text
    for part in full_parts:
        assert f"{part.parameters:,}" in text
    assert text.splitlines()[-1].split()[2] == f"{sum(part.parameters for part in full_parts):,}"


def test_multiply_adds__of_a_convolution():
    layer = keras.layers.Conv2D(5, 3, strides=2, padding="same")
    layer(keras.Input((10, 12, 3)))
    assert multiply_adds(layer) == (5 * 6) * (3 * 3 * 3 * 5)


def test_multiply_adds__of_a_grouped_convolution():
    layer = keras.layers.Conv2D(8, 3, groups=4)
    layer(keras.Input((6, 6, 4)))
    assert multiply_adds(layer) == (4 * 4) * (3 * 3 * 1 * 8)


def test_multiply_adds__of_a_dense_layer():
    layer = keras.layers.Dense(4)
    layer(keras.Input((7,)))
    assert multiply_adds(layer) == 28


def test_multiply_adds__of_another_layer():
    layer = keras.layers.BatchNormalization()
    layer(keras.Input((6, 6, 4)))
    assert multiply_adds(layer) == 0
