"""Where settings come from besides flags: recipes, presets and TOML files, all as keys of the classes in config."""

import dataclasses
import difflib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from diptych.errors import ConfigError
from diptych.settings.config import Augmentation, AugmentConfig, Config, Recipe, convert, kinds_of

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

# What --augment begins with: the keys of AugmentConfig that differ from its defaults.
LEVELS: Mapping[Augmentation, Mapping[str, Any]] = {
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


def nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}."


def override(base: Config, tables: Mapping[str, Any], source: str) -> Config:
    """Return `base` with the keys of `tables` ([section][key]) set.

    Raises:
        ConfigError: an unknown section or key (the nearest one is named), or a value of the wrong type.
    """
    sections = {}
    for name, keys in tables.items():
        if name not in kinds_of(Config):
            raise ConfigError(f"{source}: unknown section [{name}]; {nearest(name, list(kinds_of(Config)))}")
        if not isinstance(keys, Mapping):
            raise ConfigError(f"{source}: {name} is a value; expected a section [{name}] with keys below it.")
        section = getattr(base, name)
        kinds = kinds_of(type(section))
        for key in keys:
            if key not in kinds:
                raise ConfigError(f"{source}: unknown key {key} in [{name}]; {nearest(key, list(kinds))}")
        values = {key: convert(value, kinds[key], f"{source}: {key} in [{name}]") for key, value in keys.items()}
        if name == "augment" and "augment" in values:
            section = augmentation(values["augment"])
        sections[name] = dataclasses.replace(section, **values)
    return dataclasses.replace(base, **sections)


def augmentation(level: Augmentation) -> AugmentConfig:
    """Return the augmentation of a level, none of whose keys is left from elsewhere."""
    return AugmentConfig(augment=level, **LEVELS[level])


def with_preset(base: Config, preset: str) -> Config:
    """Return `base` with the keys of a preset set; `preset` is a key of PRESETS."""
    if preset not in PRESETS:
        raise ConfigError(f"unknown preset {preset}; {nearest(preset, list(PRESETS))}")
    return override(base, PRESETS[preset], f"preset {preset}")


def with_recipe(base: Config, recipe: Recipe) -> Config:
    """Return `base` with the keys of a recipe set; "auto" chooses later, by the weights that can be had."""
    auto = {"model": {"weights": "auto"}, "training": {"recipe": "auto"}}
    return override(base, auto if recipe == "auto" else RECIPES[recipe], f"recipe {recipe}")


def read_toml(path: Path, base: Config) -> Config:
    """Return `base` with the keys of a TOML file set.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or holds an unknown key or a wrong value.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}.") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as a TOML file: {error}") from error
    return override(base, tables, str(path))


def to_toml(config: Config) -> str:
    """Write every key as TOML that `read_toml` reads back to an equal Config."""
    lines = []
    for section in dataclasses.fields(config):
        lines.append(f"[{section.name}]")
        for key, value in vars(getattr(config, section.name)).items():
            if value is None:
                continue
            # A JSON string, number or boolean is the same text in TOML, but for the control character DEL.
            text = json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)
            lines.append(f"{key} = {text}".replace("\x7f", "\\u007f"))
        lines.append("")
    return "\n".join(lines)
