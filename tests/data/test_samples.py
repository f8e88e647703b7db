"""The solar cells of the package elpv-dataset, written out in the layout that Diptych reads."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from making import fingerprint

from diptych.data.reading.layouts import read_manifest
from diptych.data.samples import LICENCE, write_elpv
from diptych.errors import ConfigError


def test_write_elpv__two_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other process is done while this one copies."""
    folder = tmp_path / "elpv"
    monkeypatch.setattr(shutil, "copyfile", lambda *_: (folder / "0").mkdir(parents=True, exist_ok=True))
    with pytest.raises(ConfigError, match="made by another process in the meantime"):
        write_elpv(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["elpv"]


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


def test_write_elpv__pseudo_modules_are_as_many_as_the_published_modules(cells: Path) -> None:
    table = read_manifest(cells).table
    assert table.groupby("type")["pseudo_module"].nunique().to_dict() == {"mono": 18, "poly": 26}
    assert table.groupby("pseudo_module")["type"].nunique().max() == 1
    # Contiguous in the order of the file names, which is the order of the published rows.
    in_order = table.sort_values("image_name")["pseudo_module"]
    assert (in_order != in_order.shift()).sum() == 44
    assert in_order.value_counts().between(48, 72).all()


def test_write_elpv__returns_what_it_wrote(tmp_path: Path) -> None:
    written = write_elpv(tmp_path / "elpv")
    stored = pd.concat([pd.read_csv(tmp_path / "elpv" / f"{target}.csv") for target in (0, 1)])
    assert list(written.columns) == list(stored.columns)
    assert written.sort_values("image_name", ignore_index=True).equals(stored.sort_values("image_name", ignore_index=True))
