"""Real runs of the doors and the command line, in processes of their own, on images that are quick to learn.

The first caller pays: what is trained here is trained once for the whole session.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from making import REPOSITORY, encode, write_table

from diptych.storage import RunDir

SIZE = 32
PARTS = {"train": 16, "validation": 8, "test": 10}
UNREADABLE = "1/unreadable.png"
SEED = 3
# Forty steps of batch normalisation in all: with momentum 0.99 its statistics would still be those of the start.
SETTINGS = (
    *("--weights", "none", "--width", "0.125", "--image-size", str(SIZE), "--dense-units", "32"),
    *("--batch-size", "8", "--learning-rate", "1e-3", "--batch-norm-momentum", "0.9", "--seed", str(SEED)),
)
EPOCHS = 10
# PyTorch traces and compiles nothing, and trains a network for one epoch in a third of the time that the others take.
QUICKEST = "torch" if importlib.util.find_spec("torch") else "tensorflow"

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to one process on Windows")


@dataclass(frozen=True)
class Trained:
    """A finished training: where it ran, on what, and what it said."""

    folder: Path
    data: Path
    run: RunDir
    process: subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Interrupted:
    """A training that got Ctrl-C after a few epochs, with what it said."""

    run: RunDir
    returncode: int
    output: str
    errors: str


def make_colours(root: Path) -> Path:
    """Write a data folder of reddish (0) and bluish (1) noise, with the columns split and kind, and one unreadable image."""
    generator = np.random.default_rng(0)
    for target, channel in ((0, 0), (1, 2)):
        (root / str(target)).mkdir(parents=True)
        rows = []
        for part, count in PARTS.items():
            for number in range(count):
                image = generator.integers(0, 100, (SIZE, SIZE, 3), dtype=np.uint8)
                image[..., channel] += 120
                (root / str(target) / f"{part}{number}.png").write_bytes(encode(image))
                rows.append({"image_name": f"{part}{number}.png", "target": target, "split": part, "kind": f"k{number % 3}"})
        if UNREADABLE.startswith(f"{target}/"):
            (root / UNREADABLE).write_text("not an image")
            rows.append({"image_name": Path(UNREADABLE).name, "target": target, "split": "train", "kind": "k0"})
        write_table(root / f"{target}.csv", rows)
    return root


def environment(**changes: str) -> dict[str, str]:
    """The environment of a user who has set nothing."""
    set_here = {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "TF_CPP_MIN_LOG_LEVEL"}
    kept = {name: value for name, value in os.environ.items() if name not in set_here}
    return kept | changes


def door(name: str, *arguments: object, folder: Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run `python NAME ARGUMENTS`, one of the scripts of the repository, from another folder."""
    command = [sys.executable, str(REPOSITORY / name), *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=timeout, check=False)


def module(*arguments: object, folder: Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run `python -m diptych ARGUMENTS` from another folder."""
    command = [sys.executable, "-m", "diptych", *map(str, arguments)]
    found = environment(PYTHONPATH=str(REPOSITORY / "src"))
    return subprocess.run(command, cwd=folder, env=found, capture_output=True, text=True, timeout=timeout, check=False)


@cache
def trained_once(base: Path) -> Trained:
    """Train through `python train.py`, with a relative path of the data, from a folder of its own below `base`."""
    folder = base / "trained"
    data = make_colours(folder / "images")
    process = door("train.py", "--data", "images", "--name", "colours", "--epochs", EPOCHS, *SETTINGS, folder=folder)
    assert process.returncode == 0, process.stdout + process.stderr
    return Trained(folder, data, RunDir(folder / "runs" / "colours"), process)


@cache
def evaluated_once(base: Path) -> subprocess.CompletedProcess[str]:
    """Test the run of `trained_once` through `python evaluate.py`."""
    process = door("evaluate.py", "--maps", "0", folder=trained_once(base).folder)
    assert process.returncode == 0, process.stdout + process.stderr
    return process


@cache
def interrupted_once(base: Path) -> Interrupted:
    """Train as `trained_once` did, but for many epochs, and press Ctrl-C in the third or a later one."""
    trained = trained_once(base)
    run = RunDir(trained.folder / "runs" / "interrupted")
    arguments = ["train", "--data", trained.data, "--name", "interrupted", "--epochs", 500, *SETTINGS]
    with start(*arguments, folder=trained.folder) as child:
        press_when(child, lambda: run.history.is_file() and len(run.history.read_text().splitlines()) > 2)
        output, errors = child.communicate(timeout=120)
    # It shall not be the newest run for those who look for the one of `trained_once`.
    elsewhere = RunDir(base / "interrupted")
    shutil.move(run.root, elsewhere.root)
    return Interrupted(elsewhere, child.returncode, output, errors)


@contextmanager
def obeying_ctrl_c() -> Iterator[None]:
    """Let the processes that are started here obey Ctrl-C, even where this one was told to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def start(*arguments: object, folder: Path, **options: Any) -> subprocess.Popen[str]:
    """Start `python -m diptych ARGUMENTS` as a process that obeys Ctrl-C."""
    command = [sys.executable, "-m", "diptych", *map(str, arguments)]
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    with obeying_ctrl_c():
        found = environment(PYTHONPATH=str(REPOSITORY / "src"))
        return subprocess.Popen(command, cwd=folder, env=found, text=True, **streams)


def press_when(child: subprocess.Popen[str], ready: Callable[[], bool], timeout: float = 240) -> None:
    """Send Ctrl-C to a process once `ready()`; stop it for good if that does not come to pass."""
    give_up = time.monotonic() + timeout
    while not ready():
        if child.poll() is not None or time.monotonic() > give_up:
            child.kill()
            raise AssertionError(f"never came to the point where Ctrl-C was to be pressed: {child.communicate()}")
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)


def read_history(run: RunDir) -> pd.DataFrame:
    return pd.read_csv(run.history)
