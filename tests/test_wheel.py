"""The wheel, built and installed into an environment that holds nothing but it and what its metadata asks for.

Of the packages that are installed here, the environment gets links: it is made in a second, and a dependency that pyproject.toml
does not name is missing in it as on a user's machine.
"""

import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from making import REPOSITORY, make_data
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from running import QUICKEST, environment

BACKEND_EXTRA = {"torch": "torch", "tensorflow": "cpu"}[QUICKEST]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TINY = ("--branches", "convnet", "--weights", "none", "--width", "0.125", "--dense-units", "8", "--epochs", "1")


def build_wheel(folder: Path) -> Path:
    """Build the wheel from a copy of the sources: beside them, files of an earlier build would get into it."""
    source = folder / "source"
    shutil.copytree(REPOSITORY / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    # With the setuptools that is installed: without a network, and in two seconds.
    run_pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source)
    (wheel,) = folder.glob("diptych-*.whl")
    return wheel


def run_pip(*arguments: object) -> None:
    command = [sys.executable, "-m", "pip", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def needed_distributions(requirements: list[str], extras: set[str]) -> Iterator[importlib.metadata.Distribution]:
    """Yield the installed distributions that requirements ask for, and what these need in turn, each once."""
    waiting = [(Requirement(text), extras) for text in requirements]
    seen: set[tuple[str, str]] = set()
    while waiting:
        requirement, wanted = waiting.pop()
        if requirement.marker and not any(
            requirement.marker.evaluate(default_environment() | {"extra": extra}) for extra in ("", *wanted)
        ):
            continue
        name = canonicalize_name(requirement.name)
        news = {extra for extra in ("", *requirement.extras) if (name, extra) not in seen}
        if not news:
            continue
        found = importlib.metadata.distribution(name)
        if not any(known == name for known, _ in seen):
            yield found
        seen |= {(name, extra) for extra in news}
        waiting += [(Requirement(text), news) for text in found.requires or ()]


def link_distributions(distributions: Iterator[importlib.metadata.Distribution], packages: Path) -> None:
    for distribution in distributions:
        for top in {file.parts[0] for file in distribution.files or () if file.parts[0] not in ("..", "__pycache__")}:
            link = packages / top
            if not link.is_symlink():
                link.symlink_to(Path(str(distribution.locate_file(top))).resolve())


class Installed:
    """The environment, whose commands run in a folder of their own."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        self.folder = folder
        self.root = folder / "environment"
        venv.create(self.root, symlinks=sys.platform != "win32")
        self.binaries = self.root / ("Scripts" if sys.platform == "win32" else "bin")
        run_pip("--python", self.root, "install", "--no-deps", "--no-index", "--no-compile", wheel)
        (self.packages,) = self.root.rglob("site-packages")
        with zipfile.ZipFile(wheel) as archive:
            self.files = archive.namelist()
            (metadata,) = (name for name in self.files if name.endswith(".dist-info/METADATA"))
            self.metadata = archive.read(metadata).decode()
        requirements = re.findall(r"^Requires-Dist: (.*)$", self.metadata, re.MULTILINE)
        link_distributions(needed_distributions(requirements, {BACKEND_EXTRA}), self.packages)

    def run(self, program: str, *arguments: object) -> str:
        command = [str(self.binaries / program), *map(str, arguments)]
        settings = environment(KERAS_BACKEND=QUICKEST, PYTHONWARNINGS="default")
        done = subprocess.run(command, cwd=self.folder, env=settings, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("wheel")
    return Installed(folder, build_wheel(folder))


@pytest.mark.slow
def test_wheel__holds_each_file_of_the_package(installed: Installed) -> None:
    source = REPOSITORY / "src"
    there = {path.relative_to(source).as_posix() for path in (source / "diptych").rglob("*") if path.is_file()}
    # The READMEs beside the code are for those who read it.
    expected = {name for name in there if "__pycache__" not in name and not name.endswith(".md")}
    assert "diptych/py.typed" in expected
    assert {name for name in installed.files if ".dist-info/" not in name} == expected


@pytest.mark.slow
def test_wheel__checks_trains_and_evaluates_in_an_empty_environment(installed: Installed) -> None:
    place = installed.run("python", "-c", "import diptych; print(diptych.__file__)")
    assert Path(place.strip()).is_relative_to(installed.packages)
    assert installed.run("diptych", "--version").strip() == f"diptych {importlib.metadata.version('diptych')}"
    assert "label-errors" in installed.run("diptych", "--help")

    data = make_data(installed.folder / "data")
    installed.run("diptych", "check", data, "--output", "checked")
    assert "<html" in (installed.folder / "checked" / "check.html").read_text(encoding="utf-8")
    installed.run("diptych", "train", "--data", data, "--image-size", "32", *TINY)
    installed.run("diptych", "evaluate", "--maps", "0")
    (report,) = installed.folder.glob("runs/*/evaluation/report.html")
    assert "<html" in report.read_text(encoding="utf-8")


def test_project__pins_are_within_what_the_package_asks_for() -> None:
    lines = (REPOSITORY / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = {(pin.name, str(pin.marker)): pin for pin in map(Requirement, (line for line in lines if line[:1].isalpha()))}
    asked = [Requirement(text) for text in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["cpu"]]
    assert sorted(pins) == sorted((requirement.name, str(requirement.marker)) for requirement in asked)
    for requirement in asked:
        (version,) = pins[requirement.name, str(requirement.marker)].specifier
        assert requirement.specifier.contains(version.version), f"{requirement} does not hold {version}"
