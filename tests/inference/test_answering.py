"""How a run answers: the same on the screen, in the CSV file, in explain and in Python, whatever the files are called."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from answering import SIZE, make_run, photograph
from making import REPOSITORY, encode, make_image

from diptych.cli import main
from diptych.commands.prediction_list import WIDTH, columns, show_predictions
from diptych.errors import ConfigError
from diptych.explanation.explain import explain
from diptych.inference.decision import Decision, hash_of_weights, write_decision
from diptych.inference.predict import predict
from diptych.storage.run_dir import RunDir


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return make_run(tmp_path_factory.mktemp("answering"))


@pytest.fixture
def run(original: RunDir, tmp_path: Path) -> RunDir:
    """A copy of it in runs/NAME below the folder that one is in."""
    return RunDir(shutil.copytree(original.root, tmp_path / "runs" / "NAME"))


@pytest.fixture
def chosen(run: RunDir, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RunDir:
    """The run with a temperature and a threshold that nobody would guess, beside photo.jpg."""
    write_decision(run, Decision(temperature=2.5, threshold=0.2, weights=hash_of_weights(run), test_size=SIZE, views=1))
    (tmp_path / "photo.jpg").write_bytes(encode(make_image(1, 7, 96)[:48], "JPEG"))
    monkeypatch.chdir(tmp_path)
    return run


def test_documentation__python_example_answers_as_predict(chosen: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    page = (REPOSITORY / "docs" / "python.md").read_text("utf-8")
    example = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[0]
    known: dict[str, pd.DataFrame] = {}
    exec(example, known)
    assert not (chosen.root / "predictions").exists()
    capsys.readouterr()
    assert main(["predict", "runs/NAME", "photo.jpg", "--output", "out.csv"]) == 0
    written = pd.read_csv("out.csv", keep_default_na=False)
    pd.testing.assert_frame_equal(known["table"].reset_index(drop=True), written, check_dtype=False, rtol=1e-6)
    said = capsys.readouterr().out
    assert f"{written['predicted_class'][0]}  " in said
    assert f"{written['probability'][0]:.4f}" in said
    # It obeys the decision: the threshold, and the temperature, which the network alone does not know.
    assert written["predicted_class"][0] == ("whole" if written["probability_whole"][0] >= 0.2 else "broken")
    write_decision(chosen, Decision(weights=hash_of_weights(chosen), test_size=SIZE, views=1))
    bare = predict("runs/NAME", "photo.jpg")["probability_whole"][0]
    logit = np.log(bare / (1 - bare)) / 2.5
    assert written["probability_whole"][0] == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-5)


def test_explain_and_predict__name_the_same_probabilities(chosen: RunDir, tmp_path: Path) -> None:
    (row,) = predict(chosen, ["photo.jpg"]).to_dict("records")
    _, _, place = explain(chosen, ["photo.jpg"], tmp_path / "out")
    (image,) = json.loads(place.read_text(encoding="utf-8"))["images"]
    for column in ("probability", "probability_broken", "probability_whole"):
        assert image[column] == pytest.approx(row[column], abs=1e-5)
    assert image["predicted_class"] == row["predicted_class"]
    assert row["probability"] == row[f"probability_{row['predicted_class']}"]


ODD = [b"caf\xe9.png", "été 写真.png".encode(), b"new\nline.png", b"a,b\"c'.png", b"\x1b[31mred.png"]


def test_predict_and_explain__file_names_that_are_not_utf8(
    chosen: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each file has its row; what is not UTF-8, or would move a terminal's cursor, is written with backslashes."""
    (tmp_path / "odd").mkdir()
    try:
        for name in ODD:
            (tmp_path / "odd" / os.fsdecode(name)).write_bytes(photograph(0, 3))
    except OSError:
        pytest.skip("need a file system that takes any bytes as names")
    assert main(["predict", "runs/NAME", "odd", "--output", "out.csv"]) == 0
    table = pd.read_csv(tmp_path / "out.csv", keep_default_na=False)
    assert sorted(table["path"]) == sorted(
        f"odd/{os.fsdecode(name)}".encode("utf-8", "backslashreplace").decode() for name in ODD
    )
    assert "odd/caf\\udce9.png" in set(table["path"])
    assert np.ptp(table["probability"]) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "caf\\udce9.png" in said
    assert "new\\nline.png" in said
    (first,) = [name for name in ODD if b"\xe9" in name]
    assert main(["explain", "runs/NAME", os.fsdecode(b"odd/" + first), "--output", "explained"]) == 0
    (image,) = json.loads((tmp_path / "explained" / "explanations.json").read_text(encoding="utf-8"))["images"]
    assert image["path"] == "odd/caf\\udce9.png"
    assert (tmp_path / "explained" / image["picture"]).is_file()


def test_predict__with_a_run_that_cannot_be_written_answers_on_the_screen(
    chosen: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    (chosen.root / "predictions").touch()
    assert main(["predict", "NAME", "photo.jpg"]) == 1
    said = capsys.readouterr().out
    assert re.search(r"photo\.jpg +(broken|whole) +0\.\d{4}", said)
    assert "not written: " in said
    assert "--output" in said
    assert main(["predict", "NAME", "photo.jpg", "--output", "mine.csv"]) == 0


def test_predict__output_is_checked_before_anything_is_computed(chosen: RunDir, tmp_path: Path) -> None:
    # With the decision of other weights, all computing would end in a CheckpointError.
    write_decision(chosen, Decision(weights="0" * 64))
    photo = (tmp_path / "photo.jpg").read_bytes()
    (tmp_path / "file").touch()
    for output, message in (
        ("file/out.csv", "cannot be made: file is a file, no folder"),
        (".", "is a folder"),
        ("photo.jpg", "is one of the images"),
    ):
        with pytest.raises(ConfigError, match=rf"{message}.*(output|name)"):
            predict(chosen, "photo.jpg", output)
    with pytest.raises(ConfigError, match=r"file cannot be made.*output"):
        explain(chosen, "photo.jpg", tmp_path / "file")
    assert (tmp_path / "photo.jpg").read_bytes() == photo


def test_predict__of_a_run_and_images_in_any_form_of_path(chosen: RunDir) -> None:
    expected = predict(chosen, [Path("photo.jpg")])
    for run in ("NAME", "runs/NAME", Path("runs/NAME"), RunDir(Path("runs/NAME"))):
        for paths in ("photo.jpg", ["photo.jpg"], (Path("photo.jpg"),)):
            pd.testing.assert_frame_equal(predict(run, paths), expected)


@pytest.mark.parametrize(
    ("who", "paths"), [(7, "photo.jpg"), ("NAME", 7), ("NAME", [b"photo.jpg"]), ("NAME", b"photo.jpg"), (None, [])]
)
def test_predict__of_what_is_no_path(chosen: RunDir, who: object, paths: object) -> None:
    with pytest.raises(TypeError, match=r"expected .*text or pathlib\.Path.*; got "):
        predict(who, paths)  # type: ignore[arg-type]


def answers(count: int, path: str = "photos/{}.jpg", problem: str = "") -> pd.DataFrame:
    """A table as `predict` returns it."""
    table = pd.DataFrame({"path": [path.format(number) for number in range(count)], "problem": problem})
    table["predicted_class"] = np.where(table.index % 3 == 0, "a class with a name that is long", "猫")
    columns_of_all = {"probability": 0.75, "answered": table.index % 5 != 0, "outlier": table.index % 7 == 0}
    return table.assign(**columns_of_all).astype({"answered": "boolean", "outlier": "boolean"})


@pytest.mark.parametrize("path", ["{}.png", "/a/long/way/" * 9 + "to-photo-{}.png", "写真" * 30 + "{}.png"])
def test_show_predictions__fits_eighty_columns_and_keeps_the_end_of_paths(path: str) -> None:
    table = pd.concat([answers(9, path), answers(1, path, "not an image of a format that is read: " + "words " * 30)])
    lines = show_predictions(table).splitlines()
    assert max(map(columns, lines)) <= WIDTH
    assert all(any(f"{number}.png" in line for line in lines) for number in range(9))
    assert sum("don't know, outlier" in line for line in lines) == 1


def test_show_predictions__ends_with_a_count_of_each_class() -> None:
    said = show_predictions(pd.concat([answers(20), answers(1, problem="empty")]))
    assert "class 猫: 13 images\nclass a class with a name that is long: 7 images\n" in said
    assert 'of these "don\'t know": 4 images' in said
    assert "outliers, which are unlike any training image: 3 images" in said
    assert "class a class with a name that is long: 1 image\n" in show_predictions(answers(1))


def test_show_predictions__of_many_images_shows_the_first_and_the_last() -> None:
    lines = show_predictions(answers(100_000)).splitlines()
    assert len(lines) < 60
    shown = [int(line.split(".jpg")[0].removeprefix("photos/")) for line in lines if line.startswith("photos/")]
    assert shown == [*range(20), *range(99_980, 100_000)]
    assert "… 99,960 images more; the CSV file has all …" in lines
    forty = show_predictions(answers(40))
    assert forty.count("photos/") == 40
    assert "more" not in forty


def test_show_predictions__of_many_classes() -> None:
    table = answers(300).assign(predicted_class=[f"kind {number % 30}" for number in range(300)])
    assert "10 more classes: 100 images" in show_predictions(table)


def test_show_predictions__of_unreadable_files_only() -> None:
    table = answers(2, problem="the file is empty").assign(predicted_class=None, probability=np.nan)
    assert "photos/0.jpg  -                -  the file is empty" in show_predictions(table)
