"""Layers of many points: the server draws a cell of the map as one marker."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from cartoframes_lite.maps.styling.colormaps import Colormap, resolve
from cartoframes_lite.maps.styling.density import Box, fit_zoom, meters_per_pixel
from cartoframes_lite.maps.styling.geometries import Geometries
from cartoframes_lite.maps.styling.labels import integer_ranges, nice_below
from cartoframes_lite.maps.styling.legend import Legend, LegendItem
from cartoframes_lite.maps.styling.options import LayerOptions
from cartoframes_lite.maps.styling.queries import LayerQueries
from cartoframes_lite.maps.styling.themes import Theme, theme_colors

AggregationKind = Literal["grid", "heatmap", "sample"]

MANY_POINTS = 50_000
"""More points are aggregated by default."""

COUNT_COLUMN = "_cdb_feature_count"
"""Column of the number of points of a cell, which the Maps API adds."""

_CELL_PX = {"grid": 9, "heatmap": 5, "sample": 3}
_TITLE = "Number of points"
_GRID_PX = (3.0, 4.0, 5.5, 7.0, 9.0)  # widths of the markers, from few to many points
_GRID_GROWTH = ((3, 5.0), (5, 7.0))  # zooms after the one that shows all points, and the least width from there on
_HEAT_CLASSES = 6
_HEAT_PX = 13.0
_HEAT_OPACITY = 0.4
# A zoom has a quarter of the points of the previous one in a cell. Half as many for the same color is between a
# heatmap that fades when one zooms in and one whose colors depend on the part that is visible.
_HEAT_ZOOMS = range(-3, 9)


@dataclass(frozen=True, slots=True)
class CellStyle:
    """Style sheet and legend of cells that are drawn by their number of points."""

    cartocss: str
    legend: Legend


def aggregation_kind(options: LayerOptions, geometries: Geometries, *, has_id: bool) -> AggregationKind | None:
    """Return how the points of a layer are aggregated; None if they are not.

    Raises
    ------
    ValueError
        If an aggregation was asked for that is not possible.
    """
    wanted, has_values = options["aggregation"], bool(options["color_by"] or options["size_by"])
    are_points = geometries.types == {"POINT"}
    if wanted:
        if has_values:
            raise ValueError(f"aggregation={wanted!r} draws numbers of points: omit color_by and size_by")
        if not are_points and geometries.types:
            found = ", ".join(sorted(geometries.types))
            raise ValueError(f"aggregation={wanted!r} is for points; the layer has geometries of type {found}")
        if not has_id:
            raise ValueError(f"aggregation={wanted!r} needs the column cartodb_id, which the layer does not have")
        return wanted if are_points else None
    if wanted is False or not are_points or not has_id or geometries.rows <= MANY_POINTS:
        return None
    return "sample" if has_values else "grid"


def aggregation_config(kind: AggregationKind) -> dict[str, Any]:
    """Return the option ``aggregation`` of a layer of the Maps API: each cell is drawn as one of its rows."""
    return {"threshold": 1, "resolution": _CELL_PX[kind]}


def cell_style(
    queries: LayerQueries,
    query: str,
    kind: Literal["grid", "heatmap"],
    box: Box | None,
    options: LayerOptions,
    theme: Theme,
) -> CellStyle:
    """Return the style of a grid or heatmap: classes of the number of points of a cell, where all are visible."""
    meters = _CELL_PX[kind] * (meters_per_pixel(box) if box is not None else 0) or 1.0
    row = queries.row(
        "SELECT max(points) AS most FROM (SELECT count(*) AS points FROM"
        f" (SELECT the_geom_webmercator AS g FROM ({query}\n) AS source) AS geometries WHERE g IS NOT NULL"
        f" GROUP BY floor(ST_X(g) / {meters!r}), floor(ST_Y(g) / {meters!r})) AS cells"
    )
    most = max(int(row["most"] or 1), 1)
    title = options["legend"] if isinstance(options["legend"], str) else _TITLE
    colormap = None if options["cmap"] is None else resolve(options["cmap"])
    zoom = 0 if box is None else fit_zoom(box)
    if kind == "heatmap":
        return _heatmap(most, colormap or theme_colors(theme).heat, title, options["opacity"], zoom)
    return _grid(most, colormap or theme_colors(theme).count, title, options["opacity"], zoom)


def _grid(most: int, colormap: Colormap, title: str, opacity: float | None, zoom: int) -> CellStyle:
    """Return the style of a grid: markers whose width and color are those of the number of points."""
    limits = _geometric_limits(most, len(_GRID_PX))
    widths, colors = _GRID_PX[: len(limits) + 1], colormap.classes(len(limits) + 1)
    labels = integer_ranges((1, *limits, most)) if most > 1 else ["1"]
    items = [LegendItem(color, label, title, width) for color, label, width in zip(colors, labels, widths, strict=True)]
    rules = []
    for start, least in ((0, 0.0), *((zoom + more, width) for more, width in _GRID_GROWTH)):
        for limit, color, width in zip((0, *limits), colors, widths, strict=True):
            drawn = f"marker-width: {max(width, least):g}; marker-fill: {color};"
            rules.append(f"[zoom >= {start}][{COUNT_COLUMN} > {_plain(limit)}] {{ {drawn} }}")
    sheet = _cartocss(colors[0], widths[0], 0.9 if opacity is None else opacity, rules)
    return CellStyle(sheet, Legend(title, items, "classes"))


def _heatmap(most: int, colormap: Colormap, title: str, opacity: float | None, zoom: int) -> CellStyle:
    """Return the style of a heatmap: large transparent markers whose colors are those of the number of points."""
    limits = _geometric_limits(most, _HEAT_CLASSES)
    colors = colormap.classes(len(limits) + 1)
    rules = [
        f"[zoom = {zoom + more}][{COUNT_COLUMN} > {_plain(limit * 2.0**-more)}] {{ marker-fill: {color}; }}"
        for more in _HEAT_ZOOMS
        if zoom + more >= 0
        for limit, color in zip(limits, colors[1:], strict=True)
    ]
    deepest = zoom + _HEAT_ZOOMS[-1]
    rules += [
        f"[zoom > {deepest}][{COUNT_COLUMN} > {_plain(limit * 2.0 ** -_HEAT_ZOOMS[-1])}] {{ marker-fill: {color}; }}"
        for limit, color in zip(limits, colors[1:], strict=True)
    ]
    sheet = _cartocss(colors[0], _HEAT_PX, _HEAT_OPACITY if opacity is None else opacity, rules)
    return CellStyle(sheet, Legend(title, (), "continuous", colors, ("few", "many")))


def _cartocss(color: str, width: float, opacity: float, rules: Iterable[str]) -> str:
    """Return the style sheet of cells; of several rules that apply, the last one takes precedence."""
    declarations = {
        "marker-fill": color,
        "marker-width": f"{width:g}",
        "marker-fill-opacity": f"{opacity:g}",
        "marker-line-width": "0",
        "marker-allow-overlap": "true",
    }
    lines = [*(f"{name}: {value};" for name, value in declarations.items()), *rules]
    return "#layer {\n  " + "\n  ".join(lines) + "\n}"


def _plain(number: float) -> str:
    """Return a number without an exponent, which CartoCSS does not have."""
    return f"{number:.4f}".rstrip("0").rstrip(".")


def _geometric_limits(most: int, classes: int) -> tuple[float, ...]:
    """Return the limits between classes of numbers of points, which differ by orders of magnitude."""
    tops = {nice_below(most ** (place / classes)) for place in range(1, classes)}
    return tuple(sorted(top for top in tops if top < most))
