"""One CSV or Parquet table, read as text."""

import csv
import io
import warnings
from pathlib import Path
from typing import Any

import pandas as pd

from diptych.errors import DataError

TABLE_SUFFIXES = (".csv", ".parquet")


def read_table(source: Path) -> pd.DataFrame:
    """Read a table as text, without guessing types.

    Args:
        source: UTF-8 CSV with commas or semicolons (Excel writes these), or Parquet.

    Returns:
        All columns as str, "" where there is no value. The index is the row's number as the user sees it: the first row
        after the header of a CSV is row 2, as in a spreadsheet; the first one of a Parquet file is row 1. Blank rows are
        left out, but counted. Of a Parquet file, columns that are no text (images, lists) are left out.

    Raises:
        DataError: it cannot be read, or a column is there twice.
    """
    table = read_parquet(source) if is_parquet(source) else read_csv(source)
    table.columns = table.columns.str.strip()
    for column in table.columns[table.columns.duplicated()]:
        raise DataError(f"{source}: the column {column} is there twice; rename or delete one of them.")
    return table[(table != "").any(axis=1)].copy()


def read_header(source: Path) -> tuple[str, ...]:
    """Return the names of a table's columns, without reading its rows; of a text that is not UTF-8, something like them.

    Raises:
        DataError: it cannot be read.
    """
    if is_parquet(source):
        return tuple(name.strip() for name in open_parquet(source).schema_arrow.names)
    try:
        with source.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            line = file.readline()
        return tuple(name.strip() for name in next(csv.reader([line], delimiter=separator_of(line)), []))
    except (OSError, csv.Error) as error:
        raise unreadable(source, error) from error


def is_parquet(source: Path) -> bool:
    return source.suffix.lower() == ".parquet"


def separator_of(header: str) -> str:
    return ";" if ";" in header and "," not in header else ","


def read_csv(source: Path) -> pd.DataFrame:
    try:
        text = source.read_text(encoding="utf-8-sig")
        separator = separator_of(text.partition("\n")[0])
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
        raise unreadable(source, error) from error
    table.index += 2
    return table


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
    reason = str(error).strip().rstrip(".")
    return DataError(f"{source}: cannot be read as a table: {reason}. Expected a header row and one row an image.")
