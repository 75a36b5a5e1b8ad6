"""Render values as text in the notation of PostgreSQL, so that a cast in the database gives the same text."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa

from cartoframes_lite._codec.bad_value import BadValue
from cartoframes_lite._codec.copy_columns import chunked
from cartoframes_lite._codec.json_text import NotJSON, json_text

# PostgreSQL writes doubles from here on with an exponent, Python from 1e16 on.
_FIRST_WITH_EXPONENT, _FIRST_WITH_EXPONENT_IN_PYTHON = 1e15, 1e16
_DIRECT = (pa.types.is_integer, pa.types.is_boolean, pa.types.is_date)  # Arrow writes them as PostgreSQL does


def to_text(values: pa.ChunkedArray, sql_type: str) -> pa.ChunkedArray:
    """Render a column as text.

    Parameters
    ----------
    values : pyarrow.ChunkedArray
        Values as encoded for COPY.
    sql_type : str
        Their PostgreSQL type, since uuid, jsonb and bytea are all bytes.

    Raises
    ------
    BadValue
        If a value has no notation as text, such as bytes and arrays.
    """
    if pa.types.is_large_string(values.type):
        return values
    if any(is_direct(values.type) for is_direct in _DIRECT):
        return values.cast(pa.large_string())
    texts: list[str | None] = []
    for at, value in enumerate(values.to_pylist()):
        if isinstance(value, bytes) and sql_type == "uuid":
            texts.append(str(UUID(bytes=value)))
        elif isinstance(value, bytes) and sql_type == "jsonb":
            texts.append(value[1:].decode())
        elif isinstance(value, list):
            raise BadValue("a list", at, value, "convert all frames to one type")
        else:
            texts.append(None if value is None else text_of(value, at))
    return chunked(pa.array(texts, pa.large_string()))


def text_of(value: Any, at: int) -> str:
    """Render a Python value that is not missing; ``at`` is its row, for the error."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating):
        return _float_text(value)
    if isinstance(value, Decimal):
        return "NaN" if value.is_nan() else format(value, "f")
    if isinstance(value, int | np.integer | UUID | datetime.datetime | datetime.date | datetime.time):
        return str(value)
    if isinstance(value, datetime.timedelta):
        return _interval_text(value)
    if isinstance(value, list | dict | tuple):
        try:
            return json_text(value)
        except NotJSON as error:
            raise BadValue("a value that cannot be stored as text", at, value, f"it has {error}") from error
    raise BadValue(f"a value of type {type(value).__name__}", at, value, "convert it to text")


def _float_text(value: float | np.floating[Any]) -> str:
    number = float(value)
    if not np.isfinite(number):
        return "NaN" if number != number else "Infinity" if number > 0 else "-Infinity"
    if _FIRST_WITH_EXPONENT <= abs(number) < _FIRST_WITH_EXPONENT_IN_PYTHON:
        digits = repr(abs(number)).removesuffix(".0").replace(".", "")
        fraction = digits[1:].rstrip("0")
        return f"{'-' if number < 0 else ''}{digits[0]}{fraction and '.'}{fraction}e+15"
    return repr(number).removesuffix(".0")


def _interval_text(value: datetime.timedelta) -> str:
    """Render as hours, minutes and seconds, without days, as intervals are sent in binary COPY."""
    microseconds = abs(value) // datetime.timedelta(microseconds=1)
    seconds, fraction = divmod(microseconds, 1_000_000)
    decimals = f".{fraction:06}".rstrip("0") if fraction else ""
    sign = "-" if value < datetime.timedelta() else ""
    return f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{decimals}"
