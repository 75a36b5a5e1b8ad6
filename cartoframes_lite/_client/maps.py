"""Maps API: instantiate maps, manage templates, and request tiles, images, attributes and dataviews."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from cartoframes_lite._client.http.json_fields import drop_none, parse_datetime, record, required, texts
from cartoframes_lite._client.http.transport import Transport

PATH = "api/v1/map"
_KEY = re.compile(r"([?&])api_key=[^&\s]*&?")

Filters = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Layergroup:
    """An instantiated map.

    Attributes
    ----------
    id : str
        Identifier of the map in tile URLs.
    metadata : mapping
        Layers, dataviews and URL templates as in the response, except that API keys are removed from URLs.
    cdn_templates : mapping
        CDN that serves the tiles, by URL scheme: ``{"url": ..., "subdomains": [...]}``. Empty if there is none.
    last_updated : datetime or None
        Time of the last change of the data, with time zone.
    """

    id: str
    metadata: Mapping[str, Any]
    cdn_templates: Mapping[str, Any]
    last_updated: datetime | None

    @classmethod
    def from_response(cls, response: Mapping[str, Any]) -> Layergroup:
        """Parse a response of the API."""
        return cls(
            id=required(response, "layergroupid"),
            metadata=_without_key(record(response.get("metadata") or {})),
            cdn_templates=record(record(response.get("cdn_url") or {}).get("templates") or {}),
            last_updated=parse_datetime(response.get("last_updated")),
        )


class Maps:
    """``client.maps``.

    Parameters
    ----------
    transport : Transport
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def instantiate(self, config: Mapping[str, Any], *, filters: Filters | None = None) -> Layergroup:
        """Instantiate an anonymous map. Equal configurations share one map.

        Parameters
        ----------
        config : mapping
            A MapConfig: ``version``, ``layers``, ``dataviews`` ...
        filters : mapping, optional
            Filters of dataviews, by name of the dataview.
        """
        return self._transport.json(
            "POST",
            PATH,
            idempotent=True,
            query=_filters_query(filters),
            json_body=dict(config),
            read=Layergroup.from_response,
        )

    def instantiate_named(
        self,
        name: str,
        params: Mapping[str, Any] | None = None,
        *,
        auth_token: str | None = None,
        filters: Filters | None = None,
    ) -> Layergroup:
        """Instantiate a named map.

        Parameters
        ----------
        name : str
        params : mapping, optional
            Values of the placeholders. None: their defaults.
        auth_token : str, optional
            One of the tokens of the map, if it requires one.
        filters : mapping, optional
            As in ``instantiate``.
        """
        return self._transport.json(
            "POST",
            _template_path(name),
            idempotent=True,
            query=drop_none(auth_token=auth_token) | _filters_query(filters),
            json_body=dict(params or {}),
            read=Layergroup.from_response,
        )

    def create_template(self, template: Mapping[str, Any]) -> str:
        """Create a named map; return its name."""
        path = f"{PATH}/named"
        return self._transport.json("POST", path, idempotent=False, json_body=dict(template), read=_template_id)

    def read_template(self, name: str) -> dict[str, Any]:
        """Return the template of a named map."""
        return self._transport.json("GET", _template_path(name), idempotent=True, read=_template_of)

    def list_templates(self) -> list[str]:
        """List the names of the named maps."""
        return list(self._transport.json("GET", f"{PATH}/named", idempotent=True, read=_template_ids))

    def update_template(self, name: str, template: Mapping[str, Any]) -> None:
        """Replace the template of a named map."""
        self._transport.json("PUT", _template_path(name), idempotent=True, json_body=dict(template), read=record)

    def delete_template(self, name: str) -> None:
        """Delete a named map."""
        self._transport.request("DELETE", _template_path(name), idempotent=True, expect=(200, 204))

    def fetch(self, path: str, query: Mapping[str, Any]) -> bytes:
        """Request a tile or image. The result may be empty for a tile without features.

        Parameters
        ----------
        path : str
            Path relative to the Maps API, such as ``"static/center/..."``.
        query : mapping
        """
        return self._transport.request("GET", f"{PATH}/{path}", idempotent=True, query=query, expect=(200, 204))

    def read(self, path: str, query: Mapping[str, Any]) -> Any:
        """Request feature attributes or a dataview. Parameters are those of ``fetch``."""
        return self._transport.json("GET", f"{PATH}/{path}", idempotent=True, query=query, read=record)


def build_url(base_url: str, path: str, query: Mapping[str, str], *, quoted: Callable[[str], str] = quote) -> str:
    """Compose a URL of the Maps API that other programs request, such as a tile URL.

    Parameters
    ----------
    base_url : str
        Base URL of the account or of a CDN.
    path : str
        Path relative to the Maps API.
    query : mapping
        May contain a key or token, which is then readable in the URL.
    quoted : callable
        Function that percent-encodes the path; ``str`` keeps the braces of URL templates.
    """
    url = f"{base_url.rstrip('/')}/{PATH}/{quoted(path)}".rstrip("/")
    return f"{url}?{urlencode(query)}" if query else url


def _filters_query(filters: Filters | None) -> dict[str, str]:
    """Return the query parameter for the filters of dataviews."""
    return {} if not filters else {"filters": json.dumps({"dataviews": filters}, default=dict)}


def _without_key(content: Any) -> Any:
    """Remove the parameter api_key from all strings of a JSON value."""
    if isinstance(content, str):
        return _KEY.sub(r"\1", content).rstrip("?&")
    if isinstance(content, list):
        return [_without_key(item) for item in content]
    return {name: _without_key(item) for name, item in content.items()} if isinstance(content, dict) else content


def _template_id(response: Any) -> str:
    return required(response, "template_id")


def _template_of(response: Any) -> dict[str, Any]:
    return record(record(response)["template"])


def _template_ids(response: Any) -> tuple[str, ...]:
    return texts(record(response)["template_ids"])


def _template_path(name: str) -> str:
    return f"{PATH}/named/{quote(name, safe='')}"
