"""One table, read as text, from CSV and from Parquet."""

import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import run_python
from pyarrow import parquet

from diptych.data.reading.tables import read_header, read_table
from diptych.errors import DataError


def write(path: Path, columns: dict[str, pa.Array]) -> Path:
    parquet.write_table(pa.table(columns), path)
    return path


def test_read_table__parquet_types_become_text(tmp_path: Path) -> None:
    columns = {
        "path": pa.array(["a.png", "ä,b.png", None]),
        "label": pa.array([3, 12, None], pa.int8()),
        "float": pa.array([3.0, 0.5, None]),
        "class": pa.array(["cat", "dog", "cat"]).dictionary_encode(),
        "sound": pa.array([True, False, None]),
    }
    table = read_table(write(tmp_path / "t.parquet", columns))
    assert table.to_dict("list") == {
        "path": ["a.png", "ä,b.png", ""],
        "label": ["3", "12", ""],
        "float": ["3", "0.5", ""],
        "class": ["cat", "dog", "cat"],
        "sound": ["true", "false", ""],
    }
    assert list(table.index) == [1, 2, 3]


def test_read_table__parquet_columns_that_are_no_text_are_left_out(tmp_path: Path) -> None:
    columns = {
        "path": pa.array(["a.png"]),
        "boxes": pa.array([[1, 2]]),
        "image": pa.array([{"bytes": b"x", "path": "a.png"}]),
        "thumbnail": pa.array([b"\xff\xd8"]),
    }
    assert list(read_table(write(tmp_path / "t.parquet", columns)).columns) == ["path"]


@given(
    st.lists(
        st.tuples(st.text("ab ,;\"'é7", min_size=1), st.text("ab ,;\"'\n0", max_size=3)), min_size=1, max_size=5, unique=True
    )
)
def test_read_table__csv_and_parquet_of_one_table_are_alike(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("tables")
    frame = pd.DataFrame(rows, columns=["path", "note"])
    frame.to_csv(folder / "t.csv", index=False)
    frame.to_parquet(folder / "t.parquet", index=False)
    read = read_table(folder / "t.csv")
    assert read.to_numpy().tolist() == [list(row) for row in rows]
    assert read.reset_index(drop=True).equals(read_table(folder / "t.parquet").reset_index(drop=True))


@pytest.mark.parametrize(
    ("text", "header"),
    [("a,b\n1,2\n", ("a", "b")), ("\ufeff a ;b\r\n", ("a", "b")), ('"a,x",b\n', ("a,x", "b")), ("", ()), ("a\n\0", ("a",))],
)
def test_read_header__of_csv(tmp_path: Path, text: str, header: tuple[str, ...]) -> None:
    (tmp_path / "t.csv").write_bytes(text.encode())
    assert read_header(tmp_path / "t.csv") == header


def test_read_header__of_a_text_that_is_not_utf8_does_not_crash(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("path,größe\na.png,1\n".encode("latin-1"))
    assert read_header(tmp_path / "t.csv")[0] == "path"


def test_read_header__of_parquet_with_all_its_columns(tmp_path: Path) -> None:
    columns = {" path": pa.array(["a"]), "boxes": pa.array([[1]])}
    assert read_header(write(tmp_path / "t.PARQUET", columns)) == ("path", "boxes")


@pytest.mark.parametrize("content", [b"", b"PAR1 and then nothing that is right", b"path,label\n"])
def test_read_table__damaged_parquet(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.parquet").write_bytes(content)
    for read in (read_table, read_header):
        with pytest.raises(DataError, match=r"t\.parquet: cannot be read as a table: "):
            read(tmp_path / "t.parquet")


def test_read_table__parquet_with_a_column_twice(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["path", "path"])
    parquet.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(DataError, match="the column path is there twice"):
        read_table(tmp_path / "t.parquet")


def test_read_table__parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "t.parquet", {"path": pa.array(["a"])})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r'pip install "diptych\[parquet\]"'):
        read_table(path)


def test_read_manifest__of_csv_needs_no_pyarrow(data: Path) -> None:
    """Pandas keeps text in another way there."""
    code = (
        "import sys; sys.modules['pyarrow'] = None; from pathlib import Path\n"
        "from diptych.data.reading.layouts import read_manifest\n"
        "print(len(read_manifest(Path(sys.argv[1]), []).table), len(read_manifest(Path(sys.argv[1])).table))"
    )
    done = run_python("-c", code, data)
    assert (done.stdout, done.stderr) == ("16 16\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="need a POSIX system")
def test_read_table__folder_named_like_a_table(tmp_path: Path) -> None:
    (tmp_path / "t.csv").mkdir()
    for read in (read_table, read_header):
        with pytest.raises(DataError, match=r"t\.csv: cannot be read as a table"):
            read(tmp_path / "t.csv")


# Ways to write one table


ROWS = [["a.png", "x"], ["b, c.png", "y"]]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("said", ["", "sep={}", '"sep={}"', "SEP={}\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_read_table__separators_and_encodings(tmp_path: Path, separator: str, said: str, encoding: str) -> None:
    lines = [separator.join(["path", "größe"]), *(separator.join(f'"{cell}"' for cell in row) for row in ROWS)]
    text = "\n".join([said.format(separator), *lines] if said else lines) + "\n"
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    assert read_header(tmp_path / "t.csv") == ("path", "größe")
    table = read_table(tmp_path / "t.csv")
    assert (list(table.columns), table.to_numpy().tolist(), list(table.index)) == (["path", "größe"], ROWS, [2, 3])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("path,größe\n".encode("latin-1"), "not UTF-8 text, but probably Windows-1252 or Latin-1 .* Save it in UTF-8"),
        ("path,x\na,b\n".encode("utf-16-le"), "UTF-16 without a byte order mark; save it as CSV in UTF-8"),
        (b"PK\x03\x04...", "a workbook or ZIP file, despite its name"),
        (b"\xff\xfep", "not UTF-16 text, as it begins"),
    ],
)
def test_read_table__what_is_no_text_is_named(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=expected):
        read_table(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("header", "both"),
    [
        ("path,label,label", ""),
        ("path,label,Label", r" \('label' and 'Label'\)"),
        ("path,label, label ", r" \('label' and ' label '\)"),
        ("path,label,label.1", r" \('label' and 'label.1'\)"),
    ],
)
def test_read_table__heading_that_is_there_twice(tmp_path: Path, header: str, both: str) -> None:
    (tmp_path / "t.csv").write_text(f"{header}\na,x,0\n")
    with pytest.raises(DataError, match=rf"the column label is there twice{both}; rename or delete one of them"):
        read_table(tmp_path / "t.csv")


def test_read_table__columns_without_headings(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(",Unnamed: 0,path,label.1,,\n0,0,a,x,,\n1,1,b,y,,\n")
    table = read_table(tmp_path / "t.csv")
    assert list(table.columns) == ["Unnamed: 0.1", "Unnamed: 0", "path", "label.1"]
