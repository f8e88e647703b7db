"""What the report says besides figures: the run, its data, the images that it went wrong on, and the card to fill in."""

import json
import re
from collections.abc import Sequence
from typing import Any

import pandas as pd

from diptych.config import Config
from diptych.data.manifest import SPLITS
from diptych.evaluation.decision import Decision, certainty
from diptych.evaluation.metrics import read_shares
from diptych.presets import to_toml
from diptych.runs import read_environment
from diptych.storage import RunDir, write_text
from diptych.training.state import read_state

LISTED_IMAGES = 20
CARD = """\
# {name}

*This card is yours: it lies in `{file}`. Write into it, then run `diptych evaluate` again; the text comes into the report.*

## Intended use

What is the classifier for, who uses it, and what is done with its answers? Classes: {classes}.

## Not intended for

Which images, places or decisions is it not made for? It has learnt from images of one source; another camera, light, or
selection of objects needs a test of its own.

## Limits

What is known to go wrong? The subgroups, the worst mistakes and the outliers of the report are a place to begin.

## Data and licence

Where are the images from, who labelled them and how, may they be used for this, and under which licence?

## Contact

Who answers questions about it?
"""


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
    """Return what an audit says of a shortcut that spoils the figures: `level`, `title`, `details` (by what the files of the
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
    shares = read_shares(table, class_names)
    targets, predicted = table["target"].to_numpy(), table["predicted_target"].to_numpy()
    rows = pd.DataFrame(
        {
            "path": table["path"],
            "class": [class_names[target] for target in targets],
            "predicted_class": table["predicted_class"],
            "probability": shares[range(len(table)), predicted],
            "true_probability": shares[range(len(table)), targets],
            "outlier": table.get("outlier", False),
        }
    )
    mistakes = rows[predicted != targets].sort_values("true_probability", kind="stable")[:LISTED_IMAGES]
    sure = pd.Series(certainty(shares, decision.threshold, decision.positive), rows.index).drop(mistakes.index)
    unsure = rows.loc[sure.sort_values(kind="stable").index[:LISTED_IMAGES]]
    return {name: json.loads(found.to_json(orient="records")) for name, found in (("mistakes", mistakes), ("least_sure", unsure))}


def start_model_card(run: RunDir, class_names: Sequence[str]) -> None:
    """Write a model card to fill in (Mitchell et al., FAccT 2019, arXiv 1810.03993), unless there is one."""
    if not run.model_card.exists():
        write_text(run.model_card, empty_card(run, class_names))


def empty_card(run: RunDir, class_names: Sequence[str]) -> str:
    return CARD.format(name=run.root.name, file=run.model_card.name, classes=", ".join(class_names[:20]))


def answered_card(run: RunDir, class_names: Sequence[str]) -> str:
    """Return what the user has written into the model card, Markdown: without our questions, and without the headings of those
    that nobody has answered; "" where there is nothing else."""
    if not run.model_card.is_file():
        return ""
    asked = set(empty_card(run, class_names).splitlines())
    found = []
    for section in re.split(r"^(?=##? )", run.model_card.read_text(encoding="utf-8", errors="replace"), flags=re.MULTILINE):
        heading, *lines = section.splitlines() or [""]
        lines = [line for line in lines if line not in asked]
        if any(line.strip() for line in lines) or (heading.strip() and heading not in asked):
            found.append("\n".join([heading, *lines]))
    return "\n\n".join(found)
