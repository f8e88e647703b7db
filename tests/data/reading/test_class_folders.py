"""One lister for all commands: which files of a folder, and which of those that are named, are looked at."""

import logging
import os
from pathlib import Path

import pytest
from making import encode, make_image

from diptych.cli import main
from diptych.data.reading.class_folders import find_images, list_files
from diptych.errors import DataError


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


def test_find_images__lists_what_training_lists(tmp_path, monkeypatch):
    """The fault of a folder from a Mac, a Synology, a notebook; and of the current folder with runs in it."""
    kept = ("0.png", "below/1.JPG")
    litter = ("._0.png", "__MACOSX/._1.png", ".ipynb_checkpoints/0-checkpoint.png", "@eaDir/0.png", ".thumbs/0.png", "Thumbs.db")
    own = (
        "runs/first/config.toml",
        "runs/first/environment.json",
        "runs/first/plots/roc.png",
        "check/check.json",
        "check/check.html",
    )
    for name in (*kept, *litter, *own):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    assert find_images([Path()]) == [Path(name) for name in kept]
    assert {entry.path for entry in list_files(tmp_path) if entry.kind == "image"} == set(kept)
    assert find_images([Path("._0.png"), Path("runs/first/plots")]) == [Path("._0.png"), Path("runs/first/plots/roc.png")]


def test_find_images__does_not_take_the_sheet_of_preview(tmp_path, monkeypatch, capsys):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(encode(make_image(0)))
    (tmp_path / "b" / "2.jxl").touch()
    monkeypatch.chdir(tmp_path)
    assert main(["preview", ".", "--count", "1", "--image-size", "32", "--cache", "cache"]) == 0
    assert "Warning: 1 file is not read: 1 .jxl; convert them to JPEG or PNG." in capsys.readouterr().out
    assert find_images([Path()]) == [Path("a/1.png"), Path("b/1.png")]
    (tmp_path / "preview.png").write_bytes(encode(make_image(0)))
    assert Path("preview.png") in find_images([Path()])


def test_find_images__says_how_many_are_not_read(pictures, caplog):
    for name in ("1.jxl", "2.JXL", "below/3.dcm"):
        (pictures / name).touch()
    with caplog.at_level(logging.WARNING):
        assert len(find_images([pictures])) == 3
    assert "3 files are not read: 2 .jxl, 1 .dcm; convert them to JPEG or PNG; " in caplog.text
    assert find_images([pictures / "1.jxl"]) == [pictures / "1.jxl"]


def test_find_images__of_a_folder_of_another_format_only(tmp_path):
    (tmp_path / "1.jxl").touch()
    with pytest.raises(DataError, match=r"no image in this folder; 1 file is not read: 1 \.jxl; convert them to JPEG or PNG\."):
        find_images([tmp_path])


def test_find_images__expands_patterns_that_no_shell_has_expanded(pictures, monkeypatch):
    monkeypatch.chdir(pictures)
    (pictures / "c[1].png").touch()
    assert find_images([Path("*.png")]) == [Path("b.png"), Path("c[1].png")]
    assert find_images([Path("c[1].png"), Path("**/*.webp")]) == [Path("c[1].png"), Path("below/c.webp")]
    with pytest.raises(DataError, match=r"\*\.bmp: no such file or folder"):
        find_images([Path("*.bmp")])


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege")
def test_find_images__follows_links_out_of_a_folder_only_if_it_is_wished(pictures, tmp_path, caplog):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x.png").touch()
    (outside / "back").symlink_to(pictures, target_is_directory=True)
    (pictures / "link").symlink_to(outside, target_is_directory=True)
    with caplog.at_level(logging.WARNING):
        assert len(find_images([pictures])) == 3
    assert "link is a link to a folder outside" in caplog.text
    assert find_images([pictures], follow_links=True)[-1] == pictures / "link" / "x.png"
    assert len(find_images([pictures], follow_links=True)) == 4
