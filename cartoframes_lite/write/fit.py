"""Convert columns so that PostgreSQL can cast them to the types of the table without changing a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pyarrow as pa

from cartoframes_lite._codec.bad_value import short_repr
from cartoframes_lite._codec.json_text import NotJSON, check_jsonb
from cartoframes_lite._codec.pgtypes import bare, convertible, family, is_integer
from cartoframes_lite.errors import ConversionError
from cartoframes_lite.write.payload import Payload, PayloadColumn


def cast_columns(payload: Payload, types: Mapping[str, str]) -> Payload:
    """Convert the columns of a payload to the types of a table.

    Parameters
    ----------
    payload : Payload
    types : mapping of str to str
        PostgreSQL types by column name; other columns are unchanged.

    Raises
    ------
    ConversionError
        If a type cannot be converted, or a cast would change a value, such as 1.5 to an integer.
    """
    columns = [
        cast_column(column, types[column.name]) if column.name in types else column for column in payload.columns
    ]
    return Payload(tuple(columns), payload.rows)


def cast_to_dtype(payload: Payload) -> Payload:
    """Convert columns to the types requested with ``dtype``."""
    return cast_columns(
        payload, {column.name: column.requested_type for column in payload.columns if column.requested_type}
    )


def cast_column(column: PayloadColumn, target_type: str) -> PayloadColumn:
    """Convert a column to a type of the table."""
    if not convertible(column.sql_type, target_type):
        raise ConversionError(
            f"column {column.name!r} is {column.sql_type} in the frame and {target_type} in the table: "
            "convert it in the frame, or write to another table"
        )
    if bare(target_type) == "jsonb" and family(column.sql_type) == "text":
        _check_jsonb(column)
    if column.is_geometry or family(target_type) != "number":
        return replace(column, requested_type=target_type)
    values = column.values
    try:
        if is_integer(target_type) and not pa.types.is_integer(values.type) and column.staged_as is None:
            return replace(column, values=values.cast(pa.int64()), sql_type="bigint", requested_type=target_type)
        if bare(target_type) in ("numeric", "decimal") and pa.types.is_floating(values.type):
            # PostgreSQL's cast from double to numeric keeps 15 digits, the shortest round-trip text all of them. A
            # float32 is widened first: its shortest text reads back as another double.
            text = values.cast(pa.float64()).cast(pa.large_string())
            return replace(column, values=text, staged_as="text", requested_type=target_type)
    except pa.ArrowInvalid as error:
        raise ConversionError(
            f"column {column.name!r} does not fit its type {target_type} in the table: {error}; convert it in the"
            " frame, or write to another table"
        ) from error
    return replace(column, requested_type=target_type)


def _check_jsonb(column: PayloadColumn) -> None:
    """Check that text is JSON that ``jsonb`` stores completely: of a repeated key, it keeps only the last value."""
    for row, text in enumerate(column.values.to_pylist()):
        try:
            if text is not None:
                check_jsonb(text)
        except NotJSON as error:
            raise ConversionError(
                f"column {column.name!r} has {error} in row {row}, {short_repr(text)}: correct the value, or write it"
                " to a column of type json"
            ) from error
