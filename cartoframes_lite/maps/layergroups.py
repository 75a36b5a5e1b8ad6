"""The layergroups of a map, which are instantiated again when they have expired."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TypeVar

from cartoframes_lite._client.maps import Filters, Layergroup
from cartoframes_lite.errors import APIError

_EXPIRED = "map configuration token"  # in the error for a layergroup that the server no longer keeps

T = TypeVar("T")


class LayergroupCache:
    """The layergroups of a map, one for each combination of filters.

    The server drops a layergroup after some minutes without requests; the map is then instantiated again.

    Parameters
    ----------
    instantiate : callable
        Instantiates the map, with optional filters of its dataviews.
    """

    def __init__(self, instantiate: Callable[[Filters | None], Layergroup]) -> None:
        self._instantiate = instantiate
        self._layergroups: dict[str, Layergroup] = {}

    def get(self, filters: Filters | None = None) -> Layergroup:
        """Return the layergroup with these filters; instantiate the map at the first call."""
        key = json.dumps(filters, sort_keys=True, default=dict)
        if key not in self._layergroups:
            self._layergroups[key] = self._instantiate(filters)
        return self._layergroups[key]

    def send(self, request: Callable[[str], T], filters: Filters | None = None) -> T:
        """Send a request to a layergroup; if that has expired, instantiate the map again and retry once.

        Parameters
        ----------
        request : callable
            Sends the request, given the identifier of the layergroup.
        filters : mapping, optional
            Filters of dataviews.
        """
        try:
            return request(self.get(filters).id)
        except APIError as error:
            if error.status not in (400, 404) or _EXPIRED not in str(error):
                raise
        self._layergroups.clear()
        return request(self.get(filters).id)
