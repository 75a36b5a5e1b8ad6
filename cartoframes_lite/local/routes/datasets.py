"""``/api/v4/datasets``: list the tables of the account, also for regular keys with the grant table_metadata."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.catalog.readable_tables import ReadableTable, readable_tables
from cartoframes_lite.local.catalog.visualizations import Catalog
from cartoframes_lite.local.http.paging import linked_page, read_order, read_page
from cartoframes_lite.local.http.platform import FORBIDDEN, CauseError, PlatformRequest, platform_response, route
from cartoframes_lite.local.serializers import format_datetime
from cartoframes_lite.local.state import Key, State


def routes(state: State, catalog: Catalog) -> list[Route]:
    """Return the routes, below the user's path."""

    def index(call: PlatformRequest) -> Response:
        call.require_any_key()
        page = read_page(call)
        [(_, direction)] = read_order(call, ("name",), default="name", default_direction="asc")
        # As in CARTO, this endpoint accepts the key only as the parameter api_key.
        key = state.key(str(call.parameters.get("api_key") or ""))
        if key is None or not call.parameters.get("api_key") or not _can_list_tables(key):
            raise CauseError(403, FORBIDDEN)
        tables = readable_tables(state, catalog, direction)
        shown = [_serialize(one) for one in page.of(tables)]
        return platform_response(linked_page(call, page, shown, len(tables)))

    return route(state, "/api/v4/datasets", GET=index)


def _can_list_tables(key: Key) -> bool:
    """Return whether a key is the master key or has the grant table_metadata."""
    sections = [section for section in key.grants if section["type"] == "database"]
    return key.kind == "master" or any("table_metadata" in section for section in sections)


def _serialize(table: ReadableTable) -> dict[str, Any]:
    """Return the API representation of a table or view."""
    dataset = table.dataset
    return {
        "table_schema": table.schema,
        "name": table.name,
        "mode": table.mode,
        "privacy": None if dataset is None else dataset.privacy,
        "cartodbfied": dataset is not None,
        "updated_at": None if dataset is None else format_datetime(dataset.updated_at),
        "shared": False,  # no other account shares its tables with this one
    }
