"""Resolve requested settings: backend, absolute paths, and the recipe "auto"."""

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path

from diptych.data.dataset import LoadedData, load, split
from diptych.machine.backend import choose_compute
from diptych.settings.config import Config, Recipe
from diptych.settings.sources import read_toml, with_recipe
from diptych.training.resume import matching, with_whole_paths
from diptych.training.steps.stages import choose_recipe
from diptych.training.tracking.tracking import check_tracking

log = logging.getLogger(__name__)


def settle(
    config: Config, runs: Path, choices: Mapping[Recipe, Config] | None = None, begun: Path | None = None
) -> tuple[Config, LoadedData]:
    """Settle what several trainings of the same settings have in common, and say why.

    Args:
        config: the settings asked for.
        runs: the folder of the runs.
        choices: for the recipe "auto", as in `train`.
        begun: the settings that the trainings were begun with, if the file is there: the recipe "auto" then chooses no more.

    Returns:
        The settings, and the images.

    Raises:
        ConfigError: settings do not go together, or the trainings cannot be logged where they are to be.
        DataError: something is wrong with the data.
    """
    compute, reasons = choose_compute(config.compute)
    config = with_whole_paths(dataclasses.replace(config, compute=compute), runs)
    check_tracking(config.tracking)
    data = split(load(config.data, config.training.seed), config.data)
    if config.training.recipe == "auto":
        possible = choices_of(config, choices, runs)
        if begun is not None and begun.is_file():
            config = matching(read_toml(begun, Config()), list(possible.values()))
        else:
            config, reason = settle_recipe(possible, training_images(data))
            reasons.append(reason)
    for line in reasons:
        log.info("%s", line)
    return config, data


def choices_of(config: Config, choices: Mapping[Recipe, Config] | None, runs: Path) -> dict[Recipe, Config]:
    """Return the settings that the training may end up with: those of `config`, or those between which "auto" chooses."""
    if config.training.recipe != "auto":
        return {config.training.recipe: config}
    given = choices or {recipe: with_recipe(config, recipe) for recipe in ("fine-tune", "scratch")}
    return {r: with_whole_paths(dataclasses.replace(one, compute=config.compute), runs) for r, one in given.items()}


def training_images(data: LoadedData) -> int:
    return int((data.manifest.table["split"] == "train").sum())


def settle_recipe(possible: Mapping[Recipe, Config], images: int) -> tuple[Config, str]:
    """Choose for the recipe "auto", by the weights that can be had and the number of training images."""
    from diptych.model.pretrained import has_pretrained

    recipe, reason = choose_recipe(has_pretrained(possible["fine-tune"].model), images)
    return possible[recipe], f"recipe {recipe}: {reason}"
