"""Numbers in requests, as JavaScript reads them."""

from __future__ import annotations

import math
import re
from typing import Any

_LEAST_WITH_EXPONENT = 1e21  # of JavaScript's numbers
_NUMBER = re.compile(r"[-+]?(?:\d++(?:\.\d*+)?+|\.\d++)(?:[eE][-+]?\d++)?+", re.ASCII)


def read_number(value: Any) -> float:
    """Return the number that a text or a value of JSON is; NaN if it is none, 0 for an empty text."""
    if isinstance(value, bool) or value is None:
        return math.nan
    if isinstance(value, int | float):
        return _as_float(value)
    text = value.strip() if isinstance(value, str) else "?"
    if not text:
        return 0.0
    return float(text) if _NUMBER.fullmatch(text) else math.nan


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return math.inf if value > 0 else -math.inf


def as_javascript(value: float) -> float:
    """Return a number that JSON shows as JavaScript does: a whole one without a fraction."""
    return (
        int(value) if isinstance(value, float) and value.is_integer() and abs(value) < _LEAST_WITH_EXPONENT else value
    )
