"""Load Keras on its backend, and wrap what differs between TensorFlow, JAX and PyTorch.

No other file imports TensorFlow, JAX or PyTorch.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

from diptych.errors import ConfigError
from diptych.machine.devices import choose_compute, graphics_cards, loaded_backend
from diptych.machine.host_process import changed_environment
from diptych.machine.memory import ram_limit, ram_peak
from diptych.machine.quiet import quiet_stderr
from diptych.rng import kept_global_generators
from diptych.settings.config import Backend, ComputeConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray


def load_backend(name: Backend = "auto") -> None:
    """Import Keras on a backend; "auto" chooses as `choose_compute` does.

    Raises:
        ConfigError: it is not installed, or Keras is loaded on another one.
    """
    backend = choose_compute(ComputeConfig(backend=name))[0].backend
    if "keras" not in sys.modules:
        told = {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2")}
        with changed_environment(told), quiet_stderr(), kept_global_generators():
            import keras  # noqa: F401


@contextmanager
def keras_without_tensorflow() -> Iterator[None]:
    """Keep Keras on another backend from loading TensorFlow while it writes a model down or clones one.

    Keras 3.15 asks whether a setting is of one of TensorFlow's types, which takes three seconds wherever that is installed.
    """
    if loaded_backend() == "tensorflow" or "tensorflow" in sys.modules:
        yield
        return
    from keras.src.utils import module_utils

    before = module_utils.tensorflow._available
    module_utils.tensorflow._available = False
    try:
        yield
    finally:
        module_utils.tensorflow._available = before


@contextmanager
def kept_random_state() -> Iterator[None]:
    """Put the global generators of Python, NumPy and PyTorch back at the end; the other backends have none to draw from."""
    with kept_global_generators():
        if "torch" not in sys.modules:
            yield
            return
        import torch

        state = torch.get_rng_state()
        try:
            yield
        finally:
            torch.set_rng_state(state)


def make_deterministic() -> None:
    """Turn on the deterministic operations of the loaded backend.

    Call it after `load_backend` and before anything is computed or a device is asked for: JAX reads XLA_FLAGS only once.
    """
    loaded = loaded_backend()
    if loaded == "tensorflow":
        import tensorflow

        tensorflow.config.experimental.enable_op_determinism()
    elif loaded == "jax":
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true".strip()
    elif loaded == "torch":
        import torch

        # cuBLAS wants to be told before its first call (PyTorch's notes on reproducibility).
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False


def list_devices() -> list[str]:
    """List what the loaded backend computes on, such as "gpu:0", "gpu:1": all graphics cards; without one, processors."""
    if loaded_backend() == "torch":
        import torch

        return [f"gpu:{number}" for number in range(torch.cuda.device_count())] or ["cpu:0"]
    if loaded_backend() == "tensorflow":
        import tensorflow

        found = tensorflow.config.list_logical_devices("GPU") or tensorflow.config.list_logical_devices("CPU")
        return [device.name.removeprefix("/device:").lower() for device in found]
    import keras

    return [name.replace("cuda", "gpu") for name in keras.distribution.list_devices()]


def describe_device() -> str:
    """Describe the backend and its device."""
    return f"{loaded_backend()} on {', '.join(list_devices())}"


def device_scope(devices: Literal["one", "all"]) -> AbstractContextManager[None]:
    """Return the context to build, compile and fit in, so that each of the devices has its part of every batch.

    Batch sizes must be multiples of the number of devices, `len(list_devices())`, those of the validation too.

    Raises:
        ConfigError: "all" of several graphics cards with PyTorch.
    """
    names = list_devices()
    if devices == "one" or len(names) == 1:
        return nullcontext()
    if loaded_backend() == "torch":
        raise ConfigError(
            f"devices all: Keras 3.15 trains on one graphics card only with PyTorch, and there are {len(names)}. "
            "Choose --backend jax or tensorflow, or --devices one."
        )
    scope: AbstractContextManager[None]
    if loaded_backend() == "jax":
        import keras

        scope = keras.distribution.DataParallel(devices=keras.distribution.list_devices()).scope()
    else:
        import tensorflow

        scope = tensorflow.distribute.MirroredStrategy(names).scope()
    return scope


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function of arrays and lists of arrays: traced once for each set of shapes; on PyTorch it stays as it is."""
    if loaded_backend() == "tensorflow":
        import tensorflow

        function = tensorflow.function(function)
    elif loaded_backend() == "jax":
        import jax

        function = jax.jit(function)
    return function


def feed(batches: "Iterator[tuple[NDArray[Any], ...]]") -> Any:
    """Return the source of batches for Keras: unchanged, but on TensorFlow a dataset that does not tune itself.

    The thread that tunes a dataset sleeps 10 ms, 20 ms, 40 ms and so on, and a `fit` that ends waits until it wakes (TensorFlow
    2.21): an epoch of 47 s then takes up to 85 s (docs/experiments.md).

    Args:
        batches: tuples of arrays, at least one tuple; all sizes but the first are the same in all of them.
    """
    if loaded_backend() != "tensorflow":
        return batches
    import tensorflow

    first = next(batches)
    shapes = tuple(tensorflow.TensorSpec((None, *part.shape[1:]), part.dtype) for part in first)
    dataset = tensorflow.data.Dataset.from_generator(lambda: chain([first], batches), output_signature=shapes)
    options = tensorflow.data.Options()
    options.autotune.enabled = False
    return dataset.prefetch(2).with_options(options)


def memory_limit() -> int:
    """Return how many bytes there are to train in: of the first graphics card, or of what this process may use."""
    if not list_devices()[0].startswith("gpu"):
        return ram_limit()
    loaded = loaded_backend()
    if loaded == "jax":
        import jax

        # JAX takes three quarters of the card unless it is told otherwise.
        return int(jax.local_devices()[0].memory_stats()["bytes_limit"])
    if loaded == "torch":
        import torch

        return int(torch.cuda.mem_get_info(0)[1])
    cards = graphics_cards()
    return (cards[0].memory if cards else None) or ram_limit()


def peak_memory() -> int:
    """Return the most bytes that were in use at a time so far: on the first graphics card, or of this process."""
    if not list_devices()[0].startswith("gpu"):
        return ram_peak()
    loaded = loaded_backend()
    if loaded == "jax":
        import jax

        return int(jax.local_devices()[0].memory_stats()["peak_bytes_in_use"])
    if loaded == "torch":
        import torch

        return int(torch.cuda.max_memory_allocated(0))
    import tensorflow

    return int(tensorflow.config.experimental.get_memory_info("GPU:0")["peak"])
