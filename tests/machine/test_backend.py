"""The choice of the backend, and what happens around it: its chatter, its memory, its errors."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from making import REPOSITORY, needs, run_python

BACKENDS = ("tensorflow", "jax", "torch")
installed = pytest.mark.parametrize(
    "backend",
    [
        pytest.param(name, marks=pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=needs(name)))
        for name in BACKENDS
    ],
)
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="need Linux")

FAULTS = """
import ctypes, resource
import numpy as np
from diptych.machine.memory import M_TRIM_THRESHOLD, keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(100):
        np.empty(2 * 2**20, np.uint8).fill(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

ctypes.CDLL(None).mallopt(M_TRIM_THRESHOLD, 128 * 1024)  # as TensorFlow does
given_back = faults()
keep_freed_memory()
print(given_back, faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="need Linux")
def test_keep_freed_memory__undoes_a_low_trim_threshold() -> None:
    given_back, kept = map(int, run_python("-c", FAULTS).stdout.split())
    assert kept < 0.1 * given_back


@pytest.mark.parametrize(("code", "shown"), [("pass", False), ("raise ValueError('broken')", True)])
def test_quiet_stderr__shows_what_was_written_only_after_an_error(code: str, shown: bool) -> None:
    lines = ["import os", "from diptych.machine.quiet import quiet_stderr"]
    lines += ["with quiet_stderr():", "    os.write(2, b'chatter')", f"    {code}"]
    done = run_python("-c", "\n".join(lines))
    assert ("chatter" in done.stderr) is shown
    assert (done.returncode != 0) is shown


# One process that loads nothing answers all questions; each comes with its own environment and folders of installed packages.
CHOICE = """
import dataclasses, importlib, json, os, sys
from diptych.machine.devices import choose_compute
from diptych.settings.config import ComputeConfig
from diptych.errors import ConfigError
own = list(sys.path)
for line in sys.stdin:
    question = json.loads(line)
    sys.path[:] = own + question["site"]
    os.environ.clear()
    os.environ.update(question["environment"])
    importlib.invalidate_caches()
    try:
        chosen, lines = choose_compute(ComputeConfig(**question["asked"]))
        answer = [chosen.backend, chosen.precision, "\\n".join(lines)]
    except ConfigError as error:
        answer = ["error", "", str(error)]
    assert not {"keras", "tensorflow", "jax", "torch"} & set(sys.modules)
    print(json.dumps(answer), flush=True)
"""


@cache
def answering() -> subprocess.Popen[str]:
    """The process that answers."""
    found = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    # Without the folders of packages that are installed here (-S).
    return subprocess.Popen([sys.executable, "-S", "-c", CHOICE], env=found, text=True, **pipes)


@pytest.fixture(autouse=True, scope="module")
def _end() -> Iterator[None]:
    yield
    if answering.cache_info().currsize:
        answering().communicate(timeout=60)


def choose(site: Path | None = None, **asked: str) -> tuple[str, str, str]:
    """What a process chooses that has loaded nothing: backend ("error"), precision, and what is said.

    With a folder of installed packages, no other is there.
    """
    folders = [str(site)] if site else [path for path in sys.path if path.endswith("-packages")]
    child = answering()
    assert child.stdin
    assert child.stdout
    child.stdin.write(json.dumps({"site": folders, "environment": dict(os.environ), "asked": asked}) + "\n")
    child.stdin.flush()
    backend, precision, said = json.loads(child.stdout.readline())
    return backend, precision, said


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment of a user who has set nothing, on a machine without a graphics card."""
    for name in ("KERAS_BACKEND", "JAX_PLATFORMS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return monkeypatch


@pytest.fixture
def site(tmp_path: Path, bare: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages, empty at first; `choose` finds no others."""
    folder = tmp_path / "site"
    folder.mkdir()
    return folder


def install(site: Path, *packages: str) -> None:
    """Link packages that are really installed here into another folder of installed packages."""
    for package in packages:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            pytest.skip(needs(package))
        (site / package).symlink_to(Path(spec.origin).parent)


@pytest.fixture
def card(tmp_path: Path, bare: pytest.MonkeyPatch) -> None:
    """A driver that tells of one graphics card, as `nvidia-smi` prints it."""
    put_card(tmp_path, bare, "NVIDIA H100 80GB HBM3, 9.0, 81559")


def put_card(folder: Path, patch: pytest.MonkeyPatch, line: str) -> None:
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\necho '{line}'\n")
    tool.chmod(0o755)
    patch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    patch.delenv("CUDA_VISIBLE_DEVICES")


def install_cuda_plugin(site: Path) -> None:
    """What pip leaves of JAX's plugin for CUDA: the entry point by which JAX finds it."""
    plugin = site / "jax_cuda12_plugin-0.10.2.dist-info"
    plugin.mkdir()
    (plugin / "METADATA").write_text("Metadata-Version: 2.1\nName: jax-cuda12-plugin\nVersion: 0.10.2\n")
    (plugin / "entry_points.txt").write_text("[jax_plugins]\nxla_cuda12 = jax_plugins.xla_cuda12\n")


@pytest.mark.parametrize(
    ("packages", "chosen"),
    [(("tensorflow", "torch"), "tensorflow"), (("torch", "jax", "jaxlib"), "torch"), (("jax", "jaxlib"), "jax")],
)
def test_choose__on_a_processor(site: Path, packages: tuple[str, ...], chosen: str) -> None:
    install(site, *packages)
    backend, precision, said = choose(site)
    assert (backend, precision) == (chosen, "float32")
    assert "no NVIDIA graphics card" in said
    assert "bfloat16 is slower on a processor" in said
    assert ("TensorFlow is not installed" in said) is (chosen != "tensorflow")


@pytest.mark.parametrize("packages", [(), ("jax",)])
def test_choose__of_no_backend(site: Path, packages: tuple[str, ...]) -> None:
    """JAX without jaxlib cannot be imported either, nor can a folder that an uninstalled package has left."""
    install(site, *packages)
    (site / "torch" / "lib").mkdir(parents=True)
    backend, _, said = choose(site)
    assert backend == "error"
    assert "pip install 'diptych[cpu]'" in said


def test_choose__of_a_backend_that_is_not_installed(site: Path) -> None:
    install(site, "tensorflow")
    assert choose(site, backend="jax") == (
        "error",
        "",
        "backend jax is not installed (as asked for). Install it with: pip install 'diptych[jax]'",
    )


@installed
def test_choose__obeys_keras_backend(bare: pytest.MonkeyPatch, backend: str) -> None:
    bare.setenv("KERAS_BACKEND", backend)
    chosen, _, said = choose()
    assert chosen == backend
    assert "KERAS_BACKEND" in said


@installed
def test_choose__obeys_the_setting_before_keras_backend(bare: pytest.MonkeyPatch, backend: str) -> None:
    bare.setenv("KERAS_BACKEND", "numpy")
    assert choose(backend=backend, precision="bfloat16")[:2] == (backend, "bfloat16")


def test_choose__of_a_wrong_keras_backend(bare: pytest.MonkeyPatch) -> None:
    bare.setenv("KERAS_BACKEND", "tensorfow")
    backend, _, said = choose()
    assert backend == "error"
    assert "'tensorfow'; expected one of tensorflow, jax, torch" in said


@linux_only
@pytest.mark.usefixtures("card")
def test_choose__of_a_card_that_jax_is_installed_for(site: Path) -> None:
    install(site, "tensorflow", "jax", "jaxlib")
    install_cuda_plugin(site)
    backend, precision, said = choose(site)
    assert (backend, precision) == ("jax", "bfloat16")
    assert said.count("NVIDIA H100 80GB HBM3") == 2


@linux_only
@pytest.mark.usefixtures("card")
def test_choose__of_a_card_that_nothing_is_installed_for(site: Path) -> None:
    install(site, "tensorflow", "jax", "jaxlib")
    backend, precision, said = choose(site)
    assert (backend, precision) == ("tensorflow", "float32")
    assert "NVIDIA H100 80GB HBM3 is not used" in said
    assert "pip install 'diptych[jax-gpu]'" in said


@linux_only
@pytest.mark.usefixtures("card")
@pytest.mark.parametrize(("variable", "value"), [("CUDA_VISIBLE_DEVICES", "-1"), ("JAX_PLATFORMS", "cpu")])
def test_choose__of_a_card_that_is_hidden(site: Path, bare: pytest.MonkeyPatch, variable: str, value: str) -> None:
    install(site, "jax", "jaxlib")
    install_cuda_plugin(site)
    bare.setenv(variable, value)
    assert choose(site)[:2] == ("jax", "float32")


@linux_only
def test_choose__of_a_card_without_bfloat16(site: Path, tmp_path: Path, bare: pytest.MonkeyPatch) -> None:
    put_card(tmp_path, bare, "Tesla T4, 7.5, 15360")
    install(site, "jax", "jaxlib")
    install_cuda_plugin(site)
    backend, precision, said = choose(site)
    assert (backend, precision) == ("jax", "float32")
    assert "Tesla T4 does not compute bfloat16" in said


LOADED = """
import json, os, resource, sys
from diptych.machine import backend
from diptych.settings.config import ComputeConfig
from diptych.errors import ConfigError
from diptych.machine.memory import is_out_of_memory, kibibytes

def attempt(do):
    try:
        do()
        return None
    except Exception as error:
        return [type(error).__name__, str(error)[:300], is_out_of_memory(error)]

found = {}
name, other = sys.argv[1:]
backend.load_backend(name)
backend.load_backend()
import keras, numpy
found["keras"] = keras.backend.backend()
found["other"] = attempt(lambda: backend.load_backend(other))
backend.make_deterministic()
found["flags"] = os.environ.get("XLA_FLAGS")
found["device"] = backend.describe_device()
with backend.device_scope("all"):
    found["sum"] = float(keras.ops.sum(keras.ops.arange(4.0)))
if name == "torch":
    import torch
    found["deterministic"] = torch.are_deterministic_algorithms_enabled()
if name == "tensorflow":
    from tensorflow.python.framework import config
    found["deterministic"] = config.is_op_determinism_enabled()
parts = [numpy.full((rows, 2), number, numpy.float32) for number, rows in enumerate((3, 3, 2))]
network = keras.Sequential([keras.Input((2,)), keras.layers.Rescaling(2.0)])
fed = backend.feed((part,) for part in parts)
found["tuned"] = name == "tensorflow" and fed.options().autotune.enabled
found["fed"] = network.predict(fed, steps=3, verbose=0)[:, 0].tolist()
before = backend.peak_memory()
held = numpy.ones(200 * 2**20, numpy.uint8)
found["grown"] = backend.peak_memory() - before
found["machine"] = kibibytes("/proc/meminfo")["MemTotal"]
found["free"] = backend.memory_limit()
room = 500 * 2**20
taken = kibibytes("/proc/self/status")
resource.setrlimit(resource.RLIMIT_AS, (taken["VmSize"] + room, -1))
found["limited"] = backend.memory_limit() - taken["VmRSS"]
found["numpy"] = attempt(lambda: numpy.ones(2**33, numpy.uint8))
found["large"] = attempt(lambda: keras.ops.convert_to_numpy(keras.ops.sum(keras.ops.ones((2**15, 2**16)) * 2)))
found["wrong"] = attempt(lambda: keras.ops.matmul(keras.ops.ones((2, 3)), keras.ops.ones((4, 5))))
print(json.dumps(found))
"""


@cache
def loaded(backend: str) -> dict[str, Any]:
    """What a fresh process finds that loads a backend, and that then has 500 MiB of address space left."""
    other = "jax" if backend == "tensorflow" else "tensorflow"
    done = run_python("-c", LOADED, backend, other, timeout=600)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return {**found, "stderr": done.stderr}


@linux_only
@installed
@pytest.mark.slow
def test_load_backend__loads_what_it_is_told(backend: str) -> None:
    found = loaded(backend)
    assert found["keras"] == backend
    assert found["device"] == f"{backend} on cpu:0"
    assert found["sum"] == 6.0


@linux_only
@installed
@pytest.mark.slow
def test_load_backend__of_another_than_is_loaded(backend: str) -> None:
    kind, said, _ = loaded(backend)["other"]
    assert kind == "ConfigError"
    assert "not installed" in said or f"has loaded Keras on {backend}" in said


@linux_only
@installed
@pytest.mark.slow
def test_make_deterministic__turns_on_what_the_backend_has(backend: str) -> None:
    found = loaded(backend)
    if backend == "jax":
        assert "--xla_gpu_deterministic_ops=true" in found["flags"]
    else:
        assert found["deterministic"]


@linux_only
@installed
@pytest.mark.slow
def test_feed__gives_all_batches_and_starts_no_tuning(backend: str) -> None:
    found = loaded(backend)
    assert found["fed"] == [0.0] * 3 + [2.0] * 3 + [4.0] * 2
    assert found["tuned"] is False


@linux_only
@installed
@pytest.mark.slow
def test_memory_limit__obeys_the_machine_and_the_limit_of_the_process(backend: str) -> None:
    found = loaded(backend)
    assert 2**28 < found["free"] <= found["machine"]
    assert 400 * 2**20 <= found["limited"] <= 520 * 2**20


@linux_only
@installed
@pytest.mark.slow
def test_peak_memory__grows_by_what_is_held(backend: str) -> None:
    assert 150 * 2**20 < loaded(backend)["grown"] < 300 * 2**20


@linux_only
@installed
@pytest.mark.slow
def test_is_out_of_memory__tells_real_errors_apart(backend: str) -> None:
    found = loaded(backend)
    assert found["numpy"][2]
    assert found["large"][2], found["large"]
    assert found["wrong"] is not None
    assert not found["wrong"][2]


def test_is_out_of_memory__sees_the_cause() -> None:
    from diptych.machine.memory import is_out_of_memory

    wrapped = RuntimeError("the training failed")
    wrapped.__cause__ = MemoryError()
    assert is_out_of_memory(wrapped)
    assert not is_out_of_memory(RuntimeError("the training failed"))
