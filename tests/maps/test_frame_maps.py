"""Maps of GeoDataFrames that are on no server, drawn by the page itself, in a real browser."""

from __future__ import annotations

import datetime
import io

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageColor
from shapely.geometry import GeometryCollection, LineString, MultiPolygon, Point, Polygon, box

import cartoframes_lite as cfl
from tests.maps import browser

SQUARES = gpd.GeoDataFrame(
    {"name": ["west", "east <b>"], "n": [1, None], "day": [datetime.date(2024, 5, 6), None]},
    geometry=[box(-90, -45, 0, 45), box(0, -45, 90, 45)],
    crs=4326,
)
BBOX = (-100, -50, 100, 50)  # fills a page of 400 x 300 at zoom 0.8 or so
SOLID = {"opacity": 1, "stroke": False}


@pytest.fixture
def opened(chromium, tmp_path):
    """Return a function that opens the page of a map, and fails if it sends requests."""
    with browser.page(chromium) as page:
        requests = []
        page.on("request", lambda request: requests.append(request.url))

        def open_map(shown):
            path = shown.save(tmp_path / "map.html")
            page.goto(path.as_uri())
            page.wait_for_selector("body.drawn")
            wait_for_tiles(page)
            page.add_style_tag(content=".leaflet-control { display: none; }")  # the legend is above the features
            assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
            return page

        yield open_map


def wait_for_tiles(page):
    page.wait_for_function("""[...document.querySelectorAll('.leaflet-tile')].every(tile =>
        tile.classList.contains('leaflet-tile-loaded') && getComputedStyle(tile).opacity === '1')""")


def pixel(page, longitude, latitude):
    """Return the place of a coordinate on the page."""
    point = page.evaluate(f"map.latLngToContainerPoint([{latitude}, {longitude}])")
    return point["x"], point["y"]


def color_at(page, longitude, latitude):
    """Return the color that is drawn at a coordinate."""
    seen = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    return seen.getpixel(tuple(round(place) for place in pixel(page, longitude, latitude)))


def is_near(found, wanted):
    wanted = ImageColor.getrgb(wanted) if isinstance(wanted, str) else wanted
    return max(abs(one - other) for one, other in zip(found, wanted, strict=True)) <= 6


def legend_colors(shown):
    return {item.label: item.color for item in shown.legend}


def popup(page):
    page.wait_for_selector(".leaflet-popup-content td")
    rows = page.locator(".leaflet-popup-content tr")
    return dict(rows.evaluate_all("rows => rows.map(row => [...row.cells].map(cell => cell.innerText))"))


def test_classes_have_the_colors_of_the_legend(opened):
    shown = cfl.Map(cfl.Layer(SQUARES, color_by="name", **SOLID), basemap=None, bbox=BBOX)
    page = opened(shown)
    colors = legend_colors(shown)
    assert set(colors) == {"west", "east <b>"}
    assert is_near(color_at(page, -45, 0), colors["west"])
    assert is_near(color_at(page, 45, 0), colors["east <b>"])


def test_numbers_and_missing_values_are_classified(opened):
    values = [-5.5, 0.25, 1, 2, 3, 4, 1e9, None, np.inf]
    frame = gpd.GeoDataFrame({"v": values}, geometry=[box(x, -20, x + 10, 20) for x in range(-90, 90, 20)], crs=4326)
    shown = cfl.Map(cfl.Layer(frame, color_by="v", scheme="quantiles", k=3, **SOLID), basemap=None, bbox=BBOX)
    page = opened(shown)
    colors = list(legend_colors(shown).values())
    found = [color_at(page, x + 5, 0) for x in range(-90, 90, 20)]
    expected = [colors[0]] * 3 + [colors[1]] * 2 + [colors[2]] * 2 + [legend_colors(shown)["no data"]] * 2
    assert [is_near(one, other) for one, other in zip(found, expected, strict=True)] == [True] * 9


def test_geometries_near_the_antimeridian_are_shown_together(opened):
    points = gpd.GeoSeries(gpd.points_from_xy([178, -178], [0, 0]), crs=4326)
    page = opened(cfl.Map(points, basemap=None))
    bounds = page.evaluate("map.getBounds().toBBoxString()").split(",")
    assert 150 < float(bounds[0]) < 178
    assert 182 < float(bounds[2]) < 210
    background = color_at(page, 180, 1)
    for longitude in (178, 182):
        assert not is_near(color_at(page, longitude, 0), background)


def test_shapes_have_holes_parts_and_order(opened):
    shapes = [
        Polygon(box(-90, -40, -50, 40).exterior.coords, [box(-80, -20, -60, 20).exterior.coords]),
        MultiPolygon([box(-40, -40, -30, 40), box(-20, -40, -10, 40)]),
        GeometryCollection([box(10, -40, 40, 0), GeometryCollection([LineString([(10, 30), (40, 30)])])]),
        box(50, -40, 90, 40),
        box(60, -20, 80, 20),
        Point(70, 0),
    ]
    frame = gpd.GeoDataFrame({"v": list("aaaabc")}, geometry=shapes, crs=4326)
    layer = cfl.Layer(frame, color_by="v", cmap=["#ff0000", "#00ff00", "#0000ff"], **SOLID)
    page = opened(cfl.Map(layer, basemap=None, bbox=BBOX))
    background = color_at(page, 0, 45)
    for longitude, latitude, color in (
        (-85, 0, "#ff0000"),
        (-70, 0, background),
        (-35, 0, "#ff0000"),
        (-25, 0, background),
        (-15, 0, "#ff0000"),
        (25, -20, "#ff0000"),
        (25, 30, "#ff0000"),
        (55, 0, "#ff0000"),
        (65, 10, "#00ff00"),
        (70, 0, "#0000ff"),
    ):
        assert is_near(color_at(page, longitude, latitude), color), (longitude, latitude)


def test_sizes_are_proportional_and_small_points_on_top(opened):
    frame = gpd.GeoDataFrame({"v": [1, 100, 100]}, geometry=gpd.points_from_xy([0, 0, 60], [0, 0, 0]), crs=4326)
    shown = cfl.Map(cfl.Layer(frame, color_by="v", k=[1], size_by="v", **SOLID), basemap=None, bbox=BBOX)
    page = opened(shown)
    small, large = (item.color for item in shown.legend if item.size_px is None)
    x, y = (round(place) for place in pixel(page, 60, 0))
    seen = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    assert is_near(seen.getpixel((x + 13, y)), large)  # 30 pixels wide
    assert not is_near(seen.getpixel((x + 17, y)), large)
    x, y = (round(place) for place in pixel(page, 0, 0))
    assert is_near(seen.getpixel((x, y)), small)
    assert is_near(seen.getpixel((x + 6, y)), large)


def test_features_continue_across_the_antimeridian(opened):
    frame = gpd.GeoDataFrame({"v": ["a", "b"]}, geometry=[box(170, -20, 190, 20), box(-170, 30, -160, 50)], crs=4326)
    shown = cfl.Map(cfl.Layer(frame, **SOLID, cmap=["#ff0000"]), basemap=None, bbox=(100, -50, 260, 60))
    page = opened(shown)
    for longitude in (175, 185):
        assert is_near(color_at(page, longitude, 0), "#ff0000")
    assert is_near(color_at(page, 195, 40), "#ff0000")


def test_popups_and_tooltips_show_values_of_the_frame(opened):
    page = opened(cfl.Map(cfl.Layer(SQUARES, color_by="name", hover=["name", "n"]), basemap=None, bbox=BBOX))
    page.mouse.click(*pixel(page, 45, 0))
    assert popup(page) == {"name": "east <b>", "n": "\u2013", "day": "\u2013"}
    page.keyboard.press("Escape")
    page.mouse.click(*pixel(page, -45, 0))
    page.wait_for_selector(".leaflet-popup-content td:text-is('west')")
    assert list(popup(page)) == ["name", "n", "day"]
    assert popup(page)["n"] == "1"
    assert "2024" in popup(page)["day"]
    page.keyboard.press("Escape")
    page.mouse.move(*pixel(page, 44, 1))
    page.wait_for_selector(".leaflet-tooltip")
    assert "east <b>" in page.locator(".leaflet-tooltip").inner_text()


@pytest.mark.parametrize(
    ("zone", "texts"), [("UTC", ["2024-05-06", "2024-05-06 07:08:09.5"]), ("Asia/Tokyo", ["2024-05-06 00:00:00+09:00"])]
)
def test_popups_show_times_of_any_zone(zone, texts, opened):
    times = pd.to_datetime(["2024-05-06 00:00:00", "2024-05-06 07:08:09.5"], format="ISO8601").tz_localize(zone)
    frame = SQUARES[["geometry"]].assign(time=times)
    page = opened(cfl.Map(cfl.Layer(frame), basemap=None, bbox=BBOX))
    for longitude, text in zip([-45, 45], texts, strict=False):
        page.mouse.click(*pixel(page, longitude, 0))
        page.wait_for_selector(f".leaflet-popup-content td:text-is('{text}')")
        page.keyboard.press("Escape")


def test_legends_fit_above_widgets(chromium, tmp_path):
    frame = gpd.GeoDataFrame({"n": range(20)}, geometry=gpd.points_from_xy(range(20), range(20)), crs=4326)
    layer = cfl.Layer(frame, color_by="n", scheme="categories", k=20)
    path = cfl.Map(layer, widgets=[cfl.Histogram("n")]).save(tmp_path / "map.html")
    with browser.page(chromium, 900, 400) as page:
        page.goto(path.as_uri())
        page.wait_for_selector("#widgets.drawn")
        card, shown = (page.locator(name).bounding_box() for name in (".legend", "#map"))
        assert card["y"] >= 0
        assert card["y"] + card["height"] <= shown["height"]


def test_lines_and_points_respond_to_clicks_beside_them(opened):
    shapes = [LineString([(-80, 0), (0, 0)]), Point(60, 0)]
    frame = gpd.GeoDataFrame({"v": ["line", "point"]}, geometry=shapes, crs=4326)
    page = opened(cfl.Map(frame, basemap=None, bbox=BBOX))
    x, y = pixel(page, -40, 0)
    page.mouse.click(x, y + 3)
    assert popup(page) == {"v": "line"}
    page.keyboard.press("Escape")
    page.wait_for_selector(".leaflet-popup", state="detached")
    x, y = pixel(page, 60, 0)
    page.mouse.click(x + 3, y)
    assert popup(page) == {"v": "point"}


def test_layers_of_server_and_frame_keep_their_order(chromium, credentials, tmp_path):
    SQUARES[["name", "geometry"]].carto.to_table("squares", credentials)
    layers = [
        cfl.Layer(gpd.GeoDataFrame(geometry=[box(-90, -45, 90, 45)], crs=4326), cmap=["#ff0000"], **SOLID),
        cfl.Layer("SELECT * FROM squares WHERE name = 'west'", "#l { polygon-fill: #00ff00; }"),
        cfl.Layer(gpd.GeoDataFrame(geometry=[box(-80, 0, 80, 40)], crs=4326), cmap=["#0000ff"], **SOLID),
    ]
    shown = cfl.Map(layers, credentials, basemap=None, bbox=BBOX)
    with browser.page(chromium) as page:
        page.goto(shown.save(tmp_path / "map.html").as_uri())
        page.wait_for_function("document.querySelectorAll('img.leaflet-tile-loaded').length > 0")
        wait_for_tiles(page)
        assert is_near(color_at(page, 45, -20), "#ff0000")
        assert is_near(color_at(page, -45, -20), "#00ff00")
        assert is_near(color_at(page, 0, 20), "#0000ff")


def test_widgets_of_frames_filter_the_features(opened):
    frame = gpd.GeoDataFrame(
        {
            "side": ["west"] * 3 + ["east"] * 2 + [None],
            "n": [1, 2, 3, 4, 5, None],
            "day": pd.to_datetime(["2020-01-01", "2020-06-01", None, "2022-01-01", "2023-01-01", "2024-01-01"]),
        },
        geometry=gpd.points_from_xy([-60, -60, -60, 60, 60, 60], [0, 10, 20, 0, 10, 20]),
        crs=4326,
    )
    widgets = [cfl.Formula(), cfl.Formula("sum", "n"), cfl.Categories("side"), cfl.Histogram("day", bins=4)]
    layer = cfl.Layer(frame, cmap=["#ff0000"], **SOLID)
    page = opened(cfl.Map(layer, basemap=None, bbox=BBOX, widgets=widgets))
    page.wait_for_selector("#widgets.drawn")

    def numbers():
        return page.locator(".formula .body").all_inner_texts()

    assert numbers() == ["6", "15"]
    assert page.locator(".categories li").all_inner_texts() == ["west\n3", "east\n2"]
    counts = page.locator(".bins i").evaluate_all("bars => bars.map(bar => Number(bar.title.split(': ').at(-1)))")
    assert counts == [2, 0, 1, 2]
    assert is_near(color_at(page, -60, 0), "#ff0000")
    page.get_by_role("button", name="east").click()
    page.wait_for_function("document.querySelector('.formula .body').textContent === '2'")
    assert numbers() == ["2", "9"]
    wait_for_tiles(page)
    assert not is_near(color_at(page, -60, 0), "#ff0000")
    assert is_near(color_at(page, 60, 0), "#ff0000")
    page.get_by_role("button", name="Reset the filter of side").click()
    page.evaluate("map.setView([0, -60], 3, {animate: false})")
    page.wait_for_function("document.querySelector('.formula .body').textContent === '2'")
    assert numbers() == ["2", "3"]


def test_pictures_have_the_features(tmp_path):
    shown = cfl.Map(cfl.Layer(SQUARES, color_by="name", **SOLID), basemap=None, bbox=BBOX)
    picture = Image.open(io.BytesIO(shown.to_png(tmp_path / "map.png", 400, 200))).convert("RGB")
    colors = legend_colors(shown)
    assert is_near(picture.getpixel((150, 100)), colors["west"])
    assert is_near(picture.getpixel((250, 100)), colors["east <b>"])
    assert "image/png" in shown._repr_mimebundle_()


def test_maps_of_frames_need_no_credentials(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("CARTO_API_URL", "CARTO_USERNAME", "CARTO_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    shown = SQUARES.carto.map(color_by="n", title="Squares")
    assert repr(shown) == "<Map of GeoDataFrames>"
    assert shown.title == "Squares"
    assert "<iframe" in shown._repr_html_()
    for use in (
        lambda: shown.layergroup_id,
        lambda: shown.metadata,
        shown.tile_url,
        shown.tile_provider,
        lambda: shown.static_image(10, 10, center=(0, 0), zoom=1),
        lambda: shown.attributes(0, 1),
        lambda: shown.dataview("x"),
    ):
        with pytest.raises(ValueError, match=r"all layers of this map are GeoDataFrames.*to_table\(name\)\.map\(\)"):
            use()


def test_invalid_frames_are_refused_when_the_map_is_made():
    with pytest.raises(ValueError, match="no CRS"):
        cfl.Map(gpd.GeoDataFrame(geometry=[Point(0, 0)]))
    with pytest.raises(ValueError, match="not a GeoDataFrame"):
        pd.DataFrame({"a": [1]}).carto.map()
    with pytest.raises(TypeError, match="no geometry, so make it a GeoDataFrame"):
        cfl.Layer(pd.DataFrame({"name": ["a"]}))
    with pytest.raises(TypeError, match=r"must be a Dataset, a GeoDataFrame.* not int"):
        cfl.Layer(5)
    with pytest.raises(TypeError, match=r"must be a cartoframes_lite\.Layer.* not GeoDataFrame"):
        cfl.AnonymousMap(SQUARES)
    with pytest.raises(TypeError, match="must be a Histogram, Categories or Formula, not None"):
        SQUARES.carto.map(widgets=None)
    with pytest.raises(ValueError, match="'geometry' is a geometry"):
        SQUARES.carto.map(widgets=cfl.Categories("geometry"))
    with pytest.raises(ValueError, match="nn"):
        SQUARES.carto.map(color_by="nn")
    with pytest.raises(ValueError, match="cartocss styles tables"):
        SQUARES.carto.map("#l { }")
    with pytest.raises(ValueError, match="no column 'x'"):
        SQUARES.carto.map(widgets=cfl.Histogram("x"))
    with pytest.raises(ValueError, match=r"of type text, not a number or a date: use Categories\('name'\)"):
        SQUARES.carto.map(widgets=cfl.Histogram("name"))


def test_column_labels_may_repeat_or_be_numbers():
    frame = gpd.GeoDataFrame([[1, 2, "a"]], columns=["n", "n", 7], geometry=[Point(0, 0)], crs=4326)
    shown = cfl.Map([cfl.Layer(frame, color_by="n"), cfl.Layer(frame, color_by="7", popup=["7"])])
    assert [item.label for item in shown.legend] == ["1", "a"]


def test_whole_tables_are_drawn_by_the_server(credentials):
    frame = SQUARES[["name", "geometry"]].copy()
    frame.carto.to_table("squares", credentials)
    assert frame.carto.map().layergroup_id
    assert repr(frame[frame["name"] == "west"].carto.map()) == "<Map of GeoDataFrames>"
