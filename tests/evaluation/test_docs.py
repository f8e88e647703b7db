"""What docs/metrics.md says is written, against what a test writes."""

import dataclasses
import re
from typing import Any

import numpy as np
from making import REPOSITORY
from reporting import full_report

from diptych.inference.decision import Decision
from diptych.inference.prediction_table import prediction_columns

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


def test_page__has_every_key_of_metrics_json_and_no_other() -> None:
    of_two, of_three = (dataclasses.replace(full_report(classes), external=None).to_json() for classes in (2, 3))
    assert "per_class" in of_three
    found = keys_of(of_two) | keys_of(of_three)
    documented = keys_of_page("Figures", "Choices and their effect", "Curves and lists", "The run")
    # Where a part is null, its keys are below it.
    empty = {key for key in found if any(other.startswith((f"{key}.", f"{key}[].")) for other in documented)}
    assert found - empty == documented
    assert empty == {"curves.by_threshold"}


def test_page__rows_of_classes_and_subgroups_hold_figures_of_the_page() -> None:
    figures = keys_of_page("Figures")
    of_two, of_three = full_report(2).to_json(), full_report(3).to_json()
    for row, own in [
        *((row, {"class_name"}) for row in of_three["per_class"]),
        *((row, {"value", "p_value", "worse"}) for row in of_two["subgroups"]["site"]),
    ]:
        assert own <= set(row)
        assert set(row) - own - {"intervals", "no_interval"} <= figures
        assert {f"intervals.{name}" for name in row["intervals"]} <= {f"intervals.{name}" for name in figures}


def test_page__has_every_column_of_predictions_csv() -> None:
    scores = np.array([0.1, 0.9])
    written = set(prediction_columns(np.array([[0.1, 0.9], [0.8, 0.2]]), ("0", "1"), Decision(), scores, 0.5))
    assert {"probability_0", "probability_1"} <= written
    assert written - {"probability_0", "probability_1"} | {"probability_NAME"} == keys_of_page("predictions.csv")


def test_page__has_every_field_of_the_decision() -> None:
    documented = {key.removeprefix("decision.") for key in keys_of_page("Choices and their effect") if key.startswith("dec")}
    assert {field.name for field in dataclasses.fields(Decision)} == {key.partition(".")[0] for key in documented}
