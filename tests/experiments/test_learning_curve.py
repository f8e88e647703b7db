"""The learning curve: nested subsets, the fit of the power law, when it is not determined, and real trainings."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import running
from making import make_data, write_table
from scipy.optimize import least_squares

from diptych.errors import ConfigError
from diptych.experiments.learning_curve import describe, learning_curve, plan
from diptych.experiments.run_group import open_run_group
from diptych.metrics.power_law import EXPONENTS, Ahead, doubt, fit_curve, fit_power_law, place_images
from diptych.settings.config import Config, DataConfig
from diptych.settings.sources import Given, given_from

IMAGES = np.array([50.0, 100.0, 200.0, 400.0, 800.0])
SETTINGS = (
    *("--weights", "none", "--branches", "convnet", "--width", "0.05", "--image-size", "32", "--dense-units", "16"),
    *("--batch-size", "8", "--epochs", "1", "--no-near-twins", "--seed", "3"),
    *("--backend", running.QUICKEST),
)
COMMAND = ("learning-curve", "data", "--seeds", "1", "--shares", "0.5", "1", "--name", "curve", *SETTINGS)


def simulate(errors: np.ndarray, seeds: int = 3, tests: int = 4000) -> tuple[pd.DataFrame, np.ndarray]:
    """Points and draws as of trainings whose true errors are these, each with its own binomial noise of the test images."""
    random = np.random.default_rng(0)
    rows = [(share, seed, images) for share, images in zip(IMAGES / 800, IMAGES, strict=True) for seed in range(seeds)]
    points = pd.DataFrame(rows, columns=["share", "seed", "images"])
    measured = random.binomial(tests, errors.repeat(seeds)) / tests
    drawn = random.binomial(tests, measured, (400, len(points))) / tests
    return points.assign(accuracy=1 - measured, name="x"), drawn


@pytest.mark.parametrize(("floor", "scale", "exponent"), [(0.05, 2.0, 0.5), (0.0, 1.0, 0.3), (0.1, 8.0, 1.0)])
def test_fit_power_law__finds_the_law_that_made_the_errors(floor: float, scale: float, exponent: float) -> None:
    law = fit_power_law(IMAGES, (floor + scale * IMAGES**-exponent)[None, :])
    assert law.exponent[0] == pytest.approx(exponent, abs=0.006)
    assert law.floor[0] == pytest.approx(floor, abs=0.002)
    assert law.at(3200)[0] == pytest.approx(floor + scale * 3200**-exponent, abs=0.001)
    assert law.explained[0] == pytest.approx(1.0, abs=1e-4)


def test_fit_power_law__is_as_good_as_scipys_bounded_least_squares() -> None:
    random = np.random.default_rng(3)
    errors = np.clip(0.05 + 1.5 * IMAGES**-0.4 + random.normal(0, 0.01, (20, 5)), 0, 1)
    law = fit_power_law(IMAGES, errors)
    for row, own in enumerate(errors):

        def residuals(values: np.ndarray, own: np.ndarray = own) -> np.ndarray:
            return values[0] + values[1] * (IMAGES / 800) ** -values[2] - own

        bounds = ([0, 0, EXPONENTS[0]], [1, np.inf, EXPONENTS[-1]])
        best = min((least_squares(residuals, [0.05, 0.1, c], bounds=bounds) for c in (0.1, 0.5, 1.5)), key=lambda f: f.cost)
        ours = residuals(np.array([law.floor[row], law.scale[row], law.exponent[row]]))
        assert (ours**2).sum() / 2 <= best.cost + 1e-6
        assert 1 - (ours**2).sum() / ((own - own.mean()) ** 2).sum() == pytest.approx(law.explained[row])


def test_fit_curve__says_what_more_images_would_bring() -> None:
    truth = 0.03 + 2.0 * IMAGES**-0.5
    curve = fit_curve(*simulate(truth), test_images=4000)
    assert curve.reason == ""
    for found, images in zip(curve.ahead, (1600, 3200), strict=True):
        expected = 1 - (0.03 + 2.0 * images**-0.5)
        assert found.images == images
        assert found.interval[0] <= expected <= found.interval[1]
        assert found.interval[0] <= found.accuracy <= found.interval[1]
        assert 0 <= found.gain_interval[0] <= found.gain <= found.gain_interval[1]
    assert np.allclose(curve.sizes["accuracy"], 1 - truth, atol=0.02)
    assert (curve.sizes["low"] < curve.sizes["accuracy"]).all()
    assert "is a guess" in describe(curve)


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        (np.full(5, 0.2), "no fall of the error is shown"),
        (np.array([0.1, 0.12, 0.15, 0.2, 0.3]), "no fall of the error is shown"),
        (np.array([0.3, 0.05, 0.3, 0.05, 0.2]), "do not follow the law"),
    ],
)
def test_fit_curve__is_not_determined_where_the_errors_do_not_say_so(errors: np.ndarray, said: str) -> None:
    curve = fit_curve(*simulate(errors), test_images=4000)
    assert curve.law is None
    assert curve.ahead == ()
    assert said in curve.reason
    assert "not determined" in describe(curve)


def test_doubt__an_interval_wider_than_the_fall_says_nothing() -> None:
    errors = 0.03 + 2.0 * IMAGES**-0.5
    law, redrawn = fit_power_law(IMAGES, errors[None, :]), np.tile(errors, (10, 1))
    fall = errors[0] - errors[-1]
    narrow, wide = (Ahead(1600, 0.9, (0.5, 0.5 + factor * fall), 0.01, (0.0, 0.02)) for factor in (0.9, 1.1))
    assert doubt(law, errors, redrawn, narrow) == ""
    assert "wider than the whole measured decrease" in doubt(law, errors, redrawn, wide)


def test_fit_curve__fewer_than_four_sizes_are_not_fitted() -> None:
    points, drawn = simulate(0.03 + 2.0 * IMAGES**-0.5)
    few = (points["share"] > 0.2).to_numpy()
    curve = fit_curve(points[few].reset_index(drop=True), drawn[:, few], test_images=4000)
    assert len(curve.sizes) == 3
    assert curve.reason.startswith("3 sizes are too few")


def test_place_images__subsets_are_nested_stratified_and_seeded() -> None:
    targets = pd.Series(np.repeat([0, 1, 2], [400, 80, 4]), index=np.arange(484) * 3)
    clusters = pd.Series(np.arange(484), index=targets.index)
    places = place_images(targets, clusters, 0)
    for share in (0.0625, 0.25, 0.5, 1.0):
        counts = targets[places < share].value_counts()
        assert [counts[target] for target in range(3)] == [max(1, round(share * total)) for total in (400, 80, 4)]
    assert places.equals(place_images(targets, clusters, 0))
    assert not places.equals(place_images(targets, clusters, 1))


def test_place_images__clusters_stay_whole() -> None:
    random = np.random.default_rng(0)
    clusters = pd.Series(random.integers(0, 60, 500))
    targets = clusters % 2
    places = place_images(targets, clusters, 0)
    for share in (0.1, 0.5):
        taken = places < share
        assert set(clusters[taken]).isdisjoint(clusters[~taken])
        assert taken.mean() == pytest.approx(share, abs=0.04)


def test_plan__a_subset_is_what_a_training_then_reads(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data", 20)
    write_table(
        tmp_path / "own.csv",
        [{"path": "0/00.png", "fix": "drop", "value": ""}, {"path": "0/01.png", "fix": "group", "value": "g"}],
    )
    settings = DataConfig(data=data, image_size=32, near_twins=False, fixes=tmp_path / "own.csv")
    series = open_run_group(tmp_path / "runs", "curve", given_from(config=Config(data=settings)), {"kind": "learning curve"})
    member, images = plan(series, 0.5, 1, equal_updates=False)
    assert member.config.training.seed == 1
    subset = open_run_group(
        tmp_path / "runs", "subset", given_from(config=member.config), {"kind": "learning curve"}
    ).data.manifest.table
    whole = series.data.manifest.table
    assert (subset["split"] == "train").sum() == images
    assert images == pytest.approx((whole["split"] == "train").sum() / 2, abs=1)
    for part in ("validation", "test"):
        assert set(subset["path"][subset["split"] == part]) == set(whole["path"][whole["split"] == part])
    assert "0/00.png" not in set(subset["path"])
    all_of_them, _ = plan(series, 1.0, 1, equal_updates=True)
    assert all_of_them.config.data.fixes == settings.fixes.resolve()


def test_plan__equal_updates_give_small_parts_more_epochs(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data", 20)
    config = Config(data=DataConfig(data=data, image_size=32, near_twins=False))
    series = open_run_group(tmp_path / "runs", "curve", given_from(config=config), {"kind": "learning curve"})
    assert plan(series, 0.25, 0, equal_updates=True)[0].config.training.epochs == 4 * config.training.epochs
    assert plan(series, 0.25, 0, equal_updates=False)[0].config.training.epochs == config.training.epochs


@pytest.mark.parametrize(
    ("shares", "seeds", "said"),
    [((0.0, 1.0), 1, "--shares are 0 1"), ((2.0,), 1, "--shares are 2"), ((), 1, "--shares are"), ((1.0,), 0, "--seeds is 0")],
)
def test_learning_curve__what_makes_no_sense_is_refused(tmp_path: Path, shares: tuple, seeds: int, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        learning_curve(Given(), tmp_path, "curve", seeds, shares)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_learning_curve__through_the_command_line(tmp_path: Path) -> None:
    running.make_colours(tmp_path / "data")
    done = running.diptych(*COMMAND, folder=tmp_path, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    root = tmp_path / "runs" / "curve"
    table = pd.read_csv(root / "learning_curve.csv").set_index("share")
    whole = 2 * running.PARTS["train"]
    assert dict(table["images"]) == {0.5: whole // 2, 1.0: whole}
    predictions = {share: pd.read_csv(root / table["name"][share] / "evaluation" / "predictions.csv") for share in (0.5, 1.0)}
    for share, own in predictions.items():
        assert table["accuracy"][share] == pytest.approx((own["target"] == own["predicted_target"]).mean())
        split = pd.read_csv(root / table["name"][share] / "split.csv")["split"].value_counts()
        assert split["train"] == table["images"][share]
    assert list(predictions[0.5]["path"]) == list(predictions[1.0]["path"])
    written = json.loads((root / "learning_curve.json").read_text())
    assert written["law"] is None
    assert "2 sizes are too few" in written["not_determined"]
    assert "2 sizes are too few" in done.stdout
    assert (root / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    again = running.diptych(*COMMAND, folder=tmp_path, timeout=600)
    assert again.returncode == 0, again.stderr
    assert "1 of 2" not in again.stdout
