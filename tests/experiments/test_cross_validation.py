"""Cross-validation through the command line: each image tested once, mean and spread over the folds."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import running

from diptych.cli import main
from diptych.errors import CheckpointError
from diptych.storage.run_dir import RunDir
from diptych.storage.runs import find_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cross(tmp_path_factory: pytest.TempPathFactory) -> running.CrossValidated:
    return running.cross_validated_once(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def run(cross: running.CrossValidated) -> RunDir:
    return cross.run


def test_folds__say_how_to_go_on(cross):
    assert "Next: diptych evaluate" in cross.trained


def test_folds__each_image_is_tested_in_one_and_trained_in_the_others(run):
    folds = pd.read_csv(run.folds).set_index("path")["fold"]
    splits = {number: pd.read_csv(run.root / f"fold-{number}" / "split.csv").set_index("path")["split"] for number in (1, 2)}
    for number, parts in splits.items():
        assert set(parts.index[parts == "test"]) == set(folds.index[folds == number])
        assert set(parts) == {"train", "validation", "test"}
    assert len(folds) == 2 * sum(running.PARTS.values())


def test_folds__classes_are_even(run):
    folds = pd.read_csv(run.folds)
    counts = pd.crosstab(folds["target"], folds["fold"])
    assert (counts.max(axis=1) - counts.min(axis=1)).max() <= 1


def test_evaluate__gives_mean_and_spread_of_the_folds(run, cross):
    each = [json.loads((run.root / f"fold-{number}" / "evaluation" / "metrics.json").read_text()) for number in (1, 2)]
    figures = json.loads(run.metrics.read_text())
    accuracies = [fold["test_accuracy"] for fold in each]
    assert figures["folds"] == ["fold-1", "fold-2"]
    assert figures["mean"]["test_accuracy"] == pytest.approx(np.mean(accuracies))
    assert figures["standard_deviation"]["test_accuracy"] == pytest.approx(np.std(accuracies, ddof=1))
    assert f"{figures['mean']['roc_auc']:.4f}" in cross.tested
    assert "written: runs/cross/evaluation/report.html, runs/cross/evaluation/metrics.json" in cross.tested
    assert figures["test_images"] == 2 * sum(running.PARTS.values())


def test_find_run__commands_for_one_run_name_a_fold(run):
    assert find_run(None, run.root.parent).root == run.root
    with pytest.raises(CheckpointError, match="fold-1"):
        find_run(None, run.root.parent, folds=False)
    assert find_run(Path("cross/fold-1"), run.root.parent, folds=False).root == run.root / "fold-1"


@pytest.mark.parametrize("arguments", [["--folds", "1"], ["--folds", "2", "--split", "data/0.csv"]])
def test_train__folds_that_make_no_sense_are_refused(tmp_path, arguments, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    running.make_colours(tmp_path / "data")
    assert main(["train", "--data", "data", *arguments, *running.SETTINGS]) == 2
    assert "--folds is" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
