"""DualClassifier: Diptych as an estimator of scikit-learn."""

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from diptych import api
from diptych.inference.given_images import ImageLike, as_list, to_file
from diptych.settings.config import Backend, Recipe
from diptych.settings.keywords import Settings
from diptych.settings.presets import Preset
from diptych.storage.atomic import as_path
from diptych.storage.run_dir import RunDir

Images = NDArray[np.uint8] | Sequence[ImageLike] | Iterable[ImageLike]
# The caller keeps images for the test by himself, as cross_val_score does; this is the least that a split has.
TEST_SHARE = 0.01
# What a pickle keeps of a run: attributes of RunDir.
KEPT_FILES = ("config", "environment", "classes", "history", "decision", "outliers", "best")


class DualClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """The dual model as a classifier of images, for cross_val_score, GridSearchCV and the like.

    Each `fit` is a training of its own: with a name in `runs` where that is given, else among the temporary files, which go with
    the estimator. A pickle of a fitted one (joblib, several processes) holds all that it predicts with: its copy answers from
    temporary files of its own.

    None of a setting: that of the preset, else of the recipe, else the default of `diptych train`.

    Args:
        preset: a group of settings by its name, a key of `diptych.PRESETS`.
        recipe: what the training starts from: classic, fine-tune, scratch or auto.
        weights: to start from: imagenet, none, auto, or a file or a run.
        branches: both, resnet50 or convnet.
        width: factor on the number of filters.
        image_size: height and width of the images for the network, in pixels.
        epochs: passes over the training images.
        batch_size: images an optimizer step.
        learning_rate: the highest one.
        validation_share: share of the images by which the best epoch is chosen.
        backend: what Keras computes with.
        runs: the folder for a folder of each `fit`, with its run and copies of its images.
        verbose: whether to print as `diptych train` does.
        random_state: the seed.

    Attributes:
        classes_: the labels, sorted.
        run_: the `diptych.Run`, with its history.
    """

    def __init__(
        self,
        *,
        preset: Preset = "none",
        recipe: Recipe | None = None,
        weights: str | None = None,
        branches: Literal["both", "resnet50", "convnet"] | None = None,
        width: float | None = None,
        image_size: int | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        validation_share: float | None = None,
        backend: Backend = "auto",
        runs: str | PathLike[str] | None = None,
        verbose: bool = False,
        random_state: int = 0,
    ) -> None:
        self.preset = preset
        self.recipe = recipe
        self.weights = weights
        self.branches = branches
        self.width = width
        self.image_size = image_size
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.validation_share = validation_share
        self.backend = backend
        self.runs = runs
        self.verbose = verbose
        self.random_state = random_state

    def fit(self, X: Images, y: ArrayLike) -> Self:  # noqa: N803
        """Train on images.

        Args:
            X: (N,) paths, uint8 arrays or PIL images; or an array, uint8 (N, H, W, 3).
            y: (N,), labels of any kind that can be sorted.

        Raises:
            ValueError: X and y are not of one length, or there are fewer than two classes.
            DiptychError: as `diptych.train`.
        """
        images, labels = as_list(X), np.asarray(y)
        if labels.ndim != 1 or len(labels) != len(images):
            raise ValueError(f"X has {len(images)} images, y the shape {labels.shape}; expected a label for each image.")
        check_classification_targets(labels)
        classes, targets = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"DualClassifier needs two classes or more; y has one class: {classes.tolist()}.")
        before = getattr(self, "_aside", None)
        folder = self._new_folder()
        table = write_images(folder / "images", images, targets)
        settings = self._settings()
        settings["cache"] = folder / "cache"
        self.run_ = api.train(table, preset=self.preset, runs=folder, name="run", verbose=self.verbose, **settings)
        self.classes_ = classes
        if before is not None:
            before()
        return self

    def _new_folder(self) -> Path:
        """Make the folder of one `fit`."""
        if self.runs is None:
            return self._temporary_folder()
        runs = as_path(self.runs)
        runs.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="fit-", dir=runs))

    def _temporary_folder(self) -> Path:
        """Make a folder that is deleted when the estimator is, or is fitted again."""
        folder = Path(tempfile.mkdtemp(prefix="diptych-"))
        # Not a TemporaryDirectory, which warns where nobody closes it.
        self._aside = weakref.finalize(self, delete_own, folder, os.getpid())
        return folder

    def __getstate__(self) -> dict[str, Any]:
        """Return the settings and, once fitted, the labels and the files of the run, as bytes."""
        state: dict[str, Any] = {**super().__getstate__()}
        state.pop("_aside", None)
        run = state.pop("run_", None)
        if run is not None:
            files = {name: getattr(run.run_dir, name) for name in KEPT_FILES}
            state["run_files"] = {name: file.read_bytes() for name, file in files.items() if file.is_file()}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore what `__getstate__` returned, with its run in a new temporary folder."""
        settings = {**state}
        files = settings.pop("run_files", None)
        super().__setstate__(settings)
        if files is None:
            return
        run = RunDir(self._temporary_folder() / "run")
        for name in KEPT_FILES:
            if name in files:
                file = getattr(run, name)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(files[name])
        self.run_ = api.open_run(run)

    def _settings(self) -> Settings:
        settings: Settings = {"backend": self.backend, "seed": self.random_state, "test_share": TEST_SHARE, "near_twins": False}
        if self.recipe is not None:
            settings["recipe"] = self.recipe
        if self.weights is not None:
            settings["weights"] = self.weights
        if self.branches is not None:
            settings["branches"] = self.branches
        if self.width is not None:
            settings["width"] = self.width
        if self.image_size is not None:
            settings["image_size"] = self.image_size
        if self.epochs is not None:
            settings["epochs"] = self.epochs
        if self.batch_size is not None:
            settings["batch_size"] = self.batch_size
        if self.learning_rate is not None:
            settings["learning_rate"] = self.learning_rate
        if self.validation_share is not None:
            settings["validation_share"] = self.validation_share
        return settings

    def predict_proba(self, X: Images) -> NDArray[np.float32]:  # noqa: N803
        """Return the probabilities of images, float32 (N, K), in the order of `classes_`.

        Raises:
            NotFittedError: before `fit`.
            DataError: an image cannot be read.
        """
        check_is_fitted(self, "run_")
        names = self.run_.class_names
        return self.run_.predict_proba(X)[:, [names.index(name_of(number)) for number in range(len(self.classes_))]]

    def predict(self, X: Images) -> NDArray[Any]:  # noqa: N803
        """Return the most probable label of each image, (N,); raises what `predict_proba` raises."""
        probabilities = self.predict_proba(X)
        found: NDArray[Any] = self.classes_[probabilities.argmax(axis=1)]
        return found

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.classifier_tags.poor_score = True  # Of a few images of noise nothing is learned.
        return tags


def delete_own(folder: Path, process: int) -> None:
    """Delete a temporary folder in the process that made it; one that was forked from that one leaves it alone."""
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


def name_of(number: int) -> str:
    """Name a class by its number, so that labels of any kind can be told apart in a table."""
    return f"class{number}"


def write_images(folder: Path, images: Sequence[ImageLike], targets: NDArray[np.integer[Any]]) -> Path:
    """Write images and a table of them; files are copied as they are.

    Returns:
        The table.
    """
    folder.mkdir()
    rows = []
    for number, (image, target) in enumerate(zip(images, targets, strict=True)):
        if isinstance(image, str | PathLike):
            name = f"{number}{Path(image).suffix}"
            shutil.copyfile(image, folder / name)
        else:
            name = f"{number}.png"
            (folder / name).write_bytes(to_file(image))
        rows.append({"path": name, "label": name_of(int(target))})
    table = folder / "images.csv"
    pd.DataFrame(rows).to_csv(table, index=False)
    return table
