"""Cast Arrow columns to the types that binary COPY can encode, and check their values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cartoframes_lite import user_warnings
from cartoframes_lite._codec.bad_value import BadValue
from cartoframes_lite._codec.json_text import NotJSON, check_jsonb, json_text
from cartoframes_lite._codec.pgtypes import outgoing
from cartoframes_lite.errors import ConversionError, ConversionWarning

# Range of PostgreSQL dates, 4714-11-24 BC to 5874897-12-31, in days from 1970-01-01.
_FIRST_DAY, _LAST_DAY = -2_440_588, 2_145_031_948
_US_PER_DAY = 86_400_000_000
# Range of datetime.date, years 1 to 9999: dates in arrays are read as Python objects.
_FIRST_PYTHON_DAY, _LAST_PYTHON_DAY = -719_162, 2_932_896
_JSONB_VERSION = b"\x01"


@dataclass(frozen=True, slots=True)
class CopyColumn:
    """A column ready for binary COPY.

    Attributes
    ----------
    values : pyarrow.ChunkedArray
        Values to encode.
    sql_type : str
        PostgreSQL type of the values.
    staged_as : str or None
        Type of the column in the staging table, if the server has to cast it to ``sql_type``.
    """

    values: pa.ChunkedArray
    sql_type: str
    staged_as: str | None = None


def chunked(values: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    """Wrap an array in a ChunkedArray."""
    return values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([values])


def to_copy_column(values: pa.Array | pa.ChunkedArray, name: str, *, keep_nan: bool = False) -> CopyColumn:
    """Cast an Arrow column to a type that binary COPY can encode, and check its values.

    Raises
    ------
    BadValue
        If PostgreSQL cannot store a value.
    ConversionError
        If there is no PostgreSQL type for the column.
    """
    values = _cast_for_copy(chunked(values), name)
    if pa.types.is_floating(values.type) and not keep_nan:
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
    if pa.types.is_struct(values.type) or (pa.types.is_large_list(values.type) and outgoing(values.type) is None):
        try:
            objects = values.to_pylist()
        except ValueError as error:  # a struct with two fields of the same name
            raise ConversionError(f"column {name!r} ({values.type}) cannot be sent: {error}; rename one") from error
        return json_to_copy_column(objects)
    if pa.types.is_decimal256(values.type):  # pgpq encodes decimal128 only
        return CopyColumn(values.cast(pa.large_string()), "numeric", "text")
    sql_type = outgoing(values.type)
    if sql_type is None:
        raise ConversionError(
            f"column {name!r} has type {values.type}, for which there is no PostgreSQL type: convert it, "
            f"e.g. to text with df[{name!r}].astype(str)"
        )
    _check_values(values, name)
    if pa.types.is_large_list(values.type) and _has_time_zone(values.type.value_type):
        # pgpq encodes all timestamps in arrays as without time zone, so the server has to parse them.
        text = pc.strftime(pc.list_flatten(values), format="%Y-%m-%dT%H:%M:%SZ")
        return CopyColumn(with_elements(values, text), "timestamptz[]", "text[]")
    return CopyColumn(values, sql_type)


def json_to_copy_column(values: list[Any]) -> CopyColumn:
    """Encode values in the binary format of jsonb: a version byte and the text."""
    content = []
    for position, value in enumerate(values):
        try:
            content.append(None if value is None else _JSONB_VERSION + json_text(value).encode())
        except NotJSON as error:
            raise BadValue(
                "a value that cannot be stored as JSON", position, value, f"it has {error}; convert it, e.g. to text"
            ) from error
    return CopyColumn(chunked(pa.array(content, pa.large_binary())), "jsonb")


def text_to_jsonb(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Encode JSON text in the binary format of jsonb."""
    content = []
    for position, text in enumerate(texts.to_pylist()):
        try:
            if text is not None:
                check_jsonb(text)
        except NotJSON as error:
            raise BadValue("text that cannot be stored as JSON", position, text, f"it has {error}") from error
        content.append(None if text is None else _JSONB_VERSION + text.encode())
    return chunked(pa.array(content, pa.large_binary()))


def with_elements(lists: pa.ChunkedArray, elements: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the lists with their elements replaced."""
    whole = lists.combine_chunks()
    return pa.chunked_array(
        [pa.LargeListArray.from_arrays(whole.offsets, elements.combine_chunks(), mask=whole.is_null())]
    )


def _has_time_zone(kind: pa.DataType) -> bool:
    return pa.types.is_timestamp(kind) and kind.tz is not None


def _cast_for_copy(values: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    kind = values.type
    if isinstance(kind, pa.BaseExtensionType):
        raise ConversionError(
            f"column {name!r} has the extension type {kind}, which cannot be sent: convert it, e.g. to text"
        )
    target = _copy_type(kind)
    if target == kind:
        return values
    try:
        return values.cast(target)
    except pa.ArrowInvalid:
        if not _has_nanoseconds(kind):
            raise
    warn_about_nanoseconds(name)
    return values.cast(target, safe=False)


def warn_about_nanoseconds(name: str) -> None:
    """Warn that nanoseconds are truncated."""
    user_warnings.warn(
        f"column {name!r} has nanoseconds, which are truncated to microseconds, the precision of PostgreSQL",
        ConversionWarning,
    )


def _has_nanoseconds(kind: pa.DataType) -> bool:
    return getattr(getattr(kind, "value_type", kind), "unit", None) == "ns"


def _copy_type(kind: pa.DataType) -> pa.DataType:
    """Return the Arrow type that a type is cast to before encoding."""
    if pa.types.is_dictionary(kind):
        return _copy_type(kind.value_type)
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
        return pa.large_list(_copy_type(kind.value_type))
    return kind


def _check_values(values: pa.ChunkedArray, name: str, rows: pa.ChunkedArray | None = None) -> None:
    """Raise for values that PostgreSQL cannot store, or that could not be read back.

    ``rows`` are the row numbers of list elements.
    """
    kind = values.type
    if pa.types.is_large_list(kind):
        _check_values(pc.list_flatten(values), name, pc.list_parent_indices(values))
    elif pa.types.is_large_string(kind):
        has_nul = pc.match_substring(values, "\0")
        if pc.any(has_nul).as_py():
            raise _bad_value(
                values,
                has_nul,
                rows,
                "text with the character U+0000",
                f"PostgreSQL cannot store it; remove it, e.g. with df[{name!r}].str.replace('\\0', '')",
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
        limits = "4714 BC or after 5874897" if rows is None else "the year 1 or after 9999"
        outside = pc.or_(pc.less(numbers, pa.scalar(first, number)), pc.greater(numbers, pa.scalar(last, number)))
        advice = "make them missing, or convert the column to text"
        raise _bad_value(values, outside, rows, f"dates before {limits},", advice)


def _bad_value(
    values: pa.ChunkedArray, is_bad: pa.ChunkedArray, rows: pa.ChunkedArray | None, problem: str, advice: str
) -> BadValue:
    """Return the error for the first value marked in ``is_bad``."""
    at = pc.index(is_bad, pa.scalar(value=True)).as_py()
    try:
        value = values[at].as_py()
    except (ValueError, OverflowError):  # outside the range of Python dates
        value = values[at : at + 1].cast(pa.large_string())[0].as_py()
    return BadValue(problem, at if rows is None else rows[at].as_py(), value, advice)
