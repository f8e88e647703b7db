"""Every setting, once: the flags, their help, the TOML file and the saved run all come from these classes."""

import math
import os
import typing
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal

from diptych.errors import ConfigError

ClassFolder = Literal["auto", "upper", "lower"]
Resize = Literal["stretch", "letterbox", "crop"]
Attention = Literal["identity", "published", "none"]
Augmentation = Literal["none", "light", "standard", "strong"]
ClassWeights = Literal["none", "balanced", "sqrt"]
Recipe = Literal["classic", "fine-tune", "scratch", "auto"]
Backend = Literal["auto", "tensorflow", "jax", "torch"]
Precision = Literal["auto", "float32", "bfloat16"]


def convert(value: Any, kind: Any, where: str) -> Any:
    """Check a value against the type of its key, and return it as that type.

    A str or any os.PathLike passes for a path, an int (also NumPy's) for a float, a list for a tuple.

    Args:
        value: from a TOML file or from Python.
        kind: the annotation of the key: a Literal, a class, `X | None`, or `tuple[X, ...]`.
        where: what the value was given as, for the message.

    Raises:
        ConfigError: it is none of the choices, or not of the type.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        if not isinstance(value, str) or value not in arguments:
            raise ConfigError(f"{where} is {value!r}; expected one of {', '.join(arguments)}.")
        return value
    if origin in (UnionType, typing.Union):
        inner = next(argument for argument in arguments if argument is not NoneType)
        return None if value is None else convert(value, inner, where)
    if origin is tuple and isinstance(value, (list, tuple)):
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(kinds) == len(value):
            return tuple(convert(each, one, where) for each, one in zip(value, kinds, strict=True))
    if kind is Path and isinstance(value, (str, os.PathLike)):
        return Path(value)
    plain = value.item() if type(value).__module__ == "numpy" and hasattr(value, "item") else value
    if kind is float and type(plain) is int:
        return float(plain)
    if origin is None and type(plain) is kind:
        return plain
    expected = getattr(kind, "__name__", str(kind)) if origin is None else str(kind)
    raise ConfigError(f"{where} is {value!r}; expected a value of type {'path' if kind is Path else expected}.")


def flags_of(section: object, *without: str) -> list[str]:
    """Return the flags that set a section as it is, where it is not as by default; `without` some keys."""
    flags: list[str] = []
    for each in fields(section):  # type: ignore[arg-type]
        value = getattr(section, each.name)
        flag = each.name.replace("_", "-")
        if each.name in without or value == each.default:
            continue
        if isinstance(value, bool):
            flags.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            # A value such as -5,10 would be taken for a flag.
            flags += [f"--{flag}={value}"] if str(value).startswith("-") else [f"--{flag}", str(value)]
    return flags


def kinds_of(section: type) -> dict[str, Any]:
    """Return the type of each key of a section."""
    return typing.get_type_hints(section)


class Checked:
    """A section that has the types it is annotated with, in Python as on the command line."""

    def __post_init__(self) -> None:
        for key, kind in kinds_of(type(self)).items():
            value = getattr(self, key)
            object.__setattr__(self, key, convert(value, kind, f"{type(self).__name__}: {key}"))
        self.check()

    def check(self) -> None:
        """Check the values, of which the types are right.

        Raises:
            ConfigError: one of them is out of its range.
        """


def require(section: object, key: str, fits: bool, expected: str) -> None:
    if not fits:
        value, flag = getattr(section, key), key.replace("_", "-")
        raise ConfigError(f"{key} is {value}; expected {expected}. Set --{flag} or the key {key} of the TOML file.")


def parse_grey_range(text: str) -> tuple[float, float] | None:
    """Read what `grey_range` says: the stored values that become black and white, None where the files declare them.

    Raises:
        ConfigError: it is neither declared, nor one number above 0, nor two numbers of which the first is the smaller one.
    """
    if text == "declared":
        return None
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    low, high = (0.0, *numbers) if len(numbers) == 1 else numbers if len(numbers) == 2 else (0.0, 0.0)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ConfigError(
            f"grey_range is {text!r}; expected declared, MAX above 0 (4095 say) or LOW,HIGH (200,3500 say). Set --grey-range "
            "(--grey-range=LOW,HIGH where LOW is negative) or the key grey_range of the TOML file."
        )
    return low, high


@dataclass(frozen=True)
class DataConfig(Checked):
    """Where the images are and how they become pixels."""

    data: Path = Path()
    """Folder of the images, in one of the layouts of the README, or a table of them (CSV, TSV, Parquet); else the current
    folder."""
    image_size: int = 224
    """Height and width of the network's input, in pixels; at least 32."""
    resize: Resize = "stretch"
    """How an image that is not square is made square: stretched, padded with black, or cut to its middle."""
    grey_range: str = "declared"
    """Stored values that become black and white in images of more than 8 bits: MAX (4095 for 12 bits), LOW,HIGH, or declared
    (0 and what the file declares, else 65535). What lies beyond becomes black or white too."""
    cache: Path = Path("~/.cache/diptych")
    """Folder that keeps the prepared (decoded and resized) images for the next run."""
    class_folder: ClassFolder = "auto"
    """Which folder names the class of an image, where no table does: the upper one in the data folder (or in train/, val/,
    test/), or the lower one that the image lies in; auto: the upper one, but not where the lower ones have the same names."""
    follow_links: bool = False
    """Follow links that lead out of the data folder, to files and folders, as DVC and git-annex make them."""
    fixes: Path | None = None
    """Table of corrections (fixes.csv: drop, relabel, group), as the page of `diptych check` writes it."""
    split: Path | None = None
    """Table with the columns path (or image_name) and split to take over, split.csv of a run say; images that it lacks are
    assigned as usual."""
    validation_share: float = 0.15
    """Share of the images kept for validation, unless the split is given."""
    test_share: float = 0.15
    """Share of the images kept for the test, unless the split is given."""
    group_column: str = "group"
    """Column of the tables whose equal values (a patient, a module, a scene) stay in one part of the split."""
    path_column: str = ""
    """Column of the tables with the path of each image, where its heading is not one of those known."""
    label_column: str = ""
    """Column of the tables with the class of each image, where its heading is not one of those known."""
    images: Path | None = None
    """Folder that the paths in the tables are relative to; without it, the folder of the tables."""
    class_names: str = ""
    """Names for classes that the data gives as numbers, in the order of the numbers: functional,defective for 0 and 1."""
    near_twins: bool = True
    """Look for near twins (resized, re-encoded, cropped, mirrored or turned copies), and keep them in one part."""
    allow_leaks: bool = False
    """Go on although a given split has copies of an image, or a group, in more than one part."""
    max_unreadable: float = 0.05
    """Up to this share of unreadable images is set aside and listed; above it, training does not start."""
    strict: bool = False
    """Make a single unreadable image an error."""

    def check(self) -> None:
        names = [name.strip().lower() for name in self.class_names.split(",")]
        several = len(names) > 1 and "" not in names and len(set(names)) == len(names)
        require(self, "class_names", not self.class_names or several, "two or more different names, with commas between them")
        require(self, "image_size", 32 <= self.image_size <= 4096, "32 to 4096 pixels")
        parse_grey_range(self.grey_range)
        require(self, "validation_share", 0 < self.validation_share < 1, "a share between 0 and 1")
        require(self, "test_share", 0 < self.test_share < 1 - self.validation_share, "a share that leaves images for training")
        require(self, "max_unreadable", 0 <= self.max_unreadable < 1, "a share from 0 to below 1")


@dataclass(frozen=True)
class AugmentConfig(Checked):
    """What is changed at random in each training image, drawn anew for each image and epoch.

    In Python, `presets.augmentation("strong")` gives the keys of a level; `augment` alone is its name.
    """

    augment: Augmentation = "standard"
    """What the keys below begin with: none (all off), light (flips and tones), standard, or strong."""
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
    colour: float = 0.0
    """Largest change of saturation, and of the gain of each colour channel, as a share of it."""
    blur: float = 0.0
    """Largest standard deviation of the Gaussian blur, in pixels."""
    erasing: float = 0.0
    """Share of the images that lose a rectangle (Random Erasing: Zhong et al., AAAI 2020)."""
    mixup: float = 0.0
    """Alpha of MixUp's Beta distribution (Zhang et al., ICLR 2018); 0 turns it off."""
    cutmix: float = 0.0
    """Alpha of CutMix's Beta distribution (Yun et al., ICCV 2019); 0 turns it off. With both, each image takes one."""

    def check(self) -> None:
        require(self, "rotation", 0 <= self.rotation <= 180, "0 to 180 degrees")
        for key in ("zoom", "shift", "brightness", "contrast", "colour"):
            require(self, key, 0 <= getattr(self, key) < 1, "a share from 0 to below 1")
        require(self, "blur", 0 <= self.blur <= 20, "0 to 20 pixels")
        require(self, "erasing", 0 <= self.erasing <= 1, "a share from 0 to 1")
        for key in ("mixup", "cutmix"):
            require(self, key, 0 <= getattr(self, key) <= 10, "an alpha from 0 (off) to 10")


@dataclass(frozen=True)
class ModelConfig(Checked):
    """The dual model."""

    weights: str = "imagenet"
    """Weights to start from: imagenet, none, auto (imagenet if it is available, else none), or a path to the
    official .h5 file or to a run."""
    width: float = 1.0
    """Factor on the number of filters of every layer; small values make a tiny network of the same structure."""
    branches: Literal["both", "resnet50", "convnet"] = "both"
    """Both branches, or one of them alone, to see what each is worth."""
    attention: Attention = "identity"
    """Global attention on each branch: starting as the identity, as published for CABNet, or none."""
    dense_units: int = 256
    """Units of the head's hidden dense layer."""
    dropout: float = 0.2
    """Share of the pooled features dropped in training."""
    batch_norm_momentum: float = 0.99
    """Share of the old moving statistics that batch normalisation keeps at each step."""

    def check(self) -> None:
        require(self, "width", 0 < self.width <= 4, "a factor above 0 and up to 4")
        require(self, "dense_units", self.dense_units >= 1, "at least 1")
        require(self, "dropout", 0 <= self.dropout < 1, "a share from 0 to below 1")
        require(self, "batch_norm_momentum", 0 <= self.batch_norm_momentum < 1, "a share from 0 to below 1")


@dataclass(frozen=True)
class TrainingConfig(Checked):
    """How the model is trained."""

    recipe: Recipe = "classic"
    """What the keys below begin with: classic; fine-tune, for pretrained weights; scratch, for random ones; or auto, which
    chooses between the two by the weights and the number of images."""
    epochs: int = 70
    """Passes over the training images."""
    batch_size: int = 32
    """Images per optimizer step."""
    loss: Literal["cross-entropy", "focal"] = "cross-entropy"
    """What is minimised: cross-entropy (binary for two classes, else categorical), or the focal loss (Lin et al., ICCV
    2017), which favours hard images."""
    class_weights: ClassWeights = "none"
    """Weight of each image by its class: none, balanced (each class counts the same), or sqrt (half the way)."""
    label_smoothing: float = 0.0
    """Share of each label that is spread over all classes (Szegedy et al., CVPR 2016)."""
    freeze_resnet50: bool = False
    """Leave the ResNet50 branch as it is loaded, its batch normalisation too; without it, all layers are trained."""
    head_epochs: int = 0
    """Epochs at the beginning in which only the layers without pretrained weights learn."""
    freeze_batch_norm: Literal["never", "small", "always"] = "never"
    """Keep the ResNet50 branch's batch normalisation as it is loaded: never, with fewer than 1,000 training images, or always."""
    depth_factor: float = 1.0
    """What the learning rate is multiplied by from each stage of a pretrained ResNet50 to the one below it."""
    start_size: float = 1.0
    """Share of image_size that the first epochs are trained at; the size then grows, and the last quarter of them has it all."""
    best_by: Literal["accuracy", "loss"] = "accuracy"
    """What the best checkpoint is best by: the highest validation accuracy, or the lowest validation loss."""
    optimizer: Literal["adam", "adamw"] = "adam"
    """Adam, or AdamW with decoupled weight decay."""
    learning_rate: float = 1e-4
    """Learning rate; the highest one when the schedule is one-cycle."""
    pretrained_factor: float = 1.0
    """What the learning rate is multiplied by where the training starts from pretrained weights."""
    weight_decay: float = 0.01
    """Weight decay of AdamW; biases and batch normalisation have none."""
    gradient_clip: float = 0.0
    """Largest norm of the gradient of all weights together; 0 for no limit."""
    accumulate: int = 1
    """Batches whose gradients are averaged into one update."""
    ema: float = 0.0
    """Momentum of the moving average of the weights, which is then what is validated and kept; 0 for none."""
    schedule: Literal["plateau", "one-cycle", "constant"] = "plateau"
    """Lower the rate when the validation loss stands still, or warm up and anneal over the whole run, or neither."""
    plateau_factor: float = 0.5
    """What the rate is multiplied by on a plateau."""
    plateau_patience: int = 5
    """Epochs without a better validation loss before the rate is lowered."""
    plateau_min_delta: float = 1e-4
    """On a plateau, what lowers the validation loss by less than this is no better loss."""
    min_learning_rate: float = 1e-7
    """The plateau schedule does not go below this rate."""
    warmup_share: float = 0.25
    """Share of the one-cycle run in which the rate rises."""
    early_stopping: int = 0
    """Epochs without a better validation loss after which the training ends; 0 for never."""
    checkpoint_minutes: float = 5.0
    """A checkpoint to go on from is written at the end of each epoch, and at least this often."""
    seed: int = 0
    """Seed of the split, the weights, the order of the images, the augmentation and the dropout."""

    def check(self) -> None:
        for key in ("epochs", "batch_size", "plateau_patience", "accumulate"):
            require(self, key, getattr(self, key) >= 1, "at least 1")
        require(self, "learning_rate", 0 < self.learning_rate < 10, "a rate above 0 and below 10")
        require(self, "pretrained_factor", 0 < self.pretrained_factor <= 10, "a factor above 0 and up to 10")
        require(self, "plateau_factor", 0 < self.plateau_factor < 1, "a factor between 0 and 1")
        require(self, "min_learning_rate", 0 <= self.min_learning_rate <= self.learning_rate, "0 up to the learning rate")
        require(self, "warmup_share", 0 < self.warmup_share < 1, "a share between 0 and 1")
        for key in ("weight_decay", "label_smoothing", "ema"):
            require(self, key, 0 <= getattr(self, key) < 1, "0 to below 1")
        for key in ("head_epochs", "early_stopping"):
            require(self, key, getattr(self, key) >= 0, "0 or more epochs")
        require(self, "depth_factor", 0 < self.depth_factor <= 1, "a factor above 0 and up to 1")
        require(self, "start_size", 0 < self.start_size <= 1, "a share above 0 and up to 1")
        require(self, "plateau_min_delta", 0 <= self.plateau_min_delta < 1000, "0 or a difference of losses below 1000")
        require(self, "gradient_clip", self.gradient_clip >= 0, "a norm above 0, or 0 for no limit")
        require(self, "checkpoint_minutes", 0 < self.checkpoint_minutes <= 1440, "above 0 and up to 1440 minutes")
        require(self, "seed", 0 <= self.seed < 2**31, "0 to 2147483647")


@dataclass(frozen=True)
class ComputeConfig(Checked):
    """What computes, and how exactly."""

    backend: Backend = "auto"
    """What Keras computes with; auto: TensorFlow on a processor, JAX on a graphics card where it is installed for one."""
    precision: Precision = "auto"
    """Numbers of the training: float32, or bfloat16 with weights in float32; auto: bfloat16 on a graphics card only."""
    devices: Literal["one", "all"] = "one"
    """Train on one graphics card, or on all of this machine, each with its part of every batch."""
    deterministic: bool = False
    """Turn on what the backend has for bit-for-bit the same result in every run; slower on a graphics card."""


@dataclass(frozen=True)
class TrackingConfig(Checked):
    """Where a training is logged besides its own folder; of no consequence for what is trained."""

    tensorboard: bool = False
    """Write logs for TensorBoard into the run's folder, tensorboard/."""
    mlflow: str = "none"
    """Log to MLflow: sqlite:///FILE, the http:// or https:// URI of a server, or none."""


@dataclass(frozen=True)
class Config(Checked):
    """All settings of a run."""

    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
