"""The part of Natural Earth that a view needs, in the detail that it needs."""

from __future__ import annotations

import gzip
import lzma
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cartoframes_lite.maps.basemap.encoding import GROUPS, RINGS, Lines, decode, encode

BBox = tuple[float, float, float, float]

_MAX_LATITUDE = 85.0511287798066
_WORLD_ZOOM = 2  # detail of the whole world
_ZOOMING_IN = 2  # times that a user should be able to zoom in without seeing less detail than there is
_REACHES_PX = (900, 600, 400, 200, 50)  # around the view, at the zoom of each point, in which points are kept
_MAX_PAGE_BYTES = 105_000  # compressed; a third more in base64
_MAX_PAGE_POINTS = 45_000  # a point takes 2 bytes or more
_HIGHEST = 30.0
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

    def around(self, bbox: BBox | None, max_points: int, max_zoom: float = _HIGHEST) -> Basemap:
        """Return the detail that a view needs, less of it farther away, and little of the rest of the world.

        Parameters
        ----------
        bbox : tuple of (west, south, east, north), optional
            In degrees; beyond 180, or with `west` > `east`, if the view crosses the antimeridian. None: the world.
        max_points : int
        max_zoom : float
            Points that are needed only at higher zooms are left out.
        """
        return Surroundings(self, bbox or _WORLD).basemap(max_points, max_zoom)


class Surroundings:
    """The distances of the points of a basemap from a view.

    Parameters
    ----------
    basemap : Basemap
    bbox : tuple of (west, south, east, north)
        In degrees; with `west` > `east` if the view crosses the antimeridian.
    """

    def __init__(self, basemap: Basemap, bbox: BBox) -> None:
        west, south, east, north = bbox
        bbox = (west, south, east + 360 * (east < west), north)
        self._basemap = basemap
        self._view_zoom = _view_zoom(bbox)
        self._zooms = np.concatenate([basemap.lines[name].zooms for name in GROUPS])
        self._distances_px = np.concatenate([_distances_px(basemap, name, bbox) for name in GROUPS])

    def basemap(self, max_points: int, max_zoom: float = _HIGHEST) -> Basemap:
        """Return the points that the view needs."""
        max_zoom = min(max_zoom, float(self._zooms.max()))
        wanted = min(max_zoom, self._view_zoom + _ZOOMING_IN)
        for reach_px in _REACHES_PX:
            needed = (self._zooms <= _WORLD_ZOOM) | (self._distances_px < reach_px)
            counts = np.cumsum(np.bincount((self._zooms[needed] * 2).astype(int)))
            best = (int(np.searchsorted(counts, max_points, side="right")) - 1) / 2
            if best >= wanted:
                break
        best = min(max(_WORLD_ZOOM, best), max_zoom)
        kept = needed & (self._zooms <= best)
        bits = min(self._basemap.bits, 8 + math.ceil(best) + 1)  # units of half a pixel at the best zoom
        lines, start = {}, 0
        for name in GROUPS:
            group = self._basemap.lines[name]
            end = start + len(group.x)
            chosen = group.select(kept[start:end], 4 if name in RINGS else 2)
            lines[name], start = chosen.rescaled(self._basemap.bits - bits), end
        return Basemap(bits, lines, self._basemap.labels)


def _distances_px(basemap: Basemap, group: str, bbox: BBox) -> NDArray[np.float64]:
    """Return the distance of each point from a view, in pixels at the zoom of the point; negative in the view."""
    west, south, east, north = bbox
    lines, world = basemap.lines[group], 2**basemap.bits
    center_x, half_width = (west + east) / 720 + 0.5, min(east - west, 360) / 720
    top, bottom = (mercator_y(latitude) for latitude in (north, south))
    across = np.abs((lines.x / world - center_x + 0.5) % 1 - 0.5) - half_width
    down = np.abs(lines.y / world - (top + bottom) / 2) - (bottom - top) / 2
    distances: NDArray[np.float64] = np.maximum(across, down) * 256 * 2.0**lines.zooms
    return distances


@cache
def natural_earth() -> Basemap:
    """Return the bundled basemap."""
    return Basemap.from_bytes(lzma.decompress(files(__package__).joinpath("natural_earth.xz").read_bytes()))


def mercator_y(latitudes: ArrayLike) -> NDArray[np.float64]:
    """Return the Web Mercator y of latitudes as fractions of the world, from 0 (north) to 1 (south)."""
    radians: NDArray[np.float64] = np.radians(np.clip(latitudes, -_MAX_LATITUDE, _MAX_LATITUDE))
    return (1 - np.arcsinh(np.tan(radians)) / math.pi) / 2


def _view_zoom(bbox: BBox) -> float:
    """Return the zoom at which a page shows a bounding box."""
    west, south, east, north = bbox
    width, height = (east - west) / 360, float(mercator_y(south) - mercator_y(north))
    fraction = max(width / _PAGE_PIXELS[0], height / _PAGE_PIXELS[1]) * 256
    return -math.log2(fraction) if fraction > 0 else math.inf


@lru_cache(maxsize=8)
def compressed(bbox: BBox | None) -> bytes:
    """Return the basemap around a view for a page, compressed with gzip."""
    surroundings = Surroundings(natural_earth(), bbox or _WORLD)
    max_points = _MAX_PAGE_POINTS
    while True:
        data = gzip.compress(surroundings.basemap(max_points).to_bytes(), mtime=0)
        if len(data) <= _MAX_PAGE_BYTES:
            return data
        max_points = int(max_points * 0.98 * _MAX_PAGE_BYTES / len(data))
