"""The learning-rate range test: its rules on curves whose answer is known, and a whole test of a tiny network."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import make_data
from numpy.typing import NDArray
from PIL import Image

from diptych.commands.tuning import FindLr
from diptych.errors import ConfigError
from diptych.evaluation.plots import plot_range_test
from diptych.model.network import build_network
from diptych.settings.config import Config, DataConfig, ModelConfig, TrainingConfig
from diptych.settings.sources import whole_layer
from diptych.training.steps.optimizers import build_optimizer, parts_of
from diptych.tuning.find_lr import rate_setter
from diptych.tuning.lr_range import RangeTest, RateRange, range_test, steepest, tenth_of_minimum, valley

RATES = np.geomspace(1e-7, 1, 100)


def fastai_valley(rates: list[float], losses: list[float]) -> float:
    """`valley` of fastai 2.8, fastai/callback/schedule.py (Apache License 2.0), but for its tensors."""
    n = len(losses)
    max_start, max_end = 0, 0
    lds = [1] * n
    for i in range(1, n):
        for j in range(i):
            if (losses[i] < losses[j]) and (lds[i] < lds[j] + 1):
                lds[i] = lds[j] + 1
            if lds[max_end] < lds[i]:
                max_end = i
                max_start = max_end - lds[max_end]
    sections = (max_end - max_start) / 3
    idx = max_start + int(sections) + int(sections / 2)
    return rates[idx]


def replay(losses: NDArray[np.float64]) -> Callable[[float], float]:
    values = iter(losses.tolist())
    return lambda _: next(values)


@given(st.lists(st.floats(0.01, 10), min_size=5, max_size=60))
def test_valley__is_that_of_fastai(losses: list[float]) -> None:
    rates = np.geomspace(1e-7, 1, len(losses))
    assert valley(rates, np.array(losses)) == pytest.approx(fastai_valley(rates.tolist(), losses))


def test_steepest__is_the_middle_of_a_logistic_fall() -> None:
    losses = 1 / (1 + np.exp(3 * np.log10(RATES / 1e-3)))
    assert steepest(RATES, losses) == pytest.approx(1e-3, rel=0.2)


def test_tenth_of_minimum__is_a_tenth_of_the_lowest_point() -> None:
    losses = np.log10(RATES / 3e-2) ** 2
    assert tenth_of_minimum(RATES, losses) == pytest.approx(3e-3, rel=0.1)


def test_range_test__smooths_with_bias_correction() -> None:
    losses = np.random.default_rng(0).uniform(0.5, 1.0, 100)
    found = range_test(RATES, replay(losses)).table
    # pandas weighs the losses by powers of 0.9 and divides by the sum of the weights, which is the same thing.
    expected = pd.Series(losses).ewm(alpha=0.1, adjust=True).mean()
    np.testing.assert_allclose(found["smoothed_loss"], expected, rtol=1e-12)
    np.testing.assert_array_equal(found["loss"], losses)
    np.testing.assert_array_equal(found["learning_rate"], RATES)


def test_range_test__stops_where_the_loss_is_four_times_its_lowest() -> None:
    losses = np.concatenate([np.linspace(1, 0.2, 60), np.full(40, 5.0)])
    found = range_test(RATES, replay(losses))
    smoothed = found.table["smoothed_loss"]
    assert 60 < len(found.table) < 70
    assert smoothed.iloc[-1] > 4 * smoothed.min() >= smoothed.iloc[-2]
    assert "4 times" in found.ended
    assert 1e-7 < found.suggestion < RATES[60]


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_range_test__stops_where_the_loss_is_not_finite(loss: float) -> None:
    found = range_test(RATES, replay(np.array([*np.linspace(1, 0.5, 50), loss])))
    assert len(found.table) == 50
    assert np.isfinite(found.table.to_numpy()).all()
    assert f"the loss was {loss} at the rate {RATES[50]:.2g}" in found.ended


@pytest.mark.parametrize("losses", [np.full(100, 0.7), np.linspace(0.7, 2.0, 100), np.array([0.7, 0.6, math.nan])])
def test_range_test__suggests_nothing_where_the_loss_does_not_fall(losses: NDArray[np.float64]) -> None:
    found = range_test(RATES, replay(losses))
    assert found.suggestion is None
    assert "fell at no rate" in found.verdict


@pytest.mark.parametrize("wrong", [{"lowest": 0.0}, {"highest": 1e-8}, {"highest": 10.0}, {"steps": 19}])
def test_rate_range__a_range_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="--lowest"):
        RateRange(**wrong)


def test_rate_setter__each_depth_keeps_its_part_of_the_rate() -> None:
    settings = TrainingConfig(
        learning_rate=1e-7, min_learning_rate=0.0, schedule="constant", depth_factor=0.5, pretrained_factor=0.1
    )
    network = build_network(ModelConfig(weights="none", branches="resnet50", width=0.0625, dense_units=4))
    optimizer = build_optimizer(settings, network, 10, pretrained=True)
    rate_setter(optimizer, 1e-7)(0.01)
    rates = [float(keras.ops.convert_to_numpy(part.learning_rate)) for part in parts_of(optimizer)]
    assert sorted(rates, reverse=True) == pytest.approx([0.001 * 0.5**depth for depth in range(6)])


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Config:
    data = make_data(tmp_path_factory.mktemp("find_lr") / "data", 20)
    return Config(
        data=DataConfig(data=data, image_size=32, near_twins=False),
        model=ModelConfig(weights="none", branches="convnet", width=0.125, dense_units=16),
        training=TrainingConfig(batch_size=8, label_smoothing=0.1, accumulate=2, optimizer="adamw", schedule="one-cycle"),
    )


@pytest.fixture(scope="module")
def command(settings: Config, tmp_path_factory: pytest.TempPathFactory) -> FindLr:
    root = tmp_path_factory.mktemp("found")
    command = FindLr(settings=whole_layer(settings).tables, runs=root / "runs", output=root / "find-lr", highest=9.0, steps=60)
    assert command.run() == 0
    return command


@pytest.mark.slow
def test_find_lr__writes_what_is_needed_to_repeat_it(command: FindLr, settings: Config) -> None:
    content = json.loads((command.output / "find_lr.json").read_text())
    assert content["settings"]["data"]["data"] == str(settings.data.data)
    assert content["settings"]["training"]["label_smoothing"] == 0.1
    assert content["range"] == {"lowest": 1e-7, "highest": 9.0, "steps": 60}
    assert 1e-7 < content["suggested_learning_rate"] < 9.0
    assert set(content["suggestions"]) == {"valley", "steepest", "tenth_of_minimum"}


@pytest.mark.slow
def test_find_lr__table_holds_a_growing_rate_and_a_loss_that_falls(command: FindLr) -> None:
    table = pd.read_csv(command.output / "find_lr.csv")
    np.testing.assert_allclose(table["learning_rate"], np.geomspace(1e-7, 9.0, 60)[: len(table)])
    assert table["smoothed_loss"].min() < 0.9 * table["smoothed_loss"][5]


@pytest.mark.slow
def test_find_lr__draws_a_plot_and_touches_no_runs(command: FindLr) -> None:
    with Image.open(command.output / "find_lr.png") as image:
        assert min(image.size) > 500
    assert not command.runs.exists()
    assert sorted(path.name for path in command.output.iterdir()) == ["find_lr.csv", "find_lr.json", "find_lr.png"]


def test_verdict__is_the_flag_to_set_with_the_lower_of_two_rules() -> None:
    found = RangeTest(pd.DataFrame(), {"valley": 0.00214, "steepest": 1e-5, "tenth_of_minimum": 1.0}, "")
    assert found.verdict == "Suggested: --learning-rate 0.0021"


def test_plot_range_test__is_drawn_without_a_suggestion_too(tmp_path: Path) -> None:
    table = range_test(RATES, replay(np.full(100, 0.7))).table
    plot_range_test(tmp_path / "find_lr.png", table, None)
    with Image.open(tmp_path / "find_lr.png") as image:
        assert min(image.size) > 500
