"""Is it cheating? A planted shortcut is found and named; where there is none, nothing is said."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from diptych.data.shortcuts import find_shortcut, interval_of, mean_auc, shortcut_features

COUNT = 400


def made_files(classes: int = 2, seed: int = 0) -> tuple[np.ndarray, pd.Series, pd.DataFrame, pd.DataFrame]:
    """Targets, paths, outcome and colours of files in which nothing depends on the class."""
    draw = np.random.default_rng(seed)
    targets = np.arange(COUNT) % classes
    outcome = pd.DataFrame(
        {
            "bytes": draw.integers(20_000, 90_000, COUNT),
            "width": draw.choice([640, 800, 1024], COUNT),
            "height": draw.choice([480, 600], COUNT),
            "quantization": draw.choice([3.5, 5.0, 9.0], COUNT),
            "progressive": draw.random(COUNT) < 0.5,
            "exif": draw.random(COUNT) < 0.5,
            "orientation": draw.choice([1, 6], COUNT),
            "format": draw.choice(["JPEG", "PNG"], COUNT),
            "camera": draw.choice(["", "A", "B"], COUNT),
            "mode": draw.choice(["RGB", "L"], COUNT),
        }
    )
    paths = pd.Series([f"{draw.integers(9)}/{number}{draw.choice(['.jpg', '.JPG', '.png'])}" for number in range(COUNT)])
    names = [f"{place}_{colour}" for place in ("border", "mean") for colour in ("red", "green", "blue")]
    colours = pd.DataFrame(draw.uniform(60, 200, (COUNT, 6)), columns=names)
    return targets, paths, outcome, colours


def shortcut(targets, paths, outcome, colours):
    return find_shortcut(shortcut_features(paths, outcome, colours), targets, pd.Series(np.arange(COUNT)))


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("classes", [2, 4])
def test_find_shortcut__nothing_to_find(classes, seed):
    found = shortcut(*made_files(classes, seed))
    assert 0.4 < found.roc_auc < 0.6
    assert found.interval[0] < 0.5 < found.interval[1] or abs(found.roc_auc - 0.5) < 0.1


@pytest.mark.parametrize(
    ("column", "values", "name"),
    [
        ("bytes", (30_000, 60_000), "file size"),
        ("width", (640, 1024), "width"),
        ("quantization", (3.5, 9.0), "JPEG tables"),
        ("progressive", (False, True), "progressive JPEG"),
        ("exif", (False, True), "EXIF data"),
        ("orientation", (1, 6), "EXIF orientation"),
        ("format", ("JPEG", "PNG"), "file format"),
        ("camera", ("A", "B"), "camera"),
        ("mode", ("RGB", "L"), "colour mode"),
    ],
)
def test_find_shortcut__a_planted_one_is_named(column, values, name):
    targets, paths, outcome, colours = made_files()
    outcome[column] = np.where(targets == 0, *values)
    found = shortcut(targets, paths, outcome, colours)
    assert found.feature == name
    assert found.roc_auc > 0.99
    assert found.feature_roc_auc == found.features[0][1] > 0.99
    assert found.interval[0] > 0.95


@pytest.mark.parametrize("place", ["border", "mean"])
def test_find_shortcut__colours_count_as_one(place):
    targets, paths, outcome, colours = made_files()
    colours[f"{place}_green"] = np.where(targets == 0, 70, 90) + np.random.default_rng(0).normal(0, 4, COUNT)
    found = shortcut(targets, paths, outcome, colours)
    assert found.feature == f"{place} colour"
    assert found.roc_auc > 0.95


def test_find_shortcut__file_names_endings():
    targets, _, outcome, colours = made_files()
    paths = pd.Series([f"x/{number}{'.png' if target else '.jpg'}" for number, target in enumerate(targets)])
    assert shortcut(targets, paths, outcome, colours).feature == "file name's ending"


def test_find_shortcut__copies_do_not_give_themselves_away():
    targets, paths, outcome, colours = made_files()
    rows = np.repeat(np.arange(40), 10)
    copies = (frame.iloc[rows].reset_index(drop=True) for frame in (paths, outcome, colours))
    features = shortcut_features(*copies)
    found = find_shortcut(features, targets[rows], pd.Series(rows))
    assert found.roc_auc < 0.8
    assert find_shortcut(features, targets[rows], pd.Series(np.arange(COUNT))).roc_auc > 0.99


def test_find_shortcut__too_few_images_say_nothing():
    targets, paths, outcome, colours = made_files()
    targets = np.where(np.arange(COUNT) < 9, 1, 0)
    assert shortcut(targets, paths, outcome, colours) is None


def test_find_shortcut__large_data_are_sampled():
    rows = np.arange(30_000) % COUNT
    targets, paths, outcome, colours = made_files()
    outcome["exif"] = targets == 1
    large = (frame.iloc[rows].reset_index(drop=True) for frame in (paths, outcome, colours))
    found = find_shortcut(shortcut_features(*large), targets[rows], pd.Series(np.arange(30_000)))
    assert found.feature == "EXIF data"


def test_mean_auc__agrees_with_scikit_learn():
    draw = np.random.default_rng(0)
    labels = np.arange(90) % 3
    scores = draw.dirichlet([1, 1, 1], 90)
    assert mean_auc(scores, labels) == pytest.approx(roc_auc_score(labels, scores, multi_class="ovr"))


def test_interval_of__covers_the_truth_as_often_as_it_says():
    # Two normal distributions one standard deviation apart: the true area is Phi(1 / sqrt 2).
    draw, inside = np.random.default_rng(0), 0
    labels = np.repeat([0, 1], 100)
    for _ in range(300):
        low, high = interval_of(roc_auc_score(labels, draw.normal(labels)), np.array([100, 100]))
        inside += low < 0.7602 < high
    assert 0.91 < inside / 300 < 0.985
