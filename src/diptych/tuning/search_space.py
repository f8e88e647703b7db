"""The search space of `diptych tune`: which settings vary, in which range, and which stay fixed."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from diptych.errors import ConfigError
from diptych.settings.config import Augmentation, Config
from diptych.settings.presets import augmentation
from diptych.settings.sources import Given, override
from diptych.storage.run_dir import RunDir
from diptych.training.resolve import settle_group
from diptych.training.shared_folder import open_shared_folder

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
    open_shared_folder(folder, "search", config, data, "search.json", {"learning_rates": [space[0].low, space[0].high]})
    return config, space
