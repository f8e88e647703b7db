"""Logs besides the run's folder (TensorBoard, MLflow). A log that fails never stops the training."""

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from diptych.errors import ConfigError
from diptych.machine.host_process import changed_environment, changed_levels
from diptych.settings.config import SQLITE, Config, TrackingConfig, at_home
from diptych.storage.history import Ending, Row
from diptych.storage.run_dir import RunDir

log = logging.getLogger(__name__)

LogEpochs = Callable[[Sequence[Row]], None]
# After a failure, wait 10 times its duration before retrying: time lost to a dead server stays below 10 %.
PAUSE = 10


class Tracker(Protocol):
    """A log of a training. It is opened with the epochs so far, and then holds each of them once, whatever it held before."""

    def epoch(self, history: Sequence[Row]) -> None:
        """Add the last epoch of a history, all of whose others are in the log."""

    def close(self, ending: Ending) -> None:
        """Finish the log."""


def whole_tracking(settings: TrackingConfig) -> TrackingConfig:
    """Make the path of MLflow's database absolute."""
    uri = settings.mlflow
    if not uri.startswith(SQLITE) or not uri.removeprefix(SQLITE):
        return settings
    path = at_home(Path(uri.removeprefix(SQLITE))).resolve()
    return TrackingConfig(settings.tensorboard, f"{SQLITE}{path.as_posix()}")


def check_tracking(settings: TrackingConfig) -> None:
    """Make sure, before anything is trained, that it can be logged.

    Raises:
        ConfigError: a package is missing, or the URI is wrong or cannot be reached.
    """
    if settings.tensorboard:
        from diptych.training.tracking.tensorboard_log import TensorBoardLog  # noqa: F401
    if settings.mlflow != "none":
        check_uri(settings.mlflow)
        with mlflow_as_we_need_it():
            from diptych.training.tracking.mlflow_log import check_store

            check_store(whole_tracking(settings).mlflow)


@contextmanager
def mlflow_as_we_need_it() -> Iterator[None]:
    """Let MLflow tell nobody else, give up soon, and say nothing on the screen."""
    # Nothing is sent anywhere but to the URI that the user names.
    told = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    # By MLflow's own settings, a server that does not answer would hold up the training for minutes.
    patience = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
    told |= {name: os.environ.get(name, value) for name, value in patience.items()}
    # What it logs as errors, with their tracebacks, it raises too.
    levels = {"mlflow": logging.CRITICAL, "alembic": logging.WARNING}
    with changed_environment(told), changed_levels(levels):
        yield


def check_uri(uri: str) -> None:
    try:
        parts = urlsplit(uri)
    except ValueError:
        parts = urlsplit("")
    if not ((parts.scheme in ("http", "https") and parts.netloc) or uri.removeprefix(SQLITE) not in ("", uri)):
        raise ConfigError(f"--mlflow is {uri!r}; expected sqlite:///FILE, http://SERVER, https://SERVER, or none.")
    if parts.password is not None:
        raise ConfigError(
            "--mlflow holds a password, which would be written into the run; set the environment variables "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead."
        )


class Guard:
    """A tracker whose failures end no training: the first is a warning, and what was not logged is logged later."""

    def __init__(self, name: str, begin: Callable[[Sequence[Row]], Tracker]) -> None:
        """Take the name of the log and what opens it with the epochs so far."""
        self.name = name
        self.begin = begin
        self.tracker: Tracker | None = None
        self.warned = False
        self.not_before = 0.0
        self.history: Sequence[Row] = ()

    def write(self, history: Sequence[Row]) -> None:
        """Update the log to a history that has at most one epoch more than at the last call."""
        self.history = history
        if time.monotonic() >= self.not_before:
            self.attempt(self.catch_up)

    def catch_up(self) -> None:
        if self.tracker is None:
            self.tracker = self.begin(self.history)
        else:
            self.tracker.epoch(self.history)

    def close(self, ending: Ending) -> None:
        """Log what is still missing, and close the log."""

        def finish() -> None:
            self.tracker = self.tracker or self.begin(self.history)
            self.tracker.close(ending)

        self.attempt(finish)
        if self.tracker is None:
            log.warning("Warning: %s does not hold all of this training; the run's history.csv does.", self.name)

    def attempt(self, act: Callable[[], None]) -> None:
        started = time.monotonic()
        try:
            act()
        # Whatever a package and a server far away may raise.
        except Exception as error:
            self.tracker, now = None, time.monotonic()
            self.not_before = now + PAUSE * (now - started)
            if not self.warned:
                reason = (str(error).splitlines() or [""])[0][:300]
                log.warning(
                    "Warning: logging to %s failed (%s: %s); the training continues, and what is missing is logged when that is "
                    "possible again.",
                    self.name,
                    type(error).__name__,
                    reason,
                )
            self.warned = True


@contextmanager
def tracking(run: RunDir, config: Config, history: Sequence[Row]) -> Iterator[LogEpochs]:
    """Open the logs that the settings ask for; what is yielded is called with the whole history after each epoch.

    Args:
        run: the run.
        config: its settings.
        history: the epochs that were trained before.
    """
    guards = []
    if config.tracking.tensorboard:
        from diptych.training.tracking.tensorboard_log import TensorBoardLog

        guards.append(Guard("TensorBoard", lambda epochs: TensorBoardLog(run, epochs)))
    with ExitStack() as settings:
        if config.tracking.mlflow != "none":
            settings.enter_context(mlflow_as_we_need_it())
            from diptych.training.tracking.mlflow_log import MlflowLog

            guards.append(Guard("MLflow", lambda epochs: MlflowLog(run, config, epochs)))

        def write(epochs: Sequence[Row]) -> None:
            for guard in guards:
                guard.write(epochs)

        write(history)
        ending: Ending = "failed"
        try:
            yield write
            ending = "finished"
        except KeyboardInterrupt:
            ending = "stopped"
            raise
        finally:
            for guard in guards:
                guard.close(ending)
