"""The test of a run: figures in metrics.json, predictions in predictions.csv."""

import dataclasses
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diptych.config import Config
from diptych.data.manifest import SPLITS
from diptych.errors import ConfigError
from diptych.evaluation.curves import compute_curves, describe_answers, describe_sets
from diptych.evaluation.decision import Decision, choose_decision, hash_of_weights, read_decision, write_decision
from diptych.evaluation.facts import describe_data, describe_run, list_images, start_model_card
from diptych.evaluation.intervals import DRAWS, wilson
from diptych.evaluation.metrics import as_shares, compute_metrics
from diptych.evaluation.outliers import Outliers, fit_outliers, read_outliers, write_outliers
from diptych.evaluation.page import write_report
from diptych.evaluation.parts import Answering, groups_of, keep_all, no_scores, pick_rows, read_images, read_split
from diptych.evaluation.pictures import check_maps, picture_images
from diptych.evaluation.predictions import tap, with_predictions
from diptych.evaluation.subgroups import check_column, compute_subgroups
from diptych.evaluation.views import plan_test
from diptych.presets import read_toml
from diptych.storage import FORMAT_VERSION, RunDir, tidy, write_json, write_table
from diptych.training.checkpoint import load_run_network
from diptych.training.state import read_state

log = logging.getLogger(__name__)

MAPS = 4


@dataclass(frozen=True)
class Choices:
    """What is chosen on the validation images. None: as in the test before, or what stands in brackets.

    Attributes:
        threshold: see `choose_threshold` ("0.5").
        abstain: see `choose_abstention` ("none").
        coverage: of the sets of classes (0.95).
    """

    threshold: str | None = None
    abstain: str | None = None
    coverage: float | None = None

    def after(self, stored: Decision | None) -> tuple[str, str, float]:
        """Return the three with nothing left open."""
        before = stored or Decision()
        given = (self.threshold, before.rule), (self.abstain, before.abstain_rule)
        rule, abstain_rule = (old if new is None else new for new, old in given)
        return rule, abstain_rule, before.coverage if self.coverage is None else self.coverage


def evaluate(
    run: RunDir,
    data: Path | None = None,
    cache: Path | None = None,
    *,
    tta: bool = False,
    test_size: int | None = None,
    choices: Choices | None = None,
    by: Sequence[str] = (),
    draws: int = DRAWS,
    maps: int = MAPS,
) -> dict[str, Any]:
    """Test the best checkpoint of a run on the images that its split keeps for the test.

    Temperature, threshold, "don't know", sets of classes and the limit of outliers are chosen on the validation images, unless
    they were for the same weights and the same choices, and kept in the run, where `predict` finds them.

    Args:
        run: a trained run.
        data: the data folder or table, where it has moved since; None for the one that the run was trained on.
        cache: the folder that keeps the prepared images; None for the one of the training.
        tta: test-time augmentation: the mean over the flips and quarter turns that the run was trained with.
        test_size: height and width of the images for the network, in pixels; None for those of the training.
        choices: what to choose.
        by: columns of the table; the figures of their subgroups are computed too.
        draws: of the bootstrap.
        maps: on how many images the maps are checked, and how many mistakes have an occlusion map: a thousand passes of the
            network for each; 0 for no maps at all.

    Returns:
        What is written to evaluation/metrics.json; docs/metrics.md describes it.

    Raises:
        DataError: an image is missing, unreadable, or not the same file as when the run was trained.
        CheckpointError: the run has no checkpoint or no split.
        ConfigError: as `plan_test`, `choose_decision` and `compute_subgroups`.
    """
    config = read_toml(run.config, Config())
    spec, views = plan_test(config, tta, test_size)
    network, _, class_names = load_run_network(run)
    table = read_split(run)
    for column in by:
        check_column(table, column)
    warn_of_unfinished(run, config)
    tidy(run)
    weights, rules = hash_of_weights(run), (choices or Choices()).after(read_decision(run))
    decision, outliers = read_decision(run), read_outliers(run)
    if decision is not None and decision.made_for != (weights, spec.size, len(views), *rules):
        decision = None
    if outliers is not None and outliers.made_for != (weights, spec.size):
        outliers = None
    found = set(table["split"]) if "validation" in set(table["split"]) and not (decision and outliers) else {"test"}
    wanted = [part for part in SPLITS if part in found]
    parts = pick_rows(table, wanted, config.training.seed)
    root, keep = data or config.data.data, cache or config.data.cache
    root = root.parent if root.is_file() else root
    store = read_images(root, parts, spec, keep)
    answers = Answering(tap(network), store, parts, views)
    if decision is None or outliers is None:
        probabilities, features = answers.outputs("validation", keep_all)
        if decision is None:
            chosen = choose(answers.targets("validation"), probabilities, rules, config.training.seed)
            decision = dataclasses.replace(chosen, weights=weights, test_size=spec.size, views=len(views))
            write_decision(run, decision)
        if outliers is None and {"train", "validation"} <= set(wanted):
            outliers = fit_outliers(answers.outputs("train", keep_all)[1], features, weights, spec.size)
            write_outliers(run, outliers)
    test = parts[parts["split"] == "test"].reset_index(drop=True)
    probabilities, scores = answers.outputs("test", outliers.scores if outliers else no_scores)
    figures = compute_all(test, probabilities, class_names, decision, config, by, draws)
    figures |= {"outliers": describe_outliers(outliers, scores), "test_size": spec.size, "views": len(views)}
    told = (scores, outliers.limit) if outliers else (None, 0.0)
    predictions = with_predictions(test, probabilities, class_names, decision, *told)
    figures |= list_images(predictions, class_names, decision)
    grouped = groups_of(test, config.data.group_column) is not None
    figures |= {"data": describe_data(run, config, table, class_names, grouped), "run": describe_run(run, config)}
    rows = pd.Series(np.flatnonzero(parts["split"] == "test"), test["path"])
    listed = list(dict.fromkeys(row["path"] for key in ("mistakes", "least_sure") for row in figures[key]))
    files = {path: root / path for path in listed}
    pictures = picture_images(network, decision, store, rows[listed].to_numpy(np.int64), files, spec, maps)
    figures["maps"] = check_maps(network, config, decision, store, rows.to_numpy(np.int64), maps)
    start_model_card(run, class_names)
    write_table(run.predictions, predictions)
    write_json(run.metrics, {"format_version": FORMAT_VERSION, **figures})
    write_report(run, figures, pictures)
    return figures


def choose(targets: NDArray[np.int64], probabilities: NDArray[np.float32], rules: tuple[str, str, float], seed: int) -> Decision:
    if len(targets):
        return choose_decision(targets, as_shares(probabilities), *rules, seed)
    if rules != Choices().after(None):
        raise ConfigError(
            "--threshold, --abstain and --coverage are chosen on validation images, and the split of this run has none. Leave "
            "them out."
        )
    return Decision()


def compute_all(
    test: pd.DataFrame,
    probabilities: NDArray[np.float32],
    class_names: Sequence[str],
    decision: Decision,
    config: Config,
    by: Sequence[str] = (),
    draws: int = DRAWS,
) -> dict[str, Any]:
    """Compute everything that follows from the predictions alone.

    Args:
        test: N rows with `target`, the columns to divide by, and that of the groups, if there are any.
        probabilities: as the network gives them: of two classes (N,), that of class 1; of more (N, K).
        class_names: the K names.
        decision: of the run.
        config: of the run.
        by: columns.
        draws: of the bootstrap.
    """
    targets, raw = test["target"].to_numpy(np.int64), as_shares(probabilities)
    shares = decision.calibrated(raw)
    counted = shares[:, 1] if probabilities.ndim == 1 else shares
    options: dict[str, Any] = {"draws": draws, "seed": config.training.seed}
    options["groups"] = groups_of(test, config.data.group_column)
    figures = compute_metrics(targets, counted, decision.threshold, class_names, **options)
    return figures | {
        "decision": json.loads(json.dumps(dataclasses.asdict(decision))),
        "answers": describe_answers(targets, shares, decision),
        "class_sets": describe_sets(targets, shares, decision),
        "subgroups": {
            column: compute_subgroups(test, column, counted, decision.threshold, class_names, **options) for column in by
        },
        "curves": compute_curves(targets, raw, shares, decision),
    }


def describe_outliers(outliers: Outliers | None, scores: NDArray[np.float64]) -> dict[str, Any] | None:
    if outliers is None:
        return None
    flagged = int((scores > outliers.limit).sum())
    return {
        "references": len(outliers.references),
        "neighbour": outliers.neighbour,
        "limit": outliers.limit,
        "flagged": flagged,
        "share": flagged / len(scores),
        "share_interval": wilson(flagged, len(scores)),
    }


def warn_of_unfinished(run: RunDir, config: Config) -> None:
    state = read_state(run)
    if state is not None and not state.finished(config.training.epochs):
        done, best = f"{state.epoch} of {config.training.epochs} epochs", f"epoch {state.best_epoch}"
        log.warning("The training of %s is not finished (%s); tested is the best up to now, %s.", run.root, done, best)
