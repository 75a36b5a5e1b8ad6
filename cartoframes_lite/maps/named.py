"""NamedMap: a template that the server keeps, and its instances."""

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
from cartoframes_lite.maps.instantiated import InstantiatedMap, checked_box, checked_center, checked_zoom
from cartoframes_lite.maps.page import Instantiation
from cartoframes_lite.maps.page.viewport import Viewport

NAMED_PATH = "named/"


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
        return _NamedMapInstance(client, self.name, dict(params or {}), auth_token)


class _NamedMapInstance(InstantiatedMap):
    """A named map with values for its placeholders."""

    def __init__(self, client: Client, name: str, params: Mapping[str, Any], auth_token: str | None) -> None:
        # The token opens what the owner may see; a key would count more, and one with fewer rights would be refused.
        super().__init__(Client(replace(client.credentials, api_key=None)), auth_token=auth_token)
        self._named_maps, self._name = client.maps, name
        self._opening = Instantiation(f"{NAMED_PATH}{name}", params, drop_none(auth_token=auth_token))

    def _instantiate(self, filters: Filters | None) -> Layergroup:
        token = self._token.get("auth_token")
        return self._named_maps.instantiate_named(self._name, self._opening.body, auth_token=token, filters=filters)

    def _own_place(self) -> tuple[str, dict[str, str]]:
        return f"{NAMED_PATH}{quote(self._name, safe='')}", {"config": json.dumps(dict(self._opening.body))}

    def __repr__(self) -> str:
        return f"<Instance of {NamedMap(self._name, self._credentials)!r}>"

    def _opened(self, *, lasting: bool) -> Instantiation:
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

    def _found_view(self) -> Viewport | None:
        """Return what the template says, if this key may look at it."""
        view = self._read_template().get("view") or {}
        try:
            if bounds := view.get("bounds"):
                return Viewport.around(checked_box([bounds[side] for side in ("west", "south", "east", "north")]))
            if center := view.get("center"):
                checked_center(place := (center["lng"], center["lat"]))
                return Viewport(place, checked_zoom(view.get("zoom", 0)))
        except (AttributeError, LookupError, TypeError, ValueError):  # a template can say anything
            return None
        return None
