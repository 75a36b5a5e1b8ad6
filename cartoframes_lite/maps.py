"""Maps: anonymous ones and named ones, and how they show themselves."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from xyzservices import TileProvider

from cartoframes_lite import _token_maps
from cartoframes_lite._client import Client
from cartoframes_lite._client.answers import given
from cartoframes_lite._client.files import write_blocks
from cartoframes_lite._client.maps import Filters, Layergroup
from cartoframes_lite._codec.sources import single_statement
from cartoframes_lite._map_page import ClickableLayer, Opening, Page, picture_element
from cartoframes_lite._map_page.view import HEIGHT_PIXELS, WIDTH_PIXELS, WORLD, View
from cartoframes_lite._tiled import ATTRIBUTION, Box, Tiled, checked_box, checked_center, checked_zoom
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import APIError, AuthenticationError, CartoError, NotFound, PermissionDenied, SQLError
from cartoframes_lite.layers import Layer, LegendItem

_VERSION = "1.8.0"
_NAMED = "named/"
_SIDES = ("xmin", "ymin", "xmax", "ymax")
_MASTER_NEEDED = "This map shows private data, and only the master key can open it for a page"


class InstantiatedMap(Tiled):
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
    bbox: Box | None = None

    @property
    def legend(self) -> Sequence[LegendItem]:
        """What its colours mean."""
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

    def _close(self, opening: Opening) -> None:
        """Take back what was made for a page that there will not be."""

    def _opened(self, *, lasting: bool) -> Opening:
        """Say how a page gets this map without a key; PermissionDenied if it cannot."""
        raise NotImplementedError

    def _found_view(self) -> View | None:
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

    def _view(self) -> View:
        if self.bbox is not None:
            return View.around(self.bbox)
        return self._found_view() or View.around(WORLD)

    def _picture(self, view: View) -> bytes | None:
        """Draw what a page shows first; None if the server does not."""
        try:
            return self.static_image(WIDTH_PIXELS, HEIGHT_PIXELS, center=view.center, zoom=view.zoom)
        except APIError:  # pictures have limits of their own; a map without one is still a map
            return None

    def _page(self, opening: Opening) -> Page:
        view = self._view()
        return Page(
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
        except (PermissionDenied, _token_maps.UnsafeText) as error:
            if not self._needs_key():
                raise
            picture = self._picture(self._view())
            reason = str(error) if isinstance(error, _token_maps.UnsafeText) else _MASTER_NEEDED
            html = f"<p>{escape(reason)}: here is a picture.</p>{picture_element(picture) if picture else ''}"
        shown = {"text/plain": repr(self), "text/html": html}
        return shown | ({"image/png": b64encode(picture).decode()} if picture else {})


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
        bbox: Box | None = None,
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
        """What its colours mean, from the lowest layer to the highest."""
        return self._configured()[1]

    @property
    def _config(self) -> dict[str, Any]:
        return self._configured()[0]

    def _configured(self) -> tuple[dict[str, Any], list[LegendItem]]:
        """Return the MapConfig and what its colours mean; it is written when it is first needed."""
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

    def _opened(self, *, lasting: bool) -> Opening:
        if not self._needs_key():
            return Opening("", self._config)
        account = str(self._credentials.base_url)
        made = _token_maps.create(self._client.maps, account, self._config, lasting=lasting)
        return Opening(f"{_NAMED}{made.name}", {}, {"auth_token": made.token})

    def _close(self, opening: Opening) -> None:
        if opening.path:
            with suppress(CartoError):  # what went wrong before is what the user has to know
                NamedMap(opening.path.removeprefix(_NAMED), self._credentials).delete()

    def _found_view(self) -> View | None:
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
        return None if west is None else View.around((west, south, east, north))


@dataclass(frozen=True, slots=True)
class NamedMap:
    """A map whose template the server keeps, under a name; for the master key.

    Parameters
    ----------
    name : str
    credentials : Credentials, optional
    """

    name: str
    credentials: Credentials | None = None

    @classmethod
    def create(cls, template: Mapping[str, Any], credentials: Credentials | None = None) -> NamedMap:
        """Create a named map.

        Parameters
        ----------
        template : mapping
            ``version``, ``name``, ``auth``, ``placeholders``, ``layergroup`` (a MapConfig), ``view``.
        credentials : Credentials, optional

        Raises
        ------
        SQLError
            If the template is not valid, or there is a map of this name.

        Examples
        --------
        >>> import cartoframes_lite as cfl
        >>> options = {
        ...     "sql": "SELECT * FROM stations WHERE year > <%= after %>",
        ...     "cartocss": "#layer { marker-width: 7; }",
        ...     "cartocss_version": "2.3.0",
        ... }
        >>> template = {
        ...     "version": "0.0.1",
        ...     "name": "newer_stations",
        ...     "auth": {"method": "open"},
        ...     "placeholders": {"after": {"type": "number", "default": 1900}},
        ...     "layergroup": {"version": "1.8.0", "layers": [{"type": "cartodb", "options": options}]},
        ... }
        >>> newer = cfl.NamedMap.create(template)
        >>> tiles = newer.instantiate({"after": 2000}).tile_url()
        """
        client = Client(credentials)
        return cls(client.maps.create_template(template), client.credentials)

    @classmethod
    def get(cls, name: str, credentials: Credentials | None = None) -> NamedMap:
        """Find a named map; NotFound if there is none."""
        client = Client(credentials)
        client.maps.read_template(name)
        return cls(name, client.credentials)

    @classmethod
    def list(cls, credentials: Credentials | None = None) -> Sequence[NamedMap]:
        """List the named maps of the account, by name."""
        client = Client(credentials)
        return [cls(name, client.credentials) for name in sorted(client.maps.list_templates())]

    @property
    def template(self) -> dict[str, Any]:
        """The template, as the server has it."""
        return Client(self.credentials).maps.read_template(self.name)

    def update(self, template: Mapping[str, Any] | None = None, **changes: Any) -> None:
        """Replace the template, or members of it.

        Parameters
        ----------
        template : mapping, optional
            None: the one that the server has.
        **changes
            Members to replace: ``auth``, ``placeholders``, ``layergroup``, ``view``.
        """
        client = Client(self.credentials)
        whole = dict(client.maps.read_template(self.name) if template is None else template)
        client.maps.update_template(self.name, {"name": self.name, **whole, **changes})

    def delete(self) -> None:
        """Delete it; NotFound if it is gone."""
        Client(self.credentials).maps.delete_template(self.name)

    def instantiate(self, params: Mapping[str, Any] | None = None, auth_token: str | None = None) -> InstantiatedMap:
        """Make the map.

        Parameters
        ----------
        params : mapping, optional
            Values for the placeholders; None takes their defaults.
        auth_token : str, optional
            One of the tokens of the map, if it wants one. It is part of the URLs of tiles, and of what a notebook holds
            that shows the map.
        """
        client = Client(self.credentials)
        return _Instance(client, self.name, dict(params or {}), auth_token)


class _Instance(InstantiatedMap):
    """A named map with values for its placeholders."""

    def __init__(self, client: Client, name: str, params: Mapping[str, Any], auth_token: str | None) -> None:
        # The token opens what the owner may see; a key would count more, and one with fewer rights would be refused.
        super().__init__(Client(replace(client.credentials, api_key=None)), auth_token=auth_token)
        self._named_maps, self._name = client.maps, name
        self._opening = Opening(f"{_NAMED}{name}", params, given(auth_token=auth_token))

    def _instantiate(self, filters: Filters | None) -> Layergroup:
        token = self._token.get("auth_token")
        return self._named_maps.instantiate_named(self._name, self._opening.body, auth_token=token, filters=filters)

    def _own_place(self) -> tuple[str, dict[str, str]]:
        return f"{_NAMED}{quote(self._name, safe='')}", {"config": json.dumps(dict(self._opening.body))}

    def __repr__(self) -> str:
        return f"<Instance of {NamedMap(self._name, self._credentials)!r}>"

    def _opened(self, *, lasting: bool) -> Opening:
        return self._opening

    def _read_template(self) -> Mapping[str, Any]:
        """Ask for the template; empty if this key may not look at it."""
        try:
            return self._named_maps.read_template(self._name)
        except APIError:
            return {}

    def _known_layers(self) -> Sequence[Any]:
        group = self._read_template().get("layergroup")
        layers = group.get("layers") if isinstance(group, Mapping) else None
        return layers if isinstance(layers, list) else ()

    def _found_view(self) -> View | None:
        """Return what the template says, if this key may look at it."""
        view = self._read_template().get("view") or {}
        try:
            if bounds := view.get("bounds"):
                return View.around(checked_box([bounds[side] for side in ("west", "south", "east", "north")]))
            if center := view.get("center"):
                checked_center(place := (center["lng"], center["lat"]))
                return View(place, checked_zoom(view.get("zoom", 0)))
        except (AttributeError, LookupError, TypeError, ValueError):  # a template can say anything
            return None
        return None
