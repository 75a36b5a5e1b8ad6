"""Paths of Matplotlib from lines and rings in pixels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray

from cartoframes_lite.maps.drawing.canvas import Sides

if TYPE_CHECKING:
    from matplotlib.path import Path

Floats = NDArray[np.float64]
_MOVETO, _LINETO, _CLOSEPOLY = 1, 2, 79  # codes of matplotlib.path.Path


def lines_path(lines: Iterable[Floats]) -> Path:
    """Return a path of open lines."""
    return _path([(line, [_MOVETO, *[_LINETO] * (len(line) - 1)]) for line in lines if len(line)])


def rings_path(rings: Iterable[Floats], clip: Sides) -> Path:
    """Return a path of closed rings, cut at the sides of a box: Agg cannot fill what extends very far."""
    cut = [_clip_ring(ring, clip) for ring in rings]
    closed = [np.vstack([ring, ring[:1]]) for ring in cut if len(ring)]
    return _path([(ring, [_MOVETO, *[_LINETO] * (len(ring) - 2), _CLOSEPOLY]) for ring in closed])


def polygon_path(polygon: Any, clip: Sides) -> Path:
    """Return the path of a shapely polygon or multipolygon."""
    parts = shapely.orient_polygons(shapely.get_parts(polygon))  # fills use the nonzero rule
    rings = [ring for part in parts for ring in (part.exterior, *part.interiors)]
    return rings_path([shapely.get_coordinates(ring)[:-1] for ring in rings], clip)


def _path(parts: Sequence[tuple[Floats, list[int]]]) -> Path:
    from matplotlib.path import Path

    if not parts:
        return Path(np.zeros((0, 2)))
    return Path(np.vstack([part for part, _ in parts]), np.concatenate([codes for _, codes in parts]))


def _clip_ring(ring: Floats, clip: Sides) -> Floats:
    """Cut a ring at the sides of a box (Sutherland-Hodgman): the direction stays, edges may run along the sides."""
    left, upper, right, lower = clip
    for axis, limit, sign in ((0, left, 1), (0, right, -1), (1, upper, 1), (1, lower, -1)):
        distance = (ring[:, axis] - limit) * sign
        inside = distance >= 0
        if inside.all() or not len(ring):
            continue
        after, next_distance = np.roll(ring, -1, axis=0), np.roll(distance, -1)
        crosses = inside != np.roll(inside, -1)
        fraction = distance[crosses] / (distance[crosses] - next_distance[crosses])
        crossings = np.full_like(ring, np.nan)
        crossings[crosses] = ring[crosses] + (after[crosses] - ring[crosses]) * fraction[:, None]
        kept = np.column_stack([inside, crosses]).ravel()
        ring = np.stack([ring, crossings], axis=1).reshape(-1, 2)[kept]
    return ring
