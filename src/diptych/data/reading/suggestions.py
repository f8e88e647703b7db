"""Suggestions for paths that lead to no image."""

import posixpath
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote

from diptych.errors import nearest
from diptych.screen import quoted

# Names that are compared one by one, for the path that none of the differences below explains.
COMPARED = 5000
EXTENSION = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}$")


def without_blanks(path: str) -> str:
    """Remove blanks around the name of each folder and file."""
    return "/".join(part.strip() for part in path.split("/"))


def composed(path: str) -> str:
    """Write letters with marks as one character each (Unicode NFC)."""
    return unicodedata.normalize("NFC", path)


def without_extension(path: str) -> str:
    """Remove what looks like an extension."""
    return EXTENSION.sub("", path)


def without_zeros(path: str) -> str:
    """Remove leading zeros of numbers."""
    return re.sub(r"(?<![0-9])0+(?=[0-9])", "", path)


def loosened(path: str) -> str:
    """Write a path without all the differences that can be told apart here, but its folder."""
    plain = without_blanks(unquote(unicodedata.normalize("NFKC", path)).lower()).strip("'\"")
    # A column of numbers that has gaps is written with decimals: 7.0.
    return without_zeros(without_extension(re.sub(r"(?<=[0-9])\.0+$", "", plain)))


# How two paths may differ, the slightest first; the words tell in which way the path would be found.
DIFFERENCES: Mapping[str, Callable[[str], str]] = {
    "Without the blanks at the ends": without_blanks,
    "Written in the same Unicode form (the names look alike, but their letters with marks are one character in NFC and two in "
    "NFD)": composed,
    "In another case": str.lower,
    "With another extension": without_extension,
    "With %20 and the like written out": unquote,
    "With the leading zeros that spreadsheets take away": without_zeros,
    "Changed in one or more of extension, case, blanks, quotes and leading zeros": loosened,
}


def did_you_mean(missing: Sequence[str], known: Collection[str], images: Path | None = None) -> str:
    """Describe what paths that lead to no image were probably meant to be, once for all of them.

    Args:
        missing: the paths, relative to the data folder, with forward slashes; one at least.
        known: the paths of the images that are there.
        images: the folder that all paths are relative to, where --images can name another one.

    Returns:
        A question with the first likely path, how it differs, and how many would be found in the same way: "Did you mean
        'img000.png'? With the extension .png, 12 of 12 would be found."; "" where nothing is likely.
    """
    best: dict[str, str] = {}
    words = ""
    for difference, key in DIFFERENCES.items():
        found = find_by(key, missing, known)
        if len(found) > len(best):
            best = found
            words = difference
    if len(best) < len(missing):
        found = find_elsewhere(missing, known)
        if len(found) > len(best):
            best = found
            words = name_folder(found, images)
    if len(best) < len(missing):
        found = find_by(lambda path: loosened(posixpath.basename(path)), missing, known)
        if len(found) > len(best):
            best = found
            words = f"{name_place(found, images)}, and changed in extension, case, blanks or leading zeros"
    if not best:
        return ""
    if words == "With another extension":
        extensions = {posixpath.splitext(path)[1] for path in best.values()}
        words = f"With the extension {extensions.pop()}" if len(extensions) == 1 else words
    return f"Did you mean {next(iter(best.values()))!r}? {words}, {len(best):,} of {len(missing):,} would be found."


def find_by(key: Callable[[str], str], missing: Sequence[str], known: Collection[str]) -> dict[str, str]:
    """Return the only known path of the same key, for each missing one that has it."""
    places = defaultdict(list)
    for path in known:
        places[key(path)].append(path)
    return {path: places[key(path)][0] for path in missing if len(places.get(key(path), ())) == 1}


def find_elsewhere(missing: Sequence[str], known: Collection[str]) -> dict[str, str]:
    """Return the only known path that is the same but for the folders it begins with, for each missing one that has it."""
    deeper = defaultdict(list)
    for path in known:
        for end in ends_of(path):
            deeper[end].append(path)
    found = {}
    for path in missing:
        likely = next((end for end in ends_of(path) if end in known), "")
        if not likely:
            likely = next((deeper[end][0] for end in (path, *ends_of(path)) if len(deeper.get(end, ())) == 1), "")
        if likely:
            found[path] = likely
    return found


def ends_of(path: str) -> list[str]:
    """Return a path without its first folder, without its first two, and so on."""
    parts = path.split("/")
    return ["/".join(parts[start:]) for start in range(1, len(parts))]


def name_folder(found: Mapping[str, str], images: Path | None) -> str:
    """Describe which folder is missing or too many in all paths, or in the most of them."""
    path, likely = next(iter(found.items()))
    if likely.endswith(f"/{path}"):
        folder = likely.removesuffix(path)
        return f"In the folder {folder}" + (f" (--images {quoted(images / folder)} says so for all)" if images else "")
    if path.endswith(f"/{likely}"):
        return f"Without the folder {path.removesuffix(likely)}"
    return "In another folder"


def name_place(found: Mapping[str, str], images: Path | None) -> str:
    """Describe in which folder all of the likely paths lie."""
    folders = {posixpath.dirname(path) for path in found.values()}
    if len(folders) > 1 or folders == {""}:
        return "In another folder"
    folder = folders.pop()
    return f"In the folder {folder}/" + (f" (--images {quoted(images / folder)} says so for all)" if images else "")


def nearest_path(path: str, known: Collection[str]) -> str:
    """Suggest the most similar known path: among those of the same name, or else with another case."""
    name = posixpath.basename(path)
    namesakes = sorted(other for other in known if posixpath.basename(other) == name)
    if not namesakes and len(known) > COMPARED:
        return ""
    return nearest_name(path, namesakes, cutoff=0) if namesakes else nearest_name(path, known)


def nearest_name(name: str, known: Collection[str], cutoff: float = 0.6) -> str:
    """Suggest the most similar known name; "" if none is similar."""
    near = nearest(name, known, cutoff)
    return f"Did you mean {near!r}?" if near else ""
