"""The audit: what is wrong with a data set, said before anyone trains on it."""

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diptych.data.findings import LEVELS, Audit, Finding, Level
from diptych.data.formats import ENDINGS
from diptych.data.greys import find_doubts
from diptych.data.manifest import Fault, Manifest, Remark
from diptych.data.quality import faults_of_quality, measure
from diptych.data.shortcuts import MEAN_COLOUR, Shortcut, find_shortcut, shortcut_features
from diptych.data.store import PixelStore
from diptych.data.twins import connect, find_near_twins

SMALLEST_SIDE = 32
MOST_PIXELS = 50_000_000
LARGEST_ASPECT = 4.0
FEW_IMAGES = 20
NOTED_IMBALANCE, WARNED_IMBALANCE = 3, 10
# Lower ends of the interval of the ROC AUC.
CHEATING, SUSPICIOUS = 0.9, 0.7
FAULTS: dict[str, tuple[Level, str, str]] = {
    "missing": ("error", "listed but not there", "Add the files, or delete their rows."),
    "bad-target": ("error", "with a wrong label", "Correct the label, or move the image."),
    "bad-name": ("error", "with a name that cannot be used", "Write the path of a file inside of the data folder."),
    "bad-split": ("error", "with an unknown split", "Write train, validation or test."),
    "listed-twice": ("error", "listed more than once", "Delete all rows but one."),
    "unlisted": ("warning", "in the folders but not read", "Add them to the table, or move them away."),
    "link": ("error", "to a folder outside, not followed", "Go on with --follow-links, or put the folder itself there."),
    "locked": ("error", "that cannot be listed", "Allow yourself to read it, or move it away."),
}
# What faults are about that are not about an image.
NOUNS = {"link": "link", "locked": "folder"}
QUALITY = {
    "blank": "blank: all of one colour",
    "dark": "nearly black",
    "bright": "nearly white",
    "blurred": "far less sharp than the others",
}


def audit(
    manifest: Manifest,
    outcome: pd.DataFrame,
    store: PixelStore | NDArray[np.uint8],
    faults: Sequence[Fault],
    *,
    pairs: NDArray[np.int64] | None = None,
    groups: pd.Series | None = None,
    given: pd.Series | None = None,
    thorough: bool = True,
) -> Audit:
    """Collect what is wrong with a data set.

    Args:
        manifest: the images; its index is the row in the store and in `outcome`.
        outcome: what `prepare` said of their files.
        store: their prepared pixels.
        faults: what `read_manifest` left out.
        pairs: near twins where they are known already, (P, 2) rows.
        groups: the group of each image, "" for none; its index is that of the manifest.
        given: the part that is given for each image, "" for none, with the same index.
        thorough: also look at brightness, sharpness and shortcuts, which `diptych train` leaves out.
    """
    table = manifest.table
    facts = outcome.loc[table.index].assign(path=table["path"], target=table["target"])
    readable = facts[facts["problem"] == ""]
    rows = readable.index.to_numpy()
    pairs = find_near_twins(store, rows) if pairs is None else pairs
    findings = [
        *unreadable(facts),
        *listing_faults(faults),
        *odd_files(readable),
        *unseen_pixels(readable),
        *imbalance(manifest, readable),
    ]
    none = pd.Series("", index=table.index)
    findings += twins(manifest, readable, pairs, none if groups is None else groups, none if given is None else given)
    findings += [finding_of(remark) for remark in manifest.remarks]
    shortcut = None
    if thorough:
        measured = measure(store, rows)
        findings += quality(readable, measured)
        features = shortcut_features(readable["path"], readable, measured)
        shortcut = find_shortcut(features, readable["target"].to_numpy(), readable["sha256"])
        findings += cheating(shortcut)
    counts = np.bincount(table["target"], minlength=len(manifest.class_names)).tolist()
    classes = tuple(zip(manifest.class_names, counts, strict=True))
    ordered = sorted(findings, key=lambda finding: LEVELS.index(finding.level))
    return Audit(str(manifest.root), len(table), len(readable), classes, tuple(ordered), shortcut)


def single(
    kind: str, level: Level, what: str, advice: str, paths: Iterable[str], reasons: Iterable[str] = (), noun: str = "image"
) -> list[Finding]:
    """Make a Finding of images that stand alone, unless there are none."""
    groups = tuple((path,) for path in paths)
    said = tuple(reasons) or ("",) * len(groups)
    return [Finding(kind, level, f"{count_of(len(groups), noun)} {what}", advice, groups, said)] if groups else []


def count_of(count: int, noun: str = "image") -> str:
    return f"1 {noun}" if count == 1 else f"{count} {noun}s"


def finding_of(remark: Remark) -> Finding:
    groups = tuple((path,) for path in remark.paths)
    return Finding(remark.kind, "warning", remark.title, remark.advice, groups, ("",) * len(groups))


def unreadable(facts: pd.DataFrame) -> list[Finding]:
    wrong = facts[facts["problem"] != ""]
    return single("unreadable", "error", "cannot be read", "Copy them again, or drop them.", wrong["path"], wrong["problem"])


def listing_faults(faults: Sequence[Fault]) -> list[Finding]:
    found = []
    for kind in dict.fromkeys(fault.kind for fault in faults):
        level, what, advice = FAULTS[kind]
        own = [fault for fault in faults if fault.kind == kind]
        found += single(
            kind, level, what, advice, [fault.path for fault in own], [fault.message for fault in own], NOUNS.get(kind, "image")
        )
    return found


def odd_files(readable: pd.DataFrame) -> list[Finding]:
    suffixes = readable["path"].map(lambda path: PurePosixPath(path).suffix.lower())
    wrong = readable.loc[
        [suffix not in ENDINGS.get(form, (suffix,)) for suffix, form in zip(suffixes, readable["format"], strict=True)]
    ]
    sides = readable[["width", "height"]]
    tiny = readable[sides.min(axis=1) < SMALLEST_SIDE]
    huge = readable[sides.prod(axis=1) > MOST_PIXELS]
    long = readable[sides.max(axis=1) > LARGEST_ASPECT * sides.min(axis=1)]

    def sizes(table: pd.DataFrame) -> list[str]:
        return [f"{width} x {height}" for width, height in zip(table["width"], table["height"], strict=True)]

    return [
        *single(
            "wrong-extension", "warning", "of another format than their names say", "Rename them.", wrong["path"], wrong["format"]
        ),
        *single("tiny", "warning", f"smaller than {SMALLEST_SIDE} pixels", "Are they thumbnails?", tiny["path"], sizes(tiny)),
        *single(
            "huge", "note", f"of more than {MOST_PIXELS // 10**6} megapixels", "They are slow to read.", huge["path"], sizes(huge)
        ),
        *single("long", "warning", "very long or tall", "Stretching distorts them: --resize.", long["path"], sizes(long)),
    ]


def unseen_pixels(readable: pd.DataFrame) -> list[Finding]:
    """Say which images of more than 8 bits are scaled wrongly, and which files hold more pictures than the one that is read."""
    found = []
    for doubt in find_doubts(readable):
        groups = tuple((path,) for path in readable["path"][doubt.rows])
        found.append(Finding(doubt.kind, doubt.level, doubt.title, doubt.advice, groups, doubt.reasons))
    several = readable[readable["frames"] > 1]
    paged = several["format"] == "TIFF"
    for kind, rows, what in (("pages", several[paged], "pages"), ("frames", several[~paged], "frames")):
        advice = f"Save the {what} that count as files of their own, with a group column."
        reasons = [f"{count} {what}" for count in rows["frames"]]
        found += single(kind, "warning", f"of several {what}, of which only the first is read", advice, rows["path"], reasons)
    return found


def imbalance(manifest: Manifest, readable: pd.DataFrame) -> list[Finding]:
    counts = np.bincount(readable["target"], minlength=len(manifest.class_names))
    named = sorted(zip(counts.tolist(), manifest.class_names, strict=True))
    (least, rare), (most, common) = named[0], named[-1]
    few = [f"{name} ({count})" for count, name in named if count < FEW_IMAGES]
    found = []
    if few:
        shown = ", ".join(few[:10]) + (", …" if len(few) > 10 else "")
        title = f"{len(few)} class{'es' if len(few) > 1 else ''} with fewer than {FEW_IMAGES} images: {shown}"
        found.append(Finding("few-images", "warning", title, "More images help more than anything else."))
    if most > NOTED_IMBALANCE * max(1, least):
        level: Level = "warning" if most > WARNED_IMBALANCE * max(1, least) else "note"
        title = f"class {common} has {most / max(1, least):.0f} times as many images as class {rare}"
        found.append(Finding("imbalance", level, title, "Look at recall and ROC AUC, not accuracy alone; try --class-weights."))
    return found


def twins(
    manifest: Manifest, readable: pd.DataFrame, pairs: NDArray[np.int64], groups: pd.Series, given: pd.Series
) -> list[Finding]:
    """Say which images are copies of each other, and what is wrong with that."""
    names = manifest.class_names
    near = pd.Series(connect(len(readable), np.searchsorted(readable.index.to_numpy(), pairs)), index=readable.index)
    exact = groups_of(readable, readable["sha256"])
    alike = [group for group in groups_of(readable, near) if differ(readable["sha256"][group])]
    found = []
    for kind, members, what in (("exact", exact, "byte-for-byte copies"), ("near", alike, "near twins")):
        torn = [group for group in members if differ(readable["target"][group])]
        whole = [group for group in members if not differ(readable["target"][group])]
        wrong: Level = "error" if kind == "exact" else "warning"
        advice = "If they show the same thing, one of the labels is wrong: relabel or drop."
        found += together(f"{kind}-twins-labels", wrong, f"{what} with different labels", advice, readable, torn, names)
        advice = "They stay in one part of the split; drop what is not needed."
        found += together(f"{kind}-twins", "warning", what, advice, readable, whole, names)
    parts = given[readable.index]
    named = groups[readable.index]
    leaking = {
        "exact": (exact, "copies"),
        "near": (alike, "near twins"),
        "group": (groups_of(readable[named != ""], named[named != ""]), "images of one group"),
    }
    for kind, (members, what) in leaking.items():
        # An image of no given part is drawn into that of its copies.
        leaks = [group for group in members if differ(parts[group][parts[group] != ""])]
        level: Level = "warning" if kind == "near" else "error"
        title = f"{what} in more than one part of the given split"
        advice = "The test figures will be too good: mend the split."
        found += together(f"{kind}-leak", level, title, advice, readable, leaks, names)
    return found


def differ(values: pd.Series) -> bool:
    return len(set(values)) > 1


def groups_of(readable: pd.DataFrame, keys: pd.Series) -> list[pd.Index]:
    """List the rows of each key that more than one image has."""
    shared = keys[keys.duplicated(keep=False)]
    return [pd.Index(rows) for rows in readable.loc[shared.index].groupby(shared, sort=False).groups.values()]


def together(
    kind: str, level: Level, what: str, advice: str, readable: pd.DataFrame, groups: list[pd.Index], names: tuple[str, ...]
) -> list[Finding]:
    """Make a Finding of images that stand in groups, unless there are none."""
    if not groups:
        return []
    title = f"{len(groups)} group{'s' if len(groups) > 1 else ''} of {what} ({sum(map(len, groups))} images)"
    paths = tuple(tuple(readable["path"][group]) for group in groups)
    labels = tuple(", ".join(f"class {names[target]}" for target in sorted(set(readable["target"][group]))) for group in groups)
    return [Finding(kind, level, title, advice, paths, labels)]


def quality(readable: pd.DataFrame, measured: pd.DataFrame) -> list[Finding]:
    found = []
    for kind, rows in faults_of_quality(measured).items():
        shown = readable["path"][rows.to_numpy()]
        found += single(str(kind), "warning", QUALITY[str(kind)], "Look at them; drop what is no image of your subject.", shown)
    return found


def cheating(shortcut: Shortcut | None) -> list[Finding]:
    if shortcut is None or shortcut.interval[0] < SUSPICIOUS:
        return []
    level: Level = "error" if shortcut.interval[0] >= CHEATING else "warning"
    files = [(name, auc) for name, auc in shortcut.features if name != MEAN_COLOUR and auc >= CHEATING]
    name, alone = files[0] if files else (shortcut.feature, shortcut.feature_roc_auc)
    title = f"the classes can be told apart without the content: ROC AUC {shortcut.roc_auc:.2f}, {name} alone {alone:.2f}"
    advice = "A network will learn this instead: record, crop and save the images of all classes in the same way."
    if name == MEAN_COLOUR:
        advice += " Where colour is what the classes are about, all is well."
    return [Finding("shortcut", level, title, advice)]
