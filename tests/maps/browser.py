"""Chromium without a window, restricted to this machine."""

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
    """Open a page; skip the test if Chromium is not installed.

    Requests to other machines are aborted and listed in ``page.refused``.
    """
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    refused: list[str] = []

    def abort_remote(route: Route) -> None:
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
            opened.route("**/*", abort_remote)
            opened.refused = refused  # type: ignore[attr-defined]  # tests read it from the page
            yield opened
        finally:
            browser.close()
