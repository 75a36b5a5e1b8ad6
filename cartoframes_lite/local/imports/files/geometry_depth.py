"""Check the nesting depth of geometries: GEOS parses recursively, and thousands of levels overflow the stack."""

from __future__ import annotations

import re
from struct import error, unpack_from

MAX_DEPTH = 100  # PostGIS has a limit of 200
_BRACKET = re.compile(r"[(){}\[\]]")
_HEADER_BYTES = 9  # of a collection in WKB: byte order, type, number of members
# WKB types that are not collections: a single coordinate, one list of coordinates, several lists.
_POINT, _LINES, _AREAS = 1, (2, 8), (3, 17)
_HAS_SRID, _HAS_Z, _HAS_M, _TYPE = 0x20000000, 0x80000000, 0x40000000, 0x0FFFFFFF
_DIMENSIONS = (2, 3, 3, 4)  # of ISO WKB, by the thousands of the type


def is_deep_text(text: str) -> bool:
    """Return whether the brackets of WKT or GeoJSON are nested too deeply."""
    if max(map(text.count, "([{")) <= MAX_DEPTH // 2:
        return False
    depth = 0
    for bracket in _BRACKET.finditer(text):
        depth += 1 if bracket[0] in "([{" else -1
        if depth > MAX_DEPTH:
            return True
    return False


def is_deep_wkb(wkb: bytes) -> bool:
    """Return whether collections in WKB or EWKB are nested too deeply. Damaged WKB is checked up to the damage."""
    if len(wkb) < MAX_DEPTH * _HEADER_BYTES:
        return False
    left, at = [1], 0  # number of remaining members of each open collection
    try:
        while left:
            if not left[-1]:
                left.pop()
                continue
            left[-1] -= 1
            order = "<I" if wkb[at] else ">I"
            (kind,) = unpack_from(order, wkb, at + 1)
            at += 9 if kind & _HAS_SRID else 5
            thousands, base = divmod(kind & _TYPE, 1000)
            size = 8 * (_DIMENSIONS[thousands & 3] + bool(kind & _HAS_Z) + bool(kind & _HAS_M))
            if base == _POINT:
                at += size
                continue
            (count,) = unpack_from(order, wkb, at)
            at += 4
            if base in _LINES:
                at += size * count
            elif base in _AREAS:
                for _ in range(count):
                    at += 4 + size * unpack_from(order, wkb, at)[0]
            else:
                left.append(count)
                if len(left) > MAX_DEPTH:
                    return True
    except (error, IndexError):
        pass  # GEOS fails at the same position
    return False
