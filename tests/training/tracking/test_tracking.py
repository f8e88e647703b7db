"""Logs of trainings, read back by TensorBoard's and MLflow's own readers: each epoch once, whatever happened in between."""

import dataclasses
import logging
import math
import os
import socket
import socketserver
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from making import make_data, run_python
from mlflow import MlflowClient
from mlflow.entities import Run
from resuming import SETTINGS, Child, make_uneven
from running import posix_only
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from diptych.errors import ConfigError
from diptych.settings.config import Config, TrackingConfig, TrainingConfig
from diptych.settings.sources import read_toml, to_toml
from diptych.storage.atomic import write_json, write_text
from diptych.storage.history import HISTORY_COLUMNS
from diptych.storage.run_dir import RunDir
from diptych.training.resolve import with_whole_paths
from diptych.training.resume import changes_of_settings, refuse_to_resume, write_changes
from diptych.training.tracking.tracking import check_tracking, mlflow_as_we_need_it, tracking

FIGURES = HISTORY_COLUMNS[1:]
CREATED = "2026-03-01T12:00:00+00:00"
BEGUN = 1772366400.0


def make_history(epochs: int, seed: int = 0) -> tuple[dict[str, float], ...]:
    random = np.random.default_rng(seed)
    return tuple({"epoch": number + 1, **{name: float(random.random()) for name in FIGURES}} for number in range(epochs))


def make_run(root: Path, tracked: TrackingConfig) -> tuple[RunDir, Config]:
    run, config = RunDir(root), Config(tracking=tracked)
    write_json(run.environment, {"format_version": 1, "created": CREATED, "packages": {}})
    write_text(run.config, to_toml(config))
    return run, config


def log_all(run: RunDir, config: Config, history: Sequence[Mapping[str, float]], before: int = 0) -> None:
    """Log as a training does that goes on after some epochs."""
    with tracking(run, config, history[:before]) as log_epochs:
        for count in range(before + 1, len(history) + 1):
            log_epochs(history[:count])
        write_text(run.history, "a history\n")


def table_of(history: Sequence[Mapping[str, float]]) -> dict[str, list[tuple[int, float]]]:
    return {name: [(int(row["epoch"]), row[name]) for row in history] for name in FIGURES}


def in_32_bits(table: dict[str, list[tuple[int, float]]]) -> dict[str, list[tuple[int, float]]]:
    return {name: [(epoch, float(np.float32(value))) for epoch, value in points] for name, points in table.items()}


def read_events(run: RunDir) -> dict[str, list[tuple[int, float]]]:
    return scalars_of(EventAccumulator(str(run.tensorboard), {"scalars": 0}))


def scalars_of(reader: EventAccumulator) -> dict[str, list[tuple[int, float]]]:
    reader.Reload()
    return {name: [(event.step, event.value) for event in reader.Scalars(name)] for name in reader.Tags()["scalars"]}


def runs_at(uri: str) -> list[Run]:
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("diptych")
    return client.search_runs([experiment.experiment_id], order_by=["attributes.start_time"]) if experiment else []


def run_named(uri: str, name: str) -> Run:
    (found,) = [run for run in runs_at(uri) if run.info.run_name == name and "diptych.superseded" not in run.data.tags]
    return found


def read_metrics(uri: str, run: Run) -> dict[str, list[tuple[int, float]]]:
    client = MlflowClient(tracking_uri=uri)
    return {
        name: [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name)]
        for name in sorted(run.data.metrics, key=FIGURES.index)
    }


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store of MLflow, whose tables take seconds to make."""
    found = f"sqlite:///{tmp_path_factory.mktemp('store') / 'tracking.db'}"
    check_tracking(TrackingConfig(mlflow=found))
    return found


class TestTensorBoard:
    def test_epochs__are_read_back(self, tmp_path: Path) -> None:
        run, config = make_run(tmp_path / "run", TrackingConfig(tensorboard=True))
        history = make_history(3)
        log_all(run, config, history)
        assert read_events(run) == in_32_bits(table_of(history))

    def test_times__are_those_of_the_training(self, tmp_path: Path) -> None:
        run, config = make_run(tmp_path / "run", TrackingConfig(tensorboard=True))
        history = make_history(3)
        log_all(run, config, history[:2])
        log_all(run, config, history, before=2)
        reader = EventAccumulator(str(run.tensorboard), {"scalars": 0})
        reader.Reload()
        ends = BEGUN + np.cumsum([row["seconds"] for row in history])
        assert [event.wall_time for event in reader.Scalars("loss")] == pytest.approx(ends, abs=1e-3)

    @pytest.mark.parametrize("kept", [0, 1, 3])
    def test_going_on__from_any_epoch_has_each_once(self, tmp_path: Path, kept: int) -> None:
        run, config = make_run(tmp_path / "run", TrackingConfig(tensorboard=True))
        log_all(run, config, make_history(3, seed=1))
        # As a process that is killed while it writes leaves it.
        (file,) = run.tensorboard.iterdir()
        file.write_bytes(file.read_bytes()[:-7])
        history = (*make_history(3, seed=1)[:kept], *make_history(5, seed=2)[kept:])
        log_all(run, config, history, before=kept)
        assert read_events(run) == in_32_bits(table_of(history))

    def test_viewer__that_looks_on_sees_each_once(self, tmp_path: Path) -> None:
        run, config = make_run(tmp_path / "run", TrackingConfig(tensorboard=True))
        history = make_history(4)
        log_all(run, config, history[:3])
        reader = EventAccumulator(str(run.tensorboard), {"scalars": 0})
        assert scalars_of(reader) == in_32_bits(table_of(history[:3]))
        log_all(run, config, history, before=2)
        assert scalars_of(reader) == in_32_bits(table_of(history))

    def test_folder_that_cannot_be_written__is_one_warning(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        run, config = make_run(tmp_path / "run", TrackingConfig(tensorboard=True))
        run.tensorboard.write_text("a file where a folder should be")
        history = make_history(4)
        with caplog.at_level(logging.WARNING), tracking(run, config, ()) as log_epochs:
            log_epochs(history[:1])
            log_epochs(history[:2])
            assert len(caplog.messages) == 1
            assert "logging to TensorBoard failed" in caplog.messages[0]
            run.tensorboard.unlink()
            time.sleep(0.1)
            log_epochs(history[:3])
        assert read_events(run) == in_32_bits(table_of(history[:3]))
        assert len(caplog.messages) == 1


class TestMlflow:
    def test_run__has_settings_figures_and_files(self, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        run, config = make_run(tmp_path / "complete", TrackingConfig(mlflow=uri))
        history = make_history(3)
        log_all(run, config, history)
        found = run_named(uri, "complete")
        assert read_metrics(uri, found) == table_of(history)
        assert found.info.status == "FINISHED"
        assert found.info.start_time == 1000 * BEGUN
        assert found.data.params["training.learning_rate"] == "0.0001"
        assert found.data.params["model.attention"] == "identity"
        assert not [key for key in found.data.params if key.startswith("tracking")]
        client = MlflowClient(tracking_uri=uri)
        assert {file.path for file in client.list_artifacts(found.info.run_id)} == {"config.toml", "history.csv"}
        beside = Path(uri.removeprefix("sqlite:///")).parent / "tracking.artifacts"
        assert found.info.artifact_uri.startswith(beside.as_uri())
        assert not list((tmp_path / "here").iterdir())

    @pytest.mark.parametrize("lost", [0, 1])
    def test_going_on__is_the_same_run(self, uri: str, tmp_path: Path, lost: int) -> None:
        run, config = make_run(tmp_path / f"resumed{lost}", TrackingConfig(mlflow=uri))
        history = make_history(5)
        log_all(run, config, history[: 3 - lost])
        first = run_named(uri, run.root.name)
        log_all(run, config, history, before=3)
        again = run_named(uri, run.root.name)
        assert again.info.run_id == first.info.run_id
        assert read_metrics(uri, again) == table_of(history)

    def test_older_checkpoint__takes_a_new_run(self, uri: str, tmp_path: Path) -> None:
        run, config = make_run(tmp_path / "older", TrackingConfig(mlflow=uri))
        log_all(run, config, make_history(3, seed=1))
        first = run_named(uri, "older")
        history = (*make_history(3, seed=1)[:2], *make_history(4, seed=2)[2:])
        log_all(run, config, history, before=2)
        assert read_metrics(uri, run_named(uri, "older")) == table_of(history)
        replaced = MlflowClient(tracking_uri=uri).get_run(first.info.run_id)
        assert replaced.info.status == "KILLED"
        assert replaced.data.tags["diptych.superseded"] == "true"

    @pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, "KILLED"), (ValueError, "FAILED")])
    def test_status__says_how_it_ended(self, uri: str, tmp_path: Path, error: type[BaseException], status: str) -> None:
        run, config = make_run(tmp_path / status, TrackingConfig(mlflow=uri))
        with pytest.raises(error), tracking(run, config, ()):
            raise error
        assert run_named(uri, status).info.status == status
        with tracking(run, config, ()):
            assert run_named(uri, status).info.status == "RUNNING"

    def test_fold__is_named_by_its_cross_validation(self, uri: str, tmp_path: Path) -> None:
        run, config = make_run(tmp_path / "crossed" / "fold-1", TrackingConfig(mlflow=uri))
        (tmp_path / "crossed" / "folds.csv").touch()
        log_all(run, config, make_history(1))
        assert read_metrics(uri, run_named(uri, "crossed/fold-1")) == table_of(make_history(1))

    @pytest.mark.slow
    def test_store_that_is_lost_for_a_while__is_one_warning(
        self, uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        run, config = make_run(tmp_path / "locked", TrackingConfig(mlflow=uri))
        history = make_history(4)
        other = sqlite3.connect(uri.removeprefix("sqlite:///"), isolation_level=None)
        with caplog.at_level(logging.WARNING, "diptych"), tracking(run, config, ()) as log_epochs:
            log_epochs(history[:1])
            other.execute("BEGIN EXCLUSIVE")
            log_epochs(history[:2])
            other.execute("ROLLBACK")
            # It is not asked again at once: now it would answer.
            log_epochs(history[:3])
            assert read_metrics(uri, run_named(uri, "locked")) == table_of(history[:1])
            log_epochs(history)
        other.close()
        assert [message for message in caplog.messages if "logging to MLflow failed" in message] == caplog.messages[:1]
        assert len(caplog.messages) == 1
        assert read_metrics(uri, run_named(uri, "locked")) == table_of(history)

    def test_nothing__goes_to_the_network(self, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        called: list[object] = []
        monkeypatch.setattr(socket.socket, "connect", lambda _, address: called.append(address))
        run, config = make_run(tmp_path / "quiet", TrackingConfig(tensorboard=True, mlflow=uri))
        log_all(run, config, make_history(1))
        assert called == []
        with mlflow_as_we_need_it():
            assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
        assert "MLFLOW_DISABLE_TELEMETRY" not in os.environ


class TestCheck:
    @pytest.mark.parametrize("wrong", ["mlruns", "file:///tmp/x", "sqlite:///", "http://", "ftp://host/x", "http://[", ""])
    def test_uri__that_is_none_is_refused(self, wrong: str) -> None:
        with pytest.raises(ConfigError, match="expected sqlite:///FILE"):
            check_tracking(TrackingConfig(mlflow=wrong))

    def test_password__is_not_written_down(self) -> None:
        with pytest.raises(ConfigError, match="MLFLOW_TRACKING_PASSWORD") as refused:
            check_tracking(TrackingConfig(mlflow="https://me:secret@example.org"))
        assert "secret" not in str(refused.value)

    def test_server__that_is_not_there_is_an_error(self) -> None:
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            with pytest.raises(ConfigError, match=r"cannot be reached: .*--mlflow none"):
                check_tracking(TrackingConfig(mlflow=f"http://127.0.0.1:{held.getsockname()[1]}"))

    def test_server__that_hangs_up_is_asked_once_more_and_not_for_minutes(self) -> None:
        """By its own settings, MLflow would ask eight times, with longer and longer pauses."""
        asked = []

        class HangUp(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                asked.append(self.client_address)

        with socketserver.TCPServer(("127.0.0.1", 0), HangUp) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                with pytest.raises(ConfigError, match=r"cannot be reached: .*--mlflow none"):
                    check_tracking(TrackingConfig(mlflow=f"http://127.0.0.1:{server.server_address[1]}"))
            finally:
                server.shutdown()
                thread.join()
        assert len(asked) == 2

    def test_database__that_is_none_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "text.db").write_text("this is no database, but long enough to be looked at as one" * 20)
        for path in (tmp_path / "text.db", tmp_path):
            with pytest.raises(ConfigError, match="cannot be reached"):
                check_tracking(TrackingConfig(mlflow=f"sqlite:///{path}"))

    @pytest.mark.parametrize(
        ("package", "flags", "command"),
        [
            ("tensorboard", ["--tensorboard"], "pip install 'diptych[tensorboard]'"),
            ("mlflow", ["--mlflow", "sqlite:///x.db"], "pip install 'diptych[mlflow]'"),
            ("sqlalchemy", ["--mlflow", "sqlite:///x.db"], "pip install 'diptych[mlflow]'"),
        ],
    )
    def test_missing_package__is_named_before_keras_is_loaded(
        self, tmp_path: Path, package: str, flags: list[str], command: str
    ) -> None:
        make_data(tmp_path / "data")
        code = (
            f"import sys; sys.modules[{package!r}] = None; from diptych.cli import main; code = main(sys.argv[1:])\n"
            "print('keras' in sys.modules); sys.exit(code)"
        )
        done = run_python("-c", code, "train", "--data", "data", *flags, cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert command in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout.splitlines()[-1] == "False"
        assert [path.name for path in tmp_path.iterdir()] == ["data"]


class TestSettings:
    def test_place__may_change_in_a_training_that_goes_on(self) -> None:
        assert changes_of_settings(Config(), Config(tracking=TrackingConfig(True, "sqlite:///x.db"))) == []

    def test_database__is_named_by_its_whole_path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        found = with_whole_paths(Config(tracking=TrackingConfig(mlflow="sqlite:///x.db")), tmp_path)
        assert found.tracking.mlflow == f"sqlite:///{tmp_path / 'x.db'}"
        assert with_whole_paths(found, tmp_path) == found

    def test_write_changes__writes_down_the_new_place(self, tmp_path: Path) -> None:
        run, config = make_run(tmp_path / "run", TrackingConfig(tensorboard=True))
        longer = dataclasses.replace(config.training, epochs=80)
        wanted = Config(tracking=TrackingConfig(mlflow="http://127.0.0.1:5000"), training=longer)
        refuse_to_resume(run, wanted)
        assert read_toml(run.config, Config()) == config
        write_changes(run, wanted)
        assert read_toml(run.config, Config()) == wanted
        assert TrainingConfig().epochs < 80


@pytest.mark.slow
@posix_only
@pytest.mark.usefixtures("quickest_backend")
def test_killed_training__has_each_epoch_once_when_it_has_gone_on(tmp_path: Path) -> None:
    run, uri = RunDir(tmp_path / "runs" / "killed"), f"sqlite:///{tmp_path / 'tracking.db'}"
    data = make_uneven(tmp_path / "images")

    def epochs() -> int:
        return len(run.history.read_text().splitlines()) - 1 if run.history.is_file() else 0

    logs = ("--tensorboard", "--mlflow", "sqlite:///tracking.db")
    train = ("train", "--data", data, "--name", "killed", "--epochs", 6, *SETTINGS, *logs)
    child = Child(tmp_path, tmp_path / "first.txt", *train)
    assert child.wait_for(lambda: epochs() >= 3), child.said.read_text()
    assert child.kill() == -9
    (tmp_path / "elsewhere").mkdir()
    child = Child(tmp_path / "elsewhere", tmp_path / "second.txt", "resume", run.root)
    assert child.finish() == 0, child.said.read_text()
    assert "Resuming " in child.said.read_text()
    assert "Warning: logging" not in child.said.read_text()
    history = pd.read_csv(run.history)
    assert list(history["epoch"]) == [1, 2, 3, 4, 5, 6]
    logged = read_metrics(uri, run_named(uri, "killed"))
    for found in (read_events(run), logged):
        assert set(found) == set(FIGURES)
        for name, points in found.items():
            assert [epoch for epoch, _ in points] == list(history["epoch"])
            # history.csv has six digits.
            assert all(math.isclose(value, row, rel_tol=1e-5) for (_, value), row in zip(points, history[name], strict=True))
    assert len(runs_at(uri)) == 1
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert not list(tmp_path.rglob("mlruns"))
