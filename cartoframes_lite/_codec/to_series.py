"""One decoded Arrow column to pandas values."""

from __future__ import annotations

import datetime
import json
import warnings
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from cartoframes_lite._codec.pgtypes import Incoming, Kind
from cartoframes_lite.errors import ConversionError, ConversionWarning

Backend = Literal["numpy_nullable", "pyarrow"]

_TEXT: Any = pd.StringDtype("pyarrow", na_value=np.nan)
_NULLABLE: dict[pa.DataType, Any] = {
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.float32(): pd.Float32Dtype(),
    pa.float64(): pd.Float64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
    pa.large_string(): pd.StringDtype("pyarrow", na_value=pd.NA),
}
_END_OF_DAY_US = 86_400_000_000


def to_series(
    values: pa.ChunkedArray, rule: Incoming, name: str, *, coerce_float: bool = True, backend: Backend | None = None
) -> Any:
    """Convert a column, other than a geometry, to an array that a DataFrame takes as it is.

    Parameters
    ----------
    values : pyarrow.ChunkedArray
        The decoded column, of the type ``rule.arrow``.
    rule : Incoming
        What kind of column it is.
    name : str
        What messages call the column.
    coerce_float : bool
        Give numeric as float64 instead of Decimal.
    backend : {"numpy_nullable", "pyarrow"}, optional
        The dtypes to prefer, as in ``pandas.read_sql``.
    """
    if rule.kind is Kind.NUMERIC:
        if not coerce_float:
            return _objects(values, Decimal)
        values = values.cast(pa.float64())
    elif rule.kind is Kind.JSON:
        return _objects(values, json.loads)
    elif rule.kind is Kind.ARRAY:
        return _arrays(values, str(rule.element), name, coerce_float=coerce_float)
    return _plain(values, name, backend)


def _plain(values: pa.ChunkedArray, name: str, backend: Backend | None) -> Any:
    kind = values.type
    if pa.types.is_time(kind) and pc.any(pc.equal(values.cast(pa.int64()), _END_OF_DAY_US)).as_py():
        raise ConversionError(f"column {name!r} has the time 24:00:00, which Python cannot hold: select {name}::text")
    if backend == "pyarrow" or pa.types.is_date(kind) or pa.types.is_time(kind):
        return pd.arrays.ArrowExtensionArray(values)
    if pa.types.is_timestamp(kind):
        return _timestamps(values)
    if pa.types.is_large_binary(kind):
        return _objects(values, None)
    if pa.types.is_large_string(kind) and backend is None:
        return _TEXT.__from_arrow__(values)
    if backend == "numpy_nullable" or (values.null_count and not pa.types.is_floating(kind)):
        return _NULLABLE[kind].__from_arrow__(values)
    return values.to_numpy()


def _timestamps(values: pa.ChunkedArray) -> Any:
    """View microseconds as datetime64[us]; null is NaT."""
    numbers = pc.fill_null(values.cast(pa.int64()), np.iinfo(np.int64).min).to_numpy()
    index = pd.DatetimeIndex(numbers.view("M8[us]"))
    return index.array if values.type.tz is None else index.tz_localize(values.type.tz).array


def _objects(values: pa.ChunkedArray, convert: Callable[[Any], Any] | None) -> Any:
    """Make Python objects; null is None."""
    result = np.empty(len(values), object)
    items = values.to_pylist()
    result[:] = items if convert is None else [None if item is None else convert(item) for item in items]
    return result


def _arrays(values: pa.ChunkedArray, element: str, name: str, *, coerce_float: bool) -> Any:
    """Make lists; an infinite date in them is None."""
    if element in _DATES and pc.any(pc.match_substring(values, 'infinity"')).as_py():
        warnings.warn(
            f"column {name!r} has infinite dates in its arrays: they are None in the frame",
            ConversionWarning,
            stacklevel=2,
        )
    try:
        return _objects(values, _array_parser(element, coerce_float=coerce_float))
    except ValueError as error:  # the year 10000, 44 BC, 24:00
        raise ConversionError(
            f"column {name!r} has an array with a value that Python cannot hold ({error}): select {name}::text"
        ) from error


def _array_parser(element: str, *, coerce_float: bool) -> Callable[[str], Any]:
    """Make the function that turns the JSON of an array into a list of Python values."""
    exact = element == "numeric" and not coerce_float
    convert: Callable[[Any], Any] | None = Decimal if exact else _ELEMENTS.get(element)

    def convert_all(value: Any) -> Any:
        if isinstance(value, list):
            return [convert_all(item) for item in value]
        return value if value is None or convert is None else convert(value)

    def parse(text: str) -> Any:
        return convert_all(json.loads(text, parse_float=Decimal if exact else None))

    return parse


def _timestamp(text: str) -> datetime.datetime | None:
    """Parse an ISO timestamp; infinity has no Python value."""
    return None if text.endswith("infinity") else datetime.datetime.fromisoformat(text)


def _date(text: str) -> datetime.date | None:
    return None if text.endswith("infinity") else datetime.date.fromisoformat(text)


def _utc(text: str) -> datetime.datetime | None:
    moment = _timestamp(text)
    return None if moment is None else moment.astimezone(datetime.UTC)


def _bytes(text: str) -> bytes:
    r"""Decode bytea's hex form, as \\xdead."""
    return bytes.fromhex(text[2:])


# What JSON says with strings. NaN and the infinities are strings in PostgreSQL's JSON, too.
_ELEMENTS: dict[str, Callable[[Any], Any]] = {
    "float4": float,
    "float8": float,
    "numeric": float,
    "date": _date,
    "time": datetime.time.fromisoformat,
    "timestamp": _timestamp,
    "timestamptz": _utc,
    "bytea": _bytes,
}
_DATES = ("date", "timestamp", "timestamptz")
