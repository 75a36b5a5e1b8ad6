"""Compile a layer whose source is a GeoDataFrame: its features, styles and legends, and the values of its widgets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely
from geopandas.array import GeometryDtype

from cartoframes_lite.maps.dataviews import WidgetColumns, check_has_column, not_numeric, widget_name
from cartoframes_lite.maps.features import (
    FeatureLayer,
    Features,
    FeatureStyle,
    GeometryArray,
    Positions,
    drawable_geometries,
    property_values,
)
from cartoframes_lite.maps.layers import Layer, Theme
from cartoframes_lite.maps.styling.cartocss import DEFAULT_LINE_PX, SHAPES, Appearance, Shape, shapes_of
from cartoframes_lite.maps.styling.frame_classes import color_indexes, size_indexes
from cartoframes_lite.maps.styling.frame_statistics import FrameStatistics, kind_of_series, numbers_of, texts_of
from cartoframes_lite.maps.styling.geometries import Geometries
from cartoframes_lite.maps.styling.sizes import LINE_PX, POINT_PX
from cartoframes_lite.maps.styling.statistics import ColumnKind
from cartoframes_lite.maps.widgets import Categories, Histogram, Widget

_EARTH_RADIUS_M = 6_378_137.0
_MAX_LATITUDE = math.radians(85.06)
# By the type number of shapely; collections are drawn with the polygons.
_TYPES = ("POINT", "LINESTRING", "LINESTRING", "POLYGON", "MULTIPOINT", "MULTILINESTRING", "MULTIPOLYGON", "COLLECTION")
_SHAPE_NUMBERS = np.array([SHAPES.index(shapes_of([name])[0]) for name in _TYPES])


def compile_frame(
    layer: Layer, frame: gpd.GeoDataFrame, theme: Theme, widgets: Mapping[int, Widget]
) -> tuple[FeatureLayer, dict[int, WidgetColumns]]:
    """Return a layer of the page with the rows of a frame, and the columns of its widgets.

    Parameters
    ----------
    layer : Layer
    frame : GeoDataFrame
        Its source.
    theme : {"light", "dark"}
    widgets : mapping of int to Widget
        Widgets of the layer, by their position on the map.

    Raises
    ------
    ValueError
        If the frame cannot be drawn, or lacks a column of a widget.
    """
    geometries, positions = drawable_geometries(frame)
    popup, hover = _shown_columns(layer, frame)
    properties = property_values(frame, list(dict.fromkeys([*popup, *hover])), positions)
    columns: dict[int, WidgetColumns] = {}
    for number, widget in widgets.items():
        columns[number], values = _widget_values(number, widget, frame, positions)
        properties |= values
    appearance = layer.appearance(_summarize(geometries), lambda name: FrameStatistics(_series(frame, name)), theme)
    features = _style_features(appearance, frame, geometries, positions, properties)
    legends = [asdict(legend) for legend in appearance.legends]
    return FeatureLayer(features, layer.title, legends, popup, hover), columns


def _shown_columns(layer: Layer, frame: gpd.GeoDataFrame) -> tuple[Sequence[str], Sequence[str]]:
    """Return the columns of the popup, by default all, and those shown under the pointer."""
    options = layer.options
    every = [str(name) for name, dtype in frame.dtypes.items() if not isinstance(dtype, GeometryDtype)]
    popup = (options["interactivity"] or True) if options["popup"] is None else options["popup"]
    popup = every if popup is True else list(popup or ())
    hover = options["hover"]
    if hover is None:
        named = (options["color_by"], options["size_by"]) if popup else ()
        return popup, list(dict.fromkeys(name for name in named if name is not None))
    return popup, (popup or every) if hover is True else list(hover or ())


def _summarize(geometries: GeometryArray) -> Geometries:
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


def _style_features(
    appearance: Appearance,
    frame: gpd.GeoDataFrame,
    geometries: GeometryArray,
    positions: Positions,
    properties: Mapping[str, Sequence[Any]],
) -> Features:
    """Return features with their styles: polygons, lines, points; among each of them, the largest sizes first."""
    shapes = _SHAPE_NUMBERS[shapely.get_type_id(geometries)]
    colors = sizes = np.zeros(len(positions), np.intp)
    if appearance.colors is not None:
        colors = color_indexes(appearance.colors, _series(frame, appearance.colors.column).iloc[positions])
    if appearance.sizes is not None:
        sizes = size_indexes(appearance.sizes, _series(frame, appearance.sizes.column).iloc[positions])
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


def _series(frame: gpd.GeoDataFrame, name: str) -> pd.Series[Any]:
    """Return the first column with a label."""
    series: pd.Series[Any] = frame.iloc[:, [str(label) for label in frame.columns].index(name)]
    return series.rename(name)


def _widget_values(
    number: int, widget: Widget, frame: gpd.GeoDataFrame, positions: Positions
) -> tuple[WidgetColumns, dict[str, list[Any]]]:
    """Return the columns of a widget, and their values in the rows that are drawn."""
    if widget.column is None:
        return WidgetColumns(""), {}
    name = f"{widget_name(number)}_column"
    series, kind = _column(widget, widget.column, frame)
    match widget:
        case Categories():
            values: dict[str, list[Any]] = {name: texts_of(series.iloc[positions], kind)}
            if widget.value is None:
                return WidgetColumns(name), values
            other = f"{widget_name(number)}_value"
            return WidgetColumns(name, other), values | {other: _numbers(widget, widget.value, frame, positions)}
        case Histogram() if kind in ("date", "datetime"):
            return WidgetColumns(name, is_time=True), {name: _finite(numbers_of(series.iloc[positions], kind))}
        case _:
            return WidgetColumns(name), {name: _numbers(widget, widget.column, frame, positions)}


def _numbers(widget: Widget, column: str, frame: gpd.GeoDataFrame, positions: Positions) -> list[float | None]:
    """Return the numbers of a column; raise ValueError if it has other values."""
    series, kind = _column(widget, column, frame)
    if kind not in ("integer", "number"):
        raise not_numeric(widget, column, kind)
    return _finite(numbers_of(series.iloc[positions], kind))


def _finite(numbers: npt.NDArray[np.float64]) -> list[float | None]:
    return [number if np.isfinite(number) else None for number in numbers.tolist()]


def _column(widget: Widget, column: str, frame: gpd.GeoDataFrame) -> tuple[pd.Series[Any], ColumnKind]:
    """Return the column of a widget and what its values are; raise ValueError if the frame has no such column."""
    check_has_column(widget, column, [str(label) for label in frame.columns])
    series = _series(frame, column)
    return series, kind_of_series(series)
