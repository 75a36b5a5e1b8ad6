from __future__ import annotations

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg import sql

from cartoframes_lite.local.postgres.cluster import Cluster
from cartoframes_lite.local.state import State

Connect = Callable[[str | None], psycopg.Connection[Any]]
Run = Callable[[str], list[tuple[Any, ...]]]
FINAL = (
    "CREATE TABLE t (cartodb_id bigserial PRIMARY KEY, the_geom geometry(Geometry{0},4326),"
    " the_geom_webmercator geometry(Geometry{0},3857), name text)"
)


@pytest.fixture
def run(connect: Connect) -> Run:
    """Return a function that runs SQL as the owner and returns the rows of the last statement."""
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


def test_triggers_are_those_of_carto(run: Run) -> None:
    run("CREATE TABLE t (a int); SELECT cdb_cartodbfytable('t')")
    triggers = run("SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 't'::regclass ORDER BY tgname")
    assert [definition.removeprefix("CREATE TRIGGER ") for (definition,) in triggers] == [
        "test_quota BEFORE INSERT OR UPDATE ON public.t FOR EACH STATEMENT"
        " EXECUTE FUNCTION cdb_checkquota('0.1', '-1', 'public')",
        "test_quota_per_row BEFORE INSERT OR UPDATE ON public.t FOR EACH ROW"
        " EXECUTE FUNCTION cdb_checkquota('0.001', '-1', 'public')",
        "track_updates AFTER INSERT OR DELETE OR UPDATE OR TRUNCATE ON public.t FOR EACH STATEMENT"
        " EXECUTE FUNCTION cdb_tablemetadata_trigger()",
        "update_the_geom_webmercator_trigger BEFORE INSERT OR UPDATE OF the_geom ON public.t FOR EACH ROW"
        " EXECUTE FUNCTION _cdb_update_the_geom_webmercator()",
    ]


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


@pytest.mark.parametrize("ids", ["(1), (1)", "(1), (NULL)", "('x')", "('1.5')"])
def test_unusable_ids_are_rejected_and_nothing_changes(run: Run, ids: str) -> None:
    run(f"CREATE TABLE t AS SELECT * FROM (VALUES {ids}) v (cartodb_id)")
    with pytest.raises(psycopg.Error, match="_CDB_Has_Usable_Primary_ID: Error: invalid cartodb_id"):
        run("SELECT cdb_cartodbfytable('t')")
    assert [name for name, _ in columns(run, "t")] == ["cartodb_id"]


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ("t (cartodb_id) AS VALUES (-1)", "CDB(_CDB_Has_Usable_Primary_ID: check constraint"),
        ("t (cartodb_id) AS VALUES (7000000000)", "CDB(_CDB_Has_Usable_Primary_ID: integer out of range)"),
        ("t (cartodb_id) AS VALUES (now()::date)", "CDB(_CDB_Has_Usable_Primary_ID: cannot cast type date to integer)"),
        ("t (cartodb_id) AS VALUES (0)", "CDB(_CDB_Rewrite_Table:22003:setval: value 0 is out of bounds"),
        ("t (cartodb_id) AS VALUES (1.5), (2)", "CDB(_CDB_Add_Indexes:23505:could not create unique index"),
    ],
)
def test_other_invalid_ids_are_rejected(run: Run, definition: str, message: str) -> None:
    run(f"CREATE TABLE {definition}")
    with pytest.raises(psycopg.errors.RaiseException, match=re.escape(message)):
        run("SELECT cdb_cartodbfytable('t')")
    assert [name for name, _ in columns(run, "t")] == ["cartodb_id"]


@pytest.mark.parametrize(
    ("definition", "kind"),
    [
        ("t (a int)", "bigint"),  # a new column
        ("t (cartodb_id bigint, a int)", "integer"),
        ("t (cartodb_id bigserial PRIMARY KEY, a int)", "integer"),
        ("t (cartodb_id text, a int)", "integer"),
        ("t (id bigserial PRIMARY KEY, a int)", "integer"),  # another integer key is renamed
        ("t (id text PRIMARY KEY, a int)", "bigint"),
    ],
)
def test_existing_ids_become_integers(run: Run, definition: str, kind: str) -> None:
    run(f"CREATE TABLE {definition}; SELECT cdb_cartodbfytable('t')")
    assert columns(run, "t")[0] == ("cartodb_id", kind)
    assert run("SELECT pg_get_serial_sequence('t', 'cartodb_id')") == [("public.t_cartodb_id_seq",)]


def test_rewriting_drops_constraints_and_defaults(run: Run) -> None:
    run(
        "CREATE TABLE t (b int DEFAULT 5 NOT NULL CHECK (b > 0), a int UNIQUE); CREATE INDEX ON t (b);"
        " GRANT SELECT ON t TO publicuser; COMMENT ON TABLE t IS 'mine'; SELECT cdb_cartodbfytable('t')"
    )
    assert [name for name, _ in columns(run, "t")][3:] == ["b", "a"]
    assert run("INSERT INTO t (a) VALUES (1) RETURNING b") == [(None,)]
    assert run("SELECT count(*) FROM pg_indexes WHERE tablename = 't'") == [(3,)]
    assert run("SELECT relacl, obj_description(oid) FROM pg_class WHERE oid = 't'::regclass") == [(None, None)]


def test_other_primary_keys_are_replaced(run: Run) -> None:
    run(
        "CREATE TABLE t (cartodb_id serial UNIQUE NOT NULL, the_geom geometry(Point,4326),"
        " the_geom_webmercator geometry(Point,3857), id int PRIMARY KEY); SELECT cdb_cartodbfytable('t')"
    )
    keys = run("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 't'::regclass AND contype = 'p'")
    assert keys == [("PRIMARY KEY (cartodb_id)",)]


def test_table_is_moved_into_the_schema(run: Run) -> None:
    run("CREATE SCHEMA other; CREATE TABLE other.t (a int); SELECT cdb_cartodbfytable('other.t')")
    assert run("SELECT to_regclass('public.t')::text, to_regclass('other.t')::text") == [("t", None)]
    with pytest.raises(psycopg.Error, match='Invalid schema name "nowhere"'):
        run("SELECT cdb_cartodbfytable('nowhere', 't')")


def test_text_geometry_is_parsed(run: Run) -> None:
    run("CREATE TABLE t (the_geom text); INSERT INTO t VALUES ('POINT(1 2)'), (NULL); SELECT cdb_cartodbfytable('t')")
    assert run("SELECT ST_AsEWKT(the_geom) FROM t ORDER BY cartodb_id") == [("SRID=4326;POINT(1 2)",), (None,)]
    run("CREATE TABLE u (the_geom text); INSERT INTO u VALUES ('SRID=3857;POINT(0 0)'), ('SRID=4326;POINT(3 4)')")
    run("SELECT cdb_cartodbfytable('u')")
    found = run("SELECT ST_AsEWKT(the_geom) FROM u ORDER BY cartodb_id")
    assert found == [("SRID=4326;POINT(0 0)",), ("SRID=4326;POINT(3 4)",)]


def test_text_with_and_without_srid_is_refused(run: Run) -> None:
    run("CREATE TABLE t (the_geom text); INSERT INTO t VALUES ('POINT(1 2)'), ('SRID=4326;POINT(3 4)')")
    with pytest.raises(psycopg.Error, match=r"CDB\(_CDB_Rewrite_Table:XX000:ST_Transform: Input geometry has unknown"):
        run("SELECT cdb_cartodbfytable('t')")


@pytest.mark.parametrize(
    ("definition", "kept"),
    [
        ("t (the_geom text); INSERT INTO t VALUES ('rubbish')", "the_geom0 text"),
        ("t (the_geom int, the_geom0 int); INSERT INTO t VALUES (1)", "the_geom1 integer"),
        ("t (the_geom geography); INSERT INTO t VALUES ('POINT(1 2)')", "the_geom0 geography"),
        ("t (the_geom_webmercator text); INSERT INTO t VALUES ('rubbish')", "the_geom_webmercator0 text"),
        # the type has a modifier that reads as an SRID: overlooked, and lost
        ("t (the_geom numeric(10,2)); INSERT INTO t VALUES (1)", None),
    ],
)
def test_the_geom_of_other_types_is_renamed(run: Run, definition: str, kept: str | None) -> None:
    run(f"CREATE TABLE {definition}; SELECT cdb_cartodbfytable('t')")
    rest = [f"{name} {kind}" for name, kind in columns(run, "t")[3:]]
    assert rest[:1] == ([] if kept is None else [kept])
    assert run("SELECT the_geom FROM t") == [(None,)]


def test_other_geometry_columns_become_the_geom(run: Run) -> None:
    run("CREATE TABLE t (shape geometry(Point,3857)); INSERT INTO t VALUES ('SRID=3857;POINT(0 0)')")
    run("SELECT cdb_cartodbfytable('t')")
    assert [name for name, _ in columns(run, "t")] == ["cartodb_id", "the_geom", "the_geom_webmercator"]
    assert run("SELECT ST_AsEWKT(the_geom) FROM t") == [("SRID=4326;POINT(0 0)",)]


@pytest.mark.parametrize(
    ("definition", "the_geom", "rest"),
    [
        # the last one in EPSG:4326 takes the name, and what has it is dropped
        ("the_geom geometry(Point,4326), zone geometry(Point,4326)", 2, []),
        ("zone geometry(Point,4326), the_geom geometry(Point,4326)", 1, []),
        # then the first one is taken, if the_geom_webmercator is missing
        ("a geometry(Point,4326), b geometry(Point,4326), c geometry(Point,4326)", 1, ["b"]),
        ("a geometry, the_geom geometry", 1, []),
        ("the_geom geometry, a geometry", 1, ["a"]),
        ("the_geom geometry(Point,4326), the_geom_webmercator geometry(Point,3857), a geometry", 1, ["a"]),
        ("the_geom geometry(Point,4326), the_geom_webmercator geometry(Point,3857), a geometry(Point,4326)", 3, []),
    ],
)
def test_choice_among_several_geometry_columns(run: Run, definition: str, the_geom: int, rest: list[str]) -> None:
    run(f"CREATE TABLE t ({definition})")
    srids = [3857 if "3857" in column else 4326 for column in definition.split(", ")]
    points = ", ".join(f"'SRID={srid};POINT({n} 0)'" for n, srid in enumerate(srids, 1))
    run(f"INSERT INTO t VALUES ({points}); SELECT cdb_cartodbfytable('t')")
    assert run("SELECT ST_X(the_geom)::int FROM t") == [(the_geom,)]
    assert [name for name, _ in columns(run, "t")][3:] == rest


@pytest.mark.parametrize(
    "definition",
    ["the_geom geometry(PointZ,4326)", "the_geom geometry", "shape geometry(PointZ,32633)", "the_geom text"],
)
def test_rewriting_rejects_3d_geometries(run: Run, definition: str) -> None:
    srid = 32633 if "32633" in definition else 4326
    run(f"CREATE TABLE t ({definition}); INSERT INTO t VALUES ('SRID={srid};POINT(1 2 3)')")
    with pytest.raises(psycopg.Error, match="Geometry has Z dimension but column does not"):
        run("SELECT cdb_cartodbfytable('t')")


def test_existing_webmercator_is_kept(run: Run) -> None:
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
    with pytest.raises(psycopg.Error, match='CDB\\(_CDB_Rewrite_Table:42809:"v" is not a table\\)'):
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
def test_webmercator_is_clipped_at_the_world_bounds(run: Run, geometry: str, expected: str | None) -> None:
    assert run(f"SELECT ST_AsText(cdb_transformtowebmercator('{geometry}'))") == [(expected,)]


def test_changes_touch_the_metadata(run: Run) -> None:
    updated_at = "SELECT updated_at FROM cdb_tablemetadata WHERE tabname = 't'::regclass"
    run("CREATE TABLE t AS SELECT 1 AS a; SELECT cdb_cartodbfytable('t')")
    assert run(updated_at) == []  # cartodbfying is no change
    run("DELETE FROM t WHERE false")
    ((before,),) = run(updated_at)
    run("UPDATE t SET a = 2")
    ((after,),) = run(updated_at)
    assert after > before


def test_change_removes_metadata_of_tables_that_are_gone(run: Run) -> None:
    for table in ("t", "u"):
        run(f"CREATE TABLE {table} (a int); SELECT cdb_cartodbfytable('{table}'); INSERT INTO {table} (a) VALUES (1)")
    run("DROP TABLE u")
    assert run("SELECT count(*) FROM cdb_tablemetadata") == [(2,)]
    run("INSERT INTO t (a) VALUES (1)")
    assert run("SELECT tabname::text FROM cdb_tablemetadata") == [("t",)]


def test_concurrent_first_changes_conflict(run: Run, connect: Connect) -> None:
    run("CREATE TABLE t (a int); SELECT cdb_cartodbfytable('t')")
    one, other = connect("master-key"), connect("master-key")
    one.execute("BEGIN; INSERT INTO t (a) VALUES (1)")
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(other.execute, b"INSERT INTO t (a) VALUES (2)")
        wait_until_blocked(one, other)
        one.execute("COMMIT")
        with pytest.raises(psycopg.errors.UniqueViolation, match="cdb_tablemetadata_pkey"):
            second.result()
    assert run("SELECT a FROM t") == [(1,)]


def wait_until_blocked(watching: psycopg.Connection[Any], waiting: psycopg.Connection[Any]) -> None:
    """Return when a session waits for a lock."""
    give_up = time.monotonic() + 120
    process = waiting.info.backend_pid
    while watching.execute("SELECT pg_blocking_pids(%s)", (process,)).fetchone() == ([],):
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_only_the_owner_touches_the_metadata(run: Run, state: State, connect: Connect) -> None:
    run("CREATE TABLE t (a int); SELECT cdb_tablemetadatatouch('t')")
    assert run("SELECT tabname::text FROM cdb_tablemetadata") == [("t",)]
    grants = [
        {"type": "apis", "apis": ["sql"]},
        {"type": "database", "tables": [{"schema": "public", "name": "t", "permissions": ["insert"]}], "schemas": []},
    ]
    for session in (connect(state.create_key("writer", grants).token), connect(None)):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute("SELECT cdb_tablemetadatatouch('t')")


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


def test_querytables_does_not_run_the_query(run: Run) -> None:
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
        assert run("SELECT cdb_setuserquotainbytes(100)") == [(100,)]
        run("SELECT setseed(0)")
        for statement in ("INSERT INTO t (a) VALUES (2)", "UPDATE t SET a = 3 WHERE cartodb_id = 1"):
            refused = sum(_is_over_quota(run, statement) for _ in range(200))
            assert 10 < refused < 40  # one of ten
        assert not _is_over_quota(run, "DELETE FROM t")
        assert _is_over_quota(run, "INSERT INTO t (a) SELECT 1 FROM generate_series(1, 20000)")  # one row of 1000
        run("SELECT cdb_setuserquotainbytes(0)")  # none
        assert not any(_is_over_quota(run, "INSERT INTO t (a) VALUES (2)") for _ in range(50))
    finally:
        run(f"SELECT cdb_setuserquotainbytes({large})")
    regular = connect(state.create_key("k", [{"type": "apis", "apis": ["sql"]}]).token)
    for session in (regular, connect(None)):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute("SELECT cdb_setuserquotainbytes(1)")


def _is_over_quota(run: Run, statement: str) -> bool:
    """Run a statement; return whether it failed with the error of CARTO."""
    try:
        run(statement)
    except psycopg.errors.RaiseException as error:
        if not re.fullmatch(r"Quota exceeded by [0-9.]+KB", error.diag.message_primary or ""):
            raise
        return True
    return False


def test_quota_waits_for_a_table_that_is_locked(run: Run, connect: Connect) -> None:
    run("CREATE TABLE t (a int); SELECT cdb_cartodbfytable('t'); CREATE TABLE held (a int); DELETE FROM t WHERE false")
    holding, waiting = connect("master-key"), connect("master-key")
    holding.execute("BEGIN; LOCK TABLE held IN EXCLUSIVE MODE")
    for _ in range(100):
        waiting.execute("INSERT INTO t (a) VALUES (1)")  # does not wait
    holding.execute("LOCK TABLE held IN ACCESS EXCLUSIVE MODE")
    waiting.execute("SET lock_timeout = '100ms'")
    notices: list[str] = []
    waiting.add_notice_handler(lambda diagnostic: notices.append(diagnostic.message_primary or ""))
    for _ in range(300):
        waiting.execute("INSERT INTO t (a) VALUES (1)")  # what goes wrong while measuring is a notice
        if notices:
            break
    expected = "_total_relation_size('public', 'held') caught error: canceling statement due to lock timeout (55P03)"
    assert notices[0].endswith(expected)


def test_small_functions(run: Run) -> None:
    run("CREATE TABLE t (b int, g geometry(Point,4326), c text[])")
    assert run("SELECT cdb_columnnames('t')") == [("b",), ("g",), ("c",)]
    assert run("SELECT cdb_columntype('t', 'g'), cdb_columntype('t', 'c')") == [("geometry", "text[]")]
    assert run("SELECT ST_AsEWKT(cdb_latlng(1.5, 2))") == [("SRID=4326;POINT(2 1.5)",)]
    ((resolution,),) = run("SELECT cdb_xyz_resolution(0)")
    assert resolution == pytest.approx(156543.03392804097)
    ((box,),) = run("SELECT Box2D(cdb_xyz_extent(1, 0, 1))::text")
    assert box == "BOX(0 0,20037508.342789244 20037508.342789244)"


JENKS = "ARRAY[0.99, 1.0, 1.01, 4.99, 5.01, NULL, 10.01, 10.01, 15.01, 14.99, 20.1, 19.9]::numeric[]"
SPREAD = "SELECT array_agg(x::numeric) FROM generate_series(1, 300) x WHERE x % 5 <> 0 AND x % 7 <> 0"


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("cdb_quantilebins((SELECT array_agg(x) FROM generate_series(0, 99) x), 10)", list(range(9, 100, 10))),
        ("cdb_quantilebins(ARRAY[3, NULL, 1], 2)", [1, 3]),
        (
            f"cdb_equalintervalbins(({SPREAD}), 7)",
            [43.571429, 86.142857, 128.714286, 171.285714, 213.857143, 256.428571, 299],
        ),
        ("cdb_equalintervalbins(ARRAY[0.5, NULL, 1.5]::float8[], 2)", [1, 1.5]),
        (f"cdb_headstailsbins(({SPREAD} AND x <= 100), 7)", [49.56, 74.44, 87.5, 93.5, 96.5, 98, 99]),
        ("cdb_headstailsbins(ARRAY[2, 1], 7)", [1, 2]),
        (f"cdb_jenksbins({JENKS}, 5)", [1.01, 5.01, 10.01, 15.01, 20.1]),
        (f"cdb_jenksbins({JENKS}, 5, 0, true)", [0.99, 4.99, 10.01, 14.99, 19.9]),
        ("cdb_jenksbins(ARRAY[0.99, 1.0, 10.01, 10.01], 4)", [0.99, 1, 10.01]),
        ("cdb_jenksbins((SELECT array_agg(x) FROM generate_series(1, 3000) x), 3)", [1000, 2000, 3000]),
    ],
    ids=[
        "quantiles",
        "quantiles-null",
        "equal",
        "equal-float",
        "heads",
        "heads-short",
        "jenks",
        "jenks-low",
        "jenks-few",
        "jenks-many",
    ],
)
def test_limits_of_classes_as_in_carto(run: Run, call: str, expected: list[float]) -> None:
    ((limits,),) = run(f"SELECT {call}")
    assert [float(limit) for limit in limits] == pytest.approx(expected, rel=0.003 if "3000" in call else 1e-4)


def test_limits_of_nothing_are_null(run: Run) -> None:
    for name in ("cdb_quantilebins", "cdb_equalintervalbins", "cdb_headstailsbins", "cdb_jenksbins"):
        ((limits,),) = run(f"SELECT {name}(NULL::numeric[], 3)")
        assert not limits or set(limits) == {None}


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
