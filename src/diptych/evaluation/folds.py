"""The test of a cross-validation: each fold in a process of its own, then the mean and the spread over the folds."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diptych.config import Backend
from diptych.environment import run_diptych
from diptych.errors import CheckpointError, DiptychError
from diptych.evaluation.metrics import read_metrics
from diptych.evaluation.views import describe_test
from diptych.storage import FORMAT_VERSION, RunDir, write_json

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
    """Test each fold's run on the images that it was not trained on.

    Args:
        run: the folder that `train_folds` made.
        data: the data folder, where it has moved since.
        cache: the folder of prepared images, if not that of the training.
        tta: test-time augmentation, as in `evaluate`.
        test_size: height and width of the images, in pixels, if not those of the training.
        backend: what computes.
        more: further flags of `diptych evaluate`, for each fold.

    Returns:
        `folds`: the names of the runs; `test_size` and `views` as in `evaluate`; `mean` and `standard_deviation` (over the
        folds, with n - 1) of each figure that is one number; as written to evaluation/metrics.json. A figure that is not
        defined on some fold is left out.

    Raises:
        CheckpointError: a fold is not trained yet.
        DiptychError: the test of a fold failed.
    """
    count = len(list((run.root / "splits").glob("fold-*.csv")))
    folds = [RunDir(run.root / f"fold-{number}") for number in range(1, count + 1)]
    for fold in folds:
        if not fold.best_keras.is_file():
            raise CheckpointError(f"{fold.root} is not trained to its end; the folds of {run.root} have no common figures yet.")
    given = {"--data": data, "--cache": cache, "--test-size": test_size, "--backend": backend}
    flags = [part for flag, value in given.items() if value is not None for part in (flag, str(value))]
    flags += [*(["--tta"] if tta else []), *more]
    for fold in folds:
        log.info("\n%s", fold.root.name)
        code = run_diptych("evaluate", fold.root, *flags)
        if code != 0:
            raise DiptychError(f"the test of {fold.root} ended with exit code {code}; its message stands above.")
    each = [read_metrics(fold) or {} for fold in folds]
    figures = {"folds": [fold.root.name for fold in folds], **{key: each[0][key] for key in HOW_TESTED}, **spread(each)}
    write_json(run.metrics, {"format_version": FORMAT_VERSION, **figures})
    return figures


def spread(metrics: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return the mean and the standard deviation of each figure that is a number in all of the folds."""
    skipped = {"format_version", "threshold", "bootstrap_draws", *HOW_TESTED}
    names = [name for name in metrics[0] if name not in skipped and all(is_number(found.get(name)) for found in metrics)]
    values = {name: np.array([found[name] for found in metrics], float) for name in names}
    return {
        "mean": {name: float(column.mean()) for name, column in values.items()},
        "standard_deviation": {name: float(column.std(ddof=1)) for name, column in values.items()},
    }


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def describe_folds(figures: dict[str, Any]) -> str:
    """Put mean and spread into lines for the screen."""
    title = f"over {len(figures['folds'])} folds:         mean   standard deviation"
    rows = [f"{name:18} {mean:12.4f} {figures['standard_deviation'][name]:20.4f}" for name, mean in figures["mean"].items()]
    return "\n".join([f"tested at {describe_test(figures['test_size'], figures['views'])}", title, *rows])
