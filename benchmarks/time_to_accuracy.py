"""Wall time from the start of `diptych train` until the test accuracy on ELPV first stands at 88.4 %, from random weights and
with the split of elpv_split.csv. The published CNN, which began with ImageNet's weights, reached 88.42 % (Deitsch et al., Solar
Energy 185, 2019). The value is null where it is never reached; the best figure is given in any case.

The training is one process, as a user starts it. Beside it, this one looks ten times a second whether checkpoints/
best.safetensors is a new file, and keeps a second name of it with the time; it reads nothing and stops nothing. Once the
training has ended, all of them are tested, and this time is counted by itself, as `testing_seconds`. So the time is that at
which a user would have had these weights on the disk: reading and preparing the images, loading Keras, building the graph and
validating are in it. To look at the test along the way is for this measurement alone. It chooses nothing: the training knows
nothing of it, and which weights are kept at each moment is decided by the validation images.

The reference is the recipe by hand of quick.py, plain Keras: a ResNet50 at 96 px in a process of its own, with one cycle of the
rate over the same wall time as our whole training took, tested after each epoch (that time is taken out).

Flags that are not named below go to `diptych train`.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quick import SPLIT, run_by_hand

TARGET = 0.884
LOOKS_PER_SECOND = 10


def train(data: Path, runs: Path, passed: Sequence[str], kept: Path) -> tuple[float, list[tuple[float, Path]]]:
    """Train, and keep each best checkpoint as it comes.

    Returns:
        The seconds of the whole process; and of each checkpoint the seconds after its start at which it was there, and where
        it is now.
    """
    package = Path(__file__).resolve().parents[1] / "src"
    found = os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH")]))
    flags = ["--data", data, "--split", SPLIT, "--weights", "none", "--runs", runs, "--name", "timed", *passed]
    command = [sys.executable, "-m", "diptych", "train", *map(str, flags)]
    best, seen, last = runs / "timed" / "checkpoints" / "best.safetensors", [], 0
    started = time.time()
    child = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": found}, stdout=sys.stderr)
    running = True
    while running:
        # Once more after the end, for what came last.
        running = child.poll() is None
        if best.is_file() and best.stat().st_ino != last:
            place = kept / f"{len(seen):04d}.safetensors"
            # A second name, not a copy: the training moves a new file into place and never writes into this one.
            os.link(best, place)
            last = place.stat().st_ino
            seen.append((time.time() - started, place))
        time.sleep(running / LOOKS_PER_SECOND)
    if child.returncode != 0:
        sys.exit(f"diptych train ended with exit code {child.returncode}.")
    return time.time() - started, seen


def test_all(runs: Path, data: Path, seen: Sequence[tuple[float, Path]], tta: bool) -> list[dict[str, float]]:
    """Test the kept checkpoints, one after another, and return the figures of each with its time."""
    from diptych.machine.backend import load_backend

    load_backend()
    from diptych.evaluation.evaluate import evaluate
    from diptych.model.checkpoint import read_checkpoint
    from diptych.storage.run_dir import RunDir

    run, rows = RunDir(runs / "timed"), []
    for seconds, place in seen:
        place.replace(run.best)
        figures = evaluate(run, data, tta=tta, maps=0)
        epoch = read_checkpoint(run.best).facts["epoch"]
        rows.append({"seconds": seconds, "epoch": epoch, "accuracy": figures["test_accuracy"], "auc": figures["roc_auc"]})
    return rows


def first_at(rows: Sequence[dict[str, float]], target: float) -> float | None:
    """Return the seconds of the first row whose accuracy is at the target; None where there is none."""
    return next((row["seconds"] for row in rows if row["accuracy"] >= target), None)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--data", type=Path, default=Path("data/elpv"))
    parser.add_argument("--target", type=float, default=TARGET, help="the test accuracy to reach")
    parser.add_argument("--tta", action="store_true", help="test each checkpoint with test-time augmentation")
    parser.add_argument("--no-reference", action="store_true", help="leave the reference out")
    parser.add_argument("--keep", type=Path, help="copy the run to this folder at the end")
    arguments, passed = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        runs, kept = Path(folder) / "runs", Path(folder) / "kept"
        kept.mkdir()
        seconds, seen = train(arguments.data, runs, passed, kept)
        started = time.time()
        rows = test_all(runs, arguments.data, seen, arguments.tta)
        testing = time.time() - started
        if arguments.keep:
            shutil.copytree(runs / "timed", arguments.keep)
    by_hand: dict[str, Any] | None = None
    if not arguments.no_reference:
        by_hand = run_by_hand(arguments.data, "--seconds", seconds, "--epochs", 100_000)
    value, reference = first_at(rows, arguments.target), by_hand and first_at(by_hand["tests"], arguments.target)
    result = {"benchmark": "time_to_accuracy", "value": value, "reference": reference}
    result |= {"ratio": value / reference if value and reference else None, "unit": f"s to {arguments.target:.1%} test accuracy"}
    result |= {"best_accuracy": max(row["accuracy"] for row in rows), "last": rows[-1], "train_seconds": seconds}
    result |= {"testing_seconds": testing, "tta": arguments.tta, "train": passed, "checkpoints": rows}
    if by_hand:
        result |= {"reference_best_accuracy": max(row["accuracy"] for row in by_hand["tests"]), "by_hand": by_hand}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
