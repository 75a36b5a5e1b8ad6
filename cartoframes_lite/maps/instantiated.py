"""InstantiatedMap: tiles, static images, attributes and dataviews of a map, and the page that displays it."""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from html import escape
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import quote

import pandas as pd
from xyzservices import TileProvider

from cartoframes_lite._client.http.downloads import write_blocks
from cartoframes_lite._client.http.json_fields import drop_none
from cartoframes_lite._client.maps import Filters, Maps
from cartoframes_lite._client.parallel import at_once, both
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import APIError, PermissionDenied
from cartoframes_lite.maps import token_maps
from cartoframes_lite.maps.backgrounds import Basemap, check_basemap, page_basemap, theme_of
from cartoframes_lite.maps.embedding import embed_picture
from cartoframes_lite.maps.layergroups import LayergroupCache
from cartoframes_lite.maps.page import Instantiation, MapPage, MapServer, PageLayer, TileLayer, image_element
from cartoframes_lite.maps.page.viewport import HEIGHT_PIXELS, WIDTH_PIXELS, WORLD, Viewport
from cartoframes_lite.maps.pictures import MapPicture, PictureRequest, can_draw, draw_picture
from cartoframes_lite.maps.source import MapSource
from cartoframes_lite.maps.styling import LegendItem
from cartoframes_lite.maps.tile_urls import TileFormat, TileSelection, TileURL, build_tile_url
from cartoframes_lite.maps.validation import (
    BBox,
    Center,
    check_bbox,
    check_center,
    check_path,
    check_pixels,
    check_scale,
    check_suffix,
    check_zoom,
    format_bbox,
)
from cartoframes_lite.tracebacks import short_traceback

ImageFormat = Literal["png", "jpg"]

_ATTRIBUTION = '<a href="https://carto.com/attributions">CARTO</a>'
_HTML_SUFFIXES = (".html", ".htm")
_VIEW_REQUIRED = "pass either center and zoom, or bbox"
_ROW_LISTS = {"aggregation": "categories", "search": "categories", "histogram": "bins"}
_MASTER_KEY_REQUIRED = "The map shows private data; displaying it as a page needs the master API key"


class InstantiatedMap:
    """An instantiated map, displayed as an interactive map in notebooks.

    The server drops an instantiated map after some minutes without requests; the map is then instantiated again.

    Attributes
    ----------
    basemap : {"light", "dark", "osm"}, TileProvider or None
        Map below the layers. "light" and "dark" are part of the page; "osm" and a TileProvider, such as
        ``xyzservices.providers.OpenTopoMap``, are tiles that the page loads from the internet. None: no basemap.
    bbox : tuple of (west, south, east, north) or None
        Initial view, in degrees. None: the extent of the data, or the ``view`` of the template.
    title : str or None
        Displayed on the map, and the title of its page.
    """

    title: str | None = None

    def __init__(self, source: MapSource, *, bbox: BBox | None = None, basemap: Basemap = None) -> None:
        self._source = source
        self._layergroups = LayergroupCache(source.instantiate)
        self.bbox = None if bbox is None else check_bbox(bbox)
        check_basemap(basemap)
        self.basemap = basemap

    @property
    def _maps(self) -> Maps:
        return self._source.client.maps

    @property
    def _credentials(self) -> Credentials:
        return self._source.client.credentials

    @property
    def layergroup_id(self) -> str:
        """Identifier of the instantiated map in URLs."""
        return self._layergroups.get().id

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Metadata of layers, dataviews and analyses as returned by the Maps API, without the API key."""
        return self._layergroups.get().metadata

    @property
    def legend(self) -> Sequence[LegendItem]:
        """Legend of the colors and sizes, from the bottom layer to the top; empty for a named map."""
        return self._source.legend

    @short_traceback
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
        return self._tile_url(TileSelection(layer, format, retina)).without_subdomains

    @short_traceback
    def tile_provider(
        self, layer: int | Sequence[int] | None = None, *, retina: bool = False, attribution: str = _ATTRIBUTION
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
        url = self._tile_url(TileSelection(layer, "png", retina))
        plain = re.sub("<[^<>]*>", "", attribution)
        subdomains = drop_none(subdomains=list(url.subdomains) or None)
        return TileProvider(
            name="CARTO", url=url.template, attribution=plain, html_attribution=attribution, **subdomains
        )

    @short_traceback
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
        size = f"{check_pixels(width, 'width')}/{check_pixels(height, 'height')}.{format}"
        if (bbox is not None and center is not None) or (center is None) != (zoom is None):
            raise ValueError(_VIEW_REQUIRED)
        query = self._source.query
        if bbox is not None:
            kind, view = "bbox", format_bbox(bbox)
        elif center is not None:
            longitude, latitude = check_center(center)
            kind, view = "center", f"{check_zoom(zoom)}/{latitude:.10g}/{longitude:.10g}"
        else:
            return self._default_image(size)
        return self._layergroups.send(lambda id: self._maps.fetch(f"static/{kind}/{id}/{view}/{size}", query))

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
        query = self._source.query
        attributes: dict[str, Any] = self._layergroups.send(
            lambda id: self._maps.read(f"{id}/{layer}/attributes/{feature_id}", query)
        )
        return attributes

    @short_traceback
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
        query: dict[str, Any] = {**self._source.query, "own_filter": int(own_filter)}
        query |= drop_none(
            bins=bins, start=start, end=end, aggregation=aggregation, offset=offset, categories=categories
        )
        if bbox is not None:
            query["bbox"] = format_bbox(bbox)
        path = f"dataview/{quote(name, safe='')}"
        if search is not None:
            path, query["q"] = f"{path}/search", search
        return _dataview_result(self._layergroups.send(lambda id: self._maps.read(f"{id}/{path}", query), filters))

    @short_traceback
    def save(self, path: str | os.PathLike[str]) -> Path:
        """Save the map as an HTML page or a PNG picture, by the suffix of the path.

        Parameters
        ----------
        path : path
            Ends with ``.html``, as for ``to_html``, or with ``.png``, as for ``to_png``.

        Returns
        -------
        Path
            Path of the file.

        Raises
        ------
        ValueError
            If the suffix is another one.
        """
        target = check_path(path)
        if target.suffix.lower() == ".png":
            self.to_png(target)
            return target
        check_suffix(target, _HTML_SUFFIXES, "save writes .html and .png; for other formats, use static_image")
        return self.to_html(target)

    @short_traceback
    def to_html(self, path: str | os.PathLike[str], embed: bool = False) -> Path:
        """Save the map as a single HTML file, written atomically.

        The page loads the current data each time it is opened; if the server cannot be reached, it shows a picture
        from the time of saving. Anyone with the file can see the map. The file never contains the API key: if the map
        needs one, a named map ``cfl_saved_...`` is created, and the file contains a token for it.
        ``NamedMap(name).delete()`` revokes the access of the file.

        Parameters
        ----------
        path : path
            Ends with ``.html``. An existing file is replaced.
        embed : bool, default False
            Whether the file contains the data instead, so that it needs no server: layers of up to 50,000 features and
            500,000 vertices as rows, with popups and widgets, and layers with more or with CartoCSS of their own as a
            picture of the initial view. The file has no token, and shows the data as they were.

        Returns
        -------
        Path
            Path of the file.

        Raises
        ------
        ValueError
            If the path has another suffix, or if ``embed`` is True and the data are larger than 8 MB compressed, or a
            layer of a picture has widgets.
        PermissionDenied
            If the map needs an API key, and the key is not the master key, which is required to create named maps.
        """
        target = check_path(path)
        check_suffix(target, _HTML_SUFFIXES, "to_html writes .html; for a picture, use to_png")
        if embed or not self._source.has_server:  # a page that contains everything needs no picture
            view = self._view()
            page = self._build_page(view, None, self._embedded_layers(view), None)
            write_blocks(target, [page.standalone_html().encode()], check=lambda _: None)
            return target
        view = self._open()
        token_map = self._create_token_map(persistent=True)
        try:
            page = self._page(view, token_map)
            write_blocks(target, [page.standalone_html().encode()], check=lambda _: None)
        except BaseException:
            if token_map is not None:
                token_map.delete()
            raise
        return target

    @short_traceback
    def to_png(
        self,
        path: str | os.PathLike[str] | None = None,
        width: int = WIDTH_PIXELS,
        height: int = HEIGHT_PIXELS,
        *,
        scale: float = 1.0,
    ) -> bytes:
        """Draw a picture of the first view of the map, with basemap, legends, title and attribution.

        It needs Matplotlib: ``pip install 'cartoframes_lite[maps]'``. The basemaps "light" and "dark" are drawn
        without the internet; "light" replaces tiles of the internet. ``static_image`` is the picture of the server,
        which has the layers only.

        Parameters
        ----------
        path : path, optional
            Ends with ``.png``. An existing file is replaced. None: the picture is only returned.
        width, height : int
            In pixels, at most 8192.
        scale : float, default 1.0
            Pixels of the file for each of these pixels, from 0.25 to 4: 2 for high-resolution screens and print.

        Returns
        -------
        bytes
            Content of the PNG file.

        Raises
        ------
        ValueError
            If the path has another suffix, or a size is invalid.
        ImportError
            If Matplotlib is not installed.
        """
        target = None if path is None else check_path(path)
        if target is not None:
            check_suffix(target, (".png",), "to_png writes .png; for a page, use to_html")
        size = check_pixels(width, "width"), check_pixels(height, "height")
        picture = self._draw(self._view(), self._page_layers(), *size, check_scale(scale)).complete
        if target is not None:
            write_blocks(target, [picture], check=lambda _: None)
        return picture

    def __repr__(self) -> str:
        if not self._source.has_server:
            return f"<{type(self).__name__} of GeoDataFrames>"
        name = "" if self._source.name is None else f" of named map {self._source.name!r}"
        return f"<{type(self).__name__}{name} on {self._credentials.base_url}>"

    def _repr_html_(self) -> str:
        return self._repr_mimebundle_()["text/html"]

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """Return the map as an interactive page in an iframe, or as a picture if that is not allowed."""
        view = self._open()
        layers = self._page_layers()
        if not self._source.has_server:
            picture, token_map = self._picture(view, layers), None
        else:
            picture, token_map = both(
                self._credentials, partial(self._picture, view, layers), self._token_map_or_reason
            )
        if isinstance(token_map, str):
            image = image_element(picture.complete) if picture else ""
            html = f"<p>{escape(token_map)}. Showing a picture.</p>{image}"
        else:
            html = self._build_page(view, self._page_server(token_map), layers, picture).iframe_html()
        bundle = {"text/plain": repr(self), "text/html": html}
        return bundle | ({"image/png": b64encode(picture.complete).decode()} if picture else {})

    def _token_map_or_reason(self) -> token_maps.TokenMap | str | None:
        """Create the named map of a page as ``_create_token_map`` does; return why there is none if that fails."""
        try:
            return self._create_token_map(persistent=False)
        except PermissionDenied:
            return _MASTER_KEY_REQUIRED
        except token_maps.PlaceholderMarkError as error:
            return str(error)

    def _open(self) -> Viewport:
        """Instantiate the map, find out whether it needs the key, and return the initial view: at the same time."""
        _ = self._source.instantiation  # raises errors of the styles
        if not self._source.has_server:
            return self._view()
        instantiated = self._layergroups.get, lambda: self._source.needs_key, self._view
        return cast(Viewport, at_once(self._credentials, *cast("list[Callable[[], object]]", instantiated))[-1])

    def _tile_url(self, tiles: TileSelection) -> TileURL:
        """Compose the URL template of tiles, with the key or token if the map is not public."""
        _ = self._source.instantiation  # raises errors of the styles
        layergroup, needs_key = both(self._credentials, self._layergroups.get, lambda: self._source.needs_key)
        query = dict(self._source.query)
        query |= drop_none(api_key=self._credentials.api_key if needs_key else None)
        return build_tile_url(self._credentials, layergroup, tiles, query)

    def _default_image(self, size: str) -> bytes:
        """Return a static image of the default view; raise ValueError if the map has none."""
        image = self._source.default_image()
        if image is None:
            raise ValueError(_VIEW_REQUIRED)
        path, query = image
        return self._maps.fetch(f"static/{path}/{size}", {**self._source.query, **query})

    def _create_token_map(self, *, persistent: bool, page: str | None = None) -> token_maps.TokenMap | None:
        """Create a named map whose token replaces the API key on a page; None if the map does not need the key.

        Raises
        ------
        PermissionDenied
            If the key is not the master key.
        token_maps.PlaceholderMarkError
            If a named map would interpret a part of the MapConfig as a placeholder.
        """
        if not self._source.has_server or not self._source.needs_key:
            return None
        config = self._source.instantiation.body
        return token_maps.create(self._maps, self._credentials, config, persistent=persistent, page=page)

    def _page(self, view: Viewport, token_map: token_maps.TokenMap | None) -> MapPage:
        """Build the page, with its picture; it contains the token of ``token_map`` if there is one."""
        layers = self._page_layers()
        return self._build_page(view, self._page_server(token_map), layers, self._picture(view, layers))

    def _page_server(self, token_map: token_maps.TokenMap | None) -> MapServer | None:
        """Return what the page needs to reach the server; None if no server has any of the layers."""
        if not self._source.has_server:
            return None
        instantiation = self._source.instantiation
        if token_map is not None:
            instantiation = Instantiation.of_named_map(token_map.name, {}, token_map.token)
        return MapServer(str(self._credentials.base_url), instantiation)

    def _build_page(
        self, view: Viewport, server: MapServer | None, layers: Sequence[PageLayer], picture: MapPicture | None
    ) -> MapPage:
        """Build the page of these layers."""
        return MapPage(
            view=view,
            layers=layers,
            server=server,
            title=self.title,
            name=self._source.name or ", ".join(layer.title for layer in layers if layer.title) or "Map",
            theme=theme_of(self.basemap),
            attribution=_ATTRIBUTION if self._source.has_server else "",
            basemap=page_basemap(self.basemap, view),
            widgets=self._source.widgets(),
            picture=picture,
        )

    def _embedded_layers(self, view: Viewport) -> list[PageLayer]:
        """Return the layers of a page without a server: features and pictures."""
        layers = self._source.embedded_layers()
        if not layers:  # a named map whose layers the key may not read
            layers = [TileLayer(index) for index, _ in enumerate(self.metadata.get("layers", ()))]
        return [
            embed_picture(layer, view, partial(self._layer_image, layer.index))
            if isinstance(layer, TileLayer)
            else layer
            for layer in layers
        ]

    def _layer_image(self, layer: int, center: Center, zoom: int, width: int, height: int) -> bytes:
        """Return a static image of one layer."""
        longitude, latitude = center
        place = f"{zoom}/{latitude:.10g}/{longitude:.10g}/{width}/{height}.png"
        query = {**self._source.query, "layer": layer}
        return self._layergroups.send(lambda id: self._maps.fetch(f"static/center/{id}/{place}", query))

    def _view(self) -> Viewport:
        """Return the initial view of the page."""
        if self.bbox is not None:
            return Viewport.around(self.bbox)
        return self._source.default_view() or Viewport.around(WORLD)

    def _picture(self, view: Viewport, layers: Sequence[PageLayer]) -> MapPicture | None:
        """Return a picture of a view; None if the server does not return one."""
        try:
            if can_draw():
                return self._draw(view, layers, WIDTH_PIXELS, HEIGHT_PIXELS)
            if not self._source.has_server:
                return None
            image = self.static_image(WIDTH_PIXELS, HEIGHT_PIXELS, center=view.center, zoom=view.zoom)
        except APIError:  # static images have limits of their own; the page works without one
            return None
        return MapPicture(image, image)

    def _draw(
        self, view: Viewport, layers: Sequence[PageLayer], width: int, height: int, scale: float = 1.0
    ) -> MapPicture:
        """Draw the map with Matplotlib."""

        def static_image(center: Center, zoom: int, width: int, height: int) -> bytes:
            return self.static_image(width, height, center=center, zoom=zoom)

        request = PictureRequest(
            view=view,
            layers=layers,
            static_image=static_image,
            width=width,
            height=height,
            scale=scale,
            basemap=self.basemap,
            title=self.title,
            attribution=_ATTRIBUTION if self._source.has_server else "",
        )
        return draw_picture(request)

    def _page_layers(self) -> list[PageLayer]:
        """Return the layers of the page, from bottom to top; only those with UTFGrids respond to clicks."""
        if not self._source.has_server:
            return list(self._source.layers())
        layers = self.metadata.get("layers", ())
        rasters = [layer.get("tilejson", {}).get("raster", {}) for layer in layers]
        known = self._source.layers() or [TileLayer(index) for index, _ in enumerate(rasters)]
        return [
            replace(layer, has_grid=bool(rasters[layer.index].get("grids"))) if isinstance(layer, TileLayer) else layer
            for layer in known
        ]


def _dataview_result(response: Mapping[str, Any]) -> pd.DataFrame | float | None:
    """Return the categories or bins of a dataview as a DataFrame, or the number of a formula."""
    kind = response.get("type", "search")
    if kind == "formula":
        result: float | None = response.get("result")
        return result
    return pd.DataFrame(list(response.get(_ROW_LISTS.get(kind, "categories")) or ()))
