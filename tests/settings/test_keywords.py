"""The keyword arguments of Python are the settings, with their types."""

import typing
from os import PathLike
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal

from diptych.settings.config import Config, DataConfig, kinds_of
from diptych.settings.keywords import DataSettings, Settings


def as_given(kind: Any) -> Any:
    """What may be given where a setting of a type is expected: for a path, text or any path."""
    if kind is Path:
        return str | PathLike[str]
    if typing.get_origin(kind) in (UnionType, typing.Union):
        inner = next(argument for argument in typing.get_args(kind) if argument is not NoneType)
        return as_given(inner) | None
    return kind


def test_settings__are_the_keys_of_config_with_their_types() -> None:
    wanted = {key: as_given(kind) for section in kinds_of(Config).values() for key, kind in kinds_of(section).items()}
    del wanted["data"]
    assert typing.get_type_hints(Settings) == wanted
    assert list(Settings.__annotations__) == list(wanted)
    assert ["data", *DataSettings.__annotations__] == list(kinds_of(DataConfig))


def test_as_given__is_what_it_says() -> None:
    assert as_given(Path | None) == str | PathLike[str] | None
    assert as_given(Literal["a"]) == Literal["a"]
