"""A column of Python objects to Arrow: each value exactly, or an error that names its row."""

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
from cartoframes_lite._codec.copy_columns import CopyColumn, chunked, json_to_copy_column, to_copy_column
from cartoframes_lite._codec.datetimes import from_datetimes, from_timedeltas
from cartoframes_lite._codec.plain_values import array_items, plain_all

# What PostgreSQL's numeric has room for: digits before and behind the decimal point.
_MAX_WHOLE, _MAX_FRACTION = 131_072, 16_383
_EXACT_INTEGERS = 2**53  # larger ones are not all doubles

# The first that fits counts: a datetime is a date, a bool an int, and a timedelta64 an integer of NumPy.
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
# Others may be NaN, NaT or NA.
_NEVER_MISSING = {type(None), bool, int, str, bytes, datetime.date, datetime.datetime, datetime.time, list, tuple, dict}
_IN_JSON = {"boolean", "integer", "float", "text", "list", "dict"}


@dataclass(frozen=True, slots=True)
class _Scalars:
    """Values of one type; ``as_text`` says that they are numbers that only PostgreSQL's numeric has room for."""

    values: pa.Array
    as_text: bool = False


def from_objects(objects: npt.NDArray[np.object_], name: str) -> CopyColumn:
    """Convert Python values; what pandas counts as missing is NULL.

    Raises
    ------
    BadValue
        If a value cannot be sent, or not in one column with those before it.
    """
    values = objects.tolist()
    types = set(map(type, values))
    if not types <= _NEVER_MISSING:
        values = _plain(values, types)
        # One mark for all that is missing: NaT beside text, for example, would make the column a mixed one.
        _refuse_signaling(values, types)
        values = [None if gone else value for value, gone in zip(values, _missing(values), strict=True)]
        types = set(map(type, values))
    kinds = _kinds(types)
    if kinds and kinds <= {"list", "dict"}:
        return _from_lists(values, name) if kinds == {"list"} else json_to_copy_column(values)
    if kinds == {"uuid"}:
        content = [None if value is None else value.bytes for value in values]
        return CopyColumn(chunked(pa.array(content, pa.large_binary())), "uuid")
    found = _from_scalars(values, kinds, name)
    if found is None:
        raise _mixed(values, name, kinds)
    return CopyColumn(chunked(found.values), "numeric", "text") if found.as_text else to_copy_column(found.values, name)


def _plain(values: list[Any], types: set[type]) -> list[Any]:
    """Give the values of the built-in classes, in the place of those of classes that are made of them."""
    found, at, refusal = plain_all(values, types)
    if at is not None and refusal is not None:
        raise BadValue(refusal.problem, at, values[at], refusal.advice) from refusal
    return found


def _missing(values: list[Any]) -> npt.NDArray[np.bool_]:
    """Tell what pandas counts as missing, value by value."""
    return np.asarray(pd.isna(np.fromiter(values, object, len(values))))


def _refuse_signaling(values: list[Any], types: set[type]) -> None:
    """Refuse what cannot even be asked whether it is NaN."""
    if any(issubclass(kind, Decimal) for kind in types):
        for at, value in enumerate(values):
            if isinstance(value, Decimal) and value.is_snan():
                raise BadValue("a signaling NaN", at, value, "make it NaN, or leave it out")


def _kinds(types: Iterable[type]) -> set[str]:
    return {_kind(kind) for kind in types} - {"missing"}


def _kind(kind: type) -> str:
    return next((name for name, kinds in _KINDS if issubclass(kind, kinds)), kind.__name__)


def _from_scalars(values: Sequence[Any], kinds: set[str], name: str) -> _Scalars | None:
    """Convert values that have one type in PostgreSQL; None if they have not."""
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


_ARROW = {"boolean": pa.bool_(), "bytes": pa.large_binary(), "date": pa.date32(), "time": pa.time64("us")}


def _from_integers(values: Sequence[Any]) -> _Scalars:
    """Convert integers to bigint while they fit, else to numeric."""
    try:
        return _Scalars(pa.array(values, pa.int64()))
    except (pa.ArrowInvalid, OverflowError):
        return _as_text(values)


def _from_decimals(values: Sequence[Any]) -> _Scalars:
    numbers = [None if value is None else _decimal(value) for value in values]
    if all(number is None or number.is_finite() for number in numbers):
        with suppress(pa.ArrowInvalid):  # more digits than decimal256 has
            decimals = pa.array(numbers)
            if pa.types.is_decimal128(decimals.type):
                return _Scalars(decimals)
    return _as_text(values)


def _decimal(value: Any) -> Decimal:
    return value if isinstance(value, Decimal) else Decimal(int(value))


def _as_text(values: Sequence[Any]) -> _Scalars:
    """Write numbers as text, which PostgreSQL reads with any number of digits."""
    text = [None if value is None else _digits(_decimal(value), at, value) for at, value in enumerate(values)]
    return _Scalars(pa.array(text, pa.large_string()), as_text=True)


def _digits(number: Decimal, at: int, value: Any) -> str:
    if number.is_snan():
        raise BadValue("a signaling NaN", at, value, "make it NaN, or leave it out")
    if number.is_nan():  # also -NaN and NaN123, which PostgreSQL does not know
        return "NaN"
    if number.is_infinite():
        return str(number)
    exponent = number.as_tuple().exponent
    if number.adjusted() >= _MAX_WHOLE or (isinstance(exponent, int) and exponent < -_MAX_FRACTION):
        raise BadValue(
            "a number that is too long", at, value, "PostgreSQL has 131,072 digits before and 16,383 behind the point"
        )
    return Decimal.__format__(number, "f")


def _from_floats(values: Sequence[Any]) -> pa.Array:
    """Convert floats, and integers that are the same number as floats."""
    for at, value in enumerate(values):
        kind = type(value)
        if value is None or kind is float or isinstance(value, float | np.float32 | np.float16):
            continue
        whole = isinstance(value, int | np.integer)
        exact = -_EXACT_INTEGERS <= value <= _EXACT_INTEGERS if whole else float(value) == value or value != value
        if not exact:
            raise BadValue(
                f"{'an integer' if whole else 'a number'} with more digits than double precision has",
                at,
                value,
                "make all of them one type, e.g. decimal.Decimal",
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
    """Describe text that is no Unicode."""
    return BadValue("text with a lone surrogate", at, value, "it is no Unicode; remove it, or send bytes")


def _refuse_zones(values: Sequence[Any], name: str) -> None:
    at = next((at for at, value in enumerate(values) if value is not None and value.tzinfo is not None), None)
    if at is not None:
        raise BadValue(
            "times of day with a time zone",
            at,
            values[at],
            f"it would be lost; make them text, e.g. with df[{name!r}].astype(str), and pass "
            f"dtype={{{name!r}: 'timetz'}}",
        )


def _mixed(values: list[Any], name: str, kinds: set[str]) -> BadValue:
    """Describe the first value that has another type than those before it."""
    present = [(at, value) for at, value in enumerate(values) if value is not None]
    if "geometry" in kinds:
        at, value = next((at, value) for at, value in present if isinstance(value, BaseGeometry))
        return BadValue(
            "geometries but no CRS",
            at,
            value,
            f"say which it is: gdf = geopandas.GeoDataFrame(df, geometry={name!r}, crs=4326)",
        )
    first = _kind(type(present[0][1]))
    at, value = next((pair for pair in present if _kind(type(pair[1])) != first), present[0])
    found = ", ".join(sorted({type(value).__name__ for _, value in present}))
    return BadValue(
        f"values of the type {found}, which no PostgreSQL type holds,",
        at,
        value,
        f"make them one type, e.g. text with df[{name!r}].astype(str)",
    )


def _from_lists(values: list[Any], name: str) -> CopyColumn:
    """Convert lists of one scalar type to an array, everything else to jsonb."""
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
    """Convert the elements of all lists; None if they are lists, or of several types that JSON has."""
    flat = list(chain.from_iterable(items for items in lists if items is not None))
    types = set(map(type, flat))
    kinds = _kinds(types)
    if kinds & {"list", "dict"}:
        return None
    flat = _plain(flat, types)
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
    """Make a list of an array or tuple, of the elements only."""
    if value is None or type(value) is list:
        return value
    if not isinstance(value, np.ndarray):
        return list(value)
    if value.ndim == 0:
        raise BadValue("an array without dimension", at, value, "make it a number")
    return array_items(value)


def _numbers(values: list[Any]) -> pa.Array | None:
    """Put one-dimensional arrays of one numeric type behind each other, much faster than as objects; else None."""
    arrays = [value for value in values if value is not None]
    if any(type(array) is not np.ndarray or array.ndim != 1 for array in arrays):
        return None
    dtypes = {array.dtype for array in arrays}
    if len(dtypes) != 1 or min(dtypes) not in _FAST_ELEMENTS:
        return None
    numbers = np.concatenate(arrays)
    return pa.array(numbers.astype(_FAST_ELEMENTS[numbers.dtype], copy=False))


# As Python's numbers are sent. uint64 has those that are no bigint.
_FAST_ELEMENTS = {
    np.dtype(name): np.dtype(sent)
    for sent, names in (
        ("int64", "int8 int16 int32 int64 uint8 uint16 uint32"),
        ("float64", "float16 float32 float64"),
        ("bool", "bool"),
    )
    for name in names.split()
}
