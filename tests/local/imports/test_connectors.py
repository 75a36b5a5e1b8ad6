from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from cartoframes_lite.local.imports.connectors import redact_password, stage_connector, unwrap_parameters
from cartoframes_lite.local.imports.files import ImportJobError, StagedTable
from cartoframes_lite.local.plan import Plan
from cartoframes_lite.local.postgres.cluster import Cluster, open_cluster
from cartoframes_lite.local.state import State

Stage = Callable[..., list[tuple[Any, ...]]]
PLAN = Plan()
TYPES = """
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE DOMAIN short AS varchar(5);
CREATE TABLE "Odd ones" (
    "Flag" bool, i2 int2, i8 int8, n numeric(10, 3), f float8, t text, v varchar(20), b bytea, d date, ts timestamp,
    tz timestamptz, j jsonb, u uuid, a int[], ta text[], m mood, ma mood[], s short, r regclass, g geometry(Point, 3857)
);
INSERT INTO "Odd ones" VALUES (true, 1, 9007199254740993, 1.125, 0.1, E'a\\tb\\nc\\\\', 'x', '\\x00ff', '2020-02-03',
    '2020-02-03 04:05:06.789', '2020-02-03 04:05:06+02', '{"k": [1]}', '11111111-1111-1111-1111-111111111111',
    '{1,NULL}', '{"a b",NULL}', 'happy', '{sad}', 'abc', 'pg_class',
    ST_Transform(ST_SetSRID(ST_MakePoint(2, 48), 4326), 3857));
INSERT INTO "Odd ones" (t) VALUES (NULL), ('');
"""


@pytest.fixture(scope="module")
def other() -> Iterator[Cluster]:
    """Start another PostgreSQL, with PostGIS."""
    started = open_cluster()
    with psycopg.connect(started.dsn) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS postgis")
        connection.execute(TYPES)
        connection.execute("CREATE SCHEMA s; CREATE TABLE s.t AS SELECT i FROM generate_series(1, 1000) i")
    yield started
    started.stop()


@pytest.fixture
def connection(other: Cluster) -> dict[str, Any]:
    """Return the connection of a connector to it."""
    known = conninfo_to_dict(other.dsn)
    return {"server": known["host"], "port": known["port"], "database": known["dbname"], "username": known["user"]}


@pytest.fixture
def owner(state: State) -> Iterator[psycopg.Connection[Any]]:
    """Open a session of the account's owner."""
    with psycopg.connect(state.conninfo(state.owner_role)) as session:
        yield session
        session.rollback()


def rows(owner: psycopg.Connection[Any], staged: StagedTable, columns: str) -> list[tuple[Any, ...]]:
    return owner.execute(f'SELECT {columns} FROM public."{staged.table}" ORDER BY cartodb_id').fetchall()


def refused(owner: psycopg.Connection[Any], connector: Any, plan: Plan = PLAN) -> ImportJobError:
    with pytest.raises(ImportJobError) as caught, owner.transaction():
        stage_connector(owner, connector, plan=plan)
    left = owner.execute("SELECT FROM pg_tables WHERE schemaname = 'public' AND tablename ~ '^import_'").fetchall()
    assert not left
    return caught.value


def test_table_comes_with_its_types_and_values(owner: psycopg.Connection[Any], connection: dict[str, Any]) -> None:
    connector = {"provider": "postgres", "connection": connection, "table": "Odd ones"}
    staged = stage_connector(owner, connector, plan=PLAN)
    assert (staged.name, staged.rows) == ("odd_ones", 3)
    first, second, third = rows(
        owner, staged, "flag, i2, i8, n::text, f, t, v, b, d::text, ts::text, j, u::text, a, ta, m, ma, s, r"
    )
    assert first == (
        *(True, 1, 9007199254740993, "1.125", 0.1, "a\tb\nc\\", "x", b"\x00\xff", "2020-02-03"),
        *("2020-02-03 04:05:06.789", {"k": [1]}, "11111111-1111-1111-1111-111111111111", [1, None], ["a b", None]),
        *("happy", "{sad}", "abc", "pg_class"),
    )
    assert set(second) == {None}
    assert third[5] == ""
    declared = owner.execute(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = %s::regclass AND attnum > 0",
        (staged.table,),
    ).fetchall()
    types = dict(declared)
    assert (types["n"], types["v"], types["tz"]) == (
        "numeric(10,3)",
        "character varying(20)",
        "timestamp with time zone",
    )
    assert (types["m"], types["r"], types["a"]) == ("text", "text", "integer[]")


def test_geometry_becomes_the_geom_in_4326(owner: psycopg.Connection[Any], connection: dict[str, Any]) -> None:
    connector = {"provider": "postgres", "connection": connection, "table": "Odd ones"}
    staged = stage_connector(owner, connector, plan=PLAN)
    assert rows(owner, staged, "ST_AsText(the_geom, 6), ST_SRID(the_geom), ST_SRID(the_geom_webmercator)") == [
        ("POINT(2 48)", 4326, 3857),
        (None, None, None),
        (None, None, None),
    ]


@pytest.mark.parametrize("query", ["SELECT i, i AS i FROM s.t WHERE i <= 2 -- two", " SELECT 1 AS i, 2 AS j; "])
def test_rows_of_a_query(owner: psycopg.Connection[Any], connection: dict[str, Any], query: str) -> None:
    connector = {"provider": "postgresql", "connection": connection, "sql_query": query, "import_as": "My rows"}
    staged = stage_connector(owner, connector, plan=PLAN)
    assert staged.name == "my_rows"
    assert rows(owner, staged, "i")[0] == (1,)


def test_other_database_may_write_in_its_own_ways(
    owner: psycopg.Connection[Any], connection: dict[str, Any], other: Cluster
) -> None:
    with psycopg.connect(other.dsn, autocommit=True) as there:
        there.execute("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
        for setting in ("datestyle = 'SQL, DMY'", "intervalstyle = iso_8601", "extra_float_digits = 0"):
            there.execute(f"ALTER DATABASE latin SET {setting}".encode())
        there.execute("ALTER DATABASE latin SET bytea_output = escape")
    query = (
        "SELECT 'café {} %s' AS t, date '2020-02-03' AS d, timestamptz '2020-02-03 04:05+06' AS tz,"
        " interval '1 mon -2 days' AS i, 0.1::float8 + 0.2 AS f, '\\x00ff'::bytea AS b, '1.5'::numeric::money AS m"
    )
    there_too = {**connection, "database": "latin"}
    connector = {"provider": "postgres", "connection": there_too, "sql_query": query, "import_as": "x"}
    staged = stage_connector(owner, connector, plan=PLAN)
    assert rows(owner, staged, "t, d::text, tz = '2020-02-03 04:05+06', i = '1 mon -2 days', f, b, m") == [
        ("café {} %s", "2020-02-03", True, True, 0.1 + 0.2, b"\x00\xff", "$1.50")
    ]


def test_query_may_only_read(owner: psycopg.Connection[Any], connection: dict[str, Any], other: Cluster) -> None:
    base = {"provider": "postgres", "connection": connection, "import_as": "x"}
    for query in (
        "SELECT 1) TO STDOUT; COMMIT; DROP TABLE s.t; COPY (SELECT 1",
        "SELECT 1) AS a; COMMIT; DROP TABLE s.t; SELECT * FROM (SELECT 1",
        "DELETE FROM s.t RETURNING i",
        "SELECT setval(pg_get_serial_sequence('s.t', 'i'), 1) FROM nextval('nothing')",
    ):
        assert refused(owner, {**base, "sql_query": query}).code == 1500
    with psycopg.connect(other.dsn) as there:
        assert there.execute("SELECT count(*) FROM s.t").fetchone() == (1000,)


def test_limits_of_the_plan(owner: psycopg.Connection[Any], connection: dict[str, Any]) -> None:
    connector = {"provider": "postgres", "connection": connection, "schema": "s", "table": "t"}
    assert stage_connector(owner, connector, plan=replace(PLAN, rows=1000)).rows == 1000
    owner.rollback()
    assert refused(owner, connector, replace(PLAN, rows=999)).code == 6668
    assert refused(owner, {**connector, "schema": None, "table": "Odd ones"}, replace(PLAN, columns=19)).code == 2004


@pytest.mark.parametrize(
    "change",
    [
        {"provider": "oracle"},
        {"provider": None},
        {"surprise": 1},
        {"table": None},
        {"table": None, "sql_query": "SELECT 1"},
        {"table": 1},
        {"connection": None},
        {"connection": "Server=x;Password=secret"},
        {"connection": {"server": "127.0.0.1", "database": "d"}},
        {"connection": {"server": "127.0.0.1", "database": "d", "username": "u", "port": "x"}},
        {"connection": {"server": "127.0.0.1", "database": "d", "username": "u", "sslmode": "maybe"}},
        {"connection": {"server": "127.0.0.1", "database": "d", "username": "u", "options": "-c x=y"}},
    ],
)
def test_parameters_that_make_no_sense(
    owner: psycopg.Connection[Any], connection: dict[str, Any], change: dict[str, Any]
) -> None:
    good = {"provider": "postgres", "connection": connection, "schema": "s", "table": "t"}
    assert refused(owner, {**good, **change}).code == 1502


def test_errors_of_the_other_database(owner: psycopg.Connection[Any], connection: dict[str, Any]) -> None:
    good = {"provider": "postgres", "connection": {**connection, "password": "secret"}, "table": "t", "schema": "s"}
    for change in (
        {"table": "nothing"},
        {"table": None, "sql_query": "SELECT 1/0 AS i", "import_as": "x"},
        {"table": None, "sql_query": "SELEC", "import_as": "x"},
        {"connection": {**good["connection"], "database": "nothing"}},
        {"connection": {**good["connection"], "username": "nobody"}},
        {"connection": {**good["connection"], "server": "127.0.0.1", "port": 1}},
        {"connection": {**good["connection"], "server": "/nowhere"}},
    ):
        error = refused(owner, {**good, **change})
        assert error.code == 1500
        assert error.detail
        assert "secret" not in error.detail


def test_private_addresses_are_refused(owner: psycopg.Connection[Any], connection: dict[str, Any]) -> None:
    for server in ("10.0.0.1", "169.254.169.254", "::ffff:10.0.0.1"):
        connector = {"provider": "postgres", "connection": {**connection, "server": server}, "table": "t"}
        assert refused(owner, connector).code == 1101


def test_connectors_refuse_the_socket_of_the_server(
    owner: psycopg.Connection[Any], cluster: Cluster, tmp_path: Path
) -> None:
    own = conninfo_to_dict(cluster.dsn)
    link = tmp_path / "link"
    link.symlink_to(str(own["host"]))
    for server in (own["host"], f"{own['host']}/../{str(own['host']).rpartition('/')[2]}/", str(link)):
        there = {"server": server, "database": own["dbname"], "username": "postgres"}
        query = {"sql_query": "SELECT pg_read_file('/etc/hostname')", "import_as": "x"}
        assert refused(owner, {"provider": "postgres", "connection": there, **query}).code == 1502


def test_parameters_are_unwrapped() -> None:
    inner = {"provider": "postgres", "table": "t"}
    assert unwrap_parameters(inner) == inner
    assert unwrap_parameters({"connector": inner}) == inner
    assert unwrap_parameters({"connector": {"connector": inner}, "schema": "s"}) == {**inner, "schema": "s"}
    with pytest.raises(ImportJobError):
        unwrap_parameters({"connector": "x"})


def test_password_is_hidden() -> None:
    shown = redact_password({"connection": {"server": "s", "password": "secret"}})
    assert shown == {"connection": {"server": "s", "password": "***"}}
    assert "secret" not in str(redact_password({"connection": "Password=secret"}))
