"""The figures of subgroups, and which of them are marked: by hand, and as often as they shall be."""

import itertools
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scoring import of_two

from diptych.errors import ConfigError
from diptych.metrics.classification import compute_metrics
from diptych.metrics.subgroups import MOST_VALUES, check_column, compute_subgroups, worse_by_chance

NAMES = ("bad", "good")


def draw(images: int, values: int, wrong: dict[str, float] | None = None, classes: int = 2, seed: int = 0) -> tuple[Any, Any]:
    """A table with the column `kind`, and probabilities that are wrong in a share of each kind, 0.2 unless said otherwise."""
    random = np.random.default_rng(seed)
    kinds = np.array([f"k{number}" for number in range(values)])[random.integers(0, values, images)]
    targets = random.integers(0, classes, images)
    errs = random.random(images) < np.array([(wrong or {}).get(kind, 0.2) for kind in kinds])
    said = np.where(errs, (targets + 1) % classes, targets)
    probabilities = 0.3 * random.dirichlet(np.ones(classes), images) + 0.7 * np.eye(classes)[said]
    table = pd.DataFrame({"path": [f"{number}.png" for number in range(images)], "target": targets, "kind": kinds})
    return table, probabilities


def subgroups_of(
    table: pd.DataFrame, probabilities: Any, threshold: float, names: Sequence[str], column: str = "kind", **options: Any
) -> list[dict[str, Any]]:
    """The subgroups of a column of a table, as metrics.json has them."""
    values, targets = table[column].to_numpy(str), table["target"].to_numpy(np.int64)
    return [row.to_json() for row in compute_subgroups(values, targets, probabilities, threshold, names, **options)]


def fisher(wrong_inside: int, inside: int, wrong_outside: int, outside: int) -> float:
    """How probable so many wrong ones inside, or more, are: all ways to draw them, counted."""
    wrong, total = wrong_inside + wrong_outside, inside + outside
    ways = [math.comb(inside, count) * math.comb(outside, wrong - count) for count in range(wrong_inside, min(wrong, inside) + 1)]
    return sum(ways) / math.comb(total, wrong)


@pytest.mark.parametrize("classes", [2, 3])
def test_subgroups__have_the_figures_of_their_images_alone(classes: int) -> None:
    table, probabilities = draw(120, 3, classes=classes)
    names = ["a", "b", "c"][:classes]
    groups = np.arange(120) // 2
    rows = subgroups_of(table, probabilities, 0.4, names, seed=5, groups=groups)
    assert [row["value"] for row in rows] == ["k0", "k1", "k2"]
    for row in rows:
        inside = (table["kind"] == row["value"]).to_numpy()
        targets = table["target"].to_numpy()[inside]
        expected = compute_metrics(targets, probabilities[inside], 0.4, names, groups=groups[inside], seed=5).to_json()
        left_out = {"class_names", "baseline", "threshold"}
        own = {name: value for name, value in row.items() if name not in ("value", "p_value", "worse")}
        assert own == {name: value for name, value in expected.items() if name not in left_out}
    assert sum(row["test_images"] for row in rows) == 120


def test_subgroups__p_values_are_those_of_fisher_and_holm_by_hand() -> None:
    kinds = np.repeat(["a", "b", "c"], [10, 12, 20])
    wrong = np.concatenate([np.arange(10) < 7, np.arange(12) < 3, np.arange(20) < 2])
    table = pd.DataFrame({"target": np.arange(42) % 2, "kind": kinds})
    probabilities = of_two(np.where((table["target"] == 1) ^ wrong, 0.9, 0.1))
    rows = subgroups_of(table, probabilities, 0.5, NAMES)
    single = [fisher(7, 10, 5, 32), fisher(3, 12, 9, 30), fisher(2, 20, 10, 22)]
    # Holm: the smallest of three times 3, the next times 2, the last as it is; never less than one before.
    first, second, third = sorted(single)
    corrected = dict(zip((first, second, third), np.maximum.accumulate([3 * first, 2 * second, third]).clip(max=1), strict=True))
    assert [row["p_value"] for row in rows] == pytest.approx([corrected[value] for value in single])
    assert [row["worse"] for row in rows] == [True, False, False]


@pytest.mark.parametrize("case", list(itertools.product([0, 2, 5], [5], [0, 3, 9], [9, 11])))
def test_worse_by_chance__is_the_count_of_all_ways(case: tuple[int, int, int, int]) -> None:
    wrong_inside, inside, wrong_outside, outside = case
    found = worse_by_chance(np.arange(inside) >= wrong_inside, np.arange(outside) >= wrong_outside)
    assert found == pytest.approx(fisher(*case))


def test_subgroups__one_that_is_worse_is_marked_and_no_other() -> None:
    for seed in range(5):
        table, probabilities = draw(600, 6, {"k4": 0.6}, seed=seed)
        rows = subgroups_of(table, probabilities, 0.5, NAMES)
        assert [row["value"] for row in rows if row["worse"]] == ["k4"]
        assert all((row["p_value"] < 0.05) == row["worse"] for row in rows)


def test_subgroups__one_that_is_better_is_not_marked() -> None:
    table, probabilities = draw(600, 3, {"k0": 0.0, "k1": 0.3, "k2": 0.3})
    rows = subgroups_of(table, probabilities, 0.5, NAMES)
    assert rows[0]["p_value"] == 1
    assert not rows[0]["worse"]


def test_subgroups__of_equal_accuracy_one_is_marked_in_at_most_5_of_100() -> None:
    simulations, marked = 300, 0
    for seed in range(simulations):
        table, probabilities = draw(200, 4, seed=seed)
        marked += any(row["worse"] for row in subgroups_of(table, probabilities, 0.5, NAMES))
    # Exact tests of small counts stay below 5 %; of 300 draws, 23 or fewer are within three standard errors of 5 %.
    assert 0 < marked <= 0.05 * simulations + 3 * math.sqrt(0.05 * 0.95 * simulations)


@pytest.mark.parametrize("classes", [2, 3])
def test_subgroups__of_one_image_one_class_and_no_value_are_defined(classes: int) -> None:
    table, probabilities = draw(60, 2, classes=classes)
    table.loc[0, "kind"] = "single"
    table.loc[table["target"] == 1, "kind"] = "all of class 1"
    table.loc[50:, "kind"] = ""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = subgroups_of(table, probabilities, 0.5, ["a", "b", "c"][:classes])
    assert [row["value"] for row in rows] == sorted(table["kind"].unique())
    found = {row["value"]: row for row in rows}
    assert found[""]["test_images"] == 10
    for row in rows:
        low, high = row["test_accuracy_interval"]
        assert 0 <= low <= row["test_accuracy"] <= high <= 1
        assert 0 <= row["p_value"] <= 1
    assert found["all of class 1"]["roc_auc"] is None
    assert found["all of class 1"]["intervals"]["roc_auc"] is None
    if classes == 3:
        assert [row["test_images"] > 0 for row in found["all of class 1"]["per_class"]] == [False, True, False]


def test_subgroups__a_single_one_has_nothing_to_be_worse_than() -> None:
    table, probabilities = draw(30, 1, {"k0": 1.0})
    (row,) = subgroups_of(table, probabilities, 0.5, NAMES)
    assert (row["p_value"], row["worse"], row["test_accuracy"]) == (None, False, 0)


def test_subgroups__of_a_column_that_is_not_there() -> None:
    table, _ = draw(10, 2)
    with pytest.raises(ConfigError, match=r"by colour: the table has no such column; further columns: kind\.") as raised:
        check_column(table, "colour")
    assert "target" not in str(raised.value)
    with pytest.raises(ConfigError, match="further columns: none"):
        check_column(table.drop(columns="kind"), "colour")


def test_subgroups__of_a_column_that_names_images() -> None:
    table, probabilities = draw(MOST_VALUES + 1, 2)
    with pytest.raises(ConfigError, match="by path: 51 different values; expected at most 50"):
        check_column(table, "path")
    check_column(table[1:], "path")
    rows = subgroups_of(table[1:], probabilities[1:], 0.5, NAMES, "path")
    assert len(rows) == MOST_VALUES
