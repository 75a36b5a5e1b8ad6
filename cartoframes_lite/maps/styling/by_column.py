"""CartoCSS by geometry type, with colors and sizes by column.

CartoCSS cannot quote all column names and values, so the query gets an extra column with the value to compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cartoframes_lite._client import Client
from cartoframes_lite._codec.names import literal, quote
from cartoframes_lite.maps.styling.legend import LegendItem

Kind = Literal["point", "line", "polygon"]

_CLASSES = 5
_MAX_CATEGORIES = 8
_WIDTHS = tuple(range(6, 31, 3))  # pixels, from the smallest marker to that of the maximum
_NUMBERS = ("int2", "int4", "int8", "numeric", "float4", "float8")
_MAX_WITHOUT_EXPONENT = 1e15
_DEFAULT_COLOR, _OTHER_COLOR = "#2a6f97", "#9aa5b1"
# Color-blind safe: a sequential palette for numbers, a qualitative one for categories.
_SEQUENTIAL = ("#d0e8e4", "#92c9c4", "#4fa3a5", "#21788a", "#0b4a66")
_QUALITATIVE = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#e08214", "#5e4fa2")
_STYLES = {
    "point": f"marker-width: 8; marker-fill: {_DEFAULT_COLOR}; marker-fill-opacity: 0.9; marker-line-color: #ffffff;"
    " marker-line-width: 1; marker-allow-overlap: true;",
    "line": f"line-color: {_DEFAULT_COLOR}; line-width: 2; line-opacity: 0.9;",
    "polygon": f"polygon-fill: {_DEFAULT_COLOR}; polygon-opacity: 0.85; line-color: #ffffff; line-width: 0.7;",
}
_FILLS = {"point": "marker-fill", "line": "line-color", "polygon": "polygon-fill"}
_COLOR, _SIZE = "cfl_color_by", "cfl_size_by"


@dataclass(frozen=True, slots=True)
class Style:
    """CartoCSS rules, with the columns and the legend that belong to them.

    Attributes
    ----------
    rules : sequence of str
    columns : sequence of str
        SQL expressions that the rules need in addition to the columns of the query.
    legend : sequence of LegendItem
    """

    rules: Sequence[str]
    columns: Sequence[str] = ()
    legend: Sequence[LegendItem] = ()

    def __add__(self, other: Style) -> Style:
        return Style((*self.rules, *other.rules), (*self.columns, *other.columns), (*self.legend, *other.legend))

    @property
    def cartocss(self) -> str:
        """Style sheet; of the rules that apply to a row, the last one takes precedence."""
        return "#layer {\n  " + "\n  ".join(self.rules) + "\n}"

    def extend_query(self, query: str) -> str:
        """Return the query with the columns that the rules need."""
        return f"SELECT {', '.join(('*', *self.columns))} FROM ({query}\n) AS source" if self.columns else query


def default_style(kind: Kind) -> Style:
    """Return the default style of a geometry type."""
    return Style([_STYLES[kind]])


def color_by_column(client: Client, query: str, column: str, kind: Kind) -> Style:
    """Return a style with colors by column: five quantiles of numbers, or the most frequent values.

    Parameters
    ----------
    client : Client
        Used to query the values.
    query : str
    column : str
    kind : {"point", "line", "polygon"}
    """
    fields = client.sql.send(f"SELECT {quote(column)} FROM ({query}\n) AS source LIMIT 0", idempotent=True)["fields"]
    if fields[column].get("pgtype") in _NUMBERS:  # not "type", which is "number" for intervals too
        return _classes(client, query, column, _FILLS[kind])
    return _categories(client, query, column, _FILLS[kind])


def size_by_column(client: Client, query: str, column: str) -> Style:
    """Return a style with point sizes by column: the marker area is proportional to the value."""
    number = f"{quote(column)}::float8"
    [row] = client.sql.rows(f"SELECT max({number}) AS maximum FROM ({query}\n) AS source WHERE {_is_finite(number)}")
    maximum = max(0.0, float(row["maximum"] or 0))
    tops = [maximum * (width / _WIDTHS[-1]) ** 2 for width in _WIDTHS]
    rules = [f"marker-width: {_WIDTHS[0]};"]
    rules += [
        f"[{_SIZE} > {below!r}] {{ marker-width: {width}; }}" for below, width in zip(tops, _WIDTHS[1:], strict=False)
    ]
    labeled = list(zip(tops, _WIDTHS, strict=True))[::-3] if maximum else []
    legend = [LegendItem(_OTHER_COLOR, _format_number(top), column, width) for top, width in labeled]
    return Style(rules, [f"{number} AS {_SIZE}"], legend)


def _classes(client: Client, query: str, column: str, fill: str) -> Style:
    fractions = ", ".join(f"{part / _CLASSES:.2f}" for part in range(_CLASSES + 1))
    number = f"{quote(column)}::float8"
    [row] = client.sql.rows(
        f"SELECT percentile_disc(ARRAY[{fractions}]) WITHIN GROUP (ORDER BY {number}) AS bounds"
        f" FROM ({query}\n) AS source WHERE {_is_finite(number)}"
    )
    bounds = list(dict.fromkeys(row["bounds"] or []))
    tops = bounds[1:] or bounds
    colors = _SEQUENTIAL[len(_SEQUENTIAL) - len(tops) :]
    legend = [
        LegendItem(
            color,
            _format_number(top) if bottom == top else f"{_format_number(bottom)} to {_format_number(top)}",
            column,
        )
        for color, bottom, top in zip(colors, bounds, tops, strict=False)
    ]
    rules = [f"[{_COLOR} <= {top!r}] {{ {fill}: {color}; }}" for color, top in zip(colors, tops, strict=True)]
    return Style([f"{fill}: {_OTHER_COLOR};", *reversed(rules)], [f"{number} AS {_COLOR}"], legend)


def _categories(client: Client, query: str, column: str, fill: str) -> Style:
    text = f"{quote(column)}::text"
    rows = client.sql.rows(
        f"SELECT {text} AS value FROM ({query}\n) AS source WHERE {quote(column)} IS NOT NULL"
        f" GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT {_MAX_CATEGORIES}"
    )
    legend = [LegendItem(color, row["value"], column) for color, row in zip(_QUALITATIVE, rows, strict=False)]
    rules = [f"[{_COLOR} = {number}] {{ {fill}: {item.color}; }}" for number, item in enumerate(legend)]
    cases = "".join(f" WHEN {literal(item.label)} THEN {number}" for number, item in enumerate(legend))
    number = f"CASE {text}{cases} END" if cases else "NULL::int"
    return Style([f"{fill}: {_OTHER_COLOR};", *rules], [f"{number} AS {_COLOR}"], legend)


def _is_finite(number: str) -> str:
    return f"{number} NOT IN ('NaN', 'Infinity', '-Infinity')"


def _format_number(value: float) -> str:
    """Format a number for a legend."""
    return f"{value:,.0f}" if 1000 <= abs(value) < _MAX_WITHOUT_EXPONENT else f"{value:.4g}"
