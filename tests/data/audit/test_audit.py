"""The audit: each fault, made here with real bytes, is found, with its level, its images and what to do; sound data has none."""

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from making import encode, make_data, make_image, write_table
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from diptych.data.audit.audit import audit
from diptych.data.audit.findings import Audit, Finding, brief, describe, to_json
from diptych.data.audit.shortcuts import Shortcut
from diptych.data.pixels.decode import ImageSpec
from diptych.data.pixels.prepare import prepare
from diptych.data.reading.layouts import read_manifest
from diptych.data.reading.manifest import Fault
from diptych.data.splits import group_names, read_given

SIZE = 40


def scene(number: int, size: int = SIZE) -> Image.Image:
    """Blurred noise with a bright and a dark disc: no two are alike."""
    random = np.random.default_rng((9, number))
    pixels = random.integers(0, 256, (size, size, 3), np.uint8)
    image = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(1.2))
    values = (np.asarray(image).astype(float) - 128) * 2 + 128
    rows, columns = np.mgrid[:size, :size] / size
    for light in (90, -90):
        (row, column), radius = random.uniform(0.15, 0.85, 2), random.uniform(0.1, 0.25)
        values[np.hypot(rows - row, columns - column) < radius] += light
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def write_folders(root: Path, counts: Mapping[str, int] | None = None) -> Path:
    """Class folders of sound scenes in BMP files of one size: a/000.bmp, ..."""
    for place, (name, count) in enumerate((counts or {"a": 22, "b": 22}).items()):
        (root / name).mkdir(parents=True)
        for number in range(count):
            (root / name / f"{number:03d}.bmp").write_bytes(encode(scene(1000 * place + number), "BMP"))
    return root


def run(root: Path, group_column: str = "group", **options: object) -> Audit:
    faults: list[Fault] = []
    manifest = read_manifest(root, faults)
    facts = {"groups": group_names(manifest, group_column), "given": read_given(manifest, None)}
    store, outcome = prepare([manifest.root / path for path in manifest.table["path"]], ImageSpec(32), None, progress=False)
    return audit(manifest, outcome, store, faults, **{**facts, **options})


def found(result: Audit) -> dict[str, Finding]:
    kinds = {finding.kind: finding for finding in result.findings}
    assert len(kinds) == len(result.findings)
    assert all(len(finding.groups) == len(finding.reasons) for finding in result.findings)
    return kinds


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_folders(tmp_path / "data")


def test_audit__sound_data_has_no_findings(root):
    result = run(root)
    assert result.findings == ()
    assert (result.images, result.readable, result.classes) == (44, 44, (("a", 22), ("b", 22)))
    assert result.shortcut is not None
    assert "No sign of it" in describe(result)
    assert "0 errors, 0 warnings, 0 notes: Nothing stands against training." in describe(result)
    assert brief(result) == []


@pytest.mark.parametrize(
    ("low", "said"), [(0.49, "No sign of it: "), (0.51, "Hardly, though width gives a little away: "), (0.63, "Hardly, though")]
)
def test_describe__more_than_chance_is_not_called_no_sign(low, said):
    """The fault: "No sign of it: ROC AUC 0.74 (0.63 to 0.85; 0.5 is guessing)"."""
    shortcut = Shortcut(low + 0.1, (low, low + 0.2), "width", 0.6, (("width", 0.6),))
    text = " ".join(describe(Audit("data", 2, 2, (("a", 1), ("b", 1)), (), shortcut)).split())
    assert f"Is it cheating? {said}" in text


# Level, file, content, kind of finding, and what is said of it.
SINGLE: dict[str, tuple[str, str, Callable[[], bytes], str, str]] = {
    "truncated": ("error", "a/x.png", lambda: encode(scene(500))[:-200], "unreadable", "truncated"),
    "empty": ("error", "a/x.png", lambda: b"", "unreadable", "empty"),
    "text": ("error", "a/x.jpg", lambda: b"no image" * 20, "unreadable", "not an image"),
    "PNG as JPEG": ("warning", "a/x.jpg", lambda: encode(scene(500)), "wrong-extension", "PNG"),
    "JPEG as TIFF": ("warning", "a/x.tif", lambda: encode(scene(500), "JPEG"), "wrong-extension", "JPEG"),
    "tiny": ("warning", "a/x.bmp", lambda: encode(scene(500).resize((40, 31)), "BMP"), "tiny", "40 x 31"),
    "huge": ("note", "a/x.png", lambda: encode(scene(500).convert("L").resize((8000, 6300))), "huge", "8000 x 6300"),
    "long": ("warning", "a/x.bmp", lambda: encode(scene(500, 165).crop((0, 0, 165, 40)), "BMP"), "long", "165 x 40"),
    "pages": (
        "warning", "a/x.tif", lambda: encode(scene(500), "TIFF", save_all=True, append_images=[scene(501)]), "pages", "2 pages"
    ),
    "frames": (
        "warning", "a/x.gif", lambda: encode(scene(500), "GIF", save_all=True, append_images=[scene(501)] * 2), "frames", "frames"
    ),
    "blank": ("warning", "a/x.bmp", lambda: encode(Image.new("RGB", (40, 40), (90, 120, 99)), "BMP"), "blank", ""),
    "dark": ("warning", "a/x.bmp", lambda: encode(scene(500).point(lambda v: v // 8), "BMP"), "dark", ""),
    "bright": ("warning", "a/x.bmp", lambda: encode(scene(500).point(lambda v: 225 + v // 9), "BMP"), "bright", ""),
    "blurred": ("warning", "a/x.bmp", lambda: encode(scene(500).filter(ImageFilter.GaussianBlur(5)), "BMP"), "blurred", ""),
}  # fmt: skip


@pytest.mark.parametrize("fault", SINGLE)
def test_audit__a_fault_of_one_file_is_found_alone(root, fault):
    level, path, content, kind, reason = SINGLE[fault]
    (root / path).write_bytes(content())
    result = run(root)
    assert list(found(result)) == [kind]
    finding = result.findings[0]
    assert (finding.level, finding.groups) == (level, ((path,),))
    assert re.match(r"1 image ", finding.title)
    assert reason in finding.reasons[0]
    assert (result.images, result.readable) == (45, 45 - (kind == "unreadable"))


def test_audit__a_class_of_softer_images_is_no_fault_of_each_of_them(root):
    for path in sorted((root / "b").iterdir())[:18]:
        path.write_bytes(encode(Image.open(path).filter(ImageFilter.GaussianBlur(5)), "BMP"))
    assert "blurred" not in found(run(root))


@pytest.mark.parametrize("name", ["x.jpeg", "x.JPG", "x.jfif"])
def test_audit__every_ending_of_a_format_is_right(root, name):
    (root / "a" / name).write_bytes(encode(scene(500), "JPEG", quality=95))
    assert "wrong-extension" not in found(run(root))


@pytest.mark.parametrize(("copy", "kind", "level"), [("a", "exact-twins", "warning"), ("b", "exact-twins-labels", "error")])
def test_audit__bytes_that_are_there_twice(root, copy, kind, level):
    (root / copy / "copy.bmp").write_bytes((root / "a" / "003.bmp").read_bytes())
    finding = found(run(root))[kind]
    assert finding.level == level
    assert finding.groups == (("a/003.bmp", f"{copy}/copy.bmp"),)
    assert finding.reasons == ("class a" if copy == "a" else "class a, class b",)
    assert len(run(root).findings) == 1


@pytest.mark.parametrize(("copy", "kind"), [("a", "near-twins"), ("b", "near-twins-labels")])
def test_audit__a_mirrored_smaller_copy(root, copy, kind):
    turned = scene(3).transpose(Image.Transpose.ROTATE_90).resize((36, 36), Image.Resampling.BICUBIC)
    (root / copy / "copy.bmp").write_bytes(encode(turned, "BMP"))
    result = run(root)
    assert list(found(result)) == [kind]
    assert result.findings[0].level == "warning"
    assert result.findings[0].groups == (("a/003.bmp", f"{copy}/copy.bmp"),)


def split_data(root: Path, parts: list[str], groups: list[str] | None = None) -> Path:
    columns = {"split": parts, **({"group": groups} if groups else {})}
    return make_data(root, count=len(parts), size=SIZE, columns=columns)


PARTS = ["train"] * 4 + ["validation"] * 2 + ["test"] * 2


def test_audit__copies_on_two_sides_of_a_given_split(tmp_path):
    root = split_data(tmp_path / "data", PARTS)
    (root / "0" / "07.png").write_bytes((root / "0" / "00.png").read_bytes())
    image = Image.open(root / "1" / "01.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    (root / "1" / "05.png").write_bytes(encode(image))
    (root / "1" / "03.png").write_bytes((root / "1" / "02.png").read_bytes())
    kinds = found(run(root))
    assert (kinds["exact-leak"].level, kinds["exact-leak"].groups) == ("error", (("0/00.png", "0/07.png"),))
    assert (kinds["near-leak"].level, kinds["near-leak"].groups) == ("warning", (("1/01.png", "1/05.png"),))
    assert set(kinds["exact-twins"].groups) == {("0/00.png", "0/07.png"), ("1/02.png", "1/03.png")}


def test_audit__copies_of_images_that_are_not_given_leak_nothing(root):
    for copy in ("a/001.bmp", "a/002.bmp", "a/004.bmp"):
        (root / copy).write_bytes((root / "a" / "000.bmp").read_bytes())
    given = pd.Series("", index=range(44))
    given[[0, 30]] = "train", "test"
    assert "exact-leak" not in found(run(root, given=given))
    given[4] = "test"
    copies = tuple(f"a/00{number}.bmp" for number in (0, 1, 2, 4))
    assert found(run(root, given=given))["exact-leak"].groups == (copies,)


def test_audit__a_group_on_two_sides_of_a_given_split(tmp_path):
    root = split_data(tmp_path / "data", PARTS, ["p", "p", "", "q", "q", "", "", "r"])
    finding = found(run(root))["group-leak"]
    assert finding.level == "error"
    assert finding.groups == (("0/03.png", "0/04.png", "1/03.png", "1/04.png"),)


def test_audit__the_group_column_may_have_another_name(root):
    lines = ["path,label,split,patient"]
    for path in sorted(root.rglob("*.bmp")):
        number = int(path.stem)
        name = path.relative_to(root.parent).as_posix()
        lines.append(f"{name},{path.parent.name},{'train' if number < 12 else 'test'},{'P' if number in (0, 20) else ''}")
    table = root.parent / "images.csv"
    table.write_text("\n".join(lines), encoding="utf-8")
    members = (("data/a/000.bmp", "data/a/020.bmp", "data/b/000.bmp", "data/b/020.bmp"),)
    assert found(run(table, group_column="patient"))["group-leak"].groups == members
    assert run(table).findings == ()


def test_audit__rows_that_are_left_out(tmp_path):
    root = make_data(tmp_path / "data", count=9, size=SIZE)
    rows = [{"image_name": f"{number:02d}.png", "target": 0} for number in range(7)]
    rows += [{"image_name": name, "target": target} for name, target in (("gone.png", 0), ("01.png", 0), ("08.png", "many"))]
    write_table(root / "0.csv", [*rows, {"image_name": "../1/00.png", "target": 0}])
    kinds = found(run(root))
    levels = {kind: finding.level for kind, finding in kinds.items() if kind != "few-images"}
    assert levels == {
        "missing": "error",
        "listed-twice": "error",
        "bad-target": "error",
        "bad-name": "error",
        "unlisted": "warning",
    }
    assert kinds["missing"].groups == (("0/gone.png",),)
    assert kinds["unlisted"].groups == (("0/07.png",),)
    assert "row 9" in kinds["missing"].reasons[0]
    assert [finding.level for finding in run(root).findings] == ["error"] * 4 + ["warning"] * (len(kinds) - 4)


@pytest.mark.parametrize(("most", "kind", "level"), [(60, {}, ""), (64, {"imbalance"}, "note"), (201, {"imbalance"}, "warning")])
def test_audit__classes_of_different_size(tmp_path, most, kind, level):
    result = run(write_folders(tmp_path / "data", {"many": most, "few": 20}), thorough=False)
    assert set(found(result)) == set(kind)
    assert all(finding.level == level and "class many has" in finding.title for finding in result.findings)


def test_audit__a_small_class_is_named(tmp_path):
    result = run(write_folders(tmp_path / "data", {"a": 22, "b": 19}), thorough=False)
    assert [(finding.kind, finding.level, finding.title) for finding in result.findings] == [
        ("few-images", "warning", "1 class with fewer than 20 images: b (19)")
    ]


def write_sources(root: Path, write: Callable[[int, int], bytes], classes: int = 2, count: int = 20) -> Path:
    """Class folders c0, c1, ... of sound scenes, each file written by `write(target, number)`."""
    for target in range(classes):
        (root / f"c{target}").mkdir(parents=True)
        for number in range(count):
            (root / f"c{target}" / f"{number:03d}").with_suffix(".png").write_bytes(write(target, number))
    return root


def of_camera(image: Image.Image, target: int) -> bytes:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Acme", ("Zoom 3", "Tele 7")[target]
    return encode(image, "JPEG", exif=exif, quality=90)


def exif_in_one(image: Image.Image, target: int) -> bytes:
    exif = Image.Exif()
    exif[0x0131] = "Scanner"
    return encode(image, "JPEG", quality=90, **({"exif": exif} if target else {}))


def bordered(image: Image.Image, target: int) -> bytes:
    """A frame of another grey for each class; the middle makes up for it."""
    pixels = np.asarray(image).astype(int)
    edge = np.ones(pixels.shape[:2], bool)
    edge[2:-2, 2:-2] = False
    pixels[edge] = (90, 150)[target]
    pixels[~edge] += np.rint(128 - pixels.mean()).astype(int)
    return encode(pixels.clip(0, 255).astype(np.uint8), "BMP")


# How the files of two classes are written, the level of what is found, and the example in words.
SOURCES: dict[str, tuple[Callable[[Image.Image, int, int], bytes], str, tuple[str, str]]] = {
    "size": (
        lambda image, target, number: encode(image.resize((41 + number, 40)) if target else image, "BMP"),
        "error",
        ("class c0: all 40 x 40 pixels", "class c1: 20 sizes from 41 x 40 to 60 x 40 pixels"),
    ),
    "format": (
        lambda image, target, _: encode(image, "JPEG" if target else "PNG"), "error", ("class c0: PNG", "class c1: JPEG"),
    ),
    "JPEG quality": (
        lambda image, target, _: encode(image, "JPEG", quality=(90, 75)[target]),
        "error",
        ("class c0: JPEG quality about 90", "class c1: JPEG quality about 75"),
    ),
    "camera": (lambda image, target, _: of_camera(image, target), "error", ("class c0: Acme Zoom 3", "class c1: Acme Tele 7")),
    "EXIF": (lambda image, target, _: exif_in_one(image, target), "error", ("class c0: no EXIF", "class c1: with EXIF data")),
    "colour mode": (
        lambda image, target, _: encode(image.convert("L" if target else "RGB"), "BMP"),
        "error",
        ("class c0: colour", "class c1: grey"),
    ),
    "border": (
        lambda image, target, _: bordered(image, target), "error", ("class c0: border grey 10", "class c1: border grey 14"),
    ),
    "mean colour": (
        lambda image, target, _: encode(image.point(lambda value: value // (1 + target)), "BMP"),
        "warning",
        ("class c0: mean colour", "class c1: mean colour"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", SOURCES)
def test_audit__classes_from_two_sources_with_an_example_in_words(tmp_path, kind):
    write, level, example = SOURCES[kind]
    data = write_sources(tmp_path / "data", lambda target, number: write(scene(1000 * target + number), target, number))
    result = run(data, thorough=False)
    finding = found(result)["shortcut"]
    assert result.shortcut is not None
    assert finding.level == result.shortcut.level == level
    assert f"ROC AUC {result.shortcut.roc_auc:.2f}" in finding.title
    assert ("all is well" in finding.advice) == (level == "warning")
    assert all(line.startswith(start) for line, start in zip(finding.details, example, strict=True))
    # The same words on the screen of check, in its JSON, and in a line of the training.
    assert found(run(data))["shortcut"] == finding
    assert all(line in " ".join(describe(result).split()) for line in finding.details)
    assert any(f"{finding.title}: {'; '.join(finding.details)}" in line for line in brief(result))
    assert to_json(result)["shortcut"]["example"] == list(finding.details)


def test_audit__many_classes_of_two_sources(tmp_path):
    data = write_sources(
        tmp_path / "data", lambda target, number: encode(scene(1000 * target + number), ("PNG", "BMP")[target % 2]), classes=6
    )
    finding = found(run(data, thorough=False))["shortcut"]
    assert finding.level == "error"
    assert finding.title.startswith("classes c0, c2, c4 can be told from all others")
    assert finding.details == ("classes c0, c2, c4: PNG", "all other classes: BMP")


def test_audit__one_class_of_many_from_elsewhere(tmp_path):
    data = write_sources(
        tmp_path / "data", lambda target, number: encode(scene(1000 * target + number), ("PNG", "BMP")[target == 4]), classes=8
    )
    finding = found(run(data, thorough=False))["shortcut"]
    assert finding.level == "error"
    assert finding.title.startswith("class c4 can be told from all others")
    assert finding.details == ("class c4: BMP", "all other classes: PNG")


def test_audit__the_cheap_part_looks_for_twins_and_shortcuts_but_not_at_the_brightness_of_each_image(root):
    (root / "a" / "dark.bmp").write_bytes(encode(scene(500).point(lambda v: v // 8), "BMP"))
    (root / "a" / "copy.bmp").write_bytes(encode(scene(3).transpose(Image.Transpose.ROTATE_180), "BMP"))
    whole, cheap = run(root), run(root, thorough=False)
    assert set(found(whole)) == {"dark", "near-twins"}
    assert set(found(cheap)) == {"near-twins"}
    assert cheap.shortcut == whole.shortcut is not None


def test_audit__series_ask_for_a_group_column_instead_of_being_dropped(root):
    for number in range(4):
        for exposure in range(1, 4):
            image = scene(number).point(lambda value, light=exposure: min(255, value + 4 * light))
            (root / "a" / f"{number:03d}-{exposure}.bmp").write_bytes(encode(image, "BMP"))
    # 16 of 56 images; and of fewer than 20, nothing is said of series.
    assert "near-twins" in found(run(root))
    for exposure in range(1, 4):
        image = scene(9).point(lambda value, light=exposure: min(255, value + 4 * light))
        (root / "a" / f"009-{exposure}.bmp").write_bytes(encode(image, "BMP"))
    kinds = found(run(root))
    assert "near-twins" not in kinds
    assert len(kinds["series"].groups) == 5
    assert "34%" in kinds["series"].title
    assert "column group" in kinds["series"].advice
    assert "surely not all" in kinds["series"].advice
    manifest = read_manifest(root)
    groups = manifest.table["path"].str[:5]
    assert "series" not in found(run(root, groups=groups))


def placeholder(text: str = "image not found") -> bytes:
    image = Image.new("RGB", (60, 36), (204, 204, 204))
    ImageDraw.Draw(image).text((2, 10), text[:9], "black")
    return encode(image, "GIF")


def test_audit__a_placeholder_stands_alone_among_photographs(root):
    (root / "b" / "x.gif").write_bytes(placeholder())
    finding = found(run(root))["plain"]
    assert (finding.level, finding.groups) == ("warning", (("b/x.gif",),))
    # In a training, which does not look at each image's pixels, its format and size say it.
    finding = found(run(root, thorough=False))["stands-alone"]
    assert (finding.level, finding.groups) == ("warning", (("b/x.gif",),))
    assert finding.reasons == ("GIF where others are BMP, 60 x 36 where others are 40 x 40",)


@pytest.mark.parametrize(("folders", "count", "level"), [("ab", 2, "error"), ("a", 5, "warning")])
def test_audit__one_file_under_many_names(root, folders, count, level):
    names = [f"{folder}/x{number}.gif" for folder in folders for number in range(count)]
    for name in names:
        (root / name).write_bytes(placeholder())
    kinds = found(run(root))
    assert (kinds["repeated-file"].level, kinds["repeated-file"].groups) == (level, (tuple(sorted(names)),))
    assert not {"exact-twins", "exact-twins-labels"} & set(kinds)


def test_audit__files_of_all_kinds_stand_out_nowhere(root):
    for number in range(6):
        (root / "a" / f"x{number}.png").write_bytes(encode(scene(500 + number, 50 + number)))
    assert "stands-alone" not in found(run(root))


def test_audit__takes_pairs_that_are_known_already(root):
    manifest = read_manifest(root)
    store, outcome = prepare([root / path for path in manifest.table["path"]], ImageSpec(32), None, progress=False)
    given: NDArray[np.int64] = np.array([[0, 2], [2, 30]])
    result = audit(manifest, outcome, store, [], pairs=given, thorough=False)
    paths = manifest.table["path"]
    assert found(result)["near-twins-labels"].groups == ((paths[0], paths[2], paths[30]),)


def test_audit__unreadable_images_do_not_shift_the_others(root):
    (root / "a" / "000.bmp").write_bytes(b"")
    (root / "a" / "010.bmp").write_bytes(b"")
    (root / "b" / "021.bmp").write_bytes(encode(scene(5).transpose(Image.Transpose.TRANSPOSE), "BMP"))
    (root / "b" / "020.bmp").write_bytes(encode(Image.new("RGB", (40, 40), "grey"), "BMP"))
    kinds = found(run(root))
    assert kinds["near-twins-labels"].groups == (("a/005.bmp", "b/021.bmp"),)
    assert kinds["blank"].groups == (("b/020.bmp",),)
    assert kinds["unreadable"].groups == (("a/000.bmp",), ("a/010.bmp",))


def test_audit__every_image_unreadable(tmp_path):
    root = write_folders(tmp_path / "data", {"a": 3, "b": 3})
    for path in root.rglob("*.bmp"):
        path.write_bytes(b"")
    result = run(root)
    assert (result.images, result.readable) == (6, 0)
    assert len(found(result)["unreadable"].groups) == 6


def test_to_json__names_that_are_not_utf8_can_be_written(root):
    (root / "a" / "\udcff.bmp").write_bytes((root / "a" / "003.bmp").read_bytes())
    content = to_json(run(root))
    assert json.dumps(content, ensure_ascii=False).encode("utf-8")
    assert any("a/\\udcff.bmp" in group for finding in content["findings"] for group in finding["groups"])


SHORTCUT = Shortcut(0.6, (0.55, 0.65), "width", 0.6, (("width", 0.6),))
MADE = Audit(
    "data",
    9,
    8,
    (("cat", 5), ("dog", 4)),
    (
        Finding("unreadable", "error", "1 image cannot be read", "Copy it again.", (("a/1.png",),), ("truncated",)),
        Finding(
            "exact-twins", "warning", "2 groups of copies", "Drop.", (("a", "b", "c", "d", "e"), ("x", "y")), ("", "class cat")
        ),
        Finding("imbalance", "note", "class cat is larger", "Look at recall."),
    ),
    SHORTCUT,
)


def test_describe__lists_everything_and_is_red_only_when_asked():
    plain = describe(MADE)
    assert "9 images in 2 classes, 8 readable" in plain
    for text in ("1 image cannot be read", "a/1.png: truncated", "a, b, c, d, …", "x, y: class cat", "Look at recall.", "0.60"):
        assert text in plain
    assert "1 error, 1 warning, 1 note: Mend the errors before you train." in plain
    assert "\033" not in plain
    coloured = describe(MADE, colour=True)
    assert re.search(r"\033\[31m.*1 image cannot be read\033\[0m", coloured)
    assert re.sub(r"\033\[\d+m", "", coloured) == plain


def test_describe__fits_a_narrow_screen_and_breaks_no_path():
    path = "a folder/with  two blanks/and a name that is longer than most of those that people give to their images.png"
    group = tuple(f"class {number}/image number {number}.png" for number in range(9))
    finding = Finding("x", "warning", "long words " * 20, "advice " * 30, ((path,), group), ("", "why " * 30), ("detail " * 30,))
    lines = describe(dataclasses.replace(MADE, findings=(finding,))).splitlines()
    assert [line for line in lines if len(line) > 79] == [f"           {path}"]
    assert all(any(name in line for line in lines) for name in group[:4])


def test_describe__one_image_is_one_image():
    audit = Audit("data", 1, 1, (("a", 1),), (), None)
    assert describe(audit).startswith("1 image in 1 class, all readable")


def test_brief__is_a_line_for_each_error_and_warning():
    lines = brief(MADE)
    assert len(lines) == 3
    assert "1 image cannot be read" in lines[0]
    assert "2 groups of copies" in lines[1]


def test_to_json__holds_all_of_it():
    content = json.loads(json.dumps(to_json(MADE), allow_nan=False))
    assert content["format_version"] == 1
    assert content["findings"][1]["groups"] == [["a", "b", "c", "d", "e"], ["x", "y"]]
    assert content["shortcut"]["interval"] == [0.55, 0.65]
    assert content["classes"] == [["cat", 5], ["dog", 4]]


def test_to_json__a_real_audit_can_be_written(root):
    (root / "a" / "copy.bmp").write_bytes((root / "a" / "003.bmp").read_bytes())
    (root / "b" / "odd.bmp").write_bytes(encode(make_image(0, 0, 20), "BMP"))
    result = run(root)
    content = json.loads(json.dumps(to_json(result), allow_nan=False))
    assert {finding["kind"] for finding in content["findings"]} == {"exact-twins", "tiny"}
