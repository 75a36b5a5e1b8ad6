"""The styles of features that a page draws itself, by the classes of their rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import shapely

from cartoframes_lite.maps.features import Features, FeatureStyle, GeometryArray, Positions
from cartoframes_lite.maps.styling.cartocss import DEFAULT_LINE_PX, SHAPES, Appearance, Shape, shapes_of
from cartoframes_lite.maps.styling.geometries import Geometries
from cartoframes_lite.maps.styling.sizes import LINE_PX, POINT_PX

_EARTH_RADIUS_M = 6_378_137.0
_MAX_LATITUDE = math.radians(85.06)
# By the type number of shapely; collections are drawn with the polygons.
_TYPES = ("POINT", "LINESTRING", "LINESTRING", "POLYGON", "MULTIPOINT", "MULTILINESTRING", "MULTIPOLYGON", "COLLECTION")
_SHAPE_NUMBERS = np.array([SHAPES.index(shapes_of([name])[0]) for name in _TYPES])


def summarize(geometries: GeometryArray) -> Geometries:
    """Return number, types and extent of geometries."""
    shapes = shapes_of(_TYPES[number] for number in np.unique(shapely.get_type_id(geometries)))
    if not len(geometries):
        return Geometries(("point",), 0, None)
    west, south, east, north = np.radians(shapely.total_bounds(geometries)).tolist()
    left, right = (_EARTH_RADIUS_M * longitude for longitude in (west, east))
    lower, upper = (
        _EARTH_RADIUS_M * math.atanh(math.sin(max(-_MAX_LATITUDE, min(_MAX_LATITUDE, angle))))
        for angle in (south, north)
    )
    return Geometries(shapes, len(geometries), (left, lower, right, upper))


def style_features(
    appearance: Appearance,
    geometries: GeometryArray,
    properties: Mapping[str, Sequence[Any]],
    *,
    colors: Positions,
    sizes: Positions,
) -> Features:
    """Return features with their styles: polygons, lines, points; among each of them, the largest sizes first.

    Parameters
    ----------
    appearance : Appearance
    geometries : ndarray of shapely geometries
        In EPSG:4326.
    properties : mapping of str to sequence
        JSON values by column.
    colors, sizes : ndarray of int
        Indexes of the color and of the size of each feature; 0 if the layer has no such classes.
    """
    shapes = _SHAPE_NUMBERS[shapely.get_type_id(geometries)]
    used, numbers = np.unique(np.column_stack([shapes, colors, sizes]), axis=0, return_inverse=True)
    styles = [_style(appearance, SHAPES[shape], color, size) for shape, color, size in used.tolist()]
    order = np.lexsort((-sizes, shapes))
    ordered = {name: [values[place] for place in order] for name, values in properties.items()}
    return Features(geometries[order], styles, numbers.reshape(-1)[order], ordered, appearance.growth)


def _style(appearance: Appearance, shape: Shape, color: int, size: int) -> FeatureStyle:
    """Return the style of the features of a shape and of classes of colors and sizes."""
    stroke, stroke_width = ("", 0.0) if shape == "line" else appearance.stroke(shape)
    has_sizes = appearance.sizes is not None
    return FeatureStyle(
        color=appearance.color if appearance.colors is None else appearance.colors.colors[color],
        opacity=appearance.opacity(shape),
        marker_width=POINT_PX[size] if has_sizes else appearance.marker_px,
        line_width=LINE_PX[size] if has_sizes else DEFAULT_LINE_PX,
        stroke=stroke if stroke_width else None,
        stroke_width=stroke_width,
        stroke_opacity=appearance.stroke_opacity,
    )
