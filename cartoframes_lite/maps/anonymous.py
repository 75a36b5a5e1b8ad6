"""AnonymousMap: a map that is instantiated from a MapConfig."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

from cartoframes_lite._client import Client
from cartoframes_lite._client.maps import Filters, Layergroup
from cartoframes_lite._codec.sql_text import single_statement
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import APIError, AuthenticationError, NotFound, PermissionDenied, SQLError
from cartoframes_lite.maps.backgrounds import Basemap
from cartoframes_lite.maps.instantiated import InstantiatedMap
from cartoframes_lite.maps.layers import Layer
from cartoframes_lite.maps.page import Instantiation, PageLayer, TileLayer, group_legends
from cartoframes_lite.maps.page.viewport import Viewport
from cartoframes_lite.maps.styling import LegendItem
from cartoframes_lite.maps.validation import BBox

_VERSION = "1.8.0"
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
        super().__init__(_MapConfigSource(layers_or_config, Client(credentials)), bbox=bbox, basemap=basemap)


@dataclass(frozen=True, slots=True)
class _ComposedConfig:
    """A MapConfig and the legend of each layer, without legends if the layers are those of the Maps API."""

    config: dict[str, Any]
    legends: Sequence[Sequence[LegendItem]]


class _MapConfigSource:
    """A MapConfig, composed of layers at its first use."""

    name = None
    query: Mapping[str, str] = MappingProxyType({})

    def __init__(self, layers_or_config: Layers | Mapping[str, Any], client: Client) -> None:
        self._layers_or_config = layers_or_config
        self.client = client

    @property
    def instantiation(self) -> Instantiation:
        return Instantiation("", self._config)

    @property
    def legend(self) -> Sequence[LegendItem]:
        """Legend from the bottom layer to the top."""
        return [item for legend in self._composed.legends for item in legend]

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
        layers, legends = self._config.get("layers") or (), self._composed.legends
        options = [layer.get("options") if isinstance(layer, Mapping) else None for layer in layers]
        described = [TileLayer.of_options(index, layer) for index, layer in enumerate(options)]
        if not legends:
            return described
        return [replace(layer, legends=group_legends(items)) for layer, items in zip(described, legends, strict=True)]

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
        return None if west is None else Viewport.around((west, south, east, north))

    def default_image(self) -> None:
        return None

    @property
    def _config(self) -> dict[str, Any]:
        return self._composed.config

    @cached_property
    def _composed(self) -> _ComposedConfig:
        """The MapConfig and the legends of its layers."""
        config: dict[str, Any] = {"version": _VERSION}
        if isinstance(self._layers_or_config, Mapping):
            return _ComposedConfig({**config, **self._layers_or_config}, [])
        layers = [self._layers_or_config] if isinstance(self._layers_or_config, Layer) else self._layers_or_config
        built = [layer.config(self.client) if isinstance(layer, Layer) else (layer, ()) for layer in layers]
        config["layers"] = [dict(layer) for layer, _ in built]
        return _ComposedConfig(config, [items for _, items in built])

    def _queries(self) -> list[str]:
        """Return the queries of the layers and analyses."""
        layers = [layer.get("options", {}).get("sql") for layer in self._config.get("layers", ())]
        nodes = [node.get("params", {}).get("query") for node in self._config.get("analyses", ())]
        return [query for query in layers + nodes if query]
