"""Resolve what was given into the settings of a training: backend, absolute paths, and the recipe "auto"."""

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path

from diptych.data.dataset import LoadedData, load, split
from diptych.errors import ConfigError
from diptych.machine.backend import load_backend
from diptych.machine.devices import choose_compute
from diptych.settings.config import ComputeConfig, Config, DataConfig, Recipe, at_home
from diptych.settings.presets import AUTO_RECIPES
from diptych.settings.sources import Given, read_toml
from diptych.training.steps.stages import choose_recipe
from diptych.training.tracking.tracking import check_tracking, whole_tracking

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """The requested settings, resolved except for the recipe "auto"."""

    given: Given
    compute: ComputeConfig
    """What computes, chosen for this machine."""
    runs: Path
    """The folder of the runs, in which weights may be named."""
    reasons: tuple[str, ...]
    """Why it computes so, a line each."""

    def under(self, recipe: Recipe | None = None) -> Config:
        """Return all settings, with whole paths; `recipe` is as for `Given.resolve`."""
        return with_whole_paths(dataclasses.replace(self.given.resolve(recipe), compute=self.compute), self.runs)

    def like(self, saved: Config) -> Config:
        """Return all settings; where "auto" was asked for, under the recipe that it became in a run with `saved` settings."""
        became = saved.training.recipe
        return self.under(became if self.given.recipe == "auto" and became in AUTO_RECIPES else None)

    def choose(self, images: int) -> tuple[Config, list[str]]:
        """Choose what the recipe "auto" becomes, by the available weights and the number of training images.

        Keras is loaded for that, and ImageNet's weights may be downloaded.

        Returns:
            All settings, and why they are so, a line each: `reasons`, and why this recipe.
        """
        if self.given.recipe != "auto":
            return self.under(), list(self.reasons)
        load_backend(self.compute.backend)
        from diptych.model.pretrained import has_pretrained

        recipe, reason = choose_recipe(has_pretrained(self.under("fine-tune").model), images)
        return self.under(recipe), [*self.reasons, f"recipe {recipe}: {reason}"]


def settle(given: Given, runs: Path) -> Wanted:
    """Resolve what can be resolved before the images are read.

    Args:
        given: what the user gave.
        runs: the folder of the runs.

    Raises:
        ConfigError: settings do not go together, or with this machine.
    """
    config = given.resolve()
    compute, reasons = choose_compute(config.compute)
    if compute.backend == "tensorflow" and compute.devices == "all" and config.training.accumulate > 1:
        raise ConfigError(
            "--accumulate does not go with --devices all on TensorFlow; leave one of the two out, or use --backend jax."
        )
    return Wanted(given, compute, at_home(Path(runs)), tuple(reasons))


def settle_group(given: Given, runs: Path, begun: Path) -> tuple[Config, LoadedData]:
    """Resolve what several trainings of the same settings have in common, and log why.

    Args:
        given: what the user gave.
        runs: the folder of the runs.
        begun: the settings that the trainings were started with, if the file is there: the recipe "auto" then chooses no more.

    Returns:
        The settings, and the images.

    Raises:
        ConfigError: settings do not go together, or the trainings cannot be logged where they are to be.
        DataError: something is wrong with the data.
    """
    wanted = settle(given, runs)
    asked = wanted.under()
    check_tracking(asked.tracking)
    data = load_split(asked.data, asked.training.seed)
    if begun.is_file():
        config, reasons = wanted.like(read_toml(begun, Config())), list(wanted.reasons)
    else:
        config, reasons = wanted.choose(training_images(data))
    for line in reasons:
        log.info("%s", line)
    return config, data


def load_split(settings: DataConfig, seed: int) -> LoadedData:
    """Prepare the images of a training, and divide them into its parts; raises DataError as `load` and `split` do."""
    return split(load(settings, seed), settings)


def training_images(data: LoadedData) -> int:
    return int((data.manifest.table["split"] == "train").sum())


def whole_paths(settings: DataConfig) -> DataConfig:
    """Make paths absolute, so that a run can be evaluated and repeated from any folder."""
    given = ((key, getattr(settings, key)) for key in ("fixes", "split", "images"))
    optional = {key: value.resolve() for key, value in given if value is not None}
    # A path that begins with ~ means the same from any folder, and for another user too.
    cache = settings.cache if settings.cache.parts[:1] == ("~",) else settings.cache.resolve()
    return dataclasses.replace(settings, data=settings.data.resolve(), cache=cache, **optional)


def whole_name(weights: str, runs: Path) -> str:
    """Make the path of weights absolute, if they are a file or a run."""
    places = (at_home(Path(weights)), runs / weights)
    found = [place for place in places if weights not in ("imagenet", "none", "auto") and place.exists()]
    return str(found[0].resolve()) if found else weights


def with_whole_paths(config: Config, runs: Path) -> Config:
    """Return settings that mean the same from any folder."""
    model = dataclasses.replace(config.model, weights=whole_name(config.model.weights, runs))
    tracking = whole_tracking(config.tracking)
    return dataclasses.replace(config, data=whole_paths(config.data), model=model, tracking=tracking)
