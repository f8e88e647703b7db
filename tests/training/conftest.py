"""A network and the runs that several tests of the training look at."""

import keras
import numpy as np
import pytest
import running
from contract import randomise
from numpy.typing import NDArray

from diptych.model.network import build_network
from diptych.settings.config import ModelConfig

TINY = ModelConfig(weights="none", width=0.0625, dense_units=16)


@pytest.fixture(autouse=True)
def _seed() -> None:
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="session")
def tiny() -> ModelConfig:
    return TINY


@pytest.fixture(scope="session")
def network() -> keras.Model:
    """A tiny network with random weights, not to be changed."""
    built = build_network(TINY)
    randomise(built)
    return built


@pytest.fixture(scope="session")
def images() -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> running.Interrupted:
    return running.interrupted_once(tmp_path_factory.getbasetemp())
