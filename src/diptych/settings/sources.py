"""Where settings come from: defaults, a recipe, a preset, a TOML file, flags or Python."""

import dataclasses
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from diptych.errors import ConfigError, hint_at, nearest
from diptych.settings.config import AugmentConfig, Config, Recipe, convert, kinds_of
from diptych.settings.presets import AUTO_RECIPES, PRESETS, RECIPES, Preset, augmentation

Tables = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Layer:
    """The keys that one source sets, checked: for each section, its keys and their values."""

    tables: Tables
    source: str = ""
    """Where they come from, for messages: a file or a preset; "" for flags and Python."""

    def __post_init__(self) -> None:
        checked = {name: MappingProxyType(self.check(name, keys)) for name, keys in self.tables.items()}
        object.__setattr__(self, "tables", MappingProxyType(checked))

    def check(self, name: str, keys: Any) -> dict[str, Any]:
        """Return the keys of a section, each with a value of its type.

        Raises:
            ConfigError: an unknown section or key (the nearest one is named), or a value of the wrong type.
        """
        sections, begin = kinds_of(Config), f"{self.source}: " if self.source else ""
        if name not in sections:
            raise ConfigError(f"{begin}unknown section [{name}]; {hint_at(name, list(sections))}")
        if not isinstance(keys, Mapping):
            raise ConfigError(f"{begin}{name} is a value; expected a section [{name}] with keys below it.")
        kinds = kinds_of(sections[name])
        for key in keys:
            if key not in kinds:
                raise ConfigError(f"{begin}unknown key {key} in [{name}]; {hint_at(key, list(kinds))}")
        return {
            key: convert(value, kinds[key], f"{begin}{key} in [{name}]" if self.source else key) for key, value in keys.items()
        }


@dataclass(frozen=True)
class Given:
    """What the user gave, and nothing else: no default is in it, and no key of a recipe.

    It becomes a Config when the recipe is known. For the recipe "auto" that is after a look at the weights and the images.

    Raises:
        ConfigError: a value is out of its range, or two of them do not go together.
    """

    layers: tuple[Layer, ...] = ()
    """From the weakest to the strongest: the preset, the file, then flags or keyword arguments."""

    def __post_init__(self) -> None:
        for recipe in AUTO_RECIPES if self.recipe == "auto" else (self.recipe,):
            self.resolve(recipe)

    @property
    def recipe(self) -> Recipe:
        """The recipe that was asked for."""
        recipe: Recipe = "classic"
        for layer in self.layers:
            recipe = layer.tables.get("training", {}).get("recipe", recipe)
        return recipe

    def resolve(self, recipe: Recipe | None = None) -> Config:
        """Return all settings: the defaults, over them the recipe's keys, over them each layer's.

        Args:
            recipe: where "auto" was asked for, the one that was chosen; None for the one asked for, of which "auto" stays.
        """
        recipe = recipe or self.recipe
        auto = Layer({"model": {"weights": "auto"}} if self.recipe == "auto" else {})
        chosen = Layer(RECIPES.get(recipe, {}), f"recipe {recipe}")
        merged: dict[str, dict[str, Any]] = {section.name: {} for section in dataclasses.fields(Config)}
        for layer in (auto, chosen, *self.layers, Layer({"training": {"recipe": recipe}})):
            for name, keys in layer.tables.items():
                # A level sets all of the augmentation, so that nothing is left of what weaker layers set.
                begin = vars(augmentation(keys["augment"])) if "augment" in keys else merged[name]
                merged[name] = {**begin, **keys}
        return Config(**{name: kind(**merged[name]) for name, kind in kinds_of(Config).items()})


def given_from(preset: Preset = "none", config: Config | Path | str | None = None, **keys: object) -> Given:
    """Return what was given in Python, each key by its name alone: `given_from(preset="quick", data="photos", epochs=5)`.

    Args:
        preset: a key of PRESETS.
        config: a TOML file with settings, or a Config. All that a Config holds counts as given; but with the recipe "auto" only
            what differs from the defaults, since its other keys are the recipe's to set.
        **keys: of any section; they win over the file, and the file over the preset.

    Raises:
        ConfigError: an unknown preset or key (the nearest one is named), a value of the wrong type or out of its range, a
            file that cannot be read, or a preset or recipe none of whose keys would be used, because `config` sets them all.
    """
    sections = {key: name for name, kind in kinds_of(Config).items() for key in kinds_of(kind)}
    tables: dict[str, dict[str, object]] = {}
    for key, value in keys.items():
        if key not in sections:
            near = nearest(key, sections)
            hint = f"did you mean {near}?" if near else "`diptych train --help` names them all."
            raise ConfigError(f"{key} is no setting; {hint}")
        tables.setdefault(sections[key], {})[key] = value
    return gather(preset, config, tables)


def gather(preset: Preset, config: Config | Path | str | None, tables: Tables) -> Given:
    """Return what was given, with keys by their sections; as `given_from` otherwise."""
    below, keys = preset_layer(preset), Layer(tables)
    if config is None:
        return Given((below, keys))
    if isinstance(config, Config):
        recipe, source = keys.tables.get("training", {}).get("recipe", config.training.recipe), "the Config"
        refuse_bare_recipe(config)
        middle = (
            changes_layer(config) if recipe == "auto" and config.training.recipe in ("auto", "classic") else whole_layer(config)
        )
    else:
        middle, source = file_layer(Path(config)), str(config)
    if below.tables and sets_all(middle, below.tables):
        raise ConfigError(
            f"preset {preset} would change nothing: {source} sets all its keys, and wins over it. Leave the preset out, or "
            f"give only the settings that you want to change in place of {source}."
        )
    refuse_other_recipe(middle, keys, source)
    return Given((below, middle, keys))


def sets_all(layer: Layer, tables: Tables) -> bool:
    """Tell whether a layer sets every key of some tables."""
    return all(keys.keys() <= layer.tables.get(name, {}).keys() for name, keys in tables.items())


def refuse_other_recipe(layer: Layer, keys: Layer, source: str) -> None:
    """Raise a ConfigError where another recipe than that of a whole file or Config would change nothing but its name."""
    own = layer.tables.get("training", {}).get("recipe", "classic")
    asked = keys.tables.get("training", {}).get("recipe", own)
    recipes = {name for recipe in (own, asked) for name in (AUTO_RECIPES if recipe == "auto" else (recipe,))}
    if asked != own and all(sets_all(layer, RECIPES[name]) for name in recipes):
        raise ConfigError(
            f"recipe {asked} would change nothing but its name: {source} is of the recipe {own} and sets all the keys of both. "
            f"Leave the recipe out, or give only the settings that you want to change in place of {source}."
        )


def refuse_bare_recipe(config: Config) -> None:
    """Raise a ConfigError where a Config names a recipe of whose values it has none: a Config does not take them by itself."""
    recipe = config.training.recipe
    values = [(section, key, value) for section, keys in RECIPES.get(recipe, {}).items() for key, value in keys.items()]
    if values and not any(getattr(getattr(config, section), key) == value for section, key, value in values if key != "recipe"):
        raise ConfigError(
            f"the Config names the recipe {recipe} but has none of its values, which a Config does not take by itself. Give the "
            f'recipe without a Config, recipe="{recipe}", and beside it the keys that you want to change.'
        )


def preset_layer(preset: str) -> Layer:
    if preset not in PRESETS:
        raise ConfigError(f"unknown preset {preset}; {hint_at(preset, list(PRESETS))}")
    return Layer(PRESETS[preset], f"preset {preset}")


def whole_layer(config: Config) -> Layer:
    """Return all keys of a Config."""
    return Layer({name: vars(getattr(config, name)) for name in kinds_of(Config)})


def changes_layer(config: Config) -> Layer:
    """Return the keys of a Config that are not as by default; those of its augmentation, that are not as by its level."""
    plain = {name: vars(getattr(Config(), name)) for name in kinds_of(Config)}
    plain["augment"] = {**vars(augmentation(config.augment.augment)), "augment": AugmentConfig.augment}
    changed = {}
    for name, keys in whole_layer(config).tables.items():
        changed[name] = {key: value for key, value in keys.items() if value != plain[name][key]}
    return Layer(changed)


def file_layer(path: Path) -> Layer:
    """Read a TOML file.

    Raises:
        ConfigError: it cannot be read, is not TOML, or holds an unknown key or a value of the wrong type.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}.") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as a TOML file: {error}") from error
    return Layer(tables, str(path))


def override(base: Config, tables: Tables, source: str = "") -> Config:
    """Return `base` with the keys of `tables` set; `source` and what is raised are as for `Layer`."""
    sections: dict[str, Any] = {}
    for name, keys in Layer(tables, source).tables.items():
        section = augmentation(keys["augment"]) if "augment" in keys else getattr(base, name)
        sections[name] = dataclasses.replace(section, **keys)
    return dataclasses.replace(base, **sections)


def read_toml(path: Path, base: Config) -> Config:
    """Return `base` with the keys of a TOML file set; raises what `file_layer` raises."""
    return override(base, file_layer(path).tables)


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
