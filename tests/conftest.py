"""Fixtures that several test files share; the builders behind them are in making.py."""

import logging
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

# PyTorch's threads wait by turning in circles: beside other processes, two of them take four times as long as one. Say
# OMP_NUM_THREADS=4 to test with more.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings
from making import make_data

pytest_plugins = ["run_fixtures"]

# A busy machine is not a failure, and a run of the tests gives the same result twice.
settings.register_profile("diptych", deadline=None, derandomize=True)
settings.load_profile("diptych")


# The longest files, but for the first of them, which makes a run that many others wait for.
FIRST = ("test_trainer.py", "test_ablation.py", "test_stopping.py", "test_tune.py", "test_backends.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files of whole runs: of several processes, none shall be left alone with them at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    places = {name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: (places.get(item.path.name, len(FIRST)), item.path not in slow))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line how many tests were skipped, and what would run them: each reason is a sentence on "these tests"."""
    reports = terminalreporter.stats.get("skipped", [])
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in reports)
    if reasons:
        terminalreporter.write_line(
            f"{len(reports)} skipped: " + "; ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        )


@pytest.fixture(autouse=True, scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home folder of the tests' own, for what is kept between runs lies in it."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        # JAX compiles each program once for all processes, which takes longer than most of the trainings.
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(folder / "jax"))
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
        yield folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A sound data folder: eight images of 32 x 32 pixels in each of two classes."""
    return make_data(tmp_path / "data")


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    """A command that is run in the process of the tests shows its messages from then on; here to its end alone."""
    log = logging.getLogger("diptych")
    before = log.level, log.propagate, list(log.handlers)
    yield
    log.setLevel(before[0])
    log.propagate, log.handlers = before[1:]
