"""What can be asked of an instantiated map: tiles, pictures, attributes and figures."""

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
from cartoframes_lite.maps.page import ClickableLayer, Instantiation, MapPage, picture_element
from cartoframes_lite.maps.page.viewport import HEIGHT_PIXELS, WIDTH_PIXELS, WORLD, Viewport
from cartoframes_lite.maps.styling import LegendItem

TileFormat = Literal["png", "mvt", "grid.json"]
PictureFormat = Literal["png", "jpg"]
Center = tuple[float, float]
BBox = tuple[float, float, float, float]

_MOST_PIXELS = 8192  # of a picture, each way
_MOST_ZOOM = 30
ATTRIBUTION = '<a href="https://carto.com/attributions">CARTO</a>'
_PLACE_NEEDED = "give either center and zoom, or bbox"
_EXPIRED = "map configuration token"
_LISTS = {"aggregation": "categories", "search": "categories", "histogram": "bins"}

T = TypeVar("T")

_MASTER_NEEDED = "This map shows private data, and only the master key can open it for a page"


class MapRequests:
    """A map that the server draws.

    The server forgets maps that nobody looks at after some minutes; it is then told of the map once more.

    Parameters
    ----------
    client : Client
        Asks for what is on the map.
    auth_token : str, optional
        One of the tokens of a named map.
    """

    def __init__(self, client: Client, *, auth_token: str | None = None) -> None:
        self._client, self._credentials = client, client.credentials
        # Of requests of our own; they have the key in their header.
        self._token = drop_none(auth_token=auth_token)
        self._groups: dict[str, Layergroup] = {}

    @property
    def layergroup_id(self) -> str:
        """What the server calls the map."""
        return self._instantiated().id

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the server tells of its layers and dataviews."""
        return self._instantiated().metadata

    def tile_url(
        self, layer: int | Sequence[int] | None = None, format: TileFormat = "png", *, retina: bool = False
    ) -> str:
        """Write the template of the URLs of tiles, with ``{z}``, ``{x}`` and ``{y}``.

        If the map needs a key or a token to be seen, the URL has it: whoever has the URL can see the map. An anonymous
        map needs the key if the server does not make it without one, a named map needs one of its tokens if it has
        any.

        Parameters
        ----------
        layer : int or sequence of int, optional
            Numbers of layers, from 0. None: all of them.
        format : {"png", "mvt", "grid.json"}
            Pictures, vector tiles, or UTFGrid: which feature of a layer with ``interactivity`` is where.
        retina : bool, default False
            Pictures of 512 x 512 pixels; vector tiles have no pixels.
        """
        base, subdomains = self._root()
        return self._template(base.replace("{s}", subdomains[0] if subdomains else ""), layer, format, retina)

    def tile_provider(
        self, layer: int | Sequence[int] | None = None, *, retina: bool = False, attribution: str = ATTRIBUTION
    ) -> TileProvider:
        """Give the tiles to a map library: ``gdf.explore(tiles=...)``, folium, ipyleaflet, contextily.

        Parameters
        ----------
        layer, retina
            As in ``tile_url``.
        attribution : str
            HTML that is shown in a corner of the map.

        Returns
        -------
        xyzservices.TileProvider
            Its URL has the key or token that ``tile_url`` says; if the server spreads its tiles over several hosts,
            ``{s}`` and ``subdomains``.
        """
        base, subdomains = self._root()
        spread = drop_none(subdomains=subdomains or None)
        url = self._template(base, layer, "png", retina)
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
        format: PictureFormat = "png",
    ) -> bytes:
        """Draw a picture.

        Parameters
        ----------
        width, height : int
            In pixels, from 1 to 8192.
        center : tuple of (float, float), optional
            Longitude and latitude in degrees; with ``zoom``.
        zoom : int, optional
            From 0 to 30.
        bbox : tuple of (west, south, east, north), optional
            In degrees; in the place of ``center`` and ``zoom``. Of a named map all three may be left out: the picture
            is that of the ``view`` of its template, with its ``preview_layers``.
        format : {"png", "jpg"}

        Returns
        -------
        bytes
            The file.
        """
        if format not in ("png", "jpg"):
            raise ValueError(f'format must be "png" or "jpg", not {format!r}')
        size = f"{_pixels(width, 'width')}/{_pixels(height, 'height')}"
        if (bbox is not None and center is not None) or (center is None) != (zoom is None):
            raise ValueError(_PLACE_NEEDED)
        query = self._token
        if bbox is not None:
            place = f"bbox/{{id}}/{_sides(bbox)}"
        elif center is not None:
            longitude, latitude = checked_center(center)
            place = f"center/{{id}}/{checked_zoom(zoom)}/{latitude:.10g}/{longitude:.10g}"
        else:
            place, parameters = self._own_place()
            query = query | parameters
        path = f"static/{place}/{size}.{format}"
        return self._asking(lambda group: self._client.maps.fetch(path.format(id=group.id), query))

    def attributes(self, layer: int, feature_id: int) -> dict[str, Any]:
        """Ask for the attributes of a feature that the layer offers.

        Parameters
        ----------
        layer : int
            Number of the layer, from 0.
        feature_id : int
            Its ``cartodb_id``, as a rule.

        Raises
        ------
        NotFound
            If there is no such feature.
        """
        path = f"{layer}/attributes/{feature_id}"
        found: dict[str, Any] = self._asking(lambda group: self._client.maps.read(f"{group.id}/{path}", self._token))
        return found

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
        """Ask for the figures of a dataview.

        Parameters
        ----------
        name : str
            As the configuration has it.
        bbox : tuple of (west, south, east, north), optional
            In degrees: only of what is there.
        own_filter : bool, default True
            Whether the filter of this dataview itself holds.
        filters : mapping, optional
            What other dataviews let through, by their name: ``{"names": {"accept": ["west"]}}`` or ``"reject"`` for
            categories, ``{"sizes": {"min": 1, "max": 9}}`` for histograms. They hold for dataviews of the same
            ``source``, and this one, unless ``own_filter`` is False.
        search : str, optional
            Words, for the categories of an aggregation.
        bins : int, optional
            Number of bins of a histogram.
        start, end : float, optional
            Limits of a histogram; of one of times, in seconds since 1970.
        aggregation : str, optional
            Unit of a histogram of times: "minute", "hour", "day", "week", "month", "quarter", "year" ...
        offset : int, optional
            Time zone of a histogram of times, in seconds east of UTC.
        categories : int, optional
            How many rows of categories; the last one is "Other", of all others together, with True as ``agg``. None:
            all of them, or six if ``own_filter`` is False. A dataview's own filter decides in its place if it holds.

        Returns
        -------
        DataFrame, float or None
            A row for each category or bin; of a formula the number.
        """
        if categories is not None and name not in (filters or {}):
            own_filter = False  # with it, the server tells all categories apart, however many are asked for
        query: dict[str, Any] = {**self._token, "own_filter": int(own_filter)}
        query |= drop_none(
            bins=bins, start=start, end=end, aggregation=aggregation, offset=offset, categories=categories
        )
        if bbox is not None:
            query["bbox"] = _sides(bbox)
        path = f"dataview/{quote(name, safe='')}"
        if search is not None:
            path, query["q"] = f"{path}/search", search
        answer = self._asking(lambda group: self._client.maps.read(f"{group.id}/{path}", query), filters)
        return _figures(answer)

    def _instantiate(self, filters: Filters | None) -> Layergroup:
        """Ask the server for the map, with filters of its dataviews or without."""
        raise NotImplementedError

    def _own_place(self) -> tuple[str, dict[str, str]]:
        """Return path and parameters of pictures of the place that the map names; ValueError if it names none."""
        raise ValueError(_PLACE_NEEDED)

    def _needs_key(self) -> bool:
        """Whether others see the map only with the key."""
        return False

    def _root(self) -> tuple[str, list[str]]:
        """Return the URL that tiles are below, with ``{s}`` if there are subdomains."""
        own = str(self._credentials.base_url)
        spread = self._instantiated().cdn_templates.get(urlsplit(own).scheme)
        if not spread:
            return own, []
        return f"{spread['url'].rstrip('/')}/{self._credentials.username}", list(spread.get("subdomains") or [])

    def _template(self, base: str, layer: int | Sequence[int] | None, format: TileFormat, retina: bool) -> str:
        """Write the template of the URLs of tiles."""
        if format not in get_args(TileFormat):
            raise ValueError(f"format must be one of {get_args(TileFormat)}, not {format!r}")
        if format == "grid.json" and (layer is None or isinstance(layer, Iterable)):
            raise ValueError("grid.json is of one layer: give its number")
        group = self._instantiated()
        numbers = [] if layer is None else list(layer) if isinstance(layer, Iterable) else [layer]
        known = len(group.metadata.get("layers", ()))
        if any(not 0 <= number < known for number in numbers):
            raise ValueError(f"the map has layers 0 to {known - 1}, not {layer}")
        layers = f"/{','.join(map(str, numbers))}" if numbers else ""
        scale = "@2x" if retina and format == "png" else ""
        secret = self._token | drop_none(api_key=self._credentials.api_key if self._needs_key() else None)
        return build_url(base, f"{group.id}{layers}/{{z}}/{{x}}/{{y}}{scale}.{format}", secret, quoted=str)

    def _interactive(self) -> list[int]:
        """Return the numbers of the layers that tell which feature is where, the highest first."""
        layers = self._instantiated().metadata.get("layers", ())
        rasters = [layer.get("tilejson", {}).get("raster", {}) for layer in layers]
        return [number for number, raster in enumerate(rasters) if raster.get("grids")][::-1]

    def _instantiated(self, filters: Filters | None = None) -> Layergroup:
        """Return the map with some filters; ask the server for it when it is first needed."""
        key = json.dumps(filters, sort_keys=True, default=dict)
        if key not in self._groups:
            self._groups[key] = self._instantiate(filters)
        return self._groups[key]

    def _asking(self, ask: Callable[[Layergroup], T], filters: Filters | None = None) -> T:
        """Ask for something of the map; if the server has forgotten it, tell it of the map once more."""
        try:
            return ask(self._instantiated(filters))
        except APIError as error:
            if error.status not in (400, 404) or _EXPIRED not in str(error):
                raise
        self._groups.clear()
        return ask(self._instantiated(filters))


def _pixels(size: Any, name: str) -> int:
    """Return width or height of a picture; ValueError if the server draws none of that size."""
    if not isinstance(size, Integral) or isinstance(size, bool) or not 1 <= int(size) <= _MOST_PIXELS:
        raise ValueError(f"{name} must be a whole number of pixels from 1 to {_MOST_PIXELS}, not {size!r}")
    return int(size)


def checked_center(center: Any) -> Center:
    """Return longitude and latitude as floats; ValueError if they are no place."""
    degrees = _floats(center)
    if degrees is None or len(degrees) != 2 or not abs(degrees[1]) <= 90:
        raise ValueError(f"center must be longitude and latitude in degrees, not {center!r}")
    return degrees[0], degrees[1]


def checked_zoom(zoom: Any) -> int:
    """Return a zoom; ValueError if there is no such one."""
    if isinstance(zoom, float | np.floating) and float(zoom).is_integer():
        zoom = int(zoom)
    if not isinstance(zoom, Integral) or isinstance(zoom, bool) or not 0 <= int(zoom) <= _MOST_ZOOM:
        raise ValueError(f"zoom must be a whole number from 0 to {_MOST_ZOOM}, not {zoom!r}")
    return int(zoom)


def _floats(values: Any) -> list[float] | None:
    """Return finite numbers as floats, None if they are anything else."""
    try:
        given_values = list(values)
        found = [float(value) for value in given_values if not isinstance(value, bool | np.bool_ | str | bytes)]
    except (TypeError, ValueError, OverflowError):
        return None
    return found if len(found) == len(given_values) and all(map(math.isfinite, found)) else None


def checked_box(bbox: Any) -> BBox:
    """Return west, south, east and north as floats; ValueError if they are no box."""
    sides = _floats(bbox)
    if sides is None or len(sides) != 4 or sides[0] > sides[2] or sides[1] > sides[3]:
        raise ValueError(
            f"a box is west, south, east and north in degrees, not {bbox!r}; "
            "across the 180th meridian, east is above 180"
        )
    return sides[0], sides[1], sides[2], sides[3]


def _sides(bbox: BBox) -> str:
    """Write a box as the Maps API has it."""
    return ",".join(f"{degree:.10g}" for degree in checked_box(bbox))


def _figures(answer: Mapping[str, Any]) -> pd.DataFrame | float | None:
    """Make a frame of categories and bins, and a number of a formula."""
    kind = answer.get("type", "search")
    if kind == "formula":
        result: float | None = answer.get("result")
        return result
    return pd.DataFrame(list(answer.get(_LISTS.get(kind, "categories")) or ()))


class InstantiatedMap(MapRequests):
    """A map that the server draws; in a notebook it shows itself.

    The server forgets maps that nobody looks at after some minutes; it is then told of the map once more.

    Attributes
    ----------
    basemap : TileProvider or None
        Shown below it, such as ``xyzservices.providers.OpenStreetMap.Mapnik``; its tiles come from the internet. None:
        nothing is, and the page needs no other server.
    bbox : tuple of (west, south, east, north) or None
        What it shows first, in degrees. None: everything.
    """

    basemap: TileProvider | None = None
    bbox: BBox | None = None

    @property
    def legend(self) -> Sequence[LegendItem]:
        """What its colors mean."""
        return ()

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the map to a web page of one file, which appears when it is complete.

        The page shows the data as they are when it is looked at, and where the server cannot be reached, a picture of
        now. Whoever has the page can see the map: it never holds the key, but if the map needs one, a token for a named
        map ``cfl_saved_...`` that is created for it. ``NamedMap(name).delete()`` takes the page back.

        Parameters
        ----------
        path : path
            An existing file is replaced.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        PermissionDenied
            If the map needs a key, and that is not the master key, the only one that creates named maps.
        """
        opening = self._opened(lasting=True)
        try:
            write_blocks(path, [self._page(opening).alone().encode()], check=lambda _: None)
        except BaseException:
            self._close(opening)
            raise
        return Path(path)

    def _close(self, opening: Instantiation) -> None:
        """Take back what was made for a page that there will not be."""

    def _opened(self, *, lasting: bool) -> Instantiation:
        """Say how a page gets this map without a key; PermissionDenied if it cannot."""
        raise NotImplementedError

    def _found_view(self) -> Viewport | None:
        """Return what the map would show first, None if that is not known."""
        return None

    def _known_layers(self) -> Sequence[Any]:
        """Return the layers of the MapConfig, as far as it is known."""
        return ()

    def _clickable(self) -> list[ClickableLayer]:
        """Return the layers whose features a click on the page shows, the highest first."""
        layers = self._known_layers()
        options = [layer.get("options") if isinstance(layer, Mapping) else None for layer in layers]
        known = dict(enumerate(options))
        return [ClickableLayer.of(number, known.get(number)) for number in self._interactive()]

    def _view(self) -> Viewport:
        if self.bbox is not None:
            return Viewport.around(self.bbox)
        return self._found_view() or Viewport.around(WORLD)

    def _picture(self, view: Viewport) -> bytes | None:
        """Draw what a page shows first; None if the server does not."""
        try:
            return self.static_image(WIDTH_PIXELS, HEIGHT_PIXELS, center=view.center, zoom=view.zoom)
        except APIError:  # pictures have limits of their own; a map without one is still a map
            return None

    def _page(self, opening: Instantiation) -> MapPage:
        view = self._view()
        return MapPage(
            base_url=str(self._credentials.base_url),
            opening=opening,
            interactive=self._clickable(),
            view=view,
            attribution=ATTRIBUTION,
            legend=self.legend,
            basemap=self.basemap,
            picture=self._picture(view),
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on {self._credentials.base_url}>"

    def _repr_html_(self) -> str:
        return self._repr_mimebundle_()["text/html"]

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """Show the map as a page in a frame, and as a picture where that cannot be."""
        try:
            page = self._page(self._opened(lasting=False))
            html, picture = page.framed(), page.picture
        except (PermissionDenied, token_maps.UnsafeText) as error:
            if not self._needs_key():
                raise
            picture = self._picture(self._view())
            reason = str(error) if isinstance(error, token_maps.UnsafeText) else _MASTER_NEEDED
            html = f"<p>{escape(reason)}: here is a picture.</p>{picture_element(picture) if picture else ''}"
        shown = {"text/plain": repr(self), "text/html": html}
        return shown | ({"image/png": b64encode(picture).decode()} if picture else {})
