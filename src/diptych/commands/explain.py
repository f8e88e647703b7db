"""The command explain."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from diptych.commands.options import tell_run_from_images
from diptych.errors import EXIT_TROUBLE, ConfigError, hint_at
from diptych.settings.config import Backend
from diptych.storage.run_dir import RunDir, read_classes
from diptych.storage.runs import RUNS

log = logging.getLogger("diptych")


@dataclass(frozen=True)
class Explain:
    """Draw where in an image a run looks. It draws Grad-CAM and attention of each branch and an occlusion map, and answers
    with each branch cut off."""

    places: Annotated[Positional[tuple[Path, ...]], arg(name="[run] image…")]
    """Folder or name of the run (default: the newest), then image files and folders of images. An image takes some 600 passes
    of the network."""
    class_name: Annotated[str, arg(name="class")] = ""
    """Name of the class to explain. Default: the predicted class of each image."""
    output: Path | None = None
    """Folder for the pictures and explanations.json. Default: explanations in the run."""
    follow_links: bool = False
    """Follow links to folders outside of the given ones."""
    backend: Backend = "auto"
    """Keras backend: auto, tensorflow, jax or torch. auto: as for diptych train."""
    runs: Path = RUNS
    """Folder that contains the runs."""

    def run(self) -> int:
        run, places = tell_run_from_images(self.places, self.runs)
        target = find_class(run, self.class_name)
        from diptych.machine.backend import load_backend

        load_backend(self.backend)
        from diptych.commands.prediction_list import visible
        from diptych.explanation.explain import describe, explain
        from diptych.screen import count_of

        found, class_names, place = explain(run, places, self.output, target, follow_links=self.follow_links)
        for each in found:
            if each.explanation is None:
                log.info("%s: %s", visible(str(each.path)), each.problem)
            else:
                log.info("%s\n  %s", describe(each.path, each.explanation, class_names).replace("\n", "\n  "), each.picture)
        unreadable = sum(each.problem != "" for each in found)
        done = count_of(len(found) - unreadable)
        log.info("\nrun %s: %s explained, %d unreadable; written: %s", run.root, done, unreadable, place)
        return EXIT_TROUBLE if unreadable else 0


def find_class(run: RunDir, name: str) -> int | None:
    """Return the number of a class of a run, before Keras is loaded; None for "".

    Raises:
        ConfigError: the run has no class of that name.
        CheckpointError: the names of its classes cannot be read.
    """
    if name == "":
        return None
    names = read_classes(run)
    if name in names:
        return names.index(name)
    raise ConfigError(f"class {name!r} is none of the {len(names)} classes of {run.root}; {hint_at(name, names)} Set --class.")
