"""A frame ready to be sent: checked, named, converted to Arrow, and cut into record batches."""

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
_BATCH_BYTES = 2 << 20  # large enough for few calls, small enough that encoding and sending overlap
_BATCH_ROWS = 1 << 14
_LARGEST_ID = 2**63 - 1
_MAX_COLUMNS = 1600


@dataclass(frozen=True, slots=True)
class PayloadColumn:
    """A column of a payload.

    Attributes
    ----------
    name : str
        Its name in the table.
    values : pyarrow.ChunkedArray or numpy.ndarray
        Arrow values, or shapely geometries in EPSG:4326.
    sql_type : str
        The PostgreSQL type that holds every value.
    staged_as : str or None
        The type that receives the values, if the server has to convert them to ``sql_type``.
    wanted : str or None
        The type that the user asked for.
    srid : int
        Of geometries, their CRS.
    """

    name: str
    values: Any
    sql_type: str
    staged_as: str | None = None
    wanted: str | None = None
    srid: int = LON_LAT_SRID

    @property
    def is_geometry(self) -> bool:
        """Whether the values are shapely geometries, which become EWKB batch by batch."""
        return isinstance(self.values, np.ndarray)

    @property
    def size_bytes(self) -> int:
        """About how many bytes the values take."""
        if self.is_geometry:
            return 16 * int(shapely.get_num_coordinates(self.values).sum())
        return int(self.values.nbytes)

    @property
    def has_z(self) -> bool:
        """Whether it is a column of 3-D geometries."""
        return self.sql_type.startswith("geometry(GeometryZ")

    def has_shape(self, shape: str) -> bool:
        """Say whether all geometries have a type as PostGIS names it, such as ``PointZ``; ``Geometry`` is any."""
        return geometry.first_of_other_shape(self.values, shape) is None

    def require_shape(self, shape: str) -> None:
        """Refuse geometries of another type, and any if they need a measure.

        Raises
        ------
        ConversionError
            If there is one that a column of this type cannot hold.
        """
        if shape.upper().endswith("M"):
            raise ConversionError(
                f"geometry column {self.name!r} cannot be {shape}, for frames have no M values: choose another type, or"
                " another table"
            )
        row = geometry.first_of_other_shape(self.values, shape)
        if row is not None:
            raise ConversionError(
                f"geometry column {self.name!r} has a {self.values[row].geom_type} in row {row}, and the column of the"
                f" table holds {shape} only: convert it, or write to another table"
            )

    def with_dimension(self, *, has_z: bool) -> PayloadColumn:
        """Give a column of geometries another dimension, if that changes no coordinate."""
        values = geometry.with_dimension(self.values, self.name, has_z=has_z)
        return replace(self, values=values, sql_type=geometry_type(self.srid, has_z=has_z))

    def smallest_rows(self) -> list[int]:
        """Tell a row whose geometry has coordinates, as few as any; none if there is none."""
        counts = shapely.get_num_coordinates(self.values)
        filled = np.flatnonzero(counts)
        return [int(filled[counts[filled].argmin()])] if len(filled) else []

    @property
    def staged_type(self) -> str:
        """The type of the column in the staging table."""
        return self.staged_as or self.sql_type

    @property
    def final_type(self) -> str:
        """The type of the column in a new table."""
        return self.wanted or self.sql_type


@dataclass(frozen=True, slots=True)
class Payload:
    """The rows of one frame."""

    columns: tuple[PayloadColumn, ...]
    rows: int

    @property
    def names(self) -> list[str]:
        """Names of the columns, in order."""
        return [column.name for column in self.columns]

    def column(self, name: str) -> PayloadColumn | None:
        """Find a column by its name in the table."""
        return next((column for column in self.columns if column.name == name), None)

    def taken(self, rows: Sequence[int]) -> Payload:
        """Keep some rows, by number."""
        numbers = np.array(rows, np.int64)
        columns = [
            replace(column, values=column.values[numbers] if column.is_geometry else column.values.take(numbers))
            for column in self.columns
        ]
        return Payload(tuple(columns), len(rows))

    def schema(self) -> pa.Schema:
        """Give the Arrow schema of the batches."""
        return pa.schema(
            [
                pa.field(column.name, pa.large_binary() if column.is_geometry else column.values.type)
                for column in self.columns
            ]
        )

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Cut the rows into batches; geometries are encoded only now, so that they are never held twice."""
        schema, step = self.schema(), self._batch_rows()
        for start in range(0, self.rows, step):
            arrays = [_slice(column, start, step) for column in self.columns]
            if arrays:
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)
            else:
                yield without_columns(min(step, self.rows - start))

    @property
    def size_bytes(self) -> int:
        """About how much memory the rows take, and how much is sent."""
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
    """Check a frame completely and convert it; nothing is sent.

    Parameters
    ----------
    frame : pandas.DataFrame or geopandas.GeoDataFrame
    geom_col : label, optional
        The geometry that becomes ``the_geom``; default the active one.
    index : bool
        Send the index, too.
    index_label : label or sequence of labels, optional
        What to call it.
    dtype : mapping, optional
        PostgreSQL types by column label.

    Raises
    ------
    ConversionError
        If names collide, or a column has a type or value that PostgreSQL cannot hold.
    TypeError, ValueError
        If the arguments do not fit the frame.
    """
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(f"expected a DataFrame or GeoDataFrame, got {type(frame).__name__}")
    name = frame.active_geometry_name if isinstance(frame, gpd.GeoDataFrame) else None
    frame = pd.DataFrame(frame)  # without attrs, which pandas would copy with each column, however deep they are
    active = _active_geometry(frame, name, geom_col)
    if index:
        frame = _with_index(frame, index_label)
    # What CARTO computes is not sent, so that a frame read with that column can be written back.
    kept = [item for item in frame.items() if not (item[0] == WEB_MERCATOR and is_geometry(item[1]))]
    labels = [THE_GEOM if is_active(label, active) else label for label, _ in kept]
    if not is_active(THE_GEOM, active) and labels.count(THE_GEOM) > 1:
        raise ConversionError(
            f"columns {active!r} (the geometry) and {THE_GEOM!r} would both be named {THE_GEOM!r} in the table: "
            "rename or drop the second"
        )
    names = normalize_columns(labels)
    if WEB_MERCATOR in names:
        label = kept[names.index(WEB_MERCATOR)][0]
        raise ConversionError(f"column {label!r} has a name that CARTO computes itself: rename or drop it")
    wanted = _wanted_types(dtype or {}, [label for label, _ in kept], names)
    _check_number(len(names))
    columns = [_column(series, name, wanted.get(name)) for (_, series), name in zip(kept, names, strict=True)]
    return Payload(tuple(columns), len(frame))


def _check_number(columns: int) -> None:
    """Refuse more columns than a table of PostgreSQL can have."""
    if columns > _MAX_COLUMNS:
        raise ConversionError(
            f"the table would have {columns:,} columns, and PostgreSQL has {_MAX_COLUMNS:,} at most: write several"
            " tables, or put values into lists"
        )


def is_active(label: Hashable, active: Hashable | None) -> bool:
    """Say whether a label is that of the active geometry; None is no label here."""
    return active is not None and label == active


def _active_geometry(frame: pd.DataFrame, active: Hashable | None, geom_col: Hashable | None) -> Hashable | None:
    """Find the label of the column that becomes the_geom; ``active`` is the active geometry of a GeoDataFrame."""
    geometries = [label for label, series in frame.items() if is_geometry(series)]
    if geom_col is not None:
        if geom_col not in frame.columns:
            raise ValueError(f"geom_col={geom_col!r} is no column of the frame, which has {list(frame.columns)}")
        if geom_col not in geometries:
            raise ConversionError(
                f"column {geom_col!r} is no geometry yet; make it one and say its CRS, e.g. "
                f"geopandas.GeoDataFrame(df, geometry=geopandas.GeoSeries.from_wkt(df[{geom_col!r}]), crs=4326)"
            )
        return geom_col
    if active is not None:
        return active
    if len(geometries) > 1 and THE_GEOM not in geometries:
        raise ValueError(f"the frame has the geometries {geometries}: say with geom_col which becomes {THE_GEOM}")
    return THE_GEOM if THE_GEOM in geometries else next(iter(geometries), None)


def _with_index(frame: pd.DataFrame, label: Hashable | Sequence[Hashable] | None) -> pd.DataFrame:
    """Make columns of the index, in front of the others."""
    try:
        return frame.reset_index(names=label)
    except IndexError as error:
        raise ConversionError(
            f"index_label={label!r} has fewer names than the index has levels ({frame.index.nlevels})"
        ) from error
    except ValueError as error:
        raise ConversionError(f"the index cannot become a column: {error}; give it a name with index_label") from error


def _wanted_types(dtype: Mapping[Any, str], labels: list[Hashable], names: list[str]) -> dict[str, str]:
    """Check the types that the user asks for and key them by the names in the table."""
    known: dict[Any, str] = {**dict(zip(labels, names, strict=True)), **{name: name for name in names}}
    unknown = [key for key in dtype if key not in known]
    if unknown:
        raise ValueError(f"dtype names {unknown}, which are no columns of the frame: {labels}")
    return {known[key]: checked_type(sql_type) for key, sql_type in dtype.items()}


def _column(series: pd.Series[Any], name: str, wanted: str | None) -> PayloadColumn:
    """Convert one column and check that it can become what is wanted."""
    if is_geometry(series):
        return _geometry_column(gpd.GeoSeries(series), name, wanted)
    keep_nan = wanted is not None and wanted.lower() in ("real", "double precision", "float4", "float8", "float")
    sent = from_series(series, name, keep_nan=keep_nan)
    if name == CARTODB_ID:
        _check_ids(sent.values)
    if wanted is not None and family(wanted) == family(sent.sql_type):
        wanted = None if wanted.lower() == sent.sql_type else wanted
    return PayloadColumn(name, sent.values, sent.sql_type, sent.staged_as, wanted)


def _geometry_column(series: gpd.GeoSeries, name: str, wanted: str | None = None) -> PayloadColumn:
    """Convert geometries: the_geom to longitudes and latitudes, others stay in their CRS."""
    has_z = geometry.check(series, name)
    srid = LON_LAT_SRID if name == THE_GEOM else geometry.srid_of(series, name)
    if srid == LON_LAT_SRID:
        values = geometry.to_lon_lat(series, name, has_z)
    else:
        values = geometry.with_z_where_empty(np.asarray(series.array), has_z=has_z)
    column = PayloadColumn(name, values, geometry_type(srid, has_z=has_z), wanted=wanted, srid=srid)
    return column if wanted is None else _of_wanted_type(column, wanted)


def _of_wanted_type(column: PayloadColumn, wanted: str) -> PayloadColumn:
    """Check that geometries fit the type that the user asked for."""
    if family(wanted) != "geometry":
        raise ConversionError(
            f"column {column.name!r} holds geometries, and dtype asks for {wanted}: convert it in the frame, e.g. to"
            " text with to_wkt"
        )
    shape, srid = geometry.declared(wanted)
    if srid != 0 and srid != column.srid:
        raise ConversionError(
            f"column {column.name!r} is written in EPSG:{column.srid}, and dtype asks for {wanted}: "
            + ("the_geom is always in EPSG:4326" if column.name == THE_GEOM else f"use to_crs({srid})")
        )
    column.require_shape(shape)
    has_z = shape.upper().endswith("Z")
    if (has_z or "(" in wanted) and has_z != column.has_z:
        column = replace(column.with_dimension(has_z=has_z), wanted=wanted)
    return column


def geometry_type(srid: int, *, has_z: bool) -> str:
    """Write the type of a column for geometries of any shape."""
    return f"geometry(GeometryZ,{srid})" if has_z else f"geometry(Geometry,{srid})"


def _check_ids(values: pa.ChunkedArray) -> None:
    """Refuse ids that cannot be the key of a CARTO table."""
    is_key = (
        pa.types.is_integer(values.type) and not values.null_count and pc.count_distinct(values).as_py() == len(values)
    )
    if not is_key or (pa.types.is_uint64(values.type) and (pc.max(values).as_py() or 0) > _LARGEST_ID):
        raise ConversionError(
            f"column {CARTODB_ID!r} must hold whole numbers, each once and none missing: "
            "drop it to get new ids, or rename it"
        )


def with_carto_columns(payload: Payload, first_id: int) -> Payload:
    """Add the columns of a CARTO table that are missing, in CARTO's order.

    Parameters
    ----------
    payload : Payload
    first_id : int
        The ``cartodb_id`` of the first row, if the frame has none of its own.
    """
    ids = payload.column(CARTODB_ID)
    if ids is None:
        numbers = pa.chunked_array([pa.array(np.arange(first_id, first_id + payload.rows))])
        ids = PayloadColumn(CARTODB_ID, numbers, "bigint")
    elif ids.final_type != "bigint":
        ids = replace(ids, values=ids.values.cast(pa.int64()), sql_type="bigint", wanted=None)
    shape = payload.column(THE_GEOM)
    if shape is None:
        missing = np.full(payload.rows, None, object)
        shape = PayloadColumn(THE_GEOM, missing, geometry_type(4326, has_z=False))
    rest = [without_srid(column) for column in payload.columns if column.name not in (CARTODB_ID, THE_GEOM)]
    _check_number(len(rest) + 3)
    return Payload((ids, shape, web_mercator(shape), *rest), payload.rows)


def without_srid(column: PayloadColumn) -> PayloadColumn:
    """Leave the SRID of a further geometry to its values.

    CARTO makes the_geom of any column that declares EPSG:4326 when it makes a table one of its own, now or later.
    """
    return replace(column, staged_as="geometry", wanted="geometry") if column.is_geometry else column


def web_mercator(shape: PayloadColumn) -> PayloadColumn:
    """Give the column that is computed from the_geom."""
    return PayloadColumn(WEB_MERCATOR, shape.values, geometry_type(3857, has_z=shape.has_z), srid=3857)


def require_geometry(payload: Payload) -> None:
    """Refuse a the_geom that is none; a CARTO table has no other.

    Raises
    ------
    ConversionError
        If it is text, for example.
    """
    shape = payload.column(THE_GEOM)
    if shape is not None and not shape.is_geometry:
        raise ConversionError(
            f"column {THE_GEOM!r} is {shape.sql_type} and not a geometry: rename it, or make it one, e.g. with "
            f"geopandas.GeoSeries.from_wkt(df[{THE_GEOM!r}], crs=4326), or pass cartodbfy=False"
        )
    wanted = None if shape is None else shape.wanted
    if wanted and (bare(wanted) != "geometry" or geometry.declared(wanted)[1] != LON_LAT_SRID):
        raise ConversionError(
            f"column {THE_GEOM!r} of a CARTO table is a geometry that declares EPSG:4326, and dtype asks for"
            f" {wanted}: ask for geometry(Geometry,4326), or pass cartodbfy=False"
        )


def with_any_digits(payload: Payload) -> Payload:
    """Send decimals as text, for the frames that follow may have numbers with more digits."""
    columns = [column if column.is_geometry else _with_any_digits(column) for column in payload.columns]
    return Payload(tuple(columns), payload.rows)


def _with_any_digits(column: PayloadColumn) -> PayloadColumn:
    kind = column.values.type
    if pa.types.is_decimal(kind):
        return replace(column, values=column.values.cast(pa.large_string()), staged_as="text")
    if pa.types.is_large_list(kind) and pa.types.is_decimal(kind.value_type):
        return replace(column, values=column.values.cast(pa.large_list(pa.large_string())), staged_as="text[]")
    return column


def conform(payload: Payload, first: Payload) -> Payload:
    """Bring a later frame of an iterator to the types of the first.

    Raises
    ------
    ConversionError
        If it has other columns, or values that do not fit.
    """
    if sorted(payload.names) != sorted(first.names):
        raise ConversionError(f"a later frame has the columns {payload.names}, the first has {first.names}")
    by_name = {column.name: column for column in payload.columns}
    columns = [_conform(by_name[model.name], model) for model in first.columns]
    return Payload(tuple(columns), payload.rows)


def _conform(column: PayloadColumn, model: PayloadColumn) -> PayloadColumn:
    what = f"column {column.name!r} of a later frame does not fit the first"
    if column.is_geometry and model.is_geometry:
        if column.has_z != model.has_z:
            column = column.with_dimension(has_z=model.has_z)
        if column.sql_type != model.sql_type:
            raise ConversionError(f"{what}: {column.sql_type} is not {model.sql_type}; use to_crs")
        return column
    if not column.is_geometry and column.sql_type == model.sql_type and column.values.type == model.values.type:
        return column
    if not column.is_geometry and column.values.null_count == len(column.values):
        if model.is_geometry:
            return replace(model, values=np.full(len(column.values), None, object))
        return replace(model, values=chunked(pa.nulls(len(column.values), model.values.type)))
    if column.is_geometry or model.is_geometry or family(column.sql_type) != family(model.sql_type):
        raise ConversionError(f"{what}: {column.sql_type} is not {model.sql_type}")
    try:
        return replace(model, values=exact_cast(column.values, model.values.type))
    except BadValue as bad:
        raise ConversionError(
            f"{what}: {bad.problem} in row {bad.position} ({short_repr(bad.value)}); {bad.advice}"
        ) from bad
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ConversionError(f"{what}: {error}") from error
