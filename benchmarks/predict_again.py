"""How long an open run takes to answer again: one small image, on PyTorch and on TensorFlow, in milliseconds.

    python benchmarks/predict_again.py

Each backend has a process of its own. The reference is what the first answer takes, in which the network is loaded.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

REPEATS = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--here", action="store_true", help="measure in this process, on the backend of KERAS_BACKEND")
    if parser.parse_args().here:
        print(json.dumps(measure()))
        return
    found = {}
    for backend in ("torch", "tensorflow"):
        environment = {**os.environ, "KERAS_BACKEND": backend}
        done = subprocess.run([sys.executable, __file__, "--here"], env=environment, capture_output=True, text=True, check=True)
        found[backend] = json.loads(done.stdout.splitlines()[-1])
        print(f"{backend}: first answer {found[backend][0]:.0f} ms, then {found[backend][1]:.1f} ms")
    first, again = max(found.values(), key=lambda times: times[1])
    line = {
        "benchmark": "predict_again",
        "value": round(again, 1),
        "reference": round(first, 1),
        "ratio": round(again / first, 4),
    }
    print(json.dumps({**line, "unit": "ms", "backends": found}))


def measure() -> tuple[float, float]:
    """Return the milliseconds of the first answer, and the median of later ones, with a network of random weights."""
    import diptych
    from diptych.model.checkpoint import save_checkpoint
    from diptych.settings.sources import to_toml
    from diptych.storage.atomic import write_json, write_text
    from diptych.storage.run_dir import RunDir, write_classes

    names = ["a", "b"]
    with tempfile.TemporaryDirectory() as folder:
        run = RunDir(Path(folder) / "run")
        config = diptych.Config(data=diptych.DataConfig(image_size=64), model=diptych.ModelConfig(weights="none", width=0.25))
        write_text(run.config, to_toml(config))
        write_json(run.environment, {"format_version": 1, "created": "2026-01-01T00:00:00+00:00"})
        write_classes(run, names)
        save_checkpoint(run.best, diptych.build_network(config.model), {"epoch": 1, "class_names": names})
        image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        opened, times = diptych.open_run(run), []
        for _ in range(REPEATS):
            started = time.perf_counter()
            opened.predict(image)
            times.append(1000 * (time.perf_counter() - started))
    return times[0], float(np.median(times[1:]))


if __name__ == "__main__":
    main()
