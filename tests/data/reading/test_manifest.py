"""The Manifest, and the tables of two class folders, read and checked: every wrong row is named."""

import shutil
from pathlib import Path, PureWindowsPath

import pandas as pd
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from making import fingerprint, make_data

from diptych.data.reading.layouts import read_manifest
from diptych.data.reading.manifest import LEAVES, OWN_COLUMNS, Manifest, natural_key, number_key, order_classes
from diptych.errors import DataError


def rewrite(data: Path, text: str, name: str = "0.csv") -> None:
    (data / name).write_bytes(text.encode())


def message_for(data: Path) -> str:
    before = fingerprint(data)
    with pytest.raises(DataError) as caught:
        read_manifest(data)
    assert fingerprint(data) == before
    return str(caught.value).replace(str(data), "DATA")


@pytest.mark.parametrize("inside", [False, True])
def test_read_manifest__one_row_an_image_in_the_order_of_the_tables(tmp_path: Path, inside: bool) -> None:
    manifest = read_manifest(make_data(tmp_path / "data", count=3, inside=inside))
    assert list(manifest.table["path"]) == [f"{target}/{number:02d}.png" for target in (0, 1) for number in range(3)]
    assert list(manifest.table["image_name"]) == ["00.png", "01.png", "02.png"] * 2
    assert list(manifest.table["target"]) == [0, 0, 0, 1, 1, 1]
    assert manifest.table["target"].dtype == "int64"
    assert manifest.class_names == ("0", "1")
    assert all((manifest.root / path).is_file() for path in manifest.table["path"])


def test_read_manifest__says_where_each_image_is_listed(data: Path) -> None:
    rewrite(data, "image_name,target\n00.png,0\n\n01.png,0\n")
    listed = read_manifest(data).listed
    assert listed[:3] == (f"{data / '0.csv'}, row 2", f"{data / '0.csv'}, row 4", f"{data / '1.csv'}, row 2")


def test_read_manifest__further_columns_are_kept_as_text(tmp_path: Path) -> None:
    columns = {"type": ["mono", "NA", "", "ä,b"], "label": ["007", "1e3", "1.50", "True"]}
    table = read_manifest(make_data(tmp_path / "data", count=4, columns=columns)).table
    assert list(table.columns) == ["path", "image_name", "target", "type", "label"]
    for column, values in columns.items():
        assert list(table[column]) == values * 2


def test_read_manifest__column_of_one_table_alone_is_empty_in_the_other(data: Path) -> None:
    rewrite(data, "image_name,target,type\n00.png,0,mono\n")
    assert list(read_manifest(data).table["type"]) == ["mono"] + [""] * 8


@pytest.mark.parametrize(
    "text",
    [
        "image_name,target\n01.png,0\n00.png,0\n",
        "image_name;target\n01.png;0\n00.png;0\n",
        "\ufeffimage_name,target\r\n01.png,0\r\n00.png,0\r\n",
        "target,image_name\n0,01.png\n0,00.png\n",
        ' image_name , target \n"01.png",0\n00.png, 0 \n',
        "image_name,target\n01.png,0.0\n00.png,0\n\n\n",
        "image_name,target\n01.png,0\n\n,\n00.png,0",
    ],
    ids=["plain", "semicolon", "bom-and-crlf", "other-order", "spaces-and-quotes", "float-and-blank-end", "blank-within"],
)
def test_read_manifest__ways_to_write_the_same_table(data: Path, text: str) -> None:
    rewrite(data, text)
    table = read_manifest(data).table
    assert list(table["path"][:3]) == ["0/01.png", "0/00.png", "1/00.png"]
    assert list(table["target"][:3]) == [0, 0, 1]


def test_read_manifest__subfolders_of_a_class(data: Path) -> None:
    (data / "0" / "site a").mkdir()
    shutil.copyfile(data / "0" / "00.png", data / "0" / "site a" / "x.png")
    rewrite(data, "image_name,target\n./site a//x.png,0\n00.png,0\n")
    assert list(read_manifest(data).table["path"][:2]) == ["0/site a/x.png", "0/00.png"]


def test_read_manifest__splits_are_read_leniently(tmp_path: Path) -> None:
    root = make_data(tmp_path / "data", count=5, columns={"split": ["train", " Test", "val", "VALID", "validation "]})
    expected = ["train", "test", "validation", "validation", "validation"]
    assert list(read_manifest(root).table["split"]) == expected * 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name,target\n00.png,0\n", "DATA/0.csv: no column image_name; it has name, target"),
        ("image_name\n00.png\n", "DATA/0.csv: no column target; it has image_name"),
        ("image_name,target\n00.png,0\n01.png,2\n", "DATA/0.csv, row 3: '2' is not a target; write 0 or 1"),
        ("image_name,target\n00.png,cat\n", "DATA/0.csv, row 2: 'cat' is not a target"),
        ("image_name,target\n00.png,\n", "DATA/0.csv, row 2: '' is not a target"),
        ("image_name,target\n00.png\n", "DATA/0.csv, row 2: '' is not a target"),
        ("image_name,target\n00.png,0\n01.png,1\n", "DATA/0.csv, row 3: target '1' disagrees with the folder 0/"),
        ("image_name,target\n00.png,0\nno.png,0\n", "DATA/0.csv, row 3: 'no.png' is listed but is not in DATA/0/"),
        ("image_name,target\n\n00.png,0\n\n\nno.png,0\n", "DATA/0.csv, row 6: 'no.png' is listed but"),
        ('image_name,target,note\n00.png,0,"a\nb"\nno.png,0,c\n', "DATA/0.csv, row 3: 'no.png' is listed but"),
        ("image_name,target\n" + "a" * 300 + ".png,0\n", "DATA/0.csv, row 2: 'aaa"),
        ("image_name,target\n,0\n", "DATA/0.csv, row 2: image_name '' is empty"),
        ("image_name,target\n00.png,0\n01.png,0\n00.png,0\n", "DATA/0.csv, row 4: '00.png' is listed twice"),
        ("image_name,target\n00.png,0\n./00.png,0\n", "DATA/0.csv, row 3: './00.png' is listed twice"),
        ("image_name,target\n../1/00.png,0\n", "DATA/0.csv, row 2: '../1/00.png' leaves the folder DATA/0/"),
        ("image_name,target\na/../../1/00.png,0\n", "leaves the folder DATA/0/"),
        ("image_name,target\n/etc/hostname,0\n", "DATA/0.csv, row 2: '/etc/hostname' leaves the folder"),
        ("image_name,target\nC:\\x.png,0\n", "DATA/0.csv, row 2: 'C:\\\\x.png' leaves the folder"),
        ("image_name,target\nC:x.png,0\n", "leaves the folder"),
        ("image_name,target\n\\\\host\\share\\x.png,0\n", "leaves the folder"),
        ("image_name,target\n..\\1\\00.png,0\n", "leaves the folder"),
        ("image_name,target\n", "DATA/0.csv: no rows, so the class is empty"),
        ("image_name,target\n\n,\n", "DATA/0.csv: no rows, so the class is empty"),
        ("", "DATA/0.csv: cannot be read as a table"),
        ("image_name,target\n00.png,0,x\n01.png,0\n", "DATA/0.csv, row 2: more fields than the header has columns"),
        ("image_name,target\n00.png,0\n01.png,0,x\n", "DATA/0.csv: cannot be read as a table"),
        ("image_name,target, target\n00.png,0,0\n", "DATA/0.csv: the column target is there twice"),
        ("image_name,target,split\n00.png,0,tset\n", "DATA/0.csv, row 2: 'tset' is not a split; write train, validation or test"),
    ],
)
def test_read_manifest__mistake_in_a_table_is_named(data: Path, text: str, expected: str) -> None:
    rewrite(data, text)
    assert expected in message_for(data)


@pytest.mark.parametrize("column", OWN_COLUMNS)
def test_read_manifest__column_that_diptych_writes_itself(data: Path, column: str) -> None:
    rewrite(data, f"image_name,target,{column}\n00.png,0,x\n")
    assert f"DATA/0.csv: the column {column} is one that Diptych writes itself" in message_for(data)


def test_read_manifest__row_of_class_one_is_named_in_its_own_table(data: Path) -> None:
    rewrite(data, "image_name,target\n00.png,1\n01.png,0\n", "1.csv")
    assert "DATA/1.csv, row 3: target '0' disagrees with the folder 1/" in message_for(data)


def test_read_manifest__further_rows_with_the_same_mistake_are_counted(data: Path) -> None:
    rewrite(data, "image_name,target\n" + "".join(f"{number:02d}.png,{number % 2}\n" for number in range(8)))
    assert "(3 more like it: rows 5, 7, 9)" in message_for(data)


def test_read_manifest__not_utf8(data: Path) -> None:
    (data / "0.csv").write_bytes("image_name,target,größe\n00.png,0,1\n".encode("latin-1"))
    assert "DATA/0.csv: not UTF-8 text, but probably Windows-1252 or Latin-1" in message_for(data)


def test_read_manifest__no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: no such folder.*--data"):
        read_manifest(tmp_path / "nowhere")


def test_read_manifest__no_class_folder(data: Path) -> None:
    shutil.rmtree(data / "1")
    assert "DATA/1: no such folder" in message_for(data)


def test_read_manifest__no_table(data: Path) -> None:
    (data / "1.csv").unlink()
    assert "DATA/1.csv: no such table" in message_for(data)


def test_read_manifest__table_in_both_places(data: Path) -> None:
    shutil.copyfile(data / "0.csv", data / "0" / "0.csv")
    assert "DATA/0.csv and DATA/0/0.csv both exist" in message_for(data)


def test_read_manifest__column_split_in_one_table_alone(data: Path) -> None:
    rewrite(data, "image_name,target,split\n00.png,1,train\n", "1.csv")
    assert "only 1.csv has a column split" in message_for(data)


def test_read_manifest__folder_listed_as_an_image(data: Path) -> None:
    (data / "0" / "inner").mkdir()
    rewrite(data, "image_name,target\ninner,0\n")
    assert "DATA/0.csv, row 2: 'inner' is listed but is not in DATA/0/" in message_for(data)


def test_read_manifest__link_out_of_the_folder(data: Path) -> None:
    (data / "0" / "link.png").symlink_to(data / "1" / "00.png")
    rewrite(data, "image_name,target\n00.png,0\nlink.png,0\n")
    assert "DATA/0.csv, row 3: 'link.png' is a link that leaves the folder DATA/0/" in message_for(data)


def test_read_manifest__linked_folder_out_of_the_folder(data: Path) -> None:
    (data / "0" / "linked").symlink_to(data / "1", target_is_directory=True)
    rewrite(data, "image_name,target\nlinked/00.png,0\n")
    assert "row 2: 'linked/00.png' is a link that leaves the folder" in message_for(data)


def test_read_manifest__link_that_leads_in_a_circle(data: Path) -> None:
    (data / "0" / "loop.png").symlink_to("loop.png")
    rewrite(data, "image_name,target\nloop.png,0\n")
    assert "row 2: 'loop.png' is listed but is not in" in message_for(data)


def test_read_manifest__link_within_the_folder_is_a_file_like_others(data: Path) -> None:
    (data / "0" / "link.png").symlink_to("00.png")
    rewrite(data, "image_name,target\nlink.png,0\n01.png,0\n")
    assert list(read_manifest(data).table["path"][:2]) == ["0/link.png", "0/01.png"]


def test_read_manifest__link_to_a_file_that_is_listed_too(data: Path) -> None:
    (data / "0" / "link.png").symlink_to("00.png")
    rewrite(data, "image_name,target\n00.png,0\nlink.png,0\n")
    assert "row 3: 'link.png' is listed twice" in message_for(data)


def test_read_manifest__class_folder_may_be_a_link_itself(data: Path, tmp_path: Path) -> None:
    (data / "0").rename(tmp_path / "elsewhere")
    (data / "0").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert len(read_manifest(data).table) == 16


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame({"path": ["0/a.png"], "target": [0]}),
        pd.DataFrame({"path": ["0/a.png"], "image_name": ["a.png"], "target": [2]}),
        pd.DataFrame({"path": ["0/a.png"], "image_name": ["a.png"], "target": [-1]}),
    ],
    ids=["no-image-name", "target-too-large", "target-negative"],
)
def test_manifest__table_is_checked_when_made(table: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="a Manifest"):
        Manifest(Path(), table, ("0", "1"))


@given(st.lists(st.integers(0, 10**12), min_size=1), st.sampled_from(["", "class ", "x", "é-"]))
def test_natural_key__sorts_numbers_by_their_value(numbers: list[int], before: str) -> None:
    names = [f"{before}{number} b" for number in numbers]
    assert sorted(names, key=natural_key) == [f"{before}{number} b" for number in sorted(numbers)]


@given(st.permutations(["10", "9", "a", "B", "b", "C1", "c02", "c10", "", " ", "é", "e\u0301", "٣", "²", "7" * 5000, "-1"]))
def test_natural_key__order_follows_from_the_names_alone(names: list[str]) -> None:
    assert sorted(names, key=natural_key) == [
        *("", "9", "10", "7" * 5000, " ", "-1", "a", "B", "b", "C1", "c02", "c10", "²", "e\u0301", "é", "٣")
    ]


@given(st.text(), st.text())
def test_natural_key__of_two_names_differs_and_can_be_compared(one: str, other: str) -> None:
    assert (natural_key(one) < natural_key(other)) + (natural_key(other) < natural_key(one)) == (one != other)


NAMES = st.text("aAbB 10é", min_size=1, max_size=3).filter(lambda name: name == name.strip())


@given(
    st.lists(NAMES, min_size=2, unique_by=lambda name: number_key(name.lower())).flatmap(
        lambda names: st.tuples(st.just(names), st.permutations(names))
    )
)
def test_order_classes__does_not_depend_on_the_order_of_the_images(lists: tuple[list[str], list[str]]) -> None:
    names, shuffled = lists
    ordered = order_classes(names, Path("data"), "a table")
    assert sorted(ordered) == sorted(names)
    assert order_classes([*shuffled, *names, *shuffled], Path("data"), "a table") == ordered


@given(st.text("aA \u00e9", min_size=1, max_size=2), st.sampled_from([str.upper, str.title, "{} ".format, " {}".format]))
def test_order_classes__names_that_are_nearly_one_are_refused(name: str, change: object) -> None:
    other = change(name)  # type: ignore[operator]
    if other == name:
        return
    with pytest.raises(DataError, match="differ only in case or blanks; give both one name"):
        order_classes([name, other, "z"], Path("data"), "a table")


@pytest.mark.parametrize(
    "other",
    [
        "no_finding",
        "No-Finding",
        "no\N{ZERO WIDTH SPACE} finding",
        "no fi\N{SOFT HYPHEN}nding",
        "no \N{LATIN SMALL LIGATURE FI}nding",
    ],
)
def test_order_classes__names_that_people_read_alike_are_refused(other: str) -> None:
    with pytest.raises(DataError, match="differ only in hyphens, underscores, or characters that look alike or are not seen"):
        order_classes(["no finding", other, "z"], Path("data"), "a table")


@pytest.mark.parametrize(
    "names",
    [("0", "00", "1"), ("1", "01"), ("1", "1.0", "cat"), ("1", "1."), ("+1", "1"), ("1,0", "1"), ("0", "0.00"), ("10", "010.0")],
)
def test_order_classes__one_number_written_in_two_ways_is_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match="differ only in how the number is written; give both one name"):
        order_classes(names, Path("data"), "a table")


@pytest.mark.parametrize(
    "names",
    [("1", "10", "100", "1.5", "15", "-1", "0", "1.05"), ("a1", "a01"), ("1-0", "1"), ("v1.0", "v1"), ("HER2", "HER2-", "HER2+")],
)
def test_order_classes__other_numbers_stay(names: tuple[str, ...]) -> None:
    assert set(order_classes(names, Path("data"), "a table")) == set(names)


@given(st.text("aC:./\\\0 \n"))
@example("a/..")
@example("//host/share/x")
@example("..\\x")
@example("a..b/..c")
def test_leaves__is_what_pathlib_says_of_windows_paths(name: str) -> None:
    assume(name[1:2] != ":" or name[0].isalpha())  # Python's versions differ on whether ".:" is a drive.
    path = PureWindowsPath(name)
    assert (LEAVES.search(name) is not None) == (bool(path.anchor) or ".." in path.parts or "\0" in name)
