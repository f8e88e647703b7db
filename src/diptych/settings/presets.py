"""Recipes, presets and levels of augmentation, as keys of the classes in config."""

from collections.abc import Mapping
from typing import Any, Literal

from diptych.settings.config import Augmentation, AugmentConfig, Recipe

Preset = Literal["none", "quick"]
PRESETS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "none": {},
    # A first look on a CPU. Where the numbers come from: docs/experiments.md.
    "quick": {
        "data": {"image_size": 64},
        "augment": {"rotation": 0.0, "zoom": 0.0, "shift": 0.0, "contrast": 0.2},
        "model": {"batch_norm_momentum": 0.9},
        "training": {
            "epochs": 8,
            "optimizer": "adamw",
            "learning_rate": 1e-3,
            "pretrained_factor": 0.1,
            "schedule": "one-cycle",
        },
    },
}

# What --recipe begins with; why each number is what it is: docs/recipes.md.
RECIPES: Mapping[Recipe, Mapping[str, Mapping[str, Any]]] = {
    "classic": {},
    "fine-tune": {
        "training": {
            "recipe": "fine-tune",
            "epochs": 30,
            "head_epochs": 3,
            "optimizer": "adamw",
            "learning_rate": 1e-3,
            "depth_factor": 0.4,
            "freeze_batch_norm": "small",
            "weight_decay": 0.02,
            "schedule": "one-cycle",
            "warmup_share": 0.1,
            "label_smoothing": 0.05,
            "gradient_clip": 1.0,
            "ema": 0.99,
            "best_by": "loss",
        },
    },
    "scratch": {
        "augment": {"augment": "light", "contrast": 0.2},
        "model": {"weights": "none", "batch_norm_momentum": 0.9},
        "training": {
            "recipe": "scratch",
            "epochs": 150,
            "optimizer": "adamw",
            "learning_rate": 2e-3,
            "weight_decay": 0.05,
            "schedule": "one-cycle",
            "start_size": 0.5,
            "label_smoothing": 0.05,
            "gradient_clip": 1.0,
            "ema": 0.998,
            "best_by": "loss",
        },
    },
}

# Between these chooses the recipe "auto".
AUTO_RECIPES: tuple[Recipe, Recipe] = ("fine-tune", "scratch")

# What --augment begins with: the keys of AugmentConfig that differ from its defaults.
AUGMENT_LEVELS: Mapping[Augmentation, Mapping[str, Any]] = {
    "none": {
        "flip_horizontal": False,
        "flip_vertical": False,
        "rotation": 0.0,
        "zoom": 0.0,
        "shift": 0.0,
        "brightness": 0.0,
        "contrast": 0.0,
    },
    "light": {"rotation": 0.0, "zoom": 0.0, "shift": 0.0},
    "standard": {},
    "strong": {
        "rotation": 20.0,
        "zoom": 0.25,
        "shift": 0.15,
        "brightness": 0.2,
        "contrast": 0.3,
        "colour": 0.2,
        "blur": 1.0,
        "erasing": 0.25,
        "mixup": 0.2,
        "cutmix": 1.0,
    },
}


def augmentation(level: Augmentation) -> AugmentConfig:
    """Return the augmentation of a level, none of whose keys is left from elsewhere."""
    return AugmentConfig(augment=level, **AUGMENT_LEVELS[level])
