"""A session of Python with Diptych, in a process of its own, that writes down what it saw: `python api_session.py IMAGES`."""

import io
import json
import logging
import os
import random
import shutil
import signal
import socket
import sys
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

# Loaded before, as in a notebook: what they change of the process when they are loaded is not Diptych's doing.
import cv2
import keras
import matplotlib.pyplot as plt
import numpy as np
import optuna
import pandas as pd
import seaborn
import sklearn.metrics
import torch
from PIL import Image

import diptych

LOADED = (seaborn, sklearn.metrics, pd)


def state() -> dict[str, Any]:
    """Everything of this process that is its owner's."""
    loggers = {
        name: logging.getLogger(name) for name in ("", "diptych", "tensorflow", "jax._src.xla_bridge", "mlflow", "alembic")
    }
    return {
        "random": random.getstate(),
        "numpy": [str(part) for part in np.random.get_state()],  # noqa: NPY002
        "numpy errors": np.geterr(),
        "torch": torch.get_rng_state().tolist(),
        "keras": keras.config.dtype_policy().name,
        "warnings": list(warnings.filters),
        "timeout": socket.getdefaulttimeout(),
        "environment": dict(os.environ),
        "folder": Path.cwd(),
        "backend": plt.get_backend(),
        "figures": plt.get_fignums(),
        "style": dict(plt.rcParams),
        "threads": cv2.getNumThreads(),
        "optuna": optuna.logging.get_verbosity(),
        "loggers": {n: (each.level, list(each.handlers), list(each.filters), each.propagate) for n, each in loggers.items()},
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "streams": (sys.stdout, sys.stderr),
    }


class PressCtrlC(logging.Handler):
    """Presses Ctrl-C when the first epoch is done."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("epoch 1/"):
            signal.raise_signal(signal.SIGINT)


def main() -> None:
    images = Path(sys.argv[1])
    settings: Any = json.loads(sys.argv[2])
    found: dict[str, Any] = {}
    random.seed(5)
    socket.setdefaulttimeout(77)
    warnings.filterwarnings("error", module="diptych")
    torch.manual_seed(5)
    before = state()

    press = PressCtrlC()
    said = io.StringIO()
    with redirect_stdout(said):
        logging.getLogger("diptych.training.loop").addHandler(press)
        try:
            diptych.train(images, name="", **settings)
        except diptych.Stopped as stopped:
            found["stopped"] = isinstance(stopped, KeyboardInterrupt)
        logging.getLogger("diptych.training.loop").removeHandler(press)
        found["rows when stopped"] = len(diptych.open_run(next(Path("runs").iterdir())).history)
        run = diptych.train(str(images), **settings)
    found["said"] = said.getvalue()
    found["run"] = run.name
    found["runs"] = [path.name for path in Path("runs").iterdir()]
    found["columns"], found["epochs"] = list(run.history), len(run.history)
    found["html"] = run._repr_html_()

    before_predictions = sorted(map(str, Path.cwd().rglob("*")))
    files = [images / "0" / "test0.png", images / "1" / "test0.png"]
    arrays = [np.asarray(Image.open(file)) for file in files]
    quiet = io.StringIO()
    with redirect_stdout(quiet):
        by_path = run.predict(files)
        tables = {
            "text": run.predict([str(file) for file in files]),
            "arrays": run.predict(arrays),
            "stack": run.predict(np.stack(arrays)),
            "pil": run.predict([Image.open(file) for file in files]),
            "mixed": run.predict([files[0], arrays[1]]),
            "again": diptych.open_run(run.folder).predict(files),
        }
        folder = run.predict(images / "1")
        found["one"] = len(run.predict(arrays[0]))
        found["probabilities"] = run.predict_proba(files).tolist()
        (explained,) = run.explain(arrays[:1])
        figure = run.plot()
    found["quiet"] = quiet.getvalue()
    found["left behind"] = sorted(set(map(str, Path.cwd().rglob("*"))) - set(before_predictions))
    columns = ["predicted_class", "probability", "probability_0", "probability_1", "answered", "problem"]
    found["same"] = {name: bool(table[columns].equals(by_path[columns])) for name, table in tables.items()}
    found["near"] = {name: float((table["probability"] - by_path["probability"]).abs().max()) for name, table in tables.items()}
    found["names"] = {name: list(table["path"]) for name, table in tables.items()}
    found["folder"] = [len(folder), int((folder["problem"] != "").sum())]
    found["by path"] = by_path[["probability_0", "probability_1"]].to_numpy(float).tolist()
    found["explained"] = [repr(explained), explained.png[:4].hex()]
    found["figure"] = [
        type(figure).__mro__[1].__name__,
        [axes.get_title() for axes in figure.axes],
        figure._repr_png_()[:4].hex(),
    ]

    with redirect_stdout(said):
        report = run.evaluate(threshold="youden", by="kind", maps=0)
        run.predict(files[0], "table.csv")
        shutil.copytree(run.folder, "copy")
        compared = diptych.compare(run, "copy")
        checked = diptych.check(images)
        diptych.check(images, output="checked", verbose=False)
    found["check"] = [checked.ok, checked._repr_html_()]
    found["report"] = report._repr_html_()
    found["accuracy"] = report.metrics.accuracy.value
    found["rule"] = run.decision.rule
    found["by"] = list(report.subgroups)
    found["compared"] = [compared.images, compared._repr_html_()]

    old = run.network
    run.resume(epochs=3, verbose=False)
    found["resumed"] = [run.config.training.epochs, len(run.history), run.network is old]
    found["again"] = diptych.evaluate(run, threshold="f1", keep=True, maps=0, verbose=False).decision.rule

    decision = run.run_dir.decision.read_text(encoding="utf-8")
    best = run.run_dir.best.read_bytes()
    run.run_dir.best.write_bytes(best + b" ")
    try:
        run.evaluate(keep=True, maps=0, verbose=False)
    except diptych.CheckpointError as error:
        found["stale"] = str(error)
    found["decision kept"] = run.run_dir.decision.read_text(encoding="utf-8") == decision
    run.run_dir.best.write_bytes(best)

    after = state()
    found["changed"] = [name for name, value in before.items() if repr(value) != repr(after[name])]
    found["tensorflow"] = "tensorflow" in sys.modules
    Path("found.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
