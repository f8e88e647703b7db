"""Optimizers, learning-rate schedules, and what is minimised and counted."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import keras

from diptych.config import TrainingConfig

# Where one cycle begins and what it ends at, as parts of its highest rate.
ONE_CYCLE_START = 1 / 25


def build_optimizer(settings: TrainingConfig, steps: int, pretrained: bool = False) -> keras.optimizers.Optimizer:
    """Build the optimizer with its schedule.

    Args:
        settings: optimizer, rate and schedule. "one-cycle" warms up linearly, then anneals to zero along a cosine.
        steps: optimizer updates of the whole training.
        pretrained: whether the weights to start from were trained before; the rate is then multiplied by
            `pretrained_factor`.
    """
    highest = settings.learning_rate * (settings.pretrained_factor if pretrained else 1)
    rate: float | keras.optimizers.schedules.LearningRateSchedule = highest
    if settings.schedule == "one-cycle":
        warmup = max(1, round(steps * settings.warmup_share))
        rate = keras.optimizers.schedules.CosineDecay(
            highest * ONE_CYCLE_START,
            max(1, steps - warmup),
            warmup_target=highest,
            warmup_steps=warmup,
        )
    if settings.optimizer == "adamw":
        return keras.optimizers.AdamW(rate, weight_decay=settings.weight_decay)
    return keras.optimizers.Adam(rate)


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


def plateau_callbacks(settings: TrainingConfig) -> list[keras.callbacks.Callback]:
    """Return the callback that lowers the rate on a plateau of the validation loss, if the schedule asks for it."""
    if settings.schedule != "plateau":
        return []
    return [
        keras.callbacks.ReduceLROnPlateau(
            "val_loss", settings.plateau_factor, settings.plateau_patience, min_lr=settings.min_learning_rate
        )
    ]
