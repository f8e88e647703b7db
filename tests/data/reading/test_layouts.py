"""Each layout becomes the same Manifest; what is not recognised, or not safe, is named."""

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from making import fingerprint, make_data

from diptych.data.reading.class_folders import find_images
from diptych.data.reading.layouts import read_manifest
from diptych.data.reading.manifest import Fault, Manifest
from diptych.errors import DataError
from diptych.settings.config import DataConfig

Image = tuple[str, str, str]  # its name, its class, its part of the split


def touch(root: Path, *paths: str) -> Path:
    """Make empty files, with their folders."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def write(path: Path, *lines: str) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def message_for(root: Path) -> str:
    before = fingerprint(root) if root.is_dir() else {}
    with pytest.raises(DataError) as caught:
        read_manifest(root)
    assert (fingerprint(root) if root.is_dir() else {}) == before
    return str(caught.value).replace(str(root), "DATA")


def classes_of(manifest: Manifest) -> dict[str, str]:
    names = [manifest.class_names[target] for target in manifest.table["target"]]
    return dict(zip(manifest.table["path"], names, strict=True))


def found_in(root: Path) -> tuple[Manifest, list[tuple[str, str]]]:
    faults: list[Fault] = []
    manifest = read_manifest(root, faults)
    return manifest, sorted((fault.kind, fault.path) for fault in faults)


# Class folders


def test_class_folders__files_below_are_images_of_the_class(tmp_path: Path) -> None:
    root = touch(tmp_path / "data", "dogs/b.JPG", "cats/deep/er/x.png", "cats/a.webp", "cats/notes.txt")
    manifest = read_manifest(root)
    assert classes_of(manifest) == {"cats/a.webp": "cats", "cats/deep/er/x.png": "cats", "dogs/b.JPG": "dogs"}
    assert list(manifest.table.columns) == ["path", "image_name", "target"]
    assert list(manifest.table["image_name"]) == ["a.webp", "deep/er/x.png", "b.JPG"]
    assert manifest.table["target"].dtype == "int64"
    assert list(manifest.table.index) == [0, 1, 2]
    assert manifest.layout == "class folders cats, dogs"
    assert manifest.listed == ()


def test_class_folders__0_and_1_without_tables_are_plain_ones(tmp_path: Path) -> None:
    root = touch(tmp_path / "data", "0/a.png", "1/a.png")
    assert classes_of(read_manifest(root)) == {"0/a.png": "0", "1/a.png": "1"}


def test_class_folders__litter_and_hidden_files_are_passed_over(tmp_path: Path) -> None:
    litter = ("cats/.DS_Store", "cats/._a.png", "dogs/Thumbs.db", "__MACOSX/cats/a.png", ".cache/x.png", "dogs/.trash/x.png")
    litter += ("cats/@eaDir/a.png", "$RECYCLE.BIN/a.png", ".ipynb_checkpoints/a.png", "#recycle/a.png", "dogs/.thumbs/a.png")
    litter += ("cats/@Recycle/a.png", "cats/#snapshot/a.png", "dogs/_vti_cnf/a.png")
    root = touch(tmp_path / "data", "cats/a.png", "dogs/a.png", *litter)
    manifest, faults = found_in(root)
    assert list(manifest.table["path"]) == ["cats/a.png", "dogs/a.png"]
    assert faults == []


def test_class_folders__other_files_are_named_when_faults_are_asked_for(tmp_path: Path) -> None:
    root = touch(tmp_path / "data", "cats/a.png", "dogs/a.png", "cats/notes.txt", "dogs/scan.pdf", "loose.png", "README.md")
    manifest, faults = found_in(root)
    assert len(manifest.table) == 2
    assert faults == [("unlisted", "cats/notes.txt"), ("unlisted", "loose.png")]
    assert [(remark.kind, remark.paths) for remark in manifest.remarks] == [("not-read", ("dogs/scan.pdf",))]
    assert manifest.layout == "class folders cats, dogs; not read: images in no class folder: 1"


def test_class_folders__folder_without_images_is_no_class_and_is_named(tmp_path: Path) -> None:
    root = touch(tmp_path / "data", "a/x.png", "b/x.png", "docs/text.md")
    manifest = read_manifest(root)
    assert manifest.class_names == ("a", "b")
    assert manifest.layout.endswith("not read: folder docs (no image in it)")


def test_class_folders__runs_of_diptych_are_no_class(tmp_path: Path) -> None:
    """The data folder is the current one unless it is named, and runs are made in the current one."""
    run = "runs/20260101-000000"
    root = touch(tmp_path, "a/x.png", "b/x.png", f"{run}/config.toml", f"{run}/environment.json", f"{run}/plots/roc.png")
    touch(root, "find-lr/find_lr.json", "find-lr/find_lr.csv", "find-lr/find_lr.png", "why/explanations.json", "why/x.png")
    touch(root, "check/check.json", "check/check.html", "a/check/check.json", "a/check/check.html")
    manifest, faults = found_in(root)
    assert manifest.class_names == ("a", "b")
    assert faults == []
    own = ", ".join(f"folder {name} (written by Diptych)" for name in ("find-lr", "why"))
    assert manifest.layout == f"class folders a, b; not read: folder runs (no image in it), {own}"


def test_class_folders__order_is_natural(tmp_path: Path) -> None:
    names = ("10", "9", "2", "b 1", "B 02", "a", "é", "z")
    root = touch(tmp_path / "data", *(f"{name}/x.png" for name in names))
    assert read_manifest(root).class_names == ("2", "9", "10", "a", "b 1", "B 02", "z", "é")


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (("Cats/a.png", "cats/a.png"), "the classes 'Cats' and 'cats' differ only in case or blanks"),
        (("cats /a.png", "cats/a.png"), "the classes 'cats' and 'cats ' differ only in case or blanks"),
        (("train/Cats/a.png", "train/x/a.png", "val/cats/a.png", "val/x/a.png"), "the classes 'Cats' and 'cats' differ only"),
        (("only/a.png",), "no layout is recognised; found: folder only/ (with images), images in no folder: 0."),
        (("wrapped/cats/a.png", "wrapped/dogs/a.png"), "name it: --data DATA/wrapped"),
        (("a.png", "b.png"), "found: images in no folder: 2. Expected class folders (cats/, dogs/, ...); train/"),
        (("cats/a.png",), "If cats is a class, a second one is needed: a class cannot"),
        (("a/readme.md", "b/x.txt"), "found: folder a/ (without images), folder b/ (without images), images in no folder: 0"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="need Linux")
def test_class_folders__mistake_is_named(tmp_path: Path, paths: Sequence[str], expected: str) -> None:
    assert expected in message_for(touch(tmp_path / "data", *paths))


def test_class_folders__name_that_macos_took_apart_is_the_same_class(tmp_path: Path) -> None:
    root = touch(tmp_path / "data", "train/cafe\u0301/a.png", "train/tea/a.png", "val/caf\u00e9/a.png", "val/tea/a.png")
    manifest = read_manifest(root)
    assert manifest.class_names == ("caf\u00e9", "tea")
    assert all((root / path).is_file() for path in manifest.table["path"])


@pytest.mark.skipif(sys.platform != "linux", reason="need Linux")
@pytest.mark.parametrize("name", [b"cats/\xff\xfe.png", b"caf\xe9/a.png"], ids=["file", "folder"])
def test_class_folders__name_that_is_not_utf8(tmp_path: Path, name: bytes) -> None:
    root = touch(tmp_path / "data", "cats/a.png", "dogs/a.png")
    path = os.fsdecode(name)
    touch(root, path)
    message = message_for(root)
    assert f"{path!r} is a name that is not UTF-8; rename it in DATA" in message
    assert message.isascii()
    manifest, faults = found_in(root)
    assert list(manifest.table["path"]) == ["cats/a.png", "dogs/a.png"]
    assert faults == [("bad-name", name.decode("utf-8", "backslashreplace").replace("\\x", "\\udc"))]
    assert manifest.layout.encode()


@pytest.mark.skipif(sys.platform != "linux", reason="need Linux")
def test_read_manifest__data_folder_whose_own_name_is_not_utf8(tmp_path: Path) -> None:
    root = make_data(tmp_path / os.fsdecode(b"caf\xe9"))
    assert len(read_manifest(root).table) == 16
    for name in ("0.csv", "1.csv"):
        (root / name).unlink()
    assert len(read_manifest(root, []).table) == 16


# Links


def test_class_folders__link_within_the_data_folder_is_a_file_like_others(tmp_path: Path) -> None:
    root = touch(tmp_path / "data", "train/a/x.png", "train/b/x.png", "val/b/x.png", "pool/y.png")
    (root / "val" / "a").mkdir()
    (root / "val" / "a" / "y.png").symlink_to(root / "pool" / "y.png")
    assert "val/a/y.png" in classes_of(read_manifest(root))


@pytest.mark.parametrize("form", ["file", "folder", "class folder"])
def test_class_folders__link_out_of_the_data_folder(tmp_path: Path, form: str) -> None:
    root = touch(tmp_path / "data", "a/x.png", "b/x.png", "c/x.png")
    outside = touch(tmp_path / "outside", "secret.png")
    link, target = {
        "file": ("a/link.png", outside / "secret.png"),
        "folder": ("a/link", outside),
        "class folder": ("link", outside),
    }[form]
    (root / link).symlink_to(target)
    words = {
        "file": f"'{link}' is a link that leaves the folder DATA/; put the file itself there, or follow it with --follow-links",
        "folder": f"DATA/{link}: a link to a folder outside of DATA/, which is not followed; follow it with --follow-links",
    }
    assert words["file" if form == "file" else "folder"] in message_for(root)
    manifest, faults = found_in(root)
    assert len(manifest.table) == 3
    assert faults == [("bad-name" if form == "file" else "link", link)]
    faults_followed: list[Fault] = []
    followed = read_manifest(DataConfig(root, follow_links=True), faults_followed)
    assert len(followed.table) == 4
    assert faults_followed == []


@pytest.mark.parametrize("links", [("a", "b"), ("train", "test"), ("train/b", "test/b")])
def test_class_folders__links_are_named_where_nothing_else_is_left(tmp_path: Path, links: Sequence[str]) -> None:
    """The fault of a data set on a big disk: `diptych check` saw folders without images."""
    outside = touch(tmp_path / "outside", *(f"{link}/{below}.png" for link in links for below in ("x/1", "y/1")))
    root = (
        touch(tmp_path / "data", "train/a/1.png", "test/a/2.png") if "train/b" in links else touch(tmp_path / "data", "notes.md")
    )
    for link in links:
        (root / link).symlink_to(outside / link, target_is_directory=True)
    with pytest.raises(DataError, match=r"Not looked into: .* a link to a folder outside .*--follow-links"):
        found_in(root)


def test_class_folders__link_to_an_image_of_another_class(tmp_path: Path) -> None:
    root = touch(tmp_path / "data", "a/x.png", "b/y.png")
    (root / "b" / "link.png").symlink_to(root / "a" / "x.png")
    assert "'b/link.png' is a link to a file that is read already" in message_for(root)
    assert found_in(root)[1] == [("listed-twice", "b/link.png")]


def test_class_folders__linked_folder_does_not_read_files_twice(tmp_path: Path) -> None:
    root = touch(tmp_path / "data", "a/x.png", "b/y.png")
    (root / "b" / "again").symlink_to(root / "a", target_is_directory=True)
    assert found_in(root)[1] == [("listed-twice", "b/again/x.png")]


def test_class_folders__links_in_a_circle_end(tmp_path: Path) -> None:
    root = touch(tmp_path / "data", "a/x.png", "b/y.png")
    (root / "a" / "self").symlink_to(root / "a", target_is_directory=True)
    (root / "b" / "all").symlink_to(root, target_is_directory=True)
    (root / "b" / "loop.png").symlink_to(root / "b" / "loop.png")
    (root / "b" / "nowhere.png").symlink_to(root / "b" / "gone.png")
    manifest, faults = found_in(root)
    assert list(manifest.table["path"]) == ["a/x.png", "b/y.png"]
    assert faults == [("missing", "b/loop.png"), ("missing", "b/nowhere.png")]
    assert "is a link that leads nowhere" in message_for(root)


def test_follow_links__in_a_circle_outside_ends_and_reads_each_image_of_a_class_once(tmp_path: Path) -> None:
    store = touch(tmp_path / "store", "cats/1.png", "cats/more/2.png", "dogs/3.png")
    (store / "cats" / "more" / "up").symlink_to(store, target_is_directory=True)
    (store / "cats" / "again").symlink_to(store / "cats" / "more", target_is_directory=True)
    root = tmp_path / "data"
    root.mkdir()
    for name in ("cats", "dogs"):
        (root / name).symlink_to(store / name, target_is_directory=True)
    (store / "dogs" / "home").symlink_to(root, target_is_directory=True)
    assert "DATA/cats: a link to a folder outside of DATA/" in message_for(root)
    manifest = read_manifest(DataConfig(root, follow_links=True))
    names = {(path.rpartition("/")[2], label) for path, label in classes_of(manifest).items()}
    assert names == {("1.png", "cats"), ("2.png", "cats"), ("3.png", "dogs")}
    assert len(manifest.table) == 3


def test_follow_links__two_links_to_one_object_are_copies_not_a_fault(tmp_path: Path) -> None:
    annex, root = touch(tmp_path / "annex", "object.png"), touch(tmp_path / "data", "a/x.png", "b/x.png")
    for name in ("a/1.png", "a/2.png"):
        (root / name).symlink_to(annex / "object.png")
    assert len(read_manifest(DataConfig(root, follow_links=True)).table) == 4


def test_follow_links__of_a_table(tmp_path: Path) -> None:
    root = touch(tmp_path / "data", "a.png")
    (root / "b.png").symlink_to(touch(tmp_path / "outside", "b.png") / "b.png")
    write(root / "all.csv", "path,label", "a.png,x", "b.png,y")
    assert len(read_manifest(DataConfig(root, follow_links=True)).table) == 2


# What is not read


def test_unread__files_of_other_formats_are_counted_with_advice(tmp_path: Path) -> None:
    root = touch(
        tmp_path / "data", "a/x.png", "b/x.png", "a/1.JXL", "b/2.jxl", "b/3.dcm", "b/4.nii.gz", "loose.psd", "a/notes.txt"
    )
    (remark,) = read_manifest(root).remarks
    assert remark.title.startswith("5 files are not read: 2 .jxl, ")
    assert all(words in remark.title for words in ("1 .dcm", "1 .nii.gz", "1 .psd", "; convert them to JPEG or PNG; "))
    assert remark.paths == ("a/1.JXL", "b/2.jxl", "b/3.dcm", "b/4.nii.gz", "loose.psd")


@pytest.mark.parametrize("suffix", [".jxl", ".dcm", ".psd"])
@pytest.mark.parametrize("layout", ["{name}/1{suffix}", "train/{name}/1{suffix}", "{name}1{suffix}"])
def test_unread__nothing_else_there_is_said(tmp_path: Path, suffix: str, layout: str) -> None:
    root = touch(tmp_path / "data", *(layout.format(name=name, suffix=suffix) for name in ("cats", "dogs")))
    assert f"2 files are not read: 2 {suffix}; " in message_for(root)


def test_unread__images_without_an_ending(tmp_path: Path) -> None:
    root = touch(tmp_path / "data", "a/x.png", "b/x.png", "a/LICENSE")
    assert read_manifest(root).remarks == ()
    (root / "b" / "0a1b").write_bytes(b"\x89PNG\r\n\x1a\n")
    (remark,) = read_manifest(root).remarks
    assert remark.title == "2 files are not read: 2 without an ending; give their names an extension, such as .jpg"


@contextmanager
def another_user() -> Iterator[None]:
    """Root may look into any folder, so that another user has to look."""
    os.seteuid(12345)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="need root")
def test_unread__locked_folder_is_named_and_the_rest_goes_on() -> None:
    with tempfile.TemporaryDirectory() as place:
        root = touch(Path(place) / "data", "a/x.png", "b/x.png", "b/locked/config.toml", "b/locked/y.png", "locked/config.toml")
        for folder in ("b/locked", "locked"):
            (root / folder).chmod(0)
        for folder in (Path(place), root, root / "a", root / "b"):
            folder.chmod(0o755)
        with another_user():
            manifest, faults = found_in(root)
            with pytest.raises(DataError, match=r"locked: a folder that cannot be listed \(Permission denied\); allow yourself"):
                read_manifest(root)
            assert find_images([root]) == [root / name for name in ("a/x.png", "b/locked", "b/x.png", "locked")]
    assert list(manifest.table["path"]) == ["a/x.png", "b/x.png"]
    assert faults == [("locked", "b/locked"), ("locked", "locked")]


# Masks


@pytest.mark.parametrize(
    ("paths", "masks"),
    [
        (("a/1.png", "a/1_mask.png", "b/2.png", "b/2-seg.png"), ("a/1_mask.png", "b/2-seg.png")),
        (("a/b (1).png", "a/b (1)_mask_1.png", "b/mask_2.png", "b/2.jpg"), ("a/b (1)_mask_1.png", "b/mask_2.png")),
        (("a/images/1.png", "a/masks/1.png", "b/images/1.png", "b/Masks/1.png"), ("a/masks/1.png", "b/Masks/1.png")),
        (("a/1.jpg", "a/Ground Truth/1.png", "b/2.jpg"), ("a/Ground Truth/1.png",)),
        (("images/1.png", "images/2.png", "masks/1.png", "masks/2.png"), ("masks/1.png", "masks/2.png")),
        (("JPEGImages/1.jpg", "SegmentationClass/1.png"), ("SegmentationClass/1.png",)),
        (("mask/1.png", "mask/2.png", "no_mask/1.png", "no_mask/2.png"), ()),
        (("with_mask/a_mask.png", "without_mask/b.png"), ()),
        (("a/label_x.png", "b/gt_y.png"), ()),
    ],
)
def test_masks__beside_their_images_are_named(tmp_path: Path, paths: Sequence[str], masks: tuple[str, ...]) -> None:
    manifest = read_manifest(touch(tmp_path / "data", *paths))
    assert [(remark.kind, remark.paths) for remark in manifest.remarks] == ([("masks", masks)] if masks else [])


# Parts


def test_parts__give_the_split_and_classes_are_those_of_all_parts(tmp_path: Path) -> None:
    root = touch(tmp_path / "data", "Train/10/a.png", "Train/9/a.png", "Train/x/a.png", "valid/x/b.png", "TEST/10/c.png")
    manifest = read_manifest(root)
    assert manifest.class_names == ("9", "10", "x")
    assert dict(zip(manifest.table["path"], manifest.table["split"], strict=True)) == {
        "TEST/10/c.png": "test",
        "Train/9/a.png": "train",
        "Train/10/a.png": "train",
        "Train/x/a.png": "train",
        "valid/x/b.png": "validation",
    }
    assert classes_of(manifest)["TEST/10/c.png"] == "10"
    assert manifest.layout == "TEST/, Train/, valid/ with class folders 9, 10, x"


def test_parts__class_without_a_training_image(tmp_path: Path) -> None:
    root = touch(tmp_path / "data", "train/a/x.png", "train/b/x.png", "test/a/x.png", "test/new/x.png")
    assert "DATA: the class new has no image in train/" in message_for(root)


@pytest.mark.parametrize("path", ["test/photo.png", "test/readme.md"])
def test_parts__without_class_folders_are_not_taken_for_classes(tmp_path: Path, path: str) -> None:
    root = touch(tmp_path / "data", "train/a/x.png", "train/b/x.png", path)
    assert "train/ and val/ or test/ shall hold class folders with images; test/ holds none; train/ holds a, b." in message_for(
        root
    )


def test_parts__other_folders_and_loose_images_are_named(tmp_path: Path) -> None:
    root = touch(tmp_path / "data", "train/a/x.png", "train/b/x.png", "test/a/x.png", "test/loose.png", "extra/z.png")
    manifest, faults = found_in(root)
    assert faults == [("unlisted", "test/loose.png")]
    assert manifest.layout == "test/, train/ with class folders a, b; not read: images in no class folder: 1, folder extra"


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("Training", "", "Testing"),
        ("training_set", "dev", "test_set"),
        ("01 train data", "02-valid", "03.TEST"),
        ("trainset", "val_images", "holdout"),
        ("Train2017", "Evaluation", "hold-out"),
        ("TRAIN", "", "eval"),
        ("birds_train", "birds_valid", "birds_test"),
        ("archive/Training", "archive/Validation", "archive/Testing"),
        ("archive/data v2/train", "", "archive/data v2/test"),
        ("train/train", "", "test/test"),
        ("sorted/TrainVal", "", "sorted/Test images"),
    ],
)
def test_parts__are_recognised_by_what_people_call_them(tmp_path: Path, train: str, validation: str, test: str) -> None:
    names = {train: "train", validation: "validation", test: "test"}
    names.pop("", None)
    root = touch(tmp_path / "data", *(f"{folder}/{name}/{folder[-2:]}.png" for folder in names for name in ("glioma", "healthy")))
    touch(root, "readme/license.txt")
    manifest = read_manifest(root)
    assert manifest.class_names == ("glioma", "healthy")
    found = dict(zip(manifest.table["path"], manifest.table["split"], strict=True))
    assert found == {
        f"{folder}/{name}/{folder[-2:]}.png": part for folder, part in names.items() for name in ("glioma", "healthy")
    }


def test_parts__of_folders_in_folders_name_what_lies_beside_them(tmp_path: Path) -> None:
    parts = ("seg_train/seg_train", "seg_test/seg_test")
    root = touch(
        tmp_path / "data", *(f"{part}/{name}/1.png" for part in parts for name in ("sea", "street")), "seg_pred/seg_pred/9.png"
    )
    manifest = read_manifest(root)
    assert manifest.class_names == ("sea", "street")
    assert sorted(manifest.table["split"]) == ["test", "test", "train", "train"]
    assert manifest.layout.endswith("; not read: folder seg_pred")


def test_parts__folders_beside_them_with_the_same_classes_are_warned_of(tmp_path: Path) -> None:
    folders = ("Training", "Test", "Validierung")
    manifest = read_manifest(touch(tmp_path / "data", *(f"{folder}/{name}/1.png" for folder in folders for name in "ab")))
    (remark,) = manifest.remarks
    assert remark.title == "not read, though the class folders are the same as in the parts: Validierung"


def test_parts__folders_beside_a_single_part_are_named(tmp_path: Path) -> None:
    folders = ("Training", "PrivateTest", "PublicTest")
    message = message_for(touch(tmp_path / "data", *(f"{folder}/{name}/1.png" for folder in folders for name in "ab")))
    assert "Training/ holds a, b; beside them PrivateTest, PublicTest, which are no part by name" in message


def test_parts__of_one_class_are_refused(tmp_path: Path) -> None:
    message = message_for(touch(tmp_path / "data", "train/cats/1.png", "test/cats/2.png"))
    assert "1 class: 'cats'; expected 2 to 1,000" in message
    assert "a class cannot be learned from its own images alone" in message


def test_parts__in_each_class_folder(tmp_path: Path) -> None:
    root = touch(tmp_path / "data", *(f"{name}/{part}/x.png" for name in ("cats", "dogs") for part in ("Train", "valid", "TEST")))
    manifest = read_manifest(root)
    assert manifest.class_names == ("cats", "dogs")
    assert manifest.layout == "class folders cats, dogs, in each TEST/, Train/, valid/"
    assert dict(zip(manifest.table["path"], manifest.table["split"], strict=True))["dogs/valid/x.png"] == "validation"


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (("train/1.png", "bus/1.png", "ship/1.png"), ("bus", "ship", "train")),
        (("valid/1.png", "invalid/1.png"), ("invalid", "valid")),
        (("test/1.png", "control/1.png"), ("control", "test")),
        (("Test 1/a.png", "Test 2/a.png"), ("Test 1", "Test 2")),
        (("training/1.png", "testing/1.png", "meeting/1.png"), ("meeting", "testing", "training")),
    ],
)
def test_parts__classes_of_such_names_are_classes(tmp_path: Path, paths: Sequence[str], names: tuple[str, ...]) -> None:
    manifest = read_manifest(touch(tmp_path / "data", *paths))
    assert manifest.class_names == names
    assert "split" not in manifest.table


@pytest.mark.parametrize(
    "paths",
    [("train/1.png", "test/1.png"), ("Testing/a/1.png", "Validation/a/1.png"), ("train/1.png", "test/1.png", "docs/a.md")],
)
def test_parts__without_classes_or_a_part_to_train_on_are_refused(tmp_path: Path, paths: Sequence[str]) -> None:
    assert "train/ and val/ or test/ shall hold class folders with images" in message_for(touch(tmp_path / "data", *paths))


@pytest.mark.parametrize(
    ("folders", "shared"),
    [
        (("hospital A/sick", "hospital A/healthy", "hospital B/sick", "hospital B/healthy"), "healthy, sick"),
        (("cats/front", "cats/back", "dogs/front", "dogs/back"), "back, front"),
        (("Entrenamiento/si", "Entrenamiento/no", "Prueba/si", "Prueba/no"), "no, si"),
        (("A/images/sick", "A/images/healthy", "B/sick", "B/healthy", "B/unclear"), "healthy, sick"),
        (("A/sick", "A/healthy", "B/sick"), "sick"),
        (("train/A/x", "train/A/y", "train/B/x", "train/B/y", "test/A/x", "test/B/y"), "x, y"),
    ],
)
def test_class_folder__same_names_below_several_are_refused_until_it_is_said(
    tmp_path: Path, folders: Sequence[str], shared: str
) -> None:
    root = touch(tmp_path / "data", *(f"{folder}/1.png" for folder in folders))
    message = message_for(root)
    assert f"hold folders of the same names ({shared}), so they may be parts, sites or views" in message
    assert "--class-folder lower" in message
    assert "--class-folder upper" in message
    lower, upper = (read_manifest(DataConfig(root, class_folder=choice)) for choice in ("lower", "upper"))
    assert classes_of(lower) == {path: path.split("/")[-2] for path in lower.table["path"]}
    assert set(lower.table["upper_folder"]) == set(upper.class_names)
    assert set(upper.class_names) == {folder.removeprefix("train/").removeprefix("test/").split("/")[0] for folder in folders}


@pytest.mark.parametrize(
    "paths",
    [
        ("cats/images/1.png", "cats/masks/1.png", "dogs/images/1.png", "dogs/masks/1.png"),
        ("benign/p1/1.png", "benign/p2/1.png", "malign/p3/1.png", "malign/p4/1.png"),
        ("cats/1.png", "cats/new/1.png", "dogs/1.png", "dogs/new/1.png"),
        ("a/x/1.png", "a/y/1.png", "a/z/1.png", "a/w/1.png", "b/x/1.png", "b/u/1.png", "b/v/1.png"),
    ],
)
def test_class_folder__other_folders_below_are_no_reason_to_ask(tmp_path: Path, paths: Sequence[str]) -> None:
    manifest = read_manifest(touch(tmp_path / "data", *paths))
    assert classes_of(manifest) == {path: path.partition("/")[0] for path in paths}


# Tables


@pytest.mark.parametrize("path", ["path", "image_path", "image_name", "FileName", "file_name", "file", " image ", "filepath"])
@pytest.mark.parametrize("label", ["target", "Label", "class", "class_name", "category"])
def test_table__names_of_its_columns(tmp_path: Path, path: str, label: str) -> None:
    root = touch(tmp_path / "data", "images/a.png", "images/b.png")
    write(root / "all.csv", f"group,{label},{path}", "p1, cat ,images/b.png", "p2,dog,./images//a.png")
    for given_root in (root, root / "all.csv"):
        manifest = read_manifest(given_root)
        assert manifest.root == root
        assert manifest.class_names == ("cat", "dog")
        assert manifest.table.to_dict("list") == {
            "path": ["images/b.png", "images/a.png"],
            "image_name": ["images/b.png", "./images//a.png"],
            "target": [0, 1],
            "group": ["p1", "p2"],
        }
        assert manifest.listed == (f"{root / 'all.csv'}, row 2", f"{root / 'all.csv'}, row 3")
        assert manifest.layout == "table all.csv"


def test_table__path_written_on_windows(tmp_path: Path) -> None:
    root = touch(tmp_path / "data", "images/a.png", "images/b.png")
    write(root / "all.csv", "path,label", "images\\a.png,x", ".\\images\\b.png,y")
    assert list(read_manifest(root).table["path"]) == ["images/a.png", "images/b.png"]


def test_table__parquet(tmp_path: Path) -> None:
    root = touch(tmp_path / "data", "a.png", "b.png", "c.png")
    frame = pd.DataFrame({"file_name": ["a.png", "b.png", "c.png"], "label": [2, 10, 2], "site": ["x", None, "y"]})
    frame.to_parquet(root / "all.parquet")
    manifest = read_manifest(root / "all.parquet")
    assert manifest.class_names == ("2", "10")
    assert list(manifest.table["site"]) == ["x", "", "y"]
    assert manifest.listed[0].endswith("all.parquet, row 1")


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (("3.0", "12.0", "3"), ("3", "12")),
        (("1.0", "1.5", "2"), ("1.0", "1.5", "2")),
        (("-1", "0", "1.00"), ("0", "1", "-1")),
        (("v1.0", "v2.0", "v1.0"), ("v1.0", "v2.0")),
        (("cafe\u0301", "caf\u00e9", "tea"), ("caf\u00e9", "tea")),
    ],
)
def test_table__labels_are_names(tmp_path: Path, labels: Sequence[str], names: tuple[str, ...]) -> None:
    root = touch(tmp_path / "data", "0.png", "1.png", "2.png")
    write(root / "all.csv", "path,label", *(f"{number}.png,{label}" for number, label in enumerate(labels)))
    assert read_manifest(root).class_names == names


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (("path,x",), "all.csv: no column for the class of each image; it has path, x. Name it target, label"),
        (("x,label",), "all.csv: no column for the path of each image; it has x, label. Name it path, image_path"),
        (("path,filename,label", "a.png,x.png,x"), "all.csv: the columns path and filename could each be the path of each image"),
        (
            ("path,label,target", "a.png,x,y"),
            "all.csv: the columns target and label could each be the class of each image, "
            "and differ (row 2: 'y' and 'x'). Name one of them, such as --label-column target",
        ),
        (("path,label,split,Split", "a.png,x,,"), "all.csv: the column split is there twice ('split' and 'Split')"),
        (("path,label,sha256", "a.png,x,y"), "all.csv: the column sha256 is one that Diptych writes itself"),
        (("path,label",), "all.csv: no rows"),
        (("path,label", "a.png,x", "b.png,"), "all.csv, row 3: class '' is empty; write its name"),
        (("path,label", "a.png,x", " ,y"), "all.csv, row 3: path ' ' is empty"),
        (("path,label", "a.png,x", "no.png,y"), "all.csv, row 3: 'no.png' is listed but is not in DATA/"),
        (("path,label", "a.png,x", "./a.png,y"), "all.csv, row 3: './a.png' is listed twice"),
        (("path,label", "a.png,x", "../data/b.png,y"), "all.csv, row 3: '../data/b.png' leaves the folder DATA/"),
        (("path,label", "a.png,x", "/etc/hostname,y"), "'/etc/hostname' leaves the folder DATA/"),
        (("path,label", "a.png,x", "b.png,x"), "DATA/all.csv: 1 class: 'x'; expected 2 to 1,000. It was read as table all.csv."),
        (("path,label", "a.png,x", "b.png,X"), "DATA/all.csv: the classes 'X' and 'x' differ only in case or blanks"),
        (("path,label,split", "a.png,x,train", "b.png,y,some"), "row 3: 'some' is not a split; write train, validation or test"),
    ],
)
def test_table__mistake_is_named(tmp_path: Path, lines: Sequence[str], expected: str) -> None:
    root = touch(tmp_path / "data", "a.png", "b.png")
    write(root / "all.csv", *lines)
    with pytest.raises(DataError) as caught:
        read_manifest(root / "all.csv")
    assert expected in str(caught.value).replace(str(root), "DATA")


def test_table__of_more_than_a_thousand_classes_is_probably_of_the_wrong_column(tmp_path: Path) -> None:
    root = touch(tmp_path / "data", *(f"{number}.png" for number in range(1001)))
    write(root / "all.csv", "path,label", *(f"{number}.png,name {number}" for number in range(1001)))
    assert "1,001 classes: 'name 0', 'name 1', 'name 2', 'name 3', 'name 4', …; expected 2 to 1,000" in message_for(root)
    write(root / "all.csv", "path,label", *(f"{number}.png,name {number}" for number in range(1000)))
    assert read_manifest(root).class_names[-1] == "name 999"


def test_table__split_is_read_leniently_whatever_its_column_is_written_like(tmp_path: Path) -> None:
    root = touch(tmp_path / "data", "a.png", "b.png", "c.png")
    write(root / "all.csv", "path,label,Split", "a.png,x,TRAIN", "b.png,y, val", "c.png,y,Test")
    assert list(read_manifest(root).table["split"]) == ["train", "validation", "test"]
    write(root / "all.csv", "path,label,split", "a.png,x,Training", "b.png,y,dev", "c.png,y,test_set")
    assert list(read_manifest(root).table["split"]) == ["train", "validation", "test"]


def test_table__link_out_of_the_data_folder(tmp_path: Path) -> None:
    root = touch(tmp_path / "data", "a.png")
    (root / "b.png").symlink_to(touch(tmp_path / "outside", "secret.png") / "secret.png")
    write(root / "all.csv", "path,label", "a.png,x", "b.png,y")
    assert "all.csv, row 3: 'b.png' is a link that leaves the folder DATA/" in message_for(root)


def test_tables__are_joined_in_natural_order(tmp_path: Path) -> None:
    root = touch(tmp_path / "data", "a.png", "b.png", "c.png")
    write(root / "part10.csv", "path,label", "a.png,x")
    write(root / "part9.csv", "Path;label;site", "b.png;y;north")
    pd.DataFrame({"path": ["c.png"], "label": ["x"]}).to_parquet(root / "part11.parquet")
    manifest = read_manifest(root)
    assert classes_of(manifest) == {"b.png": "y", "a.png": "x", "c.png": "x"}
    assert list(manifest.table["path"]) == ["b.png", "a.png", "c.png"]
    assert list(manifest.table["site"]) == ["north", "", ""]
    assert manifest.layout == "tables part9.csv, part10.csv, part11.parquet"


def test_tables__image_listed_in_two_of_them(tmp_path: Path) -> None:
    root = touch(tmp_path / "data", "a.png", "b.png")
    write(root / "one.csv", "path,label", "a.png,x", "b.png,y")
    write(root / "two.csv", "path,label", "b.png,y")
    assert "DATA/one.csv and two.csv both list 1 of the same images. Name the one to read (--data DATA/one.csv)" in message_for(
        root
    )
    touch(root, "c.png", "d.png", "e.png")
    write(root / "one.csv", "path,label", "a.png,x", "b.png,y", "e.png,y")
    write(root / "two.csv", "path,label", "b.png,y", "c.png,y", "d.png,x")
    assert "DATA/two.csv, row 2: 'b.png' is listed twice" in message_for(root)


def test_tables__names_give_the_split(tmp_path: Path) -> None:
    root = touch(tmp_path / "data", "train/a.png", "train/b.png", "test/c.png")
    write(root / "Train.csv", "path,label", "train/a.png,x", "train/b.png,y")
    write(root / "test.csv", "path,label", "test/c.png,x")
    assert list(read_manifest(root).table["split"]) == ["test", "train", "train"]
    (root / "test.csv").unlink()
    assert "split" not in read_manifest(root).table


def test_tables__split_of_some_alone(tmp_path: Path) -> None:
    root = touch(tmp_path / "data", "a.png", "b.png")
    write(root / "train.csv", "path,label", "a.png,x")
    write(root / "more.csv", "path,label", "b.png,y")
    assert "DATA: only train.csv has a column split, or a name that gives it" in message_for(root)


def test_tables__of_any_class_folders(tmp_path: Path) -> None:
    root = touch(tmp_path / "data", "cats/a.png", "dogs/a.png", "emus/a.png", "other/a.png")
    for name in ("cats", "dogs", "emus"):
        write(root / ("" if name == "cats" else name) / f"{name}.csv", "image_name,target", f"a.png,{name}")
    manifest = read_manifest(root)
    assert classes_of(manifest) == {"cats/a.png": "cats", "dogs/a.png": "dogs", "emus/a.png": "emus"}
    assert manifest.layout == "class folders cats, dogs, emus, with a table for each; not read: folder other"
    write(root / "cats.csv", "image_name,target", "a.png,dogs")
    assert "cats.csv, row 2: target 'dogs' disagrees with the folder cats/" in message_for(root)


def test_mixed__tables_are_taken_before_class_folders(tmp_path: Path) -> None:
    root = touch(tmp_path / "data", "cats/a.png", "dogs/a.png")
    write(root / "labels.csv", "path,label", "cats/a.png,tame", "dogs/a.png,wild")
    manifest = read_manifest(root)
    assert classes_of(manifest) == {"cats/a.png": "tame", "dogs/a.png": "wild"}
    assert manifest.layout == "table labels.csv; the classes come from there, not from the folders cats, dogs"


def test_mixed__tables_without_the_columns_are_not_read(tmp_path: Path) -> None:
    root = touch(tmp_path / "data", "cats/a.png", "dogs/a.png")
    write(root / "notes.csv", "name,weight", "a,1")
    (root / "old.csv").write_bytes("größe\n".encode("utf-16"))
    write(root / "fixes.csv", "path,label", "cats/a.png,dogs")
    manifest = read_manifest(root)
    assert manifest.class_names == ("cats", "dogs")
    assert manifest.layout == (
        "class folders cats, dogs; not read: table notes.csv (no columns for path and class, but name, weight), "
        "table old.csv (no columns for path and class, but größe); if it lists the images, say which columns hold their paths "
        "and classes: --path-column, --label-column"
    )


def test_read_manifest__file_that_is_no_table(tmp_path: Path) -> None:
    touch(tmp_path, "photo.png")
    with pytest.raises(DataError, match=r"photo.png: not a table by its name; expected .csv, .tsv, .txt or .parquet"):
        read_manifest(tmp_path / "photo.png")


def test_read_manifest__sole_table_that_is_not_utf8(tmp_path: Path) -> None:
    root = touch(tmp_path / "data", "a.png")
    (root / "all.csv").write_bytes("größe\na.png,x\n".encode("latin-1"))
    assert "DATA/all.csv: not UTF-8 text, but probably Windows-1252 or Latin-1" in message_for(root)


def test_read_manifest__says_which_columns_the_tables_have(tmp_path: Path) -> None:
    root = touch(tmp_path / "data", "images/a.png")
    write(root / "all.csv", "id,diagnosis", "a,x")
    assert "found: folder images/ (with images), table all.csv (columns id, diagnosis), images in no folder: 0" in message_for(
        root
    )


# Faults


def test_faults__of_a_table(tmp_path: Path) -> None:
    root = touch(tmp_path / "data", "i/a.png", "i/b.png", "i/c.png", "i/d.png", "i/e.png", "i/new.png", "i/note.txt", "j/f.png")
    rows = ["i/a.png,x,train", "i/gone.png,y,train", "i/a.png,y,test", "../i/a.png,x,test", ",x,test"]
    write(root / "all.csv", "path,label,split", *rows, "i/b.png,,test", "i/c.png,y,sometimes", "i/d.png,y,val")
    faults: list[Fault] = []
    manifest = read_manifest(root, faults)
    assert classes_of(manifest) == {"i/a.png": "x", "i/d.png": "y"}
    assert list(manifest.table["split"]) == ["train", "validation"]
    assert list(manifest.table.index) == [0, 1]
    assert manifest.listed == (f"{root / 'all.csv'}, row 2", f"{root / 'all.csv'}, row 9")
    assert [(fault.kind, fault.path) for fault in faults if fault.path not in ("", ".")] == [
        ("bad-name", "../i/a.png"),
        ("missing", "i/gone.png"),
        ("listed-twice", "i/a.png"),
        ("unlisted", "i/e.png"),
        ("unlisted", "i/new.png"),
        ("bad-target", "i/b.png"),
        ("bad-split", "i/c.png"),
    ]
    assert (
        faults[2].message
        == f"{root / 'all.csv'}, row 3: 'i/gone.png' is listed but is not in {root}/; add the file, or delete the row."
    )


def test_faults__of_class_tables(data: Path) -> None:
    touch(data, "0/sub/deep.png")
    rows = ["00.png,0", "01.png,1", "02.png,cat", "x.png,0", "00.png,0", "../1/00.png,0"]
    write(data / "0.csv", "image_name,target", *rows)
    manifest, faults = found_in(data)
    assert list(manifest.table["path"]) == ["0/00.png"] + [f"1/{number:02d}.png" for number in range(8)]
    unlisted = [("unlisted", f"0/{number:02d}.png") for number in range(3, 8)]
    expected = [("bad-target", "0/01.png"), ("bad-target", "0/02.png"), ("missing", "0/x.png"), ("listed-twice", "0/00.png")]
    assert faults == sorted([*expected, ("bad-name", "0/../1/00.png"), *unlisted])


def test_faults__class_whose_rows_are_all_wrong_stays_a_class(data: Path) -> None:
    write(data / "0.csv", "image_name,target", "x.png,0", "y.png,0")
    manifest, _ = found_in(data)
    assert manifest.class_names == ("0", "1")
    assert set(manifest.table["target"]) == {1}


def test_faults__without_a_right_row_there_is_an_error(tmp_path: Path) -> None:
    root = touch(tmp_path / "data", "a.png")
    write(root / "all.csv", "path,label", "x.png,1", "y.png,2")
    with pytest.raises(DataError, match=r"no image is left of those listed.*row 2: 'x.png' is listed but is not in"):
        read_manifest(root, [])


def test_faults__of_sound_data_are_none(data: Path) -> None:
    manifest, faults = found_in(data)
    assert faults == []
    pd.testing.assert_frame_equal(manifest.table, read_manifest(data).table)


# The same for all layouts

NAMES = st.sampled_from(["2", "10", "9a", "Zebra", "emu", "naïve", "a b", "x,y", "0.5", "日本"])
PARTS = ("train", "val", "test")


@st.composite
def data_sets(draw: st.DrawFn) -> list[Image]:
    """Images of 2 to 4 classes, each of which has one for training; each part has one."""
    names = draw(st.lists(NAMES, min_size=2, max_size=4, unique=True))
    further = draw(st.lists(st.tuples(st.sampled_from(names), st.sampled_from(PARTS)), max_size=6))
    both = [*((name, "train") for name in names), (names[0], "val"), (names[-1], "test"), *further]
    return [(f"{number}.png", name, part) for number, (name, part) in enumerate(draw(st.permutations(both)))]


def write_folder_tables(root: Path, images: list[Image]) -> None:
    for name in {name for _, name, _ in images}:
        rows = [(image, name, part) for image, other, part in images if other == name]
        touch(root, *(f"{name}/{image}" for image, _, _ in rows))
        pd.DataFrame(rows, columns=["image_name", "target", "split"]).to_csv(root / f"{name}.csv", index=False)


def write_parts(root: Path, images: list[Image]) -> None:
    touch(root, *(f"{part}/{name}/{image}" for image, name, part in images))


def write_class_folders(root: Path, images: list[Image]) -> None:
    touch(root, *(f"{name}/{image}" for image, name, _ in images))


def write_one_table(root: Path, images: list[Image]) -> None:
    touch(root, *(f"pool/{image}" for image, _, _ in images))
    rows = [(f"pool/{image}", name, part) for image, name, part in images]
    pd.DataFrame(rows, columns=["filename", "class", "split"]).to_parquet(root / "all.parquet")


def write_tables(root: Path, images: list[Image]) -> None:
    touch(root, *(image for image, _, _ in images))
    for part in PARTS:
        rows = [(image, name) for image, name, other in images if other == part]
        pd.DataFrame(rows, columns=["path", "label"]).to_csv(root / f"{part}.csv", index=False, sep=";")


WRITERS = (write_folder_tables, write_parts, write_class_folders, write_one_table, write_tables)


@settings(max_examples=25)
@given(data_sets())
def test_layouts__all_give_the_same_classes_and_splits(images: list[Image]) -> None:
    full = {"train": "train", "val": "validation", "test": "test"}
    with tempfile.TemporaryDirectory() as folder:
        found = {}
        for write_layout in WRITERS:
            root = Path(folder) / write_layout.__name__
            root.mkdir()
            write_layout(root, images)
            manifest = read_manifest(root)
            table = manifest.table.assign(name=[manifest.class_names[target] for target in manifest.table["target"]])
            assert all((root / path).is_file() for path in table["path"])
            splits = table["split"] if "split" in table else ["none"] * len(table)
            found[write_layout] = {
                (Path(path).name, name, split) for path, name, split in zip(table["path"], table["name"], splits, strict=True)
            }
            assert len(table) == len(images)
            assert manifest.class_names == read_manifest(root, []).class_names
            found["names", manifest.class_names] = set()
    expected = {(image, name, full[part]) for image, name, part in images}
    for write_layout in WRITERS:
        wanted = {(image, name, "none") for image, name, _ in expected} if write_layout is write_class_folders else expected
        assert found[write_layout] == wanted, write_layout
    assert sum(isinstance(key, tuple) for key in found) == 1  # One order of the classes.


@settings(max_examples=25)
@given(data_sets(), st.data())
def test_layouts__order_of_classes_is_independent_of_the_files_and_of_what_a_part_lacks(
    images: list[Image], data: st.DataObject
) -> None:
    fewer = [image for image in images if image[2] == "train" or data.draw(st.booleans())]
    fewer += [image for image in images if image[2] == "test" and image not in fewer][:1]
    with tempfile.TemporaryDirectory() as folder:
        orders = set()
        for number, some in enumerate((images, data.draw(st.permutations(images)), fewer)):
            for write_layout in (write_parts, write_one_table):
                root = Path(folder) / f"{write_layout.__name__}{number}"
                write_layout(root, list(some))
                orders.add(read_manifest(root).class_names)
    assert len(orders) == 1
