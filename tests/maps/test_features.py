"""GeoDataFrames as features that a page contains: geometries, values and limits."""

from __future__ import annotations

import base64
import datetime
import gzip
import json
import uuid
from decimal import Decimal

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from shapely.geometry import LineString, Point, box

from cartoframes_lite.maps import features
from cartoframes_lite.maps.features import Features, FeatureStyle, drawable_geometries, property_values
from cartoframes_lite.maps.json_values import json_values


def decode(data):
    """Return the features of the data of a page."""
    return json.loads(gzip.decompress(base64.b64decode(data)))["features"]


def of_frame(frame, columns=()):
    geometries, positions = drawable_geometries(frame)
    numbers = np.zeros(len(geometries), np.intp)
    return Features(geometries, [FeatureStyle("#ff0000")], numbers, property_values(frame, columns, positions))


def test_all_geometry_types_become_geojson():
    wkt = [
        "POINT (1 2)",
        "LINESTRING (0 0, 1 1)",
        "POLYGON ((0 0, 4 0, 4 4, 0 0), (1 0.5, 2 0.5, 2 1, 1 0.5))",
        "MULTIPOINT ((0 0), (1 1))",
        "MULTILINESTRING ((0 0, 1 1), (2 2, 3 3))",
        "MULTIPOLYGON (((0 0, 1 0, 1 1, 0 0)), ((5 5, 6 5, 6 6, 5 5)))",
        "GEOMETRYCOLLECTION (POINT (1 2), GEOMETRYCOLLECTION (LINESTRING (0 0, 1 1)))",
    ]
    frame = gpd.GeoDataFrame(geometry=gpd.GeoSeries.from_wkt(wkt), crs=4326)
    found = [shapely.from_geojson(json.dumps(feature["geometry"])) for feature in decode(of_frame(frame).data)]
    assert [shape.equals(shapely.from_wkt(text)) for shape, text in zip(found, wkt, strict=True)] == [True] * len(wkt)


def test_missing_and_empty_geometries_are_skipped():
    shapes = [None, Point(), Point(1, 2, 3), LineString(), Point(3, 4, 5)]
    frame = gpd.GeoDataFrame({"n": range(5)}, geometry=shapes, crs=4326)
    found = decode(of_frame(frame, ["n"]).data)
    assert [feature["properties"]["n"] for feature in found] == [2, 4]
    assert found[0]["geometry"]["coordinates"] == [1, 2]  # without z
    nothing = of_frame(frame.iloc[:2], ["n"])
    assert decode(nothing.data) == []
    assert nothing.bbox is None


def test_geometries_are_reprojected_and_rounded():
    point = gpd.GeoSeries([Point(2.3522219, 48.856614)], crs=4326)
    frame = gpd.GeoDataFrame(geometry=point.to_crs(3857)).set_axis(["a"])
    [feature] = decode(of_frame(frame).data)
    assert feature["geometry"]["coordinates"] == [2.352222, 48.856614]
    assert of_frame(frame).bbox == pytest.approx((2.3522219, 48.856614, 2.3522219, 48.856614))


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (gpd.GeoDataFrame(geometry=[Point(0, 0)]), "has no CRS"),
        (gpd.GeoDataFrame({"n": [1]}), "no active geometry"),
        (gpd.GeoDataFrame(geometry=[LineString([(0, 0), (np.inf, 1)])], crs=4326), "NaN or infinite in row 0"),
        (gpd.GeoDataFrame(geometry=[LineString([(0, 0), (1e9, 1e9)])], crs=32633), "outside the domain of its CRS"),
    ],
    ids=["crs", "geometry", "infinite", "outside"],
)
def test_frames_that_cannot_be_drawn(frame, message):
    with pytest.raises(ValueError, match=message):
        drawable_geometries(frame)


def test_large_frames_are_refused_with_advice(monkeypatch):
    points = gpd.GeoDataFrame(geometry=gpd.points_from_xy(np.zeros(50_001), np.zeros(50_001)), crs=4326)
    with pytest.raises(ValueError, match=r"50,001 features.* at most 50,000 itself.*to_table\(name\)\.map\(\)"):
        drawable_geometries(points)
    line = gpd.GeoDataFrame(geometry=[LineString(np.zeros((500_001, 2)))], crs=4326)
    with pytest.raises(ValueError, match="500,001 vertices"):
        drawable_geometries(line)
    monkeypatch.setattr(features, "MAX_DATA_BYTES", 1000)
    frame = points.iloc[:100].assign(text=[str(uuid.uuid4()) for _ in range(100)])
    assert of_frame(frame).data
    with pytest.raises(ValueError, match="fewer columns as popup and hover"):
        _ = of_frame(frame, ["text"]).data


def test_extent_crosses_the_antimeridian_where_it_is_shorter():
    def extent(*longitudes):
        return of_frame(gpd.GeoDataFrame(geometry=gpd.points_from_xy(longitudes, [0] * len(longitudes)), crs=4326)).bbox

    assert extent(179, -178) == (179, 0, 182, 0)
    assert extent(-170, 10) == (-170, 0, 10, 0)
    assert extent(-10, 10) == (-10, 0, 10, 0)
    assert extent(-179, -170) == (-179, 0, -170, 0)


def test_repeated_labels_and_index_keep_rows_apart():
    frame = gpd.GeoDataFrame([[1, 2], [3, 4]], columns=["a", "a"], geometry=[box(0, 0, 1, 1), Point(0, 0)], crs=4326)
    frame.index = [7, 7]
    found = decode(of_frame(frame, ["a"]).data)
    assert [feature["properties"] for feature in found] == [{"a": 1}, {"a": 3}]


UTC = datetime.UTC
VALUES = [
    ([1, None, 2**60], [1, None, str(2**60)]),
    ([1.5, float("nan"), float("inf")], [1.5, None, "inf"]),
    ([True, None], [True, None]),
    (["", "a\ud800", None], ["", "a\ud800", None]),
    ([Decimal("1.10"), Decimal("NaN"), Decimal("1.0000000000000000001")], [1.1, None, "1.0000000000000000001"]),
    ([datetime.date(2024, 5, 6), None], ["2024-05-06", None]),
    ([datetime.time(1, 2)], ["01:02:00"]),
    ([b"\x01\xff", b"\0" * 40], ["\\x01ff", "\\x" + "00" * 32 + "…"]),
    ([[1, float("nan"), [b"a", pd.NaT]], {"a": {1: (2,)}}], [[1, None, ["\\x61", None]], {"a": {"1": [2]}}]),
    ([np.array([1, 2]), np.float32(0.5)], [[1, 2], 0.5]),
    ([uuid.UUID(int=1)], ["00000000-0000-0000-0000-000000000001"]),
    ([Point(1, 2)], ["POINT (1 2)"]),
]


@pytest.mark.parametrize(("values", "expected"), VALUES, ids=range(len(VALUES)))
def test_objects_become_json_values(values, expected):
    found = json_values(pd.Series(values, dtype=object))
    assert found == expected
    json.dumps(found, allow_nan=False)


def test_typed_columns_become_json_values():
    stamps = pd.to_datetime(pd.Series(["2024-05-06 07:08:09", None]))
    assert json_values(stamps) == ["2024-05-06T07:08:09", None]
    assert json_values(stamps.dt.tz_localize("Europe/Paris")) == ["2024-05-06T07:08:09+02:00", None]
    assert json_values(pd.Series([1, None], dtype="Int64")) == [1, None]
    assert json_values(pd.Series(["a", "b", None], dtype="category")) == ["a", "b", None]
    assert json_values(pd.Series([datetime.date(2024, 1, 2), None], dtype="date32[pyarrow]")) == ["2024-01-02", None]
    assert json_values(pd.Series(pd.to_timedelta([1, None], unit="D"))) == ["1 days 00:00:00", None]


def test_lists_that_contain_themselves_end():
    endless: list[object] = []
    endless.append(endless)
    json.dumps(json_values(pd.Series([endless])))
