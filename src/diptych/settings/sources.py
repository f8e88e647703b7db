"""Where settings come from: defaults, a recipe, a preset, a TOML file, flags or Python."""

import dataclasses
import difflib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diptych.errors import ConfigError
from diptych.settings.config import Config, Recipe, convert, kinds_of
from diptych.settings.presets import PRESETS, RECIPES, augmentation


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
