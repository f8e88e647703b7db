"""The command line: from arguments to a command, and from its outcome to an exit code."""

import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import tyro
from tyro.conf import OmitArgPrefixes
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from diptych.commands.data import Cache, Check, Preview, Samples
from diptych.commands.evaluate import Evaluate, Plot, Predict, Summary
from diptych.commands.experiments import Ablate, Compare, Curve, LabelErrors
from diptych.commands.explain import Explain
from diptych.commands.help_page import command_page, overview, with_defaults
from diptych.commands.train import Resume, Train
from diptych.commands.tuning import FindLr, Tune
from diptych.errors import EXIT_INTERRUPTED, EXIT_TROUBLE, ConfigError, DiptychError, Stopped, hint_at
from diptych.screen import lost_output, show_messages, steady_screen
from diptych.settings.config import at_home
from diptych.version import __version__

DESCRIPTION = "Turn a folder of labelled images into a classifier that can be trusted and shipped."
# Every command once, under the headings of `diptych --help`, by the way of the data.
GROUPS: dict[str, dict[str, type]] = {
    "Look at the data": {"check": Check, "preview": Preview, "samples": Samples, "cache": Cache},
    "Train": {"train": Train, "resume": Resume, "find-lr": FindLr, "tune": Tune, "summary": Summary},
    "Test and use": {"evaluate": Evaluate, "plot": Plot, "predict": Predict, "explain": Explain},
    "Compare": {"compare": Compare, "ablate": Ablate, "learning-curve": Curve, "label-errors": LabelErrors},
}
COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}
Command = (
    Check
    | Preview
    | Samples
    | Cache
    | Train
    | Resume
    | FindLr
    | Tune
    | Summary
    | Evaluate
    | Plot
    | Predict
    | Explain
    | Compare
    | Ablate
    | Curve
    | LabelErrors
)


PATHS = ConstructorRegistry()


@PATHS.primitive_rule
def path_at_home(kind: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Path] | None:
    """Read ~ in paths where the shell left it, as in --runs=~/runs."""
    if kind.type is not Path:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=lambda words: at_home(Path(words[0])),
        is_instance=lambda value: isinstance(value, Path),
        str_from_instance=lambda path: [str(path)],
    )


def parse(arguments: Sequence[str]) -> Command:
    """Turn the command line into a command.

    Raises:
        SystemExit: with 2 after a message about a wrong flag.
        ConfigError: there is no such command.
    """
    name, *others = arguments
    if name not in COMMANDS:
        raise ConfigError(f"{name} is no command of diptych; {hint_at(name, list(COMMANDS))}")
    command: Command = tyro.cli(COMMANDS[name], prog=f"diptych {name}", args=others, config=(OmitArgPrefixes,), registry=PATHS)
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
    if name not in COMMANDS:
        return overview(GROUPS, DESCRIPTION)
    # A preset, a file or a level changes the defaults of a setting; commands without settings have those of their class.
    command = with_defaults(COMMANDS[name])
    shown = parse([name, *others]) if hasattr(command, "resolved") else command
    return command_page(name, shown, whole="--help-all" in asked)


def run(command: Command) -> int:
    """Run a command in a process of our own, and return its exit code."""
    # They take a sixth of the time of `diptych --help`, which does without.
    from diptych.machine.host_process import claim_process
    from diptych.machine.quiet import quiet_backend

    claim_process()
    show_messages()
    with quiet_backend():
        return command.run()


def in_words(error: OSError) -> str:
    """Describe what the operating system refused, where, and what helps."""
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
            code = run(parse(given))
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
