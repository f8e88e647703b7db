"""The stages of a training (head first, growing images), and the choice of a recipe. Its numbers are in presets.RECIPES."""

import math
from dataclasses import dataclass

from diptych.settings.config import Config, Recipe, TrainingConfig

# ResNet50 and the second branch both halve the grid five times: any multiple of 32 loses no pixel at the border.
SIZE_STEP = 32
# Each size is traced and compiled anew (23 s on TensorFlow: docs/experiments.md), so there are few.
SMALLER_SIZES = 2
# Below these, docs/recipes.md says why.
FEW_FOR_SCRATCH = 500
MIX_FROM = 5000
FEW_UPDATES = 500
MANY_FOR_SCRATCH = 100_000


@dataclass(frozen=True)
class Stage:
    """Epochs in a row that are trained alike.

    Attributes:
        epochs: how many, at least 1.
        image_size: height and width of the training images, in pixels.
        head_only: whether the pretrained branch rests.
        phase: number of the optimizer and its learning-rate cycle, from 0; several stages may share one.
    """

    epochs: int
    image_size: int
    head_only: bool
    phase: int


def plan_stages(settings: TrainingConfig, image_size: int, pretrained: bool) -> tuple[Stage, ...]:
    """Lay out the training: the head first, then everything, at image sizes that grow.

    Head first is LP-FT (Kumar et al., ICLR 2022, https://arxiv.org/abs/2202.10054), growing sizes are progressive
    resizing (Howard and Gugger, fastbook, chapter 7; Tan and Le, ICML 2021, https://arxiv.org/abs/2104.00298).

    Args:
        settings: `epochs`, `head_epochs` and `start_size`.
        image_size: the full size, in pixels, at least 32.
        pretrained: whether there is anything for the head to be first of.

    Returns:
        Stages whose epochs sum up to `settings.epochs`. Sizes never fall; each is a multiple of 32 or the full size. The
        last stage has the full size and at least a quarter of the epochs, or all that the head leaves.
    """
    head = min(settings.head_epochs, settings.epochs - 1) if pretrained else 0
    rest = settings.epochs - head
    full = min(rest, math.ceil(settings.epochs / 4))
    smaller = smaller_sizes(settings.start_size, image_size) if rest > full else []
    phase = 1 if head else 0
    stages = [Stage(epochs, size, False, phase) for size, epochs in share_out(smaller, rest - full)]
    stages.append(Stage(rest - sum(stage.epochs for stage in stages), image_size, False, phase))
    if head:
        stages.insert(0, Stage(head, stages[0].image_size, True, 0))
    return tuple(stages)


def smaller_sizes(start_size: float, image_size: int) -> list[int]:
    """Return up to two growing sizes below the full one, in pixels: the start, and half the way from there."""
    parts = [start_size + (1 - start_size) * number / SMALLER_SIZES for number in range(SMALLER_SIZES)]
    sizes = [max(SIZE_STEP, round(image_size * part / SIZE_STEP) * SIZE_STEP) for part in parts]
    return [size for size in dict.fromkeys(sizes) if size < image_size]


def share_out(sizes: list[int], epochs: int) -> list[tuple[int, int]]:
    """Divide the epochs among the image sizes; a remainder goes to the first ones."""
    shares = [epochs // len(sizes) + (number < epochs % len(sizes)) for number in range(len(sizes))]
    return [(size, share) for size, share in zip(sizes, shares, strict=True) if share]


def stage_at(stages: tuple[Stage, ...], epoch: int) -> Stage:
    """Return the stage of an epoch, counted from 0.

    Raises:
        ValueError: there is no such epoch.
    """
    ahead = epoch
    for stage in stages:
        if 0 <= ahead < stage.epochs:
            return stage
        ahead -= stage.epochs
    raise ValueError(f"epoch {epoch}; the stages have {sum(stage.epochs for stage in stages)}")


def phase_epochs(stages: tuple[Stage, ...], phase: int) -> int:
    """Return the number of epochs of a phase, which share one optimizer."""
    return sum(stage.epochs for stage in stages if stage.phase == phase)


def choose_recipe(pretrained: bool, images: int) -> tuple[Recipe, str]:
    """Choose for `--recipe auto`.

    Args:
        pretrained: whether the weights to start from were trained before.
        images: number of training images.

    Returns:
        "fine-tune" or "scratch", and why, in one line.
    """
    if pretrained:
        many = "; with so many images, training from scratch would come out about the same" * (images >= MANY_FOR_SCRATCH)
        return "fine-tune", f"the weights to start from are pretrained, and there are {images:,} training images{many}"
    if images < FEW_FOR_SCRATCH:
        return "scratch", (
            f"there are no pretrained weights. {images:,} training images are few to learn from alone: expect a weak "
            "result; ImageNet weights (--weights imagenet) are worth having"
        )
    return "scratch", f"there are no pretrained weights, and there are {images:,} training images"


def recipe_warnings(config: Config, pretrained: bool, train_images: int) -> list[str]:
    """Return warnings about settings that are known to fail, one line each.

    Args:
        config: all settings, the recipe's already in them.
        pretrained: whether the weights to start from were trained before.
        train_images: number of training images.
    """
    settings, found = config.training, []
    steps = -(-train_images // settings.batch_size)
    updates = settings.epochs * steps // settings.accumulate
    if pretrained and (config.augment.mixup or config.augment.cutmix) and train_images < MIX_FROM:
        found.append(
            f"MixUp and CutMix on pretrained weights cost accuracy below {MIX_FROM:,} training images, and there are "
            f"{train_images:,}: set --mixup 0 --cutmix 0."
        )
    if settings.recipe != "classic" and updates < FEW_UPDATES:
        found.append(
            f"{updates:,} updates in all are few; the recipe is made for {FEW_UPDATES:,} or more: "
            f"--epochs {math.ceil(FEW_UPDATES * settings.accumulate / steps)} gives that."
        )
    # The average looks back over about 1 / (1 - ema) updates; it should be over the time when the rate is low already.
    if settings.ema and 1 / (1 - settings.ema) > updates / 4:
        found.append(
            f"the moving average of the weights looks back over {1 / (1 - settings.ema):,.0f} updates, and there are "
            f"{updates:,} in all: set --ema {max(0.0, 1 - 10 / max(updates, 10)):.3g}, or train longer."
        )
    if not pretrained and (settings.depth_factor < 1 or settings.head_epochs or settings.freeze_batch_norm != "never"):
        found.append("depth_factor, head_epochs and freeze_batch_norm are for pretrained weights; here they do nothing.")
    return found
