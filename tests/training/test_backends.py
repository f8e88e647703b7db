"""Three backends, one code: a checkpoint of one loads on the others; and a training takes all devices of the machine."""

import importlib.util
import itertools
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from making import REPOSITORY, skip_unless_installed
from running import environment, make_colours, read_history
from warm import Warm

from diptych.storage.run_dir import RunDir

pytestmark = pytest.mark.slow

BACKENDS = ("tensorflow", "jax", "torch")
INSTALLED = tuple(name for name in BACKENDS if importlib.util.find_spec(name) is not None)
TIMEOUT = 900

# Written on each backend: a network of its own random weights, and what it makes of some images. Then each backend waits for
# the others' and loads them.
EXCHANGE = """
import sys, time
from pathlib import Path
from diptych.machine.backend import load_backend
name, folder, others = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
load_backend(name)
import numpy as np
from contract import randomise, to_numpy
from diptych.settings.config import ModelConfig
from diptych.model.network import build_network
from diptych.model.checkpoint import assign, read_checkpoint, save_checkpoint
images = np.random.default_rng(1).integers(0, 256, (6, 64, 64, 3), dtype=np.uint8)
network = build_network(ModelConfig(weights="none", width=0.0625, dense_units=16, batch_norm_momentum=0.0), classes=3)
randomise(network, seed=sum(map(ord, name)))
# Of such weights the classes would be all but certain, and certain answers are alike everywhere.
kernel = network.get_layer("probability").kernel
kernel.assign(0.03 * to_numpy(kernel))
network(images, training=True)
np.save(folder / f"{name}.npy", to_numpy(network(images)))
save_checkpoint(folder / f"{name}.safetensors", network, {"epoch": 1, "class_names": ["a", "b", "c"]})
for other in others:
    path = folder / f"{other}.safetensors"
    while not path.is_file():
        time.sleep(0.1)
    assign(network, read_checkpoint(path))
    np.save(folder / f"{other}-on-{name}.npy", to_numpy(network(images)))
"""


def start_python(code: str, backend: str, *arguments: object, **changes: str) -> Warm:
    """Start `python -c CODE BACKEND ARGUMENTS` in a process that has imported the backend and finds the tests' builders."""
    found = environment(PYTHONPATH=f"{REPOSITORY / 'src'}:{REPOSITORY / 'tests'}", KERAS_BACKEND=backend, **changes)
    return Warm(backend, *arguments, folder=Path.cwd(), environment=found, code=code)


def finish(child: Warm) -> str:
    """Wait for a process that must end well; return what it wrote."""
    try:
        output, errors = child.communicate(timeout=TIMEOUT)
    finally:
        child.kill()
    assert child.returncode == 0, output + errors
    return output


@cache
def exchanged_once(base: Path) -> Path:
    """A folder with the predictions of each installed backend's network on each of them."""
    folder = base / "exchanged"
    folder.mkdir()
    children = [start_python(EXCHANGE, name, folder, *(other for other in INSTALLED if other != name)) for name in INSTALLED]
    try:
        for child in children:
            finish(child)
    finally:
        for child in children:
            child.kill()
    return folder


# A checkpoint of its own is tested in tests/training/test_checkpoint.py.
@pytest.mark.parametrize(("writer", "reader"), list(itertools.permutations(BACKENDS, 2)))
def test_checkpoint__of_one_backend_predicts_the_same_on_another(writer: str, reader: str, tmp_path_factory) -> None:
    for name in (writer, reader):
        skip_unless_installed(name)
    folder = exchanged_once(tmp_path_factory.getbasetemp())
    expected, received = np.load(folder / f"{writer}.npy"), np.load(folder / f"{writer}-on-{reader}.npy")
    assert np.ptp(expected, axis=0).min() > 0.01
    np.testing.assert_allclose(received, expected, rtol=0, atol=1e-5)


# One branch, to be quick; no dropout, for TensorFlow draws it in each device anew.
SETTINGS = (
    *("--weights", "none", "--branches", "convnet", "--width", "0.125", "--dense-units", "16", "--dropout", "0"),
    *("--image-size", "32", "--batch-size", "8", "--learning-rate", "3e-3", "--batch-norm-momentum", "0.9"),
    *("--optimizer", "adamw", "--ema", "0.5", "--epochs", "12", "--name", "run"),
)
TRAIN = """
import json, sys
backend, count, *arguments = sys.argv[1:]
if backend == "tensorflow" and int(count) > 1:
    import tensorflow
    processor = tensorflow.config.list_physical_devices("CPU")[0]
    parts = [tensorflow.config.LogicalDeviceConfiguration() for _ in range(int(count))]
    tensorflow.config.set_logical_device_configuration(processor, parts)
from diptych.cli import main
sys.exit(main(["train", "--backend", backend, *arguments]))
"""


@cache
def trained_on(base: Path, backend: str, count: int) -> tuple[RunDir, str]:
    """A whole training on so many virtual devices of the processor, and what it said."""
    skip_unless_installed(backend)
    folder = base / f"devices-{backend}-{count}"
    data = make_colours(folder / "images")
    devices = "all" if count > 1 else "one"
    flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={count}"} if backend == "jax" else {}
    arguments = ("--data", data, "--runs", folder / "runs", "--devices", devices, *SETTINGS)
    said = finish(start_python(TRAIN, backend, count, *arguments, **flags))
    return RunDir(folder / "runs" / "run"), said


several = pytest.mark.parametrize("backend", ["tensorflow", "jax"])


@several
def test_devices_all__trains_on_each_of_them_and_learns(backend: str, tmp_path_factory) -> None:
    run, said = trained_on(tmp_path_factory.getbasetemp(), backend, 2)
    assert f"{backend} on cpu:0, cpu:1" in json.loads(run.environment.read_text())["device"]
    history = read_history(run)
    assert len(history) == 12
    assert history["loss"].min() < 0.9 * history["loss"][0], said


def test_devices_all__of_jax_trains_its_first_epoch_as_one_device(tmp_path_factory) -> None:
    """JAX normalises the whole batch together, as one device does; on TensorFlow each device normalises its own part.

    Later epochs drift apart: Adam moves a weight whose gradient is all but zero by the whole rate, up or down.
    """
    base = tmp_path_factory.getbasetemp()
    one, two = (read_history(trained_on(base, "jax", count)[0]).iloc[0] for count in (1, 2))
    assert two["loss"] == pytest.approx(one["loss"], abs=1e-4)
    assert two["val_loss"] == pytest.approx(one["val_loss"], abs=0.01)


LOAD = """
import sys
from pathlib import Path
from diptych.machine.backend import load_backend
load_backend(sys.argv[1])
import numpy as np
import pandas as pd
from contract import to_numpy
from PIL import Image
from diptych.storage.run_dir import RunDir
from diptych.model.checkpoint import load_run_network
run = RunDir(Path(sys.argv[2]))
network, config, _ = load_run_network(run)
table = pd.read_csv(run.split)
table = table[table["split"] == "validation"]
images = np.stack([np.asarray(Image.open(config.data.data / path)) for path in table["path"]])
ones, targets = to_numpy(network(images))[:, 0], table["target"].to_numpy()
print(-np.mean(np.log(np.where(targets == 1, ones, 1 - ones))))
"""


@several
def test_devices_all__writes_a_checkpoint_that_loads_on_one_device(backend: str, tmp_path_factory) -> None:
    """Its validation loss there is the one that several devices have found for the kept epoch."""
    run, _ = trained_on(tmp_path_factory.getbasetemp(), backend, 2)
    history = read_history(run)
    highest = history[history["val_accuracy"] == history["val_accuracy"].max()]
    loss = float(finish(start_python(LOAD, backend, run.root)))
    assert loss == pytest.approx(highest["val_loss"].min(), rel=1e-3, abs=1e-5)
