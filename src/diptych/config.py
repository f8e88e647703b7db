"""Every setting, once: the flags, their help, the TOML file and the saved run all come from these classes."""

import dataclasses
import difflib
import json
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from diptych.errors import ConfigError

Resize = Literal["stretch", "letterbox", "crop"]
Attention = Literal["identity", "published", "none"]


def require(section: object, key: str, fits: bool, expected: str) -> None:
    if not fits:
        value, flag = getattr(section, key), key.replace("_", "-")
        raise ConfigError(f"{key} is {value}; expected {expected}. Set --{flag} or the key {key} of the TOML file.")


@dataclass(frozen=True)
class DataConfig:
    """Where the images are and how they become pixels."""

    data: Path = Path()
    """Folder that holds 0/, 1/, 0.csv and 1.csv; without it, the current folder."""
    image_size: int = 224
    """Height and width of the network's input, in pixels; at least 32."""
    resize: Resize = "stretch"
    """How an image that is not square is made square: stretched, padded with black, or cut to its middle."""
    validation_share: float = 0.15
    """Share of the images kept for validation, unless the tables have a column `split`."""
    test_share: float = 0.15
    """Share of the images kept for the test, unless the tables have a column `split`."""
    max_unreadable: float = 0.05
    """Up to this share of unreadable images is set aside and listed; above it, training does not start."""
    strict: bool = False
    """Make a single unreadable image an error."""

    def __post_init__(self) -> None:
        require(self, "image_size", 32 <= self.image_size <= 4096, "32 to 4096 pixels")
        require(self, "validation_share", 0 < self.validation_share < 1, "a share between 0 and 1")
        require(self, "test_share", 0 < self.test_share < 1 - self.validation_share, "a share that leaves images for training")
        require(self, "max_unreadable", 0 <= self.max_unreadable < 1, "a share from 0 to below 1")


@dataclass(frozen=True)
class AugmentConfig:
    """What is changed at random in each training image, drawn anew for each image and epoch."""

    augment: bool = True
    """Augment at all."""
    flip_horizontal: bool = True
    """Mirror left and right, half of the time."""
    flip_vertical: bool = True
    """Mirror top and bottom, half of the time; turn it off for images that have an up."""
    quarter_turns: bool = False
    """Turn by 0, 90, 180 or 270 degrees, for images that have no up."""
    rotation: float = 10.0
    """Largest rotation to either side, in degrees."""
    zoom: float = 0.1
    """Largest zoom in or out, as a share of the size."""
    shift: float = 0.1
    """Largest shift along each axis, as a share of the size."""
    brightness: float = 0.1
    """Largest change of brightness, as a share of the full range."""
    contrast: float = 0.1
    """Largest change of contrast, as a share of it."""

    def __post_init__(self) -> None:
        require(self, "rotation", 0 <= self.rotation <= 180, "0 to 180 degrees")
        for key in ("zoom", "shift", "brightness", "contrast"):
            require(self, key, 0 <= getattr(self, key) < 1, "a share from 0 to below 1")


@dataclass(frozen=True)
class ModelConfig:
    """The dual model."""

    weights: str = "imagenet"
    """Weights to start from: imagenet, none, auto (imagenet if it can be had, else none), or a path to the
    official .h5 file or to a run."""
    width: float = 1.0
    """Factor on the number of filters of every layer; small values make a tiny network of the same structure."""
    attention: Attention = "identity"
    """Global attention on each branch: starting as the identity, as published for CABNet, or none."""
    dense_units: int = 256
    """Units of the head's hidden dense layer."""
    dropout: float = 0.2
    """Share of the pooled features dropped in training."""
    batch_norm_momentum: float = 0.99
    """Share of the old moving statistics that batch normalisation keeps at each step."""

    def __post_init__(self) -> None:
        require(self, "width", 0 < self.width <= 4, "a factor above 0 and up to 4")
        require(self, "dense_units", self.dense_units >= 1, "at least 1")
        require(self, "dropout", 0 <= self.dropout < 1, "a share from 0 to below 1")
        require(self, "batch_norm_momentum", 0 <= self.batch_norm_momentum < 1, "a share from 0 to below 1")


@dataclass(frozen=True)
class TrainingConfig:
    """How the model is trained."""

    epochs: int = 70
    """Passes over the training images."""
    batch_size: int = 32
    """Images per optimizer step."""
    optimizer: Literal["adam", "adamw"] = "adam"
    """Adam, or AdamW with decoupled weight decay."""
    learning_rate: float = 1e-4
    """Learning rate; the highest one when the schedule is one-cycle."""
    pretrained_factor: float = 1.0
    """What the learning rate is multiplied by where the training starts from pretrained weights."""
    weight_decay: float = 0.01
    """Weight decay of AdamW."""
    schedule: Literal["plateau", "one-cycle", "constant"] = "plateau"
    """Lower the rate when the validation loss stands still, or warm up and anneal over the whole run, or neither."""
    plateau_factor: float = 0.5
    """What the rate is multiplied by on a plateau."""
    plateau_patience: int = 5
    """Epochs without a better validation loss before the rate is lowered."""
    min_learning_rate: float = 1e-7
    """The plateau schedule does not go below this rate."""
    warmup_share: float = 0.25
    """Share of the one-cycle run in which the rate rises."""
    seed: int = 0
    """Seed of the split, the weights, the order of the images, the augmentation and the dropout."""

    def __post_init__(self) -> None:
        require(self, "epochs", self.epochs >= 1, "at least 1")
        require(self, "batch_size", self.batch_size >= 1, "at least 1")
        require(self, "learning_rate", 0 < self.learning_rate < 10, "a rate above 0 and below 10")
        require(self, "pretrained_factor", 0 < self.pretrained_factor <= 10, "a factor above 0 and up to 10")
        require(self, "weight_decay", 0 <= self.weight_decay < 1, "0 to below 1")
        require(self, "plateau_factor", 0 < self.plateau_factor < 1, "a factor between 0 and 1")
        require(self, "plateau_patience", self.plateau_patience >= 1, "at least 1")
        require(self, "min_learning_rate", 0 <= self.min_learning_rate <= self.learning_rate, "0 up to the learning rate")
        require(self, "warmup_share", 0 < self.warmup_share < 1, "a share between 0 and 1")
        require(self, "seed", 0 <= self.seed < 2**31, "0 to 2147483647")


@dataclass(frozen=True)
class Config:
    """All settings of a run."""

    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)


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


def nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}."


def convert(value: Any, kind: Any, where: str) -> Any:
    """Check one TOML value against the type of its key; int passes for float, str for a path."""
    if typing.get_origin(kind) is Literal:
        choices = typing.get_args(kind)
        if value not in choices:
            raise ConfigError(f"{where} is {value!r}; expected one of {', '.join(choices)}.")
        return value
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ConfigError(f"{where} is {value!r}; expected a value of type {kind.__name__}.")
    return value


def override(base: Config, tables: Mapping[str, Any], source: str) -> Config:
    """Return `base` with the keys of `tables` ([section][key]) set.

    Raises:
        ConfigError: an unknown section or key (the nearest one is named), or a value of the wrong type.
    """
    sections = {}
    for name, keys in tables.items():
        if name not in typing.get_type_hints(Config):
            raise ConfigError(f"{source}: unknown section [{name}]; {nearest(name, list(typing.get_type_hints(Config)))}")
        if not isinstance(keys, Mapping):
            raise ConfigError(f"{source}: {name} is a value; expected a section [{name}] with keys below it.")
        section = getattr(base, name)
        kinds = typing.get_type_hints(type(section))
        for key in keys:
            if key not in kinds:
                raise ConfigError(f"{source}: unknown key {key} in [{name}]; {nearest(key, list(kinds))}")
        values = {key: convert(value, kinds[key], f"{source}: {key} in [{name}]") for key, value in keys.items()}
        sections[name] = dataclasses.replace(section, **values)
    return dataclasses.replace(base, **sections)


def with_preset(base: Config, preset: str) -> Config:
    """Return `base` with the keys of a preset set; `preset` is a key of PRESETS."""
    if preset not in PRESETS:
        raise ConfigError(f"unknown preset {preset}; {nearest(preset, list(PRESETS))}")
    return override(base, PRESETS[preset], f"preset {preset}")


def read_toml(path: Path, base: Config) -> Config:
    """Return `base` with the keys of a TOML file set.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or holds an unknown key or a wrong value.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as a TOML file: {error}") from error
    return override(base, tables, str(path))


def to_toml(config: Config) -> str:
    """Write every key as TOML that `read_toml` reads back to an equal Config."""
    lines = []
    for section in dataclasses.fields(config):
        lines.append(f"[{section.name}]")
        for key, value in vars(getattr(config, section.name)).items():
            # A JSON string, number or boolean is the same text in TOML, but for the control character DEL.
            text = json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)
            lines.append(f"{key} = {text}".replace("\x7f", "\\u007f"))
        lines.append("")
    return "\n".join(lines)
