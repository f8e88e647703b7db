"""The audit as one HTML page for people: what was found, in pictures, and a way to write fixes.csv. It needs no network."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diptych.data.audit.findings import LEVEL_NAMES, Audit, Finding, verdict_of
from diptych.data.reading.manifest import Manifest
from diptych.data.reading.tables import fits_csv
from diptych.html import encode_uri, load_template
from diptych.screen import command_line
from diptych.storage.atomic import write_text

# So many groups of a finding, and images of a group, are shown: with ten findings the page stays at some 25 MB at worst.
SHOWN_GROUPS = 60
# Those after the first few are folded away: on a phone, all of them would be a page of a hundred screens.
OPEN_GROUPS = 6
SHOWN_IMAGES = 8
THUMBNAIL_SIZE = 112
EXPLAINED = {
    "file size": "Bytes of the file.",
    "bytes per pixel": "File size by number of pixels: how strongly it is compressed, and how much detail there is to compress.",
    "width": "In pixels.",
    "height": "In pixels.",
    "aspect ratio": "Width by height.",
    "JPEG tables": "How coarsely the JPEG was compressed; each camera and program has its own tables.",
    "progressive JPEG": "A way to store a JPEG, common on the web and rare in cameras.",
    "EXIF data": "Whether there are notes of the camera (time, lens, place) in the file.",
    "EXIF orientation": "Whether those notes say that the picture is to be turned.",
    "file format": "JPEG, PNG and so on, whatever the name says.",
    "file name's ending": ".jpg, .JPG, .jpeg and so on.",
    "camera": "Maker and model, from the EXIF data.",
    "colour mode": "Colour, grey, palette or transparent.",
    "mean colour": "Of all pixels: how red, green and blue, and so how bright, the picture is.",
    "border colour": "Of the outermost two pixels: frames and backgrounds.",
}


@dataclass(frozen=True)
class Card:
    """One image of a finding.

    Attributes:
        path: as the Manifest writes it.
        label: the name of its class, "" where it is not in the Manifest.
        thumbnail: a data URI, "" where there are no pixels.
        number: its place in the page's list of images that can be corrected, or -1.
    """

    path: str
    label: str
    thumbnail: str
    number: int


@dataclass(frozen=True)
class Group:
    """Images that form a group in a finding.

    Attributes:
        cards: those that are shown.
        rest: the numbers (Card.number) of the others.
        more: how many others there are.
        reason: what to say of all.
    """

    cards: tuple[Card, ...]
    rest: tuple[int, ...]
    more: int
    reason: str


def write_page(
    path: Path, audit: Audit, manifest: Manifest, thumbnails: Mapping[str, NDArray[np.uint8]], command: str = ""
) -> None:
    """Write the audit as one HTML file that needs no other file and no network.

    Args:
        path: the file to write.
        audit: what was found.
        manifest: the images that can be corrected, and their classes.
        thumbnails: pixels by path, uint8 (S, S, 3); an image that has none here is named without a picture.
        command: that trains with the corrections; "" for that of a folder that is read without further flags.

    Raises:
        OSError: the file cannot be written.
    """
    write_text(path, render_page(audit, manifest, thumbnails, command))


def shown_images(audit: Audit) -> set[str]:
    """Return the paths of the images that the page shows."""
    groups = (group for finding in audit.findings for group in finding.groups[:SHOWN_GROUPS])
    return {path for group in groups for path in group[:SHOWN_IMAGES]}


def render_page(audit: Audit, manifest: Manifest, thumbnails: Mapping[str, NDArray[np.uint8]], command: str) -> str:
    targets = dict(zip(manifest.table["path"], manifest.table["target"].tolist(), strict=True))
    mendable = [path for path in listed_paths(audit) if path in targets and fits_csv(path)]
    numbers = {path: number for number, path in enumerate(mendable)}
    cards = {}
    for path in shown_images(audit):
        label = manifest.class_names[targets[path]] if path in targets else ""
        thumbnail = encode_uri(thumbnails[path], THUMBNAIL_SIZE) if path in thumbnails else ""
        cards[path] = Card(path, label, thumbnail, numbers.get(path, -1))
    counts: Counter[str] = Counter(finding.level for finding in audit.findings)
    slight = "note" if audit.shortcut is not None and audit.shortcut.is_slight else "none"
    return load_template("diptych.data.audit", "page.html").render(
        audit=audit,
        findings=[(finding, make_groups(finding, cards, numbers)) for finding in audit.findings],
        open_groups=OPEN_GROUPS,
        explained=EXPLAINED,
        images=[(path, targets[path]) for path in mendable],
        numbers=[
            [[numbers[path] for path in group if path in numbers] for group in finding.groups] for finding in audit.findings
        ],
        classes=[name if fits_csv(name) else None for name in manifest.class_names],
        levels=LEVEL_NAMES,
        counts=counts,
        verdict=verdict_of(audit),
        shortcut_level=next((finding.level for finding in audit.findings if finding.kind == "shortcut"), slight),
        command=command or command_line("train", audit.root, "--fixes", "fixes.csv"),
    )


def make_groups(finding: Finding, cards: Mapping[str, Card], numbers: Mapping[str, int]) -> list[Group]:
    groups = []
    for group, reason in zip(finding.groups[:SHOWN_GROUPS], finding.reasons[:SHOWN_GROUPS], strict=True):
        shown = group[:SHOWN_IMAGES]
        hidden = group[SHOWN_IMAGES:]
        rest = tuple(numbers[path] for path in hidden if path in numbers)
        groups.append(Group(tuple(cards[path] for path in shown), rest, len(hidden), reason))
    return groups


def listed_paths(audit: Audit) -> list[str]:
    """Return every path of the findings once, in the page's order; also of groups that are not shown, for all can be dropped."""
    groups = (group for finding in audit.findings for group in finding.groups)
    return list(dict.fromkeys(path for group in groups for path in group))
