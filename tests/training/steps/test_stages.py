"""Stages of a training, the choice of a recipe, and what docs/recipes.md says of them."""

import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import REPOSITORY

from diptych.settings.config import AugmentConfig, Config, TrainingConfig
from diptych.settings.presets import RECIPES
from diptych.settings.sources import given_from
from diptych.training.steps.stages import Stage, choose_recipe, phase_epochs, plan_stages, recipe_warnings, stage_at

SETTINGS = st.builds(
    TrainingConfig,
    epochs=st.integers(1, 400),
    head_epochs=st.integers(0, 50),
    start_size=st.floats(0.01, 1),
)


@given(SETTINGS, st.integers(32, 1024), st.booleans())
def test_stages__keep_their_promises(settings, image_size, pretrained):
    stages = plan_stages(settings, image_size, pretrained)
    assert sum(stage.epochs for stage in stages) == settings.epochs
    assert all(stage.epochs >= 1 for stage in stages)
    sizes = [stage.image_size for stage in stages]
    assert sizes == sorted(sizes)
    assert all(size == image_size or (size % 32 == 0 and 32 <= size < image_size) for size in sizes)
    learning = [stage for stage in stages if not stage.head_only]
    assert len({stage.image_size for stage in learning}) == len(learning) <= 3
    assert stages[-1].image_size == image_size
    assert not stages[-1].head_only
    head = sum(stage.epochs for stage in stages if stage.head_only)
    assert head == (min(settings.head_epochs, settings.epochs - 1) if pretrained else 0)
    assert stages[-1].epochs >= min(settings.epochs - head, settings.epochs / 4)
    # A phase is either the head alone or everything, and phases are numbered in their order.
    assert [stage.phase for stage in stages] == [int(bool(head) and not stage.head_only) for stage in stages]
    assert sum(phase_epochs(stages, phase) for phase in {stage.phase for stage in stages}) == settings.epochs


@given(SETTINGS, st.booleans())
def test_stage_at__goes_through_all_epochs_in_order(settings, pretrained):
    stages = plan_stages(settings, 224, pretrained)
    expected = [stage for stage in stages for _ in range(stage.epochs)]
    assert [stage_at(stages, epoch) for epoch in range(settings.epochs)] == expected
    for epoch in (-1, settings.epochs):
        with pytest.raises(ValueError, match=f"epoch {epoch}"):
            stage_at(stages, epoch)


@pytest.mark.parametrize(
    ("keys", "pretrained", "stages"),
    [
        ({}, True, [(70, 224, False, 0)]),
        ({"epochs": 30, "head_epochs": 3}, True, [(3, 224, True, 0), (27, 224, False, 1)]),
        ({"epochs": 30, "head_epochs": 3}, False, [(30, 224, False, 0)]),
        ({"epochs": 1, "head_epochs": 3}, True, [(1, 224, False, 0)]),
        ({"epochs": 20, "start_size": 0.5}, False, [(8, 128, False, 0), (7, 160, False, 0), (5, 224, False, 0)]),
        ({"epochs": 2, "start_size": 0.5}, False, [(1, 128, False, 0), (1, 224, False, 0)]),
        ({"epochs": 1, "start_size": 0.5}, False, [(1, 224, False, 0)]),
        ({"epochs": 9, "head_epochs": 2, "start_size": 0.9}, True, [(2, 192, True, 0), (4, 192, False, 1), (3, 224, False, 1)]),
    ],
)
def test_stages__of_known_settings(keys, pretrained, stages):
    assert plan_stages(TrainingConfig(**keys), 224, pretrained) == tuple(Stage(*stage) for stage in stages)


def test_choice__goes_by_the_weights_and_says_why():
    assert choose_recipe(True, 300)[0] == "fine-tune"
    assert "300" in choose_recipe(True, 300)[1]
    recipe, few = choose_recipe(False, 300)
    assert recipe == "scratch"
    assert "--weights imagenet" in few
    assert "weak" in few
    recipe, enough = choose_recipe(False, 3000)
    assert recipe == "scratch"
    assert "weak" not in enough
    assert "about the same" in choose_recipe(True, 200_000)[1]
    assert "about the same" not in choose_recipe(True, 20_000)[1]


def config(recipe: str, **keys: object) -> Config:
    base = given_from(recipe=recipe).resolve()
    return dataclasses.replace(base, training=dataclasses.replace(base.training, **keys))


def test_warnings__are_not_given_for_a_recipe_where_it_belongs():
    for images in (2000, 20_000):
        assert recipe_warnings(Config(), True, images) == []
        assert recipe_warnings(config("fine-tune"), True, images) == []
        assert recipe_warnings(config("scratch"), False, images) == []
    assert recipe_warnings(Config(), False, 10) == []


def test_warnings__of_mixing_few_images_under_pretrained_weights():
    mixing = dataclasses.replace(config("fine-tune"), augment=AugmentConfig(mixup=0.2))
    (line,) = recipe_warnings(mixing, True, 4999)
    assert "4,999" in line
    assert "--mixup 0" in line
    assert recipe_warnings(mixing, True, 5000) == []
    plain = dataclasses.replace(config("scratch"), augment=AugmentConfig(mixup=0.2))
    assert recipe_warnings(plain, False, 4999) == []


def test_warnings__of_few_updates_say_what_mends_them():
    settings = config("scratch", epochs=20, ema=0.0)
    (line,) = recipe_warnings(settings, False, 300)
    epochs = int(re.search(r"--epochs (\d+)", line)[1])
    assert recipe_warnings(config("scratch", epochs=epochs, ema=0.0), False, 300) == []
    assert recipe_warnings(config("scratch", epochs=epochs - 1, ema=0.0), False, 300) != []


def test_warnings__of_an_average_longer_than_the_training_say_what_mends_it():
    (line,) = recipe_warnings(config("classic", epochs=10, ema=0.998), False, 960)
    ema = float(re.search(r"--ema ([\d.]+)", line)[1])
    assert recipe_warnings(config("classic", epochs=10, ema=ema), False, 960) == []


def test_warnings__of_keys_that_do_nothing_without_pretrained_weights():
    (line,) = recipe_warnings(config("fine-tune"), False, 2000)
    assert "pretrained" in line


def rows_of_page(recipe: str) -> dict[str, str]:
    """The table of a recipe in docs/recipes.md: key to value."""
    page = (REPOSITORY / "docs" / "recipes.md").read_text(encoding="utf-8")
    section = page.split(f"\n## {recipe}\n")[1].split("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \| `([^`|]+)` \|", section, re.MULTILINE))


def settings_of(recipe: str) -> dict[str, str]:
    config = given_from(recipe=recipe).resolve()
    return {key: str(value) for section in vars(config).values() for key, value in vars(section).items()}


@pytest.mark.parametrize("recipe", RECIPES)
def test_page__has_every_key_with_its_value(recipe):
    keys = {key for section in RECIPES[recipe].values() for key in section} - {"recipe"}
    rows, settings = rows_of_page(recipe), settings_of(recipe)
    assert rows
    assert rows == {key: settings[key] for key in rows}
    assert keys == set(rows) or recipe == "classic"
    assert settings["recipe"] == recipe


def test_page__describes_auto_and_what_not_to_do():
    page = (REPOSITORY / "docs" / "recipes.md").read_text(encoding="utf-8")
    assert all(f"\n## {name}\n" in page for name in ("auto", "What not to do"))
