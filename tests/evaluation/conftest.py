"""Runs that several tests of the evaluation look at."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import running

from diptych.config import Config
from diptych.evaluation.metrics import compute_metrics
from diptych.presets import to_toml
from diptych.storage import RunDir, write_json, write_table, write_text


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> running.Trained:
    """A run that was trained and tested through the doors."""
    running.evaluated_once(tmp_path_factory.getbasetemp())
    return running.trained_once(tmp_path_factory.getbasetemp())


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """The tables of a run of five epochs, written by hand; no network is in it."""
    run = RunDir(tmp_path / "runs" / "by-hand")
    write_text(run.config, to_toml(Config()))
    write_json(run.environment, {"format_version": 1, "created": "2026-01-01T00:00:00+00:00"})
    history = pd.DataFrame(
        {
            "epoch": [1, 2, 3, 4, 5],
            "loss": [0.9, 0.6, 0.5, 0.4, 0.3],
            "accuracy": [0.5, 0.6, 0.7, 0.8, 0.9],
            "val_loss": [0.8, 0.7, 0.5, 0.5, 0.6],
            "val_accuracy": [0.5, 0.6, 0.8, 0.8, 0.7],
            "learning_rate": [1e-3, 1e-3, 1e-3, 5e-4, 5e-4],
            "seconds": [3.0, 2.0, 2.0, 2.0, 2.0],
            "images_per_second": [20.0, 30.0, 30.0, 30.0, 30.0],
        }
    )
    write_table(run.history, history)
    return run


@pytest.fixture
def tested(run: RunDir) -> RunDir:
    """The same with test figures and predictions."""
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 2, 80)
    probabilities = np.clip(0.5 * targets + generator.uniform(0, 0.6, 80), 0, 1).astype(np.float32)
    write_json(run.metrics, compute_metrics(targets, probabilities, 0.5))
    write_table(run.predictions, pd.DataFrame({"target": targets, "predicted_probability": probabilities}))
    return run
