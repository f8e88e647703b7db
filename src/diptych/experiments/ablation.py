"""Ablation: train the network without each of its parts, under the same seeds and budget, and compare."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diptych.errors import ConfigError
from diptych.experiments.compare import difference_to_json
from diptych.experiments.run_group import PlannedRun, RunGroup, open_run_group, train_run_group
from diptych.experiments.tested_run import TestedRun, align, read_tested
from diptych.metrics.classification import NAMES
from diptych.metrics.intervals import standard_deviation
from diptych.metrics.paired import DRAWS, FIGURES, Difference, Pair, compare_pairs
from diptych.metrics.weighted import Figures
from diptych.settings.config import Config, ModelConfig
from diptych.settings.sources import Given, override
from diptych.storage.atomic import FORMAT_VERSION, write_json, write_text
from diptych.storage.run_dir import RunDir

log = logging.getLogger(__name__)

# In the order in which parts are added.
VARIANTS: Mapping[str, Mapping[str, str]] = {
    "resnet50": {"branches": "resnet50", "attention": "none"},
    "convnet": {"branches": "convnet", "attention": "none"},
    "both": {"branches": "both", "attention": "none"},
    "published-attention": {"branches": "both", "attention": "published"},
    "default": {"branches": "both", "attention": "identity"},
}
DEFAULT = "default"
# What is asked of each part: without it, with it.
QUESTIONS: Mapping[str, tuple[str, str]] = {
    "the custom branch beside ResNet50": ("resnet50", "both"),
    "ResNet50 beside the custom branch": ("convnet", "both"),
    "attention that starts as the identity": ("both", "default"),
    "attention as published": ("both", "published-attention"),
}
SHOWN = ("accuracy", "balanced_accuracy", "f1", "roc_auc", "loss")
HOW = (
    "Each figure is the mean over the seeds. A difference is that of two such means on the same test images; its 95 % interval "
    "is a bootstrap of these images ({draws} draws, stratified by class{grouped}, the same draws for all variants). So it tells "
    "how the very networks that were trained would differ on other images; how much another seed changes is the standard "
    "deviation beside each mean. p is twice the smaller share of the draws on either side of 0 (of the accuracy, with one seed "
    "and without groups, that of McNemar's test), corrected for the number of comparisons (Holm). Better or worse is said only "
    "where interval and p both exclude that there is no difference."
)


@dataclass(frozen=True)
class Ablation:
    """The result of an ablation.

    Attributes:
        seeds: of the trainings of each variant.
        images: in the test.
        groups: of the test images, or None.
        figures: of each variant and figure, float64 (seeds,).
        costs: of each variant, `seconds` of its mean training and `parameters`.
        to_default: of each other variant, how it differs from the default one.
        parts: of each question, how the variant with the part differs from the one without it.
    """

    seeds: tuple[int, ...]
    images: int
    groups: int | None
    figures: Mapping[str, Figures]
    costs: pd.DataFrame
    to_default: Mapping[str, Pair]
    parts: Mapping[str, Pair]


def ablate(given: Given, runs: Path, name: str = "ablation", seeds: int = 3) -> tuple[Ablation, RunDir]:
    """Train and test five variants of the network with the same split, seeds and budget; or resume that.

    Args:
        given: what the user gave; the branches and the attention are what is varied.
        runs: the folder in which the ablation's folder is made.
        name: of the ablation.
        seeds: trainings of each variant; their seeds are that of the settings and those after it. A higher number than before
            adds trainings.

    Returns:
        What came of it, and the folder, with ablation.json and ablation.md in it.

    Raises:
        ConfigError: a setting does not fit, or it was started with other settings.
        DiptychError, OSError, KeyboardInterrupt: as `open_run_group` and `train_run_group`.
    """
    check_settings(given.resolve().model, seeds)
    group = open_run_group(runs, name, given, {"kind": "ablation"})
    first = group.config.training.seed
    numbers = tuple(range(first, first + seeds))
    planned_runs = {(variant, seed): plan(group.config, variant, seed) for seed in numbers for variant in VARIANTS}
    again = ["diptych", "ablate", "--config", group.folder.config, "--runs", runs, "--name", name, "--seeds", seeds]
    train_run_group(group, list(planned_runs.values()), again)
    result = gather(group, {key: planned.name for key, planned in planned_runs.items()}, numbers)
    write_json(group.folder.root / "ablation.json", to_json(result))
    write_text(group.folder.root / "ablation.md", to_markdown(result))
    return result, group.folder


def check_settings(own: ModelConfig, seeds: int) -> None:
    plain = ModelConfig()
    if seeds < 1:
        raise ConfigError(f"--seeds is {seeds}; expected at least 1, better 3 or more.")
    if own.branches != plain.branches or own.attention != plain.attention:
        raise ConfigError("an ablation varies --branches and --attention itself; leave them out.")
    if own.weights not in ("imagenet", "none", "auto") and not own.weights.endswith(".h5"):
        raise ConfigError(
            f"--weights {own.weights}: the weights of a run do not fit the other variants; expected imagenet, none, auto, or an "
            "official .h5 file."
        )


def plan(config: Config, variant: str, seed: int) -> PlannedRun:
    """Return the training of a variant under a seed. The custom branch alone has no pretrained weights to start from."""
    keys = {**VARIANTS[variant], **({"weights": "none"} if variant == "convnet" else {})}
    return PlannedRun(f"{variant}-{seed}", override(config, {"model": keys, "training": {"seed": seed}}, "ablate"))


def gather(group: RunGroup, names: Mapping[tuple[str, int], str], seeds: tuple[int, ...], draws: int = DRAWS) -> Ablation:
    """Read the answers of all trainings and compare the variants."""
    read: list[TestedRun] = [read_tested(group.run_of(name)) for name in names.values()]
    sides = dict(zip(names, align(read), strict=True))
    first = next(iter(sides.values()))
    order = list(VARIANTS)
    answers = [[sides[variant, seed].answers for seed in seeds] for variant in order]
    to_default = [(order.index(DEFAULT), place) for place, variant in enumerate(order) if variant != DEFAULT]
    asked = [(order.index(without), order.index(added)) for without, added in QUESTIONS.values()]
    compared, parts = (compare_pairs(answers, pairs, first.targets, first.groups, draws) for pairs in (to_default, asked))
    one = np.ones((1, len(first.targets)))
    figures = {
        variant: {name: np.array([found.figures(one)[name][0] for found in side]) for name in FIGURES}
        for variant, side in zip(order, answers, strict=True)
    }
    done = group.done().set_index("name")
    costs = {
        variant: {
            "seconds": float(np.mean([done["seconds"][names[variant, seed]] for seed in seeds])),
            "parameters": int(done["parameters"][names[variant, seeds[0]]]),
        }
        for variant in order
    }
    return Ablation(
        seeds,
        len(first.targets),
        None if first.groups is None else len(np.unique(first.groups)),
        figures,
        pd.DataFrame.from_dict(costs, orient="index"),
        {order[pair.second]: pair for pair in compared},
        dict(zip(QUESTIONS, parts, strict=True)),
    )


def to_markdown(result: Ablation, shown: Sequence[str] = SHOWN) -> str:
    """Lay an ablation out as Markdown, with some of FIGURES; with one or two it can be read on a screen too."""
    grouped = "" if result.groups is None else f", whole groups of {result.groups}"
    seeds = ", ".join(map(str, result.seeds))
    lines = [f"{result.images} test images, {len(result.seeds)} trainings of each variant (seeds {seeds}).", ""]
    titles = ["variant", *(NAMES[name] for name in shown), "accuracy against the default", "seconds", "parameters"]
    rows = []
    for variant, figures in result.figures.items():
        cost = result.costs.loc[variant]
        against = "" if variant == DEFAULT else describe_difference(result.to_default[variant].of("accuracy"))
        values = [describe_figure(figures[name]) for name in shown]
        rows.append([variant, *values, against, f"{cost['seconds']:.0f}", f"{cost['parameters']:,.0f}"])
    lines += [*table_of(titles, rows), ""]
    questions = [[part, *(describe_difference(pair.of(name)) for name in shown)] for part, pair in result.parts.items()]
    lines += table_of(["effect of a part", *(NAMES[name] for name in shown)], questions)
    return "\n".join([*lines, "", HOW.format(draws=f"{DRAWS:,}", grouped=grouped), ""])


def table_of(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lay rows out as a Markdown table whose columns are aligned."""
    widths = [max(len(row[place]) for row in (titles, *rows)) for place in range(len(titles))]
    cells = [titles, ["-" * width for width in widths], *rows]
    return ["| " + " | ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)) + " |" for row in cells]


def describe_figure(values: NDArray[np.float64]) -> str:
    return f"{values.mean():.4f}" + (f" ± {standard_deviation(values):.4f}" if len(values) > 1 else "")


def describe_difference(found: Difference) -> str:
    span = "" if found.interval is None else f" ({found.interval[0]:+.4f} to {found.interval[1]:+.4f})"
    return f"{found.difference:+.4f}{span} {found.verdict}"


def to_json(result: Ablation) -> dict[str, Any]:
    """Return an ablation as JSON values; a figure that is not defined is null."""

    def pairs_to_json(pairs: Mapping[str, Pair]) -> dict[str, Any]:
        return {name: {found.figure: difference_to_json(found) for found in pair.differences} for name, pair in pairs.items()}

    def number(value: float) -> float | None:
        return None if np.isnan(value) else float(value)

    variants = {
        variant: {
            **{
                name: {"mean": number(values.mean()), "standard_deviation": number(standard_deviation(values))}
                for name, values in each.items()
            },
            "seconds": float(result.costs["seconds"][variant]),
            "parameters": int(result.costs["parameters"][variant]),
        }
        for variant, each in result.figures.items()
    }
    facts = {"seeds": list(result.seeds), "test_images": result.images, "groups": result.groups, "draws": DRAWS}
    compared = {"against_default": pairs_to_json(result.to_default), "parts": pairs_to_json(result.parts)}
    return {"format_version": FORMAT_VERSION, **facts, "variants": variants, **compared}
