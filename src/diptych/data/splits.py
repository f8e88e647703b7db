"""Train, validation and test: stratified, seeded, each class in each part."""

import numpy as np
import pandas as pd

from diptych.data.manifest import SPLITS, Manifest
from diptych.errors import DataError
from diptych.rng import generator


def assign_splits(manifest: Manifest, validation_share: float, test_share: float, seed: int) -> pd.Series:
    """Say for each image of a Manifest which part it belongs to.

    A column `split` of the tables is obeyed. Else each class is shuffled and cut by itself.

    Args:
        manifest: the images, unreadable ones taken out.
        validation_share: share of each class for validation, at least one image.
        test_share: share of each class for the test, at least one image.
        seed: of the shuffling.

    Returns:
        One of "train", "validation", "test" for each row of the Manifest.

    Raises:
        DataError: a part would lack images, or the training part would lack a class.
    """
    if "split" in manifest.table:
        splits = manifest.table["split"]
        check_given_splits(manifest, splits)
        return splits
    splits = pd.Series("train", index=manifest.table.index)
    for target, name in enumerate(manifest.class_names):
        rows = manifest.table.index[manifest.table["target"] == target].to_numpy()
        if len(rows) < len(SPLITS):
            raise DataError(
                f"class {name} has {len(rows)} readable images in {manifest.root}; a split into train, validation and test needs "
                f"at least {len(SPLITS)}. Add images, or write your own column split into the tables."
            )
        shuffled = generator(seed, "split", index=target).permutation(rows)
        validation = min(max(1, round(len(rows) * validation_share)), len(rows) - 2)
        test = min(max(1, round(len(rows) * test_share)), len(rows) - validation - 1)
        splits[shuffled[:validation]] = "validation"
        splits[shuffled[validation : validation + test]] = "test"
    return splits


def check_given_splits(manifest: Manifest, splits: "pd.Series[str]") -> None:
    for part in SPLITS:
        if not (splits == part).any():
            raise DataError(f"the column split of {manifest.root} has no readable image for {part}; write {part} in some rows.")
    trained = np.unique(manifest.table["target"][splits == "train"])
    for target, name in enumerate(manifest.class_names):
        if target not in trained:
            raise DataError(f"the column split of {manifest.root} gives class {name} no readable image for training.")
