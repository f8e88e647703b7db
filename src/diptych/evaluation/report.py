"""Report: all that a test of a run says, typed; metrics.json, the screen, the page and `compare` read this one object."""

import dataclasses
import json
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, get_args, get_origin, get_type_hints

from diptych.errors import CheckpointError
from diptych.explanation.map_check import MapsCheck
from diptych.html import small_table
from diptych.inference.decision import Decision
from diptych.metrics.classification import NAMES, PERCENT, Metrics
from diptych.metrics.intervals import Interval
from diptych.metrics.subgroups import Subgroup
from diptych.storage.atomic import FORMAT_VERSION, reason_of
from diptych.storage.run_dir import RunDir

# Attributes whose key in metrics.json is a word that Python has for itself.
KEYS = {"class_name": "class", "target": "class"}


@dataclass(frozen=True)
class Answered:
    """The effect of "don't know".

    Attributes:
        rule: of the decision.
        abstain: the probabilities between which the answer is "don't know".
        answered: test images that are answered.
        coverage: their share.
        coverage_interval: 95 % interval; None with fewer than 10 groups.
        accuracy: share of right ones among the answers; None where none is answered.
        accuracy_interval: 95 % interval.
    """

    rule: str
    abstain: tuple[float, float]
    answered: int
    coverage: float
    coverage_interval: Interval | None
    accuracy: float | None
    accuracy_interval: Interval | None


@dataclass(frozen=True)
class ClassSets:
    """The effect of the sets of classes (conformal prediction sets).

    Attributes:
        asked_coverage: share of images whose set is to hold the true class.
        limit: a class is in the set from this probability on.
        coverage: share of test images whose set does.
        coverage_interval: 95 % interval.
        mean_size: classes in a set.
        sizes: images by the size of their set.
    """

    asked_coverage: float
    limit: float
    coverage: float
    coverage_interval: Interval | None
    mean_size: float
    sizes: dict[str, int]


@dataclass(frozen=True)
class OutlierCount:
    """Test images that are unlike any training image.

    Attributes:
        references: training images that are compared with.
        neighbour: the distance to which nearest one is the score.
        validation_units: validation images, or groups, that the limit rests on.
        limit: above it, an image is an outlier; None where there are too few for one.
        expected_share: of images like the validation images, on average at most.
        expected_interval: between which that share lies in 95 of 100 cases.
        flagged: test images above the limit; None without one.
        share: their share.
        share_interval: 95 % interval.
    """

    references: int
    neighbour: int
    validation_units: int
    limit: float | None
    expected_share: float
    expected_interval: Interval | None
    flagged: int | None
    share: float | None
    share_interval: Interval | None


@dataclass(frozen=True)
class RocCurve:
    """The ROC curve of a class, up to 200 points."""

    target: int
    false_positive_rate: tuple[float, ...]
    true_positive_rate: tuple[float, ...]


@dataclass(frozen=True)
class PrecisionRecallCurve:
    """The precision-recall curve of a class, up to 200 points."""

    target: int
    recall: tuple[float, ...]
    precision: tuple[float, ...]


@dataclass(frozen=True)
class RiskCoverage:
    """The share of wrong answers (risk) among the surest images, for each share of images that is answered (coverage)."""

    coverage: tuple[float, ...]
    risk: tuple[float, ...]


@dataclass(frozen=True)
class ReliabilityBin:
    """A bin of a reliability diagram: its images, their mean probability, and the share of them that are of the class."""

    images: int
    mean_probability: float
    share: float


@dataclass(frozen=True)
class Reliability:
    """The filled bins before and after the temperature."""

    before: tuple[ReliabilityBin, ...]
    after: tuple[ReliabilityBin, ...]


@dataclass(frozen=True)
class CountsByThreshold:
    """The confusion matrix of two classes at thresholds from 0 to 1."""

    threshold: tuple[float, ...]
    true_positive: tuple[int, ...]
    false_negative: tuple[int, ...]
    false_positive: tuple[int, ...]
    true_negative: tuple[int, ...]


@dataclass(frozen=True)
class Curves:
    """The curves of a test; `roc` and `precision_recall` of each class that is drawn, `by_threshold` of two classes only."""

    roc: tuple[RocCurve, ...]
    precision_recall: tuple[PrecisionRecallCurve, ...]
    risk_coverage: RiskCoverage
    reliability: Reliability
    by_threshold: CountsByThreshold | None = None

    def turned(self) -> "Curves":
        """Return the same of two classes in the other order."""
        return replace(
            self,
            roc=tuple(replace(curve, target=1 - curve.target) for curve in self.roc),
            precision_recall=tuple(replace(curve, target=1 - curve.target) for curve in self.precision_recall),
        )


@dataclass(frozen=True)
class ListedImage:
    """A test image to look at.

    Attributes:
        path: its file.
        class_name: the true class.
        predicted_class: the predicted one.
        probability: of the predicted class.
        true_probability: of the true class.
        outlier: whether it looks like no training image; None where there is no limit.
    """

    path: str
    class_name: str
    predicted_class: str
    probability: float
    true_probability: float
    outlier: bool | None


@dataclass(frozen=True)
class ClassCount:
    """The images of a class in each part of the split."""

    class_name: str
    train: int
    validation: int
    test: int


@dataclass(frozen=True)
class FoundFault:
    """A finding of the audit."""

    kind: str
    level: str
    title: str


@dataclass(frozen=True)
class Shortcut:
    """By what the files of the classes differ besides their content, and the ROC AUC of a classifier that sees nothing else."""

    level: str
    title: str
    details: tuple[str, ...]
    advice: str
    roc_auc: float


@dataclass(frozen=True)
class DataFacts:
    """The data of a run.

    Attributes:
        name: of the data folder.
        parts: of the split.
        classes: images of each class in each part.
        findings: of the audit.
        shortcut: None where nothing but the content tells the classes apart.
        audited: whether there was an audit.
        grouped: whether intervals are by group.
    """

    name: str = ""
    parts: tuple[str, ...] = ()
    classes: tuple[ClassCount, ...] = ()
    findings: tuple[FoundFault, ...] = ()
    shortcut: Shortcut | None = None
    audited: bool = False
    grouped: bool = False


@dataclass(frozen=True)
class RunFacts:
    """A run.

    Attributes:
        name: of its folder.
        created: when, ISO 8601.
        facts: what one wants to know first, by name.
        config: its settings as TOML.
        packages: versions by name.
    """

    name: str = ""
    created: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    config: str = ""
    packages: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class External:
    """An external test: the data set, its readable and its unreadable images, and the file of its report."""

    data: str
    images: int
    unreadable: int
    report: str


@dataclass(frozen=True)
class Report:
    """The result of a test.

    `judge` fills in what follows from the predictions; `evaluate` adds the last five.

    Attributes:
        metrics: of all test images.
        decision: that the predictions follow.
        answers: the effect of "don't know".
        class_sets: the effect of the sets of classes.
        curves: of the test.
        test_size: height and width of the images, in pixels.
        views: of each image.
        outliers: None without features to compare with.
        subgroups: by column.
        mistakes: up to 20 wrong predictions, the worst first.
        least_sure: up to 20 others that are nearest to another answer.
        maps: the check of the saliency maps; None where it was not made.
        kept: whether the decision is stored for `predict`.
        external: None for a test on the run's own images.
        data: of the run.
        run: the run.
    """

    metrics: Metrics
    decision: Decision
    answers: Answered
    class_sets: ClassSets
    curves: Curves
    test_size: int
    views: int
    outliers: OutlierCount | None = None
    subgroups: dict[str, tuple[Subgroup, ...]] = field(default_factory=dict)
    mistakes: tuple[ListedImage, ...] = ()
    least_sure: tuple[ListedImage, ...] = ()
    maps: MapsCheck | None = None
    kept: bool = True
    external: External | None = None
    data: DataFacts = field(default_factory=DataFacts)
    run: RunFacts = field(default_factory=RunFacts)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the targets."""
        return self.metrics.class_names

    @property
    def positive(self) -> str | None:
        """The positive class of two; None for more."""
        return self.class_names[self.decision.positive] if len(self.class_names) == 2 else None

    def turned(self) -> "Report":
        """Return the report with the two classes in the other order.

        Recall, precision and the other metrics, the threshold and the counts at each threshold are about the positive class,
        whatever its number; names, confusion matrices and the classes of the curves stand in the order of the numbers.
        """
        return replace(
            self,
            metrics=self.metrics.turned(),
            decision=replace(self.decision, positive=1 - self.decision.positive),
            curves=self.curves.turned(),
            subgroups={column: tuple(row.turned() for row in rows) for column, rows in self.subgroups.items()},
        )

    def _repr_html_(self) -> str:
        rows = [
            ("test images", f"{self.metrics.test_images:,}"),
            ("threshold", f"{self.decision.threshold:.4g} ({self.decision.rule})"),
        ]
        for name, metric in self.metrics.named().items():
            form = "{:.1%}" if name in PERCENT else "{:.3f}"
            value = "not defined" if metric.value is None else form.format(metric.value)
            between = "" if metric.interval is None else " (95 % interval {} to {})".format(*map(form.format, metric.interval))
            rows.append((NAMES[name], value + between))
        return small_table(f"Test of run {self.run.name}", rows)

    def to_json(self) -> dict[str, Any]:
        """Return the values as metrics.json has them; docs/metrics.md describes each."""
        rest = {name: value for name, value in as_json(self).items() if name not in ("metrics", "subgroups")}
        positive = {} if self.positive is None else {"positive": self.positive}
        rows = {column: [row.to_json() for row in rows] for column, rows in self.subgroups.items()}
        return {"format_version": FORMAT_VERSION, **self.metrics.to_json(), **positive, **rest, "subgroups": rows}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read what `to_json` returned.

        Raises:
            KeyError, TypeError, ValueError: a value is not there, or not one.
        """
        if content["format_version"] != FORMAT_VERSION:
            raise ValueError(f"format {content['format_version']}; this version of Diptych reads {FORMAT_VERSION}")
        metrics = Metrics.from_json(content)
        rows = {column: tuple(Subgroup.from_json(row, metrics) for row in rows) for column, rows in content["subgroups"].items()}
        rest = [each for each in dataclasses.fields(cls) if each.name not in ("metrics", "subgroups")]
        return cls(metrics=metrics, subgroups=rows, **fields_from_json(cls, rest, content))


def as_json(value: Any) -> Any:
    """Return a dataclass of this file, or what it holds, as JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {KEYS.get(each.name, each.name): as_json(getattr(value, each.name)) for each in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {name: as_json(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    return value


def from_json(kind: Any, value: Any) -> Any:
    """Return JSON values as what a type says: a dataclass, tuples, dictionaries, or a plain value.

    Raises:
        KeyError: a field is not there.
        TypeError: a value is of another kind.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if origin is types.UnionType:
        return None if value is None else from_json(next(each for each in inner if each is not type(None)), value)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return kind(**fields_from_json(kind, dataclasses.fields(kind), value))
    if origin is tuple:
        each = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
        return tuple(from_json(one, item) for one, item in zip(each, value, strict=True))
    if origin is dict:
        return {name: from_json(inner[1], item) for name, item in value.items()}
    if origin is list:
        return [from_json(inner[0], item) for item in value]
    if not isinstance(value, (int, float) if kind is float else kind):
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value


def fields_from_json(kind: type, fields: Iterable[dataclasses.Field[Any]], content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of some fields by their names; one that has a default may be missing."""
    hints, found = get_type_hints(kind), {}
    for each in fields:
        key = KEYS.get(each.name, each.name)
        required = each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
        if required or key in content:
            found[each.name] = from_json(hints[each.name], content[key])
    return found


def read_report(run: RunDir) -> Report | None:
    """Read the report of the last `evaluate` of a run; None where there was none.

    Raises:
        CheckpointError: the file is damaged.
    """
    return load_report(run.metrics) if run.metrics.is_file() else None


def load_report(path: Path) -> Report:
    """Read a report from a metrics.json.

    Raises:
        CheckpointError: the file is damaged.
    """
    try:
        return Report.from_json(json.loads(path.read_text(encoding="utf-8")))
    except KeyError as error:
        raise CheckpointError(f"{path} is damaged: it has no {error}. Run diptych evaluate again.") from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} {reason_of(error)}. Run diptych evaluate again.") from error
