"""Fixtures that several test files share; the builders behind them are in making.py."""

from pathlib import Path

import pytest
from hypothesis import settings
from making import make_data

# A busy machine is not a failure, and a run of the tests gives the same result twice.
settings.register_profile("diptych", deadline=None, derandomize=True)
settings.load_profile("diptych")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A sound data folder: eight images of 32 x 32 pixels in each of two classes."""
    return make_data(tmp_path / "data")
