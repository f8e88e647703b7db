"""Every bad input of the data contract, with real files: one message, exit code 2, and nothing done."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from making import REPOSITORY, encode, encode_png, fingerprint, make_data, make_image, run_python, write_table

from diptych.cli import main
from diptych.data.dataset import LoadedData, load, split
from diptych.errors import DataError
from diptych.settings.config import DataConfig

BOMB = encode_png((60000, 60000), 8, 0, None)
TRUNCATED = encode(make_image(0, 1, 64))[:-2000]
UNREADABLE = {
    "text named .png": (b"This is no image.\n", "text, not an image"),
    "truncated": (TRUNCATED, "damaged or truncated"),
    "truncated JPEG": (encode(make_image(0, 1, 64), "JPEG")[:-200], "damaged or truncated"),
    "bomb": (BOMB, "too many pixels"),
    "whole bomb": (encode_png((20000, 20000), 1, 0, bytes(2500)), "too many pixels"),
    "empty file": (b"", "the file is empty"),
}

Change = Callable[[Path], object]


def table(*rows: str, header: str = "image_name,target") -> Change:
    return lambda data: (data / "0.csv").write_text("\n".join([header, *rows]) + "\n")


def renamed(data: Path) -> None:
    data.rename(data.with_name("moved"))


def link_outside(data: Path) -> None:
    (data.parent / "secret.png").write_bytes(encode(make_image(0)))
    (data / "0" / "03.png").unlink()
    (data / "0" / "03.png").symlink_to(data.parent / "secret.png")


def no_data(data: Path) -> None:
    for name in ("0", "1"):
        shutil.rmtree(data / name)
        (data / f"{name}.csv").unlink()


def one_class_folder(data: Path) -> None:
    no_data(data)
    (data / "cats").mkdir()
    (data / "cats" / "00.png").write_bytes(encode(make_image(0)))


def keep_one_each(data: Path) -> None:
    for target in (0, 1):
        write_table(data / f"{target}.csv", [{"image_name": "00.png", "target": target}])


def broken(content: bytes) -> Change:
    return lambda data: (data / "0" / "03.png").write_bytes(content)


# What is done to a sound folder; what the message says; what it says to mend it.
BAD_INPUTS: dict[str, tuple[Change, str, str]] = {
    "no such folder": (renamed, "DATA: no such folder", "--data"),
    "no class folder": (lambda data: shutil.rmtree(data / "1"), "DATA/1: no such folder", "Expected the images of class 1"),
    "no CSV": (lambda data: (data / "1.csv").unlink(), "DATA/1.csv: no such table", "columns image_name and target"),
    "no column target": (table("00.png", header="image_name"), "DATA/0.csv: no column target", "Expected image_name and target"),
    "no column image_name": (table("00.png,0", header="name,target"), "DATA/0.csv: no column image_name", "Expected image_name"),
    "target not 0 or 1": (table("00.png,0", "01.png,2"), "DATA/0.csv, row 3: '2' is not a target", "write 0 or 1"),
    "target disagrees": (table("00.png,1"), "DATA/0.csv, row 2: target '1' disagrees with the folder 0/", "correct the target"),
    "missing file": (table("00.png,0", "x.png,0"), "DATA/0.csv, row 3: 'x.png' is listed but is not in DATA/0/", "add the file"),
    "listed twice": (table("00.png,0", "01.png,0", "00.png,0"), "DATA/0.csv, row 4: '00.png' is listed twice", "delete one"),
    "listed twice as ./": (table("00.png,0", "./00.png,0"), "DATA/0.csv, row 3: './00.png' is listed twice", "delete one"),
    "climbs out": (table("../1/00.png,0"), "DATA/0.csv, row 2: '../1/00.png' leaves the folder DATA/0/", "write a name inside"),
    "absolute": (table("/etc/hostname,0"), "DATA/0.csv, row 2: '/etc/hostname' leaves the folder", "write a name inside"),
    "absolute on Windows": (table("C:\\x.png,0"), "DATA/0.csv, row 2: 'C:\\\\x.png' leaves the folder", "write a name inside"),
    "link outside": (link_outside, "DATA/0.csv, row 5: '03.png' is a link that leaves the folder", "put the file itself there"),
    "empty class": (table(), "DATA/0.csv: no rows, so the class is empty", "Each class needs images"),
    "nothing": (no_data, "DATA: no layout is recognised; found: images in no folder: 0", "Expected class folders"),
    "one class": (one_class_folder, "no layout is recognised; found: folder cats/ (with images)", "Expected class folders"),
    "too few for a split": (keep_one_each, "DATA: no image for validation", "Add images"),
    **{
        name: (broken(content), f"DATA/0.csv, row 5: DATA/0/03.png: {reason}", "Mend these files, or delete them")
        for name, (content, reason) in UNREADABLE.items()
    },
}


def cache_of(data: Path) -> Path:
    """A cache that is not looked at when a test says that nothing was done."""
    return data.parent.with_name(f"{data.parent.name}-cache")


def train_arguments(data: Path, *further: str) -> list[str]:
    places = ["--data", str(data), "--runs", str(data.parent / "runs"), "--cache", str(cache_of(data))]
    return ["train", *places, "--image-size", "32", *further]


def load_data(data: Path, max_unreadable: float = 0.05) -> LoadedData:
    settings = DataConfig(data=data, image_size=32, cache=cache_of(data), max_unreadable=max_unreadable)
    return split(load(settings, seed=0), settings)


def assert_refused(code: int, out: str, err: str, data: Path) -> str:
    """Check what holds for every refusal, and return its message with DATA for the data folder."""
    assert code == 2
    assert err.startswith("error: ")
    assert "Traceback" not in out + err
    assert not (data.parent / "runs").exists()
    return err.replace(str(data), "DATA")


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_train__bad_input_is_named_and_nothing_is_done(data: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    change, what, mend = BAD_INPUTS[name]
    change(data)
    before = fingerprint(data.parent)
    code = main(train_arguments(data))
    message = assert_refused(code, *capsys.readouterr(), data)
    assert what in message
    assert mend in message
    assert fingerprint(data.parent) == before


def test_train__the_same_folder_without_the_mistake_is_accepted(data: Path) -> None:
    """Else the test above would pass for any reason."""
    loaded = load_data(data)
    assert (len(loaded.manifest.table), len(loaded.store), len(loaded.problems)) == (16, 16, 0)


@pytest.mark.parametrize("name", UNREADABLE)
def test_train__one_unreadable_image_of_many_is_an_error_with_strict(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_data(tmp_path / "data", count=12)
    content, reason = UNREADABLE[name]
    broken(content)(data)
    before = fingerprint(tmp_path)
    code = main(train_arguments(data, "--strict"))
    message = assert_refused(code, *capsys.readouterr(), data)
    assert "1 of 24 images cannot be read; allowed are none, with --strict" in message
    assert f"DATA/0.csv, row 5: DATA/0/03.png: {reason}" in message
    assert fingerprint(tmp_path) == before


@pytest.mark.parametrize("name", UNREADABLE)
def test_load_data__up_to_five_percent_unreadable_is_set_aside(tmp_path: Path, name: str) -> None:
    data = make_data(tmp_path / "data", count=10)
    content, reason = UNREADABLE[name]
    broken(content)(data)
    before = fingerprint(tmp_path)
    loaded = load_data(data)
    manifest, problems = loaded.manifest, loaded.problems
    assert problems[["path", "target"]].to_dict("records") == [{"path": "0/03.png", "target": 0}]
    assert reason in problems["problem"].iloc[0]
    assert "0/03.png" not in set(manifest.table["path"])
    assert set(manifest.table["split"]) == {"train", "validation", "test"}
    assert manifest.table.index.tolist() == [row for row in range(20) if row != 3]
    for row, path in manifest.table["path"].items():
        assert np.array_equal(loaded.store[row], make_image(int(path[0]), int(path[2:4])))
    assert fingerprint(tmp_path) == before


def test_load_data__one_more_than_five_percent_is_an_error(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data", count=10)
    for number in (3, 4):
        (data / "0" / f"{number:02d}.png").write_bytes(b"x")
    with pytest.raises(DataError, match=re.compile(r"2 of 20 images cannot be read.*row 5: .*row 6: ", re.DOTALL)):
        load_data(data)


def test_load_data__class_that_is_empty_once_the_unreadable_are_set_aside(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data", count=3)
    for number in range(3):
        (data / "1" / f"{number:02d}.png").write_bytes(b"x")
    with pytest.raises(DataError, match="class 1 has 0 readable images"):
        load_data(data, max_unreadable=0.5)


IMPORTED = re.compile(r"^import time:.*\| +(\S+)$", re.MULTILINE)


def run_importtime(*arguments: str | Path, cwd: Path) -> tuple[int, str, str, set[str]]:
    """Run Python; return exit code, standard output, standard error, and the top-level modules that were imported."""
    done = run_python("-X", "importtime", *arguments, cwd=cwd)
    errors = "".join(line for line in done.stderr.splitlines(keepends=True) if not line.startswith("import time:"))
    return done.returncode, done.stdout, errors, {name.partition(".")[0] for name in IMPORTED.findall(done.stderr)}


# One command after another in one process: exit code, standard output and error, and which of some modules are loaded by then.
ASK = """
import contextlib, io, json, sys
from diptych.cli import main
commands, modules = map(json.loads, sys.argv[1:])
answers = []
for command in commands:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(command)
        except SystemExit as end:
            code = end.code
    answers.append([code, out.getvalue(), err.getvalue(), sorted(set(modules) & set(sys.modules))])
print(json.dumps(answers))
"""
BACKENDS = ("keras", "tensorflow", "jax", "torch")
HEAVY = (*BACKENDS, "pandas", "numpy", "PIL", "matplotlib", "sklearn")


def ask(commands: list[list[str]], modules: tuple[str, ...]) -> list[tuple[int, str, str, list[str]]]:
    done = run_python("-c", ASK, json.dumps(commands), json.dumps(modules))
    assert done.returncode == 0, done.stderr
    answers: list[tuple[int, str, str, list[str]]] = json.loads(done.stdout)
    return answers


def test_train__bad_data_are_refused_before_keras_is_loaded(tmp_path: Path) -> None:
    names = ["no such folder", "listed twice", "truncated", "too few for a split"]
    folders = [make_data(tmp_path / str(number) / "data") for number in range(len(names))]
    for name, data in zip(names, folders, strict=True):
        BAD_INPUTS[name][0](data)
    before = [fingerprint(data.parent) for data in folders]
    answers = ask([train_arguments(data) for data in folders], BACKENDS)
    for name, data, (code, out, err, loaded) in zip(names, folders, answers, strict=True):
        assert BAD_INPUTS[name][1] in assert_refused(code, out, err, data)
        assert loaded == []
    assert [fingerprint(data.parent) for data in folders] == before


@pytest.mark.parametrize("door", [["-m", "diptych", "train"], [REPOSITORY / "train.py"]], ids=["diptych", "train.py"])
def test_train__as_a_process_is_refused_before_keras_is_loaded(data: Path, door: list[str | Path]) -> None:
    change, what, _ = BAD_INPUTS["listed twice"]
    change(data)
    before = fingerprint(data.parent)
    flags = [argument for argument in train_arguments(data)[1:] if argument != "--data"]
    code, out, err, imported = run_importtime(*door, *flags, cwd=data.parent)
    assert what in assert_refused(code, out, err, data)
    assert "diptych" in imported
    assert imported.isdisjoint(BACKENDS)
    assert fingerprint(data.parent) == before


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train", "--epoch", "3"], "--epochs"),
        (["train", "--learning-rat", "1"], "--learning-rate"),
        (["train", "--epochs", "many"], "--epochs"),
        (["train", "--epochs"], "--epochs"),
        (["train", "--preset", "quik"], "'quick'"),
        (["train", "--resize", "squash"], "letterbox"),
        (["train", "data", "stray"], "stray"),
        (["evaluate", "a", "b"], "b"),
        (["summary", "--widht", "1"], "--width"),
        (["explain", "--clas", "a"], "--class"),
        (["explain", "--backend", "tpu"], "tensorflow"),
    ],
)
def test_main__bad_flag_names_what_is_near(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    captured = capsys.readouterr()
    assert caught.value.code == 2
    assert expected in captured.out + captured.err
    assert "Traceback" not in captured.out + captured.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train", "--epochs", "0"], "epochs is 0; expected at least 1. Set --epochs"),
        (["trian"], "trian is no command of diptych; did you mean train?"),
        (["--epochs", "3", "train"], "--epochs is no command of diptych; expected one of check, preview"),
        (["train", "here", "--data", "there"], "the data folder is given twice, as here and as --data there; leave one"),
        (["check", "here", "--data", "here"], "the data folder is given twice, as here and as --data here; leave one"),
        (["train", "--recipe", "auto", "--min-learning-rate", "0.002"], "min_learning_rate is 0.002; expected 0 up to"),
        (["train", "--image-size", "16"], "image_size is 16; expected 32 to 4096 pixels"),
        (["train", "--validation-share", "0.9", "--test-share", "0.2"], "test_share is 0.2"),
        (["train", "--config", "none.toml"], "none.toml: cannot be read: no such file"),
        (["train", "--config", "wrong.toml"], "wrong.toml: unknown key epoch in [training]; did you mean epochs?"),
        (["evaluate"], "no run in runs; train one first"),
        (["evaluate", "nowhere"], "nowhere is not a run"),
        (["plot"], "no run in runs; train one first"),
        (["plot", "--runs", "elsewhere"], "no run in elsewhere"),
        (["predict", "image.png"], "no run in runs; train one first"),
        (["explain", "image.png"], "no run in runs; train one first"),
        (["explain", "image.png", "--runs", "elsewhere"], "no run in elsewhere"),
        (["samples", "."], "exists already"),
    ],
)
def test_main__bad_value_is_one_line_and_exit_code_2(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wrong.toml").write_text("[training]\nepoch = 3\n")
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(r"error: [^\n]+\n", captured.err)
    assert expected in captured.err
    assert [path.name for path in tmp_path.iterdir()] == ["wrong.toml"]


def test_explain__unknown_class_is_refused_before_keras_is_loaded(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "one"
    run.mkdir(parents=True)
    (run / "config.toml").write_text("")
    (run / "environment.json").write_text('{"format_version": 1, "created": "2026-01-01T00:00:00+00:00"}')
    (run / "classes.json").write_text('{"format_version": 1, "class_names": ["cat", "dog"]}')
    code, out, err, imported = run_importtime("-m", "diptych", "explain", "image.png", "--class", "dgo", cwd=tmp_path)
    assert (code, out) == (2, "")
    assert "class 'dgo' is none of the 2 classes of runs/one; did you mean dog? Set --class." in err
    assert imported.isdisjoint(BACKENDS)


def test_help__as_a_process_loads_nothing_heavy(tmp_path: Path) -> None:
    code, out, err, imported = run_importtime("-m", "diptych", "--help", cwd=tmp_path)
    assert (code, err) == (0, "")
    assert "usage: diptych" in out
    assert "diptych" in imported
    assert imported.isdisjoint(HEAVY)


def test_help__of_each_command_loads_nothing_heavy(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    commands = re.findall(r"^  ([a-z-]+) ", capsys.readouterr().out, re.MULTILINE)
    assert {"train", "evaluate", "samples"} <= set(commands)
    answers = ask([[command, "--help"] for command in commands], HEAVY)
    for command, (code, out, err, loaded) in zip(commands, answers, strict=True):
        assert (command, code, err, loaded) == (command, 0, "", [])
        assert f"usage: diptych {command}" in out


def test_summary__refuses_an_image_size_below_32(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", "--image-size", "8"]) == 2
    assert "image_size is 8; expected 32" in capsys.readouterr().err
