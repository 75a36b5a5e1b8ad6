"""JSON of requests, within bounds that Python and PostgreSQL can work with."""

from __future__ import annotations

import json
import math
from typing import Any

MOST_BYTES = 100 * 1024  # of a body, as CARTO has it
_DEEPEST = 100  # levels; what people write has about ten
_MOST_DIGITS = 300  # of an integer: more is beyond a double


class JSONInputError(ValueError):
    """The text is not JSON, or is nested too deeply, or has numbers that are too large; the message says it."""


def parse_json(text: str | bytes) -> Any:
    """Decode JSON.

    Raises
    ------
    JSONInputError
    """
    try:
        content = json.loads(text, parse_int=_integer, parse_float=_finite, parse_constant=_refuse_constant)
    except RecursionError:
        raise JSONInputError("the JSON is nested too deeply") from None
    except UnicodeDecodeError:
        raise JSONInputError("Unexpected token in JSON at position 0") from None
    except json.JSONDecodeError as error:
        rest = error.doc[error.pos :].strip()
        where = f"Unexpected token {rest[:1]} in JSON at position {error.pos}"
        raise JSONInputError(where if rest else "Unexpected end of JSON input") from None
    _check_depth(content)
    return content


def _check_depth(content: Any) -> None:
    """Refuse what is nested so deeply that a later step could run out of stack."""
    level = [content]
    for _ in range(_DEEPEST):
        level = [
            item
            for outer in level
            if isinstance(outer, dict | list)
            for item in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise JSONInputError("the JSON is nested too deeply")


def _integer(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise JSONInputError(f"the number {digits[:20]}... is too large")
    return int(digits)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise JSONInputError(f"the number {text[:20]} is too large")
    return value


def _refuse_constant(name: str) -> Any:
    raise JSONInputError(f"Unexpected token {name[:1]} in JSON")
