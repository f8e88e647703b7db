"""Images of the report: those that it lists, with maps of where the network looked."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import keras
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from diptych.data.pixels.decode import ImageSpec, decode_image, decode_with_facts, read_bytes
from diptych.data.pixels.store import Images
from diptych.errors import DataError
from diptych.evaluation.report_page import IMAGE_SIZE, Picture, Pictures
from diptych.explanation.activations import Activations
from diptych.explanation.map_check import MapsCheck
from diptych.explanation.overlays import limits_of, overlay_pixels, title_of
from diptych.explanation.saliency import Explanation, SaliencyMap, explain_images
from diptych.explanation.sanity import sanity_of_maps
from diptych.inference.decision import Decision
from diptych.settings.config import Config


def picture_images(
    network: keras.Model,
    decision: Decision,
    images: Images,
    rows: NDArray[np.int64],
    files: Mapping[str, Path],
    spec: ImageSpec,
    *,
    maps: int,
) -> dict[str, Pictures]:
    """Return the pictures of some images by path: each as a person sees it, then its maps for the class that is answered.

    Args:
        network: the dual model.
        decision: of the run.
        images: uint8 (N, S, S, 3), RGB: what the network sees.
        rows: (M,), which of them.
        files: their M files, by the name that they have in the report.
        spec: how the network's images are made from the files.
        maps: how many of them, from the first on, have an occlusion map too, which takes 145 passes of the network; 0 for no
            maps at all.
    """
    explained: list[Explanation] = []
    if maps > 0:
        activations = Activations(network)
        # One by one, those with an occlusion map, so that the progress bar moves.
        chunks = [(rows[place : place + 1], True) for place in range(min(maps, len(rows)))] + [(rows[maps:], False)]
        for part, occlusion in tqdm(chunks, "maps of the listed images", leave=False, disable=None):
            explained += explain_images(activations, images[part], decision=decision, occlusion=occlusion) if len(part) else []
    pictures: dict[str, Pictures] = {}
    for place, (path, file) in enumerate(files.items()):
        own, square = read_picture(file, spec, images[rows[place]])
        drawn = picture_maps(square, explained[place].maps) if explained else []
        pictures[path] = [Picture("image", own), *drawn]
    return pictures


def read_picture(file: Path, spec: ImageSpec, seen: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Decode an image for people, with more pixels than the network's.

    Args:
        file: its file.
        spec: how the network's images are made.
        seen: uint8 (S, S, 3), what the network sees of it.

    Returns:
        uint8 (H, W, 3), RGB, of its own height to width, the longer of at most IMAGE_SIZE pixels; and uint8 (T, T, 3), the
        same part of it that the network sees. Both are `seen` if the file no longer exists.
    """
    try:
        content = read_bytes(file)
        whole, facts = decode_with_facts(content, dataclasses.replace(spec, size=IMAGE_SIZE, resize="stretch"))
        width, height = (facts.height, facts.width) if facts.orientation >= 5 else (facts.width, facts.height)
        square = whole if spec.resize == "stretch" else decode_image(content, dataclasses.replace(spec, size=IMAGE_SIZE))
    except DataError:
        return seen, seen
    scale = min(1.0, IMAGE_SIZE / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), np.uint8), square


def picture_maps(image: NDArray[np.uint8], maps: Sequence[SaliencyMap]) -> Pictures:
    """Lay each map over the image, and name it with the values at the ends of its colours."""
    drawn = []
    for each, (low, high) in zip(maps, limits_of(maps), strict=True):
        title = f"{title_of(each.kind, each.branch)}: {low:.2f} to {high:.2f}"
        drawn.append(Picture(title, overlay_pixels(image, each, (low, high)), each.name))
    return drawn


def check_maps(
    network: keras.Model, config: Config, decision: Decision, images: Images, rows: NDArray[np.int64], maps: int
) -> MapsCheck | None:
    """Check `maps` of the images in `rows`, evenly spaced, with `sanity_of_maps`; None for no maps, or fewer than two rows."""
    if maps == 0 or len(rows) < 2:
        return None
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, max(2, maps)).round().astype(int))]
    return sanity_of_maps(network, config, images[chosen], len(chosen), decision=decision)
