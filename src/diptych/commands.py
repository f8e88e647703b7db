"""The commands, one a verb. Each imports its module inside, so that --help and a bad flag answer at once."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from diptych.backend import load_backend
from diptych.config import AugmentConfig, Config, DataConfig, ModelConfig, Resize, require
from diptych.errors import EXIT_TROUBLE
from diptych.presets import Preset

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
    folds: int | None = None
    """Cross-validate: train this many runs, each tested on the part of the images that it has not seen."""

    def run(self) -> int:
        if self.folds is not None:
            from diptych.training.folds import train_folds

            run = train_folds(self.settings, self.runs, self.name, self.folds)
        else:
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
    cache: Path | None = None
    """Folder that keeps the prepared images; without one, that of the training."""
    runs: Path = RUNS
    """Folder that holds the runs."""

    def run(self) -> int:
        from diptych.storage import find_run

        run = find_run(self.of, self.runs)
        if run.folds.is_file():
            from diptych.evaluation.folds import describe_folds, evaluate_folds

            log.info("\n%s\n\nwritten: %s", describe_folds(evaluate_folds(run, self.data, self.cache)), run.metrics)
            return 0
        load_backend()
        from diptych.evaluation.report import describe, evaluate

        figures = evaluate(run, self.data, self.cache)
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

        run = find_run(self.of, self.runs, folds=False)
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
        run = find_run(self.places[0] if first_is_run else None, self.runs, folds=False)
        load_backend()
        from diptych.evaluation.predictions import predict

        table, place = predict(run, self.places[1:] if first_is_run else self.places, self.output)
        shown = table.loc[:, ~table.columns.str.startswith("probability_")].astype(object).fillna("-")
        log.info("%s", shown.to_string(index=False, float_format="{:.4f}".format))
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
    classes: int = 2
    """Number of classes."""

    def run(self) -> int:
        size = DataConfig(image_size=self.image_size).image_size
        require(self, "classes", 2 <= self.classes <= 1000, "2 to 1000")
        load_backend()
        from diptych.model.network import describe_parts, summarise

        log.info("%s", describe_parts(summarise(self.model, size, self.classes)))
        return 0


@dataclass(frozen=True)
class Samples:
    """Write out a real data set to begin with: the 2,624 solar cells of the package elpv-dataset (CC BY-NC-SA 4.0)."""

    folder: Positional[Path] = Path("data/elpv")
    """Folder to make."""

    def run(self) -> int:
        from diptych.data.samples import LICENCE, write_elpv

        cells = write_elpv(self.folder)
        log.info("%d images written to %s\n%s", len(cells), self.folder, LICENCE)
        return 0


@dataclass(frozen=True)
class Check:
    """Say what is wrong with a data set before anyone trains on it. Exit code 1 where there are errors."""

    data: Positional[Path] = Path()
    """The data folder or table; without one, the current folder."""
    output: Path = Path("check")
    """Folder for check.json and check.html."""
    image_size: int = 224
    """Size that the images are prepared at; that of the training saves preparing them twice."""
    resize: Resize = "stretch"
    """How an image that is not square is made square."""
    group_column: str = "group"
    """Column of the tables with the groups."""
    cache: Path = DataConfig.cache
    """Folder that keeps the prepared images."""

    def run(self) -> int:
        from diptych.data.check import check

        settings = DataConfig(self.data, self.image_size, self.resize, cache=self.cache, group_column=self.group_column)
        return EXIT_TROUBLE if check(settings, self.output) else 0


@dataclass(frozen=True)
class Cache:
    """Show, or clear, the images that were prepared for training."""

    cache: Path = DataConfig.cache
    """Folder that keeps them."""
    clear: bool = False
    """Delete them; they are prepared anew when they are needed."""

    def run(self) -> int:
        from diptych.data.store import clear_cache, list_caches

        folder = self.cache.expanduser()
        if self.clear:
            log.info("%.1f MB freed in %s", clear_cache(folder) / 1e6, folder)
            return 0
        for entry in list_caches(folder):
            size, spec = f"{entry.bytes / 1e6:.1f} MB", entry.spec
            log.info(
                "%9d images %12s   %d px, %s, last used %s",
                entry.images,
                size,
                spec.size,
                spec.resize,
                f"{entry.last_used:%Y-%m-%d %H:%M}",
            )
        log.info("cache: %s", folder)
        return 0


@dataclass(frozen=True)
class Preview:
    """Draw a sheet of augmented images, as the network will see them."""

    data: Positional[Path] = Path()
    """The data folder or table; without one, the current folder."""
    augment: Annotated[AugmentConfig, arg(name="")] = field(default_factory=AugmentConfig)
    output: Path = Path("preview.png")
    """The PNG file to write."""
    count: int = 6
    """Number of images; each has a row."""
    image_size: int = 224
    """Height and width of the network's input, in pixels."""
    resize: Resize = "stretch"
    """How an image that is not square is made square."""
    cache: Path = DataConfig.cache
    """Folder that keeps the prepared images."""
    seed: int = 0
    """Seed of the choice of images and of the augmentation; that of the training shows what the training sees."""

    def run(self) -> int:
        from diptych.data.preview import preview

        require(self, "count", 1 <= self.count <= 50, "1 to 50 images")
        settings = DataConfig(self.data, self.image_size, self.resize, cache=self.cache)
        preview(settings, self.augment, self.seed, self.count, self.output)
        log.info("written: %s", self.output)
        return 0
