"""A real data set to begin with: the ELPV solar cells, written out in the layout that Diptych reads."""

import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from diptych.errors import ConfigError

LICENCE = """\
The images are the ELPV data set: C. Buerhop-Lutz, S. Deitsch, A. Maier, F. Gallwitz, S. Berger, B. Doll, J. Hauch,
C. Camus, C. J. Brabec: A Benchmark for Visual Identification of Defective Solar Cells in Electroluminescence Imagery,
EU PVSEC 2018. Licence of the images: CC BY-NC-SA 4.0 (no commercial use).
"""


def write_elpv(folder: Path, split: Path | None = None) -> pd.DataFrame:
    """Write the 2,624 solar cells of the package elpv-dataset: functional 0, defective 1 (probability above 0.5).

    Args:
        folder: what to make; it must not exist yet. It appears at once when it is complete.
        split: a table with the columns image_name and split to take over, or None.

    Returns:
        The images written: image_name, target, type (mono or poly), defect_probability (0, 1/3, 2/3 or 1), split.

    Raises:
        ConfigError: the package is missing, `folder` exists, or the split does not name every image.
    """
    package = find_spec("elpv_dataset")
    if package is None or package.origin is None:
        raise ConfigError("the package elpv-dataset is not installed; run: pip install elpv-dataset")
    if folder.exists():
        raise ConfigError(f"{folder} exists already; name another folder, or delete it.")
    source = Path(package.origin).parent / "data"
    names = ["file", "defect_probability", "type"]
    cells = pd.read_csv(source / "labels.csv", sep=r"\s+", names=names)
    cells.insert(0, "image_name", cells["file"].map(lambda file: Path(file).name))
    cells.insert(1, "target", (cells["defect_probability"] > 0.5).astype(int))
    if split is not None:
        cells["split"] = cells["image_name"].map(read_split(split))
        if cells["split"].isna().any():
            raise ConfigError(f"{split}: no split for {cells['image_name'][cells['split'].isna()].iloc[0]}.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as aside:
        whole = Path(aside) / folder.name
        for target in (0, 1):
            (whole / str(target)).mkdir(parents=True)
            rows = cells[cells["target"] == target]
            rows.drop(columns="file").to_csv(whole / f"{target}.csv", index=False)
            for file in rows["file"]:
                shutil.copyfile(source / file, whole / str(target) / Path(file).name)
        (whole / "LICENCE.txt").write_text(LICENCE, encoding="utf-8")
        whole.rename(folder)
    return cells.drop(columns="file")


def read_split(path: Path) -> "pd.Series[str]":
    try:
        return pd.read_csv(path, index_col="image_name")["split"]
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"{path}: expected a table with the columns image_name and split: {error}") from error
