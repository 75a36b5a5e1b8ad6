"""Layers of many points: grids, heatmaps and thinned points, as they are drawn."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import requests

import cartoframes_lite as cfl
from tests.maps import browser
from tests.maps.styling.pictures import frame_of, picture, rgb


@pytest.fixture
def crowd(credentials):
    """5,000 points: half of them on one place in the west, the others spread over the east."""
    random = np.random.default_rng(1)
    x = np.concatenate([np.full(2500, -90.0), random.uniform(20, 160, 2500)])
    y = np.concatenate([np.full(2500, 0.0), random.uniform(-60, 60, 2500)])
    values = {"v": np.arange(5000.0), "name": [f"n{number}" for number in range(5000)]}
    gpd.GeoDataFrame(values, geometry=gpd.points_from_xy(x, y), crs=4326).carto.to_table("crowd", credentials)
    return credentials


@pytest.fixture
def few(monkeypatch):
    """Make the default threshold 1000 points."""
    monkeypatch.setattr("cartoframes_lite.maps.styling.aggregation.MANY_POINTS", 1000)
    monkeypatch.setattr("cartoframes_lite.maps.layers.MANY_POINTS", 1000)


def shown_map(credentials, **words):
    return cfl.AnonymousMap(cfl.Layer("crowd", **words), credentials)


def test_a_grid_draws_crowded_places_larger(crowd, few):
    shown = shown_map(crowd)
    assert [item.title for item in shown.legend] == ["Number of points"] * len(shown.legend)
    assert shown.legend[0].label.startswith("1 to ")
    assert shown.legend[-1].label.endswith(" to 2,500")
    pixels = picture(shown)
    west = pixels[118:138, 54:74]
    assert 7 <= (west[:, :, 3] > 127).any(axis=0).sum() <= 11  # the width of the largest class
    darkest, largest = west[10, 10, :3].astype(int), rgb(shown.legend[-1].color)
    assert np.abs(darkest - largest).max() < 40
    east = pixels[:, 140:]
    assert 0.01 < (east[:, :, 3] > 127).mean() < 0.3
    every = picture(shown_map(crowd, aggregation=False))[:, 140:]
    assert (every[:, :, 3] > 127).sum() > 1.5 * (east[:, :, 3] > 127).sum()


def test_all_points_are_drawn_when_zooming_in(crowd, few):
    """In a small part of the map, each point has a cell of its own."""
    box = (60, 0, 70, 10)
    rows = cfl.read_carto("SELECT count(*) AS n FROM crowd", crowd, bbox=None)["n"][0]
    inside = len(cfl.read_carto("crowd", crowd, bbox=box))
    assert rows == 5000
    url = shown_map(crowd, popup="name").tile_url(0, "grid.json")
    names = set()
    zoom = 7
    tiles = 2**zoom
    for x in range(int((60 + 180) / 360 * tiles), int((70 + 180) / 360 * tiles) + 1):
        for y in range(tiles // 2 - 4, tiles // 2 + 1):
            grid = requests.get(url.format(z=zoom, x=x, y=y), timeout=10).json()
            names |= {feature["name"] for feature in grid["data"].values()}
    expected = set(cfl.read_carto("crowd", crowd, bbox=box)["name"])
    assert expected <= names
    assert inside == len(expected) > 5


def test_popups_of_cells_show_a_row_of_the_cell(crowd, few):
    shown = shown_map(crowd, popup=["name", "v"])
    grid = requests.get(shown.tile_url(0, "grid.json").format(z=0, x=0, y=0), timeout=10).json()
    assert grid["data"]
    feature = next(iter(grid["data"].values()))
    row = cfl.read_carto(f"SELECT name, v FROM crowd WHERE cartodb_id = {feature['cartodb_id']}", crowd)
    assert feature["name"] == row["name"][0]
    assert shown.attributes(0, feature["cartodb_id"])["v"] == row["v"][0]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_heatmap_is_hotter_where_there_are_more_points(theme, crowd):
    shown = cfl.AnonymousMap(
        cfl.Layer("crowd", aggregation="heatmap", opacity=1), crowd, basemap="dark" if theme == "dark" else None
    )
    assert shown.legend == []
    [compiled] = [cfl.Layer("crowd", aggregation="heatmap").compile(cfl.Client(crowd), theme)]
    [legend] = compiled.legends
    assert (legend.kind, tuple(legend.limits)) == ("continuous", ("few", "many"))
    pixels = picture(shown)[:, :, :3].astype(int)
    assert np.abs(pixels[128, 64] - rgb(legend.colors[-1])).max() < 8
    coldest = np.abs(pixels[:, 150:] - rgb(legend.colors[0])).max(axis=2) < 8
    assert coldest.any()


def test_colored_points_are_thinned_without_changing_the_picture(crowd, few):
    words = {"color_by": "v", "stroke": False, "opacity": 1}
    thinned, every = (picture(shown_map(crowd, **words, **more)) for more in ({}, {"aggregation": False}))
    assert (
        abs(int((thinned[:, :, 3] > 127).sum()) - int((every[:, :, 3] > 127).sum()))
        < 0.1 * (every[:, :, 3] > 127).sum()
    )
    assert len(shown_map(crowd, **words).legend) == 5


def test_impossible_aggregations_are_rejected(crowd):
    with pytest.raises(ValueError, match="omit color_by and size_by"):
        shown_map(crowd, aggregation="grid", color_by="v").legend  # noqa: B018  # the property raises
    frame_of([1, 2]).carto.to_table("areas", crowd)
    with pytest.raises(ValueError, match="is for points; the layer has geometries of type "):
        cfl.AnonymousMap(cfl.Layer("areas", aggregation="heatmap"), crowd).legend  # noqa: B018  # raises
    query = "SELECT the_geom_webmercator FROM crowd"
    with pytest.raises(ValueError, match="needs the column cartodb_id"):
        cfl.AnonymousMap(cfl.Layer(query, aggregation="grid"), crowd).legend  # noqa: B018  # raises
    with pytest.raises(ValueError, match="aggregation is done by the server"):
        cfl.Layer(frame_of([1], "point"), aggregation="grid")


def test_many_points_without_an_id_are_drawn(crowd, few):
    shown = cfl.AnonymousMap(cfl.Layer("SELECT the_geom_webmercator FROM crowd"), crowd)
    assert (picture(shown)[:, :, 3] > 127).any()
    assert shown.legend == []


def test_tables_without_rows_have_grids_too(crowd):
    query = "SELECT * FROM crowd WHERE false"
    for words in ({}, {"aggregation": "grid"}, {"aggregation": "heatmap"}, {"color_by": "v"}, {"size_by": "v"}):
        shown = cfl.AnonymousMap(cfl.Layer(query, **words), crowd)
        assert not picture(shown)[:, :, 3].any()


def test_popups_of_markers_for_several_points_show_their_number(chromium, crowd, tmp_path):
    shown = cfl.Map(cfl.Layer("crowd", aggregation="grid", popup=["name"]), crowd, bbox=(-150, -50, 150, 50))
    single = cfl.read_carto("SELECT name, the_geom FROM crowd WHERE ST_X(the_geom) > 0 LIMIT 1", crowd)
    with browser.page(chromium) as page:
        page.goto(shown.to_html(tmp_path / "map.html").as_uri())
        page.wait_for_selector("body.drawn")
        assert click(page, -90, 0) == {"Number of points": "2500"}
        x, y = single.geometry[0].x, single.geometry[0].y
        page.evaluate(f"map.setView([{y}, {x}], 12, {{animate: false}})")
        assert click(page, x, y) == {"name": single["name"][0]}


def click(page, longitude, latitude):
    """Return what the popup of a place shows."""
    place = page.evaluate(f"map.latLngToContainerPoint([{latitude}, {longitude}])")
    page.mouse.click(place["x"], place["y"])
    page.wait_for_selector(".leaflet-popup-content td")
    rows = page.locator(".leaflet-popup-content tr")
    found = dict(rows.evaluate_all("rows => rows.map(row => [...row.cells].map(cell => cell.innerText))"))
    page.evaluate("map.closePopup()")
    page.wait_for_selector(".leaflet-popup", state="detached")
    return found
