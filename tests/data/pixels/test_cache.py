"""The cache of prepared pixels under every fault: killed, interrupted, shared, full, read-only, cut short, damaged."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from making import REPOSITORY, encode, fingerprint, make_image
from running import obeying_ctrl_c

from diptych.data.pixels.cache import folder_of, locked
from diptych.data.pixels.decode import ImageSpec, decode_image
from diptych.data.pixels.prepare import prepare
from diptych.data.pixels.store import PixelStore, clear_cache
from diptych.errors import DataError

SPEC = ImageSpec(64)
STRIDE = 64 * 64 * 3
COUNT = 60
# What a user's process does, with a commit ten times a second, and files that may lie on a slow disk.
CHILD = """
import logging, resource, sys, time
from pathlib import Path
from diptych.data.pixels import decode_pool
from diptych.data.pixels.decode import ImageSpec
from diptych.data.pixels.prepare import prepare
from diptych.errors import DataError

logging.basicConfig(level=logging.INFO, format="%(message)s")
decode_pool.COMMIT_SECONDS = 0.0
folder, cache, limit, seconds = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])

class Slow(type(Path())):
    def open(self, *how, **further):
        time.sleep(seconds)
        return super().open(*how, **further)

if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
print("ready", flush=True)
try:
    store, outcome = prepare(sorted(map(Slow, folder.iterdir())), ImageSpec(64), None if sys.argv[2] == "none" else cache)
except DataError as error:
    print(error)
    sys.exit(error.exit_code)
print(len(store), int((outcome["problem"] != "").sum()), "images, unreadable")
"""
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}


def can_mount() -> bool:
    """Tell whether a process may have mounts of its own, which go when it ends."""
    if sys.platform != "linux" or not shutil.which("unshare"):
        return False
    return (
        subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False).returncode
        == 0
    )


needs_mounts = pytest.mark.skipif(not can_mount(), reason="need the right to mount (root, or user namespaces)")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, one of them damaged, one a twin."""
    root = tmp_path_factory.mktemp("images")
    for number in range(COUNT):
        (root / f"{number:03d}.png").write_bytes(encode(make_image(number % 2, number, 48)))
    (root / "040.png").write_bytes((root / "040.png").read_bytes()[:3000])
    shutil.copy(root / "003.png", root / "050.png")
    return root


def start(
    folder: Path, cache: Path | str, *, slow: bool = False, limit: int = 0, mount: str = "", **changes: str
) -> subprocess.Popen[str]:
    """Start a process that prepares a folder, after a shell command that may mount something."""
    command = [sys.executable, "-c", CHILD, str(folder), str(cache), str(limit), "0.02" if slow else "0"]
    if mount:
        command = ["unshare", "-m", "sh", "-ec", f'{mount}\nexec "$@"', "sh", *command]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with obeying_ctrl_c():
        return subprocess.Popen(command, env=ENVIRONMENT | changes, **pipes)


def finish(child: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = child.communicate(timeout=120)
    return child.returncode, output


def wait_until(true: Callable[[], bool], child: subprocess.Popen[str]) -> None:
    give_up = time.monotonic() + 60
    while not true():
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < give_up, "it never came to pass"
        time.sleep(0.002)


def committed(cache: Path) -> dict[bytes, int]:
    """The slot of each content in the index, read as someone else's program would read it."""
    indices = list(folder_of(cache, SPEC).glob("index-*.sqlite"))
    if not indices:
        return {}
    connection = sqlite3.connect(f"file:{indices[0]}?mode=ro", uri=True, timeout=60)
    try:
        return dict(connection.execute("SELECT sha256, slot FROM images"))
    except sqlite3.OperationalError:  # There is no table yet.
        return {}
    finally:
        connection.close()


def check_pixels(store: PixelStore, folder: Path) -> None:
    for image, path in zip(store[np.arange(len(store))], sorted(folder.iterdir()), strict=True):
        expected = np.zeros_like(image) if path.name == "040.png" else decode_image(path.read_bytes(), SPEC)
        assert np.array_equal(image, expected), path


def prepare_folder(folder: Path, cache: Path | None) -> PixelStore:
    return prepare(sorted(folder.iterdir()), SPEC, cache)[0]


@pytest.mark.slow
@pytest.mark.parametrize("least", [0, 1, COUNT // 2, COUNT - 20])
def test_kill__the_next_run_goes_on_where_it_was(folder: Path, tmp_path: Path, least: int) -> None:
    child = start(folder, tmp_path, slow=True)
    if least == 0:
        wait_until(lambda: any(folder_of(tmp_path, SPEC).glob("pixels-*")), child)
    else:
        wait_until(lambda: len(committed(tmp_path)) >= least, child)
    child.kill()
    child.communicate()
    before = committed(tmp_path)
    check_pixels(prepare_folder(folder, tmp_path), folder)
    after = committed(tmp_path)
    assert before.items() <= after.items()
    assert len(after) == COUNT - 1
    assert sorted(after.values()) == list(range(COUNT - 1))


@pytest.mark.slow
def test_interrupt__stops_soon_and_keeps_what_is_done(folder: Path, tmp_path: Path) -> None:
    child = start(folder, tmp_path, slow=True)
    wait_until(lambda: len(committed(tmp_path)) > 0, child)
    child.send_signal(signal.SIGINT)
    code, output = finish(child)
    assert code in (-signal.SIGINT, 130, 1)
    assert "KeyboardInterrupt" in output
    before = committed(tmp_path)
    assert 0 < len(before) < COUNT - 1
    check_pixels(prepare_folder(folder, tmp_path), folder)
    assert before.items() <= committed(tmp_path).items()


@pytest.mark.slow
def test_two_processes__the_second_waits_and_takes_over(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    child = start(folder, tmp_path, slow=True)
    wait_until(lambda: any(folder_of(tmp_path, SPEC).glob("pixels-*")), child)
    caplog.set_level("INFO")
    store = prepare_folder(folder, tmp_path)
    assert finish(child)[1].endswith(f"{COUNT} 1 images, unreadable\n")
    assert f"another process is preparing images in {folder_of(tmp_path, SPEC)}; waiting" in caplog.text
    assert sorted(committed(tmp_path).values()) == list(range(COUNT - 1)), "nothing was decoded twice"
    check_pixels(store, folder)


@pytest.mark.slow
def test_two_processes__both_at_the_same_time(folder: Path, tmp_path: Path) -> None:
    children = [start(folder, tmp_path) for _ in range(2)]
    for child in children:
        code, output = finish(child)
        assert code == 0, output
    assert sorted(committed(tmp_path).values()) == list(range(COUNT - 1))
    check_pixels(prepare_folder(folder, tmp_path), folder)


def test_two_processes__no_lock_is_waited_for_where_all_is_there(folder: Path, tmp_path: Path) -> None:
    aged = tmp_path / "aged"
    aged.mkdir()
    (aged / "a.png").write_bytes(encode(make_image(0)))
    time.sleep(2.1)  # Until then it may still be in the making.
    prepare_folder(aged, tmp_path / "cache")
    with locked(folder_of(tmp_path / "cache", SPEC)):
        assert len(prepare_folder(aged, tmp_path / "cache")) == 1


@pytest.mark.slow
@pytest.mark.parametrize("room", [STRIDE * 20 + 100, 2000])
def test_full__file_may_not_grow(folder: Path, tmp_path: Path, room: int) -> None:
    code, output = finish(start(folder, tmp_path, limit=room))
    assert code == 2, output
    assert "the prepared images cannot be kept in" in output
    assert "--cache" in output
    assert "Traceback" not in output
    before = committed(tmp_path)
    check_pixels(prepare_folder(folder, tmp_path), folder)
    assert before.items() <= committed(tmp_path).items()


def test_windows__has_no_reading_and_writing_at_a_place(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "preadv", raising=False)
    monkeypatch.delattr(os, "pwrite", raising=False)
    store = prepare_folder(folder, tmp_path)
    check_pixels(store, folder)
    whole = store[:]
    with ThreadPoolExecutor(8) as threads:
        for _ in range(20):
            read = list(threads.map(store.__getitem__, range(len(store))))
            np.testing.assert_array_equal(read, whole)


def test_windows__keeps_files_that_are_open(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = prepare_folder(folder, tmp_path)
    (index,) = tmp_path.glob("*/index-*.sqlite")
    index.write_bytes(b"no database" * 1000)

    def is_open(path: str, **_: object) -> None:
        raise PermissionError(13, "The process cannot access the file because it is being used by another process", path, 32)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", is_open)
        check_pixels(prepare_folder(folder, tmp_path), folder)
    check_pixels(store, folder)
    before = sorted(tmp_path.glob("*/*.u8"))
    assert len(before) == 2
    check_pixels(prepare_folder(folder, tmp_path), folder)
    assert sorted(tmp_path.glob("*/*.u8")) == before


@pytest.mark.slow
@needs_mounts
@pytest.mark.parametrize(
    ("size", "count", "reason"),
    [("600k", COUNT, "more images need"), ("200k", 30, "Free some room"), ("8k", 30, "cannot be kept")],
)
def test_full__disk_has_no_room(folder: Path, tmp_path: Path, size: str, count: int, reason: str) -> None:
    some, cache = tmp_path / "some", tmp_path / "cache"
    some.mkdir()
    cache.mkdir()
    for path in sorted(folder.iterdir())[:count]:
        (some / path.name).symlink_to(path)
    code, output = finish(start(some, cache, slow=True, mount=f"mount -t tmpfs -o size={size} none {cache}"))
    assert code == 2, output
    assert reason in output
    assert "another folder with --cache" in output
    assert "Traceback" not in output


@pytest.mark.slow
@needs_mounts
def test_full__disk_has_no_room_for_the_temporary_file(folder: Path, tmp_path: Path) -> None:
    mount = f"mount -t tmpfs -o size=200k none {tmp_path}"
    code, output = finish(start(folder, "none", mount=mount, TMPDIR=str(tmp_path)))
    assert code == 2, output
    assert "another folder in the environment variable TMPDIR" in output


@pytest.mark.slow
@needs_mounts
def test_read_only__data_folder_is_no_problem(folder: Path, tmp_path: Path) -> None:
    mount = f"mount --bind {folder} {folder}; mount -o remount,bind,ro {folder}; ! touch {folder}/new"
    code, output = finish(start(folder, tmp_path, mount=mount))
    assert code == 0, output
    check_pixels(prepare_folder(folder, tmp_path), folder)


def test_data_folder__is_left_as_it_is(folder: Path, tmp_path: Path) -> None:
    before = fingerprint(folder), {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    prepare_folder(folder, tmp_path)
    assert (fingerprint(folder), {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}) == before


@pytest.mark.slow
@needs_mounts
def test_read_only__cache_that_holds_everything_is_used(folder: Path, tmp_path: Path) -> None:
    time.sleep(max(0, 2.1 - (time.time() - max(path.stat().st_ctime for path in folder.iterdir()))))
    prepare_folder(folder, tmp_path)
    mount = f"mount --bind {tmp_path} {tmp_path}; mount -o remount,bind,ro {tmp_path}"
    code, output = finish(start(folder, tmp_path, mount=mount))
    assert (code, output) == (0, f"ready\n{COUNT} 1 images, unreadable\n")
    shutil.rmtree(folder_of(tmp_path, SPEC))
    code, output = finish(start(folder, tmp_path, mount=mount))
    assert code == 2, output
    assert "Read-only file system. Name another folder with --cache" in output


@pytest.mark.parametrize("place", ["", "v2-64-stretch", "v2-64-stretch.lock"])
def test_cache_that_cannot_be_written__is_a_clear_error(folder: Path, tmp_path: Path, place: str) -> None:
    cache = tmp_path / "cache"
    if place.endswith(".lock"):
        (cache / place).mkdir(parents=True)
    else:
        (cache / place).parent.mkdir(exist_ok=True)
        (cache / place).write_text("in the way")
    with pytest.raises(DataError, match=r"cannot be kept in .*cache: .*--cache"):
        prepare_folder(folder, cache)


@pytest.mark.parametrize("left", [0, STRIDE * 30 + 17, STRIDE * (COUNT - 1) - 1])
def test_pixels_cut_short__are_prepared_anew(folder: Path, tmp_path: Path, left: int, caplog: pytest.LogCaptureFixture) -> None:
    old = prepare_folder(folder, tmp_path)
    (pixels,) = folder_of(tmp_path, SPEC).glob("pixels-*.u8")
    os.truncate(pixels, left)
    with pytest.raises(DataError, match="cut short while it was in use"):
        old[np.arange(len(old))]
    caplog.set_level("INFO")
    check_pixels(prepare_folder(folder, tmp_path), folder)
    assert "is damaged (the file of pixels was cut short); its images are prepared anew" in caplog.text
    assert len(list(folder_of(tmp_path, SPEC).iterdir())) == 2, "nothing of the old one is left"


def test_pixels_deleted__are_prepared_anew(folder: Path, tmp_path: Path) -> None:
    old = prepare_folder(folder, tmp_path)
    (pixels,) = folder_of(tmp_path, SPEC).glob("pixels-*.u8")
    pixels.unlink()
    check_pixels(prepare_folder(folder, tmp_path), folder)
    check_pixels(old, folder)


@pytest.mark.parametrize("damage", ["text", "empty", "half", "zeros inside", "other tables", "journal"])
def test_index_damaged__is_made_anew(folder: Path, tmp_path: Path, damage: str) -> None:
    prepare_folder(folder, tmp_path)
    (index,) = folder_of(tmp_path, SPEC).glob("index-*.sqlite")
    content = index.read_bytes()
    damaged = {
        "text": b"not a database " * 100,
        "empty": b"",
        "half": content[: len(content) // 2],
        "zeros inside": content[:8192] + bytes(len(content) - 16384) + content[-8192:],
    }
    if damage == "other tables":
        index.unlink()
        with sqlite3.connect(index) as connection:
            connection.execute("CREATE TABLE images (other)")
        connection.close()
    elif damage == "journal":
        index.with_name(f"{index.name}-journal").write_bytes(os.urandom(3000))
    else:
        index.write_bytes(damaged[damage])
    check_pixels(prepare_folder(folder, tmp_path), folder)
    check_pixels(prepare_folder(folder, tmp_path), folder)


def test_clear__does_not_disturb_who_reads(folder: Path, tmp_path: Path) -> None:
    store = prepare_folder(folder, tmp_path)
    assert clear_cache(tmp_path) >= STRIDE * (COUNT - 1)
    prepare(sorted(folder.iterdir())[::-1], SPEC, tmp_path)
    check_pixels(store, folder)


@pytest.mark.slow
def test_clear__refuses_while_images_are_prepared(folder: Path, tmp_path: Path) -> None:
    child = start(folder, tmp_path, slow=True)
    wait_until(lambda: len(committed(tmp_path)) > 0, child)
    with pytest.raises(DataError, match="another process is preparing images"):
        clear_cache(tmp_path)
    assert finish(child)[0] == 0
    assert clear_cache(tmp_path) > 0


@pytest.mark.slow
@pytest.mark.parametrize("kill", [False, True])
def test_without_a_cache__nothing_is_left_behind(folder: Path, tmp_path: Path, kill: bool) -> None:
    child = start(folder, "none", slow=True, TMPDIR=str(tmp_path), SQLITE_TMPDIR=str(tmp_path))
    if kill:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(0.1)
        child.kill()
    code, output = finish(child)
    assert code == (-signal.SIGKILL if kill else 0), output
    assert list(tmp_path.iterdir()) == []


def test_another_decoder__images_are_prepared_anew(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first, _ = prepare(sorted(folder.iterdir()), SPEC, cache)
    (index,) = folder_of(cache, SPEC).glob("index-*.sqlite")
    connection = sqlite3.connect(index)
    with connection:
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    second, _ = prepare(sorted(folder.iterdir()), SPEC, cache)
    assert not index.exists()
    assert len(list(folder_of(cache, SPEC).glob("index-*.sqlite"))) == 1
    rows = np.arange(len(first))
    assert np.array_equal(first[rows], second[rows])
