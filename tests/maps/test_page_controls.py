"""Popups, tooltips, legends and switches of layers on a map page, by mouse and keyboard."""

from __future__ import annotations

import geopandas as gpd
import pandas as pd
import pytest
from shapely.geometry import box

import cartoframes_lite as cfl
from tests.maps import browser

CELLS = gpd.GeoDataFrame(
    {
        "big": [1234567.891, 0.5],
        "year": [2024, 1999],
        "seen": pd.to_datetime(["2024-05-06 07:08:09", "2024-05-06 00:00:00"]),
        "page": ["https://example.org/a?b=1&c=2", "javascript:alert(1)"],
        "name": ["<img src=x onerror='document.body.dataset.broken = 1'>", "east"],
    },
    geometry=[box(-90, -45, 0, 45), box(0, -45, 90, 45)],
    crs=4326,
)
WEST, EAST = (150, 150), (250, 150)


@pytest.fixture
def cells(credentials):
    return CELLS.carto.to_table("cells", credentials)


@pytest.fixture
def open_map(chromium, tmp_path):
    """Return a function that opens the page of a map; its errors fail the test."""
    contexts = []
    errors = []

    def open_page(shown, width=400, height=300):
        opened = browser.page(chromium, width, height)
        page = opened.__enter__()
        contexts.append(opened)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.goto(shown.save(tmp_path / "map.html").as_uri())
        page.wait_for_selector("body.drawn", timeout=20_000)
        return page

    yield open_page
    for context in contexts:
        context.__exit__(None, None, None)
    assert errors == []


def popup(page):
    page.wait_for_selector(".leaflet-popup-content td")
    rows = page.locator(".leaflet-popup-content tr")
    return dict(rows.evaluate_all("rows => rows.map(row => [...row.cells].map(cell => cell.innerText))"))


def test_popups_format_values_and_link_addresses(open_map, cells):
    query = 'SELECT *, year AS "<i>y</i>" FROM cells'
    page = open_map(cfl.Map(cfl.Layer(query, popup=True), cells.credentials), width=800)
    page.mouse.click(300, 150)
    assert popup(page) == {
        "big": "1,234,567.891",
        "year": "2024",
        "seen": "2024-05-06 07:08:09",
        "page": "https://example.org/a?b=1&c=2",
        "name": "<img src=x onerror='document.body.dataset.broken = 1'>",
        "<i>y</i>": "2024",
    }
    link = page.locator(".leaflet-popup-content a")
    assert link.get_attribute("href") == "https://example.org/a?b=1&c=2"
    assert link.get_attribute("rel") == "noopener noreferrer"
    page.keyboard.press("Escape")
    page.wait_for_selector(".leaflet-popup", state="detached")  # it fades out
    page.mouse.click(500, 200)
    page.wait_for_selector(".leaflet-popup-content >> text=javascript:alert(1)")
    assert popup(page)["seen"] == "2024-05-06"
    assert page.locator(".leaflet-popup-content a").count() == 0
    assert page.evaluate("document.body.dataset.broken") is None


@pytest.mark.parametrize("kind", ["tiles", "features"])
def test_numbers_are_formatted_alike_in_all_languages(kind, open_map, cells):
    shown = cfl.Map(cfl.Layer(CELLS if kind == "features" else cells, popup=["big"]), cells.credentials)
    page = open_map(shown)
    values = "[0, -1, 9999, 10000, 1234567.5, -98765, 1e20, 1e-9, 0.1 + 0.2, null].map(formatValue)"
    assert page.evaluate(values) == [
        *("0", "-1", "9999", "10,000", "1,234,567.5", "-98,765", "100000000000000000000", "1e-9", "0.3", "\u2013")
    ]
    page.mouse.click(*WEST)
    assert popup(page) == {"big": "1,234,567.891"}


def test_tooltip_follows_the_pointer(open_map, cells):
    page = open_map(cfl.Map(cfl.Layer(cells, hover=["year"], popup=True), cells.credentials))
    page.mouse.move(*WEST)
    page.wait_for_selector(".leaflet-tooltip >> text=2024")
    page.mouse.move(*EAST)
    page.wait_for_selector(".leaflet-tooltip >> text=1999")
    assert page.locator("#map").evaluate("map => map.style.cursor") == "pointer"
    page.mouse.move(200, 295)
    page.wait_for_function("!document.querySelector('.leaflet-tooltip')")


def test_pages_without_hover_request_no_grids(open_map, cells):
    page = open_map(cells.map(hover=False))
    requested = []
    page.on("request", lambda request: requested.append(request.url))
    page.mouse.move(*WEST)
    page.mouse.move(*EAST)
    page.wait_for_timeout(300)
    assert requested == []


def test_hidden_layers_are_not_requested(open_map, cells):
    layers = [cfl.Layer(cells, title="below", popup=["year"]), cfl.Layer(cells, title="above", popup=["big"])]
    page = open_map(cfl.Map(layers, cells.credentials), width=800)
    assert page.locator(".legend label").all_inner_texts() == ["above", "below"]
    requested = []
    page.on("request", lambda request: requested.append(request.url))
    with page.expect_response(lambda response: response.url.split("?")[0].endswith(".png")):
        page.get_by_label("above").uncheck()
    assert requested
    assert all("/0/" in url for url in requested if ".png" in url)
    page.mouse.click(350, 150)
    assert popup(page) == {"year": "2024"}
    page.keyboard.press("Escape")
    page.get_by_label("below").uncheck()
    page.wait_for_function("!document.querySelector('.leaflet-tile')")
    requested.clear()
    page.click(".leaflet-control-zoom-in")
    page.wait_for_timeout(500)
    assert requested == []
    page.get_by_label("above").check()
    page.wait_for_selector(".leaflet-tile-loaded")


def test_legends_fold_and_start_folded_when_large(open_map, cells):
    shown = cells.map(color_by="name")
    page = open_map(shown, width=800)
    assert page.locator(".legend li").first.is_visible()
    page.get_by_text("Legend", exact=True).click()
    assert not page.locator(".legend li").first.is_visible()
    page = open_map(shown, width=200, height=160)
    assert not page.locator(".legend li").first.is_visible()
    page.get_by_text("Legend", exact=True).press("Enter")
    assert page.locator(".legend li").first.is_visible()


def test_pages_can_be_used_with_the_keyboard(open_map, cells):
    page = open_map(
        cfl.Map(cfl.Layer(cells, color_by="year", popup=["year"]), cells.credentials, bbox=(0, -20, 40, 20))
    )
    reached = []
    for _ in range(4):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.ariaLabel || document.activeElement.textContent.trim()"))
    assert reached == ["Map", "Zoom in", "Zoom out", "Legend"]
    crosshair = "getComputedStyle(document.getElementById('map'), '::after').content"
    page.locator("#map").focus()
    page.keyboard.press("Enter")
    assert page.evaluate(crosshair) == '""'
    assert popup(page) == {"year": "1999"}
    page.keyboard.press("Escape")
    page.wait_for_function("!document.querySelector('.leaflet-popup')")
    zoom = page.evaluate("map.getZoom()")
    page.keyboard.press("+")
    page.wait_for_function(f"map.getZoom() > {zoom}")
    page.mouse.click(20, 200)
    assert page.evaluate(crosshair) == "none"


def test_narrow_pages_do_not_scroll(open_map, cells):
    title = "A title that is much too long for a page of two hundred pixels"
    page = open_map(cfl.Map(cfl.Layer(cells, color_by="year"), cells.credentials, title=title), width=300)
    assert page.evaluate("document.documentElement.scrollWidth") == 300
    heading = page.locator("h1").bounding_box()
    zoom = page.locator(".leaflet-control-zoom").bounding_box()
    assert heading["x"] >= zoom["x"] + zoom["width"]
    assert heading["x"] + heading["width"] <= 300
