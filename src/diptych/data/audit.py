"""The audit: what is wrong with a data set, said before anyone trains on it."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One kind of fault, with all images that have it.

    Attributes:
        kind: its name in check.json, "unreadable", "exact-twins" say.
        level: an error makes `diptych check` end with exit code 1.
        title: one line that says what was found, with the count.
        advice: one line that says how to mend it.
        groups: the images concerned, as paths relative to the data folder with forward slashes; twins stand together in
            one group, other faults have groups of one.
        reasons: what to say beside each group (a label, a size, a value); as many as groups.
    """

    kind: str
    level: Level
    title: str
    advice: str
    groups: tuple[tuple[str, ...], ...] = ()
    reasons: tuple[str, ...] = ()


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


@dataclass(frozen=True)
class Audit:
    """What `diptych check` found.

    Attributes:
        root: the data folder, as given.
        images: number of images listed.
        readable: number of those that could be decoded.
        classes: name and number of images of each class, in the order of the targets.
        findings: errors first, then warnings, then notes.
        shortcut: None where there are too few images to tell.
    """

    root: str
    images: int
    readable: int
    classes: tuple[tuple[str, int], ...]
    findings: tuple[Finding, ...]
    shortcut: Shortcut | None
