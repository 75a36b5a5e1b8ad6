"""Maps that the embedded server draws."""

from __future__ import annotations

import geopandas as gpd
import pytest
import requests
from shapely.geometry import box

import cartoframes_lite as cfl

SQUARES = gpd.GeoDataFrame(
    {"name": ["west", "east"], "n": [1, 100]}, geometry=[box(-90, -45, 0, 45), box(0, -45, 90, 45)], crs=4326
)
POINTS = gpd.GeoDataFrame({"n": [1, 4, 9]}, geometry=gpd.points_from_xy([0, 10, 20], [0, 0, 0]), crs=4326)
PNG, JPEG = b"\x89PNG", b"\xff\xd8\xff"


@pytest.fixture
def squares(credentials):
    return SQUARES.carto.to_table("squares", credentials)


def fetch(url, z=0, x=0, y=0):
    return requests.get(url.format(z=z, x=x, y=y), timeout=10)


def test_a_dataset_with_its_own_style(squares, credentials):
    shown = cfl.AnonymousMap(cfl.Layer(squares, interactivity=["name"]), credentials)
    assert fetch(shown.tile_url()).content.startswith(PNG)
    assert fetch(shown.tile_url(0, "mvt")).headers["content-type"].startswith("application/x-protobuf")
    assert fetch(shown.tile_url(retina=True)).content != fetch(shown.tile_url()).content
    assert shown.attributes(0, 1) == {"name": "west"}
    assert shown.static_image(100, 50, bbox=(-90, -45, 90, 45), format="jpg").startswith(JPEG)
    with pytest.raises(cfl.NotFound):
        shown.attributes(0, 99)


def test_the_key_is_needed_for_private_tables(squares, credentials):
    url = cfl.AnonymousMap(cfl.Layer("squares"), credentials).tile_url()
    assert fetch(url.partition("?")[0]).status_code == 403
    anonymous = cfl.Credentials("tester", base_url=credentials.base_url)
    layer = {"type": "cartodb", "options": {"sql": "SELECT * FROM squares"}}
    with pytest.raises(cfl.PermissionDenied):
        cfl.AnonymousMap([layer], anonymous).layergroup_id  # noqa: B018  # the property raises
    squares.privacy = "public"
    assert fetch(cfl.AnonymousMap([layer], anonymous).tile_url(format="mvt")).status_code == 200


def test_classes_of_numbers_and_categories(squares, credentials):
    shown = cfl.AnonymousMap(cfl.Layer("squares", color_by="n"), credentials)
    assert shown.static_image(64, 64, center=(0, 0), zoom=0).startswith(PNG)
    assert [item.label for item in shown.legend] == ["1 to 100"]
    shown = cfl.AnonymousMap(cfl.Layer("SELECT * FROM squares", color_by="name"), credentials)
    assert fetch(shown.tile_url()).status_code == 200
    assert {item.label for item in shown.legend} == {"west", "east"}


def test_sizes_are_for_points(squares, credentials):
    POINTS.carto.to_table("points", credentials)
    shown = cfl.AnonymousMap(cfl.Layer("points", size_by="n"), credentials)
    assert fetch(shown.tile_url()).content.startswith(PNG)
    with pytest.raises(ValueError, match="size_by is for points"):
        cfl.AnonymousMap(cfl.Layer("squares", size_by="n"), credentials).layergroup_id  # noqa: B018  # raises


def test_dataviews(squares, credentials):
    config = {
        "layers": [{"id": "squares", "type": "cartodb", "options": {"sql": "SELECT * FROM squares"}}],
        "dataviews": {
            "count": {"type": "formula", "source": {"id": "a"}, "options": {"column": "n", "operation": "sum"}},
            "names": {
                "type": "aggregation",
                "source": {"id": "a"},
                "options": {"column": "name", "aggregation": "count"},
            },
        },
        "analyses": [{"id": "a", "type": "source", "params": {"query": "SELECT * FROM squares"}}],
    }
    shown = cfl.AnonymousMap(config, credentials)
    assert shown.dataview("count") == 101
    assert shown.dataview("count", bbox=(-80, -40, -10, 40)) == 1
    names = shown.dataview("names")
    assert dict(zip(names["category"], names["value"], strict=True)) == {"west": 1, "east": 1}


def test_named_maps(squares, credentials):
    template = {
        "version": "0.0.1",
        "name": "one",
        "auth": {"method": "token", "valid_tokens": ["open sesame"]},
        "placeholders": {"least": {"type": "number", "default": 0}},
        "layergroup": {
            "version": "1.7.0",
            "layers": [
                {
                    "type": "cartodb",
                    "options": {
                        "sql": "SELECT * FROM squares WHERE n >= <%= least %>",
                        "cartocss": "#layer { polygon-fill: #f00; }",
                        "cartocss_version": "2.3.0",
                    },
                }
            ],
        },
    }
    named = cfl.NamedMap.create(template, credentials)
    assert [found.name for found in cfl.NamedMap.list(credentials)] == ["one"]
    shown = named.instantiate({"least": 50}, auth_token="open sesame")
    assert fetch(shown.tile_url()).content.startswith(PNG)
    assert fetch(shown.tile_url().partition("?")[0]).status_code == 403
    with pytest.raises(cfl.PermissionDenied):
        named.instantiate().layergroup_id  # noqa: B018  # the property raises
    named.update(auth={"method": "open"})
    assert named.instantiate().static_image(32, 32, bbox=(-90, -45, 90, 45)).startswith(PNG)
    with pytest.raises(cfl.SQLError, match="already exists"):
        cfl.NamedMap.create(template, credentials)
    named.delete()
    with pytest.raises(cfl.NotFound):
        cfl.NamedMap.get("one", credentials)


def test_errors_say_which_layer(squares, credentials):
    options = {"sql": "SELECT * FROM squares", "cartocss": "#layer { polygon-fil: #f00; }", "cartocss_version": "2.3.0"}
    layer = {"id": "mine", "type": "cartodb", "options": options}
    with pytest.raises(cfl.SQLError, match="polygon-fil") as caught:
        cfl.AnonymousMap([layer], credentials).layergroup_id  # noqa: B018  # the property raises
    assert caught.value.contexts[0]["layer"]["id"] == "mine"
