"""`diptych check`, `cache` and `preview`, as a user calls them: a table, files, an exit code, and nothing else touched."""

import html
import json
import os
import shlex
from pathlib import Path

import numpy as np
import pytest
from making import encode, fingerprint, make_data, run_python
from PIL import Image

from diptych.cli import main, parse
from diptych.storage.atomic import why_unwritable


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(*arguments: object) -> int:
    return main(["check", *map(str, arguments), "--image-size", "32", "--cache", "cache"])


def write_noise(root: Path, count: int = 12) -> Path:
    """Two classes that nothing but their pixels' order tells apart: noise, and the same values sorted by rows."""
    for name in ("mixed", "sorted"):
        (root / name).mkdir(parents=True)
        for number in range(count):
            image = np.random.default_rng((number, name == "mixed")).integers(0, 256, (40, 40), np.uint8)
            shown = np.sort(image, axis=1) if name == "sorted" else image
            (root / name / f"{number}.bmp").write_bytes(encode(shown, "BMP"))
    return root


def test_check__sound_data_is_exit_code_0(folder, capsys):
    assert check(write_noise(folder / "data")) == 0
    assert "24 images in 2 classes, all readable" in capsys.readouterr().out
    report = json.loads((folder / "check" / "check.json").read_text())
    assert (report["format_version"], report["images"], report["readable"]) == (1, 24, 24)
    assert report["classes"] == [["mixed", 12], ["sorted", 12]]
    assert not any(finding["level"] == "error" for finding in report["findings"])


def test_check__errors_are_exit_code_1_and_all_of_them_are_said(folder, capsys):
    data = make_data(folder / "data")
    (data / "0" / "00.png").write_bytes((data / "0" / "00.png").read_bytes()[:-40])
    (data / "1" / "01.png").unlink()
    (data / "1" / "02.png").write_bytes((data / "0" / "02.png").read_bytes())
    (data / "1" / "new.png").write_bytes((data / "1" / "03.png").read_bytes())
    before = fingerprint(data)
    assert check("data") == 1
    report = json.loads((folder / "check" / "check.json").read_text())
    found = {finding["kind"]: finding for finding in report["findings"]}
    assert found["unreadable"]["groups"] == [["0/00.png"]]
    assert found["missing"]["groups"] == [["1/01.png"]]
    assert sorted(found["exact-twins-labels"]["groups"][0]) == ["0/02.png", "1/02.png"]
    assert found["unlisted"]["groups"] == [["1/new.png"]]
    shown = capsys.readouterr().out
    assert all(finding["title"] in shown for finding in report["findings"])
    page = (folder / "check" / "check.html").read_text(encoding="utf-8")
    assert "0/00.png" in page
    assert fingerprint(data) == before


def kinds_found() -> set[str]:
    return {finding["kind"] for finding in json.loads(Path("check/check.json").read_text())["findings"]}


def test_check__fixes_show_whether_the_errors_are_gone(folder, capsys):
    data = write_noise(folder / "data", count=22)
    (data / "mixed" / "0.bmp").write_bytes(b"")
    (data / "sorted" / "1.bmp").write_bytes((data / "mixed" / "1.bmp").read_bytes())
    assert check("data") == 1
    assert {"unreadable", "exact-twins-labels"} <= kinds_found()
    (folder / "fixes.csv").write_text("path,fix,value\nmixed/0.bmp,drop,\nsorted/1.bmp,relabel,mixed\n")
    assert check("data", "--fixes", "fixes.csv") == 0
    assert kinds_found() == {"exact-twins"}
    assert "drop 1, relabel 1, group 0" in capsys.readouterr().out
    (folder / "fixes.csv").write_text("path,fix,value\nmixed/77.bmp,drop,\n")
    assert check("data", "--fixes", "fixes.csv") == 2
    assert "mixed/77.bmp" in capsys.readouterr().err


def test_check__takes_the_split_and_the_groups_that_a_training_is_given(folder, capsys):
    data = write_noise(folder / "data", count=22)
    (data / "mixed" / "1.bmp").write_bytes((data / "mixed" / "0.bmp").read_bytes())
    (folder / "split.csv").write_text("path,split\nmixed/0.bmp,train\nmixed/1.bmp,test\n")
    assert check("data") == 0
    assert check("data", "--split", "split.csv") == 1
    assert kinds_found() == {"exact-twins", "exact-leak"}
    assert check("data", "--group-column", "patient") == 2
    assert "no column patient" in capsys.readouterr().err


def test_check__says_what_the_split_will_lack(folder, capsys):
    data = make_data(folder / "data", 30, columns={"group": ["site C"] * 22 + [""] * 8})
    check("data", "--no-near-twins")
    assert {"large-group", "split-share"} <= kinds_found()
    assert "group site C holds 44 of 60 images (73%)" in capsys.readouterr().out
    (data / "1.csv").write_text("\n".join((data / "1.csv").read_text().splitlines()[:2]) + "\n")
    check("data", "--no-near-twins")
    assert "error    the images cannot be split into train, validation and test" in capsys.readouterr().out


def test_check__without_near_twins_none_are_named(folder):
    data = write_noise(folder / "data", count=22)
    image = Image.open(data / "mixed" / "0.bmp")
    (data / "mixed" / "1.bmp").write_bytes(encode(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "BMP"))
    assert check("data") == 0
    assert kinds_found() == {"near-twins"}
    assert check("data", "--no-near-twins") == 0
    assert kinds_found() == set()


def test_check__settings_that_change_nothing_are_no_flags_of_it(folder, capsys):
    with pytest.raises(SystemExit):
        check(write_noise(folder / "data"), "--max-unreadable", "0.3")
    assert "--max-unreadable" in capsys.readouterr().err


def test_preview__leaves_out_what_the_fixes_drop(folder):
    write_noise(folder / "data", count=1)
    arguments = ["preview", "data", "--count", "50", "--image-size", "32", "--cache", "cache", "--fixes", "fixes.csv"]
    (folder / "fixes.csv").write_text("path,fix,value\nmixed/0.bmp,drop,\n")
    assert main(arguments) == 2  # A class would be empty: the corrections are read.


def test_check__twice_in_the_data_folder_does_not_find_its_own_report(folder, capsys):
    write_noise(folder)
    assert check() == 0
    capsys.readouterr()
    assert check() == 0
    shown = capsys.readouterr().out
    assert shown.startswith("class folders mixed, sorted; not read: folder cache (no image in it)\n")
    assert "in the folders but not read" not in shown


def test_check__names_what_is_not_read_and_masks(folder, capsys):
    data = write_noise(folder / "data")
    (data / "mixed" / "1.jxl").touch()
    (data / "mixed" / "2_mask.bmp").write_bytes(encode(np.full((40, 40), 255, np.uint8), "BMP"))
    check(data)
    report = json.loads((folder / "check" / "check.json").read_text())
    found = {finding["kind"]: finding for finding in report["findings"]}
    assert found["not-read"]["title"] == "1 file is not read: 1 .jxl; convert them to JPEG or PNG"
    assert found["masks"]["groups"] == [["mixed/2_mask.bmp"]]
    assert "1 image looks like a mask of another, such as mixed/2_mask.bmp" in capsys.readouterr().out


def test_check__a_folder_that_is_no_data_is_exit_code_2(folder, capsys):
    (folder / "empty").mkdir()
    assert check("empty") == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert not (folder / "check").exists()


@pytest.mark.parametrize("output", ["a file/check", "a file"])
def test_check__output_that_cannot_be_written_costs_no_findings(folder, capsys, output):
    data = write_noise(folder / "data")
    (data / "mixed" / "0.bmp").write_bytes(b"")
    (folder / "a file").touch()
    assert check("data", "--output", output) == 2
    shown = capsys.readouterr()
    assert "mixed/0.bmp: the file is empty" in shown.out
    # It is said before the work too, and the error names the way out.
    assert shown.out.index("is a file") < shown.out.index("the file is empty")
    assert "--output" in shown.err
    assert "Errno" not in shown.err
    assert (folder / "a file").read_bytes() == b""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become somebody else")
def test_why_unwritable__a_folder_of_somebody_else(folder):
    (folder / "theirs").mkdir(mode=0o755)
    code = (
        "import os, sys; from pathlib import Path; from diptych.storage.atomic import why_unwritable\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534); print(why_unwritable(Path(sys.argv[1])))"
    )
    done = run_python("-c", code, folder / "theirs" / "check")
    assert done.returncode == 0, done.stderr
    assert f"{folder / 'theirs' / 'check'} cannot be written: no permission in /" in done.stdout
    assert why_unwritable(folder / "theirs" / "check") == ""


@pytest.mark.parametrize("command", [["preview", "data", "--output", "a file/preview.png"], ["samples", "a file/elpv"]])
def test_commands_that_write_refuse_a_place_before_the_work(folder, capsys, command):
    write_noise(folder / "data")
    (folder / "a file").touch()
    assert main(command) == 2
    message = capsys.readouterr().err
    assert "a file is a file, no folder" in message
    assert "output" in message or "samples FOLDER" in message


def test_check__ends_with_the_next_step(folder, capsys):
    data = write_noise(folder / "my data", count=22)
    asked = "--image-size 32 --cache cache"
    assert check("my data") == 0
    assert capsys.readouterr().out.endswith(f"Next: diptych train 'my data' {asked}\n")
    (data / "mixed" / "0.bmp").write_bytes(b"")
    assert check("my data") == 1
    assert capsys.readouterr().out.endswith(f"diptych check 'my data' {asked} --fixes fixes.csv\n")
    (folder / "fixes.csv").write_text("path,fix,value\nmixed/0.bmp,drop,\n")
    assert check("my data", "--fixes", "fixes.csv") == 0
    assert capsys.readouterr().out.endswith(f"Next: diptych train 'my data' {asked} --fixes fixes.csv\n")


def test_check__the_next_step_reads_the_data_as_the_check_did(folder, capsys):
    write_noise(folder / "my images", count=22)
    rows = [f"{name}/{number}.bmp,{name}" for name in ("mixed", "sorted") for number in range(22)]
    (folder / "labels.csv").write_text("\n".join(["Where,Kind", *rows]))
    (folder / "my images" / "mixed" / "0.bmp").write_bytes(b"")
    named = ["--grey-range=-5,10", "--path-column", "Where", "--label-column", "Kind", "--images", "my images", "--no-near-twins"]
    assert check("labels.csv", *named) == 1
    said = capsys.readouterr().out
    page = html.unescape((folder / "check" / "check.html").read_text("utf-8"))
    # What stands there is what the parser makes the same settings of.
    last = shlex.split(said.strip().splitlines()[-1])
    assert check(*last[2:]) == 2
    assert "fixes.csv" in capsys.readouterr().err
    trained = parse(shlex.split(page[page.index("diptych train ") : page.index(" --fixes fixes.csv")])[1:])
    checked = parse(["check", "labels.csv", *named, "--image-size", "32", "--cache", "cache"])
    assert trained.resolved().data == checked.resolved().data


def test_cache__is_shown_and_cleared(folder, capsys):
    check(write_noise(folder / "data"))
    capsys.readouterr()
    assert main(["cache", "--cache", "cache"]) == 0
    assert "24 images" in capsys.readouterr().out
    assert main(["cache", "--cache", "cache", "--clear"]) == 0
    assert "freed" in capsys.readouterr().out
    assert main(["cache", "--cache", "cache"]) == 0
    assert "images" not in capsys.readouterr().out


def test_preview__writes_a_sheet(folder):
    write_noise(folder / "data")
    arguments = ["preview", "data", "--augment", "strong", "--count", "3", "--image-size", "32", "--cache", "cache"]
    assert main(arguments) == 0
    with Image.open(folder / "preview.png") as sheet:
        assert np.asarray(sheet).std() > 10


def test_preview__no_images_is_said(folder, capsys):
    write_noise(folder / "data")
    assert main(["preview", "data", "--count", "0"]) == 2
    assert "--count" in capsys.readouterr().err
