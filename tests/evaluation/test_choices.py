"""What evaluate chooses on validation images is kept in the run, is what predict obeys, and decides the exit code."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import running
from making import run_python
from scoring import of_two

from diptych.cli import main
from diptych.errors import CheckpointError, ConfigError
from diptych.evaluation.evaluate import evaluate
from diptych.evaluation.judge import JudgeOptions, Predictions, judge
from diptych.evaluation.report import Report
from diptych.inference.choosing import DecisionOptions, choose_decision
from diptych.inference.decision import Decision, read_decision
from diptych.inference.outliers import FEWEST_VALIDATION, read_outliers
from diptych.inference.predict import predict
from diptych.inference.prediction_table import with_predictions
from diptych.inference.thresholds import choose_threshold
from diptych.inference.trained_run import TrainedRun
from diptych.storage.run_dir import RunDir

OWN = ["predicted_target", "predicted_class", "probability", "answered", "class_set", "outlier_score", "outlier"]


@pytest.fixture
def mine(trained: running.Trained, tmp_path: Path) -> RunDir:
    """A copy of the trained run that was not tested yet."""
    run = RunDir(tmp_path / "runs" / "mine")
    shutil.copytree(trained.run.root, run.root)
    for file in (run.decision, run.outliers):
        file.unlink()
    shutil.rmtree(run.metrics.parent)
    config = run.config.read_text(encoding="utf-8")
    relative = json.dumps("images")
    assert f"data = {relative}" in config or f"data = {json.dumps(str(trained.data))}" in config
    run.config.write_text(config.replace(f"data = {relative}", f"data = {json.dumps(str(trained.data))}"), encoding="utf-8")
    return run


def test_images(run: RunDir, trained: running.Trained) -> list[Path]:
    table = pd.read_csv(run.predictions)
    return [trained.data / path for path in table["path"]]


test_images.__test__ = False  # type: ignore[attr-defined]


@pytest.mark.slow
def test_evaluate__choices_are_kept_and_obeyed_by_the_next_test(mine: RunDir) -> None:
    run = TrainedRun.open(mine)
    first = evaluate(run, choices=DecisionOptions("youden", "error:0.9", 0.8), maps=0).to_json()
    chosen = read_decision(mine)
    assert chosen is not None
    assert (chosen.rule, chosen.abstain_rule, chosen.coverage, chosen.validation_images) == ("youden", "error:0.9", 0.8, 16)
    assert first["threshold"] == chosen.threshold == first["decision"]["threshold"]
    before = mine.decision.read_bytes(), mine.outliers.read_bytes()
    second = evaluate(run, maps=0).to_json()
    assert (mine.decision.read_bytes(), mine.outliers.read_bytes()) == before
    assert second == first
    third = evaluate(run, choices=DecisionOptions(threshold="0.3", keep=True), maps=0).to_json()
    # What is not named stays as it was.
    assert (third["threshold"], third["decision"]["abstain_rule"], third["class_sets"]["asked_coverage"]) == (
        0.3,
        "error:0.9",
        0.8,
    )
    assert read_decision(mine) != chosen
    with pytest.raises(ConfigError, match="by colour"):
        evaluate(run, by=("colour",), maps=0)


@pytest.mark.slow
def test_evaluate__chooses_on_the_validation_images_alone(mine: RunDir, trained: running.Trained) -> None:
    figures = evaluate(mine, choices=DecisionOptions("f1", "0.7", 0.8), maps=0).to_json()
    split = pd.read_csv(mine.split)
    validation = split[split["split"] == "validation"]
    decision = read_decision(mine)
    assert decision is not None
    table = predict(mine, [trained.data / path for path in validation["path"]], mine.root / "validation.csv")
    ones, targets = table["probability_1"].to_numpy(float), validation["target"].to_numpy()
    assert decision.threshold == pytest.approx(choose_threshold("f1", targets, ones), abs=1e-5)
    true = np.where(targets == 1, ones, 1 - ones)
    assert decision.set_limit == pytest.approx(np.sort(true)[::-1][int(np.ceil(17 * 0.8)) - 1], abs=1e-5)
    outliers = read_outliers(mine)
    assert outliers is not None
    assert len(outliers.references) == 2 * running.PARTS["train"] == figures["outliers"]["references"]
    # So few validation images say nothing of the limit.
    assert len(validation) < FEWEST_VALIDATION
    assert outliers.limit is None
    assert table["outlier"].isna().all()
    assert (table["outlier_score"] > 0).all()


@pytest.mark.slow
def test_predict__answers_as_evaluate_did(mine: RunDir, trained: running.Trained) -> None:
    report = evaluate(mine, choices=DecisionOptions("youden", "error:0.9", 0.8), maps=0)
    tested = pd.read_csv(mine.predictions, dtype={"class_set": str})
    table = predict(mine, test_images(mine, trained), mine.root / "again.csv")
    again = pd.read_csv(mine.root / "again.csv", dtype={"class_set": str})
    assert set(OWN) <= set(table.columns)
    for name in ("predicted_target", "predicted_class", "answered", "class_set", "outlier"):
        pd.testing.assert_series_equal(again[name], tested[name], check_dtype=False)
    for name in ("probability", "probability_0", "probability_1", "outlier_score"):
        np.testing.assert_allclose(again[name], tested[name], rtol=0, atol=1e-4)
    assert report.outliers.flagged is None
    assert tested["outlier"].isna().all()
    counts_are_those_of(report, tested)


def counts_are_those_of(report: Report, table: pd.DataFrame) -> None:
    """The report counts what stands in the table of predictions."""
    assert report.answers.answered == table["answered"].sum()
    sizes = table["class_set"].fillna("").map(lambda found: len(found.split("|")) if found else 0)
    assert report.class_sets.mean_size == pytest.approx(sizes.mean())
    assert (table["predicted_target"] == (table["probability_1"] >= report.metrics.threshold)).all()


@pytest.mark.parametrize(
    "choices",
    [
        DecisionOptions(),
        DecisionOptions("youden", "error:0.9", 0.8),
        DecisionOptions("0.2", "0.9", 0.6),
        DecisionOptions("recall:0.9", "0.2,0.7"),
    ],
)
def test_judge__counts_what_the_table_of_predictions_says(choices: DecisionOptions) -> None:
    validation, predictions = made_up(40, 0), made_up(60, 1)
    rules = choices.after(None, predictions.class_names)
    decision = choose_decision(validation.targets, validation.probabilities, *rules)
    report = judge(predictions, JudgeOptions(decision))
    table = pd.DataFrame({"path": [f"{number}.png" for number in range(60)]})
    counts_are_those_of(report, with_predictions(table, predictions.probabilities, ("0", "1"), decision))
    assert 0 < report.class_sets.mean_size <= 2


def made_up(images: int, seed: int) -> Predictions:
    """Predictions of two classes, right more often than not; the images have one of three kinds."""
    random = np.random.default_rng(seed)
    targets = random.integers(0, 2, images)
    ones = np.clip(0.4 * targets + random.uniform(0, 0.6, images), 0, 1).astype(np.float32)
    kinds = np.array([f"k{number % 3}" for number in range(images)])
    return Predictions(("0", "1"), targets, of_two(ones), columns={"kind": kinds})


def test_answers__have_the_least_probability_that_was_asked_for() -> None:
    validation, predictions = made_up(40, 0), made_up(60, 1)
    decision = choose_decision(validation.targets, validation.probabilities, "0.2", "0.9")
    found = with_predictions(pd.DataFrame(index=range(60)), predictions.probabilities, ("0", "1"), decision)
    assert (found["answered"] == (found["probability"] >= 0.9)).all()
    assert 0 < judge(predictions, JudgeOptions(decision)).answers.answered == found["answered"].sum() < 60


def test_subgroups__are_those_of_the_table() -> None:
    predictions = made_up(60, 2)
    report = judge(predictions, JudgeOptions(by=("kind",)))
    predicted = predictions.probabilities[:, 1] >= 0.5
    assert [row.value for row in report.subgroups["kind"]] == ["k0", "k1", "k2"]
    for row in report.subgroups["kind"]:
        inside = predictions.columns["kind"] == row.value
        assert row.metrics.test_images == inside.sum() == 20
        assert row.metrics.accuracy.value == pytest.approx((predicted == predictions.targets)[inside].mean())


@pytest.mark.slow
def test_predict__before_evaluate_says_what_it_takes(
    mine: RunDir, trained: running.Trained, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        table = predict(mine, [trained.data / "0" / "test0.png"], mine.root / "one.csv")
    assert "threshold 0.5 and no calibration" in caplog.text
    assert "outlier" not in table
    assert table["answered"].all()


@pytest.mark.slow
def test_predict__refuses_a_decision_for_other_weights(mine: RunDir, trained: running.Trained) -> None:
    evaluate(mine, maps=0)
    content = json.loads(mine.decision.read_text(encoding="utf-8"))
    mine.decision.write_text(json.dumps(content | {"weights": "0" * 64}), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"was chosen for other weights than .*best\.safetensors.* Run diptych evaluate"):
        predict(mine, [trained.data / "0" / "test0.png"], mine.root / "one.csv")
    assert not (mine.root / "one.csv").exists()
    evaluate(mine, maps=0)
    assert read_decision(mine) == Decision(**{**vars(read_decision(mine)), "weights": content["weights"]})
    predict(mine, [trained.data / "0" / "test0.png"], mine.root / "one.csv")


@pytest.mark.slow
def test_predict__warns_of_images_of_another_size(
    mine: RunDir, trained: running.Trained, caplog: pytest.LogCaptureFixture
) -> None:
    evaluate(mine, maps=0)
    table = predict(mine, [trained.data / "0" / "test0.png"], mine.root / "one.csv", test_size=48)
    assert "chosen with 32 x 32 pixels, one view; now it is 48 x 48 pixels" in caplog.text
    # Features of another size cannot be compared with those that are kept.
    assert "outlier" not in table


@pytest.mark.slow
def test_evaluate__keeps_the_card_that_a_person_wrote(mine: RunDir) -> None:
    mine.model_card.unlink(missing_ok=True)
    evaluate(mine, by=("kind",), maps=0)
    assert {row["value"] for row in json.loads(mine.metrics.read_text("utf-8"))["subgroups"]["kind"]} == {"k0", "k1", "k2"}
    assert mine.model_card.read_text(encoding="utf-8").startswith("# mine")
    mine.model_card.write_text("# Of *my* cells", encoding="utf-8")
    evaluate(mine, maps=0)
    assert mine.model_card.read_text(encoding="utf-8") == "# Of *my* cells"
    assert "<h1>Of <em>my</em> cells</h1>" in mine.report.read_text(encoding="utf-8")


@pytest.mark.slow
def test_evaluate__against_another_run_decides_the_exit_code(mine: RunDir, trained: running.Trained) -> None:
    runs = mine.root.parent
    same, perfect, hopeless = (RunDir(shutil.copytree(trained.run.root, runs / name)) for name in ("same", "perfect", "hopeless"))
    flags = ["--runs", str(runs), "--maps", "0", "--fail-if-worse", "--against"]
    assert main(["evaluate", "mine", *flags, "same"]) == 0
    table = pd.read_csv(perfect.predictions)
    for run, target in ((perfect, table["target"]), (hopeless, 1 - table["target"])):
        said = {"predicted_target": target, "probability_0": 0.98 - 0.96 * target, "probability_1": 0.02 + 0.96 * target}
        table.assign(**said).to_csv(run.predictions, index=False)
    assert main(["evaluate", "mine", *flags, "hopeless"]) == 0
    # Everything is class 1: half of the answers are wrong.
    assert main(["evaluate", "mine", "--threshold", "0", *flags, "perfect"]) == 1
    assert main(["evaluate", "mine", "--threshold", "0", *[flag for flag in flags if flag != "--fail-if-worse"], "perfect"]) == 0
    assert read_decision(same) == read_decision(trained.run)


BAD_FLAGS = {
    ("--threshold", "best"): "threshold is 'best'",
    ("--threshold", "cost:1,nan"): "threshold is 'cost:1,nan'",
    ("--abstain", "error:2"): "abstain is 'error:2'",
    ("--coverage", "0"): "coverage is 0.0",
    ("--coverage", "1.5"): "coverage is 1.5",
    ("--fail-if-worse",): "--fail-if-worse needs the run to compare with",
    ("--against", "nowhere"): "nowhere is not a run",
    ("--against", "mine"): "--against mine is the run itself",
    ("--by", "colour"): "by colour: the table has no such column",
    ("--maps", "-1"): "maps",
}
# All in one process: exit code, what is said, and whether Keras is loaded by then.
ASK = """
import contextlib, io, json, sys
from diptych.cli import main
answers = []
for flags in json.loads(sys.argv[1]):
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            code = main(["evaluate", "mine", "--runs", sys.argv[2], *flags])
        except SystemExit as end:
            code = end.code
    answers.append([code, said.getvalue(), "keras" in sys.modules])
print(json.dumps(answers))
"""


@pytest.mark.slow
def test_evaluate__bad_flags_are_refused_before_keras_is_loaded(mine: RunDir) -> None:
    done = run_python("-c", ASK, json.dumps(list(BAD_FLAGS)), mine.root.parent)
    assert done.returncode == 0, done.stderr
    for (flags, message), (code, said, loaded) in zip(BAD_FLAGS.items(), json.loads(done.stdout), strict=True):
        assert (flags, code, loaded) == (flags, 2, False), said
        assert message in said
        assert "Traceback" not in said
    assert not mine.metrics.exists()
