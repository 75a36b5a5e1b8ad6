from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.local.catalog.test_tables import make_dataset, query

Call = Callable[..., Any]
RECORDS = "/api/v1/tables/t/records"
POINT = '{"type":"Point","coordinates":[-3.010254,55.973798]}'


def test_row_is_read_with_its_types(call: Call) -> None:
    columns = """
        n numeric, i int, f float8, b bool, s text, d timestamptz, naive timestamp, day date, j jsonb, a int[],
        nan float8, the_geom geometry(Geometry, 4326)
    """
    row = """(12.50, 7, 1.5, true, 'x', '2020-01-02T03:04:05.678+01', '2020-01-02T03:04:05', '2020-01-02',
              '{"k": 1}', '{1,2}', 'NaN', ST_SetSRID(ST_MakePoint(1.123456789, 2), 4326))"""
    make_dataset(call, columns=columns, rows=row)
    shown = call("GET", f"{RECORDS}/1")
    assert shown.status == 200
    assert " ".join(shown.json) == "cartodb_id the_geom a b d day f i j n naive nan s"
    assert shown.json == {
        "cartodb_id": 1,
        "the_geom": '{"type":"Point","coordinates":[1.12345679,2]}',
        "a": "{1,2}",
        "b": True,
        "d": "2020-01-02T02:04:05.678+00:00",
        "day": "2020-01-02T00:00:00.000+00:00",
        "f": 1.5,
        "i": 7,
        "j": '{"k": 1}',
        "n": "12.5",
        "naive": "2020-01-02T03:04:05.000+00:00",
        "nan": None,
        "s": "x",
    }


@pytest.mark.parametrize("row_id", ["1000", "x", "-1", "1 OR true", "9" * 30])
def test_unknown_row(call: Call, row_id: str) -> None:
    make_dataset(call, rows="(1)")
    path = f"{RECORDS}/{row_id.replace(' ', '%20')}"
    missing = call("GET", path)
    assert (missing.status, missing.json) == (404, {"errors": [f"Record {row_id} not found"]})
    missing = call("PUT", path, {"v": 2})
    assert (missing.status, missing.json) == (404, {"errors": [f"row identified with {row_id} not found"]})


def test_row_is_inserted_updated_and_deleted(call: Call) -> None:
    make_dataset(call, columns="name text, n int")
    made = call("POST", RECORDS, {"name": "a", "n": 5, "the_geom": POINT})
    assert (made.status, made.json) == (200, {"cartodb_id": 1, "the_geom": POINT, "n": 5, "name": "a"})
    assert call("GET", f"{RECORDS}/1").json == made.json
    other = POINT.replace("55.9", "44.9")
    changed = call("PUT", f"{RECORDS}/1", {"cartodb_id": 1, "name": "b", "the_geom": other})
    assert (changed.status, changed.json) == (200, {**made.json, "name": "b", "the_geom": other})
    assert call("PUT", f"{RECORDS}/1", {"the_geom": POINT}).json["the_geom"] == POINT
    assert call("PUT", f"{RECORDS}/1", {"n": None, "name": "null"}).json["name"] is None
    assert call("POST", RECORDS, {}).json == {"cartodb_id": 2, "the_geom": None, "n": None, "name": None}
    for row_ids in ("1", "1", "2,77"):
        deleted = call("DELETE", f"{RECORDS}/{row_ids}")
        assert (deleted.status, deleted.body) == (204, b"")
    assert query(call, "SELECT count(*) AS n FROM t")["rows"] == [{"n": 0}]
    refused = call("DELETE", f"{RECORDS}/1,x")
    assert (refused.status, refused.json) == (404, {"errors": ["row identified with 1,x not found"]})


def test_parameters_of_the_url_are_columns(call: Call) -> None:
    make_dataset(call, columns="name text, format text")
    assert call("POST", RECORDS, {}, name="a", format="json").json["name"] == "a"
    assert query(call, "SELECT format FROM t")["rows"] == [{"format": None}]


@pytest.mark.parametrize(
    ("column", "value", "expected", "typed"),
    [
        ("n int", "30.2", 30.2, "double precision"),
        ("n int", 30.2, 30.2, "double precision"),
        ("n int", 10**12, 1e12, "double precision"),
        ("n varchar(3)", "longer", "longer", "text"),
        ("n int", "7", 7, "integer"),
        ("n boolean", "t", True, "boolean"),
        ("n jsonb", {"k": [1]}, json.dumps({"k": [1]}), "jsonb"),
    ],
)
def test_column_is_widened_for_a_value(call: Call, column: str, value: Any, expected: Any, typed: str) -> None:
    make_dataset(call, columns=f"{column}, other varchar(3)")
    made = call("POST", RECORDS, {"n": value, "other": "abc"})
    assert (made.status, made.json["n"]) == (200, expected)
    assert call("PUT", f"{RECORDS}/1", {"n": value}).json["n"] == expected
    types = query(call, "SELECT CDB_ColumnType('t', 'n') AS n, CDB_ColumnType('t', 'other') AS other")["rows"]
    assert types == [{"n": typed, "other": "character varying"}]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"nope": 1}, "CartoDB::InvalidAttributes"),
        ({"n": "abc"}, "PG::InvalidTextRepresentation: ERROR:  invalid input syntax for type double precision"),
        ({"b": "abc"}, "PG::InvalidTextRepresentation: ERROR:  invalid input syntax for type boolean"),
        ({"the_geom": "x"}, "Invalid geometry: "),
        ({"the_geom": '{"type":"Point"}'}, "Invalid geometry: "),
        ({"s": None}, 'PG::NotNullViolation: ERROR:  null value in column "s"'),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_refused_row_changes_nothing(call: Call, method: str, body: dict[str, Any], message: str) -> None:
    make_dataset(call, columns="n int, b bool, s text", rows="(1, true, 'x')")
    query(call, "ALTER TABLE t ALTER COLUMN s SET NOT NULL, ALTER COLUMN s SET DEFAULT 'y'")
    refused = call(method, RECORDS if method == "POST" else f"{RECORDS}/1", body)
    assert (refused.status, list(refused.json)) == (400, ["errors"])
    assert refused.json["errors"][0].startswith(message)
    assert query(call, "SELECT n, b, s FROM t")["rows"] == [{"n": 1, "b": True, "s": "x"}]
    assert query(call, "SELECT CDB_ColumnType('t', 'n') AS n")["rows"] == [{"n": "integer"}]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", f"{RECORDS}/1"), ("POST", RECORDS), ("PUT", f"{RECORDS}/1"), ("DELETE", f"{RECORDS}/1")],
)
def test_records_need_the_master_key(call: Call, method: str, path: str) -> None:
    make_dataset(call, rows="(1)")
    query(call, "GRANT ALL ON t TO publicuser")
    body = {"v": 2} if method in ("POST", "PUT") else None
    refused = call(method, path, body, key=None)
    assert (refused.status, refused.body) == (401, b"")
    missing = call(method, path.replace("/t/", "/missing/"), body)
    assert (missing.status, missing.body) == (404, b"")


def test_names_with_special_characters(call: Call) -> None:
    query(call, """CREATE TABLE "a%s b" ("c%(x)s" text, "q""t" int); SELECT CDB_CartodbfyTable('"a%s b"')""")
    call("GET", "/api/v1/viz")
    path = "/api/v1/tables/a%25s%20b/records"
    made = call("POST", path, {"c%(x)s": "100%", 'q"t': 1, "the_geom": POINT})
    assert (made.status, made.json["c%(x)s"], made.json['q"t']) == (200, "100%", 1)
    assert call("PUT", f"{path}/1", {"c%(x)s": "%s"}).json["c%(x)s"] == "%s"
    assert call("DELETE", f"{path}/1").status == 204
    assert call("GET", f"{path}/1").status == 404


def test_rows_are_not_listed(call: Call) -> None:
    make_dataset(call, rows="(1)")
    assert call("GET", RECORDS).status == 404
