"""Predictions: one row an image, with its class and the probabilities."""

import logging
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
from diptych.inference.decision import DEFAULT, Decision
from diptych.inference.trained_run import TrainedRun
from diptych.inference.tta import AS_IT_IS, Turned, View, describe_test, plan_test
from diptych.machine.backend import feed
from diptych.metrics.classification import probability_column
from diptych.metrics.probabilities import as_shares
from diptych.storage.atomic import PathLike, as_paths, refuse_unwritable, write_table
from diptych.storage.run_dir import TWO_CLASSES, RunDir

log = logging.getLogger(__name__)

BATCH_SIZE = 32
# Features of so many images are in memory at a time.
CHUNK = 64 * BATCH_SIZE

Reduce = Callable[[NDArray[np.float32]], NDArray[Any]]


def predict_outputs(
    model: keras.Model, images: Images, rows: NDArray[np.int64], views: Sequence[View], reduce: Reduce, progress: str = ""
) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Return the probabilities of some rows of the images, and something made of their pooled features.

    Args:
        model: the dual model, or `TrainedRun.tapped`.
        images: uint8 (N, S, S, 3), RGB; a batch of them at a time is in memory.
        rows: (M,), which images.
        views: of each image, at least one, the first as it is; the probabilities are the mean over them.
        reduce: is given features, float32 (n, C), of some of the images as they are, and returns n rows; C is 0 for the dual
            model itself.
        progress: what is done, for a progress bar where standard error is a terminal; "" for none.

    Returns:
        Probabilities, float32, [0, 1]: of two classes (M,), that of class 1; of K > 2 classes (M, K). And the M rows.

    Raises:
        CheckpointError: the weights are broken, so that the network predicts NaN.
    """
    units, width = (output.shape[-1] for output in (*model.outputs, np.empty((0, 0)))[:2])
    total, reduced = np.zeros((len(rows), units)), [reduce(np.zeros((0, width), np.float32))]
    bar = tqdm(total=len(rows) * len(views), desc=progress, unit=" images", leave=False, disable=None if progress else True)
    for first in range(0, len(rows), CHUNK):
        chunk = rows[first : first + CHUNK]
        for view in views:
            turned = images if view == AS_IT_IS else Turned(images, view)
            batches = OrderedBatches(turned, np.zeros(len(images), np.int64), chunk, BATCH_SIZE, max(2, units))
            found = model.predict(feed(counted(batches, bar)), steps=len(batches), verbose=0)
            found, features = found if len(model.outputs) > 1 else (found, np.empty((len(chunk), 0)))
            total[first : first + CHUNK] += found
            if view == AS_IT_IS:
                reduced.append(reduce(np.asarray(features, np.float32)))
    bar.close()
    probabilities = (total / len(views)).astype(np.float32)
    if not np.isfinite(probabilities).all():
        raise CheckpointError("the network predicts NaN: its training diverged. Train again with a lower --learning-rate.")
    return (probabilities[:, 0] if units == 1 else probabilities), np.concatenate(reduced)


def counted(batches: OrderedBatches, bar: "tqdm[NoReturn]") -> Iterator[tuple[NDArray[Any], ...]]:
    for batch in batches:
        bar.update(len(batch[0]))
        yield batch


def predict_probabilities(
    network: keras.Model, images: Images, rows: NDArray[np.int64], views: Sequence[View] = (AS_IT_IS,), progress: str = ""
) -> NDArray[np.float32]:
    """Return the probabilities alone, as `predict_outputs` does."""
    return predict_outputs(network, images, rows, views, lambda features: features, progress)[0]


def with_predictions(
    table: pd.DataFrame,
    probabilities: NDArray[np.floating[Any]],
    class_names: Sequence[str] = TWO_CLASSES,
    decision: Decision = DEFAULT,
    outlier_scores: NDArray[np.float64] | None = None,
    outlier_limit: float | None = None,
) -> pd.DataFrame:
    """Add the predictions to a table.

    Args:
        table: M rows.
        probabilities: as the network gives them: of two classes (M,), that of class 1; of K > 2 (M, K).
        class_names: the K names.
        decision: what makes answers of them.
        outlier_scores: (M,); None where there are none.
        outlier_limit: above it, an image is an outlier; None where there is no limit, and `outlier` is empty.

    Returns:
        The table with the columns `predicted_target` (an index into the names), `predicted_class` (its name), `probability`
        (calibrated, of the predicted class), `probability_NAME` of each class; `answered`, False for "don't know";
        `class_set`, the classes that the image may be of, separated by "|"; and where there are scores `outlier_score` and
        `outlier`. A column of the table that has one of these names is kept with "given_" before it.
    """
    shares = decision.calibrated(as_shares(probabilities))
    targets, names = decision.predicted(shares), np.array(class_names, object)
    predicted: dict[str, Any] = {
        "predicted_target": targets,
        "predicted_class": names[targets],
        "probability": shares[np.arange(len(shares)), targets],
    }
    predicted |= {probability_column(name): shares[:, target] for target, name in enumerate(class_names)}
    predicted["answered"] = decision.answered(shares)
    predicted["class_set"] = ["|".join(names[inside]) for inside in decision.sets(shares)]
    if outlier_scores is not None:
        outlier = None if outlier_limit is None else outlier_scores > outlier_limit
        predicted |= {"outlier_score": outlier_scores, "outlier": outlier}
    for name, column in predicted.items():
        if isinstance(column, np.ndarray) and column.dtype == np.float64:
            predicted[name] = column.astype(np.float32)
    kept = table.rename(columns={name: f"given_{name}" for name in predicted})
    return pd.concat([kept, pd.DataFrame(predicted, index=table.index)], axis=1)


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
        The table `path` (what is not UTF-8 in it with backslashes), the columns of `with_predictions`, `problem` (a reason
        where the file cannot be read; then the prediction is empty).

    Raises:
        DataError: a path does not exist, or a folder holds no image.
        CheckpointError: the run has no checkpoint, or its decision is for other weights.
        ConfigError: as `plan_test`, or `output` cannot be written.
        TypeError: the run or a path is none.
    """
    run, files = TrainedRun.open(run), find_images(as_paths(paths), follow_links=follow_links)
    (place,) = as_paths(output) if output is not None else (None,)
    if place is not None:
        check_output(place, files)
    spec, views = plan_test(run.config, tta, test_size)
    decision, outliers = run.answer_with(spec.size, len(views))
    network, class_names = run.network, run.class_names
    store, outcome = prepare(files, spec, None)
    warn_of_doubts(outcome, f"The run was trained with grey_range = {run.config.data.grey_range}.")
    readable = (outcome["problem"] == "").to_numpy()
    table = pd.DataFrame({"path": [printable(str(file)) for file in files]})
    rows = np.flatnonzero(readable)
    if outliers is None:
        predicted = with_predictions(
            table[readable], predict_probabilities(network, store, rows, views, "predicting"), class_names, decision
        )
    else:
        probabilities, scores = predict_outputs(run.tapped, store, rows, views, outliers.scores, "predicting")
        predicted = with_predictions(table[readable], probabilities, class_names, decision, scores, outliers.limit)
    predicted = predicted.astype({"predicted_target": "Int64", "answered": "boolean"})
    predicted = predicted.astype({"outlier": "boolean"}) if outliers else predicted
    table = pd.concat([table, predicted.drop(columns="path"), outcome["problem"]], axis=1)
    if place is not None:
        write_table(place, table)
    if len(views) > 1 or spec.size != run.spec.size:
        log.info("%s", describe_test(spec.size, len(views)))
    return table


def check_output(place: Path, files: Sequence[Path]) -> None:
    """Raise a ConfigError where a table cannot be written, or would take the place of an image, before anything is computed."""
    if place.is_dir():
        raise ConfigError(f"--output {place} is a folder; name a file, such as {place / 'predictions.csv'}.")
    if place.exists() and any(place.samefile(file) for file in files):
        raise ConfigError(f"--output {place} is one of the images; name another file.")
    refuse_unwritable(place.parent, "Name another file with --output.")
