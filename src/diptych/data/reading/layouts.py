"""Recognise the layout of a data folder and read it into a Manifest."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from diptych.data.reading.class_folders import (
    ClassFolders,
    Found,
    describe_unread,
    find_classes,
    find_parts,
    list_folder,
    name_some,
    read_class_folders,
    read_parts,
)
from diptych.data.reading.doubts import doubt_classes, doubt_columns, doubt_groups
from diptych.data.reading.listings import (
    HOW_TO_NAME,
    LABEL_COLUMNS,
    PATH_COLUMNS,
    describe_table,
    find_paired,
    leave_out_templates,
    lists_images,
    read_paired,
    read_tables,
    refuse_one_hot,
)
from diptych.data.reading.manifest import Fault, Manifest, Remark, compose, is_image, natural_key, order_classes, printable
from diptych.data.reading.masks import remark_masks
from diptych.data.reading.tables import (
    SAVE_AS_CSV,
    TABLE_SUFFIXES,
    TEXT_SUFFIX,
    UNKNOWN,
    WORKBOOK_SUFFIXES,
    is_missing,
    is_table,
    read_header,
    read_table,
    whole_numbers,
)
from diptych.errors import DataError
from diptych.screen import quoted
from diptych.settings.config import DataConfig, at_home

EXPECTED = (
    "class folders (cats/, dogs/, ...); train/, val/ and test/ with class folders in each; a CSV or Parquet table with the "
    "columns path and label; or 0/ and 1/ with 0.csv and 1.csv"
)
# Read as corrections, never as the data itself.
FIXES = "fixes.csv"


def read_manifest(data: str | os.PathLike[str] | DataConfig, faults: list[Fault] | None = None) -> Manifest:
    """Recognise how a data set is laid out, read it and check it. No image is opened.

    Args:
        data: a folder in one of these layouts, or a table (CSV, TSV, TXT or Parquet). Looked for in this order: class folders
            with a table each (0/, 1/, 0.csv, 1.csv beside or inside them); tables with a column for the path of each image
            and one for its class; train/, val/, test/ (also Training/, valid/, test_set/, ...; perhaps in one folder more) with
            class folders in each; class folders. Or the settings that name it, and how it is to be read.
        faults: takes the wrong rows, which are then left out, and the files that no table lists.

    Returns:
        The Manifest. Its classes are in natural order (2 before 10), which follows from their names alone. Its root is the
        folder that the paths are relative to.

    Raises:
        DataError: nothing is recognised; a folder, table or column is missing; there are fewer than 2 or more than 1,000
            classes; or, without `faults`, a row is wrong: the message names the file and the row (the first row after the
            header is row 2, as a spreadsheet shows it).
    """
    settings = data if isinstance(data, DataConfig) else DataConfig(data=Path(data))
    given = settings.data
    root = image_folder(settings)
    if settings.images is not None and not root.is_dir():
        raise DataError(f"{root}: no such folder; --images names the folder that the paths in the tables are relative to.")
    try:
        found = read_given(given, root, faults, settings)
        order = order_classes(found.labels, given, found.layout)
    except DataError as error:
        raise with_reasons(error, faults or []) from error
    if found.rows.empty:
        raise DataError(f"{given}: no image is left of those listed. {faults[0].message if faults else ''}")
    targets = {name: target for target, name in enumerate(order)}
    table = found.rows.assign(target=found.rows["target"].str.strip().map(targets).astype(np.int64))
    table, remarks = blank_groups(table, settings.group_column)
    listed = tuple(f"{source}, row {row}" for source, row in table.index if source)
    unread = f"; not read: {', '.join(found.unread)}" if found.unread else ""
    class_names = rename_classes(order, settings.class_names, given)
    remarks = (*found.remarks, *remark_masks(table, class_names), *remarks)
    if listed:
        remarks += doubt_classes(table["path"], found.rows["target"])
        remarks += doubt_columns(table, settings.group_column, settings.split is not None)
    return Manifest(root, table.reset_index(drop=True), class_names, listed, found.layout + printable(unread), remarks=remarks)


def read_given(given: Path, root: Path, faults: list[Fault] | None, settings: DataConfig) -> Found:
    """Read the table or folder that was named."""
    if given.is_file():
        if given.name.lower().endswith(WORKBOOK_SUFFIXES):
            raise DataError(f"{given}: a workbook is not read; {SAVE_AS_CSV}.")
        if not given.name.lower().endswith((*TABLE_SUFFIXES, TEXT_SUFFIX)):
            raise DataError(f"{given}: not a table by its name; expected .csv, .tsv, .txt or .parquet, or a folder.")
        return read_tables(root, [given], faults, settings)
    if given.is_dir():
        return read_folder(given, faults, settings)
    raise DataError(f"{given}: no such folder or table; name the data with --data. Expected {EXPECTED}.")


def with_reasons(error: DataError, faults: Sequence[Fault]) -> DataError:
    """Add to an error what was not looked into, which may be all that is wrong: links, locked folders, names."""
    reasons = [fault.message for fault in faults if fault.kind in ("link", "locked", "bad-name")]
    if not reasons or reasons[0] in str(error):
        return error
    more = f" ({len(reasons) - 1:,} more like it)" if len(reasons) > 1 else ""
    return DataError(f"{error} Not looked into: {reasons[0]}{more}")


def image_folder(settings: DataConfig, moved: Path | None = None) -> Path:
    """Return the folder that the paths of the images are relative to.

    Args:
        settings: of the run, or those that were asked for.
        moved: the data folder or table, where it lies elsewhere now; None where it does not.
    """
    before = settings.data
    images = settings.images
    now = at_home(moved or before)
    home = now.parent if now.is_file() else now
    if images is None or moved is None:
        return home if images is None else images
    # A folder of images that lay in the data folder has moved with it; otherwise the images' own folder is named.
    for above in (before, before.parent):
        if images.is_relative_to(above) and (home / images.relative_to(above)).is_dir():
            return home / images.relative_to(above)
    return home


def blank_groups(table: pd.DataFrame, column: str) -> tuple[pd.DataFrame, tuple[Remark, ...]]:
    """Empty the groups that are only words for none ("nan", "unknown"), and say how many; write 3.0 as 3 in whole columns."""
    if column not in table:
        return table, ()
    groups = whole_numbers(table[column].str.strip(), UNKNOWN)
    none = is_missing(groups, UNKNOWN)
    words = sorted(set(groups[none]) - {""})
    what = ", ".join(map(repr, words)) + (" or nothing" if (groups == "").any() else "")
    title = f"{int(none.sum()):,} of {len(table):,} images have no {column}: {what} is written there"
    advice = "Each of them is a group of its own in the split. If they belong together, write the name of the group."
    remark = Remark("no-group", title, advice, tuple(table["path"][none & (groups != "")]))
    table = table.assign(**{column: groups.mask(none, "")})
    return table, (*((remark,) if words else ()), *doubt_groups(table["path"], table[column], column))


def rename_classes(order: tuple[str, ...], names: str, root: Path) -> tuple[str, ...]:
    """Name classes that are numbers as requested, "functional,defective" for example.

    Raises:
        DataError: the classes are no numbers, or as many as the names are not.
    """
    wanted = tuple(compose(name.strip()) for name in names.split(",")) if names else order
    numbers = all(re.fullmatch("[0-9]+", name) for name in order)
    if names and not (numbers and len(wanted) == len(order)):
        kind = f"{len(order):,} classes{'' if numbers else ' that are no numbers'}: {name_some(order)}"
        raise DataError(
            f"{root}: --class-names gives {len(wanted)} names, for classes that are numbers (0, 1, ...), but the data has {kind}."
        )
    return wanted


def read_folder(root: Path, faults: list[Fault] | None, settings: DataConfig) -> Found:
    """Recognise the layout of a folder, and read it."""
    folders, files = list_folder(root, "")
    tables = [root / name for name in sorted(files, key=natural_key) if name != FIXES and is_table(root / name)]
    # Whoever names columns or the folder of the images means tables.
    asked = bool(settings.path_column or settings.label_column or settings.images)
    paired = () if asked else find_paired(root, folders)
    listing, templates = leave_out_templates([source for source in tables if lists_images(source, settings)])
    further = [source for source in tables if lists_images(source, settings, further=True) and source not in templates]
    parts = find_parts(root, settings.follow_links) if not (paired or listing) else {}
    images = image_folder(settings)
    if paired:
        found = read_paired(root, paired, faults, folders, settings)
        listing = [source for source in tables if source.stem in paired]
    elif listing:
        found = read_tables(images, listing, faults, settings, folders)
    elif asked or (parts and tables and not any(list_folder(root, folder)[0] for folder in parts)):
        # Parts without class folders in them: what the images show stands in a table.
        if not further:
            raise unlisted(root, tables, files, settings)
        listing = further
        found = read_tables(images, further, faults, settings, folders)
    elif parts:
        found = read_parts(root, parts, settings.class_folder, faults, settings.follow_links)
    else:
        classes = find_classes(root, "", faults, settings.follow_links)
        if len(classes.names) >= 2:
            found = read_class_folders(root, classes, settings.class_folder, faults, settings.follow_links)
        elif further:
            listing = further
            found = read_tables(images, further, faults, settings, folders)
        else:
            raise unrecognised(root, classes, folders, tables, files, templates)
    unread = [describe_table(source, source in templates) for source in tables if source not in listing]
    if set(tables) - {*listing, *templates}:
        unread[-1] += f"; {HOW_TO_NAME}"
    unread += [f"{name} (a workbook; {SAVE_AS_CSV})" for name in files if name.lower().endswith(WORKBOOK_SUFFIXES)]
    return found._replace(unread=(*found.unread, *unread))


def unlisted(root: Path, tables: Sequence[Path], files: Sequence[str], settings: DataConfig) -> DataError:
    wanted = [
        named or f"{', '.join(known[:-1])} or {known[-1]}"
        for named, known in ((settings.path_column, PATH_COLUMNS), (settings.label_column, LABEL_COLUMNS))
    ]
    found = describe_files(tables, files) or ["no table, and --path-column, --label-column and --images are about tables"]
    return DataError(
        f"{root}: no table with a column for the path of each image ({wanted[0]}) and one for its class ({wanted[1]}); found: "
        f"{'; '.join(found)}. Name the table with --data, and say which columns these are: --path-column HEADING, "
        "--label-column HEADING; and --images FOLDER, if the paths are relative to another folder than that of the table."
    )


def describe_files(tables: Sequence[Path], files: Sequence[str]) -> list[str]:
    """Name the tables that are there with their headings, and the workbooks, which are not read."""
    found = [f"table {source.name} (columns {name_some(read_header(source))})" for source in tables[:8]]
    return found + [f"{name} (a workbook; {SAVE_AS_CSV})" for name in files if name.lower().endswith(WORKBOOK_SUFFIXES)]


def unrecognised(
    root: Path, classes: ClassFolders, folders: list[str], tables: list[Path], files: list[str], templates: list[Path]
) -> DataError:
    holding = classes.names
    for source in tables:
        refuse_one_hot(source, read_table(source))  # Either may tell why it was not recognised, such as no UTF-8 text.
    found = [f"folder {folder}/ ({'with' if folder in holding else 'without'} images)" for folder in folders[:8]]
    found += describe_files(tables, files)
    found += [f"images in no folder: {sum(map(is_image, files)):,}"]
    hint = f" {describe_unread(classes.unread)}." if classes.unread else ""
    if len(holding) == 1:
        hint += (
            f" If the class folders lie in {holding[0]}/, name it: --data {quoted(root / holding[0])}. If {holding[0]} is a "
            "class, a second one is needed: a class cannot be learned from its own images alone."
        )
    hint += f" Not read: {', '.join(describe_table(source, True) for source in templates)}." if templates else ""
    hint += f" Of a table, {HOW_TO_NAME}, and --images." if set(tables) - set(templates) else ""
    return DataError(f"{root}: no layout is recognised; found: {', '.join(found)}. Expected {EXPECTED}.{hint}")
