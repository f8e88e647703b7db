"""The report as one HTML page for people; all that it says is also in metrics.json. It needs no network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from markdown_it import MarkdownIt
from markupsafe import Markup
from numpy.typing import NDArray

from diptych.data.audit.findings import LEVEL_NAMES
from diptych.evaluation.model_card import answered_card
from diptych.evaluation.report import Curves, Report, as_json
from diptych.evaluation.summary import NOT_DEFINED, describe_baseline, describe_outliers, describe_reason
from diptych.explanation.overlays import BARS, colour_bar, title_of
from diptych.html import encode_uri, load_template
from diptych.inference.tta import describe_test
from diptych.metrics.classification import NAMES, PERCENT, Metric, Metrics, shorten
from diptych.storage.run_dir import RunDir

# Of an image in the list of mistakes, and of a map laid over it, in pixels.
IMAGE_SIZE = 320
MAP_SIZE = 200
# Of more classes, the confusion matrix is too wide for a page; the worst confusions are listed instead.
MATRIX_CLASSES = 12
WORST_CONFUSIONS = 15
# Of the curves, in report.html; those after the fifth have them again, dashed.
CURVE_COLOURS = ("first", "second", "third", "fourth", "fifth")


class Picture(NamedTuple):
    """A picture of one image.

    Attributes:
        title: what it shows.
        pixels: uint8 (H, W, 3), RGB.
        map: the name of the map that is laid over it, as in `maps.maps[].name` of metrics.json; "" for the image itself.
    """

    title: str
    pixels: NDArray[np.uint8]
    map: str = ""


# Of one image: it itself first, then its maps.
Pictures = Sequence[Picture]


@dataclass(frozen=True)
class Line:
    """A curve of a drawing whose axes go from 0 to 1.

    Attributes:
        name: what it is.
        points: "x,y x,y …" in hundredths, y from the top.
        kind: "first" to "fifth", and maybe "dashed": its colour and dashes.
        dots: whether its points are marked.
    """

    name: str
    points: str
    kind: str
    dots: bool = False

    @property
    def places(self) -> list[list[str]]:
        """The points one by one."""
        return [point.split(",") for point in self.points.split()]


def line(name: str, xs: Sequence[float], ys: Sequence[float], kind: str = "first", dots: bool = False) -> Line:
    points = " ".join(f"{100 * x:.4g},{100 * (1 - y):.4g}" for x, y in zip(xs, ys, strict=True))
    return Line(name, points, kind, dots)


@dataclass(frozen=True)
class Drawing:
    """A plot: its title, what the axes are, and its curves; `note` says how to read it."""

    title: str
    x: str
    y: str
    lines: list[Line]
    note: str
    diagonal: bool = False


def render_report(run: RunDir, report: Report, pictures: Mapping[str, Pictures]) -> str:
    """Return the report as an HTML page.

    Args:
        run: with its model card, if there is one.
        report: to be shown.
        pictures: of the images that it lists, by path; those without are named only.
    """
    card = answered_card(run, report.class_names)
    # The page shows the positive class last.
    report = report.turned() if report.positive == report.class_names[0] else report
    names, metrics = report.class_names, report.metrics
    maps = report.maps.maps if report.maps else ()
    trusted = {row.name for row in maps if row.trusted}
    uris: dict[str, dict[str, list[tuple[str, str]]]] = {}
    for path, shown in pictures.items():
        uris[path] = {"image": [], "open": [], "folded": []}
        for picture in shown:
            place = "image" if picture.map == "" else "open" if picture.map in trusted else "folded"
            size = MAP_SIZE if picture.map else IMAGE_SIZE
            uris[path][place].append((picture.title, encode_uri(picture.pixels, size)))
    return load_template("diptych.evaluation", "report.html").render(
        report=report,
        metrics=metrics,
        names=names,
        binary=len(names) == 2,
        chosen=report.decision.rule[0].isalpha(),
        rows=metric_rows(metrics),
        sentences=summarise(report),
        drawings=draw(report.curves, names),
        matrix=shown_matrix(metrics),
        confusions=worst_confusions(metrics),
        lists=[
            (title, listed)
            for title, listed in (("The worst mistakes", report.mistakes), ("The least sure answers", report.least_sure))
            if listed
        ],
        uris=uris,
        verdict_on_maps=judge_maps(len(trusted), len(maps)),
        bars=[(meaning, encode_uri(colour_bar(kind), MAP_SIZE)) for kind, meaning in BARS.items()],
        tested_at=describe_test(report.test_size, report.views),
        levels=LEVEL_NAMES,
        # Raw HTML in the card stays text.
        card=Markup(MarkdownIt("commonmark", {"html": False}).enable("table").render(card)),
        percent=percent,
        number=number,
        between=between,
        told_outliers=describe_outliers(report.outliers) if report.outliers else "",
        shorten=shorten,
        as_json=as_json,
        zip=zip,
        title_of=title_of,
    )


def judge_maps(trusted: int, maps: int) -> str:
    """Return a sentence on the result of the check of the maps."""
    if trusted == 0:
        return (
            "No. No map passed the check: on these images they say no more about the network than chance does. They are folded "
            "below; draw no conclusions from them."
        )
    if trusted < maps:
        passed = f"Some. {trusted} of {maps} kinds of maps passed the check"
        return f"{passed}; the others are folded below: draw no conclusions from them."
    return "Yes: all kinds of maps change with the network's weights and beat chance. They show where it looked, not why."


def percent(value: float | None, digits: int = 1) -> str:
    """Write a share as "83.2 %"."""
    return NOT_DEFINED if value is None else f"{100 * value:.{digits}f}\u00a0%"


def number(value: float | None) -> str:
    """Write a figure with four digits."""
    return NOT_DEFINED if value is None else f"{value:.4f}"


def between(interval: Sequence[float] | None) -> str:
    """Write the interval of a share as "79.0 % to 86.4 %"."""
    return "no interval" if interval is None else f"{percent(interval[0])} to {percent(interval[1])}"


def metric_rows(metrics: Metrics) -> list[tuple[str, str, str]]:
    """Return name, value and interval of each figure."""
    rows = []
    for key, metric in metrics.named().items():
        write, interval = percent if key in PERCENT else number, metric.interval
        shown = describe_reason(metrics, key) if interval is None else f"{write(interval[0])} to {write(interval[1])}"
        rows.append((NAMES[key], write(metric.value), shown))
    return rows


def summarise(report: Report) -> list[str]:
    """Return sentences on the main metrics that need no knowledge of statistics."""
    sentences, metrics = [], report.metrics
    if report.external:
        sentences.append(f"An external test on {report.data.name}: none of its images belongs to the run's own data.")
    if not report.kept:
        sentences.append("Only looked at: diptych predict answers with the choices that were kept before.")
    right, between = round(100 * (metrics.accuracy.value or 0.0)), in_hundred(metrics.accuracy)
    baseline = "".join(f"; {text}" for text in describe_baseline(metrics)).replace("%)", "\u00a0%)")
    sentences.append(f"Of 100 images like those of the test, about {right} are classified correctly{between}{baseline}.")
    if report.positive is not None:
        name = shorten(report.positive)
        if metrics.recall.value is not None:
            share = round(100 * metrics.recall.value)
            sentences.append(f"Of 100 images of class {name}, about {share} are recognised{in_hundred(metrics.recall)}.")
        if metrics.precision.value is not None:
            share, between = round(100 * metrics.precision.value), in_hundred(metrics.precision)
            sentences.append(f"Of 100 images predicted as class {name}, about {share} are of that class{between}.")
        else:
            sentences.append(f"No image is predicted as class {name}; precision is {NOT_DEFINED}.")
    answers, outliers = report.answers, report.outliers
    if answers.rule != "none":
        sure = f"; of the answers about {percent(answers.accuracy, 0)} are right" if answers.answered else ""
        sentences.append(f"{percent(answers.coverage, 0)} of the images are answered, for the others it is “don't know”{sure}.")
    if outliers is not None:
        sentences.append(f"Outliers: {describe_outliers(outliers)}.")
    worse = [(column, row.value) for column, rows in report.subgroups.items() for row in rows if row.worse]
    if worse:
        listed = ", ".join(f"{column} {shorten(value) or '(none)'}" for column, value in worse)
        sentences.append(f"Significantly worse than the rest: {listed}.")
    return sentences


def in_hundred(metric: Metric) -> str:
    """Write the interval of a share as " (79 to 86)", if there is one."""
    return "" if metric.interval is None else " ({:.0f} to {:.0f})".format(*(100 * end for end in metric.interval))


def draw(curves: Curves, names: Sequence[str]) -> list[Drawing]:
    """Turn the curves into drawings."""
    drawings = []

    def kind(place: int) -> str:
        dashes, colour = divmod(place, len(CURVE_COLOURS))
        return CURVE_COLOURS[colour] + " dashed" * dashes

    if curves.roc:
        lines = [
            line(shorten(names[curve.target]), curve.false_positive_rate, curve.true_positive_rate, kind(place))
            for place, curve in enumerate(curves.roc)
        ]
        note = "The further to the upper left, the better; the diagonal is chance."
        drawings.append(Drawing("ROC", "false positive rate", "true positive rate", lines, note, diagonal=True))
    if curves.precision_recall:
        lines = [
            line(shorten(names[curve.target]), curve.recall, curve.precision, kind(place))
            for place, curve in enumerate(curves.precision_recall)
        ]
        note = "Precision: how many predictions of the class are right. Recall: how many of its images are recognised."
        drawings.append(Drawing("Precision and recall", "recall", "precision", lines, note))
    bins = curves.reliability
    drawn = [("as the network says", bins.before, "second dashed"), ("calibrated", bins.after, "first")]
    if bins.before == bins.after:
        drawn = [("as the network says", bins.after, "first")]
    lines = [
        line(name, [row.mean_probability for row in rows], [row.share for row in rows], style, dots=True)
        for name, rows, style in drawn
    ]
    note = "On the diagonal, a probability of 80 % is right in 80 of 100 cases."
    drawings.append(Drawing("Reliability", "predicted probability", "share of the class", lines, note, diagonal=True))
    risk = curves.risk_coverage
    note = "The share of wrong answers if only the surest images are answered."
    drawings.append(
        Drawing("Risk and coverage", "share of images answered", "share wrong", [line("", risk.coverage, risk.risk)], note)
    )
    return drawings


def shown_matrix(metrics: Metrics) -> list[list[tuple[int, float]]]:
    """Return the confusion matrix as counts and shares of their row; nothing for many classes."""
    if len(metrics.class_names) > MATRIX_CLASSES:
        return []
    return [[(count, count / max(1, sum(row))) for count in row] for row in metrics.confusion_matrix]


def worst_confusions(metrics: Metrics) -> list[tuple[str, str, int]]:
    """Return the classes that are most often taken for others: the true one, the predicted one, how often."""
    names = metrics.class_names
    if len(names) <= MATRIX_CLASSES:
        return []
    matrix = np.array(metrics.confusion_matrix)
    np.fill_diagonal(matrix, 0)
    places = np.argsort(-matrix, axis=None, kind="stable")[:WORST_CONFUSIONS]
    pairs = [divmod(int(place), len(names)) for place in places]
    return [(names[true], names[said], int(matrix[true, said])) for true, said in pairs if matrix[true, said] > 0]
