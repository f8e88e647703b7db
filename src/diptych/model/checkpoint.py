"""Checkpoint: weights in a safetensors file with JSON in its header; no code is ever loaded."""

import io
import json
import logging
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from diptych.errors import CheckpointError
from diptych.machine.backend import keras_without_tensorflow
from diptych.machine.host_process import python_seed
from diptych.model.network import build_network
from diptych.settings.config import Config, ModelConfig
from diptych.settings.sources import read_toml
from diptych.storage.arrays import read_arrays, write_arrays
from diptych.storage.atomic import write_atomically
from diptych.storage.run_dir import RunDir, read_classes

log = logging.getLogger(__name__)

LAST_LAYER = "probability"
# What Keras 3.15 writes and 3.13 does not read, with the values that mean nothing.
NOVELTIES = {
    **{"input_axes": None, "output_axes": None, "quantization_config": None},
    **{"renorm": False, "renorm_clipping": None, "renorm_momentum": 0.99},
}


def save_checkpoint(path: Path, network: keras.Model, facts: Mapping[str, Any]) -> None:
    """Write every variable of the network, generator states included.

    Args:
        path: the file; it is replaced only once the new one is whole.
        network: what `build_network` built.
        facts: JSON values to keep with it, such as the epoch; `class_names` are those of the network's outputs.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    write_arrays(path, named_arrays("model", network.variables), facts)


def named_arrays(owner: str, variables: Iterable[keras.Variable]) -> dict[str, NDArray[Any]]:
    arrays = {}
    for number, variable in enumerate(variables):
        arrays[f"{owner}/{number:04d}/{variable.path}"] = np.asarray(keras.ops.convert_to_numpy(variable), order="C")
    return arrays


@dataclass(frozen=True)
class Checkpoint:
    """What a file of weights holds.

    Attributes:
        path: the file.
        facts: what was saved with the weights.
        class_names: the classes in the order of the network's outputs.
        arrays: the network's variables by their names "model/NUMBER/PATH", in their order.
    """

    path: Path
    facts: dict[str, Any]
    class_names: tuple[str, ...]
    arrays: dict[str, NDArray[Any]]


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the network's variables from a checkpoint.

    Raises:
        CheckpointError: the file is missing, damaged, or of an unknown format.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint. It is written at the end of the first epoch of diptych train.")
    facts, arrays = read_arrays(path, "model")
    names = facts.get("class_names")
    if not isinstance(names, list):
        raise CheckpointError(f"{path} is damaged: its class_names are {names!r}, expected a list.")
    return Checkpoint(path, facts, tuple(names), arrays)


def assign(network: keras.Model, checkpoint: Checkpoint, *, but_last: bool = False) -> None:
    """Give a network the variables of a checkpoint, all of them or all but those of its last layer.

    Raises:
        CheckpointError: the checkpoint belongs to another network; nothing of it is loaded.
    """
    variables, saved = list(network.variables), dict(checkpoint.arrays)
    if but_last:
        variables = [variable for variable in variables if not variable.path.startswith(f"{LAST_LAYER}/")]
        saved = {name: array for name, array in saved.items() if not name.split("/", 2)[-1].startswith(f"{LAST_LAYER}/")}
    if [tuple(array.shape) for array in saved.values()] != [tuple(variable.shape) for variable in variables]:
        raise CheckpointError(
            f"{checkpoint.path} belongs to another network: {len(saved)} variables, "
            f"{sum(array.size for array in saved.values()):,} "
            f"values; expected {len(variables)} and {sum(int(np.prod(v.shape)) for v in variables):,}. Give the width, "
            "attention and dense units that it was trained with."
        )
    for variable, array in zip(variables, saved.values(), strict=True):
        variable.assign(array)


def load_run_network(run: RunDir) -> tuple[keras.Model, Config, tuple[str, ...]]:
    """Rebuild the network of a run from its config, with its best weights.

    Returns:
        The network, the run's config, and the names of the classes in the order of the network's outputs.

    Raises:
        CheckpointError: the run has no best checkpoint yet, or a damaged one, or one for other classes than the run.
        ConfigError: its config cannot be read.
    """
    config = read_toml(run.config, Config())
    checkpoint = read_best(run)
    with python_seed():
        network = build_network(config.model, classes=len(checkpoint.class_names))
    assign(network, checkpoint)
    return network, config, checkpoint.class_names


def read_best(run: RunDir) -> Checkpoint:
    class_names, checkpoint = read_classes(run), read_checkpoint(run.best)
    if checkpoint.class_names != class_names:
        raise CheckpointError(
            f"{run.best} is for the {describe_classes(checkpoint.class_names)}, but {run.classes} names the "
            f"{describe_classes(class_names)}. One of the two belongs to another run; restore the one of this run."
        )
    return checkpoint


def describe_classes(class_names: Sequence[str]) -> str:
    """Name the classes in a few words: "2 classes cat, dog"."""
    shown = [*class_names[:5], *["…"] * (len(class_names) > 5)]
    return f"{len(class_names)} classes {', '.join(shown)}"


def save_keras_model(run: RunDir, settings: ModelConfig, image_size: int) -> dict[str, Any]:
    """Write the best checkpoint as best.keras, which plain Keras loads: nothing but Keras's own layers is in it.

    The file has no room for the names of the classes, which lie beside it in classes.json, nor for the run's temperature and
    threshold. It takes images of one size only: a network answers to any, but not the same.

    Args:
        run: with its best checkpoint.
        settings: of the network.
        image_size: height and width of the images, in pixels.

    Returns:
        The facts of the best checkpoint.
    """
    checkpoint = read_best(run)
    with python_seed():
        network = build_network(settings, image_size, len(checkpoint.class_names))
    assign(network, checkpoint)

    def write(path: Path) -> None:
        with keras_without_tensorflow():
            network.save(path)
        forget_novelties(path)

    write_atomically(run.best_keras, write)
    return checkpoint.facts


def forget_novelties(path: Path) -> None:
    """Remove options from a Keras file that Keras before 3.15 does not know, if they are unused."""
    content = io.BytesIO()
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(content, "w") as after:
        for member in before.infolist():
            part = before.read(member)
            if member.filename == "config.json":
                part = json.dumps(without_novelties(json.loads(part))).encode()
            after.writestr(member, part)
    path.write_bytes(content.getvalue())


def without_novelties(part: Any) -> Any:
    if isinstance(part, list):
        return [without_novelties(item) for item in part]
    if not isinstance(part, dict):
        return part
    found = {key: without_novelties(value) for key, value in part.items()}
    if isinstance(found.get("config"), dict):
        kept = {key: value for key, value in found["config"].items() if key not in NOVELTIES or value != NOVELTIES[key]}
        if str(found.get("module")).startswith("keras.src.ops"):
            # The name of an operation stands a second time, outside of its config.
            kept.pop("name", None)
        found["config"] = kept
    return found
