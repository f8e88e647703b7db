"""Main memory: how much this process may use and has used, how glibc keeps it, and out-of-memory errors."""

import ctypes
import os
import re
import sys
from pathlib import Path

OUT_OF_MEMORY = re.compile(
    "RESOURCE_EXHAUSTED|out of memory|OOM when allocating|can(?:'t|not) allocate memory|not enough memory|std::bad_alloc"
    "|ALLOC_FAILED|Insufficient memory|Failed to allocate",
    re.IGNORECASE,
)

# From glibc's malloc.h.
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3

CGROUPS = Path("/sys/fs/cgroup")
# The control group counts cached files too, which the system takes back when memory is short.
CGROUP_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def ram_limit() -> int:
    """Return how many bytes this process may use in all: those it uses, and those that are left for it.

    What is left is the least of the free memory, the limit of the control group (a container's) and RLIMIT_AS.
    """
    if sys.platform != "linux":
        return ram_of_machine()
    status, free = kibibytes("/proc/self/status"), kibibytes("/proc/meminfo")
    left = [free["MemAvailable"], *cgroups_left()]
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        left.append(soft - status["VmSize"])
    return status["VmRSS"] + max(0, min(left))


def ram_peak() -> int:
    """Return the most bytes of memory that this process has held at a time; 0 where the system does not tell."""
    if sys.platform == "linux":
        # Not ru_maxrss, which a process inherits from the one that started it.
        return kibibytes("/proc/self/status")["VmHWM"]
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return 0


def ram_of_machine() -> int:
    if sys.platform == "win32":
        installed = ctypes.c_ulonglong(0)
        ctypes.windll.kernel32.GetPhysicallyInstalledSystemMemory(ctypes.byref(installed))
        return installed.value * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def kibibytes(file: str) -> dict[str, int]:
    """Read the lines "Name:  123 kB" of a file of /proc, as bytes by name."""
    text = Path(file).read_text(encoding="utf-8")
    return {name: int(number) * 1024 for name, number in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)}


def cgroups_left() -> list[int]:
    """Return the memory that the limits of the control groups leave to this process, in bytes (cgroups v1 and v2)."""
    left = []
    for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
        _, controllers, inner = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top = CGROUPS / "memory" if controllers else CGROUPS
        below = top / inner.strip("/")
        for folder in (below, *below.parents):
            if folder.is_relative_to(top):
                left += [bytes_left(folder, *names) for names in CGROUP_FILES if (folder / names[0]).is_file()]
    return [number for number in left if number is not None]


def bytes_left(folder: Path, limit: str, used: str, cached: str) -> int | None:
    allowed = (folder / limit).read_text(encoding="utf-8").strip()
    if not allowed.isdigit():
        return None
    statistics = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="utf-8").splitlines())
    return int(allowed) - int((folder / used).read_text(encoding="utf-8")) + int(statistics.get(cached, 0))


def keep_freed_memory() -> None:
    """Make glibc keep freed memory for the next step instead of returning it to the system.

    When a generator that fed `fit` or its validation ends, TensorFlow 2.21 sets glibc's M_TRIM_THRESHOLD to 128 KiB
    (generator_dataset_op.cc), for the whole process and for good. Large tensors are then mapped, cleared and unmapped anew
    at each step: at 64 px, 29 images/s instead of 46 (docs/experiments.md). This raises the limits again.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 32 * 2**20)
        mallopt(M_TRIM_THRESHOLD, 2**30)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error of any backend, or its cause, is an out-of-memory error."""
    chain: list[BaseException] = []
    while error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__ or error
    return any(isinstance(link, MemoryError) or OUT_OF_MEMORY.search(str(link)) is not None for link in chain)
