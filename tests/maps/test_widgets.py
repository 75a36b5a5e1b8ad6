"""Widgets under a map, in a real browser: what they show, and what they filter."""

from __future__ import annotations

import io
import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import cartoframes_lite as cfl
from tests.maps import browser

# Two groups of points: west in red, east in blue; "n" is 0 to 19, "day" one per month.
FRAME = gpd.GeoDataFrame(
    {
        "side": ["west"] * 12 + ["east"] * 7 + [None],
        "n": [*range(19), None],
        "value": [1.5] * 10 + [2.5] * 10,
        "day": pd.date_range("2020-01-15", periods=20, freq="30D"),
        "odd_name": [True] * 11 + [False] * 9,
    },
    geometry=gpd.points_from_xy([-60] * 12 + [60] * 8, np.linspace(-40, 40, 20)),
    crs=4326,
)
STYLE = "#l { marker-width: 20; marker-line-width: 0; marker-fill: #00f; [side = 'west'] { marker-fill: #f00; } }"
BBOX = (-150, -60, 150, 60)


@pytest.fixture
def table(credentials):
    return FRAME.carto.to_table("points", credentials)


@pytest.fixture
def opened(chromium, table, tmp_path):
    """Return a function that opens the page of a map with widgets."""
    pages = []

    def open_map(*widgets, layers=None, **keywords):
        layers = [cfl.Layer("points", STYLE)] if layers is None else layers
        shown = cfl.Map(layers, table.credentials, basemap=None, bbox=BBOX, widgets=widgets, **keywords)
        path = shown.save(tmp_path / "map.html")
        assert table.credentials.api_key not in path.read_text()
        manager = browser.page(chromium, 800, 500)
        page = manager.__enter__()
        pages.append(manager)
        page.goto(path.as_uri())
        page.wait_for_selector("#widgets.drawn")
        return page

    yield open_map
    for manager in pages:
        manager.__exit__(None, None, None)


def settle(page, script, expected):
    """Wait until a script returns a value."""
    page.wait_for_function(
        f"(wanted) => JSON.stringify({script}) === wanted",
        arg=json.dumps(expected, separators=(",", ":")),
        timeout=15_000,
    )


def categories(number=0):
    """Return a script for the labels and values of categories."""
    return f"""[...[...document.querySelectorAll('.categories')][{number}].querySelectorAll('li button')]
        .map(button => [...button.children].map(part => part.textContent))"""


def bars():
    """Return a script for the counts of the bars of the histogram."""
    return "[...document.querySelectorAll('.bins i')].map(bar => Number(bar.title.split(': ').at(-1)))"


ROWS = "document.querySelector('.formula .body').textContent"


def drawn_colors(page):
    """Return whether anything on the map is red, and whether anything is blue."""
    page.wait_for_function("""[...document.querySelectorAll('.leaflet-tile')].every(tile =>
        tile.classList.contains('leaflet-tile-loaded') && getComputedStyle(tile).opacity === '1')""")
    pixels = np.asarray(Image.open(io.BytesIO(page.locator("#map").screenshot())).convert("RGB")).astype(int)
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    return bool(((red > 200) & (green < 60) & (blue < 60)).any()), bool(
        ((blue > 200) & (green < 60) & (red < 60)).any()
    )


def drag(page, first, last):
    """Drag over a histogram, from one fraction of its width to another."""
    box = page.locator(".bins").bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * first, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * last, y, steps=3)
    page.mouse.up()


def test_selected_categories_filter_map_and_widgets(opened):
    page = opened(cfl.Formula(), cfl.Histogram("n", bins=19), cfl.Categories("side"))
    settle(page, categories(), [["west", "12"], ["east", "7"]])
    settle(page, bars(), [1] * 19)
    settle(page, ROWS, "20")
    assert drawn_colors(page) == (True, True)
    assert page.locator(".categories .note").inner_text() == "1 without a value"
    page.get_by_role("button", name="west").click()
    settle(page, ROWS, "12")
    settle(page, bars(), [1] * 12 + [0] * 7)
    settle(page, categories(), [["west", "12"], ["east", "7"]])  # its own filter does not apply
    assert drawn_colors(page) == (True, False)
    page.get_by_role("button", name="Reset the filter of side").click()
    settle(page, ROWS, "20")
    assert drawn_colors(page) == (True, True)


def test_histograms_select_exactly_the_bins(opened):
    page = opened(cfl.Formula("max", "n"), cfl.Formula(), cfl.Histogram("n", bins=9), cfl.Categories("side"))
    settle(page, bars(), [2] * 8 + [3])  # 0 to 18 in bins of 2
    drag(page, 0.7, 0.99)
    rows = "document.querySelectorAll('.formula .body')[1].textContent"
    settle(page, rows, "7")  # 12 to 18
    settle(page, categories(), [["east", "7"]])
    assert drawn_colors(page) == (False, True)
    page.keyboard.press("Escape")
    settle(page, rows, "20")
    page.locator(".bins").focus()
    page.keyboard.press("ArrowRight")
    settle(page, ROWS, "1")  # the largest n: not 2, the upper edge
    page.keyboard.press("Shift+ArrowRight")
    settle(page, ROWS, "3")
    assert page.locator(".range").inner_text() == "0 to 4"


def test_histograms_of_dates_filter_by_time(opened):
    page = opened(cfl.Formula(), cfl.Histogram("day", bins=2, title="When"))
    settle(page, bars(), [10, 10])
    assert page.locator(".histogram h2").inner_text() == "When"
    assert page.locator(".axis span").first.inner_text() == "Jan 2020"
    drag(page, 0.1, 0.2)
    settle(page, ROWS, "10")
    assert drawn_colors(page) == (True, False)


def test_widgets_follow_the_visible_part(opened):
    page = opened(cfl.Formula(), cfl.Categories("side", operation="sum", value="value"), cfl.Histogram("n", bins=19))
    settle(page, ROWS, "20")
    page.evaluate("map.setView([23, 60], 3, {animate: false})")
    settle(page, categories(), [["east", "17.5"]])
    settle(page, f"{bars()}.length", 19)
    page.evaluate("map.setView([0, 150], 8, {animate: false})")
    settle(page, ROWS, "0")
    settle(page, categories(), [])
    assert page.locator(".categories .note").inner_text() == "No rows here"


def test_names_and_values_that_need_quotes(opened, table):
    FRAME.assign(side=["it's $escape_0$ <b>"] * 10 + ["", "b"] * 5).carto.to_table(
        "points", table.credentials, if_exists="replace"
    )
    query = cfl.Layer('SELECT *, odd_name AS "Odd Name" FROM points -- all', STYLE)
    page = opened(cfl.Formula(), cfl.Categories("Odd Name"), cfl.Categories("side", limit=2), layers=[query])
    settle(page, categories(), [["true", "11"], ["false", "9"]])
    settle(page, categories(1), [["it's $escape_0$ <b>", "10"], ["(empty)", "5"], ["Other", "5"]])
    page.get_by_role("button", name="true").click()
    page.get_by_role("button", name="(empty)").click()
    settle(page, ROWS, "1")
    page.get_by_role("button", name="escape_0").click()
    settle(page, ROWS, "11")


def test_widgets_of_one_layer_leave_the_others(opened):
    other = cfl.Layer("SELECT * FROM points WHERE side = 'east'", STYLE)
    west = cfl.Layer("SELECT * FROM points WHERE side = 'west'", STYLE)
    page = opened(cfl.Formula(layer=0), cfl.Histogram("n", bins=12, layer=0), layers=[west, other])
    settle(page, ROWS, "12")
    drag(page, 0.01, 0.02)
    settle(page, ROWS, "1")
    assert drawn_colors(page) == (True, True)


def test_widgets_filter_aggregated_points(opened):
    layer = cfl.Layer("points", aggregation="grid", cmap=["#ff0000"], opacity=1)
    page = opened(cfl.Formula(), cfl.Categories("side"), layers=[layer])
    settle(page, ROWS, "20")
    marker = page.locator(".legend li i").first.bounding_box()
    assert marker["width"] == marker["height"] > 0
    page.add_style_tag(content=".leaflet-control { display: none; }")
    page.get_by_role("button", name="east").click()
    settle(page, ROWS, "7")
    assert drawn_colors(page) == (True, False)
    page.get_by_role("button", name="east").click()
    settle(page, ROWS, "20")


def test_public_maps_have_widgets_without_a_token(opened, table):
    table.privacy = "public"
    page = opened(cfl.Categories("side"))
    settle(page, categories(), [["west", "12"], ["east", "7"]])
    assert cfl.NamedMap.list(table.credentials) == []


def test_dataviews_of_widgets_can_be_read(table):
    shown = cfl.Map("points", table.credentials, widgets=cfl.Categories("side"))
    assert shown.dataview("widget_0")["value"].to_list() == [12, 7, 1]


@pytest.mark.parametrize(
    ("create", "message"),
    [
        (lambda: cfl.Histogram("n", bins=1), "bins must be a whole number from 2 to 100, not 1"),
        (lambda: cfl.Categories("side", operation="median"), "operation must be one of 'count'.* not 'median'"),
        (lambda: cfl.Categories("side", operation="sum"), "needs a numeric column: pass value="),
        (lambda: cfl.Categories("side", value="n"), "counts rows: value='n' has no effect"),
        (lambda: cfl.Formula("avg"), "pass column="),
        (lambda: cfl.Formula(layer=-1), "index of a layer"),
    ],
    ids=["bins", "operation", "value", "count", "column", "layer"],
)
def test_invalid_widgets_are_refused(create, message):
    with pytest.raises(ValueError, match=message):
        create()


def test_widgets_that_a_map_lacks_columns_for(table):
    with pytest.raises(ValueError, match="the map has layers 0 to 0"):
        cfl.Map("points", table.credentials, widgets=[cfl.Formula(layer=1)])
    with pytest.raises(TypeError, match="must be a Histogram, Categories or Formula, not 'n'"):
        cfl.Map("points", table.credentials, widgets=["n"])
    for widget, message in (
        (cfl.Histogram("nn"), "no column 'nn'. Did you mean 'n'"),
        (cfl.Histogram("side"), r"of type text, not a number or a date: use Categories\('side'\)"),
        (cfl.Formula("sum", "side"), "not a number"),
        (cfl.Categories("the_geom"), "column 'the_geom' is a geometry"),
        (cfl.Categories("side", operation="avg", value="day"), "column 'day' is of type timestamp"),
    ):
        with pytest.raises(ValueError, match=message):
            cfl.Map("points", table.credentials, widgets=[widget])
