"""The home page in a browser; ``test_home.py`` tests its routes."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

import geopandas as gpd
import pandas as pd
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

import cartoframes_lite as cfl
from cartoframes_lite.local import LocalCarto
from tests.http_servers import FileServer
from tests.maps import browser

HOSTILE = "<img src=x onerror=hacked=1>"
MARKER = (228, 87, 46)  # of STYLES in map.js


@pytest.fixture
def page(chromium: Browser, carto: LocalCarto) -> Iterator[Page]:
    """Open a page; fail on errors of scripts, a missing basemap, and violations of the Content-Security-Policy."""
    with browser.page(chromium, 1200, 900) as opened:
        problems: list[str] = []
        opened.on("pageerror", lambda error: problems.append(str(error)))
        shown = re.compile("Content.Security.Policy|basemap", re.IGNORECASE)
        opened.on("console", lambda message: problems.append(message.text) if shown.search(message.text) else None)
        yield opened
        assert problems == []
        assert opened.refused == []  # type: ignore[attr-defined]  # set by browser.page


@pytest.fixture
def places(credentials: cfl.Credentials) -> cfl.Dataset:
    """Return a private dataset of three points."""
    frame = gpd.GeoDataFrame(
        {"place": ["A", "B", "C"]}, geometry=gpd.points_from_xy([0, 10, 20], [0, 10, 0]), crs="EPSG:4326"
    )
    cfl.to_carto(frame, "places", credentials)
    return cfl.Dataset("places", credentials)


def open_home(page: Page, carto: LocalCarto, path: str = "", *, with_key: bool = True) -> None:
    page.goto(carto.base_url + path)
    if with_key:
        page.get_by_role("button", name="Enter API key").click()
        page.get_by_role("textbox", name="API key").fill(str(carto.credentials.api_key))
        page.keyboard.press("Enter")
        expect(page.get_by_text("master key", exact=True)).to_be_visible()


def tables(page: Page) -> Locator:
    return page.get_by_role("region", name="Tables")


def run_sql(page: Page, query: str) -> None:
    page.get_by_role("textbox", name="SQL").fill(query)
    page.keyboard.press("Control+Enter")


def count_marker_pixels(shown: Locator) -> int:
    picture = Image.open(io.BytesIO(shown.screenshot())).convert("RGB")
    pixels = list(picture.get_flattened_data())
    return sum(max(abs(one - other) for one, other in zip(pixel, MARKER, strict=True)) < 40 for pixel in pixels)


def test_private_tables_need_a_key(
    page: Page, carto: LocalCarto, places: cfl.Dataset, credentials: cfl.Credentials
) -> None:
    cfl.to_carto(pd.DataFrame({"n": [1, 2]}), "open", credentials, privacy="public")
    open_home(page, carto, with_key=False)
    row = tables(page).get_by_role("row", name="open")
    expect(row).to_contain_text("public")
    expect(row.get_by_role("cell").nth(2)).to_have_text("2")
    expect(tables(page).get_by_role("link")).to_have_text(["open"])
    expect(page.get_by_text("Visible with the master key.")).to_be_visible()
    open_home(page, carto)
    expect(tables(page).get_by_role("link")).to_have_text(["open", "places"])
    expect(tables(page).get_by_role("row", name="places")).to_contain_text(re.compile("private.*3.*kB.*Point"))
    page.reload()
    expect(tables(page).get_by_role("link")).to_have_text(["open", "places"])
    page.get_by_role("button", name="Forget API key").click()
    expect(tables(page).get_by_role("link")).to_have_text(["open"])


def test_wrong_keys_are_refused(page: Page, carto: LocalCarto) -> None:
    page.goto(carto.base_url)
    page.get_by_role("button", name="Enter API key").click()
    page.get_by_role("textbox", name="API key").fill("wröng")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog").get_by_role("alert")).to_have_text("The account has no such API key.")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.get_by_text("public data only")).to_be_visible()


def test_keys_that_became_invalid_are_forgotten(page: Page, carto: LocalCarto) -> None:
    keys = cfl.Client(carto.credentials).api_keys
    page.goto(carto.base_url)
    page.get_by_role("button", name="Enter API key").click()
    page.get_by_role("textbox", name="API key").fill(str(keys.create("reader").token))
    page.keyboard.press("Enter")
    expect(page.get_by_text("regular key")).to_be_visible()
    keys.delete("reader")
    page.reload()
    expect(page.get_by_text("public data only")).to_be_visible()


def test_sql_is_run_by_keyboard(page: Page, carto: LocalCarto, places: cfl.Dataset) -> None:
    page.goto(carto.base_url)
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to content")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Enter API key")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("textbox", name="API key")).to_be_focused()
    page.keyboard.type(str(carto.credentials.api_key))
    page.keyboard.press("Enter")
    expect(page.get_by_text("master key", exact=True)).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("textbox", name="SQL")).to_be_focused()
    page.keyboard.type("SELECT place, 1.5 AS n FROM places ORDER BY 1;")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".console").get_by_role("status")).to_have_text(re.compile(r"3 rows, \d+ ms"))
    result = page.get_by_role("region", name="Rows")
    expect(result.get_by_role("row")).to_have_text(["placen", "A1.5", "B1.5", "C1.5"])
    page.keyboard.press("Tab")
    expect(result).to_be_focused()


def test_errors_of_sql_are_announced(page: Page, carto: LocalCarto) -> None:
    open_home(page, carto, with_key=False)
    for query, message in (("SELEC 1", "syntax error"), ("SELECT * FROM nope", 'relation "nope" does not exist')):
        run_sql(page, query)
        expect(page.locator(".console").get_by_role("alert")).to_contain_text(message)
    run_sql(page, "SELECT 1 AS n")
    expect(page.locator(".console").get_by_role("alert")).to_be_empty()
    expect(page.get_by_role("region", name="Rows").get_by_role("row")).to_have_text(["n", "1"])


def test_statements_change_the_list_of_tables(page: Page, carto: LocalCarto) -> None:
    open_home(page, carto)
    expect(page.get_by_text("No tables yet.")).to_be_visible()
    run_sql(page, "CREATE TABLE made AS SELECT generate_series(1, 3) AS n")
    expect(page.locator(".console").get_by_role("status")).to_contain_text("Done, 3 rows affected")
    expect(tables(page).get_by_role("link")).to_have_text(["made"])


def test_long_results_have_pages(page: Page, carto: LocalCarto) -> None:
    open_home(page, carto, with_key=False)
    run_sql(page, "SELECT generate_series(1, 150) AS n")
    expect(page.get_by_role("region", name="Rows").get_by_role("row")).to_have_count(101)
    page.get_by_role("button", name="Next rows").click()
    expect(page.locator(".console").get_by_role("status")).to_contain_text("Rows 101 to 150")
    expect(page.get_by_role("region", name="Rows").get_by_role("row").last).to_have_text("150")
    expect(page.get_by_role("button", name="Next rows")).to_have_count(0)
    page.get_by_role("button", name="Previous rows").click()
    expect(page.locator(".console").get_by_role("status")).to_contain_text("Rows 1 to 100")


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM places",
        "SELECT place, the_geom FROM places -- a comment",
        'SELECT ST_SetSRID(the_geom, 0) AS "my geometry" FROM places',
    ],
)
def test_map_of_a_query_is_drawn(page: Page, carto: LocalCarto, places: cfl.Dataset, query: str) -> None:
    open_home(page, carto)
    run_sql(page, query)
    shown = page.get_by_role("region", name="Map", exact=True)
    expect(shown.locator(".leaflet-tile-loaded").first).to_be_visible()
    expect(shown.locator(".leaflet-tile:not(.leaflet-tile-loaded)")).to_have_count(0)
    expect(shown.locator(".leaflet-labels-pane canvas")).to_be_attached()  # drawn after the lines of the basemap
    while page.locator(".leaflet-tile").evaluate_all("tiles => tiles.some((tile) => tile.style.opacity < 1)"):
        pass  # Leaflet fades tiles in
    assert count_marker_pixels(shown) > 60


def test_many_points_are_drawn_and_can_be_clicked(page: Page, carto: LocalCarto) -> None:
    cfl.execute(
        "CREATE TABLE many AS SELECT 'point ' || n AS name,"
        " ST_SetSRID(ST_MakePoint(n % 300 / 10.0, n / 3000.0), 4326) AS the_geom FROM generate_series(1, 60000) n",
        credentials=carto.credentials,
    )
    cfl.execute("SELECT CDB_CartodbfyTable('many')", credentials=carto.credentials)
    open_home(page, carto, "/tables/many")
    shown = page.get_by_role("region", name="Map", exact=True)
    expect(shown.locator(".leaflet-tile-loaded").first).to_be_visible()
    expect(shown.locator(".leaflet-tile:not(.leaflet-tile-loaded)")).to_have_count(0)
    shown.click()
    expect(page.locator(".leaflet-popup")).to_contain_text(re.compile(r"namepoint \d+"))


def test_world_is_shown_once(page: Page, carto: LocalCarto, credentials: cfl.Credentials) -> None:
    frame = gpd.GeoDataFrame({"n": [1, 2]}, geometry=gpd.points_from_xy([-170, 170], [-60, 60]), crs=4326)
    cfl.to_carto(frame, "ends", credentials)
    open_home(page, carto, "/tables/ends")
    expect(page.locator(".leaflet-tile-loaded").first).to_be_visible()
    expect(page.locator(".leaflet-tile:not(.leaflet-tile-loaded)")).to_have_count(0)
    shown = page.get_by_role("region", name="Map", exact=True).bounding_box()
    assert shown is not None
    boxes = [one.bounding_box() for one in page.locator(".leaflet-tile").all()]
    assert len({round(box["x"]) for box in boxes if box}) * 256 < shown["width"]


def test_click_on_the_map_shows_attributes(page: Page, carto: LocalCarto, places: cfl.Dataset) -> None:
    open_home(page, carto)
    run_sql(page, "SELECT * FROM places WHERE place = 'B'")
    expect(page.locator(".leaflet-tile-loaded").first).to_be_visible()
    page.get_by_role("region", name="Map", exact=True).click()  # at its center, where the only point is
    expect(page.locator(".leaflet-popup")).to_contain_text("placeB")


def test_page_of_a_dataset(page: Page, carto: LocalCarto, places: cfl.Dataset) -> None:
    places.update(description="Three places", tags=["x", "y"])
    cfl.Client(carto.credentials).visualizations.create_map(["places"], name="A map")
    url = str(places.info().url)
    assert url.startswith(carto.base_url)
    page.goto(url)
    expect(page.get_by_text("enter an API key that can read it")).to_be_visible()
    expect(page.get_by_role("region", name="Rows")).to_have_count(0)
    open_home(page, carto, url.removeprefix(carto.base_url))
    expect(page.get_by_role("heading", level=1)).to_have_text("places")
    expect(page.locator(".heading")).to_contain_text("private 3 rows")
    expect(page.get_by_text("Three places")).to_be_visible()
    columns = page.get_by_role("region", name="Columns")
    expect(columns.get_by_role("row")).to_have_count(5)
    expect(columns.get_by_role("row", name="place")).to_contain_text("text")
    expect(page.get_by_role("region", name="Rows").get_by_role("row").nth(1)).to_have_text("1Point 0 0A")
    expect(page.get_by_role("region", name="About")).to_contain_text("x, y")
    expect(page.locator(".leaflet-tile-loaded").first).to_be_visible()
    page.get_by_role("link", name="A map").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("A map")
    page.get_by_role("link", name="Home").click()
    expect(tables(page).get_by_role("link")).to_have_text(["places"])


@pytest.mark.parametrize("privacy", ["private", "link", "public"])
def test_page_of_a_map(page: Page, carto: LocalCarto, places: cfl.Dataset, privacy: Any) -> None:
    entry = cfl.Client(carto.credentials).visualizations.create_map(["places"], name=HOSTILE, privacy=privacy)
    open_home(page, carto, str(entry.url).removeprefix(carto.base_url))
    expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
    expect(page.locator(".leaflet-tile-loaded").first).to_be_visible()
    expect(page.get_by_role("region", name="About").get_by_role("link")).to_have_text("places")


def test_page_of_a_named_map(page: Page, carto: LocalCarto, places: cfl.Dataset) -> None:
    options = {
        "sql": "SELECT * FROM places",
        "cartocss": "#l { marker-width: <%= size %>; }",
        "cartocss_version": "2.3.0",
    }
    template = {
        "version": "0.0.1",
        "name": "sized",
        "auth": {"method": "token", "valid_tokens": ["the token"]},
        "placeholders": {"size": {"type": "number", "default": 9}},
        "layergroup": {"version": "1.3.0", "layers": [{"type": "cartodb", "options": options}]},
    }
    cfl.NamedMap.create(template, carto.credentials)
    open_home(page, carto)
    page.get_by_role("region", name="Maps").get_by_role("link", name="sized").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("sized")
    expect(page.get_by_role("region", name="About")).to_contain_text("Placeholderssize")
    expect(page.locator(".leaflet-tile-loaded").first).to_be_visible()


def test_regular_keys_show_what_they_can_read(page: Page, carto: LocalCarto, places: cfl.Dataset) -> None:
    key = cfl.Client(carto.credentials).api_keys.create("reader", tables={"places": "r"})
    cfl.to_carto(pd.DataFrame({"n": [1]}), "other", carto.credentials)
    page.goto(carto.base_url)
    page.get_by_role("button", name="Enter API key").click()
    page.get_by_role("textbox", name="API key").fill(str(key.token))
    page.keyboard.press("Enter")
    expect(page.get_by_text("regular key")).to_be_visible()
    expect(tables(page).get_by_role("link")).to_have_text(["places"])
    tables(page).get_by_role("link").click()
    expect(page.get_by_role("region", name="Rows").get_by_role("row")).to_have_count(4)
    expect(page.locator(".leaflet-tile-loaded").first).to_be_visible()


def test_long_lists_are_complete(page: Page, carto: LocalCarto) -> None:
    for name in ("a", "b", "c", "d", "e"):
        cfl.to_carto(pd.DataFrame({"n": [1]}), name, carto.credentials)
    page.route("**/api/v1/viz?*", lambda route: route.continue_(url=route.request.url.replace("=500", "=2")))
    open_home(page, carto)
    expect(tables(page).get_by_role("link")).to_have_text(["a", "b", "c", "d", "e"])
    expect(tables(page).get_by_text("private")).to_have_count(5)
    tables(page).get_by_role("searchbox").fill("C")
    expect(tables(page).get_by_role("link")).to_have_text(["c"])


def test_errors_of_lists_are_shown(page: Page, carto: LocalCarto) -> None:
    page.route("**/api/v1/viz?types=table*", lambda route: route.fulfill(status=503, json={"errors": "no connection"}))
    open_home(page, carto, with_key=False)
    expect(tables(page)).to_contain_text("no connection")
    expect(page.get_by_text("No public maps.")).to_be_visible()


def test_unknown_maps_are_named(page: Page, carto: LocalCarto) -> None:
    open_home(page, carto, "/viz/00000000-0000-4000-8000-000000000000/map", with_key=False)
    expect(page.locator("main").get_by_role("alert")).to_contain_text("Visualization does not exist")


def test_names_and_values_with_html_are_shown_as_text(page: Page, carto: LocalCarto) -> None:
    credentials = carto.credentials
    quoted = '"' + HOSTILE + '"'
    cfl.execute(f"CREATE TABLE {quoted} AS SELECT '{HOSTILE}' AS {quoted}", credentials=credentials)
    client = cfl.Client(credentials)
    client.publications.create("<html></html>", name=HOSTILE)
    client.batch.create(f"SELECT '{HOSTILE}'").wait(progress=False)
    open_home(page, carto)
    expect(tables(page).get_by_role("link")).to_have_text([HOSTILE])
    expect(page.get_by_role("region", name="Published pages").get_by_role("link")).to_have_text([HOSTILE])
    expect(page.get_by_role("region", name=re.compile("Jobs")).locator("code")).to_have_text(f"SELECT '{HOSTILE}'")
    run_sql(page, f"SELECT * FROM {quoted}")
    expect(page.get_by_role("region", name="Rows").get_by_role("row")).to_have_text([HOSTILE, HOSTILE])
    run_sql(page, f"SELECT {quoted}")
    expect(page.locator(".console").get_by_role("alert")).to_contain_text(HOSTILE)
    tables(page).get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
    expect(page.get_by_role("region", name="Rows").get_by_role("row")).to_have_text([HOSTILE, HOSTILE])
    assert page.evaluate("typeof hacked") == "undefined"
    assert page.locator("img[onerror]").count() == 0


@pytest.mark.parametrize("name", ["a/b", "tables/viz", "100%", "a?b#c", 'ä \' "x"', "%2F"])
def test_names_with_special_characters_have_pages(page: Page, carto: LocalCarto, name: str) -> None:
    quoted = name.replace('"', '""')
    cfl.execute(f'CREATE TABLE "{quoted}" AS SELECT 7 AS n', credentials=carto.credentials)
    open_home(page, carto)
    tables(page).get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    expect(page.get_by_role("region", name="Rows").get_by_role("row").last).to_have_text("7")


def test_malformed_paths_are_pages(page: Page, carto: LocalCarto) -> None:
    open_home(page, carto, "/tables/%ff", with_key=False)
    expect(page.locator("main").get_by_role("alert")).not_to_be_empty()


def test_key_is_sent_in_headers_only(page: Page, carto: LocalCarto, places: cfl.Dataset) -> None:
    urls: list[str] = []
    page.on("request", lambda request: urls.append(request.url))
    open_home(page, carto)
    run_sql(page, "SELECT * FROM places")
    expect(page.locator(".leaflet-tile-loaded").first).to_be_visible()
    key = str(carto.credentials.api_key)
    assert len(urls) > 10
    assert not [url for url in urls if key in url]
    assert key not in page.content()
    assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]


def test_published_pages_cannot_read_the_key(page: Page, carto: LocalCarto) -> None:
    script = "try { document.title = JSON.stringify(sessionStorage); } catch (error) { document.title = error.name; }"
    published = cfl.Client(carto.credentials).publications.create(f"<html><script>{script}</script></html>", name="p")
    open_home(page, carto)
    expect(page.get_by_role("region", name="Published pages").get_by_role("link")).to_have_attribute(
        "href", published.url
    )
    page.goto(published.url)
    expect(page).to_have_title("SecurityError")


def test_running_jobs_are_shown_and_cancelled(page: Page, carto: LocalCarto) -> None:
    job = cfl.Client(carto.credentials).batch.create("SELECT pg_sleep(600)")
    open_home(page, carto)
    jobs = page.get_by_role("region", name=re.compile("Jobs"))
    expect(jobs).to_contain_text(re.compile("SELECT pg_sleep.*running"))
    jobs.get_by_role("button", name="Cancel").click()
    expect(jobs).to_contain_text("cancelled")
    assert job.refresh().status == "cancelled"


def test_imports_and_synchronizations_are_shown(page: Page, carto: LocalCarto, file_server: FileServer) -> None:
    prices = file_server.put("/prices.csv", b"a,b\n1,2\n")
    cfl.Dataset.from_url(prices, carto.credentials, sync_interval_s=3600)
    begin = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\na,b\n"
    cfl.Dataset.from_url(file_server.hang("/slow.csv", begin), carto.credentials, wait=False)
    open_home(page, carto)
    running = page.get_by_role("region", name=re.compile("Jobs")).get_by_role("listitem")
    expect(running).to_have_text(
        [re.compile("^Import .*slow"), re.compile("^Synchronization prices.*success.*every hour")]
    )
    file_server.released.set()
    expect(running).to_have_count(1)  # the page refreshes itself


@pytest.mark.parametrize("path", ["/", "/tables/places", "/u/tester", "/u/tester/dataset/places", "/user/tester/"])
def test_other_forms_of_urls_show_the_same_pages(page: Page, carto: LocalCarto, places: cfl.Dataset, path: str) -> None:
    places.privacy = "public"
    page.goto(carto.base_url.partition("/user/")[0] + path)
    expect(page.get_by_role("heading", level=1)).to_have_text("places" if "places" in path else "Home")
    expect(page.get_by_text("private")).to_have_count(0)
    expect(page.locator(".badge", has_text="public")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colors_follow_the_preference_of_the_user(
    page: Page, carto: LocalCarto, places: cfl.Dataset, scheme: Any
) -> None:
    page.emulate_media(color_scheme=scheme)
    open_home(page, carto, "/tables/places")
    expect(page.locator(".leaflet-basemap-pane canvas")).to_be_attached()
    for shown in (
        page.locator("textarea"),
        page.get_by_role("region", name="Rows"),
        page.locator(".leaflet-control-zoom"),
    ):
        colors = Image.open(io.BytesIO(shown.screenshot())).convert("L").getcolors()
        assert colors is not None
        assert (max(colors)[1] > 128) is (scheme == "light")


@pytest.mark.parametrize("path", ["", "/tables/places"])
def test_narrow_pages_do_not_scroll_sideways(
    chromium: Browser, carto: LocalCarto, places: cfl.Dataset, path: str
) -> None:
    credentials = carto.credentials
    cfl.Client(credentials).visualizations.create_map(["places"], name="long" * 30)
    cfl.Client(credentials).batch.create(f"SELECT {'1' * 200}, pg_sleep(60)")
    places.rename("long" * 15)
    path = path.replace("places", "long" * 15)
    with browser.page(chromium, 400, 800) as page:
        open_home(page, carto, path)
        if not path:
            run_sql(page, f"SELECT *, repeat('wide ', 50) AS wide FROM {'long' * 15}")
        expect(page.locator(".leaflet-tile-loaded").first).to_be_visible()
        assert page.evaluate("document.scrollingElement.scrollWidth") == 400
