"""Looking changes nothing: what `evaluate` keeps in the run, and when; the positive class; external test sets."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from answering import NAMES, PARTS, SIZE, make_run, photograph
from making import fingerprint
from PIL import Image
from scoring import metrics_of, of_two

from diptych.cli import main
from diptych.errors import ConfigError, DataError
from diptych.evaluation.evaluate import evaluate
from diptych.evaluation.judge import JudgeOptions, Predictions, judge
from diptych.evaluation.summary import describe
from diptych.inference.choosing import DecisionOptions, choose_decision
from diptych.inference.decision import Decision, read_decision, write_decision
from diptych.inference.outliers import Outliers
from diptych.inference.predict import predict
from diptych.settings.config import AugmentConfig, Config
from diptych.settings.sources import read_toml, to_toml
from diptych.storage.atomic import write_json, write_text
from diptych.storage.run_dir import RunDir


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    run = make_run(tmp_path_factory.mktemp("keeping"))
    config = read_toml(run.config, Config())
    write_text(run.config, to_toml(dataclasses.replace(config, augment=AugmentConfig(flip_horizontal=True))))
    evaluate(run, maps=0)
    return run


@pytest.fixture
def run(original: RunDir, tmp_path: Path) -> RunDir:
    """A copy of a run that was tested once, without flags."""
    return RunDir(shutil.copytree(original.root, tmp_path / "runs" / "NAME"))


def obeyed(run: RunDir) -> tuple[bytes, bytes]:
    return run.decision.read_bytes(), run.outliers.read_bytes()


def look(run: RunDir, *flags: str) -> int:
    return main(["evaluate", str(run.root), "--maps", "0", *flags])


@pytest.mark.parametrize(
    "flags",
    [
        ["--tta"],
        ["--test-size", "48"],
        ["--threshold", "0.9"],
        ["--coverage", "0.5"],
        ["--abstain", "0.9"],
        ["--positive", "broken"],
    ],
)
def test_evaluate__a_look_changes_nothing_that_predict_obeys(
    run: RunDir, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = obeyed(run)
    assert look(run, *flags) == 0
    assert obeyed(run) == before
    said = capsys.readouterr().out
    assert "Only looked at: predict answers as before: threshold 0.5 (0.5)" in said
    assert "--keep" in said
    assert json.loads(run.metrics.read_text("utf-8"))["kept"] is False
    assert look(run, *flags, "--keep") == 0
    assert obeyed(run) != before
    assert "Only looked at" not in capsys.readouterr().out
    assert json.loads(run.metrics.read_text("utf-8"))["kept"] is True
    # What is kept is what the next test goes by.
    decision = read_decision(run)
    same_views = [flag for flag in flags if flag in ("--tta", "--test-size", "48")]
    kept = obeyed(run)
    assert look(run, *same_views) == 0
    assert obeyed(run) == kept
    assert read_decision(run) == decision


def test_evaluate__says_what_it_does_all_the_time(run: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    run.decision.unlink()
    run.outliers.unlink()
    assert main(["evaluate", str(run.root), "--maps", "1"]) == 0
    said = capsys.readouterr().out
    steps = [
        f"loading the network of {run.root}",
        *(f"answering {PARTS[part]} {name} images" for part, name in (("validation", "validation"), ("train", "training"))),
        f"answering {PARTS['test']} test images",
        "metrics of 10 images",
        "maps of 1 image",
        "test accuracy",
    ]
    places = [said.find(step) for step in steps]
    assert min(places) >= 0, said
    assert places == sorted(places)


def test_evaluate__the_first_test_is_kept_but_not_one_of_other_views(run: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    run.decision.unlink()
    run.outliers.unlink()
    look(run, "--tta")
    assert not run.decision.exists()
    assert not run.outliers.exists()
    assert "predict answers with threshold 0.5 and without calibration" in capsys.readouterr().out
    look(run, "--threshold", "0.3")
    decision = read_decision(run)
    assert decision is not None
    assert (decision.threshold, decision.test_size, decision.views) == (0.3, SIZE, 1)
    assert run.outliers.exists()


def test_evaluate__chooses_anew_for_other_weights_by_the_same_rules(run: RunDir) -> None:
    """The training went on: there is nothing that predict could obey."""
    decision = read_decision(run)
    assert decision is not None
    write_decision(run, dataclasses.replace(decision, weights="0" * 64, rule="youden"))
    evaluate(run, maps=0)
    assert read_decision(run) != decision
    found = read_decision(run)
    assert found is not None
    assert (found.weights, found.rule) == (decision.weights, "youden")


def test_evaluate__of_a_run_that_cannot_be_written_is_refused_before_computing(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As root, no permission is missing; so the answer of a read-only disk is made up."""
    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    run.best.unlink()  # Were it looked at, that would be the error.
    assert look(run) == 2
    said = capsys.readouterr().err
    assert f"{run.root} cannot be written: Read-only file system" in said
    assert "copy the run" in said


def refuse(**_: object) -> None:
    raise OSError(30, "Read-only file system")


def test_groups__reach_dont_know_sets_and_outliers() -> None:
    """Images of a group are all alike, so that twenty groups of ten are as sure as twenty images and not as two hundred."""
    random = np.random.default_rng(3)
    kinds = np.repeat(np.arange(20), 10)
    targets, ones = kinds % 2, np.clip(0.5 * (kinds % 2) + random.uniform(0, 0.5, 20)[kinds], 0.01, 0.99).astype(np.float32)
    decision = dataclasses.replace(Decision(), abstain=(0.4, 0.6), abstain_rule="0.4,0.6", set_limit=0.3)
    outliers = Outliers(np.zeros((9, 2), np.float32), 1, 0.5, "", SIZE, 80)
    plain = Predictions(NAMES, targets, of_two(ones), outlier_scores=random.uniform(0, 1, 20)[kinds])
    options = JudgeOptions(decision, outliers=outliers)
    alone, grouped = (judge(dataclasses.replace(plain, groups=groups), options).to_json() for groups in (None, kinds))
    assert (alone["data"]["grouped"], grouped["data"]["grouped"]) == (False, True)
    for part, name in (("answers", "coverage"), ("answers", "accuracy"), ("class_sets", "coverage"), ("outliers", "share")):
        assert alone[part][name] == grouped[part][name]
        (low, high), (lower, higher) = alone[part][f"{name}_interval"], grouped[part][f"{name}_interval"]
        assert higher - lower > 2 * (high - low), (part, name)


def test_positive__figures_are_those_of_the_classes_the_other_way_round() -> None:
    random = np.random.default_rng(0)
    targets = random.integers(0, 2, 120)
    ones = np.clip(0.35 * targets + random.uniform(0, 0.65, 120), 0.01, 0.99).astype(np.float32)
    kinds = np.array([f"k{number % 3}" for number in range(120)])
    decision = choose_decision(targets, of_two(ones), "recall:0.95", "error:0.1", positive=0)
    paths = tuple(f"{number}.png" for number in range(120))
    predictions = Predictions(NAMES, targets, of_two(ones), paths, columns={"kind": kinds})
    report = judge(predictions, JudgeOptions(decision, ("kind",)))
    found = report.to_json()
    calibrated = decision.calibrated(of_two(ones))
    expected = metrics_of(1 - targets, calibrated[:, 0], decision.threshold, NAMES[::-1])
    for name in ("recall", "precision", "specificity", "f1", "average_precision", "threshold", "test_accuracy", "roc_auc"):
        assert found[name] == pytest.approx(expected[name])
    assert found["recall"] >= 0.95
    assert (found["positive"], found["class_names"]) == ("broken", list(NAMES))
    # Rows and columns keep the order of the classes.
    predicted = decision.predicted(calibrated)
    matrix = [[int(((targets == true) & (predicted == said)).sum()) for said in (0, 1)] for true in (0, 1)]
    assert found["confusion_matrix"] == matrix
    assert [curve["class"] for curve in found["curves"]["roc"]] == [0]
    place = found["curves"]["by_threshold"]["threshold"].index(0.5)
    assert found["curves"]["by_threshold"]["true_positive"][place] == ((calibrated[:, 0] >= 0.5) & (targets == 0)).sum()
    rows = np.sum([row["confusion_matrix"] for row in found["subgroups"]["kind"]], axis=0)
    assert rows.tolist() == matrix
    assert found["answers"]["answered"] == decision.answered(calibrated).sum()
    listed = {image["path"]: image["class"] for image in found["mistakes"]}
    assert listed == {path: NAMES[targets[int(path[:-4])]] for path in listed} != {}
    said = describe(report)
    assert "(class broken)" in said
    assert "(class whole)" not in said


def test_positive__recall_is_about_the_class_on_the_command_line_and_predict_obeys(
    run: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    assert look(run, "--positive", "broken", "--threshold", "recall:0.99", "--keep") == 0
    figures = json.loads(run.metrics.read_text("utf-8"))
    decision = read_decision(run)
    assert decision is not None
    assert (decision.positive, figures["positive"]) == (0, "broken")
    assert "(class broken)" in capsys.readouterr().out
    validation = pd.read_csv(run.split).query("split == 'validation' and target == 0")
    data = read_toml(run.config, Config()).data.data
    said = predict(run, [data / path for path in validation["path"]])
    assert (said["predicted_class"] == "broken").all()
    assert (said["probability_broken"] >= decision.threshold).all()
    tested = pd.read_csv(run.predictions)
    assert ((tested["predicted_class"] == "broken") == (tested["probability_broken"] >= decision.threshold)).all()
    report = run.report.read_text("utf-8")
    assert "Predict broken from this probability on" in report


def test_positive__a_probability_of_the_other_class_is_not_taken_over(run: RunDir) -> None:
    evaluate(run, choices=DecisionOptions(threshold="0.3", keep=True), maps=0)
    before = obeyed(run)
    with pytest.raises(ConfigError, match=r"threshold 0\.3 .* probability of class whole; with positive broken.*threshold"):
        evaluate(run, choices=DecisionOptions(positive="broken", keep=True), maps=0)
    assert obeyed(run) == before
    evaluate(run, choices=DecisionOptions(positive="broken", threshold="0.7", keep=True), maps=0)


def test_positive__of_an_unknown_class(run: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    assert look(run, "--positive", "brokn") == 2
    assert "positive is 'brokn'; expected broken or whole" in capsys.readouterr().err


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Another labelled data set, whose folders and files are called as those of the training."""
    for target, name in enumerate(NAMES):
        (tmp_path / "later" / name).mkdir(parents=True)
        for number in range(4 + target):
            (tmp_path / "later" / name / f"test{number}.png").write_bytes(photograph(target, 500 + number))
    return tmp_path / "later"


def test_external__has_a_report_of_its_own_and_changes_nothing_else(
    run: RunDir, other: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = fingerprint(run.root)
    assert look(run, "--data", str(other)) == 0
    folder = run.root / "evaluation" / "external-later"
    assert {name: digest for name, digest in fingerprint(run.root).items() if "external-" not in name} == before
    figures = json.loads((folder / "metrics.json").read_text("utf-8"))
    assert (figures["test_images"], figures["external"]["unreadable"]) == (9, 0)
    assert figures["external"]["data"] == str(other.resolve())
    assert np.sum(figures["confusion_matrix"], axis=1).tolist() == [4, 5]
    said = predict(run, other)
    tested = pd.read_csv(folder / "predictions.csv").sort_values("path")
    np.testing.assert_allclose(tested["probability_whole"], said["probability_whole"], rtol=0, atol=1e-5)
    assert "An external test on later" in (folder / "report.html").read_text("utf-8")
    assert "external test" in capsys.readouterr().out
    # The same again, and another data set of the same name.
    assert look(run, "--data", str(other)) == 0
    again = shutil.copytree(other, other.parent / "elsewhere" / "later")
    assert look(run, "--data", str(again)) == 0
    assert sorted(path.name for path in folder.parent.glob("external-*")) == ["external-later", "external-later-2"]
    assert look(run, "--data", str(other), "--output", str(other.parent / "mine")) == 0
    assert (other.parent / "mine" / "report.html").is_file()


def test_external__is_read_as_the_run_was_and_dark_greys_are_said(
    run: RunDir, other: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two sites with the classes in each, as the training was told by --class-folder lower; one image has 12 bits."""
    config = read_toml(run.config, Config())
    write_text(run.config, to_toml(dataclasses.replace(config, data=dataclasses.replace(config.data, class_folder="lower"))))
    sites = other.parent / "sites"
    for site in ("north", "south"):
        shutil.copytree(other, sites / site)
    greys = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    Image.fromarray(greys).save(sites / "north" / "whole" / "x-ray.png")
    assert look(run, "--data", str(sites)) == 0
    said = capsys.readouterr().out
    assert "1 of 1 16-bit images use less than an eighth of the range" in said
    assert "The run was trained with grey_range = declared." in said
    figures = json.loads((run.root / "evaluation" / "external-sites" / "metrics.json").read_text("utf-8"))
    assert np.sum(figures["confusion_matrix"], axis=1).tolist() == [8, 11]


def test_external__classes_are_matched_by_their_names(run: RunDir, other: Path) -> None:
    """The classes of the data set are numbered otherwise: a third one stands before, or one is missing."""
    (other / "broken").rename(other / "aardvark")
    with pytest.raises(DataError, match=r"classes aardvark, whole.*tells broken, whole apart; it does not know aardvark"):
        evaluate(run, other, maps=0)
    table = pd.DataFrame({"path": sorted(path.relative_to(other).as_posix() for path in other.rglob("*.png"))})
    table = table.assign(label=["broken" if path.startswith("aardvark") else "whole" for path in table["path"]])
    table.to_csv(other / "labels.csv", index=False)
    figures = evaluate(run, other, maps=0).to_json()
    assert np.sum(figures["confusion_matrix"], axis=1).tolist() == [4, 5]


def test_external__with_images_of_the_training_is_refused_by_name(run: RunDir, other: Path) -> None:
    data = read_toml(run.config, Config()).data.data
    shutil.copy(data / "broken" / "train0.png", other / "broken" / "holiday.png")
    with pytest.raises(DataError, match=r"1 of the 10 images .*broken/holiday\.png is broken/train0\.png \(train\).*take these"):
        evaluate(run, other, maps=0)
    assert not list(run.report.parent.glob("external-*"))


def test_external__unreadable_images_are_named_and_the_others_tested(
    run: RunDir, other: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (other / "whole" / "bad.png").write_text("not an image")
    assert look(run, "--data", str(other)) == 1
    assert re.search(r"not tested: whole/bad\.png: .*not an image", capsys.readouterr().out)
    figures = json.loads((run.root / "evaluation" / "external-later" / "metrics.json").read_text("utf-8"))
    assert (figures["test_images"], figures["external"]["unreadable"]) == (9, 1)


def test_external__own_data_that_moved_and_lost_images_are_an_error_not_another_set(run: RunDir, tmp_path: Path) -> None:
    moved = shutil.copytree(read_toml(run.config, Config()).data.data, tmp_path / "moved")
    expected = json.loads(run.metrics.read_text("utf-8"))["confusion_matrix"]
    assert evaluate(run, moved, maps=0).to_json()["confusion_matrix"] == expected
    for number in range(PARTS["test"] - 1):
        (moved / NAMES[number % 2] / f"test{number}.png").unlink()
    with pytest.raises(DataError, match=r"test0\.png: .*bring it back"):
        evaluate(run, moved, maps=0)


@pytest.mark.parametrize("flag", [["--threshold", "0.3"], ["--positive", "broken"], ["--keep"], ["--against", "NAME2"]])
def test_external__chooses_nothing(run: RunDir, other: Path, flag: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(run.root, run.root.parent / "NAME2")
    write_json(run.environment, {"format_version": 1, "created": "2026-01-01T00:00:00+00:00"})
    assert look(run, "--runs", str(run.root.parent), "--data", str(other), *flag) == 2
    assert f"{flag[0]} does not go with an external test" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_external__of_no_labelled_data_says_both_ways(
    run: RunDir, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert look(run, "--data", str(tmp_path / name)) == 2
    said = capsys.readouterr().err
    assert "no such folder or table" in said if name == "nowhere" else "none of the test images" in said


def test_evaluate__of_a_cross_validation_before_its_first_fold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cross = RunDir(tmp_path / "cross")
    write_text(cross.config, to_toml(Config()))
    write_json(cross.environment, {"format_version": 1, "created": "2026-01-01T00:00:00+00:00"})
    write_text(cross.folds, "fold\n1\n2\n")
    for number in (1, 2):
        write_text(cross.root / "splits" / f"fold-{number}.csv", "path\na.png\n")
    assert look(cross) == 2
    said = capsys.readouterr().err
    assert f"{cross.root / 'fold-1'} is not trained to its end" in said
    assert f"diptych resume {cross.root}" in said
    for number in (1, 2):
        write_text(cross.root / f"fold-{number}" / "best.keras", "")
    assert look(cross, "--output", str(tmp_path / "mine")) == 2
    assert "--output is for an external test of one run" in capsys.readouterr().err


def test_decision__of_the_positive_class_is_that_of_the_classes_turned() -> None:
    probabilities = np.random.default_rng(1).dirichlet([1, 1], 60)
    targets = np.random.default_rng(2).integers(0, 2, 60)
    zero = choose_decision(targets, probabilities, "cost:1,3", "error:0.2", 0.9, positive=0)
    one = choose_decision(1 - targets, probabilities[:, ::-1], "cost:1,3", "error:0.2", 0.9)
    assert zero == dataclasses.replace(one, positive=0)
    np.testing.assert_array_equal(zero.predicted(probabilities), 1 - one.predicted(probabilities[:, ::-1]))
    np.testing.assert_array_equal(zero.answered(probabilities), one.answered(probabilities[:, ::-1]))
    np.testing.assert_array_equal(zero.sets(probabilities), one.sets(probabilities[:, ::-1])[:, ::-1])
    assert Decision().positive == 1
