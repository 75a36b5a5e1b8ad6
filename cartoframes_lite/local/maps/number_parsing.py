"""Numbers in requests, as JavaScript reads them."""

from __future__ import annotations

import math
import re
from typing import Any

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
