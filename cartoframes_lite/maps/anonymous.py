"""Maps: anonymous ones and named ones, and how they show themselves."""

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
from cartoframes_lite.maps.instantiated import BBox, InstantiatedMap, checked_box
from cartoframes_lite.maps.layers import Layer
from cartoframes_lite.maps.named import NAMED_PATH, NamedMap
from cartoframes_lite.maps.page import Instantiation
from cartoframes_lite.maps.page.viewport import Viewport
from cartoframes_lite.maps.styling import LegendItem

_VERSION = "1.8.0"
_SIDES = ("xmin", "ymin", "xmax", "ymax")


class AnonymousMap(InstantiatedMap):
    """A map that is made of a configuration, and forgotten when nobody looks at it any more.

    In a notebook it shows itself. If that needs a key, because a table is private, a named map ``cfl_shown_...`` is
    created until Python ends, and what the notebook holds is a token for it, never the key.

    Parameters
    ----------
    layers_or_config : Layer, list of Layer or mapping, or mapping
        Layers, the lowest first, also as the API has them; or a whole MapConfig with ``layers``, ``dataviews`` ...
    credentials : Credentials, optional
        Default: those of ``set_default_credentials``, else of the environment, else of the file.
    bbox : tuple of (west, south, east, north), optional
        What it shows first, in degrees. None: everything.
    basemap : TileProvider, optional
        Shown below it.

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
        self._given = layers_or_config
        self._written: tuple[dict[str, Any], list[LegendItem]] | None = None
        self._private: bool | None = None
        self.bbox, self.basemap = None if bbox is None else checked_box(bbox), basemap

    def _instantiate(self, filters: Filters | None) -> Layergroup:
        return self._client.maps.instantiate(self._config, filters=filters)

    @property
    def legend(self) -> Sequence[LegendItem]:
        """What its colors mean, from the lowest layer to the highest."""
        return self._configured()[1]

    @property
    def _config(self) -> dict[str, Any]:
        return self._configured()[0]

    def _configured(self) -> tuple[dict[str, Any], list[LegendItem]]:
        """Return the MapConfig and what its colors mean; it is written when it is first needed."""
        if self._written is None:
            config: dict[str, Any] = {"version": _VERSION}
            legend: list[LegendItem] = []
            if isinstance(self._given, Mapping):
                config |= self._given
            else:
                layers = [self._given] if isinstance(self._given, Layer) else self._given
                written = [layer.config(self._client) if isinstance(layer, Layer) else (layer, ()) for layer in layers]
                config["layers"] = [dict(layer) for layer, _ in written]
                legend = [item for _, items in written for item in items]
            self._written = config, legend
        return self._written

    def _known_layers(self) -> Sequence[Any]:
        layers: Sequence[Any] = self._config.get("layers") or ()
        return layers

    def _queries(self) -> list[str]:
        """Return the queries of the layers and analyses."""
        layers = [layer.get("options", {}).get("sql") for layer in self._config.get("layers", ())]
        nodes = [node.get("params", {}).get("query") for node in self._config.get("analyses", ())]
        return [query for query in layers + nodes if query]

    def _needs_key(self) -> bool:
        """Ask whether everybody may see this map."""
        if self._credentials.is_public:
            return False
        if self._private is None:
            self._instantiated()  # what is refused now is not refused for want of the key
            try:
                Client(replace(self._credentials, api_key=None)).maps.instantiate(self._config)
            except (SQLError, PermissionDenied, AuthenticationError, NotFound):
                self._private = True
            else:
                self._private = False
        return self._private

    def _opened(self, *, lasting: bool) -> Instantiation:
        if not self._needs_key():
            return Instantiation("", self._config)
        account = str(self._credentials.base_url)
        made = token_maps.create(self._client.maps, account, self._config, lasting=lasting)
        return Instantiation(f"{NAMED_PATH}{made.name}", {}, {"auth_token": made.token})

    def _close(self, opening: Instantiation) -> None:
        if opening.path:
            with suppress(CartoError):  # what went wrong before is what the user has to know
                NamedMap(opening.path.removeprefix(NAMED_PATH), self._credentials).delete()

    def _found_view(self) -> Viewport | None:
        try:
            queries = [single_statement(query) for query in self._queries()]
        except ValueError:  # what is wrong with a configuration, the server says
            return None
        boxes = " UNION ALL ".join(
            f"SELECT ST_Extent(the_geom_webmercator) AS box FROM ({query}\n) AS source" for query in queries
        )
        place = "ST_Transform(ST_SetSRID(ST_Extent(box)::geometry, 3857), 4326)"
        sides = ", ".join(f"ST_{side}(place) AS {side}" for side in _SIDES)
        try:
            rows = self._client.sql.rows(f"SELECT {sides} FROM (SELECT {place} AS place FROM ({boxes}) AS b) AS p")
        except APIError:  # no query at all, one that takes too long, or has no such column
            return None
        west, south, east, north = (rows[0][side] for side in _SIDES)
        return None if west is None else Viewport.around((west, south, east, north))
