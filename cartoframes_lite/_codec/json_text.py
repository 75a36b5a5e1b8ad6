"""Python values as JSON text that comes back equal: what JSON would change is refused."""

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
from cartoframes_lite._codec.plain_values import LosesNames, array_items, plain

# Python's own limit for reading it again is about 1,000 levels, less those of the program that calls.
MAX_DEPTH = 500
_MAX_PARTS = 3 << 26  # at most three for each value, which takes at least 4 bytes of the 256 MB that a jsonb can have
_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_NEGATIVE_ZERO = "the number -0.0, which jsonb would make 0.0 (add 0.0 to it)"
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


def check_jsonb(text: str) -> None:
    """Refuse JSON text of which jsonb would lose something.

    Raises
    ------
    NotJSON
        If it is no JSON, or has a key twice, or a negative zero.
    """
    try:
        json.loads(text, object_pairs_hook=_check_keys, parse_int=_check_zero, parse_float=_check_zero)
    except NotJSON:
        raise
    except (ValueError, RecursionError) as error:
        raise NotJSON(f"text that is no JSON ({error})") from error


def _check_keys(pairs: list[tuple[str, Any]]) -> None:
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        twice = next(key for at, key in enumerate(keys) if key in keys[:at])
        raise NotJSON(f"the key {short_repr(twice)} twice, of which jsonb keeps one")


def _check_zero(number: str) -> None:
    if number.startswith("-") and not number.lower().partition("e")[0].strip("-0."):
        raise NotJSON(_NEGATIVE_ZERO)


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
                    raise NotJSON(
                        f"the key {short_repr(key)} of the type {type(key).__name__}: JSON has keys of text only"
                    )
                parts.append(f"{encode_basestring(str.__str__(key))}: ")
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
        if not set(map(type, value)) <= {str}:
            _refuse_twins(value)
        return iter(value.items()), "}"
    parts.append("[")
    return iter(value), "]"


def _refuse_twins(value: dict[Any, Any]) -> None:
    """Refuse keys of the same text, which are two only because a class says so."""
    texts: set[str] = set()
    for key in value:
        if isinstance(key, str):
            if (text := str.__str__(key)) in texts:
                raise NotJSON(f"the key {short_repr(text)} twice")
            texts.add(text)


def _integer(value: int) -> str:
    try:
        return int.__repr__(value)
    except ValueError as error:  # as many digits could not be read again
        raise NotJSON(f"a number that is too long: {error}") from error


def _float(value: float) -> str:
    text = float.__repr__(value)
    if text == "-0.0":
        raise NotJSON(_NEGATIVE_ZERO)
    if -_WHOLE_FROM < value < _WHOLE_FROM:
        return text
    if text in ("nan", "inf", "-inf"):
        raise NotJSON(f"the number {text}")
    return f"{Decimal(text):f}.0"


def _known(value: Any) -> Any:
    """Give the JSON value that stands for another one."""
    if value is pd.NA or value is pd.NaT:
        return None
    try:
        value = plain(value)
    except LosesNames as refusal:
        raise NotJSON(f"{refusal.problem} {short_repr(value)}") from refusal
    if type(value) in _JSON_TYPES:
        return value
    for kinds, convert in _KNOWN:
        if isinstance(value, kinds):
            found = convert(value)
            return found if type(found) in _JSON_TYPES else _known(found)
    raise NotJSON(f"{short_repr(value)} of the type {type(value).__name__}")


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
    if value.ndim:
        return array_items(value)
    return value[()] if value.dtype.kind in "mM" else value.tolist()  # which would make integers of some


# The first that fits counts: a datetime is a date, too.
_KNOWN: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
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
