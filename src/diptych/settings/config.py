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

    A str or any os.PathLike passes for a path, a path for a str, an int (also NumPy's) for a float, a list for a tuple.

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
    if kind is str and isinstance(value, os.PathLike):
        return convert(os.fspath(value), kind, where)
    plain = value.item() if type(value).__module__ == "numpy" and hasattr(value, "item") else value
    if kind is float and type(plain) is int:
        return float(plain)
    if origin is None and type(plain) is kind:
        return plain
    expected = getattr(kind, "__name__", str(kind)) if origin is None else str(kind)
    raise ConfigError(f"{where} is {value!r}; expected a value of type {'path' if kind is Path else expected}.")


def at_home(path: Path) -> Path:
    """Return a path with ~ at its beginning replaced by the home folder, as a shell does.

    Raises:
        ConfigError: there is no home folder: no HOME, and no entry of the user (`docker run --user 12345`).
    """
    if path.parts[:1] != ("~",):
        return path
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{path}: there is no home folder; set HOME, or write the whole path.") from error


def flags_of(section: object, *without: str) -> list[str]:
    """Return the flags for the keys of a section that differ from the defaults, `without` some keys."""
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
        """Check the values; their types are right already.

        Raises:
            ConfigError: one of them is out of its range.
        """


def require(section: object, key: str, fits: bool, expected: str) -> None:
    if not fits:
        value, flag = getattr(section, key), key.replace("_", "-")
        raise ConfigError(f"{key} is {value}; expected {expected}. Set --{flag} or the key {key} of the TOML file.")


def parse_grey_range(text: str) -> tuple[float, float] | None:
    """Parse `grey_range`: the stored values that become black and white, None if the files declare them.

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
            f"grey_range is {text!r}; expected declared, MAX above 0 (such as 4095) or LOW,HIGH (such as 200,3500). Set "
            "--grey-range "
            "(--grey-range=LOW,HIGH where LOW is negative) or the key grey_range of the TOML file."
        )
    return low, high


@dataclass(frozen=True)
class DataConfig(Checked):
    """Where the images are and how they become pixels."""

    data: Path = Path()
    """Folder of images, or a table of them (CSV, TSV, Parquet). Its layouts are in docs/data.md. Default: the current folder."""
    image_size: int = 224
    """Height and width of the network's input, in pixels. At least 32."""
    resize: Resize = "stretch"
    """How images become square: stretch, letterbox or crop. letterbox pads with black, crop cuts to the middle."""
    grey_range: str = "declared"
    """Grey levels beyond 8 bits: MAX, LOW,HIGH or declared. The stored values that become black and white: 0 and MAX (4095
    for 12 bits), LOW and HIGH, or as the file declares (else 0 and 65535). Values beyond them become black or white too."""
    cache: Path = Path("~/.cache/diptych")
    """Folder of the decoded images, for the next run."""
    class_folder: ClassFolder = "auto"
    """Folder level that names the class: auto, upper or lower. For images without a table. upper: the folder in the data
    folder (or in train/, val/, test/). lower: the folder that contains the image. auto: upper, unless the lower folders
    have the same names."""
    follow_links: bool = False
    """Follow links that lead out of the data folder. DVC and git-annex make such links, to files and folders."""
    fixes: Path | None = None
    """Table of corrections (fixes.csv of diptych check). Its corrections are drop, relabel and group."""
    split: Path | None = None
    """Table of the split to use, such as the split.csv of a run. It has the columns path (or image_name) and split. Images
    that it does not list are assigned as usual."""
    validation_share: float = 0.15
    """Share of the images for validation, unless a split is given."""
    test_share: float = 0.15
    """Share of the images for the test, unless a split is given."""
    group_column: str = "group"
    """Table column of groups that stay in one part of the split. Images with the same value form a group: a patient, a
    module, a scene."""
    path_column: str = ""
    """Table column with the image paths, if not recognised. Not needed for the usual headings."""
    label_column: str = ""
    """Table column with the classes, if not recognised. Not needed for the usual headings."""
    images: Path | None = None
    """Folder that the paths in the tables are relative to. Default: the folder of the table."""
    class_names: str = ""
    """Names for numbered classes: functional,defective for 0 and 1. In the order of the numbers."""
    near_twins: bool = True
    """Find near duplicates and keep them in one part of the split. Near duplicates are resized, re-encoded, cropped, mirrored
    or turned copies."""
    allow_leaks: bool = False
    """Accept a given split with copies or groups in several parts."""
    max_unreadable: float = 0.05
    """Share of unreadable images that is tolerated. They are set aside and listed. With more, training does not start."""
    strict: bool = False
    """Make a single unreadable image an error."""

    def check(self) -> None:
        # The cache keeps its ~: config.toml then means the same for another user.
        for key in ("data", "fixes", "split", "images"):
            if (path := getattr(self, key)) is not None:
                object.__setattr__(self, key, at_home(path))
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
    """Level to start from: none, light, standard or strong. none: all off. light: flips and tones only. strong: colour, blur,
    erasing, MixUp and CutMix too. Each flag of augmentation overrides it."""
    flip_horizontal: bool = True
    """Mirror left and right, half of the time."""
    flip_vertical: bool = True
    """Mirror top and bottom, half of the time. Turn it off for images with a top and a bottom."""
    quarter_turns: bool = False
    """Rotate by a random multiple of 90 degrees. For images that can be turned any way."""
    rotation: float = 10.0
    """Maximum rotation to either side, in degrees."""
    zoom: float = 0.1
    """Maximum zoom in or out, as a fraction of the size."""
    shift: float = 0.1
    """Maximum shift along each axis, as a fraction of the size."""
    brightness: float = 0.1
    """Maximum change of brightness, as a fraction of the full range."""
    contrast: float = 0.1
    """Maximum relative change of contrast (0.1 = 10 % either way)."""
    colour: float = 0.0
    """Maximum relative change of saturation and channel gains."""
    blur: float = 0.0
    """Maximum standard deviation of a Gaussian blur, in pixels."""
    erasing: float = 0.0
    """Probability of Random Erasing for each image. Zhong et al., AAAI 2020."""
    mixup: float = 0.0
    """Alpha of MixUp's Beta distribution (0 = off). Zhang et al., ICLR 2018."""
    cutmix: float = 0.0
    """Alpha of CutMix's Beta distribution (0 = off). Yun et al., ICCV 2019. With MixUp too, each image gets one of them."""

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
    """Initial weights: imagenet, none, auto, .h5 file or run. auto: imagenet if it is available, else none. The .h5 file is
    the official one of Keras."""
    width: float = 1.0
    """Factor on the number of filters of every layer. Small values make a tiny network of the same structure."""
    branches: Literal["both", "resnet50", "convnet"] = "both"
    """Branches of the network: both, resnet50 or convnet. One of them alone shows what each is worth."""
    attention: Attention = "identity"
    """Attention on each branch: identity, published or none. identity starts as the identity; published is the form of
    CABNet (He et al., TMI 2021)."""
    dense_units: int = 256
    """Units of the hidden dense layer."""
    dropout: float = 0.2
    """Dropout rate of the pooled features."""
    batch_norm_momentum: float = 0.99
    """Momentum of batch normalisation's moving statistics."""

    def check(self) -> None:
        require(self, "width", 0 < self.width <= 4, "a factor above 0 and up to 4")
        require(self, "dense_units", self.dense_units >= 1, "at least 1")
        require(self, "dropout", 0 <= self.dropout < 1, "a share from 0 to below 1")
        require(self, "batch_norm_momentum", 0 <= self.batch_norm_momentum < 1, "a share from 0 to below 1")


@dataclass(frozen=True)
class TrainingConfig(Checked):
    """How the model is trained."""

    recipe: Recipe = "classic"
    """Preset of training: classic, fine-tune, scratch or auto. fine-tune is for pretrained weights, scratch for random ones.
    auto picks fine-tune if pretrained weights are available, else scratch. Other flags override it."""
    epochs: int = 70
    """Passes over the training images."""
    batch_size: int = 32
    """Images per optimizer step."""
    loss: Literal["cross-entropy", "focal"] = "cross-entropy"
    """Loss to minimise: cross-entropy or focal. cross-entropy is binary for two classes, else categorical. focal (Lin et al.,
    ICCV 2017) gives hard images more weight."""
    class_weights: ClassWeights = "none"
    """Class weights in the loss: none, balanced or sqrt. balanced: every class counts the same. sqrt: half of the way."""
    label_smoothing: float = 0.0
    """Share of each label spread over all classes. Szegedy et al., CVPR 2016."""
    freeze_resnet50: bool = False
    """Do not train the ResNet50 branch. Its batch normalisation stays as loaded too."""
    head_epochs: int = 0
    """First epochs, which train only layers without pretrained weights."""
    freeze_batch_norm: Literal["never", "small", "always"] = "never"
    """Freeze ResNet50's BatchNorm: never, small or always. small: with fewer than 1,000 training images."""
    depth_factor: float = 1.0
    """Layer-wise learning-rate decay of ResNet50 (1 = off). Each earlier stage of a pretrained ResNet50 learns at this factor
    of the next one's rate."""
    start_size: float = 1.0
    """Progressive resizing: first fraction of image_size (1 = off). The first epochs run at this fraction, the last quarter
    of them at full size."""
    best_by: Literal["accuracy", "loss"] = "accuracy"
    """Choose the best checkpoint by validation accuracy or loss. The highest accuracy, or the lowest loss."""
    optimizer: Literal["adam", "adamw"] = "adam"
    """Optimizer: adam, or adamw with decoupled weight decay."""
    learning_rate: float = 1e-4
    """Learning rate, the highest one of the one-cycle schedule."""
    pretrained_factor: float = 1.0
    """Learning-rate factor when starting from pretrained weights."""
    weight_decay: float = 0.01
    """Weight decay of AdamW. Biases and batch normalisation have none."""
    gradient_clip: float = 0.0
    """Maximum norm of the gradient of all weights (0 = no limit)."""
    accumulate: int = 1
    """Batches whose gradients are averaged into one update."""
    ema: float = 0.0
    """Momentum of the moving average of the weights (0 = off). The averaged weights are validated and kept."""
    schedule: Literal["plateau", "one-cycle", "constant"] = "plateau"
    """Learning-rate schedule: plateau, one-cycle or constant. plateau lowers the rate when the validation loss stops
    improving; one-cycle warms up and anneals over the whole training."""
    plateau_factor: float = 0.5
    """Factor on the learning rate at a plateau."""
    plateau_patience: int = 5
    """Epochs without a better validation loss that make a plateau."""
    plateau_min_delta: float = 1e-4
    """Smallest decrease of the validation loss that counts."""
    min_learning_rate: float = 1e-7
    """Lowest rate of the plateau schedule."""
    warmup_share: float = 0.25
    """Share of the one-cycle schedule in which the rate rises."""
    early_stopping: int = 0
    """Epochs without a better validation loss to stop after (0 = never)."""
    checkpoint_minutes: float = 5.0
    """Maximum minutes between checkpoints to resume from. One is also written at the end of each epoch."""
    seed: int = 0
    """Seed of split, weights, image order, augmentation and dropout."""

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
    """Backend, devices and arithmetic."""

    backend: Backend = "auto"
    """Keras backend: auto, tensorflow, jax or torch. auto: TensorFlow on a processor, JAX on a graphics card if it is
    installed for it."""
    precision: Precision = "auto"
    """Arithmetic of training: auto, float32 or bfloat16. bfloat16 keeps the weights in float32. auto: bfloat16 on a graphics
    card only."""
    devices: Literal["one", "all"] = "one"
    """Graphics cards to train on: one, or all of this machine. With all, each computes a part of every batch."""
    deterministic: bool = False
    """Use deterministic operations of the backend. For bit-for-bit equal results in every run; slower on a graphics card."""


# How `mlflow` begins where it names a file.
SQLITE = "sqlite:///"


@dataclass(frozen=True)
class TrackingConfig(Checked):
    """Where a training is logged besides its own folder. It does not change the training."""

    tensorboard: bool = False
    """Write TensorBoard logs into tensorboard/ of the run."""
    mlflow: str = "none"
    """MLflow logs: sqlite:///FILE, http(s):// URI, or none. The URI is that of an MLflow server."""


@dataclass(frozen=True)
class Config(Checked):
    """All settings of a run."""

    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
