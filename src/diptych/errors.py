"""The errors of Diptych, as a tree. The command line prints the message alone and leaves with the exit code.

DiptychError            2
├── ConfigError         2   a flag, a TOML key, or a combination of them
├── DataError           2   the user's folders, tables and images
├── CheckpointError     2   a run, its files, or weights to start from
└── TrainingError       2   a training that diverged, or that does not fit into the memory

KeyboardInterrupt
└── Stopped           130   Ctrl-C (143: SIGTERM) between two batches, after which everything was saved
"""


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


EXIT_TROUBLE = 1
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


class Stopped(KeyboardInterrupt):
    """A training that was asked to stop has saved its state and left."""

    def __init__(self, exit_code: int) -> None:
        super().__init__()
        self.exit_code = exit_code
