"""Layer: the rows of a table, query or frame, and the words that style them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Unpack

import geopandas as gpd
import pandas as pd

from cartoframes_lite._client import Client
from cartoframes_lite._client.keywords import shared_keywords
from cartoframes_lite._codec.names import qualify
from cartoframes_lite._codec.sql_text import is_query, single_statement
from cartoframes_lite.maps.styling.aggregation import (
    COUNT_COLUMN,
    MANY_POINTS,
    AggregationKind,
    aggregation_config,
    aggregation_kind,
    cell_style,
)
from cartoframes_lite.maps.styling.cartocss import Appearance
from cartoframes_lite.maps.styling.classification import classify
from cartoframes_lite.maps.styling.density import marker_growth, marker_width
from cartoframes_lite.maps.styling.expectation import expected_queries
from cartoframes_lite.maps.styling.frame_statistics import kind_of_series
from cartoframes_lite.maps.styling.geometries import Geometries, geometries_sql, read_geometries
from cartoframes_lite.maps.styling.kinds import check_kinds
from cartoframes_lite.maps.styling.legend import Legend
from cartoframes_lite.maps.styling.options import (
    LAYER_DEFAULTS,
    Columns,
    LayerOptions,
    check_columns,
    check_options,
    named_columns,
)
from cartoframes_lite.maps.styling.queries import LayerQueries
from cartoframes_lite.maps.styling.sizes import size_classes
from cartoframes_lite.maps.styling.sql_statistics import SQLStatistics, kind_of_pgtype
from cartoframes_lite.maps.styling.statistics import ColumnStatistics
from cartoframes_lite.maps.styling.themes import Theme, layer_color, theme_colors

__all__ = ["CompiledLayer", "HasName", "Layer", "Theme", "layer_keywords"]

CARTOCSS_VERSION = "2.3.0"
_ID = "cartodb_id"
_SPATIAL_TYPES = ("geometry", "geography", "raster")

layer_keywords = shared_keywords(LayerOptions, defaults=LAYER_DEFAULTS)


class HasName(Protocol):
    """An object with the name of a table, such as a Dataset."""

    @property
    def name(self) -> str:
        """Name of the table, qualified by its schema if that is not the schema of the account."""


@dataclass(frozen=True, slots=True)
class CompiledLayer:
    """A layer as the Maps API and the page need it.

    Attributes
    ----------
    config : dict
        Layer of the MapConfig.
    legends : tuple of Legend
        Legend of the colors, then of the sizes; empty if the layer shows none.
    title : str
        Name of the layer; empty for a query without a title.
    popup, hover : tuple of str
        Columns to show when a feature is clicked, and while the pointer is over it.
    appearance : Appearance, optional
        What the style sheet was made of. None: it is the user's own.
    types : mapping
        Types of the columns of the table or query by name; empty if nothing needed them.
    """

    config: dict[str, Any]
    legends: tuple[Legend, ...] = ()
    title: str = ""
    popup: tuple[str, ...] = ()
    hover: tuple[str, ...] = ()
    appearance: Appearance | None = None
    types: Mapping[str, str] = field(default_factory=dict)


def _check_source(source: Any) -> Any:
    """Return the source of a layer, with a GeoSeries as a frame; raise TypeError for anything that is none."""
    if isinstance(source, gpd.GeoSeries):
        return source.to_frame("geometry")
    if isinstance(source, str | gpd.GeoDataFrame) or isinstance(getattr(source, "name", None), str):
        return source
    advice = ""
    if isinstance(source, pd.DataFrame):
        advice = ": it has no geometry, so make it a GeoDataFrame"
    raise TypeError(
        "the source of a layer must be a Dataset, a GeoDataFrame, or the name of a table or a query, not"
        f" {type(source).__name__}{advice}"
    )


@layer_keywords
@dataclass(frozen=True, slots=True, init=False, eq=False)
class Layer:
    """A map layer: the rows of a table, query or frame, and their style.

    Parameters
    ----------
    source : Dataset, str or GeoDataFrame
        A dataset, the name of a table, or one SQL statement that returns ``the_geom_webmercator``; or a frame, which
        the map contains.
    cartocss : str, optional
        Style sheet. None: a style by the geometry types, and by the keywords.
    **keywords
        The words that style the layer.

    Attributes
    ----------
    source
    cartocss
    options : LayerOptions
        The keywords, with their defaults.

    Raises
    ------
    ValueError
        If the query has more than one statement, or an unterminated string, comment or parenthesis; if both
        ``cartocss`` and words that it replaces are passed; if a value is unknown, or a frame lacks a column.
    TypeError
        If a keyword is unknown, or a value has the wrong type.

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> new = cfl.Layer("SELECT * FROM stations WHERE year > 2000", color_by="name", popup=["name", "year"])
    >>> shown = cfl.AnonymousMap([cfl.Layer("stations"), new])
    >>> [item.label for item in shown.legend]
    ['Harbour']
    """

    source: HasName | str | gpd.GeoDataFrame
    cartocss: str | None
    options: LayerOptions

    @layer_keywords
    def __init__(
        self,
        source: HasName | str | gpd.GeoDataFrame,
        cartocss: str | None = None,
        **keywords: Unpack[LayerOptions],
    ) -> None:
        source = _check_source(source)
        options = check_options(keywords, has_cartocss=cartocss is not None)
        for name, value in (("source", source), ("cartocss", cartocss), ("options", options)):
            object.__setattr__(self, name, value)  # the instances are frozen
        if isinstance(source, gpd.GeoDataFrame):
            if cartocss is not None:
                raise ValueError("cartocss styles tables and queries; style a GeoDataFrame by the other keywords")
            if options["aggregation"]:
                raise ValueError("aggregation is done by the server: write the GeoDataFrame to a table, and map that")
            labels = [str(label) for label in source.columns]
            check_columns(options, labels, "the GeoDataFrame")
            check_kinds(options, lambda column: kind_of_series(source.iloc[:, labels.index(column)]))
        else:
            _ = self.sql  # raises ValueError if the query cannot be used as a subquery

    @property
    def frame(self) -> gpd.GeoDataFrame | None:
        """The frame of a layer that is drawn from a frame, otherwise None."""
        return self.source if isinstance(self.source, gpd.GeoDataFrame) else None

    @property
    def sql(self) -> str:
        """SQL query of the layer; ends with a newline if its last line may be a comment."""
        if isinstance(self.source, gpd.GeoDataFrame):
            raise ValueError("the layer is drawn from a GeoDataFrame, so it has no query")
        if self._is_query:
            # CARTO appends a closing parenthesis, which a trailing `--` comment would hide.
            return f"{single_statement(self._table_or_query).strip()}\n"
        return f"SELECT * FROM {qualify(*self._schema_and_table)}"

    @property
    def title(self) -> str:
        """Name of the layer on the map; empty for a query or frame without a title."""
        if self.options["title"] is not None:
            return self.options["title"]
        if self.frame is not None or self._is_query:
            return ""
        return self._table_or_query.strip()

    def check(self, client: Client) -> dict[str, str] | None:
        """Check that the table or query has the columns that the words name or need.

        Returns
        -------
        dict or None
            Types of the columns by name. None: the words name no column, and nothing was requested.

        Raises
        ------
        ValueError
            If a column is missing.
        TableNotFoundError, SQLError
            If the table does not exist, or the query is invalid.
        """
        if self.frame is not None or not any(self._words_with_columns):
            return None
        types = self._read_columns(client)
        self._shown_columns(types)
        return types

    def check_source(self, client: Client) -> None:
        """Raise TableNotFoundError or SQLError if the table does not exist, or the query is invalid."""
        if self._is_query:
            client.sql.columns(f"({self.sql}\n) AS source")
        else:
            client.sql.require_table(*self._schema_and_table)

    def compile(
        self, client: Client, theme: Theme = "light", *, types: Mapping[str, str] | None = None
    ) -> CompiledLayer:
        """Compose the layer of the MapConfig, its legends and the columns it shows.

        Parameters
        ----------
        client : Client
            Used to query the columns, the geometry types and the values.
        theme : {"light", "dark"}
            Basemap that the colors have to be visible on.
        types : mapping, optional
            Types of the columns when ``check`` was called.

        Raises
        ------
        ValueError
            If a column does not exist, or the style does not fit the geometry type.
        """
        sql, cartocss, legends = self.sql, self.cartocss, tuple[Legend, ...]()
        appearance = None
        queries = LayerQueries(client, sql)
        current = self._prefetch(queries, client, types, theme)
        popup, hover = self._shown_columns(current)
        aggregation = None
        if cartocss is None:
            geometries = read_geometries(queries, sql)
            aggregation = self._aggregation_kind(client, geometries, current)
            if aggregation is None or aggregation == "sample":
                appearance = self.appearance(
                    geometries, lambda column: SQLStatistics(queries, self.sql, column, current[column]), theme
                )
                sql, cartocss, legends = appearance.extend_query(sql), appearance.cartocss, appearance.legends
            else:
                cells = cell_style(queries, sql, aggregation, geometries.box, self.options, theme)
                cartocss, legends = cells.cartocss, (cells.legend,) if self.options["legend"] else ()
                if popup:
                    popup, hover = (COUNT_COLUMN, *popup), (COUNT_COLUMN,)
        options: dict[str, Any] = {"sql": sql, "cartocss": cartocss, "cartocss_version": CARTOCSS_VERSION}
        if aggregation is not None:
            options["aggregation"] = aggregation_config(aggregation)
        shown = list(dict.fromkeys([*popup, *hover, *self.options["interactivity"]]))
        if shown:
            options["interactivity"] = [_ID, *(name for name in shown if name != _ID)]
            options["attributes"] = {"id": _ID, "columns": [name for name in shown if name != COUNT_COLUMN]}
        config = {"type": "cartodb", "options": options}
        return CompiledLayer(config, legends, self.title, popup, hover, appearance, current)

    def _prefetch(
        self, queries: LayerQueries, client: Client, known: Mapping[str, str] | None, theme: Theme
    ) -> dict[str, str]:
        """Send the queries that the style is expected to need; return the types of the columns, empty if unknown."""
        needs_columns = any(self._words_with_columns)
        if known is None and needs_columns:
            known = self._read_columns(client)
        expected: dict[str, str | None] = {}
        if self.cartocss is None:
            expected[geometries_sql(self.sql)] = None
            expected |= expected_queries(queries, self.sql, self.options, known or {}, theme)
        current = queries.prefetch(expected) if expected else None
        if current is not None:
            self._check_types(current)
            return current
        return self._read_columns(client) if needs_columns else {}

    def __repr__(self) -> str:
        source = f"<GeoDataFrame of {len(self.frame)} rows>" if self.frame is not None else repr(self._table_or_query)
        changed = {name: value for name, value in self.options.items() if value != LAYER_DEFAULTS.get(name)}
        words = "".join(f", {name}={value!r}" for name, value in changed.items())
        return f"Layer({source}{'' if self.cartocss is None else f', {self.cartocss!r}'}{words})"

    @property
    def _table_or_query(self) -> str:
        return self.source if isinstance(self.source, str) else str(self.source.name)

    @property
    def _size_title(self) -> str | None:
        """Title of the legend of the sizes; empty if that of the colors, above it, is the same. None: the column."""
        color_by, legend = self.options["color_by"], self.options["legend"]
        if color_by is not None:
            return "" if color_by == self.options["size_by"] else None
        return legend if isinstance(legend, str) else None

    def _read_columns(self, client: Client) -> dict[str, str]:
        """Return the types of the columns by name, after checking those that the words name."""
        if self._is_query:
            columns = client.sql.columns(f"({self.sql}\n) AS source")
        else:
            columns = client.sql.table_columns(*self._schema_and_table)
        types = {column.name: column.pgtype for column in columns}
        self._check_types(types)
        return types

    def _check_types(self, types: Mapping[str, str]) -> None:
        """Raise ValueError if the words name columns that do not exist, or have types that do not fit."""
        check_columns(self.options, types, self._table_or_query.strip())
        check_kinds(self.options, lambda column: kind_of_pgtype(types[column]))

    @property
    def _is_query(self) -> bool:
        return isinstance(self.source, str) and is_query(self.source)

    @property
    def _schema_and_table(self) -> tuple[str | None, str]:
        schema, _, table = self._table_or_query.strip().rpartition(".")
        return schema or None, table

    @property
    def _words_with_columns(self) -> Iterator[object]:
        """Whatever the words need to know the columns for."""
        yield from named_columns(self.options).values()
        yield from (self.options["popup"], self.options["hover"])

    def _shown_columns(self, types: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the columns of the popup and those shown under the pointer."""
        options = self.options
        if (options["popup"] or options["hover"]) and _ID not in types:
            source = self._table_or_query.strip()
            raise ValueError(f"popup and hover need the column {_ID}, which {source} does not have")
        every = tuple(name for name, pgtype in types.items() if pgtype not in _SPATIAL_TYPES and name != _ID)
        word = self._popup_word(types)
        popup = every if word is True else tuple(word or ())
        hover = options["hover"]
        if hover is None:
            named = (options["color_by"], options["size_by"]) if popup else ()
            hover = tuple(dict.fromkeys(name for name in named if name is not None and name in every))
        elif isinstance(hover, bool):
            hover = (popup or every) if hover else ()
        return popup, tuple(hover)

    def _popup_word(self, types: Mapping[str, str]) -> Columns:
        """Return the columns of the popup; True: all of them."""
        return self.options["interactivity"] if self.options["popup"] is None else self.options["popup"]

    def _aggregation_kind(
        self, client: Client, geometries: Geometries, types: Mapping[str, str]
    ) -> AggregationKind | None:
        """Return how points are aggregated; the columns are queried only if that depends on them."""
        if not self.options["aggregation"] and geometries.rows <= MANY_POINTS:
            return None
        return aggregation_kind(self.options, geometries, has_id=_ID in (types or self._read_columns(client)))

    def appearance(
        self, geometries: Geometries, statistics_of: Callable[[str], ColumnStatistics], theme: Theme
    ) -> Appearance:
        """Return what the layer looks like.

        Parameters
        ----------
        geometries : Geometries
        statistics_of : callable
            Returns the statistics of a column.
        theme : {"light", "dark"}

        Raises
        ------
        ValueError
            If the style does not fit the geometry type, or the values of a column.
        """
        colors, sizes = theme_colors(theme), None
        classes = None
        if (color_by := self.options["color_by"]) is not None:
            classes = classify(statistics_of(color_by), self.options, theme)
        if (size_by := self.options["size_by"]) is not None:
            if geometries.shapes == ("polygon",):
                raise ValueError(f"size_by={size_by!r} is for points and lines; the geometries are polygons")
            is_line = "point" not in geometries.shapes
            sizes = size_classes(statistics_of(size_by), colors.size, is_line=is_line, title=self._size_title)
        width = marker_width(geometries.rows, geometries.box)
        growth = marker_growth(width, geometries.box)
        color = layer_color(self.options, theme)
        return Appearance(geometries.shapes, color, colors.stroke, self.options, classes, sizes, width, growth)


class DatasetLayer(Layer):
    """Layer of a dataset: by default, its popup shows all columns, if the table has the column ``cartodb_id``."""

    __slots__ = ()

    @property
    def _words_with_columns(self) -> Iterator[object]:
        yield True

    def _popup_word(self, types: Mapping[str, str]) -> Columns:
        if self.options["popup"] is None and not self.options["interactivity"]:
            return _ID in types
        return super()._popup_word(types)
