"""Published maps: their pages in a browser, and the named maps that they use."""

from __future__ import annotations

import geopandas as gpd
import pytest
import requests
from shapely.geometry import box

import cartoframes_lite as cfl
from tests.maps import browser

SQUARES = gpd.GeoDataFrame({"n": [1, 100]}, geometry=[box(-90, -45, 0, 45), box(0, -45, 90, 45)], crs=4326)


@pytest.fixture
def squares(credentials):
    return SQUARES.carto.to_table("squares", credentials)


def named_maps(credentials):
    return [named.name for named in cfl.NamedMap.list(credentials)]


def test_published_maps_are_drawn_without_key(chromium, squares):
    url = squares.map(color_by="n", title="Squares").publish("squares page")
    html = requests.get(url, timeout=10).text
    assert squares.credentials.api_key not in html
    with browser.page(chromium) as page:
        page.goto(url)
        page.wait_for_selector("body.drawn", timeout=20_000)
        page.mouse.click(150, 150)
        page.wait_for_selector(".leaflet-popup-content td >> text=1")
        assert page.title() == "Squares"


def test_publishing_again_replaces_page_and_named_map(squares):
    url = squares.map(title="First").publish("page")
    [first] = named_maps(squares.credentials)
    assert first.startswith("cfl_published_")
    squares.map().publish("other page")
    assert squares.map(title="Second").publish("page") == url
    assert "Second" in requests.get(url, timeout=10).text
    assert first not in named_maps(squares.credentials)
    assert len(named_maps(squares.credentials)) == 2
    assert [page.name for page in cfl.list_publications(squares.credentials)] == ["other page", "page"]
    squares.privacy = "public"
    squares.map().publish("page")
    assert len(named_maps(squares.credentials)) == 1


def test_published_maps_can_have_a_password(squares):
    url = squares.map(title="Secret squares").publish("secret", password="open sesame")
    assert "Secret squares" not in requests.get(url, timeout=10).text
    [page] = cfl.list_publications(squares.credentials)
    assert page.privacy == "password"


INVALID = [{"name": ""}, {"privacy": "private"}, {"privacy": "password"}, {"privacy": "public", "password": "a"}]


@pytest.mark.parametrize("wrong", INVALID, ids=str)
def test_invalid_publications_leave_nothing_behind(wrong, squares):
    arguments = {"name": "page", **wrong}
    with pytest.raises(ValueError, match=r"name|privacy|password"):
        squares.map().publish(**arguments)
    assert named_maps(squares.credentials) == []
    assert cfl.list_publications(squares.credentials) == []


def test_publishing_needs_the_master_key(squares):
    key = cfl.Client(squares.credentials).api_keys.create("reader", tables={"squares": "r"}).token
    reader = cfl.Credentials("tester", key, base_url=squares.credentials.base_url)
    with pytest.raises(cfl.PermissionDenied):
        cfl.Dataset("squares", reader).map().publish("page")
    assert cfl.list_publications(squares.credentials) == []
