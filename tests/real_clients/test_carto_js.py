"""CARTO.js 4, as npm ships it, shows maps of the embedded server in Chromium."""

from __future__ import annotations

import io
import os
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import geopandas as gpd
import pytest
import requests
from PIL import Image
from shapely.geometry import box

import cartoframes_lite as cfl
from tests.maps import browser

# Path of carto.js or carto.min.js in the npm package @carto/carto.js 4.
BUNDLE = Path(os.environ.get("CARTO_JS", ""))
pytestmark = pytest.mark.skipif(
    not BUNDLE.is_file(), reason="CARTO_JS does not name carto.js: npm pack @carto/carto.js, then unpack it"
)
BACKGROUND = (221, 221, 221)  # of Leaflet
# CARTO.js 4 has no function that shows a vizjson: the page makes its layers of that of version 3.
PAGE = """
async ([accountUrl, user, visualizationId, layers]) => {
  const map = L.map('map', {zoomControl: false}).setView([0, 0], 2);
  if (visualizationId) {
    const vizjson = await new Promise(resolve => {
      window.received = resolve;
      const script = document.createElement('script');
      script.src = `${accountUrl}/api/v3/viz/${visualizationId}/viz?callback=received`;
      document.head.appendChild(script);
    });
    map.fitBounds(vizjson.bounds, {animate: false});
    layers = vizjson.layers.filter(layer => layer.type === 'CartoDB').map(layer => layer.options);
  }
  const client = new carto.Client({apiKey: 'default_public', username: user, serverUrl: accountUrl});
  client.getLeafletLayer().addTo(map);
  await client.addLayers(layers.map(
    layer => new carto.layer.Layer(new carto.source.SQL(layer.sql), new carto.style.CartoCSS(layer.cartocss))
  ));
  const dataview = new carto.dataview.Formula(client.getLayers()[0].getSource(), 'cartodb_id', {
    operation: carto.operation.COUNT,
  });
  const counted = new Promise(resolve => dataview.on('dataChanged', data => resolve(data.result)));
  await client.addDataview(dataview);
  return await counted;
}
"""


def show(
    credentials: cfl.Credentials, visualization_id: str | None, layers: list[Any], picture: Path
) -> tuple[Any, bytes]:
    """Show a vizjson, or layers, and return the number of rows and a screenshot."""
    leaflet = distribution("XStatic-Leaflet").locate_file("xstatic/pkg/leaflet/data")
    with browser.launched() as chromium, browser.page(chromium, 300, 200) as page:
        # A file, not about:blank: CARTO.js chooses URLs by the protocol of the page.
        html = picture.with_suffix(".html")
        html.write_text('<body style="margin: 0"><div id="map" style="width: 300px; height: 200px"></div></body>')
        page.goto(html.as_uri())
        page.add_style_tag(path=f"{leaflet}/leaflet.css")
        page.add_script_tag(path=f"{leaflet}/leaflet.js")
        page.add_script_tag(path=BUNDLE)
        count = page.evaluate(PAGE, [credentials.base_url, credentials.username, visualization_id, layers])
        tiles = "[...document.querySelectorAll('img.leaflet-tile')]"
        page.wait_for_function(f"{tiles}.length && {tiles}.every(tile => tile.complete && tile.style.opacity === '1')")
        assert page.refused == []  # type: ignore[attr-defined]  # set by the fixture
        return count, page.screenshot(path=picture)


@pytest.fixture
def squares(credentials: cfl.Credentials) -> cfl.Credentials:
    """Write two public squares: west and east of the center."""
    frame = gpd.GeoDataFrame(
        {"side": ["west", "east"]}, geometry=[box(-60, -30, -20, 30), box(20, -30, 60, 30)], crs=4326
    )
    cfl.to_carto(frame, "squares", credentials, privacy="public")
    return credentials


def assert_colors(picture: bytes, expected: dict[int, tuple[int, int, int]]) -> None:
    """Check the colors halfway down a picture, by their distance from the left edge in pixels."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    for x, color in expected.items():
        found = image.getpixel((x, image.height // 2))
        assert isinstance(found, tuple)
        assert max(abs(one - other) for one, other in zip(found, color, strict=True)) < 4, (x, found)


def test_anonymous_map_is_shown(squares: cfl.Credentials, tmp_path: Path) -> None:
    cartocss = "#layer { polygon-fill: #ff0000; polygon-opacity: 1; [side = 'east'] { polygon-fill: #0000ff } }"
    layers = [{"sql": "SELECT * FROM squares", "cartocss": cartocss}]
    count, picture = show(squares, None, layers, tmp_path / "anonymous.png")
    assert count == 2
    assert_colors(picture, {40: (255, 0, 0), 150: BACKGROUND, 250: (0, 0, 255)})


def test_vizjson_of_a_published_map_is_shown(squares: cfl.Credentials, tmp_path: Path) -> None:
    def send(method: str, path: str, **body: Any) -> Any:
        url = f"{squares.base_url}{path}"
        sent = requests.request(method, url, json=body, params={"api_key": squares.api_key}, timeout=60)
        assert sent.ok, sent.text
        return sent.json()

    a_map = send("POST", "/api/v1/viz", tables=["squares"], name="Squares")
    send("POST", f"/api/v3/viz/{a_map['id']}/mapcaps")
    count, picture = show(squares, a_map["id"], [], tmp_path / "vizjson.png")
    assert count == 2
    style = (139, 120, 190)  # the default, #826DBA at 90 %, over the background
    assert_colors(picture, {93: style, 150: BACKGROUND, 207: style})
