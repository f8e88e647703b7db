"""Maps over images: the colours are what they say, and the pictures show something."""

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from diptych.explanation.faithfulness import Faithfulness
from diptych.explanation.overlays import colour_bar, colour_limits, draw_explanation, limits_of, overlay_pixels
from diptych.explanation.saliency import Explanation, SaliencyMap

GREY = np.full((6, 6, 3), 100, np.uint8)
CURVE = np.linspace(1, 0, 5, dtype=np.float32)


def saliency(kind: str, *values: float, branch: str = "") -> SaliencyMap:
    return SaliencyMap(kind, branch, np.array([values], np.float32))


@pytest.mark.parametrize(("kind", "colours"), [("grad_cam", "inferno"), ("attention", "viridis")])
def test_overlay_pixels__blends_the_colour_of_the_value_with_the_grey_image(kind, colours):
    found = overlay_pixels(GREY, saliency(kind, 0, 1), (0, 1))
    assert (found.shape, found.dtype) == ((6, 6, 3), np.uint8)
    for column, value in ((0, 0.0), (-1, 1.0)):
        expected = 0.55 * 255 * np.array(mpl.colormaps[colours](value)[:3]) + 0.45 * 100
        np.testing.assert_allclose(found[3, column], expected, atol=1)


def test_overlay_pixels__of_occlusion_is_red_or_blue_where_it_matters_and_clear_elsewhere():
    left, _, middle, _, _, right = overlay_pixels(GREY, saliency("occlusion", -1, 0, 1))[0].astype(int)
    np.testing.assert_allclose(left, [20, 20, 224], atol=1)
    np.testing.assert_allclose(right, [224, 20, 20], atol=1)
    assert np.abs(middle - 100).max() <= np.abs(left - 100).max() / 2
    np.testing.assert_array_equal(overlay_pixels(GREY, saliency("occlusion", 0, 0)), GREY)


def test_colour_limits__make_little_of_small_differences():
    assert colour_limits([saliency("grad_cam", 0, 0.01)]) == (0, 0.1)
    assert colour_limits([saliency("grad_cam", 0, 0.01), saliency("grad_cam", 3, 1)]) == (0, 3)
    assert colour_limits([saliency("occlusion", -0.5, 0.2)]) == (-0.5, 0.5)
    assert colour_limits([saliency("attention", 0.5, 1.5)]) == (0.5, 1.5)
    assert colour_limits([saliency("attention", 1, 1)]) == pytest.approx((0.975, 1.025))


def test_limits_of__both_branches_have_one_scale_of_grad_cam_and_their_own_of_attention():
    maps = [saliency(kind, 0, end, branch=branch) for kind in ("grad_cam", "attention") for branch, end in (("a", 1), ("b", 3))]
    assert limits_of(maps) == [(0, 3), (0, 3), (0, 1), (0, 3)]


@pytest.mark.parametrize("kind", ["grad_cam", "attention", "occlusion"])
def test_colour_bar__is_what_a_map_from_its_lowest_to_its_highest_value_looks_like(kind):
    bar = colour_bar(kind, width=6, height=6)
    low, high = (-1.0, 1.0) if kind == "occlusion" else (0.0, 1.0)
    ground = np.full((6, 6, 3), 255 if kind == "occlusion" else 128, np.uint8)
    shown = overlay_pixels(
        ground, SaliencyMap(kind, "", np.tile(np.linspace(low, high, 6, dtype=np.float32), (6, 1))), (low, high)
    )
    np.testing.assert_array_equal(bar, shown)


@pytest.mark.parametrize("branches", [("resnet50", "convnet"), ("convnet",)])
def test_draw_explanation__shows_image_and_maps(branches, tmp_path):
    maps = [saliency(kind, 0, 0.5, 1, branch=branch) for kind in ("grad_cam", "attention") for branch in branches]
    maps.append(saliency("occlusion", -0.5, 0, 1))
    explanation = Explanation(1, np.array([0.2, 0.8], np.float32), tuple(maps), {})
    scores = [Faithfulness(CURVE, CURVE, 0.5, 0.5)] * len(maps)
    path = tmp_path / "folder" / "x.png"
    image = np.zeros((40, 40, 3), np.uint8)
    image[..., 1] = 255
    draw_explanation(path, image, explanation, scores, "_$x_1 \\frac{$ 猫: class 1\nprobability 0.8")
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert 1200 < picture.width < 2000
        pixels = np.asarray(picture.convert("RGB"))
    green = (pixels == (0, 255, 0)).all(axis=-1)
    # The image stands at the left and at the top, as large as a map; each map has a colour bar with a frame.
    rows, columns = np.nonzero(green)
    assert green.sum() > 200 * 200
    assert columns.max() < picture.width * (0.3 if len(branches) == 1 else 0.36)
    assert rows.max() < picture.height * (1 if len(branches) == 1 else 0.55)
    # Each panel holds many colours.
    for place in range(1, 4 if len(branches) == 1 else 3):
        width = picture.width // (4 if len(branches) == 1 else 3)
        assert len(np.unique(pixels[:, place * width : (place + 1) * width].reshape(-1, 3), axis=0)) > 100
