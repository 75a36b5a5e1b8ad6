"""One column of a frame to Arrow, with the PostgreSQL type that receives it."""

from __future__ import annotations

import datetime
import json
import re
import warnings
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from shapely.geometry.base import BaseGeometry

from cartoframes_lite._codec.pgtypes import outgoing
from cartoframes_lite.errors import ConversionError, ConversionWarning

# PostgreSQL's earliest day, 4714-11-24 BC, and its latest; counted from 1970-01-01.
_FIRST_DAY, _LAST_DAY = -2_440_588, 2_145_031_948
_FIRST_US = _FIRST_DAY * 86_400_000_000
_JSONB_VERSION = b"\x01"
_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


@dataclass(frozen=True, slots=True)
class Outgoing:
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


def from_series(series: pd.Series[Any], name: str, *, keep_nan: bool = False) -> Outgoing:
    """Convert a column that is not a geometry.

    Parameters
    ----------
    series : pandas.Series
    name : str
        What messages call the column.
    keep_nan : bool
        Send NaN in a float column as NaN instead of NULL.

    Raises
    ------
    ConversionError
        If the column has a type or a value that PostgreSQL cannot hold.
    """
    if isinstance(series.dtype, pd.SparseDtype):
        series = series.astype(series.dtype.subtype)
    try:
        if series.dtype == object or _has_object_categories(series):
            return _from_objects(series.astype(object), name)
        return _send(_chunked(pa.array(series, from_pandas=not keep_nan)), name, keep_nan=keep_nan)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, InvalidOperation) as error:
        raise ConversionError(f"column {name!r} ({series.dtype}) cannot be sent: {error}") from error
    except UnicodeEncodeError as error:
        raise ConversionError(
            f"column {name!r} has text with a lone surrogate, which is no Unicode: {error}"
        ) from error


def _has_object_categories(series: pd.Series[Any]) -> bool:
    return isinstance(series.dtype, pd.CategoricalDtype) and series.dtype.categories.dtype == object


def _chunked(values: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    return values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([values])


def _send(values: pa.ChunkedArray, name: str, *, keep_nan: bool = False) -> Outgoing:
    """Bring an Arrow column to one of the types that are sent, and check its values."""
    values = _cast_to_sent(values, name)
    if pa.types.is_floating(values.type) and not keep_nan:
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
    if pa.types.is_struct(values.type) or (pa.types.is_large_list(values.type) and outgoing(values.type) is None):
        return _send_json(values.to_pylist(), name)
    if (
        pa.types.is_large_list(values.type)
        and pa.types.is_timestamp(values.type.value_type)
        and values.type.value_type.tz
    ):
        # Inside arrays the encoder marks every timestamp as one without time zone.
        text = pc.strftime(pc.list_flatten(values), format="%Y-%m-%dT%H:%M:%SZ")
        values = _relist(values, text)
        return Outgoing(values, "timestamptz[]", "text[]")
    if pa.types.is_decimal256(values.type):  # the encoder knows decimal128 only
        return Outgoing(values.cast(pa.large_string()), "numeric", "text")
    sql_type = outgoing(values.type)
    if sql_type is None:
        raise ConversionError(
            f"column {name!r} has the type {values.type}, which PostgreSQL does not have: convert it, "
            f"e.g. to text with df[{name!r}].astype(str)"
        )
    _check_values(values, name)
    return Outgoing(values, sql_type)


def _relist(lists: pa.ChunkedArray, elements: pa.ChunkedArray) -> pa.ChunkedArray:
    """Put new elements into the same lists."""
    whole = lists.combine_chunks()
    return pa.chunked_array(
        [pa.LargeListArray.from_arrays(whole.offsets, elements.combine_chunks(), mask=whole.is_null())]
    )


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
    warnings.warn(
        f"column {name!r} has nanoseconds; PostgreSQL keeps microseconds, and the rest is cut off",
        ConversionWarning,
        stacklevel=2,
    )
    return values.cast(target, safe=False)


def _has_nanoseconds(kind: pa.DataType) -> bool:
    return getattr(kind, "unit", None) == "ns"


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


def _check_values(values: pa.ChunkedArray, name: str) -> None:
    """Refuse what PostgreSQL would refuse, or what it could not tell apart, before anything is sent."""
    kind = values.type
    if pa.types.is_large_list(kind):
        _check_values(pc.list_flatten(values), name)
    elif pa.types.is_large_string(kind):
        if pc.any(pc.match_substring(values, "\0")).as_py():
            raise ConversionError(
                f"column {name!r} has text with the character U+0000, which PostgreSQL cannot hold: "
                f"remove it, e.g. with df[{name!r}].str.replace('\\0', '')"
            )
    elif pa.types.is_date(kind):
        _check_range(values, pa.int32(), _FIRST_DAY, _LAST_DAY, name)
    elif pa.types.is_timestamp(kind):
        _check_range(values, pa.int64(), _FIRST_US, np.iinfo(np.int64).max, name)


def _check_range(values: pa.ChunkedArray, number: pa.DataType, first: int, last: int, name: str) -> None:
    found = pc.min_max(values.cast(number)).as_py()
    if found["min"] is not None and (found["min"] < first or found["max"] > last):
        raise ConversionError(f"column {name!r} has dates before 4714 BC or after those that PostgreSQL can hold")


def _from_objects(series: pd.Series[Any], name: str) -> Outgoing:
    """Convert a column of Python objects by what they are."""
    # One mark for all that is missing: NaT beside text, for example, would make the column a mixed one.
    values = series.to_numpy(copy=True)
    values[series.isna().to_numpy()] = None
    kind = pd.api.types.infer_dtype(values, skipna=True)
    if kind == "date" and any(isinstance(value, datetime.datetime) for value in values):
        kind = "datetime"  # as dates they would lose their time
    if kind == "time" and any(value is not None and value.tzinfo is not None for value in values):
        raise ConversionError(
            f"column {name!r} has times of day with a time zone, which would be lost: make them text, "
            f"e.g. with df[{name!r}].astype(str), and pass dtype={{{name!r}: 'timetz'}}"
        )
    if kind in ("decimal", "integer"):
        return _from_numbers(values, name)
    if kind == "mixed-integer-float":
        return _send(_chunked(pa.array(values, pa.float64(), from_pandas=True)), name)
    if kind in ("datetime", "datetime64"):
        return _from_datetimes(pd.Series(values), name)
    if kind in ("timedelta", "timedelta64"):
        return _send(_chunked(pa.array(pd.to_timedelta(pd.Series(values)), from_pandas=True)), name)
    if kind in ("empty", "string", "bytes", "boolean", "floating", "date", "time"):
        return _send(_chunked(pa.array(values, _OBJECT_TYPES.get(kind), from_pandas=True)), name)
    return _from_mixed(values, name)


_OBJECT_TYPES = {"string": pa.large_string(), "bytes": pa.large_binary()}


def _from_datetimes(series: pd.Series[Any], name: str) -> Outgoing:
    try:
        converted = pd.to_datetime(series)
    except ValueError as error:
        raise ConversionError(
            f"column {name!r} mixes times with and without time zone, or several zones: "
            f"use pd.to_datetime(df[{name!r}], utc=True)"
        ) from error
    return _send(_chunked(pa.array(converted, from_pandas=True)), name)


def _from_numbers(values: Any, name: str) -> Outgoing:
    """Convert integers to bigint while they fit, and the rest and decimals to numeric."""
    try:
        return _send(_chunked(pa.array(values, from_pandas=True)), name)
    except (pa.ArrowInvalid, OverflowError, TypeError):  # TypeError: an infinite Decimal
        # More digits than decimal128 has: PostgreSQL reads numbers of any length from text.
        text = [
            None if value is None else format(value, "f" if isinstance(value, Decimal) else "d") for value in values
        ]
        return Outgoing(_chunked(pa.array(text, pa.large_string())), "numeric", "text")


def _from_mixed(values: Any, name: str) -> Outgoing:
    types = {type(value) for value in values if value is not None}
    if types <= {Decimal, int}:
        return _from_numbers(values, name)
    if all(issubclass(kind, UUID) for kind in types):
        content = [None if value is None else value.bytes for value in values]
        return Outgoing(_chunked(pa.array(content, pa.large_binary())), "uuid")
    if all(issubclass(kind, dict | list | tuple | np.ndarray) for kind in types):
        return _from_lists(values, types, name)
    if any(issubclass(kind, BaseGeometry) for kind in types):
        raise ConversionError(
            f"column {name!r} has geometries but no CRS; say which it is: "
            f"gdf = geopandas.GeoDataFrame(df, geometry={name!r}, crs=4326)"
        )
    found = ", ".join(sorted(kind.__name__ for kind in types))
    raise ConversionError(
        f"column {name!r} has values of the type {found}, which no PostgreSQL type holds: "
        f"make them one type, e.g. text with df[{name!r}].astype(str)"
    )


def _from_lists(values: Any, types: set[type], name: str) -> Outgoing:
    """Convert lists of one scalar type to an array, everything else to jsonb."""
    content = [None if value is None else _plain(value) for value in values]
    if not any(issubclass(kind, dict) for kind in types):
        try:
            lists = _chunked(pa.array(content))
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            return _send_json(content, name)  # elements of several types
        if not pa.types.is_nested(lists.type.value_type):
            return _send(lists, name)
    return _send_json(content, name)


def _plain(value: Any) -> Any:
    """Make a Python list of an array or tuple."""
    if isinstance(value, np.ndarray):
        # tolist() would give nanoseconds as integers.
        return (value.astype(f"{value.dtype.kind}8[us]") if value.dtype.kind in "mM" else value).tolist()
    return list(value) if isinstance(value, tuple) else value


def _send_json(values: list[Any], name: str) -> Outgoing:
    """Encode as jsonb's binary form: a version byte and the text."""
    try:
        texts = [
            None if value is None else json.dumps(value, allow_nan=False, ensure_ascii=False, default=_json_default)
            for value in values
        ]
    except (ValueError, TypeError) as error:
        raise ConversionError(f"column {name!r} has a value that is no JSON: {error}") from error
    if any(text is not None and _ESCAPED_NUL.search(text) for text in texts):
        raise ConversionError(f"column {name!r} has JSON with the character U+0000, which PostgreSQL cannot hold")
    content = [None if text is None else _JSONB_VERSION + text.encode() for text in texts]
    return Outgoing(_chunked(pa.array(content, pa.large_binary())), "jsonb")


def _json_default(value: Any) -> Any:
    """Let NumPy's numbers and arrays, and dates, stand in JSON as pandas' own to_json has them."""
    if value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, np.ndarray | np.generic):
        return _plain(np.asarray(value))
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is not JSON")
