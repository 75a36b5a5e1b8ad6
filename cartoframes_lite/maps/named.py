"""NamedMap: a map template stored on the server, and its instances."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from cartoframes_lite._client import Client
from cartoframes_lite._client.http.json_fields import drop_none
from cartoframes_lite._client.maps import Filters, Layergroup
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import APIError
from cartoframes_lite.maps.instantiated import InstantiatedMap, check_bbox, check_center, check_zoom
from cartoframes_lite.maps.page import Instantiation
from cartoframes_lite.maps.page.viewport import Viewport

NAMED_PATH = "named/"


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
        return [cls(name, client.credentials) for name in sorted(client.maps.list_templates())]

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
        client = Client(self.credentials)
        return _NamedMapInstance(client, self.name, dict(params or {}), auth_token)


class _NamedMapInstance(InstantiatedMap):
    """An instance of a named map, with values of its placeholders."""

    def __init__(self, client: Client, name: str, params: Mapping[str, Any], auth_token: str | None) -> None:
        # No API key: the server ignores the token if there is a key, and a key with fewer grants would be denied.
        super().__init__(Client(replace(client.credentials, api_key=None)), auth_token=auth_token)
        self._named_maps, self._name = client.maps, name
        self._instantiation = Instantiation(f"{NAMED_PATH}{name}", params, drop_none(auth_token=auth_token))

    def _instantiate(self, filters: Filters | None) -> Layergroup:
        token = self._token.get("auth_token")
        return self._named_maps.instantiate_named(
            self._name, self._instantiation.body, auth_token=token, filters=filters
        )

    def _default_image(self) -> tuple[str, dict[str, str]]:
        return f"{NAMED_PATH}{quote(self._name, safe='')}", {"config": json.dumps(dict(self._instantiation.body))}

    def __repr__(self) -> str:
        return f"<Instance of {NamedMap(self._name, self._credentials)!r}>"

    def _page_instantiation(self, *, persistent: bool) -> Instantiation:
        return self._instantiation

    def _read_template(self) -> Mapping[str, Any]:
        """Return the template; empty if the API key does not grant access to it."""
        try:
            return self._named_maps.read_template(self._name)
        except APIError:
            return {}

    def _config_layers(self) -> Sequence[Any]:
        group = self._read_template().get("layergroup")
        layers = group.get("layers") if isinstance(group, Mapping) else None
        return layers if isinstance(layers, list) else ()

    def _default_view(self) -> Viewport | None:
        """Return the view of the template, if the API key grants access to it."""
        view = self._read_template().get("view") or {}
        try:
            if bounds := view.get("bounds"):
                return Viewport.around(check_bbox([bounds[edge] for edge in ("west", "south", "east", "north")]))
            if center := view.get("center"):
                check_center(center_degrees := (center["lng"], center["lat"]))
                return Viewport(center_degrees, check_zoom(view.get("zoom", 0)))
        except (AttributeError, LookupError, TypeError, ValueError):  # the server does not validate the view
            return None
        return None
