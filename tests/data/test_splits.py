"""Train, validation and test: copies and groups stay together, and images that are added move nothing."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from making import write_table

from diptych.data.folds import assign_folds
from diptych.data.reading.manifest import SPLITS, Manifest
from diptych.data.splits import (
    assign_splits,
    cluster_hashes,
    find_clusters,
    find_leaks,
    group_names,
    hash_to_unit,
    judge_split,
    read_given,
)
from diptych.errors import DataError

SEEDS = st.integers(0, 2**31 - 1)
SHARES = (0.15, 0.15)
few = settings(max_examples=30)
NO_PAIRS = np.empty((0, 2), np.int64)


IMAGES = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 60), st.sampled_from(["", "", "", "P1", "P2", "P3", "P4"])),
    min_size=30,
    max_size=120,
)

GROUPED = st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["P1", "P2", "P3", "P4", "P5"])), max_size=40)


def make_manifest(images: list[tuple[int, int, str]], split: list[str] | None = None) -> Manifest:
    """A Manifest of images that do not exist, with gaps in its index as after unreadable images were taken out."""
    names = [f"{number}.png" for number in range(len(images))]
    table = pd.DataFrame(
        {
            "path": names,
            "image_name": names,
            "target": [target for target, _, _ in images],
            "group": [group for _, _, group in images],
            "sha256": [f"{content:064x}" for _, content, _ in images],
        },
        index=pd.Index(range(1, 2 * len(images) + 1, 2)),
    )
    if split is not None:
        table["split"] = split
    return Manifest(Path("data"), table, ("a", "b", "c"))


def facts(manifest: Manifest) -> pd.DataFrame:
    """What `prepare` says of the files: equal content has equal facts."""
    content = manifest.table["sha256"].map(lambda digest: int(digest, 16))
    return pd.DataFrame({"width": 10 + content % 7, "height": 10, "bytes": 100 + content}, index=manifest.table.index)


def plain(count: int, classes: int = 3) -> list[tuple[int, int, str]]:
    return [(number % classes, number, "") for number in range(count)]


def clusters_of(manifest: Manifest, pairs: np.ndarray = NO_PAIRS) -> pd.Series:
    return find_clusters(manifest, pairs, manifest.table["group"])


def split_of(manifest: Manifest, seed: int = 0, pairs: np.ndarray = NO_PAIRS, given: pd.Series | None = None) -> pd.Series:
    clusters = clusters_of(manifest, pairs)
    hashes = cluster_hashes(manifest, clusters, manifest.table["group"], facts(manifest), seed)
    given = pd.Series("", index=manifest.table.index) if given is None else given
    return assign_splits(manifest, clusters, hashes, given, *SHARES)


def parts_per(parts: pd.Series, keys: pd.Series) -> pd.Series:
    return parts[keys != ""].groupby(keys[keys != ""]).nunique()


@few
@given(IMAGES, SEEDS, st.data())
def test_assign_splits__no_copy_no_twin_and_no_group_stands_on_two_sides(images, seed, data):
    manifest = make_manifest([*plain(300), *((c, 1000 + content, group) for c, content, group in images)])
    rows = manifest.table.index.to_numpy()
    pairs = data.draw(st.lists(st.tuples(st.sampled_from(rows), st.sampled_from(rows)), max_size=10))
    parts = split_of(manifest, seed, np.array(pairs, np.int64).reshape(-1, 2))
    assert set(parts) <= set(SPLITS)
    assert parts_per(parts, manifest.table["sha256"]).max() == 1
    assert (parts_per(parts, manifest.table["group"]) == 1).all()
    assert all(parts[first] == parts[second] for first, second in pairs)


@few
@given(GROUPED, GROUPED, SEEDS)
def test_assign_splits__added_images_of_old_and_new_groups_move_nothing(old, new, seed):
    # Three hundred images of each class without a group, so that no part is ever empty.
    images = [*plain(900), *((target, 1000 + number, group) for number, (target, group) in enumerate([*old, *new]))]
    before = split_of(make_manifest(images[: 900 + len(old)]), seed)
    after = split_of(make_manifest(images), seed)
    assert before.equals(after[before.index])


@few
@given(st.integers(200, 400), st.integers(1, 200), SEEDS)
def test_assign_splits__added_images_without_groups_move_nothing_at_all(old, new, seed):
    images = plain(old + new)
    before = split_of(make_manifest(images[:old]), seed)
    after = split_of(make_manifest(images), seed)
    assert before.equals(after[before.index])


@few
@given(st.integers(200, 400), st.integers(1, 200), SEEDS)
def test_assign_splits__copies_that_come_later_follow_the_old_ones(old, new, seed):
    images = plain(old)
    before = split_of(make_manifest(images), seed)
    after = split_of(make_manifest([*images, *images[:new]]), seed)
    assert before.equals(after[before.index])
    assert after.iloc[old:].tolist() == before.iloc[: len(after) - old].tolist()


@few
@given(st.randoms(use_true_random=False), SEEDS)
def test_assign_splits__the_order_of_the_images_does_not_matter(random, seed):
    images = plain(200)
    shuffled = random.sample(images, len(images))
    contents = [make_manifest(found).table["sha256"] for found in (images, shuffled)]
    parts = [split_of(make_manifest(found), seed) for found in (images, shuffled)]
    first, second = (dict(zip(content, part, strict=True)) for content, part in zip(contents, parts, strict=True))
    assert first == second


def test_assign_splits__shares_hold_in_each_class():
    parts = split_of(make_manifest(plain(30_000)))
    targets = pd.Series([target for target, _, _ in plain(30_000)], index=parts.index)
    shares = pd.crosstab(targets, parts, normalize="index")
    # Three standard deviations of a share of 15 % of 10,000 images are 1.1 %.
    assert (abs(shares["test"] - 0.15) < 0.011).all()
    assert (abs(shares["validation"] - 0.15) < 0.011).all()


def test_assign_splits__another_seed_another_split():
    manifest = make_manifest(plain(300))
    assert not split_of(manifest, 1).equals(split_of(manifest, 2))
    assert split_of(manifest, 1).equals(split_of(manifest, 1))


@given(st.integers(3, 12), SEEDS)
def test_assign_splits__each_class_of_three_is_in_each_part(size, seed):
    manifest = make_manifest(plain(3 * size))
    found = pd.crosstab(manifest.table["target"], split_of(manifest, seed))
    assert found.shape == (3, 3)
    assert found.to_numpy().min() >= 1


def test_assign_splits__a_class_that_cannot_be_trained_is_an_error():
    images = [*plain(60, 2), (2, 900, "P1"), (2, 901, "P1")]
    manifest = make_manifest(images)
    seed = next(seed for seed in range(100) if hash_to_unit(seed, "group P1") < 0.3)
    with pytest.raises(DataError, match="class c has 2 readable images in data, and none of them is left for training"):
        split_of(manifest, seed)


def test_near_twins__the_larger_image_says_where_they_go():
    manifest = make_manifest(plain(100))
    sizes = facts(manifest).assign(bytes=100)
    sizes["width"] = range(10, 110)
    big, small = manifest.table.index[[99, 0]]
    clusters = clusters_of(manifest, np.array([[small, big]]))
    hashes = cluster_hashes(manifest, clusters, manifest.table["group"], sizes, 5)
    assert hashes[clusters[small]] == hash_to_unit(5, f"content {manifest.table['sha256'][big]}")


@few
@given(st.lists(st.sampled_from([*SPLITS, ""]), min_size=60, max_size=60), SEEDS)
def test_given_parts__stay(parts, seed):
    given = ["train", "train", "train", "validation", "test", *parts]
    manifest = make_manifest(plain(65), given)
    found = split_of(manifest, seed, given=read_given(manifest, None))
    stated = manifest.table["split"] != ""
    assert found[stated].tolist() == manifest.table["split"][stated].tolist()


def test_given_parts__copies_and_groups_of_given_images_join_them():
    manifest = make_manifest([*plain(60), (0, 7, ""), (0, 700, "G")])
    given = pd.Series("train", index=manifest.table.index)
    given.iloc[[1, 2, 7]], given.iloc[[3, 4, 5]], given.iloc[[60, 61]] = "test", "validation", ""
    manifest.table.loc[manifest.table.index[1], "group"] = "G"
    found = split_of(manifest, given=given)
    assert found.iloc[60] == found.iloc[7] == "test"
    assert found.iloc[61] == found.iloc[1] == "test"


def test_given_parts__a_copy_of_images_on_two_sides_is_in_none():
    manifest = make_manifest([*plain(60), (0, 700, "")])
    given = pd.Series("train", index=manifest.table.index)
    given.iloc[[1, 2]], given.iloc[[3, 4]], given.iloc[60] = "test", "validation", ""
    new = manifest.table.index[60]
    pairs = np.array([[manifest.table.index[1], new], [manifest.table.index[3], new]])
    assert split_of(manifest, given=given, pairs=pairs).iloc[60] == ""


@pytest.mark.parametrize("missing", ["validation", "test"])
def test_given_parts__a_part_that_is_given_nowhere_is_drawn_from_training(missing, caplog):
    other = "test" if missing == "validation" else "validation"
    manifest = make_manifest(plain(300), ["train"] * 200 + [other] * 100)
    with caplog.at_level("INFO", "diptych"):
        found = split_of(manifest, given=read_given(manifest, None))
    assert (found.iloc[200:] == other).all()
    assert 15 <= (found.iloc[:200] == missing).sum() <= 50
    assert set(found.iloc[:200]) == {"train", missing}
    assert f"No image is given for {missing}" in caplog.text


def findings_of(manifest: Manifest, parts: list[str], given: list[str] | None = None) -> dict[str, list[str]]:
    """The titles of what judge_split finds, by kind."""
    index = manifest.table.index
    chosen = pd.Series(given if given is not None else [""] * len(index), index=index)
    arguments = clusters_of(manifest), manifest.table["group"], chosen
    titles: dict[str, list[str]] = {}
    for finding in judge_split(manifest, pd.Series(parts, index=index), *arguments, shares=SHARES):
        assert finding.level == "warning"
        titles.setdefault(finding.kind, []).append(finding.title)
    return titles


EVEN = ["train"] * 42 + ["validation"] * 9 + ["test"] * 9


def test_judge_split__as_it_was_asked_for_is_silent():
    assert findings_of(make_manifest(plain(60)), EVEN) == {}


def test_judge_split__class_without_an_image_in_a_part():
    manifest = make_manifest([(number >= 40, number, "") for number in range(42)] + [(2, number, "") for number in range(42, 60)])
    assert findings_of(manifest, EVEN)["split-class"] == [
        "classes a, b have no image for validation, so that checkpoint, threshold and temperature know nothing of them",
        "classes a, b have no image for test, so that no figure tells how well Diptych recognises them",
    ]


def test_judge_split__large_group_and_parts_far_from_their_shares():
    manifest = make_manifest([(number % 3, number, "P1" if number < 40 else "") for number in range(60)])
    found = findings_of(manifest, ["test"] * 40 + ["validation"] * 2 + ["train"] * 18)
    del found["split-class"]
    assert found == {
        "split-share": [
            "validation has 2 of 60 images (3%), where 15% was asked for",
            "test has 40 of 60 images (67%), where 15% was asked for",
        ],
        "large-group": ["group P1 holds 40 of 60 images (67%), which go into one part of the split together"],
    }
    copies = make_manifest([(0, min(number, 40), "") for number in range(60)])
    assert findings_of(copies, EVEN)["large-group"][0].startswith("20 of 60 images (33%) are copies of each other")
    many = make_manifest([(number % 3, number, f"P{number // 15}") for number in range(60)])
    assert "large-group" not in findings_of(many, EVEN)


def test_judge_split__what_is_given_is_as_it_was_wished():
    manifest = make_manifest([(number % 3, number, "P1" if number < 40 else "") for number in range(60)])
    parts = ["test"] * 40 + ["validation"] * 4 + ["train"] * 16
    assert findings_of(manifest, parts, given=parts) == {}
    half = [part if part == "test" else "" for part in parts]
    assert findings_of(manifest, parts, given=half).keys() == {"large-group"}


@pytest.mark.parametrize("key", ["path", "image_name"])
def test_read_given__a_file_is_taken_over(tmp_path, key):
    manifest = make_manifest(plain(4))
    rows = [{key: "2.png", "split": "Val"}, {key: "0.png", "split": "train"}, {key: "gone.png", "split": "test"}]
    write_table(tmp_path / "split.csv", rows)
    assert read_given(manifest, tmp_path / "split.csv").tolist() == ["train", "", "validation", ""]
    write_table(tmp_path / "split.csv", [{key: "2.png", "split": "Testing"}, {key: "0.png", "split": "training_set"}])
    assert read_given(manifest, tmp_path / "split.csv").tolist() == ["train", "", "test", ""]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([{"path": "0.png"}], "expected the columns path"),
        ([{"path": "0.png", "split": "exam"}], "row 2: 'exam' is not a split"),
        ([{"path": "0.png", "split": "test"}] * 2, "row 3: '0.png' is listed twice"),
        ([{"path": "other/0.png", "split": "test"}], "names none of the images in data, such as 0.png"),
    ],
)
def test_read_given__mistake_is_named(tmp_path, rows, expected):
    write_table(tmp_path / "split.csv", rows)
    with pytest.raises(DataError, match=expected):
        read_given(make_manifest(plain(4)), tmp_path / "split.csv")


def test_read_given__names_that_are_not_unique_need_a_path(tmp_path):
    manifest = make_manifest(plain(4))
    manifest.table["image_name"] = "same.png"
    write_table(tmp_path / "split.csv", [{"image_name": "same.png", "split": "test"}])
    with pytest.raises(DataError, match=r"two images are named 'same\.png'"):
        read_given(manifest, tmp_path / "split.csv")


def test_assign_splits__fewer_groups_than_parts_are_the_reason():
    manifest = make_manifest([(number % 3, number, "P1" if number < 20 else "P2") for number in range(40)])
    with pytest.raises(
        DataError, match=r"40 images stand in 2 groups or sets of twins, none of which is divided\. Give finer groups"
    ):
        split_of(manifest)


def test_group_names__a_column_that_is_asked_for_must_be_there():
    with pytest.raises(DataError, match="no column patient to group by; the tables have group"):
        group_names(make_manifest(plain(4)), "patient")


def test_find_leaks__are_named_by_path():
    manifest = make_manifest([(0, 1, "P1"), (0, 1, ""), (1, 2, "P1"), (2, 3, "")])
    parts = pd.Series(["train", "test", "train", "test"], index=manifest.table.index)
    assert find_leaks(manifest.table, parts, manifest.table["sha256"]) == [("0.png", "1.png")]
    assert find_leaks(manifest.table, parts, manifest.table["group"]) == []


@few
@given(IMAGES, SEEDS, st.integers(2, 5))
def test_assign_folds__units_stay_whole_and_each_image_is_tested_once(images, seed, folds):
    manifest = make_manifest([*plain(60), *((c, 1000 + content, group) for c, content, group in images)])
    clusters = clusters_of(manifest)
    hashes = cluster_hashes(manifest, clusters, manifest.table["group"], facts(manifest), seed)
    found = assign_folds(manifest, clusters, hashes, folds, seed)
    assert found.groupby(clusters).nunique().max() == 1
    assert set(found) == set(range(1, folds + 1))


def test_assign_folds__classes_are_even():
    manifest = make_manifest(plain(300))
    clusters = clusters_of(manifest)
    hashes = cluster_hashes(manifest, clusters, manifest.table["group"], facts(manifest), 0)
    found = assign_folds(manifest, clusters, hashes, 5, 0)
    assert (pd.crosstab(manifest.table["target"], found) == 20).all(axis=None)


def test_assign_folds__too_few_images_for_the_folds():
    manifest = make_manifest([*plain(60, 2), (2, 900, "P1"), (2, 901, "P1"), (2, 902, "")])
    clusters = clusters_of(manifest)
    with pytest.raises(DataError, match="class c has 2 images or groups that are not copies; 5 folds need 5"):
        assign_folds(manifest, clusters, cluster_hashes(manifest, clusters, manifest.table["group"], facts(manifest), 0), 5, 0)
