"""Callbacks between batches: progress bar, snapshots, stopping on request, and the check that the loss is finite."""

import math
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
from tqdm import tqdm

from diptych.errors import Stopped
from diptych.machine.host_process import is_own_process
from diptych.machine.memory import keep_freed_memory
from diptych.machine.signals import StopSignals
from diptych.screen import in_notebook
from diptych.training.cost import round_time


class ProgressBar:
    """One bar for the whole training, with images/s and the time left; drawn where standard error is a terminal."""

    def __init__(self, epochs: int, steps_per_epoch: int, batch_size: int, done: int = 0) -> None:
        """Begin with `done` of all batches."""
        self.epochs = epochs
        self.batch_size = batch_size
        total = epochs * steps_per_epoch * batch_size
        # A notebook paints red what comes from standard error.
        screen, hidden = (sys.stdout, False) if in_notebook() else (sys.stderr, None)
        self.bar = tqdm(
            total=total,
            unit=" images",
            file=screen,
            disable=hidden,
            leave=False,
            smoothing=0.05,
            initial=done * batch_size,
        )

    def begin(self, epoch: int) -> None:
        """Show the number of an epoch that is counted from 0."""
        self.bar.set_description(f"epoch {epoch + 1}/{self.epochs}")

    def step(self) -> None:
        """Count one more batch."""
        self.bar.update(self.batch_size)

    def close(self) -> None:
        """Remove the bar from the screen."""
        self.bar.close()


class Watch(keras.callbacks.Callback):
    """Watch one epoch, or the rest of it: progress, snapshots, stopping, and a loss that is not finite.

    What needs the network's variables happens before a batch, in the thread that trains; what comes after a batch may be
    called from another thread while the next batch is computed (Keras's `async_safe`), so that a graphics card never waits.
    """

    async_safe = True

    def __init__(self, stop: StopSignals, bar: ProgressBar | None, done: int = 0) -> None:
        """Watch an epoch of which `done` batches were trained before."""
        super().__init__()
        self.stop = stop
        self.bar = bar
        self.done = done
        # What follows is written by the thread that ends a batch, and read by the one that trains.
        self.lock = threading.Lock()
        self.started = time.perf_counter()
        self.first_ended = self.started
        self.last_ended = self.started
        self.steps = 0
        self.diverged_at: int | None = None
        self.before_batch: list[Callable[[int], None]] = []
        self.at_begin: list[Callable[[], None]] = []

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        for action in self.at_begin:
            action()

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        for action in self.before_batch:
            action(self.done + batch)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if not math.isfinite((logs or {})["loss"]):
            number = self.done + batch
            self.diverged_at = number if self.diverged_at is None else min(number, self.diverged_at)
        with self.lock:
            self.last_ended = time.perf_counter()
            if self.steps == 0:
                self.first_ended = self.last_ended
                if is_own_process():
                    keep_freed_memory()
            self.steps += 1
            if self.bar is not None:
                self.bar.step()

    def on_test_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self.stop.received is not None:
            # On JAX, to ask for it gives the network its variables back, which `evaluate` has taken out.
            _ = self.model
            raise Stopped(self.stop.exit_code)

    @property
    def seconds_per_step(self) -> float:
        """Time of a training step, without the first one, in which the graph is built; of the first if there is no other."""
        if self.steps > 1:
            return (self.last_ended - self.first_ended) / (self.steps - 1)
        return self.last_ended - self.started

    @property
    def seconds_building(self) -> float:
        """How much longer the first step took than the others."""
        return max(0.0, self.first_ended - self.started - self.seconds_per_step) if self.steps > 1 else 0.0


def describe_epoch(row: Mapping[str, float], epochs: int, seconds_building: float, best: bool) -> str:
    """Format an epoch's row of the history for the screen, with the remaining time."""
    # The first step of a run also builds the graph, which will not come again.
    left = (row["seconds"] - seconds_building) * (epochs - row["epoch"])
    return (
        f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}   training: loss {row['loss']:.4f}, accuracy {row['accuracy']:.1%}   "
        f"validation: loss {row['val_loss']:.4f}, accuracy {row['val_accuracy']:.1%}{' (best)' * best}   "
        f"rate {row['learning_rate']:.1e}   {row['images_per_second']:.1f} images/s   {round_time(left)} left"
    )
