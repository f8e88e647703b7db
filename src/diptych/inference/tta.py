"""Test-time augmentation: the image size of a test, and the views that are averaged."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diptych.data.pixels.decode import ImageSpec, spec_of
from diptych.data.pixels.store import Images
from diptych.errors import ConfigError
from diptych.settings.config import AugmentConfig, Config

SIZES = range(32, 4097)


class View(NamedTuple):
    """An image turned counterclockwise by quarter turns, and then mirrored left and right or not."""

    quarter_turns: int
    mirrored: bool


AS_IT_IS = View(0, False)


def list_views(settings: AugmentConfig) -> tuple[View, ...]:
    """Return the views that the flips and quarter turns of an augmentation lead to, one after another.

    They are closed: the views of a view are the same ones, in another order. So the mean over them is the same for an
    image and for each of its views.

    Returns:
        1, 2, 4 or 8 views, each once, the image as it is first.
    """
    horizontal, vertical = settings.flip_horizontal, settings.flip_vertical
    if settings.quarter_turns:
        return tuple(View(turns, mirrored) for mirrored in (False, True)[: 1 + (horizontal or vertical)] for turns in range(4))
    # Top and bottom are mirrored by half a turn and a mirror.
    views = [(AS_IT_IS, True), (View(0, True), horizontal), (View(2, True), vertical), (View(2, False), horizontal and vertical)]
    return tuple(view for view, there in views if there)


def turn(images: NDArray[np.uint8], view: View) -> NDArray[np.uint8]:
    """Return a view of each of some images, uint8 (N, S, S, 3)."""
    turned = np.rot90(images, view.quarter_turns, axes=(1, 2))
    return np.ascontiguousarray(turned[:, :, ::-1] if view.mirrored else turned)


class Turned:
    """One view of each image; `turned[rows]` is what `images[rows]` is, only turned."""

    def __init__(self, images: Images, view: View) -> None:
        """Wrap images: uint8 (N, S, S, 3)."""
        self.images, self.view = images, view

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        return turn(self.images[rows], self.view)


def plan_test(config: Config, tta: bool = False, test_size: int | None = None) -> tuple[ImageSpec, tuple[View, ...]]:
    """Return how the images of a test are prepared, and the views of each.

    Args:
        config: of the run.
        tta: test-time augmentation: all views that the flips and quarter turns of the training lead to.
        test_size: height and width of the images, in pixels; None for that of the training. A size somewhat above it may
            do better, since augmentation shows things larger than they come in a test (FixRes: Touvron et al., NeurIPS
            2019; there the crop, here zoom in).

    Raises:
        ConfigError: the size is out of range, or the training knew no other view than the image as it is.
    """
    if test_size is not None and test_size not in SIZES:
        raise ConfigError(f"test_size is {test_size}; expected {SIZES[0]} to {SIZES[-1]} pixels.")
    views = list_views(config.augment) if tta else (AS_IT_IS,)
    if tta and len(views) == 1:
        raise ConfigError(
            "test-time augmentation is the mean over the flips and quarter turns that the run was trained with, but it was "
            "trained with none: flip_horizontal, flip_vertical and quarter_turns are off in its config.toml. Leave out tta."
        )
    return spec_of(config.data, test_size), views


def describe_test(test_size: int, views: int) -> str:
    """Describe in a few words at which size and in how many views images are tested."""
    return f"{test_size} x {test_size} pixels, {f'mean over {views} views of each image' if views > 1 else 'one view'}"
