"""Diptych: a folder of labelled images in, a classifier that can be trusted out.

    run = diptych.train("cats-dogs", preset="quick", epochs=5)
    report = run.evaluate(threshold="youden")
    run.predict(["photo.jpg", array])

The way of the data, and where to read on:

    settings.sources         defaults, recipe, preset, file and flags     -> Config
    data.reading.layouts     folders and tables, checked                  -> Manifest
    data.pixels.prepare      every image decoded once                     -> PixelStore
    data.audit.audit         what is wrong with the data                  -> Audit
    data.splits              training, validation, test
    data.loader              batch = f(seed, step)                        -> BatchLoader
    model.network            pixels in, probabilities out                 -> keras.Model
    training.trainer         the main path                                -> RunDir
    inference                from pixels to an answer                     -> Decision, predictions
    evaluation.evaluate      the test of a run: figures, curves, report
    explanation.explain      where the network looks
    tuning.tune              search for better settings
    experiments              several trainings: folds, comparison, ablation, learning curve
    commands                 one command a verb
    api, sklearn             the same in Python; an estimator of scikit-learn

CONTRIBUTING.md has all rooms in the order in which they may import each other.
`import diptych` is light: each public name is loaded when it is first used.
"""

from typing import TYPE_CHECKING, Any

from diptych.version import __version__ as __version__

if TYPE_CHECKING:
    from diptych.api import Checked as Checked
    from diptych.api import ExplainedImage as ExplainedImage
    from diptych.api import Run as Run
    from diptych.api import check as check
    from diptych.api import compare as compare
    from diptych.api import evaluate as evaluate
    from diptych.api import explain as explain
    from diptych.api import open_run as open_run
    from diptych.api import predict as predict
    from diptych.api import resume as resume
    from diptych.api import train as train
    from diptych.data.pixels.decode import ImageSpec as ImageSpec
    from diptych.data.pixels.decode import decode_image as decode_image
    from diptych.data.reading.layouts import read_manifest as read_manifest
    from diptych.data.reading.manifest import Manifest as Manifest
    from diptych.errors import CheckpointError as CheckpointError
    from diptych.errors import ConfigError as ConfigError
    from diptych.errors import DataError as DataError
    from diptych.errors import DiptychError as DiptychError
    from diptych.errors import Stopped as Stopped
    from diptych.errors import TrainingError as TrainingError
    from diptych.evaluation.report import Report as Report
    from diptych.experiments.compare import Comparison as Comparison
    from diptych.inference.trained_run import TrainedRun as TrainedRun
    from diptych.model.checkpoint import load_run_network as load_run_network
    from diptych.model.network import build_network as build_network
    from diptych.screen import show_messages as show_messages
    from diptych.settings.config import AugmentConfig as AugmentConfig
    from diptych.settings.config import ComputeConfig as ComputeConfig
    from diptych.settings.config import Config as Config
    from diptych.settings.config import DataConfig as DataConfig
    from diptych.settings.config import ModelConfig as ModelConfig
    from diptych.settings.config import TrackingConfig as TrackingConfig
    from diptych.settings.config import TrainingConfig as TrainingConfig
    from diptych.settings.presets import PRESETS as PRESETS
    from diptych.settings.presets import RECIPES as RECIPES
    from diptych.settings.presets import augmentation as augmentation
    from diptych.storage.run_dir import RunDir as RunDir

__all__ = [
    "PRESETS",
    "RECIPES",
    "AugmentConfig",
    "Checked",
    "CheckpointError",
    "Comparison",
    "ComputeConfig",
    "Config",
    "ConfigError",
    "DataConfig",
    "DataError",
    "DiptychError",
    "ExplainedImage",
    "ImageSpec",
    "Manifest",
    "ModelConfig",
    "Report",
    "Run",
    "RunDir",
    "Stopped",
    "TrackingConfig",
    "TrainedRun",
    "TrainingConfig",
    "TrainingError",
    "__version__",
    "augmentation",
    "build_network",
    "check",
    "compare",
    "decode_image",
    "evaluate",
    "explain",
    "load_run_network",
    "open_run",
    "predict",
    "read_manifest",
    "resume",
    "show_messages",
    "train",
]  # fmt: skip

if not TYPE_CHECKING:  # Or every name would be one to mypy.

    def __getattr__(name: str) -> Any:
        from diptych.rng import kept_global_generators

        with kept_global_generators():
            return getattr(home_of(name), name)

    def home_of(name: str) -> Any:
        """Import the file that a public name is in."""
        if name in ("build_network", "load_run_network"):
            # Their files import Keras, which is to find the backend that is installed (`pip install diptych[torch]`).
            from diptych.machine.backend import load_backend

            load_backend()
        match name:
            case (
                "Checked" | "ExplainedImage" | "Run" | "check" | "compare" | "evaluate" | "explain" | "open_run" | "predict"
                | "resume" | "train"
            ):  # fmt: skip
                from diptych import api as home
            case (
                "AugmentConfig" | "ComputeConfig" | "Config" | "DataConfig" | "ModelConfig" | "TrackingConfig" | "TrainingConfig"
            ):  # fmt: skip
                from diptych.settings import config as home
            case "CheckpointError" | "ConfigError" | "DataError" | "DiptychError" | "Stopped" | "TrainingError":
                from diptych import errors as home
            case "PRESETS" | "RECIPES" | "augmentation":
                from diptych.settings import presets as home
            case "ImageSpec" | "decode_image":
                from diptych.data.pixels import decode as home
            case "Manifest":
                from diptych.data.reading import manifest as home
            case "read_manifest":
                from diptych.data.reading import layouts as home
            case "build_network":
                from diptych.model import network as home
            case "load_run_network":
                from diptych.model import checkpoint as home
            case "TrainedRun":
                from diptych.inference import trained_run as home
            case "Report":
                from diptych.evaluation import report as home
            case "Comparison":
                from diptych.experiments import compare as home
            case "RunDir":
                from diptych.storage import run_dir as home
            case "show_messages":
                from diptych import screen as home
            case _:
                raise AttributeError(f"module 'diptych' has no attribute {name!r}; it has {', '.join(__all__)}")
        return home


def __dir__() -> list[str]:
    return __all__
