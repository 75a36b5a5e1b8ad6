"""Decode PostgreSQL's binary format of arrays and intervals, whose text format depends on settings of the role."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from cartoframes_lite._codec.geometric_text import GEOMETRIC_TEXT

_US_PER_SECOND, _US_PER_MINUTE, _US_PER_HOUR = 1_000_000, 60_000_000, 3_600_000_000
_INT, _TWO_INTS = struct.Struct(">i"), struct.Struct(">ii")
_INT32, _INT64 = np.iinfo(np.int32), np.iinfo(np.int64)


def array_parser(element: str) -> Callable[[bytes], list[Any]]:
    """Return the function that converts output of ``array_send`` to a list, nested for several dimensions.

    Format: three ``int32`` (number of dimensions, whether there are NULLs, element type), length and lower bound of
    each dimension, and the elements: an ``int32`` length, -1 for NULL, and the bytes.
    """
    convert, packed = _ELEMENTS[element], _PACKED.get(element)

    def parse(value: bytes) -> list[Any]:
        dimensions, has_nulls = _TWO_INTS.unpack_from(value)
        begin = 12 + 8 * dimensions
        if packed is not None and not has_nulls:
            items: list[Any] = np.frombuffer(value, packed, offset=begin)["value"].tolist()
        else:
            items = _items(value, begin, convert)
        for dimension in range(dimensions - 1, 0, -1):
            size, _ = _TWO_INTS.unpack_from(value, 12 + 8 * dimension)
            items = [items[first : first + size] for first in range(0, len(items), size)]
        return items

    return parse


def _items(value: bytes, begin: int, convert: Callable[[bytes], Any]) -> list[Any]:
    """Convert the elements one by one."""
    at, items = begin, []
    while at < len(value):
        (length,) = _INT.unpack_from(value, at)
        at += 4
        items.append(None if length < 0 else convert(value[at : at + length]))
        at += max(length, 0)
    return items


def text_writer(pgtype: str) -> Callable[[bytes], str]:
    """Return the function that converts output of a send function to text; intervals have IntervalStyle postgres."""
    return _ELEMENTS[pgtype]


def interval_text(value: bytes) -> str:
    """Format an interval, which consists of microseconds, days and months, each with its own sign."""
    us, days, months = struct.unpack(">qii", value)
    if (us, days, months) == (_INT64.max, _INT32.max, _INT32.max):
        return "infinity"
    if (us, days, months) == (_INT64.min, _INT32.min, _INT32.min):
        return "-infinity"
    years = abs(months) // 12 * (1 if months > 0 else -1)
    text, is_before = "", False
    for number, unit in ((years, "year"), (months - 12 * years, "mon"), (days, "day")):
        if number:
            sign = "+" if is_before and number > 0 else ""
            text += f"{' ' if text else ''}{sign}{number} {unit}{'' if number == 1 else 's'}"
            is_before = number < 0
    if us or not text:
        text += f"{' ' if text else ''}{'-' if us < 0 else '+' if is_before else ''}{_format_time(abs(us))}"
    return text


def _format_time(us: int) -> str:
    """Format microseconds as hours, minutes and seconds."""
    hours, rest = divmod(us, _US_PER_HOUR)
    minutes, rest = divmod(rest, _US_PER_MINUTE)
    seconds, rest = divmod(rest, _US_PER_SECOND)
    fraction = f".{rest:06d}".rstrip("0") if rest else ""
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{fraction}"


_ELEMENTS: dict[str, Callable[[bytes], Any]] = {
    "float4": lambda value: struct.unpack(">f", value)[0],
    "float8": lambda value: struct.unpack(">d", value)[0],
    "bytea": bytes,
    "interval": interval_text,
    **GEOMETRIC_TEXT,
}
# Elements of fixed width, with their lengths.
_PACKED = {
    name: np.dtype([("length", ">i4"), ("value", value)]) for name, value in (("float4", ">f4"), ("float8", ">f8"))
}
# Element types whose to_json output depends on bytea_output, extra_float_digits or IntervalStyle of the role.
BINARY_ELEMENTS = frozenset(_ELEMENTS)
