"""Shortcut detection: can the classes be told apart without the content of the images?"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

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
# The lower end of an interval of a ROC AUC from which a shortcut is certain, and from which one is suspected.
CERTAIN = 0.9
SUSPECTED = 0.7
# These may be the content itself, as of night and day; and how small a file becomes depends on how much there is to see.
MAYBE_CONTENT = ("file size", "bytes per pixel", "mean colour", "border colour")


@dataclass(frozen=True)
class Shortcut:
    """How well the classes can be told apart without the content of the images.

    Attributes:
        roc_auc: of a small classifier on all features, cross-validated (one class against the rest, mean over the classes).
        interval: its 95 % interval.
        feature: the single feature that gives the most away, "file format" for example.
        feature_roc_auc: of that feature alone.
        features: ROC AUC of each feature alone, the highest first.
        facts_roc_auc: of a classifier that knows only what cannot be content: all features but MAYBE_CONTENT. The colour of
            the border counts where it tells the classes apart and the mean colour does not: it is a frame then.
        facts_interval: its 95 % interval.
        targets: classes that are told from all others, where the mean over the classes hides it, for some classes share a
            source; `facts_roc_auc`, `facts_interval`, `feature` and `feature_roc_auc` are then about these against the others.
        example: what the files of each class are like, a line for each, in words; empty where nothing is told apart.
    """

    roc_auc: float
    interval: tuple[float, float]
    feature: str
    feature_roc_auc: float
    features: tuple[tuple[str, float], ...]
    facts_roc_auc: float = 0.5
    facts_interval: tuple[float, float] = (0.5, 0.5)
    targets: tuple[int, ...] = ()
    example: tuple[str, ...] = ()

    @property
    def level(self) -> Literal["error", "warning", "none"]:
        """An error where a shortcut is certain; a warning where there may be one, or where it may be the content itself."""
        if self.facts_interval[0] >= CERTAIN:
            return "error"
        return "warning" if self.interval[0] >= SUSPECTED else "none"

    @property
    def is_slight(self) -> bool:
        """Whether there is more than chance, but too little for a warning."""
        return self.level == "none" and self.interval[0] > 0.5

    @property
    def maybe_content(self) -> bool:
        """Whether nothing but colour, brightness and detail tells the classes apart."""
        return self.facts_interval[0] < SUSPECTED


def shortcut_features(paths: pd.Series, outcome: pd.DataFrame, colours: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Collect the features that are not content, the easiest to understand first; each is a table of numeric columns.

    Args:
        paths: of N images.
        outcome: what `prepare` said of their files, in the same order.
        colours: their columns border_red, border_green, border_blue, mean_red, mean_green, mean_blue.
    """
    area = (outcome["width"] * outcome["height"]).clip(lower=1)
    numbers = {
        "file format": pd.factorize(outcome["format"], sort=True)[0],
        "width": outcome["width"],
        "height": outcome["height"],
        "aspect ratio": outcome["width"] / outcome["height"].clip(lower=1),
        "colour mode": pd.factorize(outcome["mode"], sort=True)[0],
        "camera": pd.factorize(outcome["camera"], sort=True)[0],
        "EXIF data": outcome["exif"],
        "EXIF orientation": outcome["orientation"],
        "JPEG tables": outcome["quantization"],
        "progressive JPEG": outcome["progressive"],
        "file name's ending": pd.factorize(paths.str.extract(r"(\.[^./]*)$")[0].fillna("").str.lower(), sort=True)[0],
        "file size": outcome["bytes"],
        "bytes per pixel": outcome["bytes"] / area,
    }
    tables = {name: pd.DataFrame({name: np.asarray(values, float)}) for name, values in numbers.items()}
    for place in ("mean", "border"):
        tables[f"{place} colour"] = colours[[f"{place}_{colour}" for colour in ("red", "green", "blue")]].reset_index(drop=True)
    return tables


def find_shortcut(features: Mapping[str, pd.DataFrame], targets: NDArray[np.int64]) -> Shortcut | None:
    """Cross-validate a small classifier on features that should tell nothing.

    Args:
        features: tables of N rows by name, as `shortcut_features` gathers them, of images that `draw_rows` chose.
        targets: (N,) the class of each image.

    Returns:
        None where there are fewer than two classes.
    """
    classes, labels = np.unique(targets, return_inverse=True)
    if len(classes) < 2:
        return None
    least = int(np.bincount(labels).min())
    images = len(labels)
    folds = list(StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(labels, labels))
    tables = {name: table.to_numpy() for name, table in features.items()}
    alone = {name: out_of_fold(SINGLE, table, labels, folds) for name, table in tables.items()}
    aucs = {name: mean_auc(scores, labels) for name, scores in alone.items()}
    ranked = tuple(sorted(aucs.items(), key=lambda pair: -pair[1]))
    auc = mean_auc(out_of_fold(ALL, np.hstack(list(tables.values())), labels, folds), labels)
    feature = most_telling(aucs)
    found = Shortcut(auc, interval_of(auc, least, images), feature, aucs[feature], ranked)
    frame = aucs.get("border colour", 0) >= CERTAIN > aucs.get("mean colour", 0)
    facts = [table for name, table in tables.items() if name not in MAYBE_CONTENT or (frame and name == "border colour")]
    if not facts:
        return found
    scores = out_of_fold(ALL, np.hstack(facts), labels, folds)
    auc = mean_auc(scores, labels)
    found = dataclasses.replace(found, facts_roc_auc=auc, facts_interval=interval_of(auc, least, images))
    apart = [] if found.level == "error" else find_sources(scores, labels)
    if not apart:
        return found
    # Two sources are two groups: the smaller one is named.
    own = max(apart, key=lambda group: (round(group_auc(scores, labels, group), 3), -len(group)))
    auc = group_auc(scores, labels, own)
    positive = int(np.isin(labels, own).sum())
    between = interval_of(auc, min(positive, images - positive), images)
    if between[0] < CERTAIN:
        return found
    aucs = {name: group_auc(scores, labels, own) for name, scores in alone.items()}
    feature = most_telling(aucs)
    apart_targets = tuple(int(classes[label]) for label in own)
    told = Shortcut(found.roc_auc, found.interval, feature, aucs[feature], ranked)
    return dataclasses.replace(told, facts_roc_auc=auc, facts_interval=between, targets=apart_targets)


def most_telling(aucs: Mapping[str, float]) -> str:
    """Return the feature with the highest ROC AUC; of those that are about as good, one that cannot be content."""
    best = max(aucs.values())
    good = [name for name in aucs if aucs[name] >= best - 0.01]
    return next((name for name in good if name not in MAYBE_CONTENT), max(good, key=lambda name: aucs[name]))


def find_sources(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> list[tuple[int, ...]]:
    """List groups of classes that a classifier confuses because they share a source; a class with its own is a group too.

    Args:
        scores: (N, K) probabilities.
        labels: (N,) the classes.
    """
    means = np.stack([scores[labels == label].mean(axis=0) for label in range(scores.shape[1])])
    groups = {tuple(np.flatnonzero(mean >= mean[label] / 2).tolist()) for label, mean in enumerate(means)}
    return sorted(group for group in groups if len(group) < len(means))


def draw_rows(targets: NDArray[np.int64], groups: pd.Series) -> NDArray[np.int64]:
    """Choose as many images of each class, as far as there are, of the classes that have enough.

    Args:
        targets: (N,) the class of each image.
        groups: (N,) of images of equal value only the first counts, since copies would give themselves away.

    Returns:
        Rows in rising order.
    """
    random = generator(0, "shortcut")
    rows = np.flatnonzero(~groups.duplicated().to_numpy())
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
    return float(np.mean([group_auc(scores, labels, (target,)) for target in range(scores.shape[1])]))


def group_auc(scores: NDArray[np.float64], labels: NDArray[np.int64], group: tuple[int, ...]) -> float:
    """Return the ROC AUC of some classes against all others."""
    return float(roc_auc_score(np.isin(labels, group), scores[:, list(group)].sum(axis=1)))


def interval_of(auc: float, positive: int, images: int) -> tuple[float, float]:
    """Return the 95 % interval of a ROC AUC by Hanley and McNeil (Radiology 143, 1982).

    Args:
        auc: the area.
        positive: images of the class; of a mean over classes, those of the smallest, to be careful.
        images: images of all classes.
    """
    negative = images - positive
    both = auc / (2 - auc)
    twice = 2 * auc**2 / (1 + auc)
    variance = (auc * (1 - auc) + (positive - 1) * (both - auc**2) + (negative - 1) * (twice - auc**2)) / (positive * negative)
    reach = 1.96 * max(0.0, variance) ** 0.5
    return max(0.0, auc - reach), min(1.0, auc + reach)
