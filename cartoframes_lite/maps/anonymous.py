"""AnonymousMap: a map that is instantiated from a MapConfig."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

from cartoframes_lite._client import Client
from cartoframes_lite._client.maps import Filters, Layergroup
from cartoframes_lite._codec.sql_text import single_statement
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import APIError, AuthenticationError, NotFound, PermissionDenied, SQLError
from cartoframes_lite.maps.backgrounds import Basemap, theme_of
from cartoframes_lite.maps.instantiated import InstantiatedMap
from cartoframes_lite.maps.layers import CompiledLayer, Layer, Theme
from cartoframes_lite.maps.page import Instantiation, PageLayer, TileLayer
from cartoframes_lite.maps.page.viewport import Viewport
from cartoframes_lite.maps.styling import LegendItem
from cartoframes_lite.maps.validation import BBox

_VERSION = "1.8.0"
_PADDING_PIXELS = 16  # so that markers at the edges of the data are visible
_EDGES = ("xmin", "ymin", "xmax", "ymax")

Layers = Layer | Sequence[Layer | Mapping[str, Any]]


class AnonymousMap(InstantiatedMap):
    """A map of layers or of a MapConfig, which the server keeps only while it is in use.

    Notebooks display it as an interactive map. If the map is not public, because it has a private table, displaying it
    creates a named map ``cfl_shown_...``, which is deleted when Python exits; the notebook then contains a token for
    that named map, never the API key.

    Parameters
    ----------
    layers_or_config : Layer, list of Layer or mapping, or mapping
        Layers from bottom to top, each a Layer or a layer of the Maps API; or a MapConfig with ``layers``,
        ``dataviews`` ...
    credentials : Credentials, optional
        Default: those of ``set_default_credentials``, else of the environment, else of the credentials file.
    bbox : tuple of (west, south, east, north), optional
        Initial view, in degrees. None: the extent of the data.
    basemap : {"light", "dark", "osm"} or TileProvider, optional
        Map below the layers, as in ``Map``. None: no basemap.

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> shown = cfl.AnonymousMap(cfl.Layer("stations", "#layer { marker-width: 7; }"))
    >>> tiles = shown.tile_provider()  # for gdf.explore(tiles=tiles), folium, ipyleaflet, contextily
    >>> picture = shown.static_image(400, 300, center=(2.35, 48.85), zoom=11)
    """

    def __init__(
        self,
        layers_or_config: Layers | Mapping[str, Any],
        credentials: Credentials | None = None,
        *,
        bbox: BBox | None = None,
        basemap: Basemap = None,
    ) -> None:
        client = Client(credentials)
        super().__init__(_MapConfigSource(layers_or_config, client, theme_of(basemap)), bbox=bbox, basemap=basemap)
        if not isinstance(layers_or_config, Mapping):
            for layer in _as_list(layers_or_config):
                if isinstance(layer, Layer):
                    layer.check(client)


@dataclass(frozen=True, slots=True)
class _ComposedConfig:
    """A MapConfig, and what its layers were compiled to, by index: those of the Maps API are used as they are."""

    config: dict[str, Any]
    compiled: Mapping[int, CompiledLayer]


class _MapConfigSource:
    """A MapConfig, composed of layers at its first use."""

    name = None
    query: Mapping[str, str] = MappingProxyType({})

    def __init__(self, layers_or_config: Layers | Mapping[str, Any], client: Client, theme: Theme) -> None:
        self._layers_or_config = layers_or_config
        self.client = client
        self._theme = theme

    @property
    def instantiation(self) -> Instantiation:
        return Instantiation("", self._config)

    @property
    def legend(self) -> Sequence[LegendItem]:
        """Legend from the bottom layer to the top."""
        return [item for layer in self._composed.compiled.values() for legend in layer.legends for item in legend.items]

    @cached_property
    def needs_key(self) -> bool:
        """Whether the map can be seen only with the API key: it is instantiated without one."""
        if self.client.credentials.is_public:
            return False
        try:
            Client(replace(self.client.credentials, api_key=None)).maps.instantiate(self._config)
        except (SQLError, PermissionDenied, AuthenticationError, NotFound):
            return True
        return False

    def instantiate(self, filters: Filters | None) -> Layergroup:
        return self.client.maps.instantiate(self._config, filters=filters)

    def layers(self) -> Sequence[PageLayer]:
        layers = self._config.get("layers") or ()
        options = [layer.get("options") if isinstance(layer, Mapping) else None for layer in layers]
        described = [TileLayer.of_options(index, layer) for index, layer in enumerate(options)]
        for index, layer in self._composed.compiled.items():
            legends = [asdict(legend) for legend in layer.legends]
            described[index] = replace(
                described[index], title=layer.title, legends=legends, popup=layer.popup, hover=layer.hover
            )
        return described

    def default_view(self) -> Viewport | None:
        """Return the extent of the data."""
        try:
            queries = [single_statement(query) for query in self._queries()]
        except ValueError:  # the server reports the error when it instantiates the map
            return None
        boxes = " UNION ALL ".join(
            f"SELECT ST_Extent(the_geom_webmercator) AS box FROM ({query}\n) AS source" for query in queries
        )
        extent_4326 = "ST_Transform(ST_SetSRID(ST_Extent(box)::geometry, 3857), 4326)"
        edges = ", ".join(f"ST_{edge}(extent) AS {edge}" for edge in _EDGES)
        try:
            rows = self.client.sql.rows(
                f"SELECT {edges} FROM (SELECT {extent_4326} AS extent FROM ({boxes}) AS b) AS p"
            )
        except APIError:  # no query, a timeout, or no column the_geom_webmercator
            return None
        west, south, east, north = (rows[0][edge] for edge in _EDGES)
        return None if west is None else Viewport.around((west, south, east, north), _PADDING_PIXELS)

    def default_image(self) -> None:
        return None

    @property
    def _config(self) -> dict[str, Any]:
        return self._composed.config

    @cached_property
    def _composed(self) -> _ComposedConfig:
        """The MapConfig and what its layers were composed of."""
        config: dict[str, Any] = {"version": _VERSION}
        if isinstance(self._layers_or_config, Mapping):
            return _ComposedConfig({**config, **self._layers_or_config}, {})
        layers = _as_list(self._layers_or_config)
        compiled = {
            index: layer.compile(self.client, self._theme)
            for index, layer in enumerate(layers)
            if isinstance(layer, Layer)
        }
        config["layers"] = [
            compiled[index].config if isinstance(layer, Layer) else dict(layer) for index, layer in enumerate(layers)
        ]
        return _ComposedConfig(config, compiled)

    def _queries(self) -> list[str]:
        """Return the queries of the layers and analyses."""
        layers = [layer.get("options", {}).get("sql") for layer in self._config.get("layers", ())]
        nodes = [node.get("params", {}).get("query") for node in self._config.get("analyses", ())]
        return [query for query in layers + nodes if query]


def _as_list(layers: Layers) -> Sequence[Layer | Mapping[str, Any]]:
    return [layers] if isinstance(layers, Layer) else layers
