"""Render Python values as SQL literals of their PostgreSQL type.

Every literal is a complete expression, whatever the value: quotes are doubled, backslashes are escaped in the ``E''``
syntax, which does not depend on ``standard_conforming_strings``, and negative numbers are in parentheses.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any
from uuid import UUID

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from cartoframes_lite import user_warnings
from cartoframes_lite._codec.bad_value import short_repr
from cartoframes_lite._codec.builtin_values import LossyConversion, array_items, to_builtin
from cartoframes_lite._codec.geometry import LON_LAT
from cartoframes_lite._codec.json_text import NotJSON, json_text
from cartoframes_lite._codec.names import is_unicode
from cartoframes_lite._codec.names import literal as quoted
from cartoframes_lite.errors import ConversionWarning

_LON_LAT_SRID = 4326
_MAX_INT4, _MAX_INT8 = 2**31, 2**63
_MAX_DIMENSIONS = 6  # of an array in PostgreSQL
_SUPPORTED = (
    "None, bool, int, float, Decimal, str, bytes, date, time, datetime, timedelta, UUID, list, tuple, dict, shapely"
    " geometries, and the scalars and arrays of NumPy and pandas"
)


def render(value: Any) -> str:
    """Render a value as an SQL literal.

    Parameters
    ----------
    value : object
        Text has no type, so that it takes the type of what it is compared with, as in psycopg. A list becomes an
        array, a tuple a list of values in parentheses, as IN requires, and a dict ``jsonb``. A geometry without an
        SRID is in EPSG:4326.

    Raises
    ------
    TypeError
        If there is no literal for the type.
    ValueError
        If PostgreSQL cannot store the value: text with U+0000, an array whose rows have different lengths.
    """
    value = _normalized(value)
    if value is None:
        return "NULL"
    return _writer(value)(value)


def _normalized(value: Any) -> Any:
    """Return a value as one of Python, pandas or shapely; None if it is missing."""
    if isinstance(value, np.generic):
        value = _from_numpy(value)
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    try:
        value = to_builtin(value)  # ignores what a subclass overrides
    except LossyConversion as error:
        if not isinstance(value, tuple):  # the names of a named tuple have no meaning in SQL
            raise TypeError(f"no SQL literal for {error.problem.rstrip(',')}: {error.advice}") from None
    return value


def _writer(value: Any) -> Callable[[Any], str]:
    """Return the function that renders a value of its type."""
    for kind, write in _WRITERS.items():
        if isinstance(value, kind):
            return write
    name = type(value).__name__
    raise TypeError(f"no SQL literal for {short_repr(value)} of the type {name}: pass one of {_SUPPORTED}")


def geometry_literal(geometry: shapely.Geometry, srid: int) -> str:
    """Render a geometry as EWKB with an SRID."""
    ewkb = shapely.to_wkb(shapely.set_srid(geometry, srid), hex=True, include_srid=True, flavor="extended")
    return f"'{ewkb}'::geometry"


def _from_numpy(value: np.generic) -> Any:
    """Convert a scalar of NumPy to one of Python or pandas."""
    if isinstance(value, np.datetime64):
        return pd.Timestamp(value)
    if isinstance(value, np.timedelta64):
        return pd.Timedelta(value)
    return value.item()


def _boolean(value: bool) -> str:
    return "true" if value else "false"


def _integer(value: int) -> str:
    if -_MAX_INT4 < value < _MAX_INT4:
        return str(value) if value >= 0 else f"({value})"
    return f"'{value}'::{'int8' if -_MAX_INT8 <= value < _MAX_INT8 else 'numeric'}"


def _float(value: float) -> str:
    return f"'{value!r}'::float8"


def _decimal(value: Decimal) -> str:
    return f"'{'NaN' if value.is_nan() else value}'::numeric"


def _text(text: str) -> str:
    if "\0" in text or not is_unicode(text):
        raise ValueError(
            f"text has the character U+0000 or a lone surrogate, which PostgreSQL cannot store; remove it:"
            f" {short_repr(text)}"
        )
    return quoted(text)


def _bytes(value: bytes | bytearray | memoryview) -> str:
    return rf"E'\\x{bytes(value).hex()}'::bytea"


def _datetime(value: dt.datetime) -> str:
    if isinstance(value, pd.Timestamp):
        _warn_about_nanoseconds(value, value.nanosecond)
        value = value.to_pydatetime(warn=False)
    if value.utcoffset() is None:
        return f"'{value.replace(tzinfo=None).isoformat()}'::timestamp"
    with suppress(OverflowError):  # in the first or last hours that Python can represent
        value = value.astimezone(dt.UTC)  # PostgreSQL limits offsets to 15:59:59
    return f"'{value.isoformat()}'::timestamptz"


def _date(value: dt.date) -> str:
    return f"'{value.isoformat()}'::date"


def _time(value: dt.time) -> str:
    if value.tzinfo is None:
        return f"'{value.isoformat()}'::time"
    if value.utcoffset() is None:
        raise ValueError(f"the offset of {value!r} depends on the date: use a time without zone, or a datetime")
    return f"'{value.isoformat()}'::timetz"


def _interval(value: dt.timedelta) -> str:
    if isinstance(value, pd.Timedelta):
        _warn_about_nanoseconds(value, value.nanoseconds)
    # Each field has a sign: with IntervalStyle sql_standard, a single leading minus would hold for all of them.
    return f"'{value.days:+d} days {value.seconds:+d}.{value.microseconds:06d} seconds'::interval"


def _warn_about_nanoseconds(value: object, nanoseconds: int) -> None:
    if nanoseconds:
        user_warnings.warn(
            f"{value} has nanoseconds, which are truncated to microseconds, the precision of PostgreSQL",
            ConversionWarning,
        )


def _uuid(value: UUID) -> str:
    return f"'{value}'::uuid"


def _geometry(value: shapely.Geometry) -> str:
    return geometry_literal(value, int(shapely.get_srid(value)) or _LON_LAT_SRID)


def _json(value: Mapping[Any, Any]) -> str:
    try:
        return f"{quoted(json_text(dict(value)))}::jsonb"
    except NotJSON as error:
        raise ValueError(f"a dict that cannot be stored as JSON has {error}: {short_repr(value)}") from None


def _items(value: Any) -> list[Any]:
    """Return the elements of a list or array; missing ones are None, except in columns of floats."""
    if isinstance(value, np.ndarray):
        return array_items(value)
    if isinstance(value, list):
        return value
    if isinstance(value.dtype, gpd.array.GeometryDtype):
        return _geometries(gpd.GeoSeries(value))
    if pd.api.types.is_float_dtype(value.dtype):
        return list(value)
    return [None if is_missing else item for item, is_missing in zip(value, pd.isna(value), strict=True)]


def _geometries(series: gpd.GeoSeries) -> list[Any]:
    """Return geometries with the SRID of their CRS."""
    if series.crs is None or series.crs.equals(LON_LAT, ignore_axis_order=True):
        return list(series)
    srid = series.crs.to_epsg(min_confidence=100)
    if srid is None:
        raise ValueError(f"the CRS of the geometries has no EPSG code ({series.crs.name}): reproject them with to_crs")
    return list(shapely.set_srid(np.asarray(series.array), srid))


def _array(value: Any) -> str:
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return render(value[()])
    items = _items(value)
    if 0 in _shape(items, depth=1):
        return "'{}'"  # its type is that of what it is compared with; ARRAY[] has none
    _require_one_type(items)
    return f"(ARRAY[{', '.join(map(render, items))}])"


def _shape(items: list[Any], depth: int) -> tuple[int, ...]:
    """Return the lengths of an array by dimension; ValueError if it is not rectangular, or too deep."""
    if depth > _MAX_DIMENSIONS:
        raise ValueError(f"a list has more than {_MAX_DIMENSIONS} levels, the limit of an array in PostgreSQL")
    shapes = {_shape(_items(item), depth + 1) if isinstance(item, _LISTS) else () for item in items}
    if len(shapes) > 1:
        raise ValueError(f"the lists in a list have different lengths, which no array has: {short_repr(items)}")
    return (len(items), *next(iter(shapes), ()))


def _require_one_type(items: list[Any]) -> None:
    """Raise TypeError unless the elements of a list are of types that one PostgreSQL type can hold."""
    kinds = dict(_kinds(items))
    if len(kinds) > 1 and not kinds.keys() <= {"date", "timestamp"}:
        names = sorted(set(kinds.values()))
        types = " and ".join(names) if len(names) > 1 else f"{names[0]} with and without time zone"
        raise TypeError(
            f"a list has elements of different types, {types}, which no array has: convert them to one type, e.g. to"
            f" str: {short_repr(items)}"
        )


def _kinds(items: list[Any]) -> Iterator[tuple[object, str]]:
    """Yield the kind of each element of a list, also of the lists in it, and the name of its Python type."""
    for item in items:
        if isinstance(item, _LISTS):
            yield from _kinds(_items(item))
        elif (value := _normalized(item)) is not None:
            yield _kind(value), type(value).__name__


def _kind(value: Any) -> object:
    """Return what the elements of an array have in common."""
    if isinstance(value, dt.datetime):
        return "timestamp" if value.utcoffset() is None else "timestamptz"
    if isinstance(value, dt.date):
        return "date"
    if isinstance(value, dt.time):
        return value.tzinfo is None
    write = _writer(value)
    return "number" if write in (_integer, _float, _decimal) else write


def _tuple(value: tuple[Any, ...]) -> str:
    if not value:
        raise ValueError("a tuple is empty, and IN () is not SQL: use = ANY(%s) with a list")
    return f"({', '.join(map(render, value))})"


_LISTS = (list, np.ndarray, pd.Series, pd.Index, pd.api.extensions.ExtensionArray)
# In this order: bool is a subclass of int, and datetime of date.
_WRITERS: dict[Any, Callable[[Any], str]] = {
    str: _text,
    bool: _boolean,
    int: _integer,
    float: _float,
    Decimal: _decimal,
    bytes | bytearray | memoryview: _bytes,
    dt.datetime: _datetime,
    dt.date: _date,
    dt.time: _time,
    dt.timedelta: _interval,
    UUID: _uuid,
    shapely.Geometry: _geometry,
    Mapping: _json,
    tuple: _tuple,
    _LISTS: _array,
}
