"""Predictions of new images: the files that are meant, and the same answer however they come."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from diptych.cli import main
from diptych.data.images import ImageSpec
from diptych.data.prepare import prepare
from diptych.errors import DataError
from diptych.evaluation.predictions import find_images, predict, predict_probabilities, with_predictions
from diptych.training.checkpoint import load_run_network


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of files by the names of images, in two levels, among others."""
    folder = tmp_path / "pictures"
    (folder / "below").mkdir(parents=True)
    for name in ("b.png", "a.JPG", "notes.txt", "below/c.webp"):
        (folder / name).touch()
    return folder


def test_find_images__in_a_folder_and_below_it(pictures):
    assert find_images([pictures]) == [pictures / name for name in ("a.JPG", "b.png", "below/c.webp")]


def test_find_images__keeps_the_order_of_the_files_and_each_once(pictures):
    files = [pictures / "b.png", pictures / "a.JPG", pictures]
    assert find_images(files) == [pictures / name for name in ("b.png", "a.JPG", "below/c.webp")]


def test_find_images__takes_a_named_file_whatever_its_suffix(pictures):
    assert find_images([pictures / "notes.txt"]) == [pictures / "notes.txt"]


def test_find_images__of_a_missing_path(pictures):
    with pytest.raises(DataError, match=r"absent\.png: no such file or folder"):
        find_images([pictures / "absent.png"])


def test_find_images__of_a_folder_without_images(pictures):
    (pictures / "none").mkdir()
    with pytest.raises(DataError, match="none: no image"):
        find_images([pictures / "none"])


def test_find_images__of_nothing():
    with pytest.raises(DataError, match="no images named"):
        find_images([])


def test_with_predictions__cuts_at_one_half():
    table = with_predictions(pd.DataFrame({"path": ["a", "b"]}), np.array([0.5, 0.49], np.float32))
    assert list(table["predicted_target"]) == [1, 0]


@pytest.fixture(scope="session")
def tested_files(trained) -> pd.DataFrame:
    """What `evaluate` predicted: file and probability, one row a test image."""
    table = pd.read_csv(trained.run.predictions)
    return table.assign(file=[str(trained.data / path) for path in table["path"]])


@pytest.mark.slow
def test_predict__gives_the_probabilities_of_the_evaluation(trained, tested_files, tmp_path):
    table, place = predict(trained.run, [Path(file) for file in tested_files["file"]], tmp_path / "new" / "out.csv")
    np.testing.assert_allclose(table["predicted_probability"], tested_files["predicted_probability"], rtol=0, atol=1e-5)
    assert list(table["predicted_target"]) == list(tested_files["predicted_target"])
    written = pd.read_csv(place, keep_default_na=False)
    assert place == tmp_path / "new" / "out.csv"
    assert list(written.columns) == ["path", "predicted_target", "predicted_probability", "problem"]
    assert list(written["path"]) == list(tested_files["file"])


@pytest.mark.slow
def test_predict__does_not_depend_on_the_batch(trained, tested_files):
    network, config = load_run_network(trained.run)
    spec = ImageSpec(config.data.image_size, config.data.resize)
    files = sorted((trained.data / "0").glob("t*.png")) + sorted((trained.data / "1").glob("t*.png"))
    images = prepare(files, spec)[0].images
    assert len(images) > 32
    rows = np.arange(len(images))
    together = predict_probabilities(network, images, rows)
    assert together.dtype == np.float32
    chosen = [0, 7, 40, len(images) - 1]
    alone = [predict_probabilities(network, images, rows[row : row + 1])[0] for row in chosen]
    assert np.ptp(alone) > 0
    np.testing.assert_allclose(together[chosen], alone, rtol=0, atol=1e-5)
    np.testing.assert_allclose(predict_probabilities(network, images, rows[::-1])[::-1], together, rtol=0, atol=1e-5)


def answer(output: str, name: str) -> list[str]:
    """The row of one image in the table on the screen: prediction, probability, problem."""
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
    expected = tested_files["predicted_probability"][0]
    assert main(["predict", str(folder), "--output", str(tmp_path / "out.csv")]) == 1
    table = pd.read_csv(tmp_path / "out.csv").set_index("path")
    good, bad = table.loc[str(folder / "good.png")], table.loc[str(folder / "bad.png")]
    assert good["predicted_probability"] == pytest.approx(expected, abs=1e-5)
    assert np.isnan(bad["predicted_probability"])
    assert np.isnan(bad["predicted_target"])
    assert "not an image" in bad["problem"]
    said = capsys.readouterr().out
    assert answer(said, "good.png")[:2] == [f"{tested_files['predicted_target'][0]}", f"{expected:.4f}"]
    assert answer(said, "bad.png")[1] == "-"
    assert "1 images classified, 1 unreadable" in said


@pytest.mark.slow
def test_predict__with_the_name_of_a_run_and_a_file(trained, tested_files, monkeypatch, capsys):
    monkeypatch.chdir(trained.folder)
    file = tested_files["file"][3]
    assert main(["predict", "colours", file]) == 0
    assert answer(capsys.readouterr().out, Path(file).name)[1] == f"{tested_files['predicted_probability'][3]:.4f}"
    (written,) = (trained.run.root / "predictions").glob("*.csv")
    assert pd.read_csv(written)["path"].tolist() == [file]


@pytest.mark.slow
def test_predict__of_unreadable_files_only(trained, tmp_path):
    bad = tmp_path / "bad.png"
    bad.touch()
    table, _ = predict(trained.run, [bad], tmp_path / "out.csv")
    assert table["problem"].tolist() == ["the file is empty"]
    assert table["predicted_probability"].isna().all()
