"""The whole way of a user: train, evaluate, plot, predict, each in a process of its own, from another folder."""

import json
import re

import pandas as pd
import pytest
import running
from PIL import Image

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> running.Trained:
    return running.trained_once(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> running.Trained:
    return running.evaluated_once(tmp_path_factory.getbasetemp())


def test_flow__train_says_where_its_run_is(trained):
    assert trained.stderr == ""
    assert "Next: diptych evaluate" in trained.stdout
    assert trained.run.best.is_file()


def test_flow__evaluate_prints_and_stores_the_figures(evaluated):
    assert evaluated.stderr == ""
    figures = json.loads(evaluated.run.metrics.read_text(encoding="utf-8"))
    shown = re.search(r"test accuracy: +([\d.]+)%", evaluated.stdout)
    assert shown is not None
    assert float(shown[1]) == pytest.approx(100 * figures["test_accuracy"], abs=0.01)
    assert f"test loss:          {figures['test_loss']:.4f}" in evaluated.stdout


def test_flow__plot_draws_all_plots_and_names_them(evaluated):
    done = running.door("plot_results.py", folder=evaluated.folder)
    assert (done.returncode, done.stderr) == (0, "")
    named = [evaluated.folder / line for line in done.stdout.splitlines()]
    assert [path.name for path in named] == ["accuracy.png", "loss.png", "learning_rate.png", "confusion_matrix.png", "roc.png"]
    for path in named:
        with Image.open(path) as image:
            image.load()


def test_flow__predict_classifies_new_images(evaluated, tmp_path):
    files = [evaluated.data / "0" / "test1.png", evaluated.data / "1" / "test1.png"]
    done = running.module("predict", evaluated.run.root, *files, "--output", tmp_path / "out.csv", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    predicted = pd.read_csv(tmp_path / "out.csv", dtype={"problem": str}, keep_default_na=False)
    tested = pd.read_csv(evaluated.run.predictions).set_index("path")["probability_1"]
    expected = [tested["0/test1.png"], tested["1/test1.png"]]
    assert predicted["probability_1"].tolist() == pytest.approx(expected, abs=1e-5)
    assert all(str(file)[-20:] in done.stdout for file in files)
