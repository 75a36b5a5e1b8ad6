"""CartoCSS by the type of the geometry, with colors and sizes by columns.

What CartoCSS compares is added to the query as a column of its own: there, columns and values can have any name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cartoframes_lite._client import Client
from cartoframes_lite._codec.names import literal, quote

Kind = Literal["point", "line", "polygon"]

_CLASSES = 5
_MOST_CATEGORIES = 8
_WIDTHS = tuple(range(6, 31, 3))  # of markers, in pixels, up to that of the greatest value
_NUMBERS = ("int2", "int4", "int8", "numeric", "float4", "float8")
_MANY_DIGITS = 1e15
_PLAIN, _OTHER = "#2a6f97", "#9aa5b1"
# Color-blind safe: from light to dark for quantities, told apart for categories.
_SEQUENCE = ("#d0e8e4", "#92c9c4", "#4fa3a5", "#21788a", "#0b4a66")
_CATEGORIES = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#e08214", "#5e4fa2")
_STYLES = {
    "point": f"marker-width: 8; marker-fill: {_PLAIN}; marker-fill-opacity: 0.9; marker-line-color: #ffffff;"
    " marker-line-width: 1; marker-allow-overlap: true;",
    "line": f"line-color: {_PLAIN}; line-width: 2; line-opacity: 0.9;",
    "polygon": f"polygon-fill: {_PLAIN}; polygon-opacity: 0.85; line-color: #ffffff; line-width: 0.7;",
}
_FILLS = {"point": "marker-fill", "line": "line-color", "polygon": "polygon-fill"}
_COLOR, _SIZE = "cfl_color_by", "cfl_size_by"


@dataclass(frozen=True, slots=True)
class LegendItem:
    """A color or size, and what it means.

    Attributes
    ----------
    color : str
        As CSS has it.
    label : str
        A value, or a range of them.
    title : str
        The column.
    size_px : float, optional
        How wide the marker is that means it.
    """

    color: str
    label: str
    title: str
    size_px: float | None = None


@dataclass(frozen=True, slots=True)
class Style:
    """Rules of CartoCSS.

    Attributes
    ----------
    rules : sequence of str
    columns : sequence of str
        What the query has to have beside its own columns.
    legend : sequence of LegendItem
    """

    rules: Sequence[str]
    columns: Sequence[str] = ()
    legend: Sequence[LegendItem] = ()

    def __add__(self, other: Style) -> Style:
        return Style((*self.rules, *other.rules), (*self.columns, *other.columns), (*self.legend, *other.legend))

    @property
    def cartocss(self) -> str:
        """The style sheet; of the rules that hold for a row, the last one wins."""
        return "#layer {\n  " + "\n  ".join(self.rules) + "\n}"

    def applied(self, query: str) -> str:
        """Return a query with the columns that the rules look at."""
        return f"SELECT {', '.join(('*', *self.columns))} FROM ({query}\n) AS source" if self.columns else query


def plain(kind: Kind) -> Style:
    """Draw all rows alike."""
    return Style([_STYLES[kind]])


def colored(client: Client, query: str, column: str, kind: Kind) -> Style:
    """Draw rows in colors: five classes of numbers with about as many rows each, or the most frequent values.

    Parameters
    ----------
    client : Client
        Asked for the values.
    query : str
    column : str
    kind : {"point", "line", "polygon"}
    """
    fields = client.sql.send(f"SELECT {quote(column)} FROM ({query}\n) AS source LIMIT 0", idempotent=True)["fields"]
    if fields[column].get("pgtype") in _NUMBERS:  # not its "type": that of an interval is "number", too
        return _classes(client, query, column, _FILLS[kind])
    return _categories(client, query, column, _FILLS[kind])


def sized(client: Client, query: str, column: str) -> Style:
    """Draw points in sizes: the area of a marker grows with the value, from 0."""
    number = f"{quote(column)}::float8"
    [row] = client.sql.rows(f"SELECT max({number}) AS most FROM ({query}\n) AS source WHERE {_is_finite(number)}")
    most = max(0.0, float(row["most"] or 0))
    tops = [most * (width / _WIDTHS[-1]) ** 2 for width in _WIDTHS]
    rules = [f"marker-width: {_WIDTHS[0]};"]
    rules += [
        f"[{_SIZE} > {below!r}] {{ marker-width: {width}; }}" for below, width in zip(tops, _WIDTHS[1:], strict=False)
    ]
    shown = list(zip(tops, _WIDTHS, strict=True))[::-3] if most else []
    legend = [LegendItem(_OTHER, _number(top), column, width) for top, width in shown]
    return Style(rules, [f"{number} AS {_SIZE}"], legend)


def _classes(client: Client, query: str, column: str, fill: str) -> Style:
    shares = ", ".join(f"{part / _CLASSES:.2f}" for part in range(_CLASSES + 1))
    number = f"{quote(column)}::float8"
    [row] = client.sql.rows(
        f"SELECT percentile_disc(ARRAY[{shares}]) WITHIN GROUP (ORDER BY {number}) AS ends"
        f" FROM ({query}\n) AS source WHERE {_is_finite(number)}"
    )
    ends = list(dict.fromkeys(row["ends"] or []))
    tops = ends[1:] or ends
    colors = _SEQUENCE[len(_SEQUENCE) - len(tops) :]
    legend = [
        LegendItem(color, _number(top) if bottom == top else f"{_number(bottom)} to {_number(top)}", column)
        for color, bottom, top in zip(colors, ends, tops, strict=False)
    ]
    rules = [f"[{_COLOR} <= {top!r}] {{ {fill}: {color}; }}" for color, top in zip(colors, tops, strict=True)]
    return Style([f"{fill}: {_OTHER};", *reversed(rules)], [f"{number} AS {_COLOR}"], legend)


def _categories(client: Client, query: str, column: str, fill: str) -> Style:
    text = f"{quote(column)}::text"
    rows = client.sql.rows(
        f"SELECT {text} AS value FROM ({query}\n) AS source WHERE {quote(column)} IS NOT NULL"
        f" GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT {_MOST_CATEGORIES}"
    )
    legend = [LegendItem(color, row["value"], column) for color, row in zip(_CATEGORIES, rows, strict=False)]
    rules = [f"[{_COLOR} = {number}] {{ {fill}: {item.color}; }}" for number, item in enumerate(legend)]
    cases = "".join(f" WHEN {literal(item.label)} THEN {number}" for number, item in enumerate(legend))
    number = f"CASE {text}{cases} END" if cases else "NULL::int"
    return Style([f"{fill}: {_OTHER};", *rules], [f"{number} AS {_COLOR}"], legend)


def _is_finite(number: str) -> str:
    return f"{number} NOT IN ('NaN', 'Infinity', '-Infinity')"


def _number(value: float) -> str:
    """Write a number for people."""
    return f"{value:,.0f}" if 1000 <= abs(value) < _MANY_DIGITS else f"{value:.4g}"
