"""The whole way of a user: train, evaluate, plot, predict, each in a process of its own, from another folder."""

import json
import re

import pandas as pd
import pytest
import running
from PIL import Image

pytestmark = pytest.mark.slow


def test_flow__train_says_where_its_run_is(trained_both):
    assert trained_both.stderr == ""
    assert "Next: diptych evaluate" in trained_both.stdout
    assert trained_both.run.best.is_file()


def test_flow__evaluate_prints_and_stores_the_figures(of_both):
    assert of_both.stderr == ""
    figures = json.loads(of_both.run.metrics.read_text(encoding="utf-8"))
    shown = re.search(r"test accuracy: +([\d.]+)%", of_both.stdout)
    assert shown is not None
    assert float(shown[1]) == pytest.approx(100 * figures["test_accuracy"], abs=0.01)
    assert f"test loss:          {figures['test_loss']:.4f}" in of_both.stdout


def test_flow__plot_draws_all_plots_and_names_them(of_both):
    done = running.door("plot_results.py", folder=of_both.folder)
    assert (done.returncode, done.stderr) == (0, "")
    named = [of_both.folder / line for line in done.stdout.splitlines()]
    assert [path.name for path in named] == ["accuracy.png", "loss.png", "learning_rate.png", "confusion_matrix.png", "roc.png"]
    for path in named:
        with Image.open(path) as image:
            image.load()


def test_flow__predict_classifies_new_images(of_both, tmp_path):
    files = [of_both.data / "0" / "test1.png", of_both.data / "1" / "test1.png"]
    done = running.module("predict", of_both.run.root, *files, "--output", tmp_path / "out.csv", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    predicted = pd.read_csv(tmp_path / "out.csv", dtype={"problem": str}, keep_default_na=False)
    tested = pd.read_csv(of_both.run.predictions).set_index("path")["probability_1"]
    expected = [tested["0/test1.png"], tested["1/test1.png"]]
    assert predicted["probability_1"].tolist() == pytest.approx(expected, abs=1e-5)
    assert all(str(file)[-20:] in done.stdout for file in files)
