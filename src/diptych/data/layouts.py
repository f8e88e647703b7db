"""The layouts in which images and their classes may lie; each becomes the same Manifest."""

from pathlib import Path

import numpy as np

from diptych.config import ClassFolder
from diptych.data.folders import (
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
from diptych.data.listings import find_paired, lists_images, read_paired, read_tables
from diptych.data.manifest import Fault, Manifest, is_image, natural_key, order_classes, printable
from diptych.data.masks import remark_masks
from diptych.data.tables import TABLE_SUFFIXES, read_header, read_table
from diptych.errors import DataError
from diptych.screen import quoted

EXPECTED = (
    "class folders (cats/, dogs/, ...); train/, val/ and test/ with class folders in each; a CSV or Parquet table with the "
    "columns path and label; or 0/ and 1/ with 0.csv and 1.csv"
)
# Read as corrections, never as the data itself.
FIXES = "fixes.csv"


def read_manifest(
    root: Path, faults: list[Fault] | None = None, *, class_folder: ClassFolder = "auto", follow_links: bool = False
) -> Manifest:
    """Recognise how a data set is laid out, read it and check it. No image is opened.

    Args:
        root: a folder in one of these layouts, or a CSV or Parquet table. Looked for in this order: class folders with a
            table each (0/, 1/, 0.csv, 1.csv beside or inside them); tables with a column for the path of each image and
            one for its class; train/, val/, test/ (also Training/, valid/, test_set/, ...; perhaps in one folder more) with
            class folders in each; class folders.
        faults: takes the wrong rows, which are then left out, and the files that no table lists.
        class_folder: which folder names the class of an image, where no table does.
        follow_links: whether links may lead out of the data folder.

    Returns:
        The Manifest. Its classes are in natural order (2 before 10), which follows from their names alone.

    Raises:
        DataError: nothing is recognised; a folder, table or column is missing; there are fewer than 2 or more than 1,000
            classes; or, without `faults`, a row is wrong: the message names the file and the row (the first row after the
            header is row 2, as a spreadsheet shows it).
    """
    if root.is_file():
        if root.suffix.lower() not in TABLE_SUFFIXES:
            raise DataError(f"{root}: not a table by its name; expected .csv or .parquet, or a folder.")
        root, found = root.parent, read_tables(root.parent, [root], faults, follow_links=follow_links)
    elif root.is_dir():
        found = read_folder(root, faults, class_folder, follow_links)
    else:
        raise DataError(f"{root}: no such folder or table; name the data with --data. Expected {EXPECTED}.")
    class_names = order_classes(found.labels, root, found.layout)
    if found.rows.empty:
        raise DataError(f"{root}: no image is left of those listed. {faults[0].message if faults else ''}")
    targets = {name: target for target, name in enumerate(class_names)}
    table = found.rows.assign(target=found.rows["target"].str.strip().map(targets).astype(np.int64))
    listed = tuple(f"{source}, row {row}" for source, row in table.index if source)
    unread = f"; not read: {', '.join(found.unread)}" if found.unread else ""
    remarks = (*found.remarks, *remark_masks(table, class_names))
    return Manifest(root, table.reset_index(drop=True), class_names, listed, found.layout + printable(unread), remarks=remarks)


def read_folder(root: Path, faults: list[Fault] | None, class_folder: ClassFolder, follow_links: bool) -> Found:
    """Recognise the layout of a folder, and read it."""
    folders, files = list_folder(root, "")
    names = [file for file in files if file.lower().endswith(TABLE_SUFFIXES) and file != FIXES]
    tables = [root / name for name in sorted(names, key=natural_key)]
    paired = find_paired(root, folders)
    if paired:
        return read_paired(root, paired, faults, folders, follow_links)
    listing = [source for source in tables if lists_images(source)]
    if listing:
        found = read_tables(root, listing, faults, folders, follow_links)
    elif parts := find_parts(root, follow_links):
        found = read_parts(root, parts, class_folder, faults, follow_links)
    else:
        classes = find_classes(root, "", faults, follow_links)
        if len(classes.names) < 2:
            raise unrecognised(root, classes, folders, tables, files)
        found = read_class_folders(root, classes, class_folder, faults, follow_links)
    unread = (f"table {source.name} (no columns for path and class)" for source in tables if source not in listing)
    return found._replace(unread=(*found.unread, *unread))


def unrecognised(root: Path, classes: ClassFolders, folders: list[str], tables: list[Path], files: list[str]) -> DataError:
    holding = classes.names
    for source in tables:
        read_table(source)  # It may say why it was not recognised: that it is no UTF-8 text, say.
    found = [f"folder {folder}/ ({'with' if folder in holding else 'without'} images)" for folder in folders[:8]]
    found += [f"table {source.name} (columns {name_some(read_header(source))})" for source in tables[:8]]
    found += [f"images in no folder: {sum(map(is_image, files)):,}"]
    hint = f" {describe_unread(classes.unread)}." if classes.unread else ""
    if len(holding) == 1:
        hint += (
            f" If the class folders lie in {holding[0]}/, name it: --data {quoted(root / holding[0])}. If {holding[0]} is a "
            "class, a second one is needed: what a class is cannot be learned from its images alone."
        )
    return DataError(f"{root}: no layout is recognised; found: {', '.join(found)}. Expected {EXPECTED}.{hint}")
