"""Targets that need checks: views, inheritance, policies, rules, triggers, and tables changed concurrently."""

from __future__ import annotations

import threading
import time

import geopandas as gpd
import pandas as pd
import psycopg
import pytest
from shapely import Point

import cartoframes_lite as cfl
from cartoframes_lite.write import column_changes_sql

FRAME = pd.DataFrame({"a": [1, 2, 3]})


@pytest.fixture
def sql(credentials):
    return cfl.Client(credentials).sql


@pytest.fixture
def count(sql):
    def rows(table: str = "t", only: str = "") -> int:
        return sql.rows(f"SELECT count(*)::int4 AS n FROM {only} {table}")[0]["n"]

    return rows


@pytest.fixture
def refuse(credentials, sql):
    """Write, and check that it raises and leaves no staging table."""

    def write(mode: str, match: str, error: type[Exception] = cfl.ConversionError, table: str = "t") -> None:
        with pytest.raises(error, match=match):
            cfl.to_carto(FRAME, table, credentials, if_exists=mode, cartodbfy=False)
        assert [name for name in sql.tables() if name.startswith("cfl_")] == []

    return write


@pytest.mark.parametrize("mode", ["append", "replace"])
@pytest.mark.parametrize("kind", ["VIEW", "MATERIALIZED VIEW"])
def test_views_are_no_tables(kind, mode, sql, refuse, count):
    sql.send(f"CREATE TABLE base (a bigint); INSERT INTO base VALUES (9); CREATE {kind} t AS SELECT a FROM base")
    refuse(mode, "'t' is a .*view")
    assert count("base") == 1


def test_a_partitioned_table_can_be_appended_to(sql, refuse, count, credentials):
    sql.send("CREATE TABLE t (a bigint) PARTITION BY HASH (a)")
    sql.send("CREATE TABLE t_0 PARTITION OF t FOR VALUES WITH (MODULUS 1, REMAINDER 0)")
    cfl.to_carto(FRAME, "t", credentials, if_exists="append")
    refuse("replace", "'t' is a partitioned table")
    assert count() == 3


def test_tables_that_inherit_stay(sql, refuse, count):
    sql.send("CREATE TABLE t (a bigint); CREATE TABLE child () INHERITS (t); INSERT INTO child VALUES (9)")
    refuse("replace", r"the tables \['child'\] inherit")
    assert count("child") == 1


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL", "SET DEFAULT"])
def test_rows_of_other_tables_stay(action, sql, refuse, count):
    sql.send(
        "CREATE TABLE t (a bigint PRIMARY KEY); INSERT INTO t VALUES (1);"
        f"CREATE TABLE other (a bigint REFERENCES t ON DELETE {action}); INSERT INTO other VALUES (1)"
    )
    refuse("replace", r"delete or change rows of \['other'\]")
    assert (count(), count("other WHERE a = 1")) == (1, 1)


def test_rules_are_refused(sql, refuse, count):
    sql.send("CREATE TABLE t (a bigint); CREATE RULE quiet AS ON INSERT TO t DO INSTEAD NOTHING")
    refuse("append", r"rules \['quiet'\]")
    assert count() == 0


TRIGGER = """
CREATE FUNCTION odd() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$;
CREATE TRIGGER odd {when} ON t FOR EACH {each} EXECUTE FUNCTION odd()
"""


@pytest.mark.parametrize(
    ("mode", "body", "when", "each", "match"),
    [
        ("append", "IF NEW.a = 2 THEN RETURN NULL; END IF; RETURN NEW;", "BEFORE INSERT", "ROW", "2 rows arrived"),
        ("append", "DELETE FROM t WHERE a = 2; RETURN NULL;", "AFTER INSERT", "STATEMENT", "number of rows"),
        ("append", "IF pg_trigger_depth() = 1 THEN INSERT INTO t VALUES (7); END IF; RETURN NULL;", "AFTER INSERT",
         "STATEMENT", "number of rows"),
        ("replace", "RETURN NULL;", "BEFORE DELETE", "ROW", "prevent deleting its rows"),
    ],
)  # fmt: skip
def test_triggers_that_lose_or_add_rows_are_noticed(mode, body, when, each, match, sql, refuse, count):
    sql.send("CREATE TABLE t (a bigint); INSERT INTO t VALUES (9)")
    sql.send(TRIGGER.format(body=body, when=when, each=each))
    refuse(mode, match, cfl.CartoError)
    assert count() == 1


def test_triggers_that_wait_for_the_end_are_noticed(sql, refuse, count):
    sql.send("CREATE TABLE t (a bigint)")
    sql.send(
        "CREATE FUNCTION odd() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM t; RETURN NULL; END $$;"
        "CREATE CONSTRAINT TRIGGER test_quota AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION odd()"
    )
    refuse("append", "number of rows", cfl.CartoError)
    assert count() == 0


def test_triggers_of_a_partition_are_noticed(sql, refuse, count, credentials):
    sql.send("CREATE TABLE t (a bigint) PARTITION BY HASH (a)")
    sql.send("CREATE TABLE part PARTITION OF t FOR VALUES WITH (MODULUS 1, REMAINDER 0)")
    sql.send(TRIGGER.format(body="RETURN NEW;", when="BEFORE INSERT", each="ROW").replace(" ON t ", " ON part "))
    cfl.to_carto(FRAME, "t", credentials, if_exists="append")
    sql.send("CREATE OR REPLACE FUNCTION odd() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$")
    refuse("append", "0 rows arrived", cfl.CartoError)
    assert count() == 3


def test_triggers_that_do_no_harm_are_none(sql, credentials, count):
    sql.send("CREATE TABLE t (a bigint, b text)")
    sql.send(TRIGGER.format(body="NEW.b := 'set'; RETURN NEW;", when="BEFORE INSERT", each="ROW"))
    for mode in ("append", "replace"):
        cfl.to_carto(FRAME.assign(b=None), "t", credentials, if_exists=mode, dtype={"b": "text"}, cartodbfy=False)
    assert count("t WHERE b = 'set'") == 3


def test_row_security_hides_no_rows_from_a_replace(carto, credentials, sql, refuse, count):
    sql.send("CREATE TABLE t (a bigint); INSERT INTO t VALUES (1), (9)")
    sql.send("ALTER TABLE t ENABLE ROW LEVEL SECURITY; ALTER TABLE t FORCE ROW LEVEL SECURITY")
    sql.send("CREATE POLICY p ON t USING (a < 5)")
    refuse("replace", "row-level security")
    with psycopg.connect(carto.dsn) as connection:
        assert connection.execute("SELECT count(*) FROM public.t").fetchone() == (2,)


def test_errors_of_the_source_are_not_planned_again(credentials, sql, count):
    sql.send("CREATE TABLE t (a bigint)")

    def frames():
        yield FRAME
        sql.send("ALTER TABLE t ADD COLUMN more int")
        sql.send("SELECT nothing FROM t")
        yield FRAME

    with pytest.raises(cfl.SQLError, match="nothing"):
        cfl.to_carto(frames(), "t", credentials, if_exists="append")
    assert count() == 0


def test_replaces_at_once_under_repeatable_read(carto, credentials, sql, count):
    sql.send("CREATE TABLE t (a bigint)")
    with psycopg.connect(carto.dsn, autocommit=True) as connection:
        (owner,) = connection.execute("SELECT tableowner FROM pg_tables WHERE tablename = 't'").fetchone()
        setting = f"ALTER ROLE \"{owner}\" SET default_transaction_isolation = 'repeatable read'"
        connection.execute(setting)
        try:
            carto.reset()  # new sessions have the setting
            arguments = {"if_exists": "replace", "progress": False}
            frame = pd.DataFrame({"a": range(3000)})
            cfl.to_carto(frame.head(0), "t", credentials, progress=False)
            writers = [
                threading.Thread(target=cfl.to_carto, args=(frame, "t", credentials), kwargs=arguments)
                for _ in range(3)
            ]
            for writer in writers:
                writer.start()
            for writer in writers:
                writer.join()
        finally:
            connection.execute(setting.replace("SET", "RESET").partition(" = ")[0])
    assert count() == 3000


@pytest.mark.parametrize("name", ["cfl_staging_00000000_00000000", "CFL staging 00000000_00000000"])
def test_names_of_staging_tables_are_refused(name, credentials):
    with pytest.raises(ValueError, match="staging"):
        cfl.to_carto(FRAME, name, credentials)
    cfl.to_carto(FRAME, "t", credentials)
    with pytest.raises(ValueError, match="staging"):
        cfl.rename_table("t", name, credentials)


def test_a_table_changed_during_the_upload_is_planned_again(credentials, sql, count):
    sql.send("CREATE TABLE t (a bigint)")

    def frames():
        yield FRAME
        sql.send("ALTER TABLE t ALTER COLUMN a TYPE numeric(10,2)")
        yield FRAME

    cfl.to_carto(frames(), "t", credentials, if_exists="append")
    assert count() == 6
    assert cfl.read_carto("t", credentials, coerce_float=False)["a"].astype(str).tolist() == 2 * [
        "1.00",
        "2.00",
        "3.00",
    ]


def test_repeated_type_changes_do_not_exhaust_columns(credentials, sql):
    """A table in PostgreSQL has at most 1,600 attribute numbers, and dropped columns keep theirs."""
    names = [f"c{number}" for number in range(40)]
    sql.send("CREATE TABLE t (gone int)")
    for _ in range(15):  # use most of them, as repeated replaces would
        come = ", ".join(f"ADD COLUMN x{place} int" for place in range(100))
        go = ", ".join(f"DROP COLUMN x{place}" for place in range(100))
        sql.send(f"ALTER TABLE t {come}; ALTER TABLE t {go}")
    for turn in range(5):
        value = 1 if turn % 2 else "x"
        cfl.to_carto(pd.DataFrame({name: [value] for name in names}), "t", credentials, if_exists="replace")
        if turn == 2:
            sql.send("CREATE INDEX ON t (c7); ALTER TABLE t ADD UNIQUE (c9), ALTER COLUMN c8 SET DEFAULT 'x'")
            sql.send("ALTER TABLE t ALTER COLUMN c8 SET NOT NULL, ADD CHECK (c6 <> '')")
    assert cfl.read_carto("t", credentials, columns=names).iloc[0].tolist() == ["x"] * 40
    renamed = pd.DataFrame({f"d{number}": [1.5] for number in range(40)})
    cfl.to_carto(renamed, "t", credentials, if_exists="replace")
    assert cfl.read_carto("t", credentials, columns=list(renamed)).iloc[0].tolist() == [1.5] * 40


def test_slow_readers_do_not_lock_out_others(carto, credentials, monkeypatch):
    """A replace with other columns waits for an open reader, without blocking later readers for long."""
    monkeypatch.setattr(column_changes_sql, "_EXCLUSIVE_MS", 200)
    cfl.to_carto(FRAME, "t", credentials)
    with psycopg.connect(carto.dsn) as connection:
        connection.execute("SELECT a FROM public.t").fetchall()  # the transaction stays open
        arguments = {"if_exists": "replace", "progress": False}
        frame = FRAME.rename(columns={"a": "b"})
        writer = threading.Thread(target=cfl.to_carto, args=(frame, "t", credentials), kwargs=arguments)
        writer.start()
        for _ in range(8):  # blocked readers would wait for the open transaction, which does not end before them
            assert len(cfl.read_carto("SELECT cartodb_id FROM t", credentials)) == 3
            time.sleep(0.1)
        assert writer.is_alive()
    writer.join()
    assert "b" in cfl.read_carto("t", credentials)


def test_a_new_table_is_followed_by_carto_at_once(carto, credentials):
    """Caches and maps depend on CDB_TableMetadata."""
    changed = "SELECT updated_at FROM cartodb.cdb_tablemetadata WHERE tabname = 'public.t'::regclass"
    with psycopg.connect(carto.dsn, autocommit=True) as connection:
        cfl.to_carto(FRAME, "t", credentials)
        assert len(connection.execute(changed).fetchall()) == 1
        cfl.copy_table("t", "u", credentials)
        assert len(connection.execute(changed.replace("public.t", "public.u")).fetchall()) == 1


POINTS = gpd.GeoDataFrame({"a": [1]}, geometry=[Point(1, 2)], crs=4326)


@pytest.fixture
def table_shape(carto):
    """Return the columns, indexes and triggers of the table t."""

    def describe() -> tuple[dict[str, str], set[str], int]:
        columns = (
            "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute"
            " WHERE attrelid = 'public.t'::regclass AND attnum > 0 AND NOT attisdropped"
        )
        triggers = "SELECT FROM pg_trigger WHERE tgrelid = 'public.t'::regclass AND NOT tgisinternal"
        with psycopg.connect(carto.dsn) as connection:
            indexes = connection.execute("SELECT indexname::text FROM pg_indexes WHERE tablename = 't'").fetchall()
            return (
                dict(connection.execute(columns).fetchall()),
                {name for (name,) in indexes},
                len(connection.execute(triggers).fetchall()),
            )

    return describe


@pytest.mark.parametrize("frame", [FRAME, POINTS, FRAME.assign(cartodb_id=[7, 8, 9])])
def test_a_carto_table_is_replaced_by_a_plain_one(frame, credentials, table_shape):
    cfl.to_carto(POINTS, "t", credentials)
    cfl.to_carto(frame, "t", credentials, if_exists="replace", cartodbfy=False)
    columns, _, triggers = table_shape()
    expected = {"a": "bigint"}
    expected |= {"the_geom": "geometry(Geometry,4326)"} if frame is POINTS else {}
    expected |= {"cartodb_id": "bigint"} if "cartodb_id" in frame else {}
    assert (columns, triggers) == (expected, 0)
    cfl.to_carto(POINTS, "t", credentials, if_exists="replace")
    assert table_shape()[2] == 4
    assert cfl.read_carto("t", credentials)["the_geom"].tolist() == [Point(1, 2)]


@pytest.mark.parametrize(
    "columns",
    [
        "id int PRIMARY KEY, shape geometry(Point,4326)",
        "cartodb_id text, the_geom text, the_geom_webmercator text",
        "cartodb_id serial PRIMARY KEY, the_geom geometry(Polygon,4326), the_geom_webmercator geometry(Polygon,3857)",
        "the_geom geography",
    ],
)
@pytest.mark.parametrize("with_geometry", [False, True])
def test_a_plain_table_is_replaced_by_a_carto_table(columns, with_geometry, credentials, sql, table_shape):
    """CDB_CartodbfyTable would use another key and another geometry, and would rewrite the table."""
    sql.send(f"CREATE TABLE t (a bigint, {columns}); CREATE INDEX kept ON t ((a + 1)) WHERE a > 0")
    frame = POINTS if with_geometry else FRAME
    cfl.to_carto(frame.assign(id=range(len(frame))), "t", credentials, if_exists="replace")
    names, indexes, triggers = table_shape()
    assert set(names) == {"a", "id", "cartodb_id", "the_geom", "the_geom_webmercator"}
    assert (names["the_geom"], triggers, "kept" in indexes) == ("geometry(Geometry,4326)", 4, True)
    read = cfl.read_carto("t", credentials)
    assert read["id"].tolist() == list(range(len(frame)))
    assert read["the_geom"].notna().all() == with_geometry


@pytest.mark.parametrize("used_up", [False, True])
def test_expression_indexes_are_kept_or_an_error(used_up, credentials, sql, table_shape):
    sql.send("CREATE TABLE other (b text PRIMARY KEY); INSERT INTO other VALUES ('x'), ('y')")
    sql.send("CREATE TABLE t (a int, b text REFERENCES other DEFERRABLE INITIALLY DEFERRED, c int)")
    for _ in range(16 * used_up):
        for change in ("ADD", "DROP"):
            columns = ", ".join(f"{change} COLUMN x{place}{' int' * (change == 'ADD')}" for place in range(99))
            sql.send(f"ALTER TABLE t {columns}")
    sql.send(
        "CREATE INDEX sum ON t ((a + 1)); CREATE UNIQUE INDEX part ON t (b) WHERE a > 0; CREATE INDEX gone ON t (c)"
    )
    arguments = {"if_exists": "replace", "cartodbfy": False}
    for values in ([2**40], [1.5], [2**50]):
        cfl.to_carto(pd.DataFrame({"a": values, "b": ["x"]}), "t", credentials, **arguments)
        assert table_shape()[1] == {"sum", "part"}
        sql.send("INSERT INTO t (a, b) VALUES (-1, 'x'), (-1, 'x')")
        with pytest.raises(cfl.SQLError, match="part"):
            sql.send("INSERT INTO t (a, b) VALUES (1, 'x')")
    for frame in (pd.DataFrame({"b": ["y"]}), pd.DataFrame({"a": ["text"], "b": ["y"]})):
        with pytest.raises(cfl.CartoError, match=r"index \w+ \(CREATE .*\) cannot be kept, since .*: drop it first"):
            cfl.to_carto(frame, "t", credentials, **arguments)
    assert table_shape()[1] == {"sum", "part"}
    cfl.to_carto(pd.DataFrame({"d": ["y"]}), "t", credentials, **arguments)
    assert table_shape()[:2] == ({"d": "text"}, set())


COMPUTED = "a int, b int GENERATED ALWAYS AS (a * 2) STORED, c int GENERATED ALWAYS AS IDENTITY"


@pytest.mark.parametrize("used_up", [False, True])
def test_generated_columns_are_replaced_but_refuse_appends(used_up, credentials, sql):
    sql.send(f"CREATE TABLE t ({COMPUTED})")
    for _ in range(16 * used_up):
        for change in ("ADD", "DROP"):
            columns = ", ".join(f"{change} COLUMN x{place}{' int' * (change == 'ADD')}" for place in range(99))
            sql.send(f"ALTER TABLE t {columns}")
    cfl.to_carto(FRAME, "t", credentials, if_exists="append")
    for name in ("b", "c"):
        with pytest.raises(cfl.ConversionError, match=f"columns \\['{name}'\\], .* generated"):
            cfl.to_carto(pd.DataFrame({name: [1]}), "t", credentials, if_exists="append")
    frame = pd.DataFrame({name: ["x"] for name in "abc"})
    cfl.to_carto(frame, "t", credentials, if_exists="replace", cartodbfy=False)
    assert cfl.read_carto("t", credentials).to_dict("list") == frame.to_dict("list")


@pytest.mark.parametrize(
    "declared", ["geometry(GeometryZM)", "geometry(PointM,4326)", "geography(PointZM)", "geometry(Polygon,4326)"]
)
def test_narrow_geometries_are_replaced_but_refuse_appends(declared, credentials, sql):
    sql.send(f"CREATE TABLE t (a bigint, the_geom {declared})")
    with pytest.raises(cfl.ConversionError, match=r"M values|Point in row 0"):
        cfl.to_carto(POINTS, "t", credentials, if_exists="append")
    cfl.to_carto(POINTS, "t", credentials, if_exists="replace", cartodbfy=False)
    assert cfl.read_carto("t", credentials)["the_geom"].tolist() == [Point(1, 2)]


def test_a_geography_takes_longitudes_and_latitudes_only(credentials, sql):
    sql.send("CREATE TABLE t (a bigint, the_geom geography, more geography)")
    frame = POINTS.assign(more=gpd.GeoSeries([Point(500_000, 0)], crs=25831))
    with pytest.raises(cfl.ConversionError, match=r"'more' is in EPSG:4326 in the table"):
        cfl.to_carto(frame, "t", credentials, if_exists="append")
    cfl.to_carto(frame, "t", credentials, if_exists="replace", cartodbfy=False)
    assert cfl.read_carto("t", credentials)["more"].tolist() == [Point(500_000, 0)]


@pytest.mark.parametrize("name", ["spatial_ref_sys", "Geometry Columns", "raster_overviews", "CDB_TableMetadata"])
def test_names_of_system_tables_are_refused(name, credentials):
    for mode in ("fail", "append", "replace"):
        with pytest.raises(ValueError, match="PostGIS or CARTO"):
            cfl.to_carto(FRAME, name, credentials, if_exists=mode)
    cfl.to_carto(FRAME, "t", credentials)
    with pytest.raises(ValueError, match="PostGIS or CARTO"):
        cfl.rename_table("t", name, credentials)


def test_of_two_writers_with_another_crs_one_is_refused(credentials, sql):
    sql.send("CREATE TABLE t (a bigint, the_geom geometry(Geometry,4326), more geometry)")
    started, failures = threading.Barrier(2), []

    def append(srid: int) -> None:
        frame = POINTS.assign(more=gpd.GeoSeries([Point(5, 6)], crs=srid))
        started.wait()
        try:
            cfl.to_carto(frame, "t", credentials, if_exists="append", progress=False)
        except cfl.ConversionError as error:
            failures.append(str(error))

    for _ in range(3):
        sql.send("TRUNCATE t")
        writers = [threading.Thread(target=append, args=(srid,)) for srid in (25831, 3857)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        assert len(cfl.read_carto("t", credentials)) == 1
    assert len(failures) == 3


def test_a_table_of_another_schema_is_not_written_to_by_another_name(credentials):
    frame = pd.DataFrame({"n": [1]})
    cfl.to_carto(frame, "t", credentials)
    for if_exists in ("append", "replace", "fail"):
        with pytest.raises(ValueError, match=r"is the name of a table with its schema.*pass 't'"):
            cfl.to_carto(frame, "public.t", credentials, if_exists=if_exists)
    assert cfl.to_carto(frame, "t.csv", credentials) == "t_csv"
    assert cfl.to_carto(frame, "Stations etc.", credentials) == "stations_etc_"
    assert cfl.list_tables(credentials) == ["stations_etc_", "t", "t_csv"]
