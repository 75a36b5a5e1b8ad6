from __future__ import annotations

import json

import pytest
import shapely

from tests.local.imports.files.conftest import Importer

POINT = "SRID=4326;POINT(2 1)"


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("the_geom", "POINT (2 1)"),
        ("WKT", '"SRID=4326;POINT(2 1)"'),
        ("geom", '"srid=3857;POINT(222638.98158654713 111325.14286638486)"'),
        ("the_geom", shapely.to_wkb(shapely.set_srid(shapely.Point(2, 1), 4326), hex=True, include_srid=True)),
        ("wkb_geometry", shapely.to_wkb(shapely.Point(2, 1), hex=True, byte_order=0)),
        ("geojson", '"{""type"": ""Point"", ""coordinates"": [2, 1]}"'),
    ],
)
def test_text_that_is_geometry(importer: Importer, column: str, value: str) -> None:
    path = importer.write("t.csv", f"a;{column}\nx;{value}\ny;\n")
    importer.run(path)
    assert list(importer.own_columns("t")) == ["a"]
    rounded = importer.rows("t", "ST_AsEWKT(ST_SnapToGrid(the_geom, 1e-9))")
    assert rounded == [(POINT,), (None,)]


def test_all_ways_to_write_geometry_may_mix(importer: Importer) -> None:
    hexadecimal = shapely.to_wkb(shapely.Point(2, 1), hex=True)
    importer.run(importer.write("t.csv", f"a\tgeom\n1\tPOINT(2 1)\n2\t{hexadecimal}\n3\t\n"))
    assert importer.points("t") == [POINT, POINT, None]


def test_types_may_mix_and_z_is_kept(importer: Importer) -> None:
    wkt = ["POINT Z (1 2 3)", "LINESTRING (0 0, 1 1)", "POLYGON ((0 0, 0 1, 1 1, 0 0))", "POINT M (1 2 9)"]
    importer.run(importer.write("t.csv", "geom\n" + "".join(f'"{text}"\n' for text in wkt)))
    assert importer.columns("t")["the_geom"] == "geometry(GeometryZ,4326)"
    assert [row[0] for row in importer.rows("t", "ST_AsText(the_geom)")] == [
        "POINT Z (1 2 3)", "LINESTRING Z (0 0 0,1 1 0)", "POLYGON Z ((0 0 0,0 1 0,1 1 0,0 0 0))", "POINT Z (1 2 0)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("latitude", "longitude"),
    [("latitude", "longitude"), ("LAT", "Lng"), ("Latitud", "Longitud"), ("lat", "long")],
)
def test_columns_of_coordinates(importer: Importer, latitude: str, longitude: str) -> None:
    importer.run(importer.write("t.csv", f"{latitude},{longitude}\n1,2\n,3\n"))
    assert importer.points("t") == [POINT, None]
    assert len(importer.own_columns("t")) == 2


def test_coordinates_with_a_decimal_comma(importer: Importer) -> None:
    importer.run(importer.write("t.csv", "lat;lon\n1,5;-2,25\n"))
    assert importer.points("t") == ["SRID=4326;POINT(-2.25 1.5)"]
    assert importer.rows("t", "lat", "lon") == [("1,5", "-2,25")]


@pytest.mark.parametrize("row", ["91,0", "0,181", "north,0", "2020-01-01,3"])
def test_what_are_no_coordinates(importer: Importer, row: str) -> None:
    importer.run(importer.write("t.csv", f"lat,lon\n1,2\n{row}\n"))
    assert importer.points("t") == [None, None]


def test_text_that_is_no_geometry_is_kept(importer: Importer) -> None:
    importer.run(importer.write("t.csv", "the_geom,lat,lon\nPOINT(1 2),1,2\nnonsense,1,2\n"))
    assert importer.rows("t", "invalid_the_geom") == [("POINT(1 2)",), ("nonsense",)]
    assert importer.points("t") == [POINT, POINT]


def test_an_empty_geometry_column_is_no_geometry(importer: Importer) -> None:
    importer.run(importer.write("t.csv", "the_geom,a\n,1\n"))
    assert list(importer.own_columns("t")) == ["a"]
    assert importer.points("t") == [None]


def test_what_carto_itself_has_exported(importer: Importer) -> None:
    hexadecimal = shapely.to_wkb(shapely.set_srid(shapely.Point(2, 1), 4326), hex=True, include_srid=True)
    text = f"the_geom,cartodb_id,the_geom_webmercator,name\n{hexadecimal},5,0101,x\n"
    importer.run(importer.write("t.csv", text))
    assert importer.own_columns("t") == {"name": "text"}
    assert importer.rows("t", "cartodb_id", "ST_AsEWKT(the_geom)") == [(5, POINT)]


def test_geometry_of_the_format_comes_first(importer: Importer) -> None:
    feature = {
        "type": "Feature",
        "properties": {"lat": 5, "lon": 6, "the_geom": "POINT(7 8)", "list": [1, 2], "object": {"a": None}},
        "geometry": {"type": "Point", "coordinates": [2, 1]},
    }
    importer.run(importer.write("t.geojson", json.dumps({"type": "FeatureCollection", "features": [feature]})))
    assert importer.points("t") == [POINT]
    assert importer.rows("t", "lat", "invalid_the_geom", "list", "object") == [
        (5, "POINT(7 8)", "[1, 2]", '{ "a": null }'),
    ]  # fmt: skip


def test_rings_that_are_not_closed_are(importer: Importer) -> None:
    geometry = {"type": "Polygon", "coordinates": [[[0, 0], [0, 1], [1, 1]]]}
    importer.run(importer.write("t.geojson", json.dumps(geometry)))
    assert importer.points("t") == ["SRID=4326;POLYGON((0 0,0 1,1 1,0 0))"]


def test_countries_if_asked(importer: Importer) -> None:
    path = importer.write("t.csv", "País,n\nFrance,1\nesp,2\nAtlantis,3\n")
    importer.run(path, content_guessing=True)
    shapes = importer.rows("t", "ST_Contains(the_geom, ST_SetSRID(ST_MakePoint(2.3, 48.8), 4326))")
    assert shapes == [(True,), (False,), (None,)]
    assert importer.rows("t", "pais") == [("France",), ("esp",), ("Atlantis",)]
    importer.run(path)
    assert importer.points("t_1") == [None] * 3


def test_a_column_that_only_sounds_of_countries(importer: Importer) -> None:
    importer.run(importer.write("t.csv", "country\nfolk\nblues\nFrance\n"), content_guessing=True)
    assert importer.points("t") == [None] * 3


def test_a_geometry_of_megabytes(importer: Importer) -> None:
    path = ", ".join(f"{number % 360 / 2} {number % 160 / 2}" for number in range(600_000))
    importer.run(importer.write("t.csv", f'name,geom\nx,POINT(1 2)\ny,"LINESTRING({path})"\n'))
    assert importer.rows("t", "name", "ST_NPoints(the_geom)") == [("x", 1), ("y", 600_000)]


@pytest.mark.parametrize(
    ("latitude", "longitude", "found"),
    [
        ("latitude", "longitude", True),
        ("LAT", "Lon", True),
        ("latitudedecimal", "longitudedecimal", True),
        ("lati", "lng", True),
        ("decimallat", "decimallong", True),
        ("point_latitude", "point_longitude", True),
        ("y", "x", False),
        ("latitude_deg", "longitude_deg", False),
    ],
)
def test_names_of_coordinates(importer: Importer, latitude: str, longitude: str, found: bool) -> None:
    path = importer.write("t.csv", f"{latitude},{longitude}\n48,16\n")
    importer.run(path)
    assert importer.points("t") == ["SRID=4326;POINT(16 48)" if found else None]
    importer.run(path, type_guessing=False)
    assert importer.points("t_1") == [None]


@pytest.mark.parametrize("name", ["geometry", "the_geom", "wkb_geometry", "geom", "geojson", "wkt"])
def test_names_of_geometries(importer: Importer, name: str) -> None:
    importer.run(importer.write("t.csv", f"{name},a\nPOINT(16 48),1\n"))
    assert importer.points("t") == ["SRID=4326;POINT(16 48)"]
    assert importer.own_columns("t") == {"a": "integer"}
    importer.run(importer.write("u.csv", f"my_{name},a\nPOINT(16 48),1\n"))
    assert importer.points("u") == [None]
