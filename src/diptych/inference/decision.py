"""Decision: from probabilities to an answer. It is chosen on validation images and stored in the run."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from diptych.errors import CheckpointError, ConfigError
from diptych.inference.calibration import Calibration, calibrate, heat
from diptych.inference.thresholds import choose_threshold, conformal_limit, error_limit, read_rule
from diptych.inference.tta import describe_test
from diptych.storage.atomic import FORMAT_VERSION, reason_of, sha256, write_json
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

    def calibrated(self, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return calibrated probabilities (N, K)."""
        return heat(shares, self.temperature)

    def predicted(self, shares: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the predicted class (N,) for calibrated probabilities (N, K), sure or not."""
        if shares.shape[1] == 2:
            said: NDArray[np.int64] = np.where(shares[:, self.positive] >= self.threshold, self.positive, 1 - self.positive)
            return said
        best: NDArray[np.int64] = shares.argmax(axis=1)
        return best

    def answered(self, shares: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which of some images (N,) are answered; for the others it is "don't know"."""
        low, high = self.abstain
        value = shares[:, self.positive] if shares.shape[1] == 2 else shares.max(axis=1)
        return (value < low) | (value >= high)

    def sets(self, shares: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which classes are in the set of each image, (N, K); the predicted one always is."""
        inside = shares >= self.set_limit
        inside[np.arange(len(shares)), self.predicted(shares)] = True
        return inside


# Before a decision is chosen.
DEFAULT = Decision()


def choose_decision(
    targets: NDArray[np.int64],
    shares: NDArray[np.float64],
    rule: str = "0.5",
    abstain_rule: str = "none",
    coverage: float = COVERAGE,
    positive: int = 1,
    seed: int = 0,
) -> Decision:
    """Choose temperature, threshold, the range of "don't know" and the limit of the sets on validation images.

    Args:
        targets: (N,), 0 to K - 1.
        shares: probabilities as the network gives them (N, K), each row adding up to 1.
        rule: of the threshold; "0.5" for more than two classes.
        abstain_rule: see `choose_abstention`.
        coverage: of the sets, above 0 and below 1.
        positive: of two classes, the one that the rules are about; 1 for more classes.
        seed: of the folds that judge the temperature.

    Raises:
        ConfigError: a rule is not one, or cannot be met.
    """
    check_rules(rule, abstain_rule, coverage, shares.shape[1], positive)
    if positive == 0:
        turned = choose_decision(1 - targets, shares[:, ::-1], rule, abstain_rule, coverage, seed=seed)
        return dataclasses.replace(turned, positive=0)
    calibration = calibrate(shares, targets, seed)
    warm = heat(shares, calibration.temperature)
    threshold = choose_threshold(rule, targets, warm[:, 1]) if shares.shape[1] == 2 else 0.5
    decision = Decision(calibration.temperature, threshold, rule, abstain_rule=abstain_rule, coverage=coverage)
    return dataclasses.replace(
        decision,
        abstain=choose_abstention(abstain_rule, targets, warm, decision),
        set_limit=conformal_limit(warm[np.arange(len(targets)), targets], coverage),
        calibration=calibration,
        validation_images=len(targets),
    )


def check_rules(rule: str, abstain_rule: str, coverage: float, classes: int, positive: int = 1) -> None:
    """Raise a ConfigError where a rule is not one, or not one for so many classes."""
    if positive not in (0, 1) or (classes != 2 and positive != 1):
        raise ConfigError(f"--positive is for two classes; these are {classes}, each of which has its own figures. Leave it out.")
    read_rule(rule)
    if classes != 2 and rule != "0.5":
        raise ConfigError(f"--threshold {rule} is for two classes; these are {classes}, of which the most probable is chosen.")
    read_abstain_rule(abstain_rule, classes)
    if not 0 < coverage < 1:
        raise ConfigError(f"--coverage is {coverage}; expected a share above 0 and below 1, such as 0.95.")


def find_positive(name: str, class_names: Sequence[str]) -> int:
    """Return the number of the positive class.

    Raises:
        ConfigError: there is no such class, or there are more than two.
    """
    if len(class_names) != 2:
        raise ConfigError(f"--positive {name} is for two classes; these are {len(class_names)}, each with its own figures.")
    if name not in class_names:
        raise ConfigError(f"--positive is {name!r}; expected {class_names[0]} or {class_names[1]}.")
    return list(class_names).index(name)


def describe_obeyed(decision: Decision | None) -> str:
    """Describe the decision that `predict` keeps after a test that only looked, and how to change it."""
    if decision is None:
        now = "with threshold 0.5 and without calibration"
    else:
        chosen = f"threshold {decision.threshold:.4g} ({decision.rule}), don't know: {decision.abstain_rule}"
        now = f"as before: {chosen}, chosen with {describe_test(decision.test_size, decision.views)}"
    return f"Only looked at: predict answers {now}. To store what was chosen now, add --keep."


def choose_abstention(
    rule: str, targets: NDArray[np.int64], shares: NDArray[np.float64], decision: Decision
) -> tuple[float, float]:
    """Choose between which probabilities the answer is "don't know".

    Args:
        rule: "none"; "LOW,HIGH", probabilities of the positive class of two; "LIMIT", the least probability of the answer, of
            any number of classes; "error:SHARE", as many answers as leave at most that share of them wrong on the
            validation images.
        targets: (N,), of the validation images.
        shares: their calibrated probabilities (N, K).
        decision: with its threshold.

    Raises:
        ConfigError: there is no such rule, or no answer is left.
    """
    name, given = read_abstain_rule(rule, shares.shape[1])
    binary = shares.shape[1] == 2
    if name == "none":
        return 0.0, 0.0
    if name == "between":
        return given[0], given[1]
    if name == "limit":
        # Nearer to the threshold, the answer is of the less probable class.
        return (min(1 - given[0], decision.threshold), max(given[0], decision.threshold)) if binary else (0.0, given[0])
    sure = certainty(shares, decision.threshold)
    limit = error_limit(decision.predicted(shares) == targets, sure, given[0])
    if limit is None:
        raise ConfigError(
            f"--abstain {rule}: even the surest validation images are answered wrongly more often than that; give a larger share."
        )
    if not binary:
        return 0.0, limit
    return decision.threshold * (1 - limit), decision.threshold + limit * (1 - decision.threshold)


def certainty(shares: NDArray[np.float64], threshold: float, positive: int = 1) -> NDArray[np.float64]:
    """Return how sure answers are (N,), [0, 1]: of two classes the way from the threshold to 0 or 1, else the probability."""
    if shares.shape[1] != 2:
        best: NDArray[np.float64] = shares.max(axis=1)
        return best
    ones = shares[:, positive]
    above = (ones - threshold) / max(1 - threshold, np.finfo(float).tiny)
    below = (threshold - ones) / max(threshold, np.finfo(float).tiny)
    return np.clip(np.where(ones >= threshold, above, below), 0.0, 1.0)


def read_abstain_rule(rule: str, classes: int) -> tuple[str, tuple[float, ...]]:
    """Take a rule apart into its name and its numbers.

    Raises:
        ConfigError: there is no such rule.
    """
    if rule == "none":
        return "none", ()
    name, _, share = rule.rpartition(":")
    try:
        given = tuple(float(part) for part in share.split(","))
    except ValueError:
        given = ()
    lowest = 0.5 if classes == 2 else 0.0
    if name == "error" and len(given) == 1 and 0 <= given[0] < 1:
        return "error", given
    if name == "" and len(given) == 1 and lowest <= given[0] <= 1:
        return "limit", given
    if name == "" and len(given) == 2 and classes == 2 and 0 <= given[0] <= given[1] <= 1:
        return "between", given
    raise ConfigError(
        f"--abstain is {rule!r}; expected none, error:SHARE, the least probability of an answer ({lowest:g} to 1), or for two "
        "classes LOW,HIGH: two probabilities of the positive class between which nothing is answered."
    )


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
    try:
        content = json.loads(run.decision.read_text(encoding="utf-8"))
        version = content.pop("format_version")
        calibration = content.pop("calibration")
        low, high = content.pop("abstain")
        found = Decision(**content, abstain=(low, high), calibration=calibration and Calibration(**calibration))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{run.decision} {reason_of(error)}. Delete it and run diptych evaluate again.") from error
    if version != FORMAT_VERSION:
        raise CheckpointError(f"{run.decision}: format {version}; this version of Diptych reads {FORMAT_VERSION}.")
    return found


def hash_of_weights(run: RunDir) -> str:
    """Return the SHA-256 of the run's best checkpoint."""
    return sha256(run.best.read_bytes())
