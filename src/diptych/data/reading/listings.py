"""Tables that list the images and their classes: one for each class folder, or any number for all."""

import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from diptych.data.reading.class_folders import Found, list_files, list_folder, name_some
from diptych.data.reading.manifest import (
    LEAVES,
    OWN_COLUMNS,
    SPLITS,
    Fault,
    check_files,
    check_names,
    compose,
    inside,
    is_image,
    leave_out,
    locate,
    part_of,
    parts_of,
    printable,
)
from diptych.data.reading.suggestions import did_you_mean
from diptych.data.reading.tables import TABLE_SUFFIXES, is_missing, read_header, read_table, whole_numbers
from diptych.errors import DataError
from diptych.screen import quoted
from diptych.settings.config import DataConfig
from diptych.storage.run_dir import TWO_CLASSES
from diptych.storage.runs import holds

# Any case will do.
PATH_COLUMNS = ("path", "image_path", "image_name", "filename", "file_name", "file", "image", "filepath")
LABEL_COLUMNS = ("target", "label", "class", "class_name", "category")
# Taken where nothing else tells the classes: beside class folders, such columns may well mean something else.
FURTHER_PATHS = ("image_id", "img", "img_name", "img_path", "image_file", "image_filename", "file_path")
FURTHER_LABELS = ("labels", "diagnosis", "dx", "class_id", "class_label", "category_id", "label_name", "species")
HOW_TO_NAME = "if it lists the images, say which columns hold their paths and classes: --path-column, --label-column"
# Tables that competitions hand out to be filled in; their labels stand for nothing.
TEMPLATE = re.compile(r"submission|submit|sample_sub|template|placeholder", re.IGNORECASE)
# A part of the split in so many rows, all of one class, has placeholders for labels.
PLACEHOLDERS = 10
ONE_HOT = {"0": 0, "0.0": 0, "false": 0, "1": 1, "1.0": 1, "true": 1}
# So many different numbers, half of them with decimals, are no names of classes.
MEASUREMENTS = 10


def find_paired(root: Path, folders: Sequence[str]) -> tuple[str, ...]:
    """Return the class folders that have a table of the same name, if that is the layout; of 0 and 1, one may be missing."""
    named = {folder: tables_of(root, folder) for folder in (*folders, *TWO_CLASSES) if not part_of(folder)}
    paired = tuple(folder for folder in folders if named.get(folder))
    if sum({"image_name", "target"} <= set(map(str.lower, read_header(named[folder][0]))) for folder in paired) >= 2:
        return paired
    two = any(name in folders for name in TWO_CLASSES) and any(named[name] for name in TWO_CLASSES)
    return TWO_CLASSES if two else ()


def tables_of(root: Path, name: str) -> list[Path]:
    places = [folder / f"{name}{suffix}" for suffix in TABLE_SUFFIXES for folder in (root, root / name)]
    return [place for place in places if holds(place.parent, place.name)]


def read_paired(
    root: Path, names: tuple[str, ...], faults: list[Fault] | None, folders: Sequence[str], settings: DataConfig
) -> Found:
    """Read folders as classes, with the images that the table of each lists.

    Args:
        root: the data folder.
        names: of the class folders.
        faults: grows.
        folders: all that lie in root.
        settings: how the data is to be read.

    Raises:
        DataError: a folder, table or column is missing, or a row is wrong.
    """
    sources = [find_table(root, name) for name in names]
    tables = [read_class_table(root, name, source, settings.group_column) for name, source in zip(names, sources, strict=True)]
    labels = tuple(map(compose, names))
    choice = " or ".join(names) if len(names) < 5 else "the name of its folder"
    checked = []
    for name, table in zip(names, tables, strict=True):
        rows = check_rows(root, name, table, "image_name", faults, settings.follow_links)
        rows = rows.assign(target=rows["target"].where(rows["target"] == compose(name), whole_numbers(rows["target"])))
        mend = f"is not a target; write {choice}"
        rows = leave_out(rows, ~rows["target"].isin(labels), "bad-target", mend, faults, column="target")
        mend = f"disagrees with the folder {name}/; correct the target, or move the image and its row to the other class"
        rows = leave_out(rows, rows["target"] != compose(name), "bad-target", mend, faults, column="target", subject="target")
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


def read_class_table(root: Path, name: str, source: Path, group_column: str) -> pd.DataFrame:
    table = in_own_case(read_table(source), ("image_name", "target", "split", group_column))
    for column in ("image_name", "target"):
        if column not in table:
            raise DataError(f"{source}: no column {column}; it has {', '.join(table.columns)}. Expected image_name and target.")
    check_own_columns(source, table)
    if table.empty:
        raise DataError(f"{source}: no rows, so the class is empty. Each class needs images.")
    return to_rows(source, table, root, name, "image_name", "target")


def read_tables(
    root: Path, sources: Sequence[Path], faults: list[Fault] | None, settings: DataConfig, folders: Sequence[str] = ()
) -> Found:
    """Read all images of some tables, with their classes and, if given, their split.

    Args:
        root: the folder that the images' paths are relative to.
        sources: the tables. Among several, the names train, val, test give the split.
        faults: grows.
        settings: which columns to take, where they are named.
        folders: that lie in the folder of the tables.

    Raises:
        DataError: a column is missing or could be two things, several tables do not belong together, or a row is wrong.
    """
    read = {source: read_listing(source, root, settings) for source in sources}
    tables = {source: rows for source, (rows, _) in read.items()}
    parts = parts_of(source.stem for source in sources)
    for source, table in tables.items():
        if len(sources) > 1 and source.stem in parts and "split" not in table:
            table["split"] = parts[source.stem]
    check_belonging(tables, {source: headings for source, (_, headings) in read.items()})
    check_split_columns(sources[0].parent, tables)
    rows = pd.concat(list(tables.values())).fillna("")
    rows["target"] = whole_numbers(rows["target"])
    shared = several_in_one(rows["target"])
    labels = tuple(rows["target"][~is_missing(rows["target"]) & ~shared].unique())
    refuse_measurements(name_some([source.name for source in sources]), rows["target"])
    rows = check_rows(root, "", rows, "path", faults, settings.follow_links)
    rows = check_labels(rows, shared, faults)
    layout = f"table{'s' * (len(sources) > 1)} {name_some([source.name for source in sources])}"
    if len(folders) > 1:
        layout += f"; the classes come from there, not from the folders {name_some(folders)}"
    return Found(layout, check_splits(rows, faults), labels)


def lists_images(source: Path, settings: DataConfig, further: bool = False) -> bool:
    """Tell by its columns whether a table lists images and their classes; `further` headings will do as well."""
    columns = {column.lower() for column in read_header(source)}
    kinds = (
        (settings.path_column, PATH_COLUMNS, FURTHER_PATHS),
        (settings.label_column, LABEL_COLUMNS, FURTHER_LABELS),
    )
    return all(
        not columns.isdisjoint([named.strip().lower()] if named else (*known, *(more if further else ())))
        for named, known, more in kinds
    )


def leave_out_templates(sources: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Part the tables from those that are by their names to be filled in for a competition."""
    templates = [source for source in sources if TEMPLATE.search(source.stem)]
    return [source for source in sources if source not in templates], templates


def describe_table(source: Path, template: bool) -> str:
    """Explain why a table is not read, and how it would be."""
    if template:
        return f"table {source.name} (by its name to be filled in; to read it, name it: --data {quoted(source)})"
    return f"table {source.name} (no columns for path and class, but {name_some(read_header(source)) or 'none'})"


def check_belonging(tables: Mapping[Path, pd.DataFrame], headings: Mapping[Path, tuple[str, str]]) -> None:
    """Refuse tables that are not clearly meant to be read together.

    They are if they have the same headings for path and class, list different images, and either share classes or hold one
    class each.

    Args:
        tables: their rows, with the columns path and target.
        headings: of their columns with path and class.

    Raises:
        DataError: it names two tables that do not belong together, and says how to choose.
    """
    sources = list(tables)
    labels = {source: set(whole_numbers(rows["target"])[~is_missing(rows["target"])]) for source, rows in tables.items()}
    single = [source for source in sources if len(labels[source]) < 2]
    several = [source for source in sources if source not in single]
    for place, source in enumerate(sources):
        if headings[source] != headings[sources[0]]:
            said = " and ".join(", ".join(headings[each]) for each in (sources[0], source))
            raise not_together(sources[0], source, f"call path and class by different headings ({said})")
        for other in sources[:place]:
            twice = len(set(tables[source]["path"]) & set(tables[other]["path"]))
            if twice and twice * 2 >= min(len(tables[source]), len(tables[other])):
                raise not_together(other, source, f"both list {twice:,} of the same images")
    for source in single if several else []:
        rows = len(tables[source])
        label = next(iter(labels[source]), "")
        if rows >= PLACEHOLDERS or source.stem not in parts_of(other.stem for other in sources):
            why = f"may not belong together: all labels of {source.name} ({rows:,}) are {label!r}, as in a form to be filled in"
            raise not_together(several[0], source, why)
    for source in several:
        others = [other for other in sources if other != source]
        if others and labels[source].isdisjoint(set().union(*(labels[other] for other in others))):
            empty = f"do not belong together: no label is given in {others[0].name}"
            raise not_together(source, others[0], "have no class in common" if labels[others[0]] else empty)


def not_together(one: Path, other: Path, why: str) -> DataError:
    return DataError(f"{one} and {other.name} {why}. Name the one to read (--data {quoted(one)}), or join them into one table.")


def in_own_case(table: pd.DataFrame, names: Iterable[str]) -> pd.DataFrame:
    """Write headings with a meaning as they are asked for: a group in another case would be passed over."""
    meant = {name.lower(): name for name in names}
    return table.rename(columns=lambda column: meant.get(column.lower(), column))


def read_listing(source: Path, root: Path, settings: DataConfig) -> tuple[pd.DataFrame, tuple[str, str]]:
    """Return the rows of a table, and the headings of its columns with path and class, in small letters."""
    table = read_table(source)
    path = find_column(source, table, "path", settings.path_column, PATH_COLUMNS, FURTHER_PATHS)
    label = find_column(source, table, "class", settings.label_column, LABEL_COLUMNS, FURTHER_LABELS)
    table = in_own_case(table, {"split", settings.group_column} - {path, label})
    check_own_columns(source, table.drop(columns="path", errors="ignore"))
    if table.empty:
        raise DataError(f"{source}: no rows. Expected one row an image.")
    return to_rows(source, table, root, "", path, label), (path.lower(), label.lower())


def find_column(
    source: Path, table: pd.DataFrame, content: str, named: str, known: tuple[str, ...], further: tuple[str, ...]
) -> str:
    """Return the column with the path or class of each image.

    Args:
        source: the table's file.
        table: as read.
        content: "path" or "class".
        named: by the user; "" to look for it.
        known: headings to look for.
        further: those to look for where there is none of them.

    Raises:
        DataError: there is none, or more than one that differ.
    """
    flag = f"--{'label' if content == 'class' else content}-column"
    headings = {str(column).lower(): str(column) for column in table.columns}
    if named:
        if named.strip().lower() in headings:
            return headings[named.strip().lower()]
        raise DataError(f"{source}: no column {named}, which {flag} names; it has {name_some(list(table.columns))}.")
    found = [headings[name] for name in known if name in headings] or [headings[name] for name in further if name in headings]
    if not found:
        if content == "class":
            refuse_one_hot(source, table)
        choice = f"{', '.join(known[:-1])} or {known[-1]}"
        has = name_some(list(table.columns))
        raise DataError(
            f"{source}: no column for the {content} of each image; it has {has}. Name it {choice}, or say which: {flag} HEADING."
        )
    for other in found[1:]:
        differ = table[found[0]].str.strip() != table[other].str.strip()
        if differ.any():
            row = table.index[differ][0]
            raise DataError(
                f"{source}: the columns {found[0]} and {other} could each be the {content} of each image, and differ (row {row}: "
                f"{table[found[0]][row]!r} and {table[other][row]!r}). Name one of them, such as {flag} {found[0]}, or rename "
                "the other."
            )
    return found[0]


def refuse_one_hot(source: Path, table: pd.DataFrame) -> None:
    """Refuse a table with a column for each class, of zeros and ones, with the way to turn it into one column."""
    ones = table.map(lambda value: ONE_HOT.get(value.strip().lower(), -1))
    marks = [str(column) for column in table.columns if len(table) and (ones[column] >= 0).all()]
    if len(marks) < 2:
        return
    counts = ones[marks].sum(axis=1)
    single = bool((counts == 1).all())
    mend = (
        f"Write one column label with the name instead: in pandas, table['label'] = table[{marks[:2]!r} + ...].idxmax(axis=1); "
        "in a spreadsheet, INDEX and MATCH"
        if single
        else "In some rows none or several are 1, but an image has one class here: choose one of the columns, such as "
        f"--label-column {marks[0]}"
    )
    raise DataError(f"{source}: no column for the class of each image, but 0 and 1 in {name_some(marks)} (one-hot). {mend}.")


def check_own_columns(source: Path, table: pd.DataFrame) -> None:
    for column in OWN_COLUMNS:
        if column in table:
            raise DataError(f"{source}: the column {column} is one that Diptych writes itself; rename it.")


def check_split_columns(root: Path, tables: Mapping[Path, pd.DataFrame]) -> None:
    given = [source.name for source, table in tables.items() if "split" in table]
    if 0 < len(given) < len(tables):
        which = f"only {name_some(given)} {'has' if len(given) == 1 else 'have'}"
        raise DataError(f"{root}: {which} a column split, or a name that gives it; give it to all tables, or to none.")


def to_rows(source: Path, table: pd.DataFrame, root: Path, home: str, path: str, label: str) -> pd.DataFrame:
    """Return `path`, `image_name`, `target` and the further columns; the index as `leave_out` wants it.

    Args:
        source: the table's file.
        table: as read.
        root: folder of the images.
        home: folder in it that the names are relative to; "" for itself.
        path: name of the column with the names.
        label: name of the column with the classes.
    """
    relative = inside(root / home, table[path])
    names = [found or posixpath.normpath(name.replace("\\", "/")) for name, found in zip(table[path], relative, strict=True)]
    labels = table[label].str.strip().str.normalize("NFC")
    facts = {"path": [posixpath.join(home, name) for name in names], "image_name": table[path], "target": labels}
    # Another column may have one of these names, where the user has said which one to take.
    further = table.drop(columns=[path, label]).rename(columns={name: f"{name} (table)" for name in facts})
    return pd.DataFrame({**facts, **further}).set_axis(pd.MultiIndex.from_product([[printable(str(source))], table.index]))


def check_labels(rows: pd.DataFrame, shared: "pd.Series[bool]", faults: list[Fault] | None) -> pd.DataFrame:
    """Leave out the rows whose label is missing, or names several classes (`shared`, which may have further rows)."""
    rows = leave_out(
        rows, rows["target"] == "", "bad-target", "is empty; write its name", faults, column="target", subject="class"
    )
    mend = (
        "stands for a missing value; write the class, or delete the row. If this is the name of a class, rename it "
        "(to no_finding, for example)"
    )
    rows = leave_out(rows, is_missing(rows["target"]), "bad-target", mend, faults, column="target", subject="class")
    mend = "names several classes, but an image has one here; keep one, or name each combination in one word"
    return leave_out(rows, shared.loc[rows.index], "bad-target", mend, faults, column="target", subject="class")


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
    rows = leave_out(rows, is_missing(rows["image_name"], frozenset({"", "nan"})), "bad-name", mend, faults, subject=subject)
    rows = check_names(rows, root / home, faults, "" if home else hint_at_place(root, rows["path"], follow_links))
    places = locate(root, rows["path"])
    missing = rows["path"][(places == "") | places.str.endswith(os.sep)]
    hint = hint_at_missing(root, home, rows["path"], missing, follow_links) if len(missing) else ""
    rows = check_files(rows, places, root / home, faults, follow_links, " " * bool(hint) + hint)
    if faults is not None:
        faults += find_unlisted(root, rows["path"], set(places))
    return rows


def hint_at_missing(root: Path, home: str, paths: "pd.Series[str]", missing: "pd.Series[str]", follow_links: bool) -> str:
    """Describe what paths may have been meant to be, other images than those of the other rows; or what hides them."""
    entries = list(list_files(root, home, follow_links=follow_links))
    known = {entry.path for entry in entries if entry.kind == "image"} - set(paths)
    locked = [f"{root / entry.path}: {entry.reason}." for entry in entries if entry.kind == "locked"]
    return " ".join([*filter(None, [did_you_mean(list(missing), known, root)]), *locked[:1]])


def hint_at_place(root: Path, paths: "pd.Series[str]", follow_links: bool) -> str:
    """Describe what paths that lead out of the folder may have been meant to be: those of another computer often end alike."""
    outside = [path for path in paths if LEAVES.search(path)]
    likely = did_you_mean(outside, set(images_below(root, "", follow_links))) if outside else ""
    return f"{' ' * bool(likely)}{likely} If all images lie elsewhere, name their folder: --images DIR."


def images_below(root: Path, home: str, follow_links: bool) -> Iterator[str]:
    """Yield the path of each image below a folder, relative to root."""
    return (entry.path for entry in list_files(root, home, follow_links=follow_links) if entry.kind == "image")


def find_unlisted(root: Path, paths: "pd.Series[str]", known: set[str]) -> list[Fault]:
    """Name the images in the folders of some others that lie in none of the places known."""
    beside = []
    for folder in sorted(paths.map(posixpath.dirname).unique()):
        real = os.path.realpath(root / folder)
        try:
            names = [name for name in list_folder(root, folder)[1] if is_image(name)]
        except DataError:  # The images that are listed can be read all the same.
            continue
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
    return leave_out(rows, ~rows["split"].isin(SPLITS), "bad-split", mend, faults, column="split")
