"""Serialize Python values to JSON without loss: a value that JSON or jsonb would change raises."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any

import numpy as np
import pandas as pd

from cartoframes_lite._codec.bad_value import short_repr
from cartoframes_lite._codec.builtin_values import LossyConversion, array_items, to_builtin

# json.loads is limited to about 1,000 levels, minus the depth of the caller's stack.
MAX_DEPTH = 500
_MAX_PARTS = 3 << 26  # at most three per value; a jsonb has at most 256 MB, and at least 4 bytes per value
_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_NEGATIVE_ZERO = "the number -0.0, which jsonb would store as 0.0 (add 0.0 to it)"
_EXPONENT_FROM = 1e16  # from here on repr has an exponent, and PostgreSQL would write the number as an integer


class NotJSON(ValueError):
    """A value cannot be serialized to JSON without loss."""


def json_text(value: Any) -> str:
    """Serialize a value to JSON.

    Dates and times become ISO strings, NumPy scalars and arrays numbers and lists, ``NaT`` and ``NA`` null.

    Raises
    ------
    NotJSON
        If any part would change: NaN, keys that are not text, sets, decimals, too many levels.
    """
    text = "".join(_parts(value))
    if "\\u0000" in text and _ESCAPED_NUL.search(text):
        raise NotJSON("the character U+0000, which PostgreSQL cannot store")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise NotJSON(f"text with a lone surrogate, which is not valid Unicode ({error})") from error
    return text


def check_jsonb(text: str) -> None:
    """Raise if JSON text is invalid or would be changed by jsonb.

    Raises
    ------
    NotJSON
        If it is not valid JSON, or has a duplicate key or a negative zero.
    """
    try:
        json.loads(text, object_pairs_hook=_check_keys, parse_int=_check_zero, parse_float=_check_zero)
    except NotJSON:
        raise
    except (ValueError, RecursionError) as error:
        raise NotJSON(f"text that is not valid JSON ({error})") from error


def _check_keys(pairs: list[tuple[str, Any]]) -> None:
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        duplicate = next(key for at, key in enumerate(keys) if key in keys[:at])
        raise NotJSON(f"the key {short_repr(duplicate)} twice, of which jsonb keeps only one")


def _check_zero(number: str) -> None:
    if number.startswith("-") and not number.lower().partition("e")[0].strip("-0."):
        raise NotJSON(_NEGATIVE_ZERO)


def _parts(value: Any) -> list[str]:
    """Return the parts of the JSON text; iterative, so that self-references end at MAX_DEPTH."""
    parts: list[str] = []
    levels: list[tuple[Iterator[Any], str]] = [(iter((value,)), "")]
    while levels:
        items, end = levels[-1]
        for item in items:
            if end == "}":
                key, item = item
                if not isinstance(key, str):
                    raise NotJSON(f"the key {short_repr(key)} of type {type(key).__name__}; JSON keys must be text")
                parts.append(f"{encode_basestring(str.__str__(key))}: ")
            write = _SCALARS.get(type(item))
            if write is None and type(item) not in (list, dict):
                item = _to_json_type(item)
                write = _SCALARS.get(type(item))
            if write is None:
                levels.append(_open_container(item, parts, len(levels)))
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


def _open_container(value: Any, parts: list[str], depth: int) -> tuple[Iterator[Any], str]:
    """Begin a list or dict, after checking depth and number of parts, which bounds the memory."""
    if depth > MAX_DEPTH:
        raise NotJSON(f"lists or dicts nested more than {MAX_DEPTH} levels deep")
    if len(parts) > _MAX_PARTS:
        raise NotJSON("more values than a jsonb can hold")
    if isinstance(value, dict):
        parts.append("{")
        if not set(map(type, value)) <= {str}:
            _check_duplicate_texts(value)
        return iter(value.items()), "}"
    parts.append("[")
    return iter(value), "]"


def _check_duplicate_texts(value: dict[Any, Any]) -> None:
    """Raise if two keys have the same text; possible with subclasses of str that override equality."""
    texts: set[str] = set()
    for key in value:
        if isinstance(key, str):
            if (text := str.__str__(key)) in texts:
                raise NotJSON(f"the key {short_repr(text)} twice")
            texts.add(text)


def _integer(value: int) -> str:
    try:
        return int.__repr__(value)
    except ValueError as error:  # more digits than Python parses
        raise NotJSON(f"a number with too many digits: {error}") from error


def _float(value: float) -> str:
    text = float.__repr__(value)
    if text == "-0.0":
        raise NotJSON(_NEGATIVE_ZERO)
    if -_EXPONENT_FROM < value < _EXPONENT_FROM:
        return text
    if text in ("nan", "inf", "-inf"):
        raise NotJSON(f"the number {text}")
    return f"{Decimal(text):f}.0"


def _to_json_type(value: Any) -> Any:
    """Convert a value of any other type to one that JSON has."""
    if value is pd.NA or value is pd.NaT:
        return None
    try:
        value = to_builtin(value)
    except LossyConversion as error:
        raise NotJSON(f"{error.problem} {short_repr(value)}") from error
    if type(value) in _JSON_TYPES:
        return value
    for kinds, convert in _CONVERTERS:
        if isinstance(value, kinds):
            found = convert(value)
            return found if type(found) in _JSON_TYPES else _to_json_type(found)
    raise NotJSON(f"{short_repr(value)} of type {type(value).__name__}")


def _from_float(value: Any) -> float:
    number = float(value)
    if number != value and value == value:
        raise NotJSON(f"the number {value}, which has more digits than float64")
    return number


def _from_datetime64(value: np.datetime64) -> str | None:
    """Format like datetime if datetime can hold the value, otherwise like NumPy."""
    if np.isnat(value):
        return None
    microseconds = value.astype("M8[us]")
    converted = microseconds.item()
    is_same = microseconds.astype(value.dtype) == value and isinstance(converted, datetime.datetime)
    return converted.isoformat() if is_same else str(value)


def _from_array(value: np.ndarray[Any, Any]) -> Any:
    if value.ndim == 0 and value.dtype == object:
        raise NotJSON("a zero-dimensional array of objects")
    if value.ndim:
        return array_items(value)
    return value[()] if value.dtype.kind in "mM" else value.tolist()  # tolist makes integers of nanoseconds


_CONVERTERS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (np.datetime64, _from_datetime64),
    ((datetime.date, datetime.time), lambda value: value.isoformat()),
    (np.floating, _from_float),
    (tuple, list),
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
