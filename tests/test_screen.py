"""What is said comes to the screen, whatever the screen is, and no command ends by it."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from making import REPOSITORY, encode, make_image, run_python

from diptych.screen import command_line, quoted


@pytest.fixture
def chinese(tmp_path: Path) -> Path:
    for target, name in enumerate(("健康", "異常")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(3):
            (tmp_path / "data" / name / f"{number}.png").write_bytes(encode(make_image(target, number)))
    return tmp_path / "data"


def checked(folder: Path, output: int, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Check a data folder with standard output on `output`."""
    command = [sys.executable, "-m", "diptych", "check", folder, "--output", folder.parent / "check", "--image-size", "32"]
    found = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "PYTHONUTF8": "0", **environment}
    return subprocess.run(command, stdout=output, stderr=subprocess.PIPE, env=found, timeout=120, check=False)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_screen__a_narrow_encoding_ends_nothing(chinese: Path, encoding: str) -> None:
    done = checked(chinese, subprocess.PIPE, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert rb"class folders \u5065\u5eb7, \u7570\u5e38" in done.stdout
    assert (chinese.parent / "check" / "check.html").is_file()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="need Linux")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_screen__a_full_disk_behind_it_is_an_error_after_the_work(chinese: Path, unbuffered: str) -> None:
    with Path("/dev/full").open("wb") as full:
        done = checked(chinese, full.fileno(), PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: standard output: No space left on device.")
    assert (chinese.parent / "check" / "check.html").is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="need a POSIX system")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_screen__a_reader_who_has_gone_ends_nothing(chinese: Path, unbuffered: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = checked(chinese, writer, PYTHONUNBUFFERED=unbuffered)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (chinese.parent / "check" / "check.html").is_file()


def test_screen__help_version_and_errors_on_a_narrow_encoding() -> None:
    code = """
import sys
from diptych.cli import main
for arguments in (["--help"], ["train", "--help"], ["check", "健康"], ["--version"], []):
    print(main(arguments))
"""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "PYTHONIOENCODING": "cp437"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    said = done.stdout.decode("cp437").replace("\r", "").split("\n")
    assert [line for line in said if line in ("0", "2")] == ["0", "0", "2", "0", "2"]
    assert rb"error: \u5065\u5eb7: no such folder" in done.stderr
    import diptych

    assert f"diptych {diptych.__version__}" in said


def test_screen__without_a_home_folder_the_message_names_cache(chinese: Path) -> None:
    """As in a container: no HOME, and a user without an entry."""
    code = f"""
import os, pwd, sys
def nobody(number):
    raise KeyError(number)
pwd.getpwuid = nobody
os.environ.pop("HOME", None)
from diptych.cli import main
print(main(["check", {str(chinese)!r}]), main(["cache"]), main(["cache", "--clear"]), main(["preview", {str(chinese)!r}]))
"""
    done = run_python("-c", code, cwd=chinese.parent)
    assert done.stdout.endswith("2 2 2 2\n"), done.stderr
    assert done.stderr.count("there is no home folder for the prepared images; set HOME, or name a folder with --cache.") == 4


def test_command_line__can_be_pasted() -> None:
    assert command_line("evaluate", Path("runs/mine")) == "diptych evaluate runs/mine"
    shown = command_line("resume", Path("runs/my run; ls"), "--epochs", 3)
    if sys.platform == "win32":
        assert shown == 'diptych resume "runs/my run; ls" --epochs 3'
    else:
        words = subprocess.run(["sh", "-c", f"printf '%s|' {shown}"], capture_output=True, text=True, check=True).stdout
        assert words == "diptych|resume|runs/my run; ls|--epochs|3|"
        assert quoted(Path("my data")) == "'my data'"


def test_show_messages__prints_each_line_once(capsys: pytest.CaptureFixture[str]) -> None:
    from diptych import show_messages

    log = logging.getLogger("diptych")
    before = log.handlers, log.level
    try:
        show_messages()
        show_messages()
        logging.getLogger("diptych.training").info("said")
    finally:
        log.handlers, log.level = before
    assert capsys.readouterr().out == "said\n"
