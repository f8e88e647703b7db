"""Global attention: the published block, the form that begins as the identity, and none."""

import keras
import numpy as np
import pytest
from contract import check_every_weight_learns, check_save_and_load, randomise, to_numpy

from diptych.model.attention import global_attention

FORMS = ("identity", "published")


@pytest.fixture
def features() -> np.ndarray:
    return np.random.default_rng(2).normal(size=(3, 5, 7, 32)).astype(np.float32)


def block(form: str) -> keras.Model:
    features = keras.Input((None, None, 32))
    return keras.Model(features, global_attention(features, form, "branch"))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("form", FORMS)
def test_attention__keeps_the_shape_and_has_both_maps(form, features):
    attention = block(form)
    gates = [attention.get_layer(f"branch_{kind}_gate").output for kind in ("channel", "spatial")]
    refined, channel, spatial = keras.Model(attention.input, [attention.output, *gates])(features)
    assert refined.shape == features.shape
    assert channel.shape == (3, 1, 1, 32)
    assert spatial.shape == (3, 5, 7, 1)


def test_attention__identity_is_exactly_the_identity_when_fresh(features):
    np.testing.assert_array_equal(to_numpy(block("identity")(features)), features)


def test_attention__published_equals_the_formula_of_the_paper(features):
    attention = block("published")
    randomise(attention)
    squeeze, excite = (attention.get_layer(f"branch_channel_{name}") for name in ("squeeze", "gate"))
    (kernel1, bias1), (kernel2, bias2) = squeeze.get_weights(), excite.get_weights()
    hidden = np.maximum(0, features.mean(axis=(1, 2)) @ kernel1[0, 0] + bias1)
    channel = sigmoid(hidden @ kernel2[0, 0] + bias2)[:, None, None, :]
    gated = channel * features
    expected = sigmoid(gated.mean(axis=-1, keepdims=True)) * gated
    np.testing.assert_allclose(to_numpy(attention(features)), expected, rtol=1e-5, atol=1e-6)


def test_attention__published_has_the_parameters_of_the_paper():
    assert block("published").count_params() == 2 * (32**2 + 32)


@pytest.mark.parametrize("form", FORMS)
def test_attention__every_weight_learns(form, features):
    check_every_weight_learns(block(form), features, np.ones_like(features))


@pytest.mark.parametrize("form", FORMS)
def test_attention__is_the_same_after_save_and_load(form, features, tmp_path):
    attention = block(form)
    randomise(attention)
    check_save_and_load(attention, features, tmp_path / "attention.keras")


def test_attention__none_adds_nothing():
    features = keras.Input((None, None, 32))
    assert global_attention(features, "none", "branch") is features
