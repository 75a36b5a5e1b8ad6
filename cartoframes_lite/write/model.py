"""Choose the column specifications that all frames of a write are converted to, before they are fitted to the table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import pyarrow as pa

from cartoframes_lite._codec.frame import THE_GEOM
from cartoframes_lite._codec.pgtypes import bare, convertible, family, is_integer, outgoing
from cartoframes_lite.write.columns import (
    CARTODB_ID,
    LON_LAT_SRID,
    Column,
    Columns,
    geometry_type,
    with_decimals_as_text,
)
from cartoframes_lite.write.existing_table import TableColumn

_ARROW = {
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", tz="UTC"),
    "interval": pa.duration("us"),
    "bytea": pa.large_binary(),
}
_TIMES = ("date", "time", "timestamp", "timestamptz", "interval")
# Types of the elements of arrays that are sent as such; others are sent as text.
_ELEMENTS = ("number", "text", "boolean", "date", "time", "timestamp", "interval", "bytea")


def for_several_frames(columns: Iterable[Column]) -> Columns:
    """Return the columns for all frames of an iterable, given those of the first.

    A type requested with ``dtype`` determines what is sent, so that later frames may have values of another type.
    """
    return with_decimals_as_text(_as_requested(column) for column in columns)


def _as_requested(column: Column) -> Column:
    wanted = column.requested_type
    if wanted is None or column.is_geometry or family(wanted) not in ("number", "text", *_TIMES):
        return column
    if family(wanted) in _TIMES and family(column.sql_type) == "text" and not column.is_missing:
        return column  # parsed by PostgreSQL, which understands more notations
    return of_type(column, wanted) if column.is_missing or convertible(column.sql_type, wanted) else column


def with_types_for_missing(
    columns: Columns, existing: Mapping[str, TableColumn], *, append: bool, cartodbfy: bool
) -> Columns:
    """Return the columns, with those that have no values specified as the table has them, or as ``dtype`` requests.

    Parameters
    ----------
    columns : tuple of Column
    existing : mapping of str to TableColumn
        Columns of the existing table; empty for a new table.
    append : bool
        Whether the types of the table take precedence over those requested with ``dtype``.
    cartodbfy : bool
        Whether the_geom is a geometry.
    """
    return tuple(_typed(column, existing.get(column.name), append, cartodbfy) for column in columns)


def _typed(column: Column, old: TableColumn | None, append: bool, cartodbfy: bool) -> Column:
    if column.has_no_elements:
        is_kept = old is not None and not old.is_computed and (append or column.requested_type is None)
        wanted = old.declared if old is not None and is_kept else column.requested_type
        array = column if wanted is None else of_type(column, wanted)
        return array if pa.types.is_large_list(array.arrow) else column
    if not column.is_missing or column.name == CARTODB_ID:
        return column
    if old is not None and not old.is_computed and (append or column.requested_type is None):
        if old.is_geometry:
            srid = old.srid if old.srid > 0 else column.srid
            return replace(_geometry(column, srid, has_z=old.dims == 3 and not old.has_m), requested_type=None)
        return replace(of_type(column, old.declared), requested_type=None)
    if column.requested_type is not None:
        return of_type(column, column.requested_type)
    if column.name == THE_GEOM and cartodbfy and not column.is_geometry:
        return _geometry(column, LON_LAT_SRID)
    return column


def of_type(column: Column, sql_type: str) -> Column:
    """Return a column, other than a geometry, that can be sent for any value of a SQL type."""
    kind = family(sql_type)
    if kind == "geometry":
        return column if column.is_geometry else _geometry(column, LON_LAT_SRID)
    if kind == "number" and not is_integer(sql_type) and bare(sql_type) in ("numeric", "decimal"):
        return replace(column, sql_type="numeric", arrow=pa.large_string(), staged_as="text")
    if kind == "json":
        return replace(column, sql_type="jsonb", arrow=pa.large_binary(), staged_as=None)
    if kind.endswith("[]"):
        if kind[:-2] not in _ELEMENTS:
            return replace(column, sql_type=bare(sql_type), arrow=pa.large_list(pa.large_string()), staged_as="text[]")
        element = of_type(column, bare(sql_type)[:-2])
        staged_as = None if element.staged_as is None else "text[]"
        return replace(
            column, sql_type=f"{element.sql_type}[]", arrow=pa.large_list(element.arrow), staged_as=staged_as
        )
    if kind == "number":
        arrow = pa.int64() if is_integer(sql_type) else pa.float64()
    else:
        arrow = _ARROW.get(kind, pa.large_string())
    return replace(column, sql_type=outgoing(arrow) or "text", arrow=arrow, staged_as=None)


def _geometry(column: Column, srid: int, *, has_z: bool = False) -> Column:
    return replace(
        column, sql_type=geometry_type(srid, has_z=has_z), arrow=pa.large_binary(), staged_as=None, srid=srid
    )
