"""What trains."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from diptych.config import Config
from diptych.presets import Preset
from diptych.storage import RUNS

log = logging.getLogger("diptych")


@dataclass(frozen=True)
class Train:
    """Train the dual model on a data folder. A flag wins over the TOML file, the file over the preset."""

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

    def run(self) -> int:
        if self.folds is not None:
            from diptych.training.folds import train_folds

            run = train_folds(self.settings, self.runs, self.name, self.folds)
        else:
            from diptych.training.trainer import train

            run = train(self.settings, self.runs, self.name)
        log.info("Next: diptych evaluate %s", run.root)
        return 0
