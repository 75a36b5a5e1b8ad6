"""Python values as JSON text that comes back equal: what JSON would change is refused."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any

import numpy as np
import pandas as pd

from cartoframes_lite._codec.refusal import shown

# Python's own limit for reading it again is about 1,000 levels, less those of the program that calls.
MAX_DEPTH = 500
_MAX_PARTS = 3 << 26  # at most three for each value, which takes at least 4 bytes of the 256 MB that a jsonb can have
_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_WHOLE_FROM = 1e16  # repr has an exponent from here on, and PostgreSQL writes such a number as an integer


class NotJSON(ValueError):
    """A value has no JSON text that would be read as the same value."""


def json_text(value: Any) -> str:
    """Write a value as JSON.

    Dates and times become ISO text, NumPy's numbers and arrays what they hold, ``NaT`` and ``NA`` null.

    Raises
    ------
    NotJSON
        If anything in it would change: NaN, keys that are not text, sets, decimals, more levels than can be read.
    """
    text = "".join(_parts(value))
    if "\\u0000" in text and _ESCAPED_NUL.search(text):
        raise NotJSON("the character U+0000, which PostgreSQL cannot hold")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise NotJSON(f"text with a lone surrogate, which is no Unicode ({error})") from error
    return text


def _parts(value: Any) -> list[str]:
    """Write the pieces of the text; with a stack of its own, so what contains itself ends at the limit of levels."""
    parts: list[str] = []
    levels: list[tuple[Iterator[Any], str]] = [(iter((value,)), "")]
    while levels:
        items, end = levels[-1]
        for item in items:
            if end == "}":
                key, item = item
                if not isinstance(key, str):
                    raise NotJSON(f"the key {shown(key)} of the type {type(key).__name__}: JSON has keys of text only")
                parts.append(f"{encode_basestring(key)}: ")
            write = _SCALARS.get(type(item))
            if write is None and type(item) not in (list, dict):
                item = _known(item)
                write = _SCALARS.get(type(item))
            if write is None:
                levels.append(_opened(item, parts, len(levels)))
                break
            parts.append(write(item))
            parts.append(", ")
        else:
            levels.pop()
            if parts[-1] == ", ":
                parts.pop()
            parts.append(end)
            if levels:
                parts.append(", ")
    return parts


def _opened(value: Any, parts: list[str], depth: int) -> tuple[Iterator[Any], str]:
    """Begin a list or dict; the pieces that are written so far bound the memory."""
    if depth > MAX_DEPTH:
        raise NotJSON(f"lists or dicts in each other, more than {MAX_DEPTH} deep")
    if len(parts) > _MAX_PARTS:
        raise NotJSON("more values than a jsonb can hold")
    if isinstance(value, dict):
        parts.append("{")
        return iter(value.items()), "}"
    parts.append("[")
    return iter(value), "]"


def _integer(value: int) -> str:
    try:
        return int.__repr__(value)
    except ValueError as error:  # as many digits could not be read again
        raise NotJSON(f"a number that is too long: {error}") from error


def _float(value: float) -> str:
    text = float.__repr__(value)
    if -_WHOLE_FROM < value < _WHOLE_FROM:
        return text
    if text in ("nan", "inf", "-inf"):
        raise NotJSON(f"the number {text}")
    return f"{Decimal(text):f}.0"


def _known(value: Any) -> Any:
    """Give the JSON value that stands for another one."""
    if value is pd.NA or value is pd.NaT:
        return None
    for kinds, convert in _KNOWN:
        if isinstance(value, kinds):
            found = convert(value)
            return found if type(found) in _JSON_TYPES else _known(found)
    raise NotJSON(f"{shown(value)} of the type {type(value).__name__}")


def _from_float(value: Any) -> float:
    number = float(value)
    if number != value and value == value:
        raise NotJSON(f"the number {value}, which has more digits than double precision")
    return number


def _from_datetime64(value: np.datetime64) -> str | None:
    """Write it as datetime does where that can hold it, else in NumPy's own way."""
    if np.isnat(value):
        return None
    moment = value.astype("M8[us]")
    python = moment.item()
    same = moment.astype(value.dtype) == value and isinstance(python, datetime.datetime)
    return python.isoformat() if same else str(value)


def _from_array(value: np.ndarray[Any, Any]) -> Any:
    if value.ndim == 0 and value.dtype == object:
        raise NotJSON("an array without dimension, of objects")
    if value.dtype.kind not in "mM":
        return value.tolist()
    return list(value) if value.ndim else value[()]  # tolist() would make integers of some


def _from_integer(value: Any) -> int:
    if isinstance(value, np.timedelta64):  # an integer for NumPy
        raise NotJSON(f"{value!r}")
    return int(value)


# The first that fits counts: a datetime is a date, too.
_KNOWN: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (str, str.__str__),
    (np.datetime64, _from_datetime64),
    ((datetime.date, datetime.time), lambda value: value.isoformat()),
    (np.bool_, bool),
    (int, int.__int__),  # a class made of it may have a conversion of its own
    (np.integer, _from_integer),
    (float, float.__float__),
    (np.floating, _from_float),
    (dict, dict),
    ((list, tuple), list),
    (np.ndarray, _from_array),
)
_SCALARS: dict[type, Callable[[Any], str]] = {
    str: encode_basestring,
    int: _integer,
    float: _float,
    bool: lambda value: "true" if value else "false",
    type(None): lambda value: "null",
}
_JSON_TYPES = {*_SCALARS, list, dict}
