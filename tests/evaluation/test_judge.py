"""Predictions are judged by arrays alone, and the report that follows is written and read without a loss."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from making import run_python
from reporting import full_report, predictions_of
from scoring import of_two, report_of

from diptych.errors import CheckpointError, ConfigError
from diptych.evaluation.judge import JudgeOptions, Predictions, judge
from diptych.evaluation.report import (
    DataFacts,
    Report,
    load_report,
    read_report,
)
from diptych.inference.decision import Decision
from diptych.storage.atomic import write_json
from diptych.storage.run_dir import RunDir


@pytest.mark.parametrize(("classes", "positive"), [(2, 1), (2, 0), (3, 1)])
def test_report__is_the_same_when_it_is_read_again(tmp_path: Path, classes: int, positive: int) -> None:
    report = full_report(classes, positive)
    assert report.positive == (("cat", "dog")[positive] if classes == 2 else None)
    write_json(tmp_path / "metrics.json", report.to_json())
    assert load_report(tmp_path / "metrics.json") == report
    assert json.loads((tmp_path / "metrics.json").read_text("utf-8")) == report.to_json()


@pytest.mark.parametrize("classes", [2, 3])
def test_report__without_what_may_be_missing_is_the_same_when_it_is_read_again(classes: int) -> None:
    report = judge(predictions_of(classes, scores=False, groups=False))
    content = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert Report.from_json(content) == report
    # As a version wrote it that did not know these.
    for name in ("kept", "external", "maps", "data", "run", "least_sure"):
        del content[name]
    assert Report.from_json(content) == dataclasses.replace(report, least_sure=(), data=DataFacts())


def test_report__has_every_field_in_its_json() -> None:
    content = full_report(2).to_json()
    fields = {each.name for each in dataclasses.fields(Report)} - {"metrics"}
    assert fields <= content.keys()
    assert set(content["decision"]) == {each.name for each in dataclasses.fields(Decision)}
    assert set(content["mistakes"][0]) == {"path", "class", "predicted_class", "probability", "true_probability", "outlier"}
    assert content["data"]["classes"] == [{"class": "cat", "train": 3, "validation": 2, "test": 1}]
    assert content["curves"]["roc"][0]["class"] == 1
    assert content["baseline"]["class"] in ("cat", "dog")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"test_accuracy": None, "confusion_matrix": 3}, "damaged"),
        ({"format_version": 2}, "format 2; this version of Diptych reads 1"),
        ({"views": "many"}, "'many' is no int"),
        ({"answers": {}}, "it has no 'rule'"),
    ],
)
def test_read_report__of_a_damaged_file_says_how_to_mend_it(tmp_path: Path, change: dict[str, object], said: str) -> None:
    run = RunDir(tmp_path)
    write_json(run.metrics, full_report(2).to_json() | change)
    with pytest.raises(CheckpointError, match=r"metrics\.json.*Run diptych evaluate again\.") as raised:
        read_report(run)
    assert said in str(raised.value)


def test_judge__loads_no_keras_and_writes_nothing(tmp_path: Path) -> None:
    code = """
import os, sys
import numpy as np
from diptych.evaluation.judge import Predictions, judge
ones = np.linspace(0, 1, 40)
report = judge(Predictions(("a", "b"), (ones > 0.4).astype(int), np.stack([1 - ones, ones], axis=1)))
heavy = {"keras", "tensorflow", "torch", "jax"} & set(sys.modules)
print(sorted(heavy), os.listdir(), report.metrics.accuracy.value)
"""
    done = run_python("-c", code, cwd=tmp_path)
    assert done.stdout == "[] [] 0.9\n", done.stderr


def test_judge__of_two_classes_lists_the_worst_mistake_first() -> None:
    report = report_of(np.array([0, 1, 1, 0]), [0.9, 0.2, 0.8, 0.45], ("cat", "dog"), paths=("a", "b", "c", "d"))
    assert [image.path for image in report.mistakes] == ["a", "b"]
    assert [image.path for image in report.least_sure] == ["d", "c"]
    first = report.mistakes[0]
    assert (first.class_name, first.predicted_class) == ("cat", "dog")
    assert (first.probability, first.true_probability) == (pytest.approx(0.9), pytest.approx(0.1))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"probabilities": np.full(4, 0.5)}, r"probabilities \(4,\); expected one row an image"),
        ({"targets": np.zeros(0, np.int64)}, "expected one row an image, at least one"),
        ({"paths": ("a",)}, "paths has 1 entries; expected 4"),
        ({"groups": np.zeros(3, np.int64)}, "groups has 3 entries; expected 4"),
        ({"columns": {"kind": np.array(["a"])}}, "kind has 1 entries; expected 4"),
    ],
)
def test_predictions__that_do_not_fit_together(change: dict[str, object], said: str) -> None:
    whole = Predictions(("a", "b"), np.array([0, 1, 1, 0]), of_two([0.1, 0.2, 0.3, 0.4]))
    with pytest.raises(ValueError, match=said):
        dataclasses.replace(whole, **change)


def test_judge__by_a_column_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="by colour: no such column; there are site"):
        judge(predictions_of(2), JudgeOptions(by=("colour",)))
