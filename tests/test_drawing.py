"""Pictures with the letters of the user's names, in fonts of this machine."""

import logging
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from PIL import Image

from diptych.drawing import fonts_for, write_figure

# Matplotlib brings fonts of its own; this letter is in its DejaVu Serif, and not in its DejaVu Sans.
ONLY_SERIF = "\u02ef"
NOWHERE = "\U00010570"  # Of Vithkuqi.


def test_fonts_for__letters_of_the_own_font_need_no_other() -> None:
    assert fonts_for("Größe ≤ 5 µm, Ωmega, жук\n") == []


def test_fonts_for__finds_a_font_with_the_missing_letters() -> None:
    files = fonts_for(f"a{ONLY_SERIF}")
    assert len(files) == 1
    assert FT2Font(files[0]).get_char_index(ord(ONLY_SERIF)) > 0


def test_fonts_for__says_what_no_font_has(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        files = fonts_for(ONLY_SERIF + NOWHERE)
    assert len(files) == 1
    assert f"no installed font has the letters {NOWHERE}" in caplog.text


def test_write_figure__draws_the_letters_and_not_boxes(tmp_path: Path) -> None:
    def picture(text: str) -> bytes:
        figure = Figure((2, 1))
        figure.suptitle(text)
        write_figure(tmp_path / "a.png", figure, 50)
        with Image.open(tmp_path / "a.png") as image:
            return image.tobytes()

    # Each missing letter is drawn as the same box.
    assert picture(NOWHERE) == picture("\U00010571")
    assert picture(ONLY_SERIF) != picture(NOWHERE)
