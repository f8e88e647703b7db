"""Accuracy against the number of training images, and what more of them would bring."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from diptych.data.reading.fixes import COLUMNS as FIX_COLUMNS
from diptych.data.reading.fixes import read_fixes
from diptych.data.reading.layouts import read_manifest
from diptych.errors import ConfigError
from diptych.evaluation.plots import COLOURS, figure
from diptych.experiments.run_group import PlannedRun, RunGroup, open_run_group, train_run_group
from diptych.experiments.tested_run import align, read_tested
from diptych.metrics.intervals import bootstrap
from diptych.metrics.power_law import LearningCurve, fit_curve, place_images
from diptych.metrics.weighted import Figures, Weights
from diptych.screen import count_of
from diptych.settings.config import Config
from diptych.settings.sources import Given
from diptych.storage.atomic import FORMAT_VERSION, write_json, write_table
from diptych.storage.run_dir import RunDir

log = logging.getLogger(__name__)

SHARES = (0.0625, 0.125, 0.25, 0.5, 1.0)
GUESS = (
    "Beyond the images at hand the curve is a guess: that the error keeps falling as a + b * n ** -c. Its interval covers "
    "the choice of test images and seeds, not this assumption; and the law cannot rise."
)


def learning_curve(
    given: Given,
    runs: Path,
    name: str = "learning-curve",
    seeds: int = 3,
    shares: Sequence[float] = SHARES,
    *,
    equal_updates: bool = False,
) -> tuple[LearningCurve, RunDir]:
    """Train on nested parts of the training images, and test each on the same test images; or resume that.

    Args:
        given: what the user gave.
        runs: the folder in which the folder of the curve is made.
        name: of the curve.
        seeds: trainings of each size; each seed draws its own subsets.
        shares: of the training images, above 0 and up to 1.
        equal_updates: train a share s for 1 / s times the epochs, so that all sizes have the same number of updates.

    Returns:
        The curve, and the folder, with learning_curve.json, .csv and .png in it.

    Raises:
        ConfigError: a share or the number of seeds makes no sense, or it was started with other settings.
        DiptychError, OSError, KeyboardInterrupt: as `open_run_group` and `train_run_group`.
    """
    shares = sorted(set(shares))
    if not shares or not all(0 < share <= 1 for share in shares):
        raise ConfigError(f"--shares are {' '.join(f'{share:g}' for share in shares)}; expected shares above 0 and up to 1.")
    if seeds < 1:
        raise ConfigError(f"--seeds is {seeds}; expected at least 1, better 3 or more.")
    group = open_run_group(runs, name, given, {"kind": "learning curve", "equal_updates": equal_updates})
    first = group.config.training.seed
    numbers = range(first, first + seeds)
    planned = {(share, seed): plan(group, share, seed, equal_updates) for seed in numbers for share in shares}
    again = ["diptych", "learning-curve", "--config", group.folder.config, "--runs", runs, "--name", name, "--seeds", seeds]
    again += ["--shares", *(f"{share:g}" for share in shares), *(["--equal-updates"] if equal_updates else [])]
    train_run_group(group, [one for one, _ in planned.values()], again)
    curve = gather(group, {key: (one.name, images) for key, (one, images) in planned.items()})
    write_table(group.folder.root / "learning_curve.csv", curve.points)
    write_json(group.folder.root / "learning_curve.json", to_json(curve))
    draw(group.folder.root / "learning_curve.png", curve)
    return curve, group.folder


def plan(group: RunGroup, share: float, seed: int, equal_updates: bool) -> tuple[PlannedRun, int]:
    """Return the training on a share of the images, and how many they are; the others are dropped by a table of corrections."""
    name, config, data = f"{share:g}-{seed}", group.config, group.data
    table = data.manifest.table
    train = table[table["split"] == "train"]
    places = place_images(train["target"], data.clusters[train.index], seed)
    left_out = set(train["path"][places >= share])
    training = dataclasses.replace(config.training, seed=seed)
    if equal_updates:
        training = dataclasses.replace(training, epochs=max(1, round(training.epochs / share)))
    config = dataclasses.replace(config, training=training)
    if left_out:
        # Of fewer images, the unreadable ones would be a larger share than is allowed.
        file = group.folder.root / f"{name}-fixes.csv"
        write_fixes(file, config, left_out | set(data.problems["path"]))
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, fixes=file.resolve()))
    return PlannedRun(name, config), len(train) - len(left_out)


def write_fixes(file: Path, config: Config, left_out: set[str]) -> None:
    """Write corrections that drop some images and do to the others what the user's own corrections do."""
    own = read_fixes(read_manifest(config.data), config.data.fixes) if config.data.fixes else []
    rows = [fix[1:] for fix in own if fix.path not in left_out]
    rows += [(path, "drop", "") for path in sorted(left_out)]
    write_table(file, pd.DataFrame(rows, columns=list(FIX_COLUMNS)))


def gather(group: RunGroup, names: Mapping[tuple[float, int], tuple[str, int]]) -> LearningCurve:
    """Read the answers of all trainings and fit the learning curve."""
    sides = align([read_tested(group.run_of(name)) for name, _ in names.values()])
    wrong = np.stack([side.targets != side.table["predicted"].to_numpy() for side in sides], axis=1).astype(np.float64)
    rows = [(share, seed, images, name) for (share, seed), (name, images) in names.items()]
    points = pd.DataFrame(rows, columns=["share", "seed", "images", "name"]).assign(accuracy=1 - wrong.mean(axis=0))

    def errors(weights: Weights) -> Figures:
        return {"errors": weights @ wrong / weights.sum(axis=1, keepdims=True)}

    drawn = bootstrap(errors, sides[0].targets, sides[0].groups)["errors"]
    return fit_curve(points, drawn, len(wrong))


def describe(curve: LearningCurve) -> str:
    """Format a learning curve for the screen."""
    lines = [f"{count_of(curve.test_images, 'test image')}; means over the seeds", "training images   accuracy   95 % interval"]
    for row in curve.sizes.itertuples():
        lines.append(f"{row.images:15.0f}   {row.accuracy:8.2%}   {row.low:.2%} to {row.high:.2%}")
    if curve.law is None:
        return "\n".join([*lines, "", f"What more images would bring is not determined: {curve.reason}."])
    for found in curve.ahead:
        (low, high), (least, most) = found.interval, found.gain_interval
        gain = f"extrapolated, on the fitted curve {found.gain:+.2%} ({least:+.2%} to {most:+.2%})"
        lines.append(f"{found.images:15}   {found.accuracy:8.2%}   {low:.2%} to {high:.2%}   {gain}")
    law = f"a = {curve.law.floor[0]:.4f}, c = {curve.law.exponent[0]:.3f}"
    return "\n".join([*lines, "", f"{GUESS} Fitted: {law}."])


def to_json(curve: LearningCurve) -> dict[str, Any]:
    """Return a curve as JSON values."""
    law = curve.law
    fitted = law and {
        "a": float(law.floor[0]),
        "b": float(law.scale[0] * law.largest ** law.exponent[0]),
        "c": float(law.exponent[0]),
        "explained": float(law.explained[0]),
    }
    return {
        "format_version": FORMAT_VERSION,
        "test_images": curve.test_images,
        "sizes": curve.sizes.to_dict("records"),
        "points": curve.points.to_dict("records"),
        "law": fitted,
        "not_determined": curve.reason or None,
        "ahead": [dataclasses.asdict(found) for found in curve.ahead],
    }


def draw(path: Path, curve: LearningCurve) -> None:
    """Draw the accuracy against the number of training images, and, where it is determined, the law and what it says ahead."""
    with figure(path, "Learning curve", "training images", "test accuracy") as axes:
        sizes = curve.sizes
        axes.set_xscale("log", base=2)
        axes.plot(curve.points["images"], curve.points["accuracy"], "x", color=COLOURS[7], markersize=5, label="each training")
        span = [sizes["accuracy"] - sizes["low"], sizes["high"] - sizes["accuracy"]]
        axes.errorbar(sizes["images"], sizes["accuracy"], np.abs(span), fmt="o", color=COLOURS[0], capsize=3, label="mean, 95 %")
        if curve.law is not None:
            grid = np.geomspace(sizes["images"].iloc[0], curve.ahead[-1].images, 100)
            axes.plot(grid, [1 - curve.law.at(images)[0] for images in grid], "--", color=COLOURS[1], label="a + b n^-c")
            for found in curve.ahead:
                axes.plot([found.images] * 2, found.interval, "-", color=COLOURS[1], linewidth=3, alpha=0.4)
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.legend(loc="lower right")
