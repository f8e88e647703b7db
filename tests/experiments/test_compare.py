"""Runs against each other: matched by path and content, and better only where that means something."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scoring import report_of

from diptych.cli import main, parse
from diptych.commands.experiments import Ablate, Curve
from diptych.errors import CheckpointError, ConfigError, DataError
from diptych.experiments.compare import compare, compare_runs, describe, to_json
from diptych.experiments.tested_run import read_tested
from diptych.settings.config import Config, DataConfig
from diptych.settings.presets import AUTO_RECIPES
from diptych.settings.sources import to_toml
from diptych.storage.atomic import write_json, write_table, write_text
from diptych.storage.run_dir import RunDir, write_classes

NAMES = ("cat", "dog")
THREE = ("ash", "birch", "cedar")


def make_run(root: Path, targets: np.ndarray, right: np.ndarray, names: tuple[str, ...] = NAMES, **columns: object) -> RunDir:
    """Write what `diptych evaluate` leaves of a run: surely right or wrong answers, on images named by their numbers."""
    run = RunDir(root)
    predicted = np.where(right, targets, (targets + 1) % len(names))
    write_text(run.config, to_toml(Config(data=DataConfig(data=Path("data"), group_column="module"))))
    write_json(run.environment, {"format_version": 1, "created": "2026-01-01T00:00:00+00:00"})
    write_classes(run, names)
    numbers = [str(number) for number in range(len(targets))]
    table = pd.DataFrame({"path": [f"{n}.png" for n in numbers], "sha256": [f"content {n}" for n in numbers], "target": targets})
    table = table.assign(predicted_target=predicted, **columns)
    shares = np.where(np.eye(len(names))[predicted] == 1, 0.9, 0.1 / (len(names) - 1))
    for place, name in enumerate(names):
        table[f"probability_{name}"] = shares[:, place]
    write_table(run.predictions, table)
    return run


@pytest.fixture
def targets() -> np.ndarray:
    return np.tile([0, 1], 50)


def right_but(count: int, images: int = 100, first: int = 0) -> np.ndarray:
    right = np.ones(images, bool)
    right[first : first + count] = False
    return right


def change(run: RunDir, table: pd.DataFrame) -> RunDir:
    write_table(run.predictions, table)
    return run


def test_compare__figures_and_the_test_are_those_of_the_images(tmp_path: Path, targets: np.ndarray) -> None:
    poor, good = make_run(tmp_path / "poor", targets, right_but(40)), make_run(tmp_path / "good", targets, right_but(10))
    comparison = compare([poor, good])
    (pair,) = comparison.pairs
    accuracy = pair.of("accuracy")
    assert (accuracy.first, accuracy.second, accuracy.verdict) == (pytest.approx(0.6), pytest.approx(0.9), "better")
    assert (pair.mcnemar.only_first, pair.mcnemar.only_second) == (0, 30)
    assert accuracy.p_value == pair.mcnemar.p_value == pytest.approx(2 / 2**30)
    assert "good is better than poor in accuracy." in describe(comparison)
    assert not comparison.worse


def test_compare_runs__worse_is_of_the_first_named(tmp_path: Path, targets: np.ndarray) -> None:
    poor, good = make_run(tmp_path / "poor", targets, right_but(40)), make_run(tmp_path / "good", targets, right_but(10))
    assert compare_runs(poor, good).worse
    assert not compare_runs(good, poor).worse
    assert "poor is worse than good in accuracy." in describe(compare_runs(poor, good))


def test_compare_runs__a_few_images_are_no_difference(tmp_path: Path, targets: np.ndarray) -> None:
    one, other = make_run(tmp_path / "one", targets, right_but(13)), make_run(tmp_path / "other", targets, right_but(10, first=3))
    comparison = compare_runs(one, other)
    # Three more wrong, and all of them of a few: p is 1/4.
    assert comparison.pairs[0].of("accuracy").p_value == pytest.approx(0.25)
    assert not comparison.worse
    assert "Not shown that other and one differ" in describe(comparison)


def test_compare__images_are_matched_whatever_their_order(tmp_path: Path, targets: np.ndarray) -> None:
    random = np.random.default_rng(0)
    first = make_run(tmp_path / "first", targets, random.random(100) < 0.8)
    second = make_run(tmp_path / "second", targets, random.random(100) < 0.7)
    straight = to_json(compare([first, second]))
    change(second, pd.read_csv(second.predictions).sample(frac=1, random_state=1))
    assert to_json(compare([first, second])) == straight


def test_compare__other_images_are_refused_with_the_number_of_shared_ones(tmp_path: Path, targets: np.ndarray) -> None:
    first, second = make_run(tmp_path / "first", targets, right_but(20)), make_run(tmp_path / "second", targets, right_but(10))
    table = pd.read_csv(second.predictions)
    table.loc[:4, "path"] = [f"other{number}.png" for number in range(5)]
    # The same name, another content.
    table.loc[5, "sha256"] = "changed"
    change(second, table[:-4])
    with pytest.raises(DataError, match=r"100 of .*first, 96 of .*second; 90 are shared.*--shared-only"):
        compare([first, second])
    comparison = compare([first, second], shared_only=True)
    assert (comparison.images, comparison.left_out) == (90, (10, 6))
    assert comparison.pairs[0].of("accuracy").first == pytest.approx(1 - 14 / 90)
    assert "10 test images of first" in describe(comparison)


def test_compare__without_a_shared_image_is_refused(tmp_path: Path, targets: np.ndarray) -> None:
    first, second = make_run(tmp_path / "first", targets, right_but(20)), make_run(tmp_path / "second", targets, right_but(10))
    table = pd.read_csv(second.predictions)
    change(second, table.assign(path="elsewhere/" + table["path"]))
    with pytest.raises(DataError, match=r"none is shared, but they know the same images: train with the same split \(--split "):
        compare([first, second], shared_only=True)
    other = table["sha256"].map(lambda digest: f"other {digest}")
    change(second, table.assign(path="elsewhere/" + table["path"], sha256=other))
    message = r"trained on different images, so that a comparison would be meaningless.*diptych evaluate .*first --data FOLDER"
    with pytest.raises(DataError, match=message):
        compare([first, second], shared_only=True)
    # The images that one was tested on are those that the other was trained on.
    write_table(first.split, pd.DataFrame({"path": ["a.png"], "sha256": other[:1], "split": "train"}))
    with pytest.raises(DataError, match="they know the same images"):
        compare([first, second])


def test_compare__labels_that_were_changed_are_refused(tmp_path: Path, targets: np.ndarray) -> None:
    first, second = make_run(tmp_path / "first", targets, right_but(20)), make_run(tmp_path / "second", targets, right_but(10))
    table = pd.read_csv(second.predictions)
    table.loc[[50, 51], "target"] = 1 - table.loc[[50, 51], "target"]
    change(second, table)
    with pytest.raises(DataError, match=r"2 shared test images have another class.*50\.png"):
        compare([first, second])
    assert compare([first, second], shared_only=True).images == 98


def test_compare__other_classes_are_refused(tmp_path: Path, targets: np.ndarray) -> None:
    first = make_run(tmp_path / "first", targets, right_but(20))
    second = make_run(tmp_path / "second", targets, right_but(10), THREE)
    with pytest.raises(DataError, match=r"cat, dog apart, .* ash, birch, cedar"):
        compare([first, second])


def test_compare__an_untested_run_is_named(tmp_path: Path, targets: np.ndarray) -> None:
    first, second = make_run(tmp_path / "first", targets, right_but(20)), make_run(tmp_path / "second", targets, right_but(10))
    second.predictions.unlink()
    with pytest.raises(CheckpointError, match=r"second has no test yet.*Run diptych evaluate"):
        compare([first, second])


@pytest.mark.parametrize(
    "damage",
    [
        "path,target\na.png,0\n",
        "",
        "path,target,predicted_target,probability_0,probability_1\na,0,7,0.5,0.5\n",
        "path,target,predicted_target,probability_0,probability_1\na,0,0,1.5,-0.5\n",
        "path,target,predicted_target,predicted_probability\na,0,0,0.5\n",
    ],
)
def test_read_tested__damaged_predictions_are_named(tmp_path: Path, targets: np.ndarray, damage: str) -> None:
    run = make_run(tmp_path / "run", targets, right_but(20))
    run.predictions.write_text(damage)
    with pytest.raises(CheckpointError, match=r"predictions\.csv is damaged"):
        read_tested(run)


@pytest.mark.parametrize("count", [1, 2])
def test_compare__needs_two_different_runs(tmp_path: Path, targets: np.ndarray, count: int) -> None:
    run = make_run(tmp_path / "run", targets, right_but(20))
    with pytest.raises(ConfigError, match="expected two or more, each once"):
        compare([run] * count)


def test_compare__groups_are_drawn_whole(tmp_path: Path, targets: np.ndarray) -> None:
    modules = [f"m{number // 10}" for number in range(100)]
    first = make_run(tmp_path / "first", targets, right_but(20), module=modules)
    second = make_run(tmp_path / "second", targets, right_but(0), module=modules)
    comparison = compare([first, second])
    assert comparison.groups == 10
    # Of ten groups two differ: a draw without both is one of (8/10)^10.
    assert comparison.pairs[0].of("accuracy").p_value == pytest.approx(2 * 0.8**10, abs=0.04)
    assert comparison.pairs[0].of("accuracy").verdict == "no difference shown"
    assert comparison.pairs[0].mcnemar.p_value < 1e-4
    assert "Only 10 groups" in describe(comparison)
    # Images without a group are groups of their own.
    table = pd.read_csv(first.predictions)
    table.loc[50:, "module"] = ""
    assert len(np.unique(read_tested(change(first, table)).groups)) == 5 + 50


def test_compare__several_classes_and_several_runs(tmp_path: Path) -> None:
    targets = np.tile([0, 1, 2], 40)
    runs = [make_run(tmp_path / name, targets, right_but(wrong, 120), THREE) for name, wrong in (("a", 60), ("b", 30), ("c", 30))]
    comparison = compare(runs)
    assert [(pair.first, pair.second) for pair in comparison.pairs] == [(0, 1), (0, 2), (1, 2)]
    assert [pair.of("accuracy").verdict for pair in comparison.pairs] == ["better", "better", "no difference shown"]
    assert comparison.pairs[0].of("accuracy").corrected == pytest.approx(3 * 2 / 2**30)
    assert comparison.pairs[0].of("loss").first == pytest.approx(-(np.log(0.9) + np.log(0.05)) / 2)
    assert "p is corrected for the 3 pairs" in describe(comparison)


def test_compare__folds_are_taken_together(tmp_path: Path, targets: np.ndarray) -> None:
    whole = make_run(tmp_path / "whole", targets, right_but(30))
    cross = RunDir(tmp_path / "cross")
    table = pd.read_csv(make_run(tmp_path / "other", targets, right_but(10)).predictions)
    write_text(cross.config, whole.config.read_text())
    write_json(cross.environment, json.loads(whole.environment.read_text()))
    write_table(cross.folds, pd.DataFrame({"path": table["path"], "fold": np.arange(100) % 2 + 1}))
    for fold in (1, 2):
        write_table(cross.root / "splits" / f"fold-{fold}.csv", table[["path"]])
        run = make_run(cross.root / f"fold-{fold}", targets, right_but(10))
        change(run, table[fold - 1 :: 2])
    comparison = compare([whole, cross])
    assert comparison.images == 100
    assert comparison.pairs[0].of("accuracy").second == pytest.approx(0.9)
    (cross.root / "fold-2" / "evaluation" / "predictions.csv").unlink()
    with pytest.raises(CheckpointError, match=r"fold-2 has no test yet.*evaluate .*cross first"):
        compare([whole, cross])


def test_command__prints_the_table_and_writes_json(
    tmp_path: Path, targets: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path / "runs" / "poor", targets, right_but(40))
    make_run(tmp_path / "runs" / "good", targets, right_but(10))
    output = tmp_path / "comparison.json"
    assert main(["compare", "poor", "good", "--runs", str(tmp_path / "runs"), "--output", str(output)]) == 0
    said = capsys.readouterr().out
    assert "good against poor" in said
    assert "on the same 100 test images" in said
    written = json.loads(output.read_text())
    assert written["format_version"] == 1
    assert [run["name"] for run in written["runs"]] == ["poor", "good"]
    accuracy = written["pairs"][0]["differences"]["accuracy"]
    assert accuracy["verdict"] == "better"
    assert accuracy["interval"][0] < accuracy["difference"] == pytest.approx(0.3)
    assert main(["compare", "poor", "--runs", str(tmp_path / "runs")]) == 2


def test_describe__says_where_runs_were_tested_in_different_ways(tmp_path: Path, targets: np.ndarray) -> None:
    runs = [make_run(tmp_path / name, targets, right_but(20)) for name in ("plain", "turned")]
    tested = report_of(targets, np.where(right_but(20), targets, 1 - targets))
    for run, views in zip(runs, (1, 8), strict=True):
        write_json(run.metrics, {**tested.to_json(), "test_size": 64, "views": views})
    said = describe(compare(runs, draws=50))
    assert "plain, 64 x 64 pixels, one view" in said
    assert "turned, 64 x 64 pixels, mean over 8 views" in said
    write_json(runs[1].metrics, {**tested.to_json(), "test_size": 64, "views": 1})
    assert "in its own way" not in describe(compare(runs, draws=50))


@pytest.mark.parametrize("verb", ["ablate", "learning-curve"])
def test_parse__takes_all_settings_of_a_training_and_the_folder_without_a_flag(verb: str, tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("[training]\nepochs = 9\nbatch_size = 4\n")
    command = parse([verb, "images", "--config", str(tmp_path / "settings.toml"), "--preset", "quick", "--batch-size", "5"])
    assert isinstance(command, Ablate | Curve)
    settings = command.given().resolve()
    assert (settings.training.epochs, settings.training.batch_size, settings.data.image_size) == (9, 5, 64)
    assert settings.data.data == Path("images")
    command = parse([verb, "images", "--recipe", "auto", "--epochs", "7"])
    assert isinstance(command, Ablate | Curve)
    given = command.given()
    assert given.recipe == "auto"
    for recipe in AUTO_RECIPES:
        settings = given.resolve(recipe)
        assert (settings.training.recipe, settings.training.epochs, settings.data.data) == (recipe, 7, Path("images"))
