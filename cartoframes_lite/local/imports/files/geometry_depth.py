"""How deeply geometries are nested: GEOS reads them by recursion, and thousands of levels would end the process."""

from __future__ import annotations

import re
from struct import error, unpack_from

MOST_LEVELS = 100  # PostGIS has a limit of 200
_BRACKET = re.compile(r"[(){}\[\]]")
_SHORTEST = 9  # bytes of a collection in WKB, before its members
# Types of WKB without members, by the number of their lists of coordinates: none, one, several.
_POINT, _LINES, _AREAS = 1, (2, 8), (3, 17)
_HAS_SRID, _HAS_Z, _HAS_M, _TYPE = 0x20000000, 0x80000000, 0x40000000, 0x0FFFFFFF
_DIMENSIONS = (2, 3, 3, 4)  # of ISO WKB, by the thousands of the type


def is_deep_text(text: str) -> bool:
    """Tell whether the brackets of WKT or GeoJSON are nested too deeply."""
    if max(map(text.count, "([{")) <= MOST_LEVELS // 2:
        return False
    depth = 0
    for bracket in _BRACKET.finditer(text):
        depth += 1 if bracket[0] in "([{" else -1
        if depth > MOST_LEVELS:
            return True
    return False


def is_deep_wkb(wkb: bytes) -> bool:
    """Tell whether collections in WKB or EWKB are nested too deeply. What is cut off or damaged is as deep as it is."""
    if len(wkb) < MOST_LEVELS * _SHORTEST:
        return False
    left, at = [1], 0  # how many members are still to come, of each collection that is open
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
                if len(left) > MOST_LEVELS:
                    return True
    except (error, IndexError):
        pass  # whoever reads it will not get farther
    return False
