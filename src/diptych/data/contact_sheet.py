"""Tiles and lines of a contact sheet."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from diptych.drawing import fonts_for

TILE = 144
GAP = 8
LINE = 17
FONT_SIZE = 13
PAPER = "#f0f0f0"
INK = "#202020"
FAINT = "#606060"


def draw_tile(sheet: Image.Image, column: int, place: int, pixels: NDArray[np.uint8], lines: tuple[str, ...]) -> None:
    top = 2 * GAP + LINE + place * (TILE + 2 * LINE + GAP)
    small = len(pixels) < TILE
    tile = Image.fromarray(pixels).resize((TILE, TILE), Image.Resampling.NEAREST if small else Image.Resampling.BOX)
    sheet.paste(tile, (GAP + column * (TILE + GAP), top))
    for number, line in enumerate(lines):
        write_line(sheet, column, top + TILE + number * LINE, line, FAINT)


def write_line(sheet: Image.Image, column: int, top: int, text: str, colour: str) -> None:
    """Write one line at the width of a tile; what does not fit is cut off."""
    files = fonts_for(text)
    font = ImageFont.truetype(files[0], FONT_SIZE) if files else ImageFont.load_default(FONT_SIZE)
    shown = text
    while font.getlength(shown) > TILE:
        text = text[:-1]
        shown = f"{text}…"
    strip = Image.new("RGB", (TILE, LINE), PAPER)
    ImageDraw.Draw(strip).text((0, 1), shown, colour, font)
    sheet.paste(strip, (GAP + column * (TILE + GAP), top))
