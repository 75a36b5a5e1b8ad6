"""``/api/v3/viz/{id}/mapcaps``: publish maps."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.catalog import mapcaps
from cartoframes_lite.local.catalog.map_layers import SavedLayers
from cartoframes_lite.local.catalog.visualizations import Catalog, Visualization
from cartoframes_lite.local.http.platform import CauseError, PlatformRequest, platform_response, route
from cartoframes_lite.local.routes.viewable import uuid_parameter
from cartoframes_lite.local.serializers import format_datetime
from cartoframes_lite.local.state import State


def routes(state: State, catalog: Catalog, layers: SavedLayers) -> list[Route]:
    """Return the routes, below the user's path."""

    def find_map(call: PlatformRequest) -> Visualization:
        call.require_master()
        visualization_id = uuid_parameter(call, "visualization_id")
        try:
            found = catalog.find(visualization_id)
        except LookupError:
            found = None
        if found is None or found.is_dataset:
            raise CauseError(404, f"Visualization not found: {visualization_id}")
        return found

    def find(call: PlatformRequest) -> mapcaps.Mapcap:
        a_map, mapcap_id = find_map(call), uuid_parameter(call, "id")
        try:
            return mapcaps.find(state, a_map, mapcap_id)
        except LookupError:
            raise CauseError(404, f"Mapcap not found: {mapcap_id}") from None

    def index(call: PlatformRequest) -> Response:
        return platform_response([_serialize(one) for one in mapcaps.of(state, find_map(call))])

    def create(call: PlatformRequest) -> Response:
        a_map = find_map(call)
        return platform_response(_serialize(mapcaps.create(state, a_map, layers.of(a_map))), 201)

    def show(call: PlatformRequest) -> Response:
        return platform_response(_serialize(find(call)))

    def delete(call: PlatformRequest) -> Response:
        mapcaps.delete(state, find(call))
        return Response(status_code=204)

    path = "/api/v3/viz/{visualization_id}/mapcaps"
    return [
        *route(state, path, GET=index, POST=create),
        *route(state, path + "/{id}", GET=show, DELETE=delete),
    ]


def _serialize(mapcap: mapcaps.Mapcap) -> dict[str, Any]:
    """Return the API representation of a published version."""
    return {
        "id": mapcap.id,
        "related_ids": mapcap.related_ids,
        "created_at": format_datetime(mapcap.created_at),
    }
