from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.local.catalog.test_tables import make_dataset, query

Call = Callable[..., Any]
COLUMNS = "/api/v1/tables/t/columns"


def values(call: Call, column: str = "v") -> list[Any]:
    rows = query(call, f"SELECT {column} AS value FROM t ORDER BY cartodb_id")["rows"]
    return [row["value"] for row in rows]


def test_columns_are_listed_as_in_the_table(call: Call) -> None:
    make_dataset(call, columns="s text, a int")
    listed = call("GET", COLUMNS).json
    assert listed == [
        ["cartodb_id", "number"],
        ["the_geom", "geometry", "geometry", "geometry"],
        ["a", "number"],
        ["s", "string"],
    ]
    assert call("GET", "/api/v1/tables/t").json["schema"] == listed
    assert call("GET", "/api/v1/tables/public.t/columns").json == listed


@pytest.mark.parametrize(
    ("name", "expected"),
    [("s", {"type": "string"}), ("the_geom", {"type": "geometry"}), ("d", {"type": "date"}), ("j", {"type": "json"})],
)
def test_type_of_a_column(call: Call, name: str, expected: dict[str, str]) -> None:
    make_dataset(call, columns="s text, d timestamptz, j json")
    assert call("GET", f"{COLUMNS}/{name}").json == expected


@pytest.mark.parametrize("name", ["missing", "the_geom_webmercator"])
def test_unknown_column(call: Call, name: str) -> None:
    make_dataset(call)
    missing = call("GET", f"{COLUMNS}/{name}")
    assert (missing.status, missing.json) == (404, {"errors": f"Column {name} doesn't exist"})


@pytest.mark.parametrize(
    ("name", "wanted", "expected"),
    [
        ("postal code", "Number", ("postal_code", "double precision", "number")),
        ("My New column", "string", ("my_new_column", "text", "string")),
        ("Población", "boolean", ("poblacion", "boolean", "boolean")),
        ("when", "date", ("_when", "timestamptz", "date")),
        ("n", "Integer", ("n", "integer", "number")),
        ("n", "numeric(5,2)", ("n", "numeric(5,2)", "number")),
        ("n", "varchar(3)", ("n", "varchar(3)", "string")),
        ("n", "jsonb", ("n", "jsonb", "jsonb")),
        ("n", "serial", ("n", "serial", "number")),
    ],
)
def test_column_is_added(call: Call, name: str, wanted: str, expected: tuple[str, str, str]) -> None:
    make_dataset(call)
    before = call("GET", "/api/v1/tables/t").json["updated_at"]
    added = call("POST", COLUMNS, {"name": name, "type": wanted})
    assert (added.status, added.json) == (200, dict(zip(("name", "type", "cartodb_type"), expected, strict=True)))
    assert [expected[0], expected[2]] in call("GET", COLUMNS).json
    assert call("GET", "/api/v1/tables/t").json["updated_at"] > before


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"name": "n", "type": "integerrr"}, 'PG::UndefinedObject: ERROR:  type "integerrr" does not exist'),
        ({"name": "v", "type": "number"}, 'PG::DuplicateColumn: ERROR:  column "v" of relation "t" already exists'),
        ({"name": "n", "type": "int); DROP TABLE t; --"}, "PG::SyntaxError: ERROR:  "),
        ({"name": "oid", "type": "number"}, "invalid column name 'oid'"),
        ({"name": "ogc_fid", "type": "number"}, "invalid column name 'ogc_fid'"),
        ({"name": "xmin", "type": "number"}, "invalid column name 'xmin'"),
        ({"name": "2019", "type": "number"}, "invalid column name '2019'"),
        ({"type": "number"}, "name can't be blank"),
        ({"name": "n"}, "type can't be blank"),
    ],
)
def test_invalid_column_is_refused(call: Call, body: dict[str, str], message: str) -> None:
    make_dataset(call)
    refused = call("POST", COLUMNS, body)
    assert (refused.status, list(refused.json)) == (400, ["errors"])
    assert refused.json["errors"][0].startswith(message)
    assert len(call("GET", COLUMNS).json) == 3


def test_column_is_renamed(call: Call) -> None:
    make_dataset(call, columns="name text, other int", rows="('x', 1)")
    renamed = call("PUT", f"{COLUMNS}/name", {"new_name": "My Name"})
    assert (renamed.status, renamed.json) == (200, {"name": "my_name", "type": "text", "cartodb_type": "string"})
    assert values(call, "my_name") == ["x"]
    both = call("PUT", f"{COLUMNS}/my_name", {"new_name": "select", "type": "number"})
    assert both.json == {"name": "_select", "type": "double precision", "cartodb_type": "number"}


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("name", {"new_name": "other"}, "Column already exists"),
        ("name", {"new_name": "the_geom"}, "That column name is reserved, please choose a different one"),
        ("missing", {"new_name": "x"}, 'PG::UndefinedColumn: ERROR:  column "missing" does not exist'),
        ("missing", {"type": "number"}, "Column missing doesn't exist"),
        ("cartodb_id", {"type": "string"}, "This column cannot be modified"),
        ("the_geom", {"new_name": "x"}, "This column cannot be modified"),
        ("name", {"type": "integerr"}, 'PG::UndefinedObject: ERROR:  type "integerr" does not exist'),
        ("name", {"type": "integer"}, "PG::InvalidTextRepresentation: ERROR:  invalid input syntax for type integer"),
    ],
)
def test_invalid_change_is_refused(call: Call, name: str, body: dict[str, str], message: str) -> None:
    make_dataset(call, columns="name text, other int", rows="('x', 1)")
    refused = call("PUT", f"{COLUMNS}/{name}", body)
    assert (refused.status, list(refused.json)) == (400, ["errors"])
    assert refused.json["errors"][0].startswith(message)
    assert values(call, "name") == ["x"]


@pytest.mark.parametrize(
    ("typed", "given", "wanted", "expected"),
    [
        ("text", "('1.5'), ('x'), ('-2')", "number", [1.5, None, -2]),
        ("text", "('1,234.5'), ('$1,000,000')", "number", [1234.5, 1_000_000]),
        ("text", "('1.234,5'), ('7,25')", "number", [1234.5, 7.25]),
        ("text", "('2020-01-02T03:04:05Z'), ('x'), ('1577934245')", "date", ["2020-01-02T03:04:05Z", None] * 2),
        ("text", "('yes'), ('0'), (' FALSE '), ('f'), ('')", "boolean", [True, False, False, False, None]),
        ("boolean", "(true), (false), (NULL)", "number", [1, 0, None]),
        ("boolean", "(true)", "date", [None]),
        ("boolean", "(true)", "string", ["true"]),
        ("float8", "(0), (2.5)", "boolean", [False, True]),
        ("float8", "(1)", "date", [None]),
        ("float8", "(2.5)", "string", ["2.5"]),
        ("timestamptz", "('1970-01-02T00:00:00Z')", "number", [86400]),
        ("timestamptz", "('1970-01-02T00:00:00Z')", "boolean", [None]),
        ("int", "(7)", "number", [7]),
    ],
)
def test_values_are_converted(call: Call, typed: str, given: str, wanted: str, expected: list[Any]) -> None:
    make_dataset(call, columns=f"v {typed}", rows=given)
    changed = call("PUT", f"{COLUMNS}/v", {"type": wanted})
    assert (changed.status, changed.json["cartodb_type"]) == (200, wanted)
    found = values(call)
    assert found == ([*expected[:2], "2020-01-02T03:04:05Z"] if len(expected) == 4 else expected)


def test_column_is_dropped(call: Call) -> None:
    make_dataset(call, columns="name text, created_at timestamptz")
    dropped = call("DELETE", f"{COLUMNS}/name")
    assert (dropped.status, dropped.body) == (204, b"")
    for name in ("cartodb_id", "the_geom", "created_at", "name"):
        refused = call("DELETE", f"{COLUMNS}/{name}")
        assert (refused.status, list(refused.json)) == (400, ["errors"])


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", COLUMNS, None),
        ("GET", f"{COLUMNS}/v", None),
        ("POST", COLUMNS, {"name": "x", "type": "number"}),
        ("PUT", f"{COLUMNS}/v", {"type": "string"}),
        ("DELETE", f"{COLUMNS}/v", None),
    ],
)
def test_columns_need_the_master_key(call: Call, method: str, path: str, body: object) -> None:
    make_dataset(call)
    query(call, "GRANT ALL ON t TO publicuser")
    refused = call(method, path, body, key=None)
    assert (refused.status, refused.body) == (401, b"")
    assert call(method, path.replace("/t/", "/missing/"), body).status == 404
