"""Parse JSON of requests, with the messages of Node.js and limits that Python and PostgreSQL can handle."""

from __future__ import annotations

import json
import math
from typing import Any

_MAX_DEPTH = 100  # levels; a MapConfig has about ten
_MAX_DIGITS = 300  # of an integer; a double has at most 309


class JSONInputError(ValueError):
    """Invalid JSON, JSON that is nested too deeply, or a number that is too large."""


def parse_json(text: str | bytes, *, allow_infinity: bool = False) -> Any:
    """Parse JSON.

    Parameters
    ----------
    text : str or bytes
    allow_infinity : bool
        Whether numbers beyond the range of a double become infinite, as in JavaScript. By default they are an error.

    Raises
    ------
    JSONInputError
    """
    integer, number = (_integer_or_infinity, float) if allow_infinity else (_integer, _finite)
    try:
        content = json.loads(text, parse_int=integer, parse_float=number, parse_constant=_reject_constant)
    except RecursionError:
        raise _nested_too_deeply() from None
    except UnicodeDecodeError:
        raise JSONInputError("Unexpected token in JSON at position 0") from None
    except json.JSONDecodeError as error:
        rest = error.doc[error.pos : error.pos + 1000].strip()
        unexpected = f"Unexpected token {rest[:1]} in JSON at position {error.pos}"
        raise JSONInputError(unexpected if rest else "Unexpected end of JSON input") from None
    _check_depth(content)
    return content


def _check_depth(content: Any) -> None:
    """Raise JSONInputError if the nesting could exceed the recursion limit of later steps."""
    level = [content]
    for _ in range(_MAX_DEPTH):
        level = [
            item
            for container in level
            if isinstance(container, dict | list)
            for item in (container.values() if isinstance(container, dict) else container)
            if isinstance(item, dict | list)
        ]
        if not level:
            return
    raise _nested_too_deeply()


def _nested_too_deeply() -> JSONInputError:
    return JSONInputError(f"JSON is nested deeper than {_MAX_DEPTH} levels")


def _integer_or_infinity(digits: str) -> int | float:
    """Parse an integer; one that is too long becomes a float, as in JavaScript."""
    return int(digits) if len(digits) <= _MAX_DIGITS else float(digits)


def _integer(digits: str) -> int:
    """Parse an integer; raise JSONInputError if it is too long."""
    if len(digits) > _MAX_DIGITS:
        raise JSONInputError(f"the number {digits[:20]}... is too large")
    return int(digits)


def _finite(text: str) -> float:
    """Parse a number; raise JSONInputError if it is beyond the range of a double."""
    value = float(text)
    if not math.isfinite(value):
        raise JSONInputError(f"the number {text[:20]} is too large")
    return value


def _reject_constant(name: str) -> Any:
    """Reject ``NaN`` and ``Infinity``, which Python accepts."""
    raise JSONInputError(f"Unexpected token {name[:1]} in JSON")
