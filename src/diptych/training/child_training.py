"""The command lines by which a search, an ablation or a cross-validation trains its runs in processes of their own."""

from pathlib import Path

from diptych.settings.config import Config
from diptych.storage.run_dir import RunDir
from diptych.storage.runs import is_run


def train_command(run: RunDir, settings: Path) -> list[str | Path]:
    """Return the arguments of `diptych` that train a run, or what is left of it, with the settings in a file."""
    return ["train", "--config", settings, "--runs", run.root.parent, "--name", run.root.name]


def start_or_resume(run: RunDir, settings: Path, config: Config) -> list[str | Path]:
    """Return the arguments of `diptych` that train a run, or what is left of it; its images may have moved since it began.

    Args:
        run: the run, which need not be there yet.
        settings: the file of its settings.
        config: what is in it.
    """
    if is_run(run.root):
        return ["resume", run.root, "--data", config.data.data]
    return train_command(run, settings)
