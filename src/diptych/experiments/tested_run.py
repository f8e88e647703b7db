"""The answers of tested runs, read from predictions.csv and aligned by image."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diptych.errors import CheckpointError, DataError
from diptych.evaluation.report import read_report
from diptych.inference.prediction_table import read_probabilities
from diptych.inference.trained_run import TrainedRun
from diptych.inference.tta import describe_test
from diptych.metrics.intervals import number_groups
from diptych.metrics.weighted import Answers
from diptych.screen import command_line, quoted
from diptych.storage.atomic import reason_of
from diptych.storage.run_dir import RunDir
from diptych.storage.runs import folds_of

SHOWN = 3


@dataclass(frozen=True)
class TestedRun:
    """The answers of a run on its test images.

    Attributes:
        name: of the run.
        run: its folder.
        class_names: in the order of their targets.
        table: a row an image: `path`, `sha256` ("" where it is not known), `target`, `predicted`, `group` ("" for none).
        probabilities: float64 (N, K), of each class; each row adds up to 1.
        how: at which size and with how many views the images were tested; "" where that is not known.
    """

    name: str
    run: RunDir
    class_names: tuple[str, ...]
    table: pd.DataFrame
    probabilities: NDArray[np.float64]
    how: str = ""

    @property
    def targets(self) -> NDArray[np.int64]:
        """The class of each image, (N,)."""
        return self.table["target"].to_numpy(np.int64)

    @property
    def answers(self) -> Answers:
        """The answers, from which all figures follow."""
        return Answers(self.targets, self.probabilities, self.table["predicted"].to_numpy(np.int64))

    @property
    def groups(self) -> NDArray[np.int64] | None:
        """The number of the group of each image, (N,), one that has none being a group of its own; None without groups."""
        return number_groups(self.table["group"].to_numpy(str))

    def at(self, rows: NDArray[np.int64]) -> "TestedRun":
        """Return the answers on some of the images, in that order."""
        return dataclasses.replace(
            self, table=self.table.iloc[rows].reset_index(drop=True), probabilities=self.probabilities[rows]
        )


def read_tested(run: RunDir) -> TestedRun:
    """Read what `diptych evaluate` wrote of a run; of a cross-validation, the tests of all folds together.

    Raises:
        CheckpointError: the run, or one of its folds, was not tested yet, or its predictions are damaged.
    """
    parts = folds_of(run) or [run]
    for part in parts:
        if not part.predictions.is_file():
            raise CheckpointError(
                f"{part.root} has no test yet: no {part.predictions}. Run {command_line('evaluate', run.root)} first."
            )
    class_names, group_column = TrainedRun(parts[0]).class_names, TrainedRun(run).config.data.group_column
    tables, probabilities = zip(*(read_predictions(part.predictions, class_names, group_column) for part in parts), strict=True)
    report = read_report(parts[0])
    how = describe_test(report.test_size, report.views) if report is not None else ""
    return TestedRun(run.root.name, run, class_names, pd.concat(tables, ignore_index=True), np.concatenate(probabilities), how)


def read_predictions(path: Path, class_names: Sequence[str], group_column: str) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    """Return the table and the probabilities of `TestedRun`.

    Raises:
        CheckpointError: the file is damaged.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        facts = {"path": table["path"], "target": table["target"].astype("int64")}
        facts["predicted"] = table["predicted_target"].astype("int64")
        for name, column in (("sha256", "sha256"), ("group", group_column)):
            facts[name] = table[column].str.strip() if column in table else pd.Series("", index=table.index, dtype=str)
        probabilities = read_probabilities(table, class_names)
        known = all(column.between(0, len(class_names) - 1).all() for column in (facts["target"], facts["predicted"]))
        if table.empty or not known:
            raise ValueError("no images, or a class that cannot be")
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path} {reason_of(error)}. Run diptych evaluate again.") from error
    return pd.DataFrame(facts), probabilities


def align(sides: Sequence[TestedRun], shared_only: bool = False) -> list[TestedRun]:
    """Align the answers of several runs by image (path and content).

    Args:
        sides: two or more runs.
        shared_only: take the images that all have been tested on, with the same class, and leave out the others.

    Raises:
        DataError: the runs tell other classes apart, share no test image, or, without `shared_only`, were tested on
            different images or with different classes of them.
    """
    first = sides[0]
    for side in sides[1:]:
        if side.class_names != first.class_names:
            raise DataError(
                f"{first.run.root} tells the classes {', '.join(first.class_names)} apart, {side.run.root} "
                f"{', '.join(side.class_names)}; expected runs of the same classes."
            )
    indices = [index_of(side, sides) for side in sides]
    shared = indices[0]
    for index in indices[1:]:
        shared = shared.intersection(index)
    shared = shared.sort_values()
    sizes = ", ".join(f"{len(side.table)} of {side.run.root}" for side in sides)
    if len(shared) == 0 or (not shared_only and any(len(index) != len(shared) for index in indices)):
        raise DataError(f"the runs were not tested on the same images: {sizes}; {advise(sides, len(shared))}")
    found = [side.at(index.get_indexer(shared)) for side, index in zip(sides, indices, strict=True)]
    same = np.all([side.targets == found[0].targets for side in found], axis=0)
    if not same.all() and not (shared_only and same.any()):
        some = ", ".join(found[0].table["path"][~same][:SHOWN])
        raise DataError(
            f"{(~same).sum()} shared test images have another class in one run than in another ({some}), by --fixes perhaps; "
            "train with the same labels, or leave these images out with --shared-only."
        )
    return [side.at(np.flatnonzero(same)) for side in found]


def advise(sides: Sequence[TestedRun], shared: int) -> str:
    """Advise how runs with so few shared test images can be compared, if at all."""
    first = sides[0].run
    if shared:
        return (
            f"{shared} are shared, by path and content. Train with the same split (--split {quoted(first.split)}), or name "
            "--shared-only to compare on those alone."
        )
    known = [known_images(side) for side in sides]
    if all(known[0] & other for other in known[1:]):
        return f"none is shared, but they know the same images: train with the same split (--split {quoted(first.split)})."
    return (
        "none is shared, and they were trained on different images, so that a comparison would be meaningless. To test both "
        "on the "
        f"same labelled images that neither has seen: {command_line('evaluate', first.root, '--data', 'FOLDER')}, and the other "
        "run alike."
    )


def known_images(side: TestedRun) -> set[str]:
    """Return the SHA-256 of all images of a run, or of the folds of a cross-validation."""
    digests = set(side.table["sha256"])
    for split in (side.run.split, *side.run.root.glob("fold-*/split.csv")):
        if split.is_file():
            table = pd.read_csv(split, dtype=str, keep_default_na=False)
            digests |= set(table["sha256"]) if "sha256" in table else set()
    return digests - {""}


def index_of(side: TestedRun, sides: Sequence[TestedRun]) -> pd.MultiIndex:
    """Name each image by its path and, where all runs know it, its content."""
    known = all((other.table["sha256"] != "").all() for other in sides)
    digests = side.table["sha256"] if known else pd.Series("", index=side.table.index)
    index = pd.MultiIndex.from_arrays([side.table["path"], digests])
    if index.has_duplicates:
        raise CheckpointError(f"{side.run.root}: its predictions name an image twice. Run diptych evaluate again.")
    return index
