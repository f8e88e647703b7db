"""Outliers: images that look like nothing in the training set, by their distance to its pooled features."""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diptych.rng import generator
from diptych.storage.arrays import read_arrays, write_arrays
from diptych.storage.run_dir import RunDir

# Sun et al., ICML 2022 (https://arxiv.org/abs/2204.06507) take the k-th neighbour, k about 1 % of the images, and find that 1 %
# of the images do nearly as well as all.
REFERENCES = 2000
NEIGHBOUR_SHARE = 0.01
FLAGGED_SHARE = 0.05
# Below not even the largest of fewer scores do, with a confidence of 95 %, as many as 95 % of new ones lie (Wilks, Annals of
# Mathematical Statistics 1941): the least n with 0.95^n < 0.05.
FEWEST_VALIDATION = 59


@dataclass(frozen=True)
class Outliers:
    """Reference features for outlier detection.

    Attributes:
        references: float32 (M, C), pooled features of training images, each of length 1.
        neighbour: the distance to which neighbour is the score, from 1 on.
        limit: a score above it is that of an outlier: at most 5 % of new images that are like the validation images are, on
            average over draws of these; None where they are too few for a limit.
        weights: SHA-256 of the checkpoint that the features are of.
        test_size: height and width of the images, in pixels.
        clusters: validation images that the limit rests on, or groups of them.
    """

    references: NDArray[np.float32]
    neighbour: int
    limit: float | None
    weights: str
    test_size: int
    clusters: int = 0

    @property
    def made_for(self) -> tuple[str, int]:
        """Weights and image size of the features; weights are "" if the basis of the limit is not known."""
        return self.weights if self.clusters else "", self.test_size

    @property
    def expected(self) -> list[float] | None:
        """Between which shares of new images like the validation images lie above the limit, in 95 of 100 cases."""
        if self.limit is None or self.clusters == 0:
            return None
        from scipy.stats import beta

        above = self.clusters + 1 - rank_of_limit(self.clusters)
        return [float(end) for end in beta(above, self.clusters + 1 - above).ppf([0.025, 0.975])]

    def scores(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the scores (N,), 0 to 2, of images with pooled features (N, C)."""
        if len(features) == 0:
            return np.zeros(0)
        directions = normalise(features)
        # Of vectors of length 1, the nearest have the largest products; these are too coarse for small distances themselves.
        products = directions @ self.references.T
        neighbours = np.argpartition(products, -self.neighbour, axis=1)[:, -self.neighbour]
        distances: NDArray[np.float64] = np.linalg.norm(directions.astype(np.float64) - self.references[neighbours], axis=1)
        return distances


def normalise(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give each row of features (N, C) the length 1; rows of zeros stay."""
    lengths = np.sqrt((features * features).sum(axis=1, keepdims=True))
    return (features / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def pick_references(rows: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return all training images, or 2,000 of them drawn at random, in their order."""
    if len(rows) <= REFERENCES:
        return rows
    return np.sort(generator(seed, "outliers").choice(rows, REFERENCES, replace=False))


def as_stored(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return features (N, C) with length 1, rounded to half precision."""
    return normalise(features).astype(np.float16).astype(np.float32)


def rank_of_limit(clusters: int) -> int:
    """Return the rank of the limit among the rising scores, from 1 on: split conformal prediction (Vovk et al. 2005), for 5 %."""
    return math.ceil((clusters + 1) * (1 - FLAGGED_SHARE))


def fit_outliers(
    training: NDArray[np.float32], validation: NDArray[np.float32], weights: str, test_size: int, clusters: int | None = None
) -> Outliers:
    """Keep the features of training images (M, C), and set the limit on those of the validation images (N, C).

    They are rounded as `write_outliers` does, so that the scores are the same before and after.

    Args:
        training: their pooled features.
        validation: likewise.
        weights: SHA-256 of the checkpoint.
        test_size: height and width of the images, in pixels.
        clusters: groups of the validation images; None where each was drawn by itself. With fewer than 59 there is no limit.
    """
    neighbour = max(1, round(NEIGHBOUR_SHARE * len(training)))
    found = Outliers(normalise(as_stored(training)), neighbour, 0.0, weights, test_size)
    clusters = len(validation) if clusters is None else clusters
    if clusters < FEWEST_VALIDATION:
        return dataclasses.replace(found, limit=None, clusters=clusters)
    place = rank_of_limit(clusters) / clusters
    scores = np.sort(found.scores(validation))
    return dataclasses.replace(found, limit=float(scores[math.ceil(place * len(scores)) - 1]), clusters=clusters)


def write_outliers(run: RunDir, outliers: Outliers) -> None:
    """Write outliers.safetensors; the features have half precision, 4 kB an image."""
    facts = dataclasses.asdict(outliers)
    del facts["references"]
    # The file says "units", as in runs of all versions.
    facts["units"] = facts.pop("clusters")
    write_arrays(run.outliers, {"outliers/references": outliers.references.astype(np.float16)}, facts)


def read_outliers(run: RunDir) -> Outliers | None:
    """Read the outliers of a run; None where there are none yet.

    Raises:
        CheckpointError: the file is damaged.
    """
    if not run.outliers.is_file():
        return None
    facts, arrays = read_arrays(run.outliers, "outliers")
    del facts["format_version"]
    references = normalise(arrays["outliers/references"].astype(np.float32))
    return Outliers(references, clusters=facts.pop("units", 0), **facts)
