"""The whole network: pixels in, probability out; and its table of parts."""

import math
from collections.abc import Iterator

import keras
import numpy as np
import pytest
from contract import check_every_weight_learns, check_save_and_load, randomise, to_numpy

from diptych.model.network import build_network
from diptych.model.summary import describe_parts, multiply_adds, summarise
from diptych.settings.config import ModelConfig

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
    probabilities = to_numpy(network(pixels(height, width)))
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
    probabilities = to_numpy(of_three(pixels(64, 64, 5)))
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


@pytest.fixture(scope="module")
def halved(network, tiny) -> keras.Model:
    """The network computed in bfloat16, with the same weights."""
    built = build_network(tiny, precision="bfloat16")
    built.set_weights(network.get_weights())
    return built


def test_network__in_bfloat16_computes_its_branches_in_it(halved):
    computing = (keras.layers.Conv2D, keras.layers.BatchNormalization, keras.layers.Dense)
    of_branches = [layer for name in BRANCHES for layer in all_layers(halved.get_layer(name)) if isinstance(layer, computing)]
    assert len(of_branches) > 100
    assert {layer.compute_dtype for layer in of_branches} == {"bfloat16"}
    assert halved.get_layer("dense").compute_dtype == "bfloat16"


def test_network__in_bfloat16_keeps_weights_pixels_gates_and_probabilities_in_float32(halved):
    assert {weight.dtype for weight in halved.weights} == {"float32"}
    in_float = ["zero_to_one", *(f"{branch}_{kind}_gate" for branch in BRANCHES for kind in ("channel", "spatial"))]
    assert {halved.get_layer(name).output.dtype for name in in_float} == {"float32"}
    assert {
        halved.get_layer(f"{branch}_{kind}_excite").compute_dtype for branch in BRANCHES for kind in ("channel", "spatial")
    } == {"float32"}
    # What goes into the ResNet50 branch: pixels less their mean, of which bfloat16 would round the 0 to 255.
    assert halved.get_layer("resnet50").input.dtype == "float32"
    assert to_numpy(halved(pixels(64, 64))).dtype == np.float32


def test_network__in_bfloat16_gives_nearly_the_answers_of_float32(images, tiny):
    """Fresh weights, for 53 layers of random ones would magnify any rounding; the last layer makes answers of them apart."""
    exact, rounded = build_network(tiny), build_network(tiny, precision="bfloat16")
    exact(images, training=True)
    last = exact.get_layer("probability").kernel
    last.assign(to_numpy(last) * 3)
    rounded.set_weights(exact.get_weights())
    expected, received = to_numpy(exact(images)), to_numpy(rounded(images))
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(received, expected, rtol=0, atol=0.1 * np.ptp(expected))
    assert not np.array_equal(received, expected)


@pytest.mark.parametrize("attention", ["published", "none"])
def test_network__in_bfloat16_of_another_attention(attention):
    built = build_network(ModelConfig(branches="convnet", width=0.125, dense_units=16, attention=attention), precision="bfloat16")
    gates = [layer.output.dtype for layer in built.layers if layer.name.endswith("_gate")]
    assert gates == ["float32"] * (2 if attention == "published" else 0)
    assert np.isfinite(to_numpy(built(pixels(32, 32)))).all()


def test_network__leaves_the_precision_of_other_networks_alone(halved):
    assert keras.config.dtype_policy().name == "float32"


@pytest.fixture(scope="module", params=BRANCHES)
def alone(request: pytest.FixtureRequest) -> tuple[str, keras.Model]:
    """A network of one branch, by the branch's name."""
    settings = ModelConfig(width=0.0625 if request.param == "resnet50" else 0.125, dense_units=16, branches=request.param)
    return request.param, build_network(settings)


def test_network__of_one_branch_has_no_other(alone):
    branch, built = alone
    inner = [layer.name for layer in built.layers if isinstance(layer, keras.Model)]
    assert inner == [branch]
    assert {name.split("_")[0] for name in (layer.name for layer in built.layers) if name.endswith("_gate")} == {branch}
    assert to_numpy(built(pixels(33, 64))).shape == (2, 1)


def test_network__of_one_branch_learns_through_it(alone):
    branch, built = alone
    before = {weight.path: to_numpy(weight) for weight in built.get_layer(branch).trainable_weights}
    built.compile(keras.optimizers.Adam(1e-2), "binary_crossentropy", run_eagerly=True)
    for _ in range(2):
        built.train_on_batch(pixels(64, 64, 8), np.arange(8)[:, None] % 2)
    assert not all(np.array_equal(before[weight.path], to_numpy(weight)) for weight in built.get_layer(branch).trainable_weights)


@pytest.mark.parametrize("branch", BRANCHES)
def test_summarise__of_one_branch_adds_up(branch):
    settings = ModelConfig(width=0.0625, dense_units=16, branches=branch)
    parts = summarise(settings, 64)
    assert {part.branch for part in parts} == {branch, "head"}
    assert "join" not in {part.part for part in parts}
    assert sum(part.parameters for part in parts) == build_network(settings).count_params()


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
    before = to_numpy(network(images))
    weights = network.get_layer(branch).get_weights()
    network.get_layer(branch).set_weights([weight + 0.05 for weight in weights])
    try:
        assert not np.allclose(to_numpy(network(images)), before, rtol=1e-6, atol=1e-9)
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
