"""The solar cells of the package elpv-dataset, written out in the layout that Diptych reads."""

from pathlib import Path

import pandas as pd
import pytest
from making import fingerprint, write_table

from diptych.data.manifest import read_manifest
from diptych.data.samples import LICENCE, write_elpv
from diptych.errors import ConfigError


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples") / "deep" / "elpv"
    write_elpv(folder)
    return folder


def test_write_elpv__is_a_sound_data_folder_of_2624_cells(cells: Path) -> None:
    table = read_manifest(cells).table
    assert len(table) == 2624
    assert table["target"].value_counts().to_dict() == {0: 1508 + 295, 1: 106 + 715}
    assert set(table["type"]) == {"mono", "poly"}


def test_write_elpv__defective_is_a_probability_above_one_half(cells: Path) -> None:
    table = read_manifest(cells).table
    probabilities = table["defect_probability"].astype(float)
    assert ((probabilities > 0.5).astype(int) == table["target"]).all()
    assert sorted({round(value, 2) for value in probabilities}) == [0, 0.33, 0.67, 1]


def test_write_elpv__licence_lies_beside_the_images(cells: Path) -> None:
    assert (cells / "LICENCE.txt").read_text(encoding="utf-8") == LICENCE
    assert "CC BY-NC-SA 4.0" in LICENCE
    assert not list(cells.parent.glob(".*"))


def test_write_elpv__folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("kept")
    before = fingerprint(tmp_path)
    with pytest.raises(ConfigError, match="exists already"):
        write_elpv(tmp_path / "mine")
    assert fingerprint(tmp_path) == before


def test_write_elpv__takes_over_a_split(tmp_path: Path, cells: Path) -> None:
    names = read_manifest(cells).table["image_name"]
    parts = [("train", "validation", "test")[number % 3] for number in range(len(names))]
    write_table(tmp_path / "split.csv", [{"image_name": name, "split": part} for name, part in zip(names, parts, strict=True)])
    write_elpv(tmp_path / "elpv", tmp_path / "split.csv")
    table = read_manifest(tmp_path / "elpv").table
    assert dict(zip(table["image_name"], table["split"], strict=True)) == dict(zip(names, parts, strict=True))


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("image_name,split\ncell0001.png,train\n", "no split for cell0002.png"),
        ("image_name,part\ncell0001.png,train\n", "expected a table with the columns image_name and split"),
        ("", "expected a table with the columns image_name and split"),
        (None, "expected a table with the columns image_name and split"),
    ],
)
def test_write_elpv__split_that_does_not_fit_makes_no_folder(tmp_path: Path, table: str | None, expected: str) -> None:
    split = tmp_path / "split.csv"
    if table is not None:
        split.write_text(table)
    with pytest.raises(ConfigError, match=expected):
        write_elpv(tmp_path / "elpv", split)
    assert not (tmp_path / "elpv").exists()


def test_write_elpv__returns_what_it_wrote(tmp_path: Path) -> None:
    written = write_elpv(tmp_path / "elpv")
    stored = pd.concat([pd.read_csv(tmp_path / "elpv" / f"{target}.csv") for target in (0, 1)])
    assert list(written.columns) == list(stored.columns)
    assert written.sort_values("image_name", ignore_index=True).equals(stored.sort_values("image_name", ignore_index=True))
