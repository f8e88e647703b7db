"""Class folders: the images below each folder belong to the class of its name."""

import os
import posixpath
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from diptych.config import ClassFolder
from diptych.data.manifest import (
    Fault,
    check_files,
    compose,
    is_image,
    is_litter,
    leave_out,
    locate,
    natural_key,
    order_classes,
    parts_of,
    printable,
)
from diptych.errors import DataError
from diptych.runs import is_run

# Folders of what was drawn over the images that lie beside them.
MASK_FOLDERS = (
    "mask", "masks", "seg", "segmentation", "segmentations", "segmentation_masks", "gt", "ground_truth", "groundtruth",
    "ground truth", "annotations",
)  # fmt: skip


class Found(NamedTuple):
    """What a layout holds.

    Attributes:
        layout: what was recognised, in words.
        rows: `path`, `image_name`, `target` (the name of the class) and what else the tables have; the index as `leave_out`
            wants it.
        labels: the names of all classes, those of rows that were left out too.
        unread: the folders and images that are left aside, in words.
    """

    layout: str
    rows: pd.DataFrame
    labels: tuple[str, ...]
    unread: tuple[str, ...] = ()


class ClassFolders(NamedTuple):
    """The class folders of one folder.

    Attributes:
        rows: one row an image: `path`, `image_name` (below its class folder) and `target` (its name), by class in natural order.
        names: of the folders with images.
        unread: as in Found.
    """

    rows: pd.DataFrame
    names: tuple[str, ...]
    unread: tuple[str, ...]


def read_class_folders(root: Path, classes: ClassFolders, class_folder: ClassFolder, faults: list[Fault] | None) -> Found:
    """Take the folders of the data folder as classes.

    Where each of them holds train/ and test/, these are the split.

    Args:
        root: the data folder.
        classes: its folders.
        class_folder: which folder names the class of an image.
        faults: grows.

    Raises:
        DataError: it is not clear which folder names the class.
    """
    lower = classes.rows["image_name"].str.partition("/")[0].where(classes.rows["image_name"].str.contains("/"), "")
    parts = parts_of(lower.unique())
    layout, rows = f"class folders {name_some(classes.names)}", classes.rows
    if len(set(parts.values())) > 1 and "train" in parts.values() and lower.isin(list(parts)).all():
        layout += f", in each {', '.join(f'{name}/' for name in parts)}"
        rows = rows.assign(split=lower.map(parts))
    else:
        rows, layout = name_classes(root, rows, layout, class_folder)
    labels = tuple(rows["target"].unique())
    return Found(layout, check_folder_rows(root, rows, faults), labels, classes.unread)


def name_classes(root: Path, rows: pd.DataFrame, layout: str, class_folder: ClassFolder) -> tuple[pd.DataFrame, str]:
    """Take the classes from the upper or the lower folders.

    Args:
        root: the data folder.
        rows: of images, whose `target` is the upper folder.
        layout: what was recognised, in words.
        class_folder: as the setting of that name.

    Returns:
        The rows, for the lower folders with the column `upper_folder`; and what was recognised.

    Raises:
        DataError: class_folder is "auto", and most images lie in folders whose names stand below several of the upper ones.
    """
    lower = rows["image_name"].str.rpartition("/")[0].str.rpartition("/")[2].map(compose)
    if class_folder == "lower":
        rows = rows.assign(target=lower.where(lower != "", rows["target"]), upper_folder=rows["target"])
        return rows, f"{layout}; classes are the folders that the images lie in"
    inner = pd.DataFrame({"upper": rows["target"], "name": lower, "key": lower.str.casefold()})
    inner = inner[(inner["name"] != "") & ~inner["key"].isin(MASK_FOLDERS)]
    shared = inner[inner.groupby("key")["upper"].transform("nunique") > 1]
    if class_folder == "auto" and inner["key"].nunique() > 1 and 2 * len(shared) >= len(inner):
        names, upper = (name_some(sorted(shared[column].unique(), key=natural_key)) for column in ("name", "upper"))
        raise DataError(
            f"{root}: the folders {upper} hold folders of the same names ({names}), so they may be parts, sites or views and not "
            f"classes. If the classes are {names}: --class-folder lower, and --group-column upper_folder "
            f"to keep the images of each upper folder in one part of the split. If the classes are {upper}: --class-folder upper. "
            "If these are parts of a split: name them train, val and test."
        )
    return rows, layout


def find_parts(root: Path, parent: str = "") -> dict[str, str]:
    """Return the folders that stand for parts of the split, each with its part; none where they are classes of such names.

    A train, beside a bus, is a class. But folders of folders are parts, and so are loose images in train/ and test/ alone,
    which `read_parts` refuses.

    Args:
        root: the data folder.
        parent: the folder in it to look into; where one folder alone in that holds images, this is looked into next.
    """
    prefix = f"{parent}/" if parent else ""
    folders = list_folder(root, parent)[0]
    parts = {f"{prefix}{name}": part for name, part in parts_of(folders).items()}
    kinds = set(parts.values())
    if not parts:
        holding = list(islice((name for name in folders if holds_images(root, f"{prefix}{name}")), 2))
        return find_parts(root, f"{prefix}{holding[0]}") if len(holding) == 1 else {}
    if any(holds_folders(root, folder) for folder in parts):
        return parts if len(kinds) > 1 or "train" in kinds else {}
    others = (f"{prefix}{name}" for name in folders if f"{prefix}{name}" not in parts)
    return parts if len(kinds) > 1 and not any(holds_images(root, folder) for folder in others) else {}


def holds_images(root: Path, folder: str) -> bool:
    return any(kept for _, kept in list_files(root, folder))


def holds_folders(root: Path, folder: str) -> bool:
    """Tell whether a folder holds folders, and no images beside them."""
    folders, files = list_folder(root, folder)
    return bool(folders) and not any(map(is_image, files))


def read_parts(root: Path, parts: dict[str, str], class_folder: ClassFolder, faults: list[Fault] | None) -> Found:
    """Take train/, val/ and test/ as the split, and the folders in each as classes.

    Args:
        root: the data folder.
        parts: the part of the split that each of these folders stands for.
        class_folder: which folder names the class of an image.
        faults: grows.

    Raises:
        DataError: no part but one has class folders, a class has no image in train/, or it is not clear which folder names
            the class.
    """
    parts = enter_only_folders(root, parts)
    found = {folder: find_classes(root, folder, faults) for folder in parts}
    layers = "train/ and val/ or test/ shall hold class folders with images"
    with_images = {parts[folder] for folder, classes in found.items() if classes.names}
    if "train" not in with_images or len(with_images) < 2:
        held = "; ".join(f"{folder}/ holds {name_some(classes.names) or 'none'}" for folder, classes in found.items())
        raise DataError(
            f"{root}: {layers}; {held}. "
            "To have one folder of class folders split, name that folder with --data."
        )
    rows = pd.concat([classes.rows.assign(split=parts[folder]) for folder, classes in found.items()], ignore_index=True)
    rows, layout = name_classes(root, rows, f"{', '.join(f'{folder}/' for folder in parts)} with class folders", class_folder)
    names = order_classes(rows["target"], root, layout)
    labels = tuple(rows["target"].unique())
    rows = check_folder_rows(root, rows, faults)
    trained = set(rows["target"][rows["split"] == "train"].str.strip())
    for name in names:
        if name not in trained:
            raise DataError(
                f"{root}: the class {name} has no image in train/; add some, or delete its folder in the other parts."
            )
    parent = posixpath.dirname(next(iter(parts)))
    others = [posixpath.join(parent, name) for name in list_folder(root, parent)[0]]
    unread = [words for classes in found.values() for words in classes.unread]
    unread += [f"folder {folder}" for folder in others if folder not in parts]
    return Found(f"{layout} {name_some(names)}", rows, labels, tuple(unread))


def enter_only_folders(root: Path, parts: dict[str, str]) -> dict[str, str]:
    """Go one folder down where each part holds a single one, with class folders in it: train/train/cats, test/test/cats."""
    inner = {folder: list_folder(root, folder)[0] for folder in parts}
    below = {f"{folder}/{names[0]}": part for (folder, part), names in zip(parts.items(), inner.values()) if len(names) == 1}
    return below if len(below) == len(parts) and all(holds_folders(root, folder) for folder in below) else parts


def find_classes(root: Path, parent: str, faults: list[Fault] | None) -> ClassFolders:
    """List the images below each folder of a folder.

    Args:
        root: the data folder.
        parent: the folder in it; "" for itself.
        faults: takes the files that are in no class or no images, and those whose names no table can hold.
    """
    folders, files = list_folder(root, parent)
    prefix = f"{parent}/" if parent else ""
    loose = [f"{prefix}{file}" for file in sorted(files) if is_image(file)]
    images: dict[str, list[str]] = {}
    strays: list[str] = []
    for folder in folders:
        listed = sorted(list_files(root, prefix + folder))
        images[folder] = leave_out_misnamed(root, [path for path, kept in listed if kept], faults)
        strays += [path for path, kept in listed if not kept]
    if faults is not None:
        faults += [Fault("unlisted", printable(path), f"{path!r} lies in no class folder.") for path in loose]
        faults += [Fault("unlisted", printable(path), f"{path!r} is no image by its name.") for path in strays]
    rows = pd.DataFrame(
        {
            "path": [path for paths in images.values() for path in paths],
            "image_name": [path[len(prefix + folder) + 1 :] for folder, paths in images.items() for path in paths],
            "target": [compose(folder) for folder, paths in images.items() for _ in paths],
        },
        dtype=str,
    )
    names = tuple(folder for folder, paths in images.items() if paths)
    unread = [f"folder {prefix}{printable(folder)} (no image in it)" for folder in folders if folder not in names]
    unread += [f"images in no class folder: {len(loose):,}"] if loose else []
    return ClassFolders(rows, names, tuple(unread))


def leave_out_misnamed(root: Path, paths: list[str], faults: list[Fault] | None) -> list[str]:
    wrong = [path for path in paths if printable(path) != path]
    if not wrong:
        return paths
    mend = f"is a name that is not UTF-8; rename it in {root}"
    rows = pd.DataFrame({"path": wrong}, index=unlisted_index(len(wrong)), dtype=object)
    leave_out(rows, rows["path"].notna(), "bad-name", mend, faults, "path")
    return [path for path in paths if printable(path) == path]


def list_folder(root: Path, folder: str) -> tuple[list[str], list[str]]:
    """Return the names of the folders in a folder, in natural order, and of the files, without litter."""
    try:
        with os.scandir(root / folder) as entries:
            found = [(entry.name, is_folder(entry)) for entry in entries if not is_litter(entry.name)]
    except OSError as error:
        raise DataError(f"{root / folder}: this folder cannot be listed: {error.strerror}.") from error
    folders = sorted((name for name, folder in found if folder), key=natural_key)
    return folders, [name for name, folder in found if not folder]


def list_files(root: Path, folder: str) -> Iterator[tuple[str, bool]]:
    """Yield each file below a folder, relative to root, and whether it is to be read.

    Runs of Diptych are passed over: the data folder may be the one they are made in. Linked folders are followed, but not
    in a circle. One that leads out of root is yielded as if it were an image, for `check_files` to name.
    """
    home = os.path.realpath(root).rstrip(os.sep) + os.sep
    # Of each folder: its path relative to root, where it really lies, and where those above it lie.
    waiting: list[tuple[str, str, tuple[str, ...]]] = [(folder, os.path.realpath(root / folder), ())]
    if not waiting[0][1].startswith(home):
        yield folder, True
        return
    while waiting:
        path, real, above = waiting.pop()
        try:
            entries = os.scandir(root / path)
        except OSError as error:
            raise DataError(f"{root / path}: this folder cannot be listed: {error.strerror}.") from error
        with entries:
            for entry in entries:
                name = entry.name
                if is_litter(name):
                    continue
                if not is_folder(entry):
                    yield f"{path}/{name}", is_image(name)
                    continue
                place = os.path.realpath(entry.path) if entry.is_symlink() else f"{real}{os.sep}{name}"
                if not place.startswith(home):
                    yield f"{path}/{name}", True
                elif place not in (real, *above) and not is_run(Path(entry.path)):
                    waiting.append((f"{path}/{name}", place, (*above, real)))


def is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # A link in a circle.
        return False


def check_folder_rows(root: Path, rows: pd.DataFrame, faults: list[Fault] | None) -> pd.DataFrame:
    """Leave out the rows of links that lead nowhere, outside, or to a file that is read already."""
    rows = rows.set_axis(unlisted_index(len(rows)))
    return check_files(rows, locate(root, rows["path"]), root, faults)


def unlisted_index(count: int) -> pd.MultiIndex:
    """Return the index that `leave_out` wants for images that no table lists."""
    return pd.MultiIndex.from_arrays([[""] * count, range(count)])


def name_some(names: Sequence[str]) -> str:
    """Name the first few: "cats, dogs"."""
    return printable(", ".join(names[:8])) + (f", … ({len(names):,} in all)" if len(names) > 8 else "")
