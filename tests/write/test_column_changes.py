from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

from cartoframes_lite.errors import ConversionError
from cartoframes_lite.write.column_changes import columns_to_append, columns_to_replace
from cartoframes_lite.write.columns import Columns, find, names_of
from cartoframes_lite.write.existing_table import TableColumn
from cartoframes_lite.write.prepare import prepare

CARTO = {
    "cartodb_id": TableColumn("cartodb_id", "int8", "bigint"),
    "the_geom": TableColumn("the_geom", "geometry", "geometry(Geometry,4326)", 4326, 2),
    "the_geom_webmercator": TableColumn("the_geom_webmercator", "geometry", "geometry(Geometry,3857)", 3857, 2),
}


def table(**types: str) -> dict[str, TableColumn]:
    return CARTO | {name: TableColumn(name, pgtype, pgtype) for name, pgtype in types.items()}


def columns_of(frame: pd.DataFrame) -> Columns:
    return prepare(frame).columns


def points(*coordinates: float) -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame(geometry=[shapely.Point(*coordinates)], crs=4326)


def test_append_names_what_the_table_has_not():
    with pytest.raises(ConversionError, match=r"columns \['b'\]"):
        columns_to_append(columns_of(pd.DataFrame({"a": [1], "b": [1]})), table(a="int8"))


def test_append_brings_columns_to_the_types_of_the_table():
    change = columns_to_append(columns_of(pd.DataFrame({"a": [1.0]})), table(a="int4", b="text"))
    columns = change.staged_columns(columns_of(pd.DataFrame({"a": [1.0]})))
    assert [(column.name, column.final_type) for column in columns] == [("a", "int4")]
    assert (change.drop, change.add) == ((), ())


def test_append_sends_web_mercator_if_the_table_has_it():
    change = columns_to_append(columns_of(points(1, 2)), CARTO)
    assert names_of(change.staged_columns(columns_of(points(1, 2)))) == ["the_geom", "the_geom_webmercator"]
    plain = {"the_geom": CARTO["the_geom"]}
    staged = columns_to_append(columns_of(points(1, 2)), plain).staged_columns(columns_of(points(1, 2)))
    assert names_of(staged) == ["the_geom"]


@pytest.mark.parametrize(
    ("have", "new", "stays"),
    [
        ("int8", [1], "always"),
        ("int8", np.array([1], "int16"), "always"),
        ("int8", [1.0, None], "depending on values"),
        ("int2", [1], "depending on values"),
        ("numeric", [1], "always"),
        ("text", ["x"], "always"),
        ("text", [1], "depending on values"),
        ("text", [None, np.nan], "depending on values"),
        ("jsonb", ["{}"], "never"),
        ("jsonb", [{}], "always"),
        ("varchar(3)", ["x"], "depending on values"),
        ("name", ["x"], "depending on values"),
        ("numeric(10,2)", [1], "depending on values"),
        ("timestamp(0)", pd.to_datetime(["2020-01-01"]), "depending on values"),
        ("_int4", [[1]], "depending on values"),
        ("float8", np.array([1], "float32"), "always"),
        ("float4", [1.5], "depending on values"),
        ("timestamptz", pd.to_datetime(["2020-01-01"], utc=True), "always"),
        ("timestamptz", pd.to_datetime(["2020-01-01"]), "never"),
    ],
)
def test_a_replaced_column_stays_if_it_has_room(have, new, stays):
    columns = columns_of(pd.DataFrame({"a": new}))
    change = columns_to_replace(columns, table(a=have), cartodbfy=True)
    assert (change.drop, change.add) == ((("a",), ("a",)) if stays == "never" else ((), ()))
    assert change.unsure == ({"a"} if stays == "depending on values" else set())
    if change.unsure:
        again = columns_to_replace(columns, table(a=have), cartodbfy=True, misfits=change.unsure)
        assert (again.drop, again.add, again.unsure) == (("a",), ("a",), set())
        staged = [changes.staged_columns(columns)[0].staged_type for changes in (change, again)]
        assert staged[0] == staged[1]  # both plans can publish the same staging table


def test_columns_come_and_go_and_those_of_carto_stay():
    change = columns_to_replace(columns_of(pd.DataFrame({"b": [1]})), table(a="int8"), cartodbfy=True)
    assert (change.drop, change.add) == (("a",), ("b",))


def test_another_dimension_renews_both_geometries():
    change = columns_to_replace(columns_of(points(1, 2, 3)), CARTO, cartodbfy=True)
    assert change.drop == ("the_geom", "the_geom_webmercator")
    assert set(change.add) == {"the_geom", "the_geom_webmercator"}


def test_empty_geometries_fit_any_dimension():
    empty = gpd.GeoDataFrame(geometry=[shapely.Point(), None], crs=4326)
    solid = CARTO | {"the_geom": TableColumn("the_geom", "geometry", "geometry(GeometryZ,4326)", 4326, 3, "GeometryZ")}
    change = columns_to_replace(columns_of(empty), solid, cartodbfy=True)
    assert change.drop == ()
    assert change.staged_columns(columns_of(empty))[0].has_z


def test_matching_geometry_columns_are_kept():
    def kept(column: TableColumn, *, cartodbfy: bool = True) -> bool:
        table = CARTO | {"the_geom": column}
        return "the_geom" not in columns_to_replace(columns_of(points(1, 2)), table, cartodbfy=cartodbfy).drop

    assert kept(TableColumn("the_geom", "geometry", "geometry(Point,4326)", 4326, 2, "Point"))
    assert kept(TableColumn("the_geom", "geometry", "geometry"), cartodbfy=False)
    assert not kept(TableColumn("the_geom", "geometry", "geometry"))  # a CARTO table requires a declared SRID
    assert not kept(TableColumn("the_geom", "geometry", "geometry(Polygon,4326)", 4326, 2, "Polygon"))
    assert not kept(TableColumn("the_geom", "geometry", "geometry(Geometry,3857)", 3857, 2))


def test_append_refuses_geometries_of_another_crs():
    mercator = CARTO | {"the_geom": TableColumn("the_geom", "geometry", "geometry(Geometry,3857)", 3857, 2)}
    with pytest.raises(ConversionError, match="'the_geom' is in EPSG:3857 in the table"):
        columns_to_append(columns_of(points(1, 2)), mercator)


def test_other_geometries_of_carto_tables_declare_no_srid():
    frame = points(1, 2).assign(area=gpd.GeoSeries([shapely.Point(1, 2).buffer(1)], crs=3857))
    change = columns_to_replace(columns_of(frame), CARTO, cartodbfy=True)
    assert find(change.staged_columns(columns_of(frame)), "area").final_type == "geometry"
    declared = CARTO | {"area": TableColumn("area", "geometry", "geometry(Geometry,3857)", 3857, 2)}
    assert columns_to_replace(columns_of(frame), declared, cartodbfy=True).drop == ("area",)
