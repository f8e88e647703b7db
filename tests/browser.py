"""A headless Chromium for the tests of web pages: Debian's own, driven by Playwright."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
)  # fmt: skip


@dataclass
class Visit:
    """A page that is open, what it asked the network for, and what its console complained of."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@contextmanager
def open_chromium() -> Iterator[Browser]:
    """Start Chromium; without it the test fails, for a test that is left out unseen is worth nothing."""
    if not CHROMIUM.is_file():
        pytest.fail(
            f"{CHROMIUM} is missing; install it (.ci/install-chromium), or leave the browser's tests out (make test-fast)."
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, chromium_sandbox=False, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_page(browser: Browser, url: str, width: int = 1280, height: int = 900, **options: Any) -> Iterator[Visit]:
    """Open a page in a context of its own, as large as a window of `width` x `height` pixels.

    Args:
        browser: a running browser.
        url: where the page is.
        width: of the window, in pixels.
        height: of the window, in pixels.
        options: further ones of Playwright's new_context.
    """
    context = browser.new_context(viewport={"width": width, "height": height}, **options)
    context.set_default_timeout(10_000)
    page = context.new_page()
    visit = Visit(page)
    page.on("request", lambda request: visit.requests.append(request.url))
    page.on("console", lambda message: visit.complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    page.goto(url)
    try:
        yield visit
    finally:
        context.close()
