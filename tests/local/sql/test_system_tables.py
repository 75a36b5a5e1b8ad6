from __future__ import annotations

import time

import pytest
import requests

from cartoframes_lite.local import LocalCarto
from cartoframes_lite.local.sql.system_tables import statements
from tests.local.sql_client import SQLClient, error_of

FORBIDDEN = "system tables are forbidden"


@pytest.mark.parametrize(
    "query",
    [
        "SELECT count(*) FROM pg_class",
        "SELECT 1 FROM pg_class LIMIT 0",
        "TABLE pg_namespace;",
        "SELECT name FROM CDB_UserTables() AS t (name)",  # inlined
        "SELECT * FROM CDB_ColumnNames('spatial_ref_sys')",
        "SELECT 1 FROM information_schema.tables",
        "SELECT * FROM geometry_columns",
        "WITH c AS (SELECT relname FROM pg_class) SELECT * FROM c",
        "SELECT EXISTS (SELECT FROM pg_class)",
        "SELECT 1; SELECT 1 FROM pg_class",
        "SELECT ';', $$;$$, $a$ ; $a$ FROM pg_class",
        "INSERT INTO t SELECT 1; SELECT 1 FROM pg_class",
        "SELECT * FROM pg_mine",  # any table of such a name
    ],
)
def test_regular_keys_cannot_read_system_tables(sql: SQLClient, query: str) -> None:
    sql.run("CREATE TABLE t (a int); CREATE TABLE pg_mine (a int)")
    assert sql.send(query).status_code == 200
    for other in (sql.with_key(None), sql.regular("t", "pg_mine", permissions=["select", "insert"])):
        response = other.send(query)
        if other.key is None and "mine" in query:
            continue  # may not read it in the first place
        assert (response.status_code, error_of(response)) == (403, FORBIDDEN)
        assert response.headers["content-disposition"] == "inline"
    assert sql.value("SELECT count(*) FROM t") == query.count("INSERT")  # that of the master key


@pytest.mark.parametrize(
    "query",
    [
        "SELECT CDB_UserTables() AS name",
        "SELECT CDB_ColumnNames('spatial_ref_sys')",
        "SELECT 'pg_class'::regclass::text",
        "SELECT has_table_privilege('pg_class', 'SELECT')",
        "SELECT 1 FROM pg_class WHERE false",  # the plan has no table
        "SELECT 1 FROM information_schema.sql_features",
        "SELECT 1 FROM cdb_tablemetadata",
        "EXPLAIN SELECT 1 FROM pg_class",
        "SELECT 1 FROM pg_class LIMIT 1 -- a comment hides the end of the subquery",
        """SELECT 1 AS "Relation Name", '"Relation Name": "pg_class"' AS a""",
        "",
    ],
)
def test_queries_without_system_tables_pass(sql: SQLClient, query: str) -> None:
    assert sql.with_key(None).send(query).status_code == 200


@pytest.mark.parametrize("format", ["json", "geojson", "csv", "svg", "gpkg"])
def test_every_format_is_checked(sql: SQLClient, format: str) -> None:
    response = sql.with_key(None).send("SELECT NULL::geometry AS the_geom FROM pg_class", format=format)
    assert (response.status_code, error_of(response)) == (403, FORBIDDEN)


def test_a_query_that_fails_says_why(sql: SQLClient) -> None:
    public = sql.with_key(None)
    response = public.send("SELECT 1 FROM nope; SELECT 1 FROM pg_class")
    assert (response.status_code, error_of(response)) == (400, 'relation "nope" does not exist')
    response = public.send("SELECT * FROM pg_authid")
    assert (response.status_code, error_of(response)) == (403, "permission denied for table pg_authid")


def test_copyto_and_maps_are_not_checked(carto: LocalCarto, sql: SQLClient) -> None:
    assert sql.with_key(None).copy_to("COPY (SELECT count(*) > 0 FROM pg_class) TO STDOUT").content == b"t\n"
    options = {"sql": "SELECT oid::int AS cartodb_id, NULL::geometry AS the_geom_webmercator FROM pg_class"}
    config = {"version": "1.7.0", "layers": [{"type": "mapnik", "options": options}]}
    assert requests.post(f"{carto.base_url}/api/v1/map", json=config, timeout=10).status_code == 200


def test_the_check_runs_nothing_and_leaves_nothing(sql: SQLClient) -> None:
    sql.run(
        "CREATE SEQUENCE s; GRANT USAGE ON SEQUENCE s TO publicuser; CREATE FUNCTION shout() RETURNS int IMMUTABLE"
        " LANGUAGE plpgsql AS 'BEGIN RAISE NOTICE ''once''; RETURN 1; END'"
    )
    regular = sql.regular()
    assert regular.run("SELECT nextval('s') AS n")["rows"] == [{"n": 1}]
    assert regular.run("SELECT shout()")["notices"] == ["once"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT 1", ["SELECT 1"]),
        (" SELECT 1 ;; SELECT 2; ", ["SELECT 1", "SELECT 2"]),
        ("""SELECT ';' ";" $$;$$ $a$;$$;$a$; x""", ["""SELECT ';' ";" $$;$$ $a$;$$;$a$""", "x"]),
        ("SELECT 'it''s;'; 2", ["SELECT 'it''s;'", "2"]),
        ("a /* ; */ b", ["a /*", "*/ b"]),  # comments mean nothing
        ("a 'b; c", ["a", "b", "c"]),
        ("a $b; c", ["a", "b", "c"]),
        ("; ;", []),
        ("", []),
    ],
)
def test_statements_end_at_semicolons_outside_of_quotes(query: str, expected: list[str]) -> None:
    assert list(statements(query)) == expected


@pytest.mark.parametrize("part", ["$a", "$$a", "';", "\"'", "a;", "$1,"])
def test_a_long_query_is_split_quickly(part: str) -> None:
    begun = time.thread_time()
    for _ in statements(part * 500_000):
        pass
    assert time.thread_time() - begun < 5  # what is quadratic takes hours
