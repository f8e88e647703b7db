"""Diptych: a folder of labelled images in, a classifier that can be trusted out.

The way of the data, and where to read on:

    data.layouts        folders and tables, checked        -> Manifest
    data.prepare        every image decoded once           -> PixelStore
    data.audit          what is wrong with them            -> Audit
    data.splits         train, validation, test
    data.loader         batch = f(seed, step)              -> BatchLoader
    model.network       pixels in, probability out         -> keras.Model
    training.trainer    the main path                      -> RunDir
    evaluation.report   test figures, plots, predictions
    commands            one command a verb

`import diptych` is light: each public name is loaded when it is first used.
"""

import importlib
from typing import Any

from diptych.version import __version__ as __version__

_HOMES = {
    "AugmentConfig": "diptych.config",
    "ComputeConfig": "diptych.config",
    "Config": "diptych.config",
    "DataConfig": "diptych.config",
    "DiptychError": "diptych.errors",
    "ImageSpec": "diptych.data.images",
    "Manifest": "diptych.data.manifest",
    "ModelConfig": "diptych.config",
    "RunDir": "diptych.storage",
    "TrackingConfig": "diptych.config",
    "TrainingConfig": "diptych.config",
    "build_network": "diptych.model.network",
    "decode_image": "diptych.data.images",
    "evaluate": "diptych.evaluation.report",
    "load_run_network": "diptych.training.checkpoint",
    "predict": "diptych.evaluation.predictions",
    "read_manifest": "diptych.data.layouts",
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
        importlib.import_module("diptych.backend").load_backend()
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
