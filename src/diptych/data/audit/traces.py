"""Describe how the files of the classes differ: the details beside the verdict on shortcuts."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from diptych.data.audit.shortcuts import MAYBE_CONTENT

# Lines of an example, phrases of a line, and classes that a line names.
MOST_LINES = 4
MOST_PHRASES = 4
MOST_NAMES = 5
# A feature is part of the example where it gives away nearly as much as the one that gives most.
NEARLY = 0.15
MODES = {
    "1": "black and white", "L": "grey", "LA": "grey with transparency", "P": "palette", "RGB": "colour",
    "RGBA": "colour with transparency", "I;16": "16-bit grey", "I;16B": "16-bit grey",
}  # fmt: skip
# The mean of the luminance table of the JPEG standard (ITU T.81, table K.1), which stands for quality 50.
STANDARD_TABLE = 57.625


def describe_sources(
    files: pd.DataFrame, class_names: Sequence[str], features: Mapping[str, float], apart: Sequence[int] = ()
) -> tuple[str, ...]:
    """Describe how the files of the classes differ.

    Args:
        files: one row an image: `path`, `target`, what `prepare` said of the file, and what `measure` did of its colours.
        class_names: the classes in the order of the targets.
        features: ROC AUC of each feature of `shortcut_features` alone.
        apart: the classes to set against all others; () for each class by itself.

    Returns:
        A line for each class, or for classes that are alike: "class cat: PNG; all 1024 x 1024 pixels". Classes beyond a few
        lines are counted in the last one.
    """
    names = [name if len(name) <= 40 else f"{name[:39]}…" for name in class_names]
    if apart:
        own = files["target"].isin(apart)
        parts = [([names[target] for target in apart], files[own]), ([""], files[~own])]
    else:
        parts = [([names[target]], files[files["target"] == target]) for target in sorted(set(files["target"]))]
    phrases = telling_phrases([part for _, part in parts], features)
    alike: dict[str, list[str]] = {}
    for place, (named, _) in enumerate(parts):
        alike.setdefault("; ".join(said[place] for said in phrases if said[place]), []).extend(named)
    ranked = sorted(alike.items(), key=lambda pair: -len(pair[1])) if len(alike) > MOST_LINES else list(alike.items())
    lines = [f"{name_classes(classes)}: {said or 'nothing of the kind'}" for said, classes in ranked[:MOST_LINES]]
    rest = sum(len(classes) for _, classes in ranked[MOST_LINES:])
    return (*lines, f"… and {rest} more class{'es' if rest > 1 else ''}") if rest else tuple(lines)


def telling_phrases(parts: Sequence[pd.DataFrame], features: Mapping[str, float]) -> list[list[str]]:
    """Return phrases with a text for each part, the easiest to understand first."""
    least = max(features.values()) - NEARLY
    found: list[list[str]] = []
    known = False
    for names, phrase in PHRASES:
        # How large a file is, and what its name ends with, follows from its format and size.
        follows = known and names[0] in (*MAYBE_CONTENT, "file name's ending")
        if follows or max(features.get(name, 0) for name in names) < least:
            continue
        said = [phrase(part) for part in parts]
        if len(set(said)) > 1:
            found.append(said)
            known = known or names[0] not in MAYBE_CONTENT
    return found[:MOST_PHRASES]


def name_classes(names: Sequence[str]) -> str:
    if names == [""]:
        return "all other classes"
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"class{'es' if len(names) > 1 else ''} {', '.join(names[:MOST_NAMES])}{more}"


def shares(values: Iterable[str]) -> str:
    """Write "PNG", or "JPEG 60 %, PNG 40 %"."""
    counts = Counter(values)
    if len(counts) == 1:
        return next(iter(counts))
    shown = [f"{name} {percent(count / counts.total())}" for name, count in counts.most_common(3)]
    return ", ".join(shown) + (f", {len(counts) - 3} more" if len(counts) > 3 else "")


def percent(share: float) -> str:
    """Format a share as "4 %"; only none is 0 % and only all is 100 %."""
    return f"{min(max(round(100 * share), 1), 99)} %" if 0 < share < 1 else f"{100 * share:.0f} %"


def formats(files: pd.DataFrame) -> str:
    return shares(files["format"])


def sizes(files: pd.DataFrame) -> str:
    counts = Counter(zip(files["width"], files["height"], strict=True))
    (common, count), *others = counts.most_common()
    if not others:
        return f"all {common[0]} x {common[1]} pixels"
    if count >= 0.9 * len(files):
        return f"{percent(count / len(files))} {common[0]} x {common[1]} pixels"
    small, *_, large = sorted(counts, key=lambda size: size[0] * size[1])
    return f"{len(counts)} sizes from {small[0]} x {small[1]} to {large[0]} x {large[1]} pixels"


def modes(files: pd.DataFrame) -> str:
    return shares(MODES.get(mode, mode) for mode in files["mode"])


def cameras(files: pd.DataFrame) -> str:
    return shares(camera or "no camera named" for camera in files["camera"])


def exif(files: pd.DataFrame) -> str:
    return shares("with EXIF data" if given else "no EXIF data" for given in files["exif"])


def turns(files: pd.DataFrame) -> str:
    return f"{percent((files['orientation'] != 1).mean())} turned by EXIF"


def quality(files: pd.DataFrame) -> str:
    """Write the JPEG quality as most programs count it (that of the IJG's library), from the mean of the luminance table."""
    tables = files.loc[files["quantization"] > 0, "quantization"]
    if tables.empty:
        return ""
    low, middle, high = (round(ijg_quality(value)) for value in np.percentile(tables, [95, 50, 5]))
    return f"JPEG quality about {middle}" if high - low < 5 else f"JPEG quality about {low} to {high}"


def ijg_quality(table_mean: float) -> float:
    scale = 100 * table_mean / STANDARD_TABLE
    return 100 - scale / 2 if scale <= 100 else 5000 / scale


def passes(files: pd.DataFrame) -> str:
    return shares("progressive JPEG" if given else "not progressive" for given in files["progressive"])


def endings(files: pd.DataFrame) -> str:
    return shares(files["path"].str.extract(r"(\.[^./]*)$")[0].fillna("no ending"))


def volume(files: pd.DataFrame) -> str:
    size = float(files["bytes"].median())
    return f"files of about {size / 1e6:.1f} MB" if size >= 1e6 else f"files of about {max(size / 1e3, 0.1):.3g} kB"


def density(files: pd.DataFrame) -> str:
    area = (files["width"] * files["height"]).clip(lower=1)
    return f"about {(files['bytes'] / area).median():.2g} bytes per pixel"


def colour_of(place: str, what: str) -> Callable[[pd.DataFrame], str]:
    def describe(files: pd.DataFrame) -> str:
        red, green, blue = (round(files[f"{place}_{colour}"].median()) for colour in ("red", "green", "blue"))
        same = max(red, green, blue) - min(red, green, blue) < 4
        return f"{what} grey {green} (of 255)" if same else f"{what} red {red}, green {green}, blue {blue} (of 255)"

    return describe


# Which features each phrase stands for. What follows from an earlier one (a file's size from its format) comes later.
PHRASES: tuple[tuple[tuple[str, ...], Callable[[pd.DataFrame], str]], ...] = (
    (("file format",), formats),
    (("width", "height", "aspect ratio"), sizes),
    (("colour mode",), modes),
    (("camera",), cameras),
    (("EXIF data",), exif),
    (("EXIF orientation",), turns),
    (("JPEG tables",), quality),
    (("progressive JPEG",), passes),
    (("mean colour",), colour_of("mean", "mean colour")),
    (("border colour",), colour_of("border", "border")),
    (("bytes per pixel",), density),
    (("file size",), volume),
    (("file name's ending",), endings),
)
