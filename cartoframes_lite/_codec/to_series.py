"""Convert a decoded Arrow column to pandas."""

from __future__ import annotations

import datetime
import json
import math
import struct
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from cartoframes_lite import user_warnings
from cartoframes_lite._codec.binary_values import array_parser, text_writer
from cartoframes_lite._codec.pgtypes import Incoming, Kind
from cartoframes_lite.errors import ConversionError, ConversionWarning

Backend = Literal["numpy_nullable", "pyarrow"]

_HAS_STR = int(pd.__version__.partition(".")[0]) >= 3  # the dtype str; before pandas 3, text is object
_TEXT: Any = pd.StringDtype("pyarrow", na_value=np.nan) if _HAS_STR else None
_NULLABLE: dict[pa.DataType, Any] = {
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.float32(): pd.Float32Dtype(),
    pa.float64(): pd.Float64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
    pa.large_string(): pd.StringDtype("pyarrow"),
}
_END_OF_DAY_US = 86_400_000_000


def to_series(
    values: pa.ChunkedArray, rule: Incoming, name: str, *, coerce_float: bool = True, backend: Backend | None = None
) -> Any:
    """Convert a column other than a geometry to an array or Series for a DataFrame.

    Parameters
    ----------
    values : pyarrow.ChunkedArray
        Decoded column of type ``rule.arrow``.
    rule : Incoming
        How the column was selected and decoded.
    name : str
        Column name for messages.
    coerce_float : bool
        Convert numeric to float64 instead of Decimal.
    backend : {"numpy_nullable", "pyarrow"}, optional
        ``dtype_backend`` of ``pandas.read_sql``.
    """
    if rule.kind is Kind.NUMERIC:
        if not coerce_float:
            return _objects(values, Decimal, name)
        values = _floats(values, name)
    elif rule.kind is Kind.BINARY_TEXT:
        texts = _objects(values, text_writer(str(rule.element)), name)
        values = pa.chunked_array([pa.array(texts.tolist(), pa.large_string())])
    elif rule.kind is Kind.JSON:
        return _json(values, name)
    elif rule.kind is Kind.ARRAY:
        return _arrays(values, str(rule.element), name, coerce_float=coerce_float)
    elif rule.kind is Kind.BINARY_ARRAY:
        return _objects(values, array_parser(str(rule.element)), name)
    return _to_pandas(values, name, backend)


def _to_pandas(values: pa.ChunkedArray, name: str, backend: Backend | None) -> Any:
    """Convert a column of a basic Arrow type, by dtype backend."""
    kind = values.type
    if pa.types.is_time(kind) and pc.any(pc.equal(values.cast(pa.int64()), _END_OF_DAY_US)).as_py():
        row = pc.index(values.cast(pa.int64()), pa.scalar(_END_OF_DAY_US)).as_py()
        raise _unreadable_value(name, row, "a time (24:00:00)")
    if backend == "pyarrow" or pa.types.is_date(kind) or pa.types.is_time(kind):
        return pd.arrays.ArrowExtensionArray(values)
    if pa.types.is_timestamp(kind):
        return _timestamps(values)
    if pa.types.is_large_binary(kind):
        return _objects(values, None, name)
    if pa.types.is_large_string(kind) and backend is None:
        return _TEXT.__from_arrow__(values) if _HAS_STR else values.to_pandas()
    if backend == "numpy_nullable" or (values.null_count and not pa.types.is_floating(kind)):
        return _NULLABLE[kind].__from_arrow__(values)
    return values.to_numpy()


def _timestamps(values: pa.ChunkedArray) -> Any:
    """Convert timestamps in microseconds to datetime64[us] without a copy per value; null is NaT."""
    numbers = pc.fill_null(values.cast(pa.int64()), np.iinfo(np.int64).min).to_numpy()
    index = pd.DatetimeIndex(numbers.view("M8[us]"))
    return index.array if values.type.tz is None else index.tz_localize(values.type.tz).array


def _objects(values: pa.ChunkedArray, convert: Callable[[Any], Any] | None, name: str, what: str = "a value") -> Any:
    """Convert values to Python objects; null is None.

    Raises
    ------
    ConversionError
        If Python cannot hold a value: the years 10000 and 44 BC, 24:00, too many levels or digits.
    """
    result = np.empty(len(values), object)
    items = values.to_pylist()
    try:
        result[:] = items if convert is None else [None if item is None else convert(item) for item in items]
    except _CONVERSION_ERRORS:
        for row, item in enumerate(items):
            try:
                _ = item if item is None or convert is None else convert(item)
            except _CONVERSION_ERRORS as error:
                raise _unreadable_value(name, row, what, f" ({error})") from error
        raise
    return pd.Series(result, dtype=object)  # prevents pandas from inferring a string dtype


_CONVERSION_ERRORS = (ValueError, ArithmeticError, RecursionError, struct.error)


def _unreadable_value(name: str, row: int, what: str, why: str = "") -> ConversionError:
    return ConversionError(
        f"column {name!r} has {what} in row {row} that Python cannot hold{why}: select {name}::text AS {name}"
    )


def _floats(values: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Parse numbers to the nearest float64; ConversionError for finite numbers outside its range."""
    floats = values.cast(pa.float64())
    is_infinite = pc.is_inf(floats)
    if pc.any(is_infinite).as_py():
        too_large = pc.and_(is_infinite, pc.invert(pc.is_in(values, pa.array(_INFINITIES, values.type))))
        if pc.any(too_large).as_py():
            row = pc.index(too_large, pa.scalar(value=True)).as_py()
            raise ConversionError(
                f"column {name!r} has a number in row {row} that is too large for float64: pass coerce_float=False"
            )
    return floats


_INFINITIES = ["Infinity", "-Infinity"]


def _json(values: pa.ChunkedArray, name: str) -> Any:
    """Parse JSON, a chunk as one array: this takes half the time, and the texts of repeated keys are shared."""
    parse = _json_parser(values)
    texts = (pc.fill_null(chunk, "null").to_pylist() for chunk in values.chunks)
    items: list[Any] = []
    with suppress(*_CONVERSION_ERRORS):  # raised again for the value
        for chunk in texts:
            items += parse(f"[{','.join(chunk)}]")
    if len(items) != len(values):
        return _objects(values, parse, name)
    result = np.empty(len(items), object)
    result[:] = items
    return pd.Series(result, dtype=object)


def _json_parser(values: pa.ChunkedArray) -> Callable[[str], Any]:
    """Return the JSON parser; it checks floats for overflow only if one is possible, because that is slow.

    Any number with an exponent is checked, because the digits before it count as well: 250 digits and e99 overflow.
    """
    if pc.any(pc.match_substring_regex(values, _LARGE_FLOAT)).as_py():
        return partial(json.loads, parse_float=_finite_float)
    return json.loads


_LARGE_FLOAT = r"\d[eE]\+?\d|\d{309}"


def _finite_float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise OverflowError(f"{text[:20]} is too large for a float")
    return number


def _arrays(values: pa.ChunkedArray, element: str, name: str, *, coerce_float: bool) -> Any:
    """Convert arrays to lists; infinite dates in them become None."""
    if element in _DATES and pc.any(pc.match_substring(values, 'infinity"')).as_py():
        user_warnings.warn(
            f"column {name!r} has infinite dates in its arrays: they become None",
            ConversionWarning,
        )
    return _objects(values, _array_parser(element, coerce_float=coerce_float), name, "an array with a value")


def _array_parser(element: str, *, coerce_float: bool) -> Callable[[str], Any]:
    """Return the function that parses the JSON of an array to a list of Python values."""
    exact = element == "numeric" and not coerce_float
    convert: Callable[[Any], Any] | None = Decimal if exact else _ELEMENTS.get(element)
    read_float, read_int = (Decimal, Decimal) if exact else (_finite_float, None)

    def convert_all(value: Any) -> Any:
        if isinstance(value, list):
            return [convert_all(item) for item in value]
        return value if value is None or convert is None else convert(value)

    def parse(text: str) -> Any:
        return convert_all(json.loads(text, parse_float=read_float, parse_int=read_int))

    return parse


def _parse_timestamp(text: str) -> datetime.datetime | None:
    """Parse an ISO timestamp; None for infinity."""
    return None if text.endswith("infinity") else datetime.datetime.fromisoformat(text)


def _parse_date(text: str) -> datetime.date | None:
    return None if text.endswith("infinity") else datetime.date.fromisoformat(text)


def _parse_timestamptz(text: str) -> datetime.datetime | None:
    """Parse an ISO timestamp with offset to UTC; in the session's time zone its year may be 1 BC or 10000."""
    for year, calendar_year, suffix in _ADJACENT_YEARS:
        if text.startswith(year) and text.endswith(suffix):
            shifted = datetime.datetime.fromisoformat(calendar_year + text[len(year) :].removesuffix(suffix))
            shift = int(calendar_year) - (0 if suffix else int(year))
            shifted = shifted.astimezone(datetime.UTC)
            return shifted.replace(year=shifted.year - shift)
    parsed = _parse_timestamp(text)
    return None if parsed is None else parsed.astimezone(datetime.UTC)


# Years just outside datetime's range, and years with the same calendar, which repeats every 400 years.
_ADJACENT_YEARS = (("0001", "0400", " BC"), ("10000", "9600", ""))


# Types that JSON represents as strings. NaN and the infinities are strings in PostgreSQL's JSON, too.
_ELEMENTS: dict[str, Callable[[Any], Any]] = {
    "numeric": float,
    "date": _parse_date,
    "time": datetime.time.fromisoformat,
    "timestamp": _parse_timestamp,
    "timestamptz": _parse_timestamptz,
}
_DATES = ("date", "timestamp", "timestamptz")
