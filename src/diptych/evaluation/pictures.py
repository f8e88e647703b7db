"""The pictures of the report: the images that it lists, with the maps of where the network looked."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from diptych.config import Config
from diptych.data.loader import Images
from diptych.evaluation.decision import Decision
from diptych.evaluation.overlays import limits_of, overlay_pixels, title_of
from diptych.evaluation.page import Pictures
from diptych.evaluation.saliency import SaliencyMap, explain_images
from diptych.evaluation.sanity import sanity_of_maps
from diptych.evaluation.taps import Taps


def picture_images(
    network: keras.Model, decision: Decision, images: Images, rows: NDArray[np.int64], paths: Sequence[str], maps: int
) -> dict[str, Pictures]:
    """Return the pictures of some images by path: each as it is, then its maps for the class that is answered.

    Args:
        network: the dual model.
        decision: of the run.
        images: uint8 (N, S, S, 3), RGB.
        rows: (M,), which of them.
        paths: their M names.
        maps: how many of them, from the first on, have an occlusion map too, which takes 145 passes of the network; 0 for no
            maps at all.
    """
    if maps == 0:
        return {path: [("image", pixels)] for path, pixels in zip(paths, images[rows], strict=True)}
    taps, found = Taps(network), []
    for part, occlusion in ((rows[:maps], True), (rows[maps:], False)):
        found += explain_images(taps, images[part], decision=decision, occlusion=occlusion) if len(part) else []
    return {
        path: [("image", pixels), *picture_maps(pixels, explanation.maps)]
        for path, pixels, explanation in zip(paths, images[rows], found, strict=True)
    }


def picture_maps(image: NDArray[np.uint8], maps: Sequence[SaliencyMap]) -> Pictures:
    """Lay each map over the image, and name it with the values at the ends of its colours."""
    return [
        (f"{title_of(each.kind, each.branch)}: {low:.2f} to {high:.2f}", overlay_pixels(image, each, (low, high)))
        for each, (low, high) in zip(maps, limits_of(maps), strict=True)
    ]


def check_maps(
    network: keras.Model, config: Config, decision: Decision, images: Images, rows: NDArray[np.int64], maps: int
) -> dict[str, Any] | None:
    """Do `sanity_of_maps` on so many of some rows of the images, evenly from first to last; None for none, or of one image."""
    if maps == 0 or len(rows) < 2:
        return None
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, max(2, maps)).round().astype(int))]
    return sanity_of_maps(network, config, images[chosen], len(chosen), decision=decision)
