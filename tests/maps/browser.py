"""A real browser without a window, that reaches only this machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, Route, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def page(width: int = 400, height: int = 300) -> Iterator[Page]:
    """Open a page; skip the test where there is no Chromium.

    What it asks of other machines is refused, and listed in ``page.refused``.
    """
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        pytest.skip("there is no Chromium on this machine (Debian: apt-get install chromium)")
    refused: list[str] = []

    def only_here(route: Route) -> None:
        address = urlsplit(route.request.url)
        if address.scheme in ("file", "data", "about") or address.hostname in ("127.0.0.1", "localhost"):
            route.continue_()
        else:
            refused.append(route.request.url)
            route.abort()

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            opened = browser.new_page(viewport={"width": width, "height": height})
            opened.route("**/*", only_here)
            opened.refused = refused  # type: ignore[attr-defined]  # what a test looks at goes with the page
            yield opened
        finally:
            browser.close()
