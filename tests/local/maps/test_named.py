from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests

import cartoframes_lite.local
from cartoframes_lite.local import LocalCarto
from cartoframes_lite.local.maps.errors import MapError
from cartoframes_lite.local.maps.templates import Template, is_authorized
from cartoframes_lite.local.maps.viewports import mercator, viewport_of_bbox, viewport_of_center
from tests.local.maps.maps_client import TOWNS, Call, mapnik, refusal, size_of
from tests.local.maps.vector_tiles import read_tile
from tests.local.sql_client import SQLClient

NAMED = "/api/v1/map/named"
STYLED = {"cartocss": "#l { marker-fill: <%= color %>; }", "cartocss_version": "2.3.0"}


@pytest.fixture(autouse=True)
def towns(sql: SQLClient) -> None:
    sql.run(TOWNS)


def template(name: str = "towns", **members: Any) -> dict[str, Any]:
    query = "SELECT * FROM towns WHERE people >= <%= least %> AND name <> '<%=other%>'"
    return {
        "version": "0.0.1",
        "name": name,
        "auth": {"method": "open"},
        "placeholders": {
            "least": {"type": "number", "default": 0},
            "other": {"type": "sql_literal", "default": ""},
            "color": {"type": "css_color", "default": "red"},
        },
        "layergroup": {"version": "1.8.0", "layers": [mapnik(query, **STYLED)]},
        **members,
    }


def instance(call: Call, parameters: object = None, **options: Any) -> str:
    response = call("POST", f"{NAMED}/towns", {} if parameters is None else parameters, **options)
    assert response.status == 200, response.body
    return f"/api/v1/map/{response.json['layergroupid']}"


def count(call: Call, path: str, **options: Any) -> int:
    response = call("GET", f"{path}/0/0/0.mvt", **options)
    return len(read_tile(response.body)["layer0"]) if response.status == 200 else -response.status


def test_create_read_update_delete_templates(call: Call) -> None:
    assert call("POST", NAMED, template()).json == {"template_id": "towns"}
    assert refusal(call("POST", NAMED, template())) == (400, "Template 'towns' of user 'tester' already exists")
    changed = template(view={"zoom": 1})
    assert call("PUT", f"{NAMED}/towns", changed).json == {"template_id": "towns"}
    assert call("GET", f"{NAMED}/tester@towns").json == {"template": changed}
    assert call("GET", NAMED).json == {"template_ids": ["towns"]}
    assert call("DELETE", f"{NAMED}/towns").status == 204
    assert call("GET", NAMED).json == {"template_ids": []}


def test_a_slash_at_the_end_changes_nothing(call: Call) -> None:
    assert call("POST", f"{NAMED}/", template()).json == {"template_id": "towns"}
    assert call("GET", f"{NAMED}/").json == {"template_ids": ["towns"]}
    assert call("GET", f"{NAMED}/towns/").json == {"template": template()}
    token = call("POST", f"{NAMED}/towns/", {}).json["layergroupid"]
    assert call("GET", f"/api/v1/map/{token}/0/0/0.mvt/").status == 200
    group = {"version": "1.8.0", "layers": [mapnik("SELECT * FROM towns")]}
    assert call("POST", "/api/v1/map/", group).json["layergroupid"]


def test_reset_deletes_templates(carto: LocalCarto, call: Call) -> None:
    call("POST", NAMED, template())
    carto.reset()
    assert call("GET", NAMED).json == {"template_ids": []}


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"version": "2"}, "Unsupported template version 2"),
        ({"layergroup": {"layers": []}}, "Missing or empty layers array from layergroup config"),
        ({"layergroup": {"layers": [{}]}}, "Missing `options` in layergroup config for layers: 0"),
        ({"placeholders": {"1": {}}}, "Invalid characters in placeholder name '1'"),
        ({"placeholders": {"a": {"type": "number"}}}, "Missing default for placeholder 'a'"),
        ({"placeholders": {"a": {"default": 1}}}, "Missing type for placeholder 'a'"),
        ({"auth": {"method": "token", "valid_tokens": []}}, "Invalid 'token' authentication: no valid_tokens"),
        ({"auth": {"method": "none"}}, "Unsupported authentication method: none"),
    ],
)
def test_template_validation_messages(call: Call, members: dict[str, Any], message: str) -> None:
    assert refusal(call("POST", NAMED, template(**members))) == (400, message)


def test_instances_run_as_the_owner(call: Call) -> None:
    call("POST", NAMED, template())
    path = instance(call, key=None)
    assert count(call, path, key=None) == 3
    assert call("GET", f"{path}/0/0/0.png", key=None).status == 200


def test_placeholders_are_replaced(call: Call) -> None:
    call("POST", NAMED, template())
    assert count(call, instance(call, {"least": 15})) == 2
    assert count(call, instance(call, {"other": "West"})) == 2
    assert count(call, instance(call, {"other": "' OR true OR name='"})) == 3
    refused = call("POST", f"{NAMED}/towns", {"least": "0; DROP TABLE towns"})
    message = "Invalid number value for template parameter 'least': 0; DROP TABLE towns"
    assert refusal(refused) == (400, message)


def test_tokens_authorize_instances_and_tiles(call: Call) -> None:
    call("POST", NAMED, template(auth={"method": "token", "valid_tokens": ["a"]}))
    path = instance(call, key=None, auth_token="a")
    assert count(call, path, key=None, auth_token="a") == 3
    assert count(call, path, key=None) == -403
    assert count(call, path, key=None, auth_token="b") == -403
    assert count(call, path) == 3  # the master key


def test_anonymous_maps_cannot_pose_as_instances(call: Call) -> None:
    config = {"layers": [mapnik("SELECT 1 AS a, NULL::geometry AS the_geom_webmercator")]}
    config["template"] = {"name": "x", "auth": {"method": "open"}}  # type: ignore[assignment]  # a member of CARTO's own
    identity = call("POST", "/api/v1/map", config, key=None).json["layergroupid"]
    response = call("GET", f"/api/v1/map/tester@abcdef@{identity}/0/0/0.mvt", key=None)
    assert refusal(response) == (403, "Sorry, you are unauthorized (permission denied)")


def test_map_signature_of_another_user_is_rejected(call: Call) -> None:
    status, message = refusal(call("GET", "/api/v1/map/other@abc@def:0/0/0/0.mvt", key=None))
    assert (status, message) == (403, 'Cannot use map signature of user "other" on db of user "tester"')


def test_tiles_and_images_of_a_template(call: Call) -> None:
    view = {"zoom": 0, "center": {"lng": 10, "lat": 60}, "preview_layers": {"layer0": False}}
    call("POST", NAMED, template(view=view))
    tile = call("GET", f"{NAMED}/towns/all/0/0/0.mvt", key=None)
    assert len(read_tile(tile.body)["layer0"]) == 3
    for query in ({}, {"zoom": "2", "lon": "1", "lat": "2"}, {"bbox": "-10,-10,10,10"}, {"layer": "0"}):
        picture = call("GET", "/api/v1/map/static/named/towns/120/80.png", key=None, **query)
        assert size_of(picture.body) == (120, 80)


def test_static_image_of_a_template_with_parameters(call: Call) -> None:
    call("POST", NAMED, template(view={"zoom": 0, "center": {"lng": 10, "lat": 60}}))
    path = "/api/v1/map/static/named/towns/120/80.png"
    assert call("GET", path).body != call("GET", path, config='{"least": 1000000000}').body
    assert refusal(call("GET", path, config="{")) == (400, "Invalid config parameter, should be a valid JSON")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("0/100.png", "Invalid size of a picture: 0x100, both from 1 to 8192"),
        ("9000/100.png", "Invalid size of a picture: 9000x100, both from 1 to 8192"),
        ("100/100.gif", 'Unsupported image format "gif"'),
    ],
)
def test_invalid_static_images_are_rejected(call: Call, path: str, message: str) -> None:
    call("POST", NAMED, template())
    assert refusal(call("GET", f"/api/v1/map/static/named/towns/{path}")) == (400, message)
    token = instance(call).removeprefix("/api/v1/map/")
    assert refusal(call("GET", f"/api/v1/map/static/center/{token}/1/0/0/{path}")) == (400, message)


def test_static_image_of_a_bbox(call: Call) -> None:
    call("POST", NAMED, template())
    token = instance(call).removeprefix("/api/v1/map/")
    response = call("GET", f"/api/v1/map/static/bbox/{token}/-10,40,5,45/300/200.jpg")
    assert (response.status, response.body[:3]) == (200, b"\xff\xd8\xff")


def test_placeholder_values_are_not_expanded_again() -> None:
    content = template(placeholders={name: {"type": "sql_literal", "default": ""} for name in ("a", "b")})
    content["layergroup"]["layers"][0]["options"] = {"sql": "<%= a %>"}
    filled = Template(content).instance({"a": "<%= b %>", "b": "x"})
    assert filled["layers"][0]["options"]["sql"] == "<%= b %>"


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("number", 1.5, "1.5"),
        ("number", "-1e3", "-1e3"),
        ("number", "nan", None),
        ("number", "1\n", None),
        ("css_color", "#a0f", "#a0f"),
        ("css_color", "red; x", None),
        ("sql_ident", 'a"b', 'a""b'),
        ("sql_literal", "it's", "it''s"),
        ("other", "x", None),
    ],
)
def test_placeholder_types(kind: str, value: object, text: str | None) -> None:
    content = template(placeholders={"a": {"type": kind, "default": value}})
    content["layergroup"]["layers"][0]["options"] = {"sql": "<%= a %>"}
    if text is None:
        with pytest.raises(MapError, match="Invalid"):
            Template(content).instance({})
    else:
        assert Template(content).instance({})["layers"][0]["options"]["sql"] == text


def test_template_authorization() -> None:
    tokens = {"method": "token", "valid_tokens": ["a", "b"]}
    assert [is_authorized(tokens, given) for given in ("a", ["x", "b"], None, "c", [])] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert is_authorized({"method": "open"}, None)


def test_views() -> None:
    whole = viewport_of_center(0, 0, 0, (256, 256))
    assert whole.box == pytest.approx((-20037508.34, -20037508.34, 20037508.34, 20037508.34))
    fitting = viewport_of_bbox((-10, -10, 10, 10), (512, 512))
    assert fitting.zoom == 5
    west, south = mercator(-10, -10)
    assert fitting.box[0] <= west
    assert fitting.box[1] <= south


def test_templates_survive_a_restart(tmp_path: Path) -> None:
    for found in ([], ["towns"]):
        with cartoframes_lite.local.start(user="kept", api_key="key", data_dir=tmp_path / "data") as server:
            url = f"{server.base_url}{NAMED}?api_key=key"
            assert requests.get(url, timeout=10).json() == {"template_ids": found}
            requests.post(url, json=template(), timeout=10)
