"""The benchmarks start, and what they count by themselves is right; their figures are no test's business."""

import ast
import importlib.util
import json
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from making import REPOSITORY, run_python

SCRIPTS = sorted((REPOSITORY / "benchmarks").glob("*.py"))


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", REPOSITORY / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Of each script in turn: its exit code and what it prints. Imports are paid for once.
HELP = """
import contextlib, io, json, os, runpy, sys
answers = {}
for script in sys.argv[1:]:
    sys.argv, sys.path[0], said = [script, "--help"], os.path.dirname(script), io.StringIO()
    with contextlib.redirect_stdout(said):
        try:
            code = runpy.run_path(script, run_name="__main__") and "no exit"
        except SystemExit as end:
            code = end.code
    answers[os.path.basename(script)] = code, said.getvalue()
print(json.dumps(answers))
"""


def test_benchmarks__help_says_what_they_measure() -> None:
    done = run_python("-c", HELP, *SCRIPTS)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert list(answers) == [script.name for script in SCRIPTS]
    for script in SCRIPTS:
        code, said = answers[script.name]
        assert (script.name, code) == (script.name, 0)
        assert said.startswith(f"usage: {script.name}")
        purpose = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8")))
        assert purpose
        assert " ".join(purpose.split()) in " ".join(said.split())


@pytest.fixture
def labels() -> pd.DataFrame:
    """As many images of each class and type as ELPV has, but for a factor of 8."""
    counts = {(0, "mono"): 88, (1, "mono"): 46, (0, "poly"): 137, (1, "poly"): 57}
    rows = [{"target": target, "type": kind} for (target, kind), count in counts.items() for _ in range(count)]
    return pd.DataFrame(rows).assign(image_name=[f"{number}.png" for number in range(sum(counts.values()))])


def test_quality__splits_have_the_classes_and_types_in_equal_shares(labels, monkeypatch):
    make_splits = load("quality", monkeypatch).make_splits
    tables = make_splits(labels, 5, 82, 0.1, 0)
    assert len(tables) == 5
    for table in tables:
        assert list(table["image_name"]) == list(labels["image_name"])
        counts = pd.crosstab([table["target"], table["type"]], table["split"])
        assert dict(counts.sum()) == {"test": 82, "train": 221, "validation": 25}
        shares = counts.sum(axis=1) / len(table)
        for part in counts:
            assert (counts[part] - shares * counts[part].sum()).abs().max() < 1
    tested = [set(table["image_name"][table["split"] == "test"]) for table in tables]
    assert len({frozenset(names) for names in tested}) == 5


def test_quality__splits_are_those_of_the_seed(labels, monkeypatch):
    make_splits = load("quality", monkeypatch).make_splits
    first, again, other = (make_splits(labels, 2, 82, 0.1, seed) for seed in (0, 0, 1))
    for one, two in zip(first, again, strict=True):
        pd.testing.assert_frame_equal(one, two)
    assert not first[0].equals(other[0])


def test_quality__summary_is_of_all_splits(monkeypatch):
    summary = load("quality", monkeypatch).summary
    splits = [
        {"accuracy": 0.9, "roc_auc": 0.95, "loss": 0.3, "f1": 0.8},
        {"accuracy": 0.8, "roc_auc": 0.93, "loss": 0.4, "f1": 0.7},
    ]
    found = summary(splits)
    assert found["splits"] == splits
    assert found["mean"]["accuracy"] == pytest.approx(0.85)
    assert found["standard_deviation"]["accuracy"] == pytest.approx(np.std([0.9, 0.8], ddof=1))
    assert summary(splits[:1])["standard_deviation"]["accuracy"] is None


def test_quality__other_settings_in_the_same_folder_are_refused(tmp_path, monkeypatch):
    keep_settings = load("quality", monkeypatch).keep_settings
    keep_settings(tmp_path, {"train": ["--epochs", "3"]})
    keep_settings(tmp_path, {"train": ["--epochs", "3"]})
    with pytest.raises(SystemExit, match="Choose another --runs"):
        keep_settings(tmp_path, {"train": ["--epochs", "4"]})
    assert json.loads((tmp_path / "quality.json").read_text()) == {"train": ["--epochs", "3"]}


def test_time_to_accuracy__is_the_first_time(monkeypatch):
    first_at = load("time_to_accuracy", monkeypatch).first_at
    rows = [{"seconds": 5, "accuracy": 0.8}, {"seconds": 9, "accuracy": 0.884}, {"seconds": 12, "accuracy": 0.9}]
    assert first_at(rows, 0.884) == 9
    assert first_at(rows, 0.9) == 12
    assert first_at(rows, 0.95) is None


def test_quick__one_cycle_rises_for_a_quarter_and_falls(monkeypatch):
    one_cycle = load("quick", monkeypatch).one_cycle
    rates = [one_cycle(share) for share in np.linspace(0, 1, 101)]
    assert np.argmax(rates) == 25
    assert rates[25] == pytest.approx(1e-3)
    assert rates[0] == pytest.approx(4e-5)
    assert rates[-1] == one_cycle(1.5) == pytest.approx(0, abs=1e-9)


def test_step__share_of_the_peak(monkeypatch):
    step = load("step", monkeypatch)
    # 2,500 images/s of 4.4 billion multiply-adds each are 66 Tflop/s forward and backward, on an H100 of 989.
    assert step.share_of_peak("NVIDIA H100 80GB HBM3", 2500, 4_400_000_000) == pytest.approx(66 / 989)
    assert step.share_of_peak("NVIDIA H100 PCIe", 2500, 4_400_000_000) == pytest.approx(66 / 756)
    assert step.share_of_peak("NVIDIA L40S", 1, 1) == pytest.approx(6 / 362e12)
    assert step.share_of_peak("Some other card", 2500, 4_400_000_000) is None
    assert step.share_of_peak(None, 2500, 4_400_000_000) is None
