"""AnonymousMap: a map that is instantiated from a MapConfig."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from xyzservices import TileProvider

from cartoframes_lite._client import Client
from cartoframes_lite._client.maps import Filters, Layergroup
from cartoframes_lite._codec.sql_text import single_statement
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import APIError, AuthenticationError, CartoError, NotFound, PermissionDenied, SQLError
from cartoframes_lite.maps import token_maps
from cartoframes_lite.maps.instantiated import BBox, InstantiatedMap, check_bbox
from cartoframes_lite.maps.layers import Layer
from cartoframes_lite.maps.named import NAMED_PATH, NamedMap
from cartoframes_lite.maps.page import Instantiation
from cartoframes_lite.maps.page.viewport import Viewport
from cartoframes_lite.maps.styling import LegendItem

_VERSION = "1.8.0"
_EDGES = ("xmin", "ymin", "xmax", "ymax")


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
    basemap : TileProvider, optional
        Tiles below the map. None: no basemap.

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> shown = cfl.AnonymousMap(cfl.Layer("stations", "#layer { marker-width: 7; }"))
    >>> tiles = shown.tile_provider()  # for gdf.explore(tiles=tiles), folium, ipyleaflet, contextily
    >>> picture = shown.static_image(400, 300, center=(2.35, 48.85), zoom=11)
    """

    def __init__(
        self,
        layers_or_config: Layer | Sequence[Layer | Mapping[str, Any]] | Mapping[str, Any],
        credentials: Credentials | None = None,
        *,
        bbox: BBox | None = None,
        basemap: TileProvider | None = None,
    ) -> None:
        super().__init__(Client(credentials))
        self._layers_or_config = layers_or_config
        self._built: tuple[dict[str, Any], list[LegendItem]] | None = None
        self._private: bool | None = None
        self.bbox, self.basemap = None if bbox is None else check_bbox(bbox), basemap

    def _instantiate(self, filters: Filters | None) -> Layergroup:
        return self._client.maps.instantiate(self._config, filters=filters)

    @property
    def legend(self) -> Sequence[LegendItem]:
        """Legend of the colors and sizes, from the bottom layer to the top."""
        return self._build()[1]

    @property
    def _config(self) -> dict[str, Any]:
        return self._build()[0]

    def _build(self) -> tuple[dict[str, Any], list[LegendItem]]:
        """Return the MapConfig and its legend, composed at the first call."""
        if self._built is None:
            config: dict[str, Any] = {"version": _VERSION}
            legend: list[LegendItem] = []
            if isinstance(self._layers_or_config, Mapping):
                config |= self._layers_or_config
            else:
                layers = (
                    [self._layers_or_config] if isinstance(self._layers_or_config, Layer) else self._layers_or_config
                )
                built = [layer.config(self._client) if isinstance(layer, Layer) else (layer, ()) for layer in layers]
                config["layers"] = [dict(layer) for layer, _ in built]
                legend = [item for _, items in built for item in items]
            self._built = config, legend
        return self._built

    def _config_layers(self) -> Sequence[Any]:
        layers: Sequence[Any] = self._config.get("layers") or ()
        return layers

    def _queries(self) -> list[str]:
        """Return the queries of the layers and analyses."""
        layers = [layer.get("options", {}).get("sql") for layer in self._config.get("layers", ())]
        nodes = [node.get("params", {}).get("query") for node in self._config.get("analyses", ())]
        return [query for query in layers + nodes if query]

    def _needs_key(self) -> bool:
        """Return whether the map can be seen only with the API key, by instantiating it without one."""
        if self._credentials.is_public:
            return False
        if self._private is None:
            self._layergroup()  # raise errors that do not depend on the key
            try:
                Client(replace(self._credentials, api_key=None)).maps.instantiate(self._config)
            except (SQLError, PermissionDenied, AuthenticationError, NotFound):
                self._private = True
            else:
                self._private = False
        return self._private

    def _page_instantiation(self, *, persistent: bool) -> Instantiation:
        if not self._needs_key():
            return Instantiation("", self._config)
        account = str(self._credentials.base_url)
        token_map = token_maps.create(self._client.maps, account, self._config, persistent=persistent)
        return Instantiation(f"{NAMED_PATH}{token_map.name}", {}, {"auth_token": token_map.token})

    def _discard(self, instantiation: Instantiation) -> None:
        if instantiation.path:
            with suppress(CartoError):  # keep the error that is being raised
                NamedMap(instantiation.path.removeprefix(NAMED_PATH), self._credentials).delete()

    def _default_view(self) -> Viewport | None:
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
            rows = self._client.sql.rows(
                f"SELECT {edges} FROM (SELECT {extent_4326} AS extent FROM ({boxes}) AS b) AS p"
            )
        except APIError:  # no query, a timeout, or no column the_geom_webmercator
            return None
        west, south, east, north = (rows[0][edge] for edge in _EDGES)
        return None if west is None else Viewport.around((west, south, east, north))
