"""Fitting in this process: what is frozen stays as it is, and the rest learns."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from diptych.config import Config, ModelConfig, TrainingConfig
from diptych.data.images import ImageSpec
from diptych.data.manifest import Manifest
from diptych.data.prepare import PixelStore
from diptych.storage import create_run
from diptych.training.fit import fit, start_network


@pytest.mark.slow
def test_freeze_resnet50__leaves_its_weights_and_statistics_alone(tiny: ModelConfig, tmp_path: Path) -> None:
    settings = TrainingConfig(epochs=1, batch_size=4, freeze_resnet50=True, loss="focal", best_by="loss")
    config = Config(model=tiny, training=settings)
    store = PixelStore(12, ImageSpec(32))
    store.images[:] = np.random.default_rng(0).integers(0, 256, store.images.shape, np.uint8)
    names = [f"{number}.png" for number in range(12)]
    table = pd.DataFrame({"path": names, "image_name": names, "target": [0, 1] * 6, "split": ["train"] * 8 + ["validation"] * 4})
    network, _ = start_network(config, tmp_path)
    before = {variable.path: np.array(variable) for variable in network.variables}
    resnet = {variable.path for variable in network.get_layer("resnet50").variables}
    fit(network, create_run(tmp_path, "frozen"), config, Manifest(tmp_path, table), store)
    changed = {variable.path for variable in network.variables if not np.array_equal(before[variable.path], np.array(variable))}
    assert len(resnet) > 300
    assert not changed & resnet
    assert {"stem_conv/kernel", "stem_bn/moving_mean", "probability/kernel"} <= changed
