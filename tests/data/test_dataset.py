"""From a data folder to a split, on real files: copies stay together, a leaking split is refused, added images move nothing."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from making import encode, make_data, write_table
from PIL import Image
from scipy.ndimage import gaussian_filter

from diptych.data.dataset import LoadedData, load, split
from diptych.errors import DataError
from diptych.settings.config import DataConfig

CLASSES = ("cats", "dogs", "owls")
PARTS = ("train", "validation", "test")


def scene(number: int) -> np.ndarray:
    """A photograph of no two numbers alike: smooth blobs of colour, 64 x 64."""
    noise = np.random.default_rng(number).normal(size=(64, 64, 3))
    smooth = gaussian_filter(noise, (3, 3, 0)) * 350 + gaussian_filter(noise, (1, 1, 0)) * 60
    return np.clip(smooth + 128, 0, 255).astype(np.uint8)


def write_scenes(root: Path, numbers: range) -> Path:
    for number in numbers:
        folder = root / CLASSES[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.png").write_bytes(encode(scene(number)))
    return root


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("scenes") / "data", range(90))


@pytest.fixture
def data(tmp_path: Path, scenes: Path) -> Path:
    return Path(shutil.copytree(scenes, tmp_path / "data"))


def loaded(data: Path, **settings: object) -> LoadedData:
    chosen = DataConfig(data=data, image_size=64, cache=data.parent / "cache", **settings)
    return split(load(chosen, seed=0), chosen)


def parts_of(found: LoadedData) -> dict[str, str]:
    return dict(zip(found.manifest.table["path"], found.manifest.table["split"], strict=True))


def test_split__each_image_has_a_part_and_nothing_is_set_aside(data):
    found = loaded(data)
    assert len(parts_of(found)) == 90
    assert set(parts_of(found).values()) == set(PARTS)
    assert len(found.problems) == 0
    assert found.manifest.class_names == CLASSES


def test_split__what_it_lacks_is_in_the_audit(tmp_path):
    make_data(tmp_path / "data", 30, columns={"group": ["site C"] * 22 + [""] * 8})
    kinds = {finding.kind: finding.title for finding in loaded(tmp_path / "data", near_twins=False).audit.findings}
    assert kinds["large-group"].startswith("group site C holds 44 of 60 images (73%)")
    assert re.match(r"test has [45][0-9] of 60 images \([78][0-9]%\), where 15% was asked for", kinds["split-share"])


def test_load__says_where_the_classes_can_be_told_apart_without_the_content(data):
    assert "shortcut" not in {finding.kind for finding in loaded(data).audit.findings}
    for path in (data / "owls").iterdir():
        path.write_bytes(encode(Image.open(path).resize((70, 64))))
    found = {finding.kind: finding for finding in loaded(data).audit.findings}["shortcut"]
    assert found.level == "error"
    assert found.details == ("class owls: all 70 x 64 pixels", "all other classes: all 64 x 64 pixels")


def test_split__images_that_are_added_move_nothing(data):
    before = parts_of(loaded(data))
    write_scenes(data, range(90, 180))
    after = parts_of(loaded(data))
    assert len(after) == 180
    assert {path: after[path] for path in before} == before


def test_split__renamed_and_moved_files_stay_in_their_part(data):
    before = parts_of(loaded(data))
    for path in (data / "cats").iterdir():
        path.rename(path.with_name(f"renamed-{path.name}"))
    after = parts_of(loaded(data))
    assert {path.replace("renamed-", ""): part for path, part in after.items()} == before


def changed(image: Image.Image) -> dict[str, bytes]:
    """Copies of an image as people make them."""
    width, height = image.size
    return {
        "copy.png": encode(image),
        "again.jpg": encode(image, "JPEG", quality=80),
        "larger.png": encode(image.resize((96, 96), Image.Resampling.BICUBIC)),
        "mirrored.png": encode(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
        "turned.png": encode(image.transpose(Image.Transpose.ROTATE_90)),
        "cropped.png": encode(image.crop((2, 1, width - 1, height - 2))),
    }


def test_split__copies_of_any_kind_stand_with_their_original(data):
    copies = {}
    for number in (0, 1, 2, 3, 4, 5):
        with Image.open(data / CLASSES[number % 3] / f"{number}.png") as image:
            for name, content in changed(image).items():
                path = f"{CLASSES[number % 3]}/{number}-{name}"
                (data / path).write_bytes(content)
                copies[path] = f"{CLASSES[number % 3]}/{number}.png"
    found = loaded(data)
    parts = parts_of(found)
    assert {path: parts[path] for path in copies} == {path: parts[original] for path, original in copies.items()}
    assert [finding.kind for finding in found.audit.findings].count("series") == 1


def test_split__images_of_a_group_stand_together(data, tmp_path):
    files = sorted(path.relative_to(data).as_posix() for path in data.rglob("*.png"))
    rows = [
        {"path": f"data/{path}", "label": path.split("/")[0], "patient": f"P{number % 30}"} for number, path in enumerate(files)
    ]
    write_table(tmp_path / "images.csv", rows)
    chosen = DataConfig(data=tmp_path / "images.csv", image_size=64, cache=tmp_path / "cache", group_column="patient")
    table = split(load(chosen, 0), chosen).manifest.table
    assert table.groupby("patient")["split"].nunique().max() == 1
    with pytest.raises(DataError, match="no column person to group by"):
        load(DataConfig(data=tmp_path / "images.csv", image_size=64, cache=tmp_path / "cache", group_column="person"), 0)


def given_split(data: Path, **moved: str) -> Path:
    parts = parts_of(loaded(data))
    parts.update({path: part for path, part in moved.items() if part})
    file = data.parent / "split.csv"
    write_table(file, [{"path": path, "split": part} for path, part in parts.items() if moved.get(path) != ""])
    return file


@pytest.mark.parametrize("wrong", [{"split": Path("gone.csv")}, {"group_column": "patient"}, {"fixes": Path("gone.csv")}])
def test_load__what_is_wrong_is_said_before_any_image_is_read(data, wrong):
    with pytest.raises(DataError, match=r"gone\.csv|patient"):
        loaded(data, **wrong)
    assert not (data.parent / "cache").exists()


def test_given_split__is_taken_over_and_new_images_join_their_copies(data):
    file = given_split(data)
    parts = pd.read_csv(file).set_index("path")["split"].to_dict()
    of_test = next(path for path, part in parts.items() if part == "test")
    with Image.open(data / of_test) as image:
        (data / of_test).with_name("new.jpg").write_bytes(encode(image, "JPEG", quality=85))
    after = parts_of(loaded(data, split=file))
    assert {path: after[path] for path in parts} == parts
    assert after[f"{of_test.split('/')[0]}/new.jpg"] == "test"


def test_given_split__copies_on_two_sides_are_refused(data):
    shutil.copyfile(data / "cats" / "0.png", data / "cats" / "copy.png")
    part = parts_of(loaded(data))["cats/0.png"]
    other = "test" if part == "train" else "train"
    file = given_split(data, **{"cats/copy.png": other})
    with pytest.raises(
        DataError, match=r"copies of one image in more than one part: cats/0\.png and cats/copy\.png.*--allow-leaks"
    ):
        loaded(data, split=file)
    parts = parts_of(loaded(data, split=file, allow_leaks=True))
    assert parts["cats/copy.png"] == other != parts["cats/0.png"]


def test_given_split__near_twins_on_two_sides_are_named(data, caplog):
    with Image.open(data / "cats" / "0.png") as image:
        (data / "cats" / "mirrored.png").write_bytes(encode(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)))
    part = parts_of(loaded(data))["cats/0.png"]
    file = given_split(data, **{"cats/mirrored.png": "test" if part == "train" else "train"})
    with caplog.at_level("WARNING", "diptych"):
        loaded(data, split=file)
    assert "near twins in more than one part: cats/0.png and cats/mirrored.png" in caplog.text


def test_given_split__a_new_image_that_is_a_copy_of_two_sides_is_set_aside(data):
    for name in ("one.png", "two.png", "new.png"):
        shutil.copyfile(data / "cats" / "0.png", data / "cats" / name)
    file = given_split(data, **{"cats/0.png": "train", "cats/one.png": "train", "cats/two.png": "test", "cats/new.png": ""})
    found = loaded(data, split=file, allow_leaks=True)
    assert found.problems["path"].tolist() == ["cats/new.png"]
    assert "stand in more than one part" in found.problems["problem"].iloc[0]


def test_fixes__are_obeyed_and_the_files_stay(data, tmp_path, caplog):
    rows = [
        {"path": "cats/0.png", "fix": "drop", "value": ""},
        {"path": "dogs/1.png", "fix": "relabel", "value": "owls"},
        {"path": "owls/2.png", "fix": "group", "value": "G"},
        {"path": "cats/3.png", "fix": "group", "value": "G"},
    ]
    write_table(tmp_path / "fixes.csv", rows)
    with caplog.at_level("INFO", "diptych"):
        found = loaded(data, fixes=tmp_path / "fixes.csv")
    table = found.manifest.table.set_index("path")
    assert "cats/0.png" not in table.index
    assert (data / "cats" / "0.png").is_file()
    assert table.loc["dogs/1.png", "target"] == CLASSES.index("owls")
    assert table.loc["owls/2.png", "split"] == table.loc["cats/3.png", "split"]
    assert "drop 1, relabel 1, group 2" in caplog.text
