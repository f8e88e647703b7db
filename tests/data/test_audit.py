"""The audit: each fault is found in real files, and sound data have none."""

import csv
from pathlib import Path

import numpy as np
import pytest
from making import encode
from PIL import Image
from scipy.ndimage import gaussian_filter

from diptych.data.audit import audit
from diptych.data.findings import Audit, brief, describe, to_json
from diptych.data.images import ImageSpec
from diptych.data.layouts import read_manifest
from diptych.data.manifest import Fault
from diptych.data.prepare import prepare


def scene(number: int, size: int = 80) -> Image.Image:
    noise = np.random.default_rng(number).normal(size=(size, size, 3))
    smooth = gaussian_filter(noise, (4, 4, 0)) * 450 + gaussian_filter(noise, (1, 1, 0)) * 90
    return Image.fromarray(np.clip(smooth + 128, 0, 255).astype(np.uint8))


def write(path: Path, image: Image.Image, form: str = "PNG", **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(image, form, **options))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Sixty photographs of nothing in two classes, as BMP, so that all files have the same size."""
    for number in range(60):
        write(tmp_path / "data" / ("left", "right")[number % 2] / f"{number}.bmp", scene(number), "BMP")
    return tmp_path / "data"


def audited(data: Path, **options: object) -> Audit:
    faults: list[Fault] = []
    manifest = read_manifest(data, faults)
    paths = [manifest.root / path for path in manifest.table["path"]]
    store, outcome = prepare(paths, ImageSpec(64), None)
    return audit(manifest, outcome, store, faults, **options)


def found_in(data: Path, **options: object) -> dict[str, tuple[str, tuple[tuple[str, ...], ...]]]:
    return {finding.kind: (finding.level, finding.groups) for finding in audited(data, **options).findings}


def test_audit__sound_data_have_no_findings(data):
    found = audited(data)
    assert found.findings == ()
    assert (found.images, found.readable, found.classes) == (60, 60, (("left", 30), ("right", 30)))
    assert found.shortcut is not None
    assert found.shortcut.interval[0] < 0.7


def test_audit__unreadable_and_misnamed_files(data):
    whole = (data / "left" / "0.bmp").read_bytes()
    (data / "left" / "0.bmp").write_bytes(whole[:5000])
    write(data / "right" / "1.bmp", scene(1), "PNG")
    assert found_in(data) == {
        "unreadable": ("error", (("left/0.bmp",),)),
        "wrong-extension": ("warning", (("right/1.bmp",),)),
    }


def test_audit__sizes(data):
    write(data / "left" / "0.bmp", scene(0, 30), "BMP")
    write(data / "left" / "2.bmp", scene(2).resize((400, 90)), "BMP")
    found = found_in(data)
    assert found["tiny"] == ("warning", (("left/0.bmp",),))
    assert found["long"] == ("warning", (("left/2.bmp",),))


def test_audit__copies_and_their_labels(data):
    copy = (data / "left" / "0.bmp").read_bytes()
    (data / "left" / "copy.bmp").write_bytes(copy)
    (data / "right" / "other.bmp").write_bytes((data / "left" / "2.bmp").read_bytes())
    write(data / "left" / "mirrored.bmp", scene(4).transpose(Image.Transpose.FLIP_LEFT_RIGHT), "BMP")
    write(data / "right" / "resized.bmp", scene(6).resize((100, 100)), "BMP")
    found = found_in(data)
    assert found["exact-twins"] == ("warning", (("left/0.bmp", "left/copy.bmp"),))
    assert found["exact-twins-labels"] == ("error", (("left/2.bmp", "right/other.bmp"),))
    assert found["near-twins"] == ("warning", (("left/4.bmp", "left/mirrored.bmp"),))
    assert found["near-twins-labels"] == ("warning", (("left/6.bmp", "right/resized.bmp"),))


def test_audit__blank_dark_bright_and_blurred_images(data):
    Image.new("RGB", (80, 80), (90, 90, 90)).save(data / "left" / "0.bmp")
    scene(2).point(lambda value: value // 8).save(data / "left" / "2.bmp")
    scene(4).point(lambda value: 225 + value // 9).save(data / "left" / "4.bmp")
    blurred = gaussian_filter(np.asarray(scene(6)).astype(float), (6, 6, 0))
    stretched = (blurred - blurred.min()) / np.ptp(blurred) * 255
    Image.fromarray(stretched.astype(np.uint8)).save(data / "left" / "6.bmp")
    found = found_in(data)
    for kind, number in (("blank", 0), ("dark", 2), ("bright", 4), ("blurred", 6)):
        assert found[kind] == ("warning", ((f"left/{number}.bmp",),))
    assert {"blank", "dark", "bright", "blurred"}.isdisjoint(found_in(data, thorough=False))


@pytest.mark.parametrize(("kept", "level"), [(9, "note"), (2, "warning")])
def test_audit__imbalance(data, kept, level):
    for path in sorted((data / "right").iterdir())[kept:]:
        path.unlink()
    found = {finding.kind: finding for finding in audited(data).findings}
    assert found["imbalance"].level == level
    assert "class left has" in found["imbalance"].title
    assert "class right has" in found["few-images"].title


def test_audit__a_given_split_that_leaks(tmp_path, data):
    for path in list(data.rglob("*.bmp")):
        number = int(path.stem)
        part = "train" if number < 40 else "test"
        target = tmp_path / "split" / part / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    root = tmp_path / "split"
    (root / "test" / "left" / "copy.bmp").write_bytes((root / "train" / "left" / "0.bmp").read_bytes())
    write(root / "test" / "left" / "turned.bmp", scene(2).transpose(Image.Transpose.ROTATE_90), "BMP")
    found = found_in(root)
    assert found["exact-leak"] == ("error", (("test/left/copy.bmp", "train/left/0.bmp"),))
    assert found["near-leak"] == ("warning", (("test/left/turned.bmp", "train/left/2.bmp"),))


def test_audit__a_group_in_two_parts(data):
    with (data.parent / "images.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "split", "patient"])
        for path in sorted(data.rglob("*.bmp")):
            number = int(path.stem)
            part = "train" if number < 40 else "test"
            rows.writerow([path.relative_to(data.parent), path.parent.name, part, "P" if number in (0, 50) else ""])
    found = found_in(data.parent / "images.csv", group_column="patient")
    assert found["group-leak"] == ("error", (("data/left/0.bmp", "data/left/50.bmp"),))
    assert "group-leak" not in found_in(data.parent / "images.csv")


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_audit__a_shortcut_in_the_files_is_an_error(data, form):
    for path in (data / "right").iterdir():
        with Image.open(path) as image:
            path.write_bytes(encode(image.convert("RGB"), form))
    found = {finding.kind: finding for finding in audited(data).findings}
    assert found["shortcut"].level == "error"
    assert "ROC AUC 1.00" in found["shortcut"].title


def test_audit__mean_colour_alone_is_a_warning(data):
    for path in (data / "right").iterdir():
        pixels = np.asarray(Image.open(path)).astype(int)
        pixels[8:-8, 8:-8] = np.clip(pixels[8:-8, 8:-8] + 70, 0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    found = {finding.kind: finding for finding in audited(data).findings}
    assert found["shortcut"].level == "warning"
    assert "most of all by mean colour" in found["shortcut"].title


def test_describe__shows_all_and_is_red_only_when_asked(data):
    (data / "right" / "other.bmp").write_bytes((data / "left" / "2.bmp").read_bytes())
    (data / "left" / "copy.bmp").write_bytes((data / "left" / "0.bmp").read_bytes())
    found = audited(data)
    plain, coloured = describe(found), describe(found, colour=True)
    assert "\033" not in plain
    assert "\033[31merror" in coloured
    assert "\033[33mwarning" in coloured
    assert all(finding.title in plain and finding.advice in plain for finding in found.findings)
    assert "1 error, 1 warning, 0 notes" in plain
    assert [line.split(":")[0] for line in brief(found)] == ["data check, error", "data check, warning", "Look at them"]


def test_to_json__names_that_are_not_utf8_can_be_written(data):
    copy = (data / "left" / "0.bmp").read_bytes()
    (data / "left" / "\udcff.bmp").write_bytes(copy)
    content = to_json(audited(data))
    assert str(content).encode("utf-8")
    assert any("left/\\udcff.bmp" in group for finding in content["findings"] for group in finding["groups"])
