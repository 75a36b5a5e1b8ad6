"""``read_arrow``: the rows of ``read_carto`` as a stream that other libraries take."""

from __future__ import annotations

import tracemalloc

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import shapely

import cartoframes_lite as cfl
from tests.test_keys import regular_key

SHAPES = gpd.GeoDataFrame(
    {"n": [1, 2, 3], "t": ["a", None, "c"]},
    geometry=[shapely.Point(1, 2), shapely.box(0, 0, 1, 1), shapely.LineString([(0, 0), (9, 9)])],
    crs=4326,
)


@pytest.fixture
def table(credentials):
    return cfl.to_carto(SHAPES, "shapes", credentials)


def test_a_table_as_geoarrow(table, credentials):
    reader = cfl.read_arrow(table, credentials)
    assert isinstance(reader, pa.RecordBatchReader)
    assert reader.schema.names == ["cartodb_id", "the_geom", "n", "t"]
    assert reader.schema.field("the_geom").metadata[b"ARROW:extension:name"] == b"geoarrow.wkb"
    back = gpd.GeoDataFrame.from_arrow(reader)
    assert back.crs == "EPSG:4326"
    expected = cfl.read_carto(table, credentials)
    assert back.geometry.tolist() == expected.geometry.tolist()
    pd.testing.assert_frame_equal(
        pd.DataFrame(back.drop(columns="the_geom")), pd.DataFrame(expected.drop(columns="the_geom")), check_dtype=False
    )


def test_filters_as_in_read_carto(table, credentials):
    reader = cfl.read_arrow(
        table, credentials, columns=["n"], where="n < %s", params=[3], bbox=(0.5, 1.5, 3, 3), schema="public"
    )
    assert reader.read_all().to_pydict() == {"n": [1]}
    assert cfl.read_arrow(table, credentials, limit=2).read_all().num_rows == 2
    mask = gpd.GeoSeries([shapely.Point(9, 9).buffer(1)], crs=4326).to_crs(3857)
    assert cfl.read_arrow("SELECT * FROM shapes", credentials, mask=mask).read_all()["n"].to_pylist() == [3]
    assert cfl.read_arrow("SELECT 1 AS a", credentials, batch=True).read_all().to_pydict() == {"a": [1]}
    assert cfl.Client(credentials).sql.tables() == [table]
    with pytest.raises(TypeError, match="chunksize"):
        cfl.read_arrow(table, credentials, chunksize=2)


@pytest.mark.parametrize(
    ("expression", "kind", "value"),
    [
        ("1::int2", pa.int16(), 1),
        ("1.5::numeric", pa.float64(), 1.5),
        ("NULL::numeric", pa.float64(), None),
        ("'NaN'::float8", pa.float64(), None),
        ("'é'::text", pa.large_string(), "é"),
        ("'1 day'::interval", pa.large_string(), "1 day"),
        ("""'{"a": [1]}'::jsonb""", pa.large_string(), '{"a": [1]}'),
        ("ARRAY[1, NULL]", pa.large_list(pa.int32()), [1, None]),
        ("ARRAY['a', NULL]", pa.large_list(pa.large_string()), ["a", None]),
        ("ARRAY[1.5]", pa.large_list(pa.float64()), [1.5]),
        ("ARRAY[1.5::float4]", pa.large_list(pa.float32()), [1.5]),
        ("'{}'::int[]", pa.large_list(pa.int32()), []),
        ("NULL::int[]", pa.large_list(pa.int32()), None),
        ("ARRAY['1 day'::interval]", pa.large_list(pa.large_string()), ["1 day"]),
        ("ARRAY[true, NULL]", pa.large_list(pa.bool_()), [True, None]),
        ("ARRAY['2020-01-02'::date]", pa.large_list(pa.date32()), [pd.Timestamp("2020-01-02").date()]),
        ("""ARRAY['{"a": 1}'::jsonb]""", pa.large_string(), '[{"a": 1}]'),
        ("'2020-01-02'::date", pa.date32(), pd.Timestamp("2020-01-02").date()),
        ("'2020-01-02 UTC'::timestamptz", pa.timestamp("us", "UTC"), pd.Timestamp("2020-01-02", tz="UTC")),
        (r"'\x00ff'::bytea", pa.large_binary(), b"\x00\xff"),
    ],
)
def test_types(expression, kind, value, credentials):
    found = cfl.read_arrow(f"SELECT {expression} AS a", credentials).read_all()
    assert found.schema.field("a").type == kind
    (read,) = found["a"].to_pylist()
    assert read == value or (value is None and np.isnan(read))


def test_arrays_of_several_dimensions_are_refused(credentials):
    with pytest.raises(cfl.ConversionError, match=r"select to_json\(a\)::text AS a"):
        cfl.read_arrow("SELECT ARRAY[[1, 2], [3, 4]] AS a", credentials).read_all()


def test_a_crs_that_only_the_values_have(table, credentials):
    for query in (
        "SELECT ST_Transform(the_geom, 3857) AS g FROM shapes",
        "SELECT the_geom_webmercator AS g FROM shapes",
    ):
        back = gpd.GeoDataFrame.from_arrow(cfl.read_arrow(query, credentials))
        assert (back.crs, back.geometry.name) == ("EPSG:3857", "g")
    reader = cfl.read_arrow("SELECT ST_SetSRID(the_geom, 0) AS g FROM shapes WHERE false", credentials)
    assert gpd.GeoDataFrame.from_arrow(reader).crs is None


def test_rows_are_streamed_in_bounded_memory(credentials):
    query = "SELECT n, repeat('x', 100) AS filler FROM generate_series(1, 400000) AS n"
    tracemalloc.start()
    before, most, rows = pa.total_allocated_bytes(), 0, 0
    for batch in cfl.read_arrow(query, credentials):
        rows += batch.num_rows
        most = max(most, pa.total_allocated_bytes() - before)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert rows == 400_000
    assert most + peak < 32e6  # the rows are 50 MB


def test_an_error_after_the_first_rows_is_raised(table, credentials):
    reader = cfl.read_arrow(
        "SELECT 1 / (30000 - n) AS x, repeat('a', 100) FROM generate_series(1, 40000) n", credentials
    )
    with pytest.raises(cfl.SQLError, match="division by zero"):
        reader.read_all()
    with pytest.raises(cfl.TableNotFoundError, match="did you mean 'shapes'"):
        cfl.read_arrow("shape", credentials)


def test_a_reader_can_be_given_up(table, credentials):
    reader = cfl.read_arrow("SELECT generate_series(1, 1000000) AS n", credentials)
    reader.read_next_batch()
    del reader
    assert cfl.read_arrow(table, credentials).read_all().num_rows == 3


def test_a_regular_key(credentials):
    cfl.to_carto(SHAPES, "owned", credentials)
    key = regular_key(credentials, ["select"], create=False)
    assert cfl.read_arrow("owned", key).read_all().num_rows == 3


def test_polars_takes_a_reader(table, credentials):
    polars = pytest.importorskip("polars", reason="polars is not installed (extra test)")
    frame = polars.DataFrame(cfl.read_arrow(table, credentials))
    assert frame["n"].to_list() == [1, 2, 3]
    assert frame["t"].to_list() == ["a", None, "c"]
    assert gpd.GeoDataFrame.from_arrow(frame).crs == "EPSG:4326"


def test_duckdb_takes_a_reader(table, credentials):
    duckdb = pytest.importorskip("duckdb", reason="DuckDB is not installed (extra test)")
    reader = cfl.read_arrow(table, credentials)  # noqa: F841  # DuckDB finds it by its name
    found = duckdb.sql("SELECT n, t, the_geom::text AS wkt FROM reader WHERE n > 1 ORDER BY n").fetchall()
    assert found[1][:2] == (3, "c")
    assert found[1][2] == "LINESTRING (0 0, 9 9)"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of its dependencies
def test_lonboard_takes_a_reader(table, credentials):
    lonboard = pytest.importorskip("lonboard", reason="lonboard is not installed (extra test)")
    layers = lonboard.viz(cfl.read_arrow(table, credentials)).layers
    assert {type(layer).__name__ for layer in layers} == {"ScatterplotLayer", "PathLayer", "PolygonLayer"}
