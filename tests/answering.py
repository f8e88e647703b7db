"""A run of two classes that was never trained, with its images: what answers for itself in a second."""

from pathlib import Path

import pandas as pd
from contract import randomise
from making import encode, make_image

from diptych.model.checkpoint import save_checkpoint
from diptych.model.network import build_network
from diptych.settings.config import Config, DataConfig, ModelConfig
from diptych.settings.sources import to_toml
from diptych.storage.atomic import sha256, write_json, write_table, write_text
from diptych.storage.run_dir import RunDir, write_classes

NAMES = ("broken", "whole")
PARTS = {"train": 6, "validation": 10, "test": 10}
SIZE = 64


def photograph(target: int, number: int) -> bytes:
    """A PNG file that is wider than high, so that it matters how it becomes a square."""
    return encode(make_image(target, number, 96)[:48])


def make_run(root: Path) -> RunDir:
    """A run at 64 pixels with letterbox, whose weights are random, with its data; it was not tested yet."""
    rows = []
    for part, count in PARTS.items():
        for number in range(count):
            target = number % 2
            path = f"{NAMES[target]}/{part}{number}.png"
            content = photograph(target, number + 100 * list(PARTS).index(part))
            (root / "data" / path).parent.mkdir(parents=True, exist_ok=True)
            (root / "data" / path).write_bytes(content)
            rows.append({"path": path, "image_name": Path(path).name, "target": target, "split": part, "sha256": sha256(content)})
    run, model = RunDir(root / "runs" / "NAME"), ModelConfig(weights="none", branches="convnet", width=0.125, dense_units=16)
    data = DataConfig(data=root / "data", image_size=SIZE, resize="letterbox", cache=root / "cache")
    write_text(run.config, to_toml(Config(data=data, model=model)))
    write_json(run.environment, {"format_version": 1, "created": "2026-01-01T00:00:00+00:00"})
    write_classes(run, NAMES)
    write_table(run.split, pd.DataFrame(rows))
    network = build_network(model)
    randomise(network)
    save_checkpoint(run.best, network, {"epoch": 1, "class_names": NAMES})
    return run
