"""The command line: one command a verb. Each imports its module inside, so that --help and a bad flag answer at once."""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import OmitArgPrefixes, Positional, arg, subcommand

from diptych.backend import load_backend
from diptych.config import Config, DataConfig, ModelConfig
from diptych.errors import EXIT_INTERRUPTED, EXIT_TROUBLE, DiptychError
from diptych.presets import PRESETS, Preset, read_toml, with_preset

log = logging.getLogger("diptych")

RUNS = Path("runs")


@dataclass(frozen=True)
class Train:
    """Train the dual model on a data folder. A flag wins over the TOML file, the file over the preset."""

    settings: Annotated[Config, arg(name="")] = field(default_factory=Config)
    preset: Preset = "none"
    """Settings to begin with; quick: small images and few epochs, for a first look on a CPU."""
    config: Path | None = None
    """TOML file with settings to begin with; every run has one, config.toml."""
    runs: Path = RUNS
    """Folder that the run's folder is made in."""
    name: str = ""
    """Name of the run; without one, the date and time."""

    def run(self) -> int:
        from diptych.training.trainer import train

        run = train(self.settings, self.runs, self.name)
        log.info("Next: diptych evaluate %s", run.root)
        return 0


@dataclass(frozen=True)
class Evaluate:
    """Test a run on the images that its split keeps for the test."""

    of: Annotated[Positional[Path | None], arg(name="run")] = None
    """The run's folder or name; without one, the newest."""
    data: Path | None = None
    """The data folder, where it has moved since the training."""
    runs: Path = RUNS
    """Folder that holds the runs."""

    def run(self) -> int:
        from diptych.storage import find_run

        run = find_run(self.of, self.runs)
        load_backend()
        from diptych.evaluation.report import describe, evaluate

        figures = evaluate(run, self.data)
        log.info("%s\n\nwritten: %s, %s", describe(figures), run.metrics, run.predictions)
        return 0


@dataclass(frozen=True)
class Plot:
    """Draw accuracy, loss and learning rate against the epoch, and the confusion matrix and ROC curve of the test."""

    of: Annotated[Positional[Path | None], arg(name="run")] = None
    """The run's folder or name; without one, the newest."""
    runs: Path = RUNS
    """Folder that holds the runs."""

    def run(self) -> int:
        from diptych.storage import find_run

        run = find_run(self.of, self.runs)
        from diptych.evaluation.plots import plot

        for file in plot(run):
            log.info("%s", file)
        if not run.metrics.is_file():
            log.info("No test figures yet: run diptych evaluate, then plot again for the confusion matrix and the ROC curve.")
        return 0


@dataclass(frozen=True)
class Predict:
    """Classify new images with a run: a table on the screen and a CSV file."""

    places: Annotated[Positional[tuple[Path, ...]], arg(name="[run] path…")]
    """The run's folder or name (without one, the newest), then image files and folders of images."""
    output: Path | None = None
    """Where to write the CSV file; without one, a new file in the run."""
    runs: Path = RUNS
    """Folder that holds the runs."""

    def run(self) -> int:
        from diptych.storage import find_run, is_run

        first_is_run = bool(self.places) and (is_run(self.places[0]) or is_run(self.runs / self.places[0]))
        run = find_run(self.places[0] if first_is_run else None, self.runs)
        load_backend()
        from diptych.evaluation.predictions import predict

        table, place = predict(run, self.places[1:] if first_is_run else self.places, self.output)
        log.info("%s", table.astype(object).fillna("-").to_string(index=False, float_format="{:.4f}".format))
        unreadable = int((table["problem"] != "").sum())
        log.info(
            "\nrun %s: %d images classified, %d unreadable; written: %s",
            run.root,
            len(table) - unreadable,
            unreadable,
            place,
        )
        return EXIT_TROUBLE if unreadable else 0


@dataclass(frozen=True)
class Summary:
    """Print the dual model, part by part, with shapes, parameters and multiply-adds."""

    model: Annotated[ModelConfig, arg(name="")] = field(default_factory=ModelConfig)
    image_size: int = 224
    """Height and width of the network's input, in pixels; at least 32."""

    def run(self) -> int:
        size = DataConfig(image_size=self.image_size).image_size
        load_backend()
        from diptych.model.network import describe_parts, summarise

        log.info("%s", describe_parts(summarise(self.model, size)))
        return 0


@dataclass(frozen=True)
class Samples:
    """Write out a real data set to begin with: the 2,624 solar cells of the package elpv-dataset (CC BY-NC-SA 4.0)."""

    folder: Positional[Path] = Path("data/elpv")
    """Folder to make."""
    split: Path | None = None
    """Table with the columns image_name and split to take over."""

    def run(self) -> int:
        from diptych.data.samples import LICENCE, write_elpv

        cells = write_elpv(self.folder, self.split)
        log.info("%d images written to %s\n%s", len(cells), self.folder, LICENCE)
        return 0


Command = Train | Evaluate | Plot | Predict | Summary | Samples


def parse(arguments: Sequence[str]) -> Command:
    """Turn the command line into a command; the defaults of `train` come from --config and --preset first.

    Raises:
        SystemExit: with 0 after --help, with 2 after a message about a wrong flag.
        ConfigError: a setting's value is wrong, or the TOML file is.
    """
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--preset", nargs="?", const="none", default="none", choices=None)
    early.add_argument("--config", nargs="?", type=Path)
    start, _ = early.parse_known_args(arguments)
    settings = with_preset(Config(), start.preset) if start.preset in PRESETS else Config()
    settings = read_toml(start.config, settings) if start.config else settings
    commands = (
        Annotated[Train, subcommand("train", default=Train(settings))]
        | Annotated[Evaluate, subcommand("evaluate")]
        | Annotated[Plot, subcommand("plot")]
        | Annotated[Predict, subcommand("predict")]
        | Annotated[Summary, subcommand("summary")]
        | Annotated[Samples, subcommand("samples")]
    )
    description = "Turn a folder of labelled images into a classifier that can be trusted and shipped."
    command: Command = tyro.cli(commands, prog="diptych", description=description, args=arguments, config=(OmitArgPrefixes,))
    return command


def show_messages() -> None:
    """Print what is logged to standard output, above a progress bar where there is one."""
    from tqdm import tqdm

    class Screen(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            tqdm.write(self.format(record), file=sys.stdout)

    log.setLevel(logging.INFO)
    log.handlers = [Screen()]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: without the program's name; None for those of the process.

    Returns:
        The exit code: 0; 1 where some images could not be read or the disk did not work; 2 for a mistake that the user
        can mend; 130 after Ctrl-C.
    """
    try:
        command = parse(sys.argv[1:] if arguments is None else arguments)
        show_messages()
        return command.run()
    except DiptychError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_TROUBLE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
