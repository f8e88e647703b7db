"""The figures of subgroups: the test images that have one value in a column of the table."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import fisher_exact

from diptych.errors import ConfigError
from diptych.metrics.classification import compute_metrics
from diptych.metrics.paired import holm
from diptych.metrics.probabilities import predict_targets

SIGNIFICANT = 0.05
# Beyond it, a column names images rather than groups of them.
MOST_VALUES = 50


def compute_subgroups(
    table: pd.DataFrame,
    column: str,
    probabilities: NDArray[np.float64],
    threshold: float,
    class_names: Sequence[str],
    **options: Any,
) -> list[dict[str, Any]]:
    """Compute the figures of each subgroup, and mark those that are significantly worse than all other images.

    A subgroup is worse if its share of wrong answers is higher than that of the rest by Fisher's exact test, one-sided, at 5 %
    in all for the column (Holm, Scandinavian Journal of Statistics 1979).

    Args:
        table: N rows with `target` and the column, as text; images without a value ("") are the subgroup "".
        column: by which the images are divided.
        probabilities: as `compute_metrics`.
        threshold: as `compute_metrics`.
        class_names: as `compute_metrics`.
        options: further ones of `compute_metrics`; `groups`, (N,), are those of all images.

    Returns:
        A row for each value, in the order of its text: `value`, the figures of `compute_metrics`, `p_value` (corrected; None
        where there is no rest) and `worse`.

    Raises:
        ConfigError: there is no such column, or it has more than 50 values.
    """
    check_column(table, column)
    values = table[column]
    names = sorted(values.unique())
    targets = table["target"].to_numpy(np.int64)
    right = predict_targets(probabilities, threshold) == targets
    groups, rows, p_values = options.pop("groups", None), [], []
    for name in names:
        inside = (values == name).to_numpy()
        own_groups = None if groups is None else groups[inside]
        figures = compute_metrics(targets[inside], probabilities[inside], threshold, class_names, groups=own_groups, **options)
        for same in ("class_names", "threshold", "baseline"):
            figures.pop(same, None)
        rows.append({"value": name, **figures})
        p_values.append(worse_by_chance(right[inside], right[~inside]))
    for row, p_value in zip(rows, holm(p_values), strict=True):
        row |= {"p_value": p_value if len(rows) > 1 else None, "worse": len(rows) > 1 and p_value < SIGNIFICANT}
    return rows


def check_column(table: pd.DataFrame, column: str) -> None:
    """Raise a ConfigError where a table of texts cannot be divided by a column: there is none, or it has over 50 values."""
    if column not in table:
        own = ("path", "image_name", "target", "sha256", "split")
        further = ", ".join(name for name in table.columns if name not in own) or "none"
        raise ConfigError(f"--by {column}: the table has no such column; further columns: {further}.")
    count = table[column].nunique()
    if count > MOST_VALUES:
        raise ConfigError(f"--by {column}: {count} different values; expected at most {MOST_VALUES} subgroups.")


def worse_by_chance(inside: NDArray[np.bool_], outside: NDArray[np.bool_]) -> float:
    """Return how probable it is that so many answers, or more, are wrong inside if the shares are the same."""
    counts = [[int((~inside).sum()), int(inside.sum())], [int((~outside).sum()), int(outside.sum())]]
    return float(fisher_exact(counts, alternative="greater").pvalue)
