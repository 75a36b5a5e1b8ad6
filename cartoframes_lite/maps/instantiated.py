"""Instantiated maps: tiles, static images, attributes, dataviews, and the page that displays them."""

from __future__ import annotations

import json
import math
import os
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from numbers import Integral
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args
from urllib.parse import quote, urlsplit

import numpy as np
import pandas as pd
from xyzservices import TileProvider

from cartoframes_lite._client import Client
from cartoframes_lite._client.http.downloads import write_blocks
from cartoframes_lite._client.http.json_fields import drop_none
from cartoframes_lite._client.maps import Filters, Layergroup, build_url
from cartoframes_lite.errors import APIError, PermissionDenied
from cartoframes_lite.maps import token_maps
from cartoframes_lite.maps.page import ClickableLayer, Instantiation, MapPage, image_element
from cartoframes_lite.maps.page.viewport import HEIGHT_PIXELS, WIDTH_PIXELS, WORLD, Viewport
from cartoframes_lite.maps.styling import LegendItem

TileFormat = Literal["png", "mvt", "grid.json"]
ImageFormat = Literal["png", "jpg"]
Center = tuple[float, float]
BBox = tuple[float, float, float, float]

_MAX_IMAGE_PIXELS = 8192  # width or height of a static image
_MAX_ZOOM = 30
ATTRIBUTION = '<a href="https://carto.com/attributions">CARTO</a>'
_VIEW_REQUIRED = "pass either center and zoom, or bbox"
_EXPIRED = "map configuration token"  # in the error for a map that the server no longer keeps
_ROW_LISTS = {"aggregation": "categories", "search": "categories", "histogram": "bins"}

T = TypeVar("T")

_MASTER_KEY_REQUIRED = "The map shows private data; displaying it as a page needs the master API key"


class MapRequests:
    """Requests to an instantiated map.

    The server drops an instantiated map after some minutes without requests; the map is then instantiated again.

    Parameters
    ----------
    client : Client
    auth_token : str, optional
        One of the ``valid_tokens`` of a named map.
    """

    def __init__(self, client: Client, *, auth_token: str | None = None) -> None:
        self._client, self._credentials = client, client.credentials
        # Query parameters of each request; the API key is in the header.
        self._token = drop_none(auth_token=auth_token)
        self._groups: dict[str, Layergroup] = {}

    @property
    def layergroup_id(self) -> str:
        """Identifier of the instantiated map in URLs."""
        return self._layergroup().id

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Metadata of layers, dataviews and analyses as returned by the Maps API, without the API key."""
        return self._layergroup().metadata

    def tile_url(
        self, layer: int | Sequence[int] | None = None, format: TileFormat = "png", *, retina: bool = False
    ) -> str:
        """Return the URL template of tiles, with ``{z}``, ``{x}`` and ``{y}``.

        If the map is not public, the URL contains an API key or a token, and anyone with the URL can see the map: an
        anonymous map that cannot be instantiated without a key has the key in its URL, and a named map with
        ``valid_tokens`` has the token that it was instantiated with.

        Parameters
        ----------
        layer : int or sequence of int, optional
            Layer indexes, from 0. None: all layers.
        format : {"png", "mvt", "grid.json"}
            PNG images, Mapbox vector tiles, or UTFGrid (the features of a layer with ``interactivity`` by pixel).
        retina : bool, default False
            PNG tiles of 512 x 512 pixels instead of 256 x 256; no effect on the other formats.

        Raises
        ------
        ValueError
            If the map has no such layer, the format is unknown, or ``grid.json`` is requested of several layers.
        """
        base, subdomains = self._tile_root()
        return self._tile_url_template(base.replace("{s}", subdomains[0] if subdomains else ""), layer, format, retina)

    def tile_provider(
        self, layer: int | Sequence[int] | None = None, *, retina: bool = False, attribution: str = ATTRIBUTION
    ) -> TileProvider:
        """Return the tiles as a provider for ``gdf.explore(tiles=...)``, folium, ipyleaflet and contextily.

        Parameters
        ----------
        layer, retina
            As in ``tile_url``.
        attribution : str
            HTML that map libraries display in a corner of the map.

        Returns
        -------
        xyzservices.TileProvider
            The URL contains an API key or token under the same conditions as ``tile_url``. If the server has several
            tile hosts, the URL contains ``{s}`` and the provider has ``subdomains``.
        """
        base, subdomains = self._tile_root()
        spread = drop_none(subdomains=subdomains or None)
        url = self._tile_url_template(base, layer, "png", retina)
        plain = re.sub("<[^<>]*>", "", attribution)
        return TileProvider(name="CARTO", url=url, attribution=plain, html_attribution=attribution, **spread)

    def static_image(
        self,
        width: int,
        height: int,
        *,
        center: Center | None = None,
        zoom: int | None = None,
        bbox: BBox | None = None,
        format: ImageFormat = "png",
    ) -> bytes:
        """Return a static image of the map.

        Parameters
        ----------
        width, height : int
            In pixels, from 1 to 8192.
        center : tuple of (float, float), optional
            Longitude and latitude in degrees; with ``zoom``.
        zoom : int, optional
            From 0 to 30.
        bbox : tuple of (west, south, east, north), optional
            In degrees, instead of ``center`` and ``zoom``. For a named map, all three may be omitted: the image then
            shows the ``view`` of the template, with its ``preview_layers``.
        format : {"png", "jpg"}

        Returns
        -------
        bytes
            Content of a PNG or JPEG file.

        Raises
        ------
        ValueError
            If the size, format, center, zoom or bbox is invalid, or the map has no default view and none is passed.
        """
        if format not in ("png", "jpg"):
            raise ValueError(f'format must be "png" or "jpg", not {format!r}')
        size = f"{_check_pixels(width, 'width')}/{_check_pixels(height, 'height')}"
        if (bbox is not None and center is not None) or (center is None) != (zoom is None):
            raise ValueError(_VIEW_REQUIRED)
        query = self._token
        if bbox is not None:
            view_path = f"bbox/{{id}}/{_format_bbox(bbox)}"
        elif center is not None:
            longitude, latitude = check_center(center)
            view_path = f"center/{{id}}/{check_zoom(zoom)}/{latitude:.10g}/{longitude:.10g}"
        else:
            view_path, parameters = self._default_image()
            query = query | parameters
        path = f"static/{view_path}/{size}.{format}"
        return self._send_or_renew(lambda group: self._client.maps.fetch(path.format(id=group.id), query))

    def attributes(self, layer: int, feature_id: int) -> dict[str, Any]:
        """Return the attributes of a feature, as configured by the ``attributes`` option of its layer.

        Parameters
        ----------
        layer : int
            Index of the layer, from 0.
        feature_id : int
            Value of the id column of the layer, usually ``cartodb_id``.

        Raises
        ------
        NotFound
            If there is no such feature.
        """
        path = f"{layer}/attributes/{feature_id}"
        attributes: dict[str, Any] = self._send_or_renew(
            lambda group: self._client.maps.read(f"{group.id}/{path}", self._token)
        )
        return attributes

    def dataview(
        self,
        name: str,
        *,
        bbox: BBox | None = None,
        own_filter: bool = True,
        filters: Filters | None = None,
        search: str | None = None,
        bins: int | None = None,
        start: float | None = None,
        end: float | None = None,
        aggregation: str | None = None,
        offset: int | None = None,
        categories: int | None = None,
    ) -> pd.DataFrame | float | None:
        """Return the result of a dataview.

        Parameters
        ----------
        name : str
            Name of the dataview in the MapConfig.
        bbox : tuple of (west, south, east, north), optional
            In degrees: only rows that intersect it. None: all rows.
        own_filter : bool, default True
            Whether the filter of this dataview itself is applied.
        filters : mapping, optional
            Filters by the name of their dataview: ``{"names": {"accept": ["west"]}}`` or ``"reject"`` for
            aggregations, ``{"sizes": {"min": 1, "max": 9}}`` for histograms. They apply to all dataviews of the same
            ``source``; the filter of this dataview itself only if ``own_filter`` is True.
        search : str, optional
            Text that the categories of an aggregation must contain.
        bins : int, optional
            Number of bins of a histogram.
        start, end : float, optional
            Limits of a histogram; for a time histogram, in seconds since 1970-01-01 UTC.
        aggregation : str, optional
            Unit of a time histogram: "minute", "hour", "day", "week", "month", "quarter", "year" ...
        offset : int, optional
            Time zone of a time histogram, in seconds east of UTC.
        categories : int, optional
            Maximum number of rows of an aggregation; the last row is "Other", which aggregates the remaining
            categories, with True as ``agg``. None: all categories, or six rows if ``own_filter`` is False. Has no
            effect if ``filters`` has a filter of this dataview and ``own_filter`` is True.

        Returns
        -------
        DataFrame, float or None
            One row per category or bin; for a formula, the number.
        """
        if categories is not None and name not in (filters or {}):
            own_filter = False  # with own_filter=1 the server ignores `categories` and returns all of them
        query: dict[str, Any] = {**self._token, "own_filter": int(own_filter)}
        query |= drop_none(
            bins=bins, start=start, end=end, aggregation=aggregation, offset=offset, categories=categories
        )
        if bbox is not None:
            query["bbox"] = _format_bbox(bbox)
        path = f"dataview/{quote(name, safe='')}"
        if search is not None:
            path, query["q"] = f"{path}/search", search
        response = self._send_or_renew(lambda group: self._client.maps.read(f"{group.id}/{path}", query), filters)
        return _dataview_result(response)

    def _instantiate(self, filters: Filters | None) -> Layergroup:
        """Instantiate the map, with optional filters of its dataviews."""
        raise NotImplementedError

    def _default_image(self) -> tuple[str, dict[str, str]]:
        """Return path and query of the image of the default view; raise ValueError if the map has none."""
        raise ValueError(_VIEW_REQUIRED)

    def _needs_key(self) -> bool:
        """Return whether the map can be seen only with the API key."""
        return False

    def _tile_root(self) -> tuple[str, list[str]]:
        """Return the base URL of tiles, with ``{s}`` if there are subdomains, and the subdomains."""
        own = str(self._credentials.base_url)
        spread = self._layergroup().cdn_templates.get(urlsplit(own).scheme)
        if not spread:
            return own, []
        return f"{spread['url'].rstrip('/')}/{self._credentials.username}", list(spread.get("subdomains") or [])

    def _tile_url_template(self, base: str, layer: int | Sequence[int] | None, format: TileFormat, retina: bool) -> str:
        """Compose the URL template of tiles."""
        if format not in get_args(TileFormat):
            raise ValueError(f"format must be one of {get_args(TileFormat)}, not {format!r}")
        if format == "grid.json" and (layer is None or isinstance(layer, Iterable)):
            raise ValueError(f"format grid.json needs the index of one layer, not layer={layer!r}")
        group = self._layergroup()
        numbers = [] if layer is None else list(layer) if isinstance(layer, Iterable) else [layer]
        known = len(group.metadata.get("layers", ()))
        if any(not 0 <= number < known for number in numbers):
            raise ValueError(f"layer {layer} does not exist: the map has layers 0 to {known - 1}")
        layers = f"/{','.join(map(str, numbers))}" if numbers else ""
        scale = "@2x" if retina and format == "png" else ""
        secret = self._token | drop_none(api_key=self._credentials.api_key if self._needs_key() else None)
        return build_url(base, f"{group.id}{layers}/{{z}}/{{x}}/{{y}}{scale}.{format}", secret, quoted=str)

    def _interactive_layers(self) -> list[int]:
        """Return the indexes of the layers that have UTFGrids, topmost first."""
        layers = self._layergroup().metadata.get("layers", ())
        rasters = [layer.get("tilejson", {}).get("raster", {}) for layer in layers]
        return [number for number, raster in enumerate(rasters) if raster.get("grids")][::-1]

    def _layergroup(self, filters: Filters | None = None) -> Layergroup:
        """Return the instantiated map with these filters; instantiate it at the first call."""
        key = json.dumps(filters, sort_keys=True, default=dict)
        if key not in self._groups:
            self._groups[key] = self._instantiate(filters)
        return self._groups[key]

    def _send_or_renew(self, send: Callable[[Layergroup], T], filters: Filters | None = None) -> T:
        """Send a request to the instantiated map; if the map has expired, instantiate it again and retry once."""
        try:
            return send(self._layergroup(filters))
        except APIError as error:
            if error.status not in (400, 404) or _EXPIRED not in str(error):
                raise
        self._groups.clear()
        return send(self._layergroup(filters))


def _check_pixels(size: Any, name: str) -> int:
    """Return the width or height of a static image; raise ValueError if it is out of range."""
    if not isinstance(size, Integral) or isinstance(size, bool) or not 1 <= int(size) <= _MAX_IMAGE_PIXELS:
        raise ValueError(f"{name} must be a whole number of pixels from 1 to {_MAX_IMAGE_PIXELS}, not {size!r}")
    return int(size)


def check_center(center: Any) -> Center:
    """Return longitude and latitude as floats; raise ValueError if they are not coordinates."""
    degrees = _finite_floats(center)
    if degrees is None or len(degrees) != 2 or not abs(degrees[1]) <= 90:
        raise ValueError(f"center must be longitude and latitude in degrees, not {center!r}")
    return degrees[0], degrees[1]


def check_zoom(zoom: Any) -> int:
    """Return a zoom level as an int; raise ValueError if it is out of range."""
    if isinstance(zoom, float | np.floating) and float(zoom).is_integer():
        zoom = int(zoom)
    if not isinstance(zoom, Integral) or isinstance(zoom, bool) or not 0 <= int(zoom) <= _MAX_ZOOM:
        raise ValueError(f"zoom must be a whole number from 0 to {_MAX_ZOOM}, not {zoom!r}")
    return int(zoom)


def _finite_floats(values: Any) -> list[float] | None:
    """Return finite numbers as floats; None if any value is something else."""
    try:
        items = list(values)
        numbers = [float(value) for value in items if not isinstance(value, bool | np.bool_ | str | bytes)]
    except (TypeError, ValueError, OverflowError):
        return None
    return numbers if len(numbers) == len(items) and all(map(math.isfinite, numbers)) else None


def check_bbox(bbox: Any) -> BBox:
    """Return west, south, east and north as floats; raise ValueError if they are not a bounding box."""
    sides = _finite_floats(bbox)
    if sides is None or len(sides) != 4 or sides[0] > sides[2] or sides[1] > sides[3]:
        raise ValueError(
            f"bbox must be west, south, east and north in degrees, not {bbox!r}; "
            "across the 180th meridian, use an east above 180"
        )
    return sides[0], sides[1], sides[2], sides[3]


def _format_bbox(bbox: BBox) -> str:
    """Format a bounding box as the Maps API expects it."""
    return ",".join(f"{degree:.10g}" for degree in check_bbox(bbox))


def _dataview_result(response: Mapping[str, Any]) -> pd.DataFrame | float | None:
    """Return the categories or bins of a dataview as a DataFrame, or the number of a formula."""
    kind = response.get("type", "search")
    if kind == "formula":
        result: float | None = response.get("result")
        return result
    return pd.DataFrame(list(response.get(_ROW_LISTS.get(kind, "categories")) or ()))


class InstantiatedMap(MapRequests):
    """An instantiated map, displayed as an interactive map in notebooks.

    The server drops an instantiated map after some minutes without requests; the map is then instantiated again.

    Attributes
    ----------
    basemap : TileProvider or None
        Tiles below the map, such as ``xyzservices.providers.OpenStreetMap.Mapnik``, loaded from the internet. None: no
        basemap, and no request to any server other than CARTO.
    bbox : tuple of (west, south, east, north) or None
        Initial view, in degrees. None: the extent of the data, or the ``view`` of the template.
    """

    basemap: TileProvider | None = None
    bbox: BBox | None = None

    @property
    def legend(self) -> Sequence[LegendItem]:
        """Legend of the colors and sizes; empty for a named map."""
        return ()

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Save the map as a single HTML file, written atomically.

        The page loads the current data each time it is opened; if the server cannot be reached, it shows a static image
        from the time of saving. Anyone with the file can see the map. The file never contains the API key: if the map
        needs one, a named map ``cfl_saved_...`` is created, and the file contains a token for it.
        ``NamedMap(name).delete()`` revokes the access of the file.

        Parameters
        ----------
        path : path
            An existing file is replaced.

        Returns
        -------
        Path
            Path of the file.

        Raises
        ------
        PermissionDenied
            If the map needs an API key, and the key is not the master key, which is required to create named maps.
        """
        instantiation = self._page_instantiation(persistent=True)
        try:
            write_blocks(path, [self._page(instantiation).standalone_html().encode()], check=lambda _: None)
        except BaseException:
            self._discard(instantiation)
            raise
        return Path(path)

    def _discard(self, instantiation: Instantiation) -> None:
        """Delete the named map of a page that could not be written."""

    def _page_instantiation(self, *, persistent: bool) -> Instantiation:
        """Return the request by which a page instantiates the map without the API key.

        Raises
        ------
        PermissionDenied
            If that needs a named map, and the key is not the master key.
        """
        raise NotImplementedError

    def _default_view(self) -> Viewport | None:
        """Return the initial view of the map; None if it is not known."""
        return None

    def _config_layers(self) -> Sequence[Any]:
        """Return the layers of the MapConfig; empty if it is not known."""
        return ()

    def _clickable_layers(self) -> list[ClickableLayer]:
        """Return the layers that respond to clicks on the page, topmost first."""
        layers = self._config_layers()
        options = [layer.get("options") if isinstance(layer, Mapping) else None for layer in layers]
        known = dict(enumerate(options))
        return [ClickableLayer.of(number, known.get(number)) for number in self._interactive_layers()]

    def _view(self) -> Viewport:
        if self.bbox is not None:
            return Viewport.around(self.bbox)
        return self._default_view() or Viewport.around(WORLD)

    def _static_image_of(self, view: Viewport) -> bytes | None:
        """Return a static image of a view; None if the server does not return one."""
        try:
            return self.static_image(WIDTH_PIXELS, HEIGHT_PIXELS, center=view.center, zoom=view.zoom)
        except APIError:  # static images have limits of their own; the page works without one
            return None

    def _page(self, instantiation: Instantiation) -> MapPage:
        view = self._view()
        return MapPage(
            base_url=str(self._credentials.base_url),
            instantiation=instantiation,
            interactive=self._clickable_layers(),
            view=view,
            attribution=ATTRIBUTION,
            legend=self.legend,
            basemap=self.basemap,
            picture=self._static_image_of(view),
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on {self._credentials.base_url}>"

    def _repr_html_(self) -> str:
        return self._repr_mimebundle_()["text/html"]

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """Return the map as an interactive page in an iframe, or as a static image if that is not allowed."""
        try:
            page = self._page(self._page_instantiation(persistent=False))
            html, image = page.iframe_html(), page.picture
        except (PermissionDenied, token_maps.PlaceholderMarkError) as error:
            if not self._needs_key():
                raise
            image = self._static_image_of(self._view())
            reason = str(error) if isinstance(error, token_maps.PlaceholderMarkError) else _MASTER_KEY_REQUIRED
            html = f"<p>{escape(reason)}. Showing a static image.</p>{image_element(image) if image else ''}"
        bundle = {"text/plain": repr(self), "text/html": html}
        return bundle | ({"image/png": b64encode(image).decode()} if image else {})
