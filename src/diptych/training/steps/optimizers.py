"""Optimizers, learning-rate schedules, losses and metrics."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from diptych.model import convnet, resnet
from diptych.settings.config import TrainingConfig

# Where one cycle begins and what it ends at, as parts of its highest rate.
ONE_CYCLE_START = 1 / 25
# The stages of ResNet50, from its end to its beginning; all names of their layers begin with these.
RESNET50_STAGES = ("conv5", "conv4", "conv3", "conv2", "conv1")
# They are few, and each has a scale of its own that decay would only move away from (Loshchilov and Hutter decay all; that
# these are left out is common since He et al. 2019, https://arxiv.org/abs/1812.01187, section 3.1).
WITHOUT_DECAY = ("bias", "gamma", "beta")
FEW_FOR_BATCH_NORM = 1000


class DepthOptimizer(keras.optimizers.MultiOptimizer):
    """Several optimizers, one for each depth of the network, that clip the norm of all gradients together.

    Keras's own would hold each group's norm to the limit. Where batches are accumulated, the gradient of each is clipped
    before it is added: the norm of their mean is then within the limit too.
    """

    def __init__(self, groups: keras.optimizers.OptimizerMap, gradient_clip: float) -> None:
        super().__init__(groups)
        self.gradient_clip = gradient_clip

    def apply(self, grads: list[Any], trainable_variables: list[Any] | None = None) -> None:
        if self.gradient_clip:
            grads = clip_together(grads, self.gradient_clip)
        super().apply(grads, trainable_variables)


def clip_together(gradients: list[Any], limit: float) -> list[Any]:
    """Scale gradients so that the Euclidean norm of all of them together is at most `limit`."""
    squares = [keras.ops.sum(keras.ops.square(gradient)) for gradient in gradients]
    norm = keras.ops.sqrt(keras.ops.sum(keras.ops.stack(squares)))
    scale = limit / keras.ops.maximum(norm, limit)
    return [gradient * scale for gradient in gradients]


def build_optimizer(
    settings: TrainingConfig, network: keras.Model, steps: int, pretrained: bool = False, head_only: bool = False
) -> keras.Optimizer:
    """Build the optimizer of a phase with its schedule. It never writes the moving average to the weights by itself.

    Args:
        settings: optimizer, rate, schedule, decay, clipping, accumulation and moving average. "one-cycle" warms up linearly,
            then anneals to zero along a cosine.
        network: what it shall train, frozen as it shall be.
        steps: batches of the whole phase. Keras's schedules count batches, also where several make one update.
        pretrained: whether the weights to start from were trained before; the rate is then multiplied by
            `pretrained_factor`, and in the stages of ResNet50 by powers of `depth_factor`.
        head_only: whether the pretrained branch rests, so that there is one rate only.
    """
    rate = settings.learning_rate * (settings.pretrained_factor if pretrained else 1)
    stages = trained_stages(network) if pretrained and not head_only and settings.depth_factor < 1 else []
    if not stages:
        return build_part(settings, rate, steps, settings.gradient_clip)
    groups = keras.optimizers.OptimizerMap(build_part(settings, rate, steps))
    for stage in stages:
        depth = RESNET50_STAGES.index(stage) + 1
        groups[f"{stage}_.*"] = build_part(settings, rate * settings.depth_factor**depth, steps)
    return DepthOptimizer(groups, settings.gradient_clip)


def trained_stages(network: keras.Model) -> list[str]:
    """Return the stages of ResNet50, from its end on, that hold any variable that is trained."""
    paths = [variable.path for variable in network.trainable_variables]
    return [stage for stage in RESNET50_STAGES if any(path.startswith(f"{stage}_") for path in paths)]


def build_part(settings: TrainingConfig, highest: float, steps: int, gradient_clip: float = 0.0) -> keras.Optimizer:
    """Build one optimizer for one rate."""
    accumulate = settings.accumulate if settings.accumulate > 1 else None
    rate = one_cycle(highest, steps, settings.warmup_share) if settings.schedule == "one-cycle" else highest
    kind = keras.optimizers.AdamW if settings.optimizer == "adamw" else keras.optimizers.Adam
    part = kind(
        rate,
        weight_decay=settings.weight_decay if settings.optimizer == "adamw" else None,
        global_clipnorm=gradient_clip or None,
        use_ema=settings.ema > 0,
        # Keras averages after each batch, also after those without an update: the root makes it the momentum per update.
        ema_momentum=settings.ema ** (1 / settings.accumulate),
        gradient_accumulation_steps=accumulate,
    )
    part.exclude_from_weight_decay(var_names=list(WITHOUT_DECAY))
    # At the end of each fit, Keras would overwrite the weights by their average; training continues with them.
    part.finalize_variable_values = keep_variable_values
    return part


def keep_variable_values(variables: list[Any]) -> None:
    """Leave the variables as they are."""


def one_cycle(highest: float, steps: int, warmup_share: float) -> keras.optimizers.schedules.LearningRateSchedule:
    """Rise linearly from 1/25 of the highest rate, then fall to zero along a cosine (after Smith and Topin 2017,
    https://arxiv.org/abs/1708.07120, and Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983)."""
    warmup = max(1, round(steps * warmup_share))
    return keras.optimizers.schedules.CosineDecay(
        highest * ONE_CYCLE_START, max(1, steps - warmup), warmup_target=highest, warmup_steps=warmup
    )


def parts_of(optimizer: keras.Optimizer) -> list[keras.Optimizer]:
    """Return the optimizers that an optimizer is made of, or itself."""
    return list(optimizer.optimizers) if isinstance(optimizer, keras.optimizers.MultiOptimizer) else [optimizer]


def learning_rate(optimizer: keras.Optimizer) -> float:
    """Return the learning rate of the next batch; of several, the highest."""
    return max(float(keras.ops.convert_to_numpy(part.learning_rate)) for part in parts_of(optimizer))


def last_learning_rate(optimizer: keras.Optimizer) -> float:
    """Return the learning rate of the last batch that was trained; of several, the highest. One-cycle's next one may be 0."""
    rates = []
    for part in parts_of(optimizer):
        # Keras says the rate of the next batch alone, and counts updates where several batches make one (3.15).
        rate = part._learning_rate
        if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
            rate = rate(keras.ops.maximum(part._iterations - 1, 0))
        rates.append(float(keras.ops.convert_to_numpy(rate)))
    return max(rates)


def lower_learning_rate(optimizer: keras.Optimizer, factor: float, minimum: float) -> None:
    """Multiply the learning rate, of several each, as far as the highest one stays at or above a minimum.

    Args:
        optimizer: one without a schedule.
        factor: between 0 and 1.
        minimum: what the highest rate does not go below; a rate that is below it already stays.
    """
    highest = learning_rate(optimizer)
    lowered = min(highest, max(highest * factor, minimum))
    for part in parts_of(optimizer):
        part.learning_rate = lowered * (float(keras.ops.convert_to_numpy(part.learning_rate)) / highest)


def freeze_layers(
    network: keras.Model, settings: TrainingConfig, *, pretrained: bool, head_only: bool, train_images: int
) -> None:
    """Set for every layer whether it is trained. The network must be compiled afterwards.

    A frozen batch normalisation keeps its statistics too. It is frozen layer by layer, since calling the branch with
    training=False does not hold in `fit` (Keras 3.15).

    Args:
        network: what `build_network` built.
        settings: `freeze_resnet50` and `freeze_batch_norm`.
        pretrained: whether the weights to start from were trained before; without, there is no batch normalisation to keep.
        head_only: let the pretrained branch rest: ResNet50, or the only branch.
        train_images: number of training images, for freeze_batch_norm "small".
    """
    # Each by itself: on TensorFlow, Keras passes over a model that is True already, whatever its layers are.
    for layer in network._flatten_layers():
        layer.trainable = True
    branches = {layer.name: layer for layer in network.layers if isinstance(layer, keras.Model)}
    branch = branches.get(resnet.NAME)
    if head_only:
        (branch or branches[convnet.NAME]).trainable = False
    if branch is None:
        return
    if settings.freeze_resnet50:
        branch.trainable = False
    small = settings.freeze_batch_norm == "small" and train_images < FEW_FOR_BATCH_NORM
    if pretrained and (small or settings.freeze_batch_norm == "always"):
        for layer in branch.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False


def smooth_labels(labels: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """Spread a share of each label over all classes (Szegedy et al., CVPR 2016, https://arxiv.org/abs/1512.00567).

    For training labels only: the validation loss then means the same with and without it.

    Args:
        labels: float32, (B, 1) from 0 to 1 for two classes, or (B, K).
        share: from 0 (nothing) to below 1.

    Returns:
        float32 of the same shape; of an image of class 0 or 1, `share` / 2 or 1 - `share` / 2.
    """
    classes = max(2, labels.shape[1])
    smoothed: NDArray[np.float32] = labels * np.float32(1 - share) + np.float32(share / classes)
    return smoothed


BINARY_LOSSES: Mapping[str, Callable[[], keras.Loss]] = {
    "cross-entropy": keras.losses.BinaryCrossentropy,
    "focal": keras.losses.BinaryFocalCrossentropy,
}
CATEGORICAL_LOSSES: Mapping[str, Callable[[], keras.Loss]] = {
    "cross-entropy": keras.losses.CategoricalCrossentropy,
    # Keras multiplies this one, and not the binary one, by 0.25 for every class alike.
    "focal": partial(keras.losses.CategoricalFocalCrossentropy, alpha=1.0),
}


def build_loss(name: str, classes: int) -> keras.Loss:
    """Build the loss "cross-entropy" or "focal" for labels as the BatchLoader gives them, soft ones too."""
    losses = BINARY_LOSSES if classes == 2 else CATEGORICAL_LOSSES
    return losses[name]()


def build_accuracy(classes: int) -> keras.Metric:
    """Build the share of images whose most probable class is that of the label; of a soft label, the one with most of it."""
    if classes == 2:
        return keras.metrics.MeanMetricWrapper(on_same_side, name="accuracy")
    return keras.metrics.CategoricalAccuracy(name="accuracy")


def on_same_side(labels: Any, probabilities: Any) -> Any:
    """Tell of each label and probability of class 1, (N, 1), whether both are at least one half or both below it."""
    return keras.ops.equal(labels >= 0.5, probabilities >= 0.5)


def compile_network(network: keras.Model, optimizer: keras.Optimizer, loss: str = "cross-entropy") -> None:
    """Compile for a loss, "cross-entropy" or "focal", that weights of images count in, and accuracy, that they do not.

    Every variable is made here. With variables left to be made in the first step, TensorFlow traces the graph twice, and
    the first step takes 36 s instead of 23 s (measured: docs/experiments.md).
    """
    optimizer.build(network.trainable_variables)
    classes = max(2, network.output.shape[-1])
    network.compile(optimizer, loss=build_loss(loss, classes), metrics=[build_accuracy(classes)])
    # Keras makes the metrics' variables in the first step only, and a snapshot restores them before it (3.15).
    network._compile_metrics.build(keras.KerasTensor(network.output.shape), network.output)
