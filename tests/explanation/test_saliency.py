"""Maps of where a network looks: Grad-CAM against the backend's own gradient, the rest by hand."""

from typing import Any

import keras
import numpy as np
import pytest
from contract import randomise, to_numpy
from hand_network import BIAS, BLUE, RED, hand_network, hand_probability, sigmoid
from making import run_python, skip_unless_installed

from diptych.explanation.activations import Activations, pool, pooled_means
from diptych.explanation.saliency import SaliencyMap, Variants, class_predictor, explain_images, grad_cam, occlusion_map
from diptych.inference.decision import Decision
from diptych.model.checkpoint import save_checkpoint
from diptych.model.network import build_network
from diptych.settings.config import ModelConfig

IMAGES = np.random.default_rng(1).integers(0, 256, (3, 96, 96, 3), dtype=np.uint8)
FORMS = [
    *((classes, form, "both") for classes in (2, 3) for form in ("identity", "published", "none")),
    *((classes, form, branches) for classes, form in ((2, "none"), (3, "identity")) for branches in ("resnet50", "convnet")),
]
# The gradient is the same formula in all of them: two on each backend.
EVERY_BACKEND = [(2, "identity", "both"), (3, "published", "both")]

EXPLAIN = """
import sys
from pathlib import Path
from diptych.machine.backend import load_backend
load_backend(sys.argv[1])
import numpy as np
from diptych.settings.config import ModelConfig
from diptych.explanation.saliency import explain_images
from diptych.model.network import build_network
from diptych.model.checkpoint import assign, read_checkpoint
folder = Path(sys.argv[2])
network = build_network(ModelConfig("none", 0.0625, dense_units=16, batch_norm_momentum=0.0), classes=3)
assign(network, read_checkpoint(folder / "network.safetensors"))
image = np.random.default_rng(1).integers(0, 256, (3, 96, 96, 3), dtype=np.uint8)[:1]
(found,) = explain_images(network, image, np.array([2]), occlusion=False)
np.savez(folder / "maps.npz", without=[*found.without.values()], **{each.name: each.values for each in found.maps})
"""


def real_network(
    classes: int = 2, attention: str = "identity", branches: str = "both", precision: str = "float32"
) -> keras.Model:
    """The dual model, tiny, with random weights, features of a usual size and answers that are not certain."""
    settings = ModelConfig("none", 0.0625, branches, attention, dense_units=16, batch_norm_momentum=0.0)
    network = build_network(settings, classes=classes, precision=precision)
    randomise(network)
    kernel = network.get_layer("probability").kernel
    kernel.assign(0.3 * to_numpy(kernel))
    network(IMAGES, training=True)
    return network


def gradients(network: keras.Model, branches: tuple[str, ...], targets: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The refined features of each branch and the gradient of each target's logit, by the backend, through the real network."""
    outputs = network.get_layer("join").input if len(branches) > 1 else [network.get_layer("pool").input]
    model = keras.Model(network.input, [*outputs, network.get_layer("dense").output])
    last = network.get_layer("probability")

    def score(hidden: Any) -> Any:
        logits = keras.ops.matmul(hidden, last.kernel) + last.bias
        if logits.shape[1] == 1:
            logits = keras.ops.concatenate([-logits, logits], axis=1)
        return keras.ops.sum(logits * keras.ops.one_hot(targets, logits.shape[1]))

    def behind(features: list[Any]) -> Any:
        joined = network.get_layer("join")(features) if len(features) > 1 else features[0]
        return score(network.get_layer("dense")(network.get_layer("pool")(joined)))

    if keras.backend.backend() == "tensorflow":
        import tensorflow

        with tensorflow.GradientTape() as tape:
            *features, hidden = model(IMAGES)
            total = score(hidden)
        found = tape.gradient(total, features)
    elif keras.backend.backend() == "torch":
        import torch

        *features, hidden = model(IMAGES)
        found = torch.autograd.grad(score(hidden), features)
    else:
        import jax

        features = model(IMAGES)[:-1]
        found = jax.grad(behind)(features)
    return [to_numpy(part) for part in features], [to_numpy(part) for part in found]


@pytest.mark.slow
@pytest.mark.every_backend
@pytest.mark.parametrize(
    ("classes", "attention", "branches"),
    [form if form in EVERY_BACKEND else pytest.param(*form, marks=pytest.mark.one_backend) for form in FORMS],
)
def test_grad_cam__equals_the_gradient_of_the_backend(classes, attention, branches):
    network = real_network(classes, attention, branches)
    activations, targets = Activations(network), np.arange(3) % classes
    features, found = gradients(network, activations.branches, targets)
    maps = grad_cam(activations, activations.read(IMAGES), targets)
    assert activations.branches == (("resnet50", "convnet") if branches == "both" else (branches,))
    for name, values, gradient in zip(activations.branches, features, found, strict=True):
        weights = gradient.sum(axis=(1, 2))
        assert np.abs(weights).max() > 0
        signed = np.einsum("nhwc,nc->nhw", values, weights)
        assert (signed > 0).any()
        np.testing.assert_allclose(
            [row[name] for row in maps], np.maximum(signed, 0), rtol=1e-3, atol=1e-4 * np.abs(signed).max()
        )


@pytest.mark.slow
@pytest.mark.every_backend
@pytest.mark.parametrize("classes", [2, pytest.param(3, marks=pytest.mark.one_backend)])
def test_head__gives_the_probabilities_of_the_network(classes):
    network = real_network(classes)
    found = explain_images(network, IMAGES, occlusion=False)
    expected = to_numpy(network(IMAGES))
    expected = expected if classes > 2 else np.hstack([1 - expected, expected])
    np.testing.assert_allclose([each.probabilities for each in found], expected, rtol=0, atol=1e-5)
    assert [each.target for each in found] == list(expected.argmax(axis=1))
    # With its own features in their place, nothing is cut off.
    activations = Activations(network)
    for row, image in enumerate(IMAGES):
        own = pooled_means(activations, image[None])
        (explained,) = explain_images(activations, image[None], means=own, occlusion=False)
        for probabilities in explained.without.values():
            np.testing.assert_allclose(probabilities, expected[row], rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.every_backend
def test_explain_images__attention_is_what_the_features_are_multiplied_by():
    network = real_network()
    found = explain_images(network, IMAGES, occlusion=False)
    assert [each.name for each in found[0].maps] == [
        f"{kind}_{name}" for kind in ("grad_cam", "attention") for name in ("resnet50", "convnet")
    ]
    for place, name in ((2, "resnet50"), (3, "convnet")):
        layers = [network.get_layer(f"{name}_{kind}_attention").output for kind in ("channel", "spatial")]
        before, after = map(to_numpy, keras.Model(network.input, layers)(IMAGES))
        gates = np.stack([each.maps[place].values for each in found])
        assert np.ptp(gates) > 0
        np.testing.assert_allclose(before * gates[..., None], after, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.every_backend
def test_explain_images__of_bfloat16_is_float32():
    network = real_network(branches="convnet", precision="bfloat16")
    activations = Activations(network)
    values = activations.read(IMAGES)
    assert {values.dtype for values in values.values()} == {np.dtype(np.float32)}
    # In one pass: of so deep a network, two of bfloat16 differ by more.
    *features, expected = keras.Model(
        network.input, [*(activations.model.output[name] for name in activations.branches), network.output]
    )(IMAGES)
    own = {name: to_numpy(values).astype(np.float32) for name, values in zip(activations.branches, features, strict=True)}
    np.testing.assert_allclose(activations.head().probabilities(pool(activations, own))[:, 1:], to_numpy(expected), atol=0.03)
    assert all(np.isfinite(each.values).all() for each in explain_images(activations, IMAGES[:1], occlusion=False)[0].maps)


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="need KERAS_BACKEND=tensorflow (make test-tensorflow)")
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_explain_images__is_the_same_on_the_other_backends(backend, tmp_path):
    skip_unless_installed(backend)
    network = real_network(3)
    save_checkpoint(tmp_path / "network.safetensors", network, {"epoch": 1, "class_names": ["a", "b", "c"]})
    done = run_python("-c", EXPLAIN, backend, tmp_path, timeout=600)
    assert done.returncode == 0, done.stderr
    received = np.load(tmp_path / "maps.npz")
    expected = explain_images(network, IMAGES[:1], np.array([2]), occlusion=False)[0]
    assert len(expected.maps) == 4
    for each in expected.maps:
        scale = np.abs(each.values).max()
        assert scale > 1e-3
        np.testing.assert_allclose(received[each.name], each.values, rtol=1e-3, atol=1e-3 * scale + 1e-6)
    np.testing.assert_allclose(received["without"], [*expected.without.values()], rtol=0, atol=1e-5)


def spotted(row: int, column: int) -> np.ndarray:
    """A dark image of 48 x 48 pixels with a red spot of 4 x 4."""
    image = np.full((48, 48, 3), 20, np.uint8)
    image[row : row + 4, column : column + 4, 0] = 255
    return image


@pytest.fixture(scope="module")
def by_hand() -> keras.Model:
    return hand_network()


@pytest.mark.parametrize(("row", "column"), [(0, 0), (20, 32), (44, 44)])
def test_occlusion_map__finds_the_one_spot_that_matters(by_hand, row, column):
    image = spotted(row, column)
    found = occlusion_map(class_predictor(by_hand, 1), image)
    assert found.shape == (12, 12)
    # Cells of 4 pixels: the patch around a cell covers it and half of each neighbour.
    assert np.unravel_index(found.argmax(), found.shape) == (row // 4, column // 4)
    covered = image.copy()
    covered[max(0, row - 2) : row + 6, max(0, column - 2) : column + 6] = image.mean(axis=(0, 1)).round()
    before, after = hand_probability(np.stack([image, covered]))
    assert found[row // 4, column // 4] == pytest.approx(before - after, abs=1e-6)
    assert np.abs(found[abs(np.arange(12) - row // 4) > 2]).max() < 0.1 * found.max()


def test_occlusion_map__of_the_other_class_is_the_negative(by_hand):
    zero, one = (occlusion_map(class_predictor(by_hand, target), spotted(8, 8)) for target in (0, 1))
    np.testing.assert_allclose(zero, -one, atol=1e-6)


def test_occlusion_map__leaves_the_image_alone_and_takes_any_size(by_hand):
    image = np.random.default_rng(0).integers(0, 256, (33, 33, 3), np.uint8)
    before = image.copy()
    found = occlusion_map(class_predictor(by_hand, 1), image, cells=5)
    assert found.shape == (5, 5)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("target", [0, 1])
def test_explain_images__by_hand(by_hand, target):
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    means = {"resnet50": np.array([0.5], np.float32), "convnet": np.array([0.25], np.float32)}
    sign, of_class = (1 if target else -1), (lambda logit: sigmoid(logit if target else -logit))
    cut, meant = (explain_images(by_hand, images, np.full(2, target), given, occlusion=False) for given in (None, means))
    for image, one, other in zip(images / 255, cut, meant, strict=True):
        red, blue = image[..., 0], image[..., 2]
        assert one.probabilities[target] == pytest.approx(of_class(RED * red.mean() + BLUE * blue.mean() + BIAS), abs=1e-5)
        np.testing.assert_allclose(one.maps[0].values, np.maximum(sign * RED * red, 0), rtol=1e-5)
        np.testing.assert_allclose(one.maps[1].values, np.maximum(sign * BLUE * blue, 0), rtol=1e-5)
        assert one.without["resnet50"][target] == pytest.approx(of_class(BLUE * blue.mean() + BIAS), abs=1e-5)
        assert one.without["convnet"][target] == pytest.approx(of_class(RED * red.mean() + BIAS), abs=1e-5)
        assert other.without["resnet50"][target] == pytest.approx(of_class(RED * 0.5 + BLUE * blue.mean() + BIAS), abs=1e-5)
        assert other.without["convnet"][target] == pytest.approx(of_class(RED * red.mean() + BLUE * 0.25 + BIAS), abs=1e-5)


def test_explain_images__answers_as_predict_does_with_temperature_and_threshold(by_hand):
    images = np.random.default_rng(4).integers(0, 256, (3, 8, 8, 3), np.uint8)
    plain = explain_images(by_hand, images, occlusion=False)
    logits = [np.log(each.probabilities[1] / each.probabilities[0]) for each in plain]
    # Between what the temperature makes of the first image and what is left of that without a branch.
    ends = sigmoid(logits[0] / 2), sigmoid(np.log(1 / plain[0].without["resnet50"][0] - 1) / 2)
    decision = Decision(temperature=2.0, threshold=float(np.mean(ends)))
    found = explain_images(by_hand, images, decision=decision, occlusion=False)
    for each, logit in zip(found, logits, strict=True):
        assert each.probabilities[1] == pytest.approx(sigmoid(logit / 2), abs=1e-5)
        assert each.target == each.predicted == int(sigmoid(logit / 2) >= decision.threshold)
    assert found[0].others["resnet50"]
    cut = found[0].without["resnet50"]
    assert (cut[1] >= decision.threshold) == (1 - found[0].predicted)


def test_explain_images__of_one_branch_cuts_nothing_off(of_three):
    found = explain_images(of_three.network, of_three.pixels[:2], occlusion=False)
    assert [dict(each.without) for each in found] == [{}, {}]
    assert [each.name for each in found[0].maps] == ["grad_cam_convnet", "attention_convnet"]


def test_explain_images__of_nothing(by_hand):
    assert explain_images(by_hand, np.empty((0, 8, 8, 3), np.uint8)) == []


def test_variants__are_made_as_they_are_asked_for():
    made = []

    def make(number: int) -> np.ndarray:
        made.append(number)
        return np.full((2, 2, 3), number, np.uint8)

    variants = Variants(100, make)
    assert len(variants) == 100
    assert variants[np.array([7, 3])][:, 0, 0, 0].tolist() == made == [7, 3]


@pytest.mark.parametrize(("kind", "values"), [("grad-cam", np.zeros((2, 2), np.float32)), ("occlusion", np.zeros((2, 2)))])
def test_saliency_map__refuses_what_it_is_not(kind, values):
    with pytest.raises(ValueError, match="expected float32"):
        SaliencyMap(kind, "", values)
