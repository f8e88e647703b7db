"""What docs/metrics.md says is written, against what a test writes."""

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import running
from making import REPOSITORY
from reporting import make_report

from diptych.evaluation.evaluate import evaluate
from diptych.inference.decision import Decision
from diptych.storage.run_dir import RunDir

PAGE = (REPOSITORY / "docs" / "metrics.md").read_text(encoding="utf-8")
# Below these, names are the user's or the machine's.
NAMED = ("intervals", "no_interval", "class_sets.sizes", "run.facts", "run.packages", "maps.cut_off")


def keys_of_page(*titles: str) -> set[str]:
    """The first column of the tables under some titles."""
    sections = [re.split(r"^##", PAGE.split(f"# {title}\n")[1], maxsplit=1, flags=re.MULTILINE)[0] for title in titles]
    return {key for section in sections for key in re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)}


def keys_of(content: Any, prefix: str = "") -> set[str]:
    """The keys of JSON values, as the page writes them; rows that repeat the figures are one key."""
    if prefix in ("per_class[]", "subgroups.NAME[]") or (isinstance(content, list) and prefix.endswith("findings")):
        return {prefix} if prefix.endswith("[]") else {f"{prefix}[].{key}" for key in ("kind", "level", "title")}
    if isinstance(content, dict):
        named = {("NAME" if prefix in NAMED or prefix == "subgroups" else key): value for key, value in content.items()}
        return set().union(*(keys_of(value, f"{prefix}.{key}".lstrip(".")) for key, value in named.items()))
    if isinstance(content, list) and content and isinstance(content[0], dict):
        return set().union(*(keys_of(row, f"{prefix}[]") for row in content))
    return {prefix}


@pytest.fixture(scope="module")
def tested(of_both: running.Trained, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A run of two classes with all that a test can write."""
    run = RunDir(tmp_path_factory.mktemp("docs") / "run")
    shutil.copytree(of_both.run.root, run.root)
    evaluate(run, of_both.data, by=("kind",), maps=2)
    return run


@pytest.mark.slow
def test_page__has_every_key_of_metrics_json_and_no_other(tested: RunDir, tmp_path: Path) -> None:
    of_two = keys_of(json.loads(tested.metrics.read_text(encoding="utf-8")))
    # There were no mistakes, perhaps; those of made-up answers are of the same form.
    _, of_three = make_report(tmp_path, ("a", "b", "c"))
    assert of_three["mistakes"]
    assert "per_class" in of_three
    found = of_two | keys_of(of_three)
    documented = keys_of_page("Figures", "Choices and their effect", "Curves and lists", "The run")
    # Where a part is empty or null, its keys are below it.
    empty = {key for key in found if any(other.startswith((f"{key}.", f"{key}[].")) for other in documented)}
    assert found - empty == documented
    assert empty <= {"data.shortcut", "maps", "mistakes", "decision.calibration", "outliers", "run.packages"}


@pytest.mark.slow
def test_page__rows_of_classes_and_subgroups_hold_figures_of_the_page(tested: RunDir, tmp_path: Path) -> None:
    figures = keys_of_page("Figures")
    _, of_three = make_report(tmp_path, ("a", "b", "c"))
    subgroups = json.loads(tested.metrics.read_text(encoding="utf-8"))["subgroups"]["kind"]
    for row, own in [
        *((row, {"class_name"}) for row in of_three["per_class"]),
        *((row, {"value", "p_value", "worse"}) for row in subgroups),
    ]:
        assert own <= set(row)
        assert set(row) - own - {"intervals", "no_interval"} <= figures
        assert {f"intervals.{name}" for name in row["intervals"]} <= {f"intervals.{name}" for name in figures}


@pytest.mark.slow
def test_page__has_every_column_of_predictions_csv(tested: RunDir) -> None:
    split, predictions = pd.read_csv(tested.split), pd.read_csv(tested.predictions)
    written = {name for name in predictions.columns if name not in split.columns}
    assert {"probability_0", "probability_1"} <= written
    assert written - {"probability_0", "probability_1"} | {"probability_NAME"} == keys_of_page("predictions.csv")


def test_page__has_every_field_of_the_decision() -> None:
    documented = {key.removeprefix("decision.") for key in keys_of_page("Choices and their effect") if key.startswith("dec")}
    assert {field.name for field in dataclasses.fields(Decision)} == {key.partition(".")[0] for key in documented}
