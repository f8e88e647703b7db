"""The settings: each defined once, and read from presets, TOML files and flags in that order."""

import dataclasses
import json
import math
import re
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.cli import parse
from diptych.commands.data import Check, Preview
from diptych.commands.evaluate import Predict
from diptych.commands.options import TrainingOptions
from diptych.commands.train import Train
from diptych.errors import ConfigError
from diptych.settings.config import AugmentConfig, ComputeConfig, Config, DataConfig, ModelConfig, TrackingConfig, TrainingConfig
from diptych.settings.presets import AUGMENT_LEVELS, PRESETS, Preset, augmentation
from diptych.settings.sources import given_from, override, read_toml, to_toml

SECTIONS = {
    "data": DataConfig,
    "augment": AugmentConfig,
    "model": ModelConfig,
    "training": TrainingConfig,
    "compute": ComputeConfig,
    "tracking": TrackingConfig,
}


def read(text: str, folder: Path, base: Config | None = None) -> Config:
    path = folder / "settings.toml"
    path.write_text(text, encoding="utf-8")
    return read_toml(path, base or Config())


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a key's type, most of them out of the ordinary."""
    if kind == Path | None:
        return st.none() | values_of(Path)
    if typing.get_origin(kind) is Literal:
        return st.sampled_from(typing.get_args(kind))
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
    return {
        bool: st.booleans(),
        int: st.integers(1, 2000),
        float: st.floats(0, 1, exclude_max=True),
        str: text,
        Path: text.filter(lambda name: "\0" not in name).map(Path),
    }[kind]


@st.composite
def configs(draw: st.DrawFn) -> Config:
    """Configs that differ from the defaults in a few keys at random, as far as these go together."""
    config = Config()
    for _ in range(draw(st.integers(1, 6))):
        section = draw(st.sampled_from(sorted(SECTIONS)))
        key, kind = draw(st.sampled_from(sorted(typing.get_type_hints(SECTIONS[section]).items(), key=lambda pair: pair[0])))
        try:
            changed = dataclasses.replace(getattr(config, section), **{key: draw(values_of(kind))})
        except ConfigError:
            continue
        config = dataclasses.replace(config, **{section: changed})
    return config


@given(configs())
def test_to_toml__read_toml_gives_the_same_config_back(tmp_path_factory: pytest.TempPathFactory, config: Config) -> None:
    assert read(to_toml(config), tmp_path_factory.getbasetemp()) == config


@pytest.mark.parametrize("name", ['a "quoted" name', "back\\slash", "tab\there", "new\nline", "\x7f", "\x01", "ä 字 🙂", "#=[x]"])
def test_to_toml__odd_characters_in_a_path(tmp_path: Path, name: str) -> None:
    config = Config(data=DataConfig(data=Path(name)))
    assert read(to_toml(config), tmp_path).data.data == Path(name)


def test_to_toml__writes_every_key_once() -> None:
    config = Config(data=DataConfig(fixes=Path("fixes.csv"), split=Path("split.csv"), images=Path("images")))
    keys = [line.split(" = ")[0] for line in to_toml(config).splitlines() if " = " in line]
    assert keys == [field.name for section in SECTIONS.values() for field in dataclasses.fields(section)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[trainning]\nepochs = 3", "did you mean training?"),
        ("[training]\nepoch = 3", "did you mean epochs?"),
        ("[augment]\nbrightnes = 0.1", "did you mean brightness?"),
        ("[data]\nqqq = 1", "expected one of data, image_size, resize"),
        ("epochs = 3", "unknown section [epochs]"),
        ("data = 'x'", "expected a section [data]"),
        ("[training]\nepochs = 3.0", "epochs in [training] is 3.0; expected a value of type int"),
        ("[training]\nepochs = true", "expected a value of type int"),
        ("[training]\nlearning_rate = '1e-3'", "expected a value of type float"),
        ("[training]\nlearning_rate = true", "expected a value of type float"),
        ("[data]\nstrict = 1", "expected a value of type bool"),
        ("[data]\ndata = 1", "data in [data] is 1"),
        ("[data]\nresize = 'squash'", "expected one of stretch, letterbox, crop"),
        ("[data]\nresize = ['crop']", "expected one of stretch, letterbox, crop"),
        ("[training", "cannot be read as a TOML file"),
        ("[training]\nepochs = 1\nepochs = 2", "cannot be read as a TOML file"),
    ],
)
def test_read_toml__mistake_is_named_with_its_file(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text, tmp_path)
    assert expected in str(caught.value)
    assert "settings.toml" in str(caught.value)


def test_read_toml__not_utf8(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"[data]\ndata = '\xff'")
    with pytest.raises(ConfigError, match=r"x\.toml: cannot be read"):
        read_toml(tmp_path / "x.toml", Config())


def test_read_toml__no_such_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml"):
        read_toml(tmp_path / "none.toml", Config())


def test_read_toml__int_for_a_float(tmp_path: Path) -> None:
    rotation = read("[augment]\nrotation = 15", tmp_path).augment.rotation
    assert (rotation, type(rotation)) == (15.0, float)


def test_read_toml__other_keys_stay_as_they_were(tmp_path: Path) -> None:
    base = given_from("quick").resolve()
    changed = read("[training]\nepochs = 3", tmp_path, base)
    assert changed == dataclasses.replace(base, training=dataclasses.replace(base.training, epochs=3))


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("data", "image_size", 31),
        ("data", "image_size", 4097),
        ("data", "validation_share", 0.0),
        ("data", "validation_share", 1.0),
        ("data", "test_share", 0.0),
        ("data", "test_share", 0.85),
        ("data", "max_unreadable", -0.01),
        ("data", "max_unreadable", 1.0),
        ("augment", "rotation", -1.0),
        ("augment", "rotation", 180.5),
        ("augment", "zoom", 1.0),
        ("augment", "shift", -0.1),
        ("augment", "brightness", 1.0),
        ("augment", "contrast", math.nan),
        ("augment", "colour", 1.0),
        ("augment", "blur", 20.5),
        ("augment", "erasing", 1.1),
        ("augment", "mixup", -0.1),
        ("augment", "cutmix", math.inf),
        ("model", "width", 0.0),
        ("model", "width", 4.5),
        ("model", "dense_units", 0),
        ("model", "dropout", 1.0),
        ("model", "batch_norm_momentum", 1.0),
        ("training", "epochs", 0),
        ("training", "batch_size", 0),
        ("training", "learning_rate", 0.0),
        ("training", "learning_rate", math.nan),
        ("training", "learning_rate", math.inf),
        ("training", "weight_decay", -1e-9),
        ("training", "plateau_factor", 1.0),
        ("training", "plateau_patience", 0),
        ("training", "plateau_min_delta", -1e-9),
        ("training", "plateau_min_delta", math.inf),
        ("training", "min_learning_rate", 1.0),
        ("training", "warmup_share", 0.0),
        ("training", "seed", -1),
        ("training", "seed", 2**31),
    ],
)
def test_config__value_out_of_range(section: str, key: str, value: float) -> None:
    with pytest.raises(ConfigError) as caught:
        SECTIONS[section](**{key: value})
    message = str(caught.value)
    assert f"{key} is {value}; expected" in message
    assert f"--{key.replace('_', '-')}" in message


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("data", "image_size", 32),
        ("data", "image_size", 4096),
        ("data", "test_share", 0.84),
        ("data", "max_unreadable", 0.0),
        ("augment", "rotation", 180.0),
        ("augment", "zoom", 0.0),
        ("model", "width", 4.0),
        ("training", "seed", 2**31 - 1),
        ("training", "min_learning_rate", 1e-4),
        ("training", "plateau_min_delta", 0.0),
    ],
)
def test_config__value_at_the_edge_of_its_range(section: str, key: str, value: float) -> None:
    assert getattr(SECTIONS[section](**{key: value}), key) == value


def test_config__defaults_are_the_users_own() -> None:
    config = Config()
    training = config.training
    assert (training.optimizer, training.learning_rate, training.epochs, training.batch_size) == ("adam", 1e-4, 70, 32)
    assert training.schedule == "plateau"
    assert (config.data.image_size, config.data.resize, config.data.strict) == (224, "stretch", False)
    assert (config.data.validation_share, config.data.test_share, config.data.max_unreadable) == (0.15, 0.15, 0.05)
    assert (config.augment.augment, config.model.weights, config.model.width) == ("standard", "imagenet", 1.0)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_preset__sets_its_keys_and_no_others(preset: Preset) -> None:
    config = given_from(preset).resolve()
    for section, kind in SECTIONS.items():
        changed = PRESETS[preset].get(section, {})
        for key in (field.name for field in dataclasses.fields(kind)):
            expected = changed.get(key, getattr(kind(), key))
            assert getattr(getattr(config, section), key) == expected


def test_override__source_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^here: unknown key"):
        override(Config(), {"data": {"x": 1}}, "here")


def settings_of(*arguments: str | Path) -> Config:
    command = parse(["train", *map(str, arguments)])
    assert isinstance(command, Train)
    return command.given().resolve()


def test_parse__flag_wins_over_toml_over_preset(tmp_path: Path) -> None:
    toml = tmp_path / "settings.toml"
    toml.write_text("[training]\nepochs = 5\nbatch_size = 6\n", encoding="utf-8")
    quick = PRESETS["quick"]["training"]
    assert settings_of().training.epochs == 70
    assert settings_of("--preset", "quick").training.epochs == quick["epochs"] != 70
    both = settings_of("--preset", "quick", "--config", toml).training
    assert (both.epochs, both.batch_size, both.learning_rate) == (5, 6, quick["learning_rate"])
    all_three = settings_of("--epochs", "4", "--config", toml, "--preset", "quick").training
    assert (all_three.epochs, all_three.batch_size, all_three.learning_rate) == (4, 6, quick["learning_rate"])
    assert settings_of(f"--config={toml}", "--preset=quick").training == both


def test_parse__holds_what_was_typed_and_nothing_else() -> None:
    command = parse(["train", "images", "--epochs", "70", "--no-strict", "--fixes", "None", "--flip-vertical"])
    assert isinstance(command, Train)
    training, data, augment = {"epochs": 70}, {"strict": False, "fixes": None}, {"flip_vertical": True}
    empty: dict[str, dict[str, object]] = {section: {} for section in SECTIONS}
    assert command.settings == {**empty, "training": training, "data": data, "augment": augment}
    with_folder = {**data, "data": Path("images")}
    assert command.given().layers[-1].tables == {**empty, "training": training, "data": with_folder, "augment": augment}


def test_parse__none_takes_back_what_the_file_sets(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text('[data]\nfixes = "fixes.csv"\n')
    assert settings_of("--config", tmp_path / "settings.toml").data.fixes == Path("fixes.csv")
    assert settings_of("--config", tmp_path / "settings.toml", "--fixes", "None").data.fixes is None


@pytest.mark.parametrize("verb", ["train", "find-lr", "tune", "ablate", "learning-curve", "check", "preview"])
def test_parse__data_folder_is_named_with_or_without_its_flag(verb: str) -> None:
    def data_of(*arguments: str) -> Path:
        command = parse([verb, *arguments])
        assert isinstance(command, TrainingOptions | Check | Preview)
        return command.resolved().data.data

    assert data_of("images") == data_of("--data", "images") == Path("images")
    assert data_of() == Path()
    with pytest.raises(ConfigError, match=r"given twice, as images and as --data other; leave one of them out\."):
        data_of("images", "--data", "other")


def test_parse__a_saved_config_is_read_back(tmp_path: Path) -> None:
    config = given_from("quick", data=tmp_path / "ä", resize="crop").resolve()
    (tmp_path / "config.toml").write_text(to_toml(config), encoding="utf-8")
    assert settings_of("--config", tmp_path / "config.toml") == config


@pytest.mark.parametrize(
    ("section", "key"), [(name, field.name) for name, kind in SECTIONS.items() for field in dataclasses.fields(kind)]
)
def test_parse__every_key_is_a_flag_and_the_same_in_python_and_in_a_file(section: str, key: str, tmp_path: Path) -> None:
    old = getattr(getattr(Config(), section), key)
    kind = typing.get_type_hints(SECTIONS[section])[key]
    flag = f"--{key.replace('_', '-')}"
    if kind == Path | None:
        arguments, new = [flag, "elsewhere"], Path("elsewhere")
    elif isinstance(old, bool):
        arguments, new = [flag.replace("--", "--no-", 1) if old else flag], not old
    elif typing.get_origin(kind) is Literal:
        new = typing.get_args(kind)[-1]
        arguments = [flag, new]
    else:
        usual = {int: 123, float: 0.00001, str: "auto", type(Path()): Path("elsewhere")}[type(old)]
        new = {"test_share": 0.2, "grey_range": "4095", "class_names": "functional,defective"}.get(key, usual)
        arguments = [flag, str(new)]
    config = settings_of(*arguments)
    assert getattr(getattr(config, section), key) == new != old
    plain = str(new) if isinstance(new, Path) else new
    file = tmp_path / "settings.toml"
    file.write_text(f"[{section}]\n{key} = {json.dumps(plain)}\n", encoding="utf-8")
    assert given_from(**{key: plain}).resolve() == given_from(config=file).resolve() == config


def test_parse__home_is_expanded_where_the_shell_left_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    command = parse(["train", "~/images", "--runs=~/runs", "--split=~/split.csv", "--config", "~/none.toml"])
    assert isinstance(command, Train)
    assert (command.folder, command.runs, command.config) == (tmp_path / "images", tmp_path / "runs", tmp_path / "none.toml")
    assert command.settings["data"] == {"split": tmp_path / "split.csv"}
    # The name of another user stays: of a program's copy, which begins so too, this would make nonsense.
    predict = parse(["predict", "~photo.png", "~/photo.png"])
    assert isinstance(predict, Predict)
    assert predict.places == (Path("~photo.png"), tmp_path / "photo.png")


def test_augment__a_level_leaves_nothing_of_another(tmp_path: Path) -> None:
    strong, plain = augmentation("strong"), vars(AugmentConfig())
    changed = {key for key, value in vars(strong).items() if value != plain[key]}
    assert changed == {"augment", *AUGMENT_LEVELS["strong"]}
    assert settings_of("--augment", "strong").augment == strong
    assert settings_of("--preset", "quick", "--augment", "strong").augment == strong
    assert read('[augment]\naugment = "strong"', tmp_path, given_from("quick").resolve()).augment == strong


def test_augment__a_key_wins_over_the_level(tmp_path: Path) -> None:
    expected = dataclasses.replace(augmentation("none"), rotation=5.0)
    assert settings_of("--rotation", "5", "--augment=none").augment == expected
    assert read('[augment]\nrotation = 5\naugment = "none"', tmp_path).augment == expected


def test_augment__none_is_all_off() -> None:
    off = augmentation("none")
    assert {getattr(off, field.name) for field in dataclasses.fields(off)} == {"none", False}


def test_preview__takes_the_level_too() -> None:
    command = parse(["preview", "--augment", "light", "--blur", "2"])
    assert isinstance(command, Preview)
    assert command.resolved().augment == dataclasses.replace(augmentation("light"), blur=2.0)


def test_config__no_key_stands_in_two_sections() -> None:
    keys = [field.name for kind in SECTIONS.values() for field in dataclasses.fields(kind)]
    assert sorted(keys) == sorted(set(keys))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TrainingConfig(optimizer="sgd"), "optimizer is 'sgd'; expected one of adam, adamw"),
        (lambda: TrainingConfig(schedule="cosine"), "schedule is 'cosine'; expected one of plateau"),
        (lambda: TrainingConfig(best_by="auc"), "best_by is 'auc'"),
        (lambda: TrainingConfig(freeze_batch_norm="yes"), "freeze_batch_norm is 'yes'"),
        (lambda: TrainingConfig(epochs=2.5), "epochs is 2.5; expected a value of type int"),
        (lambda: TrainingConfig(epochs=True), "epochs is True; expected a value of type int"),
        (lambda: TrainingConfig(epochs="5"), "epochs is '5'; expected a value of type int"),
        (lambda: TrainingConfig(learning_rate=float("nan")), "learning_rate is nan; expected a rate"),
        (lambda: ModelConfig(attention="cbam"), "attention is 'cbam'"),
        (lambda: ModelConfig(branches="resnet"), "branches is 'resnet'"),
        (lambda: ComputeConfig(deterministic="yes"), "deterministic is 'yes'; expected a value of type bool"),
        (lambda: ModelConfig(weights=3), "weights is 3; expected a value of type str"),
        (lambda: DataConfig(validation_share=[0.1]), "validation_share is [0.1]; expected a value of type float"),
        (lambda: DataConfig(data=b"images"), "data is b'images'; expected a value of type path"),
        (lambda: DataConfig(data=3), "data is 3; expected a value of type path"),
        (lambda: DataConfig(resize="squash"), "resize is 'squash'"),
        (lambda: Config(data="images"), "data is 'images'; expected a value of type DataConfig"),
        (lambda: dataclasses.replace(AugmentConfig(), augment="wild"), "augment is 'wild'"),
    ],
)
def test_config__values_are_checked_in_python_too(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        make()


def test_config__in_python_text_is_a_path_and_a_whole_number_a_rate() -> None:
    data = DataConfig(data="images", fixes="fixes.csv", image_size=np.int64(64))
    assert (data.data, data.fixes) == (Path("images"), Path("fixes.csv"))
    assert (data.image_size, type(data.image_size)) == (64, int)
    assert ModelConfig(weights=Path("runs/one")).weights == "runs/one"
    assert type(TrainingConfig(learning_rate=1, ema=np.float64(0.5)).learning_rate) is float
