"""Saliency maps laid over their image, as pixels and as pictures with a colour bar, in colours for colour-blind readers too."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from diptych.drawing import write_figure
from diptych.explanation.faithfulness import Faithfulness, enlarge
from diptych.explanation.saliency import Explanation, Kind, SaliencyMap

DOTS_PER_INCH = 120
# How much of the colour stands over the image, which is shown in grey. Occlusion is clear where it is 0.
OPACITY: dict[Kind, float] = {"grad_cam": 0.55, "attention": 0.55, "occlusion": 0.8}
COLOUR_MAPS: dict[Kind, str] = {"grad_cam": "inferno", "attention": "viridis", "occlusion": "bwr"}
TITLES: dict[Kind, str] = {"grad_cam": "Grad-CAM", "attention": "attention", "occlusion": "occlusion"}
UNITS: dict[Kind, str] = {"grad_cam": "logit", "attention": "factor", "occlusion": "fall of the probability"}
# What the two ends of the colours are.
BARS: dict[Kind, str] = {
    "grad_cam": "Grad-CAM, both branches on one scale: from nothing to the most that a place adds for the answer",
    "attention": "attention: from the place that is weakened most to the one that is strengthened most",
    "occlusion": "occlusion: covering a red place makes the answer less probable, a blue one more",
}
BRANCHES = {"resnet50": "ResNet50", "convnet": "custom branch", "": "whole network"}
# The least span of the colours: what differs by less is shown as alike, since colours would make much of it.
LEAST_SPAN: dict[Kind, float] = {"grad_cam": 0.1, "attention": 0.05, "occlusion": 0.05}


def colour_limits(maps: Sequence[SaliencyMap]) -> tuple[float, float]:
    """Return the values at the two ends of the colours for maps of one kind that are to be compared."""
    kind = maps[0].kind
    low, high = min(float(each.values.min()) for each in maps), max(float(each.values.max()) for each in maps)
    if kind == "grad_cam":
        return 0.0, max(high, LEAST_SPAN[kind])
    if kind == "occlusion":
        end = max(-low, high, LEAST_SPAN[kind])
        return -end, end
    missing = max(0.0, LEAST_SPAN[kind] - (high - low)) / 2
    return low - missing, high + missing


def limits_of(maps: Sequence[SaliencyMap]) -> list[tuple[float, float]]:
    """Return the values at the two ends of the colours for each map of one image.

    Those of one kind have the same, so that their colours can be compared, but for the gates of the two branches, which are no
    quantities of one scale.
    """
    kinds = [[each] if each.kind == "attention" else [other for other in maps if other.kind == each.kind] for each in maps]
    return [colour_limits(alike) for alike in kinds]


def colour_bar(kind: Kind, width: int = 160, height: int = 10) -> NDArray[np.uint8]:
    """Return the colours of a kind of map from its lowest value to its highest, over grey, uint8 (height, width, 3)."""
    ramp = np.linspace(0, 1, width)[None].repeat(height, axis=0)
    grey = np.full((height, width, 3), 255 if kind == "occlusion" else 128, np.uint8)
    return blend(grey, ramp, kind)


def overlay_pixels(
    image: NDArray[np.uint8], saliency: SaliencyMap, limits: tuple[float, float] | None = None
) -> NDArray[np.uint8]:
    """Lay a map over its image.

    Args:
        image: uint8 (S, S, 3), RGB.
        saliency: the map.
        limits: the values at the two ends of the colours; None for those of this map.

    Returns:
        uint8 (S, S, 3), RGB.
    """
    normalised = np.asarray(Normalize(*(limits or colour_limits([saliency])))(enlarge(saliency.values, len(image))))
    return blend(image, normalised, saliency.kind)


def blend(image: NDArray[np.uint8], normalised: NDArray[np.float64], kind: Kind) -> NDArray[np.uint8]:
    """Lay colours over an image, uint8 (H, W, 3): those of normalised values (H, W), 0 (lowest) to 1."""
    if kind == "occlusion":
        # Blue or red laid on as thick as the value is far from 0, which over white is the colour bar.
        opacity = OPACITY[kind] * np.abs(2 * normalised - 1)[..., None].clip(0, 1)
        normalised = np.where(normalised < 0.5, 0.0, 1.0)
    else:
        opacity = np.full((*normalised.shape, 1), OPACITY[kind])
    colours = mpl.colormaps[COLOUR_MAPS[kind]](normalised)[..., :3]
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    blended: NDArray[np.uint8] = (opacity * 255 * colours + (1 - opacity) * grey).round().astype(np.uint8)
    return blended


def draw_explanation(
    path: Path, image: NDArray[np.uint8], explanation: Explanation, scores: Sequence[Faithfulness], title: str
) -> None:
    """Draw an image and all its maps as a PNG file.

    Args:
        path: the file.
        image: uint8 (S, S, 3), RGB.
        explanation: what is drawn.
        scores: of its maps, in their order.
        title: lines of text above; shown as they are.
    """
    limits = limits_of(explanation.maps)
    panels = order_panels(explanation.maps)
    columns = 3 if len(panels) > 3 else len(panels) + 1
    rows = -(-(len(panels) + 1) // columns)
    # The user's names are shown as they are: a $ begins no formula.
    with mpl.rc_context({"text.parse_math": False}):
        figure = Figure((3.7 * columns, 3.6 * rows + 0.5), layout="constrained")
        figure.suptitle(title, fontsize=11)
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in grid:
            axes.set_axis_off()
        grid[0].imshow(image)
        grid[0].set_title("image", fontsize=10)
        for axes, place in zip(grid[1:], panels, strict=False):
            draw_panel(axes, image, explanation.maps[place], scores[place], limits[place])
        write_figure(path, figure, DOTS_PER_INCH)


def title_of(kind: Kind, branch: str) -> str:
    """Name a map for people."""
    return f"{TITLES[kind]}, {BRANCHES[branch]}" if branch else TITLES[kind]


def order_panels(maps: Sequence[SaliencyMap]) -> list[int]:
    """Put Grad-CAM first, then occlusion, then attention, so that two rows of three hold a branch in each column."""
    wanted = ("grad_cam", "occlusion", "attention")
    return sorted(range(len(maps)), key=lambda place: wanted.index(maps[place].kind))


def draw_panel(
    axes: Axes, image: NDArray[np.uint8], saliency: SaliencyMap, score: Faithfulness, limits: tuple[float, float]
) -> None:
    axes.imshow(overlay_pixels(image, saliency, limits))
    height, width = saliency.values.shape
    axes.set_title(f"{title_of(saliency.kind, saliency.branch)}, {height} × {width}", fontsize=10)
    scored = (
        f"deletion {score.deletion_area:.2f}, by chance {score.chance_deletion:.2f}\n"
        f"insertion {score.insertion_area:.2f}, by chance {score.chance_insertion:.2f}"
    )
    axes.text(0.5, -0.03, scored, fontsize=8, ha="center", va="top", transform=axes.transAxes)
    colours = ScalarMappable(Normalize(*limits), COLOUR_MAPS[saliency.kind])
    bar = axes.figure.colorbar(colours, ax=axes, fraction=0.046, pad=0.03)
    bar.set_label(UNITS[saliency.kind], fontsize=8)
    bar.ax.tick_params(labelsize=7)
