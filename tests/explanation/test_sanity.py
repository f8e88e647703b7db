"""The check of the maps as a whole: weights that are shuffled and come back, and what is said of maps that are known."""

import json

import keras
import numpy as np
import pytest
from contract import to_numpy
from hand_network import hand_network

from diptych.errors import CheckpointError
from diptych.evaluation.report import as_json, from_json
from diptych.explanation.map_check import AreaGain, MapsCheck
from diptych.explanation.saliency import class_predictor
from diptych.explanation.sanity import compare_areas, randomised_weights, sanity_of_maps
from diptych.settings.config import Config


def values(network: keras.Model) -> list[np.ndarray]:
    return [np.array(to_numpy(variable)) for variable in network.variables]


@pytest.mark.slow
def test_randomised_weights__are_the_old_ones_in_another_order_and_come_back(of_three):
    network, before = of_three.network, values(of_three.network)
    trained = {id(variable) for variable in network.trainable_variables}
    with randomised_weights(network, of_three.pixels, seed=1):
        inside = values(network)
    for variable, old, new in zip(network.variables, before, inside, strict=True):
        if id(variable) in trained:
            np.testing.assert_array_equal(np.sort(new.ravel()), np.sort(old.ravel()))
            # Fresh scales and offsets would be all alike; these have been randomised by the fixture.
            assert old.size < 20 or not np.array_equal(new, old), variable.path
    assert [one.tobytes() for one in before] == [one.tobytes() for one in values(network)]


@pytest.mark.slow
def test_randomised_weights__come_back_after_an_error_too(of_three):
    before = values(of_three.network)
    with pytest.raises(CheckpointError), randomised_weights(of_three.network, of_three.pixels, seed=1):
        raise CheckpointError("the network predicts NaN")
    assert [one.tobytes() for one in before] == [one.tobytes() for one in values(of_three.network)]


@pytest.mark.slow
def test_randomised_weights__have_the_statistics_of_their_own_features(of_three):
    """Each channel behind a batch normalisation has the mean and the spread that its weights say."""
    network, name = of_three.network, "stage1_down"
    branch = network.get_layer("convnet")
    normalised = keras.Model(branch.input, branch.get_layer(f"{name}_bn").output)
    with randomised_weights(network, of_three.pixels, seed=1):
        found = to_numpy(normalised(of_three.pixels / np.float32(255)))
        gamma, beta = (to_numpy(variable) for variable in branch.get_layer(f"{name}_bn").trainable_variables)
    np.testing.assert_allclose(found.mean(axis=(0, 1, 2)), beta, atol=0.02)
    np.testing.assert_allclose(found.std(axis=(0, 1, 2)), np.abs(gamma), rtol=0.05)


@pytest.mark.slow
def test_randomised_weights__depend_on_seed_and_number(of_three):
    found = []
    for seed, number in ((1, 0), (1, 0), (2, 0), (1, 1)):
        with randomised_weights(of_three.network, of_three.pixels, seed, number):
            found.append(values(of_three.network)[0].tobytes())
    assert found[0] == found[1]
    assert len(set(found)) == 3


@pytest.mark.slow
def test_sanity_of_maps__says_what_is_known_of_a_network_made_by_hand():
    """Its attention has no weights; its answer is the mean red, which Grad-CAM of the first branch and occlusion see."""
    random = np.random.default_rng(0)
    images = random.integers(0, 60, (5, 32, 32, 3), np.uint8)
    for image in images:
        row, column = random.integers(0, 24, 2)
        image[row : row + 8, column : column + 8, 0] += 190
    network = hand_network(gated=True)
    found = sanity_of_maps(network, Config(), images, progress=False)
    assert from_json(MapsCheck, json.loads(json.dumps(as_json(found), allow_nan=False))) == found
    rows = {row.name: row for row in found.maps}
    assert found.images == 5
    assert list(rows) == ["grad_cam_resnet50", "grad_cam_convnet", "attention_resnet50", "occlusion"]
    assert rows["occlusion"].grid == (12, 12)
    gate = rows["attention_resnet50"]
    assert gate.randomisation.verdict == "does not change with the weights: do not trust it"
    assert gate.verdict.startswith("does not change with the weights: do not trust it; deletion ")
    for row in found.maps:
        for gain, sign in ((row.deletion, -1), (row.insertion, 1)):
            assert gain.gain == pytest.approx(sign * (gain.area - gain.chance), abs=1e-6)
            assert gain.interval[0] <= gain.gain <= gain.interval[1]
    assert set(found.cut_off) == {"resnet50", "convnet"}


@pytest.mark.slow
def test_sanity_of_maps__asks_for_so_many_images_only(of_three):
    before = to_numpy(of_three.network(of_three.pixels))
    found = sanity_of_maps(of_three.network, Config(), of_three.pixels, limit=3, progress=False)
    assert found.images == 3
    assert [row.name for row in found.maps] == ["grad_cam_convnet", "attention_convnet", "occlusion"]
    assert found.cut_off == {}
    np.testing.assert_array_equal(to_numpy(of_three.network(of_three.pixels)), before)


class Score:
    def __init__(self, deletion: float, insertion: float) -> None:
        self.deletion_area, self.insertion_area, self.chance_deletion, self.chance_insertion = deletion, insertion, 0.5, 0.5


def test_compare_areas__has_the_interval_of_student():
    from scipy.stats import ttest_1samp

    gains = [0.1, 0.2, 0.4, -0.1]
    deletion, insertion = compare_areas([Score(0.5 - gain, 0.5) for gain in gains])
    expected = ttest_1samp(gains, 0).confidence_interval(0.95)
    assert deletion.interval == pytest.approx([expected.low, expected.high])
    assert deletion.gain == pytest.approx(0.15)
    assert insertion == AreaGain(0.5, 0.5, 0.0, [0.0, 0.0])


def test_class_predictor__of_three_classes(of_three):
    expected = to_numpy(of_three.network(of_three.pixels))
    found = class_predictor(of_three.network, 2)(of_three.pixels)
    np.testing.assert_allclose(found, expected[:, 2], atol=1e-5)
