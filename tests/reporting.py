"""Reports whose answers are made up: no network is behind them."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from making import make_image

from diptych.data.audit.findings import Audit, to_json
from diptych.evaluation.judge import JudgeOptions, Predictions, judge
from diptych.evaluation.model_card import start_model_card
from diptych.evaluation.provenance import describe_data, describe_run
from diptych.evaluation.report import ClassCount, DataFacts, External, FoundFault, Report, RunFacts, Shortcut
from diptych.evaluation.report_page import Picture, render_report
from diptych.evaluation.split_images import groups_of
from diptych.explanation.map_check import AreaGain, BranchCut, CheckedMap, MapsCheck, Randomisation
from diptych.inference.choosing import choose_decision
from diptych.inference.decision import Decision
from diptych.inference.outliers import Outliers
from diptych.settings.config import Config
from diptych.settings.sources import to_toml
from diptych.storage.atomic import write_json, write_text
from diptych.storage.run_dir import RunDir, write_classes

HOSTILE = (
    "<script>window.hit = 1</script>",
    "</script><img src=x onerror=hit()>",
    "\"quoted\" & 'single' &amp;",
    "$x$ {{ 7 * 7 }} ${1 + 1}",
    "new\nline",
    "z" * 300,
)


def make_table(classes: int, images: int, names: Sequence[str], paths: Sequence[str] | None = None) -> tuple[Any, Any]:
    """A test table with the column `site`, of whose values "north" has more wrong answers, and probabilities."""
    random = np.random.default_rng(classes)
    targets = np.arange(images) % classes
    sites = np.array(["", "north", "south"])[random.integers(0, 3, images)]
    logits = random.normal(0, 1, (images, classes)) + (2.5 - 2.5 * (sites == "north"))[:, None] * np.eye(classes)[targets]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = paths or [f"{names[target]}/{number}.png" for number, target in enumerate(targets)]
    table = pd.DataFrame({"path": found, "target": targets, "site": sites, "split": "test"})
    return table, probabilities


def make_report(
    folder: Path,
    names: Sequence[str] = ("cat", "dog"),
    images: int = 200,
    *,
    paths: Sequence[str] | None = None,
    decision: Decision | None = None,
    outliers: bool = True,
    card: str | None = None,
    keep: slice = slice(None),
    by: Sequence[str] = ("site",),
    maps: MapsCheck | None = None,
    audit: Audit | None = None,
    groups: bool = False,
) -> tuple[Path, dict[str, Any]]:
    """Write the report of a run whose answers are made up, and what it shows; with groups, each has ten images."""
    run, config, classes = RunDir(folder / "runs" / "made-up"), Config(), len(names)
    write_text(run.config, to_toml(config))
    write_classes(run, names)
    if audit is not None:
        write_json(run.audit, to_json(audit))
    write_json(run.environment, {"format_version": 1, "created": "2026-01-01T00:00:00+00:00", "packages": {"keras": "3.15"}})
    table, probabilities = make_table(classes, images, names, paths)
    table = table.assign(group=(np.arange(images) // 10).astype(str)) if groups else table
    table, probabilities = table[keep].reset_index(drop=True), probabilities[keep]
    rule = {"rule": "youden", "abstain_rule": "error:0.1"} if classes == 2 else {}
    chosen = decision or choose_decision(table["target"].to_numpy(), probabilities, **rule)
    predictions = Predictions(
        class_names=tuple(names),
        targets=table["target"].to_numpy(),
        probabilities=probabilities,
        paths=tuple(table["path"]),
        groups=groups_of(table, "group"),
        columns={column: table[column].to_numpy(str) for column in by},
        outlier_scores=np.linspace(0, 1, len(table)) if outliers else None,
        test_size=64,
    )
    compared = Outliers(np.zeros((50, 2), np.float32), 1, 0.9, "", 64, 80) if outliers else None
    report = judge(predictions, JudgeOptions(chosen, by, compared))
    report = dataclasses.replace(
        report,
        maps=maps,
        data=describe_data(run, config, table, names, groups),
        run=describe_run(run, config),
    )
    start_model_card(run, names)
    if card is not None:
        write_text(run.model_card, card)
    write_json(run.metrics, report.to_json())
    drawn = [Picture(row.name, make_image(1, 0), row.name) for row in (maps.maps if maps else ())]
    listed = {row.path: [Picture("image", make_image(0, place)), *drawn] for place, row in enumerate(report.mistakes)}
    write_text(run.report, render_report(run, report, listed))
    return run.report, json.loads(run.metrics.read_text(encoding="utf-8"))


MAPS = MapsCheck(
    images=4,
    steps=10,
    chance_orders=3,
    randomised_networks=2,
    maps=(
        CheckedMap(
            "grad_cam_resnet50",
            "grad_cam",
            "resnet50",
            (2, 2),
            Randomisation(None, 0.1, 0.5, 8, "flat"),
            AreaGain(0.3, 0.4, 0.1, [0.05, 0.15]),
            AreaGain(0.3, 0.4, -0.2, None),
            trusted=True,
            verdict="good",
        ),
    ),
    cut_off={"resnet50": BranchCut(-0.3, 0.25)},
)
DATA = DataFacts(
    name="cells",
    parts=("train", "validation", "test"),
    classes=(ClassCount("cat", 3, 2, 1),),
    findings=(FoundFault("shortcut", "error", "the files differ"),),
    shortcut=Shortcut("error", "the files differ", ("class 0: PNG",), "look", 0.9),
    audited=True,
    grouped=True,
)


def predictions_of(classes: int, *, scores: bool = True, groups: bool = True) -> Predictions:
    names = ("cat", "dog", "owl", "elk")[:classes]
    table, probabilities = make_table(classes, 200, names)
    return Predictions(
        class_names=names,
        targets=table["target"].to_numpy(),
        probabilities=probabilities,
        paths=tuple(table["path"]),
        groups=np.arange(200) // 4 if groups else None,
        columns={"site": table["site"].to_numpy(str)},
        outlier_scores=np.linspace(0, 1, 200) if scores else None,
        test_size=64,
        views=8,
    )


def full_report(classes: int, positive: int = 1) -> Report:
    """A report with all that there can be in one."""
    predictions = predictions_of(classes)
    rules = {"rule": "youden", "abstain_rule": "error:0.1", "positive": positive} if classes == 2 else {}
    decision = choose_decision(predictions.targets, predictions.probabilities, **rules)
    outliers = Outliers(np.zeros((9, 2), np.float32), 1, 0.9, "w", 64, 80)
    report = judge(predictions, JudgeOptions(decision, ("site",), outliers, seed=3))
    run = RunFacts("run", "2026-01-01", {"network": "dual"}, "[data]\n", {"keras": "3.15"})
    return dataclasses.replace(report, maps=MAPS, kept=False, external=External("/data", 200, 3, "r.html"), data=DATA, run=run)
