"""The pictures of the report: the images that it lists, with the maps of where the network looked."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from diptych.config import Config
from diptych.data.loader import Images
from diptych.evaluation.decision import Decision
from diptych.evaluation.overlays import overlay_pixels, title_of
from diptych.evaluation.page import Pictures
from diptych.evaluation.saliency import explain_images
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
        path: [
            ("image", pixels),
            *((title_of(each.kind, each.branch), overlay_pixels(pixels, each)) for each in explanation.maps),
        ]
        for path, pixels, explanation in zip(paths, images[rows], found, strict=True)
    }


def check_maps(network: keras.Model, config: Config, images: Images, rows: NDArray[np.int64], maps: int) -> dict[str, Any] | None:
    """Do `sanity_of_maps` on so many of some rows of the images, evenly from first to last; None for none, or of one image."""
    if maps == 0 or len(rows) < 2:
        return None
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, max(2, maps)).round().astype(int))]
    return sanity_of_maps(network, config, images[chosen], len(chosen))
