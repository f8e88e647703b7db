"""The images of a run's split, their groups, and the outputs of the network for them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diptych.data.pixels.decode import ImageSpec
from diptych.data.pixels.prepare import prepare
from diptych.data.pixels.store import Images
from diptych.errors import DataError
from diptych.inference.outliers import pick_references
from diptych.inference.predict import Reduce, predict_with_features
from diptych.inference.tta import View
from diptych.metrics.intervals import number_groups
from diptych.screen import count_of

log = logging.getLogger(__name__)


def pick_rows(table: pd.DataFrame, wanted: Sequence[str], seed: int) -> pd.DataFrame:
    """Return the rows of some parts; of the training images, those that new images are compared with."""
    rows = [np.flatnonzero(table["split"] == part) for part in wanted]
    picked = [pick_references(found, seed) if part == "train" else found for part, found in zip(wanted, rows, strict=True)]
    return table.iloc[np.concatenate(picked)].reset_index(drop=True)


def read_images(root: Path, table: pd.DataFrame, spec: ImageSpec, cache: Path) -> Images:
    """Prepare the images of a table, and make sure that they are those of the training.

    Raises:
        DataError: one is missing, unreadable or changed.
    """
    store, outcome = prepare([root / path for path in table["path"]], spec, cache)
    for path, expected, digest, problem in zip(
        table["path"], table["sha256"], outcome["sha256"], outcome["problem"], strict=True
    ):
        if problem:
            raise DataError(
                f"{root / path}: {problem}. It was readable when the run was trained; bring it back, "
                "or name the folder with --data."
            )
        if digest != expected:
            raise DataError(f"{root / path} has changed since the run was trained; restore the file, or train again.")
    return store


def groups_of(table: pd.DataFrame, column: str) -> NDArray[np.int64] | None:
    """Number the groups that a column names, as `number_groups` does; None where there is no such column."""
    return number_groups(table[column].str.strip().to_numpy(str)) if column in table else None


@dataclass(frozen=True)
class SplitOutputs:
    """What the network says of the parts of a split."""

    feature_network: keras.Model
    store: Images
    table: pd.DataFrame
    views: Sequence[View]
    size: int

    def rows(self, part: str) -> NDArray[np.int64]:
        """Return which images are in a part, (M,)."""
        return np.flatnonzero(self.table["split"] == part)

    def part(self, part: str) -> pd.DataFrame:
        """Return the rows of a part."""
        return self.table.iloc[self.rows(part)].reset_index(drop=True)

    def targets(self, part: str) -> NDArray[np.int64]:
        """Return the classes of the images in a part, (M,)."""
        return self.table["target"].to_numpy(np.int64)[self.rows(part)]

    def outputs(self, part: str, reduce: Reduce) -> tuple[NDArray[np.float64], NDArray[Any]]:
        """Return probabilities and features; training images get one view, since only their features are used."""
        views = self.views[:1] if part == "train" else self.views
        rows = self.rows(part)
        log.info("answering %s", count_of(len(rows), f"{'training' if part == 'train' else part} image"))
        return predict_with_features(self.feature_network, self.store, rows, views, reduce, part)


def keep_all(features: NDArray[np.float32]) -> NDArray[np.float32]:
    return features


def no_scores(features: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.zeros(len(features))
