"""Validation of bounding boxes, centers, zoom levels, image sizes and titles, before any request."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np

Center = tuple[float, float]
BBox = tuple[float, float, float, float]

_MAX_IMAGE_PIXELS = 8192  # width or height of a static image
_MAX_ZOOM = 30
_MIN_SCALE, _MAX_SCALE = 0.25, 4


def check_pixels(size: Any, name: str) -> int:
    """Return the width or height of a static image; raise ValueError if it is out of range."""
    if not isinstance(size, Integral) or isinstance(size, bool) or not 1 <= int(size) <= _MAX_IMAGE_PIXELS:
        raise ValueError(f"{name} must be a whole number of pixels from 1 to {_MAX_IMAGE_PIXELS}, not {size!r}")
    return int(size)


def check_center(center: Any) -> Center:
    """Return longitude and latitude as floats; raise ValueError if they are not coordinates."""
    degrees = _finite_floats(center)
    if degrees is None or len(degrees) != 2 or not abs(degrees[1]) <= 90:
        raise ValueError(f"center must be longitude and latitude in degrees, not {center!r}")
    return degrees[0], degrees[1]


def check_zoom(zoom: Any) -> int:
    """Return a zoom level as an int; raise ValueError if it is out of range."""
    if isinstance(zoom, float | np.floating) and float(zoom).is_integer():
        zoom = int(zoom)
    if not isinstance(zoom, Integral) or isinstance(zoom, bool) or not 0 <= int(zoom) <= _MAX_ZOOM:
        raise ValueError(f"zoom must be a whole number from 0 to {_MAX_ZOOM}, not {zoom!r}")
    return int(zoom)


def check_bbox(bbox: Any) -> BBox:
    """Return west, south, east and north as floats; raise ValueError if they are not a bounding box."""
    sides = _finite_floats(bbox)
    if sides is None or len(sides) != 4 or sides[0] > sides[2] or not -90 <= sides[1] <= sides[3] <= 90:
        raise ValueError(
            f"bbox must be west, south, east and north in degrees, not {bbox!r}; "
            "across the 180th meridian, use an east above 180"
        )
    return sides[0], sides[1], sides[2], sides[3]


def check_scale(scale: Any) -> float:
    """Return the scale of a picture; raise ValueError if it is out of range."""
    if not isinstance(scale, Real) or isinstance(scale, bool) or not _MIN_SCALE <= float(scale) <= _MAX_SCALE:
        raise ValueError(f"scale must be a number from {_MIN_SCALE} to {_MAX_SCALE}, not {scale!r}")
    return float(scale)


def check_path(path: Any) -> Path:
    """Return the path of a file; raise TypeError if it is none."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path must be a str or a path, not {type(path).__name__} {path!r}")
    return Path(path)


def check_suffix(path: Path, suffixes: Sequence[str], advice: str) -> None:
    """Raise ValueError with advice if a path does not end with one of the suffixes."""
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"cannot write {path.name!r}: {advice}")


def check_title(title: Any) -> str | None:
    """Return a title; raise TypeError if it is neither a str nor None."""
    if title is not None and not isinstance(title, str):
        raise TypeError(f"title must be a str, not {type(title).__name__} {title!r}")
    return title


def format_bbox(bbox: BBox) -> str:
    """Check a bounding box and format it as the Maps API expects it."""
    return ",".join(f"{degree:.10g}" for degree in check_bbox(bbox))


def _finite_floats(values: Any) -> list[float] | None:
    """Return finite numbers as floats; None if any value is something else."""
    try:
        items = list(values)
        numbers = [float(value) for value in items if not isinstance(value, bool | np.bool_ | str | bytes)]
    except (TypeError, ValueError, OverflowError):
        return None
    return numbers if len(numbers) == len(items) and all(map(math.isfinite, numbers)) else None
