"""CartoCSS of a layer, and the SQL expressions of the classes that its rules compare."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from cartoframes_lite._codec.names import literal
from cartoframes_lite.maps.styling.classification import Classification
from cartoframes_lite.maps.styling.colormaps import hexadecimal
from cartoframes_lite.maps.styling.legend import Legend
from cartoframes_lite.maps.styling.options import LayerOptions
from cartoframes_lite.maps.styling.sizes import LINE_PX, POINT_PX, SizeClasses
from cartoframes_lite.maps.styling.sql_statistics import is_finite_sql, number_sql, text_sql

Shape = Literal["point", "line", "polygon"]

COLOR_COLUMN, SIZE_COLUMN = "cfl_color", "cfl_size"
SHAPES: tuple[Shape, ...] = ("polygon", "line", "point")
"""In drawing order, from bottom to top."""

DEFAULT_LINE_PX = 2.0
"""Width of lines without sizes."""

_MAPNIK_TYPES = {"point": 1, "line": 2, "polygon": 3}
_COLLECTION = 4
_FILLS = {"point": "marker-fill", "line": "line-color", "polygon": "polygon-fill"}
_OPACITY = {"point": 0.9, "line": 0.9, "polygon": 0.85}
_STROKE_PX = {"point": 1.0, "polygon": 0.7}
_LEAST_STROKE_PX = 0.2


@dataclass(frozen=True, slots=True)
class Appearance:
    """What a layer looks like.

    Attributes
    ----------
    shapes : tuple of {"point", "line", "polygon"}
        Types of the geometries; more than one if they are mixed.
    color, stroke_color : str
        Color without a classification, and default color of outlines.
    options : LayerOptions
    colors : Classification, optional
    sizes : SizeClasses, optional
    marker_px : float
        Width of points without ``sizes``; it stands for the density of other geometries, too.
    growth : tuple of (int, float)
        Zooms from which on points are larger, and how large.
    """

    shapes: tuple[Shape, ...]
    color: str
    stroke_color: str
    options: LayerOptions
    colors: Classification | None = None
    sizes: SizeClasses | None = None
    marker_px: float = 8.0
    growth: tuple[tuple[int, float], ...] = ()

    @property
    def cartocss(self) -> str:
        """The style sheet: a block for each geometry type, with rules by class in it."""
        if len(self.shapes) == 1:
            return "\n".join(self._block("#layer", self.shapes[0]))
        return "\n".join(line for shape in self.shapes for line in self._block(_selector(shape), shape))

    @property
    def legends(self) -> tuple[Legend, ...]:
        """The legends of the colors and of the sizes, unless the layer has none."""
        shown = (None if one is None else one.legend for one in (self.colors, self.sizes))
        return tuple(one for one in shown if one is not None) if self.options["legend"] else ()

    def extend_query(self, query: str) -> str:
        """Return the query with the classes that the rules compare, in the order in which rows are drawn."""
        columns = []
        if self.colors is not None:
            columns.append(f"{color_class_sql(self.colors)} AS {COLOR_COLUMN}")
        if self.sizes is not None:
            columns.append(f"{size_class_sql(self.sizes)} AS {SIZE_COLUMN}")
        if not columns:
            return query
        order = f" ORDER BY {SIZE_COLUMN} DESC" if self.sizes is not None else ""  # small points above large ones
        return f"SELECT *, {', '.join(columns)} FROM ({query}\n) AS source{order}"

    def _block(self, selector: str, shape: Shape) -> Iterator[str]:
        """Yield the lines of the block of a geometry type.

        A property is declared once, and again only in rules with conditions: of two declarations in a block, the first
        one takes precedence, in CARTO too.
        """
        yield f"{selector} {{"
        yield from (f"  {name}: {value};" for name, value in self._declarations(shape))
        if self.colors is not None:
            rules = enumerate(self.colors.colors)
            yield from (
                f"  [{COLOR_COLUMN} = {index}] {{ {_FILLS[shape]}: {color}; }}"
                for index, color in rules
                if index != self.colors.other
            )
        if self.sizes is not None and shape != "polygon":
            name, widths = ("marker-width", POINT_PX) if shape == "point" else ("line-width", LINE_PX)
            used = range(1, len(self.sizes.limits) + 1)
            yield from (f"  [{SIZE_COLUMN} = {index}] {{ {name}: {widths[index]:g}; }}" for index in used)
        elif shape == "point":
            yield from (f"  [zoom >= {zoom}] {{ marker-width: {width:g}; }}" for zoom, width in self.growth)
        yield "}"

    def _declarations(self, shape: Shape) -> Iterator[tuple[str, str]]:
        """Yield the properties of all rows of a geometry type."""
        color = self.color if self.colors is None else self.colors.colors[self.colors.other]
        opacity = self.opacity(shape)
        yield _FILLS[shape], color
        if shape == "line":
            yield "line-width", f"{LINE_PX[0] if self.sizes is not None else DEFAULT_LINE_PX:g}"
            yield "line-opacity", f"{opacity:g}"
            yield "line-join", "round"
            yield "line-cap", "round"
            return
        yield ("marker-fill-opacity" if shape == "point" else "polygon-opacity"), f"{opacity:g}"
        if shape == "point":
            yield "marker-width", f"{POINT_PX[0] if self.sizes is not None else self.marker_px:g}"
            yield "marker-allow-overlap", "true"
        stroke_color, stroke_px = self.stroke(shape)
        prefix = "marker-line" if shape == "point" else "line"
        if stroke_px or shape == "point":  # markers have a black outline by default
            yield f"{prefix}-width", f"{stroke_px:g}"
            yield f"{prefix}-color", stroke_color
            yield f"{prefix}-opacity", f"{self.stroke_opacity:g}"

    def opacity(self, shape: Shape) -> float:
        """Return the opacity of the color."""
        return _OPACITY[shape] if self.options["opacity"] is None else self.options["opacity"]

    @property
    def stroke_opacity(self) -> float:
        """Opacity of outlines."""
        return 1.0 if self.options["opacity"] is None else self.options["opacity"]

    def stroke(self, shape: Shape) -> tuple[str, float]:
        """Return color and width of the outline of points or polygons; the width is 0 without outline."""
        width = _STROKE_PX[shape]
        if shape == "polygon":  # outlines of small polygons would hide their color
            width = max(round(width * (self.marker_px - 2) / 8, 2), _LEAST_STROKE_PX)
        elif self.sizes is None:
            width = 1.0 if self.marker_px >= 7 else 0.5 if self.marker_px >= 5 else 0.0
        stroke = self.options["stroke"]
        if stroke is None or stroke is False:
            return self.stroke_color, 0.0
        parts = stroke if isinstance(stroke, tuple | list) else (stroke,)
        colors = [hexadecimal(part) for part in parts if isinstance(part, str)]
        widths = [float(part) for part in parts if not isinstance(part, str | bool)]
        if colors and not widths:
            widths = [max(width, 0.5)]
        return (colors or [self.stroke_color])[0], (widths or [width])[0]


def _selector(shape: Shape) -> str:
    """Return the selector of the rows of a shape; geometry collections have all shapes."""
    return ", ".join(f"#layer['mapnik::geometry_type'={number}]" for number in (_MAPNIK_TYPES[shape], _COLLECTION))


def color_class_sql(classification: Classification) -> str:
    """Return the SQL expression of the index of the color of a row."""
    column, kind = classification.column, classification.kind
    if classification.texts is not None:
        text = text_sql(column)
        cases = "".join(f" WHEN {literal(value)} THEN {index}" for index, value in enumerate(classification.texts))
        found = f"CASE {text}{cases} ELSE {classification.other} END" if cases else str(classification.other)
        return f"CASE WHEN {text} IS NULL THEN {classification.no_data} ELSE {found} END"
    number = number_sql(column, kind)
    if classification.numbers is not None:
        cases = "".join(
            f" WHEN {number} = {_float(value)} THEN {index}" for index, value in enumerate(classification.numbers)
        )
        return f"CASE WHEN {_is_missing(number)} THEN {classification.no_data}{cases} ELSE {classification.other} END"
    cases = _limit_cases(number, classification.limits)
    return f"CASE WHEN {_is_missing(number)} THEN {classification.no_data}{cases} END"


def size_class_sql(sizes: SizeClasses) -> str:
    """Return the SQL expression of the index of the size of a row."""
    number = number_sql(sizes.column, "number")
    return f"CASE WHEN {_is_missing(number)} THEN 0{_limit_cases(number, sizes.limits)} END"


def _limit_cases(number: str, limits: Sequence[float]) -> str:
    """Return the branches of a CASE for classes of numbers."""
    cases = (f" WHEN {number} <= {_float(limit)} THEN {index}" for index, limit in enumerate(limits))
    return f"{''.join(cases)} ELSE {len(limits)}"


def _is_missing(number: str) -> str:
    return f"{number} IS NULL OR NOT {is_finite_sql(number)}"


def _float(value: float) -> str:
    """Return a number as a literal that has exactly its value."""
    return f"'{value!r}'::float8"


def shapes_of(geometry_types: Iterable[str]) -> tuple[Shape, ...]:
    """Return the shapes of geometry types, such as "MULTIPOINT", in drawing order; of a collection, all."""
    names = [name.upper() for name in geometry_types]
    found = {shape for shape in SHAPES for name in names if shape in _shapes_of_type(name)}
    return tuple(shape for shape in SHAPES if shape in found)


def _shapes_of_type(name: str) -> tuple[Shape, ...]:
    if "COLLECTION" in name:
        return SHAPES
    if "POINT" in name:
        return ("point",)
    return ("line",) if "LINE" in name or name in ("CIRCULARSTRING", "COMPOUNDCURVE", "MULTICURVE") else ("polygon",)
