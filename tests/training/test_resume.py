"""The promise: a training that is killed at any moment and goes on ends as if it had never been killed, bit for bit."""

import dataclasses
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from resuming import EPOCHS, KILLS, LEARNING_RATE, PLATEAU_PATIENCE, SETTINGS, Child, End, Reference, read_end, reference_once
from running import posix_only

from diptych.storage.run_dir import RunDir

pytestmark = [pytest.mark.slow, pytest.mark.every_backend, posix_only]

# When the process dies: as it starts, before or after the run's folder is made; at a random time after a random snapshot,
# in a step, in the validation or between them; as soon as an epoch's line is in the history; or with a file half written.
ALL_MOMENTS = ("writing", "random", "start", "epoch", "random", "start", "random", "writing", "epoch", "random")
MOMENTS = ALL_MOMENTS[:KILLS]
MORE_TRIES = 6


@dataclasses.dataclass(frozen=True)
class Killed:
    """A training that was killed again and again, and has come to its end all the same."""

    run: RunDir
    end: End
    hit: list[str]
    said: list[str]


def stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def half_written(run: RunDir) -> list[Path]:
    folders = [folder for folder in (run.root, run.last.parent) if folder.is_dir()]
    # Such a file is there for a millisecond; `glob` would take as long.
    return [folder / name for folder in folders for name in os.listdir(folder) if name.startswith(".partial-")]  # noqa: PTH208


def epochs_of(run: RunDir) -> int:
    return run.history.read_bytes().count(b"\n") if run.history.is_file() else 0


def wait_for_snapshot(child: Child, run: RunDir) -> None:
    before = stamp(run.last)
    child.wait_for(lambda: stamp(run.last) not in (None, before))


def kill_at(moment: str, child: Child, run: RunDir, random: np.random.Generator) -> str:
    """Kill a training at a moment of a kind; return the moment that it was, "over" where it had ended before."""
    before = {path: stamp(path) for path in (run.last, run.history)}

    def changed(path: Path) -> bool:
        return stamp(path) not in (None, before[path])

    if moment == "start":
        time.sleep(random.uniform(0, 3))
    elif moment == "random":
        # In snapshots, about seven an epoch, and not in seconds: on a busy machine an epoch takes ten times as long.
        for _ in range(int(random.integers(1, 8))):
            wait_for_snapshot(child, run)
        time.sleep(random.uniform(0, 0.05))
    elif moment == "epoch":
        child.wait_for(lambda: changed(run.history))
    else:
        leftovers = set(half_written(run))
        child.wait_for(lambda: changed(run.last))
        # A network that learns an epoch in a tenth of a second could be done before one is seen.
        enough = epochs_of(run) + 2
        child.wait_for(lambda: set(half_written(run)) - leftovers or epochs_of(run) >= enough)
    if child.kill() != -9:
        return "over"
    return "between" if moment == "writing" and not half_written(run) else moment


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    return reference_once(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def killed(reference: Reference, tmp_path_factory: pytest.TempPathFactory) -> Killed:
    folder = tmp_path_factory.mktemp("killed")
    run = RunDir(folder / "runs" / "killed")
    random = np.random.default_rng(7)
    train = ("train", "--data", reference.data, "--name", "killed", "--epochs", EPOCHS, *SETTINGS)
    waiting, hit, said = list(MOMENTS), [], []
    while waiting and len(hit) < len(MOMENTS) + MORE_TRIES:
        resumes = run.root.is_dir() and len(hit) % 2
        child = Child(folder, folder / f"said{len(hit)}.txt", *(("resume", run.root) if resumes else train))
        hit.append(kill_at(waiting[0], child, run, random))
        said.append(child.said.read_text())
        if hit[-1] == waiting[0]:
            waiting.pop(0)
        if hit[-1] == "over":
            raise AssertionError(f"the training was over after {hit}: {said}")
    child = Child(folder, folder / "said.txt", *train)
    code = child.finish()
    said.append(child.said.read_text())
    assert code == 0, said[-1]
    return Killed(run, read_end(run), hit, said)


def test_reference__has_everything_in_play(reference: Reference) -> None:
    """The rate is lowered again and again, and the schedule has waited for an epoch at the end."""
    state = reference.end.state
    rates = [row["learning_rate"] for row in state["history"]]
    lowered = [max(0, (epoch - 2) // PLATEAU_PATIENCE) for epoch in range(1, EPOCHS + 1)]
    assert rates == pytest.approx([LEARNING_RATE * 0.5**times for times in lowered])
    assert lowered[-1] >= 2
    assert state["plateau_wait"] == (EPOCHS - 1) % PLATEAU_PATIENCE > 0
    assert state["best_epoch"] > 0
    assert {name.split("/")[0] for name in reference.end.arrays} == {"optimizer", "model", "metrics"}


def test_kills__were_all_made_and_one_in_mid_write(killed: Killed) -> None:
    assert [moment for moment in killed.hit if moment != "between"] == list(MOMENTS)
    assert "writing" in killed.hit
    assert sum("Resuming " in said for said in killed.said) >= KILLS // 2, killed.said


def test_killed__nothing_half_written_is_left(killed: Killed) -> None:
    assert list(killed.run.root.rglob(".partial-*")) == []
    assert not killed.run.last.with_name("next.safetensors").exists()


def test_killed__history_is_the_same(reference: Reference, killed: Killed) -> None:
    assert killed.end.history == reference.end.history
    assert (pd.read_csv(killed.run.history)["seconds"] > 0).all()


def test_killed__every_variable_is_the_same(reference: Reference, killed: Killed) -> None:
    assert len(reference.end.arrays) > 100
    assert reference.end.differences(killed.end) == []
