"""What an audit says: Findings, and how they are shown and written down."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from diptych.data.manifest import printable
from diptych.data.shortcuts import Shortcut

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")
COLOURS = {"error": "\033[31m", "warning": "\033[33m", "note": ""}
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Finding:
    """One kind of fault, with all images that have it.

    Attributes:
        kind: its name in check.json, "unreadable", "exact-twins" say.
        level: an error makes `diptych check` end with exit code 1.
        title: one line that says what was found, with the count.
        advice: one line that says how to mend it.
        groups: the images concerned, as paths relative to the data folder with forward slashes; twins stand together in
            one group, other faults have groups of one.
        reasons: what to say beside each group (a label, a size, a value); as many as groups.
    """

    kind: str
    level: Level
    title: str
    advice: str
    groups: tuple[tuple[str, ...], ...] = ()
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Audit:
    """What `diptych check` found.

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
    """Lay an audit out for the screen: a line for each Finding, an example and what to do below it.

    Args:
        audit: what was found.
        colour: errors in red and warnings in yellow, by ANSI codes.
    """
    lines = [f"{audit.images} images in {len(audit.classes)} classes, {audit.readable} readable"]
    for finding in audit.findings:
        paint, plain = (COLOURS[finding.level], "\033[0m") if colour and COLOURS[finding.level] else ("", "")
        lines.append(f"\n{paint}{finding.level:8} {finding.title}{plain}")
        for group, reason in list(zip(finding.groups, finding.reasons, strict=True))[:3]:
            shown = ", ".join(printable(path) for path in group[:4]) + (", …" if len(group) > 4 else "")
            lines.append(f"           {shown}{f': {reason}' if reason else ''}")
        if len(finding.groups) > 3:
            lines.append(f"           … {len(finding.groups) - 3} more")
        lines.append(f"         {finding.advice}")
    if audit.shortcut is not None and not any(finding.kind == "shortcut" for finding in audit.findings):
        low, high = audit.shortcut.interval
        figures = f"ROC AUC {audit.shortcut.roc_auc:.2f} ({low:.2f} to {high:.2f}) without the content"
        lines.append(f"\nIs it cheating? No sign of it: {figures}.")
    totals = [(level, sum(finding.level == level for finding in audit.findings)) for level in LEVELS]
    lines.append("\n" + ", ".join(f"{count} {level}{'' if count == 1 else 's'}" for level, count in totals))
    return "\n".join(lines)


def brief(audit: Audit) -> list[str]:
    """Return the few lines that a training says of its data: a line for each error and warning."""
    found = [finding for finding in audit.findings if finding.level != "note"]
    lines = [f"data check, {finding.level}: {finding.title}" for finding in found]
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
