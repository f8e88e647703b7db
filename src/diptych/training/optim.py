"""Optimizers and learning-rate schedules."""

from collections.abc import Callable, Mapping

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


LOSSES: Mapping[str, Callable[[], keras.Loss]] = {
    "cross-entropy": keras.losses.BinaryCrossentropy,
    "focal": keras.losses.BinaryFocalCrossentropy,
}


def plateau_callbacks(settings: TrainingConfig) -> list[keras.callbacks.Callback]:
    """Return the callback that lowers the rate on a plateau of the validation loss, if the schedule asks for it."""
    if settings.schedule != "plateau":
        return []
    return [
        keras.callbacks.ReduceLROnPlateau(
            "val_loss", settings.plateau_factor, settings.plateau_patience, min_lr=settings.min_learning_rate
        )
    ]
