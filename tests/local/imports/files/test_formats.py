from __future__ import annotations

import bz2
import gzip
import io
import json
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd
import pyogrio
import pytest
import shapely

from cartoframes_lite.local.imports.files.archives import SourceFile
from cartoframes_lite.local.imports.files.formats import recognize
from cartoframes_lite.local.imports.files.gdal import read_layers
from cartoframes_lite.local.plan import Plan
from tests.local.imports.files.conftest import Importer

GEOJSON = {
    "type": "FeatureCollection",
    "features": [
        {"type": "Feature", "properties": {"name": name, "n": n}, "geometry": {"type": "Point", "coordinates": at}}
        for name, n, at in (("Ä", 1, [2, 1]), ("b", None, [-3.5, 40]))
    ],
}
POINTS = ["SRID=4326;POINT(2 1)", "SRID=4326;POINT(-3.5 40)"]
ROWS = [("Ä", 1), ("b", None)]


def frame(crs: Any = 4326) -> gpd.GeoDataFrame:
    points = gpd.GeoSeries([shapely.Point(2, 1), shapely.Point(-3.5, 40)], crs=4326)
    table = {"name": ["Ä", "b"], "n": pd.array([1, None], dtype="Int64")}
    return gpd.GeoDataFrame(table, geometry=points.to_crs(crs))


def write(table: pd.DataFrame, path: Path, driver: str, **options: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what a format cannot hold
        pyogrio.write_dataframe(table, path, driver=driver, **options)
    return path


def shapefile(directory: Path, stem: str = "roads", **arguments: Any) -> list[Path]:
    write(frame(**arguments), directory / f"{stem}.shp", "ESRI Shapefile", encoding="UTF-8")
    return sorted(directory.glob(f"{stem}.*"))


def packed(path: Path, files: dict[str, Path | bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content.read_bytes() if isinstance(content, Path) else content)
    return path


@pytest.mark.parametrize(
    ("extension", "driver"),
    [
        ("geojson", "GeoJSON"),
        ("json", "GeoJSON"),
        ("geojsonl", "GeoJSONSeq"),
        ("gpkg", "GPKG"),
        ("sqlite", "SQLite"),
        ("fgb", "FlatGeobuf"),
    ],
)
def test_formats_of_one_file(importer: Importer, extension: str, driver: str) -> None:
    options = {"SPATIAL_INDEX": "NO"} if driver == "FlatGeobuf" else {}
    importer.run(write(frame(), importer.directory / f"t.{extension}", driver, **options))
    assert importer.points("t") == POINTS
    assert importer.rows("t", "name", "n") == ROWS


@pytest.mark.parametrize("crs", [3857, 25830, "ESRI:102003"])
def test_other_coordinate_systems(importer: Importer, crs: Any) -> None:
    importer.run(write(frame(crs), importer.directory / "t.gpkg", "GPKG"))
    rounded = importer.rows("t", "ST_AsEWKT(ST_SnapToGrid(the_geom, 1e-7))")
    assert rounded == [(point,) for point in POINTS]


def test_kml(importer: Importer) -> None:
    importer.run(write(frame(), importer.directory / "t.kml", "LIBKML"))
    assert importer.points("t") == POINTS
    assert importer.rows("t", "name") == [("Ä",), ("b",)]


def test_kml_has_a_table_for_each_folder_with_placemarks(importer: Importer) -> None:
    placemark = "<Placemark><name>{}</name><Point><coordinates>2,1,{}</coordinates></Point></Placemark>"
    path = importer.write(
        "trip.kml",
        '<?xml version="1.0"?><kml xmlns="http://www.opengis.net/kml/2.2"><Document>'
        f"<Folder><name>Flat</name>{placemark.format('a', 0)}</Folder><Folder><name>None</name></Folder>"
        f"<Folder><name>High</name>{placemark.format('b', 100)}</Folder></Document></kml>",
    )
    assert importer.run(path) == ["trip_flat", "trip_high"]
    assert importer.points("trip_flat") == POINTS[:1]
    assert importer.points("trip_high") == ["SRID=4326;POINT(2 1 100)"]


def test_kmz_is_called_by_its_own_name(importer: Importer) -> None:
    kml = write(frame(), importer.directory / "doc.kml", "LIBKML")
    path = packed(importer.directory / "Places.kmz", {"doc.kml": kml, "files/icon.png": b"\x89PNG"})
    assert importer.run(path) == ["places"]
    assert importer.points("places") == POINTS


def test_gpx_without_its_empty_layers(importer: Importer) -> None:
    path = importer.write(
        "walk.gpx",
        '<?xml version="1.0"?><gpx version="1.1" creator="t" xmlns="http://www.topografix.com/GPX/1/1">'
        '<wpt lat="1" lon="2"><name>w</name></wpt><trk><name>k</name><trkseg><trkpt lat="0" lon="0"/>'
        '<trkpt lat="1" lon="1"/></trkseg></trk></gpx>',
    )
    assert importer.run(path) == ["walk_waypoints", "walk_tracks", "walk_track_points"]
    assert importer.points("walk_waypoints") == POINTS[:1]
    assert importer.points("walk_tracks") == ["SRID=4326;MULTILINESTRING((0 0,1 1))"]


def test_osm(importer: Importer) -> None:
    path = importer.write(
        "city.osm",
        '<?xml version="1.0"?><osm version="0.6"><node id="1" lat="1" lon="2" version="1">'
        '<tag k="name" v="Square"/></node></osm>',
    )
    assert importer.run(path) == ["city"]
    assert importer.rows("city", "name", "ST_AsEWKT(the_geom)") == [("Square", POINTS[0])]


@pytest.mark.parametrize(("extension", "driver"), [("xlsx", "XLSX"), ("ods", "ODS")])
def test_spreadsheets(importer: Importer, extension: str, driver: str) -> None:
    table = pd.DataFrame(
        {"lat": [1.0, 40.5], "lon": [2.0, -3.5], "n": [1, 2], "name": ["Ä", "=1+1"], "day": [date(2020, 1, 2)] * 2}
    )
    path = write(table, importer.directory / f"t.{extension}", driver)
    importer.run(path)
    assert importer.points("t") == ["SRID=4326;POINT(2 1)", "SRID=4326;POINT(-3.5 40.5)"]
    assert importer.rows("t", "n", "name") == [(1, "Ä"), (2, "=1+1")]
    importer.run(path, type_guessing=False)
    assert importer.own_columns("t_1")["n"] == "text"


def test_sheets_and_layers_are_tables_each(importer: Importer) -> None:
    book = importer.directory / "book.xlsx"
    geopackage = importer.directory / "atlas.gpkg"
    for layer in ("One", "Two"):
        write(frame().drop(columns="geometry"), book, "XLSX", layer=layer, append=layer == "Two")
        write(frame(), geopackage, "GPKG", layer=layer, append=layer == "Two")
    assert importer.run(book) == ["book_one", "book_two"]
    assert importer.run(geopackage) == ["atlas_one", "atlas_two"]
    assert importer.rows("atlas_two", "name", "n") == ROWS


def test_zipped_shapefiles(importer: Importer) -> None:
    files = [*shapefile(importer.directory), *shapefile(importer.directory, "rails", crs=25830)]
    path = packed(importer.directory / "both.zip", {f"inner dir/{file.name}": file for file in files})
    assert sorted(importer.run(path)) == ["rails", "roads"]
    assert importer.points("roads") == POINTS
    assert importer.rows("roads", "name", "n") == ROWS


def test_extensions_in_capitals_belong_together(importer: Importer) -> None:
    files = shapefile(importer.directory)
    path = packed(importer.directory / "t.zip", {file.name.upper(): file for file in files})
    assert importer.run(path) == ["roads"]


def test_mapinfo(importer: Importer) -> None:
    write(frame(), importer.directory / "towns.tab", "MapInfo File", encoding="UTF-8")
    files = {file.name: file for file in importer.directory.glob("towns.*")}
    assert importer.run(packed(importer.directory / "t.zip", files)) == ["towns"]
    assert importer.points("towns") == POINTS


def tar(path: Path, content: bytes, mode: str) -> Path:
    with tarfile.open(path, mode) as archive:
        member = tarfile.TarInfo("dir/cities.csv")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("dir/secret.csv")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return path


CSV = b"a\n1\n"
ARCHIVES: dict[str, Callable[[Path], object]] = {
    "t.zip": lambda path: packed(path, {"cities.csv": CSV, "../evil.csv": CSV, "__MACOSX/._cities.csv": b"x"}),
    "t.tar": lambda path: tar(path, CSV, "w"),
    "t.tar.gz": lambda path: tar(path, CSV, "w:gz"),
    "t.tgz": lambda path: tar(path, CSV, "w:gz"),
    "t.tar.bz2": lambda path: tar(path, CSV, "w:bz2"),
    "cities.csv.gz": lambda path: path.write_bytes(gzip.compress(CSV)),
    "cities.csv.bz2": lambda path: path.write_bytes(bz2.compress(CSV)),
    "t.carto": lambda path: packed(path, {"cities.csv": CSV, "x.carto.json": b'{"visualization": {}}'}),
    "readme.zip": lambda path: packed(path, {"cities.csv": CSV, "readme.txt": b"hello", "logo.png": b"\x89PNG"}),
    "metadata.zip": lambda path: packed(path, {"cities.csv": CSV, "about.json": b'{"title": "x"}'}),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives(importer: Importer, name: str) -> None:
    ARCHIVES[name](importer.directory / name)
    assert importer.run(importer.directory / name) == ["cities"]
    assert importer.rows("cities", "a") == [(1,)]


def test_archives_in_archives(importer: Importer) -> None:
    kml = write(frame(), importer.directory / "doc.kml", "LIBKML")
    kmz = packed(importer.directory / "places.kmz", {"doc.kml": kml})
    shapes = packed(importer.directory / "shapes.zip", {file.name: file for file in shapefile(importer.directory)})
    path = packed(
        importer.directory / "all.zip", {"places.kmz": kmz, "shapes.zip": shapes, "t.csv.gz": gzip.compress(CSV)}
    )
    assert sorted(importer.run(path)) == ["places", "roads", "t"]


def test_the_same_name_in_two_directories(importer: Importer) -> None:
    path = packed(importer.directory / "t.zip", {"a/cities.csv": CSV, "b/cities.csv": b"a\n2\n"})
    assert importer.run(path) == ["cities", "cities_1"]
    assert importer.rows("cities_1", "a") == [(2,)]


def test_references_are_not_followed(importer: Importer) -> None:
    importer.write("secret.csv", "a,lat,lon\nsecret,1,2\n")
    source = f"<SrcDataSource>{importer.directory}/secret.csv</SrcDataSource>"
    vrt = f'<OGRVRTDataSource><OGRVRTLayer name="secret">{source}</OGRVRTLayer></OGRVRTDataSource>'
    for name in ("t.vrt", "t.kml", "t.gpx", "t.xml", "t.json"):
        assert importer.code(importer.write(name, vrt)) in (1002, 3007)
    disguised = vrt.replace("<OGRVRT", "<kml><!-- --><OGRVRT", 1)
    assert importer.code(importer.write("t.kml", disguised)) in (2001, 3202)
    pipeline = {
        "type": "gdal_streamed_alg",
        "command_line": f"gdal vector pipeline ! read {importer.directory}/secret.csv",
    }
    assert importer.code(importer.write("t.json", json.dumps(pipeline))) == 3007


def test_geojson_without_features_is_an_empty_table(importer: Importer) -> None:
    path = importer.write("t.geojson", '{"type": "FeatureCollection", "features": []}')
    assert importer.stage(path)[0].rows == 0


def test_large_integers_of_json_keep_their_digits(importer: Importer) -> None:
    collection = json.loads(json.dumps(GEOJSON))
    collection["features"][0]["properties"]["n"] = 9007199254740993
    importer.run(importer.write("t.geojson", json.dumps(collection)))
    assert importer.rows("t", "n") == [(9007199254740993,), (None,)]


def test_reading_ends_when_nobody_wants_it_any_more(importer: Importer) -> None:
    path = write(frame(), importer.directory / "t.gpkg", "GPKG")
    file = SourceFile(path, path.name)

    def unwanted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_layers(file, recognize(file), importer.temporary, plan=Plan(), check_cancelled=unwanted)


def test_failing_members_do_not_stop_others(importer: Importer) -> None:
    files = {"a.csv": b"a\n1\n", "b.csv": b"", "c.geojson": b"{", "d.csv": b"a\n2\n"}
    staged = importer.stage_all(packed(importer.directory / "t.zip", files))
    assert [table.name for table in staged.tables] == ["a", "d"]
    assert [error.code for error in staged.failures] == [1005, 3007]


def test_ignored_members_of_an_archive(importer: Importer) -> None:
    names = ("__MACOSX/a.csv", ".hidden.csv", "__x.csv", ".d/a.csv", "README.txt", "x.readme.v2.txt", "t.VERSION.txt")
    files = {**dict.fromkeys(names, b"a\n1\n"), "notes.pdf": b"%PDF", "LICENSE": b"text", "notes.txt": b"a\n1\n"}
    files["My data (1).csv"] = b"a\n1\n"
    staged = importer.stage_all(packed(importer.directory / "t.zip", files))
    assert [table.name for table in staged.tables] == ["notes", "my_data_1"]
    assert staged.failures == []


def test_an_archive_makes_at_most_26_tables(importer: Importer) -> None:
    files = {f"t{number:02}.csv": b"a\n1\n" for number in range(28)}
    staged = importer.stage_all(packed(importer.directory / "t.zip", files))
    assert [table.name for table in staged.tables] == [f"t{number:02}" for number in range(26)]
    assert staged.truncated
