"""``/api/v1/map``: anonymous maps, and the attributes, dataviews and analyses of instantiated maps."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.maps import attributes, clusters, dataviews
from cartoframes_lite.local.maps.authentication import MapsAuthenticator
from cartoframes_lite.local.maps.instantiation import instantiate_anonymous
from cartoframes_lite.local.maps.layergroups import Layergroups
from cartoframes_lite.local.maps.requests import MapsRequest
from cartoframes_lite.local.routes.maps_handler import MapsHandler, json_response
from cartoframes_lite.local.sql.sessions import Sessions
from cartoframes_lite.local.state import State


def routes(state: State, authenticator: MapsAuthenticator, layergroups: Layergroups, sessions: Sessions) -> list[Route]:
    """Return the routes; ``sessions`` must be read-only."""
    handler = MapsHandler(authenticator)

    async def instantiate(maps_request: MapsRequest) -> Response:
        maps_request.require_json()
        response = await instantiate_anonymous(
            layergroups,
            maps_request.map_config(),
            maps_request.filters(),
            role=authenticator.role_of(maps_request),
            key=maps_request.key,
            base_url=maps_request.base_url(state.user),
        )
        return json_response(maps_request, response)

    async def get_attributes(maps_request: MapsRequest) -> Response:
        group, role = await authenticator.open(maps_request)
        async with sessions.open(role) as session:
            result = await attributes.read_attributes(
                session, group, maps_request.text("layer"), maps_request.text("feature")
            )
        return json_response(maps_request, result)

    async def get_dataview(maps_request: MapsRequest) -> Response:
        group, role = await authenticator.open(maps_request)
        async with sessions.open(role) as session:
            result = await dataviews.evaluate(session, group.config, maps_request.text("dataview"), maps_request.query)
        return json_response(maps_request, result)

    async def search_dataview(maps_request: MapsRequest) -> Response:
        group, role = await authenticator.open(maps_request)
        async with sessions.open(role) as session:
            result = await dataviews.search(session, group.config, maps_request.text("dataview"), maps_request.query)
        return json_response(maps_request, result)

    async def get_node(maps_request: MapsRequest) -> Response:
        group, _ = await authenticator.open(maps_request)
        group.config.check_node(maps_request.text("node"))
        return json_response(maps_request, {"status": "ready"})

    async def get_cluster(maps_request: MapsRequest) -> Response:
        group, role = await authenticator.open(maps_request)
        cluster = maps_request.text("layer"), maps_request.text("z"), maps_request.text("feature")
        async with sessions.open(role) as session:
            result = await clusters.read_cluster(session, group, *cluster)
        return json_response(maps_request, result)

    return [
        handler.route("", GET=("anonymous", instantiate), POST=("anonymous", instantiate)),
        handler.route("/{token}/{layer}/attributes/{feature}", GET=("attributes", get_attributes)),
        handler.route("/{token}/dataview/{dataview}", GET=("dataview", get_dataview)),
        handler.route("/{token}/dataview/{dataview}/search", GET=("dataview_search", search_dataview)),
        handler.route("/{token}/analysis/node/{node}", GET=("analysis", get_node)),
        handler.route("/{token}/{layer}/{z}/cluster/{feature}", GET=("attributes", get_cluster)),
    ]
