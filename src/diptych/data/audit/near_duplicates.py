"""Near-duplicate detection: re-encoded, resized, slightly cropped, mirrored or turned copies, found in the pixels.

A perceptual hash of 64 bits (Zauner 2010) takes images that share a layout for copies: of 2,624 solar cells it pairs off
thousands. Here the data set itself says what its images share, in three steps, all on the low frequencies of each image (its
discrete cosine transform, in which the eight orientations are changes of sign and a transpose):

1. The eight nearest neighbours of each image, in any orientation, by what a slight crop does not change: 42 coefficients,
   whitened by how random crops of the data set's own images scatter them.
2. Each pair is brought to cover by scaling and shifting, coarse to fine (Lucas & Kanade 1981), brightness and contrast with it.
3. What is left of both images when the data set's mean and covariance are taken out (whitened, in eight orientations) has to
   correlate: two clean cells of one make do not, two copies of one cell do.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from diptych.data.audit.registration import BAND, INVERSE, ORIENTATIONS, Floats, align, crop, differ, take_spectra, turn
from diptych.data.pixels.store import PixelStore
from diptych.rng import generator

Rows = NDArray[np.int64]

# docs/experiments.md has the figures behind these numbers.
COARSE = 8  # frequencies by which candidates are found
DETAIL = 28  # frequencies by which they are compared: beyond, a crop's own pixels differ
NEIGHBOURS = 8  # candidates an image
REACH = 4.0  # mean squared whitened coefficient between candidates; 1 is a usual crop, 2.3 one of 10 % off one side
LIKENESS = 0.96  # correlation of what is not common to all images, from which on two are twins
SAME = 0.002  # or, share of the variance that their difference is at most
FLAT = 4.0  # grey levels of standard deviation; a flatter image has only exact twins
CONTRAST = 1.67  # largest ratio between the contrasts of twins
TINT = 20.0  # largest difference in mean colour, in levels of red or blue against green
MAX_CROP = 0.1
SAMPLE = 2048  # images from which the data set's statistics come
SCALE = 20.0  # standard deviation to which all images are brought
NOISE = 0.25  # standard deviation of a coefficient from encoding alone, generously
BLOCK = 64
LOW = np.add.outer(np.arange(COARSE), np.arange(COARSE)) <= COARSE
FINE = np.add.outer(np.arange(BAND) ** 2, np.arange(BAND) ** 2) <= DETAIL**2
LOW[0, 0] = FINE[0, 0] = False


class Prints(NamedTuple):
    """What is kept of the images: spectra (N, BAND, BAND) scaled to one contrast; that contrast; mean colour; a hash."""

    spectra: NDArray[np.float16]
    contrast: Floats
    tint: Floats
    digest: NDArray[np.void]


class Statistics(NamedTuple):
    """What the images of a data set have in common, the same in all eight orientations."""

    crop_whitening: Floats
    mean: Floats
    whitening: Floats


def find_near_twins(images: PixelStore | NDArray[np.uint8], rows: Rows, *, progress: bool = True) -> Rows:
    """Find the pairs of images that are copies of each other.

    Copies may be re-encoded, resized, cropped by up to about a tenth of a side, mirrored, quarter-turned, or a little brighter
    or darker. Images with the same pixels are paired with the first of them only, so that n copies make n - 1 pairs; the others
    are paired with at most 8 neighbours each. `connect` makes groups of the pairs. An image with hardly any contrast
    (below 4 grey levels) has only exact twins.

    Args:
        images: uint8 (N, S, S, 3) RGB: an array or a PixelStore; read in blocks.
        rows: which of them to compare.
        progress: draw progress bars where standard error is a terminal.

    Returns:
        int64 (P, 2): pairs of rows, the smaller first, sorted, without repeats.
    """
    rows = np.sort(rows)
    if len(rows) < 2:
        return np.empty((0, 2), np.int64)
    prints = take_prints(images, rows, progress)
    _, first, copy_of = np.unique(prints.digest, return_index=True, return_inverse=True)
    pairs = np.stack([first[copy_of], np.arange(len(rows))], 1)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    # Of flat ones, nothing but noise would be compared. In the order of their hashes: the same whatever the order of the rows.
    chosen = first[prints.contrast[first] >= FLAT]
    if len(chosen) > 1:
        # Among few images, threads would only wait for each other.
        with threadpool_limits(1 if len(chosen) < SAMPLE else None):
            pairs = np.concatenate([pairs, *compare_all(prints, chosen, progress)])
    return np.unique(np.sort(rows[pairs], axis=1), axis=0)


def connect(count: int, pairs: Rows) -> Rows:
    """Number the groups that pairs make.

    Args:
        count: number of rows.
        pairs: int64 (P, 2), rows that belong together.

    Returns:
        int64 (count,): each row's group, from 0, in the order of their first rows; a row in no pair is a group of its own.
    """
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def blocks_of(rows: Rows) -> list[Rows]:
    return [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]


def in_threads(work: Callable[..., Any], parts: list[Any], title: str, progress: bool) -> Iterator[Any]:
    # The arrays are small: more threads below would only wait for each other.
    with threadpool_limits(1), ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from tqdm(pool.map(work, parts), title, len(parts), leave=False, disable=None if progress else True)


def take_prints(images: PixelStore | NDArray[np.uint8], rows: Rows, progress: bool) -> Prints:
    parts = in_threads(lambda block: take_block(images[block]), blocks_of(rows), "near twins: reading", progress)
    count = len(rows)
    spectra = np.empty((count, BAND, BAND), np.float16)
    contrast = np.empty(count, np.float32)
    tint = np.empty((count, 2), np.float32)
    digest = np.empty(count, "V32")
    for number, part in enumerate(parts):
        place = slice(number * BLOCK, (number + 1) * BLOCK)
        spectra[place], contrast[place], tint[place], digest[place] = part
    return Prints(spectra, contrast, tint, digest)


def take_block(images: NDArray[np.uint8]) -> Prints:
    spectra, contrast = take_spectra(images)
    spectra *= (SCALE / contrast.clip(1))[:, None, None]
    colours = np.array([cv2.mean(image)[:3] for image in images], np.float32)
    digests = b"".join(hashlib.sha256(image.tobytes()).digest() for image in images)
    return Prints(spectra.astype(np.float16), contrast, colours[:, ::2] - colours[:, 1:2], np.frombuffer(digests, "V32"))


def take_statistics(sample: Floats) -> Statistics:
    cropped = np.tile(sample[: SAMPLE // 4], (4, 1, 1))
    sides = generator(0, "near twins").uniform(0, MAX_CROP, (len(cropped), 4)).astype(np.float32)
    moved = crop(cropped, sides)[:, :COARSE, :COARSE] - cropped[:, :COARSE, :COARSE]
    mean = np.mean([turn(sample.mean(0), orientation) for orientation in range(ORIENTATIONS)], 0)
    # As few images as dimensions say little of how coefficients go together.
    trust = len(sample) / (len(sample) + FINE.sum())
    return Statistics(whitening(moved, LOW, 0.1, 1), mean, whitening(sample - mean, FINE, NOISE, trust))


def whitening(spectra: Floats, mask: NDArray[np.bool_], noise: float, trust: float) -> Floats:
    """Return the symmetric root of the inverse of the covariance over all orientations: it commutes with turns.

    Mirroring changes the sign of odd frequencies, so that odd and even ones do not covary.
    """
    across, down = np.nonzero(mask)
    parts = across % 2 * 2 + down % 2
    root = np.zeros((len(parts), len(parts)), np.float32)
    for part in range(4):
        own = np.flatnonzero(parts == part)
        vectors = np.concatenate([spectra[:, mask][:, own], spectra.swapaxes(1, 2)[:, mask][:, own]])
        scatter = vectors.T @ vectors / np.float32(len(vectors))
        scatter = trust * scatter + (1 - trust) * np.diag(np.diag(scatter))
        values, basis = np.linalg.eigh(scatter)
        root[np.ix_(own, own)] = basis / np.sqrt(values.clip(0) + noise**2) @ basis.T
    return root


def compare_all(prints: Prints, chosen: Rows, progress: bool) -> Iterator[Rows]:
    """Yield pairs (P, 2) of the chosen rows that are near twins."""
    statistics = take_statistics(prints.spectra[chosen[:SAMPLE]].astype(np.float32))
    while True:
        pairs, turns = find_candidates(prints, chosen, statistics.crop_whitening, progress)
        near = pairs[confirm(prints.spectra, pairs, turns, statistics, progress)]
        yield near
        groups = connect(len(prints.spectra), near)
        if np.bincount(groups).max() <= NEIGHBOURS:
            return
        # In a large group all neighbours may be copies of one kind: one for all looks for copies of another kind.
        chosen = chosen[np.sort(np.unique(groups[chosen], return_index=True)[1])]


def find_candidates(prints: Prints, chosen: Rows, to_codes: Floats, progress: bool) -> tuple[Rows, Rows]:
    """Return pairs (P, 2) of rows and the orientation (P,) in which the second image is to be laid on the first."""
    count = len(chosen)
    codes = np.zeros((count, COARSE, COARSE), np.float32)
    codes[:, LOW] = prints.spectra[:, :COARSE, :COARSE][chosen][:, LOW].astype(np.float32) @ to_codes
    index = NearestNeighbors(n_neighbors=min(NEIGHBOURS + 1, count), algorithm="brute").fit(codes[:, LOW])
    near = np.full((count, NEIGHBOURS), np.inf, np.float32)
    found = np.zeros((2, count, NEIGHBOURS), np.int64)
    for orientation in tqdm(range(ORIENTATIONS), "near twins: comparing", leave=False, disable=None if progress else True):
        distances, others = index.kneighbors(turn(codes, orientation)[:, LOW])
        distances[others == np.arange(count)[:, None]] = np.inf
        near = np.concatenate([near, distances], 1)
        found = np.concatenate([found, np.stack([others, np.full_like(others, orientation)])], 2)
        # A stable sort: of equally near neighbours the first orientation stays, on every machine.
        best = np.argsort(near, 1, kind="stable")[:, :NEIGHBOURS]
        near = np.take_along_axis(near, best, 1)
        found = np.take_along_axis(found, best[None], 2)
    second, rank = np.nonzero(near**2 < REACH * LOW.sum())
    first, turns = found[:, second, rank]
    first = chosen[first]
    second = chosen[second]
    turns = np.where(first > second, np.take(INVERSE, turns), turns)
    pairs = np.unique(np.stack([np.minimum(first, second), np.maximum(first, second), turns], 1), axis=0)
    pairs = pairs[similar(prints, pairs[:, 0], pairs[:, 1])]
    return pairs[:, :2], pairs[:, 2]


def similar(prints: Prints, first: Rows, second: Rows) -> NDArray[np.bool_]:
    """Tell whether contrast and colour of pairs are near enough."""
    ratio = prints.contrast[first] / prints.contrast[second]
    tints = np.abs(prints.tint[first] - prints.tint[second]).max(1)
    return np.asarray((np.maximum(ratio, 1 / ratio) < CONTRAST) & (tints < TINT))


def confirm(spectra: NDArray[np.float16], pairs: Rows, turns: Rows, statistics: Statistics, progress: bool) -> NDArray[np.bool_]:
    """Tell for each pair whether the images are alike when one covers the other."""

    def confirm_block(block: Rows) -> NDArray[np.bool_]:
        first, second = spectra[pairs[block]].swapaxes(0, 1).astype(np.float32)
        for orientation in range(1, ORIENTATIONS):
            turned = turns[block] == orientation
            second[turned] = turn(second[turned], orientation)
        return compare(first, second, statistics)

    parts = in_threads(confirm_block, blocks_of(np.arange(len(pairs))), "near twins: checking", progress)
    return np.concatenate([np.empty(0, np.bool_), *parts])


def compare(first: Floats, second: Floats, statistics: Statistics) -> NDArray[np.bool_]:
    twins = np.zeros(len(first), np.bool_)
    # Only what registration has brought to cover is worth the comparison.
    left, frames = align(first, second)
    whole, difference = (spectra[:, FINE] for spectra in differ(first[left], second[left], frames))
    own = (whole - statistics.mean[FINE]) @ statistics.whitening
    other = own - difference @ statistics.whitening
    likeness = (own * other).sum(1) / np.sqrt((own**2).sum(1) * (other**2).sum(1))
    # Where a data set holds hundreds of copies of one image, that image is its mean, and encoding all that varies.
    same = (difference**2).sum(1) < SAME * (whole**2).sum(1)
    twins[left] = (likeness >= LIKENESS) | same
    return twins
