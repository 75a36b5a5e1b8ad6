"""Headless Chromium, restricted to this machine."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image, ImageChops
from playwright.sync_api import Browser, Page, Route, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def launched() -> Iterator[Browser]:
    """Start Chromium; skip the test if it is not installed.

    Until its end, the thread counts as running an event loop, so that ``asyncio.run`` is an error.
    """
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def page(browser: Browser, width: int = 400, height: int = 300) -> Iterator[Page]:
    """Open a page without cookies and cache.

    Requests to other machines are aborted and listed in ``page.refused``.
    """
    refused: list[str] = []

    def abort_remote(route: Route) -> None:
        address = urlsplit(route.request.url)
        if address.scheme in ("file", "data", "about") or address.hostname in ("127.0.0.1", "localhost"):
            route.continue_()
        else:
            refused.append(route.request.url)
            route.abort()

    with browser.new_page(viewport={"width": width, "height": height}) as opened:
        opened.route("**/*", abort_remote)
        opened.refused = refused  # type: ignore[attr-defined]  # tests read it from the page
        yield opened


def difference(one: bytes, other: bytes) -> float:
    """Return the mean difference of the pixels of two screenshots, from 0 to 255."""
    first, second = (Image.open(io.BytesIO(picture)).convert("RGB") for picture in (one, other))
    return float(np.asarray(ImageChops.difference(first, second)).mean())
