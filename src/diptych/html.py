"""HTML pages that are one file and need no network: their templates, and what users' texts and images become in them."""

import base64
import hashlib
import io
import unicodedata
from collections.abc import Sequence
from importlib import resources

import jinja2
import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray
from PIL import Image

# The beginning of each page. A browser runs and loads nothing but what the page itself holds, whatever a user's text says.
HEAD = """
{% macro head(title, style, script="") -%}
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src {{ style|sha256 }};
 {%- if script %} script-src {{ script|sha256 }};{% endif %} base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{{ title }}</title>
<link rel="icon" href="data:,">
<style>{{ style }}</style>
</head>
{%- endmacro %}
"""


def load_template(package: str, name: str) -> jinja2.Template:
    """Load a template that lies in a package, which may import the macro `head` from "head".

    Text is escaped; what cannot be seen or encoded is written out.
    """
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=legible,
        loader=jinja2.DictLoader({"head": HEAD}),
    )
    environment.filters |= {"sha256": content_hash, "breakable": breakable}
    return environment.from_string((resources.files(package) / name).read_text(encoding="utf-8"))


def legible(value: object) -> object:
    """Write out what cannot be seen or encoded (control characters, bytes that are not UTF-8) as \\n, \\xff, ..."""
    if not isinstance(value, str) or isinstance(value, Markup) or value.isprintable():
        return value
    return "".join(map(legible_character, value))


def legible_character(character: str) -> str:
    # How Python keeps a byte of a file name that is not UTF-8 (PEP 383).
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    hidden = unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}
    return character.encode("unicode_escape").decode("ascii") if hidden else character


def breakable(path: str) -> Markup:
    """Return a path that may break into a new line after each slash."""
    return Markup("/<wbr>").join(str(legible(part)) for part in path.split("/"))


def small_table(title: str, rows: Sequence[tuple[str, str]]) -> str:
    """Return a table of two columns for a notebook, with all that is not ours escaped."""
    cell = "style='text-align:left;vertical-align:top'"
    lines = [f"<tr><th {cell}>{escape(legible(left))}</th><td {cell}>{escape(legible(right))}</td></tr>" for left, right in rows]
    return f"<div><strong>{escape(legible(title))}</strong><table>{''.join(lines)}</table></div>"


def encode_uri(pixels: NDArray[np.uint8], size: int) -> str:
    """Return pixels, uint8 (H, W, 3), as the address of a JPEG of at most `size` pixels a side that holds itself."""
    image = Image.fromarray(pixels)
    image.thumbnail((size, size))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def content_hash(text: str) -> Markup:
    """Return the name by which a Content-Security-Policy allows an inline script or style."""
    return Markup(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'")
