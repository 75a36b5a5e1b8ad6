"""Tests for an installed wheel: the fixture comes from its entry point, and the files of the package are there."""

import os
import subprocess
import sys
from importlib.metadata import distribution, files
from pathlib import Path

import geopandas as gpd

import cartoframes_lite as cfl


def test_a_round_trip_and_a_page(carto_credentials, tmp_path):
    stations = gpd.GeoDataFrame({"name": ["North"]}, geometry=gpd.points_from_xy([2.35], [48.88]), crs=4326)
    assert cfl.to_carto(stations, "stations") == "stations"
    assert list(cfl.read_carto("stations")["name"]) == ["North"]
    page = cfl.AnonymousMap(cfl.Layer("stations")).save(tmp_path / "stations.html")
    assert "leaflet" in page.read_text().lower()


def test_the_command_line(carto_credentials, tmp_path):
    environment = {**os.environ, "CARTO_API_URL": carto_credentials.base_url}
    command = Path(sys.executable).with_name("cartoframes-lite")
    imported = subprocess.run(
        [sys.executable, "-X", "importtime", command, "--help"], capture_output=True, text=True, check=True
    )
    assert "upload" in imported.stdout
    assert "pandas" not in imported.stderr
    listed = subprocess.run([command, "list", "--json"], capture_output=True, text=True, env=environment, check=True)
    assert listed.stdout == "[]\n"


def test_the_package_is_the_installed_one():
    assert "site-packages" in str(Path(cfl.__file__))
    assert distribution("cartoframes_lite").version == cfl.__version__
    assert "cartoframes_lite/py.typed" in {str(path) for path in files("cartoframes_lite")}
