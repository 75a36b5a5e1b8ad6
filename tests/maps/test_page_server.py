"""How a map page reaches its server: directly, through jupyter-server-proxy, or not at all."""

from __future__ import annotations

from urllib.parse import urlsplit

import geopandas as gpd
import pytest
from shapely.geometry import box

from tests.maps import browser

SQUARES = gpd.GeoDataFrame({"n": [1, 100]}, geometry=[box(-90, -45, 0, 45), box(0, -45, 90, 45)], crs=4326)
NOTEBOOK = '<script id="jupyter-config-data" type="application/json">{"baseUrl": "/user/ann/"}</script>'


@pytest.fixture
def cell(credentials):
    """Return the HTML of a map in a notebook."""
    return SQUARES.carto.to_table("squares", credentials).map(color_by="n")._repr_html_()


def serve(page, url, html):
    """Let a page be the response to a URL."""
    page.route(url, lambda route: route.fulfill(body=html, content_type="text/html"))


def record_requests(page, server):
    """Refuse the server's own address, as on another machine; return the requested URLs."""
    requested = []

    def refuse(route):
        requested.append(route.request.url)
        route.abort()

    page.route(f"{server}/**", refuse)
    return requested


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_notebooks_on_other_machines_use_the_proxy(chromium, scheme, cell, carto):
    server = "{0.scheme}://{0.netloc}".format(urlsplit(str(carto.base_url)))
    hub = f"{scheme}://hub.test"
    proxied = f"{hub}/user/ann/proxy/{urlsplit(server).port}"
    with browser.page(chromium, 800, 440) as page:
        direct = record_requests(page, server)
        serve(page, f"{hub}/user/ann/lab", f"{NOTEBOOK}<body>{cell}</body>")

        def forward(route):
            route.fulfill(response=route.fetch(url=route.request.url.replace(proxied, server)))

        page.route(f"{proxied}/**", forward)
        page.goto(f"{hub}/user/ann/lab")
        frame = page.frame_locator("iframe")
        frame.locator("body.drawn").wait_for(timeout=20_000)
        assert not frame.locator("#notice").is_visible()
        page.mouse.click(350, 210)
        frame.locator(".leaflet-popup-content td").first.wait_for()
        # Browsers ask for permission if a page of another site requests the loopback interface.
        assert bool(direct) is (scheme == "http")


def test_pages_of_other_sites_show_the_picture(chromium, cell, carto):
    server = "{0.scheme}://{0.netloc}".format(urlsplit(str(carto.base_url)))
    with browser.page(chromium, 800, 440) as page:
        direct = record_requests(page, server)
        serve(page, "https://docs.test/", f"<body>{cell}</body>")
        page.goto("https://docs.test/")
        frame = page.frame_locator("iframe")
        frame.locator("body.static #picture").wait_for()
        assert frame.locator("#notice").inner_text() == "Picture of the map"
        assert frame.locator(".legend li").count() > 0
        assert direct == []


def test_picture_and_legend_remain_without_iframes(chromium, cell):
    start, _, rest = cell.partition("<iframe")
    html = start + rest.partition("</iframe>")[2]
    with browser.page(chromium, 800, 440) as page:
        page.set_content(f"<body style='margin: 0'>{html}</body>")
        assert page.locator("img").first.evaluate("image => image.naturalWidth") == 800
        assert "100" in page.locator("body").inner_text()
        assert page.locator("img").last.evaluate("image => image.naturalWidth") == 1
        page.evaluate("document.querySelectorAll('[style]').forEach(element => element.removeAttribute('style'))")
        assert page.get_by_text("100").is_visible()


def test_stopped_servers_leave_drawn_maps(chromium, credentials, tmp_path):
    dataset = SQUARES.carto.to_table("squares", credentials)
    dataset.privacy = "public"
    with browser.page(chromium, 800, 440) as page:
        page.goto(dataset.map().save(tmp_path / "map.html").as_uri())
        page.wait_for_selector("body.drawn")
        page.route("**/api/v1/map**", lambda route: route.abort())
        page.evaluate("server.open()")
        page.wait_for_selector("#notice:visible")
        assert page.locator("#notice").inner_text() == "The server of this map does not respond."
        assert page.locator(".leaflet-tile-loaded").count() > 0
