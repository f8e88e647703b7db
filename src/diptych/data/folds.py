"""k folds for cross-validation: stratified, with copies and groups kept together."""

import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from diptych.data.reading.manifest import Manifest
from diptych.errors import DataError


def assign_folds(manifest: Manifest, clusters: pd.Series, hashes: pd.Series, folds: int, seed: int) -> pd.Series:
    """Assign the images to k folds, stratified by class, with each cluster kept together.

    The folds are as even as possible. Unlike a split, they are assigned anew when images are added.

    Args:
        manifest: the images.
        clusters: the cluster of each image.
        hashes: the hash of each cluster.
        folds: how many, at least 2.
        seed: of the shuffling.

    Returns:
        The fold of each image, 1 to `folds`.

    Raises:
        DataError: a class has fewer clusters than folds.
    """
    for target, name in enumerate(manifest.class_names):
        found = clusters[manifest.table["target"] == target].nunique()
        if found < folds:
            raise DataError(f"class {name} has {found} images or groups that are not copies; {folds} folds need {folds}.")
    order = clusters.map(hashes).sort_values(kind="stable").index
    dealer = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    result = pd.Series(0, index=clusters.index)
    for number, (_, held) in enumerate(dealer.split(order, manifest.table["target"][order], clusters[order])):
        result[order[held]] = number + 1
    return result
