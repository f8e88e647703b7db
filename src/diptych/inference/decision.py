"""Decision: from probabilities to an answer. `choosing` chooses it on validation images; it is stored in the run.

To answer with it takes NumPy alone: no scikit-learn, no pandas.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from diptych.inference.tta import describe_test
from diptych.metrics.weighted import SMALLEST
from diptych.storage.atomic import FORMAT_VERSION, read_json, sha256, write_json
from diptych.storage.run_dir import RunDir

COVERAGE = 0.95


class Rules(NamedTuple):
    """The rules by which a decision is chosen.

    Attributes:
        threshold: see `choose_threshold`.
        abstain: see `choose_abstention`.
        coverage: of the sets of classes, above 0 and below 1.
        positive: of two classes, the one that the first two are about: 0 or 1.
    """

    threshold: str = "0.5"
    abstain: str = "none"
    coverage: float = COVERAGE
    positive: int = 1


@dataclass(frozen=True)
class Calibration:
    """A fitted temperature, and whether it is kept.

    Attributes:
        temperature: by which logits are divided; 1 where dividing did not help.
        fitted: the temperature that fits all validation images best.
        loss_before: mean cross-entropy, in nats, of the validation images as the network answers.
        loss_after: the same of each fold under the temperature that the other folds gave.
        reason: why the temperature is kept or not, for people.
    """

    temperature: float
    fitted: float
    loss_before: float
    loss_after: float
    reason: str


def scale_temperature(probabilities: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Divide the logits behind probabilities (N, K) by a temperature above 0 (Guo et al., ICML 2017, arXiv 1706.04599)."""
    if temperature == 1.0:
        return probabilities
    logits = np.log(np.clip(probabilities, SMALLEST, 1.0)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    calibrated: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return calibrated


@dataclass(frozen=True)
class Decision:
    """How probabilities become an answer.

    Attributes:
        temperature: the logits are divided by it before anything else.
        positive: of two classes, the one that threshold, recall, precision and F1 are about: 0 or 1.
        threshold: of two classes: from this probability of the positive class on, it is the answer.
        rule: how the threshold was chosen; see `choose_threshold`.
        abstain: of two classes: "don't know" from the first up to below the second probability of the positive class; of
            more classes, from the first up to below the second probability of the most probable class. Equal ones: always an
            answer.
        abstain_rule: how these were chosen; see `choose_abstention`.
        coverage: with which chance the set of classes of an image holds the true one, if it is like the validation images.
        set_limit: a class is in the set from this probability on.
        calibration: how the temperature was found; None where it was not looked for.
        validation_images: how many images all this was chosen on; 0 for none.
        weights: SHA-256 of the checkpoint that it is for; "" for any.
        test_size: height and width of the images that it was chosen with, in pixels; 0 for any.
        views: of each image; 0 for any.
    """

    temperature: float = 1.0
    threshold: float = 0.5
    rule: str = "0.5"
    abstain: tuple[float, float] = (0.0, 0.0)
    abstain_rule: str = "none"
    coverage: float = COVERAGE
    set_limit: float = 0.0
    calibration: Calibration | None = None
    validation_images: int = 0
    weights: str = ""
    test_size: int = 0
    views: int = 0
    positive: int = 1

    @property
    def made_for(self) -> tuple[str, int, int, Rules]:
        """The weights, size and views it was chosen for, and its rules."""
        return self.weights, self.test_size, self.views, self.rules

    @property
    def rules(self) -> Rules:
        """By which rules it was chosen."""
        return Rules(self.rule, self.abstain_rule, self.coverage, self.positive)

    def calibrated(self, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return calibrated probabilities (N, K)."""
        return scale_temperature(probabilities, self.temperature)

    def predicted(self, probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the predicted class (N,) for calibrated probabilities (N, K), sure or not."""
        if probabilities.shape[1] == 2:
            said: NDArray[np.int64] = np.where(
                probabilities[:, self.positive] >= self.threshold, self.positive, 1 - self.positive
            )
            return said
        best: NDArray[np.int64] = probabilities.argmax(axis=1)
        return best

    def answered(self, probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which of some images (N,) are answered; for the others it is "don't know"."""
        low, high = self.abstain
        value = probabilities[:, self.positive] if probabilities.shape[1] == 2 else probabilities.max(axis=1)
        return (value < low) | (value >= high)

    def sets(self, probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which classes are in the set of each image, (N, K); the predicted one always is."""
        inside = probabilities >= self.set_limit
        inside[np.arange(len(probabilities)), self.predicted(probabilities)] = True
        return inside


# Before a decision is chosen.
DEFAULT = Decision()


def describe_kept(decision: Decision | None) -> str:
    """Describe the decision that `predict` keeps after a test that only looked, and how to change it."""
    if decision is None:
        now = "with threshold 0.5 and without calibration"
    else:
        chosen = f"threshold {decision.threshold:.4g} ({decision.rule}), don't know: {decision.abstain_rule}"
        now = f"as before: {chosen}, chosen with {describe_test(decision.test_size, decision.views)}"
    return f"Only looked at: predict answers {now}. To store what was chosen now, add --keep."


def certainty(probabilities: NDArray[np.float64], threshold: float, positive: int = 1) -> NDArray[np.float64]:
    """Return how sure answers are (N,), [0, 1]: of two classes the way from the threshold to 0 or 1, else the probability."""
    if probabilities.shape[1] != 2:
        best: NDArray[np.float64] = probabilities.max(axis=1)
        return best
    ones = probabilities[:, positive]
    above = (ones - threshold) / max(1 - threshold, np.finfo(float).tiny)
    below = (threshold - ones) / max(threshold, np.finfo(float).tiny)
    return np.clip(np.where(ones >= threshold, above, below), 0.0, 1.0)


def write_decision(run: RunDir, decision: Decision) -> None:
    """Write decision.json."""
    write_json(run.decision, {"format_version": FORMAT_VERSION, **dataclasses.asdict(decision)})


def read_decision(run: RunDir) -> Decision | None:
    """Read the decision of a run; None where none was chosen yet.

    Raises:
        CheckpointError: the file is damaged, or of a format that this version does not know.
    """
    if not run.decision.is_file():
        return None

    def decision_of(content: dict[str, Any]) -> Decision:
        calibration = content["calibration"]
        low, high = content["abstain"]
        others = {key: value for key, value in content.items() if key not in ("format_version", "calibration", "abstain")}
        return Decision(**others, abstain=(low, high), calibration=calibration and Calibration(**calibration))

    return read_json(run.decision, decision_of, "Delete it and run diptych evaluate again.")


def hash_of_weights(run: RunDir) -> str:
    """Return the SHA-256 of the run's best checkpoint."""
    return sha256(run.best.read_bytes())
