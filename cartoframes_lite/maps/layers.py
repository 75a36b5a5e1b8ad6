"""Layer: the rows of a table or query, and their style."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cartoframes_lite._client import Client
from cartoframes_lite._codec.names import qualify
from cartoframes_lite._codec.sql_text import is_query, single_statement
from cartoframes_lite.maps.styling import Kind, LegendItem, Style, color_by_column, default_style, size_by_column

__all__ = ["HasName", "Layer", "LegendItem"]

CARTOCSS_VERSION = "2.3.0"
_KINDS: tuple[Kind, ...] = ("point", "line", "polygon")  # by dimension


class HasName(Protocol):
    """An object with the name of a table, such as a Dataset."""

    @property
    def name(self) -> str:
        """Name of the table, qualified by its schema if that is not the schema of the account."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A map layer: the rows of a table or query, and their style.

    Parameters
    ----------
    source : Dataset or str
        A dataset, the name of a table, or one SQL statement that returns ``the_geom_webmercator``.
    cartocss : str, optional
        Style sheet. None: a style by the geometry type, ``color_by`` and ``size_by``.
    color_by : str, optional
        Column that determines the color: a numeric column is classified into five quantiles; of any other column, each
        of the eight most frequent values has its own color.
    size_by : str, optional
        Numeric column that determines the size of points: the area of a marker is proportional to the value. NULL, NaN
        and negative values have the smallest size.
    interactivity : sequence of str
        Columns that are displayed when a feature of the map is clicked.

    Raises
    ------
    ValueError
        If the query has more than one statement, or an unterminated string, comment or parenthesis; or if both
        ``cartocss`` and ``color_by`` or ``size_by`` are passed.
    TypeError
        If ``interactivity`` is a str.

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
            raise ValueError("pass either cartocss, or color_by and size_by, not both")
        if isinstance(self.interactivity, str):
            raise TypeError(f"interactivity must be a sequence of column names, not the str {self.interactivity!r}")
        _ = self.sql  # raises ValueError if the query cannot be used as a subquery

    @property
    def sql(self) -> str:
        """SQL query of the layer; ends with a newline if its last line may be a comment."""
        name = self.source if isinstance(self.source, str) else self.source.name
        if isinstance(self.source, str) and is_query(name):
            # CARTO appends a closing parenthesis, which a trailing `--` comment would hide.
            return f"{single_statement(name).strip()}\n"
        schema, _, table = name.strip().rpartition(".")
        return f"SELECT * FROM {qualify(schema or None, table)}"

    def config(self, client: Client) -> tuple[dict[str, Any], list[LegendItem]]:
        """Compose the layer of the MapConfig, and its legend.

        Parameters
        ----------
        client : Client
            Used to query the geometry type, and the values of ``color_by`` and ``size_by``.
        """
        sql, cartocss, legend = self.sql, self.cartocss, []
        if cartocss is None:
            style = self._style(client)
            sql, cartocss, legend = style.extend_query(sql), style.cartocss, list(style.legend)
        options: dict[str, Any] = {"sql": sql, "cartocss": cartocss, "cartocss_version": CARTOCSS_VERSION}
        if self.interactivity:
            options["interactivity"] = ["cartodb_id", *self.interactivity]
            options["attributes"] = {"id": "cartodb_id", "columns": list(self.interactivity)}
        return {"type": "cartodb", "options": options}, legend

    def _style(self, client: Client) -> Style:
        """Compose a style for the geometry type of the first row that has a geometry, and the columns."""
        rows = client.sql.rows(
            f"SELECT ST_Dimension(the_geom_webmercator) AS d FROM ({self.sql}\n) AS source"
            " WHERE the_geom_webmercator IS NOT NULL LIMIT 1"
        )
        kind: Kind = _KINDS[int(rows[0]["d"])] if rows else "point"
        style = default_style(kind)
        if self.color_by is not None:
            style += color_by_column(client, self.sql, self.color_by, kind)
        if self.size_by is not None:
            if kind != "point":
                raise ValueError(f"size_by is for points only; the geometry of {self.sql!r} is of type {kind}")
            style += size_by_column(client, self.sql, self.size_by)
        return style
