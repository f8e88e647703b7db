"""Decision: from what the network says to what is answered. It is chosen on validation images and kept in the run."""

import dataclasses
import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diptych.errors import CheckpointError, ConfigError
from diptych.evaluation.calibration import Calibration, calibrate, heat
from diptych.evaluation.thresholds import choose_threshold, conformal_limit, error_limit, read_rule
from diptych.storage import FORMAT_VERSION, RunDir, reason_of, sha256, write_json

COVERAGE = 0.95


@dataclass(frozen=True)
class Decision:
    """How probabilities become an answer.

    Attributes:
        temperature: the logits are divided by it before anything else.
        threshold: of two classes: from this probability of class 1 on, the answer is class 1.
        rule: how the threshold was chosen; see `choose_threshold`.
        abstain: of two classes: "don't know" from the first up to below the second probability of class 1; of more classes,
            from the first up to below the second probability of the most probable class. Equal ones: always an answer.
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

    @property
    def made_for(self) -> tuple[str, int, int, str, str, float]:
        """What it was chosen for, and by which rules."""
        return self.weights, self.test_size, self.views, self.rule, self.abstain_rule, self.coverage

    def calibrated(self, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return probabilities (N, K) as they count: with the temperature."""
        return heat(shares, self.temperature)

    def predicted(self, shares: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the class (N,) that calibrated probabilities (N, K) speak for, sure or not."""
        if shares.shape[1] == 2:
            return (shares[:, 1] >= self.threshold).astype(np.int64)
        best: NDArray[np.int64] = shares.argmax(axis=1)
        return best

    def answered(self, shares: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which of some images (N,) are answered; for the others it is "don't know"."""
        low, high = self.abstain
        value = shares[:, 1] if shares.shape[1] == 2 else shares.max(axis=1)
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
    seed: int = 0,
) -> Decision:
    """Choose temperature, threshold, the range of "don't know" and the limit of the sets on validation images.

    Args:
        targets: (N,), 0 to K - 1.
        shares: probabilities as the network gives them (N, K), each row adding up to 1.
        rule: of the threshold; "0.5" for more than two classes.
        abstain_rule: see `choose_abstention`.
        coverage: of the sets, above 0 and below 1.
        seed: of the folds that judge the temperature.

    Raises:
        ConfigError: a rule is not one, or cannot be met.
    """
    check_rules(rule, abstain_rule, coverage, shares.shape[1])
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


def check_rules(rule: str, abstain_rule: str, coverage: float, classes: int) -> None:
    """Raise a ConfigError where a rule is not one, or not one for so many classes."""
    read_rule(rule)
    if classes != 2 and rule != "0.5":
        raise ConfigError(f"--threshold {rule} is for two classes; these are {classes}, of which the most probable is chosen.")
    read_abstain_rule(abstain_rule, classes)
    if not 0 < coverage < 1:
        raise ConfigError(f"--coverage is {coverage}; expected a share above 0 and below 1, such as 0.95.")


def choose_abstention(
    rule: str, targets: NDArray[np.int64], shares: NDArray[np.float64], decision: Decision
) -> tuple[float, float]:
    """Choose between which probabilities the answer is "don't know".

    Args:
        rule: "none"; "LOW,HIGH", probabilities of class 1 of two; "LIMIT", the least probability of the answer, of any number
            of classes; "error:SHARE", as many answers as leave at most that share of them wrong on the validation images.
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


def certainty(shares: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
    """Return how sure answers are (N,), [0, 1]: of two classes the way from the threshold to 0 or 1, else the probability."""
    if shares.shape[1] != 2:
        best: NDArray[np.float64] = shares.max(axis=1)
        return best
    ones = shares[:, 1]
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
        "classes LOW,HIGH: two probabilities of class 1 between which nothing is answered."
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
