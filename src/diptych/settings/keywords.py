"""Settings as keyword arguments, for editors and type checkers; config.py says what each one is."""

from os import PathLike
from typing import Literal, TypedDict

from diptych.settings.config import Attention, Augmentation, Backend, ClassFolder, ClassWeights, Precision, Recipe, Resize


class DataSettings(TypedDict, total=False):
    """The keys of the section [data] of Config, but for the data folder itself."""

    image_size: int
    resize: Resize
    grey_range: str
    cache: str | PathLike[str]
    class_folder: ClassFolder
    follow_links: bool
    fixes: str | PathLike[str] | None
    split: str | PathLike[str] | None
    validation_share: float
    test_share: float
    group_column: str
    path_column: str
    label_column: str
    images: str | PathLike[str] | None
    class_names: str
    near_twins: bool
    allow_leaks: bool
    max_unreadable: float
    strict: bool


class Settings(DataSettings, total=False):
    """The keys of all sections of Config, but for the data folder; tests/settings/test_keywords.py holds the two together."""

    augment: Augmentation
    flip_horizontal: bool
    flip_vertical: bool
    quarter_turns: bool
    rotation: float
    zoom: float
    shift: float
    brightness: float
    contrast: float
    colour: float
    blur: float
    erasing: float
    mixup: float
    cutmix: float
    weights: str
    width: float
    branches: Literal["both", "resnet50", "convnet"]
    attention: Attention
    dense_units: int
    dropout: float
    batch_norm_momentum: float
    recipe: Recipe
    epochs: int
    batch_size: int
    loss: Literal["cross-entropy", "focal"]
    class_weights: ClassWeights
    label_smoothing: float
    freeze_resnet50: bool
    head_epochs: int
    freeze_batch_norm: Literal["never", "small", "always"]
    depth_factor: float
    start_size: float
    best_by: Literal["accuracy", "loss"]
    optimizer: Literal["adam", "adamw"]
    learning_rate: float
    pretrained_factor: float
    weight_decay: float
    gradient_clip: float
    accumulate: int
    ema: float
    schedule: Literal["plateau", "one-cycle", "constant"]
    plateau_factor: float
    plateau_patience: int
    plateau_min_delta: float
    min_learning_rate: float
    warmup_share: float
    early_stopping: int
    checkpoint_minutes: float
    seed: int
    backend: Backend
    precision: Precision
    devices: Literal["one", "all"]
    deterministic: bool
    tensorboard: bool
    mlflow: str
