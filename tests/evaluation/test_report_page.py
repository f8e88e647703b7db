"""The report as a page: what it shows is what metrics.json says, and no name in it does harm; in a real browser."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from browser import Visit, open_chromium, open_page
from playwright.sync_api import Browser
from reporting import HOSTILE, make_report, make_table

from diptych.data.audit.findings import Audit, Finding
from diptych.data.audit.shortcuts import Shortcut
from diptych.evaluation.report import load_report
from diptych.evaluation.summary import describe
from diptych.explanation.map_check import AreaGain, BranchCut, CheckedMap, MapsCheck, Randomisation
from diptych.inference.decision import Decision
from diptych.storage.run_dir import RunDir


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with open_chromium() as browser:
        yield browser


def text_of(visit: Visit, place: str) -> str:
    return " ".join((visit.page.locator(place).first.inner_text()).split())


def live(visit: Visit) -> dict[str, str]:
    """What stands beside the slider."""
    found = visit.page.locator("[data-live]").all()
    return {str(place.get_attribute("data-live")): plain(place.text_content() or "") for place in found}


def plain(text: str) -> str:
    """Return a text of the page with common spaces: there, no line ends between a number and its sign."""
    return text.replace("\N{NO-BREAK SPACE}", " ")


def harmless(visit: Visit, page: Path) -> None:
    assert [request for request in visit.requests if not request.startswith("data:")] == [page.as_uri()]
    assert visit.complaints == []
    assert visit.page.evaluate("window.hit") is None


def fits(visit: Visit) -> bool:
    return visit.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


EXAMPLE = ("class <b>cat</b>: PNG; all 1024 x 1024 pixels", "class dog: JPEG; 40 sizes")


def make_audit(level: Literal["error", "warning"]) -> Audit:
    shortcut = Shortcut(0.9876, (0.97, 1.0), "file format", 1.0, (("file format", 1.0),), 0.98, (0.96, 1.0), (), EXAMPLE)
    finding = Finding("shortcut", level, "the classes can be told apart", "Record them alike.", details=EXAMPLE)
    return Audit("data", 200, 200, (("cat", 100), ("dog", 100)), (finding,), shortcut)


@pytest.mark.slow
@pytest.mark.parametrize(("level", "title"), [("error", "Beware: these figures"), ("warning", "Look at this before")])
def test_page__a_shortcut_stands_above_the_figures_that_it_spoils(
    chromium: Browser, tmp_path: Path, level: Literal["error", "warning"], title: str
) -> None:
    page, figures = make_report(tmp_path, audit=make_audit(level))
    with open_page(chromium, page.as_uri(), width=375) as visit:
        harmless(visit, page)
        assert fits(visit)
        box, tiles = visit.page.locator("#shortcut"), visit.page.locator(".tiles")
        assert box.bounding_box()["y"] < tiles.bounding_box()["y"] < 900
        assert text_of(visit, "#shortcut") == (
            f"{box.locator('h2').inner_text()} The classes can be told apart. {' '.join(EXAMPLE)} Record them alike."
        )
        assert box.locator("h2").inner_text().startswith(title)
        red, green, blue = visit.page.evaluate(
            "getComputedStyle(document.querySelector('#shortcut h2')).color.match(/\\d+/g).map(Number)"
        )
        assert (red > 1.5 * max(green, blue)) or level == "warning"
        assert "0.9876 without looking at what the images show" in text_of(visit, ".tile:has-text('ROC AUC')")
    assert figures["data"]["shortcut"] == {
        "level": level,
        "title": "the classes can be told apart",
        "details": list(EXAMPLE),
        "advice": "Record them alike.",
        "roc_auc": 0.9876,
    }
    shown = describe(load_report(page.with_name("metrics.json")))
    assert "ROC AUC:" in shown
    assert "(0.9876 without looking at what the images show)" in shown
    assert ("Beware: the classes can be told apart." in shown) == (level == "error")
    assert (EXAMPLE[1] in shown) == (level == "error")


@pytest.mark.slow
def test_page__without_a_shortcut_there_is_no_box(chromium: Browser, tmp_path: Path) -> None:
    page, figures = make_report(tmp_path)
    assert figures["data"]["shortcut"] is None
    assert "Beware" not in describe(load_report(page.with_name("metrics.json")))
    with open_page(chromium, page.as_uri()) as visit:
        assert visit.page.locator("#shortcut").count() == 0
        assert "without looking" not in text_of(visit, "main")


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 3, 15])
@pytest.mark.parametrize("width", [390, 1280])
def test_page__fits_and_asks_for_nothing(chromium: Browser, tmp_path: Path, classes: int, width: int) -> None:
    page, figures = make_report(tmp_path, [f"kind {number}" for number in range(classes)])
    with open_page(chromium, page.as_uri(), width=width) as visit:
        harmless(visit, page)
        assert fits(visit)
        assert visit.page.locator(".card").count() == len(figures["mistakes"]) + len(figures["least_sure"]) > 20
        assert visit.page.locator("img").count() == len(figures["mistakes"])
        assert visit.page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")


@pytest.mark.slow
def test_page__of_a_thousand_classes(chromium: Browser, tmp_path: Path) -> None:
    page, figures = make_report(tmp_path, [f"kind {number}" for number in range(1000)], 1500, by=())
    with open_page(chromium, page.as_uri(), width=390) as visit:
        harmless(visit, page)
        assert fits(visit)
        rows = visit.page.locator("h2:text-is('Classes') + div tbody tr").all_inner_texts()
        assert len(rows) == 1000
        assert figures["confusion_matrix"][0][0] <= 2
        assert visit.page.locator("h2:text-is('Confusions') + div tbody tr").count() == 15


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page__curves_of_ten_classes_can_be_told_apart(chromium: Browser, tmp_path: Path, scheme: str) -> None:
    page, _ = make_report(tmp_path, [f"kind {number}" for number in range(10)])
    with open_page(chromium, page.as_uri(), color_scheme=scheme) as visit:
        panel = visit.page.locator("figure:has(h3:text-is('ROC'))")
        curves = panel.locator("polyline").evaluate_all(
            "found => found.map(getComputedStyle).map(style => [style.stroke, style.strokeDasharray != 'none'])"
        )
        keys = panel.locator(".keys span").evaluate_all(
            "found => found.map(key => getComputedStyle(key, '::before'))"
            ".map(style => [style.borderTopColor, style.borderTopStyle == 'dashed'])"
        )
        assert len({tuple(curve) for curve in curves}) == 10
        assert keys == curves


@pytest.mark.slow
def test_page__figures_are_those_of_metrics_json(chromium: Browser, tmp_path: Path) -> None:
    page, figures = make_report(tmp_path)
    with open_page(chromium, page.as_uri()) as visit:
        rows = visit.page.locator("h2:text-is('Figures') + div .panel").first.locator("tbody tr").all()
        cells = [[plain(cell) for cell in row.locator("th, td").all_inner_texts()] for row in rows]
        shown = {name: figures_shown for name, *figures_shown in cells}
        low, high = figures["test_accuracy_interval"]
        accuracy = [f"{100 * figures['test_accuracy']:.1f} %", f"{100 * low:.1f} % to {100 * high:.1f} %"]
        assert shown["test accuracy"] == accuracy
        chance = f"no interval; perfectly calibrated, it would be up to {figures['ece_by_chance']:.4f} by chance"
        assert shown["calibration error"] == [f"{figures['ece']:.4f}", chance]
        for name, key in {"ROC AUC": "roc_auc", "MCC": "mcc", "test loss": "test_loss"}.items():
            low, high = figures["intervals"][key]
            assert shown[name] == [f"{figures[key]:.4f}", f"{low:.4f} to {high:.4f}"]
        sites = visit.page.locator("h2:text-is('Subgroups') + div tbody tr").all()
        assert [row.locator("th").inner_text().split()[0] for row in sites] == ["(none)", "north", "south"]
        for row, expected in zip(sites, figures["subgroups"]["site"], strict=True):
            shown = [plain(cell) for cell in row.locator("td").all_inner_texts()[:2]]
            assert shown == [str(expected["test_images"]), f"{100 * expected['test_accuracy']:.1f} %"]
            assert row.locator(".badge").count() == expected["worse"]
        assert [row["worse"] for row in figures["subgroups"]["site"]] == [False, True, False]
        assert "Significantly worse than the rest: site north." in text_of(visit, ".sentences")
        first, card = figures["mistakes"][0], plain(visit.page.locator(".card").first.inner_text())
        assert f"{first['predicted_class']} ({100 * first['probability']:.1f} %), is {first['class']}" in card
        assert first["path"] in card


@pytest.mark.slow
def test_page__slider_counts_again(chromium: Browser, tmp_path: Path) -> None:
    page, figures = make_report(tmp_path)
    table, probabilities = make_table(2, 200, ("cat", "dog"))
    targets, ones = (
        table["target"].to_numpy(),
        Decision(**{**figures["decision"], "calibration": None}).calibrated(probabilities)[:, 1],
    )
    with open_page(chromium, page.as_uri(), color_scheme="dark") as visit:
        slider, before = visit.page.locator("#threshold"), live(visit)
        (tn, fp), (fn, tp) = figures["confusion_matrix"]
        assert [before[name] for name in ("tn", "fp", "fn", "tp")] == [str(count) for count in (tn, fp, fn, tp)]
        assert before["threshold"] == f"{figures['threshold']:.3f}"
        for place in (0, 37, 100, 163, 200):
            slider.fill(str(place))
            said, now = ones >= place / 200, live(visit)
            assert now["threshold"] == f"{place / 200:.3f}"
            counts = {"tp": said & (targets == 1), "fp": said & (targets == 0)}
            counts |= {"fn": ~said & (targets == 1), "tn": ~said & (targets == 0)}
            assert {name: int(now[name]) for name in counts} == {name: int(there.sum()) for name, there in counts.items()}
            found = int(counts["tp"].sum())
            assert now["recall"] == f"{found:.1f} %"
            assert now["precision"] == (f"{100 * found / said.sum():.1f} %" if said.any() else "not defined")
            assert now["accuracy"] == f"{(said == (targets == 1)).mean() * 100:.1f} %"
        assert now != before
        visit.page.get_by_role("button", name="Back to").click()
        assert live(visit) == before
        # Keys move it too, and what the button says is the run's threshold.
        slider.press("ArrowRight")
        assert live(visit)["threshold"] != before["threshold"]
        assert f"{figures['threshold']:.3f}, youden" in text_of(visit, "#reset")
        harmless(visit, page)


@pytest.mark.slow
def test_page__interval_beside_the_slider_is_that_of_metrics_json(chromium: Browser, tmp_path: Path) -> None:
    page, figures = make_report(tmp_path)
    with open_page(chromium, page.as_uri()) as visit:
        for name, key in {"accuracy": "test_accuracy", "recall": "recall", "specificity": "specificity"}.items():
            low, high = figures["intervals"][key]
            assert live(visit)[f"{name}-between"] == f"{100 * low:.1f} % to {100 * high:.1f} %"


@pytest.mark.slow
def test_page__groups_have_no_interval_beside_the_slider(chromium: Browser, tmp_path: Path) -> None:
    """The page knows counts of images only; those of groups would be wider."""
    page, figures = make_report(tmp_path, groups=True)
    assert figures["intervals"]["test_accuracy"] is not None
    with open_page(chromium, page.as_uri()) as visit:
        shown = live(visit)
        assert {name: text for name, text in shown.items() if name.endswith("-between") and text} == {}
        assert shown["accuracy"] == f"{100 * figures['test_accuracy']:.1f} %"
        assert "interval" not in visit.page.locator("thead:has-text('at this threshold')").inner_text()


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 6])
def test_page__hostile_names_are_text(chromium: Browser, tmp_path: Path, classes: int) -> None:
    names = HOSTILE[:classes] if classes == 6 else HOSTILE[1::-1]
    paths = [f"{HOSTILE[number % 6]}/{number}" for number in range(200)]
    page, _ = make_report(tmp_path, names, paths=paths)
    for width in (390, 1280):
        with open_page(chromium, page.as_uri(), width=width) as visit:
            harmless(visit, page)
            assert fits(visit)
            assert visit.page.locator("main script, main img[src='x']").count() == 0
            body = visit.page.locator("main").inner_text()
            assert "</script>" in body
            assert "49" not in re.findall(r"\$x\$ (\S+)", body)
            assert "new\\nline" in body


@pytest.mark.slow
def test_page__card_is_shown_and_its_html_stays_text(chromium: Browser, tmp_path: Path) -> None:
    card = "# Of *cats*\n\n<script>window.hit = 1</script><b>bold</b>\n\n[link](javascript:hit())\n\n| a |\n|---|\n| 1 |\n"
    page, _ = make_report(tmp_path, card=card)
    with open_page(chromium, page.as_uri()) as visit:
        harmless(visit, page)
        assert visit.page.locator(".markdown h1 em").inner_text() == "cats"
        assert visit.page.locator(".markdown td").all_inner_texts() == ["1"]
        assert visit.page.locator(".markdown").locator("script, b, a").count() == 0
        assert "<script>window.hit = 1</script><b>bold</b>" in text_of(visit, ".markdown")


@pytest.mark.slow
def test_page__without_validation_outliers_and_audit(chromium: Browser, tmp_path: Path) -> None:
    page, figures = make_report(tmp_path, decision=Decision(), outliers=False)
    with open_page(chromium, page.as_uri()) as visit:
        harmless(visit, page)
        body = visit.page.locator("main").inner_text()
        assert "none: no validation images" in body
        assert "every image is answered" in body
        assert "No audit stands in this run." in body
        assert "None" not in body
        assert "Outliers" not in body
        assert figures["outliers"] is None


@pytest.mark.slow
@pytest.mark.parametrize(("classes", "keep"), [(2, slice(0, 1)), (2, slice(0, None, 2)), (3, slice(0, 2)), (15, slice(0, 9))])
def test_page__of_one_image_or_with_classes_that_are_not_tested(
    chromium: Browser, tmp_path: Path, classes: int, keep: slice
) -> None:
    page, figures = make_report(tmp_path, [f"k{number}" for number in range(classes)], keep=keep, decision=Decision())
    with open_page(chromium, page.as_uri()) as visit:
        harmless(visit, page)
        body = visit.page.locator("main").inner_text()
        assert "not defined" in body
        assert not re.search(r"NaN|undefined|None\b", body)
        assert re.search(rf"\b{figures['test_images']} test images?\b", body)


@pytest.mark.slow
def test_page__light_dark_and_print(chromium: Browser, tmp_path: Path) -> None:
    page, _ = make_report(tmp_path)
    brightness = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).reduce((sum, part) => sum + Number(part), 0)"
    with open_page(chromium, page.as_uri(), color_scheme="light") as visit:
        assert visit.page.evaluate(brightness) > 3 * 200
    with open_page(chromium, page.as_uri(), color_scheme="dark") as visit:
        assert visit.page.evaluate(brightness) < 3 * 50
        assert visit.page.locator(".slider").is_visible()
        visit.page.emulate_media(media="print")
        assert visit.page.evaluate(brightness) == 3 * 255
        assert visit.page.locator(".slider").is_hidden()
        assert visit.page.locator(".card img").first.is_visible()


@pytest.mark.slow
def test_page__the_browser_refuses_it_the_network(chromium: Browser, tmp_path: Path) -> None:
    page, _ = make_report(tmp_path)
    with open_page(chromium, page.as_uri()) as visit:
        assert visit.page.evaluate("fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'refused')") == "refused"
        assert "Content Security Policy" in " ".join(visit.complaints)


def checked_map(name: str, trusted: bool) -> CheckedMap:
    randomisation = Randomisation(correlation=0.123, chance=0.1, limit=0.456, images=8, verdict="depends on the weights")
    deletion, insertion = AreaGain(0.3, 0.4, 0.1, [0.05, 0.15]), AreaGain(0.3, 0.4, -0.2, None)
    return CheckedMap(name, "grad_cam", "resnet50", (2, 2), randomisation, deletion, insertion, trusted, "<b>bad</b>")


@pytest.mark.slow
def test_page__says_whether_the_maps_can_be_trusted_before_it_shows_them(chromium: Browser, tmp_path: Path) -> None:
    rows = (checked_map("grad_cam_resnet50", True), checked_map("occlusion", False))
    maps = MapsCheck(4, 10, 3, 2, rows, {"resnet50": BranchCut(change=-0.31, other_decisions=0.25)})
    page, figures = make_report(tmp_path, maps=maps)
    with open_page(chromium, page.as_uri(), width=390) as visit:
        harmless(visit, page)
        assert fits(visit)
        place = "h2:text-is('Can the maps be trusted?') + div"
        shown = text_of(visit, place)
        assert shown.startswith("Some. 1 of 2 kinds of maps passed the check; the others are folded below")
        assert "0.12 (0.46) +0.100 +0.050 to +0.150 -0.200 passed <b>bad</b>" in shown
        assert visit.page.locator(f"{place} td.words").last.bounding_box()["width"] > 200
        # On a phone each cell has a line, with the heading that its column has on a screen, and nothing is to be scrolled to.
        assert visit.page.locator(place).evaluate("panel => panel.scrollWidth <= panel.clientWidth")
        headings = "cells => cells.map(cell => getComputedStyle(cell, '::before').content)"
        assert visit.page.locator(f"{place} tr:first-child td.figure").evaluate_all(headings)[1].startswith('"deletion, better')
        assert visit.page.locator(".bars img").count() == 3
        assert "changes by -0.31 on average, and 25 % of the answers change" in shown
        titles = visit.page.locator("h2").all_inner_texts()
        assert titles.index("Can the maps be trusted?") < titles.index("The worst mistakes")
        card = visit.page.locator(".card").first
        assert [image.is_visible() for image in card.locator("img").all()] == [True, True, False]
        card.locator("summary:text-is('1 map, not to be trusted')").click()
        assert [image.is_visible() for image in card.locator("img").all()] == [True, True, True]
        assert visit.page.locator("details summary:has-text('not to be trusted')").count() == len(figures["mistakes"])


@pytest.mark.slow
def test_page__unanswered_questions_of_the_card_are_left_out(chromium: Browser, tmp_path: Path) -> None:
    page, _ = make_report(tmp_path)
    assert "Intended use" not in page.read_text(encoding="utf-8")
    run = RunDir(page.parents[1])
    card = run.model_card.read_text(encoding="utf-8").replace(
        "## Contact\n", "## Contact\n\nThe *laboratory*.\n\n### By night\n\nNobody.\n"
    )
    make_report(tmp_path / "again", card=card)
    with open_page(chromium, (tmp_path / "again" / "runs" / "made-up" / "evaluation" / "report.html").as_uri()) as visit:
        assert text_of(visit, ".markdown") == "Contact The laboratory. By night Nobody."
