"""What stands in the common report of a cross-validation, from made-up tests of its folds; in a real browser."""

import json
from pathlib import Path

import numpy as np
import pytest
from browser import open_chromium, open_page
from scoring import report_of

from diptych.evaluation.report import Report
from diptych.experiments.fold_report import combine, describe_folds, render_folds


def test_of_fold(seed: int, names: list[str]) -> Report:
    random = np.random.default_rng(seed)
    targets = np.arange(40 + seed) % len(names)
    probabilities = random.dirichlet(np.ones(len(names)), len(targets)) + 0.5 * np.eye(len(names))[targets]
    return report_of(targets, probabilities, names, test_size=64)


test_of_fold.__test__ = False  # type: ignore[attr-defined]


@pytest.mark.parametrize("names", [["cat", "dog"], ["a", "b", "c"]])
def test_combine__mean_spread_and_all_images(names: list[str]) -> None:
    folds = {f"fold-{seed + 1}": test_of_fold(seed, names) for seed in range(3)}
    found = combine(folds)
    accuracies = [fold.metrics.accuracy.value for fold in folds.values()]
    assert found.mean["accuracy"] == pytest.approx(np.mean(accuracies))
    assert found.standard_deviation["accuracy"] == pytest.approx(np.std(accuracies, ddof=1))
    assert (found.lowest["accuracy"], found.highest["accuracy"]) == (min(accuracies), max(accuracies))
    assert found.test_images == np.sum(found.confusion_matrix) == 40 + 41 + 42
    written = json.loads(json.dumps(found.to_json()))
    assert written["mean"]["test_accuracy"] == pytest.approx(np.mean(accuracies))
    assert "test_images" not in written["mean"]
    assert [row["test_images"] for row in written["each"]] == [40, 41, 42]
    assert [row["test_accuracy"] for row in written["each"]] == accuracies
    shown = describe_folds(found)
    assert shown.startswith("123 images, each tested in one of 3 folds\n")
    assert f"{np.mean(accuracies):.2%}" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_combine__a_figure_that_a_fold_lacks_has_no_mean() -> None:
    found = combine({"fold-1": test_of_fold(0, ["a", "b"]), "fold-2": report_of(np.ones(9), np.linspace(0, 1, 9), ["a", "b"])})
    assert "roc_auc" not in found.mean
    assert found.each[1].roc_auc.value is None
    assert "accuracy" in found.mean


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_page__of_a_cross_validation(tmp_path: Path, width: int) -> None:
    folds = {f"fold-{seed + 1}": test_of_fold(seed, ["cat", "<b>dog</b>"]) for seed in range(5)}
    page = tmp_path / "cross" / "evaluation" / "report.html"
    page.parent.mkdir(parents=True)
    page.write_text(render_folds("cross", combine(folds)), encoding="utf-8")
    linked = tmp_path / "cross" / "fold-2" / "evaluation" / "report.html"
    linked.parent.mkdir(parents=True)
    linked.write_text("<!doctype html><title>the second</title>", encoding="utf-8")
    with open_chromium() as chromium, open_page(chromium, page.as_uri(), width=width) as visit:
        assert visit.complaints == []
        assert visit.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        rows = visit.page.locator("h2:text-is('Folds') + div tbody tr").all_inner_texts()
        assert [row.split()[0] for row in rows] == ["fold-1", "fold-2", "fold-3", "fold-4", "fold-5", "mean", "standard"]
        assert "is <b>dog</b>" in visit.page.locator(".matrix").inner_text()
        visit.page.locator("a:text-is('fold-2')").click()
        assert visit.page.title() == "the second"


def test_folds__no_better_than_the_most_frequent_class_are_named() -> None:
    targets = np.repeat([0, 1], [90, 10])
    worse, better = (report_of(targets, np.where(ones, 0.9, 0.1)) for ones in (targets > 2, targets > 0))
    found = combine({"fold-1": worse, "fold-2": better})
    assert found.no_better == ("fold-1",)
    said = "accuracy not shown to be better than always answering the most frequent class: fold-1"
    assert said in describe_folds(found).replace(":\n  ", ": ")
    assert said in render_folds("cross", found)
    assert "precision" not in found.mean
