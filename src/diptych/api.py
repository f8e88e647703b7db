"""Diptych in Python: train, open a run, ask it; what a script or a notebook calls.

Everything here leaves the process as it found it, but for what other packages change when they are first loaded. It writes only
into the folder of the run, the cache of decoded images, and where it is told to.
"""

import logging
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from diptych.data.audit.findings import Audit
from diptych.errors import ConfigError
from diptych.html import small_table
from diptych.inference.trained_run import TrainedRun
from diptych.machine.backend import kept_random_state, load_backend
from diptych.machine.quiet import quiet_backend
from diptych.screen import messages
from diptych.settings.config import Backend, Config
from diptych.settings.keywords import DataSettings, Settings
from diptych.settings.presets import Preset
from diptych.settings.sources import given_from
from diptych.storage.atomic import PathLike, as_optional_path, as_path, refuse_unwritable
from diptych.storage.run_dir import RunDir
from diptych.storage.runs import RUNS

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from diptych.evaluation.report import Report
    from diptych.experiments.compare import Comparison
    from diptych.inference.given_images import ImageLike

log = logging.getLogger("diptych")
AnyRun = TrainedRun | RunDir | PathLike


@contextmanager
def as_command(verbose: bool) -> Iterator[None]:
    """Speak as a command does while something long is done, and be quiet again afterwards."""
    # The random state first: even to show messages, packages are imported.
    with kept_random_state(), messages(verbose), quiet_backend():
        yield


class Run(TrainedRun):
    """A trained run: its history, its test, its answers. `diptych.train` and `diptych.open_run` return one.

    The network is loaded when it is first needed, and then kept: a second `predict` takes milliseconds.

    Attributes:
        run_dir: the folder with its files.
    """

    def __init__(self, run_dir: RunDir) -> None:
        # The working folder of a program may change while the run is open.
        super().__init__(RunDir(run_dir.root.absolute()))

    @property
    def folder(self) -> Path:
        """The folder of the run, absolute."""
        return self.run_dir.root

    @property
    def name(self) -> str:
        """The name of the run."""
        return self.folder.name

    @property
    def history(self) -> "pd.DataFrame":
        """The history of the training so far, a row an epoch: loss, accuracy, val_loss, val_accuracy, learning_rate, ...

        Raises:
            CheckpointError: no epoch is finished yet.
        """
        with kept_random_state():
            from diptych.evaluation.plots import read_history

            return read_history(self.run_dir)

    def predict(
        self,
        images: "ImageLike | Iterable[ImageLike]",
        output: PathLike | None = None,
        *,
        tta: bool = False,
        test_size: int | None = None,
    ) -> "pd.DataFrame":
        """Classify images, as `diptych predict` does: with the temperature, the threshold and the size of the run.

        Args:
            images: files, folders and patterns; arrays, uint8 (H, W, 3), (H, W) or (N, H, W, 3), RGB; PIL images; or a list
                of these.
            output: the CSV file to write the table to; None to write nothing.
            tta: test-time augmentation: the mean over the flips and quarter turns that the run was trained with.
            test_size: height and width of the images for the network, in pixels; None for those of the training.

        Returns:
            A row an image: `path` (of an array its place, "[0]"), `predicted_class`, `probability`, `probability_NAME` of each
            class, `answered` (False for "don't know"), `problem` (why the image could not be read), and more.

        Raises:
            DataError: a path does not exist, a folder holds no image, or an array has the wrong shape.
            CheckpointError: the run has no checkpoint yet, or its decision is for other weights.
            ConfigError: `test_size` is out of range, or `output` cannot be written.
            TypeError: something is no image, or an array is not uint8.
        """
        with as_command(verbose=False):
            from diptych.inference.given_images import all_paths, as_list

            listed = as_list(images)
            paths = all_paths(listed)
            _ = self.network
            from diptych.inference.predict import predict, predict_in_memory

            # One by one where they are few: the cache of a folder would take longer to open than they to be decoded.
            if paths is None or (len(paths) <= FEW and all(path.is_file() for path in paths)):
                return predict_in_memory(self, listed, output, tta=tta, test_size=test_size)
            return predict(self, paths, output, tta=tta, test_size=test_size)

    def predict_proba(self, images: "ImageLike | Iterable[ImageLike]") -> "NDArray[np.float32]":
        """Return the calibrated probabilities of images, float32 (N, K), in the order of `class_names`.

        Args:
            images: as for `predict`.

        Raises:
            DataError: an image cannot be read, and what `predict` raises.
        """
        table = self.predict(images)
        import numpy as np

        from diptych.errors import DataError
        from diptych.inference.prediction_table import probability_column

        unread = table[table["problem"] != ""]
        if len(unread):
            raise DataError(f"{unread['path'].iloc[0]}: {unread['problem'].iloc[0]}")
        return table[[probability_column(name) for name in self.class_names]].to_numpy(np.float32)

    def evaluate(
        self,
        data: PathLike | None = None,
        *,
        threshold: str | float | None = None,
        positive: str | None = None,
        abstain: str | float | None = None,
        coverage: float | None = None,
        keep: bool = False,
        by: str | Sequence[str] = (),
        maps: int = 4,
        tta: bool = False,
        test_size: int | None = None,
        cache: PathLike | None = None,
        output: PathLike | None = None,
        verbose: bool = True,
    ) -> "Report":
        """Test the run on its test images, and write the report into its folder, as `diptych evaluate` does.

        Args:
            data: the data folder, where it has moved; or another labelled data set, all of which is then tested.
            threshold: of two classes: a probability, or a rule such as "youden" or "recall:0.95"; None for that of the run.
            positive: of two classes, the name of the one that threshold, recall and precision are about.
            abstain: when to answer "don't know": "none", "error:SHARE", a probability, or "LOW,HIGH".
            coverage: of the sets of classes.
            keep: store what is chosen for `predict`, in place of the decision that the run has.
            by: a column of the table, or several; the figures of their subgroups are computed too.
            maps: on how many images the maps are checked: a thousand passes of the network for each; 0 for no maps.
            tta: test-time augmentation: the mean over the flips and quarter turns that the run was trained with.
            test_size: height and width of the images for the network, in pixels; None for those of the training.
            cache: the folder of the decoded images; None for that of the training.
            output: the folder for the report of another data set; None for one in the run.
            verbose: False to print nothing.

        Raises:
            DataError: an image is missing, unreadable, or not the same file as when the run was trained.
            CheckpointError: the run has no checkpoint or no split, or was trained further since it was opened.
            ConfigError: a rule is none, or cannot be met, or the run cannot be written.
        """
        with as_command(verbose):
            load_backend()
            from diptych.evaluation.evaluate import evaluate
            from diptych.evaluation.summary import describe
            from diptych.inference.choosing import DecisionOptions

            rule, unsure = (None if given is None else str(given) for given in (threshold, abstain))
            choices = DecisionOptions(rule, unsure, coverage, positive, keep)
            report = evaluate(self, data, cache, tta=tta, test_size=test_size, choices=choices, by=by, maps=maps, output=output)
            self.forget_choices()
            log.info("%s", describe(report))
            return report

    def explain(
        self, images: "ImageLike | Iterable[ImageLike]", output: PathLike | None = None, *, target: str | None = None
    ) -> "list[ExplainedImage]":
        """Explain what is predicted for images: where the network looks, and how much each map is to be trusted.

        Args:
            images: as for `predict`. Each takes some seconds.
            output: the folder for the pictures and explanations.json; None to write nothing.
            target: name of the class to explain; None for the one that is predicted for each image.

        Returns:
            An image each; a notebook shows its picture.

        Raises:
            ConfigError: there is no such class, or the folder cannot be written.
            DataError, CheckpointError, TypeError: as `predict`.
        """
        if target is not None and target not in self.class_names:
            raise ConfigError(f"target is {target!r}; expected one of {', '.join(self.class_names)}.")
        number = None if target is None else self.class_names.index(target)
        with tempfile.TemporaryDirectory(prefix="diptych-") as aside, as_command(verbose=False):
            from diptych.inference.given_images import as_list, to_file

            paths: list[PathLike] = []
            for place, image in enumerate(as_list(images)):
                if isinstance(image, str | os.PathLike):
                    paths.append(image)
                else:
                    paths.append(Path(aside) / f"image-{place}.png")
                    Path(paths[-1]).write_bytes(to_file(image))
            _ = self.network
            from diptych.explanation.explain import explain

            found, names, _ = explain(self, paths, output or Path(aside) / "explanations", number)
            return [
                ExplainedImage(
                    str(each.path) if each.path.parent != Path(aside) else f"[{each.path.stem.removeprefix('image-')}]",
                    each.problem,
                    names[each.explanation.predicted] if each.explanation else None,
                    each.explanation.probability if each.explanation else None,
                    each.picture.read_bytes() if each.picture else b"",
                )
                for each in found
            ]

    def plot(self) -> "Figure":
        """Draw accuracy and loss against the epoch, as a Matplotlib figure of its own: nothing is written, pyplot not touched.

        Raises:
            CheckpointError: no epoch is finished yet.
        """
        with kept_random_state():
            from diptych.evaluation.plots import draw_history

            return draw_history(self.run_dir)

    def resume(self, epochs: int | None = None, *, data: PathLike | None = None, verbose: bool = True) -> "Run":
        """Resume the training where it was stopped; or train it for longer, with more epochs. See `diptych.resume`."""
        return resume(self, epochs, data=data, verbose=verbose)

    def _repr_html_(self) -> str:
        rows = [("folder", str(self.folder)), ("classes", ", ".join(self.class_names))]
        rows.append(("settings", f"recipe {self.config.training.recipe}, {self.config.data.image_size} px"))
        if self.run_dir.history.is_file():
            from diptych.training.state import read_kept_epoch

            history, kept = self.history, read_kept_epoch(self.run_dir)
            rows.append(("epochs", f"{len(history)} of {self.config.training.epochs}"))
            for accuracy in history["val_accuracy"][history["epoch"] == kept]:
                rows.append(("validation", f"accuracy {accuracy:.1%}, in epoch {kept}, whose weights are kept"))
        else:
            rows.append(("epochs", f"0 of {self.config.training.epochs}"))
        return small_table(f"Run {self.name}", rows)


# So many files are decoded one by one.
FEW = 32


@dataclass(frozen=True)
class ExplainedImage:
    """An image of `Run.explain`, which a notebook shows.

    Attributes:
        path: its file, or its place among the images, "[0]".
        problem: why it could not be read; "" where all is well.
        predicted_class: the name of the class; None where the image could not be read.
        probability: of that class, calibrated.
        png: the picture with all maps, as the bytes of a PNG file.
    """

    path: str
    problem: str
    predicted_class: str | None
    probability: float | None
    png: bytes

    def __repr__(self) -> str:
        answer = self.problem or f"{self.predicted_class}, probability {self.probability:.4f}"
        return f"ExplainedImage({self.path}: {answer})"

    def _repr_png_(self) -> bytes | None:
        return self.png or None


class Checked(Audit):
    """What `diptych.check` found, which a notebook shows as a table; the worst first."""

    @property
    def ok(self) -> bool:
        """Whether a training can start: no finding is an error."""
        return all(finding.level != "error" for finding in self.findings)

    def _repr_html_(self) -> str:
        from diptych.data.audit.findings import verdict_of

        rows = [(finding.level, f"{finding.title}. {finding.advice}") for finding in self.findings]
        return small_table(f"{self.root}: {self.images} images. {verdict_of(self)}", rows)


def train(
    data: PathLike | None = None,
    *,
    preset: Preset = "none",
    config: Config | PathLike | None = None,
    runs: PathLike = RUNS,
    name: str = "",
    verbose: bool = True,
    **settings: Unpack[Settings],
) -> Run:
    """Train on a data folder; or resume a training of the same settings and images that was stopped before its end.

    So a cell that was stopped resumes where it was when it is run again. For a new run instead, change a setting (the seed,
    say), or give each run a `name`.

    It prints, logs and shows its progress as `diptych train` does. Ctrl-C, or the stop button of a notebook, saves the state.

        run = diptych.train("cats-dogs", preset="quick", epochs=5)

    Args:
        data: the folder of labelled images, or a table of them; None for the one in `config`.
        preset: a group of settings by its name: see `diptych.PRESETS`.
        config: a Config, or a TOML file of settings such as config.toml of a run.
        runs: the folder in which the run's folder is made.
        name: of the run; "" for one made of the date and time.
        verbose: False to print nothing. log.txt in the run has all of it nevertheless.
        **settings: any setting by its name; they win over `config`, and that wins over the preset.

    Raises:
        DataError: something is wrong with the data; no run is made.
        ConfigError: a setting is unknown or out of its range, or a run of that name is finished or has other settings.
        CheckpointError: the weights to start from cannot be loaded.
        TrainingError: the training diverged, or does not fit into the memory.
        Stopped: a KeyboardInterrupt; the state was saved.
        TypeError: a path is none.
    """
    keys: dict[str, object] = dict(settings)
    if data is not None:
        if isinstance(data, Config):
            raise TypeError("a Config is given as train(config=...); the first argument is the data folder.")
        keys["data"] = as_path(data)
    given = given_from(preset, config if isinstance(config, Config) else as_optional_path(config), **keys)
    with as_command(verbose):
        from diptych.training.trainer import train as train_run

        return Run(train_run(given, as_path(runs), name))


def resume(
    run: AnyRun,
    epochs: int | None = None,
    *,
    data: PathLike | None = None,
    mlflow: str | None = None,
    verbose: bool = True,
) -> Run:
    """Resume a training where it was stopped; or train a finished one for longer, with more epochs.

    Args:
        run: the run, its folder, or its name in runs/.
        epochs: of the whole training; None for the number it was started with.
        data: the data folder, where it has moved since; that its images are the same is checked.
        mlflow: where MLflow logs from now on; None for where it did.
        verbose: False to print nothing.

    Returns:
        The run, opened anew. One that was open and given reads its files and its network anew, too.

    Raises:
        ConfigError: there is nothing left to train, or another process is training it.
        DataError: the images are not those that it was started with.
        CheckpointError: the run cannot be read, or the state to resume from was deleted.
        TrainingError, Stopped: as `train`.
    """
    opened = TrainedRun.open(run)
    with as_command(verbose):
        from diptych.training.trainer import resume as resume_run

        try:
            return Run(resume_run(opened.run_dir, epochs, mlflow, as_optional_path(data)))
        finally:
            opened.forget()


def open_run(run: AnyRun, *, backend: Backend = "auto") -> Run:
    """Open a trained run; its network is loaded when it is first needed.

    Args:
        run: the folder of a run, or its name in runs/.
        backend: what Keras computes with; auto: what is loaded or installed.

    Raises:
        CheckpointError: there is no such run, or it is a cross-validation.
        ConfigError: the backend is not installed, or Keras is loaded on another one.
        TypeError: it is no run.
    """
    opened = Run.open(run)
    if backend != "auto":
        with kept_random_state():
            load_backend(backend)
    return opened


def evaluate(
    run: AnyRun,
    data: PathLike | None = None,
    *,
    threshold: str | float | None = None,
    positive: str | None = None,
    abstain: str | float | None = None,
    coverage: float | None = None,
    keep: bool = False,
    by: str | Sequence[str] = (),
    maps: int = 4,
    tta: bool = False,
    test_size: int | None = None,
    cache: PathLike | None = None,
    output: PathLike | None = None,
    verbose: bool = True,
) -> "Report":
    """Test a run: `open_run(run).evaluate(...)`, which see."""
    return Run.open(run).evaluate(
        data,
        threshold=threshold,
        positive=positive,
        abstain=abstain,
        coverage=coverage,
        keep=keep,
        by=by,
        maps=maps,
        tta=tta,
        test_size=test_size,
        cache=cache,
        output=output,
        verbose=verbose,
    )


def predict(
    run: AnyRun,
    images: "ImageLike | Iterable[ImageLike]",
    output: PathLike | None = None,
    *,
    tta: bool = False,
    test_size: int | None = None,
) -> "pd.DataFrame":
    """Classify images with a run: `open_run(run).predict(...)`. To ask the same run again, keep what `open_run` returns."""
    return Run.open(run).predict(images, output, tta=tta, test_size=test_size)


def explain(
    run: AnyRun, images: "ImageLike | Iterable[ImageLike]", output: PathLike | None = None, *, target: str | None = None
) -> "list[ExplainedImage]":
    """Explain what a run predicts for images: `open_run(run).explain(...)`."""
    return Run.open(run).explain(images, output, target=target)


def compare(run: AnyRun, other: AnyRun, *more: AnyRun, shared_only: bool = False, verbose: bool = True) -> "Comparison":
    """Compare tested runs image by image: each later one with each earlier one.

    Args:
        run: a tested run, its folder, or its name in runs/.
        other: another one.
        *more: further ones.
        shared_only: compare them on the test images that all of them share, and leave out the others.
        verbose: False to print nothing.

    Raises:
        CheckpointError: a run was not tested.
        ConfigError: their test images are not the same.
    """
    with as_command(verbose):
        from diptych.experiments.compare import compare as compare_runs
        from diptych.experiments.compare import describe

        found = compare_runs([TrainedRun.open(each).run_dir for each in (run, other, *more)], shared_only=shared_only)
        log.info("%s", describe(found))
    return found


def check(data: PathLike, *, output: PathLike | None = None, verbose: bool = True, **settings: Unpack[DataSettings]) -> Checked:
    """Look at a data folder, and say what is wrong with it, as `diptych check` does. The user's files are only read.

    Args:
        data: the folder of labelled images, or a table of them.
        output: the folder for check.html and check.json; None to write neither.
        verbose: False to print nothing.
        **settings: how the data is read (`fixes`, `group_column`, `image_size`, ...).

    Raises:
        DataError: no layout is recognised in the folder, or the corrections or the split do not fit.
        ConfigError: a setting is unknown, out of its range, or not one of the data, or the output cannot be written.
        TypeError: a path is none.
    """
    keys: dict[str, Any] = {**settings, "data": as_path(data)}
    for key in settings:
        if key in Settings.__annotations__ and key not in DataSettings.__annotations__:
            raise ConfigError(f"{key} is a setting of the training; check takes {', '.join(DataSettings.__annotations__)}.")
    found_settings = given_from(**keys).resolve().data
    place = as_optional_path(output)
    if place is not None:
        refuse_unwritable(place, "Name another output folder.")
    with as_command(verbose):
        from diptych.data.audit.findings import describe
        from diptych.data.check import examine, write_check

        examined = examine(found_settings)
        log.info("%s", describe(examined.audit))
        if place is not None:
            write_check(examined, found_settings, place)
    return Checked(**vars(examined.audit))
