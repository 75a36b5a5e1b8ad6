from __future__ import annotations

import base64
import json
import lzma
import urllib.request
from typing import Any

import pytest

from cartoframes_lite.local import LocalCarto
from tests.local.maps.maps_client import PUBLIC, TOWNS, Call, described, instantiate, mapnik, refusal
from tests.local.maps.vector_tiles import read_tile
from tests.local.sql_client import SQLClient

STYLED = {"cartocss": "#l { marker-width: 10; }", "cartocss_version": "2.3.0"}


@pytest.fixture(autouse=True)
def towns(sql: SQLClient) -> None:
    sql.run(TOWNS)


@pytest.mark.parametrize(
    ("config", "status", "message"),
    [
        ({"version": "2.0.0", "layers": []}, 400, "Unsupported layergroup configuration version 2.0.0"),
        ({"layers": {}}, 400, "Missing layers array from layergroup config"),
        (described({"type": "mapnik"}), 400, "Missing options from layer 0 of layergroup config"),
        (described(mapnik(cartocss="#l{}")), 400, "Missing cartocss_version for layer 0 options"),
        (described(mapnik("", **STYLED)), 400, "Missing sql for layer 0 options"),
        (described(mapnik("SELECT * FROM nope")), 404, 'relation "nope" does not exist'),
        (described(mapnik("SELECT * FORM towns")), 400, 'syntax error at or near "FORM"'),
        (
            described(mapnik(), mapnik(**STYLED)),
            400,
            "The `mapnik` or `cartodb` layers must be consistent: `cartocss` option is either present or voided in all"
            " layers. Mixing is not allowed.",
        ),
        (described(mapnik(interactivity=["nope"])), 404, 'column "nope" does not exist'),
        (described(mapnik(aggregation={"threshold": 0})), 400, "Invalid threshold, should be a number greather than 0"),
        (
            described(mapnik(aggregation={"placement": "x"})),
            400,
            "Invalid placement. Valid values: centroid, point-grid, point-sample",
        ),
        (described(mapnik(), buffersize={"mvt": "x"}), 400, 'Buffer size of format "mvt" must be a number'),
        (described(analyses=[{"id": "a", "type": "buffer"}]), 400, 'Unknown analysis type "buffer"'),
        (
            described(dataviews={"d": {"type": "formula", "source": {"id": "x"}}}),
            400,
            'Node with `id="x"` not found for dataview "d"',
        ),
    ],
)
def test_invalid_map_configurations_are_rejected(call: Call, config: dict[str, Any], status: int, message: str) -> None:
    assert refusal(call("POST", "/api/v1/map", config)) == (status, message)


def test_layer_errors_name_the_layer(call: Call) -> None:
    response = call("POST", "/api/v1/map", described({"id": "mine", **mapnik(cartocss="#l{}")}))
    [context] = response.json["errors_with_context"]
    assert context["layer"] == {"id": "mine", "index": 0, "type": "mapnik"}
    assert context["type"] == "layer"


def test_equal_configurations_share_one_map(call: Call) -> None:
    assert instantiate(call, described(mapnik())) == instantiate(call, described(mapnik()))
    assert instantiate(call, described(mapnik())) != instantiate(call, described(mapnik("SELECT * FROM towns LIMIT 1")))


def test_table_changes_update_the_layergroup_time(call: Call, sql: SQLClient) -> None:
    before = instantiate(call, described(mapnik()))
    sql.run("UPDATE towns SET people = 1")
    after = instantiate(call, described(mapnik()))
    assert before != after
    assert before.partition(":")[0] == after.partition(":")[0]


def test_metadata_urls_contain_the_key_of_the_request(call: Call, sql: SQLClient) -> None:
    sql.run(PUBLIC)
    with_key, without = (call("POST", "/api/v1/map", described(mapnik()), **key) for key in ({}, {"key": None}))
    assert "?api_key=" in with_key.json["metadata"]["url"]["vector"]["urlTemplate"]
    assert "api_key" not in without.body.decode()


def test_configurations_may_be_lzma_compressed(call: Call) -> None:
    text = json.dumps({"config": json.dumps(described(mapnik()))}).encode()
    packed = base64.b64encode(lzma.compress(text, format=lzma.FORMAT_ALONE)).decode()
    assert call("GET", "/api/v1/map", lzma=packed).status == 200
    assert refusal(call("GET", "/api/v1/map", lzma="broken")) == (400, "Error decoding lzma parameter")


def test_get_requires_a_configuration(call: Call) -> None:
    assert refusal(call("GET", "/api/v1/map")) == (400, 'layergroup GET needs a "config" parameter')


def test_instantiation_by_jsonp(call: Call) -> None:
    response = call("GET", "/api/v1/map", config=json.dumps(described(mapnik())), callback="show")
    assert response.body.startswith(b"/**/ typeof show === 'function' && show({")
    refused = call("GET", "/api/v1/map", config="{}", callback="show")
    assert (refused.status, b"Missing layers" in refused.body) == (200, True)


def test_maps_expire_after_two_unused_hours(carto: LocalCarto, call: Call) -> None:
    path = instantiate(call, described(mapnik()))
    for _ in range(2):
        carto.advance_clock(3600)
        assert call("GET", f"{path}/0/0/0.mvt").status == 200
    carto.advance_clock(7300)
    status, message = refusal(call("GET", f"{path}/0/0/0.mvt"))
    assert (status, message.startswith("Invalid or nonexistent map configuration token")) == (400, True)


def test_map_queries_cannot_write(call: Call, sql: SQLClient) -> None:
    sql.run("CREATE SEQUENCE counter")
    path = instantiate(call, described(mapnik("SELECT *, nextval('counter') AS n FROM towns")))
    status, message = refusal(call("GET", f"{path}/0/0/0.mvt"))
    assert (status, message) == (400, "cannot execute nextval() in a read-only transaction")


def test_query_tokens_are_replaced(call: Call) -> None:
    text = (
        "SELECT 1 AS cartodb_id, ST_Centroid(!bbox!) AS the_geom_webmercator, !pixel_width! AS w,"
        " !scale_denominator! AS s"
    )
    path = instantiate(call, described(mapnik(f"{text} ; ")))
    [feature] = read_tile(call("GET", f"{path}/1/0/0.mvt").body)["layer0"]
    assert round(float(feature["w"])) == 78272
    assert round(float(feature["s"]) * 0.00028) == 78272


def test_queries_are_used_verbatim_in_parentheses(call: Call) -> None:
    comment = "SELECT * FROM towns -- all of them"
    assert refusal(call("POST", "/api/v1/map", described(mapnik(comment)))) == (400, "syntax error at end of input")
    assert instantiate(call, described(mapnik(f"{comment}\n")))
    for query, message in (
        ("SELECT * FROM towns;", 'syntax error at or near ";"'),
        (comment, "syntax error at end of input"),
    ):
        nodes = [{"id": "a", "type": "source", "params": {"query": query}}]
        response = call("POST", "/api/v1/map", described(mapnik(), analyses=nodes))
        assert refusal(response) == (400, message)
        [context] = response.json["errors_with_context"]
        assert (context["type"], context["analysis"]) == ("analysis", {"id": "a", "node_id": "a", "type": "source"})


def test_cors_allows_any_origin(carto: LocalCarto) -> None:
    request = urllib.request.Request(f"{carto.base_url}/api/v1/map", method="OPTIONS")
    with urllib.request.urlopen(request, timeout=10) as response:
        assert response.status == 200
        assert response.headers["Access-Control-Allow-Origin"] == "*"
