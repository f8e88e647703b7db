"""Every image decoded once; what cannot be read is set aside, or too much of it is an error."""

import errno
import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from making import encode, make_image

from diptych.data.images import ImageSpec, decode_image
from diptych.data.manifest import Manifest
from diptych.data.prepare import PixelStore, prepare, reserve, set_aside
from diptych.errors import DataError

SPEC = ImageSpec(32)


def write_images(folder: Path, count: int) -> list[Path]:
    paths = [folder / f"{number:03d}.png" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(encode(make_image(number % 2, number)))
    return paths


def make_manifest(count: int) -> Manifest:
    names = [f"{number}.png" for number in range(count)]
    table = pd.DataFrame({"path": names, "image_name": names, "target": [number % 2 for number in range(count)]})
    return Manifest(Path("data"), table, listed=tuple(f"data/0.csv, row {number + 2}" for number in range(count)))


def make_outcome(count: int, bad: list[int]) -> pd.DataFrame:
    problems = ["the file is empty" if number in bad else "" for number in range(count)]
    return pd.DataFrame({"sha256": [f"{number:064x}" for number in range(count)], "problem": problems})


def test_prepare__images_are_in_the_order_of_their_paths(tmp_path: Path) -> None:
    paths = write_images(tmp_path, 40)[::-1]
    store, outcome = prepare(paths, SPEC)
    assert store.images.shape == (40, 32, 32, 3)
    assert store.images.dtype == np.uint8
    for row, path in enumerate(paths):
        assert np.array_equal(store.images[row], decode_image(path.read_bytes(), SPEC))
    assert outcome["sha256"].tolist() == [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    assert set(outcome["problem"]) == {""}


def test_prepare__what_cannot_be_read_is_black_and_has_a_reason(tmp_path: Path) -> None:
    paths = write_images(tmp_path, 5)
    paths[1].write_bytes(paths[1].read_bytes()[:300])
    paths[2].unlink()
    paths[3].write_text("no image")
    store, outcome = prepare(paths, SPEC)
    assert ["truncated" in outcome["problem"][1], "cannot be read" in outcome["problem"][2]] == [True, True]
    assert "not an image" in outcome["problem"][3]
    assert (outcome["problem"][[0, 4]] == "").all()
    assert outcome["sha256"][2] == ""
    assert outcome["sha256"][3] == hashlib.sha256(b"no image").hexdigest()
    assert not store.images[1:4].any()
    assert store.images[0].any()
    assert store.images[4].any()


def test_prepare__no_images(tmp_path: Path) -> None:
    store, outcome = prepare([], SPEC)
    assert store.images.shape == (0, 32, 32, 3)
    assert list(outcome.columns) == ["sha256", "problem"]
    assert outcome.empty


def test_prepare__draws_nothing_where_there_is_no_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    prepare(write_images(tmp_path, 3), SPEC)
    assert capfd.readouterr() == ("", "")


def test_pixelstore__leaves_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    store = PixelStore(3, SPEC)
    store.images[1] = 9
    assert list(tmp_path.iterdir()) == []
    assert store.images.sum() == 9 * 32 * 32 * 3


def test_pixelstore__more_than_the_disk_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(DataError, match=r"no room for the decoded images: .* GiB in .*TMPDIR"):
        PixelStore(10**13, SPEC)
    assert list(tmp_path.iterdir()) == []


def test_reserve__gives_the_file_its_size(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        reserve(file.fileno(), 5000)
        assert (tmp_path / "file").stat().st_size == 5000
        with pytest.raises(OSError) as caught:  # noqa: PT011
            reserve(file.fileno(), 2**62)
    assert caught.value.errno in (errno.ENOSPC, errno.EFBIG)


def test_set_aside__keeps_the_rows_of_the_store(tmp_path: Path) -> None:
    manifest, problems = set_aside(make_manifest(40), make_outcome(40, [0, 7]), 0.05, False)
    assert manifest.table.index.tolist() == [row for row in range(40) if row not in (0, 7)]
    assert manifest.table["sha256"].tolist() == [f"{row:064x}" for row in manifest.table.index]
    assert problems.to_dict("records") == [
        {"path": "0.png", "target": 0, "problem": "the file is empty"},
        {"path": "7.png", "target": 1, "problem": "the file is empty"},
    ]


def test_set_aside__nothing_to_set_aside(tmp_path: Path) -> None:
    manifest, problems = set_aside(make_manifest(4), make_outcome(4, []), 0.0, True)
    assert manifest.table.drop(columns="sha256").equals(make_manifest(4).table)
    assert problems.empty
    assert list(problems.columns) == ["path", "target", "problem"]


@pytest.mark.parametrize(
    ("count", "bad", "limit", "strict", "fits"),
    [
        (40, 2, 0.05, False, True),
        (40, 3, 0.05, False, False),
        (40, 1, 0.05, True, False),
        (40, 0, 0.05, True, True),
        (20, 1, 0.05, False, True),
        (19, 1, 0.05, False, False),
        (40, 1, 0.0, False, False),
        (10, 4, 0.4, False, True),
    ],
)
def test_set_aside__limit(count: int, bad: int, limit: float, strict: bool, fits: bool) -> None:
    manifest, outcome = make_manifest(count), make_outcome(count, list(range(bad)))
    if fits:
        readable, problems = set_aside(manifest, outcome, limit, strict)
        assert (len(readable.table), len(problems)) == (count - bad, bad)
    else:
        with pytest.raises(DataError, match=f"{bad} of {count} images cannot be read"):
            set_aside(manifest, outcome, limit, strict)


def test_set_aside__error_names_each_file_and_row_and_the_way_out() -> None:
    with pytest.raises(DataError) as caught:
        set_aside(make_manifest(8), make_outcome(8, [2, 5]), 0.05, False)
    lines = str(caught.value).splitlines()
    assert lines[0] == "2 of 8 images cannot be read; allowed are 5%:"
    assert lines[1] == f"  data/0.csv, row 4: {Path('data/2.png')}: the file is empty"
    assert lines[2] == f"  data/0.csv, row 7: {Path('data/5.png')}: the file is empty"
    assert "--max-unreadable" in lines[3]


def test_set_aside__long_list_is_cut() -> None:
    with pytest.raises(DataError) as caught:
        set_aside(make_manifest(30), make_outcome(30, list(range(12))), 0.05, True)
    lines = str(caught.value).splitlines()
    assert "none, with --strict" in lines[0]
    assert len(lines) == 1 + 10 + 1 + 1
    assert lines[11] == "  …"
