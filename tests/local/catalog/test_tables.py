from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Call = Callable[..., Any]


def query(call: Call, q: str) -> Any:
    answer = call("POST", "/api/v2/sql", {"q": q})
    assert answer.status == 200, answer.body
    return answer.json


def test_a_table_is_found_by_name_and_ids(call: Call) -> None:
    query(call, "CREATE TABLE t AS SELECT generate_series(1, 7) AS i")
    dataset = call("GET", "/api/v1/viz/t").json
    shown = call("GET", "/api/v1/tables/t").json
    assert shown["id"] == dataset["table"]["id"]
    assert shown["table_visualization"]["id"] == dataset["id"]
    assert (shown["name"], shown["schema"], shown["rows_counted"]) == ("t", "public", 7)
    for which in (shown["id"], dataset["id"], "public.t", "t/"):
        assert call("GET", f"/api/v1/tables/{which}").json == shown
    assert call("GET", "/api/v1/tables/missing").status == 404
    assert call("GET", "/api/v1/tables").status == 404
    assert call("GET", "/api/v1/tables/t", key=None).status == 401


def test_an_empty_table_is_made(call: Call) -> None:
    made = call("POST", "/api/v1/tables", {"name": "My Table", "description": "empty", "privacy": "public"})
    assert (made.status, made.json["name"], made.json["description"]) == (200, "my_table", "empty")
    assert (made.json["privacy"], made.json["rows_counted"]) == ("PUBLIC", 0)
    rows = query(call, "INSERT INTO my_table (name) VALUES ('x') RETURNING cartodb_id, the_geom")["rows"]
    assert rows == [{"cartodb_id": 1, "the_geom": None}]
    assert call("POST", "/api/v1/tables", {"name": "my_table"}).json["name"] == "my_table_1"
    assert call("POST", "/api/v1/tables").json["name"] == "untitled_table"
    assert call("POST", "/api/v1/tables", {"name": "x"}, key=None).status == 401
    assert call("POST", "/api/v1/tables", {"name": 7}).status == 400
    assert call("POST", "/api/v1/tables", {"name": "y", "privacy": "secret"}).status == 400
    assert call("GET", "/api/v1/tables/y").status == 404


def test_name_description_and_privacy_are_changed(call: Call) -> None:
    query(call, "CREATE TABLE t AS SELECT 1 AS i")
    identity = call("GET", "/api/v1/tables/t").json["id"]
    changed = call("PUT", f"/api/v1/tables/{identity}", {"name": "u", "description": "d", "privacy": "LINK"})
    assert (changed.status, changed.json["name"], changed.json["description"]) == (200, "u", "d")
    assert changed.json["privacy"] == "PUBLIC"  # this API knows no links
    assert call("GET", "/api/v1/viz/u").json["privacy"] == "LINK"
    assert call("PUT", f"/api/v1/tables/{identity}", {"privacy": "secret"}).status == 400
    assert call("PUT", f"/api/v1/tables/{identity}", {"name": "v"}, key=None).status == 401


def test_columns(call: Call) -> None:
    query(call, "CREATE TABLE t (i int, v numeric(5, 2), s varchar(9), d timestamptz, b bool, g geometry, j jsonb)")
    assert call("GET", "/api/v1/tables/t/columns").json == [
        ["i", "number"],
        ["v", "number"],
        ["s", "string"],
        ["d", "date"],
        ["b", "boolean"],
        ["g", "geometry"],
        ["j", "jsonb"],
    ]


@pytest.mark.parametrize(
    ("typed", "values", "expected"),
    [
        ("geometry(MultiPolygonZ,4326)", "NULL", ["ST_MultiPolygon"]),
        (
            "geometry(Geometry,4326)",
            "'SRID=4326;POINT(1 2)'), ('SRID=4326;LINESTRING(1 2,3 4)'",
            ["ST_LineString", "ST_Point"],
        ),
        ("geometry(Geometry,4326)", "NULL", []),
        ("text", "'x'", []),
    ],
)
def test_types_of_geometry(call: Call, typed: str, values: str, expected: list[str]) -> None:
    query(call, f"CREATE TABLE t (the_geom {typed}); INSERT INTO t VALUES ({values})")
    assert call("GET", "/api/v1/tables/t").json["geometry_types"] == expected
