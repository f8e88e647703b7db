"""What a training will cost: memory by walking the layers of the network, time from a few steps that were measured."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import keras

from diptych.training.recipes import Stage

# A pass without gradients, over the validation images, takes about this share of a training step on the same images.
VALIDATION_SHARE = 1 / 3
# Work of the backend beside the network's own arrays: convolutions' scratch space, copies in another layout, fragments.
OVERHEAD = 1.15
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
        are within 0.6 to 1.5 times that (docs/experiments.md).
    """
    trainable = sum(math.prod(variable.shape) for variable in network.trainable_variables)
    frozen = sum(math.prod(variable.shape) for variable in network.non_trainable_variables)
    weights = FLOAT32 * (trainable * (2 + moments) + frozen)
    return round(weights + OVERHEAD * batch_size * kept_for_backward(network, image_size))


def batch_that_fits(network: keras.Model, image_size: int, batch_size: int, limit: int, *, moments: int = 2) -> int:
    """Find the largest batch that needs no more memory than there is.

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
    return max(0, min(batch_size // 2, (limit - without) // each))


def describe_estimate(
    step_seconds: float,
    image_size: int,
    stages: Sequence[Stage],
    steps: int,
    validation_steps: int,
    memory: int,
    limit: int,
    first_epoch: int = 0,
) -> str:
    """Say what the rest of a training will take.

    Args:
        step_seconds: measured time of a training step at `image_size`.
        image_size: height and width in pixels at which it was measured.
        stages: of the whole training; the time goes with their pixels.
        steps: batches of an epoch.
        validation_steps: batches of the validation at the end of each epoch.
        memory: bytes that training takes.
        limit: bytes that there are.
        first_epoch: epochs that are done already.

    Returns:
        "one epoch takes about 5 min, 70 epochs about 6 h; memory about 5.2 of 23.4 GB"; of stages that differ in their
        time, the quickest and the slowest epoch are named.
    """
    seconds = epoch_seconds(step_seconds, image_size, stages, steps, validation_steps)[first_epoch:]
    shortest, longest = round_time(min(seconds)), round_time(max(seconds))
    epoch = longest if shortest == longest else f"{shortest} to {longest}"
    number = f"{len(seconds)} epochs" if not first_epoch else f"the {len(seconds)} epochs left"
    whole = f", {number} about {round_time(sum(seconds))}" if len(seconds) > 1 else ""
    return f"one epoch takes about {epoch}{whole}; memory about {memory / 1e9:.1f} of {limit / 1e9:.1f} GB"


def epoch_seconds(
    step_seconds: float, image_size: int, stages: Sequence[Stage], steps: int, validation_steps: int
) -> list[float]:
    """Return the seconds that each epoch of all stages will take: the time of a step goes with the pixels."""
    batches = steps + VALIDATION_SHARE * validation_steps
    whole = [(stage.image_size / image_size) ** 2 * step_seconds * batches for stage in stages]
    return [seconds for seconds, stage in zip(whole, stages, strict=True) for _ in range(stage.epochs)]


def round_time(seconds: float) -> str:
    """Say a duration as roughly as it is known: "8 s", "5 min", "6 h 10 min"."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    if seconds < 100 * 60:
        return f"{round(seconds / 60)} min"
    tens = round(seconds / 600)
    return f"{tens // 6} h {tens % 6 * 10} min" if tens % 6 else f"{tens // 6} h"


def kept_for_backward(network: keras.Model, image_size: int) -> int:
    """Add up the outputs that the backward pass will need again, in bytes for one image.

    Of a layer through which no gradient flows nothing is kept. The network takes images of any size, so that the shapes are
    worked out here, layer by layer.
    """
    pixels = Flow((image_size, image_size, 3), learns=False)
    return walk(network, pixels)[1]


@dataclass(frozen=True)
class Flow:
    """What flows between two layers: its shape for one image, and whether a gradient flows back there."""

    shape: tuple[int, ...]
    learns: bool


def walk(network: keras.Model, pixels: Flow) -> tuple[Flow, int]:
    """Follow one image through a network, and the networks within it; return what comes out, and the bytes kept."""
    flows, kept, after = {id(network.input): pixels}, 0, pixels
    for operation in network.operations:
        if isinstance(operation, keras.layers.InputLayer):
            continue
        # Of a network within a network, the public `input` and `output` are its own, not those of its place here.
        node = operation._inbound_nodes[0]
        before = [flows[id(tensor)] for tensor in node.input_tensors]
        if isinstance(operation, keras.Model):
            after, inside = walk(operation, before[0])
            kept += inside
        else:
            learns = any(flow.learns for flow in before) or bool(getattr(operation, "trainable_weights", ()))
            after = Flow(shape_after(operation, before), learns)
            kept += bytes_kept(operation, after)
        flows |= {id(tensor): after for tensor in node.output_tensors}
    return after, kept


def shape_after(operation: keras.Operation, before: list[Flow]) -> tuple[int, ...]:
    if isinstance(operation, keras.layers.Layer):
        shapes = [(1, *flow.shape) for flow in before]
        after = operation.compute_output_shape(shapes[0] if len(shapes) == 1 else shapes)
        return tuple(after[1:])
    # What is no layer works on each pixel by itself, and may leave other channels.
    known = keras.tree.flatten(operation.output)[0].shape[1:]
    return tuple(old if new is None else new for old, new in zip(before[0].shape, known, strict=True))


def bytes_kept(operation: keras.Operation, after: Flow) -> int:
    if not after.learns or isinstance(operation, keras.layers.Dense):
        return 0
    width = 2 if "16" in getattr(operation, "compute_dtype", "float32") else 4
    return width * math.prod(after.shape)
