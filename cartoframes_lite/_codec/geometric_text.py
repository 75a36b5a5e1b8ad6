"""PostgreSQL's geometric types: from their binary form, which no setting rounds, to the text that it writes.

Of the shortest texts of a number, PostgreSQL does not always choose the nearest one; that of Python is the same number.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from decimal import Decimal

_EXPONENT_FROM = 1e15  # where PostgreSQL begins to write one; Python does at 1e16
_SPECIAL = {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}


def float_text(value: float) -> str:
    """Write a float with as many digits as tell it from its neighbors."""
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
    """Write a path: a byte that says whether it is closed, the number of points, and these."""
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
