"""The errors of Diptych, as a tree. The command line prints the message alone and leaves with the exit code.

DiptychError            2
├── ConfigError         2   a flag, a TOML key, or a combination of them
├── DataError           2   the user's folders, tables and images
├── CheckpointError     2   a run, its files, or weights to start from
└── TrainingError       2   a training that diverged, or that does not fit into the memory

KeyboardInterrupt
└── Stopped           130   Ctrl-C (143: SIGTERM) between two batches, after which everything was saved
"""

from collections.abc import Collection, Sequence


class DiptychError(Exception):
    """A mistake that the user can correct: the message says what came, what was expected, and how to correct it."""

    exit_code = 2


class ConfigError(DiptychError):
    """A setting has a wrong value, or two settings do not go together."""


class DataError(DiptychError):
    """The images or their tables are not what the data contract asks for."""


class CheckpointError(DiptychError):
    """A run, a checkpoint or a file of weights is missing, damaged, or of another network."""


class TrainingError(DiptychError):
    """Training cannot continue with these settings; what was reached is kept."""


# So many names are enough for a message.
SHOWN_NAMES = 10


def nearest(name: str, known: Collection[str], cutoff: float = 0.5) -> str:
    """Return the known name that is most like a wrong one; "" if none is like it.

    Args:
        name: what came.
        known: what was expected.
        cutoff: the least likeness, from 0 to 1.
    """
    import difflib

    close = difflib.get_close_matches(name, known, n=1, cutoff=cutoff)
    return close[0] if close else ""


def hint_at(name: str, known: Sequence[str]) -> str:
    """Return the end of a message about a wrong name: the nearest one, or the known ones."""
    if near := nearest(name, known):
        return f"did you mean {near}?"
    return f"expected one of {', '.join(known[:SHOWN_NAMES])}{', …' if len(known) > SHOWN_NAMES else '.'}"


EXIT_TROUBLE = 1
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


class Stopped(KeyboardInterrupt):
    """A training that was asked to stop has saved its state and left."""

    def __init__(self, exit_code: int) -> None:
        super().__init__()
        self.exit_code = exit_code
