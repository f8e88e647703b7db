"""Warnings about tables that were probably meant otherwise: odd classes, groups and columns."""

import re
from collections import defaultdict

import pandas as pd

from diptych.data.reading.manifest import OWN_COLUMNS, Remark, number_key, parts_of, spelling_key
from diptych.data.reading.tables import UNKNOWN, is_missing
from diptych.screen import quoted

# Words for an image without a label, beyond those for a group that is not known: a class may be called so, but hardly is.
UNLABELLED = UNKNOWN | {"unlabeled", "unlabelled", "not labeled", "not labelled", "no label", "nolabel", "tbd", "todo", "to do"}
NUMBER = re.compile(r"[-+]?[0-9]+([.,][0-9]*)?")
# What may stand between two classes in one cell, where a bar, semicolon or comma would be refused.
JOINTS = re.compile(r"\s+and\s+|\s*[+/&]\s*|\s+")
# Columns by these names may say which images belong together.
GROUPS = re.compile(
    r"(patient|subject|participant|person|individual|animal|case|study|lesion|specimen|sample|slide|video|sequence|scene|series)"
    r"s?[ _-]?(id|identifier|name|nr|no|num|number|code)?s?"
)


def doubt_classes(paths: pd.Series, labels: pd.Series) -> tuple[Remark, ...]:
    """Warn of classes that may be missing values, or stand for several others.

    Args:
        paths: of the images.
        labels: the name of the class of each.
    """
    names = set(labels)
    numbers = {name for name in names if NUMBER.fullmatch(name)}
    negative = {name for name in numbers if name.startswith("-")}
    odd = {name for name in names if spelling_key(name) in UNLABELLED}
    # One word among numbers, or one negative number among others.
    for few, many in ((names - numbers, numbers), (negative, numbers - negative)):
        odd |= few if len(few) == 1 and len(many) > 1 else set()
    joined = {name for name in names - odd if len(parts := JOINTS.split(name)) > 1 and names.issuperset(parts)}
    found = [
        remark(
            "odd-class",
            odd,
            "a class that may stand for a missing value",
            "If it does, delete these rows: a network learns it as a class like any other.",
            paths,
            labels,
        ),
        remark(
            "joined-classes",
            joined,
            "a class that is made of the names of others",
            "If such an image shows several classes: it has one here, so keep one, or name the combination in one word.",
            paths,
            labels,
        ),
    ]
    return tuple(each for each in found if each.paths)


def remark(kind: str, names: set[str], what: str, advice: str, paths: pd.Series, labels: pd.Series) -> Remark:
    own = paths[labels.isin(names)]
    title = f"{len(own):,} image{'s have' if len(own) > 1 else ' has'} {what}: {', '.join(map(repr, sorted(names)[:8]))}"
    return Remark(kind, title, advice, tuple(own))


def doubt_groups(paths: pd.Series, groups: pd.Series, column: str) -> tuple[Remark, ...]:
    """Warn of groups that may be one, as P1, p1 and p01 may."""
    alike: dict[str, set[str]] = defaultdict(set)
    for name in set(groups) - {""}:
        alike[number_key(spelling_key(name))].add(name)
    several = [names for names in alike.values() if len(names) > 1]
    if not several:
        return ()
    first = " and ".join(map(repr, min(map(sorted, several))[:2]))
    count = f"{sum(map(len, several)):,} values of {column} differ only in case, signs, or how a number is written: {first}"
    advice = "Where they mean the same, write it in one way: images of one group could lie in more than one part of the split."
    return (Remark("groups-alike", count, advice, tuple(paths[groups.isin(set().union(*several))])),)


def doubt_columns(table: pd.DataFrame, group_column: str, split: bool) -> tuple[Remark, ...]:
    """Warn of columns that seem to give the split or the groups, and are not called so.

    Args:
        table: of a Manifest.
        group_column: the column of the groups, if it is there.
        split: whether the split is given in another way.
    """
    found = []
    for column in table.columns.difference([*OWN_COLUMNS, "image_name", "target", "split", group_column], sort=False):
        values = table[column].str.strip()
        values = values[~is_missing(values, UNKNOWN)]
        parts = parts_of(values.unique()) if values.nunique() < 10 else {}
        kinds = set(parts.values())
        if not split and "split" not in table and len(kinds) > 1 and "train" in kinds and set(parts) == set(values):
            title = f"the column {column} holds {', '.join(sorted(parts))}, but is not taken as the split"
            found.append(
                Remark("split-column", title, "Call it split, and these parts are kept; else Diptych draws its own.", ())
            )
        several = 1 < len(set(values)) < len(values)
        if group_column not in table and several and GROUPS.fullmatch(column.strip().lower()):
            title = (
                f"the column {column} has {values.nunique():,} values for {len(values):,} images, but is not taken as the groups"
            )
            advice = (
                f"If images of one {column} belong together, keep them in one part of the split: --group-column {quoted(column)}."
            )
            found.append(Remark("group-column", title, advice, ()))
    return tuple(found)
