"""Maps, layers and overlays."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.local.catalog.catalog_client import Call, change, make_dataset, make_map

POINTS = "SELECT ST_SetSRID(ST_MakePoint(i, 2 * i), 4326) AS the_geom FROM generate_series(0, 20, 20) i"


@pytest.fixture
def a_map(call: Call) -> Any:
    make_dataset(call, "t", POINTS)
    return make_map(call, "m", "t")


def layers_of(call: Call, visualization: Any) -> Any:
    return call("GET", f"/api/v1/maps/{visualization['map_id']}/layers").json["layers"]


def test_map_shows_all_rows_of_its_first_table(call: Call, a_map: Any) -> None:
    shown = call("GET", f"/api/v1/maps/{a_map['map_id']}").json
    assert call("GET", f"/api/v2/maps/{a_map['map_id']}").json == shown
    assert set(shown) == {
        "bounding_box_ne",
        "bounding_box_sw",
        "center",
        "options",
        "id",
        "provider",
        "user_id",
        "view_bounds_ne",
        "view_bounds_sw",
        "zoom",
        "legends",
        "scrollwheel",
    }
    assert (shown["center"], shown["zoom"]) == ("[20.0,10.0]", 3)
    assert (shown["view_bounds_sw"], shown["view_bounds_ne"]) == ("[0, 0]", "[40, 20]")
    assert (shown["bounding_box_sw"], shown["bounding_box_ne"]) == ("[-85.0511, -179]", "[85.0511, 179]")
    assert (shown["provider"], shown["legends"], shown["scrollwheel"]) == ("leaflet", True, True)
    options = {"dashboard_menu": True, "layer_selector": False, "legends": True, "scrollwheel": True}
    assert shown["options"] == options


def test_map_without_geometry_has_the_default_view(call: Call) -> None:
    dataset = make_dataset(call, "empty")
    shown = call("GET", f"/api/v1/maps/{dataset['map_id']}").json
    assert (shown["center"], shown["zoom"], shown["view_bounds_ne"]) == ("[30, 0]", 3, "[85.0511, 179]")


def test_map_settings_are_changed(call: Call, a_map: Any) -> None:
    path = f"/api/v1/maps/{a_map['map_id']}"
    changes = {"center": [1, 2], "zoom": 7, "scrollwheel": False, "view_bounds_ne": "[3, 4]", "user_id": "ignored"}
    changed = call("PUT", path, changes).json
    assert (changed["center"], changed["zoom"], changed["scrollwheel"]) == ("[1, 2]", 7, False)
    assert call("GET", path).json == changed


@pytest.mark.parametrize(
    "changes", [{"options": {"nonsense": True}}, {"options": {"legends": True}}, {"zoom": "x"}, {"center": "here"}]
)
def test_invalid_map_settings_are_refused(call: Call, a_map: Any, changes: Any) -> None:
    refused = call("PUT", f"/api/v1/maps/{a_map['map_id']}", changes)
    assert (refused.status, refused.json["errors_cause"]) == (422, None)


def test_default_layers_of_a_map_and_a_dataset(call: Call, a_map: Any) -> None:
    for one in (a_map, call("GET", "/api/v1/viz/t").json):
        base, data, labels = layers_of(call, one)
        assert [layer["kind"] for layer in (base, data, labels)] == ["tiled", "carto", "tiled"]
        assert [layer["order"] for layer in (base, data, labels)] == [0, 1, 2]
        assert set(data) == {"options", "kind", "infowindow", "tooltip", "id", "order"}
        assert (data["options"]["table_name"], data["options"]["user_name"]) == ("t", "tester")
        assert "marker-fill: #EE4D5A;" in data["options"]["tile_style"]
        assert layers_of(call, one) == [base, data, labels]  # their ids do not change
    assert call("GET", "/api/v1/viz/t", with_dependent_visualizations="9").json["dependent_visualizations_count"] == 1


@pytest.mark.parametrize(
    ("geometry", "style"),
    [("LINESTRING(0 0,1 1)", "line-color: #4CC8A3;"), ("POLYGON((0 0,1 1,1 0,0 0))", "::outline")],
)
def test_style_follows_the_geometry(call: Call, geometry: str, style: str) -> None:
    dataset = make_dataset(call, "t", f"SELECT 'SRID=4326;{geometry}'::geometry AS the_geom")
    assert style in layers_of(call, dataset)[1]["options"]["tile_style"]


def test_layers_are_added_changed_and_deleted(call: Call, a_map: Any) -> None:
    make_dataset(call, "u")
    path = f"/api/v1/maps/{a_map['map_id']}/layers"
    added = call("POST", path, {"kind": "carto", "options": {"table_name": "u", "style_version": "2.1.1"}}).json
    assert (added["order"], added["options"]["table_name"]) == (3, "u")
    tables = call("GET", f"/api/v1/viz/{a_map['id']}").json["related_tables"]
    assert {table["name"] for table in tables} == {"t", "u"}
    options = {"table_name": "t", "tile_style": "#l {}", "user_name": "eve"}
    changed = call("PUT", f"{path}/{added['id']}", {"options": options, "order": 1}).json
    assert (changed["options"], changed["order"]) == ({"table_name": "u", "tile_style": "#l {}"}, 1)
    assert call("GET", f"{path}/{added['id']}").json == changed
    both = [{"id": layer["id"], "options": layer["options"], "order": 9} for layer in layers_of(call, a_map)[:2]]
    assert [layer["order"] for layer in call("PUT", path, {"layers": both}).json["layers"]] == [9, 9]
    assert call("PUT", f"{path}/{added['id']}", {"order": False}).json["order"] == 0
    assert call("PUT", path, {"layers": both[:1]}).json["id"] == both[0]["id"]
    assert call("DELETE", f"{path}/{added['id']}").status == 204
    assert call("GET", path).json["total_entries"] == 3


def test_layer_of_a_private_table_makes_the_map_private(call: Call) -> None:
    make_dataset(call, "t", privacy="public"), make_dataset(call, "u")
    a_map = make_map(call, "m", "t")
    assert a_map["privacy"] == "PUBLIC"
    call("POST", f"/api/v1/maps/{a_map['map_id']}/layers", {"kind": "carto", "options": {"table_name": "u"}})
    assert call("GET", f"/api/v1/viz/{a_map['id']}").json["privacy"] == "PRIVATE"


def test_messages_about_maps_and_layers(call: Call, a_map: Any) -> None:
    path = f"/api/v1/maps/{a_map['map_id']}/layers"
    unknown = str(uuid.uuid4())
    for method, url, body, status, message in (
        ("GET", f"/api/v1/maps/{unknown}", None, 404, "Map not found"),
        ("GET", f"/api/v1/maps/{unknown}/layers", None, 404, "Map not found"),
        ("GET", "/api/v1/maps/m/layers", None, 400, "Parameter not UUID format. Parameter: map_id. Value: m"),
        ("GET", f"{path}/{unknown}", None, 404, "Layer not found"),
        ("PUT", f"{path}/{unknown}", {"options": {}}, 404, "Layer not found"),
        ("DELETE", f"{path}/{unknown}", None, 404, "Layer not found"),
        ("PUT", path, {}, 404, "Layer not found"),
        ("POST", path, {"kind": "nonsense"}, 422, "Kind is not included in the list"),
        (
            "POST",
            path,
            {"kind": "carto", "options": {"table_name": "none"}},
            403,
            "You do not have permission in the layer you are trying to add",
        ),
    ):
        refused = call(method, url, body)
        assert (refused.status, refused.json) == (status, {"errors": message, "errors_cause": None})
        assert call(method, url, body, key=None).status == 401


def test_dataset_has_one_data_layer(call: Call) -> None:
    dataset = make_dataset(call, "t")
    layer = {"kind": "carto", "options": {"table_name": "t"}}
    refused = call("POST", f"/api/v1/maps/{dataset['map_id']}/layers", layer)
    assert (refused.status, refused.json["errors"]) == (422, "Cannot add more layers of this type")


def test_overlays(call: Call, a_map: Any) -> None:
    path = f"/api/v1/viz/{a_map['id']}/overlays"
    overlays = call("GET", path).json
    assert [overlay["type"] for overlay in overlays] == ["share", "search", "zoom", "loader", "logo"]
    assert set(overlays[0]) == {"id", "order", "type", "template", "options", "visualization_id"}
    assert call("GET", path).json == overlays
    assert call("GET", path, key=None).status == 401
    assert call("GET", "/api/v1/viz/m/overlays").status == 400
    assert call("GET", f"/api/v1/viz/{make_map(call, 'empty')['id']}/overlays").json == []


def test_changed_name_of_a_dataset_is_that_of_its_layer(call: Call, a_map: Any) -> None:
    change(call, call("GET", "/api/v1/viz/t").json, name="u")
    assert layers_of(call, a_map)[1]["options"]["table_name"] == "u"
