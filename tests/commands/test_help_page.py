"""The pages of --help: complete, in groups, and as wide and long as promised."""

import itertools
import re
import typing
from typing import Literal

import pytest
import tyro
from tyro.conf import OmitArgPrefixes

from diptych import cli
from diptych.cli import GROUPS, main
from diptych.commands.help_page import FIRST, flags_of, with_defaults
from diptych.commands.train import Train
from diptych.settings.config import Config, kinds_of

COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}


@pytest.fixture(autouse=True)
def hundred_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")


def page_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert main(arguments) == 0
    return capsys.readouterr().out.splitlines()


def flags_on(lines: list[str]) -> list[str]:
    """The flags of a page in their order, --no-strict of --[no-]strict left out."""
    return [re.sub(r"\[no-\]", "", flag) for line in lines for flag in re.findall(r"^  (?:-h, )?(--[\[\]a-z0-9-]+)", line)]


def flags_of_parser(command: type, capsys: pytest.CaptureFixture[str]) -> set[str]:
    """The flags that tyro takes, by its own help; --no-strict beside --strict left out."""
    with pytest.raises(SystemExit):
        tyro.cli(command, args=["--help"], config=(OmitArgPrefixes,))
    said = set(re.findall(r"^\W{1,3}(?:-h, )?(--[a-z][a-z0-9-]*)", capsys.readouterr().out, re.MULTILINE))
    return said - {"--help-all"}


def test_overview__lists_each_command_once_by_the_way_of_the_data(capsys: pytest.CaptureFixture[str]) -> None:
    lines = page_of(capsys, "--help")
    assert [line.removesuffix(":") for line in lines if re.fullmatch(r"[A-Z][a-z ]+:", line)] == list(GROUPS)
    # One line each.
    listed = [line.split()[0] for line in lines if line.startswith("  ")]
    assert listed == list(COMMANDS)
    assert set(COMMANDS.values()) == set(typing.get_args(cli.Command))
    assert max(map(len, lines)) <= 100
    assert listed.index("check") < listed.index("train") < listed.index("evaluate") < listed.index("compare")


def test_overview__is_shown_where_no_command_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "usage: diptych COMMAND" in said.err
    assert "  train  " in said.err


@pytest.mark.parametrize("name", COMMANDS)
def test_page__of_each_command_has_every_flag_of_the_parser(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    flags = flags_on(page_of(capsys, name, "--help-all"))
    assert len(flags) == len(set(flags))
    assert set(flags) - {"--help-all"} == flags_of_parser(COMMANDS[name], capsys)


@pytest.mark.parametrize("name", COMMANDS)
def test_page__has_no_line_beyond_a_hundred_columns_and_no_ragged_text(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for asked in ("--help", "--help-all"):
        lines = page_of(capsys, name, asked)
        assert max(map(len, lines)) <= 100
        # A line of text ends where the next word would not fit.
        for line, after in itertools.pairwise(lines):
            if line.startswith("  ") and after.startswith(" " * 20):
                assert len(line) + 1 + len(after.split()[0]) > 100 or re.fullmatch(r"  --\S+( \S+)*", line)


def test_page__of_train_fits_on_two_screens_with_the_first_flags_first(capsys: pytest.CaptureFixture[str]) -> None:
    lines = page_of(capsys, "train", "--help")
    assert len(lines) <= 108
    first = [f"--{key.replace('_', '-')}" for key in FIRST if key != "folder"]
    (heading,) = [number for number, line in enumerate(lines) if line == "Most used:"]
    assert lines[heading + 1].startswith("  FOLDER  ")
    assert flags_on(lines)[: len(first)] == first
    # Each flag has one line; what more there is to say, --help-all says.
    assert not [line for line in lines if line.startswith(" " * 20)]
    assert len(page_of(capsys, "train", "--help-all")) > len(lines)


def test_page__names_the_choices_of_a_flag_in_its_first_sentence() -> None:
    for flag in flags_of(Train()):
        if not flag.section:
            continue
        kind = kinds_of(type(getattr(Config(), flag.section)))[flag.key]
        if typing.get_origin(kind) is Literal:
            assert all(choice in flag.text.partition(". ")[0] for choice in typing.get_args(kind)), flag


def test_page__shows_the_defaults_that_the_other_arguments_lead_to(capsys: pytest.CaptureFixture[str]) -> None:
    def default(lines: list[str], flag: str) -> str:
        (line,) = [line for line in lines if line.startswith(f"  {flag} ")]
        return re.findall(r"\[([^]]*)\]$", line)[0]

    assert default(page_of(capsys, "train", "--help"), "--image-size") == "224"
    quick = page_of(capsys, "train", "--preset", "quick", "--help")
    assert default(quick, "--image-size") == "64"
    assert default(page_of(capsys, "train", "--no-flip-vertical", "-h"), "--[no-]flip-vertical") == "off"


def test_page__every_flag_has_a_text() -> None:
    for name, command in COMMANDS.items():
        assert all(flag.text for flag in flags_of(with_defaults(command))), name


@pytest.mark.parametrize("columns", ["1", "80", "300"])
def test_page__fits_the_terminal_from_60_to_100_columns(
    columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    for arguments in (["--help"], ["train", "--help-all"]):
        width = max(map(len, page_of(capsys, *arguments)))
        assert width <= min(max(int(columns), 60), 100) < width + 16
