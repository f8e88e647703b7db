"""Tables that list the images and their classes: one for each class folder, or any number for all."""

import os
import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from diptych.data.folders import Found, list_folder, name_some
from diptych.data.manifest import (
    OWN_COLUMNS,
    SPLITS,
    Fault,
    check_files,
    check_names,
    compose,
    is_image,
    leave_out,
    locate,
    part_of,
    parts_of,
    printable,
)
from diptych.data.tables import TABLE_SUFFIXES, is_missing, read_header, read_table, whole_numbers
from diptych.errors import DataError
from diptych.runs import holds
from diptych.storage import TWO_CLASSES

# Any case will do.
PATH_COLUMNS = ("path", "image_path", "image_name", "filename", "file_name", "file", "image", "filepath")
LABEL_COLUMNS = ("target", "label", "class", "class_name", "category")
# So many different numbers, half of them with decimals, are no names of classes.
MEASUREMENTS = 10


def find_paired(root: Path, folders: Sequence[str]) -> tuple[str, ...]:
    """Return the class folders that have a table of the same name, if that is the layout; of 0 and 1, one may be missing."""
    named = {folder: tables_of(root, folder) for folder in (*folders, *TWO_CLASSES) if not part_of(folder)}
    paired = tuple(folder for folder in folders if named.get(folder))
    if sum({"image_name", "target"} <= set(read_header(named[folder][0])) for folder in paired) >= 2:
        return paired
    two = any(name in folders for name in TWO_CLASSES) and any(named[name] for name in TWO_CLASSES)
    return TWO_CLASSES if two else ()


def tables_of(root: Path, name: str) -> list[Path]:
    places = [folder / f"{name}{suffix}" for suffix in TABLE_SUFFIXES for folder in (root, root / name)]
    return [place for place in places if holds(place.parent, place.name)]


def read_paired(
    root: Path, names: tuple[str, ...], faults: list[Fault] | None, folders: Sequence[str], follow_links: bool = False
) -> Found:
    """Take folders as classes, with the images that the table of each lists.

    Args:
        root: the data folder.
        names: of the class folders.
        faults: grows.
        folders: all that lie in root.

    Raises:
        DataError: a folder, table or column is missing, or a row is wrong.
    """
    sources = [find_table(root, name) for name in names]
    tables = [read_class_table(name, source) for name, source in zip(names, sources, strict=True)]
    labels = tuple(map(compose, names))
    choice = " or ".join(names) if len(names) < 5 else "the name of its folder"
    checked = []
    for name, table in zip(names, tables, strict=True):
        rows = check_rows(root, name, table, "image_name", faults, follow_links)
        rows = rows.assign(target=rows["target"].where(rows["target"] == compose(name), whole_numbers(rows["target"])))
        mend = f"is not a target; write {choice}"
        rows = leave_out(rows, ~rows["target"].isin(labels), "bad-target", mend, faults, "target")
        mend = f"disagrees with the folder {name}/; correct the target, or move the image and its row to the other class"
        rows = leave_out(rows, rows["target"] != compose(name), "bad-target", mend, faults, "target", "target")
        checked.append(check_splits(rows, faults))
    check_split_columns(root, dict(zip(sources, checked, strict=True)))
    unread = tuple(f"folder {folder}" for folder in folders if folder not in names)
    layout = f"class folders {name_some(names)}, with a table for each"
    return Found(layout, pd.concat(checked).fillna(""), labels, unread)


def find_table(root: Path, name: str) -> Path:
    if not (root / name).is_dir():
        raise DataError(f"{root / name}: no such folder. Expected the images of class {name} in it; --data names what holds it.")
    found = tables_of(root, name)
    if not found:
        missing = root / f"{name}.csv"
        raise DataError(f"{missing}: no such table. Expected the columns image_name and target, one row an image of {name}/.")
    if len(found) > 1:
        raise DataError(f"{' and '.join(map(str, found))} both exist; keep one of them.")
    return found[0]


def read_class_table(name: str, source: Path) -> pd.DataFrame:
    table = read_table(source)
    for column in ("image_name", "target"):
        if column not in table:
            raise DataError(f"{source}: no column {column}; it has {', '.join(table.columns)}. Expected image_name and target.")
    check_own_columns(source, table)
    if table.empty:
        raise DataError(f"{source}: no rows, so the class is empty. Each class needs images.")
    return to_rows(source, table, name, "image_name", "target")


def read_tables(
    root: Path, sources: Sequence[Path], faults: list[Fault] | None, folders: Sequence[str] = (), follow_links: bool = False
) -> Found:
    """Take all images of some tables, with their classes and, where it is given, their split.

    Args:
        root: the folder of the tables; the images' paths are relative to it.
        sources: the tables. Among several, the names train, val, test give the split.
        faults: grows.
        folders: that lie in root.

    Raises:
        DataError: a column is missing or could be two things, or a row is wrong.
    """
    tables = {source: read_listing(source) for source in sources}
    parts = parts_of(source.stem for source in sources)
    for source, table in tables.items():
        if len(sources) > 1 and source.stem in parts and "split" not in table:
            table["split"] = parts[source.stem]
    check_split_columns(root, tables)
    rows = pd.concat(list(tables.values())).fillna("")
    rows["target"] = whole_numbers(rows["target"])
    shared = several_in_one(rows["target"])
    labels = tuple(rows["target"][~is_missing(rows["target"]) & ~shared].unique())
    refuse_measurements(name_some([source.name for source in sources]), rows["target"])
    rows = check_rows(root, "", rows, "path", faults, follow_links)
    rows = check_labels(rows, shared, faults)
    layout = f"table{'s' * (len(sources) > 1)} {name_some([source.name for source in sources])}"
    if len(folders) > 1:
        layout += f"; the classes come from there, not from the folders {name_some(folders)}"
    return Found(layout, check_splits(rows, faults), labels)


def lists_images(source: Path) -> bool:
    """Tell by its columns whether a table lists images and their classes."""
    columns = {column.lower() for column in read_header(source)}
    return not columns.isdisjoint(PATH_COLUMNS) and not columns.isdisjoint(LABEL_COLUMNS)


def read_listing(source: Path) -> pd.DataFrame:
    table = read_table(source)
    path = find_column(source, list(table.columns), "path of each image", PATH_COLUMNS)
    label = find_column(source, list(table.columns), "class of each image", LABEL_COLUMNS)
    if any(column.lower() == "split" for column in table.columns):
        table = table.rename(columns={find_column(source, list(table.columns), "part of each image", ("split",)): "split"})
    check_own_columns(source, table.drop(columns=path))
    if table.empty:
        raise DataError(f"{source}: no rows. Expected one row an image.")
    return to_rows(source, table, "", path, label)


def find_column(source: Path, columns: Sequence[str], content: str, names: tuple[str, ...]) -> str:
    found = [column for column in columns if column.lower() in names]
    if len(found) > 1:
        raise DataError(f"{source}: the columns {' and '.join(found)} could each be the {content}; rename all but one.")
    if not found:
        choice = f"{', '.join(names[:-1])} or {names[-1]}"
        raise DataError(f"{source}: no column for the {content}; it has {name_some(columns)}. Name it {choice}.")
    return found[0]


def check_own_columns(source: Path, table: pd.DataFrame) -> None:
    for column in OWN_COLUMNS:
        if column in table:
            raise DataError(f"{source}: the column {column} is one that Diptych writes itself; rename it.")


def check_split_columns(root: Path, tables: Mapping[Path, pd.DataFrame]) -> None:
    given = [source.name for source, table in tables.items() if "split" in table]
    if 0 < len(given) < len(tables):
        which = f"only {name_some(given)} {'has' if len(given) == 1 else 'have'}"
        raise DataError(f"{root}: {which} a column split, or a name that gives it; give it to all tables, or to none.")


def to_rows(source: Path, table: pd.DataFrame, home: str, path: str, label: str) -> pd.DataFrame:
    """Return `path`, `image_name`, `target` and the further columns; the index as `leave_out` wants it.

    Args:
        source: the table's file.
        table: as read.
        home: folder that the names are relative to, itself relative to the data folder.
        path: name of the column with the names.
        label: name of the column with the classes.
    """
    paths = [posixpath.join(home, posixpath.normpath(name.replace("\\", "/"))) for name in table[path]]
    labels = table[label].str.strip().str.normalize("NFC")
    rows = pd.DataFrame({"path": paths, "image_name": table[path], "target": labels, **table.drop(columns=[path, label])})
    return rows.set_axis(pd.MultiIndex.from_product([[printable(str(source))], table.index]))


def check_labels(rows: pd.DataFrame, shared: "pd.Series[bool]", faults: list[Fault] | None) -> pd.DataFrame:
    """Leave out the rows whose label is missing, or names several classes (`shared`, which may have further rows)."""
    rows = leave_out(rows, rows["target"] == "", "bad-target", "is empty; write its name", faults, "target", "class")
    mend = (
        "stands for a missing value; write the class, or delete the row. If a class is called so, call it otherwise "
        "(no_finding, say)"
    )
    rows = leave_out(rows, is_missing(rows["target"]), "bad-target", mend, faults, "target", "class")
    mend = "names several classes, but an image has one here; keep one, or name each combination in one word"
    return leave_out(rows, shared.loc[rows.index], "bad-target", mend, faults, "target", "class")


def several_in_one(labels: "pd.Series[str]") -> "pd.Series[bool]":
    """Tell which labels hold several classes: lists, and "a|b", "a;b" or "a,b" where a and b are known from other rows."""
    names = set(labels)
    found = labels.str.fullmatch(r"\[.*\]|\{.*\}|\(.*,.*\)")
    for separator in "|;,":
        joined = {name: {part.strip() for part in name.split(separator)} - {""} for name in names if separator in name}
        if separator == "|":
            # A bar does nothing but separate: its parts need not stand alone elsewhere, being in two cells will do.
            counts = Counter(part for parts in joined.values() for part in parts)
            names |= {part for part, count in counts.items() if count > 1}
        found |= labels.isin([name for name, parts in joined.items() if parts and parts <= names])
    return found


def refuse_measurements(tables: str, labels: "pd.Series[str]") -> None:
    """Refuse labels that are many numbers with decimals: they measure something, and are no classes."""
    given = labels[~is_missing(labels)].drop_duplicates()
    if len(given) < MEASUREMENTS or not given.str.fullmatch(r"[-+]?[0-9]*[.,]?[0-9]+([eE][-+]?[0-9]+)?").all():
        return
    values = sorted(given.str.replace(",", ".").astype(float))
    if sum(value != round(value) for value in values) >= MEASUREMENTS / 2:
        raise DataError(
            f"{tables}: the labels are {len(values):,} different numbers from {values[0]:g} to {values[-1]:g}: a measurement, "
            "not classes, and Diptych tells classes apart. Cut it into a few ranges with a name each, or name another "
            "column of classes."
        )


def check_rows(
    root: Path, home: str, rows: pd.DataFrame, subject: str, faults: list[Fault] | None, follow_links: bool
) -> pd.DataFrame:
    """Leave out the rows without a file; a file that no row names is described in `faults`."""
    mend = f"is empty; write the file's name in {subject}"
    rows = leave_out(rows, rows["image_name"].str.strip() == "", "bad-name", mend, faults, subject=subject)
    rows = check_names(rows, root / home, faults)
    places = locate(root, rows["path"])
    rows = check_files(rows, places, root / home, faults, follow_links)
    if faults is not None:
        faults += find_unlisted(root, rows["path"], set(places))
    return rows


def find_unlisted(root: Path, paths: "pd.Series[str]", known: set[str]) -> list[Fault]:
    """Name the images in the folders of some others that lie in none of the places known."""
    beside = []
    for folder in sorted(paths.map(posixpath.dirname).unique()):
        real = os.path.realpath(root / folder)
        names = [name for name in list_folder(root, folder)[1] if is_image(name)]
        beside += [posixpath.join(folder, name) for name in sorted(names) if f"{real}{os.sep}{name}" not in known]
    # Links to listed images are left.
    found = pd.Series(beside, dtype=object)
    unlisted = found[~locate(root, found).isin(known)]
    return [Fault("unlisted", printable(path), f"{path!r} is listed in no table.") for path in unlisted]


def check_splits(rows: pd.DataFrame, faults: list[Fault] | None) -> pd.DataFrame:
    if "split" not in rows:
        return rows
    given = rows["split"].str.strip()
    parts = parts_of(given.unique())
    rows = rows.assign(split=[parts.get(value, value) for value in given])
    mend = f"is not a split; write {', '.join(SPLITS[:-1])} or {SPLITS[-1]}"
    return leave_out(rows, ~rows["split"].isin(SPLITS), "bad-split", mend, faults, "split")
