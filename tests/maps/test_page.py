"""Map pages in a real browser, and the output in notebooks."""

from __future__ import annotations

import base64
import io
from importlib.metadata import distribution
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import requests
from PIL import Image
from shapely.geometry import box
from xyzservices import TileProvider

import cartoframes_lite as cfl
from cartoframes_lite.maps import token_maps
from cartoframes_lite.maps.page.viewport import Viewport
from tests.maps import browser

PNG = b"\x89PNG"
SQUARES = gpd.GeoDataFrame(
    {"name": ["west", "east <b>&</b> more"], "n": [1, 100]},
    geometry=[box(-90, -45, 0, 45), box(0, -45, 90, 45)],
    crs=4326,
)
WEST, EAST = (150, 150), (250, 150)  # pixels of the page of 400 x 300


@pytest.fixture
def squares(credentials):
    return SQUARES.carto.to_table("squares", credentials)


@pytest.fixture
def key(credentials):
    return credentials.api_key


def open_page(page, path):
    """Open a page and wait for its tiles."""
    page.goto(path.as_uri())
    page.wait_for_selector("body.drawn", timeout=20_000)
    page.wait_for_function("""[...document.querySelectorAll('.leaflet-tile')].every(tile =>
        tile.classList.contains('leaflet-tile-loaded') && getComputedStyle(tile).opacity === '1')""")  # tiles fade in


def pixel(page, x, y):
    """Return red, green and blue of a pixel of the page."""
    return np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(int)[y, x]


def popup(page):
    page.wait_for_selector(".leaflet-popup-content td")
    # In one call: the previous popup may be closing.
    rows = page.locator(".leaflet-popup-content tr")
    return dict(rows.evaluate_all("rows => rows.map(row => [...row.cells].map(cell => cell.innerText))"))


def test_saved_map_in_a_browser(chromium, squares, key, tmp_path):
    saved = squares.map(color_by="name").save(tmp_path / "map.html")
    assert key not in saved.read_text()
    with browser.page(chromium) as page:
        open_page(page, saved)
        assert page.refused == []
        assert page.title() == "squares"
        assert page.locator(".legend span").all_inner_texts() == ["east <b>&</b> more", "west"]
        assert "CARTO" in page.locator(".leaflet-control-attribution").inner_text()
        assert not page.locator("#notice").is_visible()
        # 90 degrees are 181 pixels at the zoom at which both squares fit; what they cover is not of the basemap.
        west, east = pixel(page, 30, 150), pixel(page, 370, 150)
        assert np.abs(west - east).sum() > 50
        assert (pixel(page, 190, 150) == west).all()
        assert (pixel(page, 210, 150) == east).all()
        assert np.abs(pixel(page, 10, 150) - west).sum() > 50
        page.mouse.click(*WEST)
        assert popup(page) == {"name": "west", "n": "1"}
        page.keyboard.press("Escape")
        page.mouse.click(*EAST)
        page.wait_for_selector("text=east <b>&</b> more >> nth=1")  # as text, the first one is in the legend
        assert popup(page)["n"] == "100"


def test_pages_without_server_show_picture_and_legend(chromium, squares, tmp_path):
    saved = squares.map(color_by="name").save(tmp_path / "map.html")
    [name] = [named.name for named in cfl.NamedMap.list(squares.credentials)]
    assert name.startswith("cfl_saved_")
    cfl.NamedMap(name, squares.credentials).delete()
    with browser.page(chromium) as page:
        page.goto(saved.as_uri())
        page.wait_for_selector("body.static")
        assert page.locator("#notice").inner_text() == "Picture of the map"
        assert page.locator("#picture").is_visible()
        assert page.locator(".legend span").all_inner_texts() == ["east <b>&</b> more", "west"]
        assert not page.locator(".leaflet-control-zoom").is_visible()
        (red, _, blue), (also_red, _, also_blue) = pixel(page, 130, 130), pixel(page, 270, 130)
        assert red > blue + 50
        assert also_blue > also_red + 50


def test_saved_page_instantiates_the_map_again(chromium, squares, carto, tmp_path):
    squares.privacy = "public"
    saved = squares.map().save(tmp_path / "map.html")
    assert cfl.NamedMap.list(squares.credentials) == []  # everybody may see the table
    config = requests.get(f"{carto.base_url}/api/v1/map", timeout=10)
    assert config.status_code == 400  # a layergroup is only known after it was asked for
    with browser.page(chromium) as page:
        open_page(page, saved)
        page.mouse.click(*WEST)
        assert popup(page)["name"] == "west"


def test_notebook_output_has_page_image_and_no_key(chromium, squares, key, tmp_path):
    shown = squares.map(color_by="n")
    bundle = shown._repr_mimebundle_()
    assert key not in str(bundle)
    assert base64.b64decode(bundle["image/png"]).startswith(PNG)
    assert shown._repr_html_().startswith("<div")
    cell = tmp_path / "cell.html"
    cell.write_text(f"<body>{bundle['text/html']}</body>")
    with browser.page(chromium, 800, 440) as page:
        page.goto(cell.as_uri())
        frame = page.frame_locator("iframe")
        frame.locator("body.drawn").wait_for(timeout=20_000)
        assert frame.locator(".legend h2").inner_text() == "n"
        page.mouse.click(350, 210)
        frame.locator(".leaflet-popup-content td").first.wait_for()
        assert frame.locator(".leaflet-popup-content td").all_inner_texts() == ["west", "1"]


def test_notebook_output_without_iframe_shows_the_image(squares):
    html = squares.map()._repr_html_()
    before, _, _ = html.partition("<iframe")
    assert "<img" in before
    assert "data:image/png;base64," in before


def test_temporary_named_maps_are_deleted_at_exit(squares):
    for _ in range(2):  # the same map twice, as when a cell is run again
        squares.map()._repr_html_()
    [named] = cfl.NamedMap.list(squares.credentials)
    assert named.name.startswith("cfl_shown_")
    named.delete()
    squares.map()._repr_html_()
    [named] = cfl.NamedMap.list(squares.credentials)
    with pytest.raises(cfl.PermissionDenied):
        named.instantiate().layergroup_id  # noqa: B018  # the property raises: only the token opens it
    token_maps.delete_shown()
    assert cfl.NamedMap.list(squares.credentials) == []


def test_stale_temporary_named_maps_are_deleted(squares):
    layers = {"version": "1.8.0", "layers": [{"type": "plain", "options": {"color": "red"}}]}
    for name in ("cfl_shown_20200101_abc", "cfl_saved_20200101_abc"):
        cfl.NamedMap.create({"version": "0.0.1", "name": name, "layergroup": layers}, squares.credentials)
    token_maps.delete_shown()
    squares.map()._repr_html_()
    names = {named.name for named in cfl.NamedMap.list(squares.credentials)}
    assert "cfl_shown_20200101_abc" not in names
    assert "cfl_saved_20200101_abc" in names


def test_regular_keys_show_images_of_private_data(squares, credentials):
    client = cfl.Client(credentials)
    regular = client.api_keys.create("reader", tables={"squares": "r"})
    account = cfl.Credentials("tester", regular.token, base_url=credentials.base_url)
    shown = cfl.Dataset("squares", account).map()
    html = shown._repr_html_()
    assert regular.token not in html
    assert "<iframe" not in html
    assert "data:image/png" in html
    with pytest.raises(cfl.PermissionDenied):
        shown.save("never.html")
    assert not Path("never.html").exists()


def test_failed_saves_leave_no_named_map_or_file(squares, tmp_path):
    wrong = cfl.AnonymousMap(cfl.Layer("SELECT * FROM nothing", "#l { line-width: 1; }"), squares.credentials)
    for shown, path, error in (
        (squares.map(), tmp_path / "nowhere" / "map.html", FileNotFoundError),
        (wrong, tmp_path / "map.html", cfl.NotFound),
    ):
        with pytest.raises(error):
            shown.save(path)
    with pytest.raises(cfl.NotFound):
        wrong._repr_mimebundle_()
    assert cfl.NamedMap.list(squares.credentials) == []
    assert list(tmp_path.iterdir()) == []


def test_placeholder_marks_in_queries_show_a_static_image(squares, tmp_path):
    layer = cfl.Layer("SELECT *, '<%= n %>' AS mark FROM squares")
    shown = cfl.AnonymousMap(layer, squares.credentials)
    bundle = shown._repr_mimebundle_()
    assert "<iframe" not in bundle["text/html"]
    assert "&lt;%" in bundle["text/html"]
    assert base64.b64decode(bundle["image/png"]).startswith(PNG)
    with pytest.raises(ValueError, match="<%"):
        shown.save(tmp_path / "map.html")


def test_popup_shows_objects_as_json(chromium, squares, tmp_path):
    query = "SELECT *, jsonb_build_object('a', jsonb_build_array(n)) AS many, NULL AS none FROM squares"
    shown = cfl.AnonymousMap(cfl.Layer(query, interactivity=["many", "none"]), squares.credentials)
    with browser.page(chromium) as page:
        open_page(page, shown.save(tmp_path / "map.html"))
        page.mouse.click(*WEST)
        assert popup(page) == {"many": '{"a":[1]}', "none": "\u2013"}


VALUES = """SELECT cartodb_id, the_geom_webmercator, name AS z, date '2024-05-06' AS seen, time '10:11:12' AS at,
    timestamptz '2024-05-06 07:08:09Z' AS stamp, jsonb_build_object('a', jsonb_build_array(n)) AS many,
    NULL::date AS never, n::numeric(5, 1) AS b, ARRAY[n] AS listed, n > 1 AS "A" FROM squares -- the end"""
SHOWN = ["z", "seen", "at", "stamp", "many", "never", "b", "listed", "A"]


@pytest.mark.parametrize("kind", ["private", "public", "named"])
def test_popup_shows_all_types_in_column_order(chromium, kind, squares, tmp_path):
    if kind == "public":
        squares.privacy = "public"
    shown = cfl.AnonymousMap(cfl.Layer(VALUES, interactivity=SHOWN), squares.credentials)
    if kind == "named":
        template = {"version": "0.0.1", "name": "one", "layergroup": shown._source.instantiation.body}
        shown = cfl.NamedMap.create(template, squares.credentials).instantiate()
    with browser.page(chromium) as page:
        open_page(page, shown.save(tmp_path / "map.html"))
        page.mouse.click(*WEST)
        found = popup(page)
    assert list(found) == SHOWN
    assert found == {
        "z": "west",
        "seen": "2024-05-06",
        "at": "10:11:12",
        "stamp": "2024-05-06 07:08:09",
        "many": '{"a":[1]}',
        "never": "\u2013",
        "b": "1",
        "listed": "[1]",
        "A": "false",
    }


def test_popup_without_attributes_shows_the_utfgrid_values(chromium, squares, tmp_path):
    options = {"sql": "SELECT *, NULL AS none FROM squares", "interactivity": "n, name,none,cartodb_id"}
    options |= {"cartocss": "#l { polygon-fill: red; }", "cartocss_version": "2.3.0"}
    shown = cfl.AnonymousMap([{"type": "cartodb", "options": options}], squares.credentials)
    with browser.page(chromium) as page:
        open_page(page, shown.save(tmp_path / "map.html"))
        page.mouse.click(*WEST)
        assert list(popup(page).items()) == [("n", "1"), ("name", "west"), ("none", "\u2013")]


def test_popup_marks_values_that_cannot_be_loaded(chromium, squares, tmp_path):
    twice = "SELECT 1 AS cartodb_id, the_geom_webmercator, n, NULL::date AS day FROM squares"
    shown = cfl.AnonymousMap(cfl.Layer(twice, interactivity=["n", "day"]), squares.credentials)
    with browser.page(chromium) as page:
        open_page(page, shown.save(tmp_path / "map.html"))
        page.mouse.click(*WEST)  # two rows of this number, with different attributes
        assert popup(page)["day"] == "?"


def test_named_maps_start_with_the_template_view(squares, credentials):
    options = {"sql": "SELECT * FROM squares", "cartocss": "#l { polygon-fill: red; }", "cartocss_version": "2.3.0"}
    template = {
        "version": "0.0.1",
        "name": "one",
        "layergroup": {"version": "1.7.0", "layers": [{"type": "cartodb", "options": options}]},
        "view": {"zoom": 3, "center": {"lng": 10, "lat": 20}},
    }
    named = cfl.NamedMap.create(template, credentials)
    assert "&quot;center&quot;: [20, 10], &quot;zoom&quot;: 3" in named.instantiate()._repr_html_()
    named.update(view={"zoom": 1, "bounds": {"west": -20, "south": -10, "east": 20, "north": 10}})
    assert "&quot;center&quot;: [0.0, 0.0], &quot;zoom&quot;: 4" in named.instantiate()._repr_html_()
    shown = named.instantiate()
    shown.bbox = (100, 40, 110, 50)
    assert "&quot;center&quot;: [45." in shown._repr_html_()


def test_data_cannot_end_the_script_element(chromium, credentials, tmp_path):
    evil = "</script><script>document.title = 'broken'</script>"
    frame = SQUARES.assign(name=[evil, "x"])
    saved = frame.carto.to_table("evil", credentials).map(color_by="name").save(tmp_path / "map.html")
    with browser.page(chromium) as page:
        open_page(page, saved)
        assert page.title() == "evil"
        assert evil in page.locator(".legend span").all_text_contents()


def test_basemap_tiles_are_requested(chromium, squares, tmp_path):
    basemap = TileProvider(
        name="B", url="http://127.0.0.1:9/{s}/{z}/{x}/{y}{r}.png", attribution="B makers", max_zoom=9
    )
    saved = squares.map(basemap=basemap).save(tmp_path / "map.html")
    with browser.page(chromium) as page:
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(saved.as_uri())
        page.wait_for_selector("body.drawn")
        assert "B makers" in page.locator(".leaflet-control-attribution").inner_text()
        assert any(url.startswith("http://127.0.0.1:9/a/") for url in asked)


@pytest.mark.parametrize(
    ("bbox", "zoom"),
    [((-180, -85, 180, 85), 0), ((-90, -45, 0, 45), 2), ((1, 1, 1, 1), 17), ((-180, -90, 180, 90), 0)],
)
def test_viewport_contains_the_bbox(bbox, zoom):
    view = Viewport.around(bbox)
    assert view.zoom == zoom
    assert view.center[0] == (bbox[0] + bbox[2]) / 2
    assert bbox[1] - 1e-9 <= view.center[1] <= bbox[3] + 1e-9


def test_leaflet_is_installed():
    assert distribution("XStatic-Leaflet").locate_file("xstatic/pkg/leaflet/data/leaflet.js").is_file()


NEEDS_A_TOKEN = TileProvider(name="B", url="http://b/{z}/{x}/{y}?{key}", attribution="B", key="<insert your key>")


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"basemap": "drak"}, ValueError, "did you mean 'dark'"),
        ({"basemap": "CartoDB.Positron"}, ValueError, "did you mean 'light'"),
        ({"basemap": "OpenTopoMap"}, ValueError, "did you mean xyzservices.providers.OpenTopoMap"),
        ({"basemap": 5}, TypeError, "basemap must be 'light', 'dark', 'osm', None or"),
        ({"basemap": NEEDS_A_TOKEN}, ValueError, "needs an access token"),
        ({"bbox": (0, 0, 1)}, ValueError, "bbox must be"),
        ({"title": 5}, TypeError, "title must be a str, not int 5"),
    ],
)
def test_invalid_map_arguments_raise_before_requests(keywords, error, message):
    nobody = cfl.Credentials("tester", base_url="http://127.0.0.1:9/user/tester")
    with pytest.raises(error, match=message):
        cfl.Map("squares", nobody, **keywords)


@pytest.mark.parametrize(("layers", "error"), [([], ValueError), (5, TypeError), ([None], TypeError), ({}, ValueError)])
def test_invalid_layers_raise_before_requests(layers, error):
    nobody = cfl.Credentials("tester", base_url="http://127.0.0.1:9/user/tester")
    with pytest.raises(error, match="layer"):
        cfl.Map(layers, nobody)


def test_attributions_show_text_and_links_only(chromium, squares, tmp_path):
    evil = "<img src=x onerror='document.body.dataset.broken = 1'>by <a href='https://b.test/' onclick='x()'>B</a>"
    evil += " <a href='javascript:x()'>C</a><script>document.body.dataset.broken = 1</script>"
    basemap = TileProvider(
        name="B", url="http://127.0.0.1:9/{z}/{x}/{y}.png", attribution="B", html_attribution=evil, max_zoom=9
    )
    with browser.page(chromium) as page:
        page.goto(squares.map(basemap=basemap).save(tmp_path / "map.html").as_uri())
        page.wait_for_selector("body.drawn")
        attribution = page.locator(".leaflet-control-attribution")
        assert "by B C" in attribution.inner_text()
        script = "links => links.map(link => [link.textContent, link.href, link.onclick])"
        links = attribution.locator("a").evaluate_all(script)
        assert ["B", "https://b.test/", None] in links
        assert "C" not in {text for text, _, _ in links}
        assert page.evaluate("document.body.dataset.broken") is None
