"""Metrics and predictions of a tested run, read from its files."""

import json
from typing import TYPE_CHECKING, Any

from diptych.errors import CheckpointError
from diptych.storage.atomic import reason_of
from diptych.storage.run_dir import RunDir

if TYPE_CHECKING:
    pass


def read_metrics(run: RunDir) -> dict[str, Any] | None:
    """Read the figures of the last `evaluate`, or None if there was none.

    Raises:
        CheckpointError: the file is damaged.
    """
    if not run.metrics.is_file():
        return None
    try:
        figures: dict[str, Any] = json.loads(run.metrics.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{run.metrics} {reason_of(error)}. Run diptych evaluate again.") from error
    return figures
