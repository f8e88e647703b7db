"""What mypy is to see of the public names; tests/test_typing.py runs it. Nothing here is executed."""

from pathlib import Path
from typing import assert_type

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

import diptych
from diptych.sklearn import DualClassifier

run = diptych.train("cats-dogs", preset="quick", epochs=5, learning_rate=1e-3, cache=Path("cache"))
assert_type(run, diptych.Run)
assert_type(run.history, pd.DataFrame)
assert_type(run.class_names, tuple[str, ...])
assert_type(run.predict(["photo.jpg", np.zeros((4, 4, 3), np.uint8), Image.new("RGB", (4, 4))]), pd.DataFrame)
assert_type(run.plot(), Figure)
assert_type(run.resume(epochs=10), diptych.Run)
report = run.evaluate(threshold="youden", by=["site"])
assert_type(report, diptych.Report)
assert_type(report.metrics.accuracy.value, float | None)
assert_type(diptych.open_run("runs/colours", backend="torch"), diptych.Run)
assert_type(diptych.check("cats-dogs", group_column="patient").ok, bool)
assert_type(diptych.compare(run, "runs/other"), diptych.Comparison)
assert_type(diptych.Config().training.epochs, int)
assert_type(diptych.TrainingConfig(optimizer="adamw"), diptych.TrainingConfig)
assert_type(DualClassifier(epochs=3, branches="convnet").run_, diptych.Run)
try:
    diptych.resume(run)
except diptych.Stopped as stopped:
    assert_type(stopped.exit_code, int)

# What mypy refuses: an unused ignore is an error.
diptych.train("cats-dogs", epoch=5)  # type: ignore[call-arg]
diptych.train("cats-dogs", epochs="5")  # type: ignore[arg-type]
diptych.train("cats-dogs", preset="fast")  # type: ignore[arg-type]
diptych.train(diptych.Config())  # type: ignore[arg-type]
diptych.TrainingConfig(optimizer="sgd")  # type: ignore[arg-type]
diptych.open_run("colours", backend="numpy")  # type: ignore[arg-type]
run.predict(3)  # type: ignore[arg-type]
run.evaluate("data", "youden")  # type: ignore[call-arg]
print(run.nothing)  # type: ignore[attr-defined]
print(diptych.nothing)  # type: ignore[attr-defined]
