"""A training as a run of MLflow: its settings, each epoch's figures, and at its end config.toml and history.csv."""

import logging
import math
import os
import sqlite3
import uuid
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from diptych.errors import ConfigError
from diptych.settings.config import SQLITE, Config
from diptych.storage.atomic import FORMAT_VERSION, read_json, write_json
from diptych.storage.history import HISTORY_COLUMNS, Ending, Row, times_of
from diptych.storage.run_dir import RunDir
from diptych.storage.runs import read_environment

try:
    import alembic  # noqa: F401
    import sqlalchemy  # noqa: F401
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunStatus
    from mlflow.entities import Run as MlflowRun
    from mlflow.exceptions import MlflowException
except ImportError as error:
    raise ConfigError(
        "--mlflow needs MLflow: pip install 'diptych[mlflow]', or pip install mlflow-skinny sqlalchemy alembic."
    ) from error

log = logging.getLogger(__name__)

KEY = "diptych.key"
STATUS: Mapping[Ending, str] = {
    "finished": RunStatus.to_string(RunStatus.FINISHED),
    "stopped": RunStatus.to_string(RunStatus.KILLED),
    "failed": RunStatus.to_string(RunStatus.FAILED),
}
# MLflow takes up to 1,000 figures and 100 parameters at once.
EPOCHS_AT_ONCE = 100
PARAMS_AT_ONCE = 100
# The longest text that MLflow takes for a parameter.
PARAM_LENGTH = 6000


def check_store(uri: str) -> None:
    """Make sure that MLflow can be reached at a URI; a database that is not there yet is made.

    Raises:
        ConfigError: it cannot.
    """
    try:
        if uri.startswith(SQLITE):
            # MLflow would try to open it for minutes.
            file = Path(uri.removeprefix(SQLITE))
            file.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(file)) as connection:
                connection.execute("PRAGMA schema_version").fetchone()
        MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
    except (OSError, sqlite3.Error, MlflowException) as error:
        raise ConfigError(
            f"--mlflow {uri} cannot be reached: {shortened(error)}. Start the server, correct the URI, or log elsewhere "
            "(--mlflow "
            "none: nowhere)."
        ) from error


def shortened(error: Exception) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:300].rstrip(".")


class MlflowLog:
    """A run of MLflow that holds each epoch of a history once."""

    def __init__(self, run: RunDir, config: Config, history: Sequence[Row]) -> None:
        """Find the run of MLflow that belongs to a run, or make it, and log what it lacks of the history.

        MLflow can neither change nor delete a figure. So where it holds an epoch that the history does not have, or has with
        other figures (a training that went on from an older checkpoint), a new run of MLflow takes its place, and the old one
        is marked as killed.
        """
        self.run = run
        self.uri = config.tracking.mlflow
        self.client = MlflowClient(tracking_uri=self.uri)
        found = self.find()
        logged = self.logged(found.info.run_id) if found else {}
        if found and contradicts(logged, history):
            self.client.set_tag(found.info.run_id, "diptych.superseded", "true")
            self.client.set_terminated(found.info.run_id, STATUS["stopped"])
            found, logged = None, {}
        if found is None:
            found = self.create()
        elif found.info.status != RunStatus.to_string(RunStatus.RUNNING):
            self.client.update_run(found.info.run_id, status=RunStatus.to_string(RunStatus.RUNNING))
        self.id: str = found.info.run_id
        params = [param for param in params_of(config) if param.key not in found.data.params]
        for first in range(0, len(params), PARAMS_AT_ONCE):
            self.client.log_batch(self.id, params=params[first : first + PARAMS_AT_ONCE])
        self.log_rows(history, logged)

    def find(self) -> MlflowRun | None:
        """Return the run of MLflow that was made for this run."""
        if not self.run.mlflow.is_file():
            return None

        def place(content: dict[str, Any]) -> tuple[str, str]:
            return str(content["uri"]), str(content["key"])

        uri, key = read_json(self.run.mlflow, place, "Delete it, and MLflow gets a new run.")
        if uri != self.uri or (experiment := self.client.get_experiment_by_name(experiment_name())) is None:
            return None
        runs = self.client.search_runs([experiment.experiment_id], f"tags.`{KEY}` = '{key}'", max_results=1)
        return runs[0] if runs else None

    def create(self) -> MlflowRun:
        """Make a run of MLflow. Its key is written down before, so that it is found again wherever this process is killed."""
        key = uuid.uuid4().hex
        write_json(self.run.mlflow, {"format_version": FORMAT_VERSION, "uri": self.uri, "key": key})
        folds = self.run.root.parent
        name = f"{folds.name}/{self.run.root.name}" if RunDir(folds).folds.is_file() else self.run.root.name
        environment = read_environment(self.run)
        tags = {KEY: key, "diptych.run": str(self.run.root.resolve()), "diptych.version": environment["packages"].get("diptych")}
        return self.client.create_run(
            self.experiment(),
            start_time=int(1000 * times_of(environment["created"], [])[0]),
            tags={name: value for name, value in tags.items() if value},
            run_name=name,
        )

    def experiment(self) -> str:
        """Return the id of the experiment. The artefacts of a database lie beside it, not in whatever folder this runs in."""
        name = experiment_name()
        found = self.client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        beside = Path(self.uri.removeprefix(SQLITE)).with_suffix(".artifacts").as_uri() if self.uri.startswith(SQLITE) else None
        return str(self.client.create_experiment(name, artifact_location=beside))

    def logged(self, run_id: str) -> dict[tuple[str, int], list[float]]:
        """Return what MLflow holds: the values by name and epoch."""
        found: dict[tuple[str, int], list[float]] = {}
        for name in figures(HISTORY_COLUMNS):
            for metric in self.client.get_metric_history(run_id, name):
                found.setdefault((name, metric.step), []).append(metric.value)
        return found

    def log_rows(self, history: Sequence[Row], logged: Mapping[tuple[str, int], object]) -> None:
        moments = times_of(read_environment(self.run)["created"], history)[1:]
        metrics = [
            Metric(name, float(row[name]), int(1000 * moment), int(row["epoch"]))
            for row, moment in zip(history, moments, strict=True)
            for name in figures(row)
            if (name, int(row["epoch"])) not in logged
        ]
        at_once = EPOCHS_AT_ONCE * len(figures(HISTORY_COLUMNS))
        for first in range(0, len(metrics), at_once):
            self.client.log_batch(self.id, metrics=metrics[first : first + at_once])

    def epoch(self, history: Sequence[Row]) -> None:
        """Add the last epoch of a history."""
        before = {(name, int(row["epoch"])) for row in history[:-1] for name in figures(row)}
        self.log_rows(history, dict.fromkeys(before))

    def close(self, ending: Ending) -> None:
        """Hand over the small files of the run, and say how the training ended."""
        for file in (self.run.config, self.run.history):
            if file.is_file():
                self.client.log_artifact(self.id, str(file))
        self.client.set_terminated(self.id, STATUS[ending])


def experiment_name() -> str:
    """Return the name of the experiment; MLflow's own variable names another."""
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or "diptych"


def figures(names: Sequence[str] | Mapping[str, object]) -> list[str]:
    return [name for name in names if name != "epoch"]


def contradicts(logged: Mapping[tuple[str, int], Sequence[float]], history: Sequence[Row]) -> bool:
    """Tell whether MLflow holds what is not in the history, or twice."""
    rows = {int(row["epoch"]): row for row in history}
    return any(
        epoch not in rows or len(values) > 1 or not math.isclose(values[0], rows[epoch][name], rel_tol=1e-6)
        for (name, epoch), values in logged.items()
    )


def params_of(config: Config) -> list[Param]:
    """Return the settings as parameters, section.key; where it is logged is none of them."""
    return [
        Param(f"{section}.{key}", str(value)[:PARAM_LENGTH])
        for section, settings in vars(config).items()
        if section != "tracking"
        for key, value in vars(settings).items()
        if value is not None
    ]
