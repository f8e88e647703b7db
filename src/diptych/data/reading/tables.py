"""One table (CSV, tab-separated text or Parquet), read as text."""

import csv
import io
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from diptych.errors import DataError

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")
# Read where they are named, and in a data folder where their first lines are those of a table.
TEXT_SUFFIX = ".txt"
WORKBOOK_SUFFIXES = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods", ".numbers")
SAVE_AS_CSV = 'save the sheet as CSV (in Excel: File, Save As, "CSV UTF-8"; in LibreOffice: File, Save As, "Text CSV")'
# What people and programs write where there is no value: pandas' own list, Excel's errors, and marks made by hand.
MISSING = frozenset({
    "", "nan", "-nan", "na", "n/a", "#n/a", "#na", "#n/a n/a", "<na>", "null", "nil", "none", "nat", "1.#ind", "-1.#ind",
    "1.#qnan", "-1.#qnan", "#null!", "#value!", "#ref!", "#div/0!", "#name?", "#num!", "?", "??", "-", "--", "---", ".", "–", "—",
    "n.a", "n.a.", "n. a.", "n / a", "n/d", "(null)", "(blank)", "(empty)", "(none)", "[]", "#nv", "#n/d", "#wert!", "#bezug!",
    "#valeur!", "#valor!", "#¡valor!",
})  # fmt: skip
# Beyond those, in a column of groups: they name no patient, though a class may well be called so.
UNKNOWN = MISSING | {
    "missing",
    "unknown",
    "unk",
    "not known",
    "unspecified",
    "undefined",
    "not available",
    "not applicable",
    "no group",
}
# How files begin that are no text, whatever their name says.
BEGINNINGS = {
    b"PK\x03\x04": "a workbook or ZIP file",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"\x1f\x8b": "compressed with gzip",
}
FIRST_LINES = 65536


def is_missing(values: "pd.Series[str]", words: frozenset[str] = MISSING) -> "pd.Series[bool]":
    """Tell which values mean a missing one (MISSING, or UNKNOWN for groups), in any case, with blanks around them."""
    return values.str.strip().str.lower().isin(words)


def whole_numbers(values: "pd.Series[str]", words: frozenset[str] = MISSING) -> "pd.Series[str]":
    """Write 3.0 as 3 where all values that are not missing are whole numbers: a column with gaps turns 3 into 3.0."""
    given = values[~is_missing(values, words)].str.strip()
    whole = len(given) and given.str.fullmatch(r"[-+]?[0-9]+(\.0*)?").all()
    return values.str.replace(r"([0-9])\.0*\s*$", r"\1", regex=True) if whole else values


def read_table(source: Path) -> pd.DataFrame:
    """Read a table as text, without guessing types.

    Args:
        source: text with commas, semicolons, tabs or bars, in UTF-8 or (with a byte order mark, as Excel's "Unicode text")
            UTF-16, with or without Excel's first line `sep=;`; or Parquet.

    Returns:
        All columns as str, "" where there is no value. The index is the row's number as the user sees it: the first row
        after the header of a text is row 2, as in a spreadsheet (where a line `sep=;` does not count); the first one of a
        Parquet file is row 1. Blank rows and blank columns without a heading are left out, but counted. Of a Parquet
        file, columns that are no text (images, lists) are left out.

    Raises:
        DataError: it cannot be read, or a heading is there twice.
    """
    table = read_parquet(source) if is_parquet(source) else read_text(source)
    check_headings(source, list(table.columns))
    table.columns = name_headings(list(table.columns))
    blank = [name for name in table.columns if name.startswith("Unnamed: ") and (table[name].str.strip() == "").all()]
    table = table.drop(columns=blank)
    return table[(table != "").any(axis=1)].copy()


def name_headings(headings: Sequence[str]) -> list[str]:
    """Remove blanks around headings; an empty one gets the name that pandas gives it."""
    names = [heading.strip() for heading in headings]
    for place, name in enumerate(names):
        if not name:
            stand_in = f"Unnamed: {place}"
            while stand_in in names:
                stand_in += ".1"
            names[place] = stand_in
    return names


def check_headings(source: Path, headings: Sequence[str]) -> None:
    """Refuse two headings that are one but for case and blanks, or as pandas renames them (label and label.1)."""
    seen: dict[str, str] = {}
    for heading in filter(str.strip, headings):
        seen_as = heading.strip().lower()
        first = seen.get(seen_as) or seen.get(re.sub(r"\.[0-9]+$", "", seen_as))
        if first is not None and (seen_as in seen or not seen_as.startswith("unnamed: ")):
            both = f" ({first!r} and {heading!r})" if heading != first else ""
            raise DataError(f"{source}: the column {first.strip()} is there twice{both}; rename or delete one of them.")
        seen[seen_as] = heading


def read_header(source: Path) -> tuple[str, ...]:
    """Return the names of a table's columns, without reading its rows; of a text that cannot be read, something like them.

    Raises:
        DataError: it cannot be read.
    """
    if is_parquet(source):
        return tuple(name.strip() for name in open_parquet(source).schema_arrow.names)
    rows = first_rows(source, 1)
    return tuple(name.strip() for name in rows[0]) if rows else ()


def first_rows(source: Path, count: int) -> list[list[str]]:
    """Return the cells of the first lines of a text, the header among them."""
    try:
        with source.open("rb") as file:
            beginning = file.read(FIRST_LINES)
        encoding = encoding_of(beginning) or "utf-8"
        lines = beginning.decode(encoding, "replace").lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
        separator, skipped = separator_of(lines)
        return list(csv.reader(lines[skipped : skipped + count], delimiter=separator))
    except (OSError, csv.Error) as error:
        raise unreadable(source, error) from error


def is_table(source: Path) -> bool:
    """Tell by its name, and of a .txt file by its first lines, whether a file is a table."""
    name = source.name.lower()
    if not name.endswith(TEXT_SUFFIX):
        return name.endswith(TABLE_SUFFIXES)
    rows = first_rows(source, 2)
    return len(rows) == 2 and len(rows[0]) == len(rows[1]) > 1


def is_parquet(source: Path) -> bool:
    return source.suffix.lower() == ".parquet"


def encoding_of(beginning: bytes) -> str:
    """Return the encoding that a byte order mark declares, or ""."""
    if beginning.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return "utf-32"
    if beginning.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    return ""


def separator_of(lines: Sequence[str]) -> tuple[str, int]:
    """Return the column separator, and the number of lines before the header.

    Excel's first line `sep=;` says it; otherwise it is what splits the header into the most columns.
    """
    said = re.fullmatch(r'"?sep=(.)"?[;,\t]*', lines[0].strip("\r\n "), re.IGNORECASE) if lines else None
    if said:
        return said[1], 1
    header = lines[0] if lines else ""
    # The first of the most: a comma where nothing separates.
    return max(",;\t|", key=lambda separator: len(next(csv.reader([header], delimiter=separator), []))), 0


def read_text(source: Path) -> pd.DataFrame:
    try:
        text = decode_text(source, source.read_bytes())
        separator, skipped = separator_of(text[:FIRST_LINES].split("\n"))
        text = text.split("\n", 1)[-1] if skipped else text
        with warnings.catch_warnings():
            # Pandas only warns where the first row has more fields than the header, and drops them.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(
                io.StringIO(text), sep=separator, dtype=str, keep_default_na=False, index_col=False, skip_blank_lines=False
            )
        # Pandas would rename a heading that is there twice.
        headings = next(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    except pd.errors.ParserWarning as error:
        mend = "put a name that holds a comma in double quotes, or give each column a name"
        raise DataError(f"{source}, row 2: more fields than the header has columns; {mend}.") from error
    except (OSError, csv.Error, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise unreadable(source, error) from error
    table.index += 2
    return table.set_axis(headings, axis=1) if len(headings) == len(table.columns) else table


def decode_text(source: Path, content: bytes) -> str:
    """Turn the bytes of a file into text whose lines end in one way.

    Raises:
        DataError: it is no text, or in an encoding that it does not tell.
    """
    for beginning, kind in BEGINNINGS.items():
        if content.startswith(beginning):
            raise DataError(f"{source}: {kind}, despite its name, and no text; {SAVE_AS_CSV}.")
    encoding = encoding_of(content)
    try:
        text = content.decode(encoding or "utf-8-sig")
    except UnicodeDecodeError as error:
        likely = (
            f"not {encoding.upper()} text, as it begins" if encoding else "not UTF-8 text, but probably Windows-1252 or Latin-1"
        )
        raise DataError(
            f'{source}: {likely} ({error.reason} at byte {error.start}). Save it in UTF-8 (in Excel: "CSV UTF-8").'
        ) from error
    if "\0" in text:
        raise DataError(
            f"{source}: holds NUL characters, so it is no text, or UTF-16 without a byte order mark; save it as CSV in UTF-8."
        )
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_parquet(source: Path) -> pd.DataFrame:
    file = open_parquet(source)
    import pyarrow as pa

    kinds = pa.types
    unfit = (kinds.is_nested, kinds.is_binary, kinds.is_large_binary, kinds.is_fixed_size_binary)
    names = [field.name for field in file.schema_arrow if not any(fits(field.type) for fits in unfit)]
    try:
        table = file.read(columns=names)
        texts = [column.cast(pa.string()).fill_null("").to_pylist() for column in table.columns]
    except (OSError, pa.ArrowException) as error:
        raise unreadable(source, error) from error
    # By number first, so that a name that is there twice is seen by read_table.
    columns = pd.DataFrame(dict(enumerate(texts)), index=pd.RangeIndex(1, table.num_rows + 1), dtype=str)
    return columns.set_axis(pd.Index(table.column_names, dtype=str), axis=1)


def open_parquet(source: Path) -> Any:
    """Open a file as pyarrow's ParquetFile."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise DataError(
            f'{source}: Parquet is read by pyarrow, which is not there; run: pip install "diptych[parquet]"'
        ) from error
    try:
        return parquet.ParquetFile(source)
    except (OSError, pa.ArrowException) as error:
        raise unreadable(source, error) from error


def unreadable(source: Path, error: Exception) -> DataError:
    if isinstance(error, OSError) and error.strerror:
        return DataError(f"{source}: cannot be read as a table: {error.strerror}.")
    reason = str(error).strip().rstrip(".")
    return DataError(f"{source}: cannot be read as a table: {reason}. Expected a header row and one row an image.")


def fits_csv(text: str) -> bool:
    """Tell whether a name comes back from a CSV as it went in: read as text, a carriage return is a new line."""
    return "\r" not in text
