"""Markers near the 180th meridian are not cut: in tiles, static images, grids, and on pages."""

from __future__ import annotations

import io

import geopandas as gpd
import numpy as np
import pytest
import requests
from PIL import Image

import cartoframes_lite as cfl
from tests.maps import browser
from tests.maps.test_page_view import opened


def test_symbols_continue_beyond_the_antimeridian(credentials):
    frame = gpd.GeoDataFrame({"n": [1, 2]}, geometry=gpd.points_from_xy([179.9, -179.9], [10, -10]), crs=4326)
    style = "#l { marker-width: 30; marker-fill: #f00; marker-line-width: 0; marker-allow-overlap: true; }"
    shown = frame.carto.to_table("edge", credentials).map(style)

    def red_columns(x, y):
        tile = requests.get(shown.tile_url().format(z=2, x=x, y=y), timeout=10).content
        picture = np.asarray(Image.open(io.BytesIO(tile)).convert("RGBA"))
        return np.flatnonzero((picture[..., 3] > 128).any(axis=0)).tolist()

    assert red_columns(3, 1) == list(range(241, 256))
    assert red_columns(0, 1) == list(range(15))  # the same marker
    assert red_columns(0, 2) == list(range(15))
    assert red_columns(3, 2) == list(range(241, 256))
    assert red_columns(1, 1) == []
    around = shown.static_image(100, 100, bbox=(170, 0, 190, 20))
    picture = np.asarray(Image.open(io.BytesIO(around)).convert("RGBA"))
    assert (picture[..., 3] > 128).any(axis=0).sum() == pytest.approx(30, abs=2)
    grid = requests.get(shown.tile_url(0, "grid.json").format(z=2, x=0, y=1), timeout=10)
    assert grid.status_code == 200
    assert [row["n"] for row in grid.json()["data"].values()] == [1]


def test_markers_at_the_antimeridian_are_not_cut(chromium, credentials, tmp_path):
    places = gpd.GeoDataFrame({"n": [1, 2]}, geometry=gpd.points_from_xy([179.9, -60], [0, 30]), crs=4326)
    style = "#layer { marker-width: 24; marker-fill: #ff0000; marker-line-width: 0; marker-allow-overlap: true; }"
    places.carto.to_table("edge", credentials)
    for bbox in ((170, -10, 190, 10), (-180, -60, 180, 75)):
        shown = cfl.Dataset("edge", credentials).map(style, basemap=None, bbox=bbox)
        with browser.page(chromium, 800, 420) as page:
            opened(page, shown, tmp_path / "map.html")
            x, y = page.evaluate("Object.values(map.latLngToContainerPoint([0, 179.9]))")
            scale = page.evaluate("map.getZoomScale(map.getZoom(), Math.round(map.getZoom()))")
            picture = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(int)
            around = picture[int(y) - 20 : int(y) + 20, int(x) - 20 : int(x) + 20]
            red = (around[..., 0] > 200) & (around[..., 1] < 90)
            assert red.any(axis=0).sum() == pytest.approx(24 * scale, abs=3)
            assert red.sum() == pytest.approx(np.pi * (12 * scale) ** 2, rel=0.15)


@pytest.mark.parametrize(
    ("longitudes", "west", "east"),
    [([178, -179], 178, 181), ([-170, 170], 170, 190), ([-20, 30], -20, 30), ([-120, 140], 140, 240), ([5, 9], 5, 9)],
    ids=str,
)
def test_first_view_is_the_narrowest_extent(longitudes, west, east, credentials):
    frame = gpd.GeoDataFrame({"n": [1, 2]}, geometry=gpd.points_from_xy(longitudes, [-20, -10]), crs=4326)
    shown = frame.carto.to_table("places", credentials).map()
    assert shown._view().bounds == pytest.approx((west, -20, east, -10))
