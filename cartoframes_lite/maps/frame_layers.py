"""Compile a layer whose source is a GeoDataFrame: its features, styles and legends, and the values of its widgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
from geopandas.array import GeometryDtype

from cartoframes_lite.maps.dataviews import WidgetColumns, check_has_column, not_numeric, widget_name
from cartoframes_lite.maps.feature_styles import style_features, summarize
from cartoframes_lite.maps.features import FeatureLayer, Positions, drawable_geometries, property_values
from cartoframes_lite.maps.layers import Layer, Theme
from cartoframes_lite.maps.styling.frame_classes import color_indexes, size_indexes
from cartoframes_lite.maps.styling.frame_statistics import FrameStatistics, kind_of_series, numbers_of, texts_of
from cartoframes_lite.maps.styling.statistics import ColumnKind
from cartoframes_lite.maps.widgets import Categories, Histogram, Widget


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
    appearance = layer.appearance(summarize(geometries), lambda name: FrameStatistics(_series(frame, name)), theme)
    colors = sizes = np.zeros(len(positions), np.intp)
    if appearance.colors is not None:
        colors = color_indexes(appearance.colors, _series(frame, appearance.colors.column).iloc[positions])
    if appearance.sizes is not None:
        sizes = size_indexes(appearance.sizes, _series(frame, appearance.sizes.column).iloc[positions])
    features = style_features(appearance, geometries, properties, colors=colors, sizes=sizes)
    legends = [asdict(legend) for legend in appearance.legends]
    return FeatureLayer(features, layer.title, legends, popup, hover), columns


def check_frame_widget(widget: Widget, frame: gpd.GeoDataFrame) -> None:
    """Raise ValueError if a frame lacks a column of a widget, or the widget cannot display its values."""
    _widget_values(0, widget, frame, np.zeros(0, np.intp))


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
    if isinstance(series.dtype, GeometryDtype):
        raise ValueError(f"{widget!r}: column {column!r} is a geometry, which widgets do not display")
    return series, kind_of_series(series)
