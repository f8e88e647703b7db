"""What listed tables say: missing labels, several tables, columns that are named, files that are not where a table says."""

import os
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pytest
from making import fingerprint

from diptych.data.reading import class_folders
from diptych.data.reading.layouts import image_folder, read_manifest
from diptych.data.reading.manifest import Fault, Manifest
from diptych.data.reading.tables import MISSING
from diptych.data.splits import read_given
from diptych.errors import ConfigError, DataError
from diptych.evaluation.external_data import read_like
from diptych.inference.trained_run import TrainedRun
from diptych.settings.config import Config, DataConfig
from diptych.settings.sources import to_toml
from diptych.storage.run_dir import RunDir


def make(root: Path, images: Sequence[str], tables: Mapping[str, Sequence[str]]) -> Path:
    """Make empty images, and tables of lines."""
    for path in images:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    root.mkdir(exist_ok=True)
    for name, lines in tables.items():
        (root / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def numbered(count: int, form: str = "{}.png") -> list[str]:
    return [form.format(number) for number in range(count)]


def label(names: Sequence[str], labels: Sequence[str], header: str = "path,label") -> list[str]:
    return [header, *(f"{name},{label}" for name, label in zip(names, labels, strict=True))]


def message_for(root: Path, **settings: object) -> str:
    before = fingerprint(root)
    with pytest.raises(DataError) as caught:
        read_manifest(DataConfig(data=root, **settings))  # type: ignore[arg-type]
    assert fingerprint(root) == before
    return str(caught.value).replace(str(root), "DATA")


def classes_of(manifest: Manifest) -> list[str]:
    return [manifest.class_names[target] for target in manifest.table["target"]]


# Labels


@pytest.mark.parametrize(
    "word",
    ["nan", "NaN", " NA ", "N/A", "#N/A", "None", "null", "?", "-", "<NA>", "\N{EM DASH}", "#VALUE!", "n.a.", "#NV", "(null)"],
)
def test_labels__words_for_nothing_are_missing_and_never_a_class(tmp_path: Path, word: str) -> None:
    names = numbered(5)
    root = make(tmp_path / "data", names, {"all.csv": label(names, ["0.0", "1.0", word, "1.0", word])})
    message = message_for(root)
    assert f"DATA/all.csv, row 4: class {word.strip()!r} stands for a missing value" in message
    assert message.endswith("(1 more like it: row 6)")
    faults: list[Fault] = []
    manifest = read_manifest(root, faults)
    assert classes_of(manifest) == ["0", "1", "1"]
    assert [(fault.kind, fault.path) for fault in faults] == [("bad-target", "2.png"), ("bad-target", "4.png")]


def test_labels__missing_in_a_table_of_a_class_folder(data: Path) -> None:
    (data / "0.csv").write_text("image_name,target\n00.png,0.0\n01.png,nan\n")
    faults: list[Fault] = []
    assert (read_manifest(data, faults).table["target"] == 0).sum() == 1
    assert [fault.message.partition(": ")[2] for fault in faults if fault.kind == "bad-target"] == [
        "'nan' is not a target; write 0 or 1."
    ]


def test_labels__folder_may_be_called_none(tmp_path: Path) -> None:
    """A folder was named by somebody; a cell may have been filled by a program."""
    root = make(tmp_path / "data", ["none/a.png", "crack/a.png"], {})
    assert read_manifest(root).class_names == ("crack", "none")
    for name in ("none", "crack"):
        (root / f"{name}.csv").write_text(f"image_name,target\na.png,{name}\n")
    assert classes_of(read_manifest(root)) == ["crack", "none"]


@pytest.mark.parametrize(
    ("labels", "wrong"),
    [
        (["a", "b", "a|b", "a"], ["2.png"]),
        (["a|b", "b|c", "c", "a"], ["0.png", "1.png"]),
        (["a", "b", "a;b", "b"], ["2.png"]),
        (["a", "b", '"a, b"', "b"], ["2.png"]),
        (["a", "b", "\"['a', 'b']\"", "b"], ["2.png"]),
        (["a", "b", '"c, d"', "c;d"], []),
        (["x|y", "a", "b", "a"], []),
    ],
)
def test_labels__several_classes_in_one_cell(tmp_path: Path, labels: Sequence[str], wrong: Sequence[str]) -> None:
    names = numbered(4)
    root = make(tmp_path / "data", names, {"all.tsv": ["path\tlabel", *map("\t".join, zip(names, labels, strict=True))]})
    faults: list[Fault] = []
    manifest = read_manifest(root, faults)
    assert [fault.path for fault in faults] == wrong
    assert all("names several classes, but an image has one here" in fault.message for fault in faults)
    assert len(manifest.table) == 4 - len(wrong)


def test_labels__that_measure_something_are_refused(tmp_path: Path) -> None:
    names = numbered(12)
    values = [f"{number / 8 + 0.05:.3f}" for number in range(12)]
    root = make(tmp_path / "data", names, {"all.csv": label(names, values)})
    assert "all.csv: the labels are 12 different numbers from 0.05 to 1.425: a measurement, not classes" in message_for(root)
    make(root, [], {"all.csv": label(names, [f"{number % 3 / 2}" for number in range(12)])})
    assert read_manifest(root).class_names == ("0.0", "0.5", "1.0")


def test_labels__one_column_for_each_class(tmp_path: Path) -> None:
    names = numbered(3)
    rows = ["image,MEL,NV,BCC", "0.png,1.0,0.0,0.0", "1.png,0.0,1.0,0.0", "2.png,0.0,0.0,1.0"]
    root = make(tmp_path / "data", names, {"all.csv": rows})
    for data in (root, root / "all.csv"):
        with pytest.raises(DataError, match=r"but 0 and 1 in MEL, NV, BCC \(one-hot\)\. Write one column label with the name"):
            read_manifest(data)
    make(root, [], {"all.csv": [row.replace("1.0", "True").replace("0.0", "False") for row in rows]})
    assert "0 and 1 in MEL, NV, BCC (one-hot)" in message_for(root)
    make(root, [], {"all.csv": [*rows[:3], "2.png,1.0,1.0,0.0"]})
    assert "In some rows none or several are 1" in message_for(root)
    manifest = read_manifest(DataConfig(data=root, label_column="MEL"))
    assert classes_of(manifest) == ["1", "0", "1"]


@pytest.mark.parametrize(
    ("labels", "kind", "names"),
    [
        (["0.0", "1.0", "unlabeled", "1.0"], "odd-class", "'unlabeled'"),
        (["0", "1", "-1", "1"], "odd-class", "'-1'"),
        (["cat", "dog", "Unknown", "cat"], "odd-class", "'Unknown'"),
        (["scab", "rust", "scab rust", "rust"], "joined-classes", "'scab rust'"),
        (["a", "b", "a+b", "a"], "joined-classes", "'a+b'"),
        (["-1", "1", "-1", "1"], "", ""),
        (["grade 1", "grade 2", "normal", "normal"], "", ""),
        (["A", "B", "1", "2"], "", ""),
    ],
)
def test_labels__that_were_probably_meant_otherwise_are_warned_of(
    tmp_path: Path, labels: Sequence[str], kind: str, names: str
) -> None:
    root = make(tmp_path / "data", numbered(4), {"all.csv": label(numbered(4), labels)})
    remarks = read_manifest(root).remarks
    assert [(remark.kind, remark.title.partition(": ")[2], remark.paths) for remark in remarks] == (
        [(kind, names, ("2.png",))] if kind else []
    )


# Groups and splits


def test_groups__that_differ_only_in_how_they_are_written_are_warned_of(tmp_path: Path) -> None:
    rows = ["path,label,group", *(f"{n}.png,{n % 2},{group}" for n, group in enumerate(["P1", "p1", "p2", "7", "07", "x"]))]
    (remark,) = read_manifest(make(tmp_path / "data", numbered(6), {"all.csv": rows})).remarks
    assert remark.title == ("4 values of group differ only in case, signs, or how a number is written: '07' and '7'")
    assert remark.paths == ("0.png", "1.png", "3.png", "4.png")


@pytest.mark.parametrize(
    ("heading", "values", "expected"),
    [
        ("subset", ["Training", "Training", "Testing"], "subset holds Testing, Training, but is not taken as the split"),
        ("Patient ID", ["p1", "p1", "p2"], "Patient ID has 2 values for 3 images, but is not taken as the groups"),
        ("patient", ["p1", "p2", "p3"], ""),
        ("colour", ["red", "red", "blue"], ""),
    ],
)
def test_columns__that_seem_to_give_split_or_groups_are_named(
    tmp_path: Path, heading: str, values: Sequence[str], expected: str
) -> None:
    rows = [f"path,label,{heading}", *(f"{n}.png,{n % 2},{value}" for n, value in enumerate(values))]
    remarks = read_manifest(make(tmp_path / "data", numbered(3), {"all.csv": rows})).remarks
    assert [remark.title for remark in remarks] == ([f"the column {expected}"] if expected else [])


@pytest.mark.parametrize("heading", ["group", "Group", " GROUP"])
def test_groups__words_for_nothing_are_no_group_and_counted(tmp_path: Path, heading: str) -> None:
    names = numbered(7)
    groups = ["3.0", "nan", "unknown", "", "-", "3.0", "12.0"]
    rows = [
        f"path,label,{heading}",
        *(f"{name},{n % 2},{group}" for n, (name, group) in enumerate(zip(names, groups, strict=True))),
    ]
    root = make(tmp_path / "data", names, {"all.csv": rows})
    manifest = read_manifest(root)
    assert list(manifest.table["group"]) == ["3", "", "", "", "", "3", "12"]
    (remark,) = manifest.remarks
    assert remark.title == "4 of 7 images have no group: '-', 'nan', 'unknown' or nothing is written there"
    assert remark.paths == ("1.png", "2.png", "4.png")


def test_groups__other_columns_keep_their_words(tmp_path: Path) -> None:
    rows = ["path,label,site,patient", "0.png,x,NA,p1", "1.png,y,unknown,"]
    root = make(tmp_path / "data", numbered(2), {"all.csv": rows})
    manifest = read_manifest(DataConfig(data=root, group_column="patient"))
    assert list(manifest.table["site"]) == ["NA", "unknown"]
    assert manifest.remarks == ()


def test_split_file__words_for_nothing_are_drawn_as_empty_cells(tmp_path: Path) -> None:
    root = make(tmp_path / "data", numbered(3), {"all.csv": label(numbered(3), ["x", "y", "x"])})
    make(tmp_path, [], {"split.csv": ["path,split", "0.png,train", "1.png,nan", "2.png,"]})
    assert list(read_given(read_manifest(root), tmp_path / "split.csv")) == ["train", "", ""]


# Several tables


@pytest.mark.parametrize("name", ["sample_submission.csv", "SampleSubmission.csv", "submission_format.tsv", "template.csv"])
def test_several__form_to_be_filled_in_is_left_out_and_named(tmp_path: Path, name: str) -> None:
    names = numbered(8)
    tables = {"labels.csv": label(names[:4], ["0", "1", "0", "1"]), name: label(names[4:], ["0"] * 4)}
    root = make(tmp_path / "data", names, tables)
    manifest = read_manifest(root)
    assert len(manifest.table) == 4
    assert f"not read: table {name} (by its name to be filled in; to read it, name it: --data {root / name})" in manifest.layout


BOTH = ["0", "1"] * 6


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        (
            {"a.csv": label(numbered(4), BOTH[:4]), "b.csv": label(numbered(4, "b{}.png"), ["0"] * 4)},
            "b.csv may not belong together",
        ),
        ({"a.csv": label(numbered(4), BOTH[:4]), "b.csv": label(numbered(3), BOTH[:3])}, "b.csv both list 3 of the same images"),
        (
            {"a.csv": label(numbered(4), BOTH[:4]), "b.csv": label(numbered(4, "b{}.png"), BOTH[:4], "file,target")},
            "b.csv call path and class by different headings (path, label and file, target)",
        ),
        ({"a.csv": label(numbered(4), BOTH[:4]), "b.csv": label(numbered(4, "b{}.png"), "xyxy")}, "have no class in common"),
        (
            {"test.csv": label(numbered(12, "b{}.png"), ["0"] * 12), "train.csv": label(numbered(12), BOTH)},
            "train.csv and test.csv may not belong together: all labels of test.csv (12) are '0', as in a form to be filled in",
        ),
    ],
)
def test_several__tables_that_do_not_clearly_belong_together_are_refused(
    tmp_path: Path, tables: dict[str, list[str]], expected: str
) -> None:
    root = make(tmp_path / "data", [*numbered(12), *numbered(12, "b{}.png")], tables)
    message = message_for(root)
    assert expected in message
    assert "Name the one to read (--data DATA/" in message
    for name in tables:
        assert name in message
    with pytest.raises(DataError):
        read_manifest(root, [])


@pytest.mark.parametrize(
    ("tables", "classes"),
    [
        ({"cats.csv": label(numbered(3), ["cat"] * 3), "dogs.csv": label(numbered(3, "b{}.png"), ["dog"] * 3)}, ("cat", "dog")),
        (
            {"2019.csv": label(numbered(4), BOTH[:4]), "2020.csv": label(numbered(4, "b{}.png"), BOTH[:4], "Path,LABEL")},
            ("0", "1"),
        ),
        ({"train.csv": label(numbered(4), BOTH[:4]), "test.csv": label(["b0.png"], ["1.0"])}, ("0", "1")),
    ],
)
def test_several__tables_that_belong_together_are_joined(
    tmp_path: Path, tables: dict[str, list[str]], classes: tuple[str, ...]
) -> None:
    root = make(tmp_path / "data", [*numbered(12), *numbered(12, "b{}.png")], tables)
    manifest = read_manifest(root)
    assert manifest.class_names == classes
    assert len(manifest.table) == sum(len(lines) - 1 for lines in tables.values())


def test_several__form_alone_is_named_with_the_way_to_read_it(tmp_path: Path) -> None:
    root = make(tmp_path / "data", numbered(2), {"sample_submission.csv": label(numbered(2), "xy")})
    assert "by its name to be filled in; to read it, name it: --data DATA/sample_submission.csv" in message_for(root)


def test_several__table_of_empty_labels_is_not_the_one_to_read(tmp_path: Path) -> None:
    tables = {"train.csv": label(numbered(4), BOTH[:4]), "test.csv": label(numbered(2, "b{}.png"), ["", ""])}
    message = message_for(make(tmp_path / "data", [*numbered(4), *numbered(2, "b{}.png")], tables))
    assert "no label is given in test.csv. Name the one to read (--data DATA/train.csv)" in message


def test_several__table_without_labels_is_named(tmp_path: Path) -> None:
    tables = {"train.csv": label(numbered(2), "xy"), "test.csv": ["path", "2.png", "3.png"]}
    manifest = read_manifest(make(tmp_path / "data", numbered(4), tables))
    assert len(manifest.table) == 2
    assert "not read: table test.csv (no columns for path and class, but path)" in manifest.layout


# Columns


def test_columns__two_that_are_equal_are_one(tmp_path: Path) -> None:
    rows = ["image_name,path,label,target", "0.png,0.png,x,x ", "1.png,1.png,y,y"]
    manifest = read_manifest(make(tmp_path / "data", numbered(2), {"all.csv": rows}))
    assert classes_of(manifest) == ["x", "y"]
    assert list(manifest.table["path"]) == ["0.png", "1.png"]


def test_columns__named_ones_are_taken_and_others_of_their_names_are_kept_aside(tmp_path: Path) -> None:
    rows = ["path,Where,target,kind", "old/a.png,0.png,9,x", "old/b.png,1.png,9,y"]
    root = make(tmp_path / "data", numbered(2), {"all.csv": rows})
    manifest = read_manifest(DataConfig(data=root, path_column="where", label_column="Kind"))
    assert list(manifest.table["path"]) == ["0.png", "1.png"]
    assert classes_of(manifest) == ["x", "y"]
    assert list(manifest.table["target (table)"]) == ["9", "9"]
    message = message_for(root / "all.csv", label_column="kinds")
    assert message.startswith("DATA: no column kinds, which --label-column names; it has path, Where, target, kind.")


@pytest.mark.parametrize("given", ["folder", "table"])
def test_columns__unknown_headings_beside_folders_of_parts(tmp_path: Path, given: str) -> None:
    images = [*numbered(4, "train/{}.png"), "test/9.png"]
    root = make(tmp_path / "data", images, {"train.csv": label(numbered(4), "xyxy", "id_code,grade")})
    message = message_for(root)
    assert "table train.csv (columns id_code, grade)" in message
    assert "--path-column HEADING, --label-column HEADING; and --images FOLDER" in message
    data = root if given == "folder" else root / "train.csv"
    manifest = read_manifest(DataConfig(data, path_column="id_code", label_column="grade", images=root / "train"))
    assert manifest.root == root / "train"
    assert all((manifest.root / path).is_file() for path in manifest.table["path"])


def test_columns__further_headings_are_taken_where_no_folders_tell_the_classes(tmp_path: Path) -> None:
    root = make(tmp_path / "data", numbered(4), {"all.csv": label(numbered(4), "xyxy", "image_id,diagnosis")})
    assert classes_of(read_manifest(root)) == ["x", "y", "x", "y"]
    make(root, ["cat/a.png", "dog/a.png"], {})
    manifest = read_manifest(root)
    assert manifest.class_names == ("cat", "dog")
    assert "table all.csv (no columns for path and class, but image_id, diagnosis); if it lists the images" in manifest.layout


def test_columns__asked_for_without_a_table(tmp_path: Path) -> None:
    root = make(tmp_path / "data", ["cat/a.png", "dog/a.png"], {})
    assert "found: no table, and --path-column, --label-column and --images are about tables" in message_for(
        root, label_column="x"
    )
    with pytest.raises(DataError, match="no such folder; --images names"):
        read_manifest(DataConfig(data=root, images=tmp_path / "nowhere"))


def test_workbook__is_named_with_the_way_out(tmp_path: Path) -> None:
    root = make(tmp_path / "data", ["a.png"], {"labels.xlsx": ["PK"]})
    assert "labels.xlsx (a workbook; save the sheet as CSV (in Excel: " in message_for(root)
    assert "DATA: a workbook is not read; save the sheet as CSV" in message_for(root / "labels.xlsx")
    make(root, ["cat/a.png", "dog/a.png"], {})
    assert "not read: images in no class folder: 1, labels.xlsx (a workbook; " in read_manifest(root).layout


def test_text__is_a_table_where_its_lines_are_those_of_one(tmp_path: Path) -> None:
    tables = {"README.txt": ["Pictures of cats, dogs", "by me"], "labels.txt": ["path\tlabel", "0.png\tx", "1.png\ty"]}
    manifest = read_manifest(make(tmp_path / "data", numbered(2), tables))
    assert manifest.layout == "table labels.txt"


# Names for numbers


@pytest.mark.parametrize("form", ["paired", "table", "folders"])
def test_class_names__for_numbers(data: Path, form: str) -> None:
    if form != "paired":
        (data / "0.csv").unlink()
        (data / "1.csv").unlink()
    if form == "table":
        make(data, [], {"all.csv": label([f"{n}/00.png" for n in (0, 1)], ["0.0", "1.0"])})
    manifest = read_manifest(DataConfig(data, class_names="functional, defective"))
    assert manifest.class_names == ("functional", "defective")
    assert all(
        classes_of(manifest)[row] == ("functional", "defective")[int(path[0])] for row, path in enumerate(manifest.table["path"])
    )


@pytest.mark.parametrize(
    ("names", "labels", "expected"),
    [
        (
            "a,b,c",
            ["0", "1"],
            "--class-names gives 3 names, for classes that are numbers (0, 1, ...), but the data has 2 classes: 0, 1",
        ),
        ("a,b", ["x", "y"], "the data has 2 classes that are no numbers: x, y"),
        ("a,b", ["-1", "1"], "the data has 2 classes that are no numbers: 1, -1"),
    ],
)
def test_class_names__that_do_not_fit(tmp_path: Path, names: str, labels: list[str], expected: str) -> None:
    root = make(tmp_path / "data", numbered(2), {"all.csv": label(numbered(2), labels)})
    assert expected in message_for(root, class_names=names)


@pytest.mark.parametrize("names", ["one", "a,", "a,A", ",", "a,b,a"])
def test_class_names__that_are_no_names(names: str) -> None:
    with pytest.raises(ConfigError, match=r"class_names is .* two or more different names, with commas between them"):
        DataConfig(class_names=names)


# Files that are not where a table says


@pytest.mark.parametrize(
    ("listed", "there", "expected"),
    [
        ("img{}", "img{}.png", "Did you mean 'img0.png'? With the extension .png, 4 of 4 would be found."),
        ("img{}.jpg", "img{}.png", "Did you mean 'img0.png'? With the extension .png, 4 of 4 would be found."),
        ("img{}.jpg", "IMG{}.jpg", "Did you mean 'IMG0.jpg'? In another case, 4 of 4 would be found."),
        ("img{}.jpg ", "img{}.jpg", "Did you mean 'img0.jpg'? Without the blanks at the ends, 4 of 4 would be found."),
        (
            "{}.png",
            "000{}.png",
            "Did you mean '0000.png'? With the leading zeros that spreadsheets take away, 4 of 4 would be found.",
        ),
        (
            "{}",
            "000{}.png",
            "Did you mean '0000.png'? Changed in one or more of extension, case, blanks, quotes and leading zeros, 4 of 4",
        ),
        ("'{}.png'", "{}.png", "Did you mean '0.png'? Changed in one or more of"),
        ("a\N{NO-BREAK SPACE}{}.png", "a {}.png", "Did you mean 'a 0.png'? Changed in one or more of"),
        (
            "{}.0",
            "train/000{}.jpg",
            "'train/0000.jpg'? In the folder train/ (--images DATA/train says so for all), and changed in extension, case",
        ),
        (
            "isic_{}",
            "a/ISIC_{}.JPG",
            "Did you mean 'a/ISIC_0.JPG'? In the folder a/ (--images DATA/a says so for all), and changed",
        ),
        ("a%20{}.png", "a {}.png", "Did you mean 'a 0.png'? With %20 and the like written out, 4 of 4 would be found."),
        ("{}.png", "images/{}.png", "In the folder images/ (--images DATA/images says so for all), 4 of 4 would be found."),
        ("old/images/{}.png", "images/{}.png", "Did you mean 'images/0.png'? Without the folder old/, 4 of 4 would be found."),
        ("old/{}.png", "new/{}.png", "Did you mean 'new/0.png'? In another folder, 4 of 4 would be found."),
    ],
)
def test_missing__did_you_mean(tmp_path: Path, listed: str, there: str, expected: str) -> None:
    root = make(tmp_path / "data", numbered(4, there), {"all.csv": label(numbered(4, listed), "xyxy")})
    message = message_for(root)
    assert "DATA/all.csv, row 2: " in message
    assert "is listed but is not in DATA/" in message
    assert "(3 more like it: rows 3, 4, 5)" in message
    assert expected in message


def test_missing__the_folder_can_be_pasted_into_a_shell(tmp_path: Path) -> None:
    root = make(tmp_path / "my data", numbered(4, "all images/{}.png"), {"all.csv": label(numbered(4), "xyxy")})
    with pytest.raises(DataError) as caught:
        read_manifest(root)
    assert f"--images '{root}/all images' says so for all" in str(caught.value)


@pytest.mark.parametrize("home", ["/home/me/data", r"C:\Users\me\data", "../data"])
def test_missing__path_of_another_computer(tmp_path: Path, home: str) -> None:
    root = make(tmp_path / "data", numbered(2, "x/{}.png"), {"all.csv": label(numbered(2, f"{home}/x/{{}}.png"), "xy")})
    message = message_for(root)
    assert "leaves the folder DATA/; write a name inside of it. (1 more like it: row 3) Did you mean 'x/0.png'? " in message
    assert "2 of 2 would be found. If all images lie elsewhere, name their folder: --images DIR." in message


def test_missing__names_that_look_alike(tmp_path: Path) -> None:
    there = [unicodedata.normalize("NFD", name) for name in numbered(4, "Zürich {}.png")]
    root = make(tmp_path / "data", there, {"all.csv": label(numbered(4, "Zürich {}.png"), "xyxy")})
    assert "the names look alike, but their letters with marks are one character in NFC and two in NFD), 4 of 4" in message_for(
        root
    )


def test_missing__what_is_likely_is_counted_and_said_once(tmp_path: Path) -> None:
    listed = ["0.png", "1.png", "2", "3", "gone"]
    root = make(tmp_path / "data", numbered(4), {"all.csv": label(listed, "xyxyx")})
    faults: list[Fault] = []
    assert len(read_manifest(root, faults).table) == 2
    said = [fault.message for fault in faults if "Did you mean" in fault.message]
    assert len(said) == 1
    assert said[0].endswith("Did you mean '2.png'? With the extension .png, 2 of 3 would be found.")
    assert "Did you mean" not in message_for(make(tmp_path / "other", numbered(4), {"all.csv": label(["0.png", "x.png"], "xy")}))


def test_missing__an_image_of_another_row_was_not_meant(tmp_path: Path) -> None:
    """The fault: for the cats of a folder that was not there, "Did you mean 'dog/0.png'?"."""
    listed = [*numbered(2, "cat/{}.png"), *numbered(2, "dog/{}.png")]
    root = make(tmp_path / "data", listed[2:], {"all.csv": label(listed, "ccdd")})
    assert "Did you mean" not in message_for(root)


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_missing__in_a_locked_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read everything, so that the system's answer is given here."""
    listed = [*numbered(2, "cat/{}.png"), *numbered(2, "dog/{}.png")]
    root = make(tmp_path / "data", listed[2:], {"all.csv": label(listed, "ccdd")})
    (root / "cat").mkdir()
    scan = class_folders.scan

    def refuse(folder: Path) -> list[os.DirEntry[str]]:
        if folder.name in closed:
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    closed = ["cat"]
    monkeypatch.setattr(class_folders, "scan", refuse)
    assert "DATA/cat: a folder that cannot be listed (Permission denied); allow yourself to read it" in message_for(root)
    for path in listed[:2]:
        (root / path).touch()
    assert len(read_manifest(root, []).table) == 4


def test_missing__two_files_are_equally_likely(tmp_path: Path) -> None:
    root = make(tmp_path / "data", ["0.png", "0.jpg", "1.png"], {"all.csv": label(["0", "1.png"], "xy")})
    assert "Did you mean" not in message_for(root)


@pytest.mark.skipif(os.name == "nt", reason="links")
@pytest.mark.parametrize("form", ["plain", "link", "roundabout"])
def test_absolute__path_inside_the_folder_is_accepted(tmp_path: Path, form: str) -> None:
    root = make(tmp_path / "data", numbered(2, "imgs/{}.png"), {})
    (tmp_path / "link").symlink_to(root, target_is_directory=True)
    home = {"plain": root, "link": tmp_path / "link", "roundabout": root / "imgs" / ".."}[form]
    make(root, [], {"all.csv": label([f"{home}/imgs/{n}.png" for n in (0, 1)], "xy")})
    for data in (root, tmp_path / "link"):
        assert list(read_manifest(data).table["path"]) == ["imgs/0.png", "imgs/1.png"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX paths")
def test_absolute__path_outside_is_refused_and_accepted_with_the_folder_of_the_images(tmp_path: Path) -> None:
    elsewhere = make(tmp_path / "elsewhere", numbered(2), {})
    root = make(tmp_path / "data", [], {"all.csv": label([f"{elsewhere}/{n}.png" for n in (0, 1)], "xy")})
    message = message_for(root)
    assert "leaves the folder DATA/; write a name inside of it" in message
    assert "If all images lie elsewhere, name their folder: --images DIR." in message
    manifest = read_manifest(DataConfig(root, images=elsewhere))
    assert (manifest.root, list(manifest.table["path"])) == (elsewhere, ["0.png", "1.png"])


def test_image_folder__moves_with_the_data(tmp_path: Path) -> None:
    old, new = tmp_path / "old", make(tmp_path / "new", ["train/a.png"], {"all.csv": ["path,label"]})
    settings = DataConfig(old, images=old / "train")
    assert image_folder(settings) == old / "train"
    assert image_folder(settings, new) == image_folder(settings, new / "all.csv") == new / "train"
    assert image_folder(DataConfig(old), new / "all.csv") == new
    assert image_folder(DataConfig(old, images=tmp_path / "apart"), new / "train") == new / "train"


def test_home__is_expanded_in_every_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from diptych.training.resolve import whole_name, whole_paths

    monkeypatch.setenv("HOME", str(tmp_path))
    make(tmp_path / "data", ["imgs/0.png", "imgs/1.png", "w.h5"], {"all.csv": label(numbered(2), "xy")})
    settings = DataConfig("~/data/all.csv", images="~/data/imgs", fixes="~/fixes.csv", split="~/split.csv")  # type: ignore[arg-type]
    assert settings.data == tmp_path / "data" / "all.csv"
    assert len(read_manifest(settings).table) == 2
    # The settings of a run mean the same for another user.
    assert settings.cache == Path("~/.cache/diptych")
    whole = whole_paths(settings)
    data = tmp_path / "data"
    assert (whole.data, whole.images) == (data / "all.csv", data / "imgs")
    assert (whole.fixes, whole.split) == (tmp_path / "fixes.csv", tmp_path / "split.csv")
    assert whole_name("~/data/w.h5", tmp_path / "runs") == str(data / "w.h5")


def test_missing_words__are_small_letters_without_blanks() -> None:
    assert all(word == word.strip().lower() for word in MISSING)
    assert pd.Series(["nan", ""]).isin(MISSING).all()


def test_external__is_read_by_the_columns_and_names_of_the_run(tmp_path: Path) -> None:
    own = DataConfig(tmp_path / "own", path_column="Where", label_column="kind", class_names="functional,defective")
    run = RunDir(tmp_path / "run")
    run.root.mkdir()
    run.config.write_text(to_toml(Config(data=own)), encoding="utf-8")
    rows = label(numbered(2), ["0.0", "1.0"], "Where,kind")
    other = make(tmp_path / "other", numbered(2), {"all.csv": rows})
    for data in (other, other / "all.csv"):
        manifest = read_like(TrainedRun(run), data)
        assert manifest.class_names == ("functional", "defective")
        assert list(manifest.table["path"]) == ["0.png", "1.png"]
    folders = make(tmp_path / "folders", ["functional/a.png", "defective/a.png"], {})
    assert set(read_like(TrainedRun(run), folders).class_names) == {"functional", "defective"}
