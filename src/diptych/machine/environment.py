"""The environment of a run: versions, machine, commit."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from diptych.machine.memory import ram_of_machine
from diptych.storage.atomic import FORMAT_VERSION

RECORDED_PACKAGES = (
    "diptych", "keras", "tensorflow", "tensorflow-cpu", "jax", "jaxlib", "torch", "ml-dtypes", "numpy", "pandas", "pillow",
    "scikit-learn", "matplotlib", "safetensors",
)  # fmt: skip


def describe_environment(seed: int, device: str) -> dict[str, Any]:
    """Describe what a run was made with.

    Args:
        seed: the run's seed.
        device: the backend and the devices that it trains on, in words.
    """
    return {
        "format_version": FORMAT_VERSION,
        "created": datetime.now(UTC).isoformat(),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "seed": seed,
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "packages": installed_versions(),
        "system": platform.platform(),
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "memory_gib": round(ram_of_machine() / 2**30, 1),
        "device": device,
    }


def git_commit() -> str | None:
    """Return the commit of the working folder, "-dirty" behind it where files differ; None outside of git."""
    try:
        command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(command, capture_output=True, encoding="utf-8", check=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None


def installed_versions() -> dict[str, str]:
    found = {d.metadata["Name"].replace("_", "-"): d.version for d in metadata.distributions()}
    return {name: found[name] for name in RECORDED_PACKAGES if name in found}


def processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
