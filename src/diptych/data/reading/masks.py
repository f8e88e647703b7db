"""Recognise segmentation masks, which many data sets keep beside the images and which are not for training."""

import re
from pathlib import PurePosixPath

import pandas as pd

from diptych.data.reading.manifest import Remark

# Folders of masks and of images, in lower case, with underscores for blanks and hyphens.
MASK_FOLDERS = (
    "mask",
    "masks",
    "seg",
    "segmentation",
    "segmentations",
    "segmentation_masks",
    "gt",
    "ground_truth",
    "groundtruth",
    "segmentationclass",
    "segmentationobject",
    "labelstr",
    "annotations",
)
IMAGE_FOLDERS = ("image", "images", "img", "imgs", "original", "originals", "photo", "photos", "raw", "jpegimages", "imagestr")
# x_mask.png, "x (1)_mask_1.png", x-seg.png, mask_x.png
WORDS = "masks?|seg|segm|segmentation|gt|ground_?truth|annotation|labels?"
MASK_NAME = re.compile(rf"(?P<of>.+?)[ _.-]+(?:{WORDS})(?:[ _.-]?[0-9]+)?|(?:{WORDS})[ _.-]+(?P<of_it>.+)")


def is_mask_folder(name: str) -> bool:
    """Tell by a folder's name whether it holds masks, if there are images of the same names elsewhere."""
    return plain(name) in MASK_FOLDERS


def plain(name: str) -> str:
    return re.sub("[ -]", "_", name.strip().lower())


def find_masks(table: pd.DataFrame, class_names: tuple[str, ...]) -> list[str]:
    """Return the images that are, by their names and folders, masks of others.

    Those are images in a folder below their class that is called masks/, ground_truth/ or the like, and x_mask.png, x_seg.png
    or the like, if there is an image x elsewhere; and all of a class masks beside one that is called images, if most of their
    names are the same. A class mask beside no_mask is one.

    Args:
        table: with `path`, `image_name` and `target`.
        class_names: the classes in the order of their targets.
    """
    names = [PurePosixPath(name.lower()) for name in table["image_name"]]
    stems = [name.stem for name in names]
    in_folder = [any(is_mask_folder(part) for part in name.parts[:-1]) for name in names]
    found = [MASK_NAME.fullmatch(stem) for stem in stems]
    bases = [(match["of"] or match["of_it"]) if match else "" for match in found]
    known = {stem for stem, inside, base in zip(stems, in_folder, bases, strict=True) if not inside and not base}
    masks = [base in known or (inside and stem in known) for stem, inside, base in zip(stems, in_folder, bases, strict=True)]
    classes = [plain(name) for name in class_names]
    of_masks = [target for target, name in enumerate(classes) if name in MASK_FOLDERS]
    of_images = [target for target, name in enumerate(classes) if name in IMAGE_FOLDERS]
    if of_masks and of_images:
        targets = table["target"].to_numpy()
        shown = {stem for stem, target in zip(stems, targets, strict=True) if target in of_images}
        drawn = [target in of_masks for target in targets]
        same = sum(drawn and (stem in shown or base in shown) for stem, base, drawn in zip(stems, bases, drawn, strict=True))
        masks = [mask or (own and 2 * same > sum(drawn)) for mask, own in zip(masks, drawn, strict=True)]
    return [path for path, mask in zip(table["path"], masks, strict=True) if mask]


def remark_masks(table: pd.DataFrame, class_names: tuple[str, ...]) -> tuple[Remark, ...]:
    """Warn of masks among the images."""
    masks = find_masks(table, class_names)
    if not masks:
        return ()
    what = "images look like masks of others" if len(masks) > 1 else "image looks like a mask of another"
    title = f"{len(masks):,} {what}, such as {masks[0]}"
    return (
        Remark("masks", title, "Move them out of the data folder: they would be learned as images of their class.", tuple(masks)),
    )
