"""Maps show only what their viewer may see, and read only tables, whatever their configuration."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.security.api_calls import APICalls
from tests.security.db_snapshot import differences

STYLE = {"cartocss": "#layer {marker-width: 7}", "cartocss_version": "2.3.0"}
VIEWS = {
    "v": {"type": "aggregation", "source": {"id": "n"}, "options": {"column": "b", "aggregation": "count"}},
    "f": {"type": "formula", "source": {"id": "n"}, "options": {"column": "a", "operation": "sum"}},
    "h": {"type": "histogram", "source": {"id": "n"}, "options": {"column": "a", "bins": 3}},
}
NODES = [{"id": "n", "type": "source", "params": {"query": "SELECT * FROM bystander"}}]
PATHS = ("0/0/0.png", "0/0/0/0.mvt", "all/0/0/0.png", "0/0/0/0.grid.json", "0/attributes/1", "dataview/v", "dataview/f",
         "dataview/h", "dataview/v/search?q=e", "0/1/cluster/1")  # fmt: skip
PICTURES = ("center/{}/1/0/0/64/64.png", "bbox/{}/-9,-9,9,9/64/64.png")
QUERY = (
    "q",
    "bbox",
    "own_filter",
    "bins",
    "start",
    "end",
    "offset",
    "categories",
    "aggregation",
    "layer",
    "zoom",
    "lat",
)
HOSTILE = ["1) FROM t; DROP TABLE bystander; --", "x' OR ''='", 'x" FROM bystander; --', "\\'; --", "$$", "1; SELECT 2",
           "'||pg_read_file('/etc/passwd')||'", "[b]", "<%= x %>", "{}", "%s", "!bbox!"]  # fmt: skip


def layer(query: str = "SELECT * FROM bystander", **options: Any) -> dict[str, Any]:
    attributes = {"id": "cartodb_id", "columns": ["b"]}
    return {
        "type": "mapnik",
        "options": {"sql": query, **STYLE, "attributes": attributes, "interactivity": ["b"], **options},
    }


def template(group: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"version": "0.0.1", "name": "t", "auth": {"method": "open"}, "layergroup": group, **members}


def asked(api_calls: APICalls, token: str) -> list[tuple[int, str]]:
    """Request everything that a map provides."""
    paths = [f"/api/v1/map/{token}/{path}" for path in PATHS]
    paths += [f"/api/v1/map/static/{path.format(token)}" for path in PICTURES]
    responses = [api_calls.call("GET", path) for path in paths]
    return [(response.status_code, response.text) for response in responses]


@pytest.mark.parametrize("kind", ["public", "regular"])
def test_maps_of_private_tables_need_read_access(api_calls, kind):
    api_calls.run("CREATE TABLE granted (a int)")
    client = api_calls.public() if kind == "public" else api_calls.regular("granted")
    content = {"dataviews": VIEWS, "analyses": NODES}
    assert client.map(layer(), **content).status_code == 403
    made = api_calls.map(layer(), **content)
    assert made.status_code == 200, made.text
    token = made.json()["layergroupid"]
    assert "secret" in "".join(
        text for _, text in asked(api_calls, token)
    )  # and kept from now on, as far as it is kept
    for identity in (token, token.partition(":")[0], f"tester@{token}", f"tester@00000000@{token}"):
        responses = asked(client, identity)
        assert {status for status, _ in responses} <= {400, 403, 404}, responses
        assert not any("secret" in text or "kept" in text for _, text in responses)


def test_named_maps_need_one_of_their_tokens(api_calls):
    auth = {"method": "token", "valid_tokens": ["right"]}
    content = template({"version": "1.8.0", "layers": [layer()], "dataviews": VIEWS, "analyses": NODES}, auth=auth)
    assert api_calls.call("POST", "/api/v1/map/named", json=content).status_code == 200
    public = api_calls.public()
    made = public.call("POST", "/api/v1/map/named/t", json={}, params={"auth_token": "right"})
    assert made.status_code == 200, made.text
    token = made.json()["layergroupid"]
    for wrong in ({}, {"auth_token": "wrong"}, {"auth_token": ""}, {"auth_token": "null"}, {"auth_token[]": "x"}):
        assert public.call("POST", "/api/v1/map/named/t", json={}, params=wrong).status_code == 403
        assert public.call("GET", "/api/v1/map/named/t/all/0/0/0.png", params=wrong).status_code == 403
        assert public.call("GET", "/api/v1/map/static/named/t/64/64.png", params=wrong).status_code == 403
        for path in PATHS:
            response = public.call("GET", f"/api/v1/map/{token}/{path}", params=wrong)
            assert response.status_code in (400, 403, 404), (path, response.text)
            assert "secret" not in response.text
    assert public.call("GET", "/api/v1/map/named/t").status_code == 403
    assert public.call("PUT", "/api/v1/map/named/t", json=content).status_code == 403
    assert public.call("DELETE", "/api/v1/map/named/t").status_code == 403


@pytest.mark.parametrize("value", HOSTILE)
def test_viewers_cannot_change_queries_of_named_maps(api_calls, db_snapshots, value):
    shown = "SELECT 1 AS cartodb_id, '<%= text %>'::text AS b, <%= number %> AS a, \"the_geom_webmercator\" AS"
    query = f"{shown} the_geom_webmercator, 'hidden' AS \"<%= name %>\" FROM bystander LIMIT 1"
    placeholders = {
        "text": {"type": "sql_literal", "default": "x"},
        "number": {"type": "number", "default": 1},
        "name": {"type": "sql_ident", "default": "c"},
        "color": {"type": "css_color", "default": "red"},
    }
    style = {"cartocss": "#layer {marker-width: 7; marker-fill: <%= color %>}", "cartocss_version": "2.3.0"}
    nodes = [{"id": "n", "type": "source", "params": {"query": "SELECT * FROM bystander LIMIT 1"}}]  # has none
    views = {"v": {"type": "aggregation", "source": {"id": "n"}, "options": {"column": "b", "aggregation": "count"}}}
    content = {"version": "1.8.0", "layers": [layer(query, **style)], "analyses": nodes, "dataviews": views}
    assert (
        api_calls.call("POST", "/api/v1/map/named", json=template(content, placeholders=placeholders)).status_code
        == 200
    )
    before, public = db_snapshots.snapshot(), api_calls.public()
    made = public.call("POST", "/api/v1/map/named/t", json={"text": value, "name": value})
    if made.status_code == 200:
        found = public.call("GET", f"/api/v1/map/{made.json()['layergroupid']}/0/attributes/1").json()
        assert found == {"b": value} or value == "!bbox!"  # which CARTO fills in everywhere
    for name in ("number", "color"):
        assert public.call("POST", "/api/v1/map/named/t", json={name: value}).status_code == 400
    for filters in ({"v": {"accept": [value]}}, {"v": {"reject": [value]}}, {"v": {"min": value}}, {value: {}}):
        public.call("POST", "/api/v1/map/named/t", json={}, params={"filters": json.dumps({"dataviews": filters})})
    token = public.call("POST", "/api/v1/map/named/t", json={}).json()["layergroupid"]
    for path in (
        "dataview/v",
        "dataview/v/search",
        f"0/attributes/{value.replace('/', '')}",
        "0/0/0.png",
        "0/0/0/0.mvt",
    ):
        hostile = dict.fromkeys(QUERY, value)
        told = public.call("GET", f"/api/v1/map/{token}/{path}", params=hostile).text
        assert "secret" not in told
        assert "root:" not in told
    assert differences(before, db_snapshots.snapshot()) == {}


@pytest.mark.parametrize("key", ["public", "master"])
@pytest.mark.parametrize("property", [
    "marker-file: url({file})", "marker-file: url(file://{file})", "marker-file: url({url})", "marker-file: '{file}'",
    "polygon-pattern-file: url({file})", "line-pattern-file: url({url})", "point-file: url({file})",
    "shield-file: url({file}); shield-name: [b]; shield-face-name: 'DejaVu Sans Book'", "background-image: url({url})",
    "building-height: 1", "raster-opacity: 1", "text-face-name: url({file}); text-name: [b]",
    "text-name: \"<!DOCTYPE x [<!ENTITY e SYSTEM 'file://{file}'>]>&e;\"; text-face-name: '{file}'",
    "marker-fill: url({url})", "text-name: '[b]</TextSymbolizer><Datasource><Parameter name=\"file\">{file}'",
])  # fmt: skip
def test_styles_read_no_files_and_no_urls(api_calls, recording_server, tmp_path, key, property):
    server, file = recording_server(), tmp_path / "picture.svg"
    file.write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>')
    os_access = file.stat().st_atime_ns
    css = property.replace("{file}", str(file)).replace("{url}", f"{server.url}/picture.svg")
    client = api_calls if key == "master" else api_calls.public()
    query = "SELECT 1 AS cartodb_id, 'x'::text AS b, ST_SetSRID(ST_MakePoint(0, 0), 3857) AS the_geom_webmercator"
    for wrapped in (
        f"#layer {{ {css} }}",
        f"Map {{ {css} }} #layer {{ marker-width: 5 }}",
        f"@x: 1; #layer::a {{ {css} }}",
    ):
        made = client.map(layer(query, cartocss=wrapped))
        assert made.status_code == 400 or "text-" in css
        if made.status_code == 200:
            for path in ("0/0/0.png", "0/0/0/0.grid.json"):
                client.call("GET", f"/api/v1/map/{made.json()['layergroupid']}/{path}")
    assert server.requests == []
    assert file.stat().st_atime_ns == os_access


@pytest.mark.parametrize("kind", ["http", "plain", "torque", "wms", "vrt", "gdal", "ogr", "shape", "postgis", "mapnik"])
def test_layers_of_other_kinds_fetch_nothing(api_calls, recording_server, kind):
    server = recording_server()
    options = dict.fromkeys(("urlTemplate", "imageUrl", "url", "file", "source"), f"{server.url}/{{z}}/{{x}}/{{y}}.png")
    options |= {
        "color": "red",
        "subdomains": ["a"],
        "datasource": {"type": "shape", "file": "/etc/passwd"},
        "host": "10.0.0.1",
    }
    made = api_calls.map({"type": kind, "options": options}, layer())
    if made.status_code == 200:
        token = made.json()["layergroupid"]
        for path in ("all/0/0/0.png", "0/0/0/0.png"):
            api_calls.call("GET", f"/api/v1/map/{token}/{path}")
        api_calls.call("GET", f"/api/v1/map/static/center/{token}/1/0/0/64/64.png")
    assert server.requests == []


@pytest.mark.parametrize("kind", ["public", "regular"])
def test_what_maps_run_changes_nothing(api_calls, db_snapshots, kind):
    client = (
        api_calls.public()
        if kind == "public"
        else api_calls.regular("bystander", permissions=("select", "insert", "delete"))
    )
    before = db_snapshots.snapshot()
    for query in (
        "DELETE FROM bystander RETURNING *",
        "WITH gone AS (DELETE FROM bystander RETURNING *) SELECT * FROM gone",
        "SELECT * FROM bystander; DELETE FROM bystander",
        "SELECT 1 AS a$b$ ; DELETE FROM bystander; SELECT 1 AS c$d$",
        "SELECT query_to_xml('DELETE FROM bystander', true, false, '')",
        "SELECT set_config('transaction_read_only', 'off', false)",
        "SELECT set_config('default_transaction_read_only', 'off', false)",
        "SELECT * FROM bystander) AS q; DELETE FROM bystander; SELECT * FROM (SELECT 1",
        "INSERT INTO bystander VALUES (9)",
        "SELECT nextval(pg_get_serial_sequence('bystander', 'cartodb_id'))",
    ):
        for source in (query, f"SELECT 1 AS cartodb_id, NULL::geometry AS the_geom_webmercator FROM ({query}) AS q"):
            made = client.map(
                {"type": "mapnik", "options": {"sql": source}}, {"type": "mapnik", "options": {"sql": query}}
            )
            if made.status_code == 200:
                client.call("GET", f"/api/v1/map/{made.json()['layergroupid']}/all/0/0/0.mvt")
    assert differences(before, db_snapshots.snapshot()) == {}


@pytest.mark.parametrize("path", ["/user/..%2f..%2fetc/passwd", "/user/tester/../../etc/passwd",
                                  "/u/tester%00/api/v2/sql",
                                  "/user/%2e%2e/api/v2/sql", "/user/postgres/api/v2/sql", "/user/publicuser/api/v1/map",
                                  "/user/Tester/api/v2/sql", "/user/tester%2fx/api/v2/sql"])  # fmt: skip
def test_no_other_user_is_found_in_the_path(api_calls, path):
    root = api_calls.base_url.removesuffix("/user/tester")
    response = APICalls(root, api_calls.key, api_calls.master).call("GET", path, params={"q": "SELECT 1 AS a"})
    assert response.status_code == 404
    assert "root:" not in response.text
