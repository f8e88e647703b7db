"""Compare runs on the same test images: which is better, and is the difference significant?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diptych.errors import ConfigError
from diptych.evaluation.summary import NOT_DEFINED, compare_with_baseline
from diptych.experiments.tested_run import TestedRun, align, read_tested
from diptych.html import small_table
from diptych.metrics.classification import NAMES, find_baseline
from diptych.metrics.influence import Sample, of_counts
from diptych.metrics.intervals import LEVEL
from diptych.metrics.paired import DRAWS, Difference, Pair, compare_pairs
from diptych.screen import count_of
from diptych.storage.atomic import FORMAT_VERSION, write_json
from diptych.storage.run_dir import RunDir

# With fewer of them, the bootstrap's intervals are too narrow.
FEW_IMAGES, FEW_GROUPS = 50, 20


@dataclass(frozen=True)
class Comparison:
    """Runs compared in pairs on the same images.

    Attributes:
        sides: what each run answered on these images; a later one is compared with each earlier one.
        left_out: how many of the test images of each run are not shared by all.
        groups: how many groups the images are of, a single image counting as one; None without groups.
        pairs: their comparisons, by the places of the runs.
        draws: resampled test sets behind each interval.
    """

    sides: tuple[TestedRun, ...]
    left_out: tuple[int, ...]
    groups: int | None
    pairs: tuple[Pair, ...]
    draws: int

    @property
    def images(self) -> int:
        return len(self.sides[0].table)

    @property
    def worse(self) -> bool:
        """Whether the last run is worse than the first in accuracy, and not by chance."""
        pair = next(pair for pair in self.pairs if (pair.first, pair.second) == (0, len(self.sides) - 1))
        return pair.of("accuracy").verdict == "worse"

    def _repr_html_(self) -> str:
        names, rows = short_names(self), []
        for pair in self.pairs:
            first, second = names[pair.first], names[pair.second]
            for found in pair.differences:
                span = "" if found.interval is None else f" (95 % interval {found.interval[0]:+.4f} to {found.interval[1]:+.4f})"
                change = NOT_DEFINED.strip() if np.isnan(found.difference) else f"{found.difference:+.4f}{span}: {found.verdict}"
                rows.append((f"{NAMES[found.figure]} of {second} against {first}", change))
            rows.append(("", conclude(pair.of("accuracy"), first, second)))
        return small_table(f"{len(self.sides)} runs on the same {count_of(self.images, 'test image')}", rows)


def compare(runs: Sequence[RunDir], *, shared_only: bool = False, draws: int = DRAWS, seed: int = 0) -> Comparison:
    """Compare tested runs, each with every one before it.

    Args:
        runs: two or more runs, or folders of cross-validations, that `diptych evaluate` has tested.
        shared_only: where the test images differ, compare on those that all share.
        draws: resampled test sets.
        seed: of the draws.

    Raises:
        ConfigError: fewer than two runs, or one of them twice.
        CheckpointError: a run was not tested yet, or its predictions are damaged.
        DataError: as `align`.
    """
    if len({run.root.resolve() for run in runs}) != len(runs) or len(runs) < 2:
        named = ", ".join(str(run.root) for run in runs)
        raise ConfigError(f"{len(runs)} runs to compare: {named}; expected two or more, each once.")
    read = [read_tested(run) for run in runs]
    sides = align(read, shared_only)
    # The runs may know the groups of the images under other names.
    groups = next((side.groups for side in sides if side.groups is not None), None)
    order = [(first, second) for second in range(1, len(sides)) for first in range(second)]
    pairs = compare_pairs([[side.answers] for side in sides], order, sides[0].targets, groups, draws, seed)
    left_out = tuple(len(side.table) - len(sides[0].table) for side in read)
    count = None if groups is None else len(np.unique(groups))
    return Comparison(tuple(sides), left_out, count, tuple(pairs), draws)


def compare_runs(run: RunDir, other: RunDir, *, shared_only: bool = False) -> Comparison:
    """Compare a run with a reference run; `worse` tells whether it is significantly worse.

    Raises:
        ConfigError, CheckpointError, DataError: as `compare`.
    """
    return compare([other, run], shared_only=shared_only)


def describe(comparison: Comparison) -> str:
    """Format a comparison for the screen."""
    names = short_names(comparison)
    grouped = "" if comparison.groups is None else f" of {comparison.groups} groups, which are drawn whole"
    lines = [f"on the same {count_of(comparison.images, 'test image')}{grouped}"]
    for name, count in zip(names, comparison.left_out, strict=True):
        lines += [f"left out, since they are not shared by all: {count_of(count, 'test image')} of {name}"] if count else []
    if len({side.how for side in comparison.sides}) > 1:
        lines += [f"tested in its own way: {name}, {side.how}" for name, side in zip(names, comparison.sides, strict=True)]
    lines += [
        f"{name}: accuracy {text}" for name, side in zip(names, comparison.sides, strict=True) for text in baseline_of(side)
    ]
    few_groups = comparison.groups is not None and comparison.groups < FEW_GROUPS
    if few_groups or comparison.images < FEW_IMAGES:
        few = f"{comparison.groups} groups" if few_groups else f"{comparison.images} images"
        lines.append(f"Only {few}: too few for intervals that can be relied on.")
    for pair in comparison.pairs:
        first, second = names[pair.first], names[pair.second]
        lines += ["", f"{second} against {first}", *describe_differences(pair.differences, first, second)]
        if pair.mcnemar is not None:
            test, caution = pair.mcnemar, "" if comparison.groups is None else " (as if the images of a group were independent)"
            lines.append(
                f"McNemar: {test.only_second} images are right in {second} alone, {test.only_first} in {first} alone; exact "
                f"p {test.p_value:.3g}{caution}"
            )
        lines.append(conclude(pair.of("accuracy"), first, second))
    if len(comparison.pairs) > 1:
        lines += ["", f"p is corrected for the {len(comparison.pairs)} pairs (Holm); the intervals are not."]
    return "\n".join(lines)


def baseline_of(side: TestedRun) -> list[str]:
    """Describe whether the accuracy of a run is shown to be better than always answering the most frequent class."""
    answers = side.answers
    accuracy = float((answers.predicted == answers.targets).mean())
    interval = of_counts(answers, {"accuracy": accuracy}, Sample(answers.targets, side.groups))["accuracy"].interval
    baseline = find_baseline(answers.matrix, side.class_names, accuracy, interval)
    return compare_with_baseline(baseline, accuracy, len(side.class_names))


def short_names(comparison: Comparison) -> list[str]:
    """Return the names of the runs, with their folders where two have the same."""
    names = [side.name for side in comparison.sides]
    return names if len(set(names)) == len(names) else [str(side.run.root) for side in comparison.sides]


def describe_differences(differences: Sequence[Difference], first: str, second: str) -> list[str]:
    """Lay the differences out as a table."""
    width = max(10, len(first), len(second))
    lines = [f"{'':18} {first:>{width}} {second:>{width}}  difference   95 % interval             p"]
    for found in differences:
        known = not np.isnan(found.difference)
        change = f"{found.difference:+10.4f}" if known else NOT_DEFINED
        span = "none              " if found.interval is None else f"{found.interval[0]:+.4f} to {found.interval[1]:+.4f}"
        values = " ".join(
            f"{value:{width}.4f}" if not np.isnan(value) else f"{'-':>{width}}" for value in (found.first, found.second)
        )
        lines.append(f"{NAMES[found.figure]:18} {values}  {change}   {span}   {found.corrected:7.3g}   {found.verdict}")
    return lines


def conclude(accuracy: Difference, first: str, second: str) -> str:
    """Summarise the accuracies in words."""
    if accuracy.verdict == "no difference shown":
        return f"Not shown that {first} and {second} differ in accuracy: these images are too few, or there is no difference."
    return f"{second} is {accuracy.verdict} than {first} in accuracy."


def to_json(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as JSON values; a figure that is not defined is null."""
    runs = [
        {"name": side.name, "folder": str(side.run.root), "left_out": count}
        for side, count in zip(comparison.sides, comparison.left_out, strict=True)
    ]
    return {
        "format_version": FORMAT_VERSION,
        "level": LEVEL,
        "test_images": comparison.images,
        "groups": comparison.groups,
        "draws": comparison.draws,
        "runs": runs,
        "pairs": [pair_to_json(pair, [side.name for side in comparison.sides]) for pair in comparison.pairs],
    }


def pair_to_json(pair: Pair, names: Sequence[str]) -> dict[str, Any]:
    test = pair.mcnemar
    counts = None if test is None else {"only_first": test.only_first, "only_second": test.only_second, "p_value": test.p_value}
    differences = {found.figure: difference_to_json(found) for found in pair.differences}
    return {"first": names[pair.first], "second": names[pair.second], "mcnemar": counts, "differences": differences}


def difference_to_json(found: Difference) -> dict[str, Any]:
    numbers = {"first": found.first, "second": found.second, "difference": found.difference}
    return {
        **{name: None if np.isnan(value) else value for name, value in numbers.items()},
        "interval": None if found.interval is None else list(found.interval),
        "p_value": found.p_value,
        "corrected_p_value": found.corrected,
        "verdict": found.verdict,
    }


def write_comparison(comparison: Comparison, path: Path) -> None:
    """Write a comparison as JSON."""
    write_json(path, to_json(comparison))
