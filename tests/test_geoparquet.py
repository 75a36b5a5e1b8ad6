from __future__ import annotations

import io
import json
import os
import threading
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from geopandas.testing import assert_geodataframe_equal

import cartoframes_lite as cfl
from cartoframes_lite import geoparquet

SHAPES = [
    *("POINT (1 2)", "POINT EMPTY", None, "LINESTRING (0 0, 4 1)", "POLYGON ((0 0, 1 0, 1 1, 0 0))"),
    *("MULTIPOINT (0 0, -5 6)", "MULTIPOLYGON (((0 0, 1 0, 1 1, 0 0)))", "GEOMETRYCOLLECTION (POINT (1 1))"),
]


@pytest.fixture
def table(credentials: cfl.Credentials) -> cfl.Dataset:
    frame = gpd.GeoDataFrame(
        {
            "n": pd.array([2**60, None, *range(6)], "Int64"),
            "name": ["Süd", "", None, *"abcde"],
            "at": pd.date_range("2026-01-01", periods=8, tz="UTC"),
            "list": [[1, 2], None, [], [3], [4], [5], [6], [7]],
        },
        geometry=shapely.from_wkt(SHAPES),
        crs=4326,
    )
    return frame.carto.to_table("t", credentials)


def test_a_table_as_geoparquet(table: cfl.Dataset, tmp_path: Path) -> None:
    path = table.to_file(tmp_path / "t.parquet")
    assert [found.name for found in tmp_path.iterdir()] == ["t.parquet"]
    expected = table.read()
    frame = gpd.read_parquet(path)
    assert frame.crs == "EPSG:4326"
    assert frame.geometry.to_wkt().tolist() == expected.geometry.to_wkt().tolist()
    assert frame["n"].astype("Int64").tolist() == expected["n"].tolist()
    assert frame["name"].tolist()[:2] == ["Süd", ""]
    assert [None if value is None else list(value) for value in frame["list"]] == expected["list"].tolist()
    geo = json.loads(pq.read_schema(path).metadata[b"geo"])
    column = geo["columns"]["the_geom"]
    assert geo["version"] == "1.1.0"
    assert column["bbox"] == [-5, 0, 4, 6]
    assert column["geometry_types"] == [
        *("GeometryCollection", "LineString", "MultiPoint", "MultiPolygon", "Point", "Polygon"),
    ]
    assert column["covering"]["bbox"]["xmin"] == ["bbox", "xmin"]
    assert gpd.read_parquet(path, bbox=(-6, 5, -4, 7))["name"].tolist() == ["c"]


def test_duckdb_reads_the_file(table: cfl.Dataset, tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb", reason="DuckDB is not installed (extra test)")
    path = table.to_file(tmp_path / "t.parquet")
    query = f"SELECT n, name FROM '{path}' WHERE bbox.xmin < -4 OR n = {2**60} ORDER BY n"
    assert duckdb.sql(query).fetchall() == [(3, "c"), (2**60, "Süd")]


def test_a_file_makes_the_round_trip(table: cfl.Dataset, credentials: cfl.Credentials, tmp_path: Path) -> None:
    path = table.to_file(tmp_path / "Again.parquet")
    again = cfl.Dataset.from_file(path, credentials, privacy="link")
    assert (again.name, again.privacy) == ("again", "link")
    assert again.columns() == table.columns()
    assert_geodataframe_equal(again.read(), table.read())
    with path.open("rb") as file:
        assert cfl.Dataset.from_file(file, credentials, name="third").read().equals(table.read())


def test_files_of_geopandas(credentials: cfl.Credentials, tmp_path: Path) -> None:
    frame = gpd.GeoDataFrame(
        {"n": [1, 2], "kind": pd.Categorical(["a", "b"])}, geometry=gpd.points_from_xy([0, 111319.49], [0, 0]), crs=3857
    )
    for number, options in enumerate(({"write_covering_bbox": True}, {"geometry_encoding": "geoarrow"}, {})):
        frame.to_parquet(tmp_path / f"f{number}.parquet", **options)
        dataset = cfl.Dataset.from_file(tmp_path / f"f{number}.parquet", credentials)
        assert list(dataset.columns()) == ["cartodb_id", "the_geom", "the_geom_webmercator", "n", "kind"]
        assert dataset.read().geometry.x.round(6).tolist() == [0, 1]


def test_a_plain_table(credentials: cfl.Credentials, tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1.5, np.nan], "b": [True, False]})
    cfl.to_carto(frame, "t", credentials, cartodbfy=False)
    path = cfl.Dataset("t", credentials).to_file(tmp_path / "u.parquet")
    assert pd.read_parquet(path).equals(frame)
    assert cfl.Dataset.from_file(path, credentials).columns()["b"] == "bool"


def test_a_table_without_rows(credentials: cfl.Credentials, tmp_path: Path) -> None:
    frame = gpd.GeoDataFrame({"n": [1]}, geometry=gpd.points_from_xy([0], [0]), crs=4326)
    cfl.to_carto(frame.iloc[:0], "t", credentials)
    path = cfl.Dataset("t", credentials).to_file(tmp_path / "u.parquet")
    assert len(gpd.read_parquet(path)) == 0
    again = cfl.Dataset.from_file(path, credentials)
    assert again.columns() == cfl.Dataset("t", credentials).columns()


def test_existing_tables(table: cfl.Dataset, credentials: cfl.Credentials, tmp_path: Path) -> None:
    path = table.to_file(tmp_path / "t.parquet")
    cfl.execute("DELETE FROM t WHERE name = 'a'", credentials=credentials)
    with pytest.raises(
        cfl.TableExistsError, match=r"^table .t. already exists: pass collision_strategy=.*name="
    ) as error:
        cfl.Dataset.from_file(path, credentials)
    assert "if_exists" not in str(error.value)
    assert len(cfl.Dataset.from_file(path, credentials, collision_strategy="skip")) == 7
    assert len(cfl.Dataset.from_file(path, credentials, collision_strategy="overwrite")) == 8


def test_a_failed_export_leaves_the_old_file(table: cfl.Dataset, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.write_text("old")
    cfl.execute("ALTER TABLE t ADD COLUMN m int[]; UPDATE t SET m = '{{1}}'", credentials=table.credentials)
    with pytest.raises(cfl.ConversionError, match="'m'"):
        table.to_file(path)
    assert [found.read_text() for found in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize("geo", [b"{", b"[]", b'{"columns": 1}', b'{"columns": {"a": 1}, "primary_column": "a"}'])
def test_invalid_metadata_are_refused(credentials: cfl.Credentials, geo: bytes) -> None:
    file = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}).replace_schema_metadata({"geo": geo}), file)
    with pytest.raises(ValueError, match="metadata 'geo'"):
        list(geoparquet.read_parquet(file))


def test_a_file_that_is_not_parquet(credentials: cfl.Credentials, tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_text("no")
    with pytest.raises(cfl.ConversionError, match=r"t\.parquet' is not a Parquet file"):
        cfl.Dataset.from_file(tmp_path / "t.parquet", credentials)
    (tmp_path / "e.parquet").touch()
    with pytest.raises(cfl.ConversionError, match=r"e\.parquet' is not a Parquet file"):
        cfl.Dataset.from_file(tmp_path / "e.parquet", credentials)
    with pytest.raises(FileNotFoundError):
        cfl.Dataset.from_file(tmp_path / "none.parquet", credentials)
    with pytest.raises(ValueError, match="wait=False"):
        cfl.Dataset.from_file(tmp_path / "t.parquet", credentials, wait=False)


def test_batches_are_written_in_bounded_groups(tmp_path: Path) -> None:
    batch = pa.record_batch({"a": pa.array(range(50_000))})
    reader = pa.RecordBatchReader.from_batches(batch.schema, (batch for _ in range(4)))
    assert geoparquet.write_parquet(reader, tmp_path / "t.parquet") == 200_000
    found = pq.ParquetFile(tmp_path / "t.parquet")
    assert found.metadata.num_rows == 200_000
    assert max(found.metadata.row_group(number).num_rows for number in range(found.num_row_groups)) <= 65_536
    assert sum(len(frame) for frame in geoparquet.read_parquet(tmp_path / "t.parquet")) == 200_000


def numbers() -> pa.RecordBatchReader:
    return pa.table({"n": [1, 2]}).to_reader()


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "t.parquet"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    assert geoparquet.write_parquet(numbers(), pipe) == 2
    reader.join()
    assert pq.read_table(io.BytesIO(read[0])).to_pydict() == {"n": [1, 2]}
    assert pipe.is_fifo()


def test_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    link, file = tmp_path / "link.parquet", tmp_path / "file.parquet"
    file.write_text("old")
    link.symlink_to(file)
    geoparquet.write_parquet(numbers(), link)
    assert link.is_symlink()
    assert pq.read_table(file).num_rows == 2


def test_a_damaged_file_changes_nothing(table: cfl.Dataset, credentials: cfl.Credentials, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"name": [f"{n:0100}" for n in range(5000)]}), path, compression="zstd")
    content = bytearray(path.read_bytes())
    content[20:4000] = bytes(3980)
    path.write_bytes(content)
    with pytest.raises(cfl.ConversionError, match=r"t\.parquet' is not a Parquet file, or is damaged"):
        cfl.Dataset.from_file(path, credentials, collision_strategy="overwrite")
    assert len(table.read()) == 8


def test_nested_values_and_unnamed_indexes(credentials: cfl.Credentials, tmp_path: Path) -> None:
    big = 2**60 + 1
    values = {"list": [[big, None], None], "struct": [{"a": big, "b": [1]}, None], "lists": [[[1], [2]], []]}
    frame = pd.DataFrame({"n": [1, 2]}, index=[7, 9])
    table = pa.Table.from_pandas(frame)
    for name, column in values.items():
        table = table.append_column(name, pa.array(column))
    pq.write_table(table, tmp_path / "t.parquet")
    read = cfl.Dataset.from_file(tmp_path / "t.parquet", credentials).read(columns=["n", *values])
    assert read.to_dict("list") == {"n": [1, 2], **values}
    (geometries,) = geoparquet.read_parquet(tmp_path / "t.parquet")
    assert list(geometries) == ["n", *values]
