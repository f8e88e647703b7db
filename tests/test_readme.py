"""What the README tells a newcomer to type works, and the files that it names are there."""

import re
import tomllib
from pathlib import Path

import pytest
from making import REPOSITORY

from diptych.cli import parse
from diptych.settings.config import Config
from diptych.settings.sources import read_toml

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DOORS = {"train.py": "train", "evaluate.py": "evaluate", "plot_results.py": "plot"}


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def shell_lines() -> list[str]:
    return [line for block in code_blocks("sh") for line in block.splitlines() if line]


@pytest.mark.parametrize("line", [line for line in shell_lines() if line.startswith(("diptych ", "python "))])
def test_readme__commands_are_understood(line: str) -> None:
    program, *arguments = line.split()
    if program == "diptych":
        parse(arguments)
    elif arguments[0] in DOORS:
        assert (REPOSITORY / arguments[0]).is_file()
        parse([DOORS[arguments[0]], *arguments[1:]])
    else:
        assert arguments[:3] == ["-m", "pip", "install"]
        assert arguments[3] in ("-r", "-e")
        if arguments[3] == "-r":
            assert (REPOSITORY / arguments[4]).is_file()
        else:
            extras = re.fullmatch(r"'\.\[([a-z,-]+)\]'", arguments[4])
            assert extras
            assert set(extras[1].split(",")) <= set(PROJECT["optional-dependencies"])


def test_readme__flags_in_the_text_exist(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("train", "resume", "evaluate"):
        with pytest.raises(SystemExit):
            parse([command, "--help"])
    known = set(re.findall(r"--[a-z][a-z0-9-]+", capsys.readouterr().out))
    named = set(re.findall(r"`(--[a-z0-9-]+)", README))
    assert named
    assert named <= known


def test_readme__make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"^make ([a-z-]+)$", "\n".join(shell_lines()), re.MULTILINE))
    assert named
    assert named <= targets


def test_readme__toml_is_read(tmp_path: Path) -> None:
    (block,) = code_blocks("toml")
    (tmp_path / "settings.toml").write_text(block, encoding="utf-8")
    config = read_toml(tmp_path / "settings.toml", Config())
    assert tomllib.loads(block)["training"]["epochs"] == config.training.epochs != Config().training.epochs


def test_readme__links_lead_to_files() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    assert links
    assert all((REPOSITORY / link).is_file() for link in links)


def test_requirements__hold_names_and_versions_only() -> None:
    for file in REPOSITORY.glob("requirements*.txt"):
        for line in file.read_text(encoding="utf-8").splitlines():
            assert re.fullmatch(r"#.*|-r requirements[a-z-]*\.txt|[a-z0-9-]+==[0-9a-z.]+(; .*)?|", line), f"{file.name}: {line}"
