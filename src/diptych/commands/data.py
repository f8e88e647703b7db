"""What is done with images before a training."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from diptych.config import AugmentConfig, DataConfig, Resize, require
from diptych.errors import EXIT_TROUBLE

log = logging.getLogger("diptych")


@dataclass(frozen=True)
class Check:
    """Say what is wrong with a data set before anyone trains on it. Exit code 1 where there are errors."""

    data: Positional[Path] = Path()
    """The data folder or table; without one, the current folder."""
    output: Path = Path("check")
    """Folder for check.json and check.html."""
    image_size: int = 224
    """Size that the images are prepared at; that of the training saves preparing them twice."""
    resize: Resize = "stretch"
    """How an image that is not square is made square."""
    group_column: str = "group"
    """Column of the tables with the groups."""
    cache: Path = DataConfig.cache
    """Folder that keeps the prepared images."""

    def run(self) -> int:
        from diptych.data.check import check

        settings = DataConfig(self.data, self.image_size, self.resize, cache=self.cache, group_column=self.group_column)
        return EXIT_TROUBLE if check(settings, self.output) else 0


@dataclass(frozen=True)
class Preview:
    """Draw a sheet of augmented images, as the network will see them."""

    data: Positional[Path] = Path()
    """The data folder or table; without one, the current folder."""
    augment: Annotated[AugmentConfig, arg(name="")] = field(default_factory=AugmentConfig)
    output: Path = Path("preview.png")
    """The PNG file to write."""
    count: int = 6
    """Number of images; each has a row."""
    image_size: int = 224
    """Height and width of the network's input, in pixels."""
    resize: Resize = "stretch"
    """How an image that is not square is made square."""
    cache: Path = DataConfig.cache
    """Folder that keeps the prepared images."""
    seed: int = 0
    """Seed of the choice of images and of the augmentation; that of the training shows what the training sees."""

    def run(self) -> int:
        from diptych.data.preview import preview

        require(self, "count", 1 <= self.count <= 50, "1 to 50 images")
        settings = DataConfig(self.data, self.image_size, self.resize, cache=self.cache)
        preview(settings, self.augment, self.seed, self.count, self.output)
        log.info("written: %s", self.output)
        return 0


@dataclass(frozen=True)
class Cache:
    """Show, or clear, the images that were prepared for training."""

    cache: Path = DataConfig.cache
    """Folder that keeps them."""
    clear: bool = False
    """Delete them; they are prepared anew when they are needed."""

    def run(self) -> int:
        from diptych.data.store import clear_cache, list_caches

        folder = self.cache.expanduser()
        if self.clear:
            log.info("%.1f MB freed in %s", clear_cache(folder) / 1e6, folder)
            return 0
        for entry in list_caches(folder):
            size, spec = f"{entry.bytes / 1e6:.1f} MB", entry.spec
            log.info(
                "%9d images %12s   %d px, %s, last used %s",
                entry.images,
                size,
                spec.size,
                spec.resize,
                f"{entry.last_used:%Y-%m-%d %H:%M}",
            )
        log.info("cache: %s", folder)
        return 0


@dataclass(frozen=True)
class Samples:
    """Write out a real data set to begin with: the 2,624 solar cells of the package elpv-dataset (CC BY-NC-SA 4.0)."""

    folder: Positional[Path] = Path("data/elpv")
    """Folder to make."""

    def run(self) -> int:
        from diptych.data.samples import LICENCE, write_elpv

        cells = write_elpv(self.folder)
        log.info("%d images written to %s\n%s", len(cells), self.folder, LICENCE)
        return 0
