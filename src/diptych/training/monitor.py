"""Model selection, learning-rate reduction on a plateau and early stopping, from the metrics of each epoch."""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

from diptych.settings.config import TrainingConfig
from diptych.training.state import TrainState


class Verdict(NamedTuple):
    """The state after an epoch, and what follows from it: a new best, a lower rate, the end."""

    state: TrainState
    best: bool
    lower_rate: bool


def judge(state: TrainState, row: Mapping[str, float], settings: TrainingConfig, *, new_size: bool = False) -> Verdict:
    """Judge an epoch by its figures.

    Args:
        state: before the epoch.
        row: its line of the history, with `val_loss` and `val_accuracy`.
        settings: what the best is best by, the plateau schedule, early stopping.
        new_size: whether the image size has changed since the epoch before: what was best then is not comparable.

    Returns:
        The state after it. By accuracy the best epoch has the highest validation accuracy, and among equals the lowest
        validation loss; by loss the lowest validation loss.
    """
    score = (row["val_accuracy"] if settings.best_by == "accuracy" else 0.0, -row["val_loss"])
    number = state.epoch + 1
    best = state.best_score is None or new_size or score > state.best_score
    plateau_loss, plateau_wait, lower_rate = state.plateau_loss, state.plateau_wait, False
    if settings.schedule == "plateau":
        plateau_loss, plateau_wait = track(plateau_loss, plateau_wait, row["val_loss"], settings.plateau_min_delta, new_size)
        lower_rate = plateau_wait >= settings.plateau_patience
        plateau_wait = 0 if lower_rate else plateau_wait
    stop_loss, stop_wait = track(state.stop_loss, state.stop_wait, row["val_loss"], 0.0, new_size)
    after = dataclasses.replace(
        state,
        epoch=number,
        batch=0,
        seconds=0.0,
        figures=None,
        history=(*state.history, row),
        best_score=score if best else state.best_score,
        best_epoch=number if best else state.best_epoch,
        plateau_loss=plateau_loss,
        plateau_wait=plateau_wait,
        stop_loss=stop_loss,
        stop_wait=stop_wait,
        stopped=0 < settings.early_stopping <= stop_wait,
    )
    return Verdict(after, best, lower_rate)


def track(lowest: float | None, wait: int, loss: float, min_delta: float, new_size: bool) -> tuple[float, int]:
    """Return the lowest loss so far, and the epochs since it came."""
    if lowest is None or new_size or loss < lowest - min_delta:
        return loss, 0
    return lowest, wait + 1
