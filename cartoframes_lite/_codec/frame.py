"""Convert Arrow record batches to a DataFrame or GeoDataFrame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
from pyproj import CRS
from pyproj.exceptions import CRSError

from cartoframes_lite import user_warnings
from cartoframes_lite._codec import geometry
from cartoframes_lite._codec.pgtypes import Kind, SourceColumn, incoming
from cartoframes_lite._codec.to_series import Backend, to_series
from cartoframes_lite.errors import ConversionWarning

THE_GEOM = "the_geom"
WEB_MERCATOR = "the_geom_webmercator"


def arrow_schema(columns: Sequence[SourceColumn]) -> pa.Schema:
    """Return the Arrow schema of the decoded columns."""
    return pa.schema([pa.field(column.name, column.rule.arrow) for column in columns])


def from_arrow(
    batches: Iterable[pa.RecordBatch],
    columns: Sequence[SourceColumn],
    *,
    decode_geom: bool = True,
    coerce_float: bool = True,
    backend: Backend | None = None,
) -> pd.DataFrame:
    """Convert record batches to one frame; geometries are decoded batch by batch.

    Parameters
    ----------
    batches : iterable of pyarrow.RecordBatch
        With the schema returned by ``arrow_schema``.
    columns : sequence of SourceColumn
    decode_geom : bool
        Decode EWKB to geometries; False keeps it as bytes.
    coerce_float, backend
        As in ``to_series``.

    Returns
    -------
    pandas.DataFrame or geopandas.GeoDataFrame
        A GeoDataFrame if there is a geometry; ``the_geom`` is the active one, else the first.
    """
    geometries = {
        column.name: _GeometryColumn(column) for column in columns if decode_geom and column.rule.kind is Kind.GEOMETRY
    }
    parts: dict[str, list[pa.Array]] = {column.name: [] for column in columns if column.name not in geometries}
    rows = 0
    for batch in batches:
        rows += batch.num_rows
        for name, values in zip(batch.schema.names, batch.columns, strict=True):
            if name in geometries:
                geometries[name].add(values)
            else:
                parts[name].append(values)
    data: dict[str, Any] = {}
    for column in columns:
        if column.name in geometries:
            data[column.name] = geometries[column.name].array()
            continue
        rule = incoming("bytea") if column.rule.kind is Kind.GEOMETRY else column.rule
        whole = pa.chunked_array(parts[column.name], rule.arrow)
        data[column.name] = to_series(whole, rule, column.name, coerce_float=coerce_float, backend=backend)
    frame = pd.DataFrame(data, index=pd.RangeIndex(rows), copy=False)
    if not geometries:
        return frame
    active = THE_GEOM if THE_GEOM in geometries else next(iter(geometries))
    result: pd.DataFrame = gpd.GeoDataFrame(frame, geometry=active, copy=False)
    return result


class _GeometryColumn:
    """Geometry column that is decoded batch by batch."""

    def __init__(self, column: SourceColumn) -> None:
        self._column = column
        self._parts: list[geometry.Geometries] = []
        self._srids: set[int] = set()
        self._rows = 0

    def add(self, values: pa.LargeBinaryArray) -> None:
        geometries, srids = geometry.from_ewkb(values, self._column.name, self._rows)
        self._rows += len(geometries)
        self._parts.append(geometries)
        self._srids |= srids

    def array(self) -> Any:
        """Return the GeometryArray; its CRS is from the SRID of the values, else from that of the column type."""
        name = self._column.name
        srid = geometry.one_srid(self._srids, name) or (self._column.srid if self._column.srid > 0 else None)
        if srid is None and name == THE_GEOM:
            srid = 4326
        values = np.concatenate(self._parts) if self._parts else np.empty(0, object)
        return gpd.array.GeometryArray(values, crs=_crs(srid, name))


def _crs(srid: int | None, name: str) -> CRS | None:
    try:
        return None if srid is None else CRS.from_epsg(srid)
    except CRSError:
        user_warnings.warn(
            f"geometry column {name!r} has SRID {srid}, which is not an EPSG code: its CRS is None, use set_crs",
            ConversionWarning,
        )
        return None


def is_geometry(series: pd.Series[Any]) -> bool:
    """Return whether a column has the dtype ``geometry`` of GeoPandas."""
    return isinstance(series.dtype, gpd.array.GeometryDtype)
