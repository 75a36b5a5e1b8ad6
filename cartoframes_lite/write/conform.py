"""Convert rows of any frame of a write to the columns of the first, or to the types that ``dtype`` requests."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cartoframes_lite._codec import geometry
from cartoframes_lite._codec.bad_value import BadValue, short_repr
from cartoframes_lite._codec.copy_columns import chunked, text_to_jsonb, with_elements
from cartoframes_lite._codec.exact_cast import exact_cast
from cartoframes_lite._codec.pgtypes import convertible, family, is_integer
from cartoframes_lite._codec.text_values import to_text
from cartoframes_lite.errors import ConversionError
from cartoframes_lite.write.columns import Column, Columns, has_no_elements, names_of
from cartoframes_lite.write.payload import Payload, Values

_TIMES = ("date", "time", "timestamp", "timestamptz")
_CONVERTED = (*_TIMES, "json", "text")
_MAX_EXACT_INTEGER = 2**53  # all integers up to here are exact in double precision


def require_same_columns(columns: Columns, first: Columns) -> None:
    """Check that a frame of an iterable has the columns of the first.

    Raises
    ------
    ConversionError
        If it has other columns.
    """
    names, first_names = names_of(columns), names_of(first)
    if sorted(names) != sorted(first_names):
        raise ConversionError(
            f"a later frame has other columns than the first: {names}, not {first_names}; all frames must have"
            " the same columns"
        )


def conform(payload: Payload, first: Columns) -> Payload:
    """Convert rows of any frame of an iterable to the columns of the first.

    Raises
    ------
    ConversionError
        If it has other columns, or values that the types of the first cannot represent.
    """
    require_same_columns(payload.columns, first)
    by_name = {column.name: column for column in payload.columns}
    values = {
        model.name: conform_values(payload.values[model.name], by_name[model.name], model, payload.first_row)
        for model in first
    }
    return Payload(first, values, payload.rows, payload.first_row, payload.origin)


def is_conformed(column: Column, model: Column) -> bool:
    """Check whether ``conform_values`` returns the values of a column unchanged."""
    if column.is_geometry or model.is_geometry:
        return column.is_geometry and (column.srid, column.has_z) == (model.srid, model.has_z)
    return column.sql_type == model.sql_type and column.arrow == model.arrow


def conform_values(values: Values, column: Column, model: Column, first_row: int = 0) -> Values:
    """Convert values of a column to the type of the model.

    Raises
    ------
    ConversionError
        If the type of the model cannot represent a value.
    """
    if is_conformed(column, model):
        return values
    what = f"column {column.name!r} of a later frame does not fit the first"
    if _is_missing(values):
        missing = np.full(len(values), None, object)
        return missing if model.is_geometry else chunked(pa.nulls(len(values), model.arrow))
    if isinstance(values, pa.ChunkedArray) and has_no_elements(values) and pa.types.is_large_list(model.arrow):
        elements = pa.nulls(len(pc.list_flatten(values)), model.arrow.value_type)
        return with_elements(values, chunked(elements))
    if not isinstance(values, pa.ChunkedArray) and model.is_geometry:
        if column.srid != model.srid:
            raise ConversionError(f"{what}: {column.sql_type}, not {model.sql_type}; reproject it with to_crs")
        return geometry.with_dimension(values, column.name, has_z=model.has_z)
    if not isinstance(values, pa.ChunkedArray) or model.is_geometry or not _is_castable(column, model):
        at, value = _first_present(values)
        raise ConversionError(
            f"{what}: {column.sql_type}, not {model.sql_type}, {short_repr(value)} in row {first_row + at};"
            f" {_advice(column, model, values)}"
        )
    try:
        if family(model.sql_type) == "text" and family(column.sql_type) != "text":
            return to_text(values, column.sql_type)
        if family(model.sql_type) == "json" and family(column.sql_type) == "text":
            return text_to_jsonb(values)
        if family(model.sql_type) in _TIMES:
            return values.cast(model.arrow)
        return exact_cast(values, model.arrow, to_nearest=model.requested_type is not None)
    except BadValue as bad:
        raise ConversionError(
            f"{what}: {bad.problem} in row {first_row + bad.position} ({short_repr(bad.value)});"
            f" {_advice(column, model, values)}"
        ) from bad
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ConversionError(f"{what}: {error}; {_advice(column, model, values)}") from error


def _is_missing(values: Values) -> bool:
    if isinstance(values, pa.ChunkedArray):
        return bool(values.null_count == len(values))
    return all(value is None for value in values)


def _first_present(values: Values) -> tuple[int, object]:
    """Return the first value that is not missing, and its row."""
    if isinstance(values, pa.ChunkedArray):
        at = pc.index(values.is_valid(), pa.scalar(value=True)).as_py()
        return at, values[at].as_py()
    return next((at, value) for at, value in enumerate(values) if value is not None)


def _is_castable(column: Column, model: Column) -> bool:
    """Check whether some values of a type may be converted: numbers to numbers, other types if it was asked for.

    Scalars become text, and text is parsed as dates, times or JSON, only if ``dtype`` requests that type, or the first
    frame has no values and the type is that of the table.
    """
    have, want = family(column.sql_type), family(model.sql_type)
    if have == "text[]" and column.arrow == model.arrow and (model.is_missing or model.has_no_elements):
        return convertible(column.sql_type, model.sql_type)
    if want in _CONVERTED and (model.requested_type is not None or model.is_missing):
        return convertible(column.sql_type, model.sql_type)
    return have == want


def _advice(column: Column, model: Column, values: Values) -> str:
    """Return the ``dtype`` with which both frames can be written, if there is one."""
    common = None if column.is_geometry or model.is_geometry else _common_type(column, model, values)
    if common is None:
        return "convert all frames to one type"
    return f"pass dtype={{{column.name!r}: {common!r}}}, or convert all frames to one type"


def _common_type(column: Column, model: Column, values: Values) -> str | None:
    types = (model.sql_type, column.sql_type)
    families = {family(sql_type) for sql_type in types}
    if families == {"date", "timestamp"}:
        return "timestamp"
    if families != {"number"}:
        return "text" if all(convertible(sql_type, "text") for sql_type in types) else None
    if all(map(is_integer, types)):
        return "bigint"
    # Earlier frames may have integers that double precision cannot represent, but those of a model are not known here.
    if "numeric" in types or (is_integer(column.sql_type) and _exceeds_double(values)):
        return "numeric"
    return "double precision"


def _exceeds_double(values: Values) -> bool:
    limits = pc.min_max(values).as_py()
    return limits["min"] is not None and max(-limits["min"], limits["max"]) > _MAX_EXACT_INTEGER
