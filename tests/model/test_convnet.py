"""The light branch."""

import math

import keras
import numpy as np
import pytest
from contract import check_every_weight_learns, check_save_and_load, randomise

from diptych.model.convnet import convnet


@pytest.fixture(scope="module")
def branch() -> keras.Model:
    built = convnet(width=0.125)
    randomise(built)
    return built


def unit_pixels(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(3).uniform(0, 1, (4, height, width, 3)).astype(np.float32)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 64), (97, 100)])
def test_convnet__has_a_32nd_of_the_grid(branch, height, width):
    assert branch(unit_pixels(height, width)).shape[:3] == (4, math.ceil(height / 32), math.ceil(width / 32))


def test_convnet__of_a_fixed_size_refuses_another():
    fixed = convnet(width=0.125, image_size=64)
    assert fixed.output.shape[1:3] == (2, 2)
    with pytest.raises(ValueError, match="shape"):
        fixed(unit_pixels(96, 96))


def test_convnet__width_scales_the_channels(branch):
    assert convnet(width=0.25).output.shape[-1] == 2 * branch.output.shape[-1]


def test_convnet__every_weight_learns():
    fresh = convnet(width=0.125)
    pixels = unit_pixels(64, 64)
    check_every_weight_learns(fresh, pixels, np.ones(fresh(pixels).shape, np.float32))


def test_convnet__is_the_same_after_save_and_load(branch, tmp_path):
    check_save_and_load(branch, unit_pixels(64, 64), tmp_path / "convnet.keras")
