"""The split into training, validation and test: by a hash of content or group, so that added images move no old ones."""

import hashlib
import logging
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diptych.data.audit.findings import Finding
from diptych.data.audit.near_duplicates import connect
from diptych.data.reading.manifest import SPLITS, Manifest, parts_of
from diptych.data.reading.tables import is_missing, read_table
from diptych.errors import CheckpointError, DataError

log = logging.getLogger(__name__)

# A group of more than this share of the images is large.
LARGE = 0.25


def group_names(manifest: Manifest, group_column: str) -> pd.Series:
    """Return the group of each image, "" for one that has none.

    Raises:
        DataError: the column was asked for by name, and the tables lack it.
    """
    if group_column in manifest.table:
        return manifest.table[group_column].str.strip()
    if group_column != "group":
        further = [str(column) for column in manifest.table if column not in ("path", "image_name", "target", "sha256")]
        raise DataError(f"{manifest.root}: no column {group_column} to group by; the tables have {', '.join(further) or 'none'}.")
    return pd.Series("", index=manifest.table.index)


def find_clusters(manifest: Manifest, near_twins: NDArray[np.int64], groups: pd.Series) -> pd.Series:
    """Number the clusters: sets of images that must stay in one part because they are copies or a group.

    Args:
        manifest: the images, with a column `sha256`; its index is the row in the PixelStore.
        near_twins: (P, 2) pairs of rows.
        groups: the name of each image's group, "" for none.

    Returns:
        The number of the cluster of each image.
    """
    rows = manifest.table.index.to_numpy()
    places = pd.Series(np.arange(len(rows)), index=rows)
    pairs = [np.searchsorted(rows, near_twins)]
    for names in (manifest.table["sha256"], groups):
        members = places[names != ""]
        first = members.groupby(names[names != ""]).transform("first")
        pairs.append(np.column_stack([first.to_numpy(), members.to_numpy()]))
    return pd.Series(connect(len(rows), np.concatenate(pairs)), index=rows)


def cluster_hashes(manifest: Manifest, clusters: pd.Series, groups: pd.Series, outcome: pd.DataFrame, seed: int) -> pd.Series:
    """Draw a number from 0 to 1 for each cluster: a hash of the seed and of the cluster's group, or else of its main image.

    The main image of near twins is the one with the most pixels, then the most bytes: copies that come later are mostly
    smaller, so that they follow it. Of several groups in one cluster, the one with the smallest hash counts.
    """
    facts = pd.DataFrame({"cluster": clusters, "sha256": manifest.table["sha256"], "group": groups})
    facts["area"] = (outcome["width"] * outcome["height"]).loc[facts.index]
    facts["bytes"] = outcome["bytes"].loc[facts.index]
    main = facts.sort_values(["area", "bytes", "sha256"], ascending=[False, False, True]).groupby("cluster").first()
    hashes = main["sha256"].map(lambda digest: hash_to_unit(seed, f"content {digest}"))
    grouped = facts[facts["group"] != ""]
    by_group = pd.Series([hash_to_unit(seed, f"group {name}") for name in grouped["group"]], index=grouped.index, dtype=float)
    return by_group.groupby(grouped["cluster"]).min().reindex(hashes.index).fillna(hashes)


def hash_to_unit(seed: int, key: str) -> float:
    """Return a number in [0, 1) that depends on the seed and the key alone, evenly spread."""
    digest = hashlib.blake2b(f"{seed} {key}".encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def assign_splits(
    manifest: Manifest, clusters: pd.Series, hashes: pd.Series, given: pd.Series, validation_share: float, test_share: float
) -> pd.Series:
    """Assign each image to a part.

    What is given stays. A cluster of which a part is given follows it. Any other cluster goes by its hash alone: the test
    below `test_share`, validation below `test_share + validation_share`, training above. So the shares of a class hold
    on the average, and no image moves when others come. Only where a class would be missing in a part is the cluster
    moved there whose hash is nearest, and this is said.

    A part that is given nowhere, although others are, is drawn from the training images in the same way.

    Args:
        manifest: the images, unreadable ones taken out.
        clusters: the cluster of each image (`find_clusters`).
        hashes: the hash of each cluster, [0, 1).
        given: one of "train", "validation", "test" for each image, or "" to draw it.
        validation_share: share of the images for validation.
        test_share: share of the images for the test.

    Returns:
        One of "train", "validation", "test" for each row of the Manifest, or "" for an image that is not given and is a
        copy of given ones in more than one part: it can be in none.

    Raises:
        DataError: a class has too few images, or a part would lack images.
    """
    parts = given.astype(object)
    named = parts[parts != ""].groupby(clusters).unique()
    missing = [part for part in SPLITS if part not in set(given)] if len(named) else []
    if missing and "train" not in missing and not (parts == "").any():
        # Units with a copy in the test are left where they are.
        redrawn = named.index[[list(found) == ["train"] for found in named]]
        parts[clusters.isin(redrawn)] = ""
        named = named.drop(redrawn)
        log.info("No image is given for %s: drawn from the training images.", " and ".join(missing))
    free = (parts == "") & ~clusters.isin(named.index)
    drawn = [draw_part(value, validation_share, test_share, missing) for value in clusters.map(hashes)]
    alone = named[named.map(len) == 1].map(lambda found: found[0])
    joins = (parts == "") & clusters.isin(alone.index)
    parts[free] = pd.Series(drawn, index=parts.index, dtype=object)[free]
    parts[joins] = clusters[joins].map(alone)
    fill_empty(manifest, clusters, hashes, parts, free)
    check_parts(manifest, parts, clusters)
    return parts


def draw_part(value: float, validation_share: float, test_share: float, missing: list[str]) -> str:
    """Turn a hash into a part; where only some parts are missing, the others are not drawn."""
    if value < test_share:
        return "test" if not missing or "test" in missing else "train"
    if value < test_share + validation_share:
        return "validation" if not missing or "validation" in missing else "train"
    return "train"


def fill_empty(manifest: Manifest, clusters: pd.Series, hashes: pd.Series, parts: pd.Series, free: pd.Series) -> None:
    """Where a class is missing in a part, move the cluster there whose hash is nearest, out of the part that has most."""
    if not free.any():
        return
    targets = manifest.table["target"]
    counts = pd.crosstab(targets, parts).reindex(columns=list(SPLITS), fill_value=0)
    for target in counts.index[(counts == 0).any(axis=1)]:
        for part in SPLITS:
            own = targets == target
            if (own & (parts == part)).any():
                continue
            held = {other: clusters[own & (parts == other)].nunique() for other in SPLITS}
            donor = max(held, key=lambda other: held[other])
            candidates = clusters[own & free & (parts == donor)].unique()
            if held[donor] < 2 or len(candidates) == 0:
                continue
            order = hashes[candidates].sort_values(ascending=part != "train")
            chosen = clusters == order.index[0]
            parts[chosen] = part
            moved = manifest.table["path"][chosen]
            log.info(
                "By its hash, class %s has no image for %s: %s moved there. With more images this may change.",
                manifest.class_names[target],
                part,
                f"{moved.iloc[0]} is" if len(moved) == 1 else f"{moved.iloc[0]} and {len(moved) - 1} more of its group are",
            )


def check_parts(manifest: Manifest, parts: pd.Series, clusters: pd.Series) -> None:
    targets = manifest.table["target"]
    for target, name in enumerate(manifest.class_names):
        if not ((targets == target) & (parts == "train")).any():
            raise DataError(
                f"class {name} has {(targets == target).sum()} readable images in {manifest.root}, and none of them is left for "
                "training: a split needs at least 3 images of a class that are not copies of each other or of one group. Add "
                "images, or write a column split into the tables."
            )
    for part in SPLITS:
        if not (parts == part).any():
            few = f": {len(parts):,} images stand in {len(set(clusters))} groups or sets of twins, none of which is divided"
            held = len(parts) >= 3 > len(set(clusters)) > 1
            raise DataError(
                f"{manifest.root}: no image for {part}{few if held else ''}. {'Give finer groups' if held else 'Add images'}, or "
                f"write {part} in some rows of a column split."
            )


def judge_split(
    manifest: Manifest,
    parts: pd.Series,
    clusters: pd.Series,
    groups: pd.Series,
    given: pd.Series,
    *,
    shares: tuple[float, float],
) -> list[Finding]:
    """Find what a split lacks: a class without images in a part, parts far from their shares, one very large group.

    Args:
        manifest: the images.
        parts: the part of each image, as `assign_splits` gives it.
        clusters: the cluster of each image.
        groups: the group of each image, "" for none.
        given: the part that was given for each image, "" for none.
        shares: the shares of validation and test that were asked for.
    """
    found = [*missing_classes(manifest, parts)]
    if (given != "").all() and set(SPLITS) <= set(given):
        return found
    large = large_cluster(clusters, groups)
    for part, share in zip(("validation", "test"), shares, strict=True):
        count = int((parts == part).sum())
        pool = int(given.isin(["", "train"]).sum())
        chance = 2 * (pool * share * (1 - share)) ** 0.5
        if part in set(given) or abs(count - share * pool) <= max(share * pool / 3, chance):
            continue
        title = f"{part} has {count:,} of {pool:,} images ({count / pool:.0%}), where {share:.0%} was asked for"
        why = "Copies and groups go into one part as a whole: give smaller groups, or" if large else "Add images, or"
        found.append(Finding("split-share", "warning", title, f"{why} say which image goes where, by a column split or --split."))
    return [*found, *large]


def missing_classes(manifest: Manifest, parts: pd.Series) -> list[Finding]:
    counts = pd.crosstab(manifest.table["target"], parts).reindex(columns=list(SPLITS), fill_value=0)
    found = []
    for part, loss in (
        ("validation", "so that checkpoint, threshold and temperature know nothing of"),
        ("test", "so that no figure tells how well Diptych recognises"),
    ):
        names = [manifest.class_names[target] for target in counts.index[counts[part] == 0]]
        if names:
            shown = ", ".join(names[:8]) + (f", … ({len(names):,} in all)" if len(names) > 8 else "")
            who, them = (f"class {shown} has", "it") if len(names) == 1 else (f"classes {shown} have", "them")
            advice = "Add images: a class needs three at least that are not copies of each other or of one group."
            found.append(Finding("split-class", "warning", f"{who} no image for {part}, {loss} {them}", advice))
    return found


def large_cluster(clusters: pd.Series, groups: pd.Series) -> list[Finding]:
    """Warn of the largest cluster if it has a quarter of all images or more."""
    sizes = clusters.value_counts()
    if not len(sizes) or sizes.iloc[0] <= max(LARGE * len(clusters), 2):
        return []
    names = groups[clusters == sizes.index[0]]
    known = names[names != ""].value_counts()
    together = "go into one part of the split together"

    def of_all(count: int) -> str:
        return f"{count:,} of {len(clusters):,} images ({count / len(clusters):.0%})"

    title = f"{of_all(sizes.iloc[0])} are copies of each other, or joined by copies and groups, and {together}"
    advice = "Where they are one long series, give finer groups, or drop what is not needed."
    if len(known) and 2 * known.iloc[0] > sizes.iloc[0]:
        title = f"group {known.index[0]} holds {of_all(known.iloc[0])}, which {together}"
        advice = "If it stands for images whose group nobody knows, leave their cells empty; else give finer groups."
    return [Finding("large-group", "warning", title, advice)]


def read_given(manifest: Manifest, file: Path | None) -> pd.Series:
    """Return the part that is given for each image, by the file or else by the tables; "" where none is.

    Args:
        manifest: the images.
        file: a table with the columns `path` or `image_name`, and `split`; None for the column `split` of the Manifest.

    Raises:
        DataError: the file cannot be read, lacks a column, contradicts itself, or names none of the images.
    """
    if file is None:
        return manifest.table["split"] if "split" in manifest.table else pd.Series("", index=manifest.table.index)
    table = read_table(file)
    key = "path" if "path" in table else "image_name"
    if key not in table or "split" not in table:
        raise DataError(f"{file}: expected the columns path (or image_name) and split; it has {', '.join(table.columns)}.")
    written = table["split"].str.strip().mask(is_missing(table["split"]), "")
    parts = parts_of(written.unique())
    wanted = written.map(lambda value: parts.get(value, value))
    for row in table.index[~wanted.isin([*SPLITS, ""])]:
        raise DataError(f"{file}, row {row}: {table['split'][row]!r} is not a split; write train, validation or test.")
    for row in table.index[table[key].duplicated()]:
        raise DataError(f"{file}, row {row}: {table[key][row]!r} is listed twice; delete one of the rows.")
    for row in manifest.table.index[manifest.table[key].duplicated()] if key == "image_name" else []:
        raise DataError(f"{file}: two images are named {manifest.table[key][row]!r}; the file needs a column path.")
    given = manifest.table[key].map(wanted.set_axis(table[key])).fillna("")
    if (given == "").all():
        raise DataError(
            f"{file}: its column {key} names none of the images in {manifest.root}, such as {manifest.table[key].iloc[0]}."
        )
    unknown = int((~table[key].isin(manifest.table[key])).sum())
    log.info("split taken from %s: %d images, %d drawn anew, %d of its rows not in the data", file, *counts(given), unknown)
    return given


def counts(given: pd.Series) -> tuple[int, int]:
    return int((given != "").sum()), int((given == "").sum())


def find_leaks(table: pd.DataFrame, parts: pd.Series, keys: pd.Series) -> list[tuple[str, ...]]:
    """List the images of each key ("" is none) that is in more than one part, as paths, one per part."""
    known = (keys != "") & (parts != "")
    spread = parts[known].groupby(keys[known]).nunique()
    leaking = known & keys.isin(spread.index[spread > 1])
    firsts = pd.DataFrame({"path": table["path"], "part": parts, "key": keys})[leaking].drop_duplicates(["key", "part"])
    return [tuple(found) for _, found in firsts.groupby("key", sort=False)["path"]]


def read_split(path: Path) -> pd.DataFrame:
    """Read split.csv of a run, all columns but the target as text.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False).astype({"target": int})
        return table[table["split"].isin(SPLITS)].reset_index(drop=True)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path} is missing or damaged: {error}") from error
