"""TrainedRun: a run opened once, for all that is asked of it afterwards."""

import logging
from functools import cached_property
from typing import TYPE_CHECKING, Self

from diptych.data.pixels.decode import ImageSpec, spec_of
from diptych.errors import CheckpointError
from diptych.inference.decision import DEFAULT, Decision, hash_of_weights, read_decision
from diptych.inference.outliers import Outliers, read_outliers
from diptych.inference.tta import describe_test
from diptych.settings.config import Config
from diptych.settings.sources import read_toml
from diptych.storage.atomic import PathLike
from diptych.storage.run_dir import RunDir, read_classes
from diptych.storage.runs import open_run

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)


class TrainedRun:
    """A trained run, each of whose files is read once, when it is first asked for.

    It answers as the run was when its parts were read: after more training, open it again.

    Attributes:
        run_dir: the folder with its files.
    """

    def __init__(self, run_dir: RunDir) -> None:
        self.run_dir = run_dir

    @classmethod
    def open(cls, folder: "PathLike | RunDir | TrainedRun") -> Self:
        """Open a run; one that is open already stays as it is.

        Args:
            folder: the folder of a run, or its name in runs/.

        Raises:
            CheckpointError: there is no such run, or it is a cross-validation.
            TypeError: it is none of these.
        """
        if isinstance(folder, cls):
            return folder
        return cls(folder.run_dir if isinstance(folder, TrainedRun) else open_run(folder))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.run_dir.root)!r})"

    @cached_property
    def config(self) -> Config:
        """The settings that it was trained with."""
        return read_toml(self.run_dir.config, Config())

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The names of the K classes, in the order of the targets."""
        return read_classes(self.run_dir)

    @cached_property
    def spec(self) -> ImageSpec:
        """How images become the pixels that it was trained on."""
        return spec_of(self.config.data)

    @cached_property
    def weights_hash(self) -> str:
        """SHA-256 of the best checkpoint."""
        return hash_of_weights(self.run_dir)

    @cached_property
    def stored_decision(self) -> Decision | None:
        """The decision stored in the run, without a check that it belongs to these weights; None if there is none."""
        return read_decision(self.run_dir)

    @cached_property
    def stored_outliers(self) -> Outliers | None:
        """The outliers stored in the run, without a check that they belong to these weights; None if there are none."""
        return read_outliers(self.run_dir)

    @property
    def decision(self) -> Decision:
        """The decision that its answers follow; the default one where none was chosen yet.

        Raises:
            CheckpointError: it was chosen for other weights than the best checkpoint.
        """
        if self.stored_decision is None:
            return DEFAULT
        if self.stored_decision.weights != self.weights_hash:
            raise CheckpointError(
                f"{self.run_dir.decision} was chosen for other weights than {self.run_dir.best}: the run was trained further "
                "since. "
                f"Run diptych evaluate {self.run_dir.root} again."
            )
        return self.stored_decision

    @property
    def outliers(self) -> Outliers | None:
        """What images of the size of the training are compared with; None where it is for other weights, or not there."""
        return self.outliers_at(self.spec.size)

    def outliers_at(self, size: int) -> Outliers | None:
        """Return the outlier references for images of another height and width, in pixels; None if there are none."""
        stored = self.stored_outliers
        return stored if stored is not None and (stored.weights, stored.test_size) == (self.weights_hash, size) else None

    def answer_with(self, size: int, views: int) -> tuple[Decision, Outliers | None]:
        """Return decision and outliers for an image size and a number of views; log if they were chosen for others.

        Raises:
            CheckpointError: as `decision`.
        """
        if self.stored_decision is None:
            log.info("threshold 0.5 and no calibration: diptych evaluate chooses them on the validation images")
            return DEFAULT, None
        decision = self.decision
        if (decision.test_size, decision.views) != (size, views):
            chosen, now = describe_test(decision.test_size, decision.views), describe_test(size, views)
            log.warning("Warning: threshold and calibration were chosen with %s; now it is %s.", chosen, now)
        return decision, self.outliers_at(size)

    @cached_property
    def network(self) -> "keras.Model":
        """The network with the best weights, loaded when it is first asked for, on the backend that is there.

        Raises:
            CheckpointError: there is no best checkpoint yet, or a damaged one, or one for other classes than the run.
        """
        from diptych.machine.backend import load_backend

        if self.run_dir.best.is_file():
            # Before they are loaded, so that it is never newer than the network.
            _ = self.weights_hash
        load_backend()
        from diptych.model.checkpoint import load_run_network

        return load_run_network(self.run_dir)[0]

    @cached_property
    def feature_network(self) -> "keras.Model":
        """The network, giving its pooled features, float (N, C), beside its probabilities."""
        network = self.network
        import keras

        return keras.Model(network.input, [network.output, network.get_layer("pool").output])

    def refresh(self) -> None:
        """Read settings and choices anew when they are next asked for, before something is written into the run.

        Raises:
            CheckpointError: the best checkpoint is another one than that which was read.
        """
        if "weights_hash" in self.__dict__ and self.weights_hash != hash_of_weights(self.run_dir):
            raise CheckpointError(f"{self.run_dir.root} was trained further since it was opened; open it again.")
        self.__dict__.pop("config", None)
        self.forget_choices()

    def forget(self) -> None:
        """Read everything anew when it is next asked for, the network too."""
        kept = self.run_dir
        self.__dict__.clear()
        self.run_dir = kept

    def forget_choices(self) -> None:
        """Read decision and outliers anew when they are next asked for: they were written since."""
        for name in ("stored_decision", "stored_outliers"):
            self.__dict__.pop(name, None)
