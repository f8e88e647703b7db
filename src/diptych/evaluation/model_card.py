"""The model card of a run: a text with questions that its owner answers."""

import re
from collections.abc import Sequence

from diptych.storage.atomic import write_text
from diptych.storage.run_dir import RunDir

CARD = """\
# {name}

*This card is yours: it lies in `{file}`. Write into it, then run `diptych evaluate` again; the text comes into the report.*

## Intended use

What is the classifier for, who uses it, and what is done with its answers? Classes: {classes}.

## Not intended for

Which images, places or decisions is it not made for? It has learnt from images of one source; another camera, light, or
selection of objects needs a test of its own.

## Limits

What is known to go wrong? The subgroups, the worst mistakes and the outliers of the report are a place to begin.

## Data and licence

Where are the images from, who labelled them and how, may they be used for this, and under which licence?

## Contact

Who answers questions about it?
"""


def start_model_card(run: RunDir, class_names: Sequence[str]) -> None:
    """Write a model card to fill in (Mitchell et al., FAccT 2019, arXiv 1810.03993), unless there is one."""
    if not run.model_card.exists():
        write_text(run.model_card, empty_card(run, class_names))


def empty_card(run: RunDir, class_names: Sequence[str]) -> str:
    return CARD.format(name=run.root.name, file=run.model_card.name, classes=", ".join(class_names[:20]))


def answered_card(run: RunDir, class_names: Sequence[str]) -> str:
    """Return what the user has written into the model card, Markdown: without our questions, and without the headings of those
    that nobody has answered; "" where there is nothing else."""
    if not run.model_card.is_file():
        return ""
    asked = set(empty_card(run, class_names).splitlines())
    found = []
    for section in re.split(r"^(?=##? )", run.model_card.read_text(encoding="utf-8", errors="replace"), flags=re.MULTILINE):
        heading, *lines = section.splitlines() or [""]
        lines = [line for line in lines if line not in asked]
        if any(line.strip() for line in lines) or (heading.strip() and heading not in asked):
            found.append("\n".join([heading, *lines]))
    return "\n\n".join(found)
