"""The search: stopped, killed, gone on with; trials ended early and failed; only the very same search goes on."""

import dataclasses
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import running
from making import REPOSITORY, encode, make_data, make_image

from diptych.errors import CheckpointError, ConfigError, DataError, TrainingError
from diptych.settings.config import AugmentConfig, Config, DataConfig, ModelConfig, Recipe, TrainingConfig
from diptych.settings.presets import augmentation
from diptych.settings.sources import Given, given_from, read_toml, to_toml
from diptych.storage.history import lowest_loss
from diptych.storage.lock import only_one
from diptych.storage.run_dir import RunDir
from diptych.tuning.search_space import open_folder, search_space, with_values
from diptych.tuning.tune import Budget, tune

EPOCHS = 16
# At the lower half of these rates nothing is learnt.
RATES = (1e-9, 3e-3)
SEARCH = f"""
import sys
from pathlib import Path
from diptych.cli import show_messages
from diptych.settings.sources import given_from
from diptych.tuning.tune import Budget, tune

show_messages()
try:
    tune(given_from(config=sys.argv[1]), Path("runs"), "search", Budget(2, unpruned_trials=1), {RATES})
except KeyboardInterrupt:
    sys.exit(130)
"""


def tiny(data: Path, **changes: object) -> Config:
    training = {"epochs": EPOCHS, "batch_size": 8, "learning_rate": 3e-3, "optimizer": "adamw", "seed": 0, **changes}
    return Config(
        data=DataConfig(data=data, image_size=32, near_twins=False),
        augment=augmentation("none"),
        model=ModelConfig(weights="none", branches="convnet", width=0.125, dense_units=16, batch_norm_momentum=0.9),
        training=TrainingConfig(**training),
    )


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SEARCH, "settings.toml"]
    found = running.environment(PYTHONPATH=str(REPOSITORY / "src"))
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with running.obeying_ctrl_c():
        return subprocess.Popen(command, cwd=folder, env=found, **streams)


def wait_for(ready: Callable[[], bool], process: subprocess.Popen[str] | None = None, seconds: float = 180) -> None:
    give_up = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > give_up or (process is not None and process.poll() is not None):
            output = process.communicate()[0] if process is not None and process.poll() is not None else ""
            raise AssertionError(f"it never came to pass: {output}")
        time.sleep(0.02)


def count_epochs(run: RunDir) -> int:
    return len(run.history.read_text().splitlines()) - 1 if run.history.is_file() else 0


def is_free(run: RunDir) -> bool:
    try:
        with only_one(run):
            return True
    except ConfigError:
        return False


@dataclasses.dataclass(frozen=True)
class Searched:
    """A search that got Ctrl-C and was killed in its first trial, and then went on to its end."""

    folder: Path
    config: Config
    stopped: tuple[int, str]
    epochs: tuple[int, int]
    output: str

    @property
    def root(self) -> Path:
        return self.folder / "runs" / "search"

    def run_of(self, number: int) -> RunDir:
        return RunDir(self.root / "trials" / f"trial-{number:03d}")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    folder = tmp_path_factory.mktemp("search")
    config = tiny(make_data(folder / "data", 20))
    (folder / "settings.toml").write_text(to_toml(config))
    first = RunDir(folder / "runs" / "search" / "trials" / "trial-001")
    with start(folder) as process:
        wait_for(lambda: count_epochs(first) >= 2, process)
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=120)[0]
        stopped = process.returncode, output
    # Its child is gone too, or the run would be held.
    assert is_free(first)
    after_stop = count_epochs(first)
    with start(folder) as process:
        wait_for(lambda: count_epochs(first) >= after_stop + 2, process)
        process.kill()
    if sys.platform == "linux":
        wait_for(lambda: is_free(first), seconds=60)
    after_kill = count_epochs(first)
    with start(folder) as process:
        output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output
    return Searched(folder, config, stopped, (after_stop, after_kill), output)


@pytest.mark.slow
@running.posix_only
class TestSearch:
    def test_ctrl_c__says_how_to_go_on(self, searched: Searched) -> None:
        code, output = searched.stopped
        assert code == 130, output
        assert "Resume with: diptych tune --config runs/search/config.toml --runs runs --name search --trials 2" in output
        assert "Traceback" not in output

    def test_trial__goes_on_where_it_was_stopped_and_killed(self, searched: Searched) -> None:
        after_stop, after_kill = searched.epochs
        assert 2 <= after_stop < after_kill < EPOCHS
        said = searched.run_of(1).root.with_suffix(".log").read_text()
        assert said.count("Resuming ") == 2
        history = pd.read_csv(searched.run_of(1).history)
        assert list(history["epoch"]) == list(range(1, EPOCHS + 1))

    def test_trials_csv__holds_what_the_histories_hold(self, searched: Searched) -> None:
        table = pd.read_csv(searched.root / "trials.csv")
        assert list(table["state"]) == ["finished", "pruned"]
        history = pd.read_csv(searched.run_of(1).history)
        assert table["val_loss"][0] == pytest.approx(history["val_loss"].min())
        assert table["epoch"][0] == history["val_loss"].idxmin() + 1
        assert table["learning_rate"][0] == 3e-3

    def test_pruned_trial__was_worse_and_its_process_ended_early(self, searched: Searched) -> None:
        ended = searched.run_of(2)
        assert read_toml(ended.config, Config()).training.learning_rate < 1e-5
        history = pd.read_csv(ended.history)
        assert EPOCHS / 4 < len(history) < EPOCHS
        assert "Stopped." in ended.root.with_suffix(".log").read_text()
        best = pd.read_csv(searched.run_of(1).history)["val_loss"]
        assert history["val_loss"].min() > best[len(history) - 1]

    def test_best_toml__is_the_finished_trial_and_can_be_trained_with(self, searched: Searched) -> None:
        best = read_toml(searched.root / "best.toml", Config())
        assert best == read_toml(searched.run_of(1).config, Config())
        assert best.data.data == searched.config.data.data

    def test_checkpoints__of_all_but_the_best_are_gone(self, searched: Searched) -> None:
        assert searched.run_of(1).best.is_file()
        assert not searched.run_of(2).best.exists()
        assert searched.run_of(2).history.is_file()

    def test_finished_search__does_not_train_again(self, searched: Searched, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(searched.folder)
        before = {path: path.stat().st_mtime_ns for path in searched.root.rglob("history.csv")}
        best = tune(given_from(config=searched.config), Path("runs"), "search", Budget(2, unpruned_trials=1), RATES)
        assert best == Path("runs/search/best.toml")
        assert {path: path.stat().st_mtime_ns for path in searched.root.rglob("history.csv")} == before

    def test_held_search__is_refused(self, searched: Searched) -> None:
        held = (
            "from pathlib import Path\nfrom filelock import FileLock\nwith FileLock('lock'):\n    print(flush=True)\n    input()"
        )
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen([sys.executable, "-c", held], cwd=searched.root, **pipes) as other:
            other.stdout.readline()
            with pytest.raises(ConfigError, match="another process"):
                tune(given_from(config=searched.config), searched.root.parent, "search", Budget(2), RATES)
            other.communicate(b"\n")


@pytest.mark.slow
def test_failed_trial__is_recorded_with_its_message(tmp_path: Path) -> None:
    config = tiny(make_data(tmp_path / "data", 20))
    (tmp_path / "damaged.safetensors").write_bytes(b"nothing")
    weights = str(tmp_path / "damaged.safetensors")
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, weights=weights))
    with pytest.raises(TrainingError, match="none of the 1 trials has finished"):
        tune(given_from(config=config), tmp_path / "runs", "failing", Budget(1))
    table = pd.read_csv(tmp_path / "runs" / "failing" / "trials.csv")
    assert list(table["state"]) == ["failed"]
    assert "damaged" in table["message"][0]


@pytest.fixture
def opened(tmp_path: Path) -> Config:
    config = tiny(make_data(tmp_path / "data", 20))
    open_folder(RunDir(tmp_path / "runs" / "one"), given_from(config=config))
    return config


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"batch_size": 4}, "batch_size is 4, was 8"),
        ({"epochs": EPOCHS + 1}, f"epochs is {EPOCHS + 1}, was {EPOCHS}"),
        ({"learning_rate": 1e-3}, "learning_rate is 0.001, was 0.003"),
    ],
)
def test_open_folder__changed_settings_are_named(opened: Config, tmp_path: Path, changes: dict, named: str) -> None:
    changed = dataclasses.replace(opened, training=dataclasses.replace(opened.training, **changes))
    with pytest.raises(ConfigError, match=named):
        open_folder(RunDir(tmp_path / "runs" / "one"), given_from(config=changed))


def test_open_folder__changed_rates_are_named(opened: Config, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"learning_rates is \[1e-05, 0\.1\], was \[0\.0003"):
        open_folder(RunDir(tmp_path / "runs" / "one"), given_from(config=opened), (1e-5, 0.1))


def test_open_folder__changed_images_are_named(opened: Config, tmp_path: Path) -> None:
    (tmp_path / "data" / "0" / "03.png").write_bytes(encode(make_image(0, 99)))
    with pytest.raises(DataError, match=r"03\.png is another file"):
        open_folder(RunDir(tmp_path / "runs" / "one"), given_from(config=opened))


def test_open_folder__the_same_again_is_the_same(opened: Config, tmp_path: Path) -> None:
    again = dataclasses.replace(opened, data=dataclasses.replace(opened.data, cache=tmp_path / "another-cache"))
    config, space = open_folder(RunDir(tmp_path / "runs" / "one"), given_from(config=again))
    assert config.training == opened.training
    assert (space[0].low, space[0].high) == pytest.approx((3e-4, 3e-2))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"search\.json is damaged.* Start a new search with another --name"),
        ('{"format_version": 2}', r"search\.json: format 2; this version of Diptych reads 1"),
        ('{"format_version": 1}', r"learning_rates is \[.*\], was None"),
    ],
)
def test_open_folder__damaged_record_is_named(opened: Config, tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "runs" / "one" / "search.json").write_text(content)
    with pytest.raises((CheckpointError, ConfigError), match=message):
        open_folder(RunDir(tmp_path / "runs" / "one"), given_from(config=opened))


def test_open_folder__a_run_is_no_search(opened: Config, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "runs" / "one", tmp_path / "runs" / "two")
    (tmp_path / "runs" / "two" / "search.json").unlink()
    with pytest.raises(ConfigError, match="is no search"):
        open_folder(RunDir(tmp_path / "runs" / "two"), given_from(config=opened))


@pytest.mark.parametrize(
    ("recipe", "keys"),
    [
        ("classic", {"learning_rate", "dropout", "label_smoothing", "augment"}),
        ("fine-tune", {"learning_rate", "dropout", "weight_decay", "label_smoothing", "depth_factor"}),
        ("scratch", {"learning_rate", "dropout", "weight_decay", "label_smoothing"}),
    ],
)
def test_search_space__is_small_and_holds_the_settings_themselves(recipe: Recipe, keys: set[str]) -> None:
    config = given_from(recipe=recipe).resolve()
    space = search_space(config)
    assert {searched.key for searched in space} == keys
    own = {searched.key: searched.own_value(config) for searched in space}
    assert with_values(config, space, own) == config


def test_search_space__augmentation_set_by_hand_is_left_alone() -> None:
    assert "augment" not in {searched.key for searched in search_space(Config(augment=AugmentConfig(rotation=3.0)))}


def test_with_values__a_level_of_augmentation_brings_its_keys() -> None:
    space = search_space(Config())
    values = {searched.key: searched.own_value(Config()) for searched in space} | {"augment": "strong", "learning_rate": 1e-8}
    found = with_values(Config(), space, values)
    assert found.augment == augmentation("strong")
    # The plateau's lowest rate cannot lie above the rate.
    assert found.training.min_learning_rate == 1e-8


def test_lowest_loss__counts_epochs_at_the_full_size_alone() -> None:
    epochs = pd.DataFrame({"epoch": [1, 2, 3], "val_loss": [0.1, 0.5, 0.4], "image_size": [32, 64, 64]})
    assert lowest_loss(epochs, 64)["epoch"] == 3
    assert lowest_loss(epochs[:1], 64) is None


@pytest.mark.parametrize(
    ("trials", "hours", "name", "said"),
    [
        (0, 0, "a", "--trials is 0"),
        (1, -1, "a", "--hours is -1"),
        (1, 0, "a/b", "--name is 'a/b'"),
        (1, 0, "..", "--name is '..'"),
    ],
)
def test_tune__arguments_that_make_no_sense_are_refused(tmp_path: Path, trials: int, hours: float, name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        tune(Given(), tmp_path, name, Budget(trials, hours))
    assert not list(tmp_path.iterdir())
