"""NamedMap: a map template stored on the server, and its instances."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from cartoframes_lite._client import Client
from cartoframes_lite._client.listing import Listing
from cartoframes_lite._client.maps import Filters, Layergroup
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import APIError
from cartoframes_lite.maps.instantiated import InstantiatedMap
from cartoframes_lite.maps.page import Instantiation, PageLayer, TileLayer
from cartoframes_lite.maps.page.viewport import Viewport
from cartoframes_lite.maps.validation import check_bbox, check_center, check_zoom


@dataclass(frozen=True, slots=True)
class NamedMap:
    """A map template stored on the server under a name; managing it requires the master key.

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
            If the template is invalid, or a named map of this name exists.

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
        """Return an existing named map; raise NotFound if there is none."""
        client = Client(credentials)
        client.maps.read_template(name)
        return cls(name, client.credentials)

    @classmethod
    def list(cls, credentials: Credentials | None = None) -> Sequence[NamedMap]:
        """Return the named maps of the account, sorted by name."""
        client = Client(credentials)
        found = [cls(name, client.credentials) for name in sorted(client.maps.list_templates())]
        return Listing(found, "named maps", lambda named: {"name": named.name})

    @property
    def template(self) -> dict[str, Any]:
        """The template stored on the server, requested at each access."""
        return Client(self.credentials).maps.read_template(self.name)

    def update(self, template: Mapping[str, Any] | None = None, **changes: Any) -> None:
        """Replace the template, or some of its members.

        Parameters
        ----------
        template : mapping, optional
            None: the template stored on the server.
        **changes
            Members to replace: ``auth``, ``placeholders``, ``layergroup``, ``view``.
        """
        client = Client(self.credentials)
        content = dict(client.maps.read_template(self.name) if template is None else template)
        client.maps.update_template(self.name, {"name": self.name, **content, **changes})

    def delete(self) -> None:
        """Delete the named map; raise NotFound if it does not exist."""
        Client(self.credentials).maps.delete_template(self.name)

    def instantiate(self, params: Mapping[str, Any] | None = None, auth_token: str | None = None) -> InstantiatedMap:
        """Instantiate the map.

        Parameters
        ----------
        params : mapping, optional
            Values of the placeholders. None: their defaults.
        auth_token : str, optional
            One of the ``valid_tokens`` of the template, if it has any. Tile URLs, and notebooks that display the map,
            contain it.
        """
        return InstantiatedMap(_NamedMapSource(self, dict(params or {}), auth_token))


class _NamedMapSource:
    """A named map, with values of its placeholders."""

    needs_key = False
    has_server = True
    legend = ()

    def __init__(self, named_map: NamedMap, params: Mapping[str, Any], auth_token: str | None) -> None:
        client = Client(named_map.credentials)
        # No API key: the server ignores the token if there is a key, and a key with fewer grants would be denied.
        self.client = Client(replace(client.credentials, api_key=None))
        self.name = named_map.name
        self.instantiation = Instantiation.of_named_map(self.name, params, auth_token)
        self.query = self.instantiation.query
        self._templates, self._auth_token = client.maps, auth_token

    def instantiate(self, filters: Filters | None) -> Layergroup:
        return self.client.maps.instantiate_named(
            self.name, self.instantiation.body, auth_token=self._auth_token, filters=filters
        )

    def layers(self) -> Sequence[PageLayer]:
        group = self._read_template().get("layergroup")
        layers = group.get("layers") if isinstance(group, Mapping) else None
        if not isinstance(layers, list):
            return ()
        options = [layer.get("options") if isinstance(layer, Mapping) else None for layer in layers]
        return [TileLayer.of_options(index, layer) for index, layer in enumerate(options)]

    def embedded_layers(self) -> Sequence[PageLayer]:
        return self.layers()

    def widgets(self) -> Sequence[Mapping[str, Any]]:
        return ()

    def default_view(self) -> Viewport | None:
        """Return the view of the template, if the API key grants access to it."""
        view = self._read_template().get("view") or {}
        try:
            if bounds := view.get("bounds"):
                return Viewport.around(check_bbox([bounds[edge] for edge in ("west", "south", "east", "north")]))
            if center := view.get("center"):
                check_center(degrees := (center["lng"], center["lat"]))
                return Viewport(degrees, check_zoom(view.get("zoom", 0)))
        except (AttributeError, LookupError, TypeError, ValueError):  # the server does not validate the view
            return None
        return None

    def default_image(self) -> tuple[str, Mapping[str, str]]:
        """Return path and query of the static image of the view of the template."""
        return f"named/{quote(self.name, safe='')}", {"config": json.dumps(dict(self.instantiation.body))}

    def _read_template(self) -> Mapping[str, Any]:
        """Return the template; empty if the API key does not grant access to it."""
        try:
            return self._templates.read_template(self.name)
        except APIError:
            return {}
