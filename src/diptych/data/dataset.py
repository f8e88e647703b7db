"""From a data folder to prepared images with a split; shared by training, folds and preview."""

import dataclasses
import logging
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diptych.data.audit.audit import audit
from diptych.data.audit.findings import Audit, with_findings
from diptych.data.audit.near_duplicates import connect, find_near_twins
from diptych.data.pixels.decode import spec_of
from diptych.data.pixels.greys import refuse_dark
from diptych.data.pixels.prepare import prepare
from diptych.data.pixels.store import PixelStore
from diptych.data.reading.fixes import apply_fixes, count_fixes
from diptych.data.reading.layouts import read_manifest
from diptych.data.reading.manifest import Fault, Manifest
from diptych.data.splits import assign_splits, cluster_hashes, find_clusters, find_leaks, group_names, judge_split, read_given
from diptych.errors import DataError
from diptych.settings.config import DataConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedData:
    """The readable images of a data folder, decoded.

    Attributes:
        manifest: with a column `sha256`; its index is the row in the store.
        store: the decoded images.
        problems: what could not be read: `path`, `target`, `problem`.
        audit: the cheap part of it.
        groups: the group of each image, "" for none.
        given: the part that is given for each image, "" for none.
        near_twins: (P, 2) pairs of rows.
        clusters: the number of the cluster of each image: what must stay in one part.
        hashes: the hash of each cluster, [0, 1).
    """

    manifest: Manifest
    store: PixelStore
    problems: pd.DataFrame
    audit: Audit
    groups: pd.Series
    given: pd.Series
    near_twins: NDArray[np.int64]
    clusters: pd.Series
    hashes: pd.Series


def read_data(settings: DataConfig, faults: list[Fault] | None = None) -> Manifest:
    """Read the listing of a data folder and apply --fixes; no image is opened.

    Args:
        settings: where the images are.
        faults: takes what is wrong with the listing, as `read_manifest` says; without it, that is an error.

    Raises:
        DataError: no layout is recognised, or a row of the listing or of the corrections is wrong.
    """
    listed = read_manifest(settings, faults)
    if settings.fixes is None:
        return listed
    manifest = apply_fixes(listed, settings.fixes, settings.group_column)
    done = count_fixes(listed, manifest, settings.group_column)
    log.info("corrections of %s: %s", settings.fixes, ", ".join(f"{fix} {count}" for fix, count in done.items()))
    return manifest


def load(settings: DataConfig, seed: int) -> LoadedData:
    """Read, correct, decode and audit a data folder.

    Args:
        settings: where the images are, and how they become pixels.
        seed: of the split.

    Raises:
        DataError: something is wrong with the data, the cache or the corrections.
    """
    manifest = read_data(settings)
    # What can be wrong with these is said before the long work.
    groups = group_names(manifest, settings.group_column)
    given = read_given(manifest, settings.split)
    paths = [manifest.root / path for path in manifest.table["path"]]
    store, outcome = prepare(paths, spec_of(settings), settings.cache)
    refuse_dark(outcome)
    manifest, problems = set_aside(manifest, outcome, settings.max_unreadable, settings.strict)
    rows = manifest.table.index.to_numpy()
    twins = find_near_twins(store, rows) if settings.near_twins else np.empty((0, 2), np.int64)
    groups = groups[rows]
    given = given[rows]
    clusters = find_clusters(manifest, twins, groups)
    hashes = cluster_hashes(manifest, clusters, groups, outcome, seed)
    found = audit(manifest, outcome, store, [], pairs=twins, groups=groups, given=given, thorough=False)
    return LoadedData(manifest, store, problems, found, groups, given, twins, clusters, hashes)


def split(loaded: LoadedData, settings: DataConfig) -> LoadedData:
    """Assign each image to a part, in a column `split` of the Manifest; those that fit none join the problems.

    Raises:
        DataError: a given split has copies or a group in more than one part, or a class or part would be empty.
    """
    manifest = loaded.manifest
    check_leaks(loaded, settings.allow_leaks)
    shares = settings.validation_share, settings.test_share
    parts = assign_splits(manifest, loaded.clusters, loaded.hashes, loaded.given, *shares)
    judged = judge_split(manifest, parts, loaded.clusters, loaded.groups, loaded.given, shares=shares)
    nowhere = parts == ""
    problem = "a copy of images, or of the group of images, that stand in more than one part of the given split"
    aside = manifest.table.loc[nowhere, ["path", "target"]].assign(problem=problem)
    table = manifest.table.assign(split=parts)[~nowhere]
    problems = pd.concat([loaded.problems, aside]) if len(aside) else loaded.problems
    manifest = dataclasses.replace(manifest, table=table)
    found = with_findings(loaded.audit, judged)
    return dataclasses.replace(loaded, manifest=manifest, problems=problems, audit=found)


def check_leaks(loaded: LoadedData, allowed: bool) -> None:
    """Refuse a given split with copies or a group on two sides; near twins, which are a judgement, are only named."""
    table = loaded.manifest.table
    for what, keys in (("copies of one image", table["sha256"]), ("images of one group", loaded.groups)):
        leaks = find_leaks(table, loaded.given, keys)
        if leaks:
            message = f"the given split has {what} in more than one part: {show(leaks)}. The test figures would be too good."
            if not allowed:
                raise DataError(f"{message} Correct the split, drop images with --fixes, or accept the leaks with --allow-leaks.")
            log.warning("Warning: %s", message)
    places = np.searchsorted(table.index.to_numpy(), loaded.near_twins)
    alike = pd.Series(connect(len(table), places), index=table.index).astype(str)
    leaks = find_leaks(table, loaded.given, alike)
    if leaks:
        log.warning("Warning: the given split has near twins in more than one part: %s.", show(leaks))


def show(leaks: list[tuple[str, ...]]) -> str:
    first = "; ".join(" and ".join(paths) for paths in leaks[:3])
    return f"{first}{f' and {len(leaks) - 3} more' if len(leaks) > 3 else ''}"


def set_aside(manifest: Manifest, outcome: pd.DataFrame, max_unreadable: float, strict: bool) -> tuple[Manifest, pd.DataFrame]:
    """Remove the unreadable images from a Manifest.

    Args:
        manifest: all images.
        outcome: what `prepare` said of each of them.
        max_unreadable: the share of unreadable images up to which training continues without them.
        strict: whether a single one is an error.

    Returns:
        The Manifest of the readable images with a column `sha256`, its index being the row in the PixelStore; and a table
        of the others: `path`, `target`, `problem`.

    Raises:
        DataError: there are more of them than allowed.
    """
    wrong = outcome["problem"] != ""
    problems = manifest.table.loc[wrong, ["path", "target"]].assign(problem=outcome["problem"][wrong])
    if len(problems) > (0 if strict else max_unreadable * len(outcome)):
        shown = problems.iloc[:10]
        places = [f"{manifest.listed[row]}: " if manifest.listed else "" for row in shown.index]
        lines = [
            f"  {place}{manifest.root / path}: {problem}"
            for place, path, problem in zip(places, shown["path"], shown["problem"], strict=True)
        ]
        first = "\n".join(lines + ["  …"] * (len(problems) > len(shown)))
        allowed = "none, with --strict" if strict else f"{max_unreadable:.0%}"
        raise DataError(
            f"{len(problems)} of {len(outcome)} images cannot be read; allowed are {allowed}:\n{first}\n"
            "Mend these files, or delete them and their rows, or allow more with --max-unreadable."
        )
    readable = manifest.table.assign(sha256=outcome["sha256"])[~wrong]
    return dataclasses.replace(manifest, table=readable), problems
