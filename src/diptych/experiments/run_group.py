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
from diptych.errors import CheckpointError, ConfigError, TrainingError
from diptych.machine.processes import last_words, run_child
from diptych.machine.signals import terminating
from diptych.screen import quoted
from diptych.settings.config import Config
from diptych.settings.sources import Given, read_toml, to_toml
from diptych.storage.atomic import FORMAT_VERSION, read_json, reason_of, write_json, write_table, write_text
from diptych.storage.history import read_epochs
from diptych.storage.lock import only_one, wait_until_free
from diptych.storage.run_dir import RunDir, tidy
from diptych.storage.runs import check_name, creating_run
from diptych.training.resolve import settle_group
from diptych.training.resume import (
    changes_of_settings,
    is_finished,
    moved_to,
    refuse_changes,
    refuse_changes_of_data,
    thin,
    write_changes,
)
from diptych.tuning.child_training import start_or_resume

log = logging.getLogger(__name__)

COLUMNS = {"name": "str", "epochs": "int64", "seconds": "float64", "parameters": "int64"}


@dataclass(frozen=True)
class Member:
    """One training of a series: the name of its run, and its settings."""

    name: str
    config: Config


@dataclass(frozen=True)
class Series:
    """A series.

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


def open_series(runs: Path, name: str, given: Given, facts: Mapping[str, Any]) -> Series:
    """Make the folder of a series, or make sure that nothing has changed since it was made.

    Args:
        runs: the folder of the runs.
        name: of the series, and of its folder in there.
        given: what the user gave.
        facts: `kind`, a word for the series, and what else must not change; JSON values.

    Raises:
        ConfigError: the series was started with other settings, or the folder is something else.
        DataError: the images have changed, or something is wrong with them.
        CheckpointError: series.json is damaged.
    """
    check_name(name)
    folder = RunDir(runs / name)
    config, data = settle_group(given, runs, folder.config)
    about = folder.root / "series.json"
    if about.is_file():
        refuse_other_series(folder, config, facts, data)
    elif folder.root.exists():
        raise ConfigError(f"{folder.root} exists already and is no {facts['kind']}; choose another --name.")
    else:
        with creating_run(runs, name) as (aside, _):
            write_table(aside.split, data.manifest.table)
            write_text(aside.config, to_toml(config))
            write_json(aside.root / about.name, {"format_version": FORMAT_VERSION, **facts})
    common = dataclasses.replace(config.data, split=folder.split.resolve())
    return Series(folder, dataclasses.replace(config, data=common), data)


def refuse_other_series(folder: RunDir, config: Config, facts: Mapping[str, Any], data: LoadedData) -> None:
    before = read_facts(folder.root / "series.json")
    saved = moved_to(read_toml(folder.config, Config()), config)
    changes = changes_of_settings(saved, config, may_be_longer=False)
    changes += [f"{key} is {value}, was {before.get(key)}" for key, value in facts.items() if before.get(key) != value]
    refuse_changes(str(folder.root), changes, f"(--config {quoted(folder.config)})")
    refuse_changes_of_data(folder, data, str(facts["kind"]))
    with only_one(folder):
        write_changes(folder, saved)


def read_facts(path: Path) -> dict[str, Any]:
    return read_json(path, lambda content: content, "Start a new one with another --name.")


def run_series(series: Series, members: Sequence[Member], again: Sequence[object]) -> None:
    """Train and test the members that are not yet, one after the other.

    Of a training that is tested, the weights of the best epoch are kept, and the state to resume from is deleted: with
    all of it, a series of the full network would take some 10 GB.

    Args:
        series: where they lie.
        members: all trainings, in their order.
        again: the command that resumes the series, for the user.

    Raises:
        ConfigError: another process is at it.
        TrainingError: a training or test failed; what is done is kept.
        OSError: the disk is full; the same call resumes.
        KeyboardInterrupt: Ctrl-C, or SIGTERM as `Stopped`; the same call resumes.
    """
    with only_one(series.folder), terminating():
        tidy(series.folder)
        try:
            for place, member in enumerate(members):
                if is_done(series, member):
                    thin_tested(series.run_of(member.name))  # Killed between the two.
                    continue
                log.info("%d of %d: %s", place + 1, len(members), member.name)
                run_member(series, member)
        except (KeyboardInterrupt, OSError):
            log.info("Stopped. Resume with: %s", shlex.join(map(str, again)))
            raise


def is_done(series: Series, member: Member) -> bool:
    """Tell whether a training is tested and its figures are there."""
    return member.name in set(series.done()["name"]) and series.run_of(member.name).predictions.is_file()


def run_member(series: Series, member: Member) -> None:
    """Train one, or what is left of it, test it, and write it down."""
    run, config = series.run_of(member.name), member.config
    settings, screen = run.root.with_name(f"{member.name}.toml"), run.root.with_name(f"{member.name}.log")
    write_text(settings, to_toml(config))
    wait_until_free(run)
    if not is_finished(run, config):
        call(start_or_resume(run, settings, config), screen)
    moved = read_toml(run.config, Config()).data.data != config.data.data
    place: list[str | Path] = ["--data", config.data.data] if moved else []
    call(["evaluate", run.root, "--maps", "0", "--backend", config.compute.backend, *place], screen)
    epochs = read_epochs(run)
    row = [member.name, len(epochs), float(epochs["seconds"].sum()), count_parameters(run)]
    done = series.done()
    done = pd.concat([done[done["name"] != member.name], pd.DataFrame([row], columns=list(COLUMNS))])
    write_table(series.folder.root / "done.csv", done)
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
