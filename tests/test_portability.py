"""What is written for macOS and Windows too: tested on Linux, by taking away what these lack."""

import ast
from pathlib import Path

import pytest
from making import REPOSITORY, make_data, run_python
from running import QUICKEST

FILES = sorted(file for folder in ("src", "benchmarks") for file in (REPOSITORY / folder).rglob("*.py"))
# Modules that Windows has not got.
POSIX_ONLY = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
TEXT_FILES = {"open", "read_text", "write_text", "fdopen", "NamedTemporaryFile", "TextIOWrapper"}

# A training as on Windows: without what its `os`, `signal` and modules lack, and with an error where text is read or written in
# whatever encoding the machine has. Other packages come first, for they ask for the system by its name. Of what is used where
# `sys.platform` says Linux, os.sysconf, os.statvfs, os.uname and the module resource stay.
AS_ON_WINDOWS = """
import os, signal, sys, warnings
import filelock, keras, matplotlib.pyplot, pandas, safetensors.numpy, scipy, seaborn, sklearn.neighbors, tqdm, tyro
import concurrent.futures, getpass, multiprocessing, shutil, sqlite3, subprocess, tempfile

for name in (
    "chown fchmod fchown fdatasync fork forkpty getegid geteuid getgid getgroups getloadavg getpgid getpgrp getsid getuid killpg "
    "lchown lockf mkfifo mknod nice pread preadv pwrite pwritev posix_fadvise posix_fallocate readv sched_getaffinity "
    "sched_setaffinity sched_yield sendfile setpgid setsid sync wait wait3 wait4 writev O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_SYNC"
).split():
    if hasattr(os, name):
        delattr(os, name)
for name in [name for name in dir(signal) if name.startswith("SIG") and "_" not in name]:
    if name not in ("SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM"):
        delattr(signal, name)
sys.modules.update(dict.fromkeys(["fcntl", "grp", "pwd", "pty", "syslog", "termios", "tty"]))
warnings.filterwarnings("error", category=EncodingWarning, module=r"diptych\\.")

from diptych.cli import main

data, tiny = sys.argv[1], "--image-size 32 --branches convnet --weights none --width 0.125 --dense-units 8 --epochs 1".split()
for command in (["check", data], ["train", "--data", data, *tiny], ["evaluate", "--maps", "0"], ["predict", data]):
    code = main(command)
    assert code == 0, (command, code)
"""


@pytest.mark.slow
def test_windows__checks_trains_evaluates_and_predicts(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", QUICKEST)
        done = run_python("-X", "warn_default_encoding", "-c", AS_ON_WINDOWS, data, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(tmp_path.glob("runs/*/evaluation/report.html"))


def test_files__import_no_module_of_posix_at_the_top() -> None:
    found = []
    for file in FILES:
        for line in ast.parse(file.read_text(encoding="utf-8")).body:
            names = [name.name for name in line.names] if isinstance(line, ast.Import) else [getattr(line, "module", None)]
            found += [f"{file}:{line.lineno}" for name in names if name in POSIX_ONLY]
    assert found == []


def test_files__read_and_write_text_in_a_named_encoding() -> None:
    found = []
    for file in FILES:
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and is_text_file(call) and "encoding" not in {word.arg for word in call.keywords}:
                found.append(f"{file}:{call.lineno}")
    assert found == []


def is_text_file(call: ast.Call) -> bool:
    """Tell whether a call opens a file as text: by its name, which may be that of another function, and by its mode."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    owner = call.func.value.id if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name) else ""
    # os.open has flags; Image.open and TrainedRun.open are no files of text; storage's own functions write UTF-8.
    ours = name in ("read_text", "write_text") and not isinstance(call.func, ast.Attribute)
    if name not in TEXT_FILES or owner == "os" or owner[:1].isupper() or ours:
        return False
    words = [word.value for word in call.keywords if word.arg == "mode"]
    modes = [value.value for value in [*call.args, *words] if isinstance(value, ast.Constant) and isinstance(value.value, str)]
    return name in ("read_text", "write_text") or not any("b" in mode for mode in modes)
