"""Test-time augmentation and the size of the test: the views are those of the training, and what is predicted is their mean."""

import dataclasses
import itertools
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from making import run_python
from numpy.typing import NDArray

from diptych.cli import main
from diptych.data.augment import flip_and_turn
from diptych.data.pixels.decode import ImageSpec
from diptych.data.pixels.prepare import prepare
from diptych.errors import ConfigError
from diptych.evaluation.evaluate import evaluate
from diptych.evaluation.report import read_report
from diptych.evaluation.summary import describe
from diptych.experiments.fold_report import describe_folds, evaluate_folds
from diptych.inference.predict import predict, predict_probabilities
from diptych.inference.tta import AS_IT_IS, SIZES, Turned, View, list_views, plan_test, turn
from diptych.settings.config import AugmentConfig, Config, DataConfig, ModelConfig
from diptych.settings.sources import read_toml, to_toml
from diptych.storage.atomic import write_table, write_text
from diptych.storage.run_dir import RunDir, write_classes

IMAGE = np.random.default_rng(0).integers(0, 256, (5, 5, 3), np.uint8)
SWITCHES = ("flip_horizontal", "flip_vertical", "quarter_turns")
COUNTS = {"": 1, "h": 2, "v": 2, "hv": 4, "q": 4, "hq": 8, "vq": 8, "hvq": 8}


def settings_of(letters: str) -> AugmentConfig:
    return AugmentConfig(**{switch: letter in letters for switch, letter in zip(SWITCHES, "hvq", strict=True)})


def seen(images: Sequence[NDArray[np.uint8]]) -> set[bytes]:
    return {np.ascontiguousarray(image).tobytes() for image in images}


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (AS_IT_IS, [[1, 2], [3, 4]]),
        (View(1, False), [[2, 4], [1, 3]]),
        (View(2, False), [[4, 3], [2, 1]]),
        (View(3, False), [[3, 1], [4, 2]]),
        (View(0, True), [[2, 1], [4, 3]]),
        (View(1, True), [[4, 2], [3, 1]]),
        (View(2, True), [[3, 4], [1, 2]]),
        (View(3, True), [[1, 3], [2, 4]]),
    ],
)
def test_turn__of_four_pixels(view, expected):
    image = np.repeat(np.array([[[1], [2]], [[3], [4]]], np.uint8), 3, axis=2)
    turned = turn(np.stack([image, 10 * image]), view)
    np.testing.assert_array_equal(turned[..., 0], [expected, 10 * np.array(expected)])
    assert (turned.dtype, turned.flags.c_contiguous) == (np.uint8, True)


@pytest.mark.parametrize("letters", COUNTS)
def test_list_views__are_what_the_training_makes_of_an_image(letters):
    settings = settings_of(letters)
    draws = itertools.product((0.1, 0.9), (0.1, 0.9), (0.1, 0.3, 0.6, 0.9))
    trained_on = seen([flip_and_turn(IMAGE, draw, settings) for draw in draws])
    views = list_views(settings)
    assert views[0] == AS_IT_IS
    assert len(views) == COUNTS[letters] == len(trained_on)
    assert seen([turn(IMAGE[None], view)[0] for view in views]) == trained_on


@pytest.mark.parametrize("letters", COUNTS)
def test_list_views__of_a_view_are_the_same_ones(letters):
    views = list_views(settings_of(letters))
    looks = seen([turn(IMAGE[None], view)[0] for view in views])
    for first in views:
        again = turn(IMAGE[None], first)
        assert seen([turn(again, view)[0] for view in views]) == looks


def test_turned__reads_no_more_than_it_is_asked_for():
    images = np.stack([IMAGE, IMAGE + np.uint8(1), IMAGE + np.uint8(2)])
    turned = Turned(images, View(1, True))
    assert len(turned) == 3
    np.testing.assert_array_equal(turned[np.array([2, 0])], turn(images[[2, 0]], View(1, True)))


class Counted:
    """Images that note how many of them were asked for at once."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self.images, self.most = images, 0

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        self.most = max(self.most, len(rows))
        return self.images[rows]


def test_predict_probabilities__is_the_mean_over_the_views(of_three):
    views = list_views(settings_of("hq"))
    images = Counted(np.concatenate([of_three.pixels] * 7))
    rows = np.arange(len(images))[::-1]
    found = predict_probabilities(of_three.network, images, rows, views)
    each = [keras.ops.convert_to_numpy(of_three.network(turn(of_three.pixels, view))) for view in views]
    expected = np.mean(each, axis=0)
    assert np.ptp(each, axis=0).max() > 1e-3
    np.testing.assert_allclose(found[::-1][: len(expected)], expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=0, atol=1e-12)
    assert (found.dtype, found.shape) == (np.float64, (len(images), 3))
    # Of all images, a batch at a time is in memory.
    assert images.most <= 32 < len(images)


@pytest.mark.parametrize("letters", ["h", "hv", "q", "hvq"])
def test_predict_probabilities__of_an_image_and_its_views_are_the_same(of_three, letters):
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    views = list_views(settings_of(letters))
    every = np.concatenate([turn(images, view) for view in views])
    found = predict_probabilities(of_three.network, every, np.arange(len(every)), views).reshape(len(views), 3, 3)
    assert np.ptp(found[0], axis=0).max() > 1e-3
    np.testing.assert_allclose(found, np.repeat(found[:1], len(views), axis=0), rtol=0, atol=1e-5)


def test_predict_probabilities__without_views_depend_on_how_the_image_lies(of_three):
    rows, images = np.arange(len(of_three.pixels)), of_three.pixels
    mirrored = turn(images, View(0, True))
    first, second = (predict_probabilities(of_three.network, found, rows) for found in (images, mirrored))
    assert np.abs(first - second).max() > 1e-4


def test_plan_test__of_a_training_without_flips():
    config = Config(augment=settings_of(""))
    assert plan_test(config) == (ImageSpec(224, "stretch"), (AS_IT_IS,))
    with pytest.raises(ConfigError, match=r"trained with none.*Leave out tta"):
        plan_test(config, tta=True)


@pytest.mark.parametrize("size", [-1, 0, 31, 4097])
def test_plan_test__of_a_size_out_of_range(size):
    with pytest.raises(ConfigError, match=rf"test_size is {size}; expected 32 to 4096 pixels"):
        plan_test(Config(), test_size=size)


def test_plan_test__takes_the_sizes_of_the_training():
    for size in (SIZES[0], SIZES[-1]):
        config = Config()
        assert plan_test(config, test_size=size)[0].size == size
        dataclasses.replace(config.data, image_size=size)


def copy_of(of_three, folder: Path, **changes: object) -> RunDir:
    """A copy of the run, with other settings of its training."""
    run = RunDir(shutil.copytree(of_three.run.root, folder))
    write_text(run.config, to_toml(dataclasses.replace(read_toml(run.config, Config()), **changes)))
    return run


def test_evaluate__with_views_and_another_size(of_three, tmp_path):
    run = copy_of(of_three, tmp_path / "run", augment=settings_of("vq"))
    figures = evaluate(run, cache=tmp_path / "cache", tta=True, test_size=40, maps=0).to_json()
    assert (figures["test_size"], figures["views"]) == (40, 8)
    report = read_report(run)
    assert report.to_json() == figures
    assert "tested at:          40 x 40 pixels, mean over 8 views of each image\n" in describe(report)
    table = pd.read_csv(run.predictions)
    images, _ = prepare([of_three.data / path for path in table["path"]], ImageSpec(40), None)
    views = list_views(settings_of("vq"))
    each = [keras.ops.convert_to_numpy(of_three.network(turn(images[:], view))) for view in views]
    columns = ["probability_ash", "probability_10 birch", "probability_2 cedar"]
    np.testing.assert_allclose(table[columns], np.mean(each, axis=0), rtol=0, atol=1e-5)


def test_evaluate__without_them_says_so_too(of_three, tmp_path):
    run = copy_of(of_three, tmp_path / "run")
    figures = evaluate(run, maps=0).to_json()
    assert (figures["test_size"], figures["views"]) == (32, 1)
    assert "tested at:          32 x 32 pixels, one view\n" in describe(read_report(run))


def test_predict__with_views_is_what_evaluate_says(of_three, tmp_path):
    run = copy_of(of_three, tmp_path / "run")
    evaluate(run, tta=True, test_size=48, maps=0)
    tested = pd.read_csv(run.predictions)
    files = [of_three.data / path for path in tested["path"]]
    columns = ["probability_ash", "probability_10 birch", "probability_2 cedar"]
    plain = predict(run, files)
    table = predict(run, files, tta=True, test_size=48)
    np.testing.assert_allclose(table[columns], tested[columns], rtol=0, atol=1e-5)
    assert np.abs(plain[columns] - tested[columns]).to_numpy().max() > 1e-4


def test_evaluate__of_a_run_trained_in_bfloat16_computes_in_float32(of_three, tmp_path):
    compute = dataclasses.replace(Config().compute, precision="bfloat16")
    run = copy_of(of_three, tmp_path / "run", compute=compute)
    found, expected = evaluate(run, maps=0), evaluate(copy_of(of_three, tmp_path / "other"), maps=0)
    assert (found.run.name, expected.run.name) == ("run", "other")
    assert found == dataclasses.replace(expected, run=found.run)


def test_evaluate__of_two_classes_with_views(tmp_path, of_three):
    from contract import randomise

    from diptych.model.checkpoint import save_checkpoint
    from diptych.model.network import build_network

    run = RunDir(tmp_path / "run")
    model = ModelConfig(weights="none", width=0.0625, dense_units=16)
    own = DataConfig(data=tmp_path / "moved", image_size=32, cache=tmp_path / "cache")
    write_text(run.config, to_toml(Config(own, settings_of("hv"), model)))
    write_classes(run, ("0", "1"))
    split = pd.read_csv(of_three.run.split)
    write_table(run.split, split.assign(target=split["target"].clip(upper=1)))
    network = build_network(model)
    randomise(network)
    save_checkpoint(run.best, network, {"epoch": 1, "class_names": ["0", "1"]})
    figures = evaluate(run, of_three.data, tta=True, maps=0).to_json()
    assert (figures["class_names"], figures["views"]) == (["0", "1"], 4)
    each = [keras.ops.convert_to_numpy(network(turn(of_three.pixels, view)))[:, 0] for view in list_views(settings_of("hv"))]
    found = pd.read_csv(run.predictions)["probability_1"]
    np.testing.assert_allclose(found, np.mean(each, axis=0), rtol=0, atol=1e-5)


def test_evaluate__wrong_flags_are_refused_before_keras_is_loaded(of_three, tmp_path):
    run = copy_of(of_three, tmp_path / "run", augment=settings_of(""))
    write_text(run.environment, '{"format_version": 1, "created": "2026-01-01T00:00:00+00:00"}')
    code = """
import sys
from diptych.cli import main
for command in (["evaluate", sys.argv[1]], ["predict", sys.argv[1], sys.argv[2]]):
    for flags in (["--tta"], ["--test-size", "16"]):
        print(main([*command, *flags]), "keras" in sys.modules)
"""
    done = run_python("-c", code, run.root, of_three.data)
    assert done.stdout.splitlines() == ["2 False"] * 4, done.stderr
    assert done.stderr.count("trained with none") == done.stderr.count("test_size is 16") == 2


def test_main__says_how_it_was_tested(of_three, tmp_path, capsys):
    run = copy_of(of_three, tmp_path / "run")
    write_text(run.environment, '{"format_version": 1, "created": "2026-01-01T00:00:00+00:00"}')
    backend = ["--backend", keras.backend.backend()]
    assert main(["evaluate", str(run.root), "--tta", "--test-size", "36", "--maps", "0", *backend]) == 0
    assert "36 x 36 pixels, mean over 4 views of each image" in capsys.readouterr().out
    assert main(["predict", str(run.root), str(of_three.data / "ash"), "--tta", *backend]) == 0
    assert "32 x 32 pixels, mean over 4 views of each image" in capsys.readouterr().out


@pytest.mark.slow
def test_evaluate_folds__tests_each_in_the_same_way(of_three, tmp_path):
    root = tmp_path / "cross"
    for number in (1, 2):
        fold = copy_of(of_three, root / f"fold-{number}")
        write_text(fold.environment, '{"format_version": 1, "created": "2026-01-01T00:00:00+00:00"}')
        # What stands at the end of a training.
        fold.best_keras.touch()
        write_text(root / "splits" / f"fold-{number}.csv", "")
    found_in_all = evaluate_folds(
        RunDir(root), cache=tmp_path / "cache", tta=True, test_size=40, backend=keras.backend.backend(), more=("--maps", "0")
    )
    assert (found_in_all.test_size, found_in_all.views) == (40, 4)
    assert {"test_size", "views"}.isdisjoint(found_in_all.mean)
    for name in found_in_all.folds:
        found = json.loads((root / name / "evaluation" / "metrics.json").read_text())
        assert (found["test_size"], found["views"]) == (40, 4)
        assert found["test_loss"] == pytest.approx(found_in_all.mean["loss"], rel=1e-6)
    assert "\ntested at 40 x 40 pixels, mean over 4 views of each image\n" in describe_folds(found_in_all)
    assert list((tmp_path / "cache").glob("*-40-stretch"))
