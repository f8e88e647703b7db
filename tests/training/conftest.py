"""A network and the runs that several tests of the training look at."""

from collections.abc import Iterator

import keras
import numpy as np
import pytest
import running
from contract import randomise
from numpy.typing import NDArray

from diptych.config import ModelConfig
from diptych.model.network import build_network

TINY = ModelConfig(weights="none", width=0.0625, dense_units=16)


@pytest.fixture(autouse=True)
def _seed() -> None:
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="module")
def quickest_backend() -> Iterator[None]:
    """Processes that are started here load the backend that is the quickest to start, for tests that are the same on each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", running.QUICKEST)
        yield


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
def other() -> keras.Model:
    """A network of the same structure, for loading into."""
    return build_network(TINY)


@pytest.fixture(scope="session")
def images() -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> running.Trained:
    return running.trained_once(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> running.Interrupted:
    return running.interrupted_once(tmp_path_factory.getbasetemp())
