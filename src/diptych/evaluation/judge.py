"""Judging predictions: from arrays to a Report, without a network and without a file."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from diptych.errors import ConfigError
from diptych.evaluation.curves import compute_curves, count_outliers, describe_answers, describe_sets
from diptych.evaluation.report import DataFacts, ListedImage, Report
from diptych.inference.decision import DEFAULT, Decision, certainty
from diptych.inference.outliers import Outliers
from diptych.metrics.classification import compute_metrics
from diptych.metrics.subgroups import compute_subgroups

LISTED_IMAGES = 20


@dataclass(frozen=True)
class Predictions:
    """The outputs of a network for the images of a test, and what is known of these.

    Attributes:
        class_names: the K names, in the order of the targets.
        targets: int64 (N,), the true classes.
        probabilities: float64 (N, K), as the network gives them, each row adding up to 1.
        paths: N names of files; empty where they are not known, and then no image is listed.
        groups: int64 (N,), the group of each image; None where there are none.
        columns: by their names, further values (N,) by which the images can be divided.
        outlier_scores: float64 (N,), distances to the training images; None where there are none.
        test_size: height and width of the images, in pixels.
        views: of each image.
    """

    class_names: tuple[str, ...]
    targets: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    paths: tuple[str, ...] = ()
    groups: NDArray[np.int64] | None = None
    columns: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)
    outlier_scores: NDArray[np.float64] | None = None
    test_size: int = 0
    views: int = 1

    def __post_init__(self) -> None:
        images, classes = len(self.targets), len(self.class_names)
        if images == 0 or self.probabilities.shape != (images, classes):
            raise ValueError(
                f"Predictions of {images} targets and {classes} classes have probabilities {self.probabilities.shape}; "
                "expected one row an image, at least one, and one column a class."
            )
        lengths = {"paths": self.paths or self.targets, "groups": self.groups, "outlier_scores": self.outlier_scores}
        for name, values in {**lengths, **self.columns}.items():
            if values is not None and len(values) != images:
                raise ValueError(f"Predictions: {name} has {len(values)} entries; expected {images}, one an image.")

    def turned(self) -> "Predictions":
        """Return the same of two classes in the other order."""
        return dataclasses.replace(
            self,
            class_names=self.class_names[::-1],
            targets=1 - self.targets,
            probabilities=self.probabilities[:, ::-1],
        )


@dataclass(frozen=True)
class JudgeOptions:
    """What predictions are judged by.

    Attributes:
        decision: turns probabilities into answers.
        by: columns of the predictions whose subgroups are judged too.
        outliers: what the scores of the predictions are distances to.
        seed: of the draws behind the calibration error by chance.
    """

    decision: Decision = DEFAULT
    by: Sequence[str] = ()
    outliers: Outliers | None = None
    seed: int = 0


def judge(predictions: Predictions, options: JudgeOptions | None = None) -> Report:
    """Judge predictions; nothing is read or written.

    Where class 0 is the positive one, all is computed with the classes the other way round, and then turned back.

    Args:
        predictions: of a test.
        options: by what they are judged; None for threshold 0.5 and nothing more.

    Raises:
        ConfigError: there is no such column to divide by.
    """
    options = options or JudgeOptions()
    decision, targets, groups = options.decision, predictions.targets, predictions.groups
    if decision.positive == 0 and len(predictions.class_names) == 2:
        one = dataclasses.replace(options, decision=dataclasses.replace(decision, positive=1))
        return judge(predictions.turned(), one).turned()
    probabilities = decision.calibrated(predictions.probabilities)
    names, threshold, seed = predictions.class_names, decision.threshold, options.seed
    subgroups = {}
    for column in options.by:
        if column not in predictions.columns:
            raise ConfigError(f"by {column}: no such column; there are {', '.join(predictions.columns) or 'none'}.")
        values = predictions.columns[column]
        subgroups[column] = compute_subgroups(values, targets, probabilities, threshold, names, groups=groups, seed=seed)
    outliers = count_outliers(options.outliers, predictions.outlier_scores, groups)
    mistakes, least_sure = list_images(predictions, probabilities, options)
    return Report(
        metrics=compute_metrics(targets, probabilities, threshold, names, groups=groups, seed=seed),
        decision=decision,
        answers=describe_answers(targets, probabilities, decision, groups),
        class_sets=describe_sets(targets, probabilities, decision, groups),
        curves=compute_curves(targets, predictions.probabilities, probabilities, decision),
        test_size=predictions.test_size,
        views=predictions.views,
        outliers=outliers,
        subgroups=subgroups,
        mistakes=mistakes,
        least_sure=least_sure,
        data=DataFacts(grouped=groups is not None),
    )


def list_images(
    predictions: Predictions, probabilities: NDArray[np.float64], options: JudgeOptions
) -> tuple[tuple[ListedImage, ...], tuple[ListedImage, ...]]:
    """List the images to look at.

    Args:
        predictions: with the paths of the images.
        probabilities: (N, K), calibrated.
        options: with the decision, and the limit of outliers.

    Returns:
        The 20 wrong answers that give the true class the lowest probability; and the 20 other images that are nearest to
        another answer.
    """
    if not predictions.paths:
        return (), ()
    decision, targets, rows = options.decision, predictions.targets, np.arange(len(predictions.targets))
    predicted, true = decision.predicted(probabilities), probabilities[rows, predictions.targets]
    limit = None if options.outliers is None else options.outliers.limit
    scores = predictions.outlier_scores

    def list_one(row: int) -> ListedImage:
        # Where there is no limit it is not known; where there are no scores, none is.
        outlier = False if scores is None else None if limit is None else bool(scores[row] > limit)
        names, answer = predictions.class_names, int(predicted[row])
        probability = float(probabilities[row, answer])
        return ListedImage(predictions.paths[row], names[targets[row]], names[answer], probability, float(true[row]), outlier)

    wrong = np.flatnonzero(predicted != targets)
    mistakes = wrong[np.argsort(true[wrong], kind="stable")][:LISTED_IMAGES]
    others = np.setdiff1d(rows, mistakes)
    sure = certainty(probabilities, decision.threshold, decision.positive)[others]
    unsure = others[np.argsort(sure, kind="stable")][:LISTED_IMAGES]
    return tuple(list_one(int(row)) for row in mistakes), tuple(list_one(int(row)) for row in unsure)
