"""Geometries made of text, of bytes, and of two columns of coordinates."""

from __future__ import annotations

import warnings

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

import cartoframes_lite as cfl

POINTS = gpd.GeoSeries([shapely.Point(1, 2), None, shapely.Point(3, 4)], crs=4326)


def texts(kind: str) -> list[object]:
    if kind == "wkt":
        return ["POINT (1 2)", None, "POINT(3 4)"]
    if kind == "ewkt":
        return ["SRID=4326;POINT (1 2)", "", "srid = 4326; POINT (3 4)"]
    srid = 0 if kind == "hex-without-srid" else 4326
    wkb = shapely.to_wkb(shapely.set_srid(POINTS.to_numpy(), srid), hex=kind != "wkb", include_srid=srid > 0)
    return wkb.tolist()


@pytest.mark.parametrize("kind", ["wkt", "ewkt", "hex", "hex-without-srid", "wkb"])
@pytest.mark.parametrize("label", ["shape", "the_geom"])
def test_text_is_parsed_as_the_geometry(kind, label, credentials):
    frame = pd.DataFrame({"n": [1, 2, 3], label: texts(kind)})
    given = frame.copy()
    cfl.to_carto(frame, "t", credentials, geom_col=label)
    back = cfl.read_carto("SELECT n, the_geom FROM t ORDER BY n", credentials)
    assert back.crs.to_epsg() == 4326
    assert back.geometry.to_wkt().equals(POINTS.to_wkt())
    pd.testing.assert_frame_equal(frame, given)


def test_an_export_of_carto_is_written_back(credentials):
    cfl.to_carto(gpd.GeoDataFrame({"n": [1, 2, 3]}, geometry=POINTS), "t", credentials)
    rows = cfl.Client(credentials).sql.rows("SELECT n, the_geom FROM t ORDER BY n")
    cfl.to_carto(pd.DataFrame(rows), "u", credentials, geom_col="the_geom")
    back = cfl.read_carto("SELECT * FROM u ORDER BY n", credentials)
    assert back.geometry.to_wkt().equals(POINTS.to_wkt())


def test_another_srid_is_reprojected(credentials):
    projected = POINTS.to_crs(25830)
    text = [None if shape is None else f"SRID=25830;{shape.wkt}" for shape in projected]
    cfl.to_carto(pd.DataFrame({"shape": text}), "t", credentials, geom_col="shape")
    back = cfl.read_carto("SELECT the_geom FROM t ORDER BY cartodb_id", credentials)
    assert back.geometry.iloc[[0, 2]].geom_equals_exact(POINTS.iloc[[0, 2]], 1e-6, align=False).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["POINT (1 2)", "somewhere"], r"'shape' has a value that is no geometry in row 1 \(label 'b'\), 'somewhere'"),
        (["POINT (1 2)", "0101"], "row 1.*'0101'"),
        (["POINT (1 2)", 7], "row 1.*7"),
        (["SRID=4326;POINT (1 2)", "SRID=3857;POINT (1 2)"], "mixes coordinate systems"),
        (["SRID=4326;POINT (1 2)", "POINT (1 2)"], "mixes coordinate systems"),
        (["SRID=999999;POINT (1 2)"] * 2, "999999, which is no EPSG code"),
    ],
)
def test_text_that_is_no_geometry_names_the_row(values, message, credentials):
    frame = pd.DataFrame({"shape": values}, index=["a", "b"])
    with pytest.raises(cfl.ConversionError, match=message):
        cfl.to_carto(frame, "t", credentials, geom_col="shape")
    assert cfl.list_tables(credentials) == []


@pytest.mark.filterwarnings("ignore:columns are renamed:cartoframes_lite.ConversionWarning")
def test_points_are_made_of_coordinates(credentials):
    frame = pd.DataFrame({"x": [1.5, np.nan, 3], "Lat": ["2.5", "4", None], "n": [1, 2, 3]})
    cfl.to_carto(frame, "t", credentials, lnglat=("x", "Lat"))
    back = cfl.read_carto("SELECT * FROM t ORDER BY n", credentials, index_col="cartodb_id")
    assert back.geometry.to_wkt().dropna().to_dict() == {back.index[0]: "POINT (1.5 2.5)"}
    assert list(back.columns) == ["the_geom", "x", "lat", "n"]
    cfl.to_carto(iter([frame, frame]), "t", credentials, if_exists="append", lnglat=("x", "Lat"))
    assert cfl.read_carto("t", credentials).geometry.notna().sum() == 3


@pytest.mark.parametrize(
    ("lnglat", "error", "message"),
    [
        (("lng", "lat"), ValueError, r"\['lng'\] are not columns of the frame"),
        (("lat", "x"), cfl.ConversionError, "'x' has a value that is no coordinate in degrees, at most 90, in row 1"),
        (("x", "name"), cfl.ConversionError, "'name' has .* in row 0, 'a'"),
        ("xy", ValueError, "lnglat must be two columns"),
        (("x", "x"), ValueError, "lnglat must be two columns"),
    ],
)
def test_columns_without_coordinates_are_refused(lnglat, error, message, credentials):
    frame = pd.DataFrame({"x": [1, 100], "lat": [2, 3], "name": ["a", "b"]})
    with pytest.raises(error, match=message):
        cfl.to_carto(frame, "t", credentials, lnglat=lnglat)


def test_a_frame_with_geometries_needs_no_lnglat(credentials):
    frame = gpd.GeoDataFrame({"x": [1.0] * 3, "y": [2.0] * 3}, geometry=POINTS)
    with pytest.raises(ValueError, match="the frame has geometries"):
        cfl.to_carto(frame, "t", credentials, lnglat=("x", "y"))
    with pytest.raises(ValueError, match="exclude each other"):
        cfl.to_carto(frame, "t", credentials, lnglat=("x", "y"), geom_col="geometry")


@pytest.mark.filterwarnings("ignore:columns are renamed:cartoframes_lite.ConversionWarning")
@pytest.mark.parametrize("names", [("lng", "lat"), ("Longitude", "Latitude"), ("lon", "lat")])
def test_coordinates_without_geometry_warn_once(names, credentials):
    frame = pd.DataFrame({names[1]: [1.0], names[0]: [2.0]})
    with pytest.warns(cfl.ConversionWarning, match="lnglat=") as caught:
        cfl.to_carto(frame, "t", credentials)
    (warning,) = [warning for warning in caught if "columns are renamed" not in str(warning.message)]
    assert f"lnglat=({names[0]!r}, {names[1]!r})" in str(warning.message)
    assert warning.filename == __file__


def test_other_writes_do_not_warn(credentials):
    frame = pd.DataFrame({"lat": [1.0], "lng": [2.0]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cfl.to_carto(frame, "plain", credentials, cartodbfy=False)
        cfl.to_carto(frame, "t", credentials, lnglat=("lng", "lat"))
        cfl.to_carto(frame, "t", credentials, if_exists="append")
        cfl.to_carto(frame.astype(str) + "°", "text", credentials)
