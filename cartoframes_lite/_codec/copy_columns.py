"""An Arrow column to the form that the binary COPY carries, with its values checked."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cartoframes_lite._codec.bad_value import BadValue
from cartoframes_lite._codec.json_text import NotJSON, json_text
from cartoframes_lite._codec.pgtypes import outgoing
from cartoframes_lite.errors import ConversionError, ConversionWarning

# PostgreSQL's earliest day, 4714-11-24 BC, and its latest; counted from 1970-01-01.
_FIRST_DAY, _LAST_DAY = -2_440_588, 2_145_031_948
_US_PER_DAY = 86_400_000_000
# What Python's dates can hold, as those in lists are read: the years 1 to 9999.
_FIRST_PYTHON_DAY, _LAST_PYTHON_DAY = -719_162, 2_932_896
_JSONB_VERSION = b"\x01"


@dataclass(frozen=True, slots=True)
class CopyColumn:
    """A column ready to be sent.

    Attributes
    ----------
    values : pyarrow.ChunkedArray
        What the binary COPY carries.
    sql_type : str
        The PostgreSQL type of the values.
    staged_as : str or None
        The type that receives them, if it is another one and the server has to convert.
    """

    values: pa.ChunkedArray
    sql_type: str
    staged_as: str | None = None


def chunked(values: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    """Make a column of one array."""
    return values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([values])


def to_copy_column(values: pa.Array | pa.ChunkedArray, name: str, *, keep_nan: bool = False) -> CopyColumn:
    """Bring an Arrow column to one of the types that are sent, and check its values.

    Raises
    ------
    BadValue
        If PostgreSQL cannot hold a value.
    ConversionError
        If PostgreSQL has no such type.
    """
    values = _cast_to_sent(chunked(values), name)
    if pa.types.is_floating(values.type) and not keep_nan:
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
    if pa.types.is_struct(values.type) or (pa.types.is_large_list(values.type) and outgoing(values.type) is None):
        try:
            objects = values.to_pylist()
        except ValueError as error:  # two fields of one name
            raise ConversionError(f"column {name!r} ({values.type}) cannot be sent: {error}; rename one") from error
        return json_to_copy_column(objects)
    if pa.types.is_decimal256(values.type):  # the encoder knows decimal128 only
        return CopyColumn(values.cast(pa.large_string()), "numeric", "text")
    sql_type = outgoing(values.type)
    if sql_type is None:
        raise ConversionError(
            f"column {name!r} has the type {values.type}, which PostgreSQL does not have: convert it, "
            f"e.g. to text with df[{name!r}].astype(str)"
        )
    _check_values(values, name)
    if pa.types.is_large_list(values.type) and _is_instant(values.type.value_type):
        # Inside arrays the encoder marks every timestamp as one without time zone.
        text = pc.strftime(pc.list_flatten(values), format="%Y-%m-%dT%H:%M:%SZ")
        return CopyColumn(with_elements(values, text), "timestamptz[]", "text[]")
    return CopyColumn(values, sql_type)


def json_to_copy_column(values: list[Any]) -> CopyColumn:
    """Encode as jsonb's binary form: a version byte and the text."""
    content = []
    for position, value in enumerate(values):
        try:
            content.append(None if value is None else _JSONB_VERSION + json_text(value).encode())
        except NotJSON as error:
            raise BadValue(
                "a value that is no JSON", position, value, f"it has {error}; convert it, e.g. to text"
            ) from error
    return CopyColumn(chunked(pa.array(content, pa.large_binary())), "jsonb")


def with_elements(lists: pa.ChunkedArray, elements: pa.ChunkedArray) -> pa.ChunkedArray:
    """Put new elements into the same lists."""
    whole = lists.combine_chunks()
    return pa.chunked_array(
        [pa.LargeListArray.from_arrays(whole.offsets, elements.combine_chunks(), mask=whole.is_null())]
    )


def _is_instant(kind: pa.DataType) -> bool:
    return pa.types.is_timestamp(kind) and kind.tz is not None


def _cast_to_sent(values: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    kind = values.type
    if isinstance(kind, pa.BaseExtensionType):
        raise ConversionError(f"column {name!r} has the type {kind}: convert it first, e.g. to text or to a timestamp")
    target = _sent_type(kind)
    if target == kind:
        return values
    try:
        return values.cast(target)
    except pa.ArrowInvalid:
        if not _has_nanoseconds(kind):
            raise
    warn_of_nanoseconds(name)
    return values.cast(target, safe=False)


def warn_of_nanoseconds(name: str) -> None:
    """Warn that a column has more digits than PostgreSQL keeps."""
    warnings.warn(
        f"column {name!r} has nanoseconds; PostgreSQL keeps microseconds, and the rest is cut off",
        ConversionWarning,
        stacklevel=2,
    )


def _has_nanoseconds(kind: pa.DataType) -> bool:
    return getattr(getattr(kind, "value_type", kind), "unit", None) == "ns"


def _sent_type(kind: pa.DataType) -> pa.DataType:
    """Choose the one Arrow type that stands for its relatives."""
    if pa.types.is_dictionary(kind):
        return _sent_type(kind.value_type)
    if pa.types.is_null(kind) or pa.types.is_string(kind) or pa.types.is_string_view(kind):
        return pa.large_string()
    if pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind) or pa.types.is_binary_view(kind):
        return pa.large_binary()
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", tz=kind.tz and "UTC")
    if pa.types.is_duration(kind):
        return pa.duration("us")
    if pa.types.is_date(kind):
        return pa.date32()
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_time(kind):
        return pa.time64("us")
    if pa.types.is_decimal(kind) and not pa.types.is_decimal256(kind):
        return pa.decimal128(kind.precision, kind.scale)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.large_list(_sent_type(kind.value_type))
    return kind


def _check_values(values: pa.ChunkedArray, name: str, rows: pa.ChunkedArray | None = None) -> None:
    """Refuse what PostgreSQL would refuse, or what it could not tell apart, before anything is sent.

    ``rows`` are the numbers of the rows that elements of lists are in.
    """
    kind = values.type
    if pa.types.is_large_list(kind):
        _check_values(pc.list_flatten(values), name, pc.list_parent_indices(values))
    elif pa.types.is_large_string(kind):
        has_nul = pc.match_substring(values, "\0")
        if pc.any(has_nul).as_py():
            raise _bad(
                values,
                has_nul,
                rows,
                "text with the character U+0000",
                f"PostgreSQL cannot hold it; remove it, e.g. with df[{name!r}].str.replace('\\0', '')",
            )
    elif pa.types.is_date(kind):
        _check_range(values, pa.int32(), 1, rows)
    elif pa.types.is_timestamp(kind):
        _check_range(values, pa.int64(), _US_PER_DAY, rows)


def _check_range(values: pa.ChunkedArray, number: pa.DataType, per_day: int, rows: pa.ChunkedArray | None) -> None:
    days = (_FIRST_DAY, _LAST_DAY) if rows is None else (_FIRST_PYTHON_DAY, _LAST_PYTHON_DAY)
    first, last = days[0] * per_day, min((days[1] + 1) * per_day - 1, np.iinfo(np.int64).max)
    numbers = values.cast(number)
    found = pc.min_max(numbers).as_py()
    if found["min"] is not None and (found["min"] < first or found["max"] > last):
        span = "4714 BC, or after those that PostgreSQL can hold" if rows is None else "the year 1 or after 9999"
        outside = pc.or_(pc.less(numbers, pa.scalar(first, number)), pc.greater(numbers, pa.scalar(last, number)))
        raise _bad(values, outside, rows, f"dates before {span},", "leave them out, or make the column text")


def _bad(
    values: pa.ChunkedArray, is_bad: pa.ChunkedArray, rows: pa.ChunkedArray | None, problem: str, advice: str
) -> BadValue:
    """Describe the first value that is marked."""
    at = pc.index(is_bad, pa.scalar(value=True)).as_py()
    try:
        value = values[at].as_py()
    except (ValueError, OverflowError):  # a date that Python cannot hold
        value = values[at : at + 1].cast(pa.large_string())[0].as_py()
    return BadValue(problem, at if rows is None else rows[at].as_py(), value, advice)
