from __future__ import annotations

import csv
import io
import json
import sqlite3
import time
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import geopandas
import pandas as pd
import pyogrio
import pytest
import requests

import cartoframes_lite.local
from cartoframes_lite.local import LocalCarto
from tests.local.sql_client import SQLClient, error_of

QUERY = "SELECT * FROM places ORDER BY cartodb_id"


@pytest.fixture(autouse=True)
def places(sql: SQLClient) -> None:
    sql.run(
        "CREATE TABLE places (name text, people int8, area float8, built date, seen timestamptz, open boolean,"
        " the_geom geometry(Geometry, 4326));"
        "INSERT INTO places VALUES"
        " ('Città \"A\", one', 9007199254740993, 1.25, '1999-12-31', '2020-01-02 03:04:05.678+00', true,"
        "  'SRID=4326;POINT(1.23456789 -2)'),"
        " ('', -1, 'NaN', NULL, NULL, false, 'SRID=4326;POINT(3 4)'),"
        " (NULL, NULL, NULL, NULL, NULL, NULL, NULL);"
        "SELECT CDB_CartodbfyTable('places')"
    )


def download(sql: SQLClient, format: str, query: str = QUERY, **parameters: str) -> requests.Response:
    response = sql.send(query, format=format, **parameters)
    assert response.status_code == 200, response.text
    return response


@pytest.mark.parametrize("format", ["gpkg", "spatialite", "shp", "kml", "geojson"])
def test_geopandas_reads_every_format(sql: SQLClient, tmp_path: Path, format: str) -> None:
    response = download(sql, format, filename="my_file")
    suffix = {"shp": "zip", "spatialite": "sqlite"}.get(format, format)
    assert response.headers["content-disposition"].startswith(
        f"attachment; filename=my_file.{suffix}; modification-date="
    )
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(response.content)
    frame = geopandas.read_file(path)
    assert len(frame) == 3
    assert frame.crs.to_epsg() == 4326
    names = {name.lower(): name for name in frame.columns}
    assert frame[names["name"]][0] == 'Città "A", one'
    assert frame.geometry[2] is None or frame.geometry[2].is_empty
    x, y = frame.geometry[0].x, frame.geometry[0].y
    assert (x, y) == pytest.approx((1.23456789, -2), abs=1e-6)
    if format != "kml":  # where all is text
        assert frame["area"][0] == 1.25
        assert pd.isna(frame["area"][2])
    if format in ("gpkg", "spatialite"):
        assert frame["people"][0] == 9007199254740993
        assert pd.Timestamp(frame["built"][0]).date().isoformat() == "1999-12-31"
        assert pyogrio.list_layers(path)[0][0] == "my_file"


def test_spatialite_has_its_tables(sql: SQLClient, tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    path.write_bytes(download(sql, "spatialite", filename="my_file").content)
    with closing(sqlite3.connect(path)) as connection:
        [row] = connection.execute("SELECT f_table_name, f_geometry_column, srid FROM geometry_columns").fetchall()
    assert row == ("my_file", "the_geom", 4326)


@pytest.mark.parametrize("shape", ["POINT Z (1 2 3)", "POINT M (1 2 3)", "POINT ZM (1 2 3 4)", "POLYGON EMPTY"])
@pytest.mark.parametrize("format", ["gpkg", "spatialite", "shp", "kml"])
def test_any_geometry_is_written(sql: SQLClient, format: str, shape: str) -> None:
    assert download(sql, format, f"SELECT 1 AS a, ST_GeomFromText('{shape}', 4326) AS the_geom").content


def test_geojson_has_what_json_has_but_the_geometries(sql: SQLClient) -> None:
    document = download(sql, "GeoJSON", dp="2").json()
    first, second, third = document["features"]
    assert first["geometry"] == {"type": "Point", "coordinates": [1.23, -2]}
    assert first["properties"]["people"] == 9007199254740992
    assert second["properties"]["area"] is None
    assert third["geometry"] is None
    assert set(first["properties"]) == {"cartodb_id", "name", "people", "area", "built", "seen", "open"}


def test_geojson_tells_a_late_error_behind_the_features(sql: SQLClient) -> None:
    response = download(sql, "geojson", "SELECT 1 / (3 - n) AS x, NULL AS the_geom FROM generate_series(1, 5) n")
    assert [feature["properties"]["x"] for feature in response.json()["features"]] == [0, 1]
    assert response.json()["error"] == ["division by zero"]


def test_csv_is_text_as_postgresql_writes_it(sql: SQLClient) -> None:
    response = download(sql, "csv", skipfields="the_geom_webmercator")
    assert response.content.count(b"\r\n") == 4
    rows = list(csv.DictReader(io.StringIO(response.text)))
    assert next(iter(rows[0])) == "the_geom"
    assert rows[0]["people"] == "9007199254740993"
    assert rows[0]["seen"] == "2020-01-02 03:04:05.678+00"
    assert rows[1]["area"] == "NaN"
    assert rows[2]["name"] == ""


def test_csv_fails_before_it_begins(sql: SQLClient) -> None:
    response = sql.send("SELECT 1 / (3 - n) AS x FROM generate_series(1, 5) n", format="csv")
    assert (response.status_code, error_of(response)) == (400, "division by zero")


def test_svg_draws_every_geometry(sql: SQLClient) -> None:
    shapes = (
        "SELECT ST_GeomFromText(t, 4326) AS the_geom FROM unnest(ARRAY['POINT(0 0)', 'LINESTRING(0 0,2 1)',"
        " 'POLYGON((0 0,1 0,1 1,0 0))', NULL]) t"
    )
    root = ET.fromstring(download(sql, "svg", shapes).content)
    assert [element.tag.rpartition("}")[2] for element in root] == ["path", "path", "circle"]
    assert root.get("viewBox") == "-0.05 -1.05 2.1 1.1"
    assert len(ET.fromstring(download(sql, "svg", "SELECT NULL::geometry AS the_geom").content)) == 0


def test_topojson_has_an_object_for_each_row(sql: SQLClient) -> None:
    query = (
        "SELECT n, ST_GeomFromText(t, 4326) AS the_geom FROM unnest(ARRAY['MULTIPOLYGON(((0 0,1 0,1 1,0 0)))',"
        " 'POINT(1 2)', NULL]) WITH ORDINALITY u(t, n)"
    )
    document = json.loads(download(sql, "topojson", query).content)
    assert document["arcs"] == [[[0, 0], [1, 0], [1, 1], [0, 0]]]
    assert document["objects"]["0"] == {"type": "MultiPolygon", "arcs": [[[0]]], "properties": {"n": 1}}
    assert document["objects"]["2"] == {"type": None, "properties": {"n": 3}}


@pytest.mark.parametrize("format", ["geojson", "svg", "topojson"])
def test_without_the_geom_nothing_can_be_drawn(sql: SQLClient, format: str) -> None:
    response = sql.send("SELECT 1 AS a", format=format)
    assert (response.status_code, error_of(response)) == (400, 'column "the_geom" does not exist')


@pytest.mark.parametrize("format", ["csv", "shp", "kml", "gpkg", "spatialite"])
def test_only_what_returns_rows_is_exported(sql: SQLClient, format: str) -> None:
    response = sql.send("INSERT INTO places (name) VALUES ('x')", format=format)
    assert response.status_code == 400
    assert "syntax error" in error_of(response)
    assert sql.value("SELECT count(*) FROM places") == 3


@pytest.mark.parametrize("format", ["csv", "gpkg", "kml"])
def test_a_key_exports_only_what_it_may_read(sql: SQLClient, format: str) -> None:
    response = sql.with_key(None).send(QUERY, format=format)
    assert (response.status_code, error_of(response)) == (403, "permission denied for table places")


@pytest.mark.parametrize("filename", ["../../etc/passwd", "/tmp/x", "a b;c", "..", ".hidden", "日本"])
def test_a_filename_leads_nowhere(sql: SQLClient, filename: str) -> None:
    response = download(sql, "gpkg", filename=filename)
    name = response.headers["content-disposition"].split("filename=")[1].split(";")[0]
    assert "/" not in name
    assert " " not in name
    assert response.content.startswith(b"SQLite format 3\0")


def test_exports_leave_no_files(carto_in_process: LocalCarto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sql = SQLClient(carto_in_process.base_url, carto_in_process.credentials.api_key)
    for format in ("shp", "kml", "csv"):
        download(sql, format, "SELECT 1 AS a, ST_SetSRID(ST_MakePoint(1, 2), 4326) AS the_geom")
    sql.send("SELECT 1 AS a", format="kml")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", ["gpkg", "shp", "kml", "spatialite"])
def test_a_large_export_is_what_a_small_one_is(sql: SQLClient, tmp_path: Path, format: str) -> None:
    query = """SELECT n, CASE WHEN n = 7000 THEN 'Infinity' ELSE n / 2.0 END::float8 AS half, n % 2 = 0 AS even,
        CASE WHEN n = 6500 THEN 'infinity' ELSE '2000-01-01'::date + n END AS day, NULLIF(n, 3)::text AS name,
        ST_SetSRID(ST_MakePoint(n / 1000.0, 1), 4326) AS the_geom FROM generate_series(1, {}) n"""
    frames = []
    for rows in (7100, 100):
        path = tmp_path / f"{rows}.{'zip' if format == 'shp' else format}"
        path.write_bytes(download(sql, format, query.format(rows)).content)
        frames.append(geopandas.read_file(path))
    large, small = frames
    assert (len(large), len(small)) == (7100, 100)
    assert list(large.columns) == list(small.columns)
    assert large.geometry[:100].geom_equals(small.geometry).all()
    name = "name" if "name" in large.columns else "Name"
    assert large[name][:100].fillna("").tolist() == small[name].fillna("").tolist()


@pytest.mark.parametrize("format", ["gpkg", "kml", "topojson"])
def test_others_are_answered_during_a_large_export(sql: SQLClient, format: str) -> None:
    query = """SELECT n, n * 1.5 AS half, 'name ' || n AS name,
        ST_Buffer(ST_SetSRID(ST_MakePoint(n % 170, n % 80), 4326), 0.01, 2) AS the_geom
        FROM generate_series(1, 12000) n"""
    with ThreadPoolExecutor(1) as threads:
        begun = time.perf_counter()
        exporting, waits = threads.submit(download, sql, format, query), [0.0]
        while not exporting.done():
            asked = time.perf_counter()
            requests.get(sql.url.replace("/sql", "/version"), timeout=60).raise_for_status()
            waits.append(time.perf_counter() - asked)
        took = time.perf_counter() - begun
        assert exporting.result().content
    assert max(waits) < took / 2


def test_an_export_ends_when_its_client_leaves(
    carto_in_process: LocalCarto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sql = SQLClient(carto_in_process.base_url, carto_in_process.credentials.api_key)
    query = "SELECT n, repeat('x', 100) AS t, ST_MakePoint(n % 170, 1) AS the_geom FROM generate_series(1, 400000) n"
    with pytest.raises(requests.ReadTimeout):
        requests.get(sql.url, {"q": query, "format": "kml", "api_key": sql.key}, timeout=1)
    give_up = time.monotonic() + 120
    while list(tmp_path.iterdir()):
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_an_export_that_is_too_large_is_refused() -> None:
    plan = cartoframes_lite.local.Plan(file_bytes=1_000_000)
    with cartoframes_lite.local.start(user="tester", plan=plan) as server:
        query = "SELECT repeat('x', 1000) AS t, ST_MakePoint(1, 1) AS the_geom FROM generate_series(1, {}) n"
        client = SQLClient(server.base_url, None)
        for format in ("csv", "gpkg", "topojson"):
            assert client.send(query.format(500), format=format).status_code == 200
            response = client.send(query.format(2000), format=format)
            assert (response.status_code, error_of(response)) == (
                400,
                "the export is larger than 1000000 bytes: use COPY",
            )
