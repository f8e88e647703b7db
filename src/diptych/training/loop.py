"""The loop over epochs: train, validate, select the best, save. A resumed loop continues as if it had never been stopped."""

import dataclasses
import logging
import math
import time
from collections.abc import Iterator

import keras
import numpy as np

from diptych.data.batches import rows_of, training_batches, validation_batches
from diptych.data.loader import Batch
from diptych.data.pixels.store import Images
from diptych.data.reading.manifest import Manifest
from diptych.errors import Stopped, TrainingError
from diptych.machine.backend import feed, list_devices, memory_limit, peak_memory
from diptych.machine.memory import is_out_of_memory
from diptych.machine.signals import StopSignals
from diptych.model.checkpoint import save_checkpoint
from diptych.screen import quoted
from diptych.settings.config import Config
from diptych.storage.atomic import write_text
from diptych.storage.history import HISTORY_COLUMNS
from diptych.storage.run_dir import RunDir
from diptych.training.callbacks import ProgressBar, Watch, describe_epoch
from diptych.training.cost import batch_that_fits, describe_estimate, moments_of
from diptych.training.monitor import judge
from diptych.training.snapshots import Snapshot, save_snapshot
from diptych.training.state import TrainState
from diptych.training.steps.averaging import Averaging
from diptych.training.steps.data_parallel import NumberedBatches, agree, check_divisible, evaluate_spread
from diptych.training.steps.optimizers import (
    build_optimizer,
    compile_network,
    freeze_layers,
    last_learning_rate,
    lower_learning_rate,
    smooth_labels,
)
from diptych.training.steps.stages import Stage, phase_epochs, plan_stages, stage_at
from diptych.training.tracking.tracking import LogEpochs

log = logging.getLogger(__name__)

REHEARSED_STEPS = 3
# What PyTorch's binary cross-entropy says of a probability that is NaN, where the other backends give a loss of NaN.
REFUSED_BY_PYTORCH = "should be between 0 and 1"
# Training images that batch normalisation is measured on anew, under averaged weights.
STATISTICS_IMAGES = 512


class EpochLoop:
    """One training, from a state to its end."""

    def __init__(
        self,
        network: keras.Model,
        run: RunDir,
        config: Config,
        manifest: Manifest,
        store: Images,
        pretrained: bool,
        stop: StopSignals,
        log_epochs: LogEpochs,
    ) -> None:
        """Set up; nothing is trained yet. See `fit.fit` for the arguments."""
        self.network, self.run, self.config, self.manifest, self.store = network, run, config, manifest, store
        self.pretrained, self.stop, self.log_epochs, self.settings = pretrained, stop, log_epochs, config.training
        self.stages = plan_stages(config.training, config.data.image_size, pretrained)
        self.train_images = len(rows_of(manifest, "train"))
        self.steps = math.ceil(self.train_images / config.training.batch_size)
        self.phase = -1
        self.devices = len(list_devices()) if config.compute.devices == "all" else 1
        check_divisible(config.training.batch_size, self.devices)
        self.memory_before = peak_memory()
        self.saved_at = time.monotonic()

    def go_on(self, snapshot: Snapshot | None) -> TrainState:
        """Train from a snapshot, or from the beginning, to the end."""
        state = snapshot.state if snapshot else TrainState()
        self.bar = ProgressBar(self.settings.epochs, self.steps, self.settings.batch_size, state.epoch * self.steps + state.batch)
        try:
            while not state.finished(self.settings.epochs):
                stage = stage_at(self.stages, state.epoch)
                self.enter(stage, snapshot)
                if state == TrainState():
                    self.rehearse(stage)
                state = self.epoch(stage, state, snapshot)
                snapshot = None
                if self.stop.received is not None and not state.finished(self.settings.epochs):
                    raise Stopped(self.stop.exit_code)
        except Exception as error:
            if is_out_of_memory(error):
                raise TrainingError(self.too_large(stage)) from error
            if isinstance(error, RuntimeError) and REFUSED_BY_PYTORCH in str(error):
                batch = min(self.watch.done + self.watch.steps, self.steps - 1)
                raise self.diverged(state.epoch, batch) from error
            raise
        finally:
            self.bar.close()
        return state

    def enter(self, stage: Stage, snapshot: Snapshot | None) -> None:
        """Prepare a stage: the trained layers, the optimizer, the image size."""
        if snapshot:
            snapshot.restore("model", self.network.variables)
        if stage.phase != self.phase:
            steps = self.steps * phase_epochs(self.stages, stage.phase)
            freeze_layers(
                self.network,
                self.settings,
                pretrained=self.pretrained,
                head_only=stage.head_only,
                train_images=self.train_images,
            )
            self.optimizer = build_optimizer(self.settings, self.network, steps, self.pretrained, stage.head_only)
            compile_network(self.network, self.optimizer, self.settings.loss)
            self.averaging = Averaging(self.network, self.optimizer)
            if snapshot and snapshot.state.phase == stage.phase:
                snapshot.restore("optimizer", self.optimizer.variables)
            self.phase = stage.phase
        self.loader = training_batches(self.manifest, self.store, self.config, stage.image_size)
        self.validation = validation_batches(self.manifest, self.store, self.settings.batch_size, stage.image_size)

    def batches(self, first: int, steps: int) -> Iterator[Batch]:
        for images, labels, weights in self.loader.stream(first, steps):
            yield images, smooth_labels(labels, self.settings.label_smoothing), weights

    def train(self, first: int, steps: int, watch: Watch) -> dict[str, float]:
        """Train on some batches, and return loss and accuracy."""
        if self.devices > 1:
            numbered = NumberedBatches(self.loader, first, steps, self.settings.label_smoothing)
            found = self.network.fit(numbered, shuffle=False, verbose=0, callbacks=[watch])
            agree(self.network)
        else:
            batches = feed(self.batches(first, steps))
            found = self.network.fit(batches, shuffle=False, steps_per_epoch=steps, verbose=0, callbacks=[watch])
        return {name: float(values[-1]) for name, values in found.history.items()}

    def rehearse(self, stage: Stage) -> None:
        """Run some trial steps, log the time and memory of the whole training, and undo the steps."""
        variables = [*self.network.variables, *self.optimizer.variables]
        held = [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]
        self.watch = watch = Watch(self.stop, None)
        self.train(0, REHEARSED_STEPS, watch)
        for variable, value in zip(variables, held, strict=True):
            variable.assign(value)
        seconds, size = watch.seconds_per_step, stage.image_size
        estimate = describe_estimate(seconds, size, self.stages, self.steps, len(self.validation), peak_memory(), memory_limit())
        log.info("%s", estimate)

    def epoch(self, stage: Stage, state: TrainState, snapshot: Snapshot | None) -> TrainState:
        """Train the rest of an epoch, validate, select the best, and save everything."""
        started = time.perf_counter() - state.seconds
        self.watch = watch = Watch(self.stop, self.bar, state.batch)
        self.bar.begin(state.epoch)
        if state.batch < self.steps:
            state = self.train_rest(state, watch, snapshot, started)
        try:
            row, best, after = self.validate(stage, state, watch, started)
        except Stopped:
            self.save(dataclasses.replace(state, seconds=time.perf_counter() - started))
            raise
        self.write_history(after)
        self.save(after)
        self.log_epochs(after.history)
        log.info("%s", describe_epoch(row, self.settings.epochs, watch.seconds_building, best))
        return after

    def train_rest(self, state: TrainState, watch: Watch, snapshot: Snapshot | None, started: float) -> TrainState:
        def between(batch: int) -> None:
            if watch.diverged_at is not None:
                raise self.diverged(state.epoch, watch.diverged_at)
            late = time.monotonic() - self.saved_at > 60 * self.settings.checkpoint_minutes
            if self.stop.received is not None or (late and batch > state.batch):
                # On JAX, to ask the callback for it brings the network's variables up to date.
                _ = watch.model
                now = dataclasses.replace(state, batch=batch, phase=self.phase, seconds=time.perf_counter() - started)
                self.save(now)
            if self.stop.received is not None:
                raise Stopped(self.stop.exit_code)

        watch.before_batch.append(between)
        if snapshot is not None and state.batch > 0:
            watch.at_begin.append(lambda: snapshot.restore("metrics", self.network.metrics_variables))
        figures = self.train(state.epoch * self.steps + state.batch, self.steps - state.batch, watch)
        if watch.diverged_at is not None:
            raise self.diverged(state.epoch, watch.diverged_at)
        figures["images_per_second"] = self.settings.batch_size / watch.seconds_per_step
        return dataclasses.replace(state, batch=self.steps, phase=self.phase, figures=figures)

    def validate(
        self, stage: Stage, state: TrainState, watch: Watch, started: float
    ) -> tuple[dict[str, float], bool, TrainState]:
        """Validate the weights, or their moving average; keep the best; return the row, whether it is best, and the state."""
        full_size = stage.image_size == self.config.data.image_size
        count = min(self.steps, math.ceil(STATISTICS_IMAGES / self.settings.batch_size))
        images = (batch[0] for batch in self.loader.stream(state.epoch * self.steps, count)) if full_size else None
        with self.averaging.averaged(images, count):
            if self.devices > 1:
                validated = evaluate_spread(self.network, self.validation)
            else:
                images_in_order, steps = feed(iter(self.validation)), len(self.validation)
                validated = self.network.evaluate(images_in_order, steps=steps, verbose=0, return_dict=True, callbacks=[watch])
            row = {"epoch": state.epoch + 1, **(state.figures or {}), "image_size": stage.image_size}
            row |= {f"val_{name}": float(value) for name, value in validated.items()}
            row |= {"learning_rate": last_learning_rate(self.optimizer), "seconds": time.perf_counter() - started}
            if not math.isfinite(row["val_loss"]):
                raise self.diverged(state.epoch, self.steps - 1)
            new_size = state.epoch > 0 and stage_at(self.stages, state.epoch - 1).image_size != stage.image_size
            verdict = judge(state, {name: row[name] for name in HISTORY_COLUMNS}, self.settings, new_size=new_size)
            if verdict.best:
                save_checkpoint(self.run.best, self.network, {**row, "class_names": list(self.manifest.class_names)})
        if verdict.lower_rate:
            lower_learning_rate(self.optimizer, self.settings.plateau_factor, self.settings.min_learning_rate)
        return row, verdict.best, verdict.state

    def save(self, state: TrainState) -> None:
        """Write a snapshot; if the disk is full, warn and continue, since the previous one is still there."""
        self.saved_at = time.monotonic()
        try:
            save_snapshot(self.run, self.network, state, self.manifest.class_names)
        except TrainingError as error:
            raise self.diverged(state.epoch, state.batch) from error
        except OSError as error:
            kept = "the one before is kept" if self.run.last.is_file() else "there is no earlier one to resume from"
            log.warning(
                "Warning: no checkpoint was written (%s: %s); %s, and the training continues. Free some room on that disk.",
                *(error.filename or self.run.last, error.strerror or error, kept),
            )

    def write_history(self, state: TrainState) -> None:
        rows = [",".join(f"{row[name]:.6g}" for name in HISTORY_COLUMNS) for row in state.history]
        write_text(self.run.history, "\n".join([",".join(HISTORY_COLUMNS), *rows, ""]))

    def diverged(self, epoch: int, batch: int) -> TrainingError:
        kept = f"The last good state is kept in {self.run.last}" if self.run.last.is_file() else "Nothing was kept yet"
        best = f", the best epoch in {self.run.best}" if self.run.best.is_file() else ""
        return TrainingError(
            f"the loss is not finite any more in epoch {epoch + 1}, batch {batch + 1} of {self.steps}, step "
            f"{epoch * self.steps + batch + 1} of the training. {kept}{best}. Resuming would diverge again. Start a new run "
            "with a "
            f"lower --learning-rate (it is {self.settings.learning_rate:g}), with --gradient-clip 1, or with --precision float32 "
            f"if it is bfloat16; --weights {quoted(self.run.root)} starts from what is kept."
        )

    def too_large(self, stage: Stage) -> str:
        size, batch = stage.image_size, self.settings.batch_size
        what = f"batches of {batch} images of {size} px do not fit into the memory"
        fits = batch_that_fits(self.network, size, batch, memory_limit() - self.memory_before, moments=moments_of(self.settings))
        if fits == 0:
            return f"{what}, nor would a single image; try a smaller --image-size."
        return (
            f"{what}. --batch-size {fits} should; with "
            f"--accumulate {math.ceil(batch / fits)} the updates stay those of {batch} images, but for batch normalisation."
        )
