"""Tables whose features have known places in a picture, and the colors that a map has there."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
from PIL import Image
from shapely.geometry import LineString, Point, box
from shapely.geometry.base import BaseGeometry

import cartoframes_lite as cfl

_PIXELS = 256  # the world at zoom 0
_STEP = 36  # degrees between features
MAX_FEATURES = 10

Color = tuple[int, int, int]


def feature(place: int, shape: str = "polygon") -> BaseGeometry:
    """Return the geometry of a place, from 0 on the left to 9 on the right."""
    x = -162 + _STEP * place
    if shape == "point":
        return Point(x, 0)
    return LineString([(x - 9, 0), (x + 9, 0)]) if shape == "line" else box(x - 9, -12, x + 9, 12)


def frame_of(values: Sequence[Any] | Any, shape: str = "polygon", name: str = "v") -> gpd.GeoDataFrame:
    """Return a frame with a value at each place."""
    geometry = [feature(place, shape) for place in range(len(values))]
    return gpd.GeoDataFrame({name: values}, geometry=geometry, crs=4326)


def picture(shown: cfl.AnonymousMap) -> npt.NDArray[np.uint8]:
    """Return the pixels of the world: rows, columns, and red, green, blue, opacity."""
    content = shown.static_image(_PIXELS, _PIXELS, center=(0, 0), zoom=0)
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGBA"))


def colors_at(shown: cfl.AnonymousMap, places: int) -> list[Color]:
    """Return the colors in the middle of the features."""
    pixels = picture(shown)
    columns = [round((_STEP * place + 18) / 360 * _PIXELS) for place in range(places)]
    return [tuple(int(value) for value in pixels[_PIXELS // 2, column, :3]) for column in columns]  # type: ignore[misc]  # three


def widths_at(shown: cfl.AnonymousMap, places: int) -> list[int]:
    """Return the heights of the features in pixels."""
    opaque = picture(shown)[:, :, 3] > 127
    columns = [round((_STEP * place + 18) / 360 * _PIXELS) for place in range(places)]
    return [int(opaque[:, column].sum()) for column in columns]


def rgb(color: str) -> Color:
    """Return red, green and blue of "#rrggbb"."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def is_close(one: Color, other: Color) -> bool:
    """Return whether colors differ by rounding only."""
    return all(abs(a - b) <= 3 for a, b in zip(one, other, strict=True))


def is_gray(color: Color) -> bool:
    """Return whether a color is gray, neither black nor white."""
    return max(color) - min(color) < 16 and 60 < max(color) < 230
