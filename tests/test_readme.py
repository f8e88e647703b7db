"""What README and docs tell a reader to type works, and the files, flags and figures that they name are there."""

import re
import tomllib
from pathlib import Path

import pytest
from making import REPOSITORY
from PIL import Image

from diptych import errors
from diptych.cli import GROUPS, parse
from diptych.commands.help_page import command_page, with_defaults
from diptych.settings.config import Config
from diptych.settings.presets import PRESETS
from diptych.settings.sources import read_toml

README = REPOSITORY / "README.md"
GUIDE = sorted((REPOSITORY / "docs").glob("*.md"))
PAGES = [README, *GUIDE]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DOORS = {"train.py": "train", "evaluate.py": "evaluate", "plot_results.py": "plot"}
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def code_blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", read(page), re.MULTILINE | re.DOTALL)


def shell_lines(page: Path) -> list[str]:
    """The commands to type, each on one line."""
    return [line for block in code_blocks(page, "sh") for line in block.replace("\\\n", " ").splitlines() if line]


def inline_commands(page: Path) -> list[list[str]]:
    """Commands within sentences, `diptych train --epochs 5`: the words after `diptych`."""
    return [code.split()[1:] for code in re.findall(r"`(diptych [^`]+)`", read(page).replace("\n", " "))]


@pytest.fixture(scope="module")
def flags() -> dict[str, set[str]]:
    """The flags of each command, from its help, with --no-strict beside --strict."""
    found: dict[str, set[str]] = {}
    for name, command in ((name, command) for group in GROUPS.values() for name, command in group.items()):
        page = command_page(name, with_defaults(command), whole=True)
        pairs = [page.replace("[no-]", ""), page.replace("[no-]", "no-")]
        found[name] = set(re.findall(r"--[a-z][a-z0-9-]*", "\n".join(pairs)))
    return found


@pytest.mark.parametrize(("page", "line"), [(page.name, line) for page in PAGES for line in shell_lines(page)])
def test_pages__commands_are_understood(page: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, *arguments = line.split()
    monkeypatch.chdir(tmp_path)
    for file in (Path(word) for word in arguments if word.endswith(".toml")):
        file.parent.mkdir(parents=True)
        file.touch()
    if program == "diptych":
        parse(arguments)
    elif program == "make":
        assert re.search(rf"^{arguments[0]}:", read(REPOSITORY / "Makefile"), re.MULTILINE)
    elif arguments[0] in DOORS:
        assert (REPOSITORY / arguments[0]).is_file()
        parse([DOORS[arguments[0]], *arguments[1:]])
    else:
        assert (program, arguments[:3]) == ("python", ["-m", "pip", "install"])
        for option, value in zip(arguments[3::2], arguments[4::2], strict=True):
            extras = re.fullmatch(r"'\.\[([a-z,-]+)\]'", value)
            if extras:
                assert option == "-e"
                assert set(extras[1].split(",")) <= set(PROJECT["optional-dependencies"])
            else:
                assert (option, value) == ("-e", ".") or (option == "-r" and (REPOSITORY / value).is_file())


@every_page
def test_pages__flags_in_the_text_exist(page: Path, flags: dict[str, set[str]]) -> None:
    named = set(re.findall(r"`(--[a-z0-9-]+)", read(page)))
    assert named <= set().union(*flags.values())
    for command, *words in inline_commands(page):
        assert command in flags or command.startswith("--")
        assert {word.partition("=")[0] for word in words if word.startswith("--")} <= flags.get(command, {command})


def test_pages__name_every_command(flags: dict[str, set[str]]) -> None:
    typed = {line.split()[1] for page in PAGES for line in shell_lines(page) if line.startswith("diptych ")}
    assert set(flags) <= typed | {words[0] for page in PAGES for words in inline_commands(page)}


@every_page
def test_pages__links_lead_to_files_and_headings(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", read(page)):
        if link.startswith("http"):
            continue
        file, _, heading = link.partition("#")
        target = page.parent / file if file else page
        assert target.is_file()
        titles = re.findall(r"^#+ (.+)$", read(target), re.MULTILINE) if heading else []
        assert not heading or heading in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@every_page
def test_pages__files_of_this_repository_that_they_name_exist(page: Path) -> None:
    named = re.findall(r"`((?:benchmarks|docs|src|tests)/[\w./-]+|requirements[\w-]*\.txt)`", read(page))
    assert all((REPOSITORY / name).exists() for name in named)


@every_page
def test_pages__have_lines_of_120_columns_at_most(page: Path) -> None:
    """Rows of tables cannot be broken; README has none that is longer."""
    lines = [line for line in read(page).splitlines() if page == README or not line.startswith("|")]
    assert max(map(len, lines)) <= 120


def test_readme__is_short_and_the_index_names_every_page() -> None:
    assert len(read(README).splitlines()) <= 150
    index = read(REPOSITORY / "docs" / "README.md")
    assert all(f"]({page.name})" in index for page in GUIDE if page.name != "README.md")


def test_readme__pictures_are_small() -> None:
    for picture in (REPOSITORY / "docs" / "pictures").glob("*.png"):
        assert picture.stat().st_size <= 200_000
        with Image.open(picture) as image:
            assert image.width >= 800
    assert {"check.png", "report.png"} <= {Path(name).name for name in re.findall(r"!\[[^]]+\]\(([^)]+)\)", read(README))}


def test_settings__toml_is_read(tmp_path: Path) -> None:
    (block,) = code_blocks(REPOSITORY / "docs" / "settings.md", "toml")
    (tmp_path / "settings.toml").write_text(block, encoding="utf-8")
    config = read_toml(tmp_path / "settings.toml", Config())
    assert tomllib.loads(block)["training"]["epochs"] == config.training.epochs != Config().training.epochs


def test_settings__defaults_and_exit_codes_are_those_of_the_program() -> None:
    text, training, augment = read(REPOSITORY / "docs" / "settings.md"), Config().training, Config().augment
    assert f"learning rate {training.learning_rate:.0e}".replace("e-04", "e-4") in text
    assert f"{training.epochs} epochs, batches of {training.batch_size}" in text
    assert (training.schedule, training.plateau_factor, training.plateau_patience) == ("plateau", 0.5, 5)
    assert f"rotation up to {augment.rotation:g} degrees" in text
    assert {augment.zoom, augment.shift, augment.brightness, augment.contrast} == {0.1}
    assert f"{PRESETS['quick']['data']['image_size']} pixels" in text
    codes = {code for row in re.findall(r"^\| ([\d, ]+) \|", text, re.MULTILINE) for code in row.split(", ")}
    known = (0, errors.EXIT_TROUBLE, errors.DiptychError.exit_code, errors.EXIT_INTERRUPTED, errors.EXIT_TERMINATED)
    assert codes == set(map(str, known))


def test_requirements__hold_names_and_versions_only() -> None:
    for file in REPOSITORY.glob("requirements*.txt"):
        for line in file.read_text(encoding="utf-8").splitlines():
            assert re.fullmatch(r"#.*|-r requirements[a-z-]*\.txt|[a-z0-9-]+==[0-9a-z.]+(; .*)?|", line), f"{file.name}: {line}"
