"""A replace keeps the columns whose types hold the values, with what depends on them."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import dask.dataframe as dd
import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import cartoframes_lite as cfl
import cartoframes_lite.dask

VIEW = "CREATE TYPE mood AS ENUM ('a', 'b'); CREATE DOMAIN even AS int4 CHECK (VALUE % 2 = 0);"
DAY = dt.date(2020, 1, 1)
UUID = "b4f9d8b0-0000-4000-8000-000000000000"
MISSING = [
    [np.nan, np.nan],
    [None, None],
    [pd.NaT, pd.NaT],
    pd.array([None, None], "Int64"),
    pd.Categorical([None, None]),
    pd.arrays.IntervalArray.from_tuples([np.nan, np.nan]),
]


def make(sql, pgtype, *, dependents=True):
    sql.send(f"{VIEW} CREATE TABLE t (x {pgtype})")
    if dependents:
        sql.send("CREATE INDEX i ON t (x); CREATE VIEW v AS SELECT x FROM t; GRANT SELECT (x) ON t TO publicuser")


def kept(sql):
    index = sql.rows("SELECT count(*) AS n FROM pg_indexes WHERE indexname = 'i'")
    return index == [{"n": 1}] and sql.rows("SELECT count(x) AS n FROM v")[0]["n"] >= 0


def replace(values, credentials, **keywords):
    cfl.to_carto(
        pd.DataFrame({"x": values}), "t", credentials, if_exists="replace", cartodbfy=False, progress=False, **keywords
    )


HELD = [
    ("int8", [1, np.nan], [1, None]),
    ("int4", [1.0, -2.0], [1, -2]),
    ("int2", [1, 32767], [1, 32767]),
    ("int8", [Decimal("1.00"), None], [1, None]),
    ("float8", [1, 2], [1.0, 2.0]),
    ("float4", [0.5, 1e10], [0.5, 1e10]),
    ("numeric", [0.1 + 0.2, 1e-20], ["0.30000000000000004", "0.00000000000000000001"]),
    ("numeric", np.array([0.1], "float32"), ["0.10000000149011612"]),
    ("numeric(10,2)", [1.25, 2.0], ["1.25", "2.00"]),
    ("varchar(3)", ["abc", None], ["abc", None]),
    ("mood", ["a", "b"], ["a", "b"]),
    ("even", [2.0, 4.0], [2, 4]),
    ("date", ["2020-01-01"], ["2020-01-01"]),
    ("timestamp", [DAY], ["2020-01-01T00:00:00"]),
    ("int4[]", [[1, 2]], ["{1,2}"]),
    ("text", [1, None], ["1", None]),
    ("text", [1.5, np.nan], ["1.5", None]),
    ("text", [True, False], ["true", "false"]),
    ("text", [DAY], ["2020-01-01"]),
    ("text", [{"a": 1}], ['{"a": 1}']),
    ("varchar(2)", [12], ["12"]),
    ("uuid[]", [[UUID, None]], [f"{{{UUID},NULL}}"]),
    ("inet[]", [["10.0.0.1"]], ["{10.0.0.1}"]),
    ("interval[]", [["1 day"]], ["{1 day}"]),
    ("mood[]", [["a"]], ["{a}"]),
    ("text[]", [[1, 2]], ["{1,2}"]),
]


@pytest.mark.parametrize(
    ("pgtype", "values", "stored"), HELD, ids=[f"{pgtype}-{at}" for at, (pgtype, *_) in enumerate(HELD)]
)
def test_a_replace_keeps_types_that_hold_all_values(pgtype, values, stored, credentials):
    sql = cfl.Client(credentials).sql
    make(sql, pgtype)
    replace(values, credentials)
    assert sql.rows("SELECT to_json(x) AS x FROM t ORDER BY ctid") == sql.rows(
        f"SELECT to_json(x::{pgtype}) AS x FROM unnest(%s) x" % array(stored)
    )
    assert kept(sql)


def array(values):
    items = ["NULL" if value is None else f"'{value}'" for value in values]
    return f"ARRAY[{', '.join(items)}]::text[]"


OTHER = [
    ("int8", [1.5, 2.0], "float8"),
    ("int8", [1e300], "float8"),
    ("int2", [1, 40000], "int8"),
    ("float4", [0.1], "float8"),
    ("numeric(10,2)", [1.255], "float8"),
    ("varchar(3)", ["abcd"], "text"),
    ("mood", ["a", "c"], "text"),
    ("even", [3.0], "float8"),
    ("date", ["soon"], "text"),
    ("varchar(2)", [123], "int8"),
    ("mood[]", [["c"]], "_text"),
    ("inet[]", [["nowhere"]], "_text"),
    ("interval[]", [["1.0000001 s"]], "_text"),
    ("jsonb", ["1"], "text"),
    ("int4[]", ["{1}"], "text"),
]


@pytest.mark.parametrize(
    ("pgtype", "values", "becomes"), OTHER, ids=[f"{pgtype}-{at}" for at, (pgtype, *_) in enumerate(OTHER)]
)
def test_a_replace_changes_types_that_do_not_hold_a_value(pgtype, values, becomes, credentials):
    sql = cfl.Client(credentials).sql
    make(sql, pgtype, dependents=False)
    replace(values, credentials)
    assert cfl.Dataset("t", credentials).columns() == {"x": becomes}
    assert len(cfl.read_carto("t", credentials)) == len(values)


def test_only_columns_that_do_not_fit_are_changed(credentials):
    sql = cfl.Client(credentials).sql
    sql.send("CREATE TABLE t (a int8, b int8, c varchar(2))")
    frames = [pd.DataFrame({"a": [1.0], "b": [1.0], "c": ["a"]}), pd.DataFrame({"a": [1.5], "b": [2.0], "c": ["abc"]})]
    cfl.to_carto(iter(frames), "t", credentials, if_exists="replace", cartodbfy=False, progress=False)
    assert cfl.Dataset("t", credentials).columns() == {"b": "int8", "a": "float8", "c": "text"}
    assert sql.rows("SELECT a, b, c FROM t ORDER BY a") == [{"a": 1, "b": 1, "c": "a"}, {"a": 1.5, "b": 2, "c": "abc"}]


def test_a_requested_type_is_not_replaced_by_that_of_the_table(credentials):
    make(cfl.Client(credentials).sql, "int8", dependents=False)
    replace([1.0, 2.0], credentials, dtype={"x": "double precision"})
    assert cfl.Dataset("t", credentials).columns() == {"x": "float8"}


@pytest.mark.parametrize(("values", "becomes"), [([1.0, np.nan], "int8"), ([1.0, 1.5], "float8")])
def test_partitions_keep_types_that_hold_all_values(values, becomes, credentials):
    make(cfl.Client(credentials).sql, "int8", dependents=False)
    ddf = dd.from_pandas(pd.DataFrame({"x": values}), npartitions=2)
    cfl.dask.to_carto(ddf, "t", credentials, if_exists="replace", cartodbfy=False)
    assert cfl.Dataset("t", credentials).columns() == {"x": becomes}
    assert len(cfl.read_carto("t", credentials)) == 2


PGTYPES = ["int8", "text", "date", "mood", "geometry(PointZ,4326)", "geography", "jsonb", "json", "uuid[]", "numeric[]"]
PGTYPES += ["timestamptz[]", "bytea", "interval", "timestamptz", "time", "boolean", "numeric(5,1)", "inet", "even"]


@pytest.mark.parametrize("if_exists", ["append", "replace"])
@pytest.mark.parametrize("pgtype", PGTYPES)
def test_missing_values_fit_a_column_of_any_type(pgtype, if_exists, credentials):
    sql = cfl.Client(credentials).sql
    sql.send(f"{VIEW} CREATE TABLE t (x {pgtype}); CREATE VIEW v AS SELECT x FROM t")
    for values in MISSING:
        frame = pd.DataFrame({"x": values})
        cfl.to_carto(frame, "t", credentials, if_exists=if_exists, cartodbfy=False, progress=False)
    rows = 2 * len(MISSING) if if_exists == "append" else 2
    assert sql.rows("SELECT count(*) AS n, count(x) AS present FROM v") == [{"n": rows, "present": 0}]


def test_missing_geometries_fit_any_crs_and_type(credentials):
    sql = cfl.Client(credentials).sql
    sql.send(
        "CREATE TABLE t (the_geom geometry(Point,3857), x geometry); INSERT INTO t SELECT NULL, 'SRID=2154;POINT(1 1)'"
    )
    shapes = gpd.GeoSeries([None, None])
    frame = gpd.GeoDataFrame({"x": shapes}, geometry=shapes)
    cfl.to_carto(frame, "t", credentials, if_exists="append", progress=False)
    assert sql.rows("SELECT count(*) AS n FROM t") == [{"n": 3}]


def test_a_carto_table_gets_its_geometry_from_a_missing_column(credentials):
    frame = pd.DataFrame({"the_geom": [None, None], "x": [1, 2]})
    for if_exists in ("fail", "append", "replace"):
        cfl.to_carto(frame, "t", credentials, if_exists=if_exists, progress=False)
    assert cfl.read_carto("t", credentials).the_geom.isna().all()


ARRAYS = [
    f"{name}[]" for name in ("integer", "text", "double precision", "date", "boolean", "numeric", "bytea", "uuid")
]
ARRAYS += [
    f"{name}[]" for name in ("timestamp with time zone", "interval", "inet", "jsonb", "json", "geometry", "mood")
]


@pytest.mark.parametrize("if_exists", ["append", "replace"])
@pytest.mark.parametrize("pgtype", ARRAYS)
@pytest.mark.parametrize("values", [[[], []], [[None], None]])
def test_lists_without_elements_fit_any_array(values, pgtype, if_exists, credentials):
    sql = cfl.Client(credentials).sql
    make(sql, pgtype, dependents=False)
    frames = [pd.DataFrame({"x": values}), pd.DataFrame({"x": [[None, None]]})]
    cfl.to_carto(iter(frames), "t", credentials, if_exists=if_exists, cartodbfy=False)
    rows = sql.rows("SELECT pg_typeof(x)::text AS kind, cardinality(x) AS n FROM t ORDER BY n")
    assert {row["kind"] for row in rows} == {pgtype}
    assert {row["n"] for row in rows} == {None if value is None else len(value) for value in values} | {2}


@pytest.mark.parametrize("as_arrow", [False, True])
def test_lists_without_elements_take_a_requested_type(as_arrow, credentials):
    frame = pd.DataFrame({"x": [[], [None], None]})
    data = pa.table({"x": pa.array([[], [None], None], pa.list_(pa.null()))}) if as_arrow else frame
    for if_exists in ("fail", "replace", "append"):
        cfl.to_carto(data, "t", credentials, if_exists=if_exists, cartodbfy=False, dtype={"x": "uuid[]"})
    assert cfl.Dataset("t", credentials).columns() == {"x": "_uuid"}


LATER = [
    ("uuid[]", UUID),
    ("mood[]", "a"),
    ("timestamptz[]", pd.Timestamp(2020, 1, 1, tz="UTC")),
    ("time[]", dt.time(1)),
]
LATER += [("interval[]", dt.timedelta(days=1)), ("bytea[]", b"\xff"), ("numeric[]", Decimal("1.50"))]


@pytest.mark.parametrize("first", [[[], [None]], [None, None]], ids=["empty", "missing"])
@pytest.mark.parametrize(("pgtype", "value"), LATER, ids=[pgtype for pgtype, _ in LATER])
def test_elements_of_later_frames_fit_the_array(pgtype, value, first, credentials):
    make(cfl.Client(credentials).sql, pgtype, dependents=False)
    frames = [pd.DataFrame({"x": first}), pd.DataFrame({"x": [[value]]})]
    cfl.to_carto(iter(frames), "t", credentials, if_exists="append", cartodbfy=False)
    query = "SELECT x[1] AS x FROM t WHERE x[1] IS NOT NULL"
    (found,) = cfl.read_carto(query, credentials, coerce_float=False).x
    assert pd.to_timedelta(found) == value if isinstance(value, dt.timedelta) else found == value


@pytest.mark.parametrize("pgtype", ["uuid", "inet", "interval", "timestamptz", "time", "mood", "date", "bytea"])
def test_arrays_that_were_read_can_be_appended(pgtype, credentials):
    values = {"uuid": UUID, "inet": "10.0.0.1", "mood": "b", "interval": "1 day", "time": "12:00", "bytea": "\\x01"}
    make(cfl.Client(credentials).sql, f"{pgtype}[]", dependents=False)
    cfl.execute(f"INSERT INTO t VALUES (%s::{pgtype}[])", [[values.get(pgtype, "2020-01-01")]], credentials)
    frame = cfl.read_carto("t", credentials)
    cfl.to_carto(frame, "t", credentials, if_exists="append", cartodbfy=False)
    first, second = cfl.read_carto("t", credentials).x
    assert first == second
