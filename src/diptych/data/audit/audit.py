"""The audit: find what is wrong with a data set before training on it."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diptych.data.audit.findings import LEVELS, Audit, Finding, Level
from diptych.data.audit.image_quality import faults_of_quality, measure
from diptych.data.audit.near_duplicates import connect, find_near_twins
from diptych.data.audit.shortcuts import Shortcut, draw_rows, find_shortcut, shortcut_features
from diptych.data.audit.traces import describe_sources, name_classes
from diptych.data.pixels.formats import ENDINGS
from diptych.data.pixels.greys import find_doubts
from diptych.data.pixels.store import PixelStore
from diptych.data.reading.manifest import Fault, Manifest, Remark
from diptych.screen import count_of

SMALLEST_SIDE = 32
MOST_PIXELS = 50_000_000
LARGEST_ASPECT = 4.0
FEW_IMAGES = 20
# Copies of one file from which it is hardly a photograph; where they have different labels, fewer are enough.
MANY_COPIES = 5
MANY_COPIES_OF_CLASSES = 3
# Share of the images in groups of near twins from which they are taken for series.
SERIES_SHARE = 0.25
# What all other files share, and how few files may have what stands alone.
COMMON_SHARE = 0.95
ALONE_SHARE = 0.005
NOTED_IMBALANCE = 3
WARNED_IMBALANCE = 10
FAULTS: dict[str, tuple[Level, str, str]] = {
    "missing": ("error", "listed but not there", "Add the files, or delete their rows."),
    "bad-target": ("error", "with a wrong label", "Correct the label, or move the image."),
    "bad-name": ("error", "with a name that cannot be used", "Write the path of a file inside of the data folder."),
    "bad-split": ("error", "with an unknown split", "Write train, validation or test."),
    "listed-twice": ("error", "listed more than once", "Delete all rows but one."),
    "unlisted": ("warning", "in the folders but not read", "Add them to the table, or move them away."),
    "link": ("error", "to a folder outside, not followed", "Follow them with --follow-links, or put the folder itself there."),
    "locked": ("error", "that cannot be listed", "Allow yourself to read it, or move it away."),
}
# What faults are about that are not about an image.
NOUNS = {"link": "link", "locked": "folder"}
QUALITY = {
    "blank": "blank: all of one colour",
    "dark": "nearly black",
    "bright": "nearly white",
    "plain": "mostly of one colour, unlike the others (“image not found”?)",
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
        thorough: also look at the brightness and sharpness of every image, which `diptych train` leaves out.
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
    drawn = readable.iloc[draw_rows(readable["target"].to_numpy(), readable["sha256"])]
    measured = measure(store, rows if thorough else drawn.index.to_numpy())
    findings += quality(readable, measured) if thorough else []
    named = {path for finding in findings for group in finding.groups for path in group}
    findings += unlike_others(readable[~readable["path"].isin(named)])
    shortcut = look_for_shortcut(drawn, measured.loc[drawn.index], manifest.class_names)
    counts = np.bincount(table["target"], minlength=len(manifest.class_names)).tolist()
    classes = tuple(zip(manifest.class_names, counts, strict=True))
    ordered = sorted([*cheating(shortcut, manifest.class_names), *findings], key=lambda finding: LEVELS.index(finding.level))
    return Audit(str(manifest.root), len(table), len(readable), classes, tuple(ordered), shortcut)


def single(
    kind: str, level: Level, what: str, advice: str, paths: Iterable[str], reasons: Iterable[str] = (), *, noun: str = "image"
) -> list[Finding]:
    """Make a Finding of single images, unless there are none."""
    groups = tuple((path,) for path in paths)
    said = tuple(reasons) or ("",) * len(groups)
    return [Finding(kind, level, f"{count_of(len(groups), noun)} {what}", advice, groups, said)] if groups else []


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
            kind,
            level,
            what,
            advice,
            [fault.path for fault in own],
            [fault.message for fault in own],
            noun=NOUNS.get(kind, "image"),
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
            "wrong-extension", "warning", "with the extension of another format", "Rename them.", wrong["path"], wrong["format"]
        ),
        *single("tiny", "warning", f"smaller than {SMALLEST_SIDE} pixels", "Are they thumbnails?", tiny["path"], sizes(tiny)),
        *single(
            "huge", "note", f"of more than {MOST_PIXELS // 10**6} megapixels", "They are slow to read.", huge["path"], sizes(huge)
        ),
        *single("long", "warning", "very long or tall", "Stretching distorts them: --resize.", long["path"], sizes(long)),
    ]


def unseen_pixels(readable: pd.DataFrame) -> list[Finding]:
    """Find images of more than 8 bits that are scaled wrongly, and files with more frames than the one that is read."""
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


def unlike_others(readable: pd.DataFrame) -> list[Finding]:
    """Find files with a format or size of their own: placeholders and drawings among photographs."""
    distinct = readable[~readable["sha256"].duplicated()]
    if len(distinct) < FEW_IMAGES:
        return []
    sizes = [f"{width} x {height}" for width, height in zip(distinct["width"], distinct["height"], strict=True)]
    traits = pd.DataFrame({"format": distinct["format"], "size": sizes}, index=distinct.index)
    said = pd.Series("", index=distinct.index)
    for trait in traits:
        counts = traits[trait].value_counts()
        if counts.iloc[0] >= COMMON_SHARE * len(distinct):
            rare = counts.index[counts <= max(1, ALONE_SHARE * len(distinct))]
            alone = traits[trait].isin(rare)
            said[alone] += traits[trait][alone].map(lambda value, usual=counts.index[0]: f", {value} where others are {usual}")
    odd = said[said != ""]
    advice = "Is it a placeholder (“image not found”), a thumbnail or a drawing? Then drop it."
    return single("stands-alone", "warning", "unlike all others", advice, distinct["path"][odd.index], odd.str[2:])


def imbalance(manifest: Manifest, readable: pd.DataFrame) -> list[Finding]:
    counts = np.bincount(readable["target"], minlength=len(manifest.class_names))
    named = sorted(zip(counts.tolist(), manifest.class_names, strict=True))
    (least, rare), (most, common) = named[0], named[-1]
    few = [f"{name} ({count})" for count, name in named if count < FEW_IMAGES]
    found = []
    if few:
        shown = ", ".join(few[:10]) + (", …" if len(few) > 10 else "")
        title = f"{count_of(len(few), 'class', 'classes')} with fewer than {FEW_IMAGES} images: {shown}"
        found.append(Finding("few-images", "warning", title, "More images help more than anything else."))
    if most > NOTED_IMBALANCE * max(1, least):
        level: Level = "warning" if most > WARNED_IMBALANCE * max(1, least) else "note"
        title = f"class {common} has {most / max(1, least):.0f} times as many images as class {rare}"
        found.append(Finding("imbalance", level, title, "Look at recall and ROC AUC, not accuracy alone; try --class-weights."))
    return found


def twins(
    manifest: Manifest, readable: pd.DataFrame, pairs: NDArray[np.int64], groups: pd.Series, given: pd.Series
) -> list[Finding]:
    """Find images that are copies of each other, and what is wrong with them."""
    names = manifest.class_names
    near = pd.Series(connect(len(readable), np.searchsorted(readable.index.to_numpy(), pairs)), index=readable.index)
    exact = groups_of(readable, readable["sha256"])
    alike = [group for group in groups_of(readable, near) if differ(readable["sha256"][group])]
    found = repeated(readable, exact, names)
    exact_few = [group for group in exact if not is_repeated(readable, group)]
    found += series(readable, alike, groups, names)
    for kind, members, what in (("exact", exact_few, "byte-for-byte copies"), ("near", alike, "near twins")):
        torn = [group for group in members if differ(readable["target"][group])]
        whole = [group for group in members if not differ(readable["target"][group])]
        wrong: Level = "error" if kind == "exact" else "warning"
        advice = "If they show the same thing, one of the labels is wrong: relabel or drop."
        found += together(
            f"{kind}-twins-labels", wrong, f"{what} with different labels", advice, readable=readable, groups=torn, names=names
        )
        if kind == "near" and any(finding.kind == "series" for finding in found):
            continue
        advice = "They stay in one part of the split; drop what is not needed."
        found += together(f"{kind}-twins", "warning", what, advice, readable=readable, groups=whole, names=names)
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
        advice = "The test figures will be too good: correct the split."
        found += together(f"{kind}-leak", level, title, advice, readable=readable, groups=leaks, names=names)
    return found


def is_repeated(readable: pd.DataFrame, group: pd.Index) -> bool:
    """Tell whether one file has so many names that it is hardly a photograph."""
    return len(group) >= MANY_COPIES or (len(group) >= MANY_COPIES_OF_CLASSES and differ(readable["target"][group]))


def repeated(readable: pd.DataFrame, exact: list[pd.Index], names: tuple[str, ...]) -> list[Finding]:
    """Find files with many names, such as a placeholder "image not found"."""
    many = [group for group in exact if is_repeated(readable, group)]
    level: Level = "error" if any(differ(readable["target"][group]) for group in many) else "warning"
    advice = "Is it a placeholder (“image not found”)? Then drop it under all its names, else under all but one."
    return together("repeated-file", level, "one file under many names", advice, readable=readable, groups=many, names=names)


def series(readable: pd.DataFrame, alike: list[pd.Index], groups: pd.Series, names: tuple[str, ...]) -> list[Finding]:
    """Find out whether there are so many near duplicates that the images come in series.

    Series that the column of the groups keeps together already are none.
    """
    loose = [group for group in alike if differ(groups[group]) or (groups[group] == "").all()]
    images = sum(map(len, loose))
    if images < max(FEW_IMAGES, SERIES_SHARE * len(readable)):
        return []
    title = (
        f"these images come in series: {images / len(readable):.0%} are near twins of others ({count_of(len(loose), 'group')})"
    )
    advice = (
        "Name the series of each image (the thing, person or place that it shows) in a column group, or another one with "
        "--group-column. The twins found are surely not all, and a series in two parts of the split makes the test figures too "
        "good."
    )
    (found,) = together("series", "warning", "", advice, readable=readable, groups=loose, names=names)
    return [dataclasses.replace(found, title=title)]


def differ(values: pd.Series) -> bool:
    return len(set(values)) > 1


def groups_of(readable: pd.DataFrame, keys: pd.Series) -> list[pd.Index]:
    """List the rows of each key that more than one image has."""
    shared = keys[keys.duplicated(keep=False)]
    return [pd.Index(rows) for rows in readable.loc[shared.index].groupby(shared, sort=False).groups.values()]


def together(
    kind: str, level: Level, what: str, advice: str, *, readable: pd.DataFrame, groups: list[pd.Index], names: tuple[str, ...]
) -> list[Finding]:
    """Make a Finding of groups of images, unless there are none."""
    if not groups:
        return []
    title = f"{count_of(len(groups), 'group')} of {what} ({count_of(sum(map(len, groups)))})"
    paths = tuple(tuple(readable["path"][group]) for group in groups)
    labels = tuple(", ".join(f"class {names[target]}" for target in sorted(set(readable["target"][group]))) for group in groups)
    return [Finding(kind, level, title, advice, paths, labels)]


def quality(readable: pd.DataFrame, measured: pd.DataFrame) -> list[Finding]:
    found = []
    for kind, rows in faults_of_quality(measured).items():
        shown = readable["path"][rows.to_numpy()]
        found += single(
            str(kind), "warning", QUALITY[str(kind)], "Look at them; drop those that do not show your subject.", shown
        )
    return found


def look_for_shortcut(drawn: pd.DataFrame, measured: pd.DataFrame, class_names: tuple[str, ...]) -> Shortcut | None:
    """Test whether the classes can be told apart without the content, and describe how."""
    features = shortcut_features(drawn["path"], drawn, measured)
    found = find_shortcut(features, drawn["target"].to_numpy())
    if found is None or found.level == "none":
        return found
    files = pd.concat([drawn, measured], axis=1)
    return dataclasses.replace(found, example=describe_sources(files, class_names, dict(found.features), found.targets))


def cheating(shortcut: Shortcut | None, class_names: tuple[str, ...]) -> list[Finding]:
    if shortcut is None or shortcut.level == "none":
        return []
    what = "the classes can be told apart"
    auc = shortcut.roc_auc
    if shortcut.targets:
        apart = name_classes([class_names[target] for target in shortcut.targets])
        what = f"{apart} can be told from all others"
        auc = shortcut.facts_roc_auc
    alone = f"{shortcut.feature} alone {shortcut.feature_roc_auc:.2f}"
    title = f"{what} without looking at what the images show: ROC AUC {auc:.2f}, {alone}"
    if shortcut.maybe_content:
        advice = (
            "Where colour, brightness or detail is what the classes are about, all is well. Where it is not, a network learns it "
            "instead of your subject: record and save the images of all classes in the same way."
        )
    else:
        advice = (
            "A network learns this instead of your subject, and its test figures say little about new images: record, crop and "
            "save the images of all classes in the same way."
        )
    return [Finding("shortcut", shortcut.level, title, advice, details=shortcut.example)]
