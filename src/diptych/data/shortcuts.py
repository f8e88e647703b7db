"""Is it cheating? Whether the classes can be told apart by what is not the image's content."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.tree import DecisionTreeClassifier

from diptych.rng import generator

# Fewer images of a class say nothing; more images or classes than this, drawn with a seed, say no more: with 5,000 images the
# 95 % interval of a ROC AUC is 0.03 wide at most.
LEAST_IMAGES = 10
MOST_IMAGES = 5_000
MOST_CLASSES = 20
FOLDS = 5
# It may be content, as night and day.
MEAN_COLOUR = "mean colour"


@dataclass(frozen=True)
class Shortcut:
    """How well the classes are told apart by what is not the image's content.

    Attributes:
        roc_auc: of a small classifier on all features, cross-validated (one against the rest, mean over the classes).
        interval: its 95 % interval.
        feature: the single feature that gives the most away, "file size" say.
        feature_roc_auc: of that feature alone.
        features: ROC AUC of each feature alone, the highest first.
    """

    roc_auc: float
    interval: tuple[float, float]
    feature: str
    feature_roc_auc: float
    features: tuple[tuple[str, float], ...]


def shortcut_features(paths: pd.Series, outcome: pd.DataFrame, colours: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Gather the features that are not content, each a table of one or more columns of numbers.

    Args:
        paths: of N images.
        outcome: what `prepare` said of their files, in the same order.
        colours: their columns border_red, border_green, border_blue, mean_red, mean_green, mean_blue.
    """
    area = (outcome["width"] * outcome["height"]).clip(lower=1)
    numbers = {
        "file size": outcome["bytes"],
        "bytes per pixel": outcome["bytes"] / area,
        "width": outcome["width"],
        "height": outcome["height"],
        "aspect ratio": outcome["width"] / outcome["height"].clip(lower=1),
        "JPEG tables": outcome["quantization"],
        "progressive JPEG": outcome["progressive"],
        "EXIF data": outcome["exif"],
        "EXIF orientation": outcome["orientation"],
        "file format": pd.factorize(outcome["format"], sort=True)[0],
        "file name's ending": pd.factorize(paths.str.extract(r"(\.[^./]*)$")[0].fillna("").str.lower(), sort=True)[0],
        "camera": pd.factorize(outcome["camera"], sort=True)[0],
        "colour mode": pd.factorize(outcome["mode"], sort=True)[0],
    }
    tables = {name: pd.DataFrame({name: np.asarray(values, float)}) for name, values in numbers.items()}
    for place in ("border", "mean"):
        tables[f"{place} colour"] = colours[[f"{place}_{colour}" for colour in ("red", "green", "blue")]].reset_index(drop=True)
    return tables


def find_shortcut(features: Mapping[str, pd.DataFrame], targets: NDArray[np.int64], groups: pd.Series) -> Shortcut | None:
    """Cross-validate a small classifier on features that should tell nothing.

    Args:
        features: tables of N rows by name, as `shortcut_features` gathers them.
        targets: (N,) the class of each image.
        groups: (N,) of images of equal value only the first counts, since copies would give themselves away.

    Returns:
        None where fewer than two classes have enough images. Classes with fewer are left out.
    """
    rows = draw_rows(targets, np.flatnonzero(~groups.duplicated().to_numpy()))
    labels = np.unique(targets[rows], return_inverse=True)[1]
    if len(np.unique(labels)) < 2:
        return None
    folds = list(StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(rows, labels))
    tables = {name: table.to_numpy()[rows] for name, table in features.items()}
    alone = {name: mean_auc(out_of_fold(SINGLE, table, labels, folds), labels) for name, table in tables.items()}
    ranked = tuple(sorted(alone.items(), key=lambda pair: -pair[1]))
    scores = out_of_fold(ALL, np.hstack(list(tables.values())), labels, folds)
    auc = mean_auc(scores, labels)
    return Shortcut(auc, interval_of(auc, np.bincount(labels)), ranked[0][0], ranked[0][1], ranked)


def draw_rows(targets: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Choose among rows: as many of each class, as far as there are, of the classes that have enough."""
    random = generator(0, "shortcut")
    enough = np.flatnonzero(np.bincount(targets[rows]) >= LEAST_IMAGES) if len(rows) else rows
    classes = random.permutation(enough)[:MOST_CLASSES]
    most = MOST_IMAGES // max(1, len(classes))
    drawn = [random.permutation(rows[targets[rows] == target])[:most] for target in np.sort(classes)]
    return np.sort(np.concatenate([rows[:0], *drawn]))


SINGLE = DecisionTreeClassifier(max_leaf_nodes=8, min_samples_leaf=5, random_state=0)
ALL = ExtraTreesClassifier(50, min_samples_leaf=5, max_features=None, random_state=0)


def out_of_fold(
    model: DecisionTreeClassifier | ExtraTreesClassifier,
    table: NDArray[np.float64],
    labels: NDArray[np.int64],
    folds: list[tuple[NDArray[np.int64], NDArray[np.int64]]],
) -> NDArray[np.float64]:
    """Return the probability of each class for each row, by a model that has not seen it; (N, K)."""
    scores = np.zeros((len(labels), labels.max() + 1))
    for learnt, held in folds:
        model.fit(table[learnt], labels[learnt])
        scores[np.ix_(held, model.classes_)] = model.predict_proba(table[held])
    return scores


def mean_auc(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Return the ROC AUC, one class against the rest, mean over the classes."""
    if scores.shape[1] == 2:
        return float(roc_auc_score(labels, scores[:, 1]))
    return float(np.mean([roc_auc_score(labels == target, scores[:, target]) for target in range(scores.shape[1])]))


def interval_of(auc: float, counts: NDArray[np.int64]) -> tuple[float, float]:
    """Return the 95 % interval of a ROC AUC by Hanley and McNeil (Radiology 143, 1982); of the smallest class, to be careful."""
    positive = int(counts.min())
    negative = int(counts.sum()) - positive
    both, twice = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = (auc * (1 - auc) + (positive - 1) * (both - auc**2) + (negative - 1) * (twice - auc**2)) / (positive * negative)
    reach = 1.96 * max(0.0, variance) ** 0.5
    return max(0.0, auc - reach), min(1.0, auc + reach)
