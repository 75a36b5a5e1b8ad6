"""What a map page shows first: bounds, worlds, themes and sizes, in a real browser."""

from __future__ import annotations

import io

import geopandas as gpd
import numpy as np
import pytest
from PIL import Image
from shapely.geometry import box

import cartoframes_lite as cfl
from tests.maps import browser

PLACES = gpd.GeoDataFrame(
    {"name": ["Apia", "Suva", "Paris"]},
    geometry=gpd.points_from_xy([-171.8, 178.4, 2.3], [-13.8, -18.1, 48.9]),
    crs=4326,
)
WORLD = gpd.GeoDataFrame({"n": [1]}, geometry=[box(-180, -55, 180, 75)], crs=4326)


@pytest.fixture
def places(credentials):
    return PLACES.carto.to_table("places", credentials)


def opened(page, shown, path):
    """Open the page of a map, after its tiles have been drawn."""
    page.goto(shown.save(path).as_uri())
    page.wait_for_selector("body.drawn", timeout=20_000)
    page.wait_for_function("""[...document.querySelectorAll('.leaflet-tile')].every(tile =>
        tile.classList.contains('leaflet-tile-loaded') && getComputedStyle(tile).opacity === '1')""")  # tiles fade in
    return page


def visible_degrees(page):
    """Return west, south, east and north of what the page shows."""
    return page.evaluate(
        "(() => { const b = map.getBounds(); return [b.getWest(), b.getSouth(), b.getEast(), b.getNorth()]; })()"
    )


@pytest.mark.parametrize(("width", "height"), [(1200, 420), (400, 420)])
def test_bbox_is_fitted_at_the_size_of_the_page(chromium, width, height, places, tmp_path):
    bbox = (-10, 35, 30, 60)
    with browser.page(chromium, width, height) as page:
        opened(page, places.map(bbox=bbox), tmp_path / "map.html")
        west, south, east, north = visible_degrees(page)
        assert west <= -10
        assert south <= 35
        assert east >= 30
        assert north >= 60
        fills_width, fills_height = 40 / (east - west), 25 / (north - south)
        assert max(fills_width, fills_height) > 0.7
        page.set_viewport_size({"width": height, "height": width})
        page.wait_for_function(f"map.getSize().y === {width}")
        west, south, east, north = visible_degrees(page)
        assert west <= -10 < 30 <= east


def test_pages_hidden_at_first_fit_when_shown(chromium, places, tmp_path):
    html = places.map(bbox=(-10, 35, 30, 60))._repr_html_()
    cell = tmp_path / "cell.html"
    cell.write_text(f'<body><div id="tab" style="display:none">{html}</div></body>')
    with browser.page(chromium, 800, 440) as page:
        page.goto(cell.as_uri())
        page.evaluate("document.getElementById('tab').style.display = ''")
        frame = page.frames[1]
        frame.wait_for_function("map.getSize().x > 700")
        west, _, east, _ = visible_degrees(frame)
        assert west <= -10 < 30 <= east
        assert east - west < 120


def test_moved_maps_keep_their_view_when_resized(chromium, places, tmp_path):
    with browser.page(chromium, 800, 420) as page:
        opened(page, places.map(bbox=(-10, 35, 30, 60)), tmp_path / "map.html")
        page.evaluate("map.setView([0, 100], 4, {animate: false})")
        page.set_viewport_size({"width": 600, "height": 420})
        page.wait_for_function("map.getSize().x === 600")
        assert page.evaluate("map.getZoom()") == 4


def test_world_maps_show_one_world(chromium, credentials, tmp_path):
    shown = WORLD.carto.to_table("world", credentials).map(basemap=None)
    with browser.page(chromium, 1200, 420) as page:
        opened(page, shown, tmp_path / "map.html")
        world_pixels = page.evaluate("256 * 2 ** map.getZoom()")
        assert 600 < world_pixels < 800  # as high as the page
        left, right = page.evaluate("[[0, -180], [0, 180]].map((place) => map.latLngToContainerPoint(place).x)")
        assert 0 < left < right < 1200
        drawn = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(int)[210]
        colored = np.flatnonzero(np.abs(drawn - drawn[2]).sum(axis=1) > 30)
        colored = colored[(colored > 60) & (colored < 1000)]  # without controls
        assert left - 17 <= colored.min() <= left  # 16 pixels overlap, so that markers at the edge are not cut
        assert right <= colored.max() + 1 <= right + 17


def test_maps_across_the_antimeridian_repeat_the_world(chromium, places, tmp_path):
    shown = places.map("#layer { marker-width: 20; marker-fill: #f00; }", basemap=None, bbox=(176, -20, 190, -12))
    with browser.page(chromium, 800, 420) as page:
        opened(page, shown, tmp_path / "map.html")
        west, _, east, _ = visible_degrees(page)
        assert west <= 176 < 190 <= east
        page.wait_for_function("document.querySelectorAll('img.leaflet-tile-loaded').length > 7")
        page.mouse.click(*page.evaluate("Object.values(map.latLngToContainerPoint([-13.8, 188.2]))"))
        page.wait_for_selector(".leaflet-popup-content >> text=Apia")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("basemap", ["light", "dark"])
def test_picture_is_visible_in_all_color_schemes(chromium, scheme, basemap, places, tmp_path):
    html = places.map(basemap=basemap)._repr_html_().replace("/api/v1/map", "/nowhere")
    cell = tmp_path / "cell.html"
    cell.write_text(f'<meta name="color-scheme" content="{scheme}"><body>{html}</body>')
    with browser.page(chromium, 800, 440) as page:
        page.emulate_media(color_scheme=scheme)
        page.goto(cell.as_uri())
        frame = page.frame_locator("iframe")
        frame.locator("body.static #picture").wait_for()
        assert frame.locator("#picture").evaluate("picture => picture.naturalWidth") == 800


def test_sandboxed_iframes_are_transparent(chromium, places, tmp_path):
    html = places.map(basemap="dark")._repr_html_().replace("/api/v1/map", "/nowhere")
    html = html.replace("<iframe", '<iframe sandbox="allow-scripts"')
    cell = tmp_path / "cell.html"
    cell.write_text(f'<meta name="color-scheme" content="light"><body>{html}</body>')
    with browser.page(chromium, 800, 440) as page:
        page.goto(cell.as_uri())
        page.frame_locator("iframe").locator("body.static.transparent").wait_for()
        with_iframe = page.screenshot()
        page.evaluate("document.querySelector('iframe').style.visibility = 'hidden'")
        hidden = page.screenshot()
    assert browser.difference(with_iframe, hidden) < 3  # the hint and the attribution


def test_title_is_displayed_and_escaped(chromium, places, tmp_path):
    title = "<b>Ports</b> & <script>document.body.dataset.broken = 1</script>"
    with browser.page(chromium) as page:
        opened(page, cfl.Map(cfl.Layer(places), places.credentials, title=title), tmp_path / "map.html")
        assert page.title() == title
        assert page.locator("h1").inner_text() == title
        assert page.locator("html").get_attribute("lang") == "en"
        assert page.locator("#map").get_attribute("aria-label") == f"Map: {title}"
        assert page.evaluate("document.body.dataset.broken") is None
