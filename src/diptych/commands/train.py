"""The commands train and resume."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from diptych.commands.options import TrainingOptions
from diptych.errors import ConfigError
from diptych.screen import command_line
from diptych.storage.runs import RUNS

log = logging.getLogger("diptych")


@dataclass(frozen=True)
class Train(TrainingOptions):
    """Train the network on a data folder. A flag wins over the TOML file, the file over the preset, the preset over the
    recipe. The same command resumes a training that was stopped."""

    runs: Path = RUNS
    """Folder in which the folder of the run is made."""
    name: str = ""
    """Name of the run. Default: date and time."""
    folds: int | None = None
    """Cross-validate: train N runs, each tested on a part of its own."""
    verify_resume: bool = False
    """Check that a training resumes bit for bit, instead of training. It kills a short training on these images, resumes it,
    and compares every bit with one that was not killed."""

    def run(self) -> int:
        given = self.given()
        if self.verify_resume:
            from diptych.experiments.verify_resume import verify_resume

            verify_resume(given.resolve(), self.runs)
            return 0
        if self.folds is not None:
            from diptych.experiments.cross_validation import train_folds

            run = train_folds(given, self.runs, self.name, self.folds)
        else:
            from diptych.training.trainer import train

            run = train(given, self.runs, self.name)
        log.info("Next: %s", command_line("evaluate", run.root))
        return 0


@dataclass(frozen=True)
class Resume:
    """Resume a training that was stopped, or train a finished run for more epochs."""

    of: Annotated[Positional[Path | None], arg(name="run")] = None
    """Folder or name of the run. Default: the newest."""
    epochs: int | None = None
    """Passes over the training images in all, more than at the start. Default: as at the start."""
    mlflow: str | None = None
    """Log to this MLflow database or server from now on (none: stop logging). Default: as at the start."""
    data: Path | None = None
    """Data folder or table, if it has moved. Its images must be the same."""
    runs: Path = RUNS
    """Folder that contains the runs."""

    def run(self) -> int:
        from diptych.storage.runs import find_run

        run = find_run(self.of, self.runs)
        if run.folds.is_file():
            from diptych.experiments.cross_validation import train_open

            if self.epochs is not None:
                raise ConfigError(
                    f"--epochs is {self.epochs}, but {run.root} is a cross-validation, whose folds are trained alike to be "
                    f"compared; leave it out, or start a new one: diptych train --folds N --epochs {self.epochs}."
                )
            train_open(run, self.mlflow, self.data)
        else:
            from diptych.training.trainer import resume

            resume(run, self.epochs, self.mlflow, self.data)
        log.info("Next: %s", command_line("evaluate", run.root))
        return 0
