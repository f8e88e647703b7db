"""Facts in the report besides metrics: the run and its data."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from diptych.data.reading.manifest import SPLITS
from diptych.evaluation.report import ClassCount, DataFacts, FoundFault, RunFacts, Shortcut
from diptych.settings.config import Config
from diptych.settings.sources import to_toml
from diptych.storage.run_dir import RunDir
from diptych.storage.runs import read_environment
from diptych.training.state import read_state


def describe_run(run: RunDir, config: Config) -> RunFacts:
    """Return what one wants to know of a run first."""
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
    return RunFacts(
        name=run.root.name,
        created=environment["created"],
        facts={name: value for name, value in facts.items() if value},
        config=to_toml(config),
        packages=environment.get("packages", {}),
    )


def describe_data(run: RunDir, config: Config, table: pd.DataFrame, class_names: Sequence[str], grouped: bool) -> DataFacts:
    """Return what is known of the data of a run.

    Args:
        run: with its audit, if there was one.
        config: of the run.
        table: a row an image, with `target` and `split`.
        class_names: of the run.
        grouped: whether images are drawn by group.
    """
    counts = pd.crosstab(table["target"], table["split"]).reindex(range(len(class_names)), columns=list(SPLITS), fill_value=0)
    rows = [
        ClassCount(name, train=int(row["train"]), validation=int(row["validation"]), test=int(row["test"]))
        for name, (_, row) in zip(class_names, counts.iterrows(), strict=True)
    ]
    audit = json.loads(run.audit.read_text(encoding="utf-8")) if run.audit.is_file() else {"findings": []}
    findings = [FoundFault(finding["kind"], finding["level"], finding["title"]) for finding in audit["findings"]]
    return DataFacts(
        name=config.data.data.resolve().name,
        parts=tuple(SPLITS),
        classes=tuple(rows),
        findings=tuple(findings),
        shortcut=read_shortcut(audit),
        audited=run.audit.is_file(),
        grouped=grouped,
    )


def read_shortcut(audit: Mapping[str, Any]) -> Shortcut | None:
    """Return what the JSON of an audit says of a shortcut that spoils the metrics; None where there is none, or where the audit
    did not look for it."""
    found = next((finding for finding in audit["findings"] if finding["kind"] == "shortcut"), None)
    if found is None or "details" not in found:
        return None
    area = audit["shortcut"]["facts_roc_auc" if audit["shortcut"]["targets"] else "roc_auc"]
    return Shortcut(found["level"], found["title"], tuple(found["details"]), found["advice"], area)
