"""Real runs of the doors and the command line, in processes of their own, on images that are quick to learn.

The first caller pays: what is trained here is trained once for the whole session, whatever the number of its processes.
"""

import importlib.util
import json
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
from filelock import FileLock
from making import REPOSITORY, encode, write_table
from warm import Warm

from diptych.storage.run_dir import RunDir

SIZE = 32
PARTS = {"train": 16, "validation": 8, "test": 10}
UNREADABLE = "1/unreadable.png"
# Of the trainings here: no test may rest on what a training with one seed happens to do.
SEED = int(os.environ.get("DIPTYCH_SEED", "3"))
# Forty steps of batch normalisation in all: with momentum 0.99 its statistics would still be those of the start.
SETTINGS = (
    *("--weights", "none", "--width", "0.125", "--image-size", str(SIZE), "--dense-units", "32"),
    *("--batch-size", "8", "--learning-rate", "1e-3", "--batch-norm-momentum", "0.9", "--seed", str(SEED)),
)
EPOCHS = 10
# PyTorch traces and compiles nothing, and trains a network for one epoch in a third of the time that the others take.
QUICKEST = "torch" if importlib.util.find_spec("torch") else "tensorflow"

SMALL = (*SETTINGS, "--branches", "convnet", "--backend", QUICKEST)

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="need a POSIX system")


@dataclass(frozen=True)
class Trained:
    """A finished training, in a copy of the folder where it ran; on what it ran, and what it said."""

    folder: Path
    data: Path
    run: RunDir
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Interrupted:
    """A training that got Ctrl-C after a few epochs, with what it said."""

    run: RunDir
    returncode: int
    stdout: str
    stderr: str


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


def default_backend(**changes: str) -> dict[str, str]:
    """The environment of a user who has chosen no backend either, whichever this process tests."""
    return {name: value for name, value in environment(**changes).items() if name != "KERAS_BACKEND"}


def door(name: str, *arguments: object, folder: Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run `python NAME ARGUMENTS`, one of the scripts of the repository, from another folder, on the default backend."""
    command = [sys.executable, str(REPOSITORY / name), *map(str, arguments)]
    found = default_backend()
    return subprocess.run(command, cwd=folder, env=found, capture_output=True, text=True, timeout=timeout, check=False)


def module(*arguments: object, folder: Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run `python -m diptych ARGUMENTS` from another folder, in a fresh process."""
    command = [sys.executable, "-m", "diptych", *map(str, arguments)]
    found = environment(PYTHONPATH=str(REPOSITORY / "src"))
    return subprocess.run(command, cwd=folder, env=found, capture_output=True, text=True, timeout=timeout, check=False)


def start(*arguments: object, folder: Path, found: dict[str, str] | None = None, stderr: int | None = None) -> Warm:
    """Start `diptych ARGUMENTS` in another folder, as a process that has imported its backend and obeys Ctrl-C.

    Args:
        arguments: as on the command line.
        folder: where to start it.
        found: its environment.
        stderr: the number of an open file for what it says there; None to get it from `communicate`.
    """
    found = environment(PYTHONPATH=str(REPOSITORY / "src")) if found is None else found
    return Warm(*arguments, folder=folder, environment=found, stderr=stderr)


def diptych(*arguments: object, folder: Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run `diptych ARGUMENTS` in another folder, in a process that has imported its backend already."""
    with start(*arguments, folder=folder) as child:
        stdout, stderr = child.communicate(timeout)
    return subprocess.CompletedProcess(child.args, child.wait(), stdout, stderr)


def shared(base: Path) -> Path:
    """The folder for what all processes of a session share; `base` is pytest's base folder of this process."""
    # Those of pytest-xdist have base folders side by side.
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "once"


def once(base: Path, name: str, make: Callable[[Path], object]) -> tuple[Path, Any]:
    """Let the first process of a session that asks for it make a folder, and give each process a copy of its own.

    Args:
        base: pytest's base folder of this process.
        name: of the folder.
        make: fills the new, empty folder, and returns what is to be known of it, as JSON values. A folder `images` is not
            copied: settings name it with its whole path, and it is not to be changed.

    Returns:
        The copy, and what `make` has returned.
    """
    first, own = shared(base) / name, base / name
    first.parent.mkdir(exist_ok=True)
    done = first.with_name(f"{name}.json")
    with FileLock(first.with_name(f"{name}.lock")):
        if not done.is_file():
            # Another process may have failed with it.
            shutil.rmtree(first, ignore_errors=True)
            first.mkdir()
            done.write_text(json.dumps(make(first)), encoding="utf-8")
    if not own.is_dir():
        shutil.copytree(first, own, ignore=shutil.ignore_patterns("images"))
    return own, json.loads(done.read_text(encoding="utf-8"))


def said_by(process: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """What a process that must end well has said."""
    assert process.returncode == 0, process.stdout + process.stderr
    return {"stdout": process.stdout, "stderr": process.stderr}


@cache
def trained_once(base: Path) -> Trained:
    """Train through `python train.py`, with a relative path of the data, from a folder of its own."""

    def train(folder: Path) -> object:
        make_colours(folder / "images")
        return said_by(door("train.py", "--data", "images", "--name", "colours", "--epochs", EPOCHS, *SETTINGS, folder=folder))

    folder, said = once(base, "trained", train)
    return Trained(folder, shared(base) / "trained" / "images", RunDir(folder / "runs" / "colours"), **said)


@cache
def evaluated_once(base: Path) -> Trained:
    """Test a copy of the run of `trained_once` through `python evaluate.py`, whose words these are."""
    trained = trained_once(base)

    def evaluate(folder: Path) -> object:
        shutil.copytree(trained.run.root, folder / "runs" / "colours")
        return said_by(door("evaluate.py", "--maps", "0", folder=folder))

    folder, said = once(base, "evaluated", evaluate)
    return Trained(folder, trained.data, RunDir(folder / "runs" / "colours"), **said)


@cache
def small_once(base: Path) -> Trained:
    """Train one branch for two epochs and test it, for tests of what comes after, whatever such a network says."""

    def train_and_evaluate(folder: Path) -> object:
        make_colours(folder / "images")
        said_by(diptych("train", "--data", "images", "--name", "colours", *SMALL, "--epochs", 2, folder=folder))
        return said_by(diptych("evaluate", "--maps", 0, "--backend", QUICKEST, folder=folder))

    folder, said = once(base, "small", train_and_evaluate)
    return Trained(folder, shared(base) / "small" / "images", RunDir(folder / "runs" / "colours"), **said)


@cache
def interrupted_once(base: Path) -> Interrupted:
    """Train as `small_once` did, but for many epochs, and press Ctrl-C in the third or a later one."""
    data = small_once(base).data

    def interrupt(folder: Path) -> object:
        run = RunDir(folder / "runs" / "interrupted")
        train = ("train", "--data", data, "--name", "interrupted", *SMALL, "--epochs", 500)
        with start(*train, folder=folder) as child:
            press_when(child, lambda: run.history.is_file() and len(run.history.read_text().splitlines()) > 2)
            stdout, stderr = child.communicate(timeout=120)
        return {"returncode": child.returncode, "stdout": stdout, "stderr": stderr}

    folder, said = once(base, "interrupted", interrupt)
    return Interrupted(RunDir(folder / "runs" / "interrupted"), **said)


@dataclass(frozen=True)
class CrossValidated:
    """A tested cross-validation, in a copy of the folder where it ran, and what its training and its test said."""

    folder: Path
    run: RunDir
    trained: str
    tested: str


FOLDS = 2


@cache
def cross_validated_once(base: Path) -> CrossValidated:
    """Train a network a fold for one epoch, and test them."""

    def train_and_evaluate(folder: Path) -> object:
        make_colours(folder / "images")
        settings = ("--folds", FOLDS, "--epochs", 1, "--no-near-twins", *SMALL)
        trained = said_by(diptych("train", "--data", "images", "--name", "cross", *settings, folder=folder))
        tested = said_by(diptych("evaluate", "--maps", 0, "--backend", QUICKEST, folder=folder))
        return {"trained": trained["stdout"], "tested": tested["stdout"]}

    folder, said = once(base, "cross-validated", train_and_evaluate)
    return CrossValidated(folder, RunDir(folder / "runs" / "cross"), **said)


@contextmanager
def obeying_ctrl_c() -> Iterator[None]:
    """Let the processes that are started here obey Ctrl-C, even where this one was told to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def press_when(child: Warm, ready: Callable[[], bool], timeout: float = 240) -> None:
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
