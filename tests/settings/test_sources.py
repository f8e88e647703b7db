"""What the user gave, as data: merged with defaults, recipe and preset when the recipe is known."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from diptych.errors import ConfigError
from diptych.settings.config import AugmentConfig, Config, ModelConfig, Recipe, TrainingConfig
from diptych.settings.presets import PRESETS, RECIPES, augmentation
from diptych.settings.sources import Given, Layer, file_layer, given_from, override, read_toml, to_toml

AUTO: list[Recipe] = ["fine-tune", "scratch"]


def test_given__nothing_is_the_defaults() -> None:
    assert Given().resolve() == given_from().resolve() == Config()


def test_given_from__keys_win_over_the_file_the_file_over_the_preset_the_preset_over_the_recipe(tmp_path: Path) -> None:
    toml = tmp_path / "settings.toml"
    toml.write_text("[training]\nepochs = 5\nbatch_size = 6\n", encoding="utf-8")
    given = given_from("quick", toml, recipe="scratch", batch_size=7)
    config, scratch, quick = given.resolve(), RECIPES["scratch"]["training"], PRESETS["quick"]["training"]
    assert (config.training.batch_size, config.training.epochs) == (7, 5)
    assert config.training.learning_rate == quick["learning_rate"] != scratch["learning_rate"]
    assert config.training.weight_decay == scratch["weight_decay"] != TrainingConfig().weight_decay
    assert config.training.warmup_share == TrainingConfig().warmup_share
    assert (config.training.recipe, config.model.weights, config.data.image_size) == ("scratch", "none", 64)
    assert given_from("quick", str(toml), recipe="scratch", batch_size=7) == given


def test_given__holds_what_was_given_and_nothing_else(tmp_path: Path) -> None:
    toml = tmp_path / "settings.toml"
    toml.write_text('[data]\ndata = "photos"\n[augment]\nrotation = 5\n', encoding="utf-8")
    preset, file, keys = given_from(config=toml, data="images", epochs=np.int64(3)).layers
    assert preset.tables == {}
    assert file.tables == {"data": {"data": Path("photos")}, "augment": {"rotation": 5.0}}
    assert keys.tables == {"data": {"data": Path("images")}, "training": {"epochs": 3}}
    with pytest.raises(TypeError):
        keys.tables["training"]["epochs"] = 4  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        keys.tables = {}  # type: ignore[misc]


@pytest.mark.parametrize("recipe", AUTO)
def test_given__under_auto_each_recipe_sets_its_own_keys_but_those_that_were_given(recipe: Recipe) -> None:
    given = given_from("quick", recipe="auto", epochs=4, contrast=0.5)
    config, own = given.resolve(recipe), RECIPES[recipe]["training"]
    assert given.recipe == "auto"
    assert (config.training.recipe, config.training.epochs, config.augment.contrast) == (recipe, 4, 0.5)
    assert config.training.learning_rate == PRESETS["quick"]["training"]["learning_rate"]
    assert (config.training.weight_decay, config.training.ema) == (own["weight_decay"], own["ema"])
    assert config.model.weights == {"fine-tune": "auto", "scratch": "none"}[recipe]


def test_given__auto_that_is_not_chosen_yet_stays_auto() -> None:
    config = given_from(recipe="auto").resolve()
    assert (config.training.recipe, config.model.weights) == ("auto", "auto")
    assert given_from(recipe="auto", weights="runs/one").resolve("scratch").model.weights == "runs/one"


def test_given__only_the_whole_is_checked_and_not_what_lies_on_the_way(tmp_path: Path) -> None:
    """The file's lowest rate would be too high for every rate but the one in the keyword."""
    toml = tmp_path / "settings.toml"
    toml.write_text("[training]\nmin_learning_rate = 0.5\n", encoding="utf-8")
    assert given_from(config=toml, learning_rate=1).resolve().training.min_learning_rate == 0.5
    with pytest.raises(ConfigError, match=re.escape("min_learning_rate is 0.5; expected 0 up to the learning rate")):
        given_from(config=toml)


def test_given__under_auto_both_recipes_are_checked() -> None:
    """This rate is high enough for one of them alone."""
    assert given_from(recipe="scratch", min_learning_rate=2e-3).resolve().training.min_learning_rate == 2e-3
    with pytest.raises(ConfigError, match="min_learning_rate"):
        given_from(recipe="auto", min_learning_rate=2e-3)


def test_given__a_level_leaves_nothing_of_a_weaker_source(tmp_path: Path) -> None:
    assert given_from("quick", recipe="scratch", augment="strong").resolve().augment == augmentation("strong")
    toml = tmp_path / "settings.toml"
    toml.write_text('[augment]\naugment = "strong"\nblur = 2\n', encoding="utf-8")
    expected = dataclasses.replace(augmentation("strong"), blur=2.0, zoom=0.5)
    assert given_from("quick", toml, zoom=0.5).resolve().augment == expected


@pytest.mark.parametrize(
    "config",
    [
        Config(),
        Config(training=TrainingConfig(recipe="scratch", ema=RECIPES["scratch"]["training"]["ema"])),
        Config(augment=dataclasses.replace(augmentation("strong"), blur=0.0), model=ModelConfig(width=0.5)),
        given_from("quick", recipe="fine-tune").resolve(),
    ],
)
def test_given_from__a_config_counts_as_a_whole(config: Config) -> None:
    assert given_from(config=config).resolve() == config
    changed = given_from(config=config, seed=5, recipe=config.training.recipe).resolve()
    assert changed == override(config, {"training": {"seed": 5}})


@pytest.mark.parametrize("recipe", AUTO)
def test_given_from__a_config_under_auto_leaves_its_defaults_to_the_recipe(recipe: Recipe) -> None:
    plain = Config(training=TrainingConfig(recipe="auto"))
    assert given_from(config=plain).resolve(recipe) == given_from(recipe="auto").resolve(recipe)
    assert given_from(config=Config(), recipe="auto").resolve(recipe) == given_from(recipe="auto").resolve(recipe)
    strong = dataclasses.replace(augmentation("strong"), blur=0.0)
    config = Config(augment=strong, training=TrainingConfig(recipe="auto", seed=7))
    expected = given_from(recipe="auto", augment="strong", blur=0.0, seed=7).resolve(recipe)
    assert given_from(config=config).resolve(recipe) == expected
    assert expected.augment == strong


SAVED = given_from(recipe="scratch", augment="strong", epochs=9).resolve()


@pytest.mark.parametrize(
    ("config", "asked"),
    [
        (Config(), "scratch"),
        (Config(), "fine-tune"),
        (SAVED, "classic"),
        (SAVED, "fine-tune"),
        (SAVED, "auto"),
        (Config(training=TrainingConfig(recipe="auto")), "scratch"),
    ],
)
def test_given_from__another_recipe_beside_a_whole_config_is_refused(config: Config, asked: Recipe, tmp_path: Path) -> None:
    """All its keys would win over the recipe's: the run would have only the name of the recipe."""
    saved, own = tmp_path / "config.toml", config.training.recipe
    saved.write_text(to_toml(config), encoding="utf-8")
    for source, name in ((config, "the Config"), (saved, str(saved))):
        with pytest.raises(ConfigError, match=f"recipe {asked} would change nothing .* {re.escape(name)} is of the recipe {own}"):
            given_from(config=source, recipe=asked)
    assert given_from(config=saved, recipe=own).resolve() == config


def test_given_from__preset_beside_a_whole_config_is_refused(tmp_path: Path) -> None:
    saved = tmp_path / "config.toml"
    saved.write_text(to_toml(SAVED), encoding="utf-8")
    for source, name in ((SAVED, "the Config"), (saved, str(saved))):
        with pytest.raises(ConfigError, match=f"preset quick would change nothing: {re.escape(name)} sets all its keys"):
            given_from("quick", source)
    assert given_from("quick", Config(), recipe="auto").resolve("fine-tune").training.epochs == 8


def test_given_from__file_of_a_few_keys_goes_with_another_recipe(tmp_path: Path) -> None:
    toml = tmp_path / "settings.toml"
    toml.write_text('[training]\nrecipe = "fine-tune"\nepochs = 5\n', encoding="utf-8")
    assert given_from(config=toml, recipe="scratch").resolve() == given_from(recipe="scratch", epochs=5).resolve()


def test_given_from__config_with_the_mere_name_of_a_recipe_is_refused() -> None:
    with pytest.raises(ConfigError, match=r'names the recipe scratch but has none of its values.*recipe="scratch"'):
        given_from(config=Config(training=TrainingConfig(recipe="scratch", epochs=3)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: given_from(epoch=5), "epoch is no setting; did you mean epochs?"),
        (lambda: given_from(qqqqqq=5), "qqqqqq is no setting; `diptych train --help` names them all."),
        (lambda: given_from(epochs="5"), "epochs is '5'; expected a value of type int."),
        (lambda: given_from(epochs=0), "epochs is 0; expected at least 1."),
        (lambda: given_from(recipe="best"), "recipe is 'best'; expected one of classic, fine-tune, scratch, auto."),
        (lambda: given_from("quik"), "unknown preset quik; did you mean quick?"),
        (lambda: given_from(config="none.toml"), "none.toml: cannot be read: no such file or directory."),
        (lambda: Layer({"trainning": {}}), "unknown section [trainning]; did you mean training?"),
        (lambda: Layer({"data": 3}), "data is a value; expected a section [data]"),
        (lambda: Layer({"data": {"x": 1}}, "here"), "here: unknown key x in [data]"),
    ],
)
def test_given_from__mistake_is_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert message in str(caught.value)


def test_file_layer__of_a_saved_run_has_all_keys(tmp_path: Path) -> None:
    config = given_from(recipe="scratch", augment="strong", data="images").resolve()
    (tmp_path / "config.toml").write_text(to_toml(config), encoding="utf-8")
    assert given_from(config=tmp_path / "config.toml").resolve() == config == read_toml(tmp_path / "config.toml", Config())
    assert file_layer(tmp_path / "config.toml").tables["augment"] == vars(config.augment) != vars(AugmentConfig())
