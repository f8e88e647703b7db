"""Find a learning rate with the settings of a training."""

import dataclasses
import logging
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diptych.data.dataset import LoadedData
from diptych.machine.backend import describe_device, device_scope, load_backend
from diptych.machine.environment import describe_environment
from diptych.settings.config import Config
from diptych.settings.sources import Given, to_toml
from diptych.storage.atomic import FORMAT_VERSION, write_json, write_table
from diptych.storage.runs import RUNS
from diptych.training.resolve import load_split, settle, training_images
from diptych.training.steps.stages import plan_stages
from diptych.tuning.lr_range import SMOOTHING, RangeTest, RateRange, range_test

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)


def find_lr(given: Given, output: Path, rates: RateRange | None = None, runs: Path = RUNS) -> RangeTest:
    """Run a learning-rate range test with the settings of a training, and write its result.

    The rates are those of --learning-rate: `pretrained_factor` and `depth_factor` act on them as in a training. Everything
    that the recipe ever trains is trained, at the image size at which its main phase begins.

    Args:
        given: what the user gave; the rate and the schedule in it do not count.
        output: folder for find_lr.csv and find_lr.json.
        rates: the range; None for the usual one.
        runs: the folder of runs, for weights that are the name of one.

    Raises:
        ConfigError: settings do not go together.
        DataError: something is wrong with the data.
        CheckpointError: the initial weights could not be loaded.
    """
    rates = rates or RateRange()
    wanted = settle(given, runs)
    asked = wanted.under()
    data = load_split(asked.data, asked.training.seed)
    config, reasons = wanted.choose(training_images(data))
    load_backend(config.compute.backend)
    from diptych.training import fit

    with device_scope(config.compute.devices):
        network, weights = fit.start_network(config, runs, data.manifest.class_names)
        for line in (f"weights: {weights.description}", *reasons, f"device: {describe_device()}"):
            log.info("%s", line)
        result = range_test(rates.rates(), step_of(network, config, data, weights.pretrained, rates.lowest))
    write_result(output, result, config, rates)
    return result


def step_of(
    network: "keras.Model", config: Config, data: LoadedData, pretrained: bool, lowest: float
) -> Callable[[float], float]:
    """Prepare the network, and return a function that trains one update at a given rate and returns its loss."""
    from diptych.data import batches
    from diptych.training.steps import optimizers

    settings = dataclasses.replace(config.training, learning_rate=lowest, min_learning_rate=0.0, schedule="constant")
    stages = plan_stages(settings, config.data.image_size, pretrained)
    size = next(stage.image_size for stage in stages if not stage.head_only)
    images = training_images(data)
    optimizers.freeze_layers(network, settings, pretrained=pretrained, head_only=False, train_images=images)
    optimizer = optimizers.build_optimizer(settings, network, settings.epochs, pretrained)
    optimizers.compile_network(network, optimizer, settings.loss)
    set_rate = rate_setter(optimizer, lowest)
    stream = batches.training_batches(data.manifest, data.store, config, size).stream()

    def loss_at(rate: float) -> float:
        set_rate(rate)
        losses = []
        for _ in range(settings.accumulate):
            images, labels, weights = next(stream)
            labels = optimizers.smooth_labels(labels, settings.label_smoothing)
            losses.append(network.train_on_batch(images, labels, sample_weight=weights, return_dict=True)["loss"])
        return float(np.mean(losses))

    return loss_at


def rate_setter(optimizer: "keras.Optimizer", now: float) -> Callable[[float], None]:
    """Return a function that sets the learning rate; several optimizers keep their ratios.

    Args:
        optimizer: as `build_optimizer` built it.
        now: the `learning_rate` of the settings that it was built with.
    """
    import keras

    from diptych.training.steps.optimizers import parts_of

    factors = [(part, float(keras.ops.convert_to_numpy(part.learning_rate)) / now) for part in parts_of(optimizer)]

    def set_rate(rate: float) -> None:
        for part, factor in factors:
            part.learning_rate = rate * factor

    return set_rate


def write_result(output: Path, result: RangeTest, config: Config, rates: RateRange) -> None:
    """Write find_lr.csv, a row a step, and find_lr.json, the suggestion with all that is needed to repeat it."""
    write_table(output / "find_lr.csv", result.table)
    content = {
        "suggested_learning_rate": result.suggestion,
        "rule": "the lower of valley and tenth_of_minimum",
        "suggestions": dict(result.suggestions),
        "range": dataclasses.asdict(rates),
        "test": {"steps_made": len(result.table), "ended": result.ended, "smoothing": SMOOTHING},
        "settings": tomllib.loads(to_toml(config)),
        "environment": describe_environment(config.training.seed, describe_device()),
    }
    write_json(output / "find_lr.json", {"format_version": FORMAT_VERSION, **content})
