"""Bring a column to the type that it shall have in the table, so that the server's cast keeps every value."""

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
    """Bring the columns of a payload to the types of a table.

    Parameters
    ----------
    payload : Payload
    types : mapping of str to str
        PostgreSQL types by name; columns without one stay as they are.

    Raises
    ------
    ConversionError
        If a cast would lose something, as of 1.5 to an integer.
    """
    columns = [
        cast_column(column, types[column.name]) if column.name in types else column for column in payload.columns
    ]
    return Payload(tuple(columns), payload.rows)


def cast_to_dtype(payload: Payload) -> Payload:
    """Bring the columns to the types that the user asked for."""
    return cast_columns(payload, {column.name: column.wanted for column in payload.columns if column.wanted})


def cast_column(column: PayloadColumn, want: str) -> PayloadColumn:
    """Bring one column to a type."""
    if not convertible(column.sql_type, want):
        raise ConversionError(
            f"column {column.name!r} is {column.sql_type} in the frame and {want} in the table: "
            "convert it in the frame, or write to another table"
        )
    if bare(want) == "jsonb" and family(column.sql_type) == "text":
        _check_jsonb(column)
    if column.is_geometry or family(want) != "number":
        return replace(column, wanted=want)
    values = column.values
    try:
        if is_integer(want) and not pa.types.is_integer(values.type) and column.staged_as is None:
            return replace(column, values=values.cast(pa.int64()), sql_type="bigint", wanted=want)
        if bare(want) in ("numeric", "decimal") and pa.types.is_floating(values.type):
            # PostgreSQL's own cast keeps 15 digits; the shortest text that gives the same number keeps all. That of a
            # float32 is another number as soon as it is read as a double.
            text = values.cast(pa.float64()).cast(pa.large_string())
            return replace(column, values=text, staged_as="text", wanted=want)
    except pa.ArrowInvalid as error:
        raise ConversionError(f"column {column.name!r} does not fit {want}, its type in the table: {error}") from error
    return replace(column, wanted=want)


def _check_jsonb(column: PayloadColumn) -> None:
    """Refuse text of which jsonb would keep only a part, as of a key that is there twice."""
    for row, text in enumerate(column.values.to_pylist()):
        try:
            if text is not None:
                check_jsonb(text)
        except NotJSON as error:
            raise ConversionError(
                f"column {column.name!r} has {error} in row {row}, {short_repr(text)}: mend it, or choose the type json"
            ) from error
