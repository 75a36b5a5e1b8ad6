"""What an anonymous map shows: layers of a server, composed to a MapConfig, and frames that its page contains."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any, TypeVar, cast

from cartoframes_lite._client import Client
from cartoframes_lite._client.maps import Filters, Layergroup
from cartoframes_lite._client.parallel import at_once
from cartoframes_lite._codec.sql_text import single_statement
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import APIError, AuthenticationError, NotFound, PermissionDenied, SQLError
from cartoframes_lite.maps.dataviews import WidgetColumns, add_dataviews, check_widget, column_types, page_widget
from cartoframes_lite.maps.embedding import embed_rows
from cartoframes_lite.maps.features import FeatureLayer, check_frame
from cartoframes_lite.maps.frame_layers import check_frame_widget, compile_frame
from cartoframes_lite.maps.layers import CompiledLayer, Layer, Theme
from cartoframes_lite.maps.page import Instantiation, PageLayer, TileLayer
from cartoframes_lite.maps.page.viewport import Viewport
from cartoframes_lite.maps.styling import LegendItem
from cartoframes_lite.maps.styling.cartocss import Appearance
from cartoframes_lite.maps.validation import BBox
from cartoframes_lite.maps.widgets import Widget, check_widgets, layer_of

_VERSION = "1.8.0"
_PADDING_PIXELS = 16  # so that markers at the edges of the data are visible
_HALVES = (  # where the data west of Greenwich end, and where those east of it begin
    "max(ST_XMax(the_geom_webmercator)) FILTER (WHERE ST_XMin(the_geom_webmercator) < 0) AS west_end,"
    " min(ST_XMin(the_geom_webmercator)) FILTER (WHERE ST_XMax(the_geom_webmercator) >= 0) AS east_start"
)
_MUCH_NARROWER = 0.9
_HALF_WORLD_M = 20037508.342789244  # EPSG:3857
_EDGES = ("xmin", "ymin", "xmax", "ymax")
_NO_SERVER = (
    "all layers of this map are GeoDataFrames, which its page draws itself: no server has tiles, images or dataviews of"
    " it. Upload the frame and map the table: gdf.carto.to_table(name).map()"
)

T = TypeVar("T")
Layers = Layer | Sequence[Layer | Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class _Composed:
    """The MapConfig, and the layers of the page from bottom to top with its widgets."""

    config: dict[str, Any]
    layers: Sequence[PageLayer]
    appearances: Mapping[int, Appearance]  # of layers in the MapConfig that words style
    widgets: Sequence[Mapping[str, Any]]


class ComposedSource:
    """Layers, or a MapConfig; composed at the first use.

    Parameters
    ----------
    layers_or_config : Layer, list of Layer or mapping, or mapping
        Layers from bottom to top, or a MapConfig.
    credentials : Credentials, optional
        Needed only if a layer is on a server.
    theme : {"light", "dark"}
    widgets : Widget or sequence of Widget
    checks_sources : bool, default False
        Whether tables and queries are checked now, also if nothing needs their columns.

    Raises
    ------
    ValueError, TypeError
        If a layer names a column that does not exist, a frame cannot be drawn, or a widget is invalid.
    """

    name = None
    query: Mapping[str, str] = MappingProxyType({})

    def __init__(
        self,
        layers_or_config: Layers | Mapping[str, Any],
        credentials: Credentials | None,
        theme: Theme,
        widgets: Widget | Sequence[Widget],
        *,
        checks_sources: bool = False,
    ) -> None:
        is_config = isinstance(layers_or_config, Mapping)
        self._options: Mapping[str, Any] = layers_or_config if isinstance(layers_or_config, Mapping) else {}
        self._layers = _as_list(layers_or_config)
        self._theme: Theme = theme
        self._widgets = check_widgets(widgets, len(self._layers))
        self.has_server = is_config or not self._layers or not all(map(_is_frame, self._layers))
        self._client = Client(credentials) if self.has_server else None
        # Types of the columns by position of the layer, as far as the words of the layers need them.
        checks = [partial(self._check, layer, checks_sources) for layer in self._layers]
        self._types = dict(enumerate(self._at_once(checks)))
        for widget in self._widgets:
            self._check_widget(widget)

    def _at_once(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """Call functions at the same time, if they can send requests."""
        return at_once(self.client.credentials, *calls) if self.has_server else [call() for call in calls]

    def _check(self, layer: Layer | Mapping[str, Any], checks_source: bool) -> Mapping[str, str] | None:
        """Return the types of the columns of a layer if its words need them.

        Raises
        ------
        ValueError
            If a frame cannot be drawn, or a word names a column that does not exist.
        """
        if not isinstance(layer, Layer):
            return None
        if layer.frame is not None:
            check_frame(layer.frame)
            return None
        types = layer.check(self.client)
        if types is None and checks_source:
            layer.check_source(self.client)
        return types

    def _check_widget(self, widget: Widget) -> None:
        """Raise ValueError if a layer lacks a column of a widget, or the widget cannot display its values."""
        position = layer_of(widget, len(self._layers))
        layer = self._layers[position]
        if isinstance(layer, Layer) and layer.frame is not None:
            check_frame_widget(widget, layer.frame)
        elif isinstance(layer, Layer) and widget.column is not None:
            if (types := self._types[position]) is None:
                self._types[position] = types = column_types(self.client, layer.sql)
            check_widget(widget, types)

    @property
    def client(self) -> Client:
        """Client of the server.

        Raises
        ------
        ValueError
            If all layers are frames.
        """
        if self._client is None:
            raise ValueError(_NO_SERVER)
        return self._client

    @property
    def instantiation(self) -> Instantiation:
        """The request that instantiates the layers of the server."""
        return Instantiation("", self._config)

    @property
    def legend(self) -> Sequence[LegendItem]:
        """Legend from the bottom layer to the top."""
        legends = [legend for layer in self.layers() for legend in layer.legends]
        return [LegendItem(**item) for legend in legends for item in legend["items"]]

    @cached_property
    def needs_key(self) -> bool:
        """Whether the map can be seen only with the API key: it is instantiated without one."""
        if not self.has_server or self.client.credentials.is_public:
            return False
        try:
            Client(replace(self.client.credentials, api_key=None)).maps.instantiate(self._config)
        except (SQLError, PermissionDenied, AuthenticationError, NotFound):
            return True
        return False

    def instantiate(self, filters: Filters | None) -> Layergroup:
        """Instantiate the layers of the server."""
        return self.client.maps.instantiate(self._config, filters=filters)

    def layers(self) -> Sequence[PageLayer]:
        """Return the layers from bottom to top."""
        return self._composed.layers

    def embedded_layers(self) -> Sequence[PageLayer]:
        """Return the layers with the rows of those of the server that the page can draw itself."""
        return [
            self._embed(layer, position) if isinstance(layer, TileLayer) else layer
            for position, layer in enumerate(self.layers())
        ]

    def _embed(self, layer: TileLayer, position: int) -> PageLayer:
        """Return a layer of the server with its rows; as it is if it has a style sheet, or too many rows.

        Raises
        ------
        ValueError
            If it has too many rows for its widgets.
        """
        widgets = [widget for widget in self.widgets() if widget["layer"] == position]
        columns = [widget[name] for widget in widgets for name in ("column", "value") if widget.get(name)]
        options = self._config["layers"][layer.index]["options"]
        appearance = self._composed.appearances.get(layer.index)
        embedded = None
        if appearance is not None and not options.get("aggregation"):
            embedded = embed_rows(self.client, self._query_of(options), layer, appearance, columns)
        if embedded is None and widgets:
            raise ValueError(
                f"the widgets of layer {position} need its rows, which the page cannot contain: there are too many of"
                " them, or the layer has CartoCSS of its own. Save the map with embed=False, or without these widgets"
            )
        return layer if embedded is None else embedded

    def _query_of(self, options: Mapping[str, Any]) -> str:
        """Return the query of a layer of the MapConfig, given its options."""
        nodes = {node["id"]: node["params"]["query"] for node in self._config.get("analyses") or ()}
        return str(nodes[options["source"]["id"]] if "source" in options else options["sql"])

    def widgets(self) -> Sequence[Mapping[str, Any]]:
        """Return the widgets for the page."""
        return self._composed.widgets

    def default_view(self) -> Viewport | None:
        """Return the extent of the data."""
        boxes = [self._server_extent()] if self._queries() else []
        boxes += [layer.features.bbox for layer in self.layers() if isinstance(layer, FeatureLayer)]
        known = [box for box in boxes if box is not None]
        if not known:
            return None
        west, south, east, north = zip(*known, strict=True)
        return Viewport.around((min(west), min(south), max(east), max(north)), _PADDING_PIXELS)

    def _server_extent(self) -> BBox | None:
        """Return the extent of the layers of the server in degrees; None if it cannot be queried."""
        try:
            queries = [single_statement(query) for query in self._queries()]
        except ValueError:  # the server reports the error when it instantiates the map
            return None
        boxes = " UNION ALL ".join(
            f"SELECT ST_Extent(the_geom_webmercator) AS box, {_HALVES} FROM ({query}\n) AS source" for query in queries
        )
        extent_4326 = "ST_Transform(ST_SetSRID(ST_Extent(box)::geometry, 3857), 4326)"
        edges = ", ".join(f"ST_{edge}(extent) AS {edge}" for edge in _EDGES)
        try:
            [row] = self.client.sql.rows(
                f"SELECT {edges}, west_end, east_start FROM (SELECT {extent_4326} AS extent,"
                f" max(west_end) AS west_end, min(east_start) AS east_start FROM ({boxes}) AS b) AS p"
            )
        except APIError:  # a timeout, or no column the_geom_webmercator
            return None
        west, south, east, north = (row[edge] for edge in _EDGES)
        if west is None:
            return None
        if row["west_end"] is not None and row["east_start"] is not None:
            start, end = (row[name] / _HALF_WORLD_M * 180 for name in ("east_start", "west_end"))
            if end + 360 - start < _MUCH_NARROWER * (east - west):  # the data are around the 180th meridian
                west, east = start, end + 360
        return west, south, east, north

    def default_image(self) -> None:
        """Return None: there is no static image of a default view."""
        return None

    @property
    def _config(self) -> dict[str, Any]:
        return self._composed.config

    @cached_property
    def _composed(self) -> _Composed:
        """The MapConfig of the layers of the server, and the layers and widgets of the page."""
        widgets = {number: (layer_of(widget, len(self._layers)), widget) for number, widget in enumerate(self._widgets)}
        config: dict[str, Any] = {"version": _VERSION, **self._options, "layers": []}
        pages: list[PageLayer] = []
        indexes: dict[int, int] = {}  # in the MapConfig, by the position on the map
        columns: dict[int, WidgetColumns] = {}
        appearances: dict[int, Appearance] = {}
        types: dict[int, Mapping[str, str]] = {}  # of the columns, by the index in the MapConfig
        compiled_layers = self._at_once([partial(self._compile, position) for position in range(len(self._layers))])
        for position, (layer, compiled) in enumerate(zip(self._layers, compiled_layers, strict=True)):
            if isinstance(layer, Layer) and layer.frame is not None:
                own = {number: widget for number, (at, widget) in widgets.items() if at == position}
                page, found = compile_frame(layer, layer.frame, self._theme, own)
                columns |= found
                pages.append(page)
                continue
            index = indexes[position] = len(config["layers"])
            if compiled is not None:
                config["layers"].append(compiled.config)
                pages.append(_tile_layer(compiled, index))
                types[index] = compiled.types
                if compiled.appearance is not None:
                    appearances[index] = compiled.appearance
            else:
                options = cast("Mapping[str, Any]", layer)
                config["layers"].append(dict(options))
                pages.append(TileLayer.of_options(index, options.get("options")))
        on_server = {number: (indexes[at], widget) for number, (at, widget) in widgets.items() if at in indexes}
        if on_server:
            config, found = add_dataviews(self.client, config, on_server, types)
            columns |= found
        shown = [page_widget(number, widget, columns[number], at) for number, (at, widget) in widgets.items()]
        return _Composed(config, pages, appearances, shown)

    def _compile(self, position: int) -> CompiledLayer | None:
        """Compile a layer of the server; None if the page contains it, or it is one of the Maps API."""
        layer = self._layers[position]
        if not isinstance(layer, Layer) or layer.frame is not None:
            return None
        return layer.compile(self.client, self._theme, types=self._types[position])

    def _queries(self) -> list[str]:
        """Return the queries of the layers and analyses."""
        layers = [layer.get("options", {}).get("sql") for layer in self._config.get("layers", ())]
        nodes = [node.get("params", {}).get("query") for node in self._config.get("analyses", ())]
        return [query for query in layers + nodes if query]


def _tile_layer(compiled: CompiledLayer, index: int) -> TileLayer:
    """Return the layer of the page for a compiled layer of the MapConfig."""
    described = TileLayer.of_options(index, compiled.config["options"])
    legends = [asdict(legend) for legend in compiled.legends]
    return replace(described, title=compiled.title, legends=legends, popup=compiled.popup, hover=compiled.hover)


def _as_list(layers_or_config: Layers | Mapping[str, Any]) -> Sequence[Layer | Mapping[str, Any]]:
    """Return the layers of a map."""
    if isinstance(layers_or_config, Mapping):
        return list(layers_or_config.get("layers") or ())
    layers = list(layers_or_config) if isinstance(layers_or_config, Sequence) else [layers_or_config]
    for layer in layers:
        if not isinstance(layer, Layer | Mapping):
            raise TypeError(
                f"a layer must be a cartoframes_lite.Layer, or a mapping, not {type(layer).__name__}; Map also takes"
                " tables, queries, datasets and GeoDataFrames"
            )
    return layers


def _is_frame(layer: Layer | Mapping[str, Any]) -> bool:
    """Return whether the page draws a layer itself."""
    return isinstance(layer, Layer) and layer.frame is not None
