"""The search space of `diptych tune`: which settings vary, in which range, and which stay fixed."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from diptych.data.dataset import LoadedData
from diptych.errors import ConfigError
from diptych.screen import quoted
from diptych.settings.config import Augmentation, Config
from diptych.settings.presets import augmentation
from diptych.settings.sources import Given, override, read_toml, to_toml
from diptych.storage.atomic import FORMAT_VERSION, read_json, write_json, write_table, write_text
from diptych.storage.lock import only_one
from diptych.storage.run_dir import RunDir
from diptych.storage.runs import creating_run
from diptych.training.resolve import settle_group
from diptych.training.resume import changes_of_settings, moved_to, refuse_changes, refuse_changes_of_data, write_changes

log = logging.getLogger(__name__)

# Each way from the user's own learning rate.
RATE_SPAN = 10.0


@dataclass(frozen=True)
class Searched:
    """A setting that the search varies.

    Attributes:
        section: its section in Config.
        key: its name.
        low: the lowest value.
        high: the highest one.
        log: whether its logarithm is drawn evenly.
        choices: the values to choose from, instead of low and high.
    """

    section: str
    key: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[str, ...] = ()

    def own_value(self, config: Config) -> Any:
        """Return the value in the settings, clipped to the range."""
        value = getattr(getattr(config, self.section), self.key)
        return value if self.choices else min(max(value, self.low), self.high)


def search_space(config: Config, learning_rates: tuple[float, float] | None = None) -> tuple[Searched, ...]:
    """Choose the settings to vary: learning rate and regularisation, four or five in all.

    Few, because a search of 20 trials cannot tell more apart, and because of all settings few matter and the learning rate
    matters most (Bergstra and Bengio, JMLR 2012). On small data sets, rate and weight decay together are worth more than
    any special method (Brigato et al. 2021, arXiv 2108.13122). Left out: `start_size`, since the early epochs of trials of
    several sizes cannot be compared; `epochs` and `batch_size`, which are time and memory; and the moving average, whose
    best momentum follows from the number of updates.

    Args:
        config: the settings around which is searched.
        learning_rates: the lowest and the highest rate; None for a tenth of the settings' own to ten times it.

    Raises:
        ConfigError: the rates make no sense.
    """
    own = config.training.learning_rate
    low, high = learning_rates or (own / RATE_SPAN, min(own * RATE_SPAN, 9.0))
    if not 0 < low < high < 10:
        raise ConfigError(f"--learning-rates are {low:g} {high:g}; expected two rates above 0 and below 10, the lower one first.")
    space = [Searched("training", "learning_rate", low, high, log=True), Searched("model", "dropout", 0.0, 0.5)]
    # Adam has no decay to vary.
    if config.training.optimizer == "adamw":
        space.append(Searched("training", "weight_decay", 1e-4, 0.3, log=True))
    space.append(Searched("training", "label_smoothing", 0.0, 0.15))
    if config.training.depth_factor < 1:
        space.append(Searched("training", "depth_factor", 0.1, 0.9, log=True))
    # Which changes of an image leave its class alone is the data's own affair. Keys that were set by hand are left alone.
    levels = get_args(Augmentation)
    if config.training.recipe == "classic" and any(config.augment == augmentation(level) for level in levels):
        space.append(Searched("augment", "augment", choices=levels))
    return tuple(space)


def with_values(config: Config, space: Sequence[Searched], values: Mapping[str, Any]) -> Config:
    """Return the settings with the values of a trial, by their keys."""
    tables: dict[str, dict[str, Any]] = {}
    for searched in space:
        tables.setdefault(searched.section, {})[searched.key] = values[searched.key]
    # The plateau's lowest rate may not lie above the rate itself.
    floor = min(config.training.min_learning_rate, tables["training"]["learning_rate"])
    settings = dataclasses.replace(config, training=dataclasses.replace(config.training, min_learning_rate=floor))
    return override(settings, tables, "tune")


def open_folder(
    folder: RunDir,
    given: Given,
    learning_rates: tuple[float, float] | None = None,
) -> tuple[Config, tuple[Searched, ...]]:
    """Make the folder of a search, or make sure that nothing has changed since it was made.

    Args:
        folder: config.toml, split.csv and search.json in it say what all trials have in common.
        given: what the user gave.
        learning_rates: as for `search_space`.

    Returns:
        The settings with whole paths and a settled recipe, and what is varied around them.

    Raises:
        ConfigError: settings or rates differ from those that the search was started with; the message names them.
        DataError: the images do, or something is wrong with them.
        CheckpointError: search.json is damaged.
    """
    runs = folder.root.parent
    config, data = settle_group(given, runs, folder.config)
    space = search_space(config, learning_rates)
    rates = [space[0].low, space[0].high]
    facts = folder.root / "search.json"
    if facts.is_file():
        refuse_other_search(folder, config, rates, read_rates(facts), data)
    elif folder.root.exists():
        raise ConfigError(f"{folder.root} exists already and is no search; choose another --name.")
    else:
        with creating_run(runs, folder.root.name) as (aside, _):
            write_table(aside.split, data.manifest.table)
            write_text(aside.config, to_toml(config))
            write_json(aside.root / facts.name, {"format_version": FORMAT_VERSION, "learning_rates": rates})
    return config, space


def read_rates(facts: Path) -> list[float]:
    def rates_of(content: dict[str, Any]) -> list[float]:
        return [float(rate) for rate in content["learning_rates"]]

    return read_json(facts, rates_of, "Begin a new search with another --name.")


def refuse_other_search(folder: RunDir, config: Config, rates: list[float], before: list[float], data: LoadedData) -> None:
    saved = moved_to(read_toml(folder.config, Config()), config)
    changes = changes_of_settings(saved, config, may_be_longer=False)
    if rates != before and not changes:
        changes.append(f"learning-rates are {rates[0]:g} {rates[1]:g}, were {before[0]:g} {before[1]:g}")
    refuse_changes(f"search {folder.root}", changes, f"(--config {quoted(folder.config)})")
    refuse_changes_of_data(folder, data, "search")
    with only_one(folder):
        write_changes(folder, saved)
