"""HEIC and HEIF, the photographs of iPhones: read with pillow-heif where it is installed. No other file imports it."""

import importlib.metadata
import importlib.util
from functools import cache

from PIL import Image

FORMAT = "HEIF"


@cache
def is_installed() -> bool:
    """Tell whether pillow-heif is there; it is not loaded for that."""
    return importlib.util.find_spec("pillow_heif") is not None


@cache
def version() -> str:
    """Return the version of pillow-heif, "" without it."""
    return importlib.metadata.version("pillow-heif") if is_installed() else ""


def register() -> None:
    """Teach Pillow to open HEIC. Threads may call it at once, as often as they like."""
    if FORMAT not in Image.OPEN:
        from pillow_heif import register_heif_opener

        # The picture itself and no thumbnail of it. One thread: whoever decodes many images does so on all cores already.
        register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
