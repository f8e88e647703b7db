"""The page of the audit: what it says, and that a person can write fixes.csv with it, in a real browser."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import pytest
from browser import Visit, open_chromium, open_page
from making import make_image
from playwright.sync_api import Browser, Locator

from diptych.data.audit.findings import Audit, Finding
from diptych.data.audit.page import EXPLAINED, OPEN_GROUPS, SHOWN_GROUPS, SHOWN_IMAGES, shown_images, write_page
from diptych.data.audit.shortcuts import Shortcut
from diptych.data.reading.fixes import apply_fixes
from diptych.data.reading.manifest import Manifest

CLASSES = ("cat", "dog")
TRACES = Shortcut(0.968, (0.951, 0.981), "file size", 0.932, (("file size", 0.932), ("border colour", 0.71), ("width", 0.49)))
HOSTILE = (
    '0/"quoted", with commas.png',
    "0/<b>bold</b> & <img src=x onerror=hit()>.png",
    "0/</script><script>hit()</script>.png",
    "0/it's `${hit()}` {{ 7 * 7 }}.png",
    "0/new\nline.png",
    "0/tab\tand;semicolon.png",
    "0/ leading and trailing ",
    "0/=HYPERLINK(1).png",
    "0/\u202egnp.exe and \u2028.png",
    "0/Zellenübersicht 日本 🙂.png",
    "0/a\\b &quot;.png",
)
NOT_UTF8 = "cat/\udcff\udc80.png"
# Read back from a CSV, it would be another name.
WITH_RETURN = "cat/\r.png"


def make_manifest(paths: Sequence[str], class_names: tuple[str, ...] = CLASSES) -> Manifest:
    """The first half of the images is of the first class, the others of the second."""
    targets = [int(2 * place >= len(paths)) for place in range(len(paths))]
    names = [path.rpartition("/")[2] for path in paths]
    return Manifest(Path("data"), pd.DataFrame({"path": paths, "image_name": names, "target": targets}), class_names)


def make_finding(groups: Sequence[Sequence[str]], kind: str = "exact-twins", level: str = "warning", reason: str = "") -> Finding:
    texts = (f"There are {kind}", f"Mend the {kind}.")
    return Finding(kind, level, *texts, tuple(map(tuple, groups)), tuple(reason for _ in groups))


def make_page(folder: Path, manifest: Manifest, *findings: Finding, shortcut: Shortcut | None = TRACES) -> Path:
    """Write the page of an audit, with a thumbnail of every image of the Manifest."""
    counts = manifest.table["target"].value_counts()
    classes = tuple((name, int(counts.get(target, 0))) for target, name in enumerate(manifest.class_names))
    audit = Audit(str(manifest.root), len(manifest.table), len(manifest.table), classes, findings, shortcut)
    thumbnails = {path: make_image(0, number) for number, path in enumerate(manifest.table["path"])}
    write_page(folder / "check.html", audit, manifest, thumbnails)
    return folder / "check.html"


def text_of(page: Path) -> str:
    """What a page says, without its styles, scripts and tags."""
    source = page.read_text(encoding="utf-8")
    body = re.sub(r"<(style|script|template)\b.*?</\1>", " ", source, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", body).replace("&nbsp;", " ").split())


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with open_chromium() as browser:
        yield browser


def card(visit: Visit, path: str) -> Locator:
    """The first card of an image; what is folded is opened."""
    visit.page.evaluate("document.querySelectorAll('details').forEach((folded) => { folded.open = true; })")
    return visit.page.locator(f"[data-image='{place_of(visit, path)}']").first


def place_of(visit: Visit, path: str) -> int:
    return visit.page.evaluate("path => images.findIndex((image) => image[0] === path)", path)


def relabel(of: Locator, class_name: str) -> None:
    of.scroll_into_view_if_needed()
    of.locator("select").select_option(class_name)


def download(visit: Visit, folder: Path) -> Path:
    with visit.page.expect_download() as waiting:
        visit.page.get_by_role("button", name="Download fixes.csv").click()
    assert waiting.value.suggested_filename == "fixes.csv"
    waiting.value.save_as(folder / "fixes.csv")
    return folder / "fixes.csv"


def preview(visit: Visit) -> str:
    return visit.page.locator("#preview").text_content() or ""


def test_write_page__says_what_was_found(tmp_path: Path) -> None:
    paths = [f"cat/{number}.png" for number in range(1500)]
    findings = make_finding([paths[:2]], "twins", "error", "0 bits differ"), make_finding([], "imbalance", "warning")
    text = text_of(make_page(tmp_path, make_manifest(paths), *findings))
    assert "Mend the errors before you train. 1,500 images in 2 classes; all can be read." in text
    assert "1 error 1 warning 0 notes" in text
    assert "cat 750 (50 %) dog 750 (50 %)" in text
    assert "Error There are twins Mend the twins. cat/ 0.png labelled cat cat/ 1.png labelled cat 0 bits differ" in text
    assert "Warning There are imbalance Mend the imbalance." in text
    assert "diptych train data --fixes fixes.csv" in text


@pytest.mark.parametrize(
    ("levels", "verdict"),
    [
        (["error", "note"], "Mend the errors before you train."),
        (["warning", "note"], "Ready to train once you have looked at the warnings."),
        (["note"], "Nothing stands against training."),
        ([], "Nothing stands against training."),
    ],
)
def test_write_page__verdict_is_of_the_worst_finding(tmp_path: Path, levels: list[str], verdict: str) -> None:
    findings = [make_finding([], level, level) for level in levels]
    assert verdict in text_of(make_page(tmp_path, make_manifest(["cat/0.png", "dog/0.png"]), *findings))


@pytest.mark.parametrize(
    ("level", "answer"), [("error", "Very likely."), ("warning", "Perhaps."), ("note", "Hardly."), ("none", "No sign of it.")]
)
def test_write_page__is_it_cheating(tmp_path: Path, level: str, answer: str) -> None:
    findings = [make_finding([], "shortcut", level)] if level != "none" else [make_finding([], "other", "error")]
    page = make_page(tmp_path, make_manifest(["cat/0.png", "dog/0.png"]), *findings)
    text = text_of(page)
    assert f"Is it cheating? {answer}" in text
    assert "ROC AUC of 0.97 (95 % interval 0.95 to 0.98)" in text
    assert "file size 0.93 border colour 0.71 width 0.49" in text
    assert ("What gives most away: file size ." in text) == (level in ("error", "warning"))
    assert f'id="cheating" class="panel toned {level}"' in page.read_text(encoding="utf-8")


def test_write_page__too_few_images_to_tell_whether_it_is_cheating(tmp_path: Path) -> None:
    text = text_of(make_page(tmp_path, make_manifest(["cat/0.png", "dog/0.png"]), shortcut=None))
    assert "Is it cheating? Too few images to tell." in text
    assert "ROC AUC" not in text


def test_write_page__shows_some_groups_and_images_and_names_the_number_of_the_others(tmp_path: Path) -> None:
    paths = [f"cat/{number:04d}.png" for number in range(SHOWN_GROUPS + 1100)]
    twins, blurred = make_finding([paths[: SHOWN_IMAGES + 5]], "twins"), make_finding([[path] for path in paths], "blurred")
    page = make_page(tmp_path, make_manifest(paths), twins, blurred)
    text = text_of(page)
    assert "and 5 more in check.json" in text
    assert "and 1,100 more in check.json" in text
    assert page.read_text(encoding="utf-8").count("<img ") == SHOWN_IMAGES + SHOWN_GROUPS
    audit = Audit("data", 1, 1, (), (twins, blurred), None)
    assert shown_images(audit) == set(paths[:SHOWN_GROUPS])


def test_write_page__needs_no_other_file(tmp_path: Path) -> None:
    source = make_page(tmp_path, make_manifest(["cat/0.png", "dog/0.png"]), make_finding([["cat/0.png"]])).read_text()
    assert "default-src 'none'" in source
    links = re.findall(r"\b(?:src|href|action)=\"([^\"]*)\"", source)
    assert len(links) > 2
    assert all(link.startswith(("data:", "#")) for link in links)
    assert [entry.name for entry in tmp_path.iterdir()] == ["check.html"]


def test_write_page__names_that_are_not_utf8_are_written_out(tmp_path: Path) -> None:
    finding = make_finding([[NOT_UTF8], ["dog/\ud800.png"], [WITH_RETURN]], "bad\udcfd", reason="was \udcfe")
    text = text_of(make_page(tmp_path, make_manifest([WITH_RETURN, "dog/0.png"]), finding))
    assert r"There are bad\xfd" in text
    assert r"cat/ \xff\x80.png was \xfe" in text
    assert r"dog/ \ud800.png was \xfe" in text
    assert r"cat/ \r.png labelled cat was \xfe Its name does not fit in a table" in text


@pytest.mark.slow
def test_page__a_person_writes_fixes_that_apply(chromium: Browser, tmp_path: Path) -> None:
    manifest = make_manifest([f"cat/{number}.png" for number in range(4)] + [f"dog/{number}.png" for number in range(4)])
    finding = make_finding([[path] for path in manifest.table["path"]], "blurred")
    page = make_page(tmp_path, manifest, finding, make_finding([["not/there.png"]], "missing", "error"))
    with open_page(chromium, page.as_uri()) as visit:
        assert preview(visit) == "path,fix,value,reason\n"
        assert visit.page.get_by_role("button", name="Download fixes.csv").is_disabled()
        card(visit, "cat/0.png").get_by_role("button", name="Drop").click()
        relabel(card(visit, "cat/1.png"), "dog")
        for path in ("cat/1.png", "dog/3.png"):
            card(visit, path).get_by_label("Group").fill(" module 7 ")
        # What is taken back is not written.
        card(visit, "dog/0.png").get_by_role("button", name="Drop").click()
        card(visit, "dog/0.png").get_by_role("button", name="Keep").click()
        relabel(card(visit, "dog/1.png"), "cat")
        card(visit, "dog/1.png").get_by_role("button", name="Drop").click()
        card(visit, "dog/2.png").get_by_label("Group").fill("gone")
        card(visit, "dog/2.png").get_by_label("Group").fill("")
        expected = (
            "path,fix,value,reason\ncat/0.png,drop,,blurred\ncat/1.png,relabel,dog,blurred\n"
            "cat/1.png,group,module 7,blurred\ndog/1.png,drop,,blurred\ndog/3.png,group,module 7,blurred\n"
        )
        assert preview(visit) == expected
        assert visit.page.locator("#tally").text_content() == "Drop 2, relabel 1, group 2"
        file = download(visit, tmp_path)
        assert visit.page.locator(".choices").count() == 8
        assert visit.complaints == []
        assert [request for request in visit.requests if not request.startswith(("data:", "blob:"))] == [page.as_uri()]
    assert file.read_bytes() == b"\xef\xbb\xbf" + expected.encode()
    table = apply_fixes(manifest, file, "group").table
    assert list(table["path"]) == ["cat/1.png", "cat/2.png", "cat/3.png", "dog/0.png", "dog/2.png", "dog/3.png"]
    assert list(table["target"]) == [1, 0, 0, 1, 1, 1]
    assert list(table["group"]) == ["module 7", "", "", "", "", "module 7"]


@pytest.mark.slow
def test_page__of_sound_data_works_too(chromium: Browser, tmp_path: Path) -> None:
    page = make_page(tmp_path, make_manifest(["cat/0.png", "dog/0.png"]))
    with open_page(chromium, page.as_uri(), width=375) as visit:
        assert visit.complaints == []
        assert preview(visit) == "path,fix,value,reason\n"
        assert visit.page.locator("#tally").text_content() == "No corrections yet"
        assert visit.page.evaluate("document.documentElement.scrollWidth") == 375


@pytest.mark.slow
def test_page__an_unreadable_image_can_be_dropped_and_nothing_else(chromium: Browser, tmp_path: Path) -> None:
    manifest = make_manifest(["cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png"])
    finding = make_finding([["cat/0.png"], ["dog/0.png"]], "unreadable", "error", "truncated")
    audit = Audit("data", 4, 2, (("cat", 2), ("dog", 2)), (finding,), None)
    write_page(tmp_path / "check.html", audit, manifest, {})
    with open_page(chromium, (tmp_path / "check.html").as_uri()) as visit:
        one = card(visit, "cat/0.png")
        assert one.locator("img").count() == 0
        assert one.locator(".blank").inner_text() == "cannot be read"
        assert one.locator("select, input").count() == 0
        one.get_by_role("button", name="Drop").click()
        assert preview(visit) == "path,fix,value,reason\ncat/0.png,drop,,unreadable\n"
        assert one.get_by_role("button", name="Drop").get_attribute("aria-pressed") == "true"
        assert visit.complaints == []


@pytest.mark.slow
def test_page__all_images_of_a_finding_are_dropped_also_those_not_shown(chromium: Browser, tmp_path: Path) -> None:
    paths = [f"cat/{number:03d}.png" for number in range(2 * SHOWN_GROUPS)]
    paths += [f"dog/{number:03d}.png" for number in range(2 * SHOWN_GROUPS)]
    manifest = make_manifest(paths)
    blurred = make_finding([[path] for path in paths[: SHOWN_GROUPS + 30]], "blurred")
    twins = make_finding([paths[-3:], paths[:2]], "twins")
    with open_page(chromium, make_page(tmp_path, manifest, blurred, twins).as_uri(), width=375) as visit:
        first, second = visit.page.locator(".finding").all()
        assert first.get_by_role("button", name="Keep the first of each").count() == 0
        first.get_by_role("button", name=f"Drop all {SHOWN_GROUPS + 30}").click()
        table = apply_fixes(manifest, download(visit, tmp_path), "group").table
        assert list(table["path"]) == paths[SHOWN_GROUPS + 30 :]
        assert first.locator(".card.dropped").count() == SHOWN_GROUPS
        first.locator(".quick").first.get_by_role("button", name="Keep all").click()
        assert preview(visit) == "path,fix,value,reason\n"
        second.get_by_role("button", name="Keep the first of each").click()
        assert [line.split(",")[:2] for line in preview(visit).splitlines()[1:]] == [
            [path, "drop"] for path in (paths[1], *paths[-2:])
        ]


@pytest.mark.slow
def test_page__is_a_few_screens_long_on_a_phone(chromium: Browser, tmp_path: Path) -> None:
    paths = [f"cat/{number:04d}.png" for number in range(600)]
    findings = [make_finding([[path] for path in paths], f"kind-{number}") for number in range(10)]
    with open_page(chromium, make_page(tmp_path, make_manifest(paths), *findings).as_uri(), width=375, height=800) as visit:
        folded = visit.page.evaluate("document.documentElement.scrollHeight")
        assert folded < 25 * 800
        visit.page.locator(".finding .more summary").first.click()
        assert visit.page.evaluate("document.documentElement.scrollHeight") > folded + 1000
        assert visit.page.evaluate("document.documentElement.scrollWidth") == 375


def test_write_page__explains_its_words(tmp_path: Path) -> None:
    traces = Shortcut(0.5, (0.45, 0.55), "width", 0.5, tuple((name, 0.5) for name in EXPLAINED))
    page = make_page(tmp_path, make_manifest(["cat/0.png", "dog/0.png"]), shortcut=traces)
    text = text_of(page).replace("&#39;", "'")
    assert all(f"{name} {words}" in text for name, words in EXPLAINED.items())
    assert "0.5 is guessing, 1 is never wrong" in text


@pytest.mark.slow
def test_page__quick_choices_are_for_all_of_a_group_also_those_not_shown(chromium: Browser, tmp_path: Path) -> None:
    paths = [f"cat/{number:02d}.png" for number in range(SHOWN_IMAGES + 9)]
    manifest = make_manifest(paths)
    twins = make_finding([paths[: SHOWN_IMAGES + 3], paths[-3:]], "exact-twins")
    with open_page(chromium, make_page(tmp_path, manifest, twins).as_uri()) as visit:
        large, small = visit.page.locator(".group").all()
        relabel(small.locator(".card").nth(1), "cat")
        small.get_by_role("button", name="One group").click()
        large.get_by_role("button", name="One group").click()
        large.get_by_role("button", name="Keep the first only").click()
        table = apply_fixes(manifest, download(visit, tmp_path), "group").table
        assert list(table["path"]) == [paths[0], *paths[SHOWN_IMAGES + 3 :]]
        assert list(table["group"]) == ["exact-twins-1", *[""] * 3, *["exact-twins-2"] * 3]
        assert list(table["target"][-3:]) == [1, 0, 1]
        large.get_by_role("button", name="One group").click()
        table = apply_fixes(manifest, download(visit, tmp_path), "group").table
        assert list(table["group"]) == ["exact-twins-1"] * (SHOWN_IMAGES + 3) + [""] * 3 + ["exact-twins-2"] * 3
        for group in (large, small):
            group.get_by_role("button", name="Keep all").click()
        assert preview(visit) == "path,fix,value,reason\n"


@pytest.mark.slow
def test_page__an_image_of_two_findings_is_chosen_in_both(chromium: Browser, tmp_path: Path) -> None:
    manifest = make_manifest(["cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png"])
    findings = make_finding([["cat/0.png", "dog/0.png"]], "twins"), make_finding([["dog/0.png"]], "dark", "note")
    with open_page(chromium, make_page(tmp_path, manifest, *findings).as_uri()) as visit:
        first, second = visit.page.locator(f"[data-image='{place_of(visit, 'dog/0.png')}']").all()
        relabel(second, "cat")
        assert first.locator("select").input_value() == "cat"
        first.get_by_role("button", name="Drop").click()
        assert second.get_by_role("button", name="Drop").get_attribute("aria-pressed") == "true"
        assert second.get_by_role("button", name="Keep").get_attribute("aria-pressed") == "false"
        assert second.locator("select").input_value() == ""
        assert preview(visit) == "path,fix,value,reason\ndog/0.png,drop,,twins\n"


@pytest.mark.slow
def test_page__hostile_names_are_text_and_come_back_whole(chromium: Browser, tmp_path: Path) -> None:
    classes = ('<i onclick="hit()">cat</i>, "1"', "</script>dog;\n")
    manifest = make_manifest([*HOSTILE, *[f"1/{name}" for name in HOSTILE]], classes)
    finding = make_finding([[path] for path in manifest.table["path"]], "<u>", reason="<s onload=hit()>")
    with open_page(chromium, make_page(tmp_path, manifest, finding).as_uri()) as visit:
        for path in HOSTILE[1:]:
            card(visit, path).get_by_role("button", name="Drop").click()
        relabel(card(visit, HOSTILE[0]), classes[1])
        card(visit, f"1/{HOSTILE[0]}").get_by_label("Group").fill('a "group", <b>; \\')
        relabel(card(visit, f"1/{HOSTILE[1]}"), classes[0])
        table = apply_fixes(manifest, download(visit, tmp_path), "group").table
        shown = visit.page.locator(".path").all_text_contents()
        assert visit.page.locator(".finding").locator("b, u, s, i, script").count() == 0
        assert visit.complaints == []
    assert list(table["path"]) == [HOSTILE[0], *[f"1/{name}" for name in HOSTILE]]
    assert list(table["target"]) == [1, 1, 0, *[1] * (len(HOSTILE) - 2)]
    assert list(table["group"]) == ["", 'a "group", <b>; \\', *[""] * (len(HOSTILE) - 1)]
    visible = [name.replace("\n", "\\n").replace("\t", "\\t").replace("\u2028", "\\u2028") for name in manifest.table["path"]]
    assert shown == visible


@pytest.mark.slow
def test_page__an_image_whose_name_fits_in_no_table_has_no_choices(chromium: Browser, tmp_path: Path) -> None:
    manifest = make_manifest([WITH_RETURN, "cat/1.png", "dog/0.png", "dog/1.png"])
    finding = make_finding([[WITH_RETURN, "cat/1.png"], [NOT_UTF8, WITH_RETURN, "cat/1.png", "dog/0.png"]])
    with open_page(chromium, make_page(tmp_path, manifest, finding).as_uri()) as visit:
        assert visit.page.locator(".card").count() == 6
        assert visit.page.locator(".choices").count() == 3
        # Of the first group a single image is left to choose about.
        assert visit.page.locator(".group .quick").count() == 1
        visit.page.get_by_role("button", name="Keep the first only").click()
        assert preview(visit) == "path,fix,value,reason\ndog/0.png,drop,,exact-twins\n"


@pytest.mark.slow
def test_page__filter_shows_one_level(chromium: Browser, tmp_path: Path) -> None:
    levels = ["error", "error", "warning", "note"]
    findings = [make_finding([["cat/0.png"]], f"{level}-{number}", level) for number, level in enumerate(levels)]
    page = make_page(tmp_path, make_manifest(["cat/0.png", "dog/0.png"]), *findings)
    with open_page(chromium, page.as_uri()) as visit:
        for name, level in [("Errors (2)", "error"), ("Warnings (1)", "warning"), ("Notes (1)", "note")]:
            visit.page.get_by_label(name).check()
            visible = visit.page.locator(".finding:visible").all()
            assert [finding.get_attribute("data-level") for finding in visible] == [one for one in levels if one == level]
        visit.page.get_by_label("All findings").check()
        assert visit.page.locator(".finding:visible").count() == 4


@pytest.mark.slow
def test_page__a_thousand_classes_fill_a_list_when_it_is_near(chromium: Browser, tmp_path: Path) -> None:
    classes = tuple(f"class {number}" for number in range(1000))
    paths = [f"x/{number}.png" for number in range(SHOWN_GROUPS)]
    page = make_page(tmp_path, make_manifest(paths, classes), make_finding([[path] for path in paths]))
    with open_page(chromium, page.as_uri(), width=375) as visit:
        assert visit.page.get_by_text(f"Show {SHOWN_GROUPS - OPEN_GROUPS} more").is_visible()
        last = card(visit, paths[-1])
        assert last.locator("option").count() == 1
        relabel(last, "class 999")
        # Each class but its own, and the line that takes it back.
        assert last.locator("option").count() == 1000
        assert preview(visit) == "path,fix,value,reason\nx/59.png,relabel,class 999,exact-twins\n"


@pytest.mark.slow
@pytest.mark.parametrize("width", [320, 375, 768, 1280])
def test_page__never_scrolls_sideways(chromium: Browser, tmp_path: Path, width: int) -> None:
    paths = [f"{'long' * 40}/{number}{'x' * 80}.png" for number in range(20)]
    manifest = make_manifest(paths, ("c" * 150, "d d"))
    findings = make_finding([paths], "m" * 90), make_finding([[path] for path in paths], "blurred", "note", "why" * 50)
    with open_page(chromium, make_page(tmp_path, manifest, *findings).as_uri(), width=width) as visit:
        for button in visit.page.get_by_role("button", name="Drop").all()[:3]:
            button.click()
        relabel(card(visit, paths[5]), "d d")
        assert visit.page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.slow
def test_page__dark_where_the_system_is_dark_and_light_on_paper(chromium: Browser, tmp_path: Path) -> None:
    page = make_page(tmp_path, make_manifest(["cat/0.png", "dog/0.png"]), make_finding([["cat/0.png"]]))
    brightness = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).reduce((sum, part) => sum + Number(part), 0)"
    with open_page(chromium, page.as_uri(), color_scheme="light") as visit:
        assert visit.page.evaluate(brightness) > 3 * 200
    with open_page(chromium, page.as_uri(), color_scheme="dark") as visit:
        assert visit.page.evaluate(brightness) < 3 * 50
        assert visit.page.locator(".choices").is_visible()
        visit.page.emulate_media(media="print")
        assert visit.page.evaluate(brightness) == 3 * 255
        assert visit.page.locator(".choices").is_hidden()
        assert visit.page.locator(".card img").is_visible()


@pytest.mark.slow
def test_page__the_browser_refuses_it_the_network_and_foreign_scripts(chromium: Browser, tmp_path: Path) -> None:
    page = make_page(tmp_path, make_manifest(["cat/0.png", "dog/0.png"]), make_finding([["cat/0.png"]]))
    with open_page(chromium, page.as_uri()) as visit:
        assert visit.page.evaluate("fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'refused')") == "refused"
        assert "Content Security Policy" in " ".join(visit.complaints)
        visit.page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=\"data:,\" onerror=\"window.hit = 1\">')")
        visit.page.wait_for_timeout(100)
        assert visit.page.evaluate("window.hit") is None


@pytest.mark.slow
def test_page__leaving_with_unsaved_choices_is_asked_about(chromium: Browser, tmp_path: Path) -> None:
    page = make_page(tmp_path, make_manifest(["cat/0.png", "cat/1.png", "dog/0.png"]), make_finding([["cat/0.png"]]))
    with open_page(chromium, page.as_uri()) as visit:
        asked = []
        visit.page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
        card(visit, "cat/0.png").get_by_role("button", name="Drop").click()
        visit.page.reload()
        assert asked == ["beforeunload"]
        card(visit, "cat/0.png").get_by_role("button", name="Drop").click()
        download(visit, tmp_path)
        visit.page.reload()
        assert asked == ["beforeunload"]
