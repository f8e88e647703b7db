"""The first branch: ResNet50 (He et al., CVPR 2016, https://arxiv.org/abs/1512.03385), cut after its last block."""

import os
import socket
import tempfile
from contextlib import suppress
from pathlib import Path

import keras
from keras import KerasTensor, ops

from diptych.errors import CheckpointError

NAME = "resnet50"
WEIGHTS_URL = "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
WEIGHTS_FILE = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
WEIGHTS_MD5 = "4d473c1dd8becc155b73f8504c6f6626"
IMAGENET_MEAN_BGR = (103.939, 116.779, 123.68)
DOWNLOAD_TIMEOUT_SECONDS = 20.0


def caffe_pixels(pixels: KerasTensor) -> KerasTensor:
    """Turn RGB in [0, 1] into the input of the official ResNet50 weights.

    Args:
        pixels: float (N, H, W, 3), RGB, [0, 1].

    Returns:
        float (N, H, W, 3), BGR, 0..255 minus the ImageNet mean of each channel.
    """
    red, green, blue = ops.split(pixels * 255.0, 3, axis=-1)
    blue_mean, green_mean, red_mean = IMAGENET_MEAN_BGR
    return ops.concatenate([blue - blue_mean, green - green_mean, red - red_mean], axis=-1)


def resnet50(width: float = 1.0, batch_norm_momentum: float = 0.99, image_size: int | None = None) -> keras.Model:
    """Build the branch from `keras.applications.ResNet50`, layer names and order kept, so that its weights files fit.

    Args:
        width: factor on the number of filters of every layer; 1.0 is the published network.
        batch_norm_momentum: share of the old moving statistics kept at each step, in [0, 1).
        image_size: fixed H and W, in pixels; None for any.

    Returns:
        A model from float (N, H, W, 3) in Caffe form to float (N, H/32, W/32, 2048 * width), with random weights.
    """
    shape = (image_size, image_size, 3)
    published = keras.applications.ResNet50(include_top=False, weights=None, input_shape=shape, name=NAME)

    def rescale(layer: keras.layers.Layer) -> keras.layers.Layer:
        settings = layer.get_config()
        if isinstance(layer, keras.layers.Conv2D):
            settings["filters"] = max(1, round(settings["filters"] * width))
        if isinstance(layer, keras.layers.BatchNormalization):
            settings["momentum"] = batch_norm_momentum
            # Each block begins as its shortcut (Goyal et al. 2017, https://arxiv.org/abs/1706.02677, section 5.1): from
            # random weights, the first epochs learn faster (docs/experiments.md). Loaded weights replace it.
            settings["gamma_initializer"] = "zeros" if layer.name.endswith("_3_bn") else "ones"
        return type(layer).from_config(settings)

    return keras.models.clone_model(published, clone_function=rescale)


def keras_home() -> Path:
    """Return the folder that Keras keeps weights in: KERAS_HOME, .keras in the home folder, or one in that of temporary files."""
    found = os.environ.get("KERAS_HOME")
    with suppress(OSError, RuntimeError):
        home = Path(found) if found else Path.home() / ".keras"
        home.mkdir(parents=True, exist_ok=True)
        if os.access(home, os.W_OK):
            return home
    return Path(tempfile.gettempdir()) / ".keras"


def imagenet_weights() -> Path:
    """Return the path of the official ImageNet weights, downloaded once and checked by their hash.

    Raises:
        CheckpointError: they are not in Keras's cache and cannot be downloaded, or are not the official file.
    """
    home = keras_home()
    address, before = WEIGHTS_URL + WEIGHTS_FILE, socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_SECONDS)
    try:
        return Path(keras.utils.get_file(WEIGHTS_FILE, address, cache_subdir="models", file_hash=WEIGHTS_MD5, cache_dir=home))
    # get_file raises a bare Exception when the address cannot be reached, and ValueError when the hash is wrong.
    except Exception as error:
        raise CheckpointError(
            f"the ImageNet weights are not available ({error}). Without them, expect a clearly lower accuracy unless there "
            f"are very many images. To have them: download {address} on a machine that can, and put it at "
            f"{home / 'models' / WEIGHTS_FILE} (MD5 {WEIGHTS_MD5}), or name it with --weights PATH. Else: --weights RUN begins "
            "with those of an earlier run, --weights auto with ImageNet's where they are available, --recipe scratch is made for "
            "a training without any (--weights none)."
        ) from error
    finally:
        socket.setdefaulttimeout(before)


def load_resnet50_weights(branch: keras.Model, path: Path) -> None:
    """Load a weights file of the official layout (.h5, without top) into the branch.

    Args:
        branch: what `resnet50` built, at width 1.
        path: the file.

    Raises:
        CheckpointError: the file is missing or damaged, or holds the weights of another network.
    """
    try:
        branch.load_weights(path)
    # Keras and h5py raise OSError, ValueError, KeyError or AttributeError, as the damage may be.
    except Exception as error:
        raise CheckpointError(
            f"{path}: not weights that fit this ResNet50 without top ({error}). Expected a file laid out like "
            f"{WEIGHTS_FILE}, and --width 1."
        ) from error
