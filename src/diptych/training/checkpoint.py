"""Checkpoint: weights in a safetensors file with JSON in its header; no code is ever loaded."""

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from diptych.config import Config, ModelConfig
from diptych.errors import CheckpointError, ConfigError
from diptych.model import resnet
from diptych.model.network import build_network
from diptych.presets import read_toml
from diptych.storage import FORMAT_VERSION, RunDir, is_run, write_atomically

log = logging.getLogger(__name__)


def save_checkpoint(path: Path, network: keras.Model, facts: Mapping[str, Any], optimizer: keras.Optimizer | None = None) -> None:
    """Write every variable of the network, generator states included, and the optimizer's if it is given.

    Args:
        path: the file; it is replaced only once the new one is whole.
        network: what `build_network` built.
        facts: JSON values to keep with it, such as the epoch.
        optimizer: to keep its moments and its count of steps too.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    arrays = named_arrays("model", network.variables)
    if optimizer is not None:
        arrays |= named_arrays("optimizer", optimizer.variables)
    header = {"diptych": json.dumps({"format_version": FORMAT_VERSION, **facts})}
    try:
        write_atomically(path, lambda partial: safetensors.numpy.save_file(arrays, partial, header))
    # A full disk is a SafetensorError here.
    except safetensors.SafetensorError as error:
        raise OSError(f"{path} cannot be written: {error}") from error


def named_arrays(owner: str, variables: Iterable[keras.Variable]) -> dict[str, NDArray[Any]]:
    arrays = {}
    for number, variable in enumerate(variables):
        arrays[f"{owner}/{number:04d}/{variable.path}"] = np.ascontiguousarray(keras.ops.convert_to_numpy(variable))
    return arrays


def load_checkpoint(path: Path, network: keras.Model) -> dict[str, Any]:
    """Load the network's variables from a checkpoint.

    Args:
        path: the file.
        network: of the same structure as the saved one.

    Returns:
        The facts that were saved with it.

    Raises:
        CheckpointError: the file is missing, damaged, of an unknown format, or of another network.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint. It is written at the end of the first epoch of diptych train.")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            facts: dict[str, Any] = json.loads((file.metadata() or {})["diptych"])
            version = facts["format_version"]
            arrays = {name: file.get_tensor(name) for name in file.keys() if name.startswith("model/")}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged or not a checkpoint of Diptych: {error}") from error
    if version != FORMAT_VERSION:
        raise CheckpointError(f"{path}: checkpoint format {version}; this version reads {FORMAT_VERSION}.")
    assign(network, arrays, path)
    return facts


def assign(network: keras.Model, arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    variables = list(network.variables)
    saved = [arrays[name] for name in sorted(arrays)]
    if [tuple(array.shape) for array in saved] != [tuple(variable.shape) for variable in variables]:
        raise CheckpointError(
            f"{path} is of another network: {len(saved)} variables, {sum(array.size for array in saved):,} values; expected "
            f"{len(variables)} and {sum(int(np.prod(v.shape)) for v in variables):,}. Give the width, attention and dense units "
            "that it was trained with."
        )
    for variable, array in zip(variables, saved, strict=True):
        variable.assign(array)


def load_run_network(run: RunDir) -> tuple[keras.Model, Config]:
    """Rebuild the network of a run from its config, with its best weights.

    Raises:
        CheckpointError: the run has no best checkpoint yet, or a damaged one.
        ConfigError: its config cannot be read.
    """
    config = read_toml(run.config, Config())
    network = build_network(config.model)
    load_checkpoint(run.best, network)
    return network, config


def save_keras_model(run: RunDir, settings: ModelConfig) -> dict[str, Any]:
    """Write the best checkpoint as best.keras, which plain Keras loads: nothing but Keras's own layers is in it.

    Returns:
        The facts of the best checkpoint.
    """
    network = build_network(settings)
    facts = load_checkpoint(run.best, network)
    write_atomically(run.best_keras, network.save)
    return facts


@dataclass(frozen=True)
class StartWeights:
    """What a training starts from: whether it was trained before, and what it is in words."""

    pretrained: bool
    description: str


def start_weights(network: keras.Model, settings: ModelConfig, runs: Path) -> StartWeights:
    """Give the network the weights to start from.

    Args:
        network: fresh from `build_network`.
        settings: `weights` is imagenet, none, auto, or the path of an official .h5 file, of a run or of a checkpoint.
        runs: the folder in which a run may be named by its name alone.

    Raises:
        CheckpointError: they cannot be had, or do not fit.
        ConfigError: ImageNet weights were asked for a width other than 1.
    """
    branch = network.get_layer(resnet.NAME)
    if settings.weights == "none":
        return StartWeights(False, "none, all of them are random")
    if settings.weights in ("imagenet", "auto") and settings.width != 1:
        if settings.weights == "auto":
            return StartWeights(False, "none, all of them are random: the ImageNet weights are for width 1")
        raise ConfigError(f"weights imagenet need width 1, not {settings.width}; choose --weights none, or --width 1.")
    if settings.weights in ("imagenet", "auto"):
        try:
            resnet.load_resnet50_weights(branch, resnet.imagenet_weights())
        except CheckpointError as error:
            if settings.weights == "imagenet":
                raise
            log.debug("%s", error)
            return StartWeights(False, "none, all of them are random: the ImageNet weights cannot be had here")
        return StartWeights(True, f"imagenet, {resnet.WEIGHTS_FILE}")
    return StartWeights(True, weights_from_path(network, Path(settings.weights), runs))


def weights_from_path(network: keras.Model, path: Path, runs: Path) -> str:
    if path.suffix == ".h5" and path.is_file():
        resnet.load_resnet50_weights(network.get_layer(resnet.NAME), path)
        return str(path)
    for place in (path, runs / path):
        if is_run(place):
            load_checkpoint(RunDir(place).best, network)
            return f"run {place}"
    if path.suffix == ".safetensors":
        load_checkpoint(path, network)
        return str(path)
    raise CheckpointError(f"weights {path}: no such file or run. Expected imagenet, none, auto, an official .h5 file, or a run.")
