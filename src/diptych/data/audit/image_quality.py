"""Image quality for the audit: brightness, contrast, sharpness and colours."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from tqdm import tqdm

from diptych.data.pixels.store import PixelStore

BLOCK = 128
# Grey levels, 0 to 255. A dark image has hardly a pixel above, a blown-out one hardly one below.
BLANK_CONTRAST = 2.0
DARK_BELOW = 40
BRIGHT_ABOVE = 215
# A blurred image has less than this part of the usual sharpness, and is an outlier in the logarithm too.
BLURRED_PART = 0.15
BLURRED_SPREADS = 3.5
# Nearly all pixels of a placeholder have one grey; not so where most images of the set have a plain ground.
PLAIN_PART = 0.6
USUALLY_PLAIN = 0.3
# More than this share are not unlike the others but a kind of image of their own, a class for example.
MOST_ODD = 0.1


def measure(images: PixelStore | NDArray[np.uint8], rows: NDArray[np.int64]) -> pd.DataFrame:
    """Measure images, a block of them at a time in memory.

    Args:
        images: uint8 (N, S, S, 3), RGB.
        rows: which of them.

    Returns:
        One line a row: `low` and `high` (1st and 99th percentile of grey, 0 to 255), `contrast` (standard deviation of grey),
        `sharpness` (variance of the Laplacian over that of grey), `plain` (share of the pixels of the commonest grey, give or
        take one level), and the mean of each colour channel in the outermost two pixels (`border_red`, …) and in all
        (`mean_red`, …).
    """
    blocks = [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        done = pool.map(lambda block: measure_block(images[block]), blocks)
        measured = list(tqdm(done, "looking at images", len(blocks), unit=" blocks", leave=False, disable=None))
    if not measured:
        return measure_block(np.zeros((1, 8, 8, 3), np.uint8)).iloc[:0]
    return pd.concat(measured, ignore_index=True).set_axis(rows)


def measure_block(images: NDArray[np.uint8]) -> pd.DataFrame:
    count, height, width = images.shape[:3]
    # The sum of the three channels, 0 to 765: exact in 16 bits, and three times as fast as a mean of floats.
    total = images[..., 0].astype(np.uint16) + images[..., 1] + images[..., 2]
    levels = np.stack([np.bincount(row, minlength=766) for row in total.reshape(count, -1)])
    reached = levels.cumsum(axis=1) / (height * width)
    grey = total.astype(np.float32) / 3
    variance = grey.reshape(count, -1).var(axis=1)
    centre = grey[:, 1:-1, 1:-1]
    laplacian = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:] - 4 * centre
    edge = np.ones((height, width), bool)
    edge[2:-2, 2:-2] = False
    sums = images.reshape(count, height, width * 3).sum(axis=1, dtype=np.uint32).reshape(count, width, 3).sum(axis=1)
    colours = {"border": images[:, edge].mean(axis=1), "mean": sums / (height * width)}
    columns = {
        "low": (reached >= 0.01).argmax(axis=1) / 3,
        "high": (reached >= 0.99).argmax(axis=1) / 3,
        "contrast": np.sqrt(variance),
        "sharpness": laplacian.var(axis=(1, 2)) / np.maximum(variance, 1),
        # Seven sums are about two grey levels: what resizing and JPEG change a plain ground by.
        "plain": sliding_window_view(levels, 7, axis=1).sum(axis=2).max(axis=1) / (height * width),
    }
    for place, values in colours.items():
        columns |= {f"{place}_{name}": values[:, channel] for channel, name in enumerate(("red", "green", "blue"))}
    return pd.DataFrame(columns)


def faults_of_quality(measured: pd.DataFrame) -> pd.DataFrame:
    """Tell which images are `blank`, `dark`, `bright`, `plain` or `blurred`; each image has at most one of these faults."""
    blank = measured["contrast"] < BLANK_CONTRAST
    dark = ~blank & (measured["high"] < DARK_BELOW)
    bright = ~blank & (measured["low"] > BRIGHT_ABOVE)
    fine = ~(blank | dark | bright)
    plain = fine & (measured["plain"] > PLAIN_PART) & (measured["plain"][fine].median() < USUALLY_PLAIN)
    plain &= plain.mean() <= MOST_ODD
    fine &= ~plain
    sharpness = np.log(measured["sharpness"].clip(lower=1e-9))
    usual = sharpness[fine].median()
    spread = 1.4826 * (sharpness[fine] - usual).abs().median()
    blurred = fine & (sharpness < usual + np.log(BLURRED_PART)) & (sharpness < usual - BLURRED_SPREADS * spread)
    blurred &= blurred.mean() <= MOST_ODD
    return pd.DataFrame({"blank": blank, "dark": dark, "bright": bright, "plain": plain, "blurred": blurred})
