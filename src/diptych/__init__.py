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
    explain.explain          where the network looks
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

_API = (
    "Checked",
    "ExplainedImage",
    "Run",
    "check",
    "compare",
    "evaluate",
    "open_run",
    "predict",
    "resume",
    "train",
)
_SECTIONS = ("AugmentConfig", "ComputeConfig", "Config", "DataConfig", "ModelConfig", "TrackingConfig", "TrainingConfig")
_ERRORS = ("CheckpointError", "ConfigError", "DataError", "DiptychError", "Stopped", "TrainingError")
_PRESETS = ("PRESETS", "RECIPES", "augmentation")
_PIXELS = ("ImageSpec", "decode_image")
_KERAS = ("build_network", "load_run_network")
_OTHERS = ("Comparison", "Manifest", "Report", "RunDir", "TrainedRun", "read_manifest", "show_messages")

__all__ = sorted((*_API, *_SECTIONS, *_ERRORS, *_PRESETS, *_PIXELS, *_KERAS, *_OTHERS, "__version__"))


if not TYPE_CHECKING:  # Or every name would be one to mypy.

    def __getattr__(name: str) -> Any:
        if name in (*_API, *_PIXELS, *_KERAS):
            return _load_what_computes(name)
        if name in _SECTIONS:
            from diptych.settings import config

            return getattr(config, name)
        if name in _ERRORS:
            from diptych import errors

            return getattr(errors, name)
        if name in _PRESETS:
            from diptych.settings import presets

            return getattr(presets, name)
        if name in _OTHERS:
            return _load_noun(name)
        raise AttributeError(f"module 'diptych' has no attribute {name!r}; it has {', '.join(__all__)}")


def _load_what_computes(name: str) -> Any:
    if name in _API:
        from diptych import api

        return getattr(api, name)
    if name in _PIXELS:
        from diptych.data.pixels import decode

        return getattr(decode, name)
    # Their files import Keras, which is to find the backend that is installed (`pip install diptych[torch]`).
    from diptych.machine.backend import load_backend

    load_backend()
    from diptych.model import checkpoint, network

    return network.build_network if name == "build_network" else checkpoint.load_run_network


def _load_noun(name: str) -> Any:
    from diptych import screen
    from diptych.data.reading import layouts, manifest
    from diptych.evaluation import report
    from diptych.experiments import compare
    from diptych.inference import trained_run
    from diptych.storage import run_dir

    homes = {
        "Comparison": compare,
        "Manifest": manifest,
        "Report": report,
        "RunDir": run_dir,
        "TrainedRun": trained_run,
        "read_manifest": layouts,
        "show_messages": screen,
    }
    return getattr(homes[name], name)


def __dir__() -> list[str]:
    return __all__
