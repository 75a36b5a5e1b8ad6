"""Size of points by their density: many points in a small extent are drawn small."""

from __future__ import annotations

import math

Box = tuple[float, float, float, float]

_VIEW_PX = (800, 400)
_FILL = 0.6  # width of a marker, relative to the mean distance between points in the view of all of them
_WIDTHS_PX = (3.0, 10.0)
_GROWTH = ((2, 1.5), (4, 2.5))  # zooms after the one that shows all points, and how much larger the markers are then
_MAX_ZOOM = 18
_TILE_PX = 256
_WORLD = 2 * 20037508.342789244  # meters, EPSG:3857


def marker_width(rows: int, box: Box | None) -> float:
    """Return the width of the markers of points, in pixels.

    Parameters
    ----------
    rows : int
    box : tuple of (west, south, east, north), optional
        Extent of the points, in EPSG:3857. None: there are no points.
    """
    if box is None or rows < 2:
        return _WIDTHS_PX[1]
    meters = meters_per_pixel(box)
    if meters == 0:
        return _WIDTHS_PX[1]
    # A line of points is a strip as wide as a marker.
    width, height = (max(side / meters, _WIDTHS_PX[1]) for side in (box[2] - box[0], box[3] - box[1]))
    distance = math.sqrt(width * height / rows)
    return min(max(round(_FILL * distance * 2) / 2, _WIDTHS_PX[0]), _WIDTHS_PX[1])


def marker_growth(width: float, box: Box | None) -> tuple[tuple[int, float], ...]:
    """Return the zooms from which on markers are larger, with the widths in pixels."""
    if box is None or width >= _WIDTHS_PX[1] or meters_per_pixel(box) == 0:
        return ()
    zoom = fit_zoom(box)
    steps = [(min(zoom + more, _MAX_ZOOM), min(width * factor, _WIDTHS_PX[1])) for more, factor in _GROWTH]
    return tuple(sorted(dict(steps).items()))


def fit_zoom(box: Box) -> int:
    """Return the largest zoom at which an extent fits in the view."""
    meters = meters_per_pixel(box)
    return min(max(math.floor(math.log2(_WORLD / _TILE_PX / meters)), 0), _MAX_ZOOM) if meters else _MAX_ZOOM


def meters_per_pixel(box: Box) -> float:
    """Return the resolution at which an extent fits in the view."""
    return max((box[2] - box[0]) / _VIEW_PX[0], (box[3] - box[1]) / _VIEW_PX[1])
