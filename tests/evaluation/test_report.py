"""The test of a run: its figures are those of its predictions, on the very images that were kept for it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import running

from diptych.data.images import ImageSpec
from diptych.data.prepare import prepare
from diptych.errors import CheckpointError, DataError
from diptych.evaluation.metrics import compute_metrics
from diptych.evaluation.predictions import predict_probabilities
from diptych.evaluation.report import describe, evaluate
from diptych.training.checkpoint import load_run_network


@pytest.fixture
def moved(trained, tmp_path: Path) -> Path:
    """A copy of the data folder."""
    return shutil.copytree(trained.data, tmp_path / "moved")


def first_test_image(trained: running.Trained) -> str:
    split = pd.read_csv(trained.run.split)
    return split["path"][split["split"] == "test"].iloc[0]


@pytest.mark.slow
def test_evaluate__in_a_fresh_process_gives_the_figures_of_predicting_here(trained):
    written = json.loads(trained.run.metrics.read_text(encoding="utf-8"))
    table = pd.read_csv(trained.run.split)
    table = table[table["split"] == "test"]
    network, config = load_run_network(trained.run)
    spec = ImageSpec(config.data.image_size, config.data.resize)
    images = prepare([trained.data / path for path in table["path"]], spec)[0].images
    probabilities = predict_probabilities(network, images, np.arange(len(images)))
    expected = compute_metrics(table["target"].to_numpy(), probabilities, 0.5)
    assert written["test_images"] == 2 * running.PARTS["test"]
    assert written["confusion_matrix"] == expected["confusion_matrix"]
    for name in ("test_loss", "test_accuracy", "precision", "recall", "f1", "roc_auc", "test_accuracy_interval"):
        assert written[name] == pytest.approx(expected[name], rel=1e-4, abs=1e-6)


@pytest.mark.slow
def test_evaluate__keeps_the_further_columns_and_the_order(trained):
    predictions = pd.read_csv(trained.run.predictions)
    split = pd.read_csv(trained.run.split)
    split = split[split["split"] == "test"].reset_index(drop=True)
    pd.testing.assert_frame_equal(predictions[split.columns], split)
    assert "kind" in split
    assert list(predictions.columns[len(split.columns) :]) == ["predicted_target", "predicted_probability"]


@pytest.mark.slow
def test_evaluate__of_data_that_have_moved(trained, moved):
    before = json.loads(trained.run.metrics.read_text(encoding="utf-8"))
    figures = evaluate(trained.run, moved)
    assert figures["test_loss"] == pytest.approx(before["test_loss"], rel=1e-4, abs=1e-6)
    assert figures["confusion_matrix"] == before["confusion_matrix"]


@pytest.mark.slow
def test_evaluate__of_a_changed_file(trained, moved):
    path = first_test_image(trained)
    other = next(file for file in sorted((moved / path).parent.glob("test*.png")) if file != moved / path)
    shutil.copy(other, moved / path)
    before = trained.run.metrics.read_bytes()
    with pytest.raises(DataError, match=f"{Path(path).name} has changed"):
        evaluate(trained.run, moved)
    assert trained.run.metrics.read_bytes() == before


@pytest.mark.slow
def test_evaluate__of_a_missing_file(trained, moved):
    path = first_test_image(trained)
    (moved / path).unlink()
    with pytest.raises(DataError, match=f"{Path(path).name}.*--data"):
        evaluate(trained.run, moved)


def test_evaluate__of_a_run_without_a_checkpoint(run):
    with pytest.raises(CheckpointError, match=r"best\.safetensors: no such checkpoint"):
        evaluate(run)


def test_describe__shows_the_figures():
    targets, probabilities = np.array([0, 0, 1, 1, 1]), np.array([0.1, 0.7, 0.4, 0.8, 0.9], np.float32)
    text = describe(compute_metrics(targets, probabilities, 0.5))
    assert "60.00%" in text
    assert "0.8333" in text
    assert "target 0: 1 as 0, 1 as 1;  target 1: 1 as 0, 2 as 1" in text


def test_describe__without_a_roc_auc():
    assert "not defined" in describe(compute_metrics(np.array([1, 1]), np.array([0.4, 0.8], np.float32), 0.5))
