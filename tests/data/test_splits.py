"""Train, validation and test: stratified, seeded, each class in each part."""

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.data.manifest import SPLITS, Manifest
from diptych.data.splits import assign_splits
from diptych.errors import DataError

SIZES = st.tuples(st.integers(3, 80), st.integers(3, 80))
SHARES = st.tuples(st.floats(0.05, 0.4), st.floats(0.05, 0.4))
SEEDS = st.integers(0, 2**31 - 1)


def make_manifest(sizes: tuple[int, int], split: list[str] | None = None) -> Manifest:
    """A Manifest of images that do not exist, with gaps in its index as after unreadable images were taken out."""
    targets = [0] * sizes[0] + [1] * sizes[1]
    names = [f"{number}.png" for number in range(len(targets))]
    table = pd.DataFrame({"path": names, "image_name": names, "target": targets})
    if split is not None:
        table["split"] = split
    table.index = pd.Index(range(1, 2 * len(targets) + 1, 2))
    return Manifest(Path("data"), table)


def count(manifest: Manifest, splits: "pd.Series[str]") -> dict[tuple[int, str], int]:
    pairs = list(zip(manifest.table["target"], splits, strict=True))
    return {(target, part): pairs.count((target, part)) for target in (0, 1) for part in SPLITS}


@given(SIZES, SHARES, SEEDS)
def test_assign_splits__shares_are_met_within_one_image_of_each_class(
    sizes: tuple[int, int], shares: tuple[float, float], seed: int
) -> None:
    manifest = make_manifest(sizes)
    counts = count(manifest, assign_splits(manifest, *shares, seed))
    for target, size in enumerate(sizes):
        assert abs(counts[target, "validation"] - size * shares[0]) <= 1
        assert abs(counts[target, "test"] - size * shares[1]) <= 1
        assert sum(counts[target, part] for part in SPLITS) == size


@given(SIZES, st.floats(0.001, 0.998), st.floats(0.001, 0.998), SEEDS)
def test_assign_splits__each_class_is_in_each_part(sizes: tuple[int, int], validation: float, test: float, seed: int) -> None:
    manifest = make_manifest(sizes)
    counts = count(manifest, assign_splits(manifest, validation, test * (1 - validation), seed))
    assert min(counts.values()) >= 1


@given(SIZES, SHARES, SEEDS)
def test_assign_splits__same_seed_same_split(sizes: tuple[int, int], shares: tuple[float, float], seed: int) -> None:
    first, second = (assign_splits(make_manifest(sizes), *shares, seed) for _ in range(2))
    assert first.equals(second)
    assert first.index.equals(make_manifest(sizes).table.index)


def test_assign_splits__other_seed_other_split() -> None:
    manifest = make_manifest((40, 40))
    assert not assign_splits(manifest, 0.15, 0.15, 0).equals(assign_splits(manifest, 0.15, 0.15, 1))


def test_assign_splits__classes_are_shuffled_independently() -> None:
    manifest = make_manifest((40, 40))
    splits = assign_splits(manifest, 0.15, 0.15, 0).tolist()
    assert splits[:40] != splits[40:]


@given(st.lists(st.sampled_from(SPLITS), min_size=8, max_size=40), SEEDS)
def test_assign_splits__a_column_split_is_obeyed(middle: list[str], seed: int) -> None:
    split = [*SPLITS, *middle, *SPLITS]
    manifest = make_manifest((len(split) // 2, len(split) - len(split) // 2), split)
    assert assign_splits(manifest, 0.3, 0.3, seed).tolist() == split


def test_assign_splits__three_images_of_a_class_are_enough() -> None:
    manifest = make_manifest((3, 3))
    assert set(count(manifest, assign_splits(manifest, 0.15, 0.15, 0)).values()) == {1}


@pytest.mark.parametrize(("sizes", "name"), [((2, 9), "class 0 has 2"), ((9, 2), "class 1 has 2"), ((0, 9), "class 0 has 0")])
def test_assign_splits__too_few_images(sizes: tuple[int, int], name: str) -> None:
    with pytest.raises(DataError, match=f"{name} readable images in data; .* at least 3. Add images"):
        assign_splits(make_manifest(sizes), 0.15, 0.15, 0)


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        (["train", "train", "test"] * 2, "no readable image for validation"),
        (["train", "validation", "train"] * 2, "no readable image for test"),
        (["validation", "test", "test"] * 2, "no readable image for train"),
        (["train", "validation", "test", "validation", "validation", "test"], "gives class 1 no readable image for training"),
    ],
)
def test_assign_splits__column_split_that_leaves_a_part_empty(split: list[str], expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        assign_splits(make_manifest((3, 3), split), 0.15, 0.15, 0)
