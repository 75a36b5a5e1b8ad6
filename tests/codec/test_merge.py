from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

from cartoframes_lite._codec.merge import addition, replacement
from cartoframes_lite._codec.payload import prepare
from cartoframes_lite._codec.pgtypes import SourceColumn
from cartoframes_lite.errors import ConversionError

CARTO = {
    "cartodb_id": SourceColumn("cartodb_id", "int8"),
    "the_geom": SourceColumn("the_geom", "geometry", 4326, 2),
    "the_geom_webmercator": SourceColumn("the_geom_webmercator", "geometry", 3857, 2),
}


def table(**types: str) -> dict[str, SourceColumn]:
    return CARTO | {name: SourceColumn(name, pgtype) for name, pgtype in types.items()}


def points(*coordinates: float) -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame(geometry=[shapely.Point(*coordinates)], crs=4326)


def test_append_names_what_the_table_has_not():
    with pytest.raises(ConversionError, match=r"columns \['b'\]"):
        addition(prepare(pd.DataFrame({"a": [1], "b": [1]})), table(a="int8"))


def test_append_brings_columns_to_the_types_of_the_table():
    change = addition(prepare(pd.DataFrame({"a": [1.0]})), table(a="int4", b="text"))
    payload = change.fitted(prepare(pd.DataFrame({"a": [1.0]})))
    assert [(column.name, column.final_type) for column in payload.columns] == [("a", "int4")]
    assert (change.drop, change.add) == ((), ())


def test_append_sends_web_mercator_if_the_table_has_it():
    change = addition(prepare(points(1, 2)), CARTO)
    assert change.fitted(prepare(points(1, 2))).names == ["the_geom", "the_geom_webmercator"]
    plain = {"the_geom": CARTO["the_geom"]}
    assert addition(prepare(points(1, 2)), plain).fitted(prepare(points(1, 2))).names == ["the_geom"]


@pytest.mark.parametrize(
    ("have", "new", "stays"),
    [
        ("int8", [1], True),
        ("int8", np.array([1], "int16"), True),
        ("int2", [1], False),
        ("numeric", [1], True),
        ("text", ["x"], True),
        ("text", [1], False),
        ("float8", np.array([1], "float32"), True),
        ("float4", [1.5], False),
        ("timestamptz", pd.to_datetime(["2020-01-01"], utc=True), True),
        ("timestamptz", pd.to_datetime(["2020-01-01"]), False),
    ],
)
def test_a_replaced_column_stays_if_it_has_room(have, new, stays):
    change = replacement(prepare(pd.DataFrame({"a": new})), table(a=have))
    assert (change.drop, change.add) == (((), ()) if stays else (("a",), ("a",)))


def test_columns_come_and_go_and_those_of_carto_stay():
    change = replacement(prepare(pd.DataFrame({"b": [1]})), table(a="int8"))
    assert (change.drop, change.add) == (("a",), ("b",))


def test_another_dimension_renews_both_geometries():
    change = replacement(prepare(points(1, 2, 3)), CARTO)
    assert change.drop == ("the_geom", "the_geom_webmercator")
    assert set(change.add) == {"the_geom", "the_geom_webmercator"}


def test_empty_geometries_fit_any_dimension():
    empty = gpd.GeoDataFrame(geometry=[shapely.Point(), None], crs=4326)
    solid = CARTO | {"the_geom": SourceColumn("the_geom", "geometry", 4326, 3)}
    change = replacement(prepare(empty), solid)
    assert change.drop == ()
    assert change.fitted(prepare(empty)).columns[0].has_z
