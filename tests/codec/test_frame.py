from __future__ import annotations

import geopandas as gpd
import pandas as pd
import pyarrow as pa
import pytest
import shapely

from cartoframes_lite._codec.frame import arrow_schema, from_arrow
from cartoframes_lite._codec.pgtypes import SourceColumn
from cartoframes_lite.errors import ConversionError, ConversionWarning

N = SourceColumn("n", "int4")


def geometry(name: str = "the_geom", srid: int = 0) -> SourceColumn:
    return SourceColumn(name, "geometry", srid)


def ewkb(*shapes: shapely.Geometry | None, srid: int = 4326) -> list[bytes | None]:
    return list(shapely.to_wkb(shapely.set_srid(list(shapes), srid), include_srid=True))


def frame(columns: list[SourceColumn], *parts: list[list[object]], **arguments) -> pd.DataFrame:
    schema = arrow_schema(columns)
    batches = [
        pa.RecordBatch.from_arrays([pa.array(v, t) for v, t in zip(part, schema.types, strict=True)], schema=schema)
        for part in parts
    ]
    return from_arrow(batches, columns, **arguments)


def test_without_a_geometry_it_is_a_plain_frame():
    result = frame([N], [[1, 2]], [[3]])
    assert type(result) is pd.DataFrame
    assert result["n"].tolist() == [1, 2, 3]
    assert result.index.equals(pd.RangeIndex(3))


def test_batches_of_geometries_of_different_kinds_are_joined():
    line = shapely.LineString([(0, 0), (1, 1)])
    result = frame([geometry(), N], [ewkb(shapely.Point(1, 2)), [1]], [ewkb(line, None), [2, 3]])
    assert isinstance(result, gpd.GeoDataFrame)
    assert result.crs == "EPSG:4326"
    assert result["the_geom"].tolist() == [shapely.Point(1, 2), line, None]


def test_the_geom_is_the_active_one_else_the_first():
    columns = [geometry("a"), geometry("the_geom")]
    point = ewkb(shapely.Point(1, 2))
    assert frame(columns, [point, point]).active_geometry_name == "the_geom"
    assert frame([geometry("b"), geometry("a")], [point, point]).active_geometry_name == "b"


def test_no_rows_have_dtypes_and_a_crs():
    result = frame([geometry("g", 3857), N])
    assert result.crs == "EPSG:3857"
    assert result["n"].dtype == "int32"
    assert frame([geometry()]).crs == "EPSG:4326"
    assert frame([geometry("g")]).crs is None


def test_two_srids_are_refused_also_in_two_batches():
    with pytest.raises(ConversionError, match=r"mixes the SRIDs \[3857, 4326\]"):
        frame([geometry()], [ewkb(shapely.Point(1, 2))], [ewkb(shapely.Point(1, 2), srid=3857)])


def test_an_srid_that_is_no_epsg_code():
    with pytest.warns(ConversionWarning, match="999000"):
        assert frame([geometry("g")], [ewkb(shapely.Point(1, 2), srid=999_000)]).crs is None


def test_geometries_stay_bytes_if_asked():
    point = ewkb(shapely.Point(1, 2))
    result = frame([geometry()], [point], decode_geom=False)
    assert type(result) is pd.DataFrame
    assert result["the_geom"].tolist() == point


def test_curves_say_what_to_do():
    curve = bytes.fromhex("0108000000030000000000000000000000000000000000000000000000000000400000000000000040") + bytes(
        16
    )
    with pytest.raises(ConversionError, match="ST_CurveToLine"):
        frame([geometry()], [[curve]])
