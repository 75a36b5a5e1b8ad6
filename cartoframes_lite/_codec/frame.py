"""Frames to Arrow record batches and back."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import geopandas as gpd
import numpy as np
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
    batches: Iterable[pa.RecordBatch],
    columns: Sequence[SourceColumn],
    *,
    decode_geom: bool = True,
    coerce_float: bool = True,
    backend: Backend | None = None,
) -> pd.DataFrame:
    """Make a frame of decoded batches; geometries are made as the batches come.

    Parameters
    ----------
    batches : iterable of pyarrow.RecordBatch
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
    shapes = {column.name: _Shapes(column) for column in columns if decode_geom and column.rule.kind is Kind.GEOMETRY}
    parts: dict[str, list[pa.Array]] = {column.name: [] for column in columns if column.name not in shapes}
    rows = 0
    for batch in batches:
        rows += batch.num_rows
        for name, values in zip(batch.schema.names, batch.columns, strict=True):
            if name in shapes:
                shapes[name].add(values)
            else:
                parts[name].append(values)
    data: dict[str, Any] = {}
    for column in columns:
        if column.name in shapes:
            data[column.name] = shapes[column.name].array()
            continue
        rule = incoming("bytea") if column.rule.kind is Kind.GEOMETRY else column.rule
        whole = pa.chunked_array(parts[column.name], rule.arrow)
        data[column.name] = to_series(whole, rule, column.name, coerce_float=coerce_float, backend=backend)
    frame = pd.DataFrame(data, index=pd.RangeIndex(rows), copy=False)
    if not shapes:
        return frame
    active = THE_GEOM if THE_GEOM in shapes else next(iter(shapes))
    result: pd.DataFrame = gpd.GeoDataFrame(frame, geometry=active, copy=False)
    return result


class _Shapes:
    """A geometry column that grows batch by batch."""

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
        """Give GeoPandas' array; the declared SRID counts where no value has one."""
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
        warnings.warn(
            f"geometry column {name!r} has the SRID {srid}, which is no EPSG code: its CRS is left empty",
            ConversionWarning,
            stacklevel=2,
        )
        return None


def is_geometry(series: pd.Series[Any]) -> bool:
    """Say whether a column has GeoPandas' dtype."""
    return isinstance(series.dtype, gpd.array.GeometryDtype)
