"""Facts in the report besides figures: the run, its data and its mistakes."""

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from diptych.data.reading.manifest import SPLITS
from diptych.inference.decision import Decision, certainty
from diptych.inference.prediction_table import read_probabilities
from diptych.settings.config import Config
from diptych.settings.sources import to_toml
from diptych.storage.run_dir import RunDir
from diptych.storage.runs import read_environment
from diptych.training.state import read_state

LISTED_IMAGES = 20


def describe_run(run: RunDir, config: Config) -> dict[str, Any]:
    """Return `name`, `created`, `facts` (what one wants to know first, as text by name), `config` (TOML) and `packages`."""
    environment: dict[str, Any] = read_environment(run) if run.environment.is_file() else {"created": ""}
    state = read_state(run)
    training, model = config.training, config.model
    history = state.history if state is not None else ()
    seconds = sum(row["seconds"] for row in history)
    facts = {
        "network": f"{model.branches}, attention {model.attention}, width {model.width:g}",
        "began with": environment.get("weights", model.weights),
        "recipe": training.recipe,
        "optimizer": f"{training.optimizer}, learning rate {training.learning_rate:g}, batches of {training.batch_size}",
        "image size": f"{config.data.image_size} pixels",
        "epochs": f"{len(history)} of {training.epochs}, kept: {state.best_epoch}" if state is not None else str(training.epochs),
        "time of training": f"{seconds / 60:.1f} min" if seconds else None,
        "computed by": environment.get("device"),
        "processor": f"{environment['processor']}, {environment['cores']} cores" if "processor" in environment else None,
        "system": environment.get("system"),
        "Python": environment.get("python"),
        "seed": str(training.seed),
        "commit": environment.get("git_commit"),
        "command": " ".join(environment.get("command", [])) or None,
    }
    return {
        "name": run.root.name,
        "created": environment["created"],
        "facts": {name: value for name, value in facts.items() if value},
        "config": to_toml(config),
        "packages": environment.get("packages", {}),
    }


def describe_data(run: RunDir, config: Config, table: pd.DataFrame, class_names: Sequence[str], grouped: bool) -> dict[str, Any]:
    """Return `name` of the data folder, `parts`, `classes` (images of each in each part), `findings` of the audit (kind, level
    and title), its `shortcut` (`read_shortcut`), whether there was an `audited` run at all, and whether images are drawn by
    group (`grouped`)."""
    counts = pd.crosstab(table["target"], table["split"])
    rows = [
        {"class": name, **{part: int(counts.get(part, pd.Series(dtype=int)).get(target, 0)) for part in SPLITS}}
        for target, name in enumerate(class_names)
    ]
    audit = json.loads(run.audit.read_text(encoding="utf-8")) if run.audit.is_file() else {"findings": []}
    findings = [{key: finding[key] for key in ("kind", "level", "title")} for finding in audit["findings"]]
    found = {"name": config.data.data.resolve().name, "parts": list(SPLITS), "classes": rows, "findings": findings}
    return found | {"shortcut": read_shortcut(audit), "audited": run.audit.is_file(), "grouped": grouped}


def read_shortcut(audit: dict[str, Any]) -> dict[str, Any] | None:
    """Return the shortcut that an audit found to spoil the figures: `level`, `title`, `details` (by what the files of the
    classes differ, in words), `advice` and `roc_auc`; None where there is none, or where the audit did not look for it."""
    found = next((finding for finding in audit["findings"] if finding["kind"] == "shortcut"), None)
    if found is None or "details" not in found:
        return None
    kept = {key: found[key] for key in ("level", "title", "details", "advice")}
    return {**kept, "roc_auc": audit["shortcut"]["facts_roc_auc" if audit["shortcut"]["targets"] else "roc_auc"]}


def list_images(table: pd.DataFrame, class_names: Sequence[str], decision: Decision) -> dict[str, list[dict[str, Any]]]:
    """List the images to look at.

    Args:
        table: of `with_predictions`, with `path` and `target`.
        class_names: the K names.
        decision: that the predictions are made with.

    Returns:
        `mistakes`: the 20 wrong answers that give the true class the lowest probability; `least_sure`: the 20 other images
        that are nearest to another answer; each with `path`, `class`, `predicted_class`, `probability` (of the predicted
        class), `true_probability` and `outlier`.
    """
    probabilities = read_probabilities(table, class_names)
    targets, predicted = table["target"].to_numpy(), table["predicted_target"].to_numpy()
    rows = pd.DataFrame(
        {
            "path": table["path"],
            "class": [class_names[target] for target in targets],
            "predicted_class": table["predicted_class"],
            "probability": probabilities[range(len(table)), predicted],
            "true_probability": probabilities[range(len(table)), targets],
            "outlier": table.get("outlier", False),
        }
    )
    mistakes = rows[predicted != targets].sort_values("true_probability", kind="stable")[:LISTED_IMAGES]
    sure = pd.Series(certainty(probabilities, decision.threshold, decision.positive), rows.index).drop(mistakes.index)
    unsure = rows.loc[sure.sort_values(kind="stable").index[:LISTED_IMAGES]]
    return {name: json.loads(found.to_json(orient="records")) for name, found in (("mistakes", mistakes), ("least_sure", unsure))}
