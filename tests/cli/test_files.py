from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import pandas as pd
import pytest

import cartoframes_lite as cfl
from cartoframes_lite.cli.files import find_writer, read_file
from cartoframes_lite.cli.parser import main
from cartoframes_lite.local import LocalCarto

QUERY = """
SELECT 7 AS n, 'Süd' AS name, '2026-01-02'::date AS day, '10:20'::time AS at, now() AS updated, true AS flag,
       '{"a": [1]}'::jsonb AS j, '{1,2}'::int[] AS list, ST_Point(1.123456789012345, 2, 4326) AS the_geom
UNION ALL SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
"""


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def account(credentials: cfl.Credentials, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARTO_API_URL", str(credentials.base_url))
    monkeypatch.setenv("CARTO_API_KEY", str(credentials.api_key))


def read(file: str) -> pd.DataFrame:
    return read_file(file, layer=None, lnglat=None, crs=None)


@pytest.fixture(scope="module")
def rows(carto_server: LocalCarto) -> gpd.GeoDataFrame:
    return cfl.read_carto(QUERY, carto_server.credentials)


@pytest.mark.parametrize(
    "name",
    [
        *("t.csv", "t.csv.gz", "t.tsv", "t.jsonl", "t.feather"),
        *("t.geojson", "t.json", "t.gpkg", "t.fgb", "t.zip", "t.kml", "t.geojsonl"),
    ],
)
def test_a_file_can_be_read_again(rows: gpd.GeoDataFrame, name: str, tmp_path: Path) -> None:
    find_writer(name, layer="SELECT 1")(rows)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    frame = read(name)
    assert isinstance(frame, gpd.GeoDataFrame)
    assert len(frame) == 2
    points = frame.geometry.dropna()
    assert points.x.item() == pytest.approx(1.123456789012345, abs=1e-7)
    assert points.crs == "EPSG:4326"


def test_a_download_can_be_uploaded(account: None, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("t.gpkg", "t.csv"):
        assert main(["download", QUERY, name]) == 0
        assert capsys.readouterr().out == f"{name}: 2 rows\n"
        assert main(["upload", name, "again", "--if-exists", "replace", "--quiet"]) == 0
        assert capsys.readouterr().out == "again: 2 rows written\n"
        stored = cfl.read_carto("again")
        assert stored["name"].dropna().tolist() == ["Süd"]
        assert stored.geometry.dropna().x.item() == 1.123456789012345


@pytest.mark.usefixtures("account")
def test_rows_without_geometry(tmp_path: Path) -> None:
    for name in ("t.gpkg", "t.parquet", "t.csv"):
        assert main(["download", "SELECT 1 AS a, 'x' AS b", name]) == 0
        assert read(name)[["a", "b"]].to_dict("list") == {"a": [1], "b": ["x"]}
        assert main(["upload", name, "t", "--if-exists", "replace"]) == 0
    assert cfl.Dataset("t").read(columns=["a", "b"]).to_dict("list") == {"a": [1], "b": ["x"]}


@pytest.mark.usefixtures("account")
def test_a_table_exported_by_carto(tmp_path: Path) -> None:
    cfl.to_carto(gpd.GeoDataFrame({"n": [1]}, geometry=gpd.points_from_xy([3], [4]), crs=4326), "t")
    cfl.Dataset("t").to_file("t.csv")  # with hex EWKB
    assert main(["upload", "t.csv", "u"]) == 0
    assert cfl.read_carto("u").geometry.to_wkt().tolist() == ["POINT (3 4)"]


@pytest.mark.usefixtures("account")
def test_a_failed_download_leaves_the_old_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.shp").write_text("old")
    assert main(["download", "SELECT 1 AS a, ST_Point(1, 2, 4326) AS the_geom UNION ALL"
                 " SELECT 2, ST_GeomFromText('LINESTRING(0 0, 1 1)', 4326)", "t.shp"]) == 1  # fmt: skip
    assert "cannot write 't.shp'" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["t.shp"]
    assert (tmp_path / "t.shp").read_text() == "old"


@pytest.mark.usefixtures("account")
def test_layers_and_crs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for layer, number in (("one", 1), ("two", 2)):
        points = gpd.GeoDataFrame({"n": [number]}, geometry=gpd.points_from_xy([0], [0]), crs=None)
        with pytest.warns(UserWarning, match="crs"):
            points.to_file("t.gpkg", layer=layer, driver="GPKG")
    assert main(["upload", "t.gpkg", "t", "--layer", "two"]) == 1
    assert "CRS" in capsys.readouterr().err
    assert main(["upload", "t.gpkg", "t", "--layer", "two", "--crs", "EPSG:3857"]) == 0
    assert cfl.read_carto("t")["n"].tolist() == [2]


@pytest.mark.parametrize(
    ("content", "lnglat", "message"),
    [("a,b\n1,2\n", "a,c", "--lnglat must be two columns"), ("the_geom\nPOINT(\n", None, "neither WKT nor hex WKB")],
)
def test_files_that_do_not_fit_are_refused(tmp_path: Path, content: str, lnglat: str | None, message: str) -> None:
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_file("t.csv", layer=None, lnglat=lnglat, crs=None)
