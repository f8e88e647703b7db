"""The part of training that needs Keras: build, fit, keep the best."""

from collections.abc import Sequence
from pathlib import Path

import keras

from diptych.machine.host_process import python_seed
from diptych.machine.signals import StopSignals
from diptych.model.checkpoint import save_keras_model
from diptych.model.network import build_network
from diptych.model.pretrained import StartWeights, start_weights
from diptych.settings.config import Config, ModelConfig
from diptych.storage.run_dir import RunDir
from diptych.training.loop import EpochLoop, TrainingTask
from diptych.training.snapshots import Snapshot
from diptych.training.state import TrainState
from diptych.training.tracking.tracking import tracking


def new_network(config: Config, classes: int) -> keras.Model:
    """Build the network of a training with random weights; the seed also begins the dropout's draws."""
    precision = "float32" if config.compute.precision == "auto" else config.compute.precision
    with python_seed(config.training.seed):
        return build_network(config.model, classes=classes, precision=precision)


def start_network(config: Config, runs: Path, class_names: Sequence[str]) -> tuple[keras.Model, StartWeights]:
    """Build the network with its initial weights, and log what they are."""
    network = new_network(config, len(class_names))
    return network, start_weights(network, config.model, runs, class_names)


def fit(task: TrainingTask, snapshot: Snapshot | None = None) -> TrainState:
    """Train the network. The history, the best checkpoint and a snapshot are in the run after each epoch.

    Args:
        task: the network, its images, and the run.
        snapshot: where to resume; None for the beginning.

    Returns:
        The state at the end.

    Raises:
        TrainingError: the training diverged, or does not fit into the memory.
        Stopped: Ctrl-C or SIGTERM came; the state was saved.
    """
    history = snapshot.state.history if snapshot else ()
    with StopSignals() as stop, tracking(task.run, task.config, history) as log_epochs:
        return EpochLoop(task, snapshot, stop, log_epochs).train_to_end()


def keep_best(run: RunDir, settings: ModelConfig, image_size: int) -> str:
    """Write best.keras from the best checkpoint, and say what there is."""
    if not run.best.is_file():
        return f"No epoch was finished, so {run.root} holds no checkpoint."
    facts = save_keras_model(run, settings, image_size)
    return (
        f"Best epoch {facts['epoch']}: validation accuracy {facts['val_accuracy']:.1%}. Its checkpoint is whole: {run.best}, "
        f"for plain Keras {run.best_keras}"
    )
