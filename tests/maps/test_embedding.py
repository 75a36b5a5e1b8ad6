"""Pages that contain the data of their layers: they send no request, and look like those that load tiles."""

from __future__ import annotations

import io

import geopandas as gpd
import numpy as np
import pytest
from PIL import Image, ImageChops
from shapely.geometry import LineString, box

import cartoframes_lite as cfl
from cartoframes_lite.maps import embedding
from tests.maps import browser

AREAS = gpd.GeoDataFrame(
    {"name": ["west", "east </script>", None], "n": [1, 2**60, None]},
    geometry=[box(-90, -45, -30, 45), box(-30, -45, 30, 45), box(30, -45, 90, 45)],
    crs=4326,
)
POINTS = gpd.GeoDataFrame(
    {"v": [1.5, 40, None, 100]}, geometry=gpd.points_from_xy([-75, -45, 0, 60], [0] * 4), crs=4326
)
BBOX = (-100, -50, 100, 50)


@pytest.fixture
def tables(credentials):
    AREAS.carto.to_table("areas", credentials)
    POINTS.carto.to_table("points", credentials)
    return credentials


def embed(shown, path):
    """Save a map with its data; check that it needs no server and has no key or token."""
    saved = shown.to_html(path, embed=True)
    text = saved.read_text()
    assert "127.0.0.1" not in text
    assert shown._credentials.api_key not in text
    assert cfl.NamedMap.list(shown._credentials) == []
    return saved


def screenshot(chromium, path, *, may_request=False):
    """Return what a page shows, without its controls, and fail if it sends a request that it must not send."""
    with browser.page(chromium) as page:
        requests = []
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_selector("body.drawn")
        page.wait_for_function("!content.server || document.querySelector('img.leaflet-tile')")
        page.wait_for_function("""[...document.querySelectorAll('.leaflet-tile')].every(tile =>
            tile.classList.contains('leaflet-tile-loaded') && getComputedStyle(tile).opacity === '1')""")
        page.add_style_tag(content=".leaflet-control { display: none; }")
        if not may_request:
            assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
        return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def difference(one, other):
    return float(np.mean(ImageChops.difference(one, other)))


def test_embedded_rows_look_like_the_tiles(chromium, tables, tmp_path):
    layers = [cfl.Layer("areas", color_by="name", popup=True), cfl.Layer("points", color_by="v", size_by="v")]
    shown = cfl.Map(layers, tables, basemap=None, bbox=BBOX)
    embedded = screenshot(chromium, embed(shown, tmp_path / "embedded.html"))
    live = screenshot(chromium, shown.to_html(tmp_path / "live.html"), may_request=True)
    assert difference(embedded, live) < 3
    assert len(embedded.getcolors(120_000)) > 5
    for x in (110, 160, 170, 200, 240, 300):
        one, other = embedded.getpixel((x, 120)), live.getpixel((x, 120))
        assert max(abs(a - b) for a, b in zip(one, other, strict=True)) <= 3, x


def test_embedded_pages_have_popups_legends_and_widgets(chromium, tables, tmp_path):
    layer = cfl.Layer("areas", color_by="name", popup=["name", "n"])
    widgets = [cfl.Formula(), cfl.Categories("name"), cfl.Formula("min", "n")]
    saved = embed(cfl.Map(layer, tables, bbox=BBOX, widgets=widgets), tmp_path / "map.html")
    with browser.page(chromium, 600, 500) as page:
        page.goto(saved.as_uri())
        page.wait_for_selector("#widgets.drawn")
        assert page.evaluate("content.server") is None
        assert page.locator(".formula .body").all_inner_texts() == ["3", "1"]
        legend = page.locator(".legend").inner_text()
        assert "no data" in legend
        point = page.evaluate("map.latLngToContainerPoint([0, 0])")
        page.mouse.click(point["x"], point["y"])
        page.wait_for_selector(".leaflet-popup-content td")
        cells = page.locator(".leaflet-popup-content td").all_inner_texts()
        assert cells[0] == "east </script>"
        assert cells[1].replace(",", "") == str(2**60)
        page.keyboard.press("Escape")
        page.get_by_role("button", name="west").click()
        page.wait_for_function("document.querySelector('.formula .body').textContent === '1'")


def test_layers_with_cartocss_are_embedded_as_pictures(chromium, tables, tmp_path):
    style = "#l { polygon-fill: #ff0000; [name = 'west'] { polygon-fill: #0000ff; } }"
    line = gpd.GeoDataFrame(geometry=[LineString([(-90, 30), (90, 30)])], crs=4326)
    layers = [cfl.Layer("areas", style, title="Areas"), cfl.Layer(line, cmap=["#00ff00"], opacity=1)]
    shown = cfl.Map(layers, tables, basemap=None, bbox=BBOX)
    embedded = screenshot(chromium, embed(shown, tmp_path / "embedded.html"))
    live = screenshot(chromium, shown.to_html(tmp_path / "live.html"), may_request=True)
    assert difference(embedded, live) < 2
    assert embedded.getpixel((100, 150))[2] > 240
    assert embedded.getpixel((300, 150))[0] > 240


def test_layers_with_too_many_rows_are_pictures(chromium, tables, tmp_path, monkeypatch):
    monkeypatch.setattr(embedding, "MAX_FEATURES", 2)
    shown = cfl.Map(cfl.Layer("areas", color_by="name"), tables, basemap=None, bbox=BBOX)
    embedded = screenshot(chromium, embed(shown, tmp_path / "embedded.html"))
    live = screenshot(chromium, shown.to_html(tmp_path / "live.html"), may_request=True)
    assert difference(embedded, live) < 2
    with pytest.raises(ValueError, match="widgets of layer 0 need its rows"):
        cfl.Map("areas", tables, widgets=cfl.Formula()).to_html(tmp_path / "never.html", embed=True)
    assert not (tmp_path / "never.html").exists()


def test_named_maps_are_embedded_as_pictures(chromium, tables, tmp_path):
    options = {"sql": "SELECT * FROM areas", "cartocss": "#l { polygon-fill: #ff0000; }", "cartocss_version": "2.3.0"}
    layergroup = {"version": "1.8.0", "layers": [{"type": "cartodb", "options": options}]}
    auth = {"method": "token", "valid_tokens": ["secret"]}
    template = {"version": "0.0.1", "name": "mine", "auth": auth, "layergroup": layergroup}
    shown = cfl.NamedMap.create(template, tables).instantiate(auth_token="secret")
    shown.bbox = BBOX
    saved = shown.to_html(tmp_path / "map.html", embed=True)
    assert "secret" not in saved.read_text()
    assert screenshot(chromium, saved).getpixel((200, 150)) == (255, 0, 0)
