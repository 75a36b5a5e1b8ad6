"""Reading and writing Dask DataFrames with local schedulers; for clusters, see faults/test_dask.py."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import time
from decimal import Decimal

import dask
import dask.dataframe as dd
import dask_geopandas
import geopandas as gpd
import numpy as np
import pandas as pd
import psycopg
import pytest
import shapely
from dask.base import tokenize
from geopandas.testing import assert_geodataframe_equal

import cartoframes_lite as cfl
import cartoframes_lite.dask
import cartoframes_lite.local
from cartoframes_lite._client import sql_batch
from cartoframes_lite._client.http import retry
from cartoframes_lite._client.http.rate_limit import share_with_processes
from cartoframes_lite.write import spatial_indexes, staging, staging_names, target
from cartoframes_lite.write.plan import WritePlan, plan_new
from cartoframes_lite.write.prepare import prepare
from cartoframes_lite.write.staged_sql import Parts, Staged

ROWS = 1000


def frame_of(rows: int = ROWS, first: int = 0) -> gpd.GeoDataFrame:
    numbers = np.arange(first, first + rows)
    return gpd.GeoDataFrame(
        {
            "n": numbers,
            "maybe": pd.array([None if n % 3 else n for n in numbers], dtype="Int64"),
            "text": pd.Series([None if n % 5 == 0 else "" if n % 5 == 1 else f"ä {n}" for n in numbers], dtype="str"),
            "pairs": [{"a": int(n)} for n in numbers],
            "price": [Decimal(int(n)) / 100 for n in numbers],
            "seen": pd.to_datetime(numbers, unit="h", utc=True).as_unit("us"),
            "day": pd.array(
                [dt.date(2020, 1, 1) + dt.timedelta(int(n) // 10) for n in numbers], "date32[day][pyarrow]"
            ),
        },
        geometry=shapely.points(numbers / 10, numbers / 20),
        crs=4326,
    )


@pytest.fixture(params=["synchronous", "threads"])
def scheduler(request):
    with dask.config.set(scheduler=request.param):
        yield request.param


@pytest.fixture
def table(credentials):
    cfl.to_carto(frame_of(), "t", credentials, progress=False)
    return "t"


@pytest.fixture
def sql(credentials):
    return cfl.Client(credentials).sql


def leftovers(sql):
    return [name for name in sql.tables() if name.startswith(staging_names.PREFIX)]


def sorted_table(name, credentials):
    return cfl.read_carto(name, credentials, progress=False).sort_values("n", ignore_index=True)


def test_all_partitions_together_are_the_table(table, credentials, scheduler):
    ddf = cfl.dask.read_carto(table, credentials, npartitions=7)
    assert isinstance(ddf, dask_geopandas.GeoDataFrame)
    assert ddf.npartitions == 7
    assert ddf.known_divisions
    assert (ddf.divisions[0], ddf.divisions[-1]) == (1, ROWS)
    found = ddf.compute()
    whole = cfl.read_carto(table, credentials, index_col="cartodb_id", progress=False).sort_index()
    assert_geodataframe_equal(found.astype({"n": "int64"}), whole)
    assert found.pairs.iloc[3] == {"a": 3}
    assert found.attrs == whole.attrs


def test_every_partition_has_the_dtypes_of_the_plan(table, credentials):
    ddf = cfl.dask.read_carto(table, credentials, chunk_rows=1)
    assert ddf.npartitions == ROWS
    for number in (0, 1):  # only one has NULL
        part = ddf.partitions[number].compute(scheduler="synchronous")
        assert part.dtypes.to_dict() == ddf.dtypes.to_dict()
        assert part.crs == ddf.crs


@pytest.mark.parametrize("name", ["_size", "_numbered", "_boxes", "_query"])
def test_tables_that_are_called_as_parts_of_a_query(name, credentials):
    cfl.to_carto(frame_of(10), name, credentials)
    frame = cfl.dask.read_carto(name, credentials, npartitions=2**62)
    assert (frame.npartitions, len(frame.compute(scheduler="threads"))) == (10, 10)


def test_gaps_make_no_empty_and_no_huge_partitions(credentials, sql):
    sql.send("CREATE TABLE gaps AS SELECT n * n * n AS id FROM generate_series(1, 1000) n")
    ddf = cfl.dask.read_carto("gaps", credentials, npartitions=9, index_col="id", consistent=False)
    assert ddf.map_partitions(len).compute().tolist() == [112, 111, 111, 111, 111, 111, 111, 111, 111]
    ddf = cfl.dask.read_carto("gaps", credentials, chunk_rows=300, index_col="id", consistent=False)
    assert ddf.map_partitions(len).compute().tolist() == [300, 300, 300, 100]
    assert ddf.loc[27:64].compute().index.tolist() == [27, 64]


def test_rows_with_one_value_stay_together(table, credentials):
    ddf = cfl.dask.read_carto(table, credentials, npartitions=60, index_col="day")
    assert ddf.divisions[0] == dt.date(2020, 1, 1)
    parts = [part.compute(scheduler="synchronous") for part in ddf.partitions]
    days = [set(part.index) for part in parts]
    assert sum(map(len, days)) == len(set.union(*days)) == ROWS // 10
    assert sum(map(len, parts)) == ROWS


def test_dates_far_away(credentials):
    for pgtype in ("date", "timestamp", "timestamptz"):
        query = f"SELECT at::{pgtype} FROM unnest(ARRAY['0001-01-01', '2000-01-01', '9999-12-31 23:59']) AS found(at)"
        ddf = cfl.dask.read_carto(query, credentials, npartitions=3, index_col="at")
        assert ddf.map_partitions(len).compute().tolist() == [1, 1, 1]


@pytest.mark.parametrize("index_col", ["seen", "n"])
def test_other_indexes(index_col, table, credentials):
    ddf = cfl.dask.read_carto(table, credentials, npartitions=3, index_col=index_col)
    assert ddf.index.name == index_col
    assert len(ddf.compute()) == ROWS
    assert ddf.compute().index.is_monotonic_increasing


def test_only_the_columns_that_are_needed_are_fetched(table, credentials, sql):
    ddf = cfl.dask.read_carto(table, credentials, npartitions=2, consistent=False)
    sql.send("ALTER TABLE t DROP COLUMN text")
    assert ddf["n"].sum().compute() == ROWS * (ROWS - 1) // 2
    assert ddf[["the_geom", "n"]].compute().total_bounds.tolist() == [0, 0, 99.9, 49.95]
    assert type(ddf[["n"]].compute()) is pd.DataFrame
    with pytest.raises(ValueError, match="text"):
        ddf.compute()


def test_columns_and_queries(table, credentials):
    ddf = cfl.dask.read_carto("SELECT * FROM t WHERE n < 500 -- half", credentials, columns=["n"], npartitions=4)
    assert list(ddf.columns) == ["n"]
    assert type(ddf) is dd.DataFrame
    assert ddf.n.max().compute() == 499


def test_an_empty_table(credentials):
    cfl.to_carto(frame_of(5).iloc[:0], "t", credentials, progress=False)
    ddf = cfl.dask.read_carto("t", credentials, spatial_partitions=True)
    assert ddf.npartitions == 1
    assert len(ddf.compute()) == 0
    assert ddf[["n"]].compute().columns.tolist() == ["n"]
    assert cfl.dask.to_carto(ddf, "u", credentials) == "u"
    assert cfl.describe_table("u", credentials)["geom_type"] is None or len(cfl.read_carto("u", credentials)) == 0


def test_spatial_partitions(table, credentials, sql):
    sql.send("UPDATE t SET the_geom = NULL WHERE cartodb_id > 750")
    ddf = cfl.dask.read_carto(table, credentials, npartitions=4, spatial_partitions=True)
    assert ddf.spatial_partitions.crs == ddf.crs
    boxes = ddf.spatial_partitions.bounds.to_numpy()
    assert boxes[:3].tolist() == [[0, 0, 24.9, 12.45], [25, 12.5, 49.9, 24.95], [50, 25, 74.9, 37.45]]
    assert ddf.spatial_partitions.is_empty.tolist() == [False, False, False, True]
    near = ddf.cx[0:3, 0:3]
    assert near.npartitions == 1
    assert len(near.compute()) == 31
    plain = cfl.dask.read_carto("SELECT cartodb_id, n FROM t", credentials, npartitions=4)
    assert not hasattr(plain, "spatial_partitions")
    with pytest.raises(ValueError, match="no geometry"):
        cfl.dask.read_carto("SELECT cartodb_id, n FROM t", credentials, spatial_partitions=True)


CHANGES = [
    "INSERT INTO t (n) VALUES (1)",
    "UPDATE t SET n = 0 WHERE cartodb_id = 1",
    "DELETE FROM t WHERE cartodb_id = 1",
    "TRUNCATE t",
    "ALTER TABLE t ADD COLUMN more int",
    "ALTER TABLE t ALTER COLUMN n TYPE numeric",
]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("source", ["t", "SELECT * FROM t WHERE n >= 0"])
def test_a_change_after_the_plan_is_an_error(source, change, table, credentials, sql):
    ddf = cfl.dask.read_carto(source, credentials, npartitions=2)
    assert len(ddf.partitions[0].compute()) == ROWS / 2
    sql.send(change)
    with pytest.raises((cfl.TableChangedError, ValueError)):
        ddf.partitions[1].compute()


def test_a_table_of_the_same_name_is_another_one(table, credentials):
    ddf = cfl.dask.read_carto(table, credentials, npartitions=2)
    cfl.delete_table(table, credentials)
    cfl.to_carto(frame_of(), table, credentials, progress=False)
    with pytest.raises(cfl.TableChangedError, match=r"call dask\.read_carto again"):
        ddf.compute()


def test_a_change_committed_after_the_plan_is_detected(carto, table, credentials, sql):
    with psycopg.connect(carto.dsn) as connection:
        connection.execute("UPDATE public.t SET n = -1 WHERE cartodb_id = 1")
        ddf = cfl.dask.read_carto(table, credentials, npartitions=2)
        assert len(ddf.compute()) == ROWS
    with pytest.raises(cfl.TableChangedError):
        ddf.compute()


def test_partitions_of_different_moments_on_request(table, credentials, sql):
    ddf = cfl.dask.read_carto(table, credentials, npartitions=4, consistent=False)
    sql.send("DELETE FROM t WHERE cartodb_id = 1")
    sql.send("INSERT INTO t (n) VALUES (5)")
    assert len(ddf.compute()) == ROWS - 1


def test_a_key_that_is_not_the_owners():
    with cartoframes_lite.local.start() as server:
        cfl.to_carto(frame_of(), "t", server.credentials, privacy="public", progress=False)
        public = cfl.Credentials(server.credentials.username, base_url=server.base_url)
        assert len(cfl.dask.read_carto("t", public, npartitions=2)) == ROWS
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            connection.execute("REVOKE SELECT ON cartodb.cdb_tablemetadata FROM PUBLIC")
        with pytest.raises(cfl.PermissionDenied) as caught:
            cfl.dask.read_carto("t", public)
        assert "pass consistent=False" in str(caught.value.__notes__)
        assert len(cfl.dask.read_carto("t", public, consistent=False)) == ROWS


def test_what_cannot_be_read_in_parts(table, credentials, sql):
    sql.send("CREATE TABLE plain AS SELECT 1 AS id, NULL::int AS nothing, 'infinity'::timestamp AS never, 'x' AS text")
    read = cfl.dask.read_carto
    with pytest.raises(ValueError, match=r"'plain' reads tables whose changes CARTO does not record.*consistent=False"):
        read("plain", credentials, index_col="id")
    for column, message in (
        ("nothing", "in 1 rows"),
        ("never", "in 1 rows"),
        ("text", "cannot be divided into ranges"),
        ("x", "'x'"),
    ):
        with pytest.raises(ValueError, match=message):
            read("plain", credentials, index_col=column, consistent=False)
    for value in (
        "'0044-03-15 BC'::date",
        "'10000-01-01'::date",
        "'10000-01-01'::timestamp",
        "'0044-03-15 BC'::timestamp",
        "'-infinity'::timestamptz",
    ):
        with pytest.raises(ValueError, match="dates that Python cannot represent, in 1 rows"):
            read(f"SELECT {value} AS at", credentials, index_col="at")
    with pytest.raises(cfl.TableNotFoundError):
        read("nowhere", credentials)
    with pytest.raises(ValueError, match="pass one of them"):
        read("t", credentials, npartitions=2, chunk_rows=2)
    for size in (0, 1.5, True):
        with pytest.raises(ValueError, match="must be an integer"):
            read("t", credentials, npartitions=size)
    with pytest.raises(TypeError, match="table name or a query"):
        read(None, credentials)
    with pytest.raises(TypeError, match="sequence of column names"):
        read("t", credentials, columns="text")
    with pytest.raises(ValueError, match="dtype_backend"):
        read("t", credentials, dtype_backend="arrow")


def write(ddf, name, credentials, **arguments):
    return cfl.dask.to_carto(ddf, name, credentials, **arguments)


def test_a_table_like_the_one_that_to_carto_writes(credentials, scheduler, sql):
    frame = frame_of()
    with dask.config.set({"dataframe.convert-string": False}):
        ddf = dask_geopandas.from_geopandas(frame, npartitions=7)
    assert write(ddf, "In Parts", credentials) == "in_parts"
    cfl.to_carto(frame, "whole", credentials, progress=False)
    parts, whole = sorted_table("in_parts", credentials), sorted_table("whole", credentials)
    assert_geodataframe_equal(parts, whole, check_like=True)
    assert parts.cartodb_id.tolist() == list(range(1, ROWS + 1))
    assert sql.columns("in_parts") == sql.columns("whole")
    assert leftovers(sql) == []
    cfl.to_carto(frame.iloc[:1], "in_parts", credentials, if_exists="append", progress=False)
    assert sql.rows("SELECT max(cartodb_id) AS last FROM in_parts") == [{"last": ROWS + 1}]


@pytest.fixture
def large(monkeypatch):
    """Treat every new table as one with many rows."""
    monkeypatch.setattr(spatial_indexes, "MIN_ROWS", 1)


INDEXES = "SELECT indexname FROM pg_indexes WHERE tablename = 't' ORDER BY 1"


def test_partitions_of_large_tables_are_merged_first(large, credentials, scheduler, sql, monkeypatch):
    built = []
    build = spatial_indexes.build_spatial_indexes

    def count_rows_and_build(destination, staged, columns):
        built.extend(sql.rows(f'SELECT count(*) AS n FROM "{staged.name}"'))
        build(destination, staged, columns)
        built.extend(sql.rows(f"SELECT count(*) AS n FROM pg_indexes WHERE tablename = '{staged.name}'"))

    monkeypatch.setattr(spatial_indexes, "build_spatial_indexes", count_rows_and_build)
    write(dask_geopandas.from_geopandas(frame_of()[["n", "geometry"]], npartitions=7), "t", credentials)
    assert built == [{"n": ROWS}, {"n": 2}]
    found = sorted_table("t", credentials)
    assert found.cartodb_id.tolist() == list(range(1, ROWS + 1))
    names = [row["indexname"] for row in sql.rows(INDEXES)]
    assert names == ["t_pkey", "t_the_geom_idx", "t_the_geom_webmercator_idx"]
    assert leftovers(sql) == []


def test_merging_beyond_the_time_limit_is_left_to_publishing(large, monkeypatch):
    merge = WritePlan.merge
    monkeypatch.setattr(WritePlan, "merge", lambda *plan: f"SELECT pg_sleep(20); {merge(*plan)}")
    with cartoframes_lite.local.start(statement_timeout_s=2) as server:
        write(dd.from_pandas(pd.DataFrame({"n": range(50)}), npartitions=3), "t", server.credentials)
        assert sorted_table("t", server.credentials).cartodb_id.tolist() == list(range(1, 51))


@pytest.mark.parametrize("if_exists", ["append", "replace"])
def test_into_a_table(if_exists, table, credentials, scheduler, sql):
    ddf = dask_geopandas.from_geopandas(frame_of(300, ROWS)[["n", "geometry"]], npartitions=3)
    write(ddf, "t", credentials, if_exists=if_exists)
    found = sorted_table("t", credentials)
    first = 0 if if_exists == "append" else ROWS
    assert found.n.tolist() == list(range(first, ROWS + 300))
    assert found.cartodb_id.is_unique
    assert leftovers(sql) == []


def test_read_transformed_and_written_back(table, credentials, sql):
    ddf = cfl.dask.read_carto(table, credentials, npartitions=5)
    odd = ddf[ddf.n % 2 == 1].assign(twice=lambda frame: frame.n * 2)
    write(odd, "t", credentials, if_exists="replace", index=True)
    found = sorted_table("t", credentials)
    assert found.twice.tolist() == list(range(2, 2 * ROWS, 4))
    assert found.cartodb_id.tolist() == list(range(2, ROWS + 2, 2))
    with pytest.raises(cfl.TableChangedError):
        odd.compute()


def test_the_types_are_those_of_the_first_rows(credentials, sql):
    later = frame_of(100, 900).assign(geometry=lambda frame: shapely.force_3d(frame.geometry, 5))
    with dask.config.set({"dataframe.convert-string": False}):
        ddf = dd.from_map(
            lambda frame: frame, [later.iloc[:0], later.iloc[:50], later.iloc[50:], later.iloc[:0]], meta=later.iloc[:0]
        )
    write(ddf, "t", credentials, dtype={"price": "numeric(10,2)"})
    found = sorted_table("t", credentials)
    assert found.the_geom.has_z.all()
    assert found.pairs.tolist() == later.pairs.tolist()
    assert {column.name: column.pgtype for column in sql.columns("t")}["price"] == "numeric"
    assert len(found) == 100


def test_without_cartodbfy(credentials, sql):
    ddf = dd.from_pandas(pd.DataFrame({"a": range(10)}), npartitions=3)
    write(ddf, "t", credentials, cartodbfy=False)
    assert [column.name for column in sql.columns("t")] == ["a"]
    assert cfl.read_carto("t", credentials, progress=False).a.tolist() == list(range(10))


def fails_late(frame: pd.DataFrame) -> pd.DataFrame:
    if frame.a.max() > 80:
        raise ZeroDivisionError("a partition that cannot be computed")
    return frame


@pytest.mark.parametrize("if_exists", ["replace", "fail"])
def test_a_failed_partition_leaves_the_table_unchanged(if_exists, table, credentials, scheduler, sql):
    before = cfl.read_carto(table, credentials, progress=False)
    ddf = dd.from_pandas(pd.DataFrame({"a": range(100)}), npartitions=8)
    name = table if if_exists == "replace" else "new"
    with pytest.raises(ZeroDivisionError):
        write(ddf.map_partitions(fails_late, meta=ddf._meta), name, credentials, if_exists=if_exists)
    assert not cfl.has_table("new", credentials)
    assert_geodataframe_equal(cfl.read_carto(table, credentials, progress=False), before)
    cfl.to_carto(
        frame_of(1), "another", credentials, progress=False
    )  # drops partitions that other threads were still sending
    assert leftovers(sql) == []


def test_a_partition_that_does_not_fit_is_an_error(credentials, sql):
    ddf = dd.from_map(lambda value: pd.DataFrame({"a": [value]}), [1, "x"], meta=pd.DataFrame({"a": [1]}))
    with pytest.raises(cfl.ConversionError, match="does not fit the first"):
        write(ddf, "t", credentials)
    assert not cfl.has_table("t", credentials)
    # The other partition may still be uploading, and is dropped when it arrives.
    deadline, clean = time.monotonic() + 20, 0
    while clean < 20 and time.monotonic() < deadline:
        clean = 0 if leftovers(sql) else clean + 1
        time.sleep(0.05)
    assert clean == 20


def test_partitions_of_active_writes_are_not_dropped(credentials, sql):
    whole = staging_names.staging_name()
    part = staging_names.part_name(whole, 12)
    assert staging_names.is_staging(part)
    sql.send(f'CREATE TABLE "{part}" (a int)')
    staging_names.active_writes.add(whole)
    cfl.to_carto(frame_of(1), "t", credentials, progress=False)
    assert leftovers(sql) == [part]
    staging_names.active_writes.discard(whole)
    cfl.to_carto(frame_of(1), "u", credentials, progress=False)
    assert leftovers(sql) == []


def test_a_part_that_comes_too_late_is_dropped(credentials, sql):
    destination = target.Destination(cfl.Client(credentials), "public", "t")
    prepared = prepare(pd.DataFrame({"a": [1]}))
    upload = staging.Upload(prepared.columns, prepared.payloads, with_sequence=False)
    with staging.staged_parts(destination, prepared.columns, with_sequence=False) as whole:
        staging.stage_part(destination, upload, whole.name, 1, compression=None)
        assert len(leftovers(sql)) == 2
    assert leftovers(sql) == []
    with pytest.raises(cfl.CartoError, match="partition 2 arrived after the write"):
        staging.stage_part(destination, upload, whole.name, 2, compression=None)
    assert leftovers(sql) == []


def one_more_row(staging_table: str, cartodbfy: bool) -> str:
    columns, values = ("a, cartodb_id", "0, 99") if cartodbfy else ("a", "0")
    return f'INSERT INTO "{staging_table}" ({columns}) VALUES ({values})'


@pytest.mark.parametrize("cartodbfy", [False, True])  # only CARTO tables are merged before publishing
def test_partitions_that_contradict_their_receipt_are_not_published(cartodbfy, large, credentials, sql, monkeypatch):
    stage_part = staging.stage_part

    def with_one_more(destination, upload, whole, number, **arguments):
        staged = stage_part(destination, upload, whole, number, **arguments)
        sql.send(one_more_row(staged.name, cartodbfy))
        return staged

    monkeypatch.setattr("cartoframes_lite.dask.staged_parts.stage_part", with_one_more)
    ddf = dd.from_pandas(pd.DataFrame({"a": range(10)}), npartitions=2)
    with pytest.raises(cfl.CartoError, match="12 rows arrived, but 10 were sent"):
        write(ddf, "t", credentials, cartodbfy=cartodbfy)
    assert not cfl.has_table("t", credentials)
    assert leftovers(sql) == []


@pytest.mark.parametrize("cartodbfy", [False, True])  # only CARTO tables are merged before publishing
def test_row_counts_are_checked_per_partition(cartodbfy, large, credentials, sql, monkeypatch):
    stage_part = staging.stage_part

    def with_other_rows(destination, upload, whole, number, **arguments):
        staged = stage_part(destination, upload, whole, number, **arguments)
        sql.send(one_more_row(staged.name, cartodbfy) if number else f'DELETE FROM "{staged.name}" WHERE a = 0')
        return staged

    monkeypatch.setattr("cartoframes_lite.dask.staged_parts.stage_part", with_other_rows)
    ddf = dd.from_pandas(pd.DataFrame({"a": range(10)}), npartitions=2)
    with pytest.raises(cfl.CartoError, match="rows of the partitions are not those sent"):
        write(ddf, "t", credentials, cartodbfy=cartodbfy)
    assert not cfl.has_table("t", credentials)
    assert leftovers(sql) == []


def test_invalid_arguments_of_dask_functions_are_refused(table, credentials):
    ddf = dd.from_pandas(pd.DataFrame({"a": [1]}), npartitions=1)
    with pytest.raises(cfl.TableExistsError):
        write(ddf, "t", credentials)
    with pytest.raises(TypeError, match=r"use cartoframes_lite\.to_carto"):
        write(pd.DataFrame({"a": [1]}), "t", credentials)
    with pytest.raises(ValueError, match="uploads_at_once"):
        write(ddf, "u", credentials, uploads_at_once=0)
    with pytest.raises(ValueError, match="if_exists"):
        write(ddf, "u", credentials, if_exists="maybe")
    with pytest.raises(cfl.ConversionError, match="both be named 'a'"):
        write(dd.from_pandas(pd.DataFrame({"a": [1], "A": [2]}), npartitions=1), "u", credentials)


def test_the_second_of_two_writers_gets_an_error(credentials, sql):
    def made_meanwhile(frame: pd.DataFrame) -> pd.DataFrame:
        if frame.a.max() == 9:
            cfl.to_carto(frame_of(1), "t", credentials, progress=False)
        return frame

    ddf = dd.from_pandas(pd.DataFrame({"a": range(10)}), npartitions=2)
    with pytest.raises(cfl.TableExistsError, match="already exists"):
        write(ddf.map_partitions(made_meanwhile, meta=ddf._meta), "t", credentials)
    assert cfl.read_carto("t", credentials, progress=False).n.tolist() == [0]
    assert leftovers(sql) == []


def test_dask_frames_with_the_process_scheduler(credentials, sql):
    with dask.config.set(scheduler="processes", num_workers=2):
        write(dask_geopandas.from_geopandas(frame_of(30)[["n", "geometry"]], npartitions=3), "t", credentials)
        found = cfl.dask.read_carto("t", credentials, npartitions=2)
        assert found.n.compute().tolist() == list(range(30))
        sql.send("UPDATE t SET n = 0")
        with pytest.raises(cfl.TableChangedError):
            found.n.compute()
    assert leftovers(sql) == []


def test_a_thousand_parts_are_published_by_one_batch_job():
    named = {f"column_{number}": [number] for number in range(10)}
    columns = prepare(gpd.GeoDataFrame(named, geometry=[shapely.Point(1, 2)], crs=4326)).columns
    plan = plan_new("t", columns, cartodbfy=True)
    whole = staging_names.staging_name()
    names = [staging_names.part_name(whole, number) for number in range(1000)]
    suffixes = tuple(name.removeprefix(whole) for name in names)
    staged = Staged(whole, 4_000_000_000, 250_000_000, "d41d8cd98f00b204e9800998ecf8427e")
    transaction = plan.publish("public", staged, Parts(suffixes, ()))
    assert len(json.dumps({"query": transaction})) <= sql_batch._MAX_PAYLOAD_BYTES


def test_privacy_of_a_table_written_by_dask(credentials):
    write(dd.from_pandas(pd.DataFrame({"a": [1]}), npartitions=1), "t", credentials, privacy="public")
    assert cfl.Dataset("t", credentials).privacy == "public"


def test_many_workers_under_a_rate_limit():
    frame = pd.DataFrame({"a": range(40)})
    with (
        cartoframes_lite.local.start(rate_limit=(8, 1)) as server,
        dask.config.set(scheduler="threads", num_workers=20),
    ):
        ddf = dd.from_pandas(frame, npartitions=10)
        write(ddf, "t", server.credentials)
        read = cfl.dask.read_carto("t", server.credentials, npartitions=5)
        assert sorted(read.a.compute()) == list(range(40))


def test_a_limit_that_others_use_up_is_waited_for(monkeypatch):
    monkeypatch.setattr(retry, "TOTAL_S", 0.0)
    with cartoframes_lite.local.start(rate_limit=(2, 0)) as server:
        client = cfl.Client(server.credentials)

        def many():
            return [client.sql.rows("SELECT 1 AS a") for _ in range(3)]

        with pytest.raises(cfl.RateLimited):
            many()
        with share_with_processes():
            assert many() == [[{"a": 1}]] * 3


def test_no_key_in_graphs_and_tokens(table, credentials):
    ddf = cfl.dask.read_carto(table, credentials, npartitions=2)
    graph = ddf.optimize().__dask_graph__()
    shown = f"{graph!r} {dict(graph)!r} {ddf!r} {ddf.expr!r} {ddf.expr.tree_repr()}"
    assert "***" in shown
    assert str(credentials.api_key) not in shown
    other = cfl.Credentials(api_key="another", base_url=credentials.base_url)
    reader = ddf.expr.func
    same = type(reader)(other, *[getattr(reader, name) for name in list(reader.__slots__)[1:]])
    assert tokenize(reader) == tokenize(same)  # a random token, which does not depend on the key


def test_a_missing_dask_says_what_to_install():
    script = (
        "import sys, cartoframes_lite as cfl\n"
        "assert 'dask' not in sys.modules\n"
        "sys.modules['dask_geopandas'] = None\n"
        "try:\n    cfl.dask.read_carto\n"
        "except ImportError as error:\n    assert 'pip install \"cartoframes_lite[dask]\"' in str(error), error\n"
        "else:\n    sys.exit('it was imported')\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
