"""The Manifest: one row per image with path, class, group and split, and the checks that every layout shares."""

import os
import re
import stat
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from diptych.data.pixels.formats import readable_suffixes
from diptych.errors import DataError

MAX_CLASSES = 1000
SPLITS = ("train", "validation", "test")
# What people call the parts, in lower case and without blanks, signs and digits; and what they write around it.
PART_WORDS = {
    "train": "train(?:ing)?|trn|train(?:ing)?(?:and)?val(?:id(?:ation)?)?",
    "validation": "val(?:id(?:ation)?)?|validate|dev(?:el(?:opment)?)?",
    "test": "test(?:ing)?|tst|hold(?:ing)?out|heldout",
    "evaluation": "eval(?:uation)?|evaluate",
}
PART_FILLERS = (
    "(?:my|the|data|dataset|set|sets|subset|images?|imgs?|pictures?|photos?|samples?|split|part(?:ition)?|folder|files?)*"
)
PART_NAMES = {part: re.compile(f"{PART_FILLERS}(?:{words}){PART_FILLERS}") for part, words in PART_WORDS.items()}
# Columns that Diptych adds to the user's own.
OWN_COLUMNS = ("path", "sha256", "predicted_target", "predicted_class", "problem")
# What Linux, macOS or Windows would read as absolute, as a drive, or as a way out of the folder; and NUL.
LEAVES = re.compile(r"^[/\\]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|\Z)|\0")
# What operating systems and archives leave behind; hidden files are ignored too.
LITTER = {
    "__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "#recycle", "@recycle", "#snapshot", "@recently-snapshot",
    "$recycle.bin", "recycler", "system volume information", "lost+found", "__pycache__", "_vti_cnf",
}  # fmt: skip


class Remark(NamedTuple):
    """What the user should know of how the data was read; `diptych train` and `check` say it as a warning.

    Attributes:
        kind: its name in audit.json and check.json.
        title: one line that says what was found, with the count.
        advice: one line that says how to correct it.
        paths: of the files concerned, relative to the data folder.
    """

    kind: str
    title: str
    advice: str
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Manifest:
    """One row an image.

    Attributes:
        root: the data folder.
        table: the columns `path` (str, relative to root, with forward slashes), `image_name` (str, as the user wrote it),
            `target` (int64, an index into class_names), then the user's further columns as text; `split` is one of SPLITS
            where given. The index is 0 to N - 1 when first read.
        class_names: the classes in the order of their targets.
        listed: where each image stands in the user's tables, "data/0.csv, row 2", by its row in the table as first read;
            empty without tables.
        layout: what was recognised in the data folder, in words.
        remarks: warnings of how it was read.
    """

    root: Path
    table: pd.DataFrame
    class_names: tuple[str, ...]
    listed: tuple[str, ...] = ()
    layout: str = ""
    remarks: tuple[Remark, ...] = ()

    def __post_init__(self) -> None:
        if not {"path", "image_name", "target"} <= set(self.table.columns):
            raise DataError(f"a Manifest needs the columns path, image_name, target; got {', '.join(self.table.columns)}")
        if not self.table["target"].between(0, len(self.class_names) - 1).all():
            raise DataError(f"a Manifest's targets are 0 to {len(self.class_names) - 1}; got {sorted(set(self.table['target']))}")


class Fault(NamedTuple):
    """A row that is left out, or a file that no table lists.

    Attributes:
        kind: "bad-name", "missing", "listed-twice", "bad-target", "bad-split", "unlisted", "link" or "locked".
        path: of the image, relative to the data folder.
        message: where it stands, what is wrong, and how to correct it.
    """

    kind: str
    path: str
    message: str


def leave_out(
    rows: pd.DataFrame,
    wrong: "pd.Series[bool]",
    kind: str,
    mend: str,
    faults: list[Fault] | None,
    *,
    column: str = "image_name",
    subject: str = "",
    hint: str = "",
) -> pd.DataFrame:
    """Remove wrong rows and describe each in `faults`; without that list, the first of them is an error.

    Args:
        rows: with the column `path`; the index is (table, row in it), or ("", number) for an image that no table lists.
        wrong: which rows.
        kind: of the fault.
        mend: what is wrong and how to correct it, said after the value.
        faults: grows.
        column: holds the value that is wrong.
        subject: what the value is, where that is not clear.
        hint: what is to be said once of all these rows.

    Raises:
        DataError: it names the first wrong row, and how many others are like it.
    """
    if not wrong.any():
        return rows
    places = rows.index[wrong]
    values = rows.loc[wrong, column]

    def describe(place: tuple[str, int], value: str) -> str:
        where = f"{place[0]}, row {place[1]}: " if place[0] else ""
        return f"{where}{subject}{' ' * bool(subject)}{value!r} {mend}."

    if faults is None:
        others = [str(row) for _, row in places[1:6]] if places[0][0] else [repr(value) for value in values[1:6]]
        kind_of_place = ("row " if len(others) == 1 else "rows ") if places[0][0] else ""
        shown = f"{kind_of_place}{', '.join(others)}{', …' if len(places) > 6 else ''}"
        more = f" ({len(places) - 1} more like it: {shown})" if others else ""
        raise DataError(describe(places[0], values.iloc[0]) + more + hint)
    paths = rows.loc[wrong, "path"].map(printable)
    found = [Fault(kind, path, describe(place, value)) for place, path, value in zip(places, paths, values, strict=True)]
    faults += [found[0]._replace(message=found[0].message + hint), *found[1:]]
    return rows[~wrong]


def printable(path: str) -> str:
    """Replace what is not UTF-8 in a file's name, so that it can be written down."""
    return path.encode("utf-8", "backslashreplace").decode()


def check_names(rows: pd.DataFrame, folder: Path, faults: list[Fault] | None, hint: str = "") -> pd.DataFrame:
    """Leave out the rows whose `image_name` leads out of a folder; `hint` is added to their message."""
    pairs = zip(rows["image_name"], inside(folder, rows["image_name"]), strict=True)
    leaves = [LEAVES.search(name) is not None and not relative for name, relative in pairs]
    mend = f"leaves the folder {folder}/; write a name inside of it"
    return leave_out(rows, pd.Series(leaves, rows.index, dtype=bool), "bad-name", mend, faults, hint=hint)


def inside(folder: Path, names: Iterable[str]) -> list[str]:
    """Return for each absolute path the one relative to a folder that it lies in, links followed; "" for all other names."""
    homes = [str(home).rstrip(os.sep) + os.sep for home in (Path(os.path.normpath(folder.absolute())), folder.resolve())]
    real: dict[str, str] = {}

    def relative(name: str) -> str:
        if not Path(name).is_absolute() or "\0" in name:
            return ""
        above, file = os.path.split(os.path.normpath(name))
        if above not in real:
            real[above] = os.path.realpath(above)
        for place in (f"{above.rstrip(os.sep)}{os.sep}{file}", f"{real[above].rstrip(os.sep)}{os.sep}{file}"):
            for home in homes:
                if place.startswith(home):
                    return place.removeprefix(home).replace(os.sep, "/")
        return ""

    return [relative(name) for name in names]


def check_files(
    rows: pd.DataFrame,
    places: "pd.Series[str]",
    folder: Path,
    faults: list[Fault] | None,
    follow_links: bool = False,
    hint: str = "",
) -> pd.DataFrame:
    """Leave out the rows whose files are not there, lie outside of a folder, or are listed before.

    With `follow_links` a file may lie outside, and more than one link may lead there: copies are known by their content.

    Args:
        rows: of one folder.
        places: where their files really lie, as `locate` says.
        folder: which they must not leave.
        faults: grows.
        hint: what is to be said of those that are missing.
    """
    in_table = bool(len(rows)) and rows.index[0][0] != ""
    column = "image_name" if in_table else "path"
    missing = f"is listed but is not in {folder}/; add the file, or delete the row"
    twice = "is listed twice; delete one of the rows"
    if not in_table:
        missing = "is a link that leads nowhere, is no file, or lies in a locked folder; delete it, or allow yourself to read it"
        twice = "is a link to a file that is read already; delete the link"
    home = os.path.realpath(folder).rstrip(os.sep) + os.sep
    outside = f"is a link that leaves the folder {folder}/; put the file itself there, or follow it with --follow-links"
    leaves = (places != "") & ~places.str.startswith(home)
    rows = rows if follow_links else leave_out(rows, leaves, "bad-name", outside, faults, column=column)
    places = places.reindex(rows.index)
    rows = leave_out(rows, (places == "") | places.str.endswith(os.sep), "missing", missing, faults, column=column, hint=hint)
    places = places.reindex(rows.index)
    return leave_out(rows, places.duplicated() & places.str.startswith(home), "listed-twice", twice, faults, column=column)


def locate(root: Path, paths: "pd.Series[str]") -> "pd.Series[str]":
    """Return where each file really is, links followed; "" if there is nothing, a last slash if it is no file.

    Only folders and links are resolved: to resolve each path as a whole takes ten times as long.
    """
    folders: dict[str, str] = {}

    def place(path: str) -> str:
        folder, _, name = path.rpartition("/")
        if folder not in folders:
            folders[folder] = os.path.realpath(root / folder)
        real = f"{folders[folder]}{os.sep}{name}"
        try:
            mode = os.lstat(real).st_mode
            if stat.S_ISLNK(mode):
                real = os.path.realpath(real)
                mode = Path(real).stat().st_mode
        except OSError:  # It is not there, or its name is too long for the file system.
            return ""
        return real if stat.S_ISREG(mode) else real + os.sep

    # As objects: pandas's own text cannot hold the name of a folder above that is not UTF-8.
    return pd.Series([place(path) for path in paths], paths.index, dtype=object)


def is_image(name: str) -> bool:
    """Tell by a file's name whether it is to be read as an image."""
    return name.lower().endswith(readable_suffixes())


def is_litter(name: str) -> bool:
    """Tell by a name whether a file or folder is hidden, or left behind by an operating system or an archive."""
    return name.startswith(".") or name.lower() in LITTER


def parts_of(names: Iterable[str]) -> dict[str, str]:
    """Return those of some names that mean a part of the split, each with its part.

    Any case, common additions, and words that these names share will do: Training, test_set, "01 train data", valid, dev,
    holdout; birds_train beside birds_test. An evaluation is the validation where there is a test beside it and no other
    validation, and else the test, which no choice rests on.
    """
    words = {name: re.findall(r"[^\W\d_]+", name.casefold()) for name in names}
    found = {name: part for name, own in words.items() if (part := find_part("".join(own)))}
    if not found:
        with_part = {name: own for name, own in words.items() if any(map(find_part, own))}
        shared = set.intersection(*map(set, with_part.values())) if with_part else set()
        rest = {name: "".join(word for word in own if word not in shared) for name, own in with_part.items()}
        found = {name: part for name, letters in rest.items() if (part := find_part(letters))}
    evaluation = "validation" if "test" in found.values() and "validation" not in found.values() else "test"
    return {name: evaluation if part == "evaluation" else part for name, part in found.items()}


def find_part(letters: str) -> str:
    return next((part for part, form in PART_NAMES.items() if form.fullmatch(letters)), "")


def part_of(name: str) -> str:
    """Return the part of the split that a name means by itself, or ""."""
    return parts_of([name]).get(name, "")


def compose(name: str) -> str:
    """Write letters with marks as one character each (Unicode NFC); macOS takes them apart in the names of folders."""
    return unicodedata.normalize("NFC", name)


def natural_key(name: str) -> tuple[tuple[object, ...], str]:
    """Sort numbers in names by their value (2 before 10), letters first without and then with regard to case."""
    pieces = re.split(r"([0-9]+)", compose(name).casefold())
    # Not int(): Python refuses to read very long numbers.
    numbers = [(len(digits.lstrip("0")), digits.lstrip("0")) for digits in pieces[1::2]]
    return tuple(item for pair in zip(pieces[::2], [*numbers, (0, "")], strict=True) for item in pair), name


def plain_key(name: str) -> str:
    """Write names that differ only in case or blanks as one."""
    return " ".join(name.lower().split())


def spelling_key(name: str) -> str:
    """Write names as one that people read alike: no finding, no_finding and No-Finding, or with characters that are not seen."""
    letters = unicodedata.normalize("NFKC", name).casefold()
    seen = "".join(letter for letter in letters if unicodedata.category(letter) != "Cf")
    # A sign at an end may mean something: HER2 and HER2-.
    return " ".join(re.sub(r"(?<=[^\W_])[-_]+(?=[^\W_])", " ", seen).split())


def number_key(name: str) -> str:
    """Write 1, 01, 1.0 and +1 as one; a name that is no number stays."""
    number = re.fullmatch(r"([-+]?)0*([0-9]+)(?:[.,]([0-9]*?)0*)?", name.strip())
    if not number:
        return name
    sign, whole, rest = number.groups(default="")
    return f"{sign.strip('+')}{whole}.{rest}" if whole.strip("0") or rest else "0."


def order_classes(labels: Iterable[str], root: Path, layout: str) -> tuple[str, ...]:
    """Return the classes in the order of their targets, which is natural and follows from their names alone.

    Args:
        labels: of all images, or one of each class, as `compose` writes them.
        root: the data folder.
        layout: what was recognised in it, in words.

    Raises:
        DataError: there are fewer than 2 or more than 1,000 classes, or two that are probably meant to be one.
    """
    names = sorted(set(labels), key=natural_key)
    for key, difference in (
        (plain_key, "in case or blanks"),
        (number_key, "in how the number is written"),
        (spelling_key, "in hyphens, underscores, or characters that look alike or are not seen"),
    ):
        alike: dict[str, str] = {}
        for name in names:
            other = alike.setdefault(key(name), name)
            if other != name:
                raise DataError(f"{root}: the classes {other!r} and {name!r} differ only {difference}; give both one name.")
    if not 2 <= len(names) <= MAX_CLASSES:
        shown = ", ".join(map(repr, names[:5])) + (", …" if len(names) > 5 else "")
        mend = "Add images of another class, or others: a class cannot be learned from its own images alone."
        mend = "Is this the column of the classes?" if len(names) > MAX_CLASSES else mend
        count = f"{len(names):,} {'class' if len(names) == 1 else 'classes'}: {shown}"
        raise DataError(f"{root}: {count}; expected 2 to {MAX_CLASSES:,}. It was read as {layout}. {mend}")
    return tuple(name.strip() for name in names)
