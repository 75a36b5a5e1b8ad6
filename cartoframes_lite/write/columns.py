"""Specifications of the columns that are written: names and types, without values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from cartoframes_lite._codec import geometry
from cartoframes_lite._codec.frame import THE_GEOM, WEB_MERCATOR
from cartoframes_lite._codec.pgtypes import bare
from cartoframes_lite.errors import ConversionError

CARTODB_ID = "cartodb_id"
LON_LAT_SRID = 4326
_MAX_COLUMNS = 1600


@dataclass(frozen=True, slots=True)
class Column:
    """Specification of a column.

    Attributes
    ----------
    name : str
        Name of the column in the table.
    sql_type : str
        PostgreSQL type that can store every value.
    arrow : pyarrow.DataType
        Type that is encoded; for geometries, of their EWKB.
    staged_as : str or None
        Type in the staging table, if PostgreSQL has to convert it to ``sql_type``.
    requested_type : str or None
        Type requested with ``dtype``, or type of the column in the existing table.
    srid : int
        EPSG code of the CRS of geometries.
    shape : str
        PostGIS type of the geometries that the table accepts, for example ``PointZ``; ``Geometry`` accepts any.
    type_ids : frozenset of int
        Shapely types of the geometries of the frame.
    has_coordinates : bool
        Whether any geometry of the frame has coordinates; empty ones fit a column of any dimension.
    is_missing : bool
        Whether the frame has no value in this column, so that it fits a column of any type.
    has_no_elements : bool
        Whether no list of the frame has an element other than NULL, so that it fits an array of any type.
    is_key : bool
        Whether it identifies the rows of an upsert, alone or with other columns.
    """

    name: str
    sql_type: str
    arrow: pa.DataType
    staged_as: str | None = None
    requested_type: str | None = None
    srid: int = LON_LAT_SRID
    shape: str = "Geometry"
    type_ids: frozenset[int] = frozenset()
    has_coordinates: bool = False
    is_missing: bool = False
    has_no_elements: bool = False
    is_key: bool = False

    @property
    def is_geometry(self) -> bool:
        """Whether the values are geometries."""
        return self.sql_type.startswith("geometry(")

    @property
    def has_z(self) -> bool:
        """Whether the geometries are 3-D."""
        return self.sql_type.startswith("geometry(GeometryZ")

    @property
    def staged_type(self) -> str:
        """Type of the column in the staging table."""
        return self.staged_as or self.sql_type

    @property
    def final_type(self) -> str:
        """Type of the column in the published table."""
        return self.requested_type or self.sql_type

    def has_shape(self, shape: str) -> bool:
        """Check whether all geometries have a PostGIS type, for example ``PointZ``; ``Geometry`` allows any."""
        accepted = geometry.accepted_types(shape)
        return accepted is None or self.type_ids <= accepted

    def with_dimension(self, *, has_z: bool) -> Column:
        """Return the column for 2-D or 3-D geometries."""
        return replace(self, sql_type=geometry_type(self.srid, has_z=has_z))

    def without_srid(self) -> Column:
        """Return an additional geometry column as plain ``geometry``; each value keeps its SRID.

        ``CDB_CartodbfyTable`` may use any column that declares EPSG:4326 as the_geom.
        """
        return replace(self, staged_as="geometry", requested_type="geometry") if self.is_geometry else self


Columns = tuple[Column, ...]


def geometry_type(srid: int, *, has_z: bool) -> str:
    """Return the SQL type of a column for geometries of any type."""
    return f"geometry(GeometryZ,{srid})" if has_z else f"geometry(Geometry,{srid})"


def has_no_elements(values: pa.ChunkedArray) -> bool:
    """Check whether values are lists without any element other than NULL."""
    if not pa.types.is_large_list(values.type):
        return False
    elements = pc.list_flatten(values)
    return bool(elements.null_count == len(elements))


def find(columns: Iterable[Column], name: str) -> Column | None:
    """Return a column by name; None if there is no such column."""
    return next((column for column in columns if column.name == name), None)


def names_of(columns: Iterable[Column]) -> list[str]:
    """Return the names of columns, in order."""
    return [column.name for column in columns]


def arrow_schema(columns: Iterable[Column]) -> pa.Schema:
    """Return the schema of the record batches that are encoded."""
    return pa.schema([pa.field(column.name, column.arrow) for column in columns])


def check_column_count(columns: int) -> None:
    """Check that a PostgreSQL table can have this many columns."""
    if columns > _MAX_COLUMNS:
        raise ConversionError(
            f"the table would have {columns:,} columns, but PostgreSQL allows at most {_MAX_COLUMNS:,}: write several"
            " tables, or combine columns into lists"
        )


def with_carto_columns(columns: Sequence[Column]) -> Columns:
    """Add the missing columns of a CARTO table, and order the columns as CARTO does."""
    ids = Column(CARTODB_ID, "bigint", pa.int64())
    shape = find(columns, THE_GEOM) or _geometry_column(THE_GEOM, LON_LAT_SRID)
    rest = [column.without_srid() for column in columns if column.name not in (CARTODB_ID, THE_GEOM)]
    check_column_count(len(rest) + 3)
    return (ids, shape, web_mercator(shape), *rest)


def web_mercator(shape: Column) -> Column:
    """Return the column the_geom_webmercator for the_geom; it is reprojected when encoded."""
    return _geometry_column(WEB_MERCATOR, 3857, has_z=shape.has_z)


def _geometry_column(name: str, srid: int, *, has_z: bool = False) -> Column:
    return Column(name, geometry_type(srid, has_z=has_z), pa.large_binary(), srid=srid)


def require_geometry(columns: Iterable[Column]) -> None:
    """Check that the_geom, if present, is a geometry column as a CARTO table requires.

    Raises
    ------
    ConversionError
        If it has another type, or another type was requested for it.
    """
    shape = find(columns, THE_GEOM)
    if shape is not None and not shape.is_geometry and not shape.is_missing:
        raise ConversionError(
            f"column {THE_GEOM!r} is {shape.sql_type} and not a geometry: rename it, or pass geom_col={THE_GEOM!r} if"
            " it is WKT or WKB, or pass cartodbfy=False"
        )
    requested_type = None if shape is None else shape.requested_type
    if requested_type and (bare(requested_type) != "geometry" or geometry.declared(requested_type)[1] != LON_LAT_SRID):
        raise ConversionError(
            f"column {THE_GEOM!r} of a CARTO table must be a geometry that declares EPSG:4326, but dtype requests"
            f" {requested_type}: request geometry(Geometry,4326), or pass cartodbfy=False"
        )


def with_decimals_as_text(columns: Iterable[Column]) -> Columns:
    """Stage decimals as text, since later frames may have numbers with more digits."""
    return tuple(_with_decimals_as_text(column) for column in columns)


def _with_decimals_as_text(column: Column) -> Column:
    if pa.types.is_decimal(column.arrow):
        return replace(column, arrow=pa.large_string(), staged_as="text")
    if pa.types.is_large_list(column.arrow) and pa.types.is_decimal(column.arrow.value_type):
        return replace(column, arrow=pa.large_list(pa.large_string()), staged_as="text[]")
    return column
