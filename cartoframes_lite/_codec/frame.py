"""Frames to Arrow record batches and back."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import geopandas as gpd
import pandas as pd
import pyarrow as pa
from pyproj import CRS
from pyproj.exceptions import CRSError

from cartoframes_lite._codec import geometry
from cartoframes_lite._codec.pgtypes import Kind, SourceColumn, incoming
from cartoframes_lite._codec.to_series import Backend, to_series
from cartoframes_lite.errors import ConversionWarning

THE_GEOM = "the_geom"
WEB_MERCATOR = "the_geom_webmercator"


def arrow_schema(columns: Sequence[SourceColumn]) -> pa.Schema:
    """Give the schema that the binary COPY of these columns decodes into."""
    return pa.schema([pa.field(column.name, column.rule.arrow) for column in columns])


def from_arrow(
    batches: Sequence[pa.RecordBatch],
    columns: Sequence[SourceColumn],
    *,
    decode_geom: bool = True,
    coerce_float: bool = True,
    backend: Backend | None = None,
) -> pd.DataFrame:
    """Make a frame of decoded batches.

    Parameters
    ----------
    batches : sequence of pyarrow.RecordBatch
        Of the schema that ``arrow_schema`` gives.
    columns : sequence of SourceColumn
    decode_geom : bool
        Make geometries of EWKB; else leave it as bytes.
    coerce_float, backend
        As in ``to_series``.

    Returns
    -------
    pandas.DataFrame or geopandas.GeoDataFrame
        A GeoDataFrame if there is a geometry; ``the_geom`` is the active one, else the first.
    """
    table = pa.Table.from_batches(batches, arrow_schema(columns))
    data: dict[str, Any] = {}
    for column in columns:
        values = table.column(column.name)
        if column.rule.kind is Kind.GEOMETRY and decode_geom:
            data[column.name] = _geometries(values, column)
        else:
            rule = column.rule if decode_geom or column.rule.kind is not Kind.GEOMETRY else incoming("bytea")
            data[column.name] = to_series(values, rule, column.name, coerce_float=coerce_float, backend=backend)
    frame = pd.DataFrame(data, index=pd.RangeIndex(table.num_rows), copy=False)
    names = [column.name for column in columns if column.rule.kind is Kind.GEOMETRY and decode_geom]
    if not names:
        return frame
    result: pd.DataFrame = gpd.GeoDataFrame(frame, geometry=THE_GEOM if THE_GEOM in names else names[0])
    return result


def _geometries(values: pa.ChunkedArray, column: SourceColumn) -> Any:
    geometries, found = geometry.from_ewkb(values, column.name)
    srid = found if found is not None else column.srid if column.srid > 0 else None
    if srid is None and column.name == THE_GEOM:
        srid = 4326
    return gpd.array.GeometryArray(geometries, crs=_crs(srid, column.name))


def _crs(srid: int | None, name: str) -> CRS | None:
    try:
        return None if srid is None else CRS.from_epsg(srid)
    except CRSError:
        warnings.warn(
            f"geometry column {name!r} has the SRID {srid}, which is no EPSG code: its CRS is left empty",
            ConversionWarning,
            stacklevel=2,
        )
        return None


def is_geometry(series: pd.Series[Any]) -> bool:
    """Say whether a column has GeoPandas' dtype."""
    return isinstance(series.dtype, gpd.array.GeometryDtype)
