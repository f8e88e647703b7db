"""Predictions of new images: the files that are meant, and the same answer however they come."""

import io
import shutil
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from hand_network import hand_network, hand_probability
from making import encode
from scoring import of_two

from diptych.cli import main
from diptych.data.pixels.decode import ImageSpec
from diptych.data.pixels.prepare import prepare
from diptych.inference.decision import Decision
from diptych.inference.predict import predict, predict_probabilities
from diptych.inference.prediction_table import read_probabilities, with_predictions
from diptych.model.checkpoint import load_run_network


def test_with_predictions__cuts_at_one_half():
    table = with_predictions(pd.DataFrame({"path": ["a", "b"]}), of_two([0.5, 0.49]))
    assert list(table["predicted_target"]) == [1, 0]


def test_with_predictions__names_the_class_of_two():
    table = with_predictions(pd.DataFrame({"path": ["a", "b"]}), of_two([0.5, 0.49]), ("cat", "dog"))
    own = ["predicted_target", "predicted_class", "probability", "probability_cat", "probability_dog", "answered", "class_set"]
    assert list(table.columns) == ["path", *own]
    assert list(table["predicted_class"]) == ["dog", "cat"]
    # Of the answer, whichever class it is.
    assert list(table["probability"]) == pytest.approx([0.5, 0.51])
    assert list(table["probability_cat"]) == pytest.approx([0.5, 0.51])
    assert list(table["probability_dog"]) == pytest.approx([0.5, 0.49])


def test_with_predictions__below_one_half_where_the_threshold_decides_so():
    table = with_predictions(pd.DataFrame({"path": ["a"]}), of_two([0.3]), ("cat", "dog"), Decision(threshold=0.2))
    assert (table["predicted_class"][0], table["probability"][0]) == ("dog", pytest.approx(0.3))


def test_with_predictions__odd_class_names_and_columns_of_the_user_survive_csv():
    names = ("a,b", 'say "x"', "probability", "été|2")
    shares = np.array([[0.1, 0.2, 0.3, 0.4]], np.float32)
    written = with_predictions(pd.DataFrame({"path": ["a"], "probability": ["1/3"], "answered": ["no"]}), shares, names)
    table = pd.read_csv(io.StringIO(written.to_csv(index=False)))
    assert (table["given_probability"][0], table["given_answered"][0]) == ("1/3", "no")
    assert [table[f"probability_{name}"][0] for name in names] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert table["probability"][0] == pytest.approx(0.4)
    assert table.columns.is_unique
    np.testing.assert_allclose(read_probabilities(table, names), shares, rtol=1e-6)


def test_with_predictions__of_three_classes():
    probabilities = np.array([[0.2, 0.3, 0.5], [0.7, 0.2, 0.1]], np.float32)
    rows = pd.DataFrame({"path": ["a", "b"], "probability_dog": ["mine", "too"]}, index=[7, 3])
    table = with_predictions(rows, probabilities, ("cat", "dog", "a fish"))
    further = ["probability_cat", "probability_dog", "probability_a fish"]
    own = ["predicted_target", "predicted_class", "probability", *further, "answered", "class_set"]
    assert list(table.columns) == ["path", "given_probability_dog", *own]
    assert list(table.index) == [7, 3]
    assert list(table["predicted_target"]) == [2, 0]
    assert list(table["predicted_class"]) == ["a fish", "cat"]
    assert list(table["probability"]) == pytest.approx([0.5, 0.7])
    np.testing.assert_allclose(table[further], probabilities, rtol=1e-6)


def test_with_predictions__of_a_thousand_classes():
    names = [str(number) for number in range(1000)]
    table = with_predictions(pd.DataFrame({"path": ["a"]}), np.eye(1000, dtype=np.float32)[[999]], names)
    assert (table["predicted_class"][0], table["probability_999"][0], table.shape) == ("999", 1, (1, 1006))


def test_predict__of_three_classes_and_an_unreadable_file(of_three, tmp_path):
    bad = tmp_path / "bad.png"
    bad.touch()
    files = [of_three.data / "ash" / "0.png", bad, of_three.data / "2 cedar" / "11.png"]
    table = predict(of_three.run, files, tmp_path / "out.csv")
    expected = keras.ops.convert_to_numpy(of_three.network(of_three.pixels[[0, 11]]))
    columns = ["probability_ash", "probability_10 birch", "probability_2 cedar"]
    np.testing.assert_allclose(table[columns].iloc[[0, 2]], expected, rtol=0, atol=1e-5)
    names = np.array(["ash", "10 birch", "2 cedar"])[expected.argmax(axis=1)]
    assert list(table["predicted_class"].iloc[[0, 2]]) == list(names)
    np.testing.assert_allclose(table["probability"].iloc[[0, 2]].astype(float), expected.max(axis=1), atol=1e-5)
    assert table.drop(columns=["path", "problem"]).iloc[1].isna().all()
    assert list(table["problem"]) == ["", "the file is empty", ""]
    written = pd.read_csv(tmp_path / "out.csv", keep_default_na=False)
    predicted = ["predicted_target", "predicted_class", "probability"]
    assert list(written.columns) == ["path", *predicted, *columns, "answered", "class_set", "problem"]
    assert written["predicted_class"][1] == ""


def test_predict__says_where_files_of_16_bits_are_nearly_black(of_three, tmp_path, caplog):
    path = tmp_path / "a.png"
    path.write_bytes(encode(np.tile(np.arange(32, dtype=np.uint16) * 120, (32, 1))))
    predict(of_three.run, [path])
    assert "1 of 1 16-bit images use less than an eighth of the range" in caplog.text
    assert "The run was trained with grey_range = declared." in caplog.text


def test_predict_probabilities__of_no_images(of_three):
    assert predict_probabilities(of_three.network, of_three.pixels, np.arange(0)).shape == (0, 3)


def test_predict_probabilities__of_two_classes_has_a_column_for_each():
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    found = predict_probabilities(hand_network(), images, np.arange(5))
    assert (found.shape, found.dtype) == ((5, 2), np.float64)
    np.testing.assert_allclose(found[:, 1], hand_probability(images), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(found.sum(axis=1), 1)


@pytest.fixture(scope="session")
def tested_files(trained) -> pd.DataFrame:
    """What `evaluate` predicted: file and probability, one row a test image."""
    table = pd.read_csv(trained.run.predictions)
    return table.assign(file=[str(trained.data / path) for path in table["path"]])


@pytest.mark.slow
def test_predict__gives_the_probabilities_of_the_evaluation(trained, tested_files, tmp_path):
    place = tmp_path / "new" / "out.csv"
    table = predict(trained.run, [Path(file) for file in tested_files["file"]], place)
    np.testing.assert_allclose(table["probability"], tested_files["probability"], rtol=0, atol=1e-5)
    assert list(table["predicted_target"]) == list(tested_files["predicted_target"])
    written = pd.read_csv(place, keep_default_na=False)
    said = ["predicted_target", "predicted_class", "probability", "probability_0", "probability_1"]
    own = [*said, "answered", "class_set", "outlier_score", "outlier"]
    assert list(written.columns) == ["path", *own, "problem"]
    np.testing.assert_allclose(table["outlier_score"], tested_files["outlier_score"], rtol=0, atol=1e-4)
    assert list(written["path"]) == list(tested_files["file"])


@pytest.mark.slow
def test_predict__does_not_depend_on_the_batch(trained, tested_files):
    network, config, _ = load_run_network(trained.run)
    spec = ImageSpec(config.data.image_size, config.data.resize)
    files = sorted((trained.data / "0").glob("t*.png")) + sorted((trained.data / "1").glob("t*.png"))
    images, _ = prepare(files, spec, None)
    assert len(images) > 32
    rows = np.arange(len(images))
    together = predict_probabilities(network, images, rows)
    assert together.dtype == np.float64
    chosen = [0, 7, 40, len(images) - 1]
    alone = [predict_probabilities(network, images, rows[row : row + 1])[0] for row in chosen]
    assert np.ptp(alone) > 0
    np.testing.assert_allclose(together[chosen], alone, rtol=0, atol=1e-5)
    np.testing.assert_allclose(predict_probabilities(network, images, rows[::-1])[::-1], together, rtol=0, atol=1e-5)


def answer(output: str, name: str) -> list[str]:
    """The row of one image in the table on the screen: class, probability, note."""
    (row,) = [line for line in output.splitlines() if name in line]
    return row.split(name)[1].split(maxsplit=2)


@pytest.mark.slow
def test_predict__of_the_newest_run_and_an_unreadable_file(trained, tested_files, tmp_path, monkeypatch, capsys):
    """A run is named by its path, its name, or not at all; a file that cannot be read has a row, and exit code 1."""
    monkeypatch.chdir(trained.folder)
    folder = tmp_path / "new"
    folder.mkdir()
    shutil.copy(tested_files["file"][0], folder / "good.png")
    (folder / "bad.png").write_text("not an image")
    expected = tested_files["probability"][0]
    assert main(["predict", str(folder), "--output", str(tmp_path / "out.csv")]) == 1
    table = pd.read_csv(tmp_path / "out.csv").set_index("path")
    good, bad = table.loc[str(folder / "good.png")], table.loc[str(folder / "bad.png")]
    assert good["probability"] == pytest.approx(expected, abs=1e-5)
    assert np.isnan(bad["probability"])
    assert np.isnan(bad["predicted_target"])
    assert "not an image" in bad["problem"]
    said = capsys.readouterr().out
    target = str(tested_files["predicted_target"][0])
    assert answer(said, "good.png")[:2] == [target, f"{expected:.4f}"]
    assert answer(said, "bad.png")[:2] == ["-"] * 2
    assert f"class {target}: 1 image\n" in said
    assert "1 image classified, 1 unreadable" in said


@pytest.mark.slow
def test_predict__with_the_name_of_a_run_and_a_file(trained, tested_files, monkeypatch, capsys):
    monkeypatch.chdir(trained.folder)
    file = tested_files["file"][3]
    assert main(["predict", "colours", file]) == 0
    assert answer(capsys.readouterr().out, Path(file).name)[1] == f"{tested_files['probability'][3]:.4f}"
    (written,) = (trained.run.root / "predictions").glob("*.csv")
    assert pd.read_csv(written)["path"].tolist() == [file]


@pytest.mark.slow
def test_predict__of_unreadable_files_only(trained, tmp_path):
    bad = tmp_path / "bad.png"
    bad.touch()
    table = predict(trained.run, [bad], tmp_path / "out.csv")
    assert table["problem"].tolist() == ["the file is empty"]
    assert table["probability"].isna().all()
