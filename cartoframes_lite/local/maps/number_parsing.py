"""Conversion of numbers in requests and responses, as in JavaScript."""

from __future__ import annotations

import math
import re
from typing import Any

_EXPONENT_FROM = 1e21  # from here on, JavaScript formats numbers with an exponent
_NUMBER = re.compile(r"[-+]?(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][-+]?\d++)?", re.ASCII)


def parse_number(value: Any) -> float:
    """Convert a str or JSON value to a number; NaN if it is not a number, 0 for an empty str."""
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
    """Return integral floats as int, so that JSON has them without a fraction, as in JavaScript."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < _EXPONENT_FROM else value
