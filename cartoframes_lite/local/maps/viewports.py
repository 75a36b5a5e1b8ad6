"""Views of static images: extent, zoom and size."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cartoframes_lite.local.maps.errors import MapError
from cartoframes_lite.local.maps.queries import HALF_WORLD, Box

_MAX_LATITUDE = 85.0511287798066
_MAX_ZOOM = 30
_TILE_PIXELS = 256


@dataclass(frozen=True, slots=True)
class Viewport:
    """Extent, zoom and size of an image.

    Attributes
    ----------
    box : tuple of float
        Extent, EPSG:3857.
    zoom : float
        Zoom for the filters of styles.
    width, height : int
        In pixels.
    """

    box: Box
    zoom: float
    width: int
    height: int


_MAX_LONGITUDE = 1e6  # degrees; limits how often a longitude may wrap around the world


def viewport_of_center(longitude: float, latitude: float, zoom: float, size: tuple[int, int]) -> Viewport:
    """Return the view with a center in degrees and a zoom."""
    zoom = min(max(zoom, 0), _MAX_ZOOM)
    return _around(*mercator(longitude, latitude), zoom, size)


def viewport_of_bbox(bounds: Box, size: tuple[int, int]) -> Viewport:
    """Return the view with the highest integer zoom that contains a box in degrees."""
    west, south = mercator(bounds[0], bounds[1])
    east, north = mercator(bounds[2], bounds[3])
    spans = (abs(east - west) / size[0], abs(north - south) / size[1])
    resolution = max(*spans, 2 * HALF_WORLD / _TILE_PIXELS / 2**_MAX_ZOOM)
    zoom = max(0, math.floor(math.log2(2 * HALF_WORLD / _TILE_PIXELS / resolution) + 1e-9))
    return _around((west + east) / 2, (south + north) / 2, zoom, size)


def mercator(longitude: float, latitude: float) -> tuple[float, float]:
    """Project coordinates to EPSG:3857; latitudes beyond the Mercator limits are clamped.

    Raises
    ------
    MapError
        If the coordinates are not finite or out of range.
    """
    if not abs(longitude) <= _MAX_LONGITUDE or math.isnan(latitude):
        raise MapError(f"Invalid coordinates: {longitude}, {latitude}")
    latitude = min(max(latitude, -_MAX_LATITUDE), _MAX_LATITUDE)
    y = math.log(math.tan(math.pi / 4 + math.radians(latitude) / 2)) / math.pi * HALF_WORLD
    return longitude / 180 * HALF_WORLD, y


def _around(x: float, y: float, zoom: float, size: tuple[int, int]) -> Viewport:
    resolution = 2 * HALF_WORLD / _TILE_PIXELS / 2**zoom
    half_width, half_height = size[0] / 2 * resolution, size[1] / 2 * resolution
    return Viewport((x - half_width, y - half_height, x + half_width, y + half_height), zoom, *size)
