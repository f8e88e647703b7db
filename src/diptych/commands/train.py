"""What trains."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, Suppress, arg

from diptych.errors import ConfigError
from diptych.screen import command_line
from diptych.settings.config import Config, Recipe
from diptych.settings.presets import Preset
from diptych.storage.runs import RUNS

log = logging.getLogger("diptych")


@dataclass(frozen=True)
class Train:
    """Train the dual model on a data folder. A flag wins over the TOML file, the file over the preset, the preset over the
    recipe. A training that was stopped goes on by the same command."""

    settings: Annotated[Config, arg(name="")] = field(default_factory=Config)
    preset: Preset = "none"
    """Settings to begin with; quick: small images and few epochs, for a first look on a CPU."""
    config: Path | None = None
    """TOML file with settings to begin with; every run has one, config.toml."""
    runs: Path = RUNS
    """Folder that the run's folder is made in."""
    name: str = ""
    """Name of the run; without one, the date and time."""
    folds: int | None = None
    """Cross-validate: train this many runs, each tested on the part of the images that it has not seen."""
    verify_resume: bool = False
    """Instead of training: kill a short training on these images and this machine, let it go on, and compare every bit with
    one that was not killed."""
    choices: Suppress[Mapping[Recipe, Config] | None] = None

    def run(self) -> int:
        if self.verify_resume:
            from diptych.experiments.verify_resume import verify_resume

            verify_resume(self.settings, self.runs)
            return 0
        if self.folds is not None:
            from diptych.experiments.cross_validation import train_folds

            run = train_folds(self.settings, self.runs, self.name, self.folds, self.choices)
        else:
            from diptych.training.trainer import train

            run = train(self.settings, self.runs, self.name, self.choices)
        log.info("Next: %s", command_line("evaluate", run.root))
        return 0


@dataclass(frozen=True)
class Resume:
    """Go on with a training that was stopped, as if it had never been; or train a finished run for more epochs."""

    of: Annotated[Positional[Path | None], arg(name="run")] = None
    """The run's folder or name; without one, the newest."""
    epochs: int | None = None
    """Passes over the training images in all, more than it was begun with; without it, as it was begun."""
    mlflow: str | None = None
    """Log to MLflow there from now on (none: no longer); without it, as it was begun."""
    data: Path | None = None
    """The data folder or table, where it has moved since; its images must be the same."""
    runs: Path = RUNS
    """Folder that holds the runs."""

    def run(self) -> int:
        from diptych.storage.runs import find_run

        run = find_run(self.of, self.runs)
        if run.folds.is_file():
            from diptych.experiments.cross_validation import train_open

            if self.epochs is not None:
                raise ConfigError(
                    f"--epochs is {self.epochs}, but {run.root} is a cross-validation, whose folds are trained alike to be "
                    f"compared; leave it out, or begin a new one: diptych train --folds N --epochs {self.epochs}."
                )
            train_open(run, self.mlflow, self.data)
        else:
            from diptych.training.trainer import resume

            resume(run, self.epochs, self.mlflow, self.data)
        log.info("Next: %s", command_line("evaluate", run.root))
        return 0
