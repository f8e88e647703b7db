"""Findings of an audit, and how they are shown and written."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from diptych.data.audit.shortcuts import Shortcut
from diptych.data.reading.manifest import printable
from diptych.screen import count_of
from diptych.storage.atomic import FORMAT_VERSION

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")
LEVEL_NAMES = {"error": "Error", "warning": "Warning", "note": "Note"}
TERMINAL_COLOURS = {"error": "\033[31m", "warning": "\033[33m", "note": ""}
VERDICTS = {
    "error": "Mend the errors before you train.",
    "warning": "Ready to train once you have looked at the warnings.",
    "note": "Nothing stands against training.",
}
# Of the screen: its width, examples of a finding, and the columns before its advice and before each example.
COLUMNS = 79
SHOWN = 3
INDENT = 9
EXAMPLE = " " * 10


@dataclass(frozen=True)
class Finding:
    """One kind of fault, with all images that have it.

    Attributes:
        kind: its name in check.json, such as "unreadable" or "exact-twins".
        level: an error makes `diptych check` end with exit code 1.
        title: one line that says what was found, with the count.
        advice: one line that says how to correct it.
        groups: the images concerned, as paths relative to the data folder with forward slashes; twins stand together in
            one group, other faults have groups of one.
        reasons: what to say beside each group (a label, a size, a value); as many as groups.
        details: further lines below the title.
    """

    kind: str
    level: Level
    title: str
    advice: str
    groups: tuple[tuple[str, ...], ...] = ()
    reasons: tuple[str, ...] = ()
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class Audit:
    """The findings of `diptych check`.

    Attributes:
        root: the data folder, as given.
        images: number of images listed.
        readable: number of those that could be decoded.
        classes: name and number of images of each class, in the order of the targets.
        findings: errors first, then warnings, then notes.
        shortcut: None where there are too few images to tell.
    """

    root: str
    images: int
    readable: int
    classes: tuple[tuple[str, int], ...]
    findings: tuple[Finding, ...]
    shortcut: Shortcut | None


def with_findings(audit: Audit, more: Iterable[Finding]) -> Audit:
    """Add Findings, each among those of its level."""
    found = sorted((*audit.findings, *more), key=lambda finding: LEVELS.index(finding.level))
    return dataclasses.replace(audit, findings=tuple(found))


def describe(audit: Audit, *, colour: bool = False) -> str:
    """Describe an audit for the screen: the verdict, then a few lines for each Finding, the worst first.

    Args:
        audit: what was found.
        colour: errors in red and warnings in yellow, by ANSI codes.
    """
    classes = count_of(len(audit.classes), "class", "classes")
    readable = "all readable" if audit.readable == audit.images else f"{audit.readable} readable"
    totals = [count_of(sum(finding.level == level for finding in audit.findings), level) for level in LEVELS]
    lines = [
        f"{count_of(audit.images, 'image')} in {classes}, {readable}",
        *fill(f"{', '.join(totals)}:", verdict_of(audit).split(), 0),
    ]
    for finding in audit.findings:
        paint, plain = (TERMINAL_COLOURS[finding.level], "\033[0m") if colour and TERMINAL_COLOURS[finding.level] else ("", "")
        title = fill(f"{finding.level:8}", printable(finding.title).split(), INDENT)
        lines += ["", *(f"{paint}{line}{plain}" for line in title)]
        for detail in finding.details:
            lines += fill(EXAMPLE, printable(detail).split(), len(EXAMPLE) + 3)
        for group, reason in list(zip(finding.groups, finding.reasons, strict=True))[:SHOWN]:
            names = [printable(path) for path in group[:4]] + ["…"] * (len(group) > 4)
            ends = ["," for _ in names[1:]] + [":" if reason else ""]
            pieces = [f"{name}{end}" for name, end in zip(names, ends, strict=True)]
            lines += fill(EXAMPLE, [*pieces, *printable(reason).split()], len(EXAMPLE) + 3)
        if len(finding.groups) > SHOWN:
            lines.append(f"{EXAMPLE} … {len(finding.groups) - SHOWN} more")
        lines += fill(" " * (INDENT - 1), finding.advice.split(), INDENT)
    if audit.shortcut is not None and audit.shortcut.level == "none":
        low, high = audit.shortcut.interval
        answer = f"Hardly, though {audit.shortcut.feature} gives a little away" if audit.shortcut.is_slight else "No sign of it"
        said = f"{answer}: without looking at what the images show, ROC AUC {audit.shortcut.roc_auc:.2f} ({low:.2f} to"
        lines += ["", *fill("Is it cheating?", f"{said} {high:.2f}; 0.5 is guessing).".split(), 0)]
    return "\n".join(lines)


def fill(start: str, pieces: Iterable[str], indent: int) -> list[str]:
    """Lay pieces out behind a start, in lines that fit a narrow screen; no piece is broken."""
    lines = [start]
    for piece in pieces:
        if len(lines[-1]) + 1 + len(piece) <= COLUMNS or not lines[-1].strip():
            lines[-1] += f" {piece}"
        else:
            lines.append(" " * indent + piece)
    return lines


def verdict_of(audit: Audit) -> str:
    """Return the verdict on the findings."""
    levels = {finding.level for finding in audit.findings}
    return next((VERDICTS[level] for level in LEVELS if level in levels), VERDICTS["note"])


def brief(audit: Audit) -> list[str]:
    """Return the lines that a training logs about its data, one for each error and warning."""
    found = [finding for finding in audit.findings if finding.level != "note"]
    lines = [
        f"data check, {finding.level}: {': '.join([finding.title, *['; '.join(finding.details)] * bool(finding.details)])}"
        for finding in found
    ]
    return [*lines, "Look at them: diptych check"] if lines else []


def to_json(audit: Audit) -> dict[str, Any]:
    """Return the content of check.json; names that are not UTF-8 are escaped."""
    content: dict[str, Any] = clean({"format_version": FORMAT_VERSION, **dataclasses.asdict(audit)})
    return content


def clean(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {key: clean(item) for key, item in value.items()}
    return [clean(item) for item in value] if isinstance(value, list | tuple) else value
