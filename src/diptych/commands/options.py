"""What several commands have in common: settings as flags, of which those that were typed can be told from the others."""

import ast
import functools
import inspect
import itertools
import sys
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from diptych.errors import ConfigError
from diptych.settings.config import AugmentConfig, Config, DataConfig, kinds_of
from diptych.settings.presets import Preset
from diptych.settings.sources import Given, Tables, gather
from diptych.storage.run_dir import RunDir
from diptych.storage.runs import find_run, is_run


@functools.cache
def texts_in(module: str) -> dict[str, dict[str, str]]:
    """Return the docstrings below the fields of each class of a module, each as one line: by class, by field."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    # Python without sources has no texts to show.
    except (OSError, TypeError):
        return {}
    texts: dict[str, dict[str, str]] = {}
    for cls in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        found = texts[cls.name] = {}
        for key, text in itertools.pairwise(cls.body):
            match key, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words))):
                    found[name] = " ".join(words.split())
    return texts


def texts_of(cls: type) -> dict[str, str]:
    """Return the docstring below each field of a class, and of its bases."""
    texts: dict[str, str] = {}
    for one in reversed(cls.__mro__[:-1]):
        texts |= texts_in(one.__module__).get(one.__name__, {})
    return texts


def flags_for(section: type, *without: str) -> Any:
    """Return the type of which tyro makes a flag for each key of a section, `without` some.

    It is a TypedDict in which no key must be there: tyro returns those that were typed, and no defaults.
    """
    texts, make = texts_of(section), typing.cast(Any, typing.TypedDict)
    kinds = {key: kind for key, kind in kinds_of(section).items() if key not in without}
    keys = {key: Annotated[kind, arg(help=texts.get(key, ""), help_behavior_hint="")] for key, kind in kinds.items()}
    return make(section.__name__, keys, total=False)


if TYPE_CHECKING:
    AllFlags = Mapping[str, Mapping[str, Any]]
    # Of a command that looks at all images of a folder, and of one that looks at a few of them.
    WholeDataFlags = Mapping[str, Any]
    SomeDataFlags = Mapping[str, Any]
    AugmentFlags = Mapping[str, Any]
else:
    AllFlags = typing.TypedDict(
        "AllFlags", {name: Annotated[flags_for(kind), arg(name="")] for name, kind in kinds_of(Config).items()}, total=False
    )
    OF_TRAINING = ("allow_leaks", "max_unreadable", "strict")
    OF_SPLIT = ("split", "validation_share", "test_share", "group_column", "near_twins")
    WholeDataFlags = flags_for(DataConfig, *OF_TRAINING)
    SomeDataFlags = flags_for(DataConfig, *OF_TRAINING, *OF_SPLIT)
    AugmentFlags = flags_for(AugmentConfig)


def with_folder(folder: Path | None, flags: Tables) -> Tables:
    """Return flags with the data folder that was named without one.

    Raises:
        ConfigError: it was named by --data too.
    """
    if folder is None:
        return flags
    data = flags.get("data", {})
    if "data" in data:
        raise ConfigError(f"the data folder is given twice, as {folder} and as --data {data['data']}; leave one of them out.")
    return {**flags, "data": {**data, "data": folder}}


@dataclass(frozen=True)
class TrainingOptions:
    """What all commands that train take."""

    folder: Annotated[Positional[Path | None], arg(name="folder")] = None
    """Folder of images, or a table of them (CSV, TSV, Parquet). Default: the current folder. --data names it too."""
    settings: Annotated[AllFlags, arg(name="")] = field(default_factory=dict)
    preset: Preset = "none"
    """Settings to start from: none, or quick for a first look. quick: small images and few epochs, for a CPU."""
    config: Path | None = None
    """TOML file of settings, such as the config.toml of a run."""

    def given(self) -> Given:
        """Return what was given; raises ConfigError as `given_from` does."""
        return gather(self.preset, self.config, with_folder(self.folder, self.settings))

    def resolved(self) -> Config:
        """Return what the flags lead to, for the page of help."""
        return self.given().resolve()


def tell_run_from_images(places: Sequence[Path], runs: Path) -> tuple[RunDir, tuple[Path, ...]]:
    """Return the run and the images that a command line names: a first place that is a run is the run, else the newest one is.

    Args:
        places: as they were typed.
        runs: the folder that contains the runs.

    Raises:
        CheckpointError: there is no run, or it is a cross-validation.
    """
    first_is_run = bool(places) and (is_run(places[0]) or is_run(runs / places[0]))
    run = find_run(places[0] if first_is_run else None, runs, folds=False)
    return run, tuple(places[1:] if first_is_run else places)
