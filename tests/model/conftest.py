"""Networks that several tests of the model look at; none of these tests changes them."""

import keras
import numpy as np
import pytest
from contract import randomise
from numpy.typing import NDArray

from diptych.model.network import build_network
from diptych.settings.config import ModelConfig

# With momentum 0 one pass in training form sets the statistics of batch normalisation to those of its images.
TINY = ModelConfig(weights="none", width=0.0625, dense_units=16, batch_norm_momentum=0.0)


@pytest.fixture(autouse=True)
def _seed() -> None:
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="session")
def tiny() -> ModelConfig:
    return TINY


@pytest.fixture(scope="session")
def network(images: NDArray[np.uint8]) -> keras.Model:
    """The whole network, tiny, for images of any size, with random weights."""
    built = build_network(TINY)
    randomise(built)
    built(images, training=True)
    return built


@pytest.fixture(scope="session")
def other() -> keras.Model:
    """A network of the same structure, for loading into."""
    return build_network(TINY)


@pytest.fixture(scope="session")
def images() -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
