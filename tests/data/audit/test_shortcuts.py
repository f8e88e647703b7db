"""Is it cheating? A shortcut in the files is found and named; where there is none, nothing is claimed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from making import encode
from PIL import Image
from sklearn.metrics import roc_auc_score

from diptych.data.audit.image_quality import measure
from diptych.data.audit.shortcuts import Shortcut, draw_rows, find_shortcut, interval_of, mean_auc, shortcut_features
from diptych.data.audit.traces import describe_sources
from diptych.data.pixels.decode import ImageSpec
from diptych.data.pixels.prepare import prepare

COUNT = 20


def noise(number: int, width: int = 40, height: int = 40) -> Image.Image:
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8))


def turned(image: Image.Image, target: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = (1, 3)[target]
    return encode(image, "JPEG", exif=exif, quality=90)


def with_exif(image: Image.Image, target: int) -> bytes:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Maker", f"Model {target}"
    return encode(image, "JPEG", exif=exif, quality=90)


def framed(image: Image.Image, target: int) -> Image.Image:
    """The outermost two pixels, in another grey for each class; the middle makes up for it."""
    pixels = np.asarray(image).astype(int)
    edge = np.ones(pixels.shape[:2], bool)
    edge[2:-2, 2:-2] = False
    pixels[edge] = 100 + 40 * target
    pixels[~edge] += np.rint(128 - pixels.mean()).astype(int)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def bmp(image: Image.Image, _: int) -> bytes:
    return encode(image, "BMP")


def jpeg(image: Image.Image, **options: object) -> bytes:
    return encode(image, "JPEG", **options)


# How each class's files are written, and the features that may be named for it, besides the size that nearly all change.
PLANTED: dict[str, tuple[Callable[[Image.Image, int], bytes], set[str]]] = {
    "longer files": (lambda image, target: bmp(image, 0) + b"\0" * 99 * target, {"file size"}),
    "lower quality": (lambda image, target: jpeg(image, quality=90 - 5 * target), {"JPEG tables"}),
    "wider images": (lambda image, target: bmp(image.resize((40 + target, 40)), 0), {"width", "aspect ratio"}),
    "higher images": (lambda image, target: bmp(image.resize((40, 40 + target)), 0), {"height", "aspect ratio"}),
    "another format": (lambda image, target: encode(image, ("BMP", "PNG")[target]), {"file format"}),
    "progressive": (lambda image, target: jpeg(image, progressive=bool(target)), {"progressive JPEG"}),
    "EXIF": (lambda image, target: with_exif(image, 0) if target else jpeg(image, quality=90), {"EXIF data", "camera"}),
    "another orientation": (turned, {"EXIF orientation"}),
    "another camera": (with_exif, {"camera"}),
    "grey": (lambda image, target: bmp(image.convert("L") if target else image, 0), {"colour mode"}),
    "a frame": (lambda image, target: bmp(framed(image, target), 0), {"border colour"}),
}
SIZES = {"file size", "bytes per pixel"}


def look(folder: Path, write: Callable[[Image.Image, int], bytes], suffixes: tuple[str, str] = ("", "")) -> Shortcut | None:
    targets = np.arange(2 * COUNT) % 2
    paths = [folder / f"{number}{suffixes[target]}" for number, target in enumerate(targets)]
    for number, (path, target) in enumerate(zip(paths, targets, strict=True)):
        path.write_bytes(write(noise(number), int(target)))
    store, outcome = prepare(paths, ImageSpec(32), None, progress=False)
    assert (outcome["problem"] == "").all()
    features = shortcut_features(pd.Series(map(str, paths)), outcome, measure(store, np.arange(len(paths))))
    return find_shortcut(features, targets)


@pytest.mark.parametrize("kind", PLANTED)
def test_find_shortcut__what_was_planted_in_the_files_is_named(tmp_path, kind):
    write, names = PLANTED[kind]
    found = look(tmp_path, write)
    assert found is not None
    assert found.roc_auc > 0.97
    assert found.interval[0] > 0.9
    assert found.feature in names | SIZES
    assert found.level == ("warning" if kind == "longer files" else "error")
    telling = {name for name, auc in found.features if auc > 0.97}
    assert names <= telling <= names | SIZES


def test_find_shortcut__endings_of_names_are_a_feature(tmp_path):
    found = look(tmp_path, bmp, (".bmp", ".BMP.jpg"))
    assert found is not None
    assert (found.feature, found.feature_roc_auc) == ("file name's ending", 1.0)


def test_find_shortcut__files_of_one_kind_tell_nothing(tmp_path):
    found = look(tmp_path, bmp)
    assert found is not None
    assert found.interval[0] < 0.7
    same = {name for name, auc in found.features if auc == 0.5}
    assert {"file size", "width", "camera", "JPEG tables", "EXIF data"} <= same


@pytest.mark.parametrize("classes", [2, 4])
def test_find_shortcut__random_features_are_near_one_half(classes):
    random = np.random.default_rng(0)
    features = {f"feature {number}": pd.DataFrame({"x": random.normal(size=4000)}) for number in range(8)}
    found = find_shortcut(features, random.integers(0, classes, 4000))
    assert found is not None
    assert found.roc_auc == pytest.approx(0.5, abs=0.04)


def test_find_shortcut__several_classes_and_the_same_answer_twice():
    targets = np.repeat([0, 1, 2], 40)
    random = np.random.default_rng(0)
    features = {
        "tell": pd.DataFrame({"x": targets % 2 + 0.01 * random.normal(size=120)}),
        "none": pd.DataFrame({"x": random.random(120)}),
    }
    found = find_shortcut(features, targets)
    assert found is not None
    assert found == find_shortcut(features, targets)
    assert found.feature == "tell"
    assert [name for name, _ in found.features] == ["tell", "none"]
    # Class 1 is told from the rest, 0 and 2 only from 1: (1 + 3/4 + 3/4) / 3.
    assert found.features[0][1] == pytest.approx(5 / 6, abs=0.08)
    assert (found.targets, found.feature_roc_auc, found.facts_roc_auc) == ((1,), pytest.approx(1.0), pytest.approx(1.0))


@pytest.mark.parametrize(("classes", "each"), [(2, 9), (1, 50), (0, 0)])
def test_find_shortcut__too_few_images_say_nothing(classes, each):
    targets = np.repeat(np.arange(classes), each)
    rows = draw_rows(targets, pd.Series(np.arange(len(targets))))
    assert find_shortcut({"x": pd.DataFrame({"x": targets[rows] * 1.0})}, targets[rows]) is None


def test_draw_rows__copies_count_once():
    targets = np.repeat([0, 1], 30)
    assert len(draw_rows(targets, pd.Series(np.arange(60) // 6))) == 0
    once = draw_rows(targets, pd.Series(np.arange(60)))
    assert list(once) == list(range(60))
    assert list(draw_rows(np.tile(targets, 20), pd.Series(np.tile(np.arange(60), 20)))) == list(once)


def test_draw_rows__a_rare_class_among_many_images_is_kept():
    targets = np.r_[np.zeros(30_000, np.int64), np.ones(12, np.int64)]
    rows = draw_rows(targets, pd.Series(np.arange(len(targets))))
    assert len(rows) <= 5_000
    found = find_shortcut({"x": pd.DataFrame({"x": targets[rows] * 1.0})}, targets[rows])
    assert found is not None
    assert found.roc_auc > 0.95


def test_find_shortcut__one_class_of_many_from_elsewhere_is_not_lost_in_the_mean():
    targets = np.repeat(np.arange(10), 30)
    random = np.random.default_rng(0)
    features = {
        "width": pd.DataFrame({"x": np.where(targets == 7, 512.0, 1024.0)}),
        "camera": pd.DataFrame({"x": random.integers(0, 3, 300) * 1.0}),
    }
    found = find_shortcut(features, targets)
    assert found is not None
    assert found.interval[0] < 0.7
    assert (found.level, found.targets, found.feature) == ("error", (7,), "width")
    assert found.facts_roc_auc == 1.0
    same = find_shortcut({**features, "width": pd.DataFrame({"x": random.integers(0, 2, 300) * 1.0})}, targets)
    assert same is not None
    assert (same.level, same.targets) == ("none", ())


@pytest.mark.parametrize(
    ("name", "level"), [("mean colour", "warning"), ("file size", "warning"), ("border colour", "error"), ("camera", "error")]
)
def test_find_shortcut__what_may_be_the_content_is_no_error(name, level):
    targets = np.repeat([0, 1], 50)
    random = np.random.default_rng(0)
    features = {kind: pd.DataFrame({"x": random.random(100)}) for kind in ("mean colour", "border colour", "file size", "width")}
    found = find_shortcut({**features, name: pd.DataFrame({"x": targets * 1.0})}, targets)
    assert found is not None
    assert (found.level, found.feature, found.maybe_content) == (level, name, level == "warning")


def test_mean_auc__is_scikit_learns():
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, 200)
    scores = random.dirichlet(np.ones(4), 200) + np.eye(4)[labels] * 0.2
    expected = roc_auc_score(labels, scores / scores.sum(1, keepdims=True), multi_class="ovr")
    assert mean_auc(scores / scores.sum(1, keepdims=True), labels) == pytest.approx(expected)


def test_interval_of__is_the_paper_and_covers_as_often_as_it_says():
    # Hanley and McNeil 1982, the data of their table II: area 0.893 with 51 abnormal and 58 normal images, standard error 0.032.
    low, high = interval_of(0.893, 51, 109)
    assert (high - low) / 2 / 1.96 == pytest.approx(0.032, abs=0.001)
    random = np.random.default_rng(0)
    truth, covered = 0.7602, 0  # Normal scores one standard deviation apart.
    for _ in range(400):
        scores = np.r_[random.normal(0, 1, 60), random.normal(1, 1, 40)]
        bounds = interval_of(float(roc_auc_score(np.repeat([0, 1], [60, 40]), scores)), 40, 100)
        covered += bounds[0] <= truth <= bounds[1]
    assert 0.92 < covered / 400 <= 0.98


def test_describe_sources__says_all_that_the_verdict_names():
    """Nothing but what may be content tells these classes apart: the file size is named beside the colour."""
    facts = {"format": "PNG", "width": 40, "height": 40, "mode": "RGB", "path": "a.png", "camera": "", "exif": False}
    rows = [{**facts, "target": target, "bytes": 1000 + 1000 * target, **colours(80 + 20 * target)} for target in (0, 0, 1, 1)]
    features = {"file format": 0.5, "width": 0.5, "file size": 1.0, "mean colour": 0.99, "bytes per pixel": 1.0}
    assert describe_sources(pd.DataFrame(rows), ("a", "b"), features) == (
        "class a: mean colour grey 80 (of 255); about 0.62 bytes per pixel; files of about 1 kB",
        "class b: mean colour grey 100 (of 255); about 1.2 bytes per pixel; files of about 2 kB",
    )


def colours(grey: int) -> dict[str, int]:
    return {f"mean_{colour}": grey for colour in ("red", "green", "blue")}
