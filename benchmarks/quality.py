"""Accuracy and ROC AUC on ELPV from random weights, over several random splits: `diptych train` and `diptych evaluate` with
whatever flags follow. The value is the mean test accuracy, with test-time augmentation if the training flips or turns. The
reference is the published CNN, which began with ImageNet's weights: 88.42 % and an area of 0.944 on one such split (Deitsch
et al., Solar Energy 185, 2019).

The protocol is theirs: 75 % for training, 1,968 images, and 25 % for the test, 656 images, with equal shares of each class
in each type of cell. Of the 1,968, a share is held out to choose the epoch by; the test chooses nothing. All splits count,
none is picked.

A split's training goes on where it was stopped, and what is done stays in --runs: start again with the same flags. Flags that
are not named below go to `diptych train`, for example

    python benchmarks/quality.py --runs runs/quality --recipe scratch --quarter-turns --image-size 128
"""

import argparse
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

PUBLISHED = {"accuracy": 0.8842, "roc_auc": 0.944}
TEST_IMAGES = 656
FIGURES = {"accuracy": "test_accuracy", "roc_auc": "roc_auc", "loss": "test_loss", "f1": "f1"}


def read_labels(data: Path) -> pd.DataFrame:
    return pd.concat([pd.read_csv(data / f"{target}.csv") for target in (0, 1)], ignore_index=True)


def make_splits(labels: pd.DataFrame, count: int, test: int | float, validation_share: float, seed: int) -> list[pd.DataFrame]:
    """Draw `count` splits, each by itself, with equal shares of each class in each type of cell.

    Args:
        labels: image_name, target and type.
        count: how many.
        test: images of the test, or their share.
        validation_share: of the others.
        seed: of all of them.

    Returns:
        Tables with the columns image_name, target, type and split.
    """
    from sklearn.model_selection import StratifiedShuffleSplit

    strata = (labels["target"].astype(str) + " " + labels["type"]).to_numpy()
    rows, tables = np.arange(len(labels)), []
    drawn = StratifiedShuffleSplit(count, test_size=test, random_state=seed).split(rows, strata)
    for number, (others, tested) in enumerate(drawn):
        inner = StratifiedShuffleSplit(1, test_size=validation_share, random_state=seed * 1000 + number)
        _, validated = next(inner.split(others, strata[others]))
        parts = np.full(len(labels), "train", object)
        parts[tested], parts[others[validated]] = "test", "validation"
        tables.append(labels[["image_name", "target", "type"]].assign(split=parts))
    return tables


def write_json(path: Path, content: Any) -> None:
    partial = path.with_name(f".partial-{path.name}")
    partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


def diptych(*arguments: object) -> None:
    """Run a command in a process of its own."""
    package = Path(__file__).resolve().parents[1] / "src"
    found = os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "diptych", *map(str, arguments)]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": found}, stdout=sys.stderr)


def train_split(runs: Path, name: str, data: Path, passed: Sequence[str]) -> float:
    """Train, or go on, or find that it is done; return the seconds of the training."""
    from diptych.settings.config import Config
    from diptych.settings.sources import read_toml
    from diptych.storage.run_dir import RunDir
    from diptych.training.resume import is_finished

    run = RunDir(runs / name)
    if not (run.config.is_file() and is_finished(run, read_toml(run.config, Config()))):
        split = ["--split", runs / "splits" / f"{name}.csv"]
        diptych("train", "--data", data, *split, "--weights", "none", "--runs", runs, "--name", name, *passed)
    return float(pd.read_csv(run.history)["seconds"].sum())


def test_split(runs: Path, name: str, data: Path, way: str, flags: Sequence[str]) -> dict[str, float]:
    """Test a run, unless that was done, and return its figures."""
    done = runs / f"{name}-{way}.json"
    if not done.is_file():
        diptych("evaluate", runs / name, "--data", data, "--maps", "0", *flags)
        written = json.loads((runs / name / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
        write_json(done, {**{key: written[key] for key in FIGURES.values()}, "views": written["views"]})
    found = json.loads(done.read_text(encoding="utf-8"))
    return {name: found[key] for name, key in FIGURES.items()} | {"views": found["views"]}


def summary(splits: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Return mean and standard deviation (with n - 1; None of one split) of each figure, and the figures of each split."""
    columns = {name: [found[name] for found in splits] for name in FIGURES}
    return {
        "mean": {name: float(np.mean(values)) for name, values in columns.items()},
        "standard_deviation": {n: float(np.std(v, ddof=1)) if len(v) > 1 else None for n, v in columns.items()},
        "splits": list(splits),
    }


def keep_settings(runs: Path, settings: dict[str, Any]) -> None:
    """Write down what the runs of this folder are made with; refuse to mix them with others."""
    file = runs / "quality.json"
    before = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else settings
    if before != settings:
        sys.exit(f"{runs} holds runs of other settings, {before}; these are {settings}. Choose another --runs.")
    write_json(file, settings)


def ways_to_test(runs: Path, name: str, test_size: int | None) -> dict[str, list[str]]:
    """Name the ways to test a run with their flags: with the views of the training where it has any, and at two sizes."""
    augment = tomllib.loads((runs / name / "config.toml").read_text(encoding="utf-8"))["augment"]
    several = any(augment[key] for key in ("flip_horizontal", "flip_vertical", "quarter_turns"))
    ways: dict[str, list[str]] = {"plain": []} | ({"tta": ["--tta"]} if several else {})
    if test_size is not None:
        ways |= {f"{way}-{test_size}": [*flags, "--test-size", str(test_size)] for way, flags in ways.items()}
    return ways


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--data", type=Path, default=Path("data/elpv"))
    parser.add_argument("--runs", type=Path, default=Path("runs/quality"), help="where runs, splits and figures are kept")
    parser.add_argument("--splits", type=int, default=5, help="how many splits there are")
    parser.add_argument("--only", type=int, nargs="+", help="numbers of the splits to do now; the figures are of those done")
    parser.add_argument("--split-seed", type=int, default=0, help="of the splits")
    parser.add_argument("--holdout", type=float, default=0.1, help="share of the 75 %% that the epoch is chosen on")
    parser.add_argument("--test-size", type=int, help="test at this image size besides that of the training")
    arguments, passed = parser.parse_known_args()
    runs, drawn = arguments.runs, {key: vars(arguments)[key] for key in ("splits", "split_seed", "holdout")}
    (runs / "splits").mkdir(parents=True, exist_ok=True)
    keep_settings(runs, {**drawn, "train": passed})
    tables = make_splits(read_labels(arguments.data), arguments.splits, TEST_IMAGES, arguments.holdout, arguments.split_seed)
    for number, table in enumerate(tables, 1):
        table.to_csv(runs / "splits" / f"split-{number}.csv", index=False)
    names = [f"split-{number}" for number in arguments.only or range(1, arguments.splits + 1)]
    seconds: dict[str, float] = {}
    found: dict[str, list[dict[str, float]]] = {}
    for name in names:
        seconds[name] = train_split(runs, name, arguments.data, passed)
        for way, flags in ways_to_test(runs, name, arguments.test_size).items():
            found.setdefault(way, []).append(test_split(runs, name, arguments.data, way, flags))
    figures = {way: summary(splits) for way, splits in found.items()}
    value = figures.get("tta", figures["plain"])["mean"]
    result = {"benchmark": "quality", "value": value["accuracy"], "reference": PUBLISHED["accuracy"]}
    result |= {"ratio": value["accuracy"] / PUBLISHED["accuracy"], "unit": "accuracy", "roc_auc": value["roc_auc"]}
    result |= {"published": PUBLISHED, "done": len(names), **drawn, "train": passed, "train_seconds": seconds}
    print(json.dumps(result | figures))


if __name__ == "__main__":
    main()
