"""The ResNet50 branch is the published network, fed as it was trained, and the official weights file fits into it."""

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from contract import randomise, to_numpy

from diptych.errors import CheckpointError
from diptych.model import resnet
from diptych.model.network import build_network
from diptych.settings.config import ModelConfig

NOWHERE = "http://127.0.0.1:9/"


@pytest.fixture(scope="module")
def published() -> keras.Model:
    """Keras's own ResNet50 without top, with random weights and statistics."""
    plain = keras.applications.ResNet50(include_top=False, weights=None)
    randomise(plain)
    return plain


@pytest.fixture(scope="module")
def features() -> keras.Model:
    """From the pixels of the whole network at width 1 to what its ResNet50 branch makes of them."""
    network = build_network(ModelConfig(attention="none"))
    return keras.Model(network.input, network.get_layer("join").input[0])


@pytest.fixture(scope="module")
def tiny_branch() -> keras.Model:
    return resnet.resnet50(width=0.0625)


@pytest.fixture
def keras_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Keras cache of its own, and no way to the official address."""
    home = tmp_path / "keras"
    home.mkdir()
    monkeypatch.setenv("KERAS_HOME", str(home))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(resnet, "WEIGHTS_URL", NOWHERE)
    return home


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A web server on this machine: its address and its folder."""
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder)) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}/", folder
        finally:
            http.shutdown()
            thread.join()


def write_official(path: Path, network: keras.Model) -> None:
    """Write weights as the official files are laid out."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in network.layers]
        file.attrs["backend"] = b"tensorflow"
        file.attrs["keras_version"] = b"2.2.4"
        for layer in network.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, layer.weights, strict=True):
                group[name] = to_numpy(weight)


def expected_features(published: keras.Model, images: np.ndarray) -> np.ndarray:
    return to_numpy(published(keras.applications.resnet.preprocess_input(images.astype(np.float32))))


def assert_close(received: object, expected: np.ndarray) -> None:
    assert expected.std() > 0
    np.testing.assert_allclose(to_numpy(received), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_branch__equals_keras_resnet50_with_its_own_preprocessing(published, features, images):
    branch = features.get_layer("resnet50")
    branch.set_weights(published.get_weights())
    assert_close(features(images), expected_features(published, images))


def test_branch__loads_an_official_weights_file(published, features, images, tmp_path):
    branch = features.get_layer("resnet50")
    randomise(branch, seed=5)
    path = tmp_path / "official.h5"
    write_official(path, published)
    resnet.load_resnet50_weights(branch, path)
    assert_close(features(images), expected_features(published, images))


def test_branch__has_the_layers_and_weights_of_keras_resnet50(published, features):
    branch = features.get_layer("resnet50")
    assert [layer.name for layer in branch.layers[1:]] == [layer.name for layer in published.layers[1:]]
    assert [(w.path, tuple(w.shape)) for w in branch.weights] == [(w.path, tuple(w.shape)) for w in published.weights]


def test_branch__at_a_small_width_keeps_the_structure(published, tiny_branch):
    assert [layer.name for layer in tiny_branch.layers[1:]] == [layer.name for layer in published.layers[1:]]
    assert tiny_branch.count_params() < published.count_params() / 100


def test_caffe_pixels__equal_preprocess_input_and_leave_their_input_alone():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 20, 30, 3), dtype=np.uint8)
    unit = pixels.astype(np.float32) / np.float32(255)
    before = unit.copy()
    received = to_numpy(resnet.caffe_pixels(keras.ops.convert_to_tensor(unit)))
    expected = keras.applications.resnet.preprocess_input(pixels.astype(np.float32))
    np.testing.assert_allclose(received, expected, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(unit, before)


def test_load_weights__of_a_text_file(tiny_branch, tmp_path):
    path = tmp_path / "weights.h5"
    path.write_text("not HDF5")
    with pytest.raises(CheckpointError, match=r"weights\.h5.*--width 1"):
        resnet.load_resnet50_weights(tiny_branch, path)


def test_load_weights__of_a_missing_file(tiny_branch, tmp_path):
    with pytest.raises(CheckpointError, match=r"absent\.h5"):
        resnet.load_resnet50_weights(tiny_branch, tmp_path / "absent.h5")


def test_load_weights__of_a_truncated_file(tiny_branch, tmp_path):
    path = tmp_path / "weights.h5"
    write_official(path, tiny_branch)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CheckpointError, match=r"weights\.h5"):
        resnet.load_resnet50_weights(tiny_branch, path)


def test_load_weights__of_another_network(tiny_branch, tmp_path):
    path = tmp_path / "weights.h5"
    write_official(path, keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="conv1_conv")]))
    with pytest.raises(CheckpointError, match=r"weights\.h5"):
        resnet.load_resnet50_weights(tiny_branch, path)


def test_load_weights__of_another_width(tiny_branch, tmp_path):
    path = tmp_path / "weights.h5"
    write_official(path, resnet.resnet50(width=0.03125))
    with pytest.raises(CheckpointError, match=r"weights\.h5"):
        resnet.load_resnet50_weights(tiny_branch, path)


def test_imagenet_weights__are_the_official_file():
    assert resnet.WEIGHTS_URL == "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
    assert resnet.WEIGHTS_FILE == "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
    assert resnet.WEIGHTS_MD5 == "4d473c1dd8becc155b73f8504c6f6626"


def assert_says_what_to_do(error: CheckpointError, home: Path) -> None:
    for part in (resnet.WEIGHTS_FILE, resnet.WEIGHTS_MD5, str(home / "models"), "--weights none", "--weights PATH"):
        assert part in str(error)


def test_imagenet_weights__without_a_network(keras_home):
    with pytest.raises(CheckpointError) as caught:
        resnet.imagenet_weights()
    assert_says_what_to_do(caught.value, keras_home)


def test_imagenet_weights__of_a_wrong_hash_in_the_cache(keras_home):
    cached = keras_home / "models" / resnet.WEIGHTS_FILE
    cached.parent.mkdir()
    cached.write_bytes(b"half a download")
    with pytest.raises(CheckpointError) as caught:
        resnet.imagenet_weights()
    assert_says_what_to_do(caught.value, keras_home)


def test_imagenet_weights__that_are_downloaded_with_a_wrong_hash(keras_home, server, monkeypatch):
    address, folder = server
    (folder / resnet.WEIGHTS_FILE).write_bytes(b"a page that says please log in")
    monkeypatch.setattr(resnet, "WEIGHTS_URL", address)
    with pytest.raises(CheckpointError) as caught:
        resnet.imagenet_weights()
    assert_says_what_to_do(caught.value, keras_home)


def test_imagenet_weights__are_downloaded_once(keras_home, server, monkeypatch):
    address, folder = server
    content = b"the weights"
    (folder / resnet.WEIGHTS_FILE).write_bytes(content)
    monkeypatch.setattr(resnet, "WEIGHTS_URL", address)
    monkeypatch.setattr(resnet, "WEIGHTS_MD5", hashlib.md5(content).hexdigest())
    path = resnet.imagenet_weights()
    assert path == keras_home / "models" / resnet.WEIGHTS_FILE
    assert path.read_bytes() == content
    monkeypatch.setattr(resnet, "WEIGHTS_URL", NOWHERE)
    assert resnet.imagenet_weights() == path
