"""Initial view of a map."""

from __future__ import annotations

import math
from dataclasses import dataclass

WIDTH_PIXELS, HEIGHT_PIXELS = 800, 420  # of the static image; the page takes the available width
WIDGETS_PIXELS = 172  # height of the widgets under the map; widgets.css has the same
WORLD = (-180.0, -60.0, 180.0, 75.0)
_TILE_PIXELS = 256
_MAX_ZOOM = 17  # zoom for a single point
_ZOOM_STEP = 0.25
_MAX_LATITUDE = 85.05


@dataclass(frozen=True, slots=True)
class Viewport:
    """Center and zoom of a map.

    Attributes
    ----------
    center : tuple of (float, float)
        Longitude and latitude in degrees.
    zoom : int
    bounds : tuple of (west, south, east, north), optional
        In degrees: the page chooses center and zoom so that they are visible at its size. None: center and zoom.
    padding_pixels : int
        Between the bounds and the edges of the page.
    """

    center: tuple[float, float]
    zoom: int
    bounds: tuple[float, float, float, float] | None = None
    padding_pixels: int = 0

    @classmethod
    def around(cls, bbox: tuple[float, float, float, float], padding_pixels: int = 0) -> Viewport:
        """Return the view of a bounding box; its zoom is the highest at which the static image contains it.

        Parameters
        ----------
        bbox : tuple of (west, south, east, north)
            In degrees.
        padding_pixels : int
            Between the bounding box and the edges of the page.
        """
        west, south, east, north = bbox
        top, bottom = _mercator_y(north), _mercator_y(south)
        width, height = (pixels - 2 * padding_pixels for pixels in (WIDTH_PIXELS, HEIGHT_PIXELS))
        fraction = max((east - west) / 360 / width, (bottom - top) / height) * _TILE_PIXELS
        zoom = _MAX_ZOOM if fraction <= 0 else math.floor(min(_MAX_ZOOM, -math.log2(fraction)))
        middle = math.degrees(math.atan(math.sinh(math.pi * (1 - (top + bottom)))))
        return cls(((west + east) / 2, middle), max(0, zoom), bbox, padding_pixels)

    def fitted(self, width: int, height: int) -> tuple[tuple[float, float], float]:
        """Return center and zoom of a picture, as a page of this size chooses them.

        Parameters
        ----------
        width, height : int
            In pixels.
        """
        if self.bounds is None:
            return self.center, self.zoom
        west, south, east, north = self.bounds
        room = (max(1, pixels - 2 * self.padding_pixels) for pixels in (width, height))
        parts = ((east - west) / 360, _mercator_y(south) - _mercator_y(north))
        fraction = max(part / pixels for part, pixels in zip(parts, room, strict=True)) * _TILE_PIXELS
        zoom = _MAX_ZOOM if fraction <= 0 else min(_MAX_ZOOM, -math.log2(fraction))
        return self.center, max(0.0, math.floor(zoom / _ZOOM_STEP) * _ZOOM_STEP)


def around_center(
    center: tuple[float, float], zoom: int, width: int, height: int
) -> tuple[int, int, tuple[float, float, float, float]]:
    """Return size and extent of a picture that is not larger than the world.

    Parameters
    ----------
    center : tuple of (float, float)
        Longitude and latitude in degrees.
    zoom : int
    width, height : int
        Largest size, in pixels.

    Returns
    -------
    width, height : int
    bbox : tuple of (west, south, east, north)
        In degrees.
    """
    world = _TILE_PIXELS * 2**zoom
    middle = _mercator_y(center[1]) * world
    width, height = min(width, world), max(1, min(height, math.floor(2 * min(middle, world - middle))))
    degrees = 360 * width / world / 2
    north, south = (_latitude((middle + side * height / 2) / world) for side in (-1, 1))
    return width, height, (center[0] - degrees, south, center[0] + degrees, north)


def _latitude(fraction: float) -> float:
    """Return the latitude of a Web Mercator y."""
    return math.degrees(math.atan(math.sinh(math.pi * (1 - 2 * fraction))))


def _mercator_y(latitude: float) -> float:
    """Return the Web Mercator y of a latitude as a fraction of the world, from 0 (north) to 1 (south)."""
    radians = math.radians(max(-_MAX_LATITUDE, min(_MAX_LATITUDE, latitude)))
    return (1 - math.asinh(math.tan(radians)) / math.pi) / 2
