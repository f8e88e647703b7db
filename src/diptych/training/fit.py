"""The part of training that needs Keras: build, fit, keep the best."""

from collections.abc import Sequence
from pathlib import Path

import keras

from diptych.config import Config, ModelConfig
from diptych.data.loader import Images
from diptych.data.manifest import Manifest
from diptych.model import resnet
from diptych.model.network import build_network
from diptych.storage import TWO_CLASSES, RunDir
from diptych.training.batches import training_batches, validation_batches
from diptych.training.callbacks import Checkpoints, History, KeepMemory, ProgressBar
from diptych.training.checkpoint import save_keras_model
from diptych.training.optim import build_accuracy, build_loss, build_optimizer, plateau_callbacks
from diptych.training.weights import StartWeights, start_weights


def compile_network(network: keras.Model, optimizer: keras.Optimizer, loss: str = "cross-entropy") -> None:
    """Compile for a loss, "cross-entropy" or "focal", that weights of images count in, and accuracy, that they do not.

    Every variable is made here. With variables left to be made in the first step, TensorFlow traces the graph twice, and
    the first step takes 36 s instead of 23 s (measured: docs/experiments.md).
    """
    optimizer.build(network.trainable_variables)
    classes = max(2, network.output.shape[-1])
    network.compile(optimizer, loss=build_loss(loss, classes), metrics=[build_accuracy(classes)])


def start_network(config: Config, runs: Path, class_names: Sequence[str] = TWO_CLASSES) -> tuple[keras.Model, StartWeights]:
    """Build the network with the weights to start from, and say what they are."""
    keras.utils.set_random_seed(config.training.seed)
    network = build_network(config.model, classes=len(class_names))
    return network, start_weights(network, config.model, runs, class_names)


def fit(
    network: keras.Model, run: RunDir, config: Config, manifest: Manifest, store: Images, *, pretrained: bool = False
) -> None:
    """Train the network. The history, the best and the last checkpoint are in the run after each epoch.

    Args:
        network: with the weights to start from.
        run: the folder of the run.
        config: all settings.
        manifest: the images with their split, and the classes; its index is the row in the store.
        store: the decoded images.
        pretrained: whether the weights to start from were trained before.
    """
    settings, size = config.training, config.data.image_size
    loader = training_batches(manifest, store, config, size)
    optimizer = build_optimizer(settings, settings.epochs * loader.steps_per_epoch, pretrained)
    if config.model.branches != "convnet":
        network.get_layer(resnet.NAME).trainable = not settings.freeze_resnet50
    compile_network(network, optimizer, settings.loss)
    network.fit(
        loader.stream(),
        shuffle=False,
        steps_per_epoch=loader.steps_per_epoch,
        epochs=settings.epochs,
        validation_data=validation_batches(manifest, store, settings.batch_size, size),
        verbose=0,
        callbacks=[
            ProgressBar(settings.epochs, loader.steps_per_epoch, settings.batch_size),
            KeepMemory(),
            Checkpoints(run, settings.best_by, manifest.class_names),
            History(run, settings.epochs, settings.batch_size),
            *plateau_callbacks(settings),
        ],
    )


def keep_best(run: RunDir, settings: ModelConfig) -> str:
    """Write best.keras from the best checkpoint, and say what there is."""
    if not run.best.is_file():
        return f"No epoch was finished, so {run.root} holds no checkpoint."
    facts = save_keras_model(run, settings)
    return (
        f"Best epoch {facts['epoch']}: validation accuracy {facts['val_accuracy']:.1%}. Its checkpoint is whole: {run.best}, "
        f"for plain Keras {run.best_keras}"
    )
