"""``/api/v1/map``: anonymous maps, and the attributes, dataviews and analyses of instantiated maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.maps import attributes, clusters, config, dataviews, metadata
from cartoframes_lite.local.maps.authentication import MapsAuthenticator, MapsRequest
from cartoframes_lite.local.maps.errors import MapError
from cartoframes_lite.local.maps.json_input import JSONInputError, parse_json
from cartoframes_lite.local.maps.layergroups import Layergroup, Layergroups
from cartoframes_lite.local.routes.maps_handler import MapsHandler, base_url, json_response, require_json
from cartoframes_lite.local.sql.sessions import Sessions
from cartoframes_lite.local.state import State


def routes(state: State, authenticator: MapsAuthenticator, layergroups: Layergroups, sessions: Sessions) -> list[Route]:
    """Return the routes; ``sessions`` must be read-only."""
    handler = MapsHandler(authenticator)

    async def instantiate(maps_request: MapsRequest) -> Response:
        require_json(maps_request)
        content = maps_request.body
        if maps_request.request.method == "GET":
            content = _config_parameter(maps_request, 'layergroup GET needs a "config" parameter')
        if isinstance(content, dict):
            content = {name: item for name, item in content.items() if name not in ("api_key", "map_key")}
        read = config.read(content, read_filters(maps_request))
        group, updated = await layergroups.instantiate(content, read, authenticator.role_of(maps_request))
        token = f"{group.id}:{int(updated.timestamp() * 1000)}"
        key = maps_request.key.token if maps_request.key is not None and maps_request.key.kind != "default" else ""
        base = base_url(maps_request, state.user)
        return json_response(maps_request, metadata.describe(group, token, updated, base_url=base, api_key=key))

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
        _check_node(group, maps_request.text("node"))
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


def read_filters(maps_request: MapsRequest) -> Mapping[str, Any]:
    """Parse the filters of dataviews in the query string."""
    if not maps_request.query.get("filters"):
        return {}
    try:
        content = parse_json(str(maps_request.query["filters"]))
    except JSONInputError:
        raise MapError("Invalid filters parameter, should be a valid JSON") from None
    filters = content.get("dataviews") if isinstance(content, Mapping) else None
    return filters if isinstance(filters, Mapping) else {}


def _config_parameter(maps_request: MapsRequest, missing: str) -> Any:
    """Parse the MapConfig in the query string."""
    text = maps_request.query.get("config")
    if not text:
        raise MapError(missing)
    if not isinstance(text, str):  # decoded already from the parameter lzma
        return text
    try:
        return parse_json(text)
    except JSONInputError as error:
        raise MapError(f"Unexpected JSON in the config parameter: {error}") from None


def _check_node(group: Layergroup, identity: str) -> None:
    if not any(node.id == identity for node in group.config.nodes.values()):
        raise MapError(f"Analysis node '{identity}' does not exist", status=404, kind="analysis")
