"""Label errors: the images whose label a cross-validated network doubts most."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from diptych.data.contact_sheet import GAP, INK, LINE, PAPER, TILE, draw_tile, write_line
from diptych.data.pixels.decode import spec_of
from diptych.data.pixels.prepare import prepare
from diptych.data.reading.fixes import COLUMNS as FIX_COLUMNS
from diptych.data.reading.layouts import image_folder
from diptych.data.reading.tables import fits_csv
from diptych.errors import CheckpointError, ConfigError, DataError
from diptych.experiments.tested_run import TestedRun, read_tested
from diptych.inference.prediction_table import probability_column
from diptych.inference.trained_run import TrainedRun
from diptych.metrics.influence import Sample, of_counts
from diptych.storage.atomic import write_atomically, write_table
from diptych.storage.run_dir import RunDir

try:
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores
except ImportError as error:
    raise ConfigError("diptych label-errors needs cleanlab: pip install 'diptych[labels]', or pip install cleanlab.") from error

# Ten public test sets have 3.3 % of wrong labels on average, the worst of them 10 % (Northcutt, Athalye and Mueller, NeurIPS
# 2021, https://arxiv.org/abs/2103.14749).
MOST_WRONG = 0.1
SHEET_COLUMNS = 6
SHEET_IMAGES = 60


@dataclass(frozen=True)
class LabelErrors:
    """Doubtful labels.

    Attributes:
        images: how many were looked at.
        table: a row an image that the network would label otherwise, the most doubtful first: `path`, `given_class`,
            `suggested_class`, `score` (the probability that the network gives to the label, 0 to 1), `likely_wrong` (whether
            confident learning says so too), `probability_NAME` of each class.
        files: what was written: the table; the sheet, unless it is empty; the corrections, unless there are none, or they
            are more than a tenth of all labels.
    """

    images: int
    table: pd.DataFrame
    files: tuple[Path, ...]


def find_label_errors(run: RunDir, output: Path, data: Path | None = None) -> LabelErrors:
    """Name the images of a cross-validation whose labels are likely wrong, and write them down for a person to look at.

    Each image was tested by a network that has not seen it. Doubtful is any label that this network would not give; likely
    wrong are as many as confident learning estimates (Northcutt et al., JAIR 2021, https://arxiv.org/abs/1911.00068), which
    leaves out most images that are merely hard. These alone are suggested as corrections.

    Args:
        run: the folder of a cross-validation that `diptych evaluate` has tested.
        output: folder for label_errors.csv, label_errors.png and fixes.csv.
        data: the data folder or table, where it has moved since the training.

    Raises:
        CheckpointError: it is no cross-validation, or was not tested yet.
        ConfigError: it is not shown to tell the classes apart better than chance.
        DataError: an image is gone, or cannot be read.
    """
    if not run.folds.is_file():
        raise CheckpointError(
            f"{run.root} is not a cross-validation: it has seen most labels, so it would not doubt them. Train one with diptych "
            "train --folds 5, and test it with diptych evaluate."
        )
    tested = read_tested(run)
    refuse_chance(tested, run)
    table = describe_doubtful(tested, *find_doubtful(tested.targets, tested.probabilities))
    files = [output / "label_errors.csv"]
    write_table(files[0], table)
    if len(table):
        files.append(output / "label_errors.png")
        draw_sheet(files[-1], table[:SHEET_IMAGES], run, data)
    # More are rather the network's own mistakes; their labels are not to be changed by one command.
    if 0 < table["likely_wrong"].sum() <= MOST_WRONG * len(tested.table):
        files.append(output / "fixes.csv")
        write_table(files[-1], to_fixes(table[table["likely_wrong"]]))
    return LabelErrors(len(tested.table), table, tuple(files))


def refuse_chance(tested: TestedRun, run: RunDir) -> None:
    """Raise a ConfigError where the balanced accuracy of a cross-validation is not shown to be better than chance."""
    answers, classes = tested.answers, len(np.unique(tested.targets))
    figure = float(answers.figures(np.ones((1, len(tested.table))))["balanced_accuracy"][0])
    found = of_counts(answers, {"balanced_accuracy": figure}, Sample(tested.targets, tested.groups))["balanced_accuracy"]
    low, high = found.interval or (0.0, 1.0)
    if classes > 1 and low <= 1 / classes:
        raise ConfigError(
            f"{run.root} has a balanced accuracy of {figure:.1%} ({low:.1%} to {high:.1%}), which is not shown to be better "
            f"than chance ({1 / classes:.1%}): a network that cannot tell the classes apart cannot doubt their labels. Train "
            "longer, or with more images."
        )


def find_doubtful(targets: NDArray[np.int64], probabilities: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Find the labels that are not the most probable class, and those that are likely wrong.

    Args:
        targets: (N,), the labels. A class without an image is left out.
        probabilities: (N, K), out-of-sample probabilities; each row adds up to 1.

    Returns:
        Their rows (M,), the most doubtful first; and for each whether it is likely wrong.
    """
    there, labels = np.unique(targets, return_inverse=True)
    kept = probabilities[:, there] + np.finfo(float).tiny
    kept = kept / kept.sum(axis=1, keepdims=True)
    # cleanlab knows no data of a single class.
    likely = find_label_issues(labels, kept, n_jobs=1) if len(there) > 1 else np.zeros(len(labels), bool)
    found = np.flatnonzero(likely | (kept.argmax(axis=1) != labels))
    scores = get_label_quality_scores(labels, kept, method="self_confidence")
    rows: NDArray[np.int64] = found[np.argsort(scores[found], kind="stable")]
    return rows, likely[rows]


def describe_doubtful(tested: TestedRun, rows: NDArray[np.int64], likely: NDArray[np.bool_]) -> pd.DataFrame:
    """Return the table of LabelErrors; suggested is the most probable other class."""
    targets, probabilities = tested.targets[rows], tested.probabilities[rows]
    others = probabilities.copy()
    others[np.arange(len(rows)), targets] = -1.0
    names = np.array(tested.class_names, object)
    facts = {
        "path": tested.table["path"].to_numpy()[rows],
        "given_class": names[targets],
        "suggested_class": names[others.argmax(axis=1)],
        "score": probabilities[np.arange(len(rows)), targets],
        "likely_wrong": likely,
    }
    return pd.DataFrame(
        facts | {probability_column(name): probabilities[:, place] for place, name in enumerate(tested.class_names)}
    )


def to_fixes(table: pd.DataFrame) -> pd.DataFrame:
    """Write each suggestion as a line of the corrections for `diptych train --fixes`."""
    rows = [
        (path, "relabel", suggested, f"cross-validation gives {given} {score:.3f}")
        for path, given, suggested, score in table[["path", "given_class", "suggested_class", "score"]].itertuples(index=False)
        if fits_csv(path) and fits_csv(suggested)
    ]
    return pd.DataFrame(rows, columns=[*FIX_COLUMNS, "reason"])


def draw_sheet(path: Path, table: pd.DataFrame, run: RunDir, data: Path | None) -> None:
    """Draw the most doubtful images, worst first, with file name, given and suggested class."""
    pixels = read_pixels(table["path"].tolist(), run, data)
    rows = -(-len(table) // SHEET_COLUMNS)
    size = GAP + SHEET_COLUMNS * (TILE + GAP), 2 * GAP + LINE + rows * (TILE + 2 * LINE + GAP)
    sheet = Image.new("RGB", size, PAPER)
    write_line(sheet, 0, GAP, "worst first; ! likely", INK)
    for place, found in enumerate(table.itertuples()):
        lines = (
            PurePosixPath(str(found.path)).name,
            f"{found.given_class} > {found.suggested_class}{'!' if found.likely_wrong else '?'} {found.score:.3f}",
        )
        row, column = divmod(place, SHEET_COLUMNS)
        draw_tile(sheet, column, row, pixels[place], lines)
    write_atomically(path, sheet.save)


def read_pixels(paths: Sequence[str], run: RunDir, data: Path | None) -> NDArray[np.uint8]:
    settings = TrainedRun(run).config.data
    root = image_folder(settings, data)
    files = [root / path for path in paths]
    store, outcome = prepare(files, spec_of(settings), settings.cache)
    for file, problem in zip(files, outcome["problem"], strict=True):
        if problem:
            raise DataError(f"{file}: {problem}. Bring it back, or name the data folder with --data.")
    pixels: NDArray[np.uint8] = store[np.arange(len(files))]
    return pixels
