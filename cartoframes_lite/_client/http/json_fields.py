"""Answers as Python has them: what they lack, or have of another type, is an error that says so."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, TypeVar

from cartoframes_lite.errors import CartoError, ConnectionFailed

T = TypeVar("T")

_INTEGER = re.compile(r"-?[0-9]{1,18}")


def parsed(read: Callable[[Any], T], answer: Any, place: str) -> T:
    """Read an answer.

    Parameters
    ----------
    read : callable
        Raises what Python raises if a member is missing or has another type.
    answer : object
        Decoded JSON.
    place : str
        What the message says was asked for.

    Raises
    ------
    ConnectionFailed
        If it cannot be read.
    """
    try:
        return read(answer)
    except CartoError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        reason = f"there is no {error}" if isinstance(error, KeyError) else str(error)
        raise ConnectionFailed(
            f"{place}: the answer is not one of the API ({reason[:200]}): check base_url, and what is on the way"
        ) from error


def record(value: Any) -> dict[str, Any]:
    """Read an object."""
    if not isinstance(value, dict):
        raise TypeError(f"an object is expected, not {_kind(value)}")
    return value


def records(value: Any) -> list[dict[str, Any]]:
    """Read a list of objects."""
    return [record(item) for item in items(value)]


def items(value: Any) -> list[Any]:
    """Read a list."""
    if not isinstance(value, list):
        raise TypeError(f"a list is expected, not {_kind(value)}")
    return value


def text(answer: Mapping[str, Any], name: str) -> str | None:
    """Read a text that may be missing, null or empty."""
    value = record(answer).get(name)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError(f"{name!r} is {_kind(value)} and not a text")
    return str(value)


def required(answer: Mapping[str, Any], name: str) -> str:
    """Read a text that every answer of this kind has."""
    found = text(answer, name)
    if found is None:
        raise KeyError(name)
    return found


def texts(value: Any) -> tuple[str, ...]:
    """Read a list of texts."""
    found = items(value)
    for item in found:
        if not isinstance(item, str):
            raise TypeError(f"a list of texts is expected, not one with {_kind(item)}")
    return tuple(found)


def parse_datetime(value: Any) -> datetime | None:
    """Read a point of time; without an offset it is UTC."""
    if not value:
        return None
    if not isinstance(value, str):
        raise TypeError(f"a point of time is expected, not {_kind(value)}")
    found = datetime.fromisoformat(value.replace(" UTC", "+00:00"))  # as some answers write it
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def integer(value: Any) -> int | None:
    """Read a whole number, which some answers have as text."""
    if value is None or value == "":
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    raise TypeError(f"a whole number is expected, not {str(value)[:40]!r}")


def required_integer(answer: Mapping[str, Any], name: str) -> int:
    """Read a whole number that every answer of this kind has."""
    found = integer(record(answer)[name])
    if found is None:
        raise KeyError(name)
    return found


def field_values(record: Any) -> dict[str, Any]:
    """Give the fields of a record by name, for a class that adds to it."""
    return {field.name: getattr(record, field.name) for field in fields(record)}


def drop_none(**values: Any) -> dict[str, Any]:
    """Leave out what is None."""
    return {name: value for name, value in values.items() if value is not None}


def _kind(value: Any) -> str:
    """Name the JSON type of a value."""
    if value is None:
        return "null"
    kinds = {bool: "a boolean", int: "a number", float: "a number", str: "a text", list: "a list", dict: "an object"}
    return kinds.get(type(value), type(value).__name__)
