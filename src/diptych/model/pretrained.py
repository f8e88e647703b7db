"""Initial weights: random, ImageNet's, or those of an earlier run."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras

from diptych.errors import CheckpointError, ConfigError
from diptych.model import resnet
from diptych.model.checkpoint import Checkpoint, assign, describe_classes, read_best, read_checkpoint
from diptych.settings.config import ModelConfig
from diptych.storage.run_dir import RunDir
from diptych.storage.runs import is_run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StartWeights:
    """Initial weights: whether they are pretrained, and their description."""

    pretrained: bool
    description: str


def start_weights(network: keras.Model, settings: ModelConfig, runs: Path, class_names: Sequence[str]) -> StartWeights:
    """Load the initial weights into the network.

    Args:
        network: fresh from `build_network`.
        settings: `weights` is imagenet, none, auto, or the path of an official .h5 file, of a run or of a checkpoint.
        runs: the folder in which a run may be named by its name alone.
        class_names: what the network shall tell apart. Of a run or checkpoint for other classes, the last layer is left out.

    Raises:
        CheckpointError: they cannot be loaded, or do not fit.
        ConfigError: ImageNet weights, or an official file, were asked for a width other than 1 or without the ResNet50 branch.
    """
    if settings.weights == "none":
        return StartWeights(False, "none, all of them are random")
    if settings.weights in ("imagenet", "auto") and settings.branches == "convnet":
        if settings.weights == "auto":
            return StartWeights(False, "none, all of them are random: the ImageNet weights are for the ResNet50 branch")
        raise ConfigError(
            "weights imagenet are for the ResNet50 branch, which --branches convnet leaves out; add --weights none."
        )
    if settings.weights in ("imagenet", "auto") and settings.width != 1:
        if settings.weights == "auto":
            return StartWeights(False, "none, all of them are random: the ImageNet weights are for width 1")
        raise ConfigError(f"weights imagenet need width 1, not {settings.width}; choose --weights none, or --width 1.")
    if settings.weights in ("imagenet", "auto"):
        try:
            resnet.load_resnet50_weights(network.get_layer(resnet.NAME), resnet.imagenet_weights())
        except CheckpointError as error:
            if settings.weights == "imagenet":
                raise
            log.warning("Warning: %s", error)
            return StartWeights(False, "none, all of them are random: the ImageNet weights are not available here")
        return StartWeights(True, f"imagenet, {resnet.WEIGHTS_FILE}")
    return StartWeights(True, weights_from_path(network, settings, runs, class_names))


def has_pretrained(settings: ModelConfig) -> bool:
    """Tell whether `start_weights` will find weights that were trained before; may download ImageNet's."""
    if settings.weights in ("none", "imagenet"):
        return settings.weights == "imagenet"
    if settings.weights != "auto":
        return True
    if settings.width != 1 or settings.branches == "convnet":
        return False
    try:
        resnet.imagenet_weights()
    except CheckpointError as error:
        log.warning("Warning: %s", error)
        return False
    return True


def weights_from_path(network: keras.Model, settings: ModelConfig, runs: Path, class_names: Sequence[str]) -> str:
    path = Path(settings.weights)
    if path.suffix == ".h5" and path.is_file():
        if settings.branches == "convnet":
            raise ConfigError(
                f"weights {path} are for the ResNet50 branch, which --branches convnet leaves out; add --weights none."
            )
        resnet.load_resnet50_weights(network.get_layer(resnet.NAME), path)
        return str(path)
    for place in (path, runs / path):
        if is_run(place):
            return f"run {place}{assign_start(network, read_best(RunDir(place)), class_names)}"
    if path.suffix == ".safetensors":
        return f"{path}{assign_start(network, read_checkpoint(path), class_names)}"
    raise CheckpointError(f"weights {path}: no such file or run. Expected imagenet, none, auto, an official .h5 file, or a run.")


def assign_start(network: keras.Model, checkpoint: Checkpoint, class_names: Sequence[str]) -> str:
    """Load as much of a checkpoint as the classes of the network allow, and return what was left out."""
    same = checkpoint.class_names == tuple(class_names)
    assign(network, checkpoint, but_last=not same)
    left_out = f" but for its last layer, which is random: it was trained on the {describe_classes(checkpoint.class_names)}"
    return "" if same else left_out
