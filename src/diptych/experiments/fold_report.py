"""The test of a cross-validation: each fold in a process of its own, then mean and spread over the folds, and a common report."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diptych.errors import CheckpointError, DiptychError
from diptych.evaluation.report import Report, load_report
from diptych.evaluation.report_page import MATRIX_CLASSES, number, percent
from diptych.html import load_template
from diptych.inference.tta import describe_test
from diptych.machine.processes import run_child
from diptych.metrics.classification import KEYS, NAMES, PERCENT, Metrics, shorten
from diptych.metrics.intervals import standard_deviation
from diptych.screen import command_line
from diptych.settings.config import Backend
from diptych.storage.atomic import FORMAT_VERSION, write_json, write_text
from diptych.storage.run_dir import RunDir
from diptych.storage.runs import folds_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FoldsReport:
    """The reports of the folds of a cross-validation, put together.

    Attributes:
        folds: their names.
        test_size: height and width of the images, in pixels.
        views: of each image.
        class_names: the K names.
        confusion_matrix: (K, K), the sum.
        no_better: folds whose accuracy is not shown to be better than always answering the most frequent class.
        each: the metrics of each fold.
        mean: of each metric that is defined in all folds, by its name in Python.
        standard_deviation: over the folds, with n - 1.
        lowest: likewise.
        highest: likewise.
    """

    folds: tuple[str, ...]
    test_size: int
    views: int
    class_names: tuple[str, ...]
    confusion_matrix: tuple[tuple[int, ...], ...]
    no_better: tuple[str, ...]
    each: tuple[Metrics, ...]
    mean: dict[str, float]
    standard_deviation: dict[str, float]
    lowest: dict[str, float]
    highest: dict[str, float]

    @property
    def test_images(self) -> int:
        """How many images were tested in all folds."""
        return sum(metrics.test_images for metrics in self.each)

    def to_json(self) -> dict[str, Any]:
        """Return the values as evaluation/metrics.json of the common folder has them."""
        statistics = {
            "mean": self.mean,
            "standard_deviation": self.standard_deviation,
            "lowest": self.lowest,
            "highest": self.highest,
        }
        rows = [
            {"test_images": metrics.test_images, **{KEYS.get(name, name): one.value for name, one in metrics.named().items()}}
            for metrics in self.each
        ]
        return {
            "format_version": FORMAT_VERSION,
            "folds": list(self.folds),
            "test_size": self.test_size,
            "views": self.views,
            "class_names": list(self.class_names),
            "test_images": self.test_images,
            "confusion_matrix": [list(row) for row in self.confusion_matrix],
            "no_better": list(self.no_better),
            "each": rows,
            **{key: {KEYS.get(name, name): value for name, value in row.items()} for key, row in statistics.items()},
        }


def evaluate_folds(
    run: RunDir,
    data: Path | None = None,
    cache: Path | None = None,
    *,
    tta: bool = False,
    test_size: int | None = None,
    backend: Backend = "auto",
    more: Sequence[str] = (),
) -> FoldsReport:
    """Test the run of each fold on the images of that fold.

    Args:
        run: the folder that `train_folds` made.
        data: the data folder, where it has moved since.
        cache: the folder of prepared images, if not that of the training.
        tta: test-time augmentation, as in `evaluate`.
        test_size: height and width of the images, in pixels, if not those of the training.
        backend: what computes.
        more: further flags of `diptych evaluate`, for each fold.

    Returns:
        The reports together, as written to evaluation/metrics.json; evaluation/report.html shows it.

    Raises:
        CheckpointError: a fold is not trained yet.
        DiptychError: the test of a fold failed.
        KeyboardInterrupt: Ctrl-C, or SIGTERM as `Stopped`.
    """
    folds = trained_folds(run)
    given = {"--data": data, "--cache": cache, "--test-size": test_size, "--backend": backend}
    flags = [part for flag, value in given.items() if value is not None for part in (flag, str(value))]
    flags += [*(["--tta"] if tta else []), *more]
    for fold in folds:
        log.info("\n%s", fold.root.name)
        code = run_child(["evaluate", fold.root, *flags])
        if code != 0:
            raise DiptychError(f"the test of {fold.root} ended with exit code {code}; see its message above.")
    found = combine({fold.root.name: load_report(fold.metrics) for fold in folds})
    write_json(run.metrics, found.to_json())
    write_text(run.report, render_folds(run.root.name, found))
    return found


def trained_folds(run: RunDir) -> list[RunDir]:
    """Return the runs of a cross-validation.

    Raises:
        CheckpointError: one of them is not trained to its end, or has not begun yet.
    """
    folds = folds_of(run)
    for fold in folds:
        if not fold.best_keras.is_file():
            raise CheckpointError(
                f"{fold.root} is not trained to its end; the folds of {run.root} have no common figures yet. Resume with "
                f"{command_line('resume', run.root)}."
            )
    return folds


def combine(tests: Mapping[str, Report]) -> FoldsReport:
    """Combine the reports of the folds, two or more by their names."""
    each = list(tests.values())
    values = {name: [report.metrics.named()[name].value for report in each] for name in NAMES}
    known = {name: np.array(column, float) for name, column in values.items() if None not in column}
    return FoldsReport(
        folds=tuple(tests),
        test_size=each[0].test_size,
        views=each[0].views,
        class_names=each[0].class_names,
        confusion_matrix=tuple(map(tuple, np.sum([report.metrics.confusion_matrix for report in each], axis=0).tolist())),
        no_better=tuple(name for name, report in tests.items() if not report.metrics.baseline.better),
        each=tuple(report.metrics for report in each),
        mean={name: float(column.mean()) for name, column in known.items()},
        standard_deviation={name: standard_deviation(column) for name, column in known.items()},
        lowest={name: float(column.min()) for name, column in known.items()},
        highest={name: float(column.max()) for name, column in known.items()},
    )


def describe_folds(found: FoldsReport) -> str:
    """Format mean and spread for the screen."""
    rows = [f"{'':18} {'mean':>10} {'lowest':>10} {'highest':>10}   standard deviation"]
    for name, mean in found.mean.items():
        form = "{:.2%}" if name in PERCENT else "{:.4f}"
        statistics = (mean, found.lowest[name], found.highest[name], found.standard_deviation[name])
        rows.append("{:18} {:>10} {:>10} {:>10} {:>12}".format(NAMES[name], *(form.format(value) for value in statistics)))
    if found.no_better:
        rows.append(describe_no_better(found).replace(": ", ":\n  "))
    tested = f"{found.test_images} images, each tested in one of {len(found.folds)} folds"
    return "\n".join([tested, f"tested at {describe_test(found.test_size, found.views)}", *rows])


def describe_no_better(found: FoldsReport) -> str:
    """Name the folds that are not shown to be better than always answering the most frequent class; "" without any."""
    folds = ", ".join(found.no_better)
    return f"accuracy not shown to be better than always answering the most frequent class: {folds}" if folds else ""


def render_folds(name: str, found: FoldsReport) -> str:
    """Return the page of a cross-validation, with links to the reports of its folds."""
    matrix = [[(count, count / max(1, sum(row))) for count in row] for row in found.confusion_matrix]
    return load_template("diptych.experiments", "folds.html").render(
        name=name,
        found=found,
        no_better=describe_no_better(found),
        matrix=matrix if len(matrix) <= MATRIX_CLASSES else [],
        names=NAMES,
        write=lambda key, value: percent(value) if key in PERCENT else number(value),
        percent=percent,
        shorten=shorten,
        zip=zip,
        tested_at=describe_test(found.test_size, found.views),
    )
