"""Estimate the cost of a training: memory from the layers of the network, time from a few measured steps."""

import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras

from diptych.errors import ConfigError
from diptych.settings.config import TrainingConfig
from diptych.training.steps.stages import Stage

# A pass without gradients, over the validation images, takes about this share of a training step on the same images.
VALIDATION_SHARE = 1 / 3
# What a backend's peak grows by for each byte that the layers put out, on a processor (docs/experiments.md): where a gradient
# flows back, and where none does. The first has scratch space of the convolutions and gradients on their way in it, and on
# PyTorch copies in another layout; the second is not 0 on PyTorch, since Keras holds every output until the end of the pass.
OVERHEAD = {"tensorflow": (1.5, 0.2), "jax": (1.45, 0.35), "torch": (2.4, 1.1)}
# How much of the memory the advice on a batch size fills: the estimate may be low by a third, and memory falls into pieces.
FILLED = 0.6
FLOAT32 = 4


def memory_needed(network: keras.Model, image_size: int, batch_size: int, *, moments: int = 2) -> int:
    """Estimate the memory that training takes beyond that of the process before its first step.

    Args:
        network: what `build_network` built, for the precision that it was built for; what is frozen counts as frozen.
        image_size: height and width of the images, in pixels.
        batch_size: images per step.
        moments: arrays of the size of the trainable weights that the optimizer keeps: 2 for Adam and AdamW, one more with a
            moving average of the weights, one more with accumulated gradients.

    Returns:
        Bytes: weights, gradients, the optimizer's moments, and what the layers keep for the backward pass. Measured peaks
        were 0.8 to 1.3 times that on a processor (docs/experiments.md).
    """
    trainable: int = sum(math.prod(variable.shape) for variable in network.trainable_variables)
    frozen: int = sum(math.prod(variable.shape) for variable in network.non_trainable_variables)
    weights = FLOAT32 * (trainable * (2 + moments) + frozen)
    learning, resting = OVERHEAD[keras.backend.backend()]
    kept, passed = layer_outputs(network, image_size)
    return round(weights + batch_size * (learning * kept + resting * passed))


def moments_of(settings: TrainingConfig) -> int:
    """Return how many arrays of the size of the trainable weights the optimizer keeps."""
    return 2 + (settings.ema > 0) + (settings.accumulate > 1)


def disk_needed(network: keras.Model, moments: int) -> int:
    """Describe how many bytes the files of a run take at most, but for its tables and pictures.

    Args:
        network: what `build_network` built.
        moments: as `memory_needed`.

    Returns:
        Bytes: the best checkpoint and three snapshots, of which one is being written; in the end, best.keras takes the
        place of the third.
    """
    weights: int = FLOAT32 * sum(math.prod(variable.shape) for variable in network.variables)
    trained: int = FLOAT32 * sum(math.prod(variable.shape) for variable in network.trainable_variables)
    snapshot = weights + moments * trained
    return weights + 3 * snapshot


def refuse_full_disk(folder: Path, needed: int) -> str:
    """Log what a run will take on the disk, and refuse a disk without room for it.

    Args:
        folder: where it will be made; it need not exist yet.
        needed: bytes.

    Raises:
        ConfigError: there is less.
    """
    place = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.is_dir())
    found = shutil.disk_usage(place)
    # Some file systems do not tell.
    if found.total and found.free < needed:
        raise ConfigError(
            f"the checkpoints of this network take up to {needed / 1e6:,.0f} MB, but {place} has {found.free / 1e6:,.0f}. "
            "Free some room, name a folder on another disk (--runs), or make the network smaller (--width)."
        )
    return f"disk: checkpoints take up to {math.ceil(needed / 1e6):,} MB; {found.free / 1e9:,.1f} GB are free in {place}"


def batch_that_fits(network: keras.Model, image_size: int, batch_size: int, limit: int, *, moments: int = 2) -> int:
    """Find the largest batch that should fit into the memory there is, with room to spare.

    Args:
        network: as `memory_needed`.
        image_size: as `memory_needed`.
        batch_size: the one that did not fit; the answer is at most half of it.
        limit: bytes that training may take.
        moments: as `memory_needed`.

    Returns:
        A batch size, or 0 where not even one image fits.
    """
    without = memory_needed(network, image_size, 0, moments=moments)
    each = memory_needed(network, image_size, 1, moments=moments) - without
    return max(0, min(batch_size // 2, int(FILLED * (limit - without)) // each))


def describe_time(step_seconds: float, image_size: int, stages: Sequence[Stage], steps: int, validation_steps: int) -> str:
    """Describe how long a training takes.

    Args:
        step_seconds: measured time of a training step at `image_size`.
        image_size: height and width in pixels at which it was measured.
        stages: of the whole training; the time goes with their pixels.
        steps: batches of an epoch.
        validation_steps: batches of the validation at the end of each epoch.

    Returns:
        "one epoch takes about 5 min, 70 epochs about 6 h"; of stages that differ in their time, the quickest and the slowest
        epoch are named.
    """
    seconds = epoch_seconds(step_seconds, image_size, stages, steps, validation_steps)
    shortest, longest, total = (round_time(max(1, number)) for number in (min(seconds), max(seconds), sum(seconds)))
    epoch = longest if shortest == longest else f"{shortest} to {longest}"
    return f"one epoch takes about {epoch}" + (f", {len(seconds)} epochs about {total}" if len(seconds) > 1 else "")


def describe_memory(taken: int, limit: int) -> str:
    """Describe the memory of a training: the bytes that it takes, and those that there are."""
    return f"memory about {taken / 1e9:.1f} of {limit / 1e9:.1f} GB"


def epoch_seconds(
    step_seconds: float, image_size: int, stages: Sequence[Stage], steps: int, validation_steps: int
) -> list[float]:
    """Return the seconds that each epoch of all stages will take: the time of a step goes with the pixels."""
    batches = steps + VALIDATION_SHARE * validation_steps
    whole = [(stage.image_size / image_size) ** 2 * step_seconds * batches for stage in stages]
    return [seconds for seconds, stage in zip(whole, stages, strict=True) for _ in range(stage.epochs)]


def round_time(seconds: float) -> str:
    """Format a duration as roughly as it is known: "8 s", "5 min", "6 h 10 min"."""
    if seconds < 100:
        return f"{round(seconds)} s"
    if seconds < 100 * 60:
        return f"{round(seconds / 60)} min"
    tens = round(seconds / 600)
    return f"{tens // 6} h {tens % 6 * 10} min" if tens % 6 else f"{tens // 6} h"


def layer_outputs(network: keras.Model, image_size: int) -> tuple[int, int]:
    """Return the size of all layer outputs, in bytes for one image.

    The network takes images of any size, so that the shapes are worked out here, layer by layer.

    Returns:
        The outputs through which a gradient flows, which are kept for the backward pass; and all others.
    """
    flows = list(walk(network, Flow((image_size, image_size, 3), 0, learns=False)))
    kept = sum(flow.size for flow in flows if flow.learns)
    return kept, sum(flow.size for flow in flows) - kept


@dataclass(frozen=True)
class Flow:
    """What flows between two layers: its shape for one image, its bytes, and whether a gradient flows back there."""

    shape: tuple[int, ...]
    size: int
    learns: bool


def walk(network: keras.Model, pixels: Flow) -> Iterator[Flow]:
    """Yield the output of each layer of a network, and of the networks in it, in order."""
    flows = {id(network.input): pixels}
    for operation in network.operations:
        if isinstance(operation, keras.layers.InputLayer):
            continue
        # Of a network within a network, the public `input` and `output` are its own, not those of its place here.
        node = operation._inbound_nodes[0]
        before = [flows[id(tensor)] for tensor in node.input_tensors]
        for after in walk(operation, before[0]) if isinstance(operation, keras.Model) else [flow_after(operation, before)]:
            yield after
        flows |= {id(tensor): after for tensor in node.output_tensors}


def flow_after(operation: keras.Operation, before: list[Flow]) -> Flow:
    shape = shape_after(operation, before)
    width = FLOAT32
    if "16" in getattr(operation, "compute_dtype", "float32"):
        # Batch normalisation computes in float32 all the same, on a copy.
        width = 6 if isinstance(operation, keras.layers.BatchNormalization) else 2
    learns = any(flow.learns for flow in before) or bool(getattr(operation, "trainable_weights", ()))
    return Flow(shape, width * math.prod(shape), learns)


def shape_after(operation: keras.Operation, before: list[Flow]) -> tuple[int, ...]:
    if isinstance(operation, keras.layers.Layer):
        shapes = [(1, *flow.shape) for flow in before]
        after = operation.compute_output_shape(shapes[0] if len(shapes) == 1 else shapes)
        return tuple(after[1:])
    # What is no layer works on each pixel by itself, and may leave other channels.
    known = keras.tree.flatten(operation.output)[0].shape[1:]
    return tuple(old if new is None else new for old, new in zip(before[0].shape, known, strict=True))
