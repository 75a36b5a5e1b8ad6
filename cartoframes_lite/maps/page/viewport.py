"""Which part of the world a map shows first."""

from __future__ import annotations

import math
from dataclasses import dataclass

WIDTH_PIXELS, HEIGHT_PIXELS = 800, 420  # of a picture; a page is as wide as there is room
WORLD = (-180.0, -60.0, 180.0, 75.0)
_TILE_PIXELS = 256
_CLOSEST = 17  # zoom for a single point
_MOST_LATITUDE = 85.05


@dataclass(frozen=True, slots=True)
class Viewport:
    """The middle of a map, and how close it is.

    Attributes
    ----------
    center : tuple of (float, float)
        Longitude and latitude in degrees.
    zoom : int
    """

    center: tuple[float, float]
    zoom: int

    @classmethod
    def around(cls, bbox: tuple[float, float, float, float]) -> Viewport:
        """Find the closest view of a box.

        Parameters
        ----------
        bbox : tuple of (west, south, east, north)
            In degrees.
        """
        west, south, east, north = bbox
        top, bottom = _down(north), _down(south)
        share = max((east - west) / 360 / WIDTH_PIXELS, (bottom - top) / HEIGHT_PIXELS) * _TILE_PIXELS
        zoom = _CLOSEST if share <= 0 else math.floor(min(_CLOSEST, -math.log2(share)))
        middle = math.degrees(math.atan(math.sinh(math.pi * (1 - (top + bottom)))))
        return cls(((west + east) / 2, middle), max(0, zoom))


def _down(latitude: float) -> float:
    """Return how far down a parallel is on a map of the world, from 0 to 1."""
    radians = math.radians(max(-_MOST_LATITUDE, min(_MOST_LATITUDE, latitude)))
    return (1 - math.asinh(math.tan(radians)) / math.pi) / 2
