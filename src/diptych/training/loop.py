"""The loop over epochs: train, validate, select the best, save. A resumed loop continues as if it had never been stopped."""

import dataclasses
import logging
import math
import time
from dataclasses import dataclass

import keras
import numpy as np

from diptych.data.batches import OrderedBatches, rows_of, training_batches, validation_batches
from diptych.data.loader import BatchLoader
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
from diptych.training.cost import batch_that_fits, describe_memory, describe_time, moments_of
from diptych.training.monitor import Verdict, judge
from diptych.training.snapshots import Snapshot, save_snapshot
from diptych.training.state import TrainState
from diptych.training.steps.averaging import Averaging
from diptych.training.steps.data_parallel import (
    NumberedBatches,
    check_divisible,
    evaluate_in_parallel,
    smoothed_batches,
    synchronise_batch_norm,
)
from diptych.training.steps.optimizers import (
    build_optimizer,
    compile_network,
    freeze_layers,
    last_learning_rate,
    lower_learning_rate,
)
from diptych.training.steps.stages import Stage, phase_epochs, plan_stages, stage_at
from diptych.training.tracking.tracking import LogEpochs

log = logging.getLogger(__name__)

REHEARSED_STEPS = 3
# What PyTorch's binary cross-entropy says of a probability that is NaN, where the other backends give a loss of NaN.
REFUSED_BY_PYTORCH = "should be between 0 and 1"
# Training images that batch normalisation is measured on anew, under averaged weights.
STATISTICS_IMAGES = 512


@dataclass(frozen=True)
class TrainingTask:
    """What is trained, on which images, and where it is written.

    Attributes:
        network: with its initial weights, or with any where a snapshot is resumed.
        run: the folder of the run.
        config: all settings.
        manifest: the images with their split, and the classes; its index is the row in `images`.
        images: the decoded images.
        pretrained: whether the initial weights were trained before.
    """

    network: keras.Model
    run: RunDir
    config: Config
    manifest: Manifest
    images: Images
    pretrained: bool = False


@dataclass(frozen=True)
class StageTools:
    """What the epochs of one stage are trained with; stages of one phase share the optimizer and the average."""

    stage: Stage
    optimizer: keras.Optimizer
    averaging: Averaging
    loader: BatchLoader
    validation: OrderedBatches


class EpochLoop:
    """One training, from its beginning or from a snapshot to its end."""

    def __init__(self, task: TrainingTask, snapshot: Snapshot | None, stop: StopSignals, log_epochs: LogEpochs) -> None:
        """Set up; nothing is trained yet.

        Args:
            task: what is trained.
            snapshot: where to resume; None for the beginning.
            stop: the signals that end the training between two batches.
            log_epochs: is called with the history after each epoch.

        Raises:
            ConfigError: the batch size cannot be shared out among the devices.
        """
        settings = task.config.training
        self.network = task.network
        self.run = task.run
        self.config = task.config
        self.settings = settings
        self.manifest = task.manifest
        self.images = task.images
        self.pretrained = task.pretrained
        self.snapshot = snapshot
        self.stop = stop
        self.log_epochs = log_epochs

        self.stages = plan_stages(settings, task.config.data.image_size, task.pretrained)
        self.train_images = len(rows_of(task.manifest, "train"))
        self.steps = math.ceil(self.train_images / settings.batch_size)
        self.devices = len(list_devices()) if task.config.compute.devices == "all" else 1
        check_divisible(settings.batch_size, self.devices)

        # Beyond this, the training takes memory.
        self.memory_before = peak_memory()
        self.saved_at = time.monotonic()
        self.state = snapshot.state if snapshot else TrainState()
        self.watch = Watch(stop, None)
        done = self.state.epoch * self.steps + self.state.batch
        self.bar = ProgressBar(settings.epochs, self.steps, settings.batch_size, done)

    def train_to_end(self) -> TrainState:
        """Train what is left, and return the state at the end.

        Raises:
            TrainingError: the loss is not finite any more, or the training does not fit into the memory.
            Stopped: a signal came; the state was saved.
        """
        tools: StageTools | None = None
        stage = self.stages[0]
        try:
            while not self.state.finished(self.settings.epochs):
                stage = stage_at(self.stages, self.state.epoch)
                tools = self.enter(stage, tools)
                if self.state == TrainState():
                    self.rehearse(tools)
                self.state = self.epoch(tools)
                # Of use for the first epoch only: what it holds has been restored.
                self.snapshot = None
                if self.stop.received is not None and not self.state.finished(self.settings.epochs):
                    raise Stopped(self.stop.exit_code)
        except Exception as error:
            if is_out_of_memory(error):
                raise TrainingError(self.too_large(stage)) from error
            if isinstance(error, RuntimeError) and REFUSED_BY_PYTORCH in str(error):
                batch = min(self.watch.done + self.watch.steps, self.steps - 1)
                raise self.diverged(self.state.epoch, batch) from error
            raise
        finally:
            self.bar.close()
        return self.state

    def enter(self, stage: Stage, before: StageTools | None) -> StageTools:
        """Prepare a stage: the trained layers, the optimizer, the image size.

        Args:
            stage: the stage of the next epoch.
            before: the tools of the epoch before; None for the first one in this process.
        """
        if self.snapshot:
            self.snapshot.restore("model", self.network.variables)
        if before is None or stage.phase != before.stage.phase:
            steps = self.steps * phase_epochs(self.stages, stage.phase)
            freeze_layers(
                self.network,
                self.settings,
                pretrained=self.pretrained,
                head_only=stage.head_only,
                train_images=self.train_images,
            )
            optimizer = build_optimizer(self.settings, self.network, steps, self.pretrained, stage.head_only)
            compile_network(self.network, optimizer, self.settings.loss)
            averaging = Averaging(self.network, optimizer)
            # A snapshot from the end of a phase holds the optimizer of that phase, which is not needed any more.
            if self.snapshot and self.snapshot.state.phase == stage.phase:
                self.snapshot.restore("optimizer", optimizer.variables)
        else:
            optimizer, averaging = before.optimizer, before.averaging
        loader = training_batches(self.manifest, self.images, self.config, stage.image_size)
        validation = validation_batches(self.manifest, self.images, self.settings.batch_size, stage.image_size)
        return StageTools(stage, optimizer, averaging, loader, validation)

    def epoch(self, tools: StageTools) -> TrainState:
        """Train the rest of an epoch, validate, select the best, and save everything; return the state after it."""
        state = self.state
        # As if the whole epoch had been trained in this process.
        started = time.perf_counter() - state.seconds
        self.watch = Watch(self.stop, self.bar, state.batch)
        self.bar.begin(state.epoch)
        if state.batch < self.steps:
            state = self.train_rest(tools, state, started)
        try:
            row, verdict = self.validate(tools, state, started)
        except Stopped:
            self.save(dataclasses.replace(state, seconds=time.perf_counter() - started))
            raise
        after = verdict.state
        self.write_history(after)
        self.save(after)
        self.log_epochs(after.history)
        log.info("%s", describe_epoch(row, self.settings.epochs, self.watch.seconds_building, verdict.best))
        return after

    def train_rest(self, tools: StageTools, state: TrainState, started: float) -> TrainState:
        """Train the batches of an epoch that are left, with a snapshot now and then; return the state before the validation."""
        phase = tools.stage.phase
        watch = self.watch

        def between(batch: int) -> None:
            if watch.diverged_at is not None:
                raise self.diverged(state.epoch, watch.diverged_at)
            late = time.monotonic() - self.saved_at > 60 * self.settings.checkpoint_minutes
            if self.stop.received is not None or (late and batch > state.batch):
                # On JAX, to ask the callback for it brings the network's variables up to date.
                _ = watch.model
                seconds = time.perf_counter() - started
                self.save(dataclasses.replace(state, batch=batch, phase=phase, seconds=seconds))
            if self.stop.received is not None:
                raise Stopped(self.stop.exit_code)

        watch.before_batch.append(between)
        snapshot = self.snapshot
        if snapshot is not None and state.batch > 0:
            # Keras resets the metrics when `fit` begins, so they are restored only after that.
            watch.at_begin.append(lambda: snapshot.restore("metrics", self.network.metrics_variables))
        figures = self.train_batches(tools.loader, state.epoch * self.steps + state.batch, self.steps - state.batch)
        if watch.diverged_at is not None:
            raise self.diverged(state.epoch, watch.diverged_at)
        figures["images_per_second"] = self.settings.batch_size / watch.seconds_per_step
        return dataclasses.replace(state, batch=self.steps, phase=phase, figures=figures)

    def train_batches(self, loader: BatchLoader, first: int, steps: int) -> dict[str, float]:
        """Train on `steps` batches, beginning with batch `first`; return their mean loss and accuracy."""
        if self.devices > 1:
            numbered = NumberedBatches(loader, first, steps, self.settings.label_smoothing)
            found = self.network.fit(numbered, shuffle=False, verbose=0, callbacks=[self.watch])
            synchronise_batch_norm(self.network)
        else:
            batches = feed(smoothed_batches(loader, first, steps, self.settings.label_smoothing))
            found = self.network.fit(batches, shuffle=False, steps_per_epoch=steps, verbose=0, callbacks=[self.watch])
        return {name: float(values[-1]) for name, values in found.history.items()}

    def rehearse(self, tools: StageTools) -> None:
        """Run some trial steps, log the time and memory of the whole training, and undo the steps."""
        variables = [*self.network.variables, *tools.optimizer.variables]
        held = [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]
        self.watch = Watch(self.stop, None)
        self.train_batches(tools.loader, 0, REHEARSED_STEPS)
        for variable, value in zip(variables, held, strict=True):
            variable.assign(value)
        step = self.watch.seconds_per_step
        duration = describe_time(step, tools.stage.image_size, self.stages, self.steps, len(tools.validation))
        log.info("%s; %s", duration, describe_memory(peak_memory(), memory_limit()))

    def validate(self, tools: StageTools, state: TrainState, started: float) -> tuple[dict[str, float], Verdict]:
        """Validate the weights, or their moving average, judge the epoch, and keep the best; return its row and the verdict."""
        stage = tools.stage
        # The best epoch is chosen anew at each size, so at a smaller one a pass for better statistics would be wasted.
        full_size = stage.image_size == self.config.data.image_size
        count = min(self.steps, math.ceil(STATISTICS_IMAGES / self.settings.batch_size))
        images = (batch[0] for batch in tools.loader.stream(state.epoch * self.steps, count)) if full_size else None
        with tools.averaging.averaged(images, count):
            row = {
                "epoch": state.epoch + 1,
                **(state.figures or {}),
                "image_size": stage.image_size,
                **self.evaluate(tools.validation),
                "learning_rate": last_learning_rate(tools.optimizer),
                "seconds": time.perf_counter() - started,
            }
            if not math.isfinite(row["val_loss"]):
                raise self.diverged(state.epoch, self.steps - 1)
            new_size = state.epoch > 0 and stage_at(self.stages, state.epoch - 1).image_size != stage.image_size
            verdict = judge(state, {name: row[name] for name in HISTORY_COLUMNS}, self.settings, new_size=new_size)
            if verdict.best:
                save_checkpoint(self.run.best, self.network, {**row, "class_names": list(self.manifest.class_names)})
        if verdict.lower_rate:
            lower_learning_rate(tools.optimizer, self.settings.plateau_factor, self.settings.min_learning_rate)
        return row, verdict

    def evaluate(self, validation: OrderedBatches) -> dict[str, float]:
        """Return `val_loss` and `val_accuracy` of the network as it is."""
        if self.devices > 1:
            found = evaluate_in_parallel(self.network, validation)
        else:
            batches = feed(iter(validation))
            steps = len(validation)
            found = self.network.evaluate(batches, steps=steps, verbose=0, return_dict=True, callbacks=[self.watch])
        return {f"val_{name}": float(value) for name, value in found.items()}

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
