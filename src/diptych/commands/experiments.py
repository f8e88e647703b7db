"""Commands for several trainings: compare, ablate, learning-curve, label-errors."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from diptych.commands.options import TrainingOptions
from diptych.screen import command_line
from diptych.settings.config import Config
from diptych.settings.sources import read_toml
from diptych.storage.runs import RUNS

log = logging.getLogger("diptych")


@dataclass(frozen=True)
class Compare:
    """Compare tested runs on the same test images, each with those before it. The result says which is better and whether the
    difference is significant."""

    runs_to_compare: Annotated[Positional[tuple[Path, ...]], arg(name="run…")]
    """Folders or names of two or more runs."""
    shared_only: bool = False
    """Compare on the test images that all runs share, if they were tested on different ones."""
    output: Path | None = None
    """JSON file for the comparison."""
    runs: Path = RUNS
    """Folder that contains the runs."""

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
class Ablate(TrainingOptions):
    """Train the network with and without each of its parts, and compare. The variants: ResNet50 alone, the custom branch
    alone, both without attention, with the published attention, and with the default one. The same command continues."""

    runs: Path = RUNS
    """Folder in which the folder of the ablation is made."""
    name: str = "ablation"
    """Name of the ablation."""
    seeds: int = 3
    """Trainings of each variant, with --seed and the numbers after it. A higher number than before adds trainings."""

    def run(self) -> int:
        given = self.given()
        from diptych.experiments.ablation import ablate, to_markdown

        result, folder = ablate(given, self.runs, self.name, self.seeds)
        written = ", ".join(str(folder.root / f"ablation.{kind}") for kind in ("md", "json"))
        log.info("\n%s\nwritten: %s", to_markdown(result, ["accuracy"]), written)
        return 0


@dataclass(frozen=True)
class Curve(TrainingOptions):
    """Train on parts of the images to see what more images would bring. The same command continues."""

    runs: Path = RUNS
    """Folder in which the folder of the curve is made."""
    name: str = "learning-curve"
    """Name of the curve."""
    seeds: int = 3
    """Trainings of each size, with --seed and the numbers after it. A higher number than before adds trainings."""
    shares: tuple[float, ...] = (0.0625, 0.125, 0.25, 0.5, 1.0)
    """Shares of the training images to train on. Four or more are needed to extrapolate."""
    equal_updates: bool = False
    """Train all sizes for the same number of updates instead of epochs. A share s is then trained for 1/s times the epochs."""

    def run(self) -> int:
        given = self.given()
        from diptych.experiments.learning_curve import describe, learning_curve

        curve, folder = learning_curve(given, self.runs, self.name, self.seeds, self.shares, equal_updates=self.equal_updates)
        written = ", ".join(str(folder.root / f"learning_curve.{kind}") for kind in ("csv", "json", "png"))
        log.info("\n%s\n\nwritten: %s", describe(curve), written)
        return 0


@dataclass(frozen=True)
class LabelErrors:
    """List the labels that a cross-validation doubts most. Needs `diptych train --folds` and `diptych evaluate`. It writes a
    table, a sheet of the images, and lines for fixes.csv."""

    of: Annotated[Positional[Path | None], arg(name="run")] = None
    """Folder or name of the cross-validation. Default: the newest run."""
    data: Path | None = None
    """Data folder, if it has moved since the training."""
    output: Path | None = None
    """Folder for label_errors.csv, label_errors.png and fixes.csv. Default: label-errors in the run."""
    runs: Path = RUNS
    """Folder that contains the runs."""

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
