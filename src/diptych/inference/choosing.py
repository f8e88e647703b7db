"""Choosing a decision on validation images: temperature, threshold, "don't know", and the sets of classes."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diptych.errors import ConfigError
from diptych.inference.decision import COVERAGE, Decision, Rules, certainty, scale_temperature
from diptych.inference.thresholds import choose_threshold, conformal_limit, error_limit, read_rule


@dataclass(frozen=True)
class DecisionOptions:
    """Options of the decision, chosen on the validation images. None: as in the run's decision, or the value in brackets.

    Attributes:
        threshold: see `choose_threshold` ("0.5").
        abstain: see `choose_abstention` ("none").
        coverage: of the sets of classes (0.95).
        positive: name of the positive class of two (the second one).
        keep: store what is chosen for `predict`, even where the run has another decision, image size or views stored.
    """

    threshold: str | None = None
    abstain: str | None = None
    coverage: float | None = None
    positive: str | None = None
    keep: bool = False

    def check(self, class_names: Sequence[str]) -> None:
        """Refuse what no images could make good, before a network is loaded.

        Raises:
            ConfigError: as `check_rules` and `find_positive`.
        """
        rules = Rules()
        check_rules(
            rules.threshold if self.threshold is None else self.threshold,
            rules.abstain if self.abstain is None else self.abstain,
            rules.coverage if self.coverage is None else self.coverage,
            len(class_names),
        )
        if self.positive is not None:
            find_positive(self.positive, class_names)

    def after(self, stored: Decision | None, class_names: Sequence[str]) -> Rules:
        """Return the rules with every open choice filled in.

        Raises:
            ConfigError: there is no such class, or another class becomes positive while a probability stays.
        """
        before = (stored or Decision()).rules
        positive = before.positive if self.positive is None else find_positive(self.positive, class_names)
        rules = Rules(
            before.threshold if self.threshold is None else self.threshold,
            before.abstain if self.abstain is None else self.abstain,
            before.coverage if self.coverage is None else self.coverage,
            positive,
        )
        if positive != before.positive:
            kept = (("threshold", self.threshold, rules.threshold), ("abstain", self.abstain, rules.abstain))
            for name, given, rule in kept:
                if given is None and is_about_one_class(name, rule):
                    raise ConfigError(
                        f"{name} {rule} of the run is a probability of class {class_names[before.positive]}; with positive "
                        f"{class_names[positive]}, set it again: {name}."
                    )
        return rules


def is_about_one_class(name: str, rule: str) -> bool:
    """Tell whether a rule holds a probability of the positive class: another than 0.5, or a range."""
    if name == "abstain":
        return "," in rule and ":" not in rule
    return rule != "0.5" and not rule[0].isalpha()


def choose_decision(
    targets: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    rule: str = "0.5",
    abstain_rule: str = "none",
    coverage: float = COVERAGE,
    positive: int = 1,
    *,
    seed: int = 0,
) -> Decision:
    """Choose temperature, threshold, the range of "don't know" and the limit of the sets on validation images.

    Args:
        targets: (N,), 0 to K - 1.
        probabilities: as the network gives them (N, K), each row adding up to 1.
        rule: of the threshold; "0.5" for more than two classes.
        abstain_rule: see `choose_abstention`.
        coverage: of the sets, above 0 and below 1.
        positive: of two classes, the one that the rules are about; 1 for more classes.
        seed: of the folds that judge the temperature.

    Raises:
        ConfigError: a rule is not one, or cannot be met.
    """
    # SciPy and scikit-learn, which are not needed to check the rules.
    from diptych.inference.calibration import calibrate

    check_rules(rule, abstain_rule, coverage, probabilities.shape[1], positive)
    if positive == 0:
        turned = choose_decision(1 - targets, probabilities[:, ::-1], rule, abstain_rule, coverage, seed=seed)
        return dataclasses.replace(turned, positive=0)
    calibration = calibrate(probabilities, targets, seed)
    calibrated = scale_temperature(probabilities, calibration.temperature)
    threshold = choose_threshold(rule, targets, calibrated[:, 1]) if probabilities.shape[1] == 2 else 0.5
    decision = Decision(calibration.temperature, threshold, rule, abstain_rule=abstain_rule, coverage=coverage)
    return dataclasses.replace(
        decision,
        abstain=choose_abstention(abstain_rule, targets, calibrated, decision),
        set_limit=conformal_limit(calibrated[np.arange(len(targets)), targets], coverage),
        calibration=calibration,
        validation_images=len(targets),
    )


def check_rules(rule: str, abstain_rule: str, coverage: float, classes: int, positive: int = 1) -> None:
    """Raise a ConfigError where a rule is unknown, or not defined for this number of classes."""
    if positive not in (0, 1) or (classes != 2 and positive != 1):
        raise ConfigError(f"positive is for two classes; these are {classes}, each of which has its own figures. Leave it out.")
    read_rule(rule)
    if classes != 2 and rule != "0.5":
        raise ConfigError(f"threshold {rule} is for two classes; these are {classes}, of which the most probable is chosen.")
    read_abstain_rule(abstain_rule, classes)
    if not 0 < coverage < 1:
        raise ConfigError(f"coverage is {coverage}; expected a share above 0 and below 1, such as 0.95.")


def find_positive(name: str, class_names: Sequence[str]) -> int:
    """Return the number of the positive class.

    Raises:
        ConfigError: there is no such class, or there are more than two.
    """
    if len(class_names) != 2:
        raise ConfigError(f"positive {name} is for two classes; these are {len(class_names)}, each with its own figures.")
    if name not in class_names:
        raise ConfigError(f"positive is {name!r}; expected {class_names[0]} or {class_names[1]}.")
    return list(class_names).index(name)


def choose_abstention(
    rule: str, targets: NDArray[np.int64], probabilities: NDArray[np.float64], decision: Decision
) -> tuple[float, float]:
    """Choose between which probabilities the answer is "don't know".

    Args:
        rule: "none"; "LOW,HIGH", probabilities of the positive class of two; "LIMIT", the least probability of the answer, of
            any number of classes; "error:SHARE", as many answers as leave at most that share of them wrong on the
            validation images.
        targets: (N,), of the validation images.
        probabilities: their calibrated probabilities (N, K).
        decision: with its threshold.

    Raises:
        ConfigError: there is no such rule, or no answer is left.
    """
    name, given = read_abstain_rule(rule, probabilities.shape[1])
    binary = probabilities.shape[1] == 2
    if name == "none":
        return 0.0, 0.0
    if name == "between":
        return given[0], given[1]
    if name == "limit":
        # Nearer to the threshold, the answer is of the less probable class.
        return (min(1 - given[0], decision.threshold), max(given[0], decision.threshold)) if binary else (0.0, given[0])
    sure = certainty(probabilities, decision.threshold)
    limit = error_limit(decision.predicted(probabilities) == targets, sure, given[0])
    if limit is None:
        raise ConfigError(
            f"abstain {rule}: even the surest validation images are answered wrongly more often than that; give a larger share."
        )
    if not binary:
        return 0.0, limit
    return decision.threshold * (1 - limit), decision.threshold + limit * (1 - decision.threshold)


def read_abstain_rule(rule: str, classes: int) -> tuple[str, tuple[float, ...]]:
    """Split a rule into its name and its numbers.

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
        f"abstain is {rule!r}; expected none, error:SHARE, the least probability of an answer ({lowest:g} to 1), or for two "
        "classes LOW,HIGH: two probabilities of the positive class between which nothing is answered."
    )
