"""A group of trainings that differ in one thing, each in processes of its own. It can be stopped and resumed."""

import dataclasses
import logging
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import safetensors

from diptych.data.dataset import LoadedData
from diptych.errors import CheckpointError, TrainingError
from diptych.machine.processes import last_words, run_child
from diptych.machine.signals import terminating
from diptych.screen import quoted
from diptych.settings.config import Config
from diptych.settings.sources import Given, read_toml, to_toml
from diptych.storage.atomic import reason_of, write_table, write_text
from diptych.storage.history import read_epochs
from diptych.storage.lock import only_one, wait_until_free
from diptych.storage.run_dir import RunDir, tidy
from diptych.storage.runs import check_name
from diptych.training.child_training import start_or_resume
from diptych.training.resolve import settle_group
from diptych.training.resume import is_finished, thin
from diptych.training.shared_folder import open_shared_folder

log = logging.getLogger(__name__)

COLUMNS = {"name": "str", "epochs": "int64", "seconds": "float64", "parameters": "int64"}


@dataclass(frozen=True)
class PlannedRun:
    """One training of a group: the name of its run, and its settings."""

    name: str
    config: Config


@dataclass(frozen=True)
class RunGroup:
    """A group of runs with one split.

    Attributes:
        folder: its folder: config.toml, split.csv and series.json say what all trainings have in common; done.csv has a row
            for each training that is tested; the runs lie in it.
        config: the settings that all trainings begin with, with whole paths, a settled recipe and the common split.
        data: the images.
    """

    folder: RunDir
    config: Config
    data: LoadedData

    def run_of(self, name: str) -> RunDir:
        """Return the run of one training."""
        return RunDir(self.folder.root / name)

    def done(self) -> pd.DataFrame:
        """Return `name`, `epochs`, `seconds` and `parameters` of the trainings that are tested, a row each."""
        path = self.folder.root / "done.csv"
        try:
            table = pd.read_csv(path, dtype={"name": str}) if path.is_file() else pd.DataFrame(columns=list(COLUMNS))
            return table[list(COLUMNS)].astype(COLUMNS)
        except (OSError, ValueError, KeyError) as error:
            raise CheckpointError(f"{path} {reason_of(error)}. Delete it; each training is then tested again.") from error


def open_run_group(runs: Path, name: str, given: Given, facts: Mapping[str, Any]) -> RunGroup:
    """Make the folder of a group of runs, or make sure that nothing has changed since it was made.

    Args:
        runs: the folder of the runs.
        name: of the group, and of its folder in there.
        given: what the user gave.
        facts: `kind`, a word for the group, and what else must not change; JSON values.

    Raises:
        ConfigError: the group was started with other settings, or the folder is something else.
        DataError: the images have changed, or something is wrong with them.
        CheckpointError: series.json is damaged.
    """
    check_name(name)
    folder = RunDir(runs / name)
    config, data = settle_group(given, runs, folder.config)
    open_shared_folder(folder, str(facts["kind"]), config, data, "series.json", facts)
    common = dataclasses.replace(config.data, split=folder.split.resolve())
    return RunGroup(folder, dataclasses.replace(config, data=common), data)


def train_run_group(group: RunGroup, planned_runs: Sequence[PlannedRun], again: Sequence[object]) -> None:
    """Train and test the runs that are not tested yet, one after the other.

    Of a training that is tested, the weights of the best epoch are kept, and the state to resume from is deleted: with
    all of it, a group of the full network would take some 10 GB.

    Args:
        group: where they lie.
        planned_runs: all trainings, in their order.
        again: the command that resumes the group, for the user.

    Raises:
        ConfigError: another process is at it.
        TrainingError: a training or test failed; what is done is kept.
        OSError: the disk is full; the same call resumes.
        KeyboardInterrupt: Ctrl-C, or SIGTERM as `Stopped`; the same call resumes.
    """
    with only_one(group.folder), terminating():
        tidy(group.folder)
        try:
            for place, planned in enumerate(planned_runs):
                if is_done(group, planned):
                    thin_tested(group.run_of(planned.name))  # Killed between the two.
                    continue
                log.info("%d of %d: %s", place + 1, len(planned_runs), planned.name)
                train_and_test(group, planned)
        except (KeyboardInterrupt, OSError):
            log.info("Stopped. Resume with: %s", shlex.join(map(str, again)))
            raise


def is_done(group: RunGroup, planned: PlannedRun) -> bool:
    """Tell whether a training is tested and its figures are there."""
    return planned.name in set(group.done()["name"]) and group.run_of(planned.name).predictions.is_file()


def train_and_test(group: RunGroup, planned: PlannedRun) -> None:
    """Train one, or what is left of it, test it, and write it down."""
    run, config = group.run_of(planned.name), planned.config
    settings, screen = run.root.with_name(f"{planned.name}.toml"), run.root.with_name(f"{planned.name}.log")
    write_text(settings, to_toml(config))
    wait_until_free(run)
    if not is_finished(run, config):
        call(start_or_resume(run, settings, config), screen)
    moved = read_toml(run.config, Config()).data.data != config.data.data
    place: list[str | Path] = ["--data", config.data.data] if moved else []
    call(["evaluate", run.root, "--maps", "0", "--backend", config.compute.backend, *place], screen)
    epochs = read_epochs(run)
    row = [planned.name, len(epochs), float(epochs["seconds"].sum()), count_parameters(run)]
    done = group.done()
    done = pd.concat([done[done["name"] != planned.name], pd.DataFrame([row], columns=list(COLUMNS))])
    write_table(group.folder.root / "done.csv", done)
    thin_tested(run)


def thin_tested(run: RunDir) -> None:
    thin(run, f"when it was tested. --weights {quoted(run.root)} begins a new run with its best epoch")


def call(arguments: Sequence[str | Path], screen: Path) -> None:
    """Run a command of Diptych in a process of its own, and raise its error as one of ours."""
    if code := run_child(arguments, screen):
        raise TrainingError(f"diptych {arguments[0]} failed for {screen.stem}: {last_words(screen, code)}; all is in {screen}.")


def count_parameters(run: RunDir) -> int:
    """Count the weights of a run's best checkpoint, moving statistics included; generator states are no weights."""
    total = 0
    with safetensors.safe_open(run.best, framework="numpy") as file:
        for name in file.keys():  # noqa: SIM118
            part = file.get_slice(name)
            total += math.prod(part.get_shape()) if part.get_dtype().startswith(("F", "BF")) else 0
    return total
