"""Values of a frame as JSON values for the popups of a page: readable, not necessarily without loss."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Set
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
from shapely.geometry.base import BaseGeometry

from cartoframes_lite._codec.bad_value import short_repr
from cartoframes_lite._codec.from_objects import is_missing

_MAX_INTEGER = 2**53  # JavaScript rounds integers beyond
_MAX_DEPTH = 20
_MAX_BYTES = 32  # of a value of bytes


def json_values(series: pd.Series[Any]) -> list[Any]:
    """Return the values of a column as JSON values: null, numbers, texts, booleans, lists and objects.

    Dates and times become ISO 8601 texts, bytes hexadecimal, and numbers that JavaScript cannot represent texts.
    """
    missing = is_missing(series)
    return [None if absent else _json_value(value) for value, absent in zip(series, missing, strict=True)]


def _json_value(value: Any, depth: int = 0) -> Any:
    """Return a value that is not missing as a JSON value."""
    if isinstance(value, np.generic | np.ndarray) and not isinstance(value, np.datetime64 | np.timedelta64):
        value = value.tolist()
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if abs(value) <= _MAX_INTEGER else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None if math.isnan(value) else str(value)
    if isinstance(value, Decimal):
        return _from_decimal(value)
    if isinstance(value, Mapping | list | tuple | Set):
        return _from_container(value, depth)
    return _from_object(value)


def _from_decimal(value: Decimal) -> float | str | None:
    if value.is_nan():
        return None
    number = float(value)
    return number if math.isfinite(number) and Decimal(repr(number)) == value else str(value)


def _from_container(value: Any, depth: int) -> Any:
    if depth == _MAX_DEPTH:  # possibly a list that contains itself
        return short_repr(value)
    if isinstance(value, Mapping):
        return {str(key): _json_value(item, depth + 1) for key, item in value.items()}
    return [_json_value(item, depth + 1) for item in value]


def _from_object(value: Any) -> Any:
    """Return a value of any other type as a text; None for ``NaT`` and ``NA`` in a list."""
    if value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else str(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bytes | bytearray | memoryview):
        shown = bytes(value[: _MAX_BYTES + 1])
        return f"\\x{shown[:_MAX_BYTES].hex()}{'…' if len(shown) > _MAX_BYTES else ''}"
    return value.wkt if isinstance(value, BaseGeometry) else str(value)
