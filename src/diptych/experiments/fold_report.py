"""The test of a cross-validation: each fold in a process of its own, then mean and spread over the folds, and a common report."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diptych.errors import CheckpointError, DiptychError
from diptych.evaluation.figures import read_metrics
from diptych.evaluation.report_page import MATRIX_CLASSES, number, percent
from diptych.evaluation.summary import NAMES, PERCENT
from diptych.html import load_template
from diptych.inference.tta import describe_test
from diptych.machine.processes import run_child
from diptych.metrics.classification import shorten
from diptych.screen import command_line
from diptych.settings.config import Backend
from diptych.storage.atomic import FORMAT_VERSION, write_json, write_text
from diptych.storage.run_dir import RunDir
from diptych.storage.runs import folds_of

log = logging.getLogger(__name__)

HOW_TESTED = ("test_size", "views")


def evaluate_folds(
    run: RunDir,
    data: Path | None = None,
    cache: Path | None = None,
    *,
    tta: bool = False,
    test_size: int | None = None,
    backend: Backend = "auto",
    more: Sequence[str] = (),
) -> dict[str, Any]:
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
        What `combine` returns, as written to evaluation/metrics.json; evaluation/report.html shows it.

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
    figures = combine({fold.root.name: read_metrics(fold) or {} for fold in folds})
    write_json(run.metrics, {"format_version": FORMAT_VERSION, **figures})
    write_text(run.report, render_folds(run.root.name, figures))
    return figures


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


def combine(tests: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Combine the figures of the folds.

    Args:
        tests: metrics.json of each fold by its name, two or more.

    Returns:
        `folds`: their names; `test_size` and `views` as in `evaluate`; `class_names`; `test_images` of all folds;
        `confusion_matrix`, the sum; `each`: of each fold its `test_images` and figures; `no_better`: the
        folds whose accuracy is not shown to be better than always answering the most frequent class; `mean`,
        `standard_deviation` (over the folds, with n - 1), `lowest` and `highest` of each figure that is defined on all of them.
    """
    each = list(tests.values())
    known = [name for name in NAMES if all(is_number(found.get(name)) for found in each)]
    values = {name: np.array([found[name] for found in each], float) for name in known}
    return {
        "folds": list(tests),
        **{key: each[0][key] for key in HOW_TESTED},
        "class_names": each[0]["class_names"],
        "test_images": sum(found["test_images"] for found in each),
        "confusion_matrix": np.sum([found["confusion_matrix"] for found in each], axis=0).tolist(),
        "no_better": [name for name, found in tests.items() if not found.get("baseline", {"better": True})["better"]],
        "each": [{key: found.get(key) for key in ("test_images", *NAMES)} for found in each],
        "mean": {name: float(column.mean()) for name, column in values.items()},
        "standard_deviation": {name: float(column.std(ddof=1)) for name, column in values.items()},
        "lowest": {name: float(column.min()) for name, column in values.items()},
        "highest": {name: float(column.max()) for name, column in values.items()},
    }


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def describe_folds(figures: Mapping[str, Any]) -> str:
    """Format mean and spread for the screen."""
    rows = [f"{'':18} {'mean':>10} {'lowest':>10} {'highest':>10}   standard deviation"]
    for name in figures["mean"]:
        form = "{:.2%}" if name in PERCENT else "{:.4f}"
        shown = [form.format(figures[key][name]) for key in ("mean", "lowest", "highest", "standard_deviation")]
        rows.append("{:18} {:>10} {:>10} {:>10} {:>12}".format(NAMES[name], *shown))
    if figures["no_better"]:
        rows.append(describe_no_better(figures).replace(": ", ":\n  "))
    tested = f"{figures['test_images']} images, each tested in one of {len(figures['folds'])} folds"
    return "\n".join([tested, f"tested at {describe_test(figures['test_size'], figures['views'])}", *rows])


def describe_no_better(figures: Mapping[str, Any]) -> str:
    """Name the folds that are not shown to be better than always answering the most frequent class; "" without any."""
    folds = ", ".join(figures["no_better"])
    return f"accuracy not shown to be better than always answering the most frequent class: {folds}" if folds else ""


def render_folds(name: str, figures: Mapping[str, Any]) -> str:
    """Return the page of a cross-validation, with links to the reports of its folds."""
    matrix = [[(count, count / max(1, sum(row))) for count in row] for row in figures["confusion_matrix"]]
    return load_template("diptych.experiments", "folds.html").render(
        name=name,
        figures=figures,
        no_better=describe_no_better(figures),
        matrix=matrix if len(matrix) <= MATRIX_CLASSES else [],
        names=NAMES,
        write=lambda key, value: percent(value) if key in PERCENT else number(value),
        percent=percent,
        shorten=shorten,
        zip=zip,
        tested_at=describe_test(figures["test_size"], figures["views"]),
    )
