"""vizjson, named maps of datasets and maps, and their static images."""

from __future__ import annotations

import json
import urllib.parse
from typing import Any

import pytest
import requests

from cartoframes_lite.local import LocalCarto
from tests.local.catalog.catalog_client import Call, change, make_dataset, make_map, query

POINTS = "SELECT ST_SetSRID(ST_MakePoint(i, 2 * i), 4326) AS the_geom FROM generate_series(0, 20, 20) i"
KEYS_2 = {
    "id",
    "version",
    "title",
    "description",
    "scrollwheel",
    "legends",
    "url",
    "map_provider",
    "bounds",
    "center",
    "zoom",
    "updated_at",
    "layers",
    "overlays",
    "prev",
    "next",
    "transition_options",
}
KEYS_3 = {
    "bounds",
    "center",
    "datasource",
    "description",
    "options",
    "id",
    "layers",
    "map_provider",
    "overlays",
    "title",
    "updated_at",
    "user",
    "version",
    "widgets",
    "zoom",
    "analyses",
}


def map_of(call: Call, privacy: str) -> Any:
    make_dataset(call, "t", POINTS, privacy=privacy, attributions="CC BY me")
    return make_map(call, "m", "t")


def template_of(one: Any) -> str:
    return "tpl_" + one["id"].replace("-", "_")


def test_version_2_of_a_public_map(call: Call) -> None:
    a_map = map_of(call, "public")
    shown = call("GET", f"/api/v2/viz/{a_map['id']}/viz").json
    assert (set(shown), shown["version"]) == (KEYS_2, "0.1.0")
    assert shown["bounds"] == [[0, 0], [40, 20]]
    base, group, labels = shown["layers"]
    assert [base["type"], group["type"], labels["type"]] == ["tiled", "layergroup", "tiled"]
    [layer] = group["options"]["layer_definition"]["layers"]
    assert (layer["type"], layer["options"]["sql"], layer["visible"]) == ("CartoDB", "SELECT * FROM t", True)
    assert group["options"]["attribution"] == "CC BY me"


def test_version_3_of_a_public_map(call: Call) -> None:
    a_map = map_of(call, "public")
    shown = call("GET", f"/api/v3/viz/{a_map['id']}/viz").json
    assert (set(shown), shown["version"]) == (KEYS_3, "3.0.0")
    assert shown["datasource"]["user_name"] == "tester"
    assert shown["datasource"]["stat_tag"] == a_map["id"]
    assert "template_name" not in shown["datasource"]
    assert set(shown["user"]) == {"fullname", "avatar_url", "profile_url"}
    _, layer, _ = shown["layers"]
    assert (layer["type"], layer["options"]["sql"]) == ("CartoDB", "SELECT * FROM t")
    assert "marker-fill" in layer["options"]["cartocss"]


@pytest.mark.parametrize("reason", ["private table", "password"])
def test_named_map_hides_the_queries(call: Call, reason: str) -> None:
    a_map = map_of(call, "private" if reason == "private table" else "public")
    if reason == "password":
        change(call, a_map, privacy="password", password="open")
    version_2, version_3 = (call("GET", f"/api/v{number}/viz/{a_map['id']}/viz") for number in (2, 3))
    assert b"SELECT" not in version_2.body + version_3.body
    named = version_2.json["layers"][1]
    assert (named["type"], named["options"]["named_map"]["name"]) == ("namedmap", template_of(a_map))
    assert named["options"]["named_map"]["params"] == {"layer0": 1}
    assert version_3.json["datasource"]["template_name"] == template_of(a_map)
    tokens = call("GET", f"/api/v1/viz/{a_map['id']}").json["auth_tokens"]
    assert version_2.json.get("auth_tokens") == (tokens if reason == "password" else None)


def test_description_is_html(call: Call) -> None:
    one = make_dataset(call, "t", description="a <b>\n\nc")
    for number in (2, 3):
        shown = call("GET", f"/api/v{number}/viz/{one['id']}/viz").json
        assert shown["description"] == "<p>a &lt;b&gt;</p>\n\n<p>c</p>\n"
    change(call, one, description=" ")
    assert call("GET", "/api/v3/viz/t/viz").json["description"] is None


def test_dataset_and_empty_map_have_a_vizjson(call: Call) -> None:
    dataset = make_dataset(call, "t", POINTS)
    for number in (2, 3):
        assert len(call("GET", f"/api/v{number}/viz/{dataset['id']}/viz").json["layers"]) == 3
        assert call("GET", f"/api/v{number}/viz/{make_map(call, 'm')['id']}/viz").json["layers"] == []


def test_jsonp_and_headers_for_caches(call: Call, carto: LocalCarto) -> None:
    dataset = make_dataset(call, "t", privacy="public")
    sent = requests.get(f"{carto.base_url}/api/v2/viz/t/viz", params={"callback": "show"}, timeout=60)
    assert json.loads(sent.text.removeprefix("/**/show(").removesuffix(")"))["id"] == dataset["id"]
    assert sent.headers["Cache-Control"] == "no-cache,max-age=86400,must-revalidate, public"
    assert sent.headers["X-Cache-Channel"].endswith(f":public.t,{dataset['id']}:vizjson")
    change(call, dataset, privacy="private")
    sent = requests.get(f"{carto.base_url}/api/v2/viz/t/viz", params={"api_key": carto.credentials.api_key}, timeout=60)
    assert "Cache-Control" not in sent.headers


def test_map_of_a_vizjson_is_instantiated_and_drawn(call: Call, carto: LocalCarto) -> None:
    a_map = map_of(call, "public")
    call("POST", f"/api/v3/viz/{a_map['id']}/mapcaps")
    shown = call("GET", f"/api/v3/viz/{a_map['id']}/viz", key=None).json
    maps_api = shown["datasource"]["maps_api_template"].replace("{user}", shown["datasource"]["user_name"])
    layers = [
        {
            "type": "mapnik",
            "options": {name: layer["options"][name] for name in ("sql", "cartocss", "cartocss_version")},
        }
        for layer in shown["layers"]
        if layer["type"] == "CartoDB"
    ]
    instantiated = requests.post(f"{maps_api}/api/v1/map", json={"version": "1.7.0", "layers": layers}, timeout=60)
    tile = requests.get(f"{maps_api}/api/v1/map/{instantiated.json()['layergroupid']}/0/0/0.png", timeout=60)
    assert (tile.status_code, tile.content[:4]) == (200, b"\x89PNG")


@pytest.mark.parametrize("privacy", ["public", "private", "password"])
def test_named_map_of_a_map_needs_its_token(call: Call, carto: LocalCarto, privacy: str) -> None:
    a_map = map_of(call, "public")
    change(call, a_map, privacy=privacy, password="open")
    tokens = call("GET", f"/api/v1/viz/{a_map['id']}").json["auth_tokens"]
    url = f"{carto.base_url}/api/v1/map/named/{template_of(a_map)}"
    without = requests.post(url, json={}, timeout=60)
    assert without.status_code == (200 if privacy == "public" else 403)
    query = {"auth_token": tokens[0]} if tokens else {}
    made = requests.post(url, json={}, params=query, timeout=60).json()
    tile = f"{carto.base_url}/api/v1/map/{made['layergroupid']}/0/0/0.png"
    assert requests.get(tile, params=query, timeout=60).status_code == 200
    change(call, a_map, privacy="private" if privacy == "public" else "public")
    if privacy == "public":
        assert requests.get(tile, timeout=60).status_code == 403
    else:
        assert requests.post(url, json={}, timeout=60).status_code == 200


def test_static_image_follows_its_redirect(call: Call, carto: LocalCarto) -> None:
    make_dataset(call, "t", POINTS, privacy="public")
    image = requests.get(f"{carto.base_url}/api/v2/viz/t/static/120/80.png", timeout=60)
    [redirect] = image.history
    assert redirect.status_code == 302
    assert redirect.headers["Cache-Control"] == "max-age=86400,must-revalidate, public"
    assert urllib.parse.urlsplit(redirect.headers["Location"]).path.endswith("/120/80.png")
    assert (image.status_code, image.headers["Content-Type"], image.content[16:24].hex()) == (
        200,
        "image/png",
        "0000007800000050",
    )


@pytest.mark.parametrize("size", ["1/10", "10/1", "8193/10", "x/10", "10/x"])
def test_static_image_of_an_invalid_size(call: Call, size: str) -> None:
    make_dataset(call, "t")
    refused = call("GET", f"/api/v2/viz/t/static/{size}.png")
    assert (refused.status, refused.body) == (400, b"")


@pytest.mark.parametrize("fields", [[{"name": "i"}], [{}], ["i"], "i", None])
def test_columns_of_popups_are_attributes_of_the_named_map(call: Call, fields: Any) -> None:
    make_dataset(call, "t", privacy="public")
    a_map = make_map(call, "m", "t")
    path = f"/api/v1/maps/{a_map['map_id']}/layers"
    layer = call("GET", path).json["layers"][1]
    popups = {"infowindow": {"fields": fields}, "tooltip": {"fields": fields}}
    assert call("PUT", f"{path}/{layer['id']}", {**layer, **popups}).status == 200
    made = call("POST", f"/api/v1/map/named/{template_of(a_map)}", {}, key=None)
    assert made.status == 200, made.body
    attributes = call("GET", f"/api/v1/map/{made.json['layergroupid']}/0/attributes/1", key=None)
    if fields == [{"name": "i"}]:
        assert attributes.json == {"i": 1}
    else:
        assert attributes.json["errors"] == ["Layer 0 has no exposed attributes"]


def test_names_that_need_quotes_are_quoted(call: Call) -> None:
    query(call, """CREATE TABLE "Odd ""one" AS SELECT 1 AS i; SELECT CDB_CartodbfyTable('"Odd ""one"')""")
    found = call("GET", "/api/v1/viz", type="table").json["visualizations"]
    [layer] = [
        layer for layer in call("GET", f"/api/v3/viz/{found[0]['id']}/viz").json["layers"] if layer["type"] == "CartoDB"
    ]
    assert layer["options"]["layer_name"] == 'Odd "one'
    token = found[0]["auth_tokens"][0]
    made = call("POST", f"/api/v1/map/named/{template_of(found[0])}", {}, auth_token=token)
    assert made.status == 200, made.body
