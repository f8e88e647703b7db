"""The ablation: five variants of one network, killed and gone on with, and the differences that its own predictions give."""

import json
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import running

from diptych.errors import ConfigError
from diptych.experiments.ablation import VARIANTS, ablate, plan, table_of
from diptych.experiments.run_group import open_run_group
from diptych.experiments.tested_run import align, read_tested
from diptych.metrics.paired import compare_pairs
from diptych.model.network import build_network
from diptych.settings.config import Config, ModelConfig
from diptych.settings.sources import given_from, override, read_toml
from diptych.storage.run_dir import RunDir

SEED = 3
SETTINGS = (
    *("--weights", "none", "--width", "0.05", "--image-size", "32", "--dense-units", "16", "--batch-size", "8"),
    *("--learning-rate", "1e-3", "--epochs", "1", "--no-near-twins", "--seed", str(SEED)),
    *("--backend", running.QUICKEST),
)
COMMAND = ("ablate", "data", "--seeds", "1", "--name", "parts", *SETTINGS)


@dataclass(frozen=True)
class Ablated:
    """An ablation that was killed after its first training and then went on."""

    folder: Path
    killed: tuple[set[str], dict[str, int]]
    output: str

    @property
    def root(self) -> Path:
        return self.folder / "runs" / "parts"

    def run_of(self, variant: str) -> RunDir:
        return RunDir(self.root / f"{variant}-{SEED}")


def times(root: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in root.rglob("history.csv")}


@pytest.fixture(scope="module")
def ablated(tmp_path_factory: pytest.TempPathFactory) -> Ablated:
    folder = tmp_path_factory.mktemp("ablation")
    running.make_colours(folder / "data")
    done = folder / "runs" / "parts" / "done.csv"
    with running.start(*COMMAND, folder=folder) as child:
        give_up = time.monotonic() + 300
        while not done.is_file():
            assert child.poll() is None, child.communicate()
            assert time.monotonic() < give_up
            time.sleep(0.05)
        child.send_signal(signal.SIGKILL)
        child.communicate()
    killed = set(pd.read_csv(done)["name"]), times(done.parent / f"resnet50-{SEED}")
    process = running.diptych(*COMMAND, folder=folder, timeout=600)
    assert process.returncode == 0, process.stdout + process.stderr
    return Ablated(folder, killed, process.stdout)


@pytest.mark.slow
class TestAblation:
    def test_finished_trainings__are_not_repeated(self, ablated: Ablated) -> None:
        names, before = ablated.killed
        assert names == {f"resnet50-{SEED}"}
        assert times(ablated.run_of("resnet50").root) == before
        assert "1 of 5" not in ablated.output
        assert "2 of 5: convnet-3" in ablated.output
        assert set(pd.read_csv(ablated.root / "done.csv")["name"]) == {f"{variant}-{SEED}" for variant in VARIANTS}

    def test_variants__differ_in_the_network_alone(self, ablated: Ablated) -> None:
        configs = {variant: read_toml(ablated.run_of(variant).config, Config()) for variant in VARIANTS}
        for variant, config in configs.items():
            assert {"branches": config.model.branches, "attention": config.model.attention} == VARIANTS[variant]
            assert override(config, {"model": VARIANTS["default"]}, "") == configs["default"]
        splits = [pd.read_csv(ablated.run_of(variant).split).sort_values("path", ignore_index=True) for variant in VARIANTS]
        for other in splits[1:]:
            pd.testing.assert_frame_equal(other, splits[0])

    def test_json__holds_what_the_predictions_give(self, ablated: Ablated) -> None:
        written = json.loads((ablated.root / "ablation.json").read_text())
        sides = align([read_tested(ablated.run_of(variant)) for variant in ("convnet", "both", "default")])
        for side, variant in zip(sides, ("convnet", "both", "default"), strict=True):
            accuracy = (side.table["target"] == side.table["predicted"]).mean()
            assert written["variants"][variant]["accuracy"]["mean"] == pytest.approx(accuracy)
        assert written["variants"]["both"]["accuracy"]["standard_deviation"] is None
        (pair,) = compare_pairs([[side.answers] for side in sides], [(0, 1)], sides[0].targets)
        part = written["parts"]["ResNet50 beside the custom branch"]["loss"]
        assert part["difference"] == pytest.approx(pair.of("loss").difference)
        assert part["interval"] == pytest.approx(pair.of("loss").interval)
        against = written["against_default"]["both"]["accuracy"]
        assert against["first"] == written["variants"]["default"]["accuracy"]["mean"]

    def test_costs__are_those_of_the_runs(self, ablated: Ablated) -> None:
        variants = json.loads((ablated.root / "ablation.json").read_text())["variants"]
        for variant, keys in VARIANTS.items():
            network = build_network(ModelConfig(width=0.05, dense_units=16, **keys))
            assert variants[variant]["parameters"] == network.count_params()
            seconds = pd.read_csv(ablated.run_of(variant).history)["seconds"].sum()
            assert variants[variant]["seconds"] == pytest.approx(seconds)

    def test_markdown__has_a_row_for_each_variant(self, ablated: Ablated) -> None:
        lines = (ablated.root / "ablation.md").read_text().splitlines()
        rows = [line.split("|")[1].strip() for line in lines if line.startswith("|")]
        assert rows[:2] == ["variant", rows[1]]
        assert rows[2:7] == list(VARIANTS)
        assert "written: runs/parts/ablation.md, runs/parts/ablation.json" in ablated.output

    def test_only_the_best_weights_are_kept(self, ablated: Ablated) -> None:
        for variant in VARIANTS:
            run = ablated.run_of(variant)
            assert run.best.is_file()
            assert not any(path.exists() for path in (run.last, run.previous, run.best_keras))

    def test_changed_settings__are_refused(self, ablated: Ablated) -> None:
        process = running.diptych(*COMMAND, "--dropout", "0.4", folder=ablated.folder)
        assert process.returncode == 2
        assert "dropout is 0.4, was 0.2" in process.stderr


def test_plan__the_custom_branch_alone_starts_from_random_weights() -> None:
    planned = plan(Config(), "convnet", 5)
    assert (planned.config.model.branches, planned.config.model.weights, planned.config.training.seed) == ("convnet", "none", 5)
    assert plan(Config(), "resnet50", 5).config.model.weights == "imagenet"


@pytest.mark.parametrize(
    ("model", "seeds", "name", "said"),
    [
        ({"branches": "convnet"}, 1, "a", "an ablation varies --branches and --attention itself"),
        ({"attention": "none"}, 1, "a", "--branches and --attention"),
        ({"weights": "some-run"}, 1, "a", "do not fit the other variants"),
        ({}, 0, "a", "--seeds is 0"),
        ({}, 1, "a/b", "--name is 'a/b'"),
        ({}, 1, "..", "--name is '..'"),
    ],
)
def test_ablate__what_makes_no_sense_is_refused(tmp_path: Path, model: dict, seeds: int, name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ablate(given_from(**model), tmp_path, name, seeds)
    assert not list(tmp_path.iterdir())


def test_open_run_group__another_group_or_folder_of_that_name_is_refused(data: Path, tmp_path: Path) -> None:
    given = given_from(data=str(data), image_size=32)
    series = open_run_group(tmp_path / "runs", "one", given, {"kind": "ablation"})
    assert series.config.data.split == (series.folder.split).resolve()
    again = open_run_group(tmp_path / "runs", "one", given, {"kind": "ablation"})
    assert again.config == series.config
    with pytest.raises(ConfigError, match="kind is learning curve, was ablation"):
        open_run_group(tmp_path / "runs", "one", given, {"kind": "learning curve"})
    (tmp_path / "runs" / "two").mkdir()
    with pytest.raises(ConfigError, match="is no ablation"):
        open_run_group(tmp_path / "runs", "two", given, {"kind": "ablation"})


def test_table_of__is_aligned() -> None:
    assert table_of(["a", "bb"], [["long", "x"]]) == ["| a    | bb |", "| ---- | -- |", "| long | x  |"]
    assert np.unique([len(line) for line in table_of(["a"], [["b"], ["cc"]])]).size == 1
