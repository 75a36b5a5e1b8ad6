"""Layer: rows of a table or query and how they are drawn, in the words of people rather than of CartoCSS."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cartoframes_lite._client import Client
from cartoframes_lite._codec.names import qualify, quote
from cartoframes_lite._codec.sources import is_query, without_end

CARTOCSS_VERSION = "2.3.0"
_COLOR, _SIZE = "cfl_color_by", "cfl_size_by"
_NAMEABLE = re.compile(r"(?!zoom$)[a-z]\w*", re.ASCII).fullmatch
_CLASSES = 5
_MOST_CATEGORIES = 8
_WIDTHS = tuple(range(30, 5, -3))  # of markers, in pixels, from that of the greatest value down
_PLAIN, _OTHER = "#2a6f97", "#9aa5b1"
# Colour-blind safe: from light to dark for quantities, told apart for categories.
_SEQUENCE = ("#d0e8e4", "#92c9c4", "#4fa3a5", "#21788a", "#0b4a66")
_CATEGORIES = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#e08214", "#5e4fa2")
_STYLES = {
    "point": "marker-width: 8; marker-fill: {color}; marker-fill-opacity: 0.9; marker-line-color: #ffffff;"
    " marker-line-width: 1; marker-allow-overlap: true;",
    "line": "line-color: {color}; line-width: 2; line-opacity: 0.9;",
    "polygon": "polygon-fill: {color}; polygon-opacity: 0.85; line-color: #ffffff; line-width: 0.7;",
}
_FILLS = {"point": "marker-fill", "line": "line-color", "polygon": "polygon-fill"}


class Named(Protocol):
    """Something that is called like a table: a Dataset."""

    @property
    def name(self) -> str:
        """The table, with its schema if that is not the account's."""


@dataclass(frozen=True, slots=True)
class LegendItem:
    """A colour or size, and what it means.

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
class Layer:
    """Rows and how they are drawn.

    Parameters
    ----------
    source : Dataset or str
        A dataset, the name of a table, or SQL that returns ``the_geom_webmercator``.
    cartocss : str, optional
        How to draw it. None: by the type of the geometry, and the columns below.
    color_by : str, optional
        A column: numbers make five classes of about as many rows each, other values a colour for each of the eight
        most frequent.
    size_by : str, optional
        A column of numbers: how large points are; their area grows with the value.
    interactivity : sequence of str
        Columns that a click on the map shows.
    """

    source: Named | str
    cartocss: str | None = None
    color_by: str | None = None
    size_by: str | None = None
    interactivity: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.cartocss is not None and (self.color_by is not None or self.size_by is not None):
            raise ValueError("cartocss says how to draw the layer: leave color_by and size_by out, or cartocss")
        if isinstance(self.interactivity, str):
            raise TypeError(f"interactivity must be a sequence of columns, not the text {self.interactivity!r}")

    @property
    def sql(self) -> str:
        """The query that the layer shows."""
        name = self.source if isinstance(self.source, str) else self.source.name
        if isinstance(self.source, str) and is_query(name):
            return without_end(name).strip()
        schema, _, table = name.strip().rpartition(".")
        return f"SELECT * FROM {qualify(schema or None, table)}"

    def config(self, client: Client) -> tuple[dict[str, Any], list[LegendItem]]:
        """Write the layer as the Maps API has it, with what its colours mean.

        Parameters
        ----------
        client : Client
            Asked for the type of the geometry, and for the values of the columns.
        """
        legend: list[LegendItem] = []
        cartocss = self.cartocss
        if cartocss is None:
            kind = self._kind(client)
            rules = [_STYLES[kind].format(color=_PLAIN)]
            if self.color_by is not None:
                colors, legend = self._colors(client, _FILLS[kind])
                rules += colors
            if self.size_by is not None:
                sizes, meanings = self._sizes(client, kind)
                rules += sizes
                legend += meanings
            cartocss = "#layer {\n  " + "\n  ".join(rules) + "\n}"
        options: dict[str, Any] = {"sql": self._drawn_sql(), "cartocss": cartocss, "cartocss_version": CARTOCSS_VERSION}
        if self.interactivity:
            options["interactivity"] = ["cartodb_id", *self.interactivity]
            options["attributes"] = {"id": "cartodb_id", "columns": list(self.interactivity)}
        return {"type": "cartodb", "options": options}, legend

    def _drawn_sql(self) -> str:
        """Return the query with the columns that CartoCSS cannot name under other names."""
        drawn = {_COLOR: self.color_by, _SIZE: self.size_by}
        renamed = {alias: name for alias, name in drawn.items() if name is not None and not _NAMEABLE(name)}
        if not renamed:
            return self.sql
        columns = ", ".join(f"{quote(name)} AS {alias}" for alias, name in renamed.items())
        return f"SELECT *, {columns} FROM ({self.sql}\n) AS source"

    def _kind(self, client: Client) -> str:
        """Ask for the type of the geometry: that of the first row that has any."""
        found = client.sql.rows(
            f"SELECT ST_Dimension(the_geom_webmercator) AS d FROM ({self.sql}\n) AS source"
            " WHERE the_geom_webmercator IS NOT NULL LIMIT 1"
        )
        return ("point", "line", "polygon")[found[0]["d"]] if found else "point"

    def _colors(self, client: Client, fill: str) -> tuple[list[str], list[LegendItem]]:
        """Write the rules of colours by a column."""
        assert self.color_by is not None  # the caller has looked
        column = quote(self.color_by)
        fields = client.sql.send(f"SELECT {column} FROM ({self.sql}\n) AS source LIMIT 0", idempotent=True)["fields"]
        if fields[self.color_by]["type"] == "number":
            return self._classes(client, self.color_by, fill)
        rows = client.sql.rows(
            f"SELECT {column}::text AS value FROM ({self.sql}\n) AS source WHERE {column} IS NOT NULL"
            f" GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT {_MOST_CATEGORIES}"
        )
        values = [str(row["value"]) for row in rows]
        rules = [f"{fill}: {_OTHER};"]
        legend = [LegendItem(color, value, self.color_by) for color, value in zip(_CATEGORIES, values, strict=False)]
        rules += [
            f"[{_field(self.color_by, _COLOR)} = {_quoted(item.label)}] {{ {fill}: {item.color}; }}" for item in legend
        ]
        return rules, legend

    def _classes(self, client: Client, name: str, fill: str) -> tuple[list[str], list[LegendItem]]:
        """Write the rules of classes of numbers with about as many rows each."""
        column = quote(name)
        shares = ", ".join(f"{part / _CLASSES:.2f}" for part in range(_CLASSES + 1))
        (row,) = client.sql.rows(
            f"SELECT percentile_disc(ARRAY[{shares}]) WITHIN GROUP (ORDER BY {column}::float8) AS ends"
            f" FROM ({self.sql}\n) AS source WHERE {column}::float8 <> 'NaN'"
        )
        ends = list(dict.fromkeys(row["ends"] or []))
        rules, legend, bottom = [f"{fill}: {_OTHER};"], [], ends[:1]
        tops = ends[1:] or ends
        colors = _SEQUENCE[-len(tops) :]
        for top, color in zip(tops, colors, strict=True):
            legend.append(LegendItem(color, f"{_number(bottom[0])} to {_number(top)}", name))
            bottom = [top]
        # The last rule that holds for a row wins.
        for top, item in reversed(list(zip(tops, legend, strict=True))):
            rules.append(f"[{_field(name, _COLOR)} <= {top!r}] {{ {fill}: {item.color}; }}")
        return rules, legend

    def _sizes(self, client: Client, kind: str) -> tuple[list[str], list[LegendItem]]:
        """Write the rules of sizes by a column."""
        assert self.size_by is not None  # the caller has looked
        if kind != "point":
            raise ValueError(f"size_by is for points, and {self.sql!r} has geometry of type {kind}")
        column = quote(self.size_by)
        (row,) = client.sql.rows(f"SELECT max({column})::float8 AS most FROM ({self.sql}\n) AS source")
        most = float(row["most"] or 0)
        widths = {width: most * (width / _WIDTHS[0]) ** 2 for width in _WIDTHS}
        rules = [f"marker-width: {_WIDTHS[0]};"]
        rules += [
            f"[{_field(self.size_by, _SIZE)} <= {value!r}] {{ marker-width: {width}; }}"
            for width, value in widths.items()
        ]
        legend = [LegendItem(_OTHER, _number(widths[width]), self.size_by, width) for width in _WIDTHS[::3]]
        return rules, legend


def _number(value: float) -> str:
    """Write a number for people."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"


def _field(name: str, alias: str) -> str:
    """Write a column in a filter of CartoCSS, where only plain names can stand."""
    return name if _NAMEABLE(name) else alias


def _quoted(value: str) -> str:
    """Write a value of a filter in CartoCSS."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
