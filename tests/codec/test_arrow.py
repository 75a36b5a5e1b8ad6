"""EWKB as geoarrow.wkb: the same geometries, as ISO WKB without SRID."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from cartoframes_lite._codec.arrow import ArrowColumns
from cartoframes_lite._codec.pgtypes import SourceColumn
from cartoframes_lite.errors import ConversionError, ConversionWarning

SHAPES = [
    None,
    shapely.Point(1, 2),
    shapely.Point(),
    shapely.LineString([(0, 0), (1, 1)]),
    shapely.box(0, 0, 1, 1),
    shapely.box(0, 0, 9, 9) - shapely.box(1, 1, 2, 2),
    shapely.MultiPoint([(0, 0), (1, 1)]),
    shapely.GeometryCollection([shapely.Point(1, 2), shapely.MultiPolygon([shapely.box(0, 0, 1, 1)])]),
    shapely.MultiPolygon(),
]
DEEP = [shapely.force_3d(shape, 7) for shape in SHAPES]


def ewkb(shapes, srid, byte_order=1):
    with_srid = shapely.set_srid(np.array(shapes, object), srid)
    values = shapely.to_wkb(with_srid, include_srid=srid > 0, flavor="extended", byte_order=byte_order)
    return pa.array(values, pa.large_binary())


def converted(values, srid=4326, first=None):
    column = SourceColumn("g", "geometry", srid)
    batch = pa.record_batch([values], names=["g"])
    columns = ArrowColumns([column], batch if first is None else pa.record_batch([first], names=["g"]))
    return columns.convert(batch).column(0)


def iso(shapes):
    return shapely.to_wkb(np.array(shapes, object), include_srid=False, flavor="iso", byte_order=1).tolist()


@given(st.lists(st.sampled_from(SHAPES)), st.sampled_from([0, 4326]), st.integers(0, 3))
def test_flat_geometries_as_iso_wkb(shapes, srid, offset):
    values = ewkb([*SHAPES[:offset], *shapes], srid).slice(offset)
    assert converted(values).to_pylist() == iso(shapes)


@given(st.lists(st.sampled_from([*SHAPES, *DEEP])), st.sampled_from([0, 1]))
def test_other_geometries_as_iso_wkb(shapes, byte_order):
    result = converted(ewkb(shapes, 4326, byte_order)).to_pylist()
    assert result == iso(shapes)


def test_the_crs_of_a_declared_srid():
    columns = ArrowColumns([SourceColumn("g", "geometry", 3857)], None)
    metadata = columns.schema.field("g").metadata
    assert metadata[b"ARROW:extension:name"] == b"geoarrow.wkb"
    extension = json.loads(metadata[b"ARROW:extension:metadata"])
    assert (extension["crs_type"], extension["crs"]["id"]) == ("projjson", {"authority": "EPSG", "code": 3857})


def test_geometries_of_several_srids_are_refused():
    with pytest.raises(ConversionError, match=r"has the SRID 4326, and then \[3857\]: select ST_Transform"):
        converted(ewkb([shapely.Point(1, 2)], 3857), 4326)
    with pytest.raises(ConversionError, match="no SRID in its first rows"):
        converted(ewkb([shapely.Point(1, 2)], 3857), 0, first=ewkb([None], 0))


def test_an_srid_without_crs_warns():
    with pytest.warns(ConversionWarning, match="not an EPSG code"):
        columns = ArrowColumns([SourceColumn("g", "geometry", 999_001)], None)
    assert json.loads(columns.schema.field("g").metadata[b"ARROW:extension:metadata"]) == {}
