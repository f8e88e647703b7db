"""What happens around the backend: its chatter, and the memory allocator."""

import sys

import pytest
from making import run_python

FAULTS = """
import ctypes, resource
import numpy as np
from diptych.backend import M_TRIM_THRESHOLD, keep_freed_memory

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


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_keep_freed_memory__undoes_a_low_trim_threshold() -> None:
    given_back, kept = map(int, run_python("-c", FAULTS).stdout.split())
    assert kept < 0.1 * given_back


@pytest.mark.parametrize(("code", "shown"), [("pass", False), ("raise ValueError('broken')", True)])
def test_quiet_stderr__shows_what_was_written_only_after_an_error(code: str, shown: bool) -> None:
    script = (
        f"import os\nfrom diptych.backend import quiet_stderr\nwith quiet_stderr():\n    os.write(2, b'chatter')\n    {code}\n"
    )
    done = run_python("-c", script)
    assert ("chatter" in done.stderr) is shown
    assert (done.returncode != 0) is shown
