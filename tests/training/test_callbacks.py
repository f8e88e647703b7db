"""Which epoch is kept as the best, and how time spans are said."""

from pathlib import Path

import keras
import numpy as np
import pytest

from diptych.config import ModelConfig
from diptych.model.network import build_network
from diptych.storage import RunDir
from diptych.training.callbacks import Checkpoints, in_words
from diptych.training.checkpoint import load_checkpoint
from diptych.training.fit import compile_network

# (validation accuracy, validation loss) of four epochs.
EPOCHS = [(0.6, 0.5), (0.8, 0.7), (0.8, 0.6), (0.7, 0.4)]


@pytest.mark.parametrize(("best_by", "best"), [("accuracy", 3), ("loss", 4)])
def test_checkpoints__keep_the_best_and_the_last_epoch(network, tiny: ModelConfig, tmp_path: Path, best_by, best):
    changing = build_network(tiny)
    compile_network(changing, keras.optimizers.Adam())
    callback = Checkpoints(RunDir(tmp_path), best_by, ("cat", "dog"))
    callback.set_model(changing)
    bias = changing.get_layer("probability").bias
    for number, (accuracy, loss) in enumerate(EPOCHS):
        bias.assign([float(number + 1)])
        callback.on_epoch_end(number, {"val_accuracy": accuracy, "val_loss": loss})
    facts = load_checkpoint(RunDir(tmp_path).best, changing)
    assert (facts["epoch"], float(np.array(bias)[0])) == (best, best)
    assert facts["class_names"] == ["cat", "dog"]
    facts = load_checkpoint(RunDir(tmp_path).last, changing)
    assert (facts["epoch"], facts["best_epoch"], float(np.array(bias)[0])) == (4, best, 4)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (99, "99 s"), (100, "2 min"), (5900, "98 min"), (12000, "3 h 20 min")]
)
def test_in_words__says_time_spans(seconds: float, words: str):
    assert in_words(seconds) == words
