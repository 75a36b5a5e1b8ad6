"""``/api/v4/datasets``: list the tables of the account, also for regular keys with the grant table_metadata."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.catalog.search import Search, search
from cartoframes_lite.local.catalog.visualizations import Catalog, Visualization
from cartoframes_lite.local.http.paging import linked_page, read_page
from cartoframes_lite.local.http.platform import PlatformError, PlatformRequest, platform_response, route
from cartoframes_lite.local.serializers import format_datetime
from cartoframes_lite.local.state import Key, State

_NO_LIMIT = 2**31 - 1


def routes(state: State, catalog: Catalog) -> list[Route]:
    """Return the routes, below the user's path."""

    def index(call: PlatformRequest) -> Response:
        # As in CARTO, this endpoint accepts the key only as the parameter api_key.
        key = state.key(str(call.parameters.get("api_key", "")))
        if key is None or not call.parameters.get("api_key"):
            raise PlatformError(401)
        if key.kind != "master" and not _can_list_tables(key):
            raise PlatformError(403, "the API key does not have the grant table_metadata")
        direction = str(call.parameters.get("order_direction", "asc")).lower()
        if call.parameters.get("order", "name") != "name" or direction not in ("asc", "desc"):
            raise PlatformError(400, "invalid order: use order=name and order_direction=asc or desc")
        criteria = Search(("table",), limit=_NO_LIMIT, order=(("name", direction),))
        found = search(catalog, criteria).visualizations
        with state.admin() as connection:
            rows = connection.execute(
                "SELECT tgrelid::bigint AS oid FROM pg_trigger WHERE tgname = 'track_updates' AND NOT tgisinternal"
            ).fetchall()
        cartodbfied = {row["oid"] for row in rows}
        page = read_page(call)
        shown = [_serialize(one, one.table_oid in cartodbfied) for one in page.of(found)]
        return platform_response(linked_page(call, page, shown, len(found)))

    return route(state, "/api/v4/datasets", GET=index)


def _can_list_tables(key: Key) -> bool:
    """Return whether a regular key has the grant table_metadata."""
    return any(section["type"] == "database" and "table_metadata" in section for section in key.grants)


def _serialize(dataset: Visualization, cartodbfied: bool) -> dict[str, Any]:
    """Return the API representation of a dataset."""
    schema, name = dataset.table
    return {
        "name": name,
        "table_schema": schema,
        "privacy": dataset.privacy,
        "cartodbfied": cartodbfied,
        "updated_at": format_datetime(dataset.updated_at),
    }
