"""The promise of an exact resume, tried as a user tries it: on his images, by `--verify-resume`."""

import re
import shutil
from pathlib import Path

import pytest
from making import encode, fingerprint, make_image
from resuming import SETTINGS, make_uneven
from running import diptych, posix_only

from diptych.cli import main
from diptych.experiments.verify_resume import compare
from diptych.storage.run_dir import RunDir

pytestmark = [pytest.mark.slow, posix_only, pytest.mark.usefixtures("quickest_backend")]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes, one of them of four images, and one unreadable image."""
    root = make_uneven(tmp_path_factory.mktemp("verify") / "images")
    (root / "2").mkdir()
    for number in range(4):
        (root / "2" / f"{number}.png").write_bytes(encode(make_image(1, 100 + number)))
    (root / "0" / "000.png").write_text("not an image")
    return root


def test_verify_resume__says_that_it_is_exact_and_leaves_nothing(data: Path, tmp_path: Path) -> None:
    before = fingerprint(data)
    done = diptych("train", "--data", data, "--verify-resume", *SETTINGS, folder=tmp_path, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"Resuming is exact here: killed in epoch 1 after batch (\d) of 4 by SIGKILL.* (\d+) arrays", done.stdout)
    assert found, done.stdout
    assert 1 <= int(found[1]) <= 4
    assert int(found[2]) > 100
    assert list(tmp_path.iterdir()) == []
    assert fingerprint(data) == before


def test_verify_resume__training_that_fails_is_an_error(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Weights that are not there: no training can begin."""
    arguments = [*SETTINGS, "--runs", str(tmp_path / "runs"), "--weights", str(tmp_path / "missing.h5")]
    assert main(["train", "--data", str(data), "--verify-resume", *arguments]) == 2
    said = capsys.readouterr().err
    assert "ended with exit code 2" in said
    assert "missing.h5" in said
    assert not (tmp_path / "runs").exists()


def train(folder: Path, data: Path, name: str, *changes: str) -> RunDir:
    done = diptych("train", "--data", data, "--name", name, "--epochs", 1, *SETTINGS, *changes, folder=folder, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return RunDir(folder / "runs" / name)


def test_compare__sees_a_single_bit(data: Path, tmp_path: Path) -> None:
    first = train(tmp_path, data, "first")
    second = RunDir(tmp_path / "runs" / "second")
    shutil.copytree(first.root, second.root)
    assert compare(first, second)[0] == []
    lines = second.history.read_text().splitlines()
    second.history.write_text("\n".join([lines[0], lines[1].replace("1,", "2,", 1)]) + "\n")
    assert compare(first, second)[0] == ["history.csv"]
