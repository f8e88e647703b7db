"""The metrics of subgroups: the test images that have one value in a column of the table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import fisher_exact

from diptych.errors import ConfigError
from diptych.metrics.classification import Metrics, baseline_to_json, compute_metrics, find_baseline
from diptych.metrics.paired import holm
from diptych.metrics.probabilities import predict_targets

SIGNIFICANT = 0.05
# Beyond it, a column names images rather than groups of them.
MOST_VALUES = 50
SHARED = ("class_names", "threshold", "baseline")


@dataclass(frozen=True)
class Subgroup:
    """The metrics of the images with one value in a column.

    Attributes:
        value: the value; "" where there is none.
        metrics: of these images alone.
        p_value: how probable so many wrong answers are if it were as good as the rest, corrected for the values of the column;
            None where there is no rest.
        worse: whether it is significantly worse than the rest.
    """

    value: str
    metrics: Metrics
    p_value: float | None
    worse: bool

    def turned(self) -> "Subgroup":
        """Return the same of two classes in the other order."""
        return replace(self, metrics=self.metrics.turned())

    def to_json(self) -> dict[str, Any]:
        """Return the values as metrics.json has them; what all subgroups share stands in the whole test."""
        content = {name: value for name, value in self.metrics.to_json().items() if name not in SHARED}
        return {"value": self.value, **content, "p_value": self.p_value, "worse": self.worse}

    @classmethod
    def from_json(cls, content: Mapping[str, Any], whole: Metrics) -> Self:
        """Read what `to_json` returned, of a subgroup of a whole test."""
        matrix, interval = np.array(content["confusion_matrix"]), content["test_accuracy_interval"]
        baseline = find_baseline(matrix, whole.class_names, content["test_accuracy"], interval)
        shared = {"class_names": whole.class_names, "threshold": whole.threshold, "baseline": baseline_to_json(baseline)}
        return cls(content["value"], Metrics.from_json({**content, **shared}), content["p_value"], content["worse"])


def compute_subgroups(
    values: NDArray[np.str_],
    targets: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    threshold: float,
    class_names: Sequence[str],
    *,
    groups: NDArray[np.int64] | None = None,
    seed: int = 0,
) -> tuple[Subgroup, ...]:
    """Compute the metrics of each subgroup, and mark those that are significantly worse than all other images.

    A subgroup is worse if its share of wrong answers is higher than that of the rest by Fisher's exact test, one-sided, at 5 %
    in all for the column (Holm, Scandinavian Journal of Statistics 1979).

    Args:
        values: (N,), the value of each image; images without one ("") are the subgroup "".
        targets: (N,), as `compute_metrics`.
        probabilities: (N, K), as `compute_metrics`.
        threshold: as `compute_metrics`.
        class_names: as `compute_metrics`.
        groups: (N,), as `compute_metrics`.
        seed: as `compute_metrics`.

    Returns:
        One for each value, in the order of its text.
    """
    right = predict_targets(probabilities, threshold) == targets
    names = sorted({str(value) for value in values})
    insides = [values == name for name in names]
    p_values = holm([worse_by_chance(right[inside], right[~inside]) for inside in insides])
    found = []
    for name, inside, p_value in zip(names, insides, p_values, strict=True):
        own = None if groups is None else groups[inside]
        metrics = compute_metrics(targets[inside], probabilities[inside], threshold, class_names, groups=own, seed=seed)
        alone = len(names) == 1
        found.append(Subgroup(name, metrics, None if alone else p_value, not alone and p_value < SIGNIFICANT))
    return tuple(found)


def check_column(table: pd.DataFrame, column: str) -> None:
    """Raise a ConfigError where a table of texts cannot be divided by a column: there is none, or it has over 50 values."""
    if column not in table:
        own = ("path", "image_name", "target", "sha256", "split")
        further = ", ".join(name for name in table.columns if name not in own) or "none"
        raise ConfigError(f"by {column}: the table has no such column; further columns: {further}.")
    count = table[column].nunique()
    if count > MOST_VALUES:
        raise ConfigError(f"by {column}: {count} different values; expected at most {MOST_VALUES} subgroups.")


def worse_by_chance(inside: NDArray[np.bool_], outside: NDArray[np.bool_]) -> float:
    """Return how probable it is that so many answers, or more, are wrong inside if the shares are the same."""
    counts = [[int((~inside).sum()), int(inside.sum())], [int((~outside).sum()), int(outside.sum())]]
    return float(fisher_exact(counts, alternative="greater").pvalue)
