from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests

from cartoframes_lite.local import LocalCarto

Call = Callable[..., Any]
TABLES = "/api/v1/tables"
KEYS = """
dependent_visualizations description geometry_types id map_id name non_dependent_visualizations privacy rows_counted
schema synchronization table_size table_visualization updated_at
"""
UNKNOWN = "00000000-0000-4000-8000-00000000dead"


def query(call: Call, q: str) -> Any:
    answer = call("POST", "/api/v2/sql", {"q": q})
    assert answer.status == 200, answer.body
    return answer.json


def make_dataset(call: Call, name: str = "t", columns: str = "v int", rows: str = "") -> Any:
    """Create a dataset by SQL; `rows` are the VALUES of all columns."""
    insert = f"INSERT INTO {name} VALUES {rows};" if rows else ""
    query(call, f"CREATE TABLE {name} ({columns}); {insert} SELECT CDB_CartodbfyTable('{name}')")
    return call("GET", f"/api/v1/viz/{name}").json


def test_table_is_found_by_name_and_id(call: Call) -> None:
    dataset = make_dataset(call)
    shown = call("GET", f"{TABLES}/t").json
    assert sorted(shown) == KEYS.split()
    assert (shown["id"], shown["name"], shown["map_id"]) == (dataset["table"]["id"], "t", dataset["map_id"])
    for which in (shown["id"], "public.t", "tester.t", "t/"):
        assert call("GET", f"{TABLES}/{which}").json == shown
    for which in (dataset["id"], UNKNOWN, "missing", "other.t.t"):
        missing = call("GET", f"{TABLES}/{which}")
        assert (missing.status, missing.body) == (404, b"")
    query(call, "CREATE TABLE plain AS SELECT 1 AS i")
    assert call("GET", f"{TABLES}/plain").status == 404


@pytest.mark.parametrize(("method", "path"), [("GET", TABLES), ("DELETE", f"{TABLES}/t"), ("POST", f"{TABLES}/t")])
def test_requests_that_do_not_exist(call: Call, method: str, path: str) -> None:
    make_dataset(call)
    assert call(method, path).status == 404


def test_only_the_master_key_sees_tables(call: Call) -> None:
    make_dataset(call)
    query(call, "GRANT SELECT ON t TO publicuser")
    for key in (None, "default_public", "unknown"):
        for method, path in (("GET", f"{TABLES}/t"), ("PUT", f"{TABLES}/t"), ("POST", TABLES)):
            refused = call(method, path, {} if method != "GET" else None, key=key)
            assert (refused.status, refused.body) == (401, b"")


def test_schema_sizes_and_geometry_of_a_table(call: Call) -> None:
    columns = """
        v numeric(5, 2), s varchar(9), d timestamptz, b bool, j jsonb, day date, a int[], c char(3),
        updated_at timestamptz, created_at timestamp, the_geom geometry(Geometry, 4326)
    """
    make_dataset(call, columns=columns)
    query(call, "ALTER TABLE t ADD COLUMN g geometry")
    empty = call("GET", f"{TABLES}/t").json
    assert (empty["geometry_types"], empty["rows_counted"]) == ([], -1)
    assert empty["schema"] == [
        ["cartodb_id", "number"],
        ["the_geom", "geometry", "geometry", "geometry"],
        ["a", "integer[]"],
        ["b", "boolean"],
        ["c", "string"],
        ["d", "date"],
        ["day", "date"],
        ["g", "geometry", "geometry", "geometry"],
        ["j", "jsonb"],
        ["s", "string"],
        ["v", "number"],
        ["created_at", "date"],
        ["updated_at", "date"],
    ]
    query(call, "INSERT INTO t (the_geom) SELECT ST_MakeEnvelope(0, 0, i, 1, 4326) FROM generate_series(1, 7) i")
    query(call, "ANALYZE t")
    filled = call("GET", f"{TABLES}/t").json
    assert (filled["geometry_types"], filled["rows_counted"]) == (["ST_Polygon"], 7)
    assert filled["schema"][1] == ["the_geom", "geometry", "geometry", "multipolygon"]
    [row] = query(call, "SELECT pg_total_relation_size('t') / 2 AS size")["rows"]
    assert filled["table_size"] == row["size"]


def test_privacy_has_link_here(call: Call) -> None:
    dataset = make_dataset(call)
    for privacy in ("PRIVATE", "LINK", "PUBLIC"):
        call("PUT", f"/api/v1/viz/{dataset['id']}", {"id": dataset["id"], "privacy": privacy})
        assert call("GET", f"{TABLES}/t").json["privacy"] == privacy


def test_maps_are_told_apart_by_their_tables(call: Call) -> None:
    make_dataset(call, "t")
    make_dataset(call, "u")
    alone = call("POST", "/api/v1/viz", {"tables": ["t"], "name": "alone"}).json["id"]
    both = call("POST", "/api/v1/viz", {"tables": ["t", "u"], "name": "both"}).json["id"]
    shown = call("GET", f"{TABLES}/t").json
    for name, expected in (("dependent_visualizations", alone), ("non_dependent_visualizations", both)):
        [a_map] = shown[name]
        assert sorted(a_map) == ["auth_tokens", "id", "name", "permission", "updated_at"]
        assert a_map["id"] == expected
    assert shown["table_visualization"]["permission"]["owner"]["username"] == "tester"
    assert shown["table_visualization"]["related_tables"] == []


@pytest.mark.parametrize(
    ("wished", "expected"),
    [
        ({"name": "My new Blank table"}, "my_new_blank_table"),
        ({"name": "_x"}, "table_x"),
        ({"name": "select"}, "select_t"),
        ({"name": "taken"}, "taken_1"),
        ({"name": ""}, "untitled_table"),
        ({}, "untitled_table"),
    ],
)
def test_name_of_a_new_table(call: Call, wished: dict[str, str], expected: str) -> None:
    query(call, "CREATE VIEW taken AS SELECT 1 AS i")
    made = call("POST", TABLES, wished)
    assert (made.status, made.json["name"]) == (200, expected)
    assert made.json["schema"] == [
        ["cartodb_id", "number"],
        ["the_geom", "geometry", "geometry", "geometry"],
        ["description", "string"],
        ["name", "string"],
    ]


def test_columns_of_a_new_table(call: Call, carto: LocalCarto) -> None:
    schema = 'code varchar primary key, "My Size" numeric(5,2), date_prod timestamp'
    body = {"name": "n", "schema": schema, "description": "d", "tags": "a,b", "from_query": "x", "privacy": "PUBLIC"}
    made = requests.post(
        carto.base_url + TABLES, json=body, params={"api_key": carto.credentials.api_key or ""}, timeout=10
    )
    assert made.headers["Location"] == f"/tables/{made.json()['id']}"
    assert [column[:2] for column in made.json()["schema"]] == [
        ["cartodb_id", "number"],
        ["the_geom", "geometry"],
        ["code", "string"],
        ["date_prod", "date"],
        ["my_size", "number"],
    ]
    assert (made.json()["description"], made.json()["privacy"]) == ("d", "PRIVATE")
    dataset = call("GET", "/api/v1/viz/n").json
    assert (dataset["description"], dataset["tags"]) == ("d", ["a", "b"])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"schema": "code nonsense"}, 'PG::UndefinedObject: ERROR:  type "nonsense" does not exist'),
        ({"schema": "a int); DROP TABLE t; CREATE TABLE x (b int"}, "cannot insert multiple commands"),
        ({"the_geom_type": "circle"}, "unsupported geometry type 'circle'"),
    ],
)
def test_invalid_new_table(call: Call, body: dict[str, str], message: str) -> None:
    make_dataset(call)
    refused = call("POST", TABLES, body)
    assert (refused.status, sorted(refused.json)) == (400, ["description", "stack"])
    assert message in refused.json["description"][0]
    assert call("GET", "/api/v1/viz", types="table").json["total_entries"] == 1


@pytest.mark.parametrize(
    ("wished", "kind"),
    [("Point", "point"), ("multipoint", "point"), ("line", "multilinestring"), ("polygon", "multipolygon")],
)
def test_geometry_type_of_a_new_table(call: Call, wished: str, kind: str) -> None:
    made = call("POST", TABLES, {"the_geom_type": wished})
    assert made.json["schema"][1] == ["the_geom", "geometry", "geometry", kind]


def test_description_of_a_table_is_its_own(call: Call) -> None:
    made = call("POST", TABLES, {"name": "t", "description": "first"}).json
    dataset = made["table_visualization"]
    changed = call("PUT", f"{TABLES}/t", {"description": "of the table", "name": "ignored"})
    assert (changed.status, changed.json["description"], changed.json["name"]) == (200, "of the table", "t")
    assert changed.json["warnings"] == []
    assert call("GET", "/api/v1/viz/t").json["description"] == "first"
    call("PUT", f"/api/v1/viz/{dataset['id']}", {"id": dataset["id"], "description": "of the dataset"})
    shown = call("GET", f"{TABLES}/t").json
    assert (shown["description"], shown["table_visualization"]["description"]) == ("of the table", "of the dataset")
    assert call("PUT", f"{TABLES}/t", {"tags": "a,b"}).json["description"] == "of the table"


@pytest.mark.parametrize(("number", "privacy"), [(1, "PUBLIC"), (2, "LINK"), ("1", "PUBLIC"), (0, "PRIVATE")])
def test_privacy_is_set_by_number(call: Call, number: object, privacy: str) -> None:
    make_dataset(call)
    assert call("PUT", f"{TABLES}/t", {"privacy": number}).json["privacy"] == privacy
    assert call("GET", "/api/v1/viz/t").json["privacy"] == privacy


@pytest.mark.parametrize("privacy", [666, "PUBLIC", -1, True, [1]])
def test_unknown_privacy_is_refused(call: Call, privacy: object) -> None:
    make_dataset(call)
    refused = call("PUT", f"{TABLES}/t", {"privacy": privacy})
    assert (refused.status, refused.json) == (400, {"errors": ["Privacy is not included in the list"]})


def test_points_are_made_of_two_columns(call: Call) -> None:
    make_dataset(call, columns="lat text, lon float", rows="('40,4', -3.7), ('91', 1), ('1', 181), ('x', 1), (NULL, 1)")
    made = call("PUT", f"{TABLES}/t", {"latitude_column": "lat", "longitude_column": "lon"})
    assert made.json["schema"][1] == ["the_geom", "geometry", "geometry", "point"]
    rows = query(call, "SELECT ST_AsText(the_geom) AS point FROM t WHERE the_geom IS NOT NULL")["rows"]
    assert rows == [{"point": "POINT(-3.7 40.4)"}]
    for columns in ({"latitude_column": "nil"}, {"latitude_column": "missing"}):
        assert call("PUT", f"{TABLES}/t", {"longitude_column": "lon", **columns}).status == 400


@pytest.mark.parametrize(
    ("typed", "values", "expected"),
    [
        ("geometry(MultiPolygonZ,4326)", "(NULL)", []),
        (
            "geometry(Geometry,4326)",
            "('SRID=4326;POINT(1 2)'), ('SRID=4326;LINESTRING(1 2,3 4)')",
            ["ST_LineString", "ST_Point"],
        ),
        ("geometry(Geometry,4326)", "(NULL), ('SRID=4326;POINT(1 2)')", ["ST_Point"]),
    ],
)
def test_types_of_geometry(call: Call, typed: str, values: str, expected: list[str]) -> None:
    make_dataset(call, columns=f"the_geom {typed}")
    query(call, f"INSERT INTO t (the_geom) VALUES {values}")
    assert call("GET", f"{TABLES}/t").json["geometry_types"] == expected
