"""Validate a frame, and convert it to payloads in slices, so that memory does not grow with the frame."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from cartoframes_lite import user_warnings
from cartoframes_lite._codec import geometry
from cartoframes_lite._codec.bad_value import short_repr
from cartoframes_lite._codec.copy_columns import CopyColumn
from cartoframes_lite._codec.frame import THE_GEOM, is_geometry
from cartoframes_lite._codec.from_objects import is_missing
from cartoframes_lite._codec.from_series import from_series
from cartoframes_lite._codec.pgtypes import family
from cartoframes_lite.errors import ConversionError, ConversionWarning
from cartoframes_lite.write.arrow_frames import refuse_lazy
from cartoframes_lite.write.columns import CARTODB_ID, LON_LAT_SRID, Column, Columns, geometry_type, has_no_elements
from cartoframes_lite.write.fit import require_shape
from cartoframes_lite.write.frame_columns import choose_columns
from cartoframes_lite.write.frame_geometry import with_geometry
from cartoframes_lite.write.keys import check_keys
from cartoframes_lite.write.payload import Payload, Values

_SLICE_BYTES = 2 << 20  # large enough for few calls, small enough for encoding and sending to overlap
_SLICE_ROWS = 1 << 14
_LARGEST_ID = 2**63 - 1
_FLOATS = ("real", "double precision", "float4", "float8", "float")

Converter = Callable[[slice], Values]


@dataclass(frozen=True, slots=True)
class PreparedColumn:
    """A column of a frame that was checked, and its conversion.

    Attributes
    ----------
    column : Column
    convert : callable
        Converts some of the rows.
    size_bytes : int
        Approximate size of all values, in memory and as sent.
    """

    column: Column
    convert: Converter
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PreparedFrame:
    """A frame that was checked; its rows are converted when they are sent, again for each attempt.

    Attributes
    ----------
    prepared : tuple of PreparedColumn
    rows : int
    renamed : mapping of label to str
        Names in the table of the columns whose labels differ, except for the active geometry.
    origin : str
        Which frame or partition of a write it is, for messages; empty for a single frame.
    """

    prepared: tuple[PreparedColumn, ...]
    rows: int
    renamed: Mapping[Hashable, str] = field(default_factory=dict)
    origin: str = ""

    @property
    def columns(self) -> Columns:
        """Specifications of the columns."""
        return tuple(prepared.column for prepared in self.prepared)

    @property
    def size_bytes(self) -> int:
        """Approximate size of the rows in bytes, in memory and as sent."""
        return sum(prepared.size_bytes for prepared in self.prepared)

    def payloads(self, names: Collection[str] | None = None) -> Iterator[Payload]:
        """Convert the rows slice by slice; ``names`` selects columns."""
        selected = [prepared for prepared in self.prepared if names is None or prepared.column.name in names]
        columns = tuple(prepared.column for prepared in selected)
        for rows in _slices(self.rows, self.size_bytes):
            values = {prepared.column.name: prepared.convert(rows) for prepared in selected}
            yield Payload(columns, values, rows.stop - rows.start, rows.start, self.origin)


def warn_about_renamed(renamed: Mapping[Hashable, str]) -> None:
    """Warn once per write about the columns that have other names in the table."""
    if renamed:
        pairs = ", ".join(f"{short_repr(label)}: {name!r}" for label, name in renamed.items())
        user_warnings.warn(
            f"columns are renamed in the table, {{{pairs}}}: to avoid this warning, rename them in the frame with"
            " df.rename(columns=...)",
            ConversionWarning,
        )


def _slices(rows: int, size_bytes: int) -> Iterator[slice]:
    step = max(1, min(_SLICE_ROWS, _SLICE_BYTES * rows // max(size_bytes, 1)))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def prepare(
    frame: pd.DataFrame,
    *,
    geom_col: Hashable | None = None,
    lnglat: tuple[Hashable, Hashable] | None = None,
    index: bool = False,
    index_label: Hashable | Sequence[Hashable] | None = None,
    dtype: Mapping[Any, str] | None = None,
    key: Hashable | Sequence[Hashable] | None = None,
) -> PreparedFrame:
    """Validate a frame, without any request.

    Parameters
    ----------
    frame : pandas.DataFrame or geopandas.GeoDataFrame
    geom_col : label, optional
        Geometry column that becomes ``the_geom``. Default: the active geometry.
    lnglat : (label, label), optional
        Columns of longitudes and latitudes, of which ``the_geom`` is made.
    index : bool
        Write the index as columns.
    index_label : label or sequence of labels, optional
        Column names for the index levels.
    dtype : mapping, optional
        PostgreSQL types by column label, or by column name in the table.
    key : label or sequence of labels, optional
        Columns that identify the rows of an upsert.

    Raises
    ------
    ConversionError
        If column names collide, a column has a type or value that PostgreSQL cannot store, or rows have no key or the
        same one.
    TypeError, ValueError
        If the arguments do not fit the frame.
    """
    if not isinstance(frame, pd.DataFrame):
        refuse_lazy(frame)
        raise TypeError(f"each frame must be a DataFrame or GeoDataFrame, not {type(frame).__name__}")
    chosen = choose_columns(with_geometry(frame, geom_col, lnglat), geom_col, index, index_label, dtype, key)
    renamed = {series.name: name for series, name, *_ in chosen if name not in (series.name, THE_GEOM)}
    prepared = PreparedFrame(tuple(_prepare_column(*column) for column in chosen), len(frame), renamed)
    check_keys([column for column in prepared.columns if column.is_key], prepared.payloads)
    return prepared


def _prepare_column(series: pd.Series[Any], name: str, requested_type: str | None, is_key: bool) -> PreparedColumn:
    """Check one column, and that it can be cast to the requested type."""
    prepared = _prepare_series(series, name, requested_type)
    return replace(prepared, column=replace(prepared.column, is_key=True)) if is_key else prepared


def _prepare_series(series: pd.Series[Any], name: str, requested_type: str | None) -> PreparedColumn:
    if is_geometry(series):
        return _prepare_geometry(gpd.GeoSeries(series), name, requested_type)
    try:
        return _prepare_values(series, name, requested_type)
    except ConversionError:
        if name == CARTODB_ID or not is_missing(series).all():
            raise
        return _prepare_values(pd.Series([None] * len(series), series.index, object), name, requested_type)


def _prepare_values(series: pd.Series[Any], name: str, requested_type: str | None) -> PreparedColumn:
    """Check a column other than a geometry."""
    keep_nan = requested_type is not None and requested_type.lower() in _FLOATS
    if name == CARTODB_ID or not _has_type_of_dtype(series.dtype):
        sent = from_series(series, name, keep_nan=keep_nan, requested_type=requested_type)
        if name == CARTODB_ID:
            _check_ids(sent.values)
        convert, size_bytes = sent.values.__getitem__, int(sent.values.nbytes)
        present = len(series) - sent.values.null_count
    else:
        sent, size_bytes, present = _check_series(series, name, keep_nan=keep_nan)
        convert = partial(_convert_series, series, name, keep_nan)
    if requested_type is not None and requested_type.lower() == sent.sql_type:
        requested_type = sent.sql_type
    column = Column(
        name,
        sent.sql_type,
        sent.values.type,
        sent.staged_as,
        requested_type,
        is_missing=present == 0,
        has_no_elements=series.dtype == object and has_no_elements(sent.values),
    )
    return PreparedColumn(column, convert, size_bytes)


def _has_type_of_dtype(dtype: Any) -> bool:
    """Check whether any slice of a column has the same PostgreSQL type, so that slices can be converted on their own.

    The type of Python objects depends on all of them. Nanoseconds are excluded to warn about them only once.
    """
    if isinstance(dtype, pd.CategoricalDtype):  # all categories are converted for each slice
        values = dtype.categories.dtype
        return len(dtype.categories) <= _SLICE_ROWS and (
            isinstance(values, pd.StringDtype) or _has_type_of_dtype(values)
        )
    return dtype.kind in "biufmM" and "ns" not in str(dtype)


def _check_series(series: pd.Series[Any], name: str, *, keep_nan: bool) -> tuple[CopyColumn, int, int]:
    """Convert a column slice by slice, to check its values.

    Return the empty column, the size of the values, and the number of values that are not missing.
    """
    size_bytes = present = 0
    try:
        for rows in _slices(len(series), 0):
            values = _convert_series(series, name, keep_nan, rows)
            size_bytes += int(values.nbytes)
            present += len(values) - values.null_count
    except ConversionError:
        from_series(series, name, keep_nan=keep_nan)  # raises again, with the number of the row in the frame
        raise
    return from_series(series.iloc[:0], name, keep_nan=keep_nan), size_bytes, present


def _convert_series(series: pd.Series[Any], name: str, keep_nan: bool, rows: slice) -> pa.ChunkedArray:
    return from_series(series.iloc[rows], name, keep_nan=keep_nan).values


def _prepare_geometry(series: gpd.GeoSeries, name: str, requested_type: str | None) -> PreparedColumn:
    """Check a geometry column: the_geom is converted to EPSG:4326, others stay in their own CRS."""
    geometries = np.asarray(series.array)
    all_missing = bool(shapely.is_missing(geometries).all())
    if all_missing and series.crs is None:
        series = series.set_crs(LON_LAT_SRID)
    has_z = geometry.check(series, name)
    size_bytes = 16 * int(shapely.get_num_coordinates(geometries).sum())
    srid = LON_LAT_SRID if name == THE_GEOM else geometry.srid_of(series, name)
    convert: Converter
    if srid == LON_LAT_SRID and not series.crs.equals(geometry.LON_LAT, ignore_axis_order=True):
        convert = partial(_reproject, series, name, has_z)
        for rows in _slices(len(series), size_bytes):
            convert(rows)
    else:
        convert = partial(_select, geometries, has_z)
    column = Column(
        name,
        geometry_type(srid, has_z=has_z),
        pa.large_binary(),
        requested_type=requested_type,
        srid=srid,
        type_ids=frozenset(np.unique(shapely.get_type_id(geometries)).tolist()),
        has_coordinates=size_bytes > 0,
        is_missing=all_missing,
    )
    if requested_type is not None and not (all_missing and family(requested_type) != "geometry"):
        needs_z = _requires_z(column, geometries, requested_type)
        if needs_z != has_z:
            geometry.with_dimension(geometries, name, has_z=needs_z)
            column, convert = column.with_dimension(has_z=needs_z), partial(_with_dimension, convert, name, needs_z)
    return PreparedColumn(column, convert, size_bytes)


def _select(geometries: geometry.Geometries, has_z: bool, rows: slice) -> geometry.Geometries:
    return geometry.with_z_where_empty(geometries[rows], has_z=has_z)


def _reproject(series: gpd.GeoSeries, name: str, has_z: bool, rows: slice) -> geometry.Geometries:
    return geometry.to_lon_lat(series.iloc[rows], name, has_z)


def _with_dimension(convert: Converter, name: str, has_z: bool, rows: slice) -> geometry.Geometries:
    return geometry.with_dimension(convert(rows), name, has_z=has_z)


def _requires_z(column: Column, geometries: geometry.Geometries, requested_type: str) -> bool:
    """Check that geometries fit the requested type; return whether it is 3-D."""
    if family(requested_type) != "geometry":
        raise ConversionError(
            f"column {column.name!r} has geometries, but dtype requests {requested_type}: convert it in the frame, e.g."
            " to text with to_wkt"
        )
    shape, srid = geometry.declared(requested_type)
    if srid != 0 and srid != column.srid:
        raise ConversionError(
            f"column {column.name!r} is written in EPSG:{column.srid}, but dtype requests {requested_type}: "
            + ("the_geom is always in EPSG:4326" if column.name == THE_GEOM else f"use to_crs({srid})")
        )
    require_shape(column.name, geometries, shape)
    has_z = shape.upper().endswith("Z")
    return has_z if has_z or "(" in requested_type else column.has_z


def _check_ids(values: pa.ChunkedArray) -> None:
    """Check that ids are unique integers, as the primary key of a CARTO table requires."""
    is_key = (
        pa.types.is_integer(values.type) and not values.null_count and pc.count_distinct(values).as_py() == len(values)
    )
    if not is_key or (pa.types.is_uint64(values.type) and (pc.max(values).as_py() or 0) > _LARGEST_ID):
        raise ConversionError(
            f"column {CARTODB_ID!r} must have unique integers without missing values, at most {_LARGEST_ID}: "
            "drop it to get new ids, or rename it"
        )
