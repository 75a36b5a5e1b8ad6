"""Convert PostgreSQL's geometric types from binary format, which no setting rounds, to text.

If a float has several shortest decimal forms, Python and PostgreSQL may choose different ones; both parse to the same
float.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from decimal import Decimal

_EXPONENT_FROM = 1e15  # from here on PostgreSQL writes an exponent; Python from 1e16 on
_SPECIAL = {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}


def float_text(value: float) -> str:
    """Format a float with the fewest digits that parse to the same value."""
    text = repr(value)
    if text in _SPECIAL:
        return _SPECIAL[text]
    if "e" in text or abs(value) < _EXPONENT_FROM:
        return text.removesuffix(".0")
    digits = len(Decimal(text).normalize().as_tuple().digits)
    return f"{value:.{digits - 1}e}"


def _numbers(data: bytes, first: int = 0) -> list[str]:
    return [float_text(value) for (value,) in struct.iter_unpack(">d", data[first:])]


def _points(data: bytes, first: int = 0) -> str:
    numbers = _numbers(data, first)
    return ",".join(f"({x},{y})" for x, y in zip(numbers[::2], numbers[1::2], strict=True))


def _path(data: bytes) -> str:
    """Format a path: a byte that is 1 if it is closed, the number of points, and the points."""
    points = _points(data, 5)
    return f"({points})" if data[0] else f"[{points}]"


def _line(data: bytes) -> str:
    return f"{{{','.join(_numbers(data))}}}"


def _circle(data: bytes) -> str:
    x, y, radius = _numbers(data)
    return f"<({x},{y}),{radius}>"


GEOMETRIC_TEXT: dict[str, Callable[[bytes], str]] = {
    "point": _points,
    "lseg": lambda data: f"[{_points(data)}]",
    "box": _points,
    "path": _path,
    "polygon": lambda data: f"({_points(data, 4)})",
    "line": _line,
    "circle": _circle,
}
