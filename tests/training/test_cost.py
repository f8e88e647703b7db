"""What a training costs: memory worked out from the layers, and time from a few steps."""

import math
from pathlib import Path

import keras
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.errors import ConfigError
from diptych.model.checkpoint import save_checkpoint
from diptych.model.network import build_network
from diptych.settings.config import ModelConfig, TrainingConfig
from diptych.storage.run_dir import RunDir
from diptych.training.cost import (
    batch_that_fits,
    describe_memory,
    describe_time,
    disk_needed,
    layer_outputs,
    memory_needed,
    moments_of,
    refuse_full_disk,
    round_time,
)
from diptych.training.snapshots import save_snapshot
from diptych.training.state import TrainState
from diptych.training.steps.optimizers import build_optimizer, compile_network
from diptych.training.steps.stages import Stage

SIZE = 96
GB = 10**9


@pytest.fixture(scope="module")
def light() -> keras.Model:
    return build_network(ModelConfig(weights="none", branches="convnet", width=0.125, dense_units=16))


def outputs(network: keras.Model) -> int:
    """Bytes of all layers' outputs for one image, float32, of a network for images of one size."""
    inner = sum(outputs(layer) for layer in network.layers if isinstance(layer, keras.Model))
    own = [layer for layer in network.layers if not isinstance(layer, keras.layers.InputLayer | keras.Model)]
    return inner + sum(4 * math.prod(layer.output.shape[1:]) for layer in own)


# Before the first weights: zero_to_one, conv1_pad, and the steps of caffe_pixels, of which those of one channel are four.
PIXELS, PADDED = 4 * 3 * SIZE**2, 4 * 3 * (SIZE + 6) ** 2
CAFFE = 4 * (3 + 4 + 3) * SIZE**2


def test_layer_outputs__are_those_of_a_network_for_one_size(network: keras.Model, tiny: ModelConfig) -> None:
    kept, passed = layer_outputs(network, SIZE)
    assert kept + passed - CAFFE == outputs(build_network(tiny, image_size=SIZE))
    assert passed - CAFFE == PIXELS + PADDED


def test_layer_outputs__grow_with_the_pixels(light: keras.Model) -> None:
    assert layer_outputs(light, 4 * SIZE)[0] == pytest.approx(16 * layer_outputs(light, SIZE)[0], rel=0.01)


def test_layer_outputs__are_not_kept_below_what_is_frozen(tiny: ModelConfig) -> None:
    network = build_network(tiny)
    kept, passed = layer_outputs(network, SIZE)
    network.get_layer("resnet50").trainable = False
    kept_now, passed_now = layer_outputs(network, SIZE)
    resnet = outputs(build_network(tiny, image_size=SIZE).get_layer("resnet50"))
    assert passed_now - passed == pytest.approx(resnet - PADDED, rel=1e-3)
    assert kept_now + passed_now == kept + passed


def test_disk_needed__is_that_of_the_files(tiny: ModelConfig, tmp_path: Path) -> None:
    """Of the three snapshots one is being written: best, last, previous and what is coming."""
    network, settings = build_network(tiny), TrainingConfig(ema=0.9)
    compile_network(network, build_optimizer(settings, network, 10))
    run = RunDir(tmp_path)
    save_checkpoint(run.best, network, {"class_names": ["0", "1"]})
    for _ in range(2):
        save_snapshot(run, network, TrainState(), ("0", "1"))
    files = [run.best, run.last, run.previous, run.last]
    assert sum(file.stat().st_size for file in files) == pytest.approx(disk_needed(network, moments_of(settings)), rel=0.15)


def test_refuse_full_disk__names_what_is_needed_and_what_there_is(tmp_path: Path) -> None:
    assert "disk: checkpoints take up to 1 MB; " in refuse_full_disk(tmp_path / "runs" / "new", 1000)
    with pytest.raises(ConfigError, match=r"take up to 1,000,000,000,000 MB, but .* has [\d,]+\. .*--runs"):
        refuse_full_disk(tmp_path / "runs", 10**18)
    assert not list(tmp_path.iterdir())


def test_layer_outputs__are_smaller_in_bfloat16(tiny: ModelConfig, network: keras.Model) -> None:
    half = build_network(tiny, precision="bfloat16")
    assert 0.5 <= layer_outputs(half, SIZE)[0] / layer_outputs(network, SIZE)[0] < 0.95


@pytest.mark.parametrize("moments", [2, 3])
def test_memory_needed__without_images_is_weights_gradients_and_moments(light: keras.Model, moments: int) -> None:
    trained = sum(variable.numpy().size for variable in light.trainable_variables)
    frozen = sum(variable.numpy().size for variable in light.non_trainable_variables)
    assert memory_needed(light, SIZE, 0, moments=moments) == 4 * ((2 + moments) * trained + frozen)


@given(limit=st.integers(0, 2 * GB), batch_size=st.integers(1, 5000))
@settings(max_examples=30)
def test_batch_that_fits__fills_three_fifths_or_is_half(light: keras.Model, limit: int, batch_size: int) -> None:
    found = batch_that_fits(light, SIZE, batch_size, limit)
    without = memory_needed(light, SIZE, 0)
    assert 0 <= found <= batch_size // 2
    assert found == 0 or memory_needed(light, SIZE, found) - without <= 0.6 * (limit - without)
    assert found == batch_size // 2 or memory_needed(light, SIZE, found + 2) - without > 0.6 * (limit - without)


def test_batch_that_fits__is_none_without_memory(light: keras.Model) -> None:
    assert batch_that_fits(light, SIZE, 32, 1000) == 0


def test_describe_time__of_one_stage() -> None:
    said = describe_time(1.5, 224, [Stage(70, 224, False, 0)], 190, 30)
    assert said == "one epoch takes about 5 min, 70 epochs about 5 h 50 min"
    assert describe_memory(int(5.2 * GB), int(23.4 * GB)) == "memory about 5.2 of 23.4 GB"


def test_describe_time__of_growing_images() -> None:
    """100 steps of 0.5 s at 128 px; at 256 px four times that."""
    stages = [Stage(2, 64, True, 0), Stage(2, 128, False, 1), Stage(1, 256, False, 1)]
    said = describe_time(0.5, 128, stages, 100, 0)
    assert said == "one epoch takes about 12 s to 3 min, 5 epochs about 5 min"


def test_describe_time__of_one_short_epoch() -> None:
    assert describe_time(0.01, 64, [Stage(1, 64, False, 0)], 10, 3) == "one epoch takes about 1 s"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        *((0, "0 s"), (99, "99 s"), (101, "2 min"), (5900, "98 min"), (7200, "2 h"), (12000, "3 h 20 min")),
        *((22200, "6 h 10 min"), (86400, "24 h")),
    ],
)
def test_round_time__is_as_rough_as_it_is_known(seconds: float, said: str) -> None:
    assert round_time(seconds) == said
