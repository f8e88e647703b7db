"""Saliency maps: Grad-CAM and attention of each branch, occlusion, and the effect of removing a branch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from diptych.data.pixels.store import Images
from diptych.explanation.activations import Activations, Floats, pool
from diptych.inference.decision import DEFAULT, Decision
from diptych.inference.predict import predict_probabilities

Kind = Literal["grad_cam", "attention", "occlusion"]
# From S x S images, N of them, to the probability of one class, float32 (N,).
Predict = Callable[[Images], Floats]

MEANINGS: dict[Kind, str] = {
    "grad_cam": "what the branch would add to the logit of the class if all places were like this one; 0 where it is evidence "
    "against",
    "attention": "factor by which attention multiplies the features of the branch at this place",
    "occlusion": "fall of the class's probability when a patch around this place has the mean colour of the image",
}
# Patches are two cells wide: a sixth of the image, about what one place of the features sees first of all.
OCCLUSION_CELLS = 12


@dataclass(frozen=True)
class SaliencyMap:
    """A grid of values laid over an image.

    Attributes:
        kind: what the values are; MEANINGS says it in words.
        branch: "resnet50" or "convnet"; "" for the whole network.
        values: float32 (h, w). Grad-CAM: at least 0, in units of the logit. Attention: 0 to 2, or 0 to 1 in the published form.
            Occlusion: -1 to 1.
    """

    kind: Kind
    branch: str
    values: Floats

    def __post_init__(self) -> None:
        if self.kind not in MEANINGS or self.values.ndim != 2 or self.values.dtype != np.float32:
            raise ValueError(f"SaliencyMap of {self.kind}, {self.values.dtype} {self.values.shape}; expected float32 (h, w).")

    @property
    def name(self) -> str:
        return f"{self.kind}_{self.branch}" if self.branch else self.kind


@dataclass(frozen=True)
class Explanation:
    """The explanation of a prediction: maps, and the probability without each branch.

    Attributes:
        target: the class that is explained.
        probabilities: float32 (K,), of all classes, as `predict` gives them: with the decision's temperature.
        maps: Grad-CAM of each branch, attention of each branch that has one, occlusion if it was asked for.
        without: for each branch, the probabilities float32 (K,) with its features cut off; empty for a network of one branch.
        decision: says which class is predicted.
    """

    target: int
    probabilities: Floats
    maps: tuple[SaliencyMap, ...]
    without: Mapping[str, Floats]
    decision: Decision = DEFAULT

    @property
    def probability(self) -> float:
        """Of the answer, as in `predict`."""
        return float(self.probabilities[self.predicted])

    @property
    def predicted(self) -> int:
        return self.decided(self.probabilities)

    @property
    def others(self) -> dict[str, bool]:
        """For each branch, whether another class is predicted without it."""
        return {branch: self.decided(probabilities) != self.predicted for branch, probabilities in self.without.items()}

    def decided(self, probabilities: Floats) -> int:
        return int(self.decision.predicted(probabilities[None].astype(np.float64))[0])


def explain_images(
    network: keras.Model | Activations,
    images: NDArray[np.uint8],
    targets: NDArray[np.int64] | None = None,
    means: Mapping[str, Floats] | None = None,
    *,
    decision: Decision = DEFAULT,
    occlusion: bool = True,
) -> list[Explanation]:
    """Explain the network's answer for some images.

    Args:
        network: the dual model; where it is asked several times, its `Activations`, which are then compiled once.
        images: uint8 (N, S, S, 3), RGB.
        targets: (N,), the classes to explain; None for those that are predicted.
        means: each branch's pooled features, float32 (C,), to put in their place when it is cut off, such as `pooled_means`;
            None for zeros.
        decision: says which class is predicted, and with which temperature; the maps are of the network as it is.
        occlusion: make the occlusion maps too, 145 passes of the network for each image.

    Returns:
        One explanation an image.

    Raises:
        CheckpointError: the network predicts NaN.
    """
    if len(images) == 0:
        return []
    activations = network if isinstance(network, Activations) else Activations(network)
    probabilities = predict_probabilities(activations.network, images, np.arange(len(images)))
    targets = decision.predicted(decision.calibrated(probabilities)) if targets is None else targets
    features = activations.read(images)
    maps = [
        [SaliencyMap("grad_cam", name, values) for name, values in row.items()]
        for row in grad_cam(activations, features, targets)
    ]
    for row, found in enumerate(maps):
        found += [SaliencyMap("attention", name, features[f"{name}_gate"][row, ..., 0]) for name in activations.gated]
        if occlusion:
            predict = class_predictor(activations.network, int(targets[row]))
            found.append(SaliencyMap("occlusion", "", occlusion_map(predict, images[row])))
    without = cut_off(activations, features, means)

    def calibrate(found: NDArray[np.floating[Any]]) -> Floats:
        calibrated: Floats = decision.calibrated(found[None].astype(np.float64))[0].astype(np.float32)
        return calibrated

    return [
        Explanation(
            int(target),
            calibrate(probabilities[row]),
            tuple(maps[row]),
            {branch: calibrate(found) for branch, found in without[row].items()},
            decision,
        )
        for row, target in enumerate(targets)
    ]


def grad_cam(activations: Activations, features: Mapping[str, Floats], targets: NDArray[np.int64]) -> list[dict[str, Floats]]:
    """Return the Grad-CAM of each branch, float32 (h, w), for each image (Selvaraju et al., ICCV 2017, arXiv 1610.02391).

    Behind the features stand only pooling and two dense layers, so that the gradient of a logit is the same at all places
    and has a closed form; no backend has to differentiate. It is taken with respect to the pooled features, h * w times that
    of the paper: the values before the cut at 0 then have a mean that is what the branch adds to the logit.
    """
    slopes = activations.head().slopes(pool(activations, features), targets)
    parts = np.split(slopes, np.cumsum([features[name].shape[-1] for name in activations.branches])[:-1], axis=1)
    found = {
        name: np.maximum(np.einsum("nhwc,nc->nhw", features[name], part), 0).astype(np.float32)
        for name, part in zip(activations.branches, parts, strict=True)
    }
    return [{name: values[row] for name, values in found.items()} for row in range(len(targets))]


def cut_off(
    activations: Activations, features: Mapping[str, Floats], means: Mapping[str, Floats] | None
) -> list[dict[str, Floats]]:
    """Return the probabilities without each branch, for each image; nothing where there is one branch only."""
    images, head = len(features[activations.branches[0]]), activations.head()
    found: list[dict[str, Floats]] = [{} for _ in range(images)]
    for name in activations.branches if len(activations.branches) > 1 else ():
        stand_in = np.zeros(features[name].shape[-1], np.float32) if means is None else means[name]
        cut = {**features, name: np.broadcast_to(stand_in, (images, 1, 1, len(stand_in)))}
        for row, probabilities in zip(found, head.probabilities(pool(activations, cut)), strict=True):
            row[name] = probabilities
    return found


class Variants:
    """Changed copies of an image, each made when it is asked for; `variants[rows]` is uint8 (M, S, S, 3)."""

    def __init__(self, count: int, make: Callable[[int], NDArray[np.uint8]]) -> None:
        self.count, self.make = count, make

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        return np.stack([self.make(int(row)) for row in rows])


def occlusion_map(predict: Predict, image: NDArray[np.uint8], cells: int = OCCLUSION_CELLS) -> Floats:
    """Return how far a class's probability falls when a patch is covered (Zeiler and Fergus, ECCV 2014, arXiv 1311.2901).

    Args:
        predict: of the class.
        image: uint8 (S, S, 3).
        cells: the map's height and width. The patch, of the image's mean colour, is two cells wide and moves by one, half
            its width; at the border a part of it lies outside.

    Returns:
        float32 (cells, cells), -1 to 1.
    """
    size, colour = len(image), image.mean(axis=(0, 1)).round().astype(np.uint8)

    def cover(number: int) -> NDArray[np.uint8]:
        covered = image.copy()
        if number < cells**2:
            (top, bottom), (left, right) = (
                (round(max(0, cell - 0.5) * size / cells), round((cell + 1.5) * size / cells)) for cell in divmod(number, cells)
            )
            covered[top:bottom, left:right] = colour
        return covered

    found = predict(Variants(cells**2 + 1, cover))
    falls: Floats = (found[-1] - found[:-1]).reshape(cells, cells)
    return falls


def class_predictor(network: keras.Model, target: int) -> Predict:
    """Return the function from images to the probability of a class."""

    def predict(images: Images) -> Floats:
        return predict_probabilities(network, images, np.arange(len(images)))[:, target].astype(np.float32)

    return predict
