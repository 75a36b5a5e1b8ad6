"""Compact binary form of the basemap's lines: the bundled file and the data of a page.

A line of JSON (``bits``, the numbers of lines and points of each group, and labels), then for each group, in the order
of `GROUPS`: the number of points of each line, twice the zoom of each point (a byte), and the differences of x and of y
from the previous point. Numbers are LEB128, differences zigzag-encoded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

GROUPS = ("land", "lakes", "rivers", "states", "borders")  # in drawing order
RINGS = ("land", "lakes")  # the others are open lines
_MAX_BYTES = 5  # of a number: enough for 32 bits

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines or rings in Web Mercator.

    Attributes
    ----------
    lengths : array of int
        Number of points of each line.
    x, y : array of int
        From the west and the north edge of the world, in units of 1 / 2 ** `bits` of its width. x may be outside the
        world, for a line that crosses the antimeridian.
    zooms : array of float
        Lowest zoom at which each point is needed, a multiple of 0.5.
    """

    lengths: Integers
    x: Integers
    y: Integers
    zooms: NDArray[np.float64]

    def select(self, kept: NDArray[np.bool_], min_points: int) -> Self:
        """Return the kept points, without the lines that have less than `min_points` left."""
        line = np.repeat(np.arange(len(self.lengths)), self.lengths)
        counts = np.bincount(line[kept], minlength=len(self.lengths))
        kept = kept & (counts >= min_points)[line]
        return type(self)(counts[counts >= min_points], self.x[kept], self.y[kept], self.zooms[kept])

    def rescaled(self, shift: int) -> Self:
        """Return the lines in units that are 2 ** `shift` times as large."""
        half = (1 << shift) >> 1
        return type(self)(self.lengths, (self.x + half) >> shift, (self.y + half) >> shift, self.zooms)


def encode(groups: Mapping[str, Lines], header: Mapping[str, Any]) -> bytes:
    """Encode lines, with a header that can be converted to JSON."""
    counts = {name: [len(groups[name].lengths), len(groups[name].x)] for name in GROUPS}
    text = json.dumps({**header, "groups": counts}, ensure_ascii=False, separators=(",", ":"))
    parts = [text.encode(), b"\n"]
    for name in GROUPS:
        lines = groups[name]
        parts += [_to_leb128(lines.lengths), (lines.zooms * 2).astype(np.uint8).tobytes()]
        parts += [_to_leb128(_to_zigzag(np.diff(values, prepend=0))) for values in (lines.x, lines.y)]
    return b"".join(parts)


def decode(data: bytes) -> tuple[dict[str, Lines], dict[str, Any]]:
    """Return the groups of lines and the header."""
    text, _, body = data.partition(b"\n")
    header = json.loads(text)
    rest = np.frombuffer(body, np.uint8)
    groups = {}
    for name, (line_count, point_count) in header.pop("groups").items():
        lengths, rest = _from_leb128(rest, line_count)
        zooms, rest = rest[:point_count] / 2, rest[point_count:]
        dx, rest = _from_leb128(rest, point_count)
        dy, rest = _from_leb128(rest, point_count)
        groups[name] = Lines(lengths, np.cumsum(_from_zigzag(dx)), np.cumsum(_from_zigzag(dy)), zooms)
    return groups, header


def _to_zigzag(values: Integers) -> Integers:
    return np.where(values < 0, -2 * values - 1, 2 * values)


def _from_zigzag(values: Integers) -> Integers:
    return np.where(values & 1, -(values >> 1) - 1, values >> 1)


def _to_leb128(values: Integers) -> bytes:
    """Encode numbers with 7 bits in each byte; all bytes of a number but the last have the high bit set."""
    shifts = 7 * np.arange(_MAX_BYTES)
    rest = values[:, None] >> shifts
    is_used = (rest > 0) | (shifts == 0)
    has_more = np.hstack([is_used[:, 1:], np.zeros((len(values), 1), bool)])
    return bytes(((rest & 0x7F) | (has_more << 7))[is_used].astype(np.uint8))


def _from_leb128(data: NDArray[np.uint8], count: int) -> tuple[Integers, NDArray[np.uint8]]:
    """Return the first numbers, and the bytes after them."""
    if count == 0:
        return np.zeros(0, np.int64), data
    ends = np.flatnonzero(data[: count * _MAX_BYTES] < 0x80)[:count]
    starts = np.concatenate([[0], ends[:-1] + 1])
    size = int(ends[-1]) + 1
    places = np.arange(size) - np.repeat(starts, ends - starts + 1)
    bits = (data[:size].astype(np.int64) & 0x7F) << (7 * places)
    return np.add.reduceat(bits, starts), data[size:]
