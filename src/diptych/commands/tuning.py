"""Commands that search settings: find-lr, tune."""

import logging
from dataclasses import dataclass
from pathlib import Path

from diptych.commands.options import TrainingOptions
from diptych.errors import TrainingError
from diptych.screen import command_line
from diptych.storage.runs import RUNS

log = logging.getLogger("diptych")


@dataclass(frozen=True)
class FindLr(TrainingOptions):
    """Find a learning rate by a range test. The rate grows from step to step until the loss diverges. A flag wins over the
    TOML file, the file over the preset. No run is made or changed."""

    runs: Path = RUNS
    """Folder of the runs, if --weights is the name of one."""
    output: Path = Path("find-lr")
    """Folder for find_lr.csv, find_lr.json and find_lr.png."""
    lowest: float = 1e-7
    """Learning rate of the first step."""
    highest: float = 1.0
    """Learning rate of the last step. The test ends earlier if the loss diverges."""
    steps: int = 100
    """Optimizer steps. More of them make the curve less noisy."""

    def run(self) -> int:
        given = self.given()
        from diptych.evaluation.plots import plot_range_test
        from diptych.tuning.find_lr import find_lr
        from diptych.tuning.lr_range import RateRange

        rates = RateRange(self.lowest, self.highest, self.steps)
        result = find_lr(given, self.output, rates, self.runs)
        plot_range_test(self.output / "find_lr.png", result.table, result.suggestion)
        log.info("written: %s", ", ".join(str(self.output / f"find_lr.{kind}") for kind in ("csv", "json", "png")))
        if result.suggestion is None:
            raise TrainingError(result.verdict)
        log.info("%s", result.verdict)
        return 0


@dataclass(frozen=True)
class Tune(TrainingOptions):
    """Search for better settings: learning rate, weight decay and a few more. The same command continues a search."""

    runs: Path = RUNS
    """Folder in which the folder of the search is made."""
    name: str = "tune"
    """Name of the search."""
    trials: int = 20
    """Trainings in all, including those that are pruned."""
    hours: float = 0.0
    """Hours after which the search stops (0 = no limit). The same command continues it."""
    learning_rates: tuple[float, float] | None = None
    """Lowest and highest learning rate. Default: a tenth of --learning-rate and ten times it."""

    def run(self) -> int:
        given = self.given()
        from diptych.tuning.tune import Budget, tune

        best = tune(given, self.runs, self.name, Budget(self.trials, self.hours), self.learning_rates)
        if best is not None:
            log.info("Next: %s", command_line("train", "--config", best))
        return 0
