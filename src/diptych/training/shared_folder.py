"""The folder that several trainings share: made once, and refused where it is asked for again with other settings or images."""

from collections.abc import Mapping
from typing import Any

from diptych.data.dataset import LoadedData
from diptych.errors import ConfigError
from diptych.screen import quoted
from diptych.settings.config import Config
from diptych.settings.sources import read_toml, to_toml
from diptych.storage.atomic import FORMAT_VERSION, read_json, write_json, write_table, write_text
from diptych.storage.lock import only_one
from diptych.storage.run_dir import RunDir
from diptych.storage.runs import creating_run
from diptych.training.resume import changes_of_settings, moved_to, refuse_changes, refuse_changes_of_data, write_changes


def open_shared_folder(folder: RunDir, kind: str, config: Config, data: LoadedData, file: str, facts: Mapping[str, Any]) -> None:
    """Make the folder of several trainings, or make sure that nothing has changed since it was made.

    Args:
        folder: config.toml, split.csv and `file` in it say what all trainings have in common.
        kind: a word for it, such as "search".
        config: the settings asked for, resolved.
        data: the images.
        file: the name of the JSON file that holds `facts`; a folder without it is not of this kind.
        facts: what else must not change, as JSON values.

    Raises:
        ConfigError: settings or facts differ from those that it was started with, or the folder is something else.
        DataError: the images differ.
        CheckpointError: `file` is damaged.
    """
    about = folder.root / file
    if about.is_file():
        before = read_json(about, lambda content: content, f"Start a new {kind} with another --name.")
        saved = moved_to(read_toml(folder.config, Config()), config)
        # A training may be extended, but trainings of several lengths cannot be compared.
        changes = changes_of_settings(saved, config, may_be_longer=False) or changes_of_facts(before, facts)
        refuse_changes(f"{kind} {folder.root}", changes, f"(--config {quoted(folder.config)})")
        refuse_changes_of_data(folder, data, kind)
        with only_one(folder):
            write_changes(folder, saved)
    elif folder.root.exists():
        raise ConfigError(f"{folder.root} exists already and is no {kind}; choose another --name.")
    else:
        with creating_run(folder.root.parent, folder.root.name) as (aside, _):
            write_table(aside.split, data.manifest.table)
            write_text(aside.config, to_toml(config))
            write_json(aside.root / file, {"format_version": FORMAT_VERSION, **facts})


def changes_of_facts(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [f"{key} is {value}, was {before.get(key)}" for key, value in now.items() if before.get(key) != value]
