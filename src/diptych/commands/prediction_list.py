"""The table of predictions as `diptych predict` shows it: eighty columns wide, with a count of each class below."""

import textwrap
import unicodedata
from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from diptych.screen import count_of

WIDTH = 80
CLASS_WIDTH = 14
# Of probability and note, "don't know, outlier" at most, with the gaps between.
REST_WIDTH = 2 + 2 + 11 + 2 + 19
# Of more images, the first and the last ones are shown.
SHOWN_ROWS = 40
SHOWN_CLASSES = 20
NONE = "-"


def show_predictions(table: pd.DataFrame) -> str:
    """Lay out the table that `predict` returns: file, class, probability, and a note where there is one."""
    hidden, half = len(table) - SHOWN_ROWS, SHOWN_ROWS // 2
    rows = table if hidden <= 0 else pd.concat([table[:half], table[-half:]])
    shown = [("file", "class", "probability", ""), *(describe_row(row) for row in rows.to_dict("records"))]
    name_width = max(columns(row[1]) for row in shown)
    shown = [(cut(row[0], WIDTH - name_width - REST_WIDTH), *row[1:]) for row in shown]
    widths = [max(columns(row[place]) for row in shown) for place in range(3)]
    head, tail = (shown, []) if hidden <= 0 else (shown[: half + 1], shown[half + 1 :])
    lines = [line for row in head for line in lay_out(row, widths)]
    if tail:
        lines += [f"… {count_of(hidden)} more; the CSV file has all …", *(line for row in tail for line in lay_out(row, widths))]
    return "\n".join([*lines, "", *count_answers(table)])


def describe_row(row: Mapping[Hashable, Any]) -> tuple[str, str, str, str]:
    """Return file, class, probability and note of one image."""
    file = visible(str(row["path"]))
    if row["problem"]:
        return file, NONE, NONE, visible(str(row["problem"]))
    notes = ["don't know"] * (not row["answered"]) + ["outlier"] * (row.get("outlier") is True)
    return file, cut(visible(str(row["predicted_class"])), CLASS_WIDTH), f"{row['probability']:.4f}", ", ".join(notes)


def lay_out(row: tuple[str, str, str, str], widths: list[int]) -> list[str]:
    """Put a row into one line; a note that is too long for it stands in lines of its own below."""
    file, name, probability, note = row
    line = f"{pad(file, widths[0])}  {pad(name, widths[1])}  {probability:>{widths[2]}}"
    if columns(line) + 2 + columns(note) <= WIDTH:
        return [f"{line}  {note}".rstrip()]
    return [line.rstrip(), *textwrap.wrap(note, WIDTH, initial_indent="    ", subsequent_indent="    ")]


def count_answers(table: pd.DataFrame) -> list[str]:
    """Describe how many images are of each class, the most frequent first, and how many of them are not sure."""
    read = table[table["problem"] == ""]
    counts = read["predicted_class"].value_counts()
    lines = [
        f"class {cut(visible(str(name)), WIDTH // 2)}: {count_of(int(count))}" for name, count in counts[:SHOWN_CLASSES].items()
    ]
    if len(counts) > SHOWN_CLASSES:
        rest = counts[SHOWN_CLASSES:]
        lines.append(f"{len(rest)} more classes: {count_of(int(rest.sum()))}")
    unsure = int((~read["answered"].astype(bool)).sum())
    strange = int(read["outlier"].fillna(False).astype(bool).sum()) if "outlier" in read else 0
    lines += [f'of these "don\'t know": {count_of(unsure)}'] * (unsure > 0)
    return [*lines, *[f"of these outliers, which are unlike any training image: {count_of(strange)}"] * (strange > 0)]


def visible(text: str) -> str:
    """Escape the characters that a terminal would take as commands, or could not show."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def columns(text: str) -> int:
    """Count the columns that a text takes: Chinese, Japanese and Korean letters take two, accents apart from theirs none."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text
    )


def pad(text: str, width: int) -> str:
    return text + " " * (width - columns(text))


def cut(text: str, width: int) -> str:
    """Leave out the middle of a text that takes more columns: of a path, the end tells most."""
    if columns(text) <= width:
        return text
    first = fitting(text, (width - 1) // 3)
    last = fitting(text[::-1], width - 1 - columns(first))[::-1]
    return f"{first}…{last}"


def fitting(text: str, width: int) -> str:
    """Return the beginning of a text that fits into some columns."""
    while columns(text) > width:
        text = text[: min(width, len(text) - 1)]
    return text
