"""The help of the command line: `diptych --help`, and `diptych COMMAND --help` in groups with headings.

tyro, which parses the command line, would print every flag of a training in the order of the code, over four screens. Here
the flags that people use first come first, each of the others has a line, and `--help-all` has the whole text of each.
"""

import dataclasses
import inspect
import shutil
import textwrap
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any, Literal

from tyro.conf import Positional

from diptych.commands.options import TrainingOptions, texts_of

# What people set first in a training.
FIRST = (
    "folder", "preset", "recipe", "weights", "epochs", "batch_size", "learning_rate", "image_size", "augment", "class_weights",
    "folds", "name",
)  # fmt: skip
TITLES = {
    "data": "Data", "augment": "Augmentation", "model": "Network", "training": "Training", "compute": "Computation and logs",
    "tracking": "Computation and logs",
}  # fmt: skip
VALUES = {int: "N", float: "X", str: "TEXT", Path: "PATH"}
# Columns of the flags and of the commands; the texts begin behind them.
FLAGS, COMMANDS = 30, 18
SMALLEST_WIDTH, LARGEST_WIDTH = 60, 100


@dataclass(frozen=True)
class Flag:
    """A flag or a positional argument of a command, as help shows it."""

    key: str
    spelling: str
    text: str
    default: str
    section: str

    def lines(self, width: int, whole: bool) -> list[str]:
        """Return the flag with its text, the `whole` of it or the first sentence, in lines of at most `width` columns."""
        text = self.text if whole else self.text.partition(". ")[0].removesuffix(".") + "."
        text += f" [{self.default}]" if self.default else ""
        return entry(self.spelling, text, FLAGS, width)


def entry(name: str, text: str, column: int, width: int) -> list[str]:
    """Return a name with a text that begins in a column, below the name where that is too long."""
    lines = textwrap.wrap(text, width - column, break_on_hyphens=False)
    first = f"  {name}".ljust(column) + lines.pop(0) if len(name) + 4 <= column else f"  {name}"
    return [first, *(" " * column + line for line in lines)]


def overview(groups: Mapping[str, Mapping[str, type]], description: str) -> str:
    """Return the page of `diptych --help`: the commands by heading, a line each."""
    width = page_width()
    lines = ["usage: diptych COMMAND ...", "", *textwrap.wrap(description, width)]
    for title, commands in groups.items():
        lines += ["", f"{title}:"]
        for name, command in commands.items():
            lines += entry(name, first_sentence(command), COMMANDS, width)
    hint = "`diptych COMMAND --help` shows the flags of a command, `diptych --version` the version."
    return "\n".join([*lines, "", *textwrap.wrap(hint, width)])


def command_page(name: str, command: Any, whole: bool) -> str:
    """Return the page of one command.

    Args:
        name: as it is typed.
        command: an instance whose values are the defaults.
        whole: whether all settings of a training are there with their whole texts.
    """
    flags, width = list(flags_of(command)), page_width()
    arguments = [flag for flag in flags if not flag.spelling.startswith("-")]
    places = [flag.spelling if flag.spelling.endswith("…") else f"[{flag.spelling}]" for flag in arguments]
    usage = " ".join(["usage: diptych", name, *places, "[flags]"])
    lines = [usage, "", *textwrap.wrap(" ".join((inspect.getdoc(command) or "").split()), width)]
    for title, group in grouped(flags, command, whole or name == "train").items():
        short = not whole and name == "train"
        lines += ["", f"{title}:", *(line for flag in group for line in flag.lines(width, not short))]
    lines += ["", *entry("-h, --help", "Show this page.", FLAGS, width)]
    if is_training(command):
        lines += entry("--help-all", "Show every setting of a training with its whole text.", FLAGS, width)
    return "\n".join(lines)


def grouped(flags: Sequence[Flag], command: Any, settings: bool) -> dict[str, list[Flag]]:
    """Sort flags under headings; without `settings`, those of a training that are not used first are left out."""
    if not is_training(command):
        arguments = [flag for flag in flags if not flag.spelling.startswith("-")]
        groups = {"Arguments": arguments, "Flags": [flag for flag in flags if flag not in arguments]}
        return {title: group for title, group in groups.items() if group}
    first = [flag for key in FIRST for flag in flags if flag.key == key]
    own = [flag for flag in flags if not flag.section and flag not in first]
    groups = (
        {"Most used": first, "This command only": own} if settings else {"This command only": own, "Most used settings": first}
    )
    if settings:
        for key, title in TITLES.items():
            groups.setdefault(title, []).extend(flag for flag in flags if flag.section == key and flag not in first)
    return {title: group for title, group in groups.items() if group}


def with_defaults(command: type) -> Any:
    """Make a command as it is without flags; what must be given on the command line is empty."""
    missing = dataclasses.MISSING
    required = {field.name: () for field in dataclasses.fields(command) if field.default is field.default_factory is missing}
    return command(**required)


def is_training(command: Any) -> bool:
    return isinstance(command, TrainingOptions)


def flags_of(command: Any) -> Iterator[Flag]:
    """Go over the flags of a command, or of a part of it; its values are the defaults."""
    texts = texts_of(type(command))
    for key, hint in typing.get_type_hints(type(command), include_extras=True).items():
        kind, *markers = typing.get_args(hint) if hasattr(hint, "__metadata__") else (hint,)
        default = getattr(command, key)
        if dataclasses.is_dataclass(default):
            yield from flags_of(default)
        elif typing.is_typeddict(kind):
            inner = typing.get_type_hints(kind, include_extras=True)
            sections = {name: typing.get_args(one)[0] for name, one in inner.items()} if key == "settings" else {key: kind}
            for name, section in sections.items():
                yield from flags_of_section(name, section, getattr(command.resolved(), name))
        else:
            name = next((marker.name for marker in markers if hasattr(marker, "name")), key.replace("_", "-"))
            yield Flag(key, spell(name, kind, Positional in markers), texts.get(key, ""), show(default), "")


def flags_of_section(name: str, flags: Any, values: Any) -> Iterator[Flag]:
    """Go over the flags of a section of the settings.

    Args:
        name: of the section.
        flags: its type, as of `flags_for`.
        values: the section, with what to show as the defaults.
    """
    for key, hint in typing.get_type_hints(flags, include_extras=True).items():
        kind, marker = typing.get_args(hint)
        yield Flag(key, spell(key.replace("_", "-"), kind, False), marker.help, show(getattr(values, key)), name)


def spell(name: str, kind: Any, positional: bool) -> str:
    """Return how a flag is typed: --image-size N, --[no-]strict, IMAGE..."""
    if positional:
        return name.upper()
    if kind is bool:
        return f"--[no-]{name}"
    kinds = [each for each in typing.get_args(kind) or (kind,) if each not in (NoneType, Ellipsis)]
    if typing.get_origin(kind) is Literal or typing.get_origin(kinds[0]) is Literal:
        return f"--{name} CHOICE"
    several = typing.get_origin(kind) is tuple and Ellipsis in typing.get_args(kind)
    return f"--{name} {' '.join(VALUES.get(each, 'VALUE') for each in kinds)}{' ...' if several else ''}"


def show(default: Any) -> str:
    """Return a default as it would be typed; "" where there is none."""
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, tuple):
        return " ".join(map(str, default))
    return "" if default is None else str(default)


def first_sentence(command: type) -> str:
    return " ".join((inspect.getdoc(command) or "").split()).partition(". ")[0].removesuffix(".") + "."


def page_width() -> int:
    return max(SMALLEST_WIDTH, min(shutil.get_terminal_size((LARGEST_WIDTH, 24)).columns, LARGEST_WIDTH))
