from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import sql

from cartoframes_lite.local.postgres import Cluster
from cartoframes_lite.local.state import State

Connect = Callable[[str | None], psycopg.Connection[Any]]
Run = Callable[[str], list[tuple[Any, ...]]]
FINAL = (
    "CREATE TABLE t (cartodb_id bigserial PRIMARY KEY, the_geom geometry(Geometry{0},4326),"
    " the_geom_webmercator geometry(Geometry{0},3857), name text)"
)


@pytest.fixture
def run(connect: Connect) -> Run:
    """Run SQL as the account's owner; the rows of the last statement."""
    owner = connect("master-key")

    def execute(query: str) -> list[tuple[Any, ...]]:
        cursor = owner.execute(query.encode())
        while cursor.nextset():
            pass
        return cursor.fetchall() if cursor.description else []

    return execute


def columns(run: Run, table: str) -> list[tuple[str, str]]:
    return [
        (name, kind)
        for name, kind in run(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
            f" WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
        )
    ]


def test_plain_table_gets_its_final_shape(run: Run) -> None:
    run("CREATE TABLE t AS SELECT 'x'::text AS name, ST_SetSRID(ST_MakePoint(1, 2), 4326) AS the_geom")
    assert run("SELECT cdb_cartodbfytable('t'::regclass)::text") == [("t",)]
    assert columns(run, "t") == [
        ("cartodb_id", "bigint"),
        ("the_geom", "geometry(Geometry,4326)"),
        ("the_geom_webmercator", "geometry(Geometry,3857)"),
        ("name", "text"),
    ]
    assert run("INSERT INTO t (name) VALUES ('y') RETURNING cartodb_id") == [(2,)]
    assert run("SELECT count(*) FROM pg_indexes WHERE tablename = 't' AND indexdef LIKE '%gist%'") == [(2,)]
    triggers = run("SELECT tgname FROM pg_trigger WHERE tgrelid = 't'::regclass ORDER BY 1")
    assert triggers == [("test_quota",), ("track_updates",), ("update_the_geom_webmercator_trigger",)]


@pytest.mark.parametrize("suffix", ["", "Z", "M", "ZM"])
def test_final_shape_is_not_rewritten(run: Run, suffix: str) -> None:
    run(FINAL.format(suffix))
    ((before,),) = run("SELECT 't'::regclass::oid::bigint")
    assert run("SELECT cdb_cartodbfytable('public', 't')::oid::bigint") == [(before,)]
    assert run("SELECT cdb_cartodbfytable('public', 't')::oid::bigint") == [(before,)]
    assert run("SELECT count(*) FROM pg_indexes WHERE tablename = 't'") == [(3,)]


def test_second_call_changes_nothing(run: Run) -> None:
    run("CREATE TABLE t AS SELECT 1 AS a; SELECT cdb_cartodbfytable('t')")
    ((before,),) = run("SELECT 't'::regclass::oid::bigint")
    assert run("SELECT cdb_cartodbfytable('t')::oid::bigint") == [(before,)]


def test_existing_ids_are_kept_and_continued(run: Run) -> None:
    run("CREATE TABLE t (cartodb_id text, a int); INSERT INTO t VALUES ('7', 1), ('5', 2)")
    run("SELECT cdb_cartodbfytable('t')")
    assert run("INSERT INTO t (a) VALUES (3) RETURNING cartodb_id") == [(8,)]
    assert run("SELECT cartodb_id, a FROM t ORDER BY 1") == [(5, 2), (7, 1), (8, 3)]


@pytest.mark.parametrize("ids", ["(1), (1)", "(1), (NULL)", "('x')", "(1.5)"])
def test_unusable_ids_are_refused_and_the_table_is_left_alone(run: Run, ids: str) -> None:
    run(f"CREATE TABLE t AS SELECT * FROM (VALUES {ids}) v (cartodb_id)")
    with pytest.raises(psycopg.Error, match="_CDB_Has_Usable_Primary_ID: Error: invalid cartodb_id"):
        run("SELECT cdb_cartodbfytable('t')")
    assert [name for name, _ in columns(run, "t")] == ["cartodb_id"]


def test_text_geometry_is_parsed(run: Run) -> None:
    run(
        "CREATE TABLE t (the_geom text); INSERT INTO t VALUES ('POINT(1 2)'), ('SRID=3857;POINT(0 0)'),"
        " ('0101000020E610000000000000000008400000000000001040'), (NULL)"
    )
    run("SELECT cdb_cartodbfytable('t')")
    found = run("SELECT ST_AsEWKT(the_geom) FROM t ORDER BY cartodb_id")
    assert found == [("SRID=4326;POINT(1 2)",), ("SRID=4326;POINT(0 0)",), ("SRID=4326;POINT(3 4)",), (None,)]


def test_text_that_is_no_geometry_is_kept_under_another_name(run: Run) -> None:
    run("CREATE TABLE t (the_geom text); INSERT INTO t VALUES ('rubbish'); SELECT cdb_cartodbfytable('t')")
    assert run("SELECT the_geom, invalid_the_geom FROM t") == [(None, "rubbish")]


def test_geometry_of_another_name_and_srid_becomes_the_geom(run: Run) -> None:
    run("CREATE TABLE t (shape geometry(PointZ,3857)); INSERT INTO t VALUES ('SRID=3857;POINTZ(0 0 9)')")
    run("SELECT cdb_cartodbfytable('t')")
    assert [name for name, _ in columns(run, "t")] == ["cartodb_id", "the_geom", "the_geom_webmercator"]
    assert run("SELECT ST_AsEWKT(the_geom) FROM t") == [("SRID=4326;POINT(0 0 9)",)]


def test_ready_webmercator_is_not_computed_again(run: Run) -> None:
    run(
        "CREATE TABLE t (the_geom geometry(Point,4326), the_geom_webmercator geometry(Point,3857));"
        "INSERT INTO t VALUES ('SRID=4326;POINT(1 1)', 'SRID=3857;POINT(5 5)'); SELECT cdb_cartodbfytable('t')"
    )
    assert run("SELECT ST_AsText(the_geom_webmercator) FROM t") == [("POINT(5 5)",)]


def test_odd_names_are_quoted(run: Run) -> None:
    name = 'Ünï "c;'
    table = sql.Identifier(name).as_string()
    run(f'CREATE TABLE {table} (";x" int)')
    run("SELECT cdb_cartodbfytable('public', " + sql.Literal(table).as_string() + ")")
    run(f'INSERT INTO {table} (";x") VALUES (1)')
    assert run("SELECT cdb_usertables()") == [(name,)]


def test_view_is_refused(run: Run) -> None:
    run("CREATE VIEW v AS SELECT 1 AS a")
    with pytest.raises(psycopg.Error, match="v is not a table"):
        run("SELECT cdb_cartodbfytable('v')")


def test_webmercator_follows_the_geom(run: Run) -> None:
    run(FINAL.format("") + "; SELECT cdb_cartodbfytable('t'); INSERT INTO t (the_geom) VALUES ('SRID=4326;POINT(0 0)')")
    run("UPDATE t SET the_geom = 'SRID=4326;POINT(180 0)'")
    assert run("SELECT round(ST_X(the_geom_webmercator)::numeric, 3)::text FROM t") == [("20037508.343",)]


@pytest.mark.parametrize(
    ("geometry", "expected"),
    [
        ("SRID=4326;POINT(0 95)", None),
        ("SRID=4326;POINT(181 0)", None),
        ("SRID=3857;POINT(5 6)", "POINT(5 6)"),
        ("POINT(0 0)", "POINT(0 0)"),
        ("SRID=4326;MULTIPOINT(0 0,0 95)", "MULTIPOINT((0 0))"),
        ("SRID=4326;POLYGON((0 89,1 89,1 90,0 90,0 89))", None),
        ("SRID=4326;POINT EMPTY", "POINT EMPTY"),
    ],
)
def test_webmercator_is_cut_at_the_edge_of_the_map(run: Run, geometry: str, expected: str | None) -> None:
    assert run(f"SELECT ST_AsText(cdb_transformtowebmercator('{geometry}'))") == [(expected,)]


def test_changes_touch_the_metadata(run: Run) -> None:
    run("CREATE TABLE t AS SELECT 1 AS a; SELECT cdb_cartodbfytable('t')")
    ((before,),) = run("SELECT updated_at FROM cdb_tablemetadata WHERE tabname = 't'::regclass")
    run("UPDATE t SET a = 2")
    ((after,),) = run("SELECT updated_at FROM cdb_tablemetadata WHERE tabname = 't'::regclass")
    assert after > before


def test_each_transaction_leaves_one_version_of_the_metadata(run: Run, connect: Connect) -> None:
    run(FINAL.format("") + "; SELECT CDB_CartodbfyTable('t')")
    version = "SELECT ctid::text, xmin::text, updated_at FROM cdb_tablemetadata WHERE tabname = 't'::regclass"
    early = connect("master-key")
    early.execute("BEGIN; SELECT now()")
    run("INSERT INTO t (name) VALUES ('a')")
    [before] = run(version)
    versions = []
    for name in "bc":
        early.execute("INSERT INTO t (name) VALUES (%s)", (name,))
        versions += early.execute(version.encode()).fetchall()
    early.execute("COMMIT")
    assert versions == run(version) * 2
    [after] = run(version)
    assert after[1] != before[1]
    assert after[2] == before[2]  # never goes back


def test_usertables_by_privacy(run: Run, connect: Connect) -> None:
    run("CREATE TABLE a (); CREATE TABLE b (); GRANT SELECT ON b TO publicuser; CREATE VIEW v AS SELECT 1 AS i")
    assert sorted(run("SELECT cdb_usertables()")) == [("a",), ("b",)]
    assert run("SELECT cdb_usertables('public')") == [("b",)]
    assert run("SELECT cdb_usertables('private')") == [("a",)]
    assert connect(None).execute("SELECT cdb_usertables()").fetchall() == [("b",)]


def test_querytables_reads_plans_and_runs_nothing(run: Run) -> None:
    run('CREATE TABLE a (i int); CREATE TABLE "B" (i int); CREATE VIEW v AS SELECT * FROM a')
    query = """SELECT ';' FROM v; -- a comment; with a semicolon
        SELECT * FROM "B" JOIN a USING (i); DROP TABLE a; SELECT $$;$$"""
    assert run(f"SELECT cdb_querytablestext({sql.Literal(query).as_string()})") == [(['public."B"', "public.a"],)]
    assert run("SELECT cdb_querytablestext('SELECT 1')") == [([],)]


def test_quota_holds_and_only_the_owner_sets_it(run: Run, state: State, connect: Connect) -> None:
    run("CREATE TABLE t AS SELECT 1 AS a; SELECT cdb_cartodbfytable('t')")
    ((large,),) = run("SELECT _cdb_userquotainbytes()")
    assert large >= 10**12
    assert run("SELECT cdb_userdatasize() BETWEEN 1 AND 10 ^ 6") == [(True,)]
    try:
        assert run("SELECT cdb_setuserquotainbytes(100)") == [(large,)]
        with pytest.raises(psycopg.Error, match=r"Quota exceeded by \d+KB"):
            run("INSERT INTO t (a) VALUES (2)")
    finally:
        run(f"SELECT cdb_setuserquotainbytes({large})")
    regular = connect(state.create_key("k", [{"type": "apis", "apis": ["sql"]}]).token)
    for session in (regular, connect(None)):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute("SELECT cdb_setuserquotainbytes(1)")


def test_small_functions(run: Run) -> None:
    run("CREATE TABLE t (b int, g geometry(Point,4326), c text[])")
    assert run("SELECT cdb_columnnames('t')") == [("b",), ("g",), ("c",)]
    assert run("SELECT cdb_columntype('t', 'g'), cdb_columntype('t', 'c')") == [("geometry", "text[]")]
    assert run("SELECT ST_AsEWKT(cdb_latlng(1.5, 2))") == [("SRID=4326;POINT(2 1.5)",)]
    ((resolution,),) = run("SELECT cdb_xyz_resolution(0)")
    assert resolution == pytest.approx(156543.03392804097)
    ((box,),) = run("SELECT Box2D(cdb_xyz_extent(1, 0, 1))::text")
    assert box == "BOX(0 0,20037508.342789244 20037508.342789244)"


def test_every_key_may_use_the_functions(state: State, connect: Connect) -> None:
    grants = [
        {"type": "apis", "apis": ["sql"]},
        {"type": "database", "tables": [], "schemas": [{"name": "public", "permissions": ["create"]}]},
    ]
    session = connect(state.create_key("maker", grants).token)
    session.execute("CREATE TABLE made AS SELECT ST_SetSRID(ST_MakePoint(1, 2), 4326) AS the_geom")
    assert session.execute("SELECT cdb_cartodbfytable('made')::text").fetchone() == ("made",)
    session.execute("INSERT INTO made (the_geom) VALUES (NULL)")


def test_preparing_again_keeps_the_account(cluster: Cluster, state: State, run: Run) -> None:
    run("CREATE TABLE t AS SELECT 1 AS a; SELECT cdb_cartodbfytable('t'); GRANT SELECT ON t TO publicuser")
    again = State(cluster, "tester")
    again.close()
    assert again.owner_role == state.owner_role
    assert run("SELECT cdb_usertables('public')") == [("t",)]
