"""Brightness, contrast, sharpness and colours of prepared images, for the audit."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from diptych.data.store import PixelStore

BLOCK = 128
# Grey levels, 0 to 255. A dark image has hardly a pixel above, a blown-out one hardly one below.
BLANK_CONTRAST = 2.0
DARK_BELOW = 40
BRIGHT_ABOVE = 215
# A blurred image has less than this part of the usual sharpness, and is an outlier in the logarithm too.
BLURRED_PART = 0.15
BLURRED_SPREADS = 3.5
MOST_BLURRED = 0.1


def measure(images: PixelStore | NDArray[np.uint8], rows: NDArray[np.int64]) -> pd.DataFrame:
    """Measure images, a block of them at a time in memory.

    Args:
        images: uint8 (N, S, S, 3), RGB.
        rows: which of them.

    Returns:
        One line a row: `low` and `high` (1st and 99th percentile of grey, 0 to 255), `contrast` (standard deviation of grey),
        `sharpness` (variance of the Laplacian over that of grey), and the mean of each colour channel in the outermost two
        pixels (`border_red`, …) and in all (`mean_red`, …).
    """
    blocks = [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        done = pool.map(lambda block: measure_block(images[block]), blocks)
        measured = list(tqdm(done, "looking at images", len(blocks), unit=" blocks", leave=False, disable=None))
    if not measured:
        return measure_block(np.zeros((1, 8, 8, 3), np.uint8)).iloc[:0]
    return pd.concat(measured, ignore_index=True).set_axis(rows)


def measure_block(images: NDArray[np.uint8]) -> pd.DataFrame:
    grey = images.mean(axis=3, dtype=np.float32)
    flat = grey.reshape(len(grey), -1)
    low, high = np.percentile(flat, [1, 99], axis=1)
    variance = flat.var(axis=1)
    centre = grey[:, 1:-1, 1:-1]
    laplacian = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:] - 4 * centre
    edge = np.ones(images.shape[1:3], bool)
    edge[2:-2, 2:-2] = False
    colours = {"border": images[:, edge].mean(axis=1), "mean": images.mean(axis=(1, 2))}
    columns = {
        "low": low,
        "high": high,
        "contrast": np.sqrt(variance),
        "sharpness": laplacian.var(axis=(1, 2)) / np.maximum(variance, 1),
    }
    for place, values in colours.items():
        columns |= {f"{place}_{name}": values[:, channel] for channel, name in enumerate(("red", "green", "blue"))}
    return pd.DataFrame(columns)


def faults_of_quality(measured: pd.DataFrame) -> pd.DataFrame:
    """Say which images are `blank`, `dark`, `bright` or `blurred`; each image has at most one of these faults."""
    blank = measured["contrast"] < BLANK_CONTRAST
    dark = ~blank & (measured["high"] < DARK_BELOW)
    bright = ~blank & (measured["low"] > BRIGHT_ABOVE)
    fine = ~(blank | dark | bright)
    sharpness = np.log(measured["sharpness"].clip(lower=1e-9))
    usual = sharpness[fine].median()
    spread = 1.4826 * (sharpness[fine] - usual).abs().median()
    blurred = fine & (sharpness < usual + np.log(BLURRED_PART)) & (sharpness < usual - BLURRED_SPREADS * spread)
    # So many are no outliers but a kind of image of their own, a class say.
    blurred &= blurred.mean() <= MOST_BLURRED
    return pd.DataFrame({"blank": blank, "dark": dark, "bright": bright, "blurred": blurred})
