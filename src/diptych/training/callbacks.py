"""What happens at the end of each step and epoch: the progress bar, the history, the checkpoints."""

import csv
import logging
import os
import time
from collections.abc import Sequence
from typing import Any, Literal

import keras
from tqdm import tqdm

from diptych.backend import keep_freed_memory
from diptych.storage import RunDir
from diptych.training.checkpoint import save_checkpoint

log = logging.getLogger(__name__)

HISTORY_COLUMNS = (
    "epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds", "images_per_second",
)  # fmt: skip


class ProgressBar(keras.callbacks.Callback):
    """One bar for the whole training, with images/s and the time left; drawn where standard error is a terminal."""

    def __init__(self, epochs: int, steps_per_epoch: int, batch_size: int) -> None:
        super().__init__()
        self.epochs, self.steps_per_epoch, self.batch_size = epochs, steps_per_epoch, batch_size

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        total = self.epochs * self.steps_per_epoch * self.batch_size
        self.bar = tqdm(total=total, unit=" images", disable=None, leave=False, smoothing=0.05)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.bar.set_description(f"epoch {epoch + 1}/{self.epochs}")

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.bar.update(self.batch_size)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.bar.close()


class KeepMemory(keras.callbacks.Callback):
    """Undoes, once the generators run, what TensorFlow does to the memory allocator for them."""

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if batch == 0:
            keep_freed_memory()


class History(keras.callbacks.Callback):
    """Adds a line to history.csv, and to the screen, at the end of each epoch.

    `seconds` is the whole epoch, validation and checkpoints included; `images_per_second` counts the
    training steps alone, without the first one of the run, in which the graph is built.
    """

    def __init__(self, run: RunDir, epochs: int, batch_size: int) -> None:
        super().__init__()
        self.run, self.epochs, self.batch_size = run, epochs, batch_size

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.write(HISTORY_COLUMNS, "w")

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.epoch_started = self.first_step_ended = self.last_step_ended = time.perf_counter()
        self.timed_steps = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.last_step_ended = time.perf_counter()
        if batch == 0:
            self.first_step_ended = self.last_step_ended
        else:
            self.timed_steps += 1

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        values = {name: float(value) for name, value in (logs or {}).items()}
        values["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        values["seconds"] = time.perf_counter() - self.epoch_started
        values["images_per_second"] = self.speed()
        row = [epoch + 1, *(f"{values[name]:.6g}" for name in HISTORY_COLUMNS[1:])]
        self.write(row, "a")
        log.info("%s", self.line(epoch + 1, values))

    def speed(self) -> float:
        seconds, steps = self.last_step_ended - self.first_step_ended, self.timed_steps
        if steps == 0:
            seconds, steps = self.last_step_ended - self.epoch_started, 1
        return steps * self.batch_size / seconds

    def write(self, row: Any, mode: str) -> None:
        with self.run.history.open(mode, newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(row)
            file.flush()
            os.fsync(file.fileno())

    def line(self, number: int, values: dict[str, float]) -> str:
        # The first step of the run also builds the graph, which will not come again: a step of usual length instead.
        usual_step = self.batch_size / values["images_per_second"]
        epoch_seconds = values["seconds"] - (self.first_step_ended - self.epoch_started) + usual_step
        left = epoch_seconds * (self.epochs - number)
        return (
            f"epoch {number:>{len(str(self.epochs))}}/{self.epochs}   training: loss {values['loss']:.4f}, accuracy "
            f"{values['accuracy']:.1%}   validation: loss {values['val_loss']:.4f}, accuracy {values['val_accuracy']:.1%}   "
            f"rate {values['learning_rate']:.1e}   {values['images_per_second']:.1f} images/s   {in_words(left)} left"
        )


class Checkpoints(keras.callbacks.Callback):
    """Keeps the last epoch, and the best, with the names of the classes.

    By accuracy that is the highest validation accuracy, and among equals the lowest validation loss; by loss the lowest
    validation loss.
    """

    def __init__(self, run: RunDir, best_by: Literal["accuracy", "loss"], class_names: Sequence[str]) -> None:
        super().__init__()
        self.run, self.best_by, self.class_names = run, best_by, list(class_names)
        self.best: tuple[float, float] | None = None
        self.best_epoch = 0

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        values = {name: float(value) for name, value in (logs or {}).items()}
        facts = {"epoch": epoch + 1, "class_names": self.class_names, **values}
        score = (values["val_accuracy"] if self.best_by == "accuracy" else 0.0, -values["val_loss"])
        if self.best is None or score > self.best:
            self.best, self.best_epoch = score, epoch + 1
            save_checkpoint(self.run.best, self.model, facts)
        save_checkpoint(self.run.last, self.model, {**facts, "best_epoch": self.best_epoch}, self.model.optimizer)


def in_words(seconds: float) -> str:
    """Say a time span: "42 s", "7 min", "3 h 20 min"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"
