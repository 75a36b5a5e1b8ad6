"""GDAL's own driver for CARTO, as Debian ships it, works with the embedded server."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import pytest

import cartoframes_lite as cfl

pytestmark = pytest.mark.skipif(shutil.which("ogr2ogr") is None, reason="no ogr2ogr: apt-get install gdal-bin")
FRAME = gpd.GeoDataFrame({"name": ["a", "b"], "n": [1, 2]}, geometry=gpd.points_from_xy([1, 2], [3, 4]), crs=4326)


@pytest.fixture
def gdal(credentials: cfl.Credentials) -> Callable[..., str]:
    """Run a program of GDAL."""
    environment = {
        **os.environ,
        "CARTO_API_URL": f"{credentials.base_url}/api/v2/sql",
        "CARTO_API_KEY": str(credentials.api_key),
    }

    def run(*command: str) -> str:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_it_lists_and_reads_layers(gdal: Callable[..., str], credentials: cfl.Credentials) -> None:
    cfl.to_carto(FRAME, "places", credentials)
    assert "1: places" in gdal("ogrinfo", "-so", "Carto:tester")
    told = gdal("ogrinfo", "-al", "Carto:tester", "places")
    assert "Feature Count: 2" in told
    assert "POINT (2 4)" in told
    # Not -sql: GDAL 3.6 gives the first row of its result twice.
    found = gdal("ogr2ogr", "-f", "CSV", "/vsistdout/", "Carto:tester", "places", "-select", "name,n")
    assert list(csv.reader(found.splitlines())) == [["name", "n"], ["a", "1"], ["b", "2"]]


def test_it_writes_a_layer(gdal: Callable[..., str], credentials: cfl.Credentials, tmp_path: Path) -> None:
    path = tmp_path / "in.geojson"
    FRAME.to_file(path)
    for options in ([], ["-overwrite"]):
        gdal("ogr2ogr", "-f", "Carto", "Carto:tester", str(path), "-nln", "written", *options)
        back = cfl.read_carto("written", credentials, index_col="cartodb_id")
        assert back[["name", "n"]].values.tolist() == [["a", 1], ["b", 2]]
        assert back.geometry.to_wkt().tolist() == ["POINT (1 3)", "POINT (2 4)"]
    assert "the_geom_webmercator" in cfl.Dataset("written", credentials).columns()
    assert [dataset.name for dataset in cfl.list_datasets(credentials)] == ["written"]
