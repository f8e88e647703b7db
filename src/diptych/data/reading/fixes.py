"""Corrections after an audit, in a table of their own; the user's files are never changed."""

import dataclasses
import posixpath
import re
from collections.abc import Collection, Sequence
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

import pandas as pd

from diptych.data.reading.manifest import Manifest, inside
from diptych.data.reading.suggestions import did_you_mean, nearest_name, nearest_path
from diptych.data.reading.tables import MISSING, UNKNOWN, read_table
from diptych.errors import DataError

FIXES = ("drop", "relabel", "group")
COLUMNS = ("path", "fix", "value")
# A group that is written into one of these would destroy what Diptych reads from it.
NOT_FOR_GROUPS = ("path", "image_name", "target", "split", "sha256")


class Fix(NamedTuple):
    """One correction: where it is written, the image, one of FIXES, and the class or group ("" for drop)."""

    where: str
    path: str
    fix: str
    value: str


def apply_fixes(manifest: Manifest, file: Path, group_column: str) -> Manifest:
    """Drop, relabel and group images as a table says.

    Args:
        manifest: as read, before anything was decoded.
        file: CSV or Parquet with the columns path (relative to the data folder), fix (drop, relabel or group), value (the
            class of relabel, the group of group, else empty); a column reason and others are for people.
        group_column: the column that the groups are written to; it is made where there is none.

    Returns:
        A new Manifest, its rows numbered afresh.

    Raises:
        DataError: a row is wrong, two rows contradict each other, or a class would lose its last image.
    """
    fixes = read_fixes(manifest, file)
    check_contradictions(fixes)
    values: dict[str, dict[str, str]] = {kind: {fix.path: fix.value for fix in fixes if fix.fix == kind} for kind in FIXES}
    table = manifest.table.copy()
    relabelled = table["path"].map(values["relabel"]).dropna().map(manifest.class_names.index)
    table.loc[relabelled.index, "target"] = relabelled.astype("int64")
    if values["group"]:
        if group_column in NOT_FOR_GROUPS:
            raise DataError(f"{file}: groups cannot be written to the column {group_column}; choose another --group-column.")
        table[group_column] = table["path"].map(values["group"]).fillna(groups_of(table, group_column))
    kept = ~table["path"].isin(list(values["drop"]))
    check_classes(manifest, set(table.loc[kept, "target"]), file)
    listed = tuple(place for place, keep in zip(manifest.listed, kept, strict=True) if keep) if manifest.listed else ()
    return dataclasses.replace(manifest, table=table[kept].reset_index(drop=True), listed=listed)


def count_fixes(before: Manifest, after: Manifest, group_column: str) -> dict[str, int]:
    """Count the images that apply_fixes dropped, and those whose class or group it changed, by the names in FIXES."""
    new = after.table.set_index("path")
    old = before.table.set_index("path").loc[new.index]
    return {
        "drop": len(before.table) - len(new),
        "relabel": int((old["target"] != new["target"]).sum()),
        "group": int((groups_of(old, group_column) != groups_of(new, group_column)).sum()),
    }


def groups_of(table: pd.DataFrame, group_column: str) -> "pd.Series[str]":
    return table[group_column] if group_column in table else pd.Series("", index=table.index, dtype=str)


def read_fixes(manifest: Manifest, file: Path) -> list[Fix]:
    """Read the table and check each row by itself."""
    table = read_table(file).fillna("")
    for column in COLUMNS:
        if column not in table:
            columns = ", ".join(table.columns)
            raise DataError(f"{file}: no column {column}; it has {columns}. Expected path, fix, value, and reason if you like.")
    paths = set(manifest.table["path"])
    rows = zip(table.index, table["path"], table["fix"], table["value"], strict=True)
    fixes = [Fix(f"{file}, row {row}", *texts) for row, *texts in rows]
    found = [find_path(manifest.root, fix, paths) for fix in fixes]
    refuse_unknown([fix for fix, path in zip(fixes, found, strict=True) if not path], paths)
    return [check_fix(fix._replace(path=path), manifest.class_names) for fix, path in zip(fixes, found, strict=True)]


def check_fix(fix: Fix, class_names: tuple[str, ...]) -> Fix:
    """Return a row with its fix and value as the Manifest writes them."""
    path = fix.path
    kind = fix.fix.strip().lower()
    value = next((value for value in spellings(fix.value) if value in class_names), spellings(fix.value)[-1])
    if kind != "relabel" and value.lower() in (UNKNOWN if kind == "group" else MISSING):
        value = ""
    if kind not in FIXES:
        raise DataError(f"{fix.where}: {fix.fix!r} is not a fix; write drop, relabel or group.")
    if kind == "drop" and value:
        raise DataError(f"{fix.where}: drop takes no value, got {value!r}; empty it, or write relabel or group as the fix.")
    if kind == "relabel" and value not in class_names:
        shown = f"{', '.join(class_names[:10])}{', …' * (len(class_names) > 10)}"
        hint = nearest_name(value, class_names) or f"The classes are {shown}."
        raise DataError(f"{fix.where}: {value!r} is not a class of the data. {hint}")
    if kind == "group" and not value:
        raise DataError(f"{fix.where}: the group of {path!r} is empty; write its name in the column value, or delete the row.")
    return Fix(fix.where, path, kind, value)


def spellings(value: str) -> tuple[str, ...]:
    """Return a value without blanks around it, also 3.0 as 3: a column with empty cells turns 3 into 3.0."""
    return value, value.strip(), re.sub(r"^([0-9]+)\.0*$", r"\1", value.strip())


def find_path(root: Path, fix: Fix, paths: Collection[str]) -> str:
    """Return the path of the image that a row means, as in the Manifest; "" if there is none."""
    if not fix.path.strip():
        raise DataError(f"{fix.where}: the path is empty; write the image's path relative to the data folder.")
    normal = normal_path(fix.path)
    relative = inside(root, [fix.path.strip()])[0]
    found = next((path for path in (fix.path, normal, relative) if path in paths), "")
    if not found and not relative and (normal.startswith("/") or PureWindowsPath(normal).drive):
        raise DataError(
            f"{fix.where}: {fix.path!r} is absolute; write the path relative to the data folder {root}, with forward slashes."
        )
    return found


def normal_path(path: str) -> str:
    return posixpath.normpath(path.strip().replace("\\", "/"))


def refuse_unknown(fixes: Sequence[Fix], paths: Collection[str]) -> None:
    """Refuse rows that match no image, and suggest once for all what they probably mean."""
    if fixes:
        first = fixes[0]
        missing = [normal_path(fix.path) for fix in fixes]
        hint = did_you_mean(missing, paths) or nearest_path(missing[0], paths) or f"Expected a path such as {min(paths)!r}."
        more = f" ({len(fixes) - 1} more like it)" if len(fixes) > 1 else ""
        raise DataError(f"{first.where}: {first.path!r} is not an image that the data lists{more}. {hint}")


def check_contradictions(fixes: list[Fix]) -> None:
    """Refuse two fixes of one image that cannot both be done; the same fix twice is fine."""
    first: dict[tuple[str, ...], Fix] = {}
    for fix in fixes:
        first.setdefault(fix[1:], fix)
    seen: dict[str, list[Fix]] = {}
    for fix in first.values():
        for earlier in seen.setdefault(fix.path, []):
            if earlier.fix == fix.fix or "drop" in (earlier.fix, fix.fix):
                here, there = (f"{one.fix} {one.value}".strip() for one in (fix, earlier))
                raise DataError(
                    f"{fix.where}: {here} contradicts {there} in {earlier.where}, for {fix.path!r}; delete one of them."
                )
        seen[fix.path].append(fix)


def check_classes(manifest: Manifest, left: set[int], file: Path) -> None:
    for target in sorted(set(manifest.table["target"]) - left):
        name = manifest.class_names[target]
        raise DataError(
            f"{file}: with these fixes the class {name!r} has no image left; keep some, or remove the class from the data."
        )
