"""The end of a binary COPY of any columns, proved by walking its rows.

The trailer (``ff ff``) also begins each NULL, and may be part of a value: only behind the last row it is one. Rows
have no marks, and Python is too slow to walk millions of them one by one. But all rows of a COPY have the same number
of fields, and begin with it: wherever these two bytes stand, a row may begin. All of these places are walked at once,
and then those are followed that lead from one row to the next.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from typing import Any

import numpy as np
import numpy.typing as npt

_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
_HEADER_BYTES = len(_SIGNATURE) + 8  # flags, and the length of what follows the header
_HAS_OIDS = 1 << 16  # of servers before PostgreSQL 12: a field more than the rows count
_TRAILER = b"\xff\xff"
_WINDOW_BYTES = 1 << 21  # walking is fastest while a window and its positions stay in the processor's cache
_PRUNINGS = 2

_COUNT, _LENGTH, _HEADER = struct.Struct(">h"), struct.Struct(">i"), struct.Struct(">Ii")

Ints = npt.NDArray[np.int64]


def is_complete(data: Any) -> bool:
    """Say whether bytes are a binary COPY from its header to its trailer, with nothing behind it.

    Parameters
    ----------
    data : bytes or other buffer
        Such as a file that is mapped into memory.
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
        followed: int | None = _follow(data, at, min(end, at + _WINDOW_BYTES), count, fields)
        if followed == at:  # the row is longer than a window, or is none
            followed = _next_row(data, at, end, count, fields)
        if followed is None:
            return False
        at = followed
    return bool(at == end)


def _next_row(data: Any, at: int, end: int, count: int, fields: int) -> int | None:
    """Walk one row; None if it is not complete."""
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
    """Walk the rows of a window that are complete in it; return where the next one begins."""
    window = np.frombuffer(data, np.uint8, end - at, at)
    if fields == 0:  # nothing but counts
        return at + (len(window) if not window.any() else 0) // 2 * 2
    is_start = np.zeros(len(window) + 1, bool)
    is_start[: max(0, len(window) - 1)] = (window[:-1] == count >> 8) & (window[1:] == count & 0xFF)
    starts: Ints = np.flatnonzero(is_start)
    ends = _ends(window, starts, fields)
    for _ in range(_PRUNINGS):  # most of the places that are no rows lead nowhere
        leads_on = (ends >= 0) & is_start[ends]
        is_start[starts[~leads_on]] = False
        starts, ends = starts[leads_on], ends[leads_on]
    if len(starts) == 0 or starts[0] != 0:
        return at
    # A place mostly leads to the next one: only where it does not, the chain has to be followed singly.
    broken = np.flatnonzero(ends[:-1] != starts[1:])
    targets = np.searchsorted(starts, ends[broken])
    is_hit = targets < len(starts)
    is_hit[is_hit] &= starts[targets[is_hit]] == ends[broken][is_hit]
    breaks, leads, place = broken.tolist(), np.where(is_hit, targets, -1).tolist(), 0
    while True:
        number = bisect_left(breaks, place)
        if number == len(breaks):
            return at + int(ends[-1])
        if leads[number] < 0:
            return at + int(ends[breaks[number]])
        place = leads[number]


def _ends(window: npt.NDArray[np.uint8], starts: Ints, fields: int) -> Ints:
    """Walk the rows that begin at some places; -1 if one is not complete in the window."""
    lengths = np.ndarray((max(0, len(window) - 3),), ">i4", window, strides=(1,))  # at each byte
    at = starts + _COUNT.size
    is_whole = np.ones(len(starts), bool)
    last = len(lengths) - 1
    for _ in range(fields):
        is_whole &= at <= last
        length = lengths[np.where(is_whole, at, 0)].astype(np.int64) if last >= 0 else np.full(len(at), -2)
        is_whole &= length >= -1
        at = at + np.maximum(length, 0) + _LENGTH.size
    is_whole &= at <= len(window)
    return np.where(is_whole, at, -1)
