"""Commands for a trained run: evaluate, plot, predict, summary."""

import logging
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from diptych.commands.options import tell_run_from_images
from diptych.errors import EXIT_TROUBLE, ConfigError
from diptych.settings.config import Backend, DataConfig, ModelConfig, require
from diptych.storage.atomic import refuse_unwritable
from diptych.storage.run_dir import RunDir
from diptych.storage.runs import RUNS

log = logging.getLogger("diptych")


@dataclass(frozen=True)
class InferenceOptions:
    """Views, image size and backend of a test."""

    tta: bool = False
    """Test-time augmentation: mean over several views. The views are the flips and quarter turns that the run was trained
    with."""
    test_size: int | None = None
    """Height and width of the images for the network, in pixels. At least 32. Default: as in the training. A tenth or a
    quarter more can be better."""
    backend: Backend = "auto"
    """Keras backend: auto, tensorflow, jax or torch. auto: as for diptych train."""

    def check(self, run: RunDir) -> None:
        """Check the flags before Keras is loaded, which takes seconds."""
        from diptych.inference.trained_run import TrainedRun
        from diptych.inference.tta import plan_test

        plan_test(TrainedRun(run).config, self.tta, self.test_size)


@dataclass(frozen=True)
class Evaluate:
    """Test a run on its test images and write the report."""

    of: Annotated[Positional[Path | None], arg(name="run")] = None
    """Folder or name of the run. Default: the newest."""
    data: Path | None = None
    """Data folder, if it has moved since the training. A labelled data set with none of the run's test images is an external
    test: all its images are tested, and the report has a folder of its own."""
    cache: Path | None = None
    """Folder of the decoded images. Default: as in the training."""
    threshold: str | None = None
    """Decision threshold of the positive class, for two classes: a number or a rule. Rules: youden, f1, cost:FP,FN,
    recall:SHARE and precision:SHARE, applied to the validation images. Default: as predict uses it, at first 0.5."""
    positive: str | None = None
    """Name of the positive class, for two classes. Threshold, recall, precision and F1 refer to it. Default: as predict uses
    it, at first the second class."""
    keep: bool = False
    """Store what is chosen now, so that predict uses it. The first test of a run is stored anyway; later ones, and those
    with --tta or --test-size, only look."""
    abstain: str | None = None
    """When to answer "don't know": none, error:SHARE, a probability, or LOW,HIGH. error:SHARE: at most this share of the
    answers on the validation images is wrong. A probability: the lowest of an answer. LOW,HIGH: a range of the probability
    of the positive class, for two classes. Default: as predict uses it, at first none."""
    coverage: float | None = None
    """Target coverage of the conformal prediction sets. Default: as predict uses it, at first 0.95."""
    by: tuple[str, ...] = ()
    """Table columns for subgroups. The figures are also computed for each of their values."""
    maps: int = 4
    """Images on which maps are checked, and mistakes with an occlusion map (0 = no maps). Each takes about a thousand passes
    of the network."""
    against: Path | None = None
    """Another tested run to compare with, on the same test images."""
    fail_if_worse: bool = False
    """Exit with code 1 if the accuracy is significantly worse than that of --against. For use in CI."""
    output: Path | None = None
    """Folder for the report of an external test. Default: evaluation/external-NAME in the run."""
    test: Annotated[InferenceOptions, arg(name="")] = field(default_factory=InferenceOptions)
    runs: Path = RUNS
    """Folder that contains the runs."""

    def run(self) -> int:
        from diptych.storage.runs import find_run

        run = find_run(self.of, self.runs)
        self.check(run)
        if run.folds.is_file():
            from diptych.experiments.fold_report import describe_folds, evaluate_folds

            figures = evaluate_folds(
                run,
                self.data,
                self.cache,
                tta=self.test.tta,
                test_size=self.test.test_size,
                backend=self.test.backend,
                more=self.flags(),
            )
            log.info("\n%s\n\nwritten: %s, %s", describe_folds(figures), run.report, run.metrics)
            return self.compare(run)
        from diptych.machine.backend import load_backend

        load_backend(self.test.backend)
        from diptych.evaluation.evaluate import evaluate
        from diptych.evaluation.summary import describe
        from diptych.inference.choosing import DecisionOptions
        from diptych.inference.decision import describe_kept
        from diptych.inference.trained_run import TrainedRun

        choices = DecisionOptions(self.threshold, self.abstain, self.coverage, self.positive, self.keep)
        opened = TrainedRun(run)
        report = evaluate(
            opened,
            self.data,
            self.cache,
            tta=self.test.tta,
            test_size=self.test.test_size,
            choices=choices,
            by=self.by,
            maps=self.maps,
            output=self.output,
        )
        log.info("%s", describe(report))
        if report.external:
            log.info("\nwritten: %s with metrics.json and predictions.csv", report.external.report)
            return EXIT_TROUBLE if report.external.unreadable else self.compare(run)
        if not report.kept:
            log.info("\n%s", describe_kept(opened.stored_decision))
        log.info("\nwritten: %s, %s, %s", run.report, run.metrics, run.predictions)
        return self.compare(run)

    def flags(self) -> list[str]:
        """Return the flags of the decision and of the subgroups."""
        given = {"--threshold": self.threshold, "--abstain": self.abstain, "--coverage": self.coverage}
        given |= {"--positive": self.positive}
        flags = [part for flag, value in given.items() if value is not None for part in (flag, str(value))]
        return [*flags, *["--keep"] * self.keep, "--maps", str(self.maps), *(["--by", *self.by] if self.by else [])]

    def compare(self, run: RunDir) -> int:
        """Compare with the run of --against, if there is one, and return the exit code."""
        if self.against is None:
            return 0
        from diptych.experiments.compare import compare_runs, describe
        from diptych.storage.runs import find_run

        comparison = compare_runs(run, find_run(self.against, self.runs))
        log.info("\n%s", describe(comparison))
        return EXIT_TROUBLE if self.fail_if_worse and comparison.worse else 0

    def check(self, run: RunDir) -> None:
        """Check the flags before Keras is loaded."""
        from diptych.inference.choosing import DecisionOptions
        from diptych.inference.trained_run import TrainedRun
        from diptych.storage.runs import find_run

        require(self, "maps", 0 <= self.maps <= 1000, "0 to 1000")
        if self.fail_if_worse and self.against is None:
            raise ConfigError("--fail-if-worse needs the run to compare with: --against RUN.")
        if self.against is not None:
            from diptych.experiments.tested_run import read_tested

            other = find_run(self.against, self.runs)
            if other.root.resolve() == run.root.resolve():
                raise ConfigError(f"--against {self.against} is the run itself; name another one.")
            read_tested(other)
        part = run
        if run.folds.is_file():
            from diptych.experiments.fold_report import trained_folds

            part = trained_folds(run)[0]
            if self.output is not None:
                raise ConfigError(
                    f"--output is for an external test of one run, and {run.root} is a cross-validation; leave it out."
                )
        self.check_external(part, run)
        if self.by and part.split.is_file():
            import pandas as pd

            from diptych.metrics.subgroups import check_column

            table = pd.read_csv(part.split, dtype=str, keep_default_na=False)
            for column in self.by:
                check_column(table, column)
        self.test.check(part)
        choices = DecisionOptions(self.threshold, self.abstain, self.coverage, self.positive)
        choices.check(TrainedRun(part).class_names)

    def check_external(self, part: RunDir, run: RunDir) -> None:
        """Refuse flags that an external test cannot have."""
        if self.data is None or not part.split.is_file():
            return
        from diptych.data.splits import read_split
        from diptych.evaluation.external_data import is_external
        from diptych.inference.trained_run import TrainedRun

        if not is_external(TrainedRun(part), read_split(part.split), self.data):
            return
        if part is not run:
            raise ConfigError(
                f"{self.data} has none of the test images of {part.root}; an external test is of one run, such as it."
            )
        for flag, given in (
            ("--against", self.against),
            ("--threshold", self.threshold),
            ("--abstain", self.abstain),
            ("--coverage", self.coverage),
            ("--positive", self.positive),
            ("--keep", self.keep or None),
        ):
            if given is not None:
                raise ConfigError(
                    f"{flag} does not go with an external test ({self.data} has none of the test images of {run.root}): it takes "
                    f"what the run has chosen on its own validation images. Leave it out."
                )


@dataclass(frozen=True)
class Plot:
    """Draw the history of a run, its confusion matrix and its ROC curve. The history is accuracy, loss and learning rate
    against the epoch."""

    of: Annotated[Positional[Path | None], arg(name="run")] = None
    """Folder or name of the run. Default: the newest."""
    runs: Path = RUNS
    """Folder that contains the runs."""

    def run(self) -> int:
        from diptych.storage.runs import find_run

        run = find_run(self.of, self.runs, folds=False)
        from diptych.evaluation.plots import plot

        for file in plot(run):
            log.info("%s", file)
        if not run.metrics.is_file():
            log.info("No test figures yet: run diptych evaluate, then plot again for the confusion matrix and the ROC curve.")
        return 0


@dataclass(frozen=True)
class Predict:
    """Classify new images with a run. The answers are printed and written to a CSV file."""

    places: Annotated[Positional[tuple[Path, ...]], arg(name="[run] path…")]
    """Folder or name of the run (default: the newest), then image files and folders of images."""
    output: Path | None = None
    """CSV file to write. Default: a new file in the run."""
    follow_links: bool = False
    """Follow links to folders outside of the given ones."""
    test: Annotated[InferenceOptions, arg(name="")] = field(default_factory=InferenceOptions)
    runs: Path = RUNS
    """Folder that contains the runs."""

    def run(self) -> int:
        run, places = tell_run_from_images(self.places, self.runs)
        self.test.check(run)
        from diptych.machine.backend import load_backend

        load_backend(self.test.backend)
        from diptych.commands.prediction_list import show_predictions
        from diptych.inference.predict import predict
        from diptych.screen import count_of

        output, trouble = self.place(run)
        table = predict(run, places, output, tta=self.test.tta, test_size=self.test.test_size, follow_links=self.follow_links)
        log.info("%s", show_predictions(table))
        unreadable = int((table["problem"] != "").sum())
        done = f"{count_of(len(table) - unreadable)} classified, {unreadable} unreadable"
        log.info("\nrun %s: %s; %s", run.root, done, trouble or f"written: {output}")
        return EXIT_TROUBLE if unreadable or trouble else 0

    def place(self, run: RunDir) -> tuple[Path | None, str]:
        """Return the file for the table, or why there is none: a run that cannot be written can still predict."""
        if self.output is not None:
            return self.output, ""
        place = run.root / "predictions" / f"{datetime.now():%Y%m%d-%H%M%S-%f}.csv"
        try:
            refuse_unwritable(place.parent, "Name a file with --output.")
        except ConfigError as error:
            return None, f"not written: {error}"
        return place, ""


@dataclass(frozen=True)
class Summary:
    """Print the network, part by part, with shapes, parameters and multiply-adds."""

    model: Annotated[ModelConfig, arg(name="")] = field(default_factory=ModelConfig)
    image_size: int = 224
    """Height and width of the network's input, in pixels. At least 32."""
    classes: int = 2
    """Number of classes."""
    backend: Backend = "auto"
    """Keras backend: auto, tensorflow, jax or torch. auto: as for diptych train."""

    def run(self) -> int:
        size = DataConfig(image_size=self.image_size).image_size
        require(self, "classes", 2 <= self.classes <= 1000, "2 to 1000")
        from diptych.machine.backend import load_backend

        load_backend(self.backend)
        from diptych.model.summary import describe_parts, summarise

        log.info("%s", describe_parts(summarise(self.model, size, self.classes)))
        return 0
