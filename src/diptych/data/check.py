"""`diptych check`: read a data set of any kind, audit it, and write down what is wrong with it."""

import logging
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diptych.config import DataConfig
from diptych.data.audit import audit
from diptych.data.findings import Audit, describe, to_json
from diptych.data.images import spec_of
from diptych.data.load import read_data
from diptych.data.manifest import Fault, Manifest
from diptych.data.page import shown_images, write_page
from diptych.data.prepare import prepare
from diptych.data.splits import group_names, read_given
from diptych.data.store import PixelStore
from diptych.storage import write_json

log = logging.getLogger(__name__)


def check(settings: DataConfig, output: Path) -> int:
    """Audit a data folder; the user's files are only read.

    Args:
        settings: where the images are, and how they become pixels.
        output: folder for check.json and check.html.

    Returns:
        The number of findings that are errors.

    Raises:
        DataError: no layout is recognised in the folder, or the corrections or the split do not fit.
    """
    faults: list[Fault] = []
    manifest = read_data(settings, faults)
    log.info("%s", manifest.layout)
    groups, given = group_names(manifest, settings.group_column), read_given(manifest, settings.split)
    paths = [manifest.root / path for path in manifest.table["path"]]
    store, outcome = prepare(paths, spec_of(settings), settings.cache)
    near_twins = None if settings.near_twins else np.empty((0, 2), np.int64)
    found = audit(manifest, outcome, store, faults, pairs=near_twins, groups=groups, given=given)
    write_json(output / "check.json", to_json(found))
    write_page(output / "check.html", found, manifest, thumbnails(found, manifest, store))
    log.info("%s", describe(found, colour=sys.stdout.isatty()))
    log.info("\nwritten: %s, %s", output / "check.html", output / "check.json")
    return sum(finding.level == "error" for finding in found.findings)


def thumbnails(found: Audit, manifest: Manifest, store: PixelStore) -> Mapping[str, NDArray[np.uint8]]:
    """Return the prepared pixels of the images that the page shows, by path."""
    rows = {path: row for row, path in enumerate(manifest.table["path"])}
    shown = shown_images(found)
    return {path: store[rows[path]] for path in sorted(shown & rows.keys())}
