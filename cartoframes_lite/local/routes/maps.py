"""``/api/v1/map``: maps without a name, and what can be asked of an instantiated map besides tiles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from ..maps import attributes, clusters, config, dataviews, metadata
from ..maps.entrance import MapsDoor, Visit
from ..maps.json_input import JSONInputError, parse_json
from ..maps.layergroups import Layergroup, Layergroups
from ..maps.refusals import MapError
from ..pool import Sessions
from ..state import State
from .map_visits import MapRoutes, answered, base_url, require_json


def routes(state: State, door: MapsDoor, layergroups: Layergroups, sessions: Sessions) -> list[Route]:
    """Return the routes; ``sessions`` only read."""
    make = MapRoutes(door)

    async def instantiate(visit: Visit) -> Response:
        require_json(visit)
        content = visit.body
        if visit.request.method == "GET":
            content = _configured(visit, 'layergroup GET needs a "config" parameter')
        if isinstance(content, dict):
            content = {name: item for name, item in content.items() if name not in ("api_key", "map_key")}
        read = config.read(content, read_filters(visit))
        group, updated = await layergroups.instantiate(content, read, door.role_of(visit))
        token = f"{group.id}:{int(updated.timestamp() * 1000)}"
        key = visit.key.token if visit.key is not None and visit.key.kind != "default" else ""
        base = base_url(visit, state.user)
        return answered(visit, metadata.describe(group, token, updated, base_url=base, api_key=key))

    async def show_attributes(visit: Visit) -> Response:
        group, role = await door.open(visit)
        async with sessions.open(role) as session:
            found = await attributes.read_attributes(session, group, visit.text("layer"), visit.text("feature"))
        return answered(visit, found)

    async def show_dataview(visit: Visit) -> Response:
        group, role = await door.open(visit)
        async with sessions.open(role) as session:
            found = await dataviews.answer(session, group.config, visit.text("dataview"), visit.query)
        return answered(visit, found)

    async def search_dataview(visit: Visit) -> Response:
        group, role = await door.open(visit)
        async with sessions.open(role) as session:
            found = await dataviews.search(session, group.config, visit.text("dataview"), visit.query)
        return answered(visit, found)

    async def show_node(visit: Visit) -> Response:
        group, _ = await door.open(visit)
        _check_node(group, visit.text("node"))
        return answered(visit, {"status": "ready"})

    async def show_cluster(visit: Visit) -> Response:
        group, role = await door.open(visit)
        place = visit.text("layer"), visit.text("z"), visit.text("feature")
        async with sessions.open(role) as session:
            found = await clusters.read_cluster(session, group, *place)
        return answered(visit, found)

    return [
        make.route("", GET=("anonymous", instantiate), POST=("anonymous", instantiate)),
        make.route("/{token}/{layer}/attributes/{feature}", GET=("attributes", show_attributes)),
        make.route("/{token}/dataview/{dataview}", GET=("dataview", show_dataview)),
        make.route("/{token}/dataview/{dataview}/search", GET=("dataview_search", search_dataview)),
        make.route("/{token}/analysis/node/{node}", GET=("analysis", show_node)),
        make.route("/{token}/{layer}/{z}/cluster/{feature}", GET=("attributes", show_cluster)),
    ]


def read_filters(visit: Visit) -> Mapping[str, Any]:
    """Return the filters of dataviews in a request."""
    if not visit.query.get("filters"):
        return {}
    try:
        content = parse_json(str(visit.query["filters"]))
    except JSONInputError:
        raise MapError("Invalid filters parameter, should be a valid JSON") from None
    found = content.get("dataviews") if isinstance(content, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _configured(visit: Visit, missing: str) -> Any:
    """Return the MapConfig in the query string."""
    text = visit.query.get("config")
    if not text:
        raise MapError(missing)
    if not isinstance(text, str):  # in a compressed parameter
        return text
    try:
        return parse_json(text)
    except JSONInputError as error:
        raise MapError(f"Unexpected JSON in the config parameter: {error}") from None


def _check_node(group: Layergroup, identity: str) -> None:
    if not any(node.id == identity for node in group.config.nodes.values()):
        raise MapError(f"Analysis node '{identity}' does not exist", status=404, kind="analysis")
