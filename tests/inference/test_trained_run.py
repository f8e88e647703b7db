"""A run that is opened once: what is read when, and that it is not read again."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from diptych.errors import CheckpointError, ConfigError
from diptych.inference.decision import DEFAULT, Decision, hash_of_weights, write_decision
from diptych.inference.outliers import Outliers, write_outliers
from diptych.inference.predict import predict
from diptych.inference.trained_run import TrainedRun
from diptych.settings.config import Config
from diptych.settings.sources import to_toml
from diptych.storage.atomic import write_json
from diptych.storage.run_dir import RunDir, write_classes


@pytest.fixture
def light(tmp_path: Path) -> RunDir:
    """A run without a network: opening it needs none."""
    run = RunDir(tmp_path / "runs" / "light")
    run.best.parent.mkdir(parents=True)
    run.config.write_text(to_toml(Config()), encoding="utf-8")
    write_json(run.environment, {"format_version": 1, "created": "2026-01-01T00:00:00+00:00"})
    write_classes(run, ("cat", "dog"))
    run.best.write_bytes(b"weights")
    write_decision(run, Decision(threshold=0.3, rule="f1", weights=hash_of_weights(run), test_size=224, views=1))
    write_outliers(run, Outliers(np.eye(2, 4, dtype=np.float32), 1, 0.5, hash_of_weights(run), 224, 60))
    return run


def test_open__reads_each_file_once_and_when_it_is_asked_for(light):
    run = TrainedRun.open(light.root)
    assert (run.class_names, run.spec.size, run.decision.threshold) == (("cat", "dog"), 224, 0.3)
    assert run.outliers is not None
    shutil.rmtree(light.root)
    assert (run.class_names, run.config, run.decision.rule) == (("cat", "dog"), Config(), "f1")
    assert run.outliers.limit == 0.5
    assert len(run.weights_hash) == 64
    late = TrainedRun(light)
    with pytest.raises(ConfigError, match=r"config\.toml"):
        late.config  # noqa: B018


def test_open__leaves_an_open_run_as_it_is_and_makes_one_of_a_further_kind(light):
    class Further(TrainedRun):
        pass

    run = TrainedRun.open(light)
    assert TrainedRun.open(run) is run
    further = Further.open(run)
    assert type(further) is Further
    assert further.run_dir == run.run_dir
    assert TrainedRun.open(further) is further


@pytest.mark.parametrize(("given", "error"), [(3, TypeError), (None, TypeError), ("nowhere", CheckpointError)])
def test_open__of_what_is_no_run(given, error):
    with pytest.raises(error, match=r"expected a run|nowhere is not a run"):
        TrainedRun.open(given)


def test_decision__for_other_weights_is_refused_and_outliers_are_left_out(light):
    light.best.write_bytes(b"other weights")
    run = TrainedRun.open(light)
    with pytest.raises(CheckpointError, match=r"was chosen for other weights than .*best\.safetensors.* Run diptych evaluate"):
        run.decision  # noqa: B018
    assert run.outliers is None
    assert run.stored_decision is not None


def test_decision__before_one_is_chosen_is_the_default(light):
    light.decision.unlink()
    assert TrainedRun.open(light).decision == DEFAULT


def test_outliers__of_another_size_are_none(light):
    run = TrainedRun.open(light)
    assert run.outliers_at(224) is run.outliers is not None
    assert run.outliers_at(256) is None


def test_forget_choices__reads_what_was_written_since(light):
    run = TrainedRun.open(light)
    assert run.decision.threshold == 0.3
    write_decision(light, Decision(threshold=0.8, weights=run.weights_hash))
    assert run.decision.threshold == 0.3
    run.forget_choices()
    assert run.decision.threshold == 0.8


@pytest.mark.slow
def test_network__is_loaded_once_for_all_predictions(of_three, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(of_three.run.root, folder)
    run, files = TrainedRun(RunDir(folder)), [of_three.data / "ash" / "0.png"]
    first = predict(run, files)
    shutil.rmtree(folder)
    network = run.network
    pd.testing.assert_frame_equal(predict(run, files), first)
    assert run.network is network
