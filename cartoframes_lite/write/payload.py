"""Prepare a frame for COPY: validate it, normalize column names, convert it to Arrow record batches."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from cartoframes_lite._codec import geometry
from cartoframes_lite._codec.bad_value import BadValue, short_repr
from cartoframes_lite._codec.copy_columns import chunked
from cartoframes_lite._codec.copybinary import without_columns
from cartoframes_lite._codec.exact_cast import exact_cast
from cartoframes_lite._codec.frame import THE_GEOM, WEB_MERCATOR, is_geometry
from cartoframes_lite._codec.from_series import from_series
from cartoframes_lite._codec.names import normalize_columns
from cartoframes_lite._codec.pgtypes import bare, checked_type, family
from cartoframes_lite.errors import ConversionError

CARTODB_ID = "cartodb_id"
LON_LAT_SRID = 4326
_BATCH_BYTES = 2 << 20  # large enough for few calls, small enough for encoding and sending to overlap
_BATCH_ROWS = 1 << 14
_LARGEST_ID = 2**63 - 1
_MAX_COLUMNS = 1600


@dataclass(frozen=True, slots=True)
class PayloadColumn:
    """A column of a payload.

    Attributes
    ----------
    name : str
        Name of the column in the table.
    values : pyarrow.ChunkedArray or numpy.ndarray
        Arrow values, or shapely geometries.
    sql_type : str
        PostgreSQL type that can store every value.
    staged_as : str or None
        Type in the staging table, if PostgreSQL has to convert it to ``sql_type``.
    requested_type : str or None
        Type requested with ``dtype``, or type of the column in the existing table.
    srid : int
        EPSG code of the CRS of geometries.
    """

    name: str
    values: Any
    sql_type: str
    staged_as: str | None = None
    requested_type: str | None = None
    srid: int = LON_LAT_SRID

    @property
    def is_geometry(self) -> bool:
        """Whether the values are shapely geometries, which are encoded to EWKB batch by batch."""
        return isinstance(self.values, np.ndarray)

    @property
    def size_bytes(self) -> int:
        """Approximate size of the values in bytes."""
        if self.is_geometry:
            return 16 * int(shapely.get_num_coordinates(self.values).sum())
        return int(self.values.nbytes)

    @property
    def has_z(self) -> bool:
        """Whether the geometries are 3-D."""
        return self.sql_type.startswith("geometry(GeometryZ")

    def has_shape(self, shape: str) -> bool:
        """Check whether all geometries have a PostGIS type, for example ``PointZ``; ``Geometry`` allows any."""
        return geometry.first_of_other_shape(self.values, shape) is None

    def require_shape(self, shape: str) -> None:
        """Check that a geometry column of a PostGIS type can store all geometries.

        Raises
        ------
        ConversionError
            If a geometry has another type, or the type has M values.
        """
        if shape.upper().endswith("M"):
            raise ConversionError(
                f"geometry column {self.name!r} cannot be written as {shape}, since GeoPandas has no M values: request"
                " another type, or write to another table"
            )
        row = geometry.first_of_other_shape(self.values, shape)
        if row is not None:
            raise ConversionError(
                f"geometry column {self.name!r} has a {self.values[row].geom_type} in row {row}, but the column of the"
                f" table accepts only {shape}: convert the geometry, or write to another table"
            )

    def with_dimension(self, *, has_z: bool) -> PayloadColumn:
        """Convert a column of empty geometries to 2-D or 3-D; raise if any geometry has coordinates."""
        values = geometry.with_dimension(self.values, self.name, has_z=has_z)
        return replace(self, values=values, sql_type=geometry_type(self.srid, has_z=has_z))

    def smallest_rows(self) -> list[int]:
        """Return the row of the non-empty geometry with the fewest coordinates, in a list; an empty list if none."""
        counts = shapely.get_num_coordinates(self.values)
        filled = np.flatnonzero(counts)
        return [int(filled[counts[filled].argmin()])] if len(filled) else []

    @property
    def staged_type(self) -> str:
        """Type of the column in the staging table."""
        return self.staged_as or self.sql_type

    @property
    def final_type(self) -> str:
        """Type of the column in the published table."""
        return self.requested_type or self.sql_type


@dataclass(frozen=True, slots=True)
class Payload:
    """The rows of one frame, by column."""

    columns: tuple[PayloadColumn, ...]
    rows: int

    @property
    def names(self) -> list[str]:
        """Column names, in order."""
        return [column.name for column in self.columns]

    def column(self, name: str) -> PayloadColumn | None:
        """Return a column by name; None if there is no such column."""
        return next((column for column in self.columns if column.name == name), None)

    def take(self, rows: Sequence[int]) -> Payload:
        """Select rows by position."""
        numbers = np.array(rows, np.int64)
        columns = [
            replace(column, values=column.values[numbers] if column.is_geometry else column.values.take(numbers))
            for column in self.columns
        ]
        return Payload(tuple(columns), len(rows))

    def schema(self) -> pa.Schema:
        """Return the Arrow schema of the batches."""
        return pa.schema(
            [
                pa.field(column.name, pa.large_binary() if column.is_geometry else column.values.type)
                for column in self.columns
            ]
        )

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Split the rows into record batches; geometries are encoded per batch, to save memory."""
        schema, step = self.schema(), self._batch_rows()
        for start in range(0, self.rows, step):
            arrays = [_slice(column, start, step) for column in self.columns]
            if arrays:
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)
            else:
                yield without_columns(min(step, self.rows - start))

    @property
    def size_bytes(self) -> int:
        """Approximate size of the rows in bytes, in memory and as sent."""
        return sum(column.size_bytes for column in self.columns)

    def _batch_rows(self) -> int:
        return max(1, min(_BATCH_ROWS, _BATCH_BYTES * self.rows // max(self.size_bytes, 1)))


def _slice(column: PayloadColumn, start: int, step: int) -> pa.Array:
    values = column.values[start : start + step]
    if not column.is_geometry:
        return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if column.name == WEB_MERCATOR:
        return geometry.to_web_mercator_ewkb(values, has_z=column.has_z)
    return geometry.to_ewkb(values, column.srid, has_z=column.has_z)


def prepare(
    frame: pd.DataFrame,
    *,
    geom_col: Hashable | None = None,
    index: bool = False,
    index_label: Hashable | Sequence[Hashable] | None = None,
    dtype: Mapping[Any, str] | None = None,
) -> Payload:
    """Validate and convert a frame, without any request.

    Parameters
    ----------
    frame : pandas.DataFrame or geopandas.GeoDataFrame
    geom_col : label, optional
        Geometry column that becomes ``the_geom``. Default: the active geometry.
    index : bool
        Write the index as columns.
    index_label : label or sequence of labels, optional
        Column names for the index levels.
    dtype : mapping, optional
        PostgreSQL types by column label, or by column name in the table.

    Raises
    ------
    ConversionError
        If column names collide, or a column has a type or value that PostgreSQL cannot store.
    TypeError, ValueError
        If the arguments do not fit the frame.
    """
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(f"each frame must be a DataFrame or GeoDataFrame, not {type(frame).__name__}")
    name = frame.active_geometry_name if isinstance(frame, gpd.GeoDataFrame) else None
    frame = pd.DataFrame(frame)  # without attrs, of which pandas makes a deep copy for each column
    active = _active_geometry(frame, name, geom_col)
    if index:
        frame = _with_index(frame, index_label)
    # CARTO computes the_geom_webmercator; omitting it lets a frame that was read with it be written back.
    kept = [item for item in frame.items() if not (item[0] == WEB_MERCATOR and is_geometry(item[1]))]
    labels = [THE_GEOM if is_active(label, active) else label for label, _ in kept]
    if not is_active(THE_GEOM, active) and labels.count(THE_GEOM) > 1:
        raise ConversionError(
            f"columns {active!r} (the geometry) and {THE_GEOM!r} would both be named {THE_GEOM!r} in the table: "
            f"rename or drop the column {THE_GEOM!r}"
        )
    names = normalize_columns(labels)
    if WEB_MERCATOR in names:
        label = kept[names.index(WEB_MERCATOR)][0]
        raise ConversionError(
            f"column {label!r} would be named {WEB_MERCATOR!r}, a column that CARTO computes: rename or drop it"
        )
    requested_type = _requested_types(dtype or {}, [label for label, _ in kept], names)
    _check_column_count(len(names))
    columns = [_column(series, name, requested_type.get(name)) for (_, series), name in zip(kept, names, strict=True)]
    return Payload(tuple(columns), len(frame))


def _check_column_count(columns: int) -> None:
    """Check that a PostgreSQL table can have this many columns."""
    if columns > _MAX_COLUMNS:
        raise ConversionError(
            f"the table would have {columns:,} columns, but PostgreSQL allows at most {_MAX_COLUMNS:,}: write several"
            " tables, or combine columns into lists"
        )


def is_active(label: Hashable, active: Hashable | None) -> bool:
    """Check whether a label is that of the active geometry, which may be None."""
    return active is not None and label == active


def _active_geometry(frame: pd.DataFrame, active: Hashable | None, geom_col: Hashable | None) -> Hashable | None:
    """Return the label of the column that becomes the_geom; ``active`` is the GeoDataFrame's active geometry."""
    geometries = [label for label, series in frame.items() if is_geometry(series)]
    if geom_col is not None:
        if geom_col not in frame.columns:
            raise ValueError(
                f"geom_col={geom_col!r} is not a column of the frame; its columns are {list(frame.columns)}"
            )
        if geom_col not in geometries:
            raise ConversionError(
                f"geom_col={geom_col!r} is not a geometry column: convert it and set its CRS, e.g. "
                f"geopandas.GeoDataFrame(df, geometry=geopandas.GeoSeries.from_wkt(df[{geom_col!r}]), crs=4326)"
            )
        return geom_col
    if active is not None:
        return active
    if len(geometries) > 1 and THE_GEOM not in geometries:
        raise ValueError(
            f"the frame has several geometry columns, {geometries}: pass the one that becomes {THE_GEOM} as geom_col"
        )
    return THE_GEOM if THE_GEOM in geometries else next(iter(geometries), None)


def _with_index(frame: pd.DataFrame, label: Hashable | Sequence[Hashable] | None) -> pd.DataFrame:
    """Insert the index levels as the first columns."""
    try:
        return frame.reset_index(names=label)
    except IndexError as error:
        raise ConversionError(
            f"index_label={label!r} has fewer names than the index has levels ({frame.index.nlevels}): pass one name"
            " per level"
        ) from error
    except ValueError as error:
        raise ConversionError(
            f"the index cannot be written as a column: {error}; pass another name as index_label"
        ) from error


def _requested_types(dtype: Mapping[Any, str], labels: list[Hashable], names: list[str]) -> dict[str, str]:
    """Validate the types requested with ``dtype`` and map column names of the table to them."""
    known: dict[Any, str] = {**dict(zip(labels, names, strict=True)), **{name: name for name in names}}
    unknown = [key for key in dtype if key not in known]
    if unknown:
        raise ValueError(f"dtype has the keys {unknown}, which are not columns of the frame; its columns are {labels}")
    return {known[key]: checked_type(sql_type) for key, sql_type in dtype.items()}


def _column(series: pd.Series[Any], name: str, requested_type: str | None) -> PayloadColumn:
    """Convert one column and check that it can be cast to the requested type."""
    if is_geometry(series):
        return _geometry_column(gpd.GeoSeries(series), name, requested_type)
    keep_nan = requested_type is not None and requested_type.lower() in (
        "real",
        "double precision",
        "float4",
        "float8",
        "float",
    )
    sent = from_series(series, name, keep_nan=keep_nan)
    if name == CARTODB_ID:
        _check_ids(sent.values)
    if requested_type is not None and family(requested_type) == family(sent.sql_type):
        requested_type = None if requested_type.lower() == sent.sql_type else requested_type
    return PayloadColumn(name, sent.values, sent.sql_type, sent.staged_as, requested_type)


def _geometry_column(series: gpd.GeoSeries, name: str, requested_type: str | None = None) -> PayloadColumn:
    """Convert a geometry column: the_geom to EPSG:4326, others in their own CRS."""
    has_z = geometry.check(series, name)
    srid = LON_LAT_SRID if name == THE_GEOM else geometry.srid_of(series, name)
    if srid == LON_LAT_SRID:
        values = geometry.to_lon_lat(series, name, has_z)
    else:
        values = geometry.with_z_where_empty(np.asarray(series.array), has_z=has_z)
    column = PayloadColumn(name, values, geometry_type(srid, has_z=has_z), requested_type=requested_type, srid=srid)
    return column if requested_type is None else _with_requested_type(column, requested_type)


def _with_requested_type(column: PayloadColumn, requested_type: str) -> PayloadColumn:
    """Check that geometries fit the requested type, and set it."""
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
    column.require_shape(shape)
    has_z = shape.upper().endswith("Z")
    if (has_z or "(" in requested_type) and has_z != column.has_z:
        column = replace(column.with_dimension(has_z=has_z), requested_type=requested_type)
    return column


def geometry_type(srid: int, *, has_z: bool) -> str:
    """Return the SQL type of a column for geometries of any type."""
    return f"geometry(GeometryZ,{srid})" if has_z else f"geometry(Geometry,{srid})"


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


def with_carto_columns(payload: Payload, first_id: int) -> Payload:
    """Add the missing columns of a CARTO table, and order the columns as CARTO does.

    Parameters
    ----------
    payload : Payload
    first_id : int
        ``cartodb_id`` of the first row, if the frame has no such column.
    """
    ids = payload.column(CARTODB_ID)
    if ids is None:
        numbers = pa.chunked_array([pa.array(np.arange(first_id, first_id + payload.rows))])
        ids = PayloadColumn(CARTODB_ID, numbers, "bigint")
    elif ids.final_type != "bigint":
        ids = replace(ids, values=ids.values.cast(pa.int64()), sql_type="bigint", requested_type=None)
    shape = payload.column(THE_GEOM)
    if shape is None:
        missing = np.full(payload.rows, None, object)
        shape = PayloadColumn(THE_GEOM, missing, geometry_type(4326, has_z=False))
    rest = [without_srid(column) for column in payload.columns if column.name not in (CARTODB_ID, THE_GEOM)]
    _check_column_count(len(rest) + 3)
    return Payload((ids, shape, web_mercator(shape), *rest), payload.rows)


def without_srid(column: PayloadColumn) -> PayloadColumn:
    """Return an additional geometry column as plain ``geometry``; each value keeps its SRID.

    ``CDB_CartodbfyTable`` may use any column that declares EPSG:4326 as the_geom.
    """
    return replace(column, staged_as="geometry", requested_type="geometry") if column.is_geometry else column


def web_mercator(shape: PayloadColumn) -> PayloadColumn:
    """Return the column the_geom_webmercator for the_geom; it is reprojected when encoded."""
    return PayloadColumn(WEB_MERCATOR, shape.values, geometry_type(3857, has_z=shape.has_z), srid=3857)


def require_geometry(payload: Payload) -> None:
    """Check that the_geom, if present, is a geometry column as a CARTO table requires.

    Raises
    ------
    ConversionError
        If it has another type, or another type was requested for it.
    """
    shape = payload.column(THE_GEOM)
    if shape is not None and not shape.is_geometry:
        raise ConversionError(
            f"column {THE_GEOM!r} is {shape.sql_type} and not a geometry: rename it, or convert it, e.g. with "
            f"geopandas.GeoSeries.from_wkt(df[{THE_GEOM!r}], crs=4326), or pass cartodbfy=False"
        )
    requested_type = None if shape is None else shape.requested_type
    if requested_type and (bare(requested_type) != "geometry" or geometry.declared(requested_type)[1] != LON_LAT_SRID):
        raise ConversionError(
            f"column {THE_GEOM!r} of a CARTO table must be a geometry that declares EPSG:4326, but dtype requests"
            f" {requested_type}: request geometry(Geometry,4326), or pass cartodbfy=False"
        )


def with_decimals_as_text(payload: Payload) -> Payload:
    """Convert decimals to text, since later frames may have numbers with more digits."""
    columns = [column if column.is_geometry else _with_decimals_as_text(column) for column in payload.columns]
    return Payload(tuple(columns), payload.rows)


def _with_decimals_as_text(column: PayloadColumn) -> PayloadColumn:
    kind = column.values.type
    if pa.types.is_decimal(kind):
        return replace(column, values=column.values.cast(pa.large_string()), staged_as="text")
    if pa.types.is_large_list(kind) and pa.types.is_decimal(kind.value_type):
        return replace(column, values=column.values.cast(pa.large_list(pa.large_string())), staged_as="text[]")
    return column


def conform(payload: Payload, first: Payload) -> Payload:
    """Convert a later frame of an iterable to the column types of the first.

    Raises
    ------
    ConversionError
        If it has other columns, or values that the types of the first cannot represent.
    """
    if sorted(payload.names) != sorted(first.names):
        raise ConversionError(
            f"a later frame has other columns than the first: {payload.names}, not {first.names}; all frames must have"
            " the same columns"
        )
    by_name = {column.name: column for column in payload.columns}
    columns = [_conform(by_name[model.name], model) for model in first.columns]
    return Payload(tuple(columns), payload.rows)


def _conform(column: PayloadColumn, model: PayloadColumn) -> PayloadColumn:
    what = f"column {column.name!r} of a later frame does not fit the first"
    if column.is_geometry and model.is_geometry:
        if column.has_z != model.has_z:
            column = column.with_dimension(has_z=model.has_z)
        if column.sql_type != model.sql_type:
            raise ConversionError(f"{what}: {column.sql_type}, not {model.sql_type}; reproject it with to_crs")
        return column
    if not column.is_geometry and column.sql_type == model.sql_type and column.values.type == model.values.type:
        return column
    if not column.is_geometry and column.values.null_count == len(column.values):
        if model.is_geometry:
            return replace(model, values=np.full(len(column.values), None, object))
        return replace(model, values=chunked(pa.nulls(len(column.values), model.values.type)))
    if column.is_geometry or model.is_geometry or family(column.sql_type) != family(model.sql_type):
        raise ConversionError(f"{what}: {column.sql_type}, not {model.sql_type}; convert it in the frame")
    try:
        return replace(model, values=exact_cast(column.values, model.values.type))
    except BadValue as bad:
        raise ConversionError(
            f"{what}: {bad.problem} in row {bad.position} ({short_repr(bad.value)}); {bad.advice}"
        ) from bad
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ConversionError(f"{what}: {error}") from error
