"""Arrow data of other libraries are written: values, types, geometries, in bounded memory."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from decimal import Decimal

import dask.dataframe as dd
import geopandas as gpd
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from pyarrow import dataset

import cartoframes_lite as cfl
from cartoframes_lite.write import arrow_frames

VALUES = {
    "n": pa.array([1, None, 3], pa.int16()),
    "x": pa.array([0.5, None, float("inf")]),
    "exact": pa.array([Decimal("1.50"), None, Decimal("-2.25")]),
    "name": pa.array(["a", None, ""], pa.string_view()),
    "kind": pa.array(["p", "q", "p"]).dictionary_encode(),
    "day": pa.array([datetime.date(2026, 11, 26), None, None]),
    "at": pa.array([datetime.datetime(2026, 11, 26, 12, 0, 0, 5), None, None], pa.timestamp("us", "UTC")),
    "list": pa.array([[1, 2], None, []], pa.list_(pa.int32())),
    "data": pa.array([{"a": 1}, None, {"a": 2}]),
}
POINTS = gpd.GeoSeries([shapely.Point(1, 2), None, shapely.Point(3, 4)], crs=4326)


def rows_of(table: str, credentials) -> list[dict[str, object]]:
    return cfl.Client(credentials).sql.rows(f"SELECT * FROM {table} ORDER BY cartodb_id")


def test_values_keep_their_types(credentials):
    cfl.to_carto(pa.table(VALUES), "t", credentials)
    types = {column.name: column.pgtype for column in cfl.Client(credentials).sql.columns("t")}
    assert {name: types[name] for name in ("n", "x", "exact", "list", "data", "at")} == {
        "n": "int2", "x": "float8", "exact": "numeric", "list": "_int4", "data": "jsonb", "at": "timestamptz",
    }  # fmt: skip
    back = cfl.read_carto("SELECT * FROM t ORDER BY cartodb_id", credentials, coerce_float=False)
    assert back["n"].tolist() == [1, pd.NA, 3]
    assert back["exact"].tolist() == [Decimal("1.50"), None, Decimal("-2.25")]
    assert back["name"].fillna("NULL").tolist() == ["a", "NULL", ""]
    assert back["kind"].tolist() == ["p", "q", "p"]
    assert back["list"].tolist() == [[1, 2], None, []]
    assert back["data"].tolist() == [{"a": 1}, None, {"a": 2}]


@pytest.mark.parametrize("make", [pa.table, pa.record_batch, lambda values: pa.table(values).to_reader()])
def test_any_stream_is_taken(make, credentials):
    cfl.to_carto(make(VALUES), "t", credentials)
    assert len(rows_of("t", credentials)) == 3


def test_iterables_of_tables_are_written(credentials):
    cfl.to_carto(iter([pa.table({"n": [1]}), pa.table({"n": [2.0]}), pd.DataFrame({"n": [3]})]), "t", credentials)
    assert [row["n"] for row in rows_of("t", credentials)] == [1, 2, 3]
    with pytest.raises(cfl.ConversionError, match=r"frame 1: .*'n'"):
        cfl.to_carto([pa.table({"n": [1]}), pa.table({"n": [2.5]})], "other", credentials)


@pytest.mark.parametrize("column", [pd.Series([1]), pa.chunked_array([[1]])])
def test_a_single_column_is_refused(column, credentials):
    with pytest.raises(TypeError, match=r"must be a (DataFrame|table)"):
        cfl.to_carto(column, "t", credentials)


@pytest.mark.parametrize(
    ("kind", "shapes"),
    [(pa.string_view(), ["POINT (1 2)", None]), (pa.binary_view(), [shapely.to_wkb(shapely.Point(1, 2)), None])],
)
def test_views_become_geometries(kind, shapes, credentials):
    cfl.to_carto(pa.table({"shape": pa.array(shapes, kind)}), "t", credentials, geom_col="shape")
    assert cfl.read_carto("t", credentials).geometry.tolist() == [shapely.Point(1, 2), None]


def geo_metadata(crs: object = "EPSG:4326") -> dict[bytes, bytes]:
    column = {"encoding": "WKB", **({} if crs is None else {"crs": crs})}
    return {b"geo": json.dumps({"primary_column": "shape", "columns": {"shape": column}}).encode()}


def field(kind: pa.DataType, name: str, crs: object) -> pa.Field:
    metadata = {"ARROW:extension:name": name, "ARROW:extension:metadata": json.dumps({"crs": crs})}
    return pa.field("shape", kind, metadata=metadata)


def geo_table(kind: str, points: gpd.GeoSeries = POINTS) -> pa.Table:
    frame = gpd.GeoDataFrame({"n": range(len(points))}, geometry=points.rename("shape"))
    frame = gpd.GeoDataFrame({"n": frame["n"], "shape": frame.geometry}, geometry="shape")
    if kind == "geoparquet":
        wkb = pa.array(shapely.to_wkb(points.to_numpy()), pa.binary())
        return pa.table({"n": range(len(points)), "shape": wkb}).replace_schema_metadata(geo_metadata(None))
    if kind == "wkt":
        text = pa.array([None if shape is None else shape.wkt for shape in points])
        return pa.table([text], schema=pa.schema([field(text.type, "geoarrow.wkt", points.crs.to_json_dict())]))
    encoding = "WKB" if kind == "wkb" else "geoarrow"
    return pa.table(frame.to_arrow(geometry_encoding=encoding, interleaved=kind != "separated", index=False))


@pytest.mark.parametrize("kind", ["wkb", "point", "separated", "wkt", "geoparquet"])
def test_geometries_of_any_encoding(kind, credentials):
    cfl.to_carto(geo_table(kind), "t", credentials)
    back = cfl.read_carto("SELECT the_geom FROM t ORDER BY cartodb_id", credentials)
    assert back.geometry.to_wkt().equals(POINTS.to_wkt())


@pytest.mark.parametrize("kind", ["wkb", "point"])
def test_geometries_are_reprojected(kind, credentials):
    cfl.to_carto(geo_table(kind, POINTS.to_crs(25830)), "t", credentials)
    back = cfl.read_carto("SELECT the_geom FROM t ORDER BY cartodb_id", credentials)
    assert back.geometry.iloc[[0, 2]].geom_equals_exact(POINTS.iloc[[0, 2]], 1e-6, align=False).all()


def test_plain_wkb_is_parsed_as_geom_col(credentials):
    table = geo_table("geoparquet").replace_schema_metadata(None)
    cfl.to_carto(table, "t", credentials, geom_col="shape")
    back = cfl.read_carto("SELECT the_geom FROM t ORDER BY cartodb_id", credentials)
    assert back.geometry.to_wkt().equals(POINTS.to_wkt())


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table([[b"x"]], schema=pa.schema([field(pa.binary(), "geoarrow.wkb", None)])), "'shape' has no CRS"),
        (pa.table([[b"x"]], schema=pa.schema([field(pa.binary(), "geoarrow.wkb", "EPSG:4326")])), "'shape'.* invalid"),
        (pa.table([[b"x"]], schema=pa.schema([field(pa.binary(), "geoarrow.box", "EPSG:4326")])), "'shape'.* invalid"),
        (pa.table([[b"x"]], schema=pa.schema([field(pa.binary(), "geoarrow.wkb", "nowhere")])), "CRS that cannot"),
    ],
)
def test_bad_geometries_are_refused(table, message, credentials):
    with pytest.raises(cfl.ConversionError, match=message):
        cfl.to_carto(table, "t", credentials)
    assert cfl.list_tables(credentials) == []


def test_a_table_without_rows_is_created(credentials):
    cfl.to_carto(pa.table(VALUES).slice(0, 0), "t", credentials)
    assert rows_of("t", credentials) == []
    assert {column.name for column in cfl.Client(credentials).sql.columns("t")} >= set(VALUES)


def test_a_read_is_written_back(credentials):
    cfl.to_carto(gpd.GeoDataFrame({"n": [1, 2, 3]}, geometry=POINTS), "t", credentials)
    with cfl.read_arrow("t", credentials) as reader:
        cfl.to_carto(reader, "u", credentials)
    assert rows_of("u", credentials) == rows_of("t", credentials)


def test_streams_are_written_batch_by_batch(credentials, monkeypatch):
    monkeypatch.setattr("cartoframes_lite.write.source._MAX_BUFFERED_BYTES", 0)
    monkeypatch.setattr(arrow_frames, "_FRAME_ROWS", 1000)
    schema = pa.schema([("n", pa.int64())])

    def batches() -> Iterator[pa.RecordBatch]:
        for number in range(20):
            yield pa.record_batch([range(number * 1500, number * 1500 + 1500)], schema=schema)

    cfl.to_carto(pa.RecordBatchReader.from_batches(schema, batches()), "t", credentials)
    assert sorted(cfl.read_carto("t", credentials)["n"]) == list(range(30_000))


def test_encodings_and_maps_are_written(credentials):
    table = pa.table(
        {
            "n": pa.RunEndEncodedArray.from_arrays([2, 3], [5, None]),
            "list": pa.array([[1, None], None, []], pa.list_view(pa.int32())),
            "map": pa.array([[("a", 1), ("b", None)], None, []], pa.map_(pa.string(), pa.int64())),
        }
    )
    cfl.to_carto(table, "t", credentials)
    assert cfl.read_carto("SELECT n, list, map FROM t ORDER BY cartodb_id", credentials).to_dict("list") == {
        "n": [5, 5, None],
        "list": [[1, None], None, []],
        "map": [{"a": 1, "b": None}, None, {}],
    }


def test_frames_have_a_bounded_size():
    frames = list(arrow_frames.frames_of(pa.table({"data": [bytes(1 << 20)] * 40})))
    assert [len(frame) for frame in frames] == [15, 15, 10]


def test_polars_frames_are_written(credentials):
    polars = pytest.importorskip("polars", reason="polars is not installed (extra test)")
    values = {
        "n": [1, None],
        "name": ["a", "b"],
        "day": [datetime.date(2026, 11, 26)] * 2,
        "list": [["a"], ["b", None]],
    }
    frame = polars.DataFrame(values)
    cfl.to_carto(frame.with_columns(kind=polars.Series(["p", "q"], dtype=polars.Categorical)), "t", credentials)
    assert [(row["n"], row["name"], row["kind"]) for row in rows_of("t", credentials)] == [
        (1, "a", "p"),
        (None, "b", "q"),
    ]


def test_lazy_frames_are_refused_with_advice():
    polars = pytest.importorskip("polars", reason="polars is not installed (extra test)")
    lazy = polars.DataFrame({"n": [1]}).lazy()
    unreachable = cfl.Credentials("ann", "key", base_url="http://127.0.0.1:9/user/ann")
    for data in (lazy, iter([lazy])):
        with pytest.raises(TypeError, match=r"LazyFrame, .* not computed yet: pass dataframe\.collect\(\)"):
            cfl.to_carto(data, "t", unreachable)


def test_lazy_data_of_other_libraries_are_refused(tmp_path):
    pq.write_table(pa.table({"n": [1]}), tmp_path / "t.parquet")
    for data, advice in (
        (dataset.dataset(tmp_path), r"dataframe\.scanner\(\)"),
        (dd.from_pandas(pd.DataFrame({"n": [1]}), npartitions=1), r"dask\.to_carto"),
    ):
        with pytest.raises(TypeError, match=advice):
            cfl.to_carto(data, "t", cfl.Credentials("ann", "key"))


def test_duckdb_relations_are_written(credentials):
    duckdb = pytest.importorskip("duckdb", reason="DuckDB is not installed (extra test)")
    with duckdb.connect() as connection:
        query = "SELECT range AS n, 'name ' || range AS name, (range / 4)::decimal(9, 2) AS share FROM range(10000)"
        cfl.to_carto(connection.sql(query), "t", credentials)
    assert len(rows_of("t", credentials)) == 10_000
    assert rows_of("t", credentials)[-1]["name"] == "name 9999"
