"""Decode JSON responses and read their typed members; a missing member or a wrong type raises."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from cartoframes_lite.errors import CartoError, ConnectionFailed, error_from_response

T = TypeVar("T")

_INTEGER = re.compile(r"-?[0-9]{1,18}")


def decode(method: str, url: str, body: bytes) -> Any:
    """Decode the JSON of a successful response; raise its ``error`` member, if any."""
    if not body.strip():
        raise ConnectionFailed(f"{url}: the response is empty")
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError) as error:
        if body.lstrip()[:1] in (b"{", b"["):  # otherwise not JSON at all, such as an HTML page
            raise ConnectionFailed(
                f"{url}: the response is truncated or invalid JSON ({type(error).__name__}): try again"
            ) from error
        raise error_from_response(method, url, 200, {}, body) from error
    if isinstance(payload, dict) and payload.get("error"):
        raise error_from_response(method, url, 200, {}, body)
    return payload


def parsed(read: Callable[[Any], T], payload: Any, url: str) -> T:
    """Convert a decoded JSON response with ``read``.

    Parameters
    ----------
    read : callable
        Raises a built-in exception, such as KeyError, if a member is missing or has the wrong type.
    payload : object
        Decoded JSON.
    url : str
        URL for the error message.

    Raises
    ------
    ConnectionFailed
        If ``read`` fails.
    """
    try:
        return read(payload)
    except CartoError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ConnectionFailed(
            f"{url}: the response is not one of the CARTO API ({reason[:200]}): check base_url and any proxy"
        ) from error


def record(value: Any) -> dict[str, Any]:
    """Return a JSON object; TypeError if the value is none."""
    if not isinstance(value, dict):
        raise TypeError(f"expected an object, got {_kind(value)}")
    return value


def records(value: Any) -> list[dict[str, Any]]:
    """Return a list of objects."""
    return [record(item) for item in items(value)]


def items(value: Any) -> list[Any]:
    """Return a list; TypeError if the value is none."""
    if not isinstance(value, list):
        raise TypeError(f"expected a list, got {_kind(value)}")
    return value


def text(payload: Mapping[str, Any], name: str) -> str | None:
    """Return a member as text; None if it is missing, null or empty."""
    value = record(payload).get(name)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError(f"expected text for {name!r}, got {_kind(value)}")
    return str(value)


def required(payload: Mapping[str, Any], name: str) -> str:
    """Return a member as text; KeyError if it is missing, null or empty."""
    value = text(payload, name)
    if value is None:
        raise KeyError(name)
    return value


def texts(value: Any) -> tuple[str, ...]:
    """Return a list of strings as a tuple."""
    strings = items(value)
    for item in strings:
        if not isinstance(item, str):
            raise TypeError(f"expected a list of text, got {_kind(item)} in it")
    return tuple(strings)


def parse_datetime(value: Any) -> datetime | None:
    """Parse an ISO timestamp, in UTC if it has no offset; None if there is no value."""
    if not value:
        return None
    if not isinstance(value, str):
        raise TypeError(f"expected a timestamp, got {_kind(value)}")
    parsed_value = datetime.fromisoformat(value.replace(" UTC", "+00:00"))  # some responses end in " UTC"
    return parsed_value if parsed_value.tzinfo else parsed_value.replace(tzinfo=UTC)


def integer(value: Any) -> int | None:
    """Return an integer, which some responses contain as text; None if there is no value."""
    if value is None or value == "":
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    raise TypeError(f"expected an integer, got {str(value)[:40]!r}")


def required_integer(payload: Mapping[str, Any], name: str) -> int:
    """Return a member as an integer; KeyError if it is missing, null or empty."""
    value = integer(record(payload)[name])
    if value is None:
        raise KeyError(name)
    return value


def drop_none(**values: Any) -> dict[str, Any]:
    """Return the keyword arguments that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def _kind(value: Any) -> str:
    """Return the JSON type of a value for a message."""
    if value is None:
        return "null"
    kinds = {bool: "a boolean", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return kinds.get(type(value), type(value).__name__)
