"""Label errors: planted ones are found, drawn, and written as corrections that a training obeys."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import running
from making import REPOSITORY, encode, make_image
from PIL import Image

from diptych.cli import main
from diptych.data.reading.fixes import apply_fixes
from diptych.data.reading.layouts import read_manifest
from diptych.errors import CheckpointError, DataError
from diptych.experiments.label_errors import describe_doubtful, find_doubtful, find_label_errors
from diptych.experiments.tested_run import read_tested
from diptych.settings.config import Config, DataConfig
from diptych.settings.sources import read_toml, to_toml
from diptych.storage.atomic import write_json, write_table, write_text
from diptych.storage.run_dir import RunDir, write_classes

NAMES = ("dark", "light", "other")
PLANTED = (4, 25, 50)


def plant(images: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels of three classes, of which those of PLANTED are wrong, and the sure answers of a network that knows better."""
    random = np.random.default_rng(seed)
    truth = np.arange(images) % 3
    shares = random.dirichlet([1, 1, 1], images) * 0.2 + 0.8 * np.eye(3)[truth]
    shares[list(PLANTED)] = 0.98 * np.eye(3)[truth[list(PLANTED)]] + 0.02 / 3
    labels = truth.copy()
    labels[list(PLANTED)] = (labels[list(PLANTED)] + 1) % 3
    return labels, shares


@pytest.fixture
def cross(tmp_path: Path) -> RunDir:
    """A tested cross-validation, with its data folder of 60 images in three class folders."""
    labels, shares = plant(60)
    paths = []
    for number, label in enumerate(labels):
        paths.append(f"{NAMES[label]}/{number}.png")
        file = tmp_path / "data" / paths[-1]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode(make_image(number % 2, number)))
    run = RunDir(tmp_path / "runs" / "cross")
    data = DataConfig(data=tmp_path / "data", image_size=32, cache=tmp_path / "cache")
    table = pd.DataFrame({"path": paths, "target": labels, "predicted_target": shares.argmax(axis=1)})
    table = table.assign(probability=shares.max(axis=1), **{f"probability_{n}": shares[:, k] for k, n in enumerate(NAMES)})
    for fold in (1, 2):
        own = RunDir(run.root / f"fold-{fold}")
        write_classes(own, NAMES)
        write_table(own.predictions, table[fold - 1 :: 2])
        write_table(run.root / "splits" / f"fold-{fold}.csv", table[["path"]])
    write_text(run.config, to_toml(Config(data=data)))
    write_json(run.environment, {"format_version": 1, "created": "2026-01-01T00:00:00+00:00"})
    write_table(run.folds, table[["path"]].assign(fold=np.arange(60) % 2 + 1))
    return run


def test_find_doubtful__planted_labels_are_found_and_no_others() -> None:
    labels, shares = plant(300)
    rows, likely = find_doubtful(labels, shares)
    assert set(rows) == set(PLANTED)
    assert likely.all()
    given = shares[rows, labels[rows]]
    assert (np.diff(given) >= 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_find_doubtful__two_classes_with_noise(seed: int) -> None:
    random = np.random.default_rng(seed)
    truth = np.arange(400) % 2
    second = np.clip(np.where(truth == 1, 0.85, 0.15) + random.normal(0, 0.15, 400), 0.001, 0.999)
    labels = truth.copy()
    wrong = random.choice(400, 20, replace=False)
    labels[wrong] = 1 - labels[wrong]
    found, likely = find_doubtful(labels, np.stack([1 - second, second], axis=1))
    assert set(found) == set(np.flatnonzero((second > 0.5) != (labels == 1)))
    assert len(set(found) & set(wrong)) >= 19
    assert len(set(found[likely]) & set(wrong)) >= 15
    assert len(set(found[likely]) - set(wrong)) <= 2


def test_find_doubtful__a_class_without_images_is_no_obstacle() -> None:
    labels, shares = plant(300)
    labels, shares = labels * 2, np.stack([shares[:, 0], np.zeros(300), shares[:, 1], np.zeros(300), shares[:, 2]], axis=1)
    assert set(find_doubtful(labels, shares)[0]) == set(PLANTED)
    assert len(find_doubtful(np.zeros(10, np.int64), np.tile([1.0, 0.0], (10, 1)))[0]) == 0


def test_find_label_errors__table_sheet_and_corrections(cross: RunDir, tmp_path: Path) -> None:
    found = find_label_errors(cross, tmp_path / "out")
    assert found.images == 60
    table = pd.read_csv(tmp_path / "out" / "label_errors.csv")
    assert {int(Path(path).stem) for path in table["path"]} == set(PLANTED)
    for row in table.itertuples():
        number = int(Path(row.path).stem)
        assert (row.given_class, row.suggested_class) == (NAMES[(number + 1) % 3], NAMES[number % 3])
        assert row.score == pytest.approx(getattr(row, f"probability_{row.given_class}"))
    assert table["score"].is_monotonic_increasing
    assert table["likely_wrong"].all()
    with Image.open(tmp_path / "out" / "label_errors.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100


def test_find_label_errors__fixes_csv_is_obeyed(cross: RunDir, tmp_path: Path) -> None:
    find_label_errors(cross, tmp_path / "out")
    manifest = read_manifest(tmp_path / "data")
    fixed = apply_fixes(manifest, tmp_path / "out" / "fixes.csv", "group")
    numbers = [int(Path(path).stem) for path in fixed.table["path"]]
    assert [fixed.class_names[target] for target in fixed.table["target"]] == [NAMES[number % 3] for number in numbers]
    assert (manifest.table["target"] != fixed.table["target"]).sum() == len(PLANTED)


def test_find_label_errors__merely_doubtful_labels_are_listed_but_not_corrected(cross: RunDir, tmp_path: Path) -> None:
    unsure = [f"{NAMES[(number + 1) % 3]}/{number}.png" for number in PLANTED[:2]]
    for fold in (1, 2):
        own = RunDir(cross.root / f"fold-{fold}")
        table = pd.read_csv(own.predictions).set_index("path", drop=False)
        for path in table.index.intersection(unsure):
            truth = NAMES[int(Path(path).stem) % 3]
            table.loc[path, [f"probability_{name}" for name in NAMES]] = [0.5 if name == truth else 0.25 for name in NAMES]
        write_table(own.predictions, table)
    found = find_label_errors(cross, tmp_path / "out")
    assert set(found.table["path"][~found.table["likely_wrong"]]) == set(unsure)
    fixes = pd.read_csv(tmp_path / "out" / "fixes.csv")
    assert [Path(path).stem for path in fixes["path"]] == [str(PLANTED[2])]


def test_find_label_errors__without_doubt_the_table_alone_is_written(cross: RunDir, tmp_path: Path) -> None:
    for fold in (1, 2):
        own = RunDir(cross.root / f"fold-{fold}")
        table = pd.read_csv(own.predictions)
        write_table(own.predictions, table.assign(target=table["predicted_target"]))
    found = find_label_errors(cross, tmp_path / "out")
    assert [file.name for file in found.files] == ["label_errors.csv"]
    assert len(found.table) == 0
    assert not (tmp_path / "out" / "fixes.csv").exists()


def test_find_label_errors__a_lost_image_is_named(cross: RunDir, tmp_path: Path) -> None:
    number = PLANTED[0]
    (tmp_path / "data" / NAMES[(number + 1) % 3] / f"{number}.png").unlink()
    with pytest.raises(DataError, match=rf"{number}\.png.*--data"):
        find_label_errors(cross, tmp_path / "out")


def test_find_label_errors__a_single_run_is_refused(tested: RunDir, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is not a cross-validation"):
        find_label_errors(tested, tmp_path)


def test_command__says_what_to_do(cross: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["label-errors", "cross", "--runs", str(cross.root.parent)]) == 0
    said = capsys.readouterr().out
    assert "3 of 60 labels are doubtful, 3 of them likely wrong" in said
    assert f"diptych train --config {cross.config} --fixes {cross.root / 'label-errors' / 'fixes.csv'}" in said
    assert "rather the network's own mistakes" not in said
    assert "earlier corrections" not in said
    config = read_toml(cross.config, Config())
    own = cross.root.parent / "own.csv"
    write_text(cross.config, to_toml(dataclasses.replace(config, data=dataclasses.replace(config.data, fixes=own))))
    assert main(["label-errors", "cross", "--runs", str(cross.root.parent)]) == 0
    assert f"--fixes takes one table: add the earlier corrections of {own} to it" in capsys.readouterr().out


def test_command__does_not_believe_in_many_wrong_labels(cross: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    for fold in (1, 2):
        path = RunDir(cross.root / f"fold-{fold}").predictions
        table = pd.read_csv(path)
        # Of the last third of the images, the network is sure that they are of another class.
        last = table.index >= 20
        columns = [f"probability_{name}" for name in NAMES]
        table.loc[last, columns] = np.roll(table.loc[last, columns].to_numpy(), 1, axis=1)
        write_table(path, table)
    assert main(["label-errors", "cross", "--runs", str(cross.root.parent)]) == 0
    said = capsys.readouterr().out
    assert "of all labels; well-known data sets have about 3 % wrong" in said
    assert "No fixes.csv is suggested" in said
    assert "--fixes" not in said
    assert not (cross.root / "label-errors" / "fixes.csv").exists()


def test_command__of_a_cross_validation_at_chance_is_refused(cross: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    for fold in (1, 2):
        path = RunDir(cross.root / f"fold-{fold}").predictions
        table = pd.read_csv(path)
        # The answers of other images.
        answers = [name for name in table.columns if name.startswith(("predicted_", "probability"))]
        table[answers] = table[answers].sample(frac=1, random_state=0).to_numpy()
        write_table(path, table.astype({"predicted_target": int}))
    assert main(["label-errors", "cross", "--runs", str(cross.root.parent)]) == 2
    said = "".join(capsys.readouterr())
    assert "not shown to be better than chance (33.3%)" in said
    assert not (cross.root / "label-errors").exists()


@pytest.mark.slow
def test_without_cleanlab__the_command_to_install_it_is_named(cross: RunDir) -> None:
    code = "import sys; sys.modules['cleanlab'] = None; from diptych.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "label-errors", "cross", "--runs", str(cross.root.parent)]
    found = running.environment(PYTHONPATH=str(REPOSITORY / "src"))
    done = subprocess.run(command, env=found, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'diptych[labels]'" in done.stderr


@pytest.mark.slow
def test_label_errors__of_a_real_cross_validation(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Each label is judged by the network that was not trained on its image, whatever that network says, and however well."""
    run = running.cross_validated_once(tmp_path_factory.getbasetemp()).run
    both = read_tested(run)
    table = describe_doubtful(both, *find_doubtful(both.targets, both.probabilities))
    tested = pd.concat(
        [pd.read_csv(RunDir(run.root / f"fold-{fold + 1}").predictions) for fold in range(running.FOLDS)], ignore_index=True
    )
    assert len(tested) == 2 * sum(running.PARTS.values())
    shares = tested[["probability_0", "probability_1"]].to_numpy(float)
    rows, likely = find_doubtful(tested["target"].to_numpy(), shares)
    assert (len(table), int(table["likely_wrong"].sum())) == (len(rows), likely.sum())
    assert sorted(table["path"]) == sorted(tested["path"][rows])
