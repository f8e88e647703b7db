"""Shared by all our pictures: fonts that have the letters of the user's names, and PNG files that are whole or not there."""

import io
import logging
import warnings
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from diptych.storage.atomic import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

# Has a picture of a box with the code in it for every letter there is.
NO_FONT = "Last Resort"


def write_figure(path: Path, figure: "Figure", dots_per_inch: int) -> None:
    """Write a Matplotlib figure as a PNG file, in fonts that have its letters where any installed one has.

    Raises:
        OSError: the file cannot be written.
    """
    from matplotlib.text import Text

    shown = [text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text()]
    files = fonts_for("".join(text.get_text() for text in shown))
    if files:
        families = [family_of(file) for file in files]
        for text in shown:
            text.set_fontfamily([*text.get_fontfamily(), *families])
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # Said by `fonts_for`, once.
        figure.savefig(content, format="png", dpi=dots_per_inch)
    write_atomically(path, lambda partial: partial.write_bytes(content.getvalue()))


def fonts_for(text: str) -> list[str]:
    """Return the files of installed fonts that together have the letters that Matplotlib's own font lacks, the best first."""
    return list(_fonts_for(frozenset(letter for letter in text if letter.isprintable())))


@cache
def _fonts_for(letters: frozenset[str]) -> tuple[str, ...]:
    from matplotlib import font_manager

    own = font_manager.findfont("DejaVu Sans")
    missing = letters - letters_in(own, letters)
    if not missing:
        return ()
    bundled = {entry.fname for entry in font_manager.fontManager.ttflist if entry.style == "normal" and NO_FONT not in entry.name}
    # Asked of the system and not of Matplotlib's list, which does not see a font that was installed after it was made.
    candidates = {file: letters_in(file, missing) for file in sorted({*font_manager.findSystemFonts(), *bundled})}
    found: list[str] = []
    while missing:
        best = max(candidates, key=lambda file: len(candidates[file] & missing))
        if not candidates[best] & missing:
            shown = "".join(sorted(missing)[:20])
            log.warning(
                "Warning: no installed font has the letters %s, which are boxes in pictures. Install one that has; for Chinese, "
                "Japanese and Korean, Noto Sans CJK (on Debian and Ubuntu: apt install fonts-noto-cjk).",
                shown,
            )
            break
        found.append(best)
        missing -= candidates[best]
    return tuple(found)


def letters_in(file: str, letters: Iterable[str]) -> frozenset[str]:
    """Return those of some letters that a font file has."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(file)
        if NO_FONT in font.family_name:
            return frozenset()
        return frozenset(letter for letter in letters if font.get_char_index(ord(letter)))
    except (OSError, RuntimeError):  # A font that FreeType does not read.
        return frozenset()


def family_of(file: str) -> str:
    """Make a font file known to Matplotlib, and return the name it has there."""
    from matplotlib import font_manager

    font_manager.fontManager.addfont(file)
    return next(entry.name for entry in reversed(font_manager.fontManager.ttflist) if entry.fname == file)
