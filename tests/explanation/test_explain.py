"""`diptych explain`: pictures and figures of images that are named, and a word on those that cannot be read."""

import json
import re
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image
from running import diptych

from diptych.cli import main
from diptych.explanation.explain import describe, explain, name_picture
from diptych.explanation.faithfulness import deletion_insertion
from diptych.explanation.saliency import Explanation, class_predictor, explain_images
from diptych.inference.decision import Decision
from diptych.storage.atomic import write_json
from diptych.storage.run_dir import RunDir


@pytest.fixture
def run(of_three, tmp_path) -> RunDir:
    """The run of three classes, as the commands know a run."""
    run = RunDir(tmp_path / "runs" / "handmade")
    shutil.copytree(of_three.run.root, run.root)
    write_json(run.environment, {"format_version": 1, "created": "2026-01-01T00:00:00+00:00"})
    return run


def test_describe__names_the_class_that_the_threshold_decides_for():
    unsure, decision = np.array([0.65, 0.35], np.float32), Decision(threshold=0.3)
    found = describe(Path("a.png"), Explanation(1, unsure, (), {}, decision), ("cat", "dog"))
    assert found == "a.png: class dog\nprobability 0.3500"
    other = Explanation(0, unsure, (), {"convnet": np.array([0.9, 0.1], np.float32)}, decision)
    # The first probability is that of the answer, as in predict, whatever is explained.
    assert describe(Path("a.png"), other, ("cat", "dog")) == (
        "a.png: class dog\nprobability 0.3500; explained: class cat, probability 0.6500, without custom branch 0.9000"
    )


@pytest.mark.slow
def test_explain__writes_pictures_and_figures(of_three, tmp_path):
    bad = tmp_path / "bad.png"
    bad.touch()
    twin = tmp_path / "0.PNG"
    shutil.copy(of_three.data / "2 cedar" / "11.png", twin)
    found, class_names, place = explain(of_three.run, [of_three.data / "ash" / "0.png", bad, twin], tmp_path / "out", target=1)
    assert class_names == ("ash", "10 birch", "2 cedar")
    content = json.loads(place.read_text(encoding="utf-8"))
    assert (content["format_version"], content["image_size"], content["class_names"]) == (1, 32, list(class_names))
    assert sorted(path.name for path in place.parent.iterdir()) == ["0-2.png", "0.png", "explanations.json"]
    first, unread, last = content["images"]
    assert unread == {"path": str(bad), "problem": "the file is empty"}
    assert [each.problem for each in found] == ["", "the file is empty", ""]
    pixels = of_three.pixels[[0, 11]]
    expected = keras.ops.convert_to_numpy(of_three.network(pixels))
    for image, row, probabilities in ((first, pixels[:1], expected[0]), (last, pixels[1:], expected[1])):
        np.testing.assert_allclose([image[f"probability_{name}"] for name in class_names], probabilities, atol=1e-5)
        assert image["probability"] == pytest.approx(probabilities.max(), abs=1e-5)
        assert (image["explained_class"], image["predicted_class"]) == ("10 birch", class_names[probabilities.argmax()])
        (explanation,) = explain_images(of_three.network, row, np.array([1]))
        maps = [each.values for each in explanation.maps]
        scores = deletion_insertion(class_predictor(of_three.network, 1), row[0], maps)
        assert [each["name"] for each in image["maps"]] == ["grad_cam_convnet", "attention_convnet", "occlusion"]
        for each, values, score in zip(image["maps"], maps, scores, strict=True):
            np.testing.assert_allclose(each["values"], values, atol=1e-4)
            assert each["deletion"]["area"] == pytest.approx(score.deletion_area, abs=1e-4)
            assert each["insertion"]["chance"] == pytest.approx(score.chance_insertion, abs=1e-4)
        with Image.open(place.parent / image["picture"]) as picture:
            assert picture.width > 1000


def test_name_picture__numbers_what_has_one_name(tmp_path):
    taken: set[str] = set()
    names = [name_picture(tmp_path / name, taken) for name in ("a.png", "A.jpg", "below/a.png", "b.tar.png")]
    assert names == ["a.png", "A-2.png", "a-3.png", "b.tar.png"]


@pytest.mark.slow
def test_explain__as_a_process(of_three, run, tmp_path):
    """A run by its path, a class by its name, an unreadable file: named, exit code 1, and the others are explained."""
    bad = tmp_path / "bad.png"
    bad.write_text("not an image")
    done = diptych("explain", run.root, of_three.data / "ash" / "2.png", bad, "--class", "2 cedar", folder=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert re.search(rf"{re.escape(str(bad))}: .*not an image", done.stdout)
    assert re.search("2.png: class .*probability .*class 2 cedar|2.png: class 2 cedar", done.stdout, re.DOTALL)
    assert "1 image explained, 1 unreadable" in done.stdout
    folder = run.explanations
    assert sorted(path.name for path in folder.iterdir()) == ["2.png", "explanations.json"]
    assert json.loads((folder / "explanations.json").read_text(encoding="utf-8"))["images"][0]["explained_class"] == "2 cedar"


@pytest.mark.slow
def test_explain__of_the_newest_run_and_both_branches(of_both, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(of_both.folder)
    file = next((of_both.data / "0").glob("test*.png"))
    assert main(["explain", str(file), "--output", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    (image,) = json.loads((tmp_path / "explanations.json").read_text(encoding="utf-8"))["images"]
    assert len(image["maps"]) == 5
    column = f"probability_{image['predicted_class']}"
    assert f"probability {image['probability']:.4f}" in said
    for words, branch in (("ResNet50", "resnet50"), ("custom branch", "convnet")):
        assert f"without {words} {image['without'][branch][column]:.4f}" in said


def test_explain__of_an_unknown_class(of_three, run, tmp_path, capsys):
    file = of_three.data / "ash" / "2.png"
    assert main(["explain", str(run.root), str(file), "--class", "10 birhc", "--output", str(tmp_path / "out")]) == 2
    assert "class '10 birhc' is none of the 3 classes" in (message := capsys.readouterr().err)
    assert "did you mean 10 birch?" in message
    assert main(["explain", str(run.root), str(file), "--class", "x"]) == 2
    assert "expected one of ash, 10 birch, 2 cedar" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_explain__of_no_images(run, capsys):
    assert main(["explain", str(run.root)]) == 2
    assert "no images named; give files or folders" in capsys.readouterr().err
