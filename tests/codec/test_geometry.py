from __future__ import annotations

import contextlib
import struct
import tracemalloc

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Transformer
from shapely import wkt

from cartoframes_lite._codec import geometry
from cartoframes_lite.errors import ConversionError, ConversionWarning

# Versions that have M values also tell a point of NaN from an empty one.
HAS_M = shapely.geos_version >= (3, 12, 0) and hasattr(shapely, "has_m")
SHAPES = [
    "POINT (1 2)",
    "POINT EMPTY",
    "LINESTRING (0 0, 1 1)",
    "POLYGON ((0 0, 1 0, 1 1, 0 0), (0.2 0.1, 0.4 0.1, 0.4 0.2, 0.2 0.1))",
    "MULTIPOINT (1 2, 3 4)",
    "MULTIPOLYGON EMPTY",
    "GEOMETRYCOLLECTION (POINT (1 2), LINESTRING (0 0, 1 1))",
]


def array_of(*texts: str | None) -> np.ndarray:
    return np.array([None if text is None else wkt.loads(text) for text in texts], object)


def decoded(values: pa.Array) -> tuple[np.ndarray, int | None]:
    shapes, srids = geometry.from_ewkb(values, "g")
    return shapes, geometry.one_srid(srids, "g")


@pytest.mark.parametrize("texts", [SHAPES, ["POINT (1 2)", "POINT (-180 90)"], ["POINT (1 2)", None], [None]])
def test_ewkb_there_and_back(texts):
    shapes = array_of(*texts)
    back, srid = decoded(geometry.to_ewkb(shapes, 4326))
    assert shapely.to_wkt(back).tolist() == shapely.to_wkt(shapes).tolist()
    assert srid == (None if texts == [None] else 4326)


def test_points_are_encoded_as_shapely_does():
    points = array_of("POINT (1.5 -2.25)", "POINT (180 0)")
    expected = shapely.to_wkb(shapely.set_srid(points, 4326), include_srid=True, flavor="extended", byte_order=1)
    assert geometry.to_ewkb(points, 4326).to_pylist() == expected.tolist()


@given(st.lists(st.tuples(st.floats(-180, 180), st.floats(-89, 89)), min_size=1, max_size=20))
def test_web_mercator_agrees_with_proj(lon_lat):
    points = shapely.points(lon_lat)
    meters, srid = decoded(geometry.to_web_mercator_ewkb(points))
    proj = Transformer.from_crs(4326, 3857, always_xy=True)
    expected = np.array([proj.transform(*pair) for pair in lon_lat])
    np.testing.assert_allclose(shapely.get_coordinates(meters), expected, rtol=1e-12, atol=1e-6)
    assert srid == 3857


@pytest.mark.parametrize(
    "texts",
    [
        [],
        [None],
        ["POINT (1 2)", None, "POINT (3 89)"],
        ["POINT Z (1 2 3)"],
        ["POINT EMPTY"],
        ["LINESTRING (0 0, 9 9)"],
    ],
    ids=str,
)
def test_both_projections_at_once_are_the_same(texts):
    geometries = np.array([None if text is None else shapely.from_wkt(text) for text in texts], dtype=object)
    has_z = any(" Z " in str(text) for text in texts)
    lon_lat, mercator = geometry.to_both_ewkb(geometries, has_z=has_z)
    assert lon_lat.equals(geometry.to_ewkb(geometries, 4326, has_z=has_z))
    assert mercator.equals(geometry.to_web_mercator_ewkb(geometries, has_z=has_z))


def test_web_mercator_is_clipped_at_the_poles():
    world = array_of("POLYGON ((-180 -90, 180 -90, 180 90, -180 90, -180 -90))", "POINT (0 89.5)", "POINT (0 0)")
    meters, _ = decoded(geometry.to_web_mercator_ewkb(world))
    assert np.isfinite(meters[0].bounds).all()
    assert meters[0].bounds[3] == pytest.approx(30240971.96, abs=0.01)
    assert meters[1] is None
    assert meters[2].equals(shapely.Point(0, 0))


def test_points_outside_the_projection_are_missing():
    points = array_of("POINT (0 89.5)", None, "POINT (0 0)")
    meters, _ = decoded(geometry.to_web_mercator_ewkb(points))
    assert [shape is None for shape in meters] == [True, True, False]


def test_z_is_kept_in_web_mercator():
    line = array_of("LINESTRING Z (0 0 5, 1 1 6)")
    meters, _ = decoded(geometry.to_web_mercator_ewkb(line))
    assert shapely.get_coordinates(meters, include_z=True)[:, 2].tolist() == [5, 6]


def test_2d_and_3d_shapes_in_web_mercator():
    meters, _ = decoded(geometry.to_web_mercator_ewkb(array_of("LINESTRING Z (0 0 5, 1 1 6)", "POINT (0 0)", None)))
    assert [None if shape is None else shape.has_z for shape in meters] == [True, False, None]
    assert shapely.get_coordinates(meters, include_z=True)[:2, 2].tolist() == [5, 6]


def test_m_values_are_read_or_dropped_with_a_warning():
    ewkb = struct.pack("<BIddd", 1, 0x40000001, 1, 2, 3)
    message = "'g' has M values.*shapely 2.1"
    with contextlib.nullcontext() if HAS_M else pytest.warns(ConversionWarning, match=message):
        (point,), _ = geometry.from_ewkb(pa.array([ewkb], pa.large_binary()), "g")
    assert (point.x, point.y, point.has_z) == (1, 2, False)
    assert not HAS_M or point.m == 3


@pytest.mark.parametrize(
    ("series", "message"),
    [
        (gpd.GeoSeries([shapely.Point(0, 0)]), "no CRS.*set_crs"),
        (gpd.GeoSeries(array_of("POINT (0 0)", "POINT Z (0 0 0)"), crs=4326), "2-D and 3-D"),
        *([(gpd.GeoSeries(array_of("POINT M (0 0 1)"), crs=4326), "M values")] if HAS_M else []),
        (
            gpd.GeoSeries(shapely.set_srid(array_of("POINT (0 0)", "POINT (1 1)"), [4326, 3857]), crs=4326),
            "mixes coordinate systems .SRIDs 3857, 4326",
        ),
    ],
)
def test_what_cannot_be_sent_is_refused(series, message):
    with pytest.raises(ConversionError, match=message):
        geometry.check(series, "g")


def collections_in_each_other(depth):
    shape = shapely.Point(0, 0)
    for _ in range(depth):
        shape = shapely.GeometryCollection([shape])
    return shape


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        *([("POINT M (0 0 1)", "M values in row 1"), ("POINT (NaN NaN)", "NaN or infinite in row 1")] if HAS_M else []),
        ("POINT Z (0 0 1)", "2-D and 3-D geometries, first in row 1"),
        ("LINESTRING (0 0, 1 Inf)", "NaN or infinite in row 1"),
        (collections_in_each_other(101), "more than 100 levels deep in row 1"),
    ],
)
def test_messages_name_the_row(bad, message):
    shape = wkt.loads(bad) if isinstance(bad, str) else bad
    series = gpd.GeoSeries(np.array([shapely.Point(0, 0), shape, None], object), crs=4326)
    with pytest.raises(ConversionError, match=message):
        geometry.check(series, "g")


def test_collections_that_postgis_reads():
    assert not geometry.check(gpd.GeoSeries([collections_in_each_other(100)], crs=4326), "g")


def test_reprojection():
    series = gpd.GeoSeries([shapely.Point(500_000, 0), None], crs=32631)
    moved = geometry.to_lon_lat(series, "g", has_z=False)
    assert moved[0].equals_exact(shapely.Point(3, 0), 1e-9)
    assert moved[1] is None


def test_coordinates_that_the_crs_cannot_hold_are_refused():
    series = gpd.GeoSeries([shapely.Point(1e30, 1e30)], crs=32631)
    with pytest.raises(ConversionError, match="check the CRS"):
        geometry.to_lon_lat(series, "g", has_z=False)


def test_empty_geometries_get_the_dimension_of_the_others():
    series = gpd.GeoSeries(array_of("POINT Z (0 0 1)", "POINT EMPTY"), crs=4326)
    assert geometry.check(series, "g")
    ewkb = geometry.to_ewkb(geometry.to_lon_lat(series, "g", has_z=True), 4326, has_z=True)
    assert [bool(value[4] & 0x80) for value in ewkb.to_pylist()] == [True, True]


def test_an_empty_point_with_z_has_three_coordinates():
    (ewkb,) = geometry.to_ewkb(array_of("POINT EMPTY"), 4326, has_z=True).to_pylist()
    assert shapely.from_wkb(ewkb).is_empty
    assert (ewkb[4] & 0x80, len(ewkb)) == (0x80, 9 + 3 * 8)


def test_several_srids_cannot_be_read_as_one_column():
    _, here = geometry.from_ewkb(geometry.to_ewkb(array_of("POINT (0 0)"), 4326), "g")
    _, there = geometry.from_ewkb(geometry.to_ewkb(array_of("POINT EMPTY"), 3857), "g")
    with pytest.raises(ConversionError, match=r"ST_Transform\(g, 4326\)"):
        geometry.one_srid(here | there, "g")


def test_curves_are_refused_with_what_to_do():
    curve = bytes.fromhex("0108000020E61000000300000000000000000000000000000000000000") + bytes(32)
    point = shapely.to_wkb(shapely.Point(0, 0))
    with pytest.raises(ConversionError, match=r"in row 11 .*ST_CurveToLine"):
        geometry.from_ewkb(pa.array([point, curve], pa.large_binary()), "g", 10)


@pytest.mark.parametrize("ewkb", [b"", b"\x01", bytes.fromhex("011000000000000000"), bytes.fromhex("0163000000")])
def test_bytes_that_are_no_geometry(ewkb):
    with pytest.raises(ConversionError, match=r"'g' .* row 0"):
        geometry.from_ewkb(pa.array([ewkb], pa.large_binary()), "g")


@pytest.mark.parametrize(
    "parts",
    [
        [shapely.Point(0, 0, 1), shapely.Point(0, 0)],
        [shapely.Point(0, 0, 1), shapely.Point()],
        [shapely.Point(0, 0, 1), shapely.GeometryCollection([shapely.Point(0, 0)])],
    ],
)
def test_collections_of_two_dimensions_are_refused(parts):
    series = gpd.GeoSeries([None, shapely.GeometryCollection(parts)], crs=4326)
    with pytest.raises(ConversionError, match="'g' has a collection of 2-D and 3-D parts in row 1"):
        geometry.check(series, "g")
    assert not geometry.check(
        gpd.GeoSeries([shapely.GeometryCollection([shapely.Point(1, 2), shapely.Point()])], crs=4326), "g"
    )


@pytest.mark.parametrize(
    ("sql_type", "declaration"),
    [
        ("geometry", ("Geometry", 0)),
        ("GEOMETRY( Point , 4326 )", ("Point", 4326)),
        ("geometry(MultiPolygonZ)", ("MultiPolygonZ", 0)),
        ("geography", ("Geometry", 4326)),
        ("geography(Point)", ("Point", 4326)),
    ],
)
def test_declared_types_are_read(sql_type, declaration):
    assert geometry.declared(sql_type) == declaration


@pytest.mark.parametrize("sql_type", ["geometry(Nothing)", "geometry(Point,x)", "geometry(4326)", "geometry(1,2,3)"])
def test_other_declarations_are_refused(sql_type):
    with pytest.raises(ValueError, match="is not a geometry type"):
        geometry.declared(sql_type)


def test_the_first_mismatched_shape_is_found():
    shapes = np.array([None, shapely.Point(1, 2), shapely.LinearRing([(0, 0), (1, 0), (1, 1)])], object)
    assert [
        geometry.first_of_other_shape(shapes, kind) for kind in ("GeometryZ", "Point", "LineString", "CurvePolygon")
    ] == [
        None,
        2,
        1,
        1,
    ]


def test_coordinates_are_checked_without_a_copy_of_all():
    series = gpd.GeoSeries(gpd.points_from_xy(np.arange(300_000) % 180, np.arange(300_000) % 90), crs=4326)
    geometry.check(series, "g")
    tracemalloc.start()
    try:
        assert not geometry.check(series, "g")
        assert tracemalloc.get_traced_memory()[1] < 1_000_000  # the coordinates are 4.8 MB
    finally:
        tracemalloc.stop()
    series.iloc[-1] = shapely.Point(np.inf, 0)
    with pytest.raises(ConversionError, match="infinite in row 299999"):
        geometry.check(series, "g")
