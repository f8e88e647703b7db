"""Diptych: a folder of labelled images in, a classifier that can be trusted out.

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

CONTRIBUTING.md has all rooms in the order in which they may import each other.
`import diptych` is light: each public name is loaded when it is first used.
"""

import importlib
from typing import Any

from diptych.version import __version__ as __version__

_HOMES = {
    "AugmentConfig": "diptych.settings.config",
    "ComputeConfig": "diptych.settings.config",
    "Config": "diptych.settings.config",
    "DataConfig": "diptych.settings.config",
    "DiptychError": "diptych.errors",
    "ImageSpec": "diptych.data.pixels.decode",
    "Manifest": "diptych.data.reading.manifest",
    "ModelConfig": "diptych.settings.config",
    "RunDir": "diptych.storage.run_dir",
    "TrackingConfig": "diptych.settings.config",
    "TrainingConfig": "diptych.settings.config",
    "build_network": "diptych.model.network",
    "decode_image": "diptych.data.pixels.decode",
    "evaluate": "diptych.evaluation.evaluate",
    "load_run_network": "diptych.model.checkpoint",
    "predict": "diptych.inference.predict",
    "read_manifest": "diptych.data.reading.layouts",
    "show_messages": "diptych.screen",
    "train": "diptych.training.trainer",
}
# Their files import Keras, which is to find the backend that is installed (`pip install diptych[torch]`).
_OF_KERAS = {"build_network", "evaluate", "load_run_network", "predict"}

__all__ = sorted([*_HOMES, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'diptych' has no attribute {name!r}; it has {', '.join(__all__)}")
    if name in _OF_KERAS:
        importlib.import_module("diptych.machine.backend").load_backend()
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
