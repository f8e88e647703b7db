"""The positive class of two: figures are computed with it as class 1, and reported with both in their own order."""

from collections.abc import Mapping
from typing import Any


def turned(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of a test of two classes with class 0 as class 1, and 1 as 0; twice, they are as they were.

    Recall, precision and the other figures, the threshold and the counts at each threshold are about the positive class,
    whatever its number; names, confusion matrices and the classes of the curves stand in the order of the numbers.
    """
    found = {**figures, "class_names": figures["class_names"][::-1], "confusion_matrix": turned_matrix(figures)}
    curves = figures["curves"]
    for name in ("roc", "precision_recall"):
        curves = {**curves, name: [{**curve, "class": 1 - curve["class"]} for curve in curves[name]]}
    subgroups = {
        column: [{**row, "confusion_matrix": turned_matrix(row)} for row in rows] for column, rows in figures["subgroups"].items()
    }
    return {**found, "curves": curves, "subgroups": subgroups}


def turned_matrix(figures: Mapping[str, Any]) -> list[list[int]]:
    return [row[::-1] for row in figures["confusion_matrix"][::-1]]


def positive_last(figures: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return figures whose second class of two is the positive one, as a page shows them."""
    return turned(figures) if "positive" in figures and figures["positive"] != figures["class_names"][1] else figures
