"""What compares: runs with each other, parts of the network, numbers of images, and labels with what a network makes of them."""

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, Suppress, arg

from diptych.screen import command_line
from diptych.settings.config import Config, Recipe
from diptych.settings.presets import Preset
from diptych.settings.sources import read_toml
from diptych.storage.runs import RUNS

log = logging.getLogger("diptych")

Choices = Mapping[Recipe, Config] | None


@dataclass(frozen=True)
class Compare:
    """Compare tested runs on the same test images, each with those before it: which is better, and whether that means
    something."""

    runs_to_compare: Annotated[Positional[tuple[Path, ...]], arg(name="run…")]
    """Folders or names of two or more runs."""
    shared_only: bool = False
    """Where the runs were tested on different images, compare on those that all share."""
    output: Path | None = None
    """JSON file to write the comparison to."""
    runs: Path = RUNS
    """Folder that holds the runs."""

    def run(self) -> int:
        from diptych.experiments.compare import compare, describe, write_comparison
        from diptych.storage.runs import find_run

        found = [find_run(run, self.runs) for run in self.runs_to_compare]
        comparison = compare(found, shared_only=self.shared_only)
        log.info("%s", describe(comparison))
        if self.output is not None:
            write_comparison(comparison, self.output)
            log.info("\nwritten: %s", self.output)
        return 0


@dataclass(frozen=True)
class Ablate:
    """Train the network with and without each of its parts, and say whether each earns its place: ResNet50 alone, the custom
    branch alone, both without attention, with the published one, and with the default one. The same command goes on."""

    folder: Annotated[Positional[Path | None], arg(name="folder")] = None
    """The data folder or table, as --data."""
    settings: Annotated[Config, arg(name="")] = field(default_factory=Config)
    preset: Preset = "none"
    """Settings to begin with; quick: small images and few epochs, for a first look on a CPU."""
    config: Path | None = None
    """TOML file with settings to begin with; every run has one, config.toml."""
    runs: Path = RUNS
    """Folder that the ablation's folder is made in."""
    name: str = "ablation"
    """Name of the ablation."""
    seeds: int = 3
    """Trainings of each variant, with --seed and the numbers after it; more than before go on."""
    choices: Suppress[Choices] = None

    def run(self) -> int:
        from diptych.experiments.ablation import ablate, to_markdown

        settings, choices = on_folder(self.folder, self.settings, self.choices)
        result, folder = ablate(settings, self.runs, self.name, self.seeds, choices)
        written = ", ".join(str(folder.root / f"ablation.{kind}") for kind in ("md", "json"))
        log.info("\n%s\nwritten: %s", to_markdown(result, ["accuracy"]), written)
        return 0


@dataclass(frozen=True)
class Curve:
    """Train on parts of the training images, to see how the accuracy grows with their number and what more of them would
    bring. The same command goes on."""

    folder: Annotated[Positional[Path | None], arg(name="folder")] = None
    """The data folder or table, as --data."""
    settings: Annotated[Config, arg(name="")] = field(default_factory=Config)
    preset: Preset = "none"
    """Settings to begin with; quick: small images and few epochs, for a first look on a CPU."""
    config: Path | None = None
    """TOML file with settings to begin with; every run has one, config.toml."""
    runs: Path = RUNS
    """Folder that the curve's folder is made in."""
    name: str = "learning-curve"
    """Name of the curve."""
    seeds: int = 3
    """Trainings of each size, with --seed and the numbers after it; more than before go on."""
    shares: tuple[float, ...] = (0.0625, 0.125, 0.25, 0.5, 1.0)
    """Parts of the training images to train on; four or more for a look ahead."""
    equal_updates: bool = False
    """Train a share s for 1/s times the epochs, so that all sizes have the same number of updates; without it, all have the
    same epochs."""
    choices: Suppress[Choices] = None

    def run(self) -> int:
        from diptych.experiments.learning_curve import describe, learning_curve

        settings, choices = on_folder(self.folder, self.settings, self.choices)
        curve, folder = learning_curve(
            settings, self.runs, self.name, self.seeds, self.shares, equal_updates=self.equal_updates, choices=choices
        )
        written = ", ".join(str(folder.root / f"learning_curve.{kind}") for kind in ("csv", "json", "png"))
        log.info("\n%s\n\nwritten: %s", describe(curve), written)
        return 0


@dataclass(frozen=True)
class LabelErrors:
    """Name the images whose label a cross-validation (train --folds, then evaluate) doubts most: a table, a sheet to look at,
    and lines for fixes.csv."""

    of: Annotated[Positional[Path | None], arg(name="run")] = None
    """Folder or name of the cross-validation; without one, the newest run."""
    data: Path | None = None
    """The data folder, where it has moved since the training."""
    output: Path | None = None
    """Folder for label_errors.csv, label_errors.png and fixes.csv; without one, label-errors in the run."""
    runs: Path = RUNS
    """Folder that holds the runs."""

    def run(self) -> int:
        from diptych.experiments.label_errors import find_label_errors
        from diptych.storage.runs import find_run

        run = find_run(self.of, self.runs)
        found = find_label_errors(run, self.output or run.root / "label-errors", self.data)
        shown, likely = found.table.iloc[:20, :5], int(found.table["likely_wrong"].sum())
        log.info("%d of %d labels are doubtful, %d of them likely wrong", len(found.table), found.images, likely)
        if len(shown):
            log.info("%s", shown.to_string(index=False, float_format="{:.3f}".format))
        if likely and found.files[-1].name != "fixes.csv":
            log.info(
                "That is %.0f %% of all labels; well-known data sets have about 3 %% wrong. Most of these are rather "
                "the network's own mistakes on hard images: go by the order, look, and write down those that are wrong yourself. "
                "No fixes.csv is suggested.",
                100 * likely / found.images,
            )
        elif likely:
            again = command_line("train", "--config", run.config, "--fixes", found.files[-1])
            log.info("Look at each before you take its line over: %s", again)
            before = read_toml(run.config, Config()).data.fixes
            if before is not None:
                log.info("--fixes takes one table: add the earlier corrections of %s to it.", before)
        log.info("written: %s", ", ".join(map(str, found.files)))
        return 0


def on_folder(folder: Path | None, settings: Config, choices: Choices) -> tuple[Config, Choices]:
    """Set the data folder that was named without a flag."""
    if folder is None:
        return settings, choices

    def placed(config: Config) -> Config:
        return dataclasses.replace(config, data=dataclasses.replace(config.data, data=folder))

    return placed(settings), choices and {recipe: placed(config) for recipe, config in choices.items()}
