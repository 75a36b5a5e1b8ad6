"""Writes that update rows by key, or replace the rows of a table and nothing else."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from uuid import UUID

import dask.dataframe as dd
import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

import cartoframes_lite as cfl
import cartoframes_lite.dask

NOWHERE = cfl.Credentials(base_url="http://127.0.0.1:9/user/none", api_key="none")


@pytest.fixture
def sql(credentials):
    return cfl.Client(credentials).sql


def upsert(columns, credentials, key="id", **keywords):
    frame = columns if isinstance(columns, pd.DataFrame) else pd.DataFrame(columns)
    return cfl.to_carto(frame, "t", credentials, if_exists="upsert", key=key, progress=False, **keywords)


def unique_keys(sql):
    query = (
        "SELECT pg_get_constraintdef(oid) AS key FROM pg_constraint WHERE conrelid = 't'::regclass AND contype = 'u'"
    )
    return [row["key"] for row in sql.rows(query)]


@pytest.mark.parametrize("cartodbfy", [True, False])
def test_upsert_creates_updates_and_appends(cartodbfy, credentials, sql):
    upsert({"id": [1, 2], "a": ["x", "y"]}, credentials, cartodbfy=cartodbfy)
    sql.send("ALTER TABLE t ADD COLUMN kept int DEFAULT 7; UPDATE t SET kept = id * 10")
    upsert({"id": [2, 3], "a": ["Y", None]}, credentials, cartodbfy=cartodbfy)
    assert sql.rows("SELECT id, a, kept FROM t ORDER BY id") == [
        {"id": 1, "a": "x", "kept": 10},
        {"id": 2, "a": "Y", "kept": 20},
        {"id": 3, "a": None, "kept": 7},
    ]
    assert unique_keys(sql) == ["UNIQUE (id)"]


KEYS = [
    ("int8", [1.0, 2.0]),
    ("text", ["é", ""]),
    ("numeric", [Decimal("1.50"), Decimal("2")]),
    ("date", [dt.date(2020, 1, 1), dt.date(2021, 1, 1)]),
    ("timestamptz", pd.to_datetime(["2020-01-01", "2021-01-01"], utc=True)),
    ("uuid", [UUID(int=1), UUID(int=2)]),
    ("bytea", [b"a", b"b"]),
    ("boolean", [True, False]),
    ("varchar(3)", ["a", "b"]),
]


@pytest.mark.parametrize(("pgtype", "values"), KEYS, ids=[pgtype for pgtype, _ in KEYS])
def test_keys_of_each_type(pgtype, values, credentials, sql):
    sql.send(f"CREATE TABLE t (id {pgtype}, n int)")
    for n in (1, 2):
        upsert({"id": values, "n": [n, n]}, credentials)
    assert sql.rows("SELECT count(*) AS rows, min(n) AS n FROM t") == [{"rows": 2, "n": 2}]


def test_a_key_of_several_columns_by_label_and_by_name(credentials, sql):
    frame = pd.DataFrame({"A b": [1, 1], "c": ["x", "y"], "n": [1, 2]})
    with pytest.warns(cfl.ConversionWarning, match="'A b': 'a_b'"):
        upsert(frame, credentials, ["A b", "c"])
    with pytest.warns(cfl.ConversionWarning, match="'A b': 'a_b'"):
        upsert(frame.assign(n=[3, 4]), credentials, ["c", "a_b"])
    assert sql.rows("SELECT a_b, c, n FROM t ORDER BY c") == [
        {"a_b": 1, "c": "x", "n": 3},
        {"a_b": 1, "c": "y", "n": 4},
    ]
    assert unique_keys(sql) == ["UNIQUE (a_b, c)"]


def test_a_key_without_other_columns_and_an_empty_frame(credentials, sql):
    upsert({"id": [1, 2]}, credentials, cartodbfy=False)
    upsert({"id": [2, 3]}, credentials, cartodbfy=False)
    upsert(pd.DataFrame({"id": [], "n": []})[["id"]], credentials, cartodbfy=False)
    assert sql.rows("SELECT id FROM t ORDER BY id") == [{"id": 1}, {"id": 2}, {"id": 3}]


def test_the_primary_key_of_a_carto_table_is_a_key(credentials, sql):
    points = gpd.GeoDataFrame({"n": [1, 2]}, geometry=gpd.points_from_xy([0, 1], [0, 1]), crs=4326)
    cfl.to_carto(points, "t", credentials, progress=False)
    frame = cfl.read_carto("t", credentials).assign(n=[3, 4])
    frame.loc[0, "the_geom"] = shapely.Point(5, 5)
    upsert(frame, credentials, "cartodb_id")
    upsert(frame.set_index("cartodb_id"), credentials, "cartodb_id", index=True)
    again = cfl.read_carto("t", credentials)
    assert again["n"].tolist() == [3, 4]
    assert again.the_geom[0] == shapely.Point(5, 5)
    assert sql.rows("SELECT ST_X(the_geom_webmercator) > 500000 AS moved FROM t WHERE n = 3") == [{"moved": True}]
    assert unique_keys(sql) == []
    upsert({"n": [9], "cartodb_id": [9]}, credentials, "cartodb_id")
    sql.send("INSERT INTO t (n) VALUES (10)")
    assert sql.rows("SELECT cartodb_id FROM t WHERE n = 10") == [{"cartodb_id": 10}]


@pytest.mark.parametrize(
    "index",
    [
        "CREATE UNIQUE INDEX ON t (id) WHERE id > 0",
        "CREATE UNIQUE INDEX ON t (abs(id))",
        "CREATE UNIQUE INDEX ON t (id, n)",
        "CREATE INDEX ON t (id)",
    ],
)
def test_an_index_that_does_not_identify_rows_is_not_used(index, credentials, sql):
    sql.send(f"CREATE TABLE t AS SELECT 1 AS id, 1 AS n; {index}")
    upsert({"id": [1], "n": [2]}, credentials)
    assert sql.rows("SELECT id, n FROM t") == [{"id": 1, "n": 2}]
    assert "UNIQUE (id)" in unique_keys(sql)


def test_a_unique_index_on_the_key_is_used(credentials, sql):
    sql.send("CREATE TABLE t AS SELECT 1 AS id, 1 AS n; CREATE UNIQUE INDEX ON t (id) INCLUDE (n)")
    upsert({"id": [1], "n": [2]}, credentials)
    assert unique_keys(sql) == []


DUPLICATES = [
    ({"id": [1, 2, 1]}, "id", r"rows 0 and 2 of the frame have the same key, id=1"),
    ({"id": ["a", "b", "b"], "n": [1, 2, 2]}, ["id", "n"], r"rows 1 and 2 .* id='b', n=2"),
    ({"id": [1, None]}, "id", r"'id' of the key has no value in row 1: NULL is not equal"),
    ({"id": ["a", np.nan]}, "id", r"no value in row 1"),
    ({"id": [{"a": 1}]}, "id", r"jsonb, which cannot be a key"),
    ({"id": [[1]]}, "id", r"bigint\[\], which cannot be a key"),
]


@pytest.mark.parametrize(("columns", "key", "message"), DUPLICATES, ids=range(len(DUPLICATES)))
def test_rows_without_a_key_of_their_own_are_refused_before_any_request(columns, key, message):
    with pytest.raises(cfl.ConversionError, match=message):
        upsert(columns, NOWHERE, key)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"if_exists": "upsert"}, "pass the column, or the list of columns"),
        ({"if_exists": "append", "key": "id"}, "pass the column, or the list of columns"),
        ({"if_exists": "upsert", "key": "nothing"}, r"key has the columns \['nothing'\]"),
        ({"if_exists": "upsert", "key": []}, "list of different columns"),
        ({"if_exists": "upsert", "key": ["id", "id"]}, "list of different columns"),
        ({"if_exists": "update"}, "if_exists must be one of"),
    ],
)
def test_wrong_keys_are_refused_before_any_request(keywords, message):
    with pytest.raises(ValueError, match=message):
        cfl.to_carto(pd.DataFrame({"id": [1]}), "t", NOWHERE, **keywords)


@pytest.mark.parametrize("exists", [True, False])
def test_frames_of_an_iterable_with_the_same_key(exists, credentials, sql):
    frames = [pd.DataFrame({"id": [1, 2]}), pd.DataFrame({"id": [3, 2]})]
    if exists:
        upsert({"id": [1]}, credentials)
    with pytest.raises(cfl.ConversionError, match=r"have the same key: .*2"):
        cfl.to_carto(iter(frames), "t", credentials, if_exists="upsert", key="id", progress=False)
    assert sql.rows("SELECT relname FROM pg_class WHERE relname LIKE 'cfl_%'") == []
    assert cfl.has_table("t", credentials) is exists
    cfl.to_carto(iter([*frames[:1], frames[1][:1]]), "t", credentials, if_exists="upsert", key="id", progress=False)
    assert len(cfl.read_carto("t", credentials)) == 3


def test_a_table_with_repeated_keys_is_refused(credentials, sql):
    sql.send("CREATE TABLE t AS SELECT 1 AS id FROM generate_series(1, 2)")
    with pytest.raises(cfl.CartoError, match=r"several of its rows have the same key: \(id\)=\(1\)") as raised:
        upsert({"id": [1]}, credentials)
    assert not isinstance(raised.value, cfl.PublishUnknown)
    assert unique_keys(sql) == []


def test_rows_with_null_as_key_stay(credentials, sql):
    sql.send("CREATE TABLE t (id int, n int); INSERT INTO t VALUES (NULL, 1), (NULL, 2)")
    upsert({"id": [1], "n": [3]}, credentials)
    assert sql.rows("SELECT n FROM t ORDER BY n") == [{"n": 1}, {"n": 2}, {"n": 3}]


def test_a_frame_that_does_not_fit_is_not_upserted(credentials, sql):
    sql.send("CREATE TABLE t (id int, n int)")
    with pytest.raises(cfl.ConversionError, match=r"columns \['m'\]"):
        upsert({"id": [1], "m": [1]}, credentials)
    with pytest.raises(cfl.ConversionError, match="'n'"):
        upsert({"id": [1], "n": [1.5]}, credentials)


@pytest.mark.parametrize(
    ("event", "body", "is_refused"),
    [
        ("BEFORE UPDATE", "NEW.n := 5; RETURN NEW;", False),
        ("BEFORE UPDATE", "RETURN NULL;", True),
        ("AFTER INSERT", "DELETE FROM t; RETURN NULL;", True),
    ],
)
def test_triggers_of_an_updated_table(event, body, is_refused, credentials, sql):
    upsert({"id": [1, 2], "n": [1, 2]}, credentials)
    sql.send(
        f"CREATE FUNCTION f() RETURNS trigger AS $$ BEGIN {body} END $$ LANGUAGE plpgsql;"
        f"CREATE TRIGGER f {event} ON t FOR EACH ROW EXECUTE FUNCTION f()"
    )
    if is_refused:
        with pytest.raises(cfl.CartoError, match="was not changed"):
            upsert({"id": [2, 3], "n": [3, 4]}, credentials)
    else:
        upsert({"id": [2, 3], "n": [3, 4]}, credentials)
    assert sorted(cfl.read_carto("t", credentials)["n"]) == ([1, 2] if is_refused else [1, 4, 5])


def test_upserts_at_once_finish_and_agree(credentials, sql):
    frames = [pd.DataFrame({"id": range(200)[:: 1 if n % 2 else -1], "n": n}) for n in range(6)]
    with ThreadPoolExecutor(len(frames)) as pool:
        list(pool.map(lambda frame: upsert(frame, credentials), frames))
    assert sql.rows("SELECT count(*) AS rows, count(DISTINCT n) AS writers FROM t") == [{"rows": 200, "writers": 1}]
    assert unique_keys(sql) == ["UNIQUE (id)"]


def test_a_deferrable_constraint_on_the_key_is_named(credentials, sql):
    sql.send("CREATE TABLE t (id int UNIQUE DEFERRABLE)")
    with pytest.raises(cfl.CartoError, match=r"'t' was not changed: .* drop the deferrable constraint"):
        upsert({"id": [1]}, credentials)


def test_delete_rows_keeps_the_definition_of_the_table(credentials, sql):
    sql.send(
        "CREATE TABLE t (id int PRIMARY KEY, n numeric(5,1) NOT NULL, note text DEFAULT 'none');"
        " CREATE VIEW v AS SELECT n FROM t; INSERT INTO t VALUES (1, 1, 'old')"
    )
    before = sql.rows("SELECT attname, atttypid FROM pg_attribute WHERE attrelid = 't'::regclass ORDER BY attnum")
    frame = pd.DataFrame({"id": [1, 2], "n": [1.5, 2.0]})
    cfl.to_carto(frame, "t", credentials, if_exists="delete_rows", progress=False)
    assert sql.rows("SELECT * FROM t ORDER BY id") == [
        {"id": 1, "n": 1.5, "note": "none"},
        {"id": 2, "n": 2.0, "note": "none"},
    ]
    after = sql.rows("SELECT attname, atttypid FROM pg_attribute WHERE attrelid = 't'::regclass ORDER BY attnum")
    assert before == after
    for refused in (frame.assign(more=1), frame.assign(n=[1.55, 2]), frame.assign(id=["a", "b"])):
        with pytest.raises(cfl.ConversionError):
            cfl.to_carto(refused, "t", credentials, if_exists="delete_rows", progress=False)
    with pytest.raises(cfl.SQLError, match="null value"):
        cfl.to_carto(frame[["id"]], "t", credentials, if_exists="delete_rows", progress=False)
    assert len(cfl.read_carto("t", credentials)) == 2


def test_delete_rows_creates_a_table_and_works_by_partition(credentials):
    frame = pd.DataFrame({"n": range(4)})
    for _ in range(2):
        cfl.to_carto(frame, "t", credentials, if_exists="delete_rows", progress=False)
    cfl.dask.to_carto(dd.from_pandas(frame + 1, npartitions=2), "t", credentials, if_exists="delete_rows")
    assert sorted(cfl.read_carto("t", credentials)["n"]) == [1, 2, 3, 4]


def test_upsert_by_partition_is_refused_with_the_way_to_do_it(credentials):
    ddf = dd.from_pandas(pd.DataFrame({"id": range(4)}), npartitions=2)
    with pytest.raises(ValueError, match=r"part.compute\(\) for part in ddf.partitions"):
        cfl.dask.to_carto(ddf, "t", NOWHERE, if_exists="upsert", key="id")
    parts = (part.compute() for part in ddf.partitions)
    cfl.to_carto(parts, "t", credentials, if_exists="upsert", key="id", progress=False)
    assert len(cfl.read_carto("t", credentials)) == 4
