"""Trainings that are stopped and go on, and what of them must then be the same as if they had not been."""

import contextlib
import dataclasses
import json
import os
import signal
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import safetensors
from making import REPOSITORY, encode, make_image
from running import environment, once, shared
from warm import Warm

from diptych.storage.run_dir import RunDir

IMAGES = {0: 28, 1: 14}
# `make check-long` sets it to ten.
KILLS = int(os.environ.get("DIPTYCH_KILLS", "4" if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow" else "2"))
EPOCHS = 6 if KILLS <= 4 else KILLS
LEARNING_RATE = 3e-3
# Everything that has a state of its own is in play; a snapshot is written after nearly each batch. No loss falls by as much as
# 999, so that the schedule lowers the rate every PLATEAU_PATIENCE epochs, whatever the training does.
PLATEAU_PATIENCE = 2
SETTINGS = (
    *("--weights", "none", "--branches", "convnet", "--width", "0.125", "--image-size", "32", "--dense-units", "16"),
    *("--dropout", "0.2", "--mixup", "0.4", "--class-weights", "balanced", "--ema", "0.9", "--batch-norm-momentum", "0.9"),
    *("--schedule", "plateau", "--plateau-patience", str(PLATEAU_PATIENCE), "--plateau-min-delta", "999"),
    *("--early-stopping", str(EPOCHS), "--learning-rate", str(LEARNING_RATE)),
    *("--batch-size", "4", "--checkpoint-minutes", "0.0005", "--seed", "3", "--no-near-twins"),
)
TIMES = ("seconds", "images_per_second")
# A busy machine is not a failure.
PATIENCE = 600


class Child:
    """`diptych ARGUMENTS`, or a program of Python, in a process that has imported its backend already."""

    def __init__(self, folder: Path, said: Path, *arguments: object, code: str | None = None) -> None:
        """Start it in a folder; what it says goes to a file."""
        self.said = said
        found = environment(PYTHONPATH=str(REPOSITORY / "src"))
        with said.open("w") as screen:
            streams = {"stdout": screen.fileno(), "stderr": screen.fileno()}
            self.process = Warm(*arguments, folder=folder, environment=found, code=code, **streams)

    def wait_for(self, what: Callable[[], object]) -> bool:
        """Wait until something is true, and return True; or False, where the process ends before."""
        give_up = time.monotonic() + PATIENCE
        while not what():
            if self.process.poll() is not None:
                return False
            assert time.monotonic() < give_up, self.said.read_text()
            time.sleep(0.0005)
        return True

    def kill(self) -> int:
        """Send SIGKILL to it and its children, and return its exit code: -9, unless it had ended before."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.wait()

    def finish(self) -> int:
        """Return its exit code, once it has ended."""
        try:
            return self.process.wait(PATIENCE)
        finally:
            if self.process.poll() is None:
                self.kill()


@dataclasses.dataclass(frozen=True)
class End:
    """What a training has come to, without the times that it took."""

    state: dict[str, Any]
    history: str
    arrays: dict[str, bytes]
    best: dict[str, bytes]

    def differences(self, other: "End") -> list[str]:
        found = [f"state {key}" for key in self.state.keys() | other.state if self.state.get(key) != other.state.get(key)]
        found += ["history"] if self.history != other.history else []
        for name, one, two in (("last", self.arrays, other.arrays), ("best", self.best, other.best)):
            found += [f"{name} {key}" for key in one.keys() | two if one.get(key) != two.get(key)]
        return found


def read_end(run: RunDir) -> End:
    facts, arrays = read_file(run.last)
    state = facts["state"]
    assert state.pop("seconds") == 0.0
    state["history"] = [{key: value for key, value in row.items() if key not in TIMES} for row in state["history"]]
    history = pd.read_csv(run.history, dtype=str).drop(columns=list(TIMES)).to_csv()
    return End(state, history, arrays, read_file(run.best)[1])


def read_file(path: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the facts of a checkpoint, and the bytes of each array with its type and shape, by owner and number.

    A second optimizer of a process has another name in the paths of its variables.
    """
    with safetensors.safe_open(path, framework="numpy") as file:
        facts = json.loads(file.metadata()["diptych"])
        arrays = {name.rsplit("/", name.count("/") - 1)[0]: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return facts, {name: f"{array.dtype}{array.shape}".encode() + array.tobytes() for name, array in arrays.items()}


def make_uneven(root: Path) -> Path:
    """Write class folders, one with more images than the other."""
    for target, count in IMAGES.items():
        (root / str(target)).mkdir(parents=True)
        for number in range(count):
            (root / str(target) / f"{number:02d}.png").write_bytes(encode(make_image(target, number)))
    return root


@dataclasses.dataclass(frozen=True)
class Reference:
    """A training that was never stopped, and where it lies."""

    folder: Path
    data: Path
    run: RunDir
    end: End


@cache
def reference_once(base: Path) -> Reference:
    """Train without a break."""

    def train(folder: Path) -> None:
        train = ("train", "--data", make_uneven(folder / "images"), "--name", "reference", "--epochs", EPOCHS, *SETTINGS)
        child = Child(folder, folder / "said.txt", *train)
        assert child.finish() == 0, child.said.read_text()

    folder, _ = once(base, "reference", train)
    run = RunDir(folder / "runs" / "reference")
    return Reference(folder, shared(base) / "reference" / "images", run, read_end(run))
