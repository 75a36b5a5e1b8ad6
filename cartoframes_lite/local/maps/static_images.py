"""Static images that requests describe: size, format and view."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cartoframes_lite.local.maps.errors import MapError
from cartoframes_lite.local.maps.number_parsing import parse_number
from cartoframes_lite.local.maps.queries import Box
from cartoframes_lite.local.maps.templates import Template
from cartoframes_lite.local.maps.viewports import Viewport, viewport_of_bbox, viewport_of_center

_MAX_PIXELS = 8192
_SIZE = re.compile(r"\d{1,4}", re.ASCII)
_FORMATS = {"png": "png", "jpg": "jpeg"}


@dataclass(frozen=True, slots=True)
class ImageFile:
    """Size and format of a static image.

    Attributes
    ----------
    size : tuple of int
        Width and height in pixels.
    format : {"png", "jpeg"}
    """

    size: tuple[int, int]
    format: str

    @classmethod
    def parse(cls, width: str, file: str) -> ImageFile:
        """Parse the width and ``HEIGHT.FORMAT``; raise MapError if they are invalid."""
        height, _, suffix = file.partition(".")
        sizes = [int(text) if _SIZE.fullmatch(text) else 0 for text in (width, height)]
        if not all(0 < size <= _MAX_PIXELS for size in sizes):
            raise MapError(f"Invalid size of a picture: {width}x{height}, both from 1 to {_MAX_PIXELS}")
        if suffix not in _FORMATS:
            raise MapError(f'Unsupported image format "{suffix}"')
        return cls((sizes[0], sizes[1]), _FORMATS[suffix])


def view_of_center(longitude: Any, latitude: Any, zoom: Any, size: tuple[int, int]) -> Viewport:
    """Return the view with a center in degrees and a zoom; raise MapError if one is not a finite number."""
    return viewport_of_center(_parse_number(longitude), _parse_number(latitude), _parse_number(zoom), size)


def view_of_bbox(text: str, size: tuple[int, int]) -> Viewport:
    """Return the view of ``west,south,east,north``, in degrees; raise MapError if it is invalid."""
    return viewport_of_bbox(_parse_box(text.split(",")), size)


def view_of_template(template: Template, query: Mapping[str, Any], size: tuple[int, int]) -> Viewport:
    """Return the view in the query string, or else that of the template, or else most of the world."""
    if all(name in query for name in ("zoom", "lon", "lat")):
        return view_of_center(query["lon"], query["lat"], query["zoom"], size)
    if "bbox" in query:
        return view_of_bbox(str(query["bbox"]), size)
    center, bounds = template.view.get("center"), template.view.get("bounds")
    if isinstance(center, Mapping) and "zoom" in template.view:
        zoom = query.get("zoom", template.view["zoom"])
        return view_of_center(center.get("lng"), center.get("lat"), zoom, size)
    if isinstance(bounds, Mapping):
        return viewport_of_bbox(_parse_box([bounds.get(name) for name in ("west", "south", "east", "north")]), size)
    return viewport_of_center(0.0, 0.0, 1.0, size)


def _parse_number(value: Any) -> float:
    """Parse a finite number."""
    number = parse_number(value)
    if value == "" or not math.isfinite(number):
        raise MapError(f"Invalid number: {value}")
    return number


def _parse_box(sides: list[Any]) -> Box:
    """Parse the sides of a box."""
    parts = [_parse_number(side) for side in sides]
    if len(parts) != 4:
        raise MapError('Invalid bbox, expected format="west,south,east,north"')
    return parts[0], parts[1], parts[2], parts[3]
