"""Predictions: one row an image, with its class and the probabilities."""

import logging
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diptych.backend import feed
from diptych.config import Config
from diptych.data.images import SUFFIXES
from diptych.data.loader import Images
from diptych.data.prepare import prepare
from diptych.errors import CheckpointError, DataError
from diptych.evaluation.metrics import predict_targets, probability_column
from diptych.evaluation.views import AS_IT_IS, Turned, View, describe_test, plan_test
from diptych.presets import read_toml
from diptych.storage import TWO_CLASSES, RunDir, write_table
from diptych.training.batches import OrderedBatches
from diptych.training.checkpoint import load_run_network

log = logging.getLogger(__name__)

BATCH_SIZE = 32
THRESHOLD = 0.5


def predict_probabilities(
    network: keras.Model, images: Images, rows: NDArray[np.int64], views: Sequence[View] = (AS_IT_IS,)
) -> NDArray[np.float32]:
    """Return the probabilities of some rows of the images; a batch of them at a time is in memory.

    Args:
        network: the dual model.
        images: uint8 (N, S, S, 3), RGB.
        rows: (M,), which images.
        views: of each image, at least one; the probabilities are the mean over them.

    Returns:
        float32, [0, 1]: of two classes (M,), the probability of class 1; of K > 2 classes (M, K).

    Raises:
        CheckpointError: the weights are broken, so that the network predicts NaN.
    """
    units = network.output.shape[-1]
    total = np.zeros((len(rows), units))
    for view in views if len(rows) > 0 else ():
        turned = images if view == AS_IT_IS else Turned(images, view)
        batches = OrderedBatches(turned, np.zeros(len(images), np.int64), rows, BATCH_SIZE, max(2, units))
        total += np.asarray(network.predict(feed(iter(batches)), steps=len(batches), verbose=0))
    probabilities = (total / len(views)).astype(np.float32)
    if not np.isfinite(probabilities).all():
        raise CheckpointError("the network predicts NaN: its training diverged. Train anew with a lower --learning-rate.")
    return probabilities[:, 0] if units == 1 else probabilities


def with_predictions(
    table: pd.DataFrame, probabilities: NDArray[np.float32], class_names: Sequence[str] = TWO_CLASSES
) -> pd.DataFrame:
    """Add the predictions to a table.

    Args:
        table: M rows.
        probabilities: of two classes (M,), that of class 1; of K > 2 (M, K).
        class_names: the K names.

    Returns:
        The table with the columns `predicted_target` (an index into the names), `predicted_class` (its name) and
        `predicted_probability`: of class 1 where there are two classes, else of the predicted class, and then also
        `probability_NAME` for each class.
    """
    targets = predict_targets(probabilities, THRESHOLD)
    predicted = {
        "predicted_target": targets,
        "predicted_class": np.array(class_names, object)[targets],
        "predicted_probability": probabilities if probabilities.ndim == 1 else probabilities.max(axis=1),
    }
    if probabilities.ndim == 2:
        predicted |= {probability_column(name): probabilities[:, target] for target, name in enumerate(class_names)}
    return pd.concat([table.drop(columns=predicted, errors="ignore"), pd.DataFrame(predicted, index=table.index)], axis=1)


def predict(
    run: RunDir, paths: Sequence[Path], output: Path | None = None, *, tta: bool = False, test_size: int | None = None
) -> tuple[pd.DataFrame, Path]:
    """Classify new images with the best checkpoint of a run, and write the table as CSV.

    Args:
        run: a trained run.
        paths: image files, and folders that are searched for images with all that is below them.
        output: where to write the table; None for a new file in the run.
        tta: test-time augmentation: the mean over the flips and quarter turns that the run was trained with.
        test_size: height and width of the images for the network, in pixels; None for those of the training.

    Returns:
        The table `path`, the columns of `with_predictions`, `problem` (a reason where the file cannot be read; then the
        prediction is empty), and where it was written.

    Raises:
        DataError: a path does not exist, or a folder holds no image.
        CheckpointError: the run has no checkpoint.
        ConfigError: as `plan_test`.
    """
    files = find_images(paths)
    spec, views = plan_test(read_toml(run.config, Config()), tta, test_size)
    network, config, class_names = load_run_network(run)
    store, outcome = prepare(files, spec, None)
    readable = (outcome["problem"] == "").to_numpy()
    table = pd.DataFrame({"path": [str(file) for file in files]})
    probabilities = predict_probabilities(network, store, np.flatnonzero(readable), views)
    predicted = with_predictions(table[readable], probabilities, class_names).astype({"predicted_target": "Int64"})
    table = pd.concat([table, predicted.drop(columns="path"), outcome["problem"]], axis=1)
    place = output or run.root / "predictions" / f"{datetime.now():%Y%m%d-%H%M%S-%f}.csv"
    write_table(place, table)
    if len(views) > 1 or spec.size != config.data.image_size:
        log.info("%s", describe_test(spec.size, len(views)))
    return table, place


def find_images(paths: Sequence[Path]) -> list[Path]:
    """List the files, and the images in the folders, of `paths`, each once and in their order."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
            if not found:
                raise DataError(f"{path}: no image in this folder; expected files that end in {', '.join(SUFFIXES)}.")
            files += found
        elif path.is_file():
            files.append(path)
        else:
            raise DataError(f"{path}: no such file or folder.")
    if not files:
        raise DataError("no images named; give files or folders.")
    return list(dict.fromkeys(files))
