"""Draw features with their styles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import shapely
from numpy.typing import NDArray

from cartoframes_lite.maps.drawing.canvas import POINTS_PER_PIXEL, Canvas
from cartoframes_lite.maps.drawing.colors import RGBA, rgba
from cartoframes_lite.maps.drawing.paths import polygon_path

_POINTS, _LINES, _POLYGONS = (0, 4), (1, 2, 5), (3, 6)  # shapely's types
_MARGIN_PX = 100.0  # around the picture: more than the widest outline


class ShapeStyle(Protocol):
    """How a feature is drawn."""

    @property
    def color(self) -> str:
        """CSS color of the marker, line or area."""

    @property
    def opacity(self) -> float:
        """Of that color, from 0 to 1."""

    @property
    def marker_width(self) -> float:
        """Diameter of points in pixels."""

    @property
    def line_width(self) -> float:
        """In pixels."""

    @property
    def stroke(self) -> str | None:
        """CSS color of the outline of points and polygons; None for no outline."""

    @property
    def stroke_width(self) -> float:
        """In pixels."""

    @property
    def stroke_opacity(self) -> float:
        """From 0 to 1."""


class Shapes(Protocol):
    """Features, from bottom to top."""

    @property
    def geometries(self) -> NDArray[np.object_]:
        """Shapely geometries in EPSG:4326."""

    @property
    def styles(self) -> Sequence[ShapeStyle]:
        """Styles of the features."""

    @property
    def style_numbers(self) -> NDArray[np.intp]:
        """Index of the style of each feature."""


def draw_shapes(canvas: Canvas, shapes: Shapes) -> None:
    """Draw polygons, above them lines, above them points."""
    view = canvas.view
    geometries = view.geometries_to_pixels(np.asarray(shapes.geometries, object))
    numbers = np.asarray(shapes.style_numbers)
    parts, owners = _flatten(geometries)
    near = shapely.intersects(
        parts, shapely.box(-_MARGIN_PX, -_MARGIN_PX, view.width + _MARGIN_PX, view.height + _MARGIN_PX)
    )
    parts, owners = parts[near], owners[near]
    types = shapely.get_type_id(parts)
    for kinds, draw in ((_POLYGONS, _draw_polygons), (_LINES, _draw_lines), (_POINTS, _draw_points)):
        drawn = np.isin(types, kinds)
        if drawn.any():
            draw(canvas, parts[drawn], [shapes.styles[number] for number in numbers[owners[drawn] % len(numbers)]])


def _flatten(geometries: NDArray[np.object_]) -> tuple[NDArray[np.object_], NDArray[np.intp]]:
    """Return the parts of all geometries, also of nested collections, and the index of the geometry of each."""
    owners = np.arange(len(geometries))
    while (shapely.get_type_id(geometries) >= 4).any():
        geometries, index = shapely.get_parts(geometries, return_index=True)
        owners = owners[index]
    return geometries, owners


def _fills(styles: Sequence[ShapeStyle]) -> list[RGBA]:
    return [rgba(style.color, style.opacity) for style in styles]


def _strokes(styles: Sequence[ShapeStyle]) -> dict[str, Any]:
    """Return the outlines for a collection."""
    return {
        "edgecolors": [rgba(style.stroke or "transparent", style.stroke_opacity) for style in styles],
        "linewidths": [style.stroke_width * POINTS_PER_PIXEL if style.stroke else 0 for style in styles],
    }


def _draw_polygons(canvas: Canvas, polygons: NDArray[np.object_], styles: Sequence[ShapeStyle]) -> None:
    from matplotlib.collections import PathCollection

    sides = (-_MARGIN_PX, -_MARGIN_PX, canvas.view.width + _MARGIN_PX, canvas.view.height + _MARGIN_PX)
    paths = [polygon_path(polygon, sides) for polygon in polygons]
    canvas.add_collection(PathCollection(paths, facecolors=_fills(styles), joinstyle="round", **_strokes(styles)))


def _draw_lines(canvas: Canvas, lines: NDArray[np.object_], styles: Sequence[ShapeStyle]) -> None:
    from matplotlib.collections import LineCollection

    widths = [style.line_width * POINTS_PER_PIXEL for style in styles]
    segments = [shapely.get_coordinates(line) for line in lines]
    drawn = LineCollection(segments, colors=_fills(styles), linewidths=widths, capstyle="round", joinstyle="round")
    canvas.add_collection(drawn)


def _draw_points(canvas: Canvas, points: NDArray[np.object_], styles: Sequence[ShapeStyle]) -> None:
    widths = [style.marker_width for style in styles]
    canvas.add_circles(shapely.get_coordinates(points), widths, faces=_fills(styles), **_strokes(styles))
