"""Checkpoints: whole or refused, and readable without any code of ours; and the weights that a training starts from."""

import dataclasses
import hashlib
import json
import os
import shutil
import signal
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from contract import randomise, to_numpy

from diptych.errors import CheckpointError, ConfigError
from diptych.model import resnet
from diptych.model.checkpoint import assign, load_run_network, read_checkpoint, save_checkpoint, save_keras_model
from diptych.model.network import build_network
from diptych.model.pretrained import start_weights
from diptych.settings.config import Config, ModelConfig
from diptych.settings.sources import to_toml
from diptych.storage.atomic import write_json, write_text
from diptych.storage.run_dir import RunDir, read_classes, write_classes

TWO = ("0", "1")
# The checksum of three float32 zeros.
ZEROS = zlib.crc32(bytes(12))


@pytest.fixture
def blank(other: keras.Model) -> keras.Model:
    """A network of the same structure as `network`, with other weights."""
    randomise(other, seed=9)
    return other


@pytest.fixture
def checkpoint(network: keras.Model, tmp_path: Path) -> Path:
    path = tmp_path / "best.safetensors"
    save_checkpoint(path, network, {"epoch": 7, "val_accuracy": 0.5, "class_names": TWO})
    return path


@pytest.fixture
def run(network: keras.Model, tiny: ModelConfig, tmp_path: Path) -> RunDir:
    """A run with a best checkpoint, in the folder `runs`."""
    run = RunDir(tmp_path / "runs" / "first")
    write_text(run.config, to_toml(dataclasses.replace(Config(), model=tiny)))
    write_json(run.environment, {"format_version": 1, "created": "2026-01-01T00:00:00+00:00"})
    write_classes(run, TWO)
    save_checkpoint(run.best, network, {"epoch": 1, "class_names": TWO})
    return run


@pytest.fixture
def keras_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Keras cache, and no way to the official address."""
    home = tmp_path / "keras"
    (home / "models").mkdir(parents=True)
    monkeypatch.setenv("KERAS_HOME", str(home))
    monkeypatch.setattr(resnet, "WEIGHTS_URL", "http://127.0.0.1:9/")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return home


def probabilities(model: keras.Model, images: np.ndarray) -> np.ndarray:
    return to_numpy(model(images))


def same_weights(one: keras.Model, two: keras.Model) -> bool:
    return all(np.array_equal(to_numpy(a), to_numpy(b)) for a, b in zip(one.variables, two.variables, strict=True))


def write_h5(path: Path, branch: keras.Model) -> None:
    """Write the weights of a branch as the official files are laid out."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in branch.layers]
        for layer in branch.layers:
            group = file.create_group(layer.name)
            group.attrs["weight_names"] = [f"{layer.name}/{weight.name}:0".encode() for weight in layer.weights]
            for weight in layer.weights:
                group[f"{layer.name}/{weight.name}:0"] = to_numpy(weight)


def test_checkpoint__gives_the_same_predictions_and_facts(network, blank, checkpoint, images):
    expected = probabilities(network, images)
    assert not np.array_equal(probabilities(blank, images), expected)
    assign(blank, read_checkpoint(checkpoint))
    facts = read_checkpoint(checkpoint).facts
    np.testing.assert_array_equal(probabilities(blank, images), expected)
    assert same_weights(network, blank)
    assert (facts["epoch"], facts["val_accuracy"]) == (7, 0.5)


def test_checkpoint__is_safetensors_with_json_in_its_header(network, checkpoint):
    content = checkpoint.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert json.loads(header["__metadata__"]["diptych"])["epoch"] == 7
    arrays = safetensors.numpy.load_file(checkpoint)
    assert len(arrays) == len(network.variables)
    assert sum(array.size for array in arrays.values()) == sum(int(np.prod(v.shape)) for v in network.variables)


@pytest.mark.parametrize("place", [0.3, 0.6, 0.999])
def test_checkpoint__one_changed_bit_is_seen(checkpoint, blank, tmp_path, place):
    content = bytearray(checkpoint.read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    content[header + int(place * (len(content) - header))] ^= 1
    changed = tmp_path / "changed.safetensors"
    changed.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"damaged.*1 arrays have changed on the disk"):
        assign(blank, read_checkpoint(changed))


def test_variables__have_names_of_their_own(network):
    paths = [variable.path for variable in network.variables]
    assert len(set(paths)) == len(paths)


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="need root")
def test_load__of_a_file_that_may_not_be_read(blank, checkpoint):
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        moved = Path(shutil.copy(checkpoint, name))
        moved.chmod(0o600)
        os.seteuid(65534)
        try:
            with pytest.raises(CheckpointError, match=r"best\.safetensors cannot be read: permission denied"):
                assign(blank, read_checkpoint(moved))
        finally:
            os.seteuid(0)


def test_load__of_a_missing_file(blank, tmp_path):
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        assign(blank, read_checkpoint(tmp_path / "absent.safetensors"))


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda _: b"", id="empty"),
        pytest.param(lambda _: b"not a checkpoint at all", id="text"),
        pytest.param(lambda content: content[: len(content) // 2], id="truncated"),
        pytest.param(lambda content: content[:100], id="truncated in its header"),
        pytest.param(lambda content: b"\xff" * 8 + content[8:], id="damaged length"),
    ],
)
def test_load__of_a_damaged_file(blank, checkpoint, damage):
    checkpoint.write_bytes(damage(checkpoint.read_bytes()))
    with pytest.raises(CheckpointError, match=r"best\.safetensors is damaged"):
        assign(blank, read_checkpoint(checkpoint))


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param(None, id="none"),
        pytest.param({"format": "pt"}, id="of another program"),
        pytest.param({"diptych": "{"}, id="no JSON"),
        pytest.param({"diptych": "{}"}, id="no version"),
        pytest.param({"diptych": "[1]"}, id="no facts"),
        pytest.param({"diptych": '{"format_version": 999}'}, id="of a later version"),
        pytest.param({"diptych": '{"format_version": 1, "class_names": ["0", "1"]}'}, id="no checksums"),
        pytest.param(
            {"diptych": f'{{"format_version": 1, "crc32": {{"model/0000/a": {zlib.crc32(bytes(12))}}}}}'}, id="no names"
        ),
    ],
)
def test_load__of_a_foreign_file(blank, tmp_path, metadata):
    path = tmp_path / "foreign.safetensors"
    safetensors.numpy.save_file({"model/0000/a": np.zeros(3, np.float32)}, path, metadata)
    with pytest.raises(CheckpointError, match=r"foreign\.safetensors"):
        assign(blank, read_checkpoint(path))


def test_load__of_another_width(checkpoint):
    wider = build_network(ModelConfig(width=0.125, dense_units=16))
    before = [to_numpy(variable) for variable in wider.variables]
    with pytest.raises(CheckpointError, match=r"another network.*width"):
        assign(wider, read_checkpoint(checkpoint))
    assert all(np.array_equal(old, to_numpy(new)) for old, new in zip(before, wider.variables, strict=True))


@pytest.mark.skipif(sys.platform == "win32", reason="need a POSIX system")
def test_save__that_fails_leaves_the_old_file(network, blank, checkpoint):
    import resource

    before = checkpoint.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(OSError, match=r"large|space|size"):
            save_checkpoint(checkpoint, blank, {"epoch": 8})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert checkpoint.read_bytes() == before
    assert [path.name for path in checkpoint.parent.iterdir()] == [checkpoint.name]


def test_start__none_leaves_the_weights_alone(blank, network, tiny, tmp_path):
    before = [to_numpy(variable) for variable in blank.variables]
    weights = start_weights(blank, tiny, tmp_path, TWO)
    assert not weights.pretrained
    assert weights.description.startswith("none")
    assert all(np.array_equal(old, to_numpy(new)) for old, new in zip(before, blank.variables, strict=True))


def test_start__imagenet_offline_is_an_error(blank, keras_home, tmp_path):
    with pytest.raises(CheckpointError, match="lower accuracy") as caught:
        start_weights(blank, ModelConfig(weights="imagenet"), tmp_path, TWO)
    said = str(caught.value)
    for part in (f"http://127.0.0.1:9/{resnet.WEIGHTS_FILE}", f"{keras_home / 'models' / resnet.WEIGHTS_FILE} (MD5 4d47"):
        assert part in said
    assert all(flag in said for flag in ("--weights PATH", "--weights RUN", "--weights auto", "--weights none"))


def test_start__auto_offline_is_none_and_says_so(blank, keras_home, tmp_path, caplog):
    weights = start_weights(blank, ModelConfig(weights="auto"), tmp_path, TWO)
    assert "expect a clearly lower accuracy" in caplog.text
    assert not weights.pretrained
    assert weights.description.startswith("none")
    assert "ImageNet" in weights.description


@pytest.mark.parametrize("wanted", ["imagenet", "auto"])
def test_start__imagenet_from_the_cache(blank, network, keras_home, tmp_path, monkeypatch, wanted):
    cached = keras_home / "models" / resnet.WEIGHTS_FILE
    write_h5(cached, network.get_layer("resnet50"))
    monkeypatch.setattr(resnet, "WEIGHTS_MD5", hashlib.md5(cached.read_bytes()).hexdigest())
    # Width 1 by its settings; the network and the file in the cache are tiny, to be quick.
    weights = start_weights(blank, ModelConfig(weights=wanted), tmp_path, TWO)
    assert weights.pretrained
    assert weights.description.startswith("imagenet")
    assert same_weights(blank.get_layer("resnet50"), network.get_layer("resnet50"))


def test_start__imagenet_of_another_width_is_an_error(blank, tmp_path):
    with pytest.raises(ConfigError, match="width 1"):
        start_weights(blank, ModelConfig(weights="imagenet", width=0.5), tmp_path, TWO)


def test_start__auto_of_another_width_is_none(blank, tmp_path):
    weights = start_weights(blank, ModelConfig(weights="auto", width=0.5), tmp_path, TWO)
    assert not weights.pretrained
    assert "width 1" in weights.description


def test_start__from_an_h5_file(blank, network, tiny, tmp_path):
    path = tmp_path / "official.h5"
    write_h5(path, network.get_layer("resnet50"))
    weights = start_weights(blank, dataclasses.replace(tiny, weights=str(path)), tmp_path, TWO)
    assert weights.pretrained
    assert weights.description == str(path)
    assert same_weights(blank.get_layer("resnet50"), network.get_layer("resnet50"))
    assert not same_weights(blank.get_layer("convnet"), network.get_layer("convnet"))


def test_start__from_an_h5_file_without_the_branch_that_it_is_for(tmp_path):
    convnet = ModelConfig(weights=str(tmp_path / "official.h5"), branches="convnet", width=0.0625, dense_units=16)
    (tmp_path / "official.h5").touch()
    with pytest.raises(ConfigError, match=r"official\.h5 are for the ResNet50 branch, .* --weights none"):
        start_weights(build_network(convnet), convnet, tmp_path, TWO)


def test_start__from_a_run_by_its_path(blank, network, tiny, run, tmp_path):
    weights = start_weights(blank, dataclasses.replace(tiny, weights=str(run.root)), tmp_path / "elsewhere", TWO)
    assert weights.pretrained
    assert same_weights(blank, network)


def test_start__from_a_run_by_its_name(blank, network, tiny, run):
    start_weights(blank, dataclasses.replace(tiny, weights="first"), run.root.parent, TWO)
    assert same_weights(blank, network)


def test_start__from_a_checkpoint(blank, network, tiny, checkpoint, tmp_path):
    start_weights(blank, dataclasses.replace(tiny, weights=str(checkpoint)), tmp_path, TWO)
    assert same_weights(blank, network)


NAMES = ("cat", "dog", "fish")


@pytest.fixture(scope="module")
def of_three(tiny: ModelConfig) -> keras.Model:
    """A network of three classes with random weights, not to be changed."""
    built = build_network(tiny, classes=3)
    randomise(built, seed=3)
    return built


@pytest.fixture
def run_of_three(run: RunDir, of_three: keras.Model) -> RunDir:
    """The run `first`, of the classes cat, dog and fish."""
    write_classes(run, NAMES)
    save_checkpoint(run.best, of_three, {"epoch": 1, "class_names": NAMES})
    return run


def test_classes__are_read_as_written(run):
    names = ("10", "2", 'Zoë\'s ☂, "b"')
    write_classes(run, names)
    assert read_classes(run) == names
    assert json.loads(run.classes.read_text(encoding="utf-8")) == {"format_version": 1, "class_names": list(names)}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("", id="empty"),
        pytest.param('{"format_version": 1, "class_na', id="truncated"),
        pytest.param("[]", id="a list"),
        pytest.param('{"class_names": ["a", "b"]}', id="no version"),
        pytest.param('{"format_version": 2, "class_names": ["a", "b"]}', id="of a later version"),
        pytest.param('{"format_version": 1, "class_names": ["a"]}', id="one class"),
        pytest.param('{"format_version": 1, "class_names": ["a", "a"]}', id="twice the same"),
        pytest.param('{"format_version": 1, "class_names": [0, 1]}', id="numbers"),
        pytest.param('{"format_version": 1, "class_names": "ab"}', id="a text"),
    ],
)
def test_classes__damaged(run, content):
    run.classes.write_text(content, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"classes\.json"):
        load_run_network(run)


def test_classes__missing(run):
    run.classes.unlink()
    with pytest.raises(CheckpointError, match=r"classes\.json is missing\. Bring back"):
        load_run_network(run)


def test_load_run_network__of_three_classes_with_two_names(run_of_three):
    write_classes(run_of_three, TWO)
    with pytest.raises(CheckpointError, match=r"classes\.json names the 2 classes 0, 1"):
        load_run_network(run_of_three)


def test_keras_file__of_three_classes_has_the_same_predictions(run_of_three, of_three, tiny, images):
    size = images.shape[1]
    save_keras_model(run_of_three, tiny, size)
    loaded = keras.models.load_model(run_of_three.best_keras)
    np.testing.assert_allclose(probabilities(loaded, images), probabilities(of_three, images), rtol=1e-6)
    with pytest.raises(ValueError, match=f"{size}, {size}, 3"):
        probabilities(loaded, images[:, :-1])


def test_keras_file__names_nothing_that_keras_before_3_15_does_not_know(run_of_three, tiny):
    """The names are those at which `load_model` of Keras 3.8.0, 3.11.3 and 3.13.2 stops; without them, all three load it."""
    save_keras_model(run_of_three, tiny, 32)
    with zipfile.ZipFile(run_of_three.best_keras) as file:
        config = file.read("config.json").decode()
    for name in ("input_axes", "output_axes", "quantization_config", "renorm"):
        assert f'"{name}' not in config
    operations = [part for part in parts_of(json.loads(config)) if str(part.get("module")).startswith("keras.src.ops")]
    assert {part["class_name"] for part in operations} >= {"Split"}
    assert not any("name" in part["config"] for part in operations)


def parts_of(content):
    if isinstance(content, dict):
        yield content
    for item in content.values() if isinstance(content, dict) else content if isinstance(content, list) else ():
        yield from parts_of(item)


@pytest.mark.parametrize(
    ("names", "place"),
    [
        (("a", "b"), "first"),
        (("fish", "dog", "cat"), "best.safetensors"),
        (("cat", "dog", "fish", "bird"), "first"),
    ],
)
def test_start__with_other_classes_leaves_out_the_last_layer(run_of_three, of_three, tiny, names, place):
    network = build_network(tiny, classes=len(names))
    last = [to_numpy(variable) for variable in network.get_layer("probability").variables]
    settings = dataclasses.replace(tiny, weights="first" if place == "first" else str(run_of_three.best))
    weights = start_weights(network, settings, run_of_three.root.parent, names)
    assert weights.pretrained
    assert "last layer" in weights.description
    assert "3 classes cat, dog, fish" in weights.description
    for layer in (layer.name for layer in network.layers if layer.variables and layer.name not in ("probability", "dropout")):
        assert same_weights(network.get_layer(layer), of_three.get_layer(layer))
    after = [to_numpy(variable) for variable in network.get_layer("probability").variables]
    assert all(np.array_equal(old, new) for old, new in zip(last, after, strict=True))


@pytest.mark.parametrize("place", ["first", "best.safetensors"])
def test_start__with_the_same_classes_takes_everything(run_of_three, of_three, tiny, place):
    network = build_network(tiny, classes=3)
    settings = dataclasses.replace(tiny, weights="first" if place == "first" else str(run_of_three.best))
    weights = start_weights(network, settings, run_of_three.root.parent, NAMES)
    assert "last layer" not in weights.description
    assert same_weights(network, of_three)


def test_start__with_other_classes_and_another_width(run_of_three, tiny):
    wider = build_network(dataclasses.replace(tiny, width=0.125), classes=2)
    settings = dataclasses.replace(tiny, weights="first")
    with pytest.raises(CheckpointError, match=r"another network.*width"):
        start_weights(wider, settings, run_of_three.root.parent, TWO)


def test_start__from_a_run_without_a_checkpoint(blank, tiny, run):
    shutil.rmtree(run.best.parent)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        start_weights(blank, dataclasses.replace(tiny, weights="first"), run.root.parent, TWO)


@pytest.mark.parametrize("name", ["absent.h5", "absent", "absent.safetensors", "Imagenet"])
def test_start__from_what_is_not_there(blank, tiny, tmp_path, name):
    with pytest.raises(CheckpointError, match="no such"):
        start_weights(blank, dataclasses.replace(tiny, weights=name), tmp_path, TWO)
