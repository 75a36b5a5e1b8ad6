"""What a picture shows: center, zoom and size, and the pixels of places."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from cartoframes_lite.maps.basemap.data import mercator_y

_TILE_PIXELS = 256

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PictureView:
    """The view of a picture, in Web Mercator; the same pixels as those of a static image of the Maps API.

    Attributes
    ----------
    center : tuple of (longitude, latitude)
        In degrees.
    zoom : float
    width, height : int
        In pixels.
    """

    center: tuple[float, float]
    zoom: float
    width: int
    height: int

    @property
    def world_pixels(self) -> float:
        """Width of the world in pixels."""
        return _TILE_PIXELS * math.pow(2, self.zoom)

    @property
    def left(self) -> float:
        """Pixels from the 180th meridian in the west to the left side."""
        return (self.center[0] / 360 + 0.5) * self.world_pixels - self.width / 2

    @property
    def top(self) -> float:
        """Pixels from the north edge of the world to the upper side."""
        return float(mercator_y(self.center[1])) * self.world_pixels - self.height / 2

    @property
    def bbox(self) -> tuple[float, float, float, float]:
        """Extent in degrees (west, south, east, north); longitudes may be beyond 180."""
        west, east = ((x / self.world_pixels - 0.5) * 360 for x in (self.left, self.left + self.width))
        north, south = (
            math.degrees(math.atan(math.sinh(math.pi * (1 - 2 * y / self.world_pixels))))
            for y in (self.top, self.top + self.height)
        )
        return west, south, east, north

    @property
    def offsets(self) -> list[float]:
        """Pixels by which the copies of the world that the picture shows are displaced.

        If the picture is wider than the world, it shows the world once: the copy with the center of the view.
        """
        if self.world_pixels <= self.width:
            copies = [math.floor(self.center[0] / 360 + 0.5)]
        else:
            first, last = (math.floor(x / self.world_pixels) for x in (self.left, self.left + self.width))
            copies = list(range(first, last + 1))
        return [copy * self.world_pixels for copy in copies]

    @property
    def world_sides(self) -> tuple[float, float, float, float]:
        """Left, upper, right and lower side of the displayed world, in pixels; within the picture."""
        left, right = self.offsets[0] - self.left, self.offsets[-1] + self.world_pixels - self.left
        lower = self.world_pixels - self.top
        return max(0.0, left), max(0.0, -self.top), min(self.width, right), min(self.height, lower)

    def to_pixels(self, degrees: NDArray[Any]) -> Floats:
        """Return the pixels (from the upper left corner) of longitudes and latitudes in an array of n x 2."""
        fractions = np.column_stack([degrees[:, 0] / 360 + 0.5, mercator_y(degrees[:, 1])])
        return fractions * self.world_pixels - [self.left, self.top]

    def geometries_to_pixels(self, geometries: NDArray[np.object_]) -> NDArray[np.object_]:
        """Return geometries in degrees in pixels, once for each copy of the world that the picture shows."""
        projected, offsets = shapely.transform(geometries, self.to_pixels), self.offsets
        if self.world_pixels > self.width:  # geometries may be beyond the antimeridian
            offsets = [offsets[0] - self.world_pixels, *offsets, offsets[-1] + self.world_pixels]
        return np.concatenate([_shift(projected, offset) for offset in offsets])


def _shift(geometries: NDArray[np.object_], pixels: float) -> NDArray[np.object_]:
    """Return geometries displaced to the east."""
    moved: NDArray[np.object_] = shapely.transform(geometries, lambda points: points + np.array([pixels, 0.0]))
    return moved
