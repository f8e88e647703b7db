"""The plots show what the run holds, are pictures with something in each corner, and need no network."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from making import run_python
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from scoring import of_two, report_of

from diptych.errors import CheckpointError
from diptych.evaluation.plots import draw_against_epoch, plot
from diptych.inference.prediction_table import with_predictions
from diptych.storage.arrays import write_arrays
from diptych.storage.atomic import write_json, write_table
from diptych.storage.run_dir import RunDir, write_classes
from diptych.training.state import read_kept_epoch

CURVES = ["accuracy.png", "loss.png", "learning_rate.png"]

PLOT = """
import sys
from pathlib import Path
from diptych.evaluation.plots import plot
from diptych.storage.run_dir import RunDir
plot(RunDir(Path(sys.argv[1])))
loaded = [name for name in ("keras", "tensorflow", "jax", "torch") if name in sys.modules]
sys.exit(f"loaded: {loaded}" if loaded else 0)
"""


def assert_is_a_picture(path: Path) -> None:
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert 600 <= image.width <= 2000
        assert 500 <= image.height <= 1600
        pixels = np.asarray(image.convert("RGB"))
    ink = (pixels < 200).any(axis=-1)
    assert 0.005 < ink.mean() < 0.9
    # Something is drawn in each quarter: the axes are named, and nothing is squeezed into a corner.
    for half in np.array_split(ink, 2, axis=0):
        for quarter in np.array_split(half, 2, axis=1):
            assert quarter.any()


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Axes]:
    """The axes that Matplotlib makes, in their order."""
    found: list[Axes] = []
    add_subplot = Figure.add_subplot

    def keep(drawing: Figure, *arguments: object, **options: object) -> Axes:
        found.append(add_subplot(drawing, *arguments, **options))
        return found[-1]

    monkeypatch.setattr(Figure, "add_subplot", keep)
    return found


def titled(drawn: list[Axes], start: str) -> Axes:
    (only,) = [axes for axes in drawn if axes.get_title().startswith(start)]
    return only


def line(axes: Axes, label: str) -> list[list[float]]:
    """The x and y values of the line whose label begins so."""
    (only,) = [line for line in axes.lines if str(line.get_label()).startswith(label)]
    return [list(only.get_xdata()), list(only.get_ydata())]


def test_plot__test_is_that_of_the_predictions(tested, drawn):
    plot(tested)
    predictions, figures = pd.read_csv(tested.predictions), json.loads(tested.metrics.read_text())
    matrix, roc = titled(drawn, "Test: accuracy"), titled(drawn, "Test: ROC")
    counts = np.array(figures["confusion_matrix"])
    shares = counts / counts.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.reshape(matrix.collections[0].get_array(), (2, 2)), shares)
    shown = [text.get_text().splitlines()[0] for text in matrix.texts]
    assert shown == [str(count) for count in counts.ravel()]
    assert (matrix.get_xlabel(), matrix.get_ylabel()) == ("predicted class", "true class")
    false_rates, true_rates = line(roc, "test images")
    assert np.trapezoid(true_rates, false_rates) == pytest.approx(figures["roc_auc"])
    # At the threshold 0.5, with the axes the right way round.
    above = predictions["probability_1"] >= 0.5
    point = [above[predictions["target"] == target].mean() for target in (0, 1)]
    assert np.isclose(np.interp(point[0] + 1e-9, false_rates, true_rates), point[1])


def test_plot__curves_of_several_classes_are_their_own(run, drawn):
    plot(with_figures(run, np.arange(60) % 3, 3))
    roc = titled(drawn, "Test: ROC")
    for row in json.loads(run.metrics.read_text())["per_class"]:
        false_rates, true_rates = line(roc, f"{row['roc_auc']:.3f}  {row['class_name']}")
        assert np.trapezoid(true_rates, false_rates) == pytest.approx(row["roc_auc"])


def test_plot__without_an_evaluation_draws_the_curves(run):
    files = plot(run)
    assert [path.name for path in files] == CURVES
    for path in files:
        assert_is_a_picture(path)


def test_plot__with_an_evaluation_draws_the_test_too(tested):
    files = plot(tested)
    assert [path.name for path in files] == [*CURVES, "confusion_matrix.png", "roc.png"]
    for path in files:
        assert_is_a_picture(path)
    assert sorted(tested.plots.iterdir()) == sorted(files)


def test_plot__of_one_class_has_no_roc_curve(run):
    probabilities = np.array([0.2, 0.6], np.float32)
    write_json(run.metrics, report_of(np.array([1, 1]), probabilities).to_json())
    write_table(run.predictions, with_predictions(pd.DataFrame({"target": [1, 1]}), of_two(probabilities)))
    assert [path.name for path in plot(run)] == [*CURVES, "confusion_matrix.png"]


def with_figures(run: RunDir, targets: np.ndarray, classes: int) -> RunDir:
    """Give a run figures and predictions of K classes, the higher ones being harder to tell."""
    noise = np.random.default_rng(0).normal(size=(len(targets), classes))
    scores = np.exp(noise + np.linspace(5, 1, classes)[targets, None] * np.eye(classes)[targets])
    probabilities = (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)
    names = [f"kind {number}" for number in range(classes)]
    write_classes(run, names)
    write_json(run.metrics, report_of(targets, probabilities, names).to_json())
    write_table(run.predictions, with_predictions(pd.DataFrame({"target": targets}), probabilities, names))
    return run


@pytest.mark.parametrize("classes", [3, 12, 100])
def test_plot__of_many_classes(run, classes):
    files = plot(with_figures(run, np.arange(6 * classes) % classes, classes))
    assert [path.name for path in files] == [*CURVES, "confusion_matrix.png", "roc.png"]
    for path in files:
        assert_is_a_picture(path)


def test_plot__of_many_classes_whose_test_lacks_some(run):
    files = plot(with_figures(run, np.arange(30) % 3 + 2, 10))
    assert [path.name for path in files] == [*CURVES, "confusion_matrix.png", "roc.png"]
    for path in files:
        assert_is_a_picture(path)


def test_plot__of_long_and_odd_class_names(run):
    targets, probabilities = np.array([0, 1, 1]), np.array([0.2, 0.6, 0.4], np.float32)
    names = ["a very long name of a class, " * 9, "_$x_1 \\frac{$ 猫"]
    write_classes(run, names)
    write_json(run.metrics, report_of(targets, probabilities, names).to_json())
    write_table(run.predictions, with_predictions(pd.DataFrame({"target": targets}), of_two(probabilities), names))
    for path in plot(run):
        assert_is_a_picture(path)


def test_plot__of_a_single_epoch(run):
    write_table(run.history, pd.read_csv(run.history).head(1))
    for path in plot(run):
        assert_is_a_picture(path)


def lines_of(history: pd.DataFrame, column: str, kept: int | None) -> dict[str, np.ndarray]:
    axes = Figure().add_subplot()
    draw_against_epoch(axes, history, column, kept)
    return {str(line.get_label()): line.get_xydata() for line in axes.lines}


@pytest.mark.parametrize("column", ["accuracy", "loss"])
def test_draw_against_epoch__shows_both_lines_and_the_kept_epoch(run, column):
    history = pd.read_csv(run.history)
    lines = lines_of(history, column, 4)
    assert lines["training"].tolist() == history[["epoch", column]].to_numpy(float).tolist()
    assert lines["validation"].tolist() == history[["epoch", f"val_{column}"]].to_numpy(float).tolist()
    assert lines["kept (epoch 4)"].tolist() == [[4, history[f"val_{column}"][3]]]
    assert sorted(lines_of(history, column, None)) == ["training", "validation"]


def test_read_kept_epoch__is_that_of_the_best_checkpoint_not_of_the_lowest_loss(run):
    """With growing images, the best is judged anew at each size."""
    assert read_kept_epoch(run) is None
    write_arrays(run.best, {"model/0": np.zeros(1)}, {"epoch": 5})
    assert read_kept_epoch(run) == 5
    plot(run)


def test_plot__leaves_a_notebook_its_figures(run):
    code = f"""
import matplotlib, sys
matplotlib.use("svg")
from matplotlib import pyplot
mine = pyplot.figure()
from diptych.evaluation.plots import plot
from diptych.storage.run_dir import RunDir
plot(RunDir({str(run.root)!r}))
print(matplotlib.get_backend(), pyplot.get_fignums() == [mine.number])
"""
    done = run_python("-c", code)
    assert done.stdout == "svg True\n", done.stderr


def test_plot__again_shows_what_has_changed(run):
    before = plot(run)[0].read_bytes()
    history = pd.read_csv(run.history)
    write_table(run.history, history.assign(val_accuracy=history["val_accuracy"] / 2))
    assert plot(run)[0].read_bytes() != before


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(None, id="missing"),
        pytest.param("", id="empty"),
        pytest.param("epoch,loss,accuracy,val_loss,val_accuracy,learning_rate\n", id="no epoch yet"),
        pytest.param("epoch,loss\n1,0.5\n", id="columns missing"),
    ],
)
def test_plot__without_a_history(run, content):
    run.history.unlink()
    if content is not None:
        run.history.write_text(content)
    with pytest.raises(CheckpointError, match=r"history\.csv.*diptych train"):
        plot(run)


def test_plot__loads_no_network_library(tested):
    done = run_python("-W", "error", "-c", PLOT, tested.root)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
