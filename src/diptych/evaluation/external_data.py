"""External tests: labelled images from another source than the run's, another camera or year for example."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from diptych.data.pixels.decode import ImageSpec
from diptych.data.pixels.greys import warn_of_doubts
from diptych.data.pixels.prepare import prepare
from diptych.data.pixels.store import Images
from diptych.data.reading.layouts import image_folder, read_manifest
from diptych.data.reading.manifest import Manifest, printable
from diptych.data.reading.tables import is_table
from diptych.errors import DataError
from diptych.inference.trained_run import TrainedRun
from diptych.settings.config import DataConfig
from diptych.storage.atomic import sha256
from diptych.storage.run_dir import RunDir

SHOWN = 3


def is_external(run: TrainedRun, table: pd.DataFrame, data: Path) -> bool:
    """Tell whether a data folder or table holds none of a run's test images, by path and content.

    Where some of them are there, it is the run's own data, of which something is missing or has changed.

    Args:
        run: whose split it is.
        table: of the split, with `path`, `sha256` and `split`.
        data: the folder or table.

    Raises:
        DataError: there is no such folder or table.
    """
    if not data.exists():
        raise DataError(f"{data}: no such folder or table; name with --data where the images of {run.run_dir.root} are now.")
    root = image_folder(run.config.data, data)
    test = table[table["split"] == "test"]
    return len(test) > 0 and not any(
        has_content(root / path, known) for path, known in zip(test["path"], test["sha256"], strict=True)
    )


def has_content(file: Path, digest: str) -> bool:
    try:
        return sha256(file.read_bytes()) == digest
    except OSError:
        return False


def external_folder(run: RunDir, data: Path) -> Path:
    """Return the folder in a run for the report of an external test: the one of the same data set, or one that is free."""
    name, number = printable(data.resolve().stem if data.is_file() else data.resolve().name), 1
    folder = run.report.parent / f"external-{name}"
    while folder.exists() and read_source(folder) != source_of(data):
        number += 1
        folder = run.report.parent / f"external-{name}-{number}"
    return folder


def source_of(data: Path) -> str:
    """Name a data set as metrics.json does."""
    return printable(str(data.resolve()))


def read_source(folder: Path) -> str:
    """Return the data set of the report in a folder; "" if that cannot be read."""
    try:
        return str(json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["external"]["data"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def read_external(
    run: TrainedRun, split: pd.DataFrame, data: Path, spec: ImageSpec, cache: Path
) -> tuple[pd.DataFrame, Images, pd.DataFrame]:
    """Read all labelled images of an external test set.

    Args:
        run: that is tested.
        split: its split.
        data: the folder or table.
        spec: how images become pixels.
        cache: the folder that keeps them.

    Returns:
        A table as `read_split` gives it, whose readable images are all in the part "test", the others in none; the images in
        the same order; and what could not be read: `path`, `problem`.

    Raises:
        DataError: it is no labelled data set, has a class that the run does not know, no readable image, or an image that
            the run was trained or validated on.
    """
    try:
        manifest = read_like(run, data)
    except DataError as error:
        raise DataError(
            f"{data} has none of the test images of {run.run_dir.root}, so it is read as an external test set, with the "
            f"settings of the run in {run.run_dir.config}, which fails. {error}"
        ) from error
    targets = match_classes(run, manifest)
    store, outcome = prepare([manifest.root / path for path in manifest.table["path"]], spec, cache)
    warn_of_doubts(outcome, f"The run was trained with grey_range = {run.config.data.grey_range}.")
    readable = (outcome["problem"] == "").to_numpy()
    table = manifest.table.rename(columns={name: f"given_{name}" for name in ("split", "sha256")})
    table = table.assign(target=targets, sha256=outcome["sha256"], split=np.where(readable, "test", ""))
    table = table.assign(path=table["path"].map(printable), image_name=table["image_name"].map(printable))
    problems = table.loc[~readable, ["path"]].assign(problem=outcome["problem"][~readable])
    if not readable.any():
        raise DataError(
            f"{data}: none of the {len(table)} images can be read: {problems['path'].iloc[0]}: {problems['problem'].iloc[0]}"
        )
    refuse_leaks(run, split, data, table[readable])
    return table, store, problems


def read_like(run: TrainedRun, data: Path) -> Manifest:
    """Read a data set by the columns and names of classes that a run was trained by, where it has tables or numbers."""
    own = run.config.data
    settings = DataConfig(data, group_column=own.group_column, follow_links=own.follow_links, class_folder=own.class_folder)
    if data.is_file() or any(file.is_file() and is_table(file) for file in data.iterdir()):
        images = image_folder(own, data) if own.images is not None else None
        settings = dataclasses.replace(settings, path_column=own.path_column, label_column=own.label_column, images=images)
    manifest = read_manifest(settings)
    if own.class_names and all(name.isdecimal() for name in manifest.class_names):
        manifest = read_manifest(dataclasses.replace(settings, class_names=own.class_names))
    return manifest


def match_classes(run: TrainedRun, manifest: Manifest) -> "pd.Series[int]":
    """Return the target of each image in the order of the run's classes, which are matched by their names."""
    class_names = run.class_names
    unknown = [name for name in manifest.class_names if name not in class_names]
    if unknown:
        raise DataError(
            f"{manifest.root} has the classes {list_some(manifest.class_names)}, {run.run_dir.root} tells "
            f"{list_some(class_names)} apart; it does not know {list_some(unknown)}. Name the classes of the test set as those "
            "of the run."
        )
    numbers = {target: class_names.index(name) for target, name in enumerate(manifest.class_names)}
    return manifest.table["target"].map(numbers)


def refuse_leaks(run: TrainedRun, split: pd.DataFrame, data: Path, table: pd.DataFrame) -> None:
    """Raise a DataError where an image is one that the run was trained or validated on, byte for byte."""
    used = split[split["split"] != "test"].drop_duplicates("sha256").set_index("sha256")
    leaks = table[table["sha256"].isin(used.index)]
    if len(leaks):
        pairs = [
            f"{path} is {used['path'][digest]} ({used['split'][digest]})"
            for path, digest in zip(leaks["path"][:SHOWN], leaks["sha256"][:SHOWN], strict=True)
        ]
        more = f", and {len(leaks) - SHOWN} more" if len(leaks) > SHOWN else ""
        raise DataError(
            f"{len(leaks)} of the {len(table)} images of {data} are among those that {run.run_dir.root} was trained or "
            f"validated on: {'; '.join(pairs)}{more}. The test figures would be too good; take these images out."
        )


def list_some(names: Sequence[str]) -> str:
    return ", ".join([*names[:10], *["…"] * (len(names) > 10)])
