"""Graphics cards and backends of this machine, and which fit best. No backend is loaded to find out."""

import ctypes
import ctypes.util
import dataclasses
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Literal

from diptych.errors import ConfigError
from diptych.settings.config import Backend, ComputeConfig

BACKENDS: tuple[Backend, ...] = ("tensorflow", "jax", "torch")
# Training ResNet50 at 224 px on two cores, in images/s: TensorFlow 6.8, PyTorch 4.0, JAX 2.0 (docs/experiments.md).
ORDER_ON_PROCESSOR: tuple[Backend, ...] = ("tensorflow", "torch", "jax")
ORDER_ON_CARD: tuple[Backend, ...] = ("jax", "tensorflow", "torch")
EXTRAS: dict[Backend, str] = {"tensorflow": "diptych[cpu]", "jax": "diptych[jax]", "torch": "diptych[torch]"}
EXTRAS_FOR_CARD: dict[Backend, str] = {"tensorflow": "diptych[gpu]", "jax": "diptych[jax-gpu]", "torch": "diptych[torch]"}
BFLOAT16_CAPABILITY = 8.0


@dataclass(frozen=True)
class GraphicsCard:
    """An NVIDIA card.

    Attributes:
        name: as its maker calls it.
        capability: CUDA's compute capability; None where the driver does not tell. From 8.0 (2020) on, bfloat16 is computed
            in hardware.
        memory: bytes; None where the driver does not tell.
    """

    name: str
    capability: float | None
    memory: int | None


def graphics_cards() -> list[GraphicsCard]:
    """List the NVIDIA cards that this process may use (CUDA_VISIBLE_DEVICES obeyed as far as it names none or numbers)."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and (not visible.strip() or visible.strip().startswith("-1")):
        return []
    cards = cards_of_driver()
    numbers = [int(part) for part in (visible or "").split(",") if part.strip().isdigit()]
    return [cards[number] for number in numbers if number < len(cards)] if numbers else cards


def cards_of_driver() -> list[GraphicsCard]:
    found = shutil.which("nvidia-smi")
    if found:
        command = [found, "--query-gpu=name,compute_cap,memory.total", "--format=csv,noheader,nounits"]
        try:
            said = subprocess.run(command, capture_output=True, encoding="utf-8", check=True, timeout=30).stdout
        except (OSError, subprocess.SubprocessError):
            return []
        return [card_of_line(line) for line in said.splitlines() if line.count(",") >= 2]
    # A container without NVIDIA's tools has the driver's own files all the same.
    listed = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    names = [re.search(r"Model:\s*(.+)", file.read_text(encoding="utf-8")) for file in listed]
    return [GraphicsCard(name[1] if name else "NVIDIA", None, None) for name in names]


def card_of_line(line: str) -> GraphicsCard:
    """Read "NVIDIA H100, 9.0, 81559"; a figure that the driver does not have is in words."""
    name, capability, mebibytes = (part.strip() for part in line.rsplit(",", 2))
    known = re.fullmatch(r"\d+(\.\d+)?", capability), re.fullmatch(r"\d+", mebibytes)
    return GraphicsCard(name, float(capability) if known[0] else None, int(mebibytes) * 2**20 if known[1] else None)


def is_installed(backend: str) -> bool:
    """Tell whether "tensorflow", "jax" or "torch" can be imported."""
    if backend in sys.modules:
        return True
    found = [util.find_spec(package) for package in ((backend, "jaxlib") if backend == "jax" else (backend,))]
    # A folder that an uninstalled package has left behind is found too, but has no code.
    return all(spec is not None and spec.origin is not None for spec in found)


def has_cuda(backend: str) -> bool:
    """Tell whether the installed "tensorflow", "jax" or "torch" is a build for NVIDIA cards."""
    # Half of what `diptych --help` would take.
    from importlib import metadata

    if not is_installed(backend):
        return False
    if backend == "jax":
        platforms = os.environ.get("JAX_PLATFORMS", "")
        wanted = not platforms or "cuda" in platforms or "gpu" in platforms
        return wanted and any("cuda" in point.name for point in metadata.entry_points(group="jax_plugins"))
    folder = package_folder(backend)
    if backend == "torch":
        version = folder / "version.py"
        built_for = version.read_text(encoding="utf-8") if version.is_file() else ""
        return re.search(r"^cuda\b.*=\s*['\"]\d", built_for, re.MULTILINE) is not None
    # TensorFlow knows CUDA on Linux only; its build that does comes without CUDA's libraries, unless it is asked for them.
    names = {distribution.metadata["Name"].replace("_", "-") for distribution in metadata.distributions()}
    libraries = any(name.startswith("nvidia-cudnn") for name in names) or ctypes.util.find_library("cudnn") is not None
    return sys.platform == "linux" and "tensorflow" in names and "tensorflow-cpu" not in names and libraries


def best_backend(cards: list[GraphicsCard]) -> tuple[Backend, str]:
    """Choose the fastest installed backend for the machine, and the reason.

    Raises:
        ConfigError: none is installed.
    """
    for backend in ORDER_ON_CARD if cards else ():
        if has_cuda(backend):
            return backend, f"installed for the graphics card {cards[0].name}"
    installed = [backend for backend in ORDER_ON_PROCESSOR if is_installed(backend)]
    if not installed:
        raise ConfigError("no backend is installed. Install one with: pip install 'diptych[cpu]', or [gpu], [jax] or [torch].")
    fastest = "the fastest on a processor" if installed[0] == ORDER_ON_PROCESSOR[0] else "TensorFlow is not installed"
    if cards:
        unused = f"the graphics card {cards[0].name} is not used, since no backend is installed for it"
        return installed[0], f"{unused} (pip install '{EXTRAS_FOR_CARD['jax']}'); {fastest}"
    return installed[0], f"no NVIDIA graphics card found; {fastest}"


def check_installed(backend: Backend, why: str) -> None:
    """Raise ConfigError, with the command that installs it, where a backend that is wanted, and why, is not installed."""
    if not is_installed(backend):
        package = (EXTRAS_FOR_CARD if graphics_cards() else EXTRAS)[backend]
        raise ConfigError(f"backend {backend} is not installed ({why}). Install it with: pip install '{package}'")


def best_precision(backend: Backend, cards: list[GraphicsCard]) -> tuple[Literal["float32", "bfloat16"], str]:
    """Choose the precision for a backend on the machine, and the reason."""
    if not cards or not has_cuda(backend):
        return "float32", "bfloat16 is slower on a processor"
    capability = cards[0].capability
    if capability is not None and capability < BFLOAT16_CAPABILITY:
        return "float32", f"{cards[0].name} does not compute bfloat16 in hardware"
    return "bfloat16", f"{cards[0].name} computes it in hardware; the weights stay in float32"


def package_folder(package: str) -> Path:
    spec = util.find_spec(package)
    return Path(spec.origin if spec and spec.origin else "").parent


def choose_compute(settings: ComputeConfig) -> tuple[ComputeConfig, list[str]]:
    """Resolve "auto" settings of backend and precision, without loading Keras.

    Returns:
        The settings with nothing left open, and a line on each choice: what, and why.

    Raises:
        ConfigError: the backend that was asked for is not installed, or Keras is loaded on another one.
    """
    backend, why = (settings.backend, "as asked for") if settings.backend != "auto" else choose_backend()
    check_installed(backend, why)
    loaded = loaded_backend()
    if loaded not in (None, backend):
        raise ConfigError(
            f"backend {backend} is asked for, but this process has loaded Keras on {loaded}. Use a fresh process, or set "
            f"KERAS_BACKEND={backend} before Keras is imported."
        )
    lines = [f"backend {backend}: {why}"]
    precision = settings.precision
    if precision == "auto":
        precision, why = best_precision(backend, graphics_cards())
        lines.append(f"precision {precision}: {why}")
    return dataclasses.replace(settings, backend=backend, precision=precision), lines


def choose_backend() -> tuple[Backend, str]:
    loaded = loaded_backend()
    if loaded is not None:
        return loaded, "Keras is loaded on it already"
    named = os.environ.get("KERAS_BACKEND", "")
    if named:
        for backend in BACKENDS:
            if named == backend:
                return backend, "KERAS_BACKEND says so"
        raise ConfigError(f"KERAS_BACKEND is {named!r}; expected one of {', '.join(BACKENDS)}.")
    return best_backend(graphics_cards())


def loaded_backend() -> Backend | None:
    """Return the backend that Keras is loaded on in this process; None where it is not loaded."""
    if "keras" not in sys.modules:
        return None
    import keras

    return next((backend for backend in BACKENDS if backend == keras.backend.backend()), None)
