"""Predictions: one row an image, with the probability of class 1."""

import logging
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diptych.data.images import SUFFIXES, ImageSpec
from diptych.data.prepare import prepare
from diptych.errors import CheckpointError, DataError
from diptych.storage import RunDir, write_table
from diptych.training.checkpoint import load_run_network
from diptych.training.fit import OrderedBatches

log = logging.getLogger(__name__)

BATCH_SIZE = 32
THRESHOLD = 0.5


def predict_probabilities(network: keras.Model, images: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the probability of class 1 for some rows of the images; a batch of them at a time is in memory.

    Args:
        network: the dual model.
        images: uint8 (N, S, S, 3), RGB.
        rows: (M,), which images.

    Returns:
        float32 (M,), [0, 1].

    Raises:
        CheckpointError: the weights are broken, so that the network predicts NaN.
    """
    if len(rows) == 0:
        return np.zeros(0, np.float32)
    batches = OrderedBatches(images, np.zeros(len(images), np.int64), rows, BATCH_SIZE)
    probabilities: NDArray[np.float32] = np.asarray(network.predict(batches, verbose=0))
    if not np.isfinite(probabilities).all():
        raise CheckpointError("the network predicts NaN: its training diverged. Train anew with a lower --learning-rate.")
    return probabilities[:, 0]


def with_predictions(table: pd.DataFrame, probabilities: NDArray[np.float32]) -> pd.DataFrame:
    """Add the columns `predicted_target` (0 or 1) and `predicted_probability` (of class 1) to a table."""
    return table.assign(predicted_target=(probabilities >= THRESHOLD).astype(int), predicted_probability=probabilities)


def predict(run: RunDir, paths: Sequence[Path], output: Path | None = None) -> tuple[pd.DataFrame, Path]:
    """Classify new images with the best checkpoint of a run, and write the table as CSV.

    Args:
        run: a trained run.
        paths: image files, and folders that are searched for images with all that is below them.
        output: where to write the table; None for a new file in the run.

    Returns:
        The table `path`, `predicted_target`, `predicted_probability`, `problem` (a reason where the file cannot be read;
        then the prediction is empty), and where it was written.

    Raises:
        DataError: a path does not exist, or a folder holds no image.
        CheckpointError: the run has no checkpoint.
    """
    files = find_images(paths)
    network, config = load_run_network(run)
    store, outcome = prepare(files, ImageSpec(config.data.image_size, config.data.resize))
    readable = (outcome["problem"] == "").to_numpy()
    table = pd.DataFrame({"path": [str(file) for file in files]})
    predicted = with_predictions(table[readable], predict_probabilities(network, store.images, np.flatnonzero(readable)))
    table = table.join(predicted[["predicted_target", "predicted_probability"]].astype({"predicted_target": "Int64"}))
    table["problem"] = outcome["problem"]
    place = output or run.root / "predictions" / f"{datetime.now():%Y%m%d-%H%M%S-%f}.csv"
    write_table(place, table)
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
