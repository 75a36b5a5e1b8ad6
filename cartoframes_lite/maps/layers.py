"""Layer: rows of a table or query and how they are drawn, in the words of people rather than of CartoCSS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cartoframes_lite._client import Client
from cartoframes_lite._codec.names import qualify
from cartoframes_lite._codec.sql_text import is_query, single_statement
from cartoframes_lite.maps.styling import Kind, LegendItem, Style, colored, plain, sized

__all__ = ["HasName", "Layer", "LegendItem"]

CARTOCSS_VERSION = "2.3.0"
_KINDS: tuple[Kind, ...] = ("point", "line", "polygon")  # by dimension


class HasName(Protocol):
    """Something that is called like a table: a Dataset."""

    @property
    def name(self) -> str:
        """The table, with its schema if that is not the account's."""


@dataclass(frozen=True, slots=True)
class Layer:
    """Rows and how they are drawn.

    Parameters
    ----------
    source : Dataset or str
        A dataset, the name of a table, or one SQL statement that returns ``the_geom_webmercator``.
    cartocss : str, optional
        How to draw it. None: by the type of the geometry, and the columns below.
    color_by : str, optional
        A column: numbers make five classes of about as many rows each, other values a color for each of the eight
        most frequent.
    size_by : str, optional
        A column of numbers: how large points are; their area grows with the value. NULL, NaN and what is below zero
        are as small as the smallest.
    interactivity : sequence of str
        Columns that a click on the map shows.

    Raises
    ------
    ValueError
        If the query has more than one statement, or a string, comment or parenthesis in it does not end.

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> new = cfl.Layer("SELECT * FROM stations WHERE year > 2000", color_by="name", interactivity=["name", "year"])
    >>> shown = cfl.AnonymousMap([cfl.Layer("stations"), new])
    >>> [item.label for item in shown.legend]
    ['Harbour']
    """

    source: HasName | str
    cartocss: str | None = None
    color_by: str | None = None
    size_by: str | None = None
    interactivity: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.cartocss is not None and (self.color_by is not None or self.size_by is not None):
            raise ValueError("cartocss says how to draw the layer: leave color_by and size_by out, or cartocss")
        if isinstance(self.interactivity, str):
            raise TypeError(f"interactivity must be a sequence of columns, not the text {self.interactivity!r}")
        _ = self.sql  # a query that cannot stand in parentheses is refused here

    @property
    def sql(self) -> str:
        """The query that the layer shows; it ends with a line break if its last line may be a comment."""
        name = self.source if isinstance(self.source, str) else self.source.name
        if isinstance(self.source, str) and is_query(name):
            # CARTO puts a closing parenthesis right behind it.
            return f"{single_statement(name).strip()}\n"
        schema, _, table = name.strip().rpartition(".")
        return f"SELECT * FROM {qualify(schema or None, table)}"

    def config(self, client: Client) -> tuple[dict[str, Any], list[LegendItem]]:
        """Write the layer as the Maps API has it, with what its colors mean.

        Parameters
        ----------
        client : Client
            Asked for the type of the geometry, and for the values of the columns.
        """
        sql, cartocss, legend = self.sql, self.cartocss, []
        if cartocss is None:
            style = self._style(client)
            sql, cartocss, legend = style.applied(sql), style.cartocss, list(style.legend)
        options: dict[str, Any] = {"sql": sql, "cartocss": cartocss, "cartocss_version": CARTOCSS_VERSION}
        if self.interactivity:
            options["interactivity"] = ["cartodb_id", *self.interactivity]
            options["attributes"] = {"id": "cartodb_id", "columns": list(self.interactivity)}
        return {"type": "cartodb", "options": options}, legend

    def _style(self, client: Client) -> Style:
        """Find a style by the type of the geometry, which is that of the first row that has any, and the columns."""
        found = client.sql.rows(
            f"SELECT ST_Dimension(the_geom_webmercator) AS d FROM ({self.sql}\n) AS source"
            " WHERE the_geom_webmercator IS NOT NULL LIMIT 1"
        )
        kind: Kind = _KINDS[int(found[0]["d"])] if found else "point"
        style = plain(kind)
        if self.color_by is not None:
            style += colored(client, self.sql, self.color_by, kind)
        if self.size_by is not None:
            if kind != "point":
                raise ValueError(f"size_by is for points, and {self.sql!r} has geometry of type {kind}")
            style += sized(client, self.sql, self.size_by)
        return style
