"""fixes.csv: what a person corrected, applied to the Manifest and to nothing else."""

import dataclasses
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import fingerprint, make_data, write_table

from diptych.data.reading.fixes import apply_fixes, count_fixes
from diptych.data.reading.manifest import Manifest
from diptych.errors import DataError

HEADER = "path,fix,value,reason\n"
CLASSES = ("cat", "dog", "red panda")


def make_manifest(root: Path = Path("data"), **columns: list[str]) -> Manifest:
    """Two images of each class, cat/0.png to red panda/1.png."""
    paths = [f"{name}/{number}.png" for name in CLASSES for number in (0, 1)]
    names = [path.rpartition("/")[2] for path in paths]
    table = pd.DataFrame({"path": paths, "image_name": names, "target": [0, 0, 1, 1, 2, 2], **columns})
    return dataclasses.replace(Manifest(root, table, CLASSES), listed=tuple(f"all.csv, row {row + 2}" for row in range(6)))


def fixed(tmp_path: Path, rows: str, manifest: Manifest | None = None, group_column: str = "group") -> Manifest:
    file = tmp_path / "fixes.csv"
    file.write_text(HEADER + rows, encoding="utf-8")
    return apply_fixes(manifest or make_manifest(), file, group_column)


def test_apply_fixes__drops_relabels_and_groups(tmp_path: Path) -> None:
    rows = "cat/0.png,drop,,a twin\ndog/0.png,relabel,red panda,\ndog/0.png,group,rover,\ndog/1.png,group,rover,\n"
    table = fixed(tmp_path, rows).table
    assert list(table["path"]) == ["cat/1.png", "dog/0.png", "dog/1.png", "red panda/0.png", "red panda/1.png"]
    assert list(table["target"]) == [0, 2, 1, 2, 2]
    assert table["target"].dtype == "int64"
    assert list(table["group"]) == ["", "rover", "rover", "", ""]


def test_apply_fixes__rows_are_numbered_afresh_beside_where_they_are_listed(tmp_path: Path) -> None:
    manifest = fixed(tmp_path, "cat/0.png,drop,,\ndog/1.png,drop,,\n")
    assert list(manifest.table.index) == [0, 1, 2, 3]
    assert manifest.listed == ("all.csv, row 3", "all.csv, row 4", "all.csv, row 6", "all.csv, row 7")


def test_apply_fixes__a_manifest_that_is_listed_nowhere(tmp_path: Path) -> None:
    manifest = fixed(tmp_path, "cat/0.png,drop,,\n", dataclasses.replace(make_manifest(), listed=()))
    assert (len(manifest.table), manifest.listed) == (5, ())


def test_apply_fixes__leaves_the_manifest_and_the_files_alone(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data", count=2)
    table = pd.DataFrame({"path": ["0/00.png", "0/01.png", "1/00.png"], "image_name": ["a", "b", "c"], "target": [0, 0, 1]})
    manifest, files = Manifest(data, table.copy(), ("0", "1")), fingerprint(data)
    fixed(tmp_path, "0/00.png,drop,,\n0/01.png,group,g,\n", manifest)
    pd.testing.assert_frame_equal(manifest.table, table)
    assert fingerprint(data) == files


def test_apply_fixes__an_empty_table_changes_nothing(tmp_path: Path) -> None:
    manifest = fixed(tmp_path, "")
    pd.testing.assert_frame_equal(manifest.table, make_manifest().table)
    assert manifest.listed == make_manifest().listed


def test_apply_fixes__groups_go_to_the_column_of_that_name_and_others_keep_theirs(tmp_path: Path) -> None:
    patients = ["p1", "p1", "", "p2", "p2", ""]
    manifest = fixed(tmp_path, "dog/0.png,group,p1,\ncat/0.png,group,p9,\n", make_manifest(patient=patients), "patient")
    assert list(manifest.table["patient"]) == ["p9", "p1", "p1", "p2", "p2", ""]
    assert "group" not in manifest.table


@pytest.mark.parametrize(
    ("row", "path"),
    [
        ("./cat//0.png,drop,,", "cat/0.png"),
        ("cat\\0.png,drop,,", "cat/0.png"),
        (" cat/0.png , Drop , ,", "cat/0.png"),
        ("red panda\\1.png,DROP", "red panda/1.png"),
    ],
)
def test_apply_fixes__ways_to_write_the_same_row(tmp_path: Path, row: str, path: str) -> None:
    paths = set(make_manifest().table["path"])
    assert set(fixed(tmp_path, row + "\n").table["path"]) == paths - {path}


@pytest.mark.parametrize("name", [" a.png", "a\\b.png", 'a",\nb.png', "ä;b.png", "=1+1.png", "a//b.png"])
def test_apply_fixes__a_path_as_the_manifest_writes_it_is_taken_as_it_is(tmp_path: Path, name: str) -> None:
    table = make_manifest().table.replace({"path": {"cat/0.png": name}})
    write_table(tmp_path / "fixes.csv", [{"path": name, "fix": "drop", "value": ""}])
    manifest = apply_fixes(dataclasses.replace(make_manifest(), table=table), tmp_path / "fixes.csv", "group")
    assert list(manifest.table["path"]) == list(table["path"][1:])


def test_apply_fixes__semicolons_and_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "fixes.csv").write_bytes("\ufeffpath;fix;value\r\ncat/0.png;relabel;dog\r\n".encode())
    assert apply_fixes(make_manifest(), tmp_path / "fixes.csv", "group").table["target"][0] == 1


def test_apply_fixes__the_same_fix_twice_and_a_relabel_to_the_same_class_are_fine(tmp_path: Path) -> None:
    rows = "cat/0.png,drop,,a\ncat/0.png,drop,,b\ndog/0.png,relabel,dog,\ndog/1.png,group,g,\ndog/1.png,group,g,\n"
    table = fixed(tmp_path, rows).table
    assert list(table["target"]) == [0, 1, 1, 2, 2]
    assert list(table["group"]) == ["", "", "g", "", ""]


def test_apply_fixes__dropping_and_relabelling_a_whole_class_is_judged_at_the_end(tmp_path: Path) -> None:
    rows = "cat/0.png,drop,,\ncat/1.png,drop,,\ndog/0.png,relabel,cat,\n"
    assert list(fixed(tmp_path, rows).table["target"]) == [0, 1, 2, 2]


def test_apply_fixes__a_class_that_was_empty_before_may_stay_so(tmp_path: Path) -> None:
    manifest = dataclasses.replace(make_manifest(), class_names=(*CLASSES, "zebra"))
    assert len(fixed(tmp_path, "cat/0.png,drop,,\n", manifest).table) == 5


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (
            "dog/0.png,drop,,\n\ncat/7.jpg,drop,,\n",
            "FILE, row 4: 'cat/7.jpg' is not an image that the data lists. Did you mean 'cat/",
        ),
        ("all/dog/0.png,drop,,\n", "FILE, row 2: 'all/dog/0.png' is not an image that the data lists. Did you mean 'dog/0.png'?"),
        ("elsewhere/xxxxxxxxxx.tiff,drop,,\n", "is not an image that the data lists. Expected a path such as 'cat/0.png'."),
        (",drop,,\n", "FILE, row 2: the path is empty; write the image's path relative to the data folder."),
        ("/home/me/data/cat/0.png,drop,,\n", "'/home/me/data/cat/0.png' is absolute; write the path relative to the data folder"),
        ("C:\\data\\cat\\0.png,drop,,\n", "is absolute; write the path relative to the data folder"),
        ("\\\\host\\data\\cat\\0.png,drop,,\n", "is absolute; write the path relative to the data folder"),
        ("../data/cat/0.png,drop,,\n", "'../data/cat/0.png' is not an image that the data lists. Did you mean 'cat/0.png'?"),
        ("cat/0.png,delete,,\n", "FILE, row 2: 'delete' is not a fix; write drop, relabel or group."),
        ("cat/0.png,,,\n", "FILE, row 2: '' is not a fix"),
        ("cat/0.png,drop,dog,\n", "FILE, row 2: drop takes no value, got 'dog'; empty it, or write relabel or group"),
        ("cat/0.png,relabel,read panda,\n", "FILE, row 2: 'read panda' is not a class of the data. Did you mean 'red panda'?"),
        ("cat/0.png,relabel,1,\n", "'1' is not a class of the data. The classes are cat, dog, red panda."),
        ("cat/0.png,relabel,,\n", "FILE, row 2: '' is not a class of the data."),
        ("cat/0.png,group, ,\n", "FILE, row 2: the group of 'cat/0.png' is empty; write its name in the column value"),
        (
            "cat/0.png,drop,,\ncat/1.png,drop,,\ncat\\0.png,relabel,dog,\n",
            "FILE, row 4: relabel dog contradicts drop in FILE, row 2, for 'cat/0.png'; delete one of them.",
        ),
        ("cat/0.png,group,g,\ncat/0.png,drop,,\n", "FILE, row 3: drop contradicts group g in FILE, row 2"),
        ("cat/0.png,relabel,dog,\ncat/0.png,relabel,red panda,\n", "relabel red panda contradicts relabel dog"),
        ("cat/0.png,group,a,\ncat/0.png,group,b,\n", "group b contradicts group a"),
        ("cat/0.png,drop,,\ncat/1.png,relabel,dog,\n", "FILE: with these fixes the class 'cat' has no image left; keep some"),
    ],
)
def test_apply_fixes__wrong_rows_are_named(tmp_path: Path, rows: str, expected: str) -> None:
    with pytest.raises(DataError) as caught:
        fixed(tmp_path, rows)
    assert expected in str(caught.value).replace(str(tmp_path / "fixes.csv"), "FILE")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("image,fix,value\na,drop,\n", "FILE: no column path; it has image, fix, value. Expected path, fix, value"),
        ("path,fix\ncat/0.png,drop\n", "FILE: no column value; it has path, fix."),
        ("", "FILE: cannot be read as a table"),
    ],
)
def test_apply_fixes__wrong_tables_are_named(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "fixes.csv"
    file.write_text(text)
    with pytest.raises(DataError) as caught:
        apply_fixes(make_manifest(), file, "group")
    assert expected in str(caught.value).replace(str(file), "FILE")


def test_apply_fixes__no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.csv"):
        apply_fixes(make_manifest(), tmp_path / "nowhere.csv", "group")


@pytest.mark.parametrize("column", ["path", "target", "image_name", "split"])
def test_apply_fixes__groups_overwrite_no_column_that_diptych_reads(tmp_path: Path, column: str) -> None:
    with pytest.raises(DataError, match=f"cannot be written to the column {column}; choose another --group-column"):
        fixed(tmp_path, "cat/0.png,group,g,\n", group_column=column)


def test_count_fixes__counts_what_changed(tmp_path: Path) -> None:
    rows = "cat/0.png,drop,,\ndog/0.png,relabel,cat,\ndog/0.png,group,a,\ncat/1.png,group,a,\ndog/1.png,relabel,dog,\n"
    after = fixed(tmp_path, rows, make_manifest(group=["", "a", "", "", "", ""]))
    assert count_fixes(make_manifest(group=["", "a", "", "", "", ""]), after, "group") == {"drop": 1, "relabel": 1, "group": 1}
    assert count_fixes(make_manifest(), fixed(tmp_path, "cat/0.png,group,a,\n"), "group") == {"drop": 0, "relabel": 0, "group": 1}
    assert count_fixes(make_manifest(), make_manifest(), "group") == {"drop": 0, "relabel": 0, "group": 0}


# Any of the fixes that suit one image: drop, or a class and a group.
CHOICES = st.one_of(
    st.just([("drop", "")]),
    st.tuples(st.sampled_from(CLASSES), st.sampled_from(["", "g", 'h",;'])).map(
        lambda chosen: [("relabel", chosen[0]), *([("group", chosen[1])] if chosen[1] else [])]
    ),
)


@given(chosen=st.dictionaries(st.sampled_from(list(make_manifest().table["path"])), CHOICES), rng=st.randoms())
def test_apply_fixes__does_what_the_rows_say_in_any_order(tmp_path_factory: pytest.TempPathFactory, chosen, rng) -> None:
    file = tmp_path_factory.mktemp("fixes") / "fixes.csv"
    before = make_manifest()
    rows = [{"path": path, "fix": fix, "value": value} for path, fixes in chosen.items() for fix, value in fixes]
    rng.shuffle(rows)
    write_table(file, rows or [{"path": "cat/0.png", "fix": "relabel", "value": CLASSES[0]}])
    expected = {}
    for path, target in zip(before.table["path"], before.table["target"], strict=True):
        fixes = dict(chosen.get(path, []))
        if "drop" not in fixes:
            expected[path] = (fixes.get("relabel", CLASSES[target]), fixes.get("group", ""))
    if {name for name, _ in expected.values()} != set(CLASSES):
        with pytest.raises(DataError, match="no image left"):
            apply_fixes(before, file, "group")
        return
    table = apply_fixes(before, file, "group").table
    groups = table["group"] if "group" in table else [""] * len(table)
    names = [CLASSES[target] for target in table["target"]]
    assert dict(zip(table["path"], zip(names, groups, strict=True), strict=True)) == expected


def test_apply_fixes__values_that_a_program_wrote(tmp_path: Path) -> None:
    """Pandas writes nan for an empty value, and 1 as 1.0 beside it."""
    manifest = dataclasses.replace(make_manifest(group=["3", "", "", "", "", ""]), class_names=("0", "1", "2"))
    table = fixed(tmp_path, "cat/0.png,drop,nan,\ncat/1.png,relabel,1.0,\ndog/0.png,relabel,0.0,\n", manifest).table
    assert list(table["target"]) == [1, 0, 1, 2, 2]
    with pytest.raises(DataError, match=r"the group of 'cat/0.png' is empty"):
        fixed(tmp_path, "cat/0.png,group,unknown,\n")


def test_apply_fixes__what_is_likely_is_counted(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"\(1 more like it\)\. Did you mean 'cat/0.png'\? With the extension .png, 2 of 2 would be"
    ):
        fixed(tmp_path, "cat/0.jpg,drop,,\ndog/1.jpg,drop,,\n")


def test_apply_fixes__an_absolute_path_in_the_data_folder(tmp_path: Path) -> None:
    manifest = make_manifest(tmp_path / "data")
    assert len(fixed(tmp_path, f"{tmp_path}/data/cat/0.png,drop,,\n", manifest).table) == 5
