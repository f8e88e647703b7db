"""Search over the settings that matter most. It can be stopped at any moment and resumed."""

import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from diptych.errors import ConfigError, TrainingError
from diptych.machine.host_process import changed_levels
from diptych.machine.processes import Child, last_words, raise_if_interrupted
from diptych.machine.signals import terminating
from diptych.screen import command_line
from diptych.settings.config import Config
from diptych.settings.sources import Given, to_toml
from diptych.storage.atomic import write_text
from diptych.storage.lock import POLL_SECONDS, only_one, wait_until_free
from diptych.storage.run_dir import RunDir, tidy
from diptych.storage.runs import check_name, is_run
from diptych.training.child_training import start_or_resume
from diptych.training.resume import is_finished, thin
from diptych.tuning.optuna_study import Outcome, Search, next_trial, open_search, overview, report, tell, values_of
from diptych.tuning.search_space import open_folder, with_values

log = logging.getLogger(__name__)

# As many failures in a row are a fault of the set-up, not of a trial.
MAX_FAILURES = 3
SHOWN_TRIALS = 10


class TimeIsUp(Exception):  # noqa: N818
    """The hours that the search was given are over."""


@dataclass(frozen=True)
class Budget:
    """How much a search may take.

    Raises:
        ConfigError: it is less than nothing.
    """

    trials: int = 20
    """Trainings in all, those of before included; pruned and failed ones count."""
    hours: float = 0.0
    """Hours after which the search stops, in the middle of a trial too; 0 for no limit."""
    unpruned_trials: int = 4
    """How many must have finished before one is ended early, for losses above their median; that of fewer rests on chance."""

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise ConfigError(f"--trials is {self.trials}; expected at least 1.")
        if not self.hours >= 0:
            raise ConfigError(f"--hours is {self.hours:g}; expected more than 0, or 0 for no limit.")


def tune(
    given: Given,
    runs: Path,
    name: str = "tune",
    budget: Budget | None = None,
    learning_rates: tuple[float, float] | None = None,
) -> Path | None:
    """Search for better settings, or resume the search of that name.

    The lowest validation loss that a trial reaches is what counts. The accuracy would move in steps of one image, with many
    ties; the loss also sees how sure the network is, and it is what plateaus and early stopping go by. The test part is never
    looked at. The first trial is the user's own settings.

    Args:
        given: what the user gave; what is not varied is the same in each trial, the split and the seed too.
        runs: the folder in which the search's folder is made.
        name: of the search.
        budget: how much it may take; None for 20 trials.
        learning_rates: the lowest and the highest; None for a tenth of the settings' own to ten times it.

    Returns:
        best.toml; None where no trial has finished yet.

    Raises:
        ConfigError: the search of that name was started with other settings, or another process runs it.
        DataError: something is wrong with the data, or the images have changed.
        TrainingError: three trials in a row failed, or none finished.
        OSError: the disk is full; the same call resumes.
        KeyboardInterrupt: Ctrl-C, or SIGTERM as `Stopped`; the same call resumes.
    """
    budget = budget or Budget()
    trials = budget.trials
    check_name(name)
    folder = RunDir(runs / name)
    config, space = open_folder(folder, given, learning_rates)
    until = time.monotonic() + budget.hours * 3600 if budget.hours else None
    again = ["--config", folder.config, "--runs", runs, "--name", name, "--trials", trials]
    again += ["--learning-rates", *learning_rates] if learning_rates else []
    # Optuna would say what we say already.
    with only_one(folder), terminating(), changed_levels({"optuna": logging.WARNING}):
        tidy(folder)
        search = open_search(folder.root, config, space, budget.unpruned_trials)
        try:
            run_trials(search, trials, until)
        except (KeyboardInterrupt, OSError, TimeIsUp) as stopped:
            what = "The time is up" if isinstance(stopped, TimeIsUp) else "Stopped"
            log.info("%s. Resume with: %s", what, command_line("tune", *again))
            if not isinstance(stopped, TimeIsUp):
                raise
        log_overview(search)
    if search.best is None and len(search.ended) >= trials:
        raise TrainingError(f"none of the {trials} trials has finished; {search.root / 'trials.csv'} says why.")
    return search.root / "best.toml" if search.best else None


def run_trials(search: Search, trials: int, until: float | None) -> None:
    """Run the remaining trials.

    Args:
        search: the search.
        trials: how many in all.
        until: when to stop, on the clock of time.monotonic; None for never.

    Raises:
        TimeIsUp: it is later than `until`.
        TrainingError: several in a row failed.
    """
    failures = 0
    while (trial := next_trial(search, trials)) is not None:
        place, values = f"trial {trial.number + 1} of {trials}", values_of(search, trial)
        log.info("%s: %s", place, ", ".join(f"{key} {value}" for key, value in values.items()))
        run, config = search.run_of(trial.number), with_values(search.config, search.space, values)
        code = train_trial(run, config, partial(report, search, trial), until)
        outcome, why = outcome_of(run, code)
        outcome, words = tell(search, trial, outcome, why)
        best = search.best
        standing = f"the best is trial {best.number + 1}: {best.value:.4f}" if best else "none has finished yet"
        log.info("%s %s %s; %s", place, outcome, words, standing)
        drop_checkpoints(search)
        failures = failures + 1 if outcome == "failed" else 0
        if failures == MAX_FAILURES:
            raise TrainingError(f"{failures} trials in a row failed, the last one with: {why}")


def train_trial(run: RunDir, config: Config, report: Callable[[], bool], until: float | None) -> int | None:
    """Train a trial, or what is left of it, in a process of its own.

    Args:
        run: its run.
        config: its settings.
        report: tells the epochs so far, and answers whether it shall end early.
        until: when to stop, on the clock of time.monotonic; None for never.

    Returns:
        The exit code of the process; None where it was ended early.

    Raises:
        TimeIsUp: it is later than `until`; the trial is saved, and unfinished.
    """
    settings, screen = run.root.with_suffix(".toml"), run.root.with_suffix(".log")
    write_text(settings, to_toml(config))
    wait_until_free(run)
    if is_finished(run, config):
        report()
        return 0
    if report():
        return None
    with Child(start_or_resume(run, settings, config), screen) as child:
        while (code := child.wait(POLL_SECONDS)) is None:
            if report():
                return None
            if until is not None and time.monotonic() > until:
                raise TimeIsUp
    report()
    return code


def outcome_of(run: RunDir, code: int | None) -> tuple[Outcome, str]:
    """Return the outcome of a trial, and why.

    Raises:
        OSError: the disk is full; the trial is unfinished.
        KeyboardInterrupt: the training was ended from outside; the trial is unfinished.
    """
    screen = run.root.with_suffix(".log")
    raise_if_interrupted(code, screen)
    if code is None:
        return "pruned", "above the median of the others"
    return ("failed", last_words(screen, code)) if code else ("finished", "")


def drop_checkpoints(search: Search) -> None:
    """Delete the weights of all trials that have ended but the best: they are nearly all of a run's size."""
    best = search.best
    for number in search.ended:
        if best is None or number != best.number:
            run = search.run_of(number)
            if is_run(run.root):
                thin(run, "after its trial, which is not the best one")
                shutil.rmtree(run.last.parent, ignore_errors=True)


def log_overview(search: Search) -> None:
    """Log the best trials, and where all are listed."""
    table, best = overview(search), search.best
    if table.empty:
        return
    shown = table.drop(columns=["message", "seconds", "epoch"]).head(SHOWN_TRIALS)
    log.info("%s", shown.to_string(index=False, na_rep="", float_format=lambda value: f"{value:.4g}"))
    log.info("all of them: %s", search.root / "trials.csv")
    if best is not None:
        log.info(
            "best: trial %d, %s; its settings: %s", best.number + 1, search.run_of(best.number).root, search.root / "best.toml"
        )
        log.info("Its validation loss is the lowest of several and so a little too good; the test part was not looked at.")
