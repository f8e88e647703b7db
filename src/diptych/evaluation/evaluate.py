"""The test of a run: figures in metrics.json, predictions in predictions.csv."""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diptych.data.pixels.decode import ImageSpec
from diptych.data.reading.layouts import image_folder
from diptych.data.reading.manifest import SPLITS, printable
from diptych.data.splits import read_split
from diptych.errors import ConfigError
from diptych.evaluation.curves import compute_curves, describe_answers, describe_sets
from diptych.evaluation.external_test import external_folder, is_external, read_external, source_of
from diptych.evaluation.model_card import start_model_card
from diptych.evaluation.provenance import describe_data, describe_run, list_images
from diptych.evaluation.report_images import check_maps, picture_images
from diptych.evaluation.report_page import Pictures, render_report, write_report
from diptych.evaluation.split_images import SplitOutputs, groups_of, keep_all, no_scores, pick_rows, read_images
from diptych.inference.choosing import DecisionOptions, choose_decision
from diptych.inference.decision import Decision, Rules, write_decision
from diptych.inference.outliers import FLAGGED_SHARE, Outliers, fit_outliers, write_outliers
from diptych.inference.prediction_table import with_predictions
from diptych.inference.trained_run import TrainedRun
from diptych.inference.tta import View, plan_test
from diptych.metrics.classification import compute_metrics
from diptych.metrics.influence import share_interval
from diptych.metrics.positive import turned
from diptych.metrics.subgroups import check_column, compute_subgroups
from diptych.screen import command_line, count_of
from diptych.settings.config import Config
from diptych.storage.atomic import FORMAT_VERSION, PathLike, as_paths, refuse_unwritable, write_json, write_table, write_text
from diptych.storage.run_dir import RunDir, tidy
from diptych.training.state import read_state

log = logging.getLogger(__name__)

MAPS = 4


@dataclass(frozen=True)
class Subject:
    """A run that is tested, and how its images are looked at.

    Attributes:
        run: the run.
        spec: how images become pixels.
        views: of each image.
    """

    run: TrainedRun
    spec: ImageSpec
    views: tuple[View, ...]

    @property
    def plain(self) -> bool:
        """Whether size and views are those of `predict` without flags."""
        return len(self.views) == 1 and self.spec == self.run.spec


@dataclass(frozen=True)
class Extent:
    """Which parts of a report are made.

    Attributes:
        by: columns of the table; the figures of their subgroups are computed too.
        maps: on how many images the maps are checked, and how many mistakes have an occlusion map.
    """

    by: Sequence[str] = ()
    maps: int = MAPS


def evaluate(
    run: TrainedRun | RunDir | PathLike,
    data: PathLike | None = None,
    cache: PathLike | None = None,
    *,
    tta: bool = False,
    test_size: int | None = None,
    choices: DecisionOptions | None = None,
    by: Sequence[str] = (),
    maps: int = MAPS,
    output: PathLike | None = None,
) -> dict[str, Any]:
    """Test the best checkpoint of a run on the images that its split keeps for the test, or on another labelled data set.

    Temperature, threshold, "don't know", sets of classes and the limit of outliers are chosen on the validation images, unless
    they were for the same weights and the same choices. The first choice is kept in the run, where `predict` finds it; later
    ones, and those with `tta` or `test_size`, only with `choices.keep`.

    Args:
        run: a trained run, open or not: its folder, or its name in runs/.
        data: the data folder or table, where it has moved since; None for the one that the run was trained on. One that has
            none of the run's test images is an external test set: all of its images are tested, with the run's decision.
        cache: the folder that keeps the prepared images; None for the one of the training.
        tta: test-time augmentation: the mean over the flips and quarter turns that the run was trained with.
        test_size: height and width of the images for the network, in pixels; None for those of the training.
        choices: what to choose.
        by: columns of the table; the figures of their subgroups are computed too.
        maps: on how many images the maps are checked, and how many mistakes have an occlusion map: a thousand passes of the
            network for each; 0 for no maps at all.
        output: the folder for the report of an external test; None for one in the run.

    Returns:
        What is written to metrics.json; docs/metrics.md describes it.

    Raises:
        DataError: an image is missing, unreadable, or not the same file as when the run was trained; an external test set
            has other classes, or images that the run was trained on.
        CheckpointError: the run has no checkpoint or no split.
        ConfigError: as `plan_test`, `choose_decision` and `compute_subgroups`, or the run cannot be written.
        TypeError: the run or a path is none.
    """
    opened = TrainedRun.open(run)
    run, config = opened.run_dir, opened.config
    (root, keep, place) = (as_paths(path)[0] if path is not None else None for path in (data, cache, output))
    table, extent = read_split(run.split), Extent(by, maps)
    external = root is not None and is_external(run, table, root)
    folder = check_places(run, root if external else None, place)
    spec, views = plan_test(config, tta, test_size)
    log.info("loading the network of %s", run.root)
    opened.network  # noqa: B018
    subject = Subject(opened, spec, views)
    warn_of_unfinished(run, config)
    cached = keep or config.data.cache
    if external and root is not None:
        if choices not in (None, DecisionOptions()):
            raise ConfigError(
                f"{root} is an external test set: it is tested with what the run has chosen on its own validation images. Choose "
                f"first, without --data: {command_line('evaluate', run.root, '--keep')}, with --threshold and the like."
            )
        return evaluate_external(subject, table, root, cached, extent, folder)
    return evaluate_own(subject, table, image_folder(config.data, root), cached, extent, choices or DecisionOptions())


def evaluate_own(
    subject: Subject, table: pd.DataFrame, root: Path, cache: Path, extent: Extent, choices: DecisionOptions
) -> dict[str, Any]:
    """Do `evaluate` on the images of the split."""
    run, config = subject.run.run_dir, subject.run.config
    for column in extent.by:
        check_column(table, column)
    tidy(run)
    weights, stored = subject.run.weights_hash, subject.run.stored_decision
    rules = choices.after(stored, subject.run.class_names)
    decision, outliers = stored, subject.run.stored_outliers
    if decision is not None and decision.made_for != (weights, subject.spec.size, len(subject.views), rules):
        decision = None
    if outliers is not None and outliers.made_for != (weights, subject.spec.size):
        outliers = None
    found = set(table["split"]) if "validation" in set(table["split"]) and not (decision and outliers) else {"test"}
    parts = pick_rows(table, [part for part in SPLITS if part in found], config.training.seed)
    store = read_images(root, parts, subject.spec, cache)
    answers = SplitOutputs(subject.run.tapped, store, parts, subject.views)
    keep = choices.keep or (subject.plain and (stored is None or stored.weights != weights))
    if decision is None or outliers is None:
        probabilities, features = answers.outputs("validation", keep_all)
        if decision is None:
            chosen = choose(answers.targets("validation"), probabilities, rules, config.training.seed)
            decision = replace(chosen, weights=weights, test_size=subject.spec.size, views=len(subject.views))
            if keep:
                write_decision(run, decision)
        if outliers is None and found >= {"train", "validation"}:
            checked = groups_of(parts[parts["split"] == "validation"], config.data.group_column)
            units = None if checked is None else len(np.unique(checked))
            training = answers.outputs("train", keep_all)[1]
            outliers = fit_outliers(training, features, weights, subject.spec.size, units)
            if keep:
                write_outliers(run, outliers)
    subject.run.forget_choices()
    figures, predictions, pictures = judge(subject, answers, root, decision, outliers, extent)
    grouped = groups_of(answers.table, config.data.group_column) is not None
    figures |= {"kept": decision == subject.run.stored_decision, "external": None}
    figures |= {"data": describe_data(run, config, table, subject.run.class_names, grouped), "run": describe_run(run, config)}
    start_model_card(run, subject.run.class_names)
    write_table(run.predictions, predictions)
    write_json(run.metrics, {"format_version": FORMAT_VERSION, **figures})
    write_report(run, figures, pictures)
    return figures


def evaluate_external(
    subject: Subject, split: pd.DataFrame, data: Path, cache: Path, extent: Extent, folder: Path
) -> dict[str, Any]:
    """Evaluate on all labelled images of another data set, with the decision of the run, which is not changed."""
    run, config = subject.run.run_dir, subject.run.config
    log.info("%s has none of the test images of %s: an external test of all its images", data, run.root)
    table, store, problems = read_external(run, split, data, subject.run.class_names, subject.spec, cache)
    for path, problem in zip(problems["path"][:10], problems["problem"][:10], strict=True):
        log.warning("not tested: %s: %s", path, problem)
    test = table[table["split"] == "test"].reset_index(drop=True)
    for column in extent.by:
        check_column(test, column)
    decision, outliers = subject.run.answer_with(subject.spec.size, len(subject.views))
    answers = SplitOutputs(subject.run.tapped, store, table, subject.views)
    root = image_folder(config.data, data)
    figures, predictions, pictures = judge(subject, answers, root, decision, outliers, extent)
    figures |= {"kept": True, "external": {"data": source_of(data), "images": len(test), "unreadable": len(problems)}}
    figures["external"]["report"] = printable(str(folder / run.report.name))
    grouped = groups_of(test, config.data.group_column) is not None
    facts = describe_data(run, config, test, subject.run.class_names, grouped)
    figures |= {"data": facts | {"name": Path(source_of(data)).name, "findings": [], "audited": False}}
    figures |= {"run": describe_run(run, config)}
    start_model_card(run, subject.run.class_names)
    write_table(folder / run.predictions.name, predictions)
    write_json(folder / run.metrics.name, {"format_version": FORMAT_VERSION, **figures})
    write_text(folder / run.report.name, render_report(run, figures, pictures))
    return figures


def judge(
    subject: Subject, answers: SplitOutputs, root: Path, decision: Decision, outliers: Outliers | None, extent: Extent
) -> tuple[dict[str, Any], pd.DataFrame, dict[str, Pictures]]:
    """Predict the test images of a table, whose files are in a folder.

    Returns:
        The figures, the table with the predictions, and the pictures of the images that the figures list.
    """
    names, parts = subject.run.class_names, answers.table
    test = parts[parts["split"] == "test"].reset_index(drop=True)
    probabilities, scores = answers.outputs("test", outliers.scores if outliers else no_scores)
    log.info("figures of %s", count_of(len(test)))
    figures = compute_all(test, probabilities, names, decision, subject.run.config, extent.by)
    figures |= {"outliers": describe_outliers(outliers, scores, groups_of(test, subject.run.config.data.group_column))}
    figures |= {"test_size": subject.spec.size, "views": len(subject.views)}
    told = (scores, outliers.limit) if outliers else (None, None)
    predictions = with_predictions(test, probabilities, names, decision, *told)
    figures |= list_images(predictions, names, decision)
    rows = pd.Series(np.flatnonzero(parts["split"] == "test"), test["path"])
    listed = list(dict.fromkeys(row["path"] for key in ("mistakes", "least_sure") for row in figures[key]))
    if extent.maps:
        log.info("maps of %s, a thousand passes of the network for each", count_of(min(extent.maps, len(test))))
    where = rows[listed].to_numpy(np.int64)
    files = {path: root / path for path in listed}
    pictures = picture_images(subject.run.network, decision, answers.store, where, files, subject.spec, extent.maps)
    every = rows.to_numpy(np.int64)
    figures["maps"] = check_maps(subject.run.network, subject.run.config, decision, answers.store, every, extent.maps)
    return figures, predictions, pictures


def check_places(run: RunDir, external: Path | None, output: Path | None) -> Path:
    """Return the folder that the report goes to, once it is sure that files can be written there.

    Raises:
        ConfigError: they cannot, or a folder is named for the report of the run's own test.
    """
    if external is None:
        if output is not None:
            raise ConfigError(f"--output {output} is for an external test (--data); the run's own report lies in {run.report}.")
        refuse_unwritable(run.root, "The report and what predict obeys are kept there: copy the run to where you can write.")
        return run.report.parent
    folder = output or external_folder(run, external)
    refuse_unwritable(folder, "Name another folder with --output.")
    return folder


def choose(targets: NDArray[np.int64], probabilities: NDArray[np.float64], rules: Rules, seed: int) -> Decision:
    if len(targets):
        return choose_decision(targets, probabilities, *rules, seed)
    if rules._replace(positive=1) != Rules():
        raise ConfigError(
            "--threshold, --abstain and --coverage are chosen on validation images, and the split of this run has none. Leave "
            "them out."
        )
    return Decision(positive=rules.positive)


def compute_all(
    test: pd.DataFrame,
    raw: NDArray[np.float64],
    class_names: Sequence[str],
    decision: Decision,
    config: Config,
    by: Sequence[str] = (),
) -> dict[str, Any]:
    """Compute everything that follows from the predictions alone.

    Where class 0 is the positive one, all is computed with the classes the other way round, and then turned back.

    Args:
        test: N rows with `target`, the columns to divide by, and that of the groups, if there are any.
        raw: probabilities (N, K), as the network gives them.
        class_names: the K names.
        decision: of the run.
        config: of the run.
        by: columns.
    """
    if decision.positive == 0:
        other = test.assign(target=1 - test["target"])
        found = compute_all(other, raw[:, ::-1], class_names[::-1], replace(decision, positive=1), config, by)
        return turned(found) | {"decision": described(decision)}
    targets, probabilities = test["target"].to_numpy(np.int64), decision.calibrated(raw)
    groups = groups_of(test, config.data.group_column)
    options: dict[str, Any] = {"seed": config.training.seed, "groups": groups}
    figures = compute_metrics(targets, probabilities, decision.threshold, class_names, **options)
    return figures | {
        **({"positive": class_names[1]} if len(class_names) == 2 else {}),
        "decision": described(decision),
        "answers": describe_answers(targets, probabilities, decision, groups),
        "class_sets": describe_sets(targets, probabilities, decision, groups),
        "subgroups": {
            column: compute_subgroups(test, column, probabilities, decision.threshold, class_names, **options) for column in by
        },
        "curves": compute_curves(targets, raw, probabilities, decision),
    }


def described(decision: Decision) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(asdict(decision)))
    return found


def describe_outliers(
    outliers: Outliers | None, scores: NDArray[np.float64], groups: NDArray[np.int64] | None = None
) -> dict[str, Any] | None:
    """Count the outliers among test images (N,); with groups (N,), the interval is by group. None without a limit."""
    if outliers is None:
        return None
    facts = {
        "references": len(outliers.references),
        "neighbour": outliers.neighbour,
        "validation_units": outliers.units,
        "limit": outliers.limit,
        "expected_share": FLAGGED_SHARE,
        "expected_interval": outliers.expected,
    }
    if outliers.limit is None:
        return facts | {"flagged": None, "share": None, "share_interval": None}
    flagged = scores > outliers.limit
    found = {"flagged": int(flagged.sum()), "share": float(flagged.mean())}
    return facts | found | {"share_interval": share_interval(flagged, groups).interval}


def warn_of_unfinished(run: RunDir, config: Config) -> None:
    state = read_state(run)
    if state is not None and not state.finished(config.training.epochs):
        done, best = f"{state.epoch} of {config.training.epochs} epochs", f"epoch {state.best_epoch}"
        log.warning("The training of %s is not finished (%s); tested is the best up to now, %s.", run.root, done, best)
