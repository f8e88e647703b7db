"""The test of a run: its figures are those of its predictions, on the very images that were kept for it."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import running
from scoring import metrics_of, report_of

from diptych.data.pixels.decode import ImageSpec
from diptych.data.pixels.prepare import prepare
from diptych.errors import CheckpointError, ConfigError, DataError
from diptych.evaluation.evaluate import evaluate
from diptych.evaluation.report import Report, read_report
from diptych.evaluation.summary import describe
from diptych.inference.choosing import DecisionOptions
from diptych.inference.decision import read_decision
from diptych.inference.predict import predict_probabilities
from diptych.model.checkpoint import load_run_network
from diptych.storage.atomic import write_table
from diptych.storage.run_dir import write_classes


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
    network, config, _ = load_run_network(trained.run)
    spec = ImageSpec(config.data.image_size, config.data.resize)
    images, _ = prepare([trained.data / path for path in table["path"]], spec, None)
    probabilities = predict_probabilities(network, images, np.arange(len(images)))
    decision = read_decision(trained.run)
    calibrated = decision.calibrated(probabilities)
    expected = metrics_of(table["target"].to_numpy(), calibrated[:, 1], decision.threshold)
    assert written["test_images"] == 2 * running.PARTS["test"]
    assert written["confusion_matrix"] == expected["confusion_matrix"]
    for name in ("test_loss", "test_accuracy", "precision", "recall", "f1", "roc_auc", "test_accuracy_interval"):
        # Of a network that gives one answer to all, the precision is not defined.
        assert written[name] == (None if expected[name] is None else pytest.approx(expected[name], rel=1e-4, abs=1e-6))


@pytest.mark.slow
def test_evaluate__keeps_the_further_columns_and_the_order(trained):
    predictions = pd.read_csv(trained.run.predictions)
    split = pd.read_csv(trained.run.split)
    split = split[split["split"] == "test"].reset_index(drop=True)
    pd.testing.assert_frame_equal(predictions[split.columns], split)
    assert "kind" in split
    own = ["predicted_target", "predicted_class", "probability", "probability_0", "probability_1"]
    own += ["answered", "class_set", "outlier_score", "outlier"]
    assert list(predictions.columns[len(split.columns) :]) == own


@pytest.mark.slow
def test_evaluate__of_data_that_have_moved(trained, moved):
    before = json.loads(trained.run.metrics.read_text(encoding="utf-8"))
    figures = evaluate(trained.run, moved, maps=0).to_json()
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
    write_classes(run, ("0", "1"))
    write_table(run.split, pd.DataFrame({"path": ["a.png"], "target": [0], "split": ["test"], "sha256": ["0"]}))
    with pytest.raises(CheckpointError, match=r"best\.safetensors: no such checkpoint"):
        evaluate(run)


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        (DecisionOptions("yuden"), "threshold is 'yuden'"),
        (DecisionOptions(coverage=2.0), r"coverage is 2\.0"),
        (DecisionOptions(positive="cow"), "positive is 'cow'"),
    ],
)
def test_evaluate__of_a_bad_choice_is_refused_before_a_network_is_loaded(run, choices, expected):
    """There is none in this run."""
    write_classes(run, ("0", "1"))
    with pytest.raises(ConfigError, match=expected):
        evaluate(run, choices=choices)


def test_describe__shows_the_figures():
    targets, probabilities = np.array([0, 0, 1, 1, 1]), np.array([0.1, 0.7, 0.4, 0.8, 0.9], np.float32)
    text = describe(report_of(targets, probabilities))
    assert "60.00%" in text
    assert "0.8333" in text
    assert "class 0: 1 as 0, 1 as 1;  class 1: 1 as 0, 2 as 1" in text


def test_describe__names_the_classes_of_two():
    targets, probabilities = np.array([0, 0, 1, 1, 1]), np.array([0.1, 0.7, 0.4, 0.8, 0.9], np.float32)
    text = describe(report_of(targets, probabilities, ("cat", "dog")))
    assert "(class dog)" in text
    assert "class cat: 1 as cat, 1 as dog;  class dog: 1 as cat, 2 as dog" in text


def worst_last(classes: int, images: int) -> Report:
    """A report in which class K - 1 has the worst F1, and class 0 no test image."""
    targets = np.arange(images) % (classes - 1) + 1
    scores = 0.1 + np.eye(classes)[targets] * (1 - targets[:, None] / classes)
    scores[np.arange(images), (targets + np.arange(images) % targets) % classes] += 0.3
    names = [f"kind {number}" for number in range(classes)]
    return report_of(targets, scores, names)


def test_describe__has_a_line_for_each_of_few_classes():
    report = worst_last(4, 30)
    figures = report.to_json()
    summary, table = describe(report).split("\n\n")
    low, high = figures["intervals"]["recall"]
    between = f"(95 % interval {low:.2%} to {high:.2%})"
    assert f"recall:             {figures['recall']:.2%}  {between}  (mean over the classes)" in summary
    lines = table.splitlines()
    assert [line[:6].strip() for line in lines] == ["class", "kind 0", "kind 1", "kind 2", "kind 3"]
    assert lines[1].split("kind 0")[1].split(maxsplit=1) == ["0", "not tested"]
    for line, row in zip(lines[2:], figures["per_class"][1:], strict=True):
        precision = "not defined" if row["precision"] is None else f"{row['precision']:.2%}"
        shown = [row["test_images"], precision, *(f"{row[name]:.2%}" for name in ("recall", "f1")), f"{row['roc_auc']:.4f}"]
        assert line.split(row["class_name"])[1].split() == " ".join(map(str, shown)).split()


def test_describe__has_the_worst_of_many_classes():
    report = worst_last(100, 990)
    figures = report.to_json()
    lines = describe(report).split("\n\n")[1].splitlines()
    assert len(lines) == 1 + 15 + 1
    f1 = sorted(row["f1"] for row in figures["per_class"][1:])
    assert f1[0] < f1[-1]
    assert [line.split()[-2] for line in lines[1:-1]] == [f"{value:.2%}" for value in f1[:15]]
    assert "100 classes" in lines[-1]


def test_describe__of_a_long_class_name():
    names = ("a", "b", f"{'a' * 300} end")
    lines = describe(report_of(np.array([0, 1, 2]), np.eye(3), names)).splitlines()
    assert max(map(len, lines)) < 100
    assert "a end " in lines[-1]


def test_evaluate__of_three_classes_of_which_one_is_absent(of_three):
    figures = evaluate(of_three.run, maps=0).to_json()
    probabilities = keras.ops.convert_to_numpy(of_three.network(of_three.pixels))
    expected = metrics_of(of_three.targets, probabilities, 0.5, ("ash", "10 birch", "2 cedar"))
    assert figures["confusion_matrix"] == expected["confusion_matrix"]
    for name in ("test_loss", "test_accuracy", "precision", "recall", "f1"):
        assert figures[name] == pytest.approx(expected[name], rel=1e-4, abs=1e-6)
    assert read_report(of_three.run).to_json() == figures
    assert figures["per_class"][1]["test_images"] == 0
    predictions = pd.read_csv(of_three.run.predictions)
    assert list(predictions["target"]) == list(of_three.targets)
    columns = ["probability_ash", "probability_10 birch", "probability_2 cedar"]
    np.testing.assert_allclose(predictions[columns], probabilities, rtol=0, atol=1e-5)
    assert "stem" in predictions


def test_evaluate__finds_the_images_beside_a_table(of_three, tmp_path):
    moved = shutil.copytree(of_three.data, tmp_path / "moved")
    before = evaluate(of_three.run, maps=0).to_json()
    (moved / "images.csv").write_text("path,label\n")
    assert evaluate(of_three.run, moved / "images.csv", tmp_path / "cache", maps=0).to_json() == before
    assert (tmp_path / "cache").is_dir()


def test_describe__without_a_roc_auc():
    assert "not defined" in describe(report_of(np.array([1, 1]), np.array([0.4, 0.8])))
