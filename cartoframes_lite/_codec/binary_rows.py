"""Check that a binary COPY of unknown columns is complete, by walking its rows.

The bytes of the trailer (``ff ff``) also occur in NULLs and values, so they are the trailer only after the last row.
Rows have no delimiters, and walking millions of them one by one is too slow in Python. All rows begin with the same
number of fields, so each occurrence of these two bytes is a possible start of a row. All candidates are walked at once
with NumPy; then the chain from each row to the next is next_start.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from typing import Any

import numpy as np
import numpy.typing as npt

_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
_HEADER_BYTES = len(_SIGNATURE) + 8  # flags, and the length of what follows the header
_HAS_OIDS = 1 << 16  # flag of servers before PostgreSQL 12: one more field than the field count
_TRAILER = b"\xff\xff"
_WINDOW_BYTES = 1 << 21  # fastest if a window and its candidates fit in the CPU cache
_PRUNING_PASSES = 2

_COUNT, _LENGTH, _HEADER = struct.Struct(">h"), struct.Struct(">i"), struct.Struct(">Ii")

Ints = npt.NDArray[np.int64]


def is_complete(data: Any) -> bool:
    """Return whether bytes are a complete binary COPY, from header to trailer, with nothing after it.

    Parameters
    ----------
    data : bytes or other buffer
        For example a memory-mapped file.
    """
    if len(data) < _HEADER_BYTES + len(_TRAILER) or bytes(data[: len(_SIGNATURE)]) != _SIGNATURE:
        return False
    flags, extension = _HEADER.unpack_from(data, len(_SIGNATURE))
    at, end = _HEADER_BYTES + extension, len(data) - len(_TRAILER)
    if extension < 0 or not at <= end or bytes(data[end:]) != _TRAILER:
        return False
    (count,) = _COUNT.unpack_from(data, at)
    fields = count + bool(flags & _HAS_OIDS)
    while at < end:
        if count < 0:
            return False
        next_start: int | None = _follow(data, at, min(end, at + _WINDOW_BYTES), count, fields)
        if next_start == at:  # the row is longer than a window, or is not a row
            next_start = _next_row(data, at, end, count, fields)
        if next_start is None:
            return False
        at = next_start
    return bool(at == end)


def _next_row(data: Any, at: int, end: int, count: int, fields: int) -> int | None:
    """Return the end of one row; None if it is incomplete."""
    if _COUNT.unpack_from(data, at)[0] != count:
        return None
    at += _COUNT.size
    for _ in range(fields):
        if at + _LENGTH.size > end:
            return None
        (length,) = _LENGTH.unpack_from(data, at)
        if length < -1:
            return None
        at += _LENGTH.size + max(0, length)
    return at if at <= end else None


def _follow(data: Any, at: int, end: int, count: int, fields: int) -> int:
    """Follow the rows that are complete in a window; return the start of the next one."""
    window = np.frombuffer(data, np.uint8, end - at, at)
    if fields == 0:  # rows consist of the field count only
        return at + (len(window) if not window.any() else 0) // 2 * 2
    is_start = np.zeros(len(window) + 1, bool)
    is_start[: max(0, len(window) - 1)] = (window[:-1] == count >> 8) & (window[1:] == count & 0xFF)
    starts: Ints = np.flatnonzero(is_start)
    ends = _ends(window, starts, fields)
    for _ in range(_PRUNING_PASSES):  # most false candidates do not end at another candidate
        has_next = (ends >= 0) & is_start[ends]
        is_start[starts[~has_next]] = False
        starts, ends = starts[has_next], ends[has_next]
    if len(starts) == 0 or starts[0] != 0:
        return at
    # Most candidates end at the next one; only the others need to be next_start in Python.
    broken = np.flatnonzero(ends[:-1] != starts[1:])
    targets = np.searchsorted(starts, ends[broken])
    is_found = targets < len(starts)
    is_found[is_found] &= starts[targets[is_found]] == ends[broken][is_found]
    breaks, next_places, place = broken.tolist(), np.where(is_found, targets, -1).tolist(), 0
    while True:
        number = bisect_left(breaks, place)
        if number == len(breaks):
            return at + int(ends[-1])
        if next_places[number] < 0:
            return at + int(ends[breaks[number]])
        place = next_places[number]


def _ends(window: npt.NDArray[np.uint8], starts: Ints, fields: int) -> Ints:
    """Return the ends of rows that begin at ``starts``; -1 for those that are incomplete in the window."""
    lengths = np.ndarray((max(0, len(window) - 3),), ">i4", window, strides=(1,))  # at each byte
    at = starts + _COUNT.size
    is_valid = np.ones(len(starts), bool)
    last = len(lengths) - 1
    for _ in range(fields):
        is_valid &= at <= last
        length = lengths[np.where(is_valid, at, 0)].astype(np.int64) if last >= 0 else np.full(len(at), -2)
        is_valid &= length >= -1
        at = at + np.maximum(length, 0) + _LENGTH.size
    is_valid &= at <= len(window)
    return np.where(is_valid, at, -1)
