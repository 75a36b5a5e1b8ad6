"""Convert a column of Python objects to Arrow, without loss or with an error that names the row."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from shapely.geometry.base import BaseGeometry

from cartoframes_lite._codec.bad_value import BadValue
from cartoframes_lite._codec.builtin_values import array_items, to_builtin_all
from cartoframes_lite._codec.copy_columns import CopyColumn, chunked, json_to_copy_column, to_copy_column
from cartoframes_lite._codec.datetimes import from_datetimes, from_timedeltas
from cartoframes_lite._codec.mixed_objects import from_mixed

# Digits of PostgreSQL's numeric before and after the decimal point.
_MAX_INTEGER_DIGITS, _MAX_FRACTION_DIGITS = 131_072, 16_383
_MAX_EXACT_INTEGER = 2**53  # all integers up to here are exact as float64

# In order, because of subclasses: datetime of date, bool of int, timedelta64 of numpy.integer.
_KINDS: tuple[tuple[str, Any], ...] = (
    ("missing", (type(None), type(pd.NA), type(pd.NaT))),
    ("timedelta", (datetime.timedelta, np.timedelta64)),
    ("datetime", (datetime.datetime, np.datetime64)),
    ("date", datetime.date),
    ("time", datetime.time),
    ("boolean", (bool, np.bool_)),
    ("integer", (int, np.integer)),
    ("float", (float, np.floating)),
    ("decimal", Decimal),
    ("text", str),
    ("bytes", bytes),
    ("uuid", UUID),
    ("list", (list, tuple, np.ndarray)),
    ("dict", dict),
    ("geometry", BaseGeometry),
)
# Values of other types may be missing (NaN, NaT or NA).
_NEVER_MISSING = {type(None), bool, int, str, bytes, datetime.date, datetime.datetime, datetime.time, list, tuple, dict}
_IN_JSON = {"boolean", "integer", "float", "text", "list", "dict"}


@dataclass(frozen=True, slots=True)
class _Scalars:
    """Values of one type; ``as_text``: numbers written as text, because only PostgreSQL's numeric can hold them."""

    values: pa.Array
    as_text: bool = False


def from_objects(objects: npt.NDArray[np.object_], name: str, requested_type: str | None = None) -> CopyColumn:
    """Convert Python values to a column; missing values as defined by ``pandas.isna`` become NULL.

    With ``requested_type``, the values may have several types.

    Raises
    ------
    BadValue
        If a value cannot be sent, or its type does not match the values before it.
    """
    values = objects.tolist()
    types = set(map(type, values))
    if not types <= _NEVER_MISSING:
        values = _to_builtin(values, types)
        # One marker for all missing values: otherwise NaT among text would make the column a mixed one.
        _refuse_signaling(values, types)
        values = [None if gone else value for value, gone in zip(values, _missing(values), strict=True)]
        types = set(map(type, values))
    kinds = _kinds(types)
    if requested_type is not None and len(kinds) > 1 and not kinds <= {"integer", "decimal"}:
        column = from_mixed(values, requested_type, name)
        if column is not None:
            return column
    if kinds and kinds <= {"list", "dict"}:
        return _from_lists(values, name) if kinds == {"list"} else json_to_copy_column(values)
    if kinds == {"uuid"}:
        content = [None if value is None else value.bytes for value in values]
        return CopyColumn(chunked(pa.array(content, pa.large_binary())), "uuid")
    found = _from_scalars(values, kinds, name)
    if found is None:
        raise _mixed(values, name, kinds)
    return CopyColumn(chunked(found.values), "numeric", "text") if found.as_text else to_copy_column(found.values, name)


def _to_builtin(values: list[Any], types: set[type]) -> list[Any]:
    """Replace instances of subclasses by values of the built-in class."""
    converted, at, error = to_builtin_all(values, types)
    if at is not None and error is not None:
        raise BadValue(error.problem, at, values[at], error.advice) from error
    return converted


def _missing(values: list[Any]) -> npt.NDArray[np.bool_]:
    """Return a mask of the values that pandas treats as missing."""
    return np.asarray(pd.isna(np.fromiter(values, object, len(values))))


def is_missing(series: pd.Series[Any]) -> npt.NDArray[np.bool_]:
    """Return a mask of the missing values of any column, also of one with signaling NaNs, for which pandas raises."""
    if series.dtype != object:
        return series.isna().to_numpy()
    return _missing([0 if isinstance(value, Decimal) and value.is_snan() else value for value in series])


def _refuse_signaling(values: list[Any], types: set[type]) -> None:
    """Raise for signaling NaNs, for which ``pandas.isna`` would raise."""
    if any(issubclass(kind, Decimal) for kind in types):
        for at, value in enumerate(values):
            if isinstance(value, Decimal) and value.is_snan():
                raise BadValue("a signaling NaN", at, value, "make it NaN, or leave it out")


def _kinds(types: Iterable[type]) -> set[str]:
    return {_kind(kind) for kind in types} - {"missing"}


def _kind(kind: type) -> str:
    return next((name for name, kinds in _KINDS if issubclass(kind, kinds)), kind.__name__)


def _from_scalars(values: Sequence[Any], kinds: set[str], name: str) -> _Scalars | None:
    """Convert values that one PostgreSQL type can hold; None if there is no such type."""
    if kinds == {"integer"}:
        return _from_integers(values)
    if kinds <= {"integer", "decimal"} and kinds:
        return _from_decimals(values)
    if kinds <= {"integer", "float"} and kinds:
        return _Scalars(_from_floats(values))
    if kinds <= {"datetime", "date"} and "datetime" in kinds:
        return _Scalars(from_datetimes(values, name))
    if kinds == {"timedelta"}:
        return _Scalars(from_timedeltas(values, name))
    if kinds <= {"text"}:
        return _Scalars(_from_texts(values))
    if kinds == {"time"}:
        _refuse_zones(values, name)
    arrow = _ARROW.get(min(kinds)) if len(kinds) == 1 else None
    return None if arrow is None else _Scalars(pa.array(values, arrow))


_DECIMAL128_DIGITS = 38
_ARROW = {"boolean": pa.bool_(), "bytes": pa.large_binary(), "date": pa.date32(), "time": pa.time64("us")}


def _from_integers(values: Sequence[Any]) -> _Scalars:
    """Convert integers to bigint if all fit, otherwise to numeric."""
    try:
        return _Scalars(pa.array(values, pa.int64()))
    except (pa.ArrowInvalid, OverflowError):
        return _as_text(values)


def _from_decimals(values: Sequence[Any]) -> _Scalars:
    numbers = [None if value is None else _decimal(value) for value in values]
    exponents = {number.as_tuple().exponent for number in numbers if number is not None}
    if not any(isinstance(exponent, str) for exponent in exponents):  # of NaN and infinity
        scale = max([0, *(-int(exponent) for exponent in exponents)])
        with suppress(ValueError):  # more digits than decimal128 can hold
            # Finding the type is by far the slowest part of pa.array(numbers).
            return _Scalars(pa.array(numbers, pa.decimal128(_DECIMAL128_DIGITS, scale)))
    return _as_text(values)


def _decimal(value: Any) -> Decimal:
    return value if isinstance(value, Decimal) else Decimal(int(value))


def _as_text(values: Sequence[Any]) -> _Scalars:
    """Write numbers as text, which PostgreSQL parses with any number of digits."""
    text = [None if value is None else _digits(_decimal(value), at, value) for at, value in enumerate(values)]
    return _Scalars(pa.array(text, pa.large_string()), as_text=True)


def _digits(number: Decimal, at: int, value: Any) -> str:
    if number.is_snan():
        raise BadValue("a signaling NaN", at, value, "make it NaN, or leave it out")
    if number.is_nan():  # also -NaN and NaN123, which PostgreSQL does not accept
        return "NaN"
    if number.is_infinite():
        return str(number)
    exponent = number.as_tuple().exponent
    if number.adjusted() >= _MAX_INTEGER_DIGITS or (isinstance(exponent, int) and exponent < -_MAX_FRACTION_DIGITS):
        raise BadValue(
            "a number with too many digits",
            at,
            value,
            "numeric has at most 131,072 digits before and 16,383 after the decimal point; round it or make it text",
        )
    return Decimal.__format__(number, "f")


def _from_floats(values: Sequence[Any]) -> pa.Array:
    """Convert floats, and integers that float64 represents exactly."""
    for at, value in enumerate(values):
        kind = type(value)
        if value is None or kind is float or isinstance(value, float | np.float32 | np.float16):
            continue
        whole = isinstance(value, int | np.integer)
        exact = -_MAX_EXACT_INTEGER <= value <= _MAX_EXACT_INTEGER if whole else float(value) == value or value != value
        if not exact:
            raise BadValue(
                f"{'an integer' if whole else 'a number'} with more digits than double precision has",
                at,
                value,
                "convert all values to one type, e.g. decimal.Decimal",
            )
    return pa.array([None if value is None else float(value) for value in values], pa.float64())


def _from_texts(values: Sequence[Any]) -> pa.Array:
    try:
        return pa.array(values, pa.large_string())
    except UnicodeEncodeError:
        for at, value in enumerate(values):
            try:
                str(value).encode()
            except UnicodeEncodeError as error:
                raise surrogate(at, value) from error
        raise


def surrogate(at: int, value: Any) -> BadValue:
    """Return the error for text that cannot be encoded as UTF-8."""
    return BadValue("text with a lone surrogate", at, value, "it is not valid Unicode; remove it, or send bytes")


def _refuse_zones(values: Sequence[Any], name: str) -> None:
    at = next((at for at, value in enumerate(values) if value is not None and value.tzinfo is not None), None)
    if at is not None:
        raise BadValue(
            "times of day with a time zone",
            at,
            values[at],
            f"the time zone would be lost; convert them to text, e.g. with df[{name!r}].astype(str), and pass "
            f"dtype={{{name!r}: 'timetz'}}",
        )


def _mixed(values: list[Any], name: str, kinds: set[str]) -> BadValue:
    """Return the error for the first value whose type differs from those before it."""
    present = [(at, value) for at, value in enumerate(values) if value is not None]
    if "geometry" in kinds:
        at, value = next((at, value) for at, value in present if isinstance(value, BaseGeometry))
        return BadValue(
            "geometries but no CRS",
            at,
            value,
            f"set the CRS: gdf = geopandas.GeoDataFrame(df, geometry={name!r}, crs=4326)",
        )
    first = _kind(type(present[0][1]))
    at, value = next((pair for pair in present if _kind(type(pair[1])) != first), present[0])
    found = ", ".join(sorted({type(value).__name__ for _, value in present}))
    return BadValue(
        f"values of type {found}, for which there is no PostgreSQL type,",
        at,
        value,
        f"convert them to one type, e.g. to text with df[{name!r}].astype(str), or pass dtype={{{name!r}: 'text'}}",
    )


def _from_lists(values: list[Any], name: str) -> CopyColumn:
    """Convert lists of one scalar type to an array, other lists to jsonb."""
    numbers = _numbers(values)
    lists = values if numbers is not None else [_as_list(value, at) for at, value in enumerate(values)]
    offsets = np.zeros(len(lists) + 1, np.int64)
    np.cumsum([0 if items is None else len(items) for items in lists], out=offsets[1:])
    try:
        found = _Scalars(numbers) if numbers is not None else _from_elements(lists, name)
    except BadValue as bad:
        raise bad.at(int(np.searchsorted(offsets, bad.position, side="right")) - 1) from bad
    if found is None:
        return json_to_copy_column(values)
    missing = pa.array([items is None for items in lists], pa.bool_())
    arrays = chunked(pa.LargeListArray.from_arrays(pa.array(offsets), found.values, mask=missing))
    return CopyColumn(arrays, "numeric[]", "text[]") if found.as_text else to_copy_column(arrays, name)


def _from_elements(lists: list[list[Any] | None], name: str) -> _Scalars | None:
    """Convert the elements of all lists; None if they are nested, or of mixed types that JSON can hold."""
    flat = list(chain.from_iterable(items for items in lists if items is not None))
    types = set(map(type, flat))
    kinds = _kinds(types)
    if kinds & {"list", "dict"}:
        return None
    flat = _to_builtin(flat, types)
    if types & {type(pd.NA), type(pd.NaT)}:
        flat = [None if value is pd.NA or value is pd.NaT else value for value in flat]
    found = None
    if kinds != {"date", "datetime"}:
        try:
            found = _from_scalars(flat, kinds, name)
        except BadValue:
            if kinds != {"integer", "float"}:
                raise
    if found is None and not kinds <= _IN_JSON:
        raise _mixed(flat, name, kinds)
    return None if found is not None and found.as_text and kinds == {"integer"} else found


def _as_list(value: Any, at: int) -> list[Any] | None:
    """Convert an array or tuple to a list, without converting its elements."""
    if value is None or type(value) is list:
        return value
    if not isinstance(value, np.ndarray):
        return list(value)
    if value.ndim == 0:
        raise BadValue("a zero-dimensional array", at, value, "convert it to a scalar, e.g. with array.item()")
    return array_items(value)


def _numbers(values: list[Any]) -> pa.Array | None:
    """Concatenate one-dimensional arrays of one numeric dtype, much faster than as objects; None for others."""
    arrays = [value for value in values if value is not None]
    if any(type(array) is not np.ndarray or array.ndim != 1 for array in arrays):
        return None
    dtypes = {array.dtype for array in arrays}
    if len(dtypes) != 1 or min(dtypes) not in _FAST_ELEMENTS:
        return None
    numbers = np.concatenate(arrays)
    return pa.array(numbers.astype(_FAST_ELEMENTS[numbers.dtype], copy=False))


# Same types as for Python numbers. Not uint64, which exceeds bigint.
_FAST_ELEMENTS = {
    np.dtype(name): np.dtype(sent)
    for sent, names in (
        ("int64", "int8 int16 int32 int64 uint8 uint16 uint32"),
        ("float64", "float16 float32 float64"),
        ("bool", "bool"),
    )
    for name in names.split()
}
