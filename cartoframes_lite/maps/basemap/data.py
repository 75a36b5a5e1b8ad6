"""The part of Natural Earth that a view needs, in the detail that it needs."""

from __future__ import annotations

import gzip
import lzma
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cartoframes_lite.maps.basemap.encoding import GROUPS, RINGS, Lines, decode, encode

BBox = tuple[float, float, float, float]

_MAX_LATITUDE = 85.05
_WORLD_ZOOM = 2  # detail of the whole world
_ZOOMING_IN = 2  # times that a user should be able to zoom in without seeing less detail than there is
_REACHES_PIXELS = (900, 600, 400, 200, 50)  # around the view, at the zoom of each point, in which points are kept
_MAX_POINTS = 35_000  # about 150 kB in base64
_NOT_NEEDED = 31
_WORLD = (-180.0, -_MAX_LATITUDE, 180.0, _MAX_LATITUDE)
_PAGE_PIXELS = (800, 420)


@dataclass(frozen=True, slots=True)
class Basemap:
    """Lines and labels of the basemap.

    Attributes
    ----------
    bits : int
        The world is 2 ** `bits` units wide.
    lines : mapping of str to Lines
        By group; see `GROUPS`.
    labels : sequence of [name, kind, longitude, latitude, zoom]
        The most important one first; `kind` is an index of `LABEL_STYLES`; `zoom` is the lowest one at which the
        name is drawn.
    """

    bits: int
    lines: Mapping[str, Lines]
    labels: list[list[Any]]

    @classmethod
    def from_bytes(cls, data: bytes) -> Basemap:
        """Decode what `to_bytes` has encoded."""
        lines, header = decode(data)
        return cls(header["bits"], lines, header["labels"])

    def to_bytes(self) -> bytes:
        """Encode as in the module `encoding`."""
        return encode(self.lines, {"bits": self.bits, "labels": self.labels})

    def around(self, bbox: BBox | None, max_points: int = _MAX_POINTS, max_zoom: int = _NOT_NEEDED) -> Basemap:
        """Return the detail that a view needs, less of it farther away, and little of the rest of the world.

        Parameters
        ----------
        bbox : tuple of (west, south, east, north), optional
            In degrees; beyond 180, or with `west` > `east`, if the view crosses the antimeridian. None: the world.
        max_points : int
        max_zoom : int
            Points that are needed only at higher zooms are left out.
        """
        west, south, east, north = bbox or _WORLD
        bbox = (west, south, east + 360 * (east < west), north)
        best, max_zoom = 0, min(max_zoom, max(int(lines.zooms.max(initial=0)) for lines in self.lines.values()))
        wanted = min(max_zoom, _view_zoom(bbox) + _ZOOMING_IN)
        for reach_pixels in _REACHES_PIXELS:
            zooms = {name: self._zooms_in_view(lines, bbox, reach_pixels) for name, lines in self.lines.items()}
            counts = np.cumsum(sum(np.bincount(found, minlength=_NOT_NEEDED + 1) for found in zooms.values()))
            best = int(np.searchsorted(counts[:_NOT_NEEDED], max_points, side="right")) - 1
            if best >= wanted:
                break
        best = min(max(_WORLD_ZOOM, best), max_zoom)
        shift = max(0, self.bits - (8 + best + 1))  # units of half a pixel at the best zoom
        lines = {
            name: self.lines[name].select(zooms[name] <= best, 4 if name in RINGS else 2).rescaled(shift)
            for name in GROUPS
        }
        return Basemap(self.bits - shift, lines, self.labels)

    def _zooms_in_view(self, lines: Lines, bbox: BBox, reach_pixels: int) -> NDArray[np.int64]:
        """Return the zoom of each point, and `_NOT_NEEDED` for points that the view does not need."""
        west, south, east, north = bbox
        world = 2**self.bits
        center_x, half_width = (west + east) / 720 + 0.5, min(east - west, 360) / 720
        top, bottom = (mercator_y(latitude) for latitude in (north, south))
        across = np.abs((lines.x / world - center_x + 0.5) % 1 - 0.5) - half_width
        down = np.abs(lines.y / world - (top + bottom) / 2) - (bottom - top) / 2
        distance_pixels = np.maximum(across, down) * 256 * 2.0**lines.zooms
        needed = (lines.zooms <= _WORLD_ZOOM) | (distance_pixels < reach_pixels)
        return np.where(needed, lines.zooms, _NOT_NEEDED)


@cache
def natural_earth() -> Basemap:
    """Return the bundled basemap."""
    return Basemap.from_bytes(lzma.decompress(files(__package__).joinpath("natural_earth.xz").read_bytes()))


def mercator_y(latitude: float) -> float:
    """Return the Web Mercator y of a latitude as a fraction of the world, from 0 (north) to 1 (south)."""
    radians = math.radians(max(-_MAX_LATITUDE, min(_MAX_LATITUDE, latitude)))
    return (1 - math.asinh(math.tan(radians)) / math.pi) / 2


def _view_zoom(bbox: BBox) -> float:
    """Return the zoom at which a page shows a bounding box."""
    west, south, east, north = bbox
    width, height = (east - west) / 360, mercator_y(south) - mercator_y(north)
    fraction = max(width / _PAGE_PIXELS[0], height / _PAGE_PIXELS[1]) * 256
    return -math.log2(fraction) if fraction > 0 else math.inf


def compressed(bbox: BBox | None) -> bytes:
    """Return the basemap around a view, compressed with gzip."""
    return gzip.compress(natural_earth().around(bbox).to_bytes(), mtime=0)
