"""Everything else that ends a training before its time: what is said, what is kept, and that it goes on from there."""

import dataclasses
import logging
import os
import re
import resource
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from making import encode, fingerprint, make_image, skip_unless_installed
from resuming import EPOCHS, SETTINGS, Child, Reference, read_end, read_file, reference_once
from running import posix_only

from diptych.cli import main
from diptych.storage.run_dir import RunDir

pytestmark = [pytest.mark.slow, posix_only]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    return reference_once(tmp_path_factory.getbasetemp())


@dataclasses.dataclass(frozen=True)
class Ended:
    """A process that was sent signals: its exit code, what it said, and the run as it was then."""

    code: int
    said: str
    run: RunDir


def send(child: Child, run: RunDir, rows: int, *signals: int) -> Ended:
    """Send signals to a training that has written a snapshot, once the history has so many rows."""

    def ready() -> bool:
        return run.last.is_file() and run.history.is_file() and len(run.history.read_text().splitlines()) > rows

    assert child.wait_for(ready), child.said.read_text()
    for number in signals:
        child.process.send_signal(number)
        time.sleep(0.02)
    code = child.finish()
    kept = RunDir(run.root.parent.parent / f"{run.root.name}{rows}" / "runs" / run.root.name)
    shutil.copytree(run.root, kept.root)
    return Ended(code, child.said.read_text(), kept)


@pytest.fixture(scope="module")
def signalled(reference: Reference, tmp_path_factory: pytest.TempPathFactory) -> list[Ended]:
    """One training that is killed while its folder is made, then gets Ctrl-C, Ctrl-C twice, SIGTERM, and comes to its end."""
    folder = tmp_path_factory.mktemp("signalled")
    run = RunDir(folder / "runs" / "stopped")
    train = ("train", "--data", reference.data, "--name", "stopped", "--epochs", EPOCHS, *SETTINGS)
    child = Child(folder, folder / "said0.txt", *train)
    assert child.wait_for(lambda: list(run.root.parent.glob(".partial-*"))), child.said.read_text()
    ended = [Ended(child.kill(), str(run.root.exists()), run)]
    for rows, signals in ((1, (signal.SIGINT,)), (2, (signal.SIGINT, signal.SIGINT)), (3, (signal.SIGTERM,))):
        child = Child(folder, folder / f"said{rows}.txt", *(("resume", run.root) if run.root.exists() else train))
        ended.append(send(child, run, rows, *signals))
    child = Child(folder, folder / "said.txt", "resume", run.root)
    return [*ended, Ended(child.finish(), child.said.read_text(), run)]


@pytest.fixture
def halfway(signalled: list[Ended], tmp_path: Path) -> RunDir:
    """A copy of a run that got Ctrl-C in its second epoch or so."""
    shutil.copytree(signalled[1].run.root, tmp_path / "runs" / "stopped")
    return RunDir(tmp_path / "runs" / "stopped")


def test_kill_while_the_folder_is_made__leaves_its_name_free(signalled: list[Ended]) -> None:
    assert (signalled[0].code, signalled[0].said) == (-signal.SIGKILL, "False")
    assert "Going on" not in signalled[1].said


def test_ctrl_c__saves_and_says_how_to_go_on(signalled: list[Ended]) -> None:
    ended = signalled[1]
    assert ended.code == 130, ended.said
    assert "Stopped. Everything is saved. Resume with: diptych resume" in ended.said
    assert "Traceback" not in ended.said
    facts, _ = read_file(ended.run.last)
    assert facts["state"]["epoch"] >= 1


def test_second_ctrl_c__ends_it_at_once(signalled: list[Ended]) -> None:
    ended = signalled[2]
    assert ended.code == 130, ended.said
    assert "Resume with: diptych resume" in ended.said
    # Its epoch is in the history before it is in a snapshot.
    assert read_file(ended.run.last)[0]["state"]["epoch"] >= 1


def test_sigterm__saves_and_leaves_with_143(signalled: list[Ended]) -> None:
    ended = signalled[3]
    assert ended.code == 143, ended.said
    assert "Stopped. Everything is saved. Resume with: diptych resume" in ended.said


def test_signals__end_is_the_same(signalled: list[Ended], reference: Reference) -> None:
    assert signalled[4].code == 0, signalled[4].said
    assert reference.end.differences(read_end(signalled[4].run)) == []


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "cut":
        content = content[: len(content) // 2]
    else:
        content[-len(content) // 3] ^= 0x10
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["cut", "changed"])
def test_damaged_last__is_seen_and_the_one_before_is_taken(how: str, halfway: RunDir, caplog: pytest.LogCaptureFixture) -> None:
    from diptych.training.snapshots import read_snapshot

    damage(halfway.last, how)
    snapshot = read_snapshot(halfway)
    assert re.search(r"Warning: .*last\.safetensors is damaged", caplog.text)
    assert snapshot
    assert snapshot.path == halfway.previous
    assert snapshot.state.epoch == read_file(halfway.previous)[0]["state"]["epoch"]


def test_both_damaged__are_named_and_none_is_taken(halfway: RunDir, caplog: pytest.LogCaptureFixture) -> None:
    from diptych.training.snapshots import read_snapshot

    damage(halfway.last, "cut")
    damage(halfway.previous, "cut")
    assert read_snapshot(halfway) is None
    for name in ("last", "previous"):
        assert f"{name}.safetensors is damaged" in caplog.text


def test_same_command_without_name__goes_on_with_the_unfinished_run_from_what_is_whole(
    halfway: RunDir, reference: Reference, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(halfway.last, "cut")
    runs = ["--runs", str(halfway.root.parent)]
    assert main(["train", "--data", str(reference.data), "--epochs", str(EPOCHS), *SETTINGS, *runs]) == 0
    said = capsys.readouterr().out
    assert re.search(r"Warning: .*last\.safetensors is damaged", said)
    assert re.search(rf"Resuming {halfway.root} at epoch .*, from .*previous\.safetensors", said)
    assert [folder.name for folder in halfway.root.parent.iterdir()] == ["stopped"]
    assert reference.end.differences(read_end(halfway)) == []


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_full_disk__keeps_the_checkpoint_before(
    halfway: RunDir, reference: Reference, capsys: pytest.CaptureFixture[str]
) -> None:
    """Snapshots do not fit; the best checkpoint and best.keras still do."""
    before = halfway.last.read_bytes()
    with largest_file(halfway.last.stat().st_size - 1000):
        assert halfway.best.stat().st_size * 3 < len(before)
        assert main(["resume", str(halfway.root)]) == 0
    assert re.search(r"no checkpoint was written \(.*: File too large\); the one before is kept", capsys.readouterr().out)
    assert halfway.last.read_bytes() == before
    assert main(["resume", str(halfway.root)]) == 0
    assert reference.end.differences(read_end(halfway)) == []


def test_full_disk__for_the_best_checkpoint_ends_it_and_it_can_go_on(
    halfway: RunDir, reference: Reference, capsys: pytest.CaptureFixture[str]
) -> None:
    halfway.last.unlink()
    halfway.previous.unlink()
    with largest_file(halfway.best.stat().st_size // 2):
        assert main(["resume", str(halfway.root)]) == 1
    said = capsys.readouterr()
    assert "from its beginning" in said.out
    assert "best.safetensors" in said.err
    assert "; there is no earlier one to resume from" in said.out
    assert f"No checkpoint was written yet. Resume with: diptych resume {halfway.root}" in said.out
    assert main(["resume", str(halfway.root)]) == 0
    assert reference.end.differences(read_end(halfway)) == []


def test_changed_settings__are_named(halfway: RunDir, reference: Reference, capsys: pytest.CaptureFixture[str]) -> None:
    before = fingerprint(halfway.root)
    place = ["--runs", str(halfway.root.parent), "--name", "stopped", "--data", str(reference.data), "--epochs", str(EPOCHS)]
    changes = ["--learning-rate", "0.01", "--dropout", "0.3"]
    assert main(["train", *SETTINGS, *place, *changes]) == 2
    said = capsys.readouterr().err
    assert "learning_rate is 0.01, was 0.003" in said
    assert "dropout is 0.3, was 0.2" in said
    assert "width" not in said
    assert fingerprint(halfway.root) == before


@pytest.fixture
def movable(halfway: RunDir, reference: Reference, tmp_path: Path) -> Path:
    """The images of the run, in a copy that it was begun with."""
    images = tmp_path / "moved"
    shutil.copytree(reference.data, images)
    settings = halfway.config.read_text()
    assert str(reference.data) in settings
    halfway.config.write_text(settings.replace(str(reference.data), str(images)))
    return images


def test_changed_images__are_named(halfway: RunDir, movable: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (movable / "0" / "03.png").write_bytes(encode(make_image(0, 1000)))
    (movable / "1" / "05.png").unlink()
    (movable / "1" / "99.png").write_bytes(encode(make_image(1, 99)))
    before = fingerprint(halfway.root)
    assert main(["resume", str(halfway.root)]) == 2
    said = capsys.readouterr().err
    for change in ("0/03.png is another file", "1/05.png is gone", "1/99.png is new"):
        assert change in said
    assert fingerprint(halfway.root) == before


HOLDS = """
import sys, time
from pathlib import Path
from diptych.storage.lock import only_one
from diptych.storage.run_dir import RunDir
with only_one(RunDir(Path(sys.argv[1]))):
    print("held", flush=True)
    time.sleep(600)
"""


def test_other_process__is_named_as_the_reason(
    halfway: RunDir, reference: Reference, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    child = Child(tmp_path, tmp_path / "said.txt", halfway.root, code=HOLDS)
    assert child.wait_for(lambda: "held" in child.said.read_text()), child.said.read_text()
    try:
        assert main(["resume", str(halfway.root)]) == 2
        assert "is being trained by another process" in capsys.readouterr().err
    finally:
        child.kill()


def test_more_epochs__are_as_if_they_had_been_asked_for_at_once(reference: Reference, tmp_path: Path) -> None:
    run = RunDir(tmp_path / "runs" / "longer")
    place = ["--data", str(reference.data), "--runs", str(run.root.parent), "--name", "longer"]
    assert main(["train", *place, *SETTINGS, "--epochs", "2"]) == 0
    assert read_file(run.last)[0]["state"]["epoch"] == 2
    assert main(["resume", str(run.root), "--epochs", str(EPOCHS)]) == 0
    assert reference.end.differences(read_end(run)) == []


def test_finished_run__has_nothing_to_go_on_with(reference: Reference, capsys: pytest.CaptureFixture[str]) -> None:
    before = fingerprint(reference.run.root)
    assert main(["resume", str(reference.run.root)]) == 2
    assert "is finished" in capsys.readouterr().err
    assert main(["resume", str(reference.run.root), "--epochs", "3"]) == 2
    assert "only more are allowed" in capsys.readouterr().err
    assert fingerprint(reference.run.root) == before


def test_killed_before_best_keras_was_written__is_finished_by_the_same_command(reference: Reference, tmp_path: Path) -> None:
    shutil.copytree(reference.run.root, tmp_path / "runs" / "reference")
    run = RunDir(tmp_path / "runs" / "reference")
    run.best_keras.unlink()
    train = ["train", "--data", str(reference.data), "--runs", str(run.root.parent), "--name", "reference"]
    assert main([*train, "--epochs", str(EPOCHS), *SETTINGS]) == 0
    assert run.best_keras.is_file()
    assert reference.end.differences(read_end(run)) == []


# Decoupled weight decay this strong multiplies every weight by about -9 in each step, until it is too large for a float.
DIVERGING = ("--optimizer", "adamw", "--learning-rate", "9.9", "--weight-decay", "0.99", "--schedule", "constant")


def test_divergence__says_where_and_keeps_the_last_good_state(
    reference: Reference, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunDir(tmp_path / "runs" / "wild")
    train = ["train", "--data", str(reference.data), "--runs", str(run.root.parent), "--name", "wild", "--epochs", "50"]
    assert main([*train, *SETTINGS, *DIVERGING]) == 2
    said = capsys.readouterr()
    found = re.search(r"not finite any more in epoch (\d+), batch (\d+) of (\d+), step (\d+)", said.err)
    assert found, said
    epoch, batch, batches, step = map(int, found.groups())
    assert (epoch - 1) * batches + batch == step
    assert "--learning-rate" in said.err
    state = read_file(run.last)[0]["state"]
    assert 0 < state["epoch"] * batches + state["batch"] < step
    assert len(run.history.read_text().splitlines()) == epoch
    from diptych.training.snapshots import read_snapshot

    snapshot = read_snapshot(run)
    assert snapshot
    for name, array in snapshot.arrays.items():
        assert not name.startswith("model/") or np.isfinite(array.astype(np.float64)).all(), name


class Pressing:
    """Images of which one reading presses Ctrl-C."""

    def __init__(self, images: np.ndarray, first: int, times: int) -> None:
        """Press when the row `first` is read at the beginning of a batch for the so-manyth time."""
        self.images, self.first, self.times = images, first, times

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        if rows[0] == self.first:
            self.times -= 1
            if self.times == 0:
                os.kill(os.getpid(), signal.SIGINT)
        return self.images[rows]


@pytest.mark.on_tensorflow
def test_ctrl_c_in_the_validation__goes_on_with_the_validation(tmp_path: Path) -> None:
    import pandas as pd

    from diptych.data.reading.manifest import Manifest
    from diptych.errors import Stopped
    from diptych.settings.config import Config, ModelConfig, TrainingConfig
    from diptych.settings.presets import augmentation
    from diptych.training.fit import fit, new_network
    from diptych.training.loop import TrainingTask
    from diptych.training.snapshots import read_snapshot

    parts = ["train"] * 12 + ["validation"] * 40
    names = [f"{number}.png" for number in range(len(parts))]
    targets = np.arange(len(parts)) % 2
    manifest = Manifest(
        tmp_path, pd.DataFrame({"path": names, "image_name": names, "target": targets, "split": parts}), ("0", "1"), (), ""
    )
    images = np.stack([make_image(target, number) for number, target in enumerate(targets)])
    config = Config(
        model=ModelConfig(weights="none", branches="convnet", width=0.125, dense_units=8),
        training=TrainingConfig(epochs=3, batch_size=4, ema=0.9, learning_rate=3e-3, plateau_patience=1, early_stopping=3),
        augment=augmentation("standard"),
    )
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, image_size=32))
    whole, stopped = RunDir(tmp_path / "whole"), RunDir(tmp_path / "stopped")
    fit(TrainingTask(new_network(config, 2), whole, config, manifest, images))
    # On TensorFlow, Keras reads the first batches twice.
    with pytest.raises(Stopped) as caught:
        fit(TrainingTask(new_network(config, 2), stopped, config, manifest, Pressing(images, 32, 2)))
    assert caught.value.exit_code == 130
    snapshot = read_snapshot(stopped)
    assert snapshot
    assert (snapshot.state.epoch, snapshot.state.batch) == (1, 3)
    fit(TrainingTask(new_network(config, 2), stopped, config, manifest, images), snapshot)
    assert read_end(whole).differences(read_end(stopped)) == []


# On PyTorch, which checks every piece of memory that it asks for: TensorFlow on a processor may crash or hang for want of a
# small one, in code of its own. That its errors are known for what they are is tested in tests/test_backend.py.
SCARCE = """
import resource, sys
from diptych.machine.backend import load_backend
load_backend("torch")
import keras, numpy
network = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
network.compile("adam", "mse")
network.fit(numpy.zeros((8, 8)), numpy.zeros((8, 1)), verbose=0)
pages = int(open("/proc/self/statm").read().split()[0])
limits = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 4000 * 2**20, limits[1]))
from diptych.cli import main
sys.exit(main(sys.argv[1:]))
"""
LARGE = (
    *("--weights", "none", "--branches", "convnet", "--image-size", "64", "--epochs", "1"),
    *("--augment", "none", "--no-near-twins", "--backend", "torch"),
)


def test_out_of_memory__says_which_batch_size_would_fit(reference: Reference, tmp_path: Path) -> None:
    skip_unless_installed("torch")
    train = ("train", "--data", reference.data, "--name", "large", *LARGE)
    child = Child(tmp_path, tmp_path / "said.txt", *train, "--batch-size", 10000, code=SCARCE)
    code, said = child.finish(), child.said.read_text()
    assert code == 2, said
    found = re.search(r"batches of 10000 images of 64 px do not fit .* --batch-size (\d+) should", said)
    assert found, said
    fits = int(found.group(1))
    assert 8 <= fits <= 5000
    again = Child(tmp_path, tmp_path / "again.txt", *train[:4], "smaller", *LARGE, "--batch-size", fits, code=SCARCE)
    assert again.finish() == 0, again.said.read_text()


def test_folds__of_a_killed_process_go_on_with_the_one_that_was_open(
    reference: Reference, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "diptych")
    folds = RunDir(tmp_path / "runs" / "folds")
    first, second = (RunDir(folds.root / f"fold-{number}") for number in (1, 2))
    train = ("train", "--data", reference.data, "--name", "folds", "--folds", 2, "--epochs", 4, *SETTINGS)
    child = Child(tmp_path, tmp_path / "said.txt", *train)
    assert child.wait_for(second.history.is_file), child.said.read_text()
    assert child.kill() == -signal.SIGKILL
    assert not second.best_keras.is_file()
    before = fingerprint(first.root)
    child = Child(tmp_path, tmp_path / "again.txt", *train)
    assert child.finish() == 0, child.said.read_text()
    said = child.said.read_text()
    assert "Resuming runs/folds/fold-2" in said
    assert "fold 1" not in said
    assert fingerprint(first.root) == before
    settings = folds.root / "splits" / "fold-2.toml"
    assert main(["train", "--config", str(settings), "--runs", str(tmp_path / "runs"), "--name", "whole"]) == 0
    assert read_end(RunDir(tmp_path / "runs" / "whole")).differences(read_end(second)) == []
