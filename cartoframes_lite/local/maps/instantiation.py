"""Instantiation of anonymous maps and of templates, with the response to the client."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cartoframes_lite.local.maps.config import parse_map_config
from cartoframes_lite.local.maps.layergroups import Layergroups
from cartoframes_lite.local.maps.metadata import describe
from cartoframes_lite.local.maps.templates import Template
from cartoframes_lite.local.state import Key, State


async def instantiate_anonymous(
    layergroups: Layergroups,
    content: Any,
    filters: Mapping[str, Any],
    *,
    role: str,
    key: Key | None,
    base_url: str,
) -> dict[str, Any]:
    """Instantiate a MapConfig and return the response.

    Parameters
    ----------
    layergroups : Layergroups
    content : object
        The MapConfig: decoded JSON.
    filters : mapping
        Filters by name of the dataview.
    role : str
        Database role that the queries run with.
    key : Key, optional
        The key that the request names; tile URLs contain it, unless it is the default key.
    base_url : str
        Base URL of the user.

    Raises
    ------
    MapError
        If the MapConfig is invalid.
    """
    group, updated = await layergroups.instantiate(content, parse_map_config(content, filters), role)
    api_key = key.token if key is not None and key.kind != "default" else ""
    token = f"{group.id}:{_milliseconds(updated)}"
    return describe(group, token, updated, base_url=base_url, api_key=api_key)


async def instantiate_template(
    layergroups: Layergroups,
    template: Template,
    parameters: Mapping[str, Any],
    filters: Mapping[str, Any],
    *,
    state: State,
    base_url: str,
) -> dict[str, Any]:
    """Instantiate a template with values of its placeholders, as the owner of the account; return the response.

    Raises
    ------
    MapError
        If a value is invalid, or the MapConfig with the values is.
    """
    content = template.instance(parameters)
    group, updated = await layergroups.instantiate(
        content, parse_map_config(content, filters), state.owner_role, template=template
    )
    token = f"{state.user}@{template.fingerprint[:8]}@{group.id}:{_milliseconds(updated)}"
    return describe(group, token, updated, base_url=base_url)


def _milliseconds(time: datetime) -> int:
    """Return a time as milliseconds since 1970-01-01 UTC, which end a token."""
    return int(time.timestamp() * 1000)
