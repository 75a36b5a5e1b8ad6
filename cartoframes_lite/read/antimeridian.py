"""Reproject shapes to longitudes and latitudes: parts beyond ±180° are moved to the other side of the antimeridian.

A projection has no edge at the antimeridian, so a polygon there has vertices at 179° and -179°. Reprojected vertex by
vertex, it would cover all longitudes between them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import shapely
from pyproj import CRS, Transformer

from cartoframes_lite._codec.geometry import LON_LAT

_SEGMENTS = 256  # that the extent of a shape is divided into, to follow its edges
_MAX_DEVIATION_DEGREES = 10.0

Coordinates = np.ndarray[Any, np.dtype[np.float64]]


def to_lon_lat(shape: shapely.Geometry, crs: CRS) -> shapely.Geometry:
    """Reproject a 2-D shape to EPSG:4326.

    Raises
    ------
    ValueError
        If it has a pole on its boundary, or contains both.
    """
    if crs.equals(LON_LAT, ignore_axis_order=True):
        return shape
    transformer = Transformer.from_crs(crs, LON_LAT, always_xy=True)
    step = _step(shape)
    points, lines = _along(_lines(shape), step)
    longitudes = np.asarray(transformer.transform(*points.T)[0])
    # Infinite coordinates are left to the caller, who knows the name of the argument.
    is_finite = np.isfinite(longitudes).all()
    if not is_finite or not ((np.abs(np.diff(longitudes)) > 180) & (np.diff(lines) == 0)).any():
        return shapely.transform(shape, lambda points: np.column_stack(transformer.transform(*points.T)))
    parts = [_part_to_lon_lat(part, transformer, step) for part in _parts(shape)]
    return parts[0] if len(parts) == 1 else shapely.union_all(parts)


def bounding_boxes(
    shape: shapely.Geometry, original: shapely.Geometry, crs: CRS
) -> tuple[tuple[float, float, float, float], ...]:
    """Return the bounding box of a shape in EPSG:4326; two boxes if the original crosses the antimeridian."""
    west, south, east, north = map(float, shapely.bounds(shape))
    if crs.equals(LON_LAT, ignore_axis_order=True):
        return ((west, south, east, north),)
    hull = shapely.bounds(to_lon_lat(shapely.envelope(original), crs))
    bounds = shapely.bounds(list(_parts(shape)))
    bounds = bounds[bounds[:, 0].argsort()]
    reach = np.maximum.accumulate(bounds[:, 2])
    gaps = bounds[1:, 0] - reach[:-1]
    if not np.isfinite(hull).all() or hull[0] > -180 or hull[2] < 180 or not (gaps > 0).any():
        return ((west, south, east, north),)
    at = int(gaps.argmax())
    return (float(bounds[at + 1, 0]), south, 180.0, north), (-180.0, south, float(reach[at]), north)


def crosses_edge(shape: shapely.Geometry, crs: CRS) -> bool:
    """Return whether a shape in EPSG:4326 crosses an edge of a CRS, where its coordinates jump."""
    transformer = Transformer.from_crs(LON_LAT, crs, always_xy=True)
    points, lines = _along(_lines(shape), _step(shape))
    there = np.column_stack(transformer.transform(*points.T))
    middles = (there[1:] + there[:-1]) / 2
    back = np.column_stack(transformer.transform(middles[:, 0], middles[:, 1], direction="INVERSE"))
    cosines = (_vectors((points[1:] + points[:-1]) / 2) * _vectors(back)).sum(axis=1)
    is_far = cosines < np.cos(np.radians(_MAX_DEVIATION_DEGREES))
    return bool((is_far & (np.diff(lines) == 0)).any())


def _step(shape: shapely.Geometry) -> float:
    west, south, east, north = map(float, shapely.bounds(shape))
    return max(east - west, north - south) / _SEGMENTS


def _parts(shape: shapely.Geometry) -> Iterator[shapely.Geometry]:
    """Yield the points, lines and polygons of a shape."""
    for part in shapely.get_parts(shape):
        if isinstance(part, shapely.geometry.base.BaseMultipartGeometry):
            yield from _parts(part)
        elif not part.is_empty:
            yield part


def _lines(shape: shapely.Geometry) -> Any:
    """Return the lines and rings of a shape as an array."""
    parts = np.array([*_parts(shape), None])[:-1]  # an array of objects, also of one
    kinds = shapely.get_type_id(parts)
    return np.concatenate([parts[np.isin(kinds, (1, 2))], shapely.get_rings(parts[kinds == 3])])


def _part_to_lon_lat(part: shapely.Geometry, transformer: Transformer, step: float) -> shapely.Geometry:
    paths = [_path(line, transformer, step) for line in _lines(part)]
    if not any(is_moved for _, is_moved in paths):  # such as a point
        return shapely.transform(part, lambda points: np.column_stack(transformer.transform(*points.T)))
    if not isinstance(part, shapely.Polygon):
        return _wrapped(shapely.LineString(paths[0][0]))
    rings = zip(shapely.get_rings(part), paths, strict=True)
    outer, *holes = (_wrapped(_polygon(ring, path, transformer)) for ring, (path, _) in rings)
    return shapely.difference(outer, shapely.union_all(holes))


def _path(line: shapely.Geometry, transformer: Transformer, step: float) -> tuple[Coordinates, bool]:
    """Return a line in longitudes without jumps, which may be beyond ±180°, and whether any of them is."""
    points = np.column_stack(transformer.transform(*_along([line], step)[0].T))
    without_jumps = np.unwrap(points[:, 0], period=360)
    is_moved = not np.allclose(without_jumps, points[:, 0], equal_nan=True)
    return np.column_stack([without_jumps, points[:, 1]]), is_moved


def _polygon(ring: shapely.Geometry, path: Coordinates, transformer: Transformer) -> shapely.Geometry:
    """Return the polygon in a ring; around a pole, where its longitudes do not return to the first, up to the pole."""
    inside = shapely.Polygon(shapely.get_coordinates(ring))
    poles = [
        latitude
        for latitude in (-90.0, 90.0)
        for point in (shapely.Point(transformer.transform(0, latitude, direction="INVERSE")),)
        if np.isfinite(shapely.get_coordinates(point)).all() and shapely.covers(inside, point)
    ]
    first, last = path[0, 0], path[-1, 0]
    is_around = abs(last - first) > 180
    if len(poles) != is_around:
        raise ValueError("its boundary passes a pole, or it contains both poles: divide it")
    if is_around:
        path = np.vstack([path, [(last, poles[0]), (first, poles[0])]])
    return shapely.make_valid(shapely.Polygon(path))


def _wrapped(shape: shapely.Geometry) -> shapely.Geometry:
    """Return a shape with the parts beyond ±180° moved by multiples of 360°."""
    west, _, east, _ = shapely.bounds(shape)
    turns = range(int((west + 180) // 360), int((east + 180) // 360) + 1)
    pieces = [
        shapely.transform(
            shapely.intersection(shape, shapely.box(360 * turn - 180, -90, 360 * turn + 180, 90)),
            partial(np.add, (-360.0 * turn, 0.0)),
        )
        for turn in turns
    ]
    return shapely.union_all(pieces)


def _along(lines: Any, step: float) -> tuple[Coordinates, Any]:
    """Return points along lines, at most a step apart, including their vertices, and the number of the line of each."""
    points, numbers = shapely.get_coordinates(shapely.segmentize(lines, step or 1), return_index=True)
    return points, numbers


def _vectors(points: Coordinates) -> Coordinates:
    """Return unit vectors of longitudes and latitudes."""
    longitudes, latitudes = np.radians(points).T
    return np.column_stack(
        [np.cos(latitudes) * np.cos(longitudes), np.cos(latitudes) * np.sin(longitudes), np.sin(latitudes)]
    )
