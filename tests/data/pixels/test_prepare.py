"""Every image decoded once; what cannot be read is set aside, or too much of it is an error."""

import hashlib
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from making import REPOSITORY, encode, make_image
from PIL import Image

from diptych.data.dataset import set_aside
from diptych.data.pixels.cache import folder_of
from diptych.data.pixels.decode import ImageSpec, decode_image
from diptych.data.pixels.prepare import COLUMNS, prepare
from diptych.data.reading.manifest import Manifest
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
    return Manifest(Path("data"), table, ("0", "1"), listed=tuple(f"data/0.csv, row {number + 2}" for number in range(count)))


def make_outcome(count: int, bad: list[int]) -> pd.DataFrame:
    problems = ["the file is empty" if number in bad else "" for number in range(count)]
    return pd.DataFrame({"sha256": [f"{number:064x}" for number in range(count)], "problem": problems})


def rows_of_index(cache: Path) -> int:
    (index,) = folder_of(cache, SPEC).glob("index-*.sqlite")
    connection = sqlite3.connect(index)
    count: int = connection.execute("SELECT count(*) FROM images").fetchone()[0]
    connection.close()
    return count


@pytest.fixture(params=["cache", None])
def cache(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    return tmp_path_factory.mktemp("cache") if request.param else None


def test_prepare__images_are_in_the_order_of_their_paths(tmp_path: Path, cache: Path | None) -> None:
    paths = write_images(tmp_path, 40)[::-1]
    for _ in range(2):
        store, outcome = prepare(paths, SPEC, cache)
        assert (len(store), store.spec) == (40, SPEC)
        for row, path in enumerate(paths):
            assert np.array_equal(store[row], decode_image(path.read_bytes(), SPEC))
        assert outcome["sha256"].tolist() == [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
        assert outcome["bytes"].tolist() == [path.stat().st_size for path in paths]
        assert set(outcome["problem"]) == {""}


def test_prepare__what_cannot_be_read_is_black_and_has_a_reason(tmp_path: Path, cache: Path | None) -> None:
    paths = write_images(tmp_path, 6)
    paths[1].write_bytes(paths[1].read_bytes()[:300])
    paths[2].unlink()
    paths[3].write_text("no image")
    paths[4].write_bytes(b"")
    for _ in range(2):
        store, outcome = prepare(paths, SPEC, cache)
        assert ["truncated" in outcome["problem"][1], "cannot be read" in outcome["problem"][2]] == [True, True]
        assert "not an image" in outcome["problem"][3]
        assert outcome["problem"][4] == "the file is empty"
        assert (outcome["problem"][[0, 5]] == "").all()
        assert outcome["sha256"][[2, 4]].tolist() == ["", ""]
        assert outcome["sha256"][3] == hashlib.sha256(b"no image").hexdigest()
        assert outcome["bytes"][1:5].tolist() == [300, 0, 8, 0]
        assert outcome["format"].tolist() == ["PNG", "", "", "", "", "PNG"]
        assert not store[np.arange(1, 5)].any()
        assert store[0].any()
        assert store[5].any()


def test_prepare__what_cannot_be_read_today_may_be_tomorrow(tmp_path: Path) -> None:
    (path,) = write_images(tmp_path, 1)
    path.rename(tmp_path / "away")
    assert prepare([path], SPEC, tmp_path / "cache")[1]["problem"][0] == "the file cannot be read: No such file or directory"
    path.mkdir()
    assert "Is a directory" in prepare([path], SPEC, tmp_path / "cache")[1]["problem"][0]
    path.rmdir()
    (tmp_path / "away").rename(path)
    store, outcome = prepare([path], SPEC, tmp_path / "cache")
    assert outcome["problem"][0] == ""
    assert store[0].any()


def test_prepare__facts_of_the_files(tmp_path: Path, cache: Path | None) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0112] = "Maker", "Model 7", 6
    contents = [
        encode(np.zeros((20, 30, 3), np.uint8), "JPEG", exif=exif, progressive=True),
        encode(np.zeros((5, 4), np.uint8)),
    ]
    paths = [tmp_path / f"{number}.png" for number in range(2)]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    for _ in range(2):
        outcome = prepare(paths, SPEC, cache)[1]
        assert list(outcome.columns) == list(COLUMNS)
        photo, cell = outcome.drop(columns=["sha256", "problem", "bytes", "quantization"]).to_dict("records")
        eight_bits = {"frames": 1, "lowest": 0, "highest": 0, "white": 0, "assumed": False}
        assert photo == eight_bits | {
            "format": "JPEG", "width": 30, "height": 20, "mode": "RGB", "orientation": 6, "exif": True,
            "camera": "Maker Model 7", "progressive": True,
        }  # fmt: skip
        assert cell == eight_bits | {
            "format": "PNG", "width": 4, "height": 5, "mode": "L", "orientation": 1, "exif": False,
            "camera": "", "progressive": False,
        }  # fmt: skip
        assert outcome["quantization"][0] > 1
        assert outcome["quantization"][1] == 0
        assert outcome["exif"].dtype == bool
        assert outcome["bytes"].dtype == outcome["width"].dtype == np.int64


def test_prepare__no_images(cache: Path | None) -> None:
    store, outcome = prepare([], SPEC, cache)
    assert len(store) == 0
    assert store[np.arange(0)].shape == (0, 32, 32, 3)
    assert list(outcome.columns) == list(COLUMNS)
    assert outcome.empty


def test_prepare__twins_share_their_pixels(tmp_path: Path) -> None:
    paths = write_images(tmp_path, 3) * 2
    paths[3] = Path(shutil.copy(paths[0], tmp_path / "copy.png"))
    store, outcome = prepare(paths, SPEC, tmp_path / "cache")
    assert store.slots[:3].tolist() == store.slots[3:].tolist()
    assert outcome["sha256"][:3].tolist() == outcome["sha256"][3:].tolist()
    (pixels,) = folder_of(tmp_path / "cache", SPEC).glob("pixels-*")
    assert pixels.stat().st_size == 3 * 32 * 32 * 3


def test_prepare__each_spec_has_pixels_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "wide.png"
    path.write_bytes(encode(make_image(0)[:16]))
    for spec in (ImageSpec(32), ImageSpec(16), ImageSpec(32, "crop"), ImageSpec(32, "letterbox")):
        for _ in range(2):
            assert np.array_equal(prepare([path], spec, tmp_path / "cache")[0][0], decode_image(path.read_bytes(), spec))


def test_prepare__name_that_is_not_utf8(tmp_path: Path, cache: Path | None) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    try:
        path.write_bytes(encode(make_image(1)))
    except OSError:
        pytest.skip("need a file system that takes any bytes as names")
    for _ in range(2):
        assert np.array_equal(prepare([path], SPEC, cache)[0][0], decode_image(path.read_bytes(), SPEC))


def test_prepare__draws_nothing_where_there_is_no_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    prepare(write_images(tmp_path, 3), SPEC, None)
    prepare(write_images(tmp_path, 3), SPEC, tmp_path / "cache")
    assert capfd.readouterr() == ("", "")


def test_prepare__says_what_it_will_take(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A slow disk, so that there is something left to say it of."""

    class Slow(type(tmp_path)):  # type: ignore[misc]
        def open(self, *how: object, **further: object) -> IO[bytes]:
            time.sleep(0.01)
            return super().open(*how, **further)

    caplog.set_level("INFO")
    prepare([Slow(path) for path in write_images(tmp_path, 120)], SPEC, tmp_path / "cache")
    (message,) = caplog.messages
    folder = re.escape(str(folder_of(tmp_path / "cache", SPEC)))
    assert re.fullmatch(rf"preparing 120 images: 1 MiB on the disk in {folder}, about 1 MiB of memory, about \d+ s", message)
    prepare(sorted(tmp_path.glob("*.png")), SPEC, tmp_path / "cache")
    assert len(caplog.messages) == 1


OPENED = """
import sys
from pathlib import Path
from diptych.data.pixels.decode import ImageSpec
from diptych.data.pixels.prepare import prepare

opened = []
sys.addaudithook(lambda event, given: event == "open" and opened.append(str(given[0])))
paths = sorted(Path(sys.argv[1]).glob("*.png"))
prepare(paths, ImageSpec(32), Path(sys.argv[2]))
print(*sorted(path.name for path in paths if str(path) in opened))
"""


def opened_by_prepare(folder: Path, cache: Path) -> list[str]:
    """Prepare a folder in a process of its own, and return which of its images were opened."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    command = [sys.executable, "-c", OPENED, str(folder), str(cache)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120).stdout.split()


@pytest.mark.slow
def test_prepare__what_has_not_changed_is_not_even_opened(tmp_path: Path) -> None:
    folder, cache = tmp_path / "data", tmp_path / "cache"
    folder.mkdir()
    paths = write_images(folder, 6)
    time.sleep(2.1)  # Until then a file may still be in the making, and is read again.
    assert opened_by_prepare(folder, cache) == [path.name for path in paths]
    assert opened_by_prepare(folder, cache) == []
    before = paths[0].stat()
    paths[0].write_bytes(encode(make_image(1, 77)).ljust(before.st_size, b"\0")[: before.st_size])
    os.utime(paths[0], ns=(before.st_atime_ns, before.st_mtime_ns))
    paths[1].unlink()
    paths[2].rename(folder / "renamed.png")
    (folder / "added.png").write_bytes(encode(make_image(0, 99)))
    assert opened_by_prepare(folder, cache) == ["000.png", "added.png", "renamed.png"]
    assert rows_of_index(cache) == 6 + 2, "the renamed one was not decoded again"


STEPS = st.lists(
    st.tuples(st.sampled_from(["write", "delete", "rename", "swap", "truncate"]), st.integers(0, 5), st.integers(0, 5)),
    max_size=8,
)


@settings(max_examples=25)
@given(STEPS)
def test_prepare__whatever_happens_to_the_files(steps: list[tuple[str, int, int]]) -> None:
    with TemporaryDirectory() as root:
        folder, cache, seen = Path(root), Path(root) / "cache", set()
        paths = [*write_images(folder, 4), folder / "004.png", folder / "005.png"]
        for step, first, second in [("", 0, 0), *steps]:
            change_files(step, paths[first], paths[second], second)
            store, outcome = prepare(paths, SPEC, cache)
            for row, path in enumerate(paths):
                content = path.read_bytes() if path.exists() else None
                try:
                    expected = decode_image(content, SPEC) if content else None
                except DataError:
                    expected = None
                assert np.array_equal(store[row], np.zeros((32, 32, 3)) if expected is None else expected)
                assert outcome["sha256"][row] == (hashlib.sha256(content).hexdigest() if content else "")
                seen |= {content} if content else set()
            assert rows_of_index(cache) == len(seen), "each content is decoded once"


def change_files(step: str, first: Path, second: Path, number: int) -> None:
    if step == "write":
        first.write_bytes(encode(make_image(0, 10 + number)))
    elif step == "delete":
        first.unlink(missing_ok=True)
    elif step == "rename" and first.exists():
        first.rename(second)
    elif step == "swap" and first.exists() and second.exists():
        content = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(content)
    elif step == "truncate" and first.exists():
        os.truncate(first, first.stat().st_size // 2)


def test_prepare__a_store_keeps_its_pixels_when_files_change(tmp_path: Path) -> None:
    paths = write_images(tmp_path, 3)
    expected = [decode_image(path.read_bytes(), SPEC) for path in paths]
    store, _ = prepare(paths, SPEC, tmp_path / "cache")
    paths[1].write_bytes(encode(make_image(1, 50)))
    assert not np.array_equal(prepare(paths, SPEC, tmp_path / "cache")[0][1], expected[1])
    assert np.array_equal(store[np.arange(3)], expected)


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
