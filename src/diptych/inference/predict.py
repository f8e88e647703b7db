"""Prediction with Keras: from images to the table of what is answered."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import keras
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from diptych.data.batches import OrderedBatches
from diptych.data.pixels.greys import warn_of_doubts
from diptych.data.pixels.prepare import prepare
from diptych.data.pixels.store import Images
from diptych.data.reading.class_folders import find_images
from diptych.data.reading.manifest import printable
from diptych.errors import CheckpointError, ConfigError
from diptych.inference.decision import Decision
from diptych.inference.given_images import ImageLike, decode_given
from diptych.inference.outliers import Outliers
from diptych.inference.prediction_table import prediction_columns
from diptych.inference.trained_run import TrainedRun
from diptych.inference.tta import AS_IT_IS, Turned, View, describe_test, plan_test
from diptych.machine.backend import feed
from diptych.storage.atomic import PathLike, as_optional_path, as_paths, refuse_unwritable, write_table
from diptych.storage.run_dir import RunDir

log = logging.getLogger(__name__)

BATCH_SIZE = 32
# Features of so many images are in memory at a time.
CHUNK = 64 * BATCH_SIZE

Reduce = Callable[[NDArray[np.float32]], NDArray[Any]]


def predict_probabilities(
    network: keras.Model, images: Images, rows: NDArray[np.int64], views: Sequence[View] = (AS_IT_IS,), progress: str = ""
) -> NDArray[np.float64]:
    """Return the probabilities of some rows of the images.

    Args:
        network: the dual model.
        images: uint8 (N, S, S, 3), RGB; a batch of them at a time is in memory.
        rows: (M,), which images.
        views: of each image, at least one; the probabilities are the mean over them.
        progress: what is done, for a progress bar where standard error is a terminal; "" for none.

    Returns:
        float64 (M, K), each row adding up to 1; of two classes too.

    Raises:
        CheckpointError: the weights are broken, so that the network predicts NaN.
    """
    total = np.zeros((len(rows), network.output.shape[-1]))
    for place, _, found in answer_chunks(network, images, rows, views, progress):
        total[place] += found
    return widen(total / len(views))


def predict_with_features(
    network: keras.Model, images: Images, rows: NDArray[np.int64], views: Sequence[View], reduce: Reduce, progress: str = ""
) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Return the probabilities as `predict_probabilities` does, and something made of the pooled features.

    Args:
        network: `TrainedRun.feature_network`.
        images: uint8 (N, S, S, 3), RGB.
        rows: (M,), which images.
        views: of each image; the first one is the image as it is.
        reduce: is given features, float32 (n, C), of some of the images as they are, and returns n rows.
        progress: what is done, for a progress bar.

    Returns:
        Probabilities, float64 (M, K), and the M rows.

    Raises:
        CheckpointError: as `predict_probabilities`.
    """
    output, pooled = network.outputs
    total, reduced = np.zeros((len(rows), output.shape[-1])), []
    for place, view, (found, features) in answer_chunks(network, images, rows, views, progress):
        total[place] += found
        if view == AS_IT_IS:
            reduced.append(reduce(np.asarray(features, np.float32)))
    # Of no images there are no rows, of the right width.
    return widen(total / len(views)), np.concatenate(reduced or [reduce(np.zeros((0, pooled.shape[-1]), np.float32))])


def answer_chunks(
    model: keras.Model, images: Images, rows: NDArray[np.int64], views: Sequence[View], progress: str
) -> Iterator[tuple[slice, View, Any]]:
    """Yield the outputs of a model for each view of each chunk of the rows: the chunk's place, the view, the outputs."""
    classes = max(2, model.outputs[0].shape[-1])
    with tqdm(
        total=len(rows) * len(views), desc=progress, unit=" images", leave=False, disable=None if progress else True
    ) as bar:
        for first in range(0, len(rows), CHUNK):
            place = slice(first, first + CHUNK)
            for view in views:
                turned = images if view == AS_IT_IS else Turned(images, view)
                batches = OrderedBatches(turned, np.zeros(len(images), np.int64), rows[place], BATCH_SIZE, classes)
                yield place, view, model.predict(feed(counted(batches, bar)), steps=len(batches), verbose=0)


def counted(batches: OrderedBatches, bar: "tqdm[NoReturn]") -> Iterator[tuple[NDArray[Any], ...]]:
    for batch in batches:
        bar.update(len(batch[0]))
        yield batch


def widen(outputs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return probabilities (N, K), each row adding up to 1, from the outputs of the network.

    Args:
        outputs: float64 (N, 1), the sigmoid of two classes, or (N, K), a softmax in float32, which adds up to 1 but for rounding.

    Raises:
        CheckpointError: they are NaN.
    """
    if not np.isfinite(outputs).all():
        raise CheckpointError("the network predicts NaN: its training diverged. Train again with a lower --learning-rate.")
    if outputs.shape[1] == 1:
        return np.concatenate([1 - outputs, outputs], axis=1)
    probabilities: NDArray[np.float64] = outputs / outputs.sum(axis=1, keepdims=True)
    return probabilities


def predict(
    run: TrainedRun | RunDir | PathLike,
    paths: PathLike | Sequence[PathLike],
    output: PathLike | None = None,
    *,
    tta: bool = False,
    test_size: int | None = None,
    follow_links: bool = False,
) -> pd.DataFrame:
    """Classify new images with the best checkpoint of a run and its decision.

    Args:
        run: a trained run, open or not: its folder, or its name in runs/.
        paths: image files, folders that are searched for images with all that is below them, and patterns (*.jpg).
        output: the CSV file to write the table to; None to write nothing.
        tta: test-time augmentation: the mean over the flips and quarter turns that the run was trained with.
        test_size: height and width of the images for the network, in pixels; None for those of the training.
        follow_links: whether links may lead out of the folders.

    Returns:
        The table `path` (what is not UTF-8 in it with backslashes), the columns of `prediction_columns`, `problem` (a reason
        where the file cannot be read; then the prediction is empty).

    Raises:
        DataError: a path does not exist, or a folder holds no image.
        CheckpointError: the run has no checkpoint, or its decision is for other weights.
        ConfigError: as `plan_test`, or `output` cannot be written.
        TypeError: the run or a path is none.
    """
    run, files = TrainedRun.open(run), find_images(as_paths(paths), follow_links=follow_links)
    place = as_optional_path(output)
    if place is not None:
        check_output(place, files)
    spec, views = plan_test(run.config, tta, test_size)
    decision, outliers = run.answer_with(spec.size, len(views))
    store, outcome = prepare(files, spec, None)
    warn_of_doubts(outcome, f"The run was trained with grey_range = {run.config.data.grey_range}.")
    rows = np.flatnonzero(outcome["problem"] == "")
    predicted = predict_rows(run, store, rows, views, decision, outliers)
    table = pd.DataFrame({"path": [printable(str(file)) for file in files]})
    table = pd.concat([table, predicted, outcome["problem"]], axis=1)
    if place is not None:
        write_table(place, table)
    if len(views) > 1 or spec.size != run.spec.size:
        log.info("%s", describe_test(spec.size, len(views)))
    return table


def predict_rows(
    run: TrainedRun,
    images: Images,
    rows: NDArray[np.int64],
    views: Sequence[View],
    decision: Decision,
    outliers: Outliers | None,
) -> pd.DataFrame:
    """Return the columns of `prediction_columns` of some rows of the images, whose numbers are its index."""
    if outliers is None:
        probabilities = predict_probabilities(run.network, images, rows, views, "predicting")
        columns = prediction_columns(probabilities, run.class_names, decision)
    else:
        probabilities, scores = predict_with_features(run.feature_network, images, rows, views, outliers.scores, "predicting")
        columns = prediction_columns(probabilities, run.class_names, decision, scores, outliers.limit)
    # Of images that cannot be read, these are empty.
    kinds = {"predicted_target": "Int64", "answered": "boolean"} | ({"outlier": "boolean"} if outliers else {})
    return pd.DataFrame(columns, index=rows).astype(kinds)


def predict_in_memory(
    run: TrainedRun,
    images: Sequence[ImageLike],
    output: PathLike | None = None,
    *,
    tta: bool = False,
    test_size: int | None = None,
) -> pd.DataFrame:
    """Classify a few images that are decoded at once and kept in memory; otherwise as `predict` does.

    Args:
        run: an open run.
        images: paths, uint8 arrays or PIL images.
        output: as for `predict`.
        tta: as for `predict`.
        test_size: as for `predict`.

    Raises:
        DataError, CheckpointError, ConfigError, TypeError: as `predict`.
    """
    place = as_optional_path(output)
    if place is not None:
        check_output(place, [Path(image) for image in images if isinstance(image, str | os.PathLike)])
    spec, views = plan_test(run.config, tta, test_size)
    decision, outliers = run.answer_with(spec.size, len(views))
    names, pixels, problems = decode_given(images, spec)
    rows = np.array([row for row, problem in enumerate(problems) if not problem], np.int64)
    predicted = predict_rows(run, pixels, rows, views, decision, outliers)
    table = pd.concat([pd.DataFrame({"path": names}), predicted, pd.DataFrame({"problem": problems})], axis=1)
    if place is not None:
        write_table(place, table)
    return table


def check_output(place: Path, files: Sequence[Path]) -> None:
    """Raise a ConfigError where a table cannot be written, or would take the place of an image, before anything is computed."""
    if place.is_dir():
        raise ConfigError(f"output {place} is a folder; name a file, such as {place / 'predictions.csv'}.")
    if place.exists() and any(place.samefile(file) for file in files):
        raise ConfigError(f"output {place} is one of the images; name another file.")
    refuse_unwritable(place.parent, "Name another output file.")
