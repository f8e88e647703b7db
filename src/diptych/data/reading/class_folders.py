"""Class folders: the images below each folder belong to the class of its name."""

import logging
import os
import posixpath
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from glob import glob
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

import pandas as pd

from diptych.data.pixels.formats import advice, readable_suffixes
from diptych.data.reading.manifest import (
    Fault,
    Remark,
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
from diptych.data.reading.masks import is_mask_folder
from diptych.errors import DataError
from diptych.settings.config import ClassFolder
from diptych.storage.runs import CACHE_NAME, is_output

log = logging.getLogger(__name__)

# How images begin: JPEG, PNG, GIF, BMP, TIFF, WebP; looked for in so many of the files without an ending.
BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF")
SNIFFED = 20
# The name that `diptych preview` gives its sheet unless it is told another, and what it writes into it.
SHEET = "preview.png"
SHEET_MARK = b"Software\0Diptych"


class Found(NamedTuple):
    """What a layout holds.

    Attributes:
        layout: what was recognised, in words.
        rows: `path`, `image_name`, `target` (the name of the class) and what else the tables have; the index as `leave_out`
            wants it.
        labels: the names of all classes, those of rows that were left out too.
        unread: the folders and images that are left aside, in words.
        remarks: as in Manifest.
    """

    layout: str
    rows: pd.DataFrame
    labels: tuple[str, ...]
    unread: tuple[str, ...] = ()
    remarks: tuple[Remark, ...] = ()


class Entry(NamedTuple):
    """A file, or a folder that is not searched.

    Attributes:
        path: relative to the folder that was listed, with forward slashes.
        kind: "image" or "other" (by its name); "link", to a folder that is not followed; "locked", a folder that cannot be
            listed.
        reason: what the last two are, and what to do about it; else "".
    """

    path: str
    kind: Literal["image", "other", "link", "locked"]
    reason: str = ""


class ClassFolders(NamedTuple):
    """The class folders of one folder.

    Attributes:
        rows: one row an image: `path`, `image_name` (below its class folder) and `target` (its name), by class in natural order.
        names: of the folders with images.
        aside: the folders and images that are left aside, in words.
        unread: the files that hold pictures but are not read.
    """

    rows: pd.DataFrame
    names: tuple[str, ...]
    aside: tuple[str, ...]
    unread: tuple[str, ...]


def read_class_folders(
    root: Path,
    classes: ClassFolders,
    class_folder: ClassFolder,
    faults: list[Fault] | None,
    follow_links: bool = False,
) -> Found:
    """Read the folders of the data folder as classes.

    Where each of them holds train/ and test/, these are the split.

    Args:
        root: the data folder.
        classes: its folders.
        class_folder: which folder names the class of an image.
        faults: grows.
        follow_links: as `list_files`.

    Raises:
        DataError: it is not clear which folder names the class.
    """
    lower = classes.rows["image_name"].str.partition("/")[0].where(classes.rows["image_name"].str.contains("/"), "")
    parts = parts_of(lower.unique())
    layout = f"class folders {name_some(classes.names)}"
    rows = classes.rows
    if len(set(parts.values())) > 1 and "train" in parts.values() and lower.isin(list(parts)).all():
        layout += f", in each {', '.join(f'{name}/' for name in parts)}"
        rows = rows.assign(split=lower.map(parts))
    else:
        rows, layout = name_classes(root, rows, layout, class_folder)
    labels = tuple(rows["target"].unique())
    rows = check_folder_rows(root, rows, faults, follow_links)
    return Found(layout, rows, labels, classes.aside, remark_unread(classes.unread))


def name_classes(root: Path, rows: pd.DataFrame, layout: str, class_folder: ClassFolder) -> tuple[pd.DataFrame, str]:
    """Name the classes by the upper or the lower folders.

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
    inner = inner[~inner["key"].map(is_mask_folder).astype(bool)]
    images = len(inner)
    inner = inner[inner["name"] != ""]
    shared = inner[inner.groupby("key")["upper"].transform("nunique") > 1]
    if class_folder == "auto" and len(set(inner["key"])) > 1 and 2 * len(shared) >= images:
        names, upper = (name_some(sorted(shared[column].unique(), key=natural_key)) for column in ("name", "upper"))
        raise DataError(
            f"{root}: the folders {upper} hold folders of the same names ({names}), so they may be parts, sites or views and not "
            f"classes. If the classes are {names}: --class-folder lower, and --group-column upper_folder to keep the images of "
            f"each upper folder in one part of the split. If the classes are {upper}: --class-folder upper. If these are parts "
            "of a split: name them train, val and test."
        )
    return rows, layout


def find_parts(root: Path, follow_links: bool = False, parent: str = "") -> dict[str, str]:
    """Return the folders that are parts of the split, each with its part; none if they are classes with such names.

    A train, beside a bus, is a class. But folders of folders are parts, and so are loose images in train/ and test/ alone,
    which `read_parts` refuses.

    Args:
        root: the data folder.
        follow_links: as `list_files`.
        parent: the folder in it to look into; where one folder alone in that holds images, this is looked into next.
    """
    prefix = f"{parent}/" if parent else ""
    folders = list_folder(root, parent)[0]
    parts = {f"{prefix}{name}": part for name, part in parts_of(folders).items()}
    kinds = set(parts.values())
    if not parts:
        holding = list(islice((name for name in folders if holds_images(root, f"{prefix}{name}", follow_links)), 2))
        return find_parts(root, follow_links, f"{prefix}{holding[0]}") if len(holding) == 1 else {}
    if any(holds_folders(root, folder) for folder in parts):
        return parts if len(kinds) > 1 or "train" in kinds else {}
    others = (f"{prefix}{name}" for name in folders if f"{prefix}{name}" not in parts)
    return parts if len(kinds) > 1 and not any(holds_images(root, folder, follow_links) for folder in others) else {}


def holds_images(root: Path, folder: str, follow_links: bool) -> bool:
    return any(entry.kind == "image" for entry in list_files(root, folder, follow_links=follow_links))


def holds_folders(root: Path, folder: str) -> bool:
    """Tell whether a folder holds folders, and no images beside them."""
    folders, files = list_folder(root, folder)
    return bool(folders) and not any(map(is_image, files))


def read_parts(
    root: Path,
    parts: dict[str, str],
    class_folder: ClassFolder,
    faults: list[Fault] | None,
    follow_links: bool = False,
) -> Found:
    """Read train/, val/ and test/ as the split, and the folders in each as classes.

    Args:
        root: the data folder.
        parts: the part of the split that each of these folders stands for.
        class_folder: which folder names the class of an image.
        faults: grows.
        follow_links: as `list_files`.

    Raises:
        DataError: no part but one has class folders, a class has no image in train/, or it is not clear which folder names
            the class.
    """
    named = parts
    parts = enter_only_folders(root, parts)
    found = {folder: find_classes(root, folder, faults, follow_links) for folder in parts}
    unread = tuple(path for classes in found.values() for path in classes.unread)
    layers = "train/ and val/ or test/ shall hold class folders with images"
    with_images = {parts[folder] for folder, classes in found.items() if classes.names}
    if "train" not in with_images or len(with_images) < 2:
        held = "; ".join(f"{folder}/ holds {name_some(classes.names) or 'none'}" for folder, classes in found.items())
        beside = [folder for folder in folders_beside(root, named) if holds_images(root, folder, follow_links)]
        held += (
            f"; beside them {name_some(beside)}, which {'is' if len(beside) == 1 else 'are'} no part by name" if beside else ""
        )
        also = f" {describe_unread(unread)}." if unread else ""
        raise DataError(
            f"{root}: {layers}; {held}.{also} To have one folder of class folders split, name that folder with --data."
        )
    rows = pd.concat([classes.rows.assign(split=parts[folder]) for folder, classes in found.items()], ignore_index=True)
    rows, layout = name_classes(root, rows, f"{', '.join(f'{folder}/' for folder in parts)} with class folders", class_folder)
    names = order_classes(rows["target"], root, layout)
    labels = tuple(rows["target"].unique())
    rows = check_folder_rows(root, rows, faults, follow_links)
    trained = set(rows["target"][rows["split"] == "train"].str.strip())
    for name in names:
        if name not in trained:
            raise DataError(
                f"{root}: the class {name} has no image in train/; add some, or delete its folder in the other parts."
            )
    others = folders_beside(root, named)
    aside = [words for classes in found.values() for words in classes.aside] + [f"folder {folder}" for folder in others]
    remarks = (*remark_unread(unread), *remark_like_parts(root, others, labels))
    return Found(f"{layout} {name_some(names)}", rows, labels, tuple(aside), remarks)


def folders_beside(root: Path, parts: Collection[str]) -> list[str]:
    """Return the folders beside the parts of a split, as paths relative to the data folder."""
    parent = posixpath.dirname(next(iter(parts)))
    return [folder for name in list_folder(root, parent)[0] if (folder := posixpath.join(parent, name)) not in parts]


def remark_like_parts(root: Path, folders: Sequence[str], labels: Sequence[str]) -> tuple[Remark, ...]:
    """Warn of folders that hold the same class folders as the parts of the split do, and are not read."""
    alike = [folder for folder in folders if len(set(map(compose, try_list(root / folder))) & set(labels)) > 1]
    if not alike:
        return ()
    title = f"not read, though the class folders are the same as in the parts: {name_some(alike)}"
    return (Remark("like-parts", title, "If this is a part of the split, name it train, val or test; else move it away.", ()),)


def try_list(folder: Path) -> list[str]:
    with suppress(OSError):
        return [entry.name for entry in scan(folder) if is_folder(entry)]
    return []


def enter_only_folders(root: Path, parts: dict[str, str]) -> dict[str, str]:
    """Go one folder down where each part holds a single one, with class folders in it: train/train/cats, test/test/cats."""
    inner = {folder: list_folder(root, folder)[0] for folder in parts}
    below = {
        f"{folder}/{names[0]}": part
        for (folder, part), names in zip(parts.items(), inner.values(), strict=True)
        if len(names) == 1
    }
    return below if len(below) == len(parts) and all(holds_folders(root, folder) for folder in below) else parts


def find_classes(root: Path, parent: str, faults: list[Fault] | None, follow_links: bool = False) -> ClassFolders:
    """List the images below each folder of a folder.

    Args:
        root: the data folder.
        parent: the folder in it; "" for itself.
        faults: takes the files that are in no class or no images, those whose names no table can hold, and the folders that
            are not searched. Without it, such a name or folder is an error.
        follow_links: as `list_files`.
    """
    folders, files = list_folder(root, parent)
    prefix = f"{parent}/" if parent else ""
    loose = [f"{prefix}{file}" for file in sorted(files) if is_image(file)]
    others = [f"{prefix}{file}" for file in sorted(files) if advice(ending(file))]
    images: dict[str, list[str]] = {}
    closed: set[str] = set()
    for folder in folders:
        listed = sorted(list_files(root, prefix + folder, follow_links=follow_links))
        report_unsearched(root, [entry for entry in listed if entry.reason], faults)
        closed |= {folder for entry in listed if entry.reason and entry.path == prefix + folder}
        images[folder] = leave_out_misnamed(root, [entry.path for entry in listed if entry.kind == "image"], faults)
        others += [entry.path for entry in listed if entry.kind == "other"]
    unread = find_unread(root, others)
    if faults is not None:
        faults += [Fault("unlisted", printable(path), f"{path!r} lies in no class folder.") for path in loose]
        strays = sorted(set(others) - set(unread))
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
    aside = [
        f"folder {prefix}{printable(folder)} ({'not looked into' if folder in closed else 'no image in it'})"
        for folder in folders
        if folder not in names
    ]
    aside += [f"images in no class folder: {len(loose):,}"] if loose else []
    aside += [f"folder {prefix}{printable(folder)} (written by Diptych)" for folder in find_outputs(root / parent)]
    return ClassFolders(rows, names, tuple(aside), unread)


def find_outputs(folder: Path) -> list[str]:
    """Name the folders with images that are skipped because Diptych wrote them."""
    with os.scandir(folder) as entries:
        own = sorted(entry.name for entry in entries if is_folder(entry) and is_output(folder / entry.name))
    return [name for name in own if any(is_image(file.name) for file in (folder / name).iterdir())]


def report_unsearched(root: Path, entries: Sequence[Entry], faults: list[Fault] | None) -> None:
    """Name the links that are not followed and the folders that cannot be listed; without `faults`, the first is an error."""
    for entry in entries:
        message = f"{root / entry.path}: {entry.reason}."
        if faults is None:
            raise DataError(printable(message))
        faults.append(Fault(entry.kind, printable(entry.path), printable(message)))


def find_unread(root: Path, paths: Sequence[str]) -> tuple[str, ...]:
    """Return those of some files that hold pictures but are not read: of other formats, or images without an ending."""
    known = [path for path in paths if advice(ending(path))]
    bare = [path for path in paths if not ending(path)]
    return tuple(sorted(known + (bare if any(begins_like_image(root / path) for path in bare[:SNIFFED]) else [])))


def remark_unread(unread: Sequence[str]) -> tuple[Remark, ...]:
    title = describe_unread(unread) if unread else ""
    return (Remark("not-read", title, "Diptych continues without them.", tuple(map(printable, unread))),) if unread else ()


def describe_unread(paths: Sequence[str]) -> str:
    """Describe how many files are not read and what to do about it: "24 files are not read: 24 .heic; convert them to JPEG"."""
    endings = Counter(ending(path) for path in paths).most_common()
    counts = ", ".join(f"{count:,} {suffix or 'without an ending'}" for suffix, count in endings)
    mends = dict.fromkeys(advice(suffix) if suffix else "give their names an extension, such as .jpg" for suffix, _ in endings)
    return f"{len(paths):,} {'files are' if len(paths) > 1 else 'file is'} not read: {counts}; {'; '.join(mends)}"


def ending(path: str) -> str:
    """Return how a file's name ends, ".heic" or ".nii.gz", in lower case; "" for one that has no ending."""
    suffixes = PurePosixPath(path.lower()).suffixes[-2:]
    return next((suffix for suffix in ("".join(suffixes), "".join(suffixes[-1:])) if advice(suffix)), "".join(suffixes[-1:]))


def begins_like_image(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(16).startswith(BEGINNINGS)
    except OSError:
        return False


def leave_out_misnamed(root: Path, paths: list[str], faults: list[Fault] | None) -> list[str]:
    wrong = [path for path in paths if printable(path) != path]
    if not wrong:
        return paths
    mend = f"is a name that is not UTF-8; rename it in {root}"
    rows = pd.DataFrame({"path": wrong}, index=unlisted_index(len(wrong)), dtype=object)
    leave_out(rows, rows["path"].notna(), "bad-name", mend, faults, column="path")
    return [path for path in paths if printable(path) == path]


def list_folder(root: Path, folder: str) -> tuple[list[str], list[str]]:
    """Return the names of the folders in a folder, in natural order, and of the files, without litter and what Diptych wrote.

    Raises:
        DataError: the folder cannot be listed.
    """
    try:
        entries = scan(root / folder)
    except OSError as error:
        raise DataError(f"{root / folder}: this folder cannot be listed: {error.strerror}.") from error
    folders = sorted((entry.name for entry in entries if is_folder(entry)), key=natural_key)
    return folders, [entry.name for entry in entries if not is_folder(entry)]


def list_files(root: Path, folder: str = "", *, follow_links: bool = False) -> Iterator[Entry]:
    """Yield what lies below a folder, for all commands alike: training, check and preview, predict and explain.

    Litter, hidden files, and what Diptych wrote (runs, reports, sheets) are passed over: the data folder may be the one
    that they are written to. Links to folders within root are followed, those that lead out of it only if that is wished;
    never in a circle, and no folder twice.

    Args:
        root: a folder.
        folder: the folder in it to begin with.
        follow_links: whether to follow links to folders that lie outside of root.
    """
    home = os.path.realpath(root)
    seen = set[str]()
    # Of each folder: its path relative to root, and where the one above it really lies.
    waiting = [(folder, str(Path(home).parent))]
    while waiting:
        path, above = waiting.pop()
        real = os.path.realpath(root / path)
        if real in seen or lies_in(above, real) or (path and lies_in(home, real)):
            continue
        seen.add(real)
        if not follow_links and not lies_in(real, home):
            mend = "follow it with --follow-links, or put the folder there"
            yield Entry(path, "link", f"a link to a folder outside of {root}/, which is not followed; {mend}")
            continue
        try:
            entries = scan(root / path)
        except OSError as error:
            reason = f"a folder that cannot be listed ({error.strerror}); allow yourself to read it, or move it away"
            yield Entry(path, "locked", reason)
            continue
        for entry in entries:
            below = f"{path}/{entry.name}" if path else entry.name
            if is_folder(entry):
                waiting.append((below, real))
            else:
                yield Entry(below, "image" if is_image(entry.name) else "other")


def find_images(paths: Sequence[Path], *, follow_links: bool = False) -> list[Path]:
    """List the images that are named, or lie in folders that are named, each once and in their order.

    A file that is named by itself is taken whatever its name. A name that is no file may be a pattern, such as photos/*.jpg,
    which the shell of Windows does not expand. Folders that cannot be listed stand among the files, to be named as
    unreadable; files that hold pictures but are not read are counted in a warning.

    Args:
        paths: files, folders and patterns.
        follow_links: as `list_files`.

    Raises:
        DataError: a path does not exist, or a folder holds no image.
    """
    files: list[Path] = []
    unread: list[str] = []
    for path in [found for name in paths for found in expand(name)]:
        if not os.path.isdir(path):  # noqa: PTH112 (Path.is_dir raises an error in a locked folder.)
            files.append(path)
            continue
        entries = sorted(list_files(path, follow_links=follow_links), key=lambda entry: entry.path.split("/"))
        others = find_unread(path, [entry.path for entry in entries if entry.kind == "other"])
        found = [path / entry.path for entry in entries if entry.kind in ("image", "locked")]
        links = [f"{path / entry.path} is {entry.reason}" for entry in entries if entry.kind == "link"]
        if not found:
            why = [*links, *([describe_unread(others)] if others else [])]
            why = why or [f"expected files that end in {', '.join(readable_suffixes())}"]
            raise DataError(printable(f"{path}: no image in this folder; {'; '.join(why)}."))
        for link in links:
            log.warning("Warning: %s.", printable(link))
        files += found
        unread += others
    if not files:
        raise DataError("no images named; give files or folders.")
    if unread:
        log.warning("Warning: %s.", describe_unread(unread))
    return list(dict.fromkeys(files))


def expand(path: Path) -> list[Path]:
    """Return the path, or what it stands for as a pattern where there is nothing of this name."""
    if os.path.exists(path):  # noqa: PTH110 (Path.exists raises an error in a locked folder.)
        return [path]
    found = [Path(name) for name in sorted(glob(str(path), recursive=True))]  # noqa: PTH207 (the pattern may be absolute)
    if not found:
        raise DataError(f"{printable(str(path))}: no such file or folder.")
    return found


def scan(folder: Path) -> list[os.DirEntry[str]]:
    """List a folder, without litter and without what Diptych wrote."""
    with os.scandir(folder) as entries:
        kept = [entry for entry in entries if not is_litter(entry.name)]
    return [entry for entry in kept if not (is_output(Path(entry.path)) if is_folder(entry) else is_output_file(entry))]


def lies_in(place: str, folder: str) -> bool:
    """Tell by real paths whether a folder is, or lies in, another one."""
    return place == folder or place.startswith(folder.rstrip(os.sep) + os.sep)


def is_output_file(entry: os.DirEntry[str]) -> bool:
    """Tell whether a file is what `diptych preview` draws into the current folder, or the lock of a cache."""
    if entry.name != SHEET:
        return entry.name.endswith(".lock") and bool(CACHE_NAME.fullmatch(entry.name))
    try:
        with Path(entry.path).open("rb") as file:
            return SHEET_MARK in file.read(200)
    except OSError:
        return False


def is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # A link in a circle.
        return False


def check_folder_rows(root: Path, rows: pd.DataFrame, faults: list[Fault] | None, follow_links: bool) -> pd.DataFrame:
    """Leave out the rows of links that lead nowhere, outside, or to a file that is read already."""
    rows = rows.set_axis(unlisted_index(len(rows)))
    return check_files(rows, locate(root, rows["path"]), root, faults, follow_links)


def unlisted_index(count: int) -> pd.MultiIndex:
    """Return the index that `leave_out` wants for images that no table lists."""
    return pd.MultiIndex.from_arrays([[""] * count, range(count)])


def name_some(names: Sequence[str]) -> str:
    """Name the first few: "cats, dogs"."""
    return printable(", ".join(names[:8])) + (f", … ({len(names):,} in all)" if len(names) > 8 else "")
