"""`diptych check`: read a data set of any kind, audit it, and write down what is wrong with it."""

import dataclasses
import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diptych.data.audit.audit import audit
from diptych.data.audit.findings import Audit, Finding, describe, to_json, with_findings
from diptych.data.audit.near_duplicates import find_near_twins
from diptych.data.audit.page import shown_images, write_page
from diptych.data.dataset import read_data
from diptych.data.pixels.decode import spec_of
from diptych.data.pixels.prepare import prepare
from diptych.data.pixels.store import PixelStore
from diptych.data.reading.manifest import Fault, Manifest
from diptych.data.splits import assign_splits, cluster_hashes, find_clusters, group_names, judge_split, read_given
from diptych.errors import ConfigError, DataError
from diptych.screen import command_line
from diptych.settings.config import DataConfig, flags_of
from diptych.storage.atomic import why_unwritable, write_json

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Examined:
    """A data set that was audited.

    Attributes:
        audit: what was found.
        manifest: its images.
        store: their pixels.
        outcome: what `prepare` says of each.
    """

    audit: Audit
    manifest: Manifest
    store: PixelStore
    outcome: pd.DataFrame


def examine(settings: DataConfig) -> Examined:
    """Audit a data folder, and write nothing but the cache of decoded images.

    Raises:
        DataError: no layout is recognised in the folder, or the corrections or the split do not fit.
    """
    faults: list[Fault] = []
    manifest = read_data(settings, faults)
    log.info("%s", manifest.layout)
    groups, given = group_names(manifest, settings.group_column), read_given(manifest, settings.split)
    paths = [manifest.root / path for path in manifest.table["path"]]
    store, outcome = prepare(paths, spec_of(settings), settings.cache)
    readable = manifest.table.assign(sha256=outcome["sha256"])[outcome["problem"] == ""]
    rows = readable.index.to_numpy()
    twins = find_near_twins(store, rows) if settings.near_twins else np.empty((0, 2), np.int64)
    found = audit(manifest, outcome, store, faults, pairs=twins, groups=groups, given=given)
    if len(readable):
        split = dataclasses.replace(manifest, table=readable), outcome, twins, groups[rows], given[rows]
        found = with_findings(found, try_split(*split, settings))
    return Examined(found, manifest, store, outcome)


def check(settings: DataConfig, output: Path) -> int:
    """Audit a data folder; the user's files are only read.

    Args:
        settings: where the images are, and how they become pixels.
        output: folder for check.json and check.html.

    Returns:
        The number of findings that are errors.

    Raises:
        ConfigError: the output cannot be written; the findings were logged.
        DataError: no layout is recognised in the folder, or the corrections or the split do not fit.
    """
    unwritable = why_unwritable(output)
    if unwritable:
        log.warning("Warning: %s", unwritable)
    examined = examine(settings)
    found = examined.audit
    log.info("%s", describe(found, colour=sys.stdout.isatty()))
    # Nothing that can go wrong from here on may cost the user what was found.
    if unwritable:
        raise ConfigError(f"{unwritable} The findings above are all there is; --output FOLDER also writes them as a page.")
    write_check(examined, settings, output)
    return sum(finding.level == "error" for finding in found.findings)


def write_check(examined: Examined, settings: DataConfig, output: Path) -> None:
    """Write check.json and the page of what was found, and say what to do next."""
    found = examined.audit
    write_json(output / "check.json", to_json(found))
    write_page(output / "check.html", found, examined.manifest, thumbnails(examined), train_with(settings, "fixes.csv"))
    log.info("\nwritten: %s, %s", output / "check.html", output / "check.json")
    log.info("%s", next_step(found, settings, output))


def try_split(
    manifest: Manifest,
    outcome: pd.DataFrame,
    twins: NDArray[np.int64],
    groups: pd.Series,
    given: pd.Series,
    settings: DataConfig,
) -> list[Finding]:
    """Split the readable images as a training with the default seed and shares does, and say what this split lacks."""
    clusters = find_clusters(manifest, twins, groups)
    hashes = cluster_hashes(manifest, clusters, groups, outcome, seed=0)
    shares = settings.validation_share, settings.test_share
    try:
        parts = assign_splits(manifest, clusters, hashes, given, *shares)
    except DataError as error:
        return [Finding("split", "error", "the images cannot be split into train, validation and test", str(error))]
    return judge_split(manifest, parts, clusters, groups, given, shares=shares)


def next_step(found: Audit, settings: DataConfig, output: Path) -> str:
    """Describe what to do now: correct the data, or train."""
    if found.findings and settings.fixes is None:
        again = command_line("check", settings.data, *flags_of(settings, "data", "fixes"), "--fixes", "fixes.csv")
        return f"Next: look at {output / 'check.html'}, correct there what is wrong, then\n  {again}"
    return f"Next: {train_with(settings, settings.fixes)}"


def train_with(settings: DataConfig, fixes: str | Path | None) -> str:
    """Return the command that trains on the data as it was checked."""
    flags = flags_of(settings, "data", "fixes") + ([] if fixes is None else ["--fixes", str(fixes)])
    return command_line("train", settings.data, *flags)


def thumbnails(examined: Examined) -> Mapping[str, NDArray[np.uint8]]:
    """Return the prepared pixels of the images that the page shows, by path; those that cannot be read have none."""
    readable = examined.manifest.table["path"][examined.outcome["problem"] == ""]
    rows = dict(zip(readable, readable.index, strict=True))
    shown = shown_images(examined.audit)
    return {path: examined.store[rows[path]] for path in sorted(shown & rows.keys())}
