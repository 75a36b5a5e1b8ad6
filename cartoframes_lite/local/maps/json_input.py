"""JSON parsing of requests, with limits that Python and PostgreSQL can handle."""

from __future__ import annotations

import json
import math
from typing import Any

MAX_BYTES = 100 * 1024  # of a request body, as in CARTO
_MAX_DEPTH = 100  # levels; a MapConfig has about ten
_MAX_DIGITS = 300  # of an integer; a double has at most 309


class JSONInputError(ValueError):
    """Invalid JSON, JSON that is nested too deeply, or numbers that are too large."""


def parse_json(text: str | bytes) -> Any:
    """Parse JSON.

    Raises
    ------
    JSONInputError
    """
    try:
        content = json.loads(text, parse_int=_parse_integer, parse_float=_parse_float, parse_constant=_reject_constant)
    except RecursionError:
        raise JSONInputError("the JSON is nested too deeply") from None
    except UnicodeDecodeError:
        raise JSONInputError("Unexpected token in JSON at position 0") from None
    except json.JSONDecodeError as error:
        rest = error.doc[error.pos :].strip()
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
        ]
        if not level:
            return
    raise JSONInputError("the JSON is nested too deeply")


def _parse_integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise JSONInputError(f"the number {digits[:20]}... is too large")
    return int(digits)


def _parse_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise JSONInputError(f"the number {text[:20]} is too large")
    return value


def _reject_constant(name: str) -> Any:
    raise JSONInputError(f"Unexpected token {name[:1]} in JSON")
