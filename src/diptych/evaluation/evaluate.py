"""The test of a run: its predictions, judged, and the report written."""

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diptych.data.pixels.decode import ImageSpec
from diptych.data.reading.layouts import image_folder
from diptych.data.reading.manifest import SPLITS, printable
from diptych.data.splits import read_split
from diptych.errors import ConfigError
from diptych.evaluation.external_data import external_folder, is_external, read_external, source_of
from diptych.evaluation.judge import JudgeOptions, Predictions, judge
from diptych.evaluation.model_card import start_model_card
from diptych.evaluation.provenance import describe_data, describe_run
from diptych.evaluation.report import External, Report
from diptych.evaluation.report_images import check_maps, picture_images
from diptych.evaluation.report_page import Pictures, render_report
from diptych.evaluation.split_images import SplitOutputs, groups_of, keep_all, no_scores, pick_rows, read_images
from diptych.inference.choosing import DecisionOptions, choose_decision
from diptych.inference.decision import Decision, Rules, write_decision
from diptych.inference.outliers import Outliers, fit_outliers, write_outliers
from diptych.inference.prediction_table import with_predictions
from diptych.inference.trained_run import TrainedRun
from diptych.inference.tta import View, plan_test
from diptych.metrics.subgroups import check_column
from diptych.screen import command_line, count_of
from diptych.settings.config import Config
from diptych.storage.atomic import PathLike, as_optional_path, refuse_unwritable, write_json, write_table, write_text
from diptych.storage.run_dir import RunDir, tidy
from diptych.training.state import read_state

log = logging.getLogger(__name__)

MAPS, MOST_MAPS = 4, 1000


@dataclass(frozen=True)
class PlannedTest:
    """A test before it begins.

    Attributes:
        run: that is tested.
        split: its split, a row an image.
        data: the data folder or table, if it is another one than that of the training.
        cache: the folder of prepared images.
        external: whether `data` is an external test set.
        folder: of the report.
        spec: how images become pixels.
        views: of each image.
    """

    run: TrainedRun
    split: pd.DataFrame
    data: Path | None
    cache: Path
    external: bool
    folder: Path
    spec: ImageSpec
    views: tuple[View, ...]

    @property
    def plain(self) -> bool:
        """Whether size and views are those of `predict` without flags."""
        return len(self.views) == 1 and self.spec == self.run.spec


@dataclass(frozen=True)
class TestedImages:
    """The images of a test, what answers to them, and what `judge` does not know of them.

    Attributes:
        outputs: of the network, for the images of the table.
        root: the folder of the image files.
        decision: that the predictions follow.
        outliers: what the images are compared with, if there is something.
        counted: a row for each image that the report counts by class and part.
        kept: whether the decision is stored for `predict`.
        external: of an external test.
    """

    __test__ = False

    outputs: SplitOutputs
    root: Path
    decision: Decision
    outliers: Outliers | None
    counted: pd.DataFrame
    kept: bool = True
    external: External | None = None


def evaluate(
    run: TrainedRun | RunDir | PathLike,
    data: PathLike | None = None,
    cache: PathLike | None = None,
    *,
    tta: bool = False,
    test_size: int | None = None,
    choices: DecisionOptions | None = None,
    by: str | Sequence[str] = (),
    maps: int = MAPS,
    output: PathLike | None = None,
) -> Report:
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
        by: a column of the table, or several; the figures of their subgroups are computed too.
        maps: on how many images the maps are checked, and how many mistakes have an occlusion map, 0 to 1000: a thousand passes
            of the network for each; 0 for no maps at all.
        output: the folder for the report of an external test; None for one in the run.

    Returns:
        The report, as it is written; docs/metrics.md describes each metric.

    Raises:
        DataError: an image is missing, unreadable, or not the same file as when the run was trained; an external test set
            has other classes, or images that the run was trained on.
        CheckpointError: the run has no checkpoint or no split, or was trained further since it was opened.
        ConfigError: as `plan_test`, `choose_decision` and `check_column`, or the run cannot be written.
        TypeError: the run or a path is none.
    """
    if not 0 <= maps <= MOST_MAPS:
        raise ConfigError(f"maps is {maps}; expected 0 to {MOST_MAPS}.")
    by = (by,) if isinstance(by, str) else tuple(by)
    places = (as_optional_path(data), as_optional_path(cache), as_optional_path(output))
    run = TrainedRun.open(run)
    run.refresh()
    if choices is not None:
        choices.check(run.class_names)
    planned = plan_evaluation(run, *places, tta=tta, test_size=test_size)
    opened, config = planned.run, planned.run.config
    log.info("loading the network of %s", opened.run_dir.root)
    network = opened.network
    warn_of_unfinished(opened.run_dir, config)
    images = open_external(planned, by, choices) if planned.external else open_own(planned, by, choices or DecisionOptions())
    predictions = predict_split(opened, images.outputs, "test", by, images.outliers)
    log.info("metrics of %s", count_of(len(predictions.targets)))
    report = judge(predictions, JudgeOptions(images.decision, by, images.outliers, config.training.seed))
    pictures = draw_listed(planned, images, report, maps)
    rows = images.outputs.rows("test")
    report = dataclasses.replace(
        report,
        maps=check_maps(network, config, images.decision, images.outputs.store, rows, maps),
        kept=images.kept,
        external=images.external,
        data=describe_data(opened.run_dir, config, images.counted, opened.class_names, predictions.groups is not None),
        run=describe_run(opened.run_dir, config),
    )
    if report.external is not None:
        # Findings of the audit are about the images of the training.
        source = Path(report.external.data).name
        report = dataclasses.replace(report, data=dataclasses.replace(report.data, name=source, findings=(), audited=False))
    write_report(opened, report, predictions, pictures, images, planned.folder)
    return report


def plan_evaluation(
    run: TrainedRun, data: Path | None, cache: Path | None, output: Path | None, *, tta: bool, test_size: int | None
) -> PlannedTest:
    """Check what a test needs, before the network is loaded.

    Raises:
        DataError: there is no such data.
        ConfigError: as `plan_test`, or nothing can be written.
    """
    split = read_split(run.run_dir.split)
    external = data is not None and is_external(run, split, data)
    folder = check_places(run.run_dir, data if external else None, output)
    spec, views = plan_test(run.config, tta, test_size)
    return PlannedTest(run, split, data, cache or run.config.data.cache, external, folder, spec, views)


def open_own(planned: PlannedTest, by: Sequence[str], choices: DecisionOptions) -> TestedImages:
    """Read the images of the run's own split, and choose on the validation images what was not chosen for them before."""
    run, config = planned.run, planned.run.config
    for column in by:
        check_column(planned.split, column)
    tidy(run.run_dir)
    stored, rules = run.stored_decision, choices.after(run.stored_decision, run.class_names)
    how = (planned.spec.size, len(planned.views))
    decision = stored if stored is not None and stored.made_for == (run.weights_hash, *how, rules) else None
    outliers = run.stored_outliers
    if outliers is not None and outliers.made_for != (run.weights_hash, planned.spec.size):
        outliers = None
    there = set(planned.split["split"])
    wanted = there if "validation" in there and not (decision and outliers) else {"test"}
    table = pick_rows(planned.split, [part for part in SPLITS if part in wanted], config.training.seed)
    root = image_folder(config.data, planned.data)
    outputs = SplitOutputs(
        run.feature_network, read_images(root, table, planned.spec, planned.cache), table, planned.views, how[0]
    )
    keep = choices.keep or (planned.plain and (stored is None or stored.weights != run.weights_hash))
    if decision is None or outliers is None:
        probabilities, features = outputs.outputs("validation", keep_all)
        if decision is None:
            chosen = choose(outputs.targets("validation"), probabilities, rules, config.training.seed)
            decision = dataclasses.replace(chosen, weights=run.weights_hash, test_size=how[0], views=how[1])
            if keep:
                write_decision(run.run_dir, decision)
        if outliers is None and wanted >= {"train", "validation"}:
            groups = groups_of(table[table["split"] == "validation"], config.data.group_column)
            clusters = None if groups is None else len(np.unique(groups))
            outliers = fit_outliers(outputs.outputs("train", keep_all)[1], features, run.weights_hash, how[0], clusters)
            if keep:
                write_outliers(run.run_dir, outliers)
        run.forget_choices()
    return TestedImages(outputs, root, decision, outliers, planned.split, kept=decision == run.stored_decision)


def open_external(planned: PlannedTest, by: Sequence[str], choices: DecisionOptions | None) -> TestedImages:
    """Read all labelled images of another data set; nothing is chosen on them, and nothing of the run changes."""
    run, data = planned.run, planned.data or planned.run.config.data.data
    if choices not in (None, DecisionOptions()):
        raise ConfigError(
            f"{data} is an external test set: it is tested with what the run has chosen on its own validation images. Choose "
            f"first, without --data: {command_line('evaluate', run.run_dir.root, '--keep')}, with --threshold and the like."
        )
    log.info("%s has none of the test images of %s: an external test of all its images", data, run.run_dir.root)
    table, store, problems = read_external(run, planned.split, data, planned.spec, planned.cache)
    for path, problem in zip(problems["path"][:10], problems["problem"][:10], strict=True):
        log.warning("not tested: %s: %s", path, problem)
    test = table[table["split"] == "test"].reset_index(drop=True)
    for column in by:
        check_column(test, column)
    decision, outliers = run.answer_with(planned.spec.size, len(planned.views))
    outputs = SplitOutputs(run.feature_network, store, table, planned.views, planned.spec.size)
    report = printable(str(planned.folder / run.run_dir.report.name))
    external = External(source_of(data), len(test), len(problems), report)
    return TestedImages(outputs, image_folder(run.config.data, data), decision, outliers, test, external=external)


def predict_split(
    run: TrainedRun, outputs: SplitOutputs, part: str = "test", by: Sequence[str] = (), outliers: Outliers | None = None
) -> Predictions:
    """Let the network predict the images of a part of the split.

    Args:
        run: whose network it is.
        outputs: of the network, for the images of the split.
        part: "train", "validation" or "test".
        by: columns of the table that go with the predictions.
        outliers: what the images are compared with.
    """
    table = outputs.part(part)
    probabilities, scores = outputs.outputs(part, outliers.scores if outliers else no_scores)
    return Predictions(
        class_names=run.class_names,
        targets=table["target"].to_numpy(np.int64),
        probabilities=probabilities,
        paths=tuple(table["path"]),
        groups=groups_of(table, run.config.data.group_column),
        columns={column: table[column].to_numpy(str) for column in by},
        outlier_scores=scores if outliers else None,
        test_size=outputs.size,
        views=len(outputs.views),
    )


def draw_listed(planned: PlannedTest, images: TestedImages, report: Report, maps: int) -> dict[str, Pictures]:
    """Draw the images that the report lists; `maps` as for `picture_images`."""
    table, outputs = images.outputs.part("test"), images.outputs
    if maps:
        log.info("maps of %s, a thousand passes of the network for each", count_of(min(maps, len(table))))
    listed = list(dict.fromkeys(image.path for image in (*report.mistakes, *report.least_sure)))
    rows = pd.Series(outputs.rows("test"), table["path"])[listed].to_numpy(np.int64)
    files = {path: images.root / path for path in listed}
    return picture_images(planned.run.network, images.decision, outputs.store, rows, files, planned.spec, maps=maps)


def write_report(
    run: TrainedRun, report: Report, predictions: Predictions, pictures: dict[str, Pictures], images: TestedImages, folder: Path
) -> None:
    """Write predictions.csv, metrics.json and report.html into a folder, and a model card into the run if it has none.

    Raises:
        OSError: a file cannot be written.
    """
    names, limit = run.class_names, images.outliers.limit if images.outliers else None
    table = images.outputs.part("test")
    table = with_predictions(table, predictions.probabilities, names, report.decision, predictions.outlier_scores, limit)
    start_model_card(run.run_dir, names)
    write_table(folder / run.run_dir.predictions.name, table)
    write_json(folder / run.run_dir.metrics.name, report.to_json())
    write_text(folder / run.run_dir.report.name, render_report(run.run_dir, report, pictures))


def check_places(run: RunDir, external: Path | None, output: Path | None) -> Path:
    """Return the folder that the report goes to, once it is sure that files can be written there.

    Raises:
        ConfigError: they cannot, or a folder is named for the report of the run's own test.
    """
    if external is None:
        if output is not None:
            raise ConfigError(f"output {output} is for an external test (data); the run's own report lies in {run.report}.")
        refuse_unwritable(
            run.root, "The report and the decision that predict uses are kept there: copy the run to where you can write."
        )
        return run.report.parent
    folder = output or external_folder(run, external)
    refuse_unwritable(folder, "Name another output folder.")
    return folder


def choose(targets: NDArray[np.int64], probabilities: NDArray[np.float64], rules: Rules, seed: int) -> Decision:
    if len(targets):
        return choose_decision(targets, probabilities, *rules, seed=seed)
    if rules._replace(positive=1) != Rules():
        raise ConfigError(
            "threshold, abstain and coverage are chosen on validation images, and the split of this run has none. Leave them out."
        )
    return Decision(positive=rules.positive)


def warn_of_unfinished(run: RunDir, config: Config) -> None:
    state = read_state(run)
    if state is not None and not state.finished(config.training.epochs):
        done, best = f"{state.epoch} of {config.training.epochs} epochs", f"epoch {state.best_epoch}"
        log.warning("The training of %s is not finished (%s); tested is the best up to now, %s.", run.root, done, best)
