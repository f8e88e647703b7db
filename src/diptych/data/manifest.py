"""The Manifest: which images there are, and what they show."""

import io
import posixpath
import warnings
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

import pandas as pd

from diptych.errors import DataError

CLASS_NAMES = ("0", "1")
SPLITS = ("train", "validation", "test")
SPLIT_SYNONYMS = {"val": "validation", "valid": "validation"}
# Columns that Diptych adds to the user's own.
OWN_COLUMNS = ("path", "sha256", "predicted_target", "predicted_probability", "problem")


@dataclass(frozen=True)
class Manifest:
    """One row an image.

    Attributes:
        root: the data folder.
        table: the columns `path` (str, relative to root, with forward slashes), `image_name` (str), `target` (int64, an
            index into class_names), then the user's further columns as text; `split` is one of SPLITS where given.
        class_names: the classes in the order of their targets.
        listed: where each image stands in the user's tables, "data/0.csv, row 2", by its row in the table as first read.
    """

    root: Path
    table: pd.DataFrame
    class_names: tuple[str, ...] = CLASS_NAMES
    listed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not {"path", "image_name", "target"} <= set(self.table.columns):
            raise DataError(f"a Manifest needs the columns path, image_name, target; got {', '.join(self.table.columns)}")
        if not self.table["target"].between(0, len(self.class_names) - 1).all():
            raise DataError(f"a Manifest's targets are 0 to {len(self.class_names) - 1}; got {sorted(set(self.table['target']))}")


def read_manifest(root: Path) -> Manifest:
    """Read and check the tables of a data folder. No image is opened.

    Args:
        root: holds the folders 0/ and 1/, and the tables 0.csv and 1.csv beside or inside them.

    Raises:
        DataError: a folder, table or column is missing, or a row is wrong; the message names the file and the row
            (the first row after the header is row 2, as a spreadsheet shows it).
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder. Expected a folder with 0/, 1/, 0.csv and 1.csv; name it with --data.")
    tables = [read_class_table(root, name, target) for target, name in enumerate(CLASS_NAMES)]
    with_split = [name for name, table in zip(CLASS_NAMES, tables, strict=True) if "split" in table]
    if len(with_split) == 1:
        raise DataError(f"{root}: only {with_split[0]}.csv has a column split; give it to both tables, or to neither.")
    sources = [find_table(root, name) for name in CLASS_NAMES]
    listed = [f"{source}, row {row + 2}" for source, table in zip(sources, tables, strict=True) for row in table.index]
    return Manifest(root, pd.concat(tables, ignore_index=True).fillna(""), listed=tuple(listed))


def read_class_table(root: Path, name: str, target: int) -> pd.DataFrame:
    folder = root / name
    if not folder.is_dir():
        raise DataError(
            f"{folder}: no such folder. Expected the images of class {name} in it; --data names what holds 0/ and 1/."
        )
    source = find_table(root, name)
    table = read_csv(source)
    check_targets(table, source, target)
    check_names(table, source, folder)
    if "split" in table:
        table["split"] = table["split"].str.strip().str.lower().replace(SPLIT_SYNONYMS)
        fail_at(source, ~table["split"].isin(SPLITS), table["split"], "is not a split; write train, validation or test")
    further = [column for column in table.columns if column not in {"image_name", "target"}]
    paths = [posixpath.join(name, posixpath.normpath(image)) for image in table["image_name"]]
    return pd.DataFrame({"path": paths, "image_name": table["image_name"], "target": target, **table[further]})


def find_table(root: Path, name: str) -> Path:
    places = (root / f"{name}.csv", root / name / f"{name}.csv")
    found = [place for place in places if place.is_file()]
    if not found:
        raise DataError(f"{places[0]}: no such table. Expected the columns image_name and target, one row an image of {name}/.")
    if len(found) == 2:
        raise DataError(f"{places[0]} and {places[1]} both exist; keep one of them.")
    return found[0]


def read_csv(source: Path) -> pd.DataFrame:
    """Read a table as text, without guessing types; a semicolon as separator is understood (Excel writes it).

    Blank lines are left out, but counted: the index is the row's number, from 0, in the file.
    """
    try:
        text = source.read_text(encoding="utf-8-sig")
        header = text.partition("\n")[0]
        separator = ";" if ";" in header and "," not in header else ","
        with warnings.catch_warnings():
            # Pandas only warns where the first row has more fields than the header, and drops them.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(
                io.StringIO(text), sep=separator, dtype=str, keep_default_na=False, index_col=False, skip_blank_lines=False
            )
    except UnicodeDecodeError as error:
        raise DataError(f"{source}: not UTF-8 text ({error.reason} at byte {error.start}); save it as CSV in UTF-8.") from error
    except pd.errors.ParserWarning as error:
        mend = "put a name that holds a comma in double quotes, or give each column a name"
        raise DataError(f"{source}, row 2: more fields than the header has columns; {mend}.") from error
    except (OSError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        reason = str(error).strip().rstrip(".")
        raise DataError(f"{source}: cannot be read as a table: {reason}. Expected a header row and one row an image.") from error
    table.columns = table.columns.str.strip()
    for column in table.columns[table.columns.duplicated()]:
        raise DataError(f"{source}: the column {column} is there twice; rename or delete one of them.")
    table = table[(table != "").any(axis=1)].copy()
    for column in ("image_name", "target"):
        if column not in table:
            raise DataError(f"{source}: no column {column}; it has {', '.join(table.columns)}. Expected image_name and target.")
    for column in OWN_COLUMNS:
        if column in table:
            raise DataError(f"{source}: the column {column} is one that Diptych writes itself; rename it.")
    if table.empty:
        raise DataError(f"{source}: no rows, so the class is empty. Each class needs images.")
    return table


def check_targets(table: pd.DataFrame, source: Path, target: int) -> None:
    values = table["target"].str.strip().replace({"0.0": "0", "1.0": "1"})
    fail_at(source, ~values.isin(CLASS_NAMES), table["target"], "is not a target; write 0 or 1")
    mend = f"disagrees with the folder {target}/; correct the target, or move the image and its row to the other class"
    fail_at(source, values != str(target), table["target"], mend, subject="target")


def check_names(table: pd.DataFrame, source: Path, folder: Path) -> None:
    names = table["image_name"]
    fail_at(source, names.str.strip() == "", names, "is empty; write the file's name in image_name", subject="image_name")
    fail_at(source, names.map(leaves_by_name), names, f"leaves the folder {folder}/; write a name inside of it")
    places = names.map(lambda name: folder / name)
    fail_at(source, ~places.map(is_file), names, f"is listed but is not in {folder}/; add the file, or delete the row")
    home = folder.resolve()
    real = places.map(Path.resolve)
    outside = ~real.map(lambda path: path.is_relative_to(home)).astype(bool)
    fail_at(source, outside, names, f"is a link that leaves the folder {folder}/; put the file itself there")
    fail_at(source, real.duplicated(), names, "is listed twice; delete one of the rows")


def leaves_by_name(name: str) -> bool:
    """Tell whether a name is absolute or climbs out of its folder, as Linux, macOS or Windows would read it."""
    windows = PureWindowsPath(name)
    return bool(windows.anchor) or ".." in windows.parts or "\0" in name


def is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # The name is too long for the file system, say.
        return False


def fail_at(source: Path, wrong: "pd.Series[bool]", values: "pd.Series[str]", mend: str, subject: str = "") -> None:
    """Raise a DataError that names the first wrong row, and how many others are like it."""
    rows = [int(row) + 2 for row in wrong.index[wrong]]
    if not rows:
        return
    value = repr(values.loc[rows[0] - 2])
    others = f" ({len(rows) - 1} more like it: rows {', '.join(map(str, rows[1:6]))}{', …' if len(rows) > 6 else ''})"
    raise DataError(f"{source}, row {rows[0]}: {subject} {value} {mend}.{others if len(rows) > 1 else ''}".replace(":  ", ": "))
