"""The command line: from arguments to a command, and from its outcome to an exit code."""

import argparse
import dataclasses
import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, cast, get_args

import tyro
from tyro.conf import OmitArgPrefixes, subcommand

from diptych.commands.data import Cache, Check, Preview, Samples
from diptych.commands.evaluate import Evaluate, Plot, Predict, Summary
from diptych.commands.experiments import Ablate, Compare, Curve, LabelErrors
from diptych.commands.explain import Explain
from diptych.commands.help_page import command_page, overview, with_defaults
from diptych.commands.train import Resume, Train
from diptych.commands.tuning import FindLr, Tune
from diptych.errors import EXIT_INTERRUPTED, EXIT_TROUBLE, ConfigError, DiptychError, Stopped
from diptych.screen import lost_output, show_messages, steady_screen
from diptych.settings.config import Augmentation, Config, Recipe
from diptych.settings.presets import PRESETS, augmentation
from diptych.settings.sources import override, read_toml, with_preset, with_recipe
from diptych.version import __version__

DESCRIPTION = "Turn a folder of labelled images into a classifier that can be trusted and shipped."
# Every command once, under the headings of `diptych --help`, by the way of the data.
GROUPS: dict[str, dict[str, type]] = {
    "Look at the data": {"check": Check, "preview": Preview, "samples": Samples, "cache": Cache},
    "Train": {"train": Train, "resume": Resume, "find-lr": FindLr, "tune": Tune, "summary": Summary},
    "Test and use": {"evaluate": Evaluate, "plot": Plot, "predict": Predict, "explain": Explain},
    "Compare": {"compare": Compare, "ablate": Ablate, "learning-curve": Curve, "label-errors": LabelErrors},
}
Training = Train | FindLr | Tune | Ablate | Curve
Command = (
    Check | Preview | Training | Resume | Evaluate | Plot | Predict | Explain | Compare | LabelErrors | Summary | Cache | Samples
)


def parse(arguments: Sequence[str]) -> Command:
    """Turn the command line into a command.

    Raises:
        SystemExit: with 0 after --help, with 2 after a message about a wrong flag.
        ConfigError: a setting's value is wrong, or the TOML file is.
    """
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--preset", nargs="?", const="none", default="none", choices=None)
    early.add_argument("--config", nargs="?", type=Path)
    early.add_argument("--augment", nargs="?")
    early.add_argument("--recipe", nargs="?")
    start, _ = early.parse_known_args(arguments)
    recipe = start.recipe or (read_toml(start.config, Config()).training.recipe if start.config else "classic")
    command = parse_from(arguments, start, recipe if recipe in get_args(Recipe) else "classic")
    if not isinstance(command, Training) or command.settings.training.recipe != "auto":
        return command
    choices: dict[Recipe, Config] = {}
    for choice in ("fine-tune", "scratch"):
        settings = cast(Training, parse_from(arguments, start, choice, with_recipe(Config(), "auto"))).settings
        choices[choice] = dataclasses.replace(settings, training=dataclasses.replace(settings.training, recipe=choice))
    return dataclasses.replace(command, choices=choices)


def parse_from(arguments: Sequence[str], start: argparse.Namespace, recipe: Recipe, base: Config | None = None) -> Command:
    """Parse with the defaults that come from a recipe upon `base`, then --preset, then --config, then --augment."""
    settings = with_recipe(base or Config(), recipe)
    settings = with_preset(settings, start.preset) if start.preset in PRESETS else settings
    settings = read_toml(start.config, settings) if start.config else settings
    level = start.augment if start.augment in get_args(Augmentation) else None
    settings = override(settings, {"augment": {"augment": level}}, "--augment") if level else settings
    commands = (
        Annotated[Check, subcommand("check")]
        | Annotated[Preview, subcommand("preview", default=Preview(augment=augmentation(level or "standard")))]
        | Annotated[Train, subcommand("train", default=Train(settings))]
        | Annotated[Resume, subcommand("resume")]
        | Annotated[FindLr, subcommand("find-lr", default=FindLr(settings))]
        | Annotated[Tune, subcommand("tune", default=Tune(settings))]
        | Annotated[Evaluate, subcommand("evaluate")]
        | Annotated[Plot, subcommand("plot")]
        | Annotated[Predict, subcommand("predict")]
        | Annotated[Compare, subcommand("compare")]
        | Annotated[Ablate, subcommand("ablate", default=Ablate(settings=settings))]
        | Annotated[Curve, subcommand("learning-curve", default=Curve(settings=settings))]
        | Annotated[LabelErrors, subcommand("label-errors")]
        | Annotated[Explain, subcommand("explain")]
        | Annotated[Summary, subcommand("summary")]
        | Annotated[Cache, subcommand("cache")]
        | Annotated[Samples, subcommand("samples")]
    )
    command: Command = tyro.cli(commands, prog="diptych", description=DESCRIPTION, args=arguments, config=(OmitArgPrefixes,))
    return command


def help_for(arguments: Sequence[str]) -> str:
    """Return the page that --help or --help-all among the arguments asks for, "" where none does.

    Raises:
        SystemExit: with 2 after a message about a wrong flag beside it.
        ConfigError: a setting beside it is wrong.
    """
    asked = [argument for argument in arguments if argument in ("-h", "--help", "--help-all")]
    if not asked:
        return ""
    name, *others = [argument for argument in arguments if argument not in asked] or [""]
    command = next((commands[name] for commands in GROUPS.values() if name in commands), None)
    if command is None:
        return overview(GROUPS, DESCRIPTION)
    # A preset or a file changes the defaults of a training; the other commands have those of their class.
    default = parse([name, *others]) if issubclass(command, Training) else with_defaults(command)
    return command_page(name, default, whole="--help-all" in asked)


def in_words(error: OSError) -> str:
    """Say what the operating system refused, where, and what helps."""
    reason = error.strerror or str(error) or type(error).__name__
    place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
    mend = {
        errno.ENOSPC: " Free some room, or name a folder on another disk (--runs, --cache, --output).",
        errno.EDQUOT: " Free some room, or name a folder on another disk (--runs, --cache, --output).",
        errno.EROFS: " Name a folder that can be written (--runs, --cache, --output).",
        errno.EACCES: " Change its permissions, or name another one (--data, --runs, --cache, --output).",
        errno.EPERM: " Change its permissions, or name another one (--data, --runs, --cache, --output).",
    }
    return f"{place}{reason}.{mend.get(error.errno or 0, '')}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: without the program's name; None for those of the process.

    Returns:
        The exit code: 0; 1 where some images could not be read or the disk did not work; 2 for a mistake that the user
        can mend; 130 after Ctrl-C, 143 after SIGTERM.
    """
    given = sys.argv[1:] if arguments is None else arguments
    with steady_screen():
        try:
            if list(given) == ["--version"]:
                print(f"diptych {__version__}")
                return 0
            if not given:
                print(overview(GROUPS, DESCRIPTION), file=sys.stderr)
                return ConfigError.exit_code
            if page := help_for(given):
                print(page)
                return 0
            command = parse(given)
            show_messages()
            code = command.run()
            if error := lost_output():
                print(f"error: standard output: {in_words(error)} Some lines are missing there.", file=sys.stderr)
                code = code or EXIT_TROUBLE
            return code
        except DiptychError as error:
            print(f"error: {error}", file=sys.stderr)
            return error.exit_code
        except OSError as error:
            print(f"error: {in_words(error)}", file=sys.stderr)
            return EXIT_TROUBLE
        except KeyboardInterrupt as stopped:
            print("interrupted", file=sys.stderr)
            return stopped.exit_code if isinstance(stopped, Stopped) else EXIT_INTERRUPTED
