"""Convert columns so that PostgreSQL can cast them to the types of the table without changing a value.

The conversion of a column follows from its specification: ``cast_column`` decides it, ``cast_values`` applies it to
some of the rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import pyarrow as pa

from cartoframes_lite._codec import geometry
from cartoframes_lite._codec.bad_value import short_repr
from cartoframes_lite._codec.exact_cast import first_bad
from cartoframes_lite._codec.json_text import NotJSON, check_jsonb
from cartoframes_lite._codec.pgtypes import bare, convertible, family, is_integer
from cartoframes_lite.errors import ConversionError
from cartoframes_lite.write.columns import Column, Columns
from cartoframes_lite.write.payload import Values


def cast_columns(columns: Iterable[Column], types: Mapping[str, str]) -> Columns:
    """Return the columns as they are sent for a table.

    Parameters
    ----------
    columns : iterable of Column
    types : mapping of str to str
        Types in the table by column name; other columns get the type requested with ``dtype``, if any.

    Raises
    ------
    ConversionError
        If a type cannot be converted.
    """
    return tuple(
        column if target_type is None else cast_column(column, target_type)
        for column in columns
        for target_type in (types.get(column.name, column.requested_type),)
    )


def cast_column(column: Column, target_type: str) -> Column:
    """Return a column as it is sent for a type of the table."""
    if not convertible(column.sql_type, target_type):
        raise ConversionError(
            f"column {column.name!r} is {column.sql_type} in the frame and {target_type} in the table: "
            "convert it in the frame, or write to another table"
        )
    column = replace(column, requested_type=target_type)
    if column.is_geometry or family(target_type) != "number":
        return column
    if is_integer(target_type) and not pa.types.is_integer(column.arrow) and column.staged_as is None:
        return replace(column, arrow=pa.int64(), sql_type="bigint")
    if bare(target_type) in ("numeric", "decimal") and pa.types.is_floating(column.arrow):
        # PostgreSQL's cast from double to numeric keeps 15 digits, the shortest round-trip text all of them.
        return replace(column, arrow=pa.large_string(), staged_as="text")
    return column


def is_checked(column: Column, target: Column) -> bool:
    """Check whether ``cast_values`` may refuse a value of the frame."""
    if column.is_geometry:
        other_dimension = column.has_z != target.has_z and column.has_coordinates
        return other_dimension or target.shape.upper().endswith("M") or not column.has_shape(target.shape)
    return column.arrow != target.arrow or _is_parsed_as_jsonb(column, target)


def cast_values(values: Values, column: Column, target: Column, first_row: int = 0) -> Values:
    """Convert values of a column to the Arrow type, shape and dimension of its target.

    Raises
    ------
    ConversionError
        If the conversion, or the cast of PostgreSQL to the final type, would change a value, such as 1.5 to an integer.
    """
    if not isinstance(values, pa.ChunkedArray):
        require_shape(column.name, values, target.shape, first_row)
        if column.has_z == target.has_z:
            return values
        return geometry.with_dimension(values, column.name, has_z=target.has_z)
    if _is_parsed_as_jsonb(column, target):
        _check_jsonb(column.name, values, first_row)
    if column.arrow == target.arrow:
        return values
    try:
        if pa.types.is_floating(column.arrow) and pa.types.is_large_string(target.arrow):
            values = values.cast(pa.float64())  # the shortest text of a float32 reads back as another double
        return values.cast(target.arrow)
    except pa.ArrowInvalid as error:
        bad = first_bad(values, target.arrow)
        raise ConversionError(
            f"column {column.name!r} does not fit its type {target.final_type} in the table: {short_repr(bad.value)} in"
            f" row {first_row + bad.position}; convert it in the frame, or write to another table"
        ) from error


def require_shape(name: str, values: geometry.Geometries, shape: str, first_row: int = 0) -> None:
    """Check that a geometry column of a PostGIS type can store all geometries.

    Raises
    ------
    ConversionError
        If a geometry has another type, or the type has M values.
    """
    if shape.upper().endswith("M"):
        raise ConversionError(
            f"geometry column {name!r} cannot be written as {shape}, since GeoPandas has no M values: request"
            " another type, or write to another table"
        )
    row = geometry.first_of_other_shape(values, shape)
    if row is not None:
        raise ConversionError(
            f"geometry column {name!r} has a {values[row].geom_type} in row {first_row + row}, but the column of the"
            f" table accepts only {shape}: convert the geometry, or write to another table"
        )


def _is_parsed_as_jsonb(column: Column, target: Column) -> bool:
    return bare(target.final_type) == "jsonb" and family(column.sql_type) == "text"


def _check_jsonb(name: str, values: pa.ChunkedArray, first_row: int) -> None:
    """Check that text is JSON that ``jsonb`` stores completely: of a repeated key, it keeps only the last value."""
    for row, text in enumerate(values.to_pylist(), first_row):
        try:
            if text is not None:
                check_jsonb(text)
        except NotJSON as error:
            raise ConversionError(
                f"column {name!r} has {error} in row {row}, {short_repr(text)}: correct the value, or write it"
                " to a column of type json"
            ) from error
