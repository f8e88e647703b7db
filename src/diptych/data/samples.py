"""A real data set to begin with: the ELPV solar cells, written out in the layout that Diptych reads."""

import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from diptych.errors import ConfigError
from diptych.storage.atomic import rename

LICENCE = """\
The images are the ELPV data set: C. Buerhop-Lutz, S. Deitsch, A. Maier, F. Gallwitz, S. Berger, B. Doll, J. Hauch,
C. Camus, C. J. Brabec: A Benchmark for Visual Identification of Defective Solar Cells in Electroluminescence Imagery,
EU PVSEC 2018. Licence of the images: CC BY-NC-SA 4.0 (no commercial use).
"""

CELLS_PER_MODULE = 60


def write_elpv(folder: Path) -> pd.DataFrame:
    """Write the 2,624 solar cells of the package elpv-dataset: functional 0, defective 1 (probability above 0.5).

    Args:
        folder: what to make; it must not exist yet. It appears at once when it is complete.

    Returns:
        The images written: image_name, target, type (mono or poly), defect_probability (0, 1/3, 2/3 or 1),
        pseudo_module.

    Raises:
        ConfigError: the package is missing, or `folder` exists.
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
    cells["pseudo_module"] = pseudo_modules(cells["type"])
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
        try:
            rename(whole, folder)
        except OSError as error:
            if not folder.exists():
                raise
            raise ConfigError(f"{folder} was made by another process in the meantime; name another folder.") from error
    return cells.drop(columns="file")


def pseudo_modules(types: "pd.Series[str]") -> "pd.Series[str]":
    """Guess which cells were photographed as one module: which one a cell is from was not published, but the rows are in order.

    Each run of rows of one type is cut into equal pieces of about 60 cells, as many as a module has. That gives 44
    pieces, 18 of mono and 26 of polycrystalline cells, which are just the published numbers of modules.
    """
    runs = (types != types.shift()).cumsum()
    place = types.groupby(runs).cumcount()
    length = types.groupby(runs).transform("size")
    pieces = (length / CELLS_PER_MODULE).round().clip(lower=1)
    module = (place * pieces // length).astype(int)
    number = pd.Series(list(zip(runs, module, strict=True))).rank(method="dense")
    return number.astype(int).map("m{:02d}".format)
