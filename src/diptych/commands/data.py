"""Commands for data: check, preview, cache, samples."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from diptych.commands.options import AugmentFlags, SomeDataFlags, WholeDataFlags, with_folder
from diptych.errors import EXIT_TROUBLE
from diptych.settings.config import Config, DataConfig, require
from diptych.settings.sources import override
from diptych.storage.atomic import refuse_unwritable

log = logging.getLogger("diptych")


@dataclass(frozen=True)
class Check:
    """Find what is wrong with a data set. The exit code is 1 if there are errors."""

    folder: Annotated[Positional[Path | None], arg(name="folder")] = None
    """Data folder or table, like --data."""
    data: Annotated[WholeDataFlags, arg(name="")] = field(default_factory=dict)
    output: Path = Path("check")
    """Folder for check.json and check.html."""

    def run(self) -> int:
        settings = self.resolved().data
        from diptych.data.check import check

        return EXIT_TROUBLE if check(settings, self.output) else 0

    def resolved(self) -> Config:
        """Return what the flags lead to."""
        return override(Config(), with_folder(self.folder, {"data": self.data}))


@dataclass(frozen=True)
class Preview:
    """Draw augmented images as the network will see them."""

    folder: Annotated[Positional[Path | None], arg(name="folder")] = None
    """Data folder or table, like --data."""
    data: Annotated[SomeDataFlags, arg(name="")] = field(default_factory=dict)
    augment: Annotated[AugmentFlags, arg(name="")] = field(default_factory=dict)
    output: Path = Path("preview.png")
    """PNG file to write."""
    count: int = 6
    """Number of images, one per row."""
    seed: int = 0
    """Seed of the choice of images and of the augmentation. With the seed of a training, the images are those of the
    training."""

    def run(self) -> int:
        settings = self.resolved()
        from diptych.data.preview import preview

        require(self, "count", 1 <= self.count <= 50, "1 to 50 images")
        refuse_unwritable(self.output.parent, "--output FILE names another place.")
        preview(settings.data, settings.augment, self.seed, self.count, self.output)
        log.info("written: %s", self.output)
        return 0

    def resolved(self) -> Config:
        """Return what the flags lead to."""
        return override(Config(), with_folder(self.folder, {"data": self.data, "augment": self.augment}))


@dataclass(frozen=True)
class Cache:
    """Show or delete the cache of decoded images."""

    cache: Path = DataConfig.cache
    """Folder of the cache."""
    clear: bool = False
    """Delete the images. They are decoded again when needed."""

    def run(self) -> int:
        from diptych.data.pixels.store import clear_cache, list_caches
        from diptych.screen import count_of

        if self.clear:
            log.info("%.1f MB freed in %s", clear_cache(self.cache) / 1e6, self.cache)
            return 0
        for entry in list_caches(self.cache):
            size, spec = f"{entry.bytes / 1e6:.1f} MB", entry.spec
            log.info(
                "%16s %12s   %d px, %s, last used %s",
                count_of(entry.images),
                size,
                spec.size,
                spec.resize if spec.grey_range is None else "{}, greys {:g} to {:g}".format(spec.resize, *spec.grey_range),
                f"{entry.last_used:%Y-%m-%d %H:%M}",
            )
        log.info("cache: %s", self.cache)
        return 0


@dataclass(frozen=True)
class Samples:
    """Write out a real data set to try: 2,624 solar cells. They come from the package elpv-dataset and are licensed CC
    BY-NC-SA 4.0."""

    folder: Positional[Path] = Path("data/elpv")
    """Folder to make."""

    def run(self) -> int:
        from diptych.data.samples import LICENCE, write_elpv

        refuse_unwritable(self.folder.parent, "Name another folder: diptych samples FOLDER.")
        cells = write_elpv(self.folder)
        log.info("%d images written to %s\n%s", len(cells), self.folder, LICENCE)
        return 0
