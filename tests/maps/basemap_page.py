"""A page that consists of Leaflet and the offline basemap."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distribution
from importlib.resources import files
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page

from cartoframes_lite.maps.basemap import page_content
from tests.maps import browser

_LEAFLET = "xstatic/pkg/leaflet/data"


@contextmanager
def basemap_page(
    chromium: Browser,
    center: tuple[float, float],
    zoom: int,
    *,
    theme: str = "light",
    bbox: tuple[float, float, float, float] | None = None,
    size: tuple[int, int] = (400, 300),
    labels: bool = True,
    **options: Any,
) -> Iterator[Page]:
    """Open a page with the basemap around (longitude, latitude); `options` are those of a Leaflet map."""
    css, leaflet = (_leaflet(name) for name in ("leaflet.css", "leaflet.js"))
    script = files("cartoframes_lite.maps.basemap").joinpath("basemap.js").read_text(encoding="utf-8")
    view = {"center": [center[1], center[0]], "zoom": zoom, "zoomControl": False, "attributionControl": False}
    html = f"""<!DOCTYPE html><meta charset="utf-8"><style>{css} html, body, #map {{ height: 100%; margin: 0 }}</style>
        <div id="map"></div><script>{leaflet}</script><script>{script}</script><script>
        const map = L.map("map", {json.dumps({**view, **options})});
        window.layer = naturalEarth(map, {json.dumps(page_content(theme, bbox))});</script>"""
    with browser.page(chromium, *size) as page:
        page.set_content(html)
        page.evaluate("() => window.layer.then(() => true)")
        if not labels:
            page.evaluate("() => { map.getPane('labels').style.display = 'none'; }")
        yield page


def screenshot(page: Page) -> Image.Image:
    """Return what a page shows."""
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def screenshot_of_basemap(chromium: Browser, center: tuple[float, float], zoom: int, **options: Any) -> Image.Image:
    """Return what a page with the basemap shows."""
    with basemap_page(chromium, center, zoom, **options) as page:
        return screenshot(page)


def _leaflet(name: str) -> str:
    with open(str(distribution("XStatic-Leaflet").locate_file(f"{_LEAFLET}/{name}")), encoding="utf-8") as file:
        return file.read()
