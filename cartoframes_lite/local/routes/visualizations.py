"""``/api/v1/viz``: list, create, update and delete the account's datasets and maps."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.catalog.members import Members
from cartoframes_lite.local.catalog.search import search
from cartoframes_lite.local.catalog.search_parameters import lowercase_parameter, read_search
from cartoframes_lite.local.catalog.updates import InvalidError, apply_changes, check_details, check_privacy
from cartoframes_lite.local.catalog.visualizations import Catalog, Visualization
from cartoframes_lite.local.http.platform import PlatformError, PlatformRequest, platform_response, route
from cartoframes_lite.local.routes.error_handlers import platform_errors
from cartoframes_lite.local.serializers import Serializer
from cartoframes_lite.local.state import State

_DEPENDENTS = 10
_PARTS = (
    "table",
    "table_size_and_row_count",
    "stats",
    "likes",
    "liked",
    "permission",
    "synchronization",
    "uses_builder_features",
    "auth_tokens",
)


def routes(state: State, catalog: Catalog, members: Members) -> list[Route]:
    """Return the routes, below the user's path."""

    def serializer(call: PlatformRequest) -> Serializer:
        return Serializer(state, catalog, members, call.request, owner=call.key.kind == "master")

    def find(call: PlatformRequest) -> Visualization:
        with platform_errors():
            found = catalog.find(call.request.path_params["id"])
        if call.key.kind != "master" and found.privacy not in ("public", "link"):
            raise PlatformError(404)
        return found

    def index(call: PlatformRequest) -> Response:
        criteria, master = read_search(call), call.key.kind == "master"
        dependents = _count_parameter(call, "with_dependent_visualizations", _DEPENDENTS)
        hidden = frozenset(part for part in _PARTS if lowercase_parameter(call, f"show_{part}") == "false")
        if _is_always_empty(call):
            return platform_response({"visualizations": [], "total_entries": 0, **(_totals(0, 0) if master else {})})
        found = search(state, catalog, criteria)
        shown = serializer(call).visualizations(found.visualizations, hidden=hidden, dependents=dependents)
        totals = (
            _totals(found.all, found.locked) if master and lowercase_parameter(call, "load_totals") != "false" else {}
        )
        return platform_response({"visualizations": shown, "total_entries": found.total, **totals})

    def create(call: PlatformRequest) -> Response:
        call.require_master()
        with platform_errors():
            new_map = _create_map(call, state, catalog)
            return platform_response(serializer(call).visualization(apply_changes(state, catalog, new_map, call.body)))

    def show(call: PlatformRequest) -> Response:
        return platform_response(serializer(call).visualization(find(call)))

    def update(call: PlatformRequest) -> Response:
        call.require_master()
        found = find(call)
        if call.body.get("id") != found.id:
            raise PlatformError(403)
        with platform_errors():
            return platform_response(serializer(call).visualization(apply_changes(state, catalog, found, call.body)))

    def delete(call: PlatformRequest) -> Response:
        call.require_master()
        with platform_errors():
            catalog.delete(find(call))
        return Response(status_code=204)

    return [
        *route(state, "/api/v1/viz", GET=index, POST=create),
        *route(state, "/api/v1/viz/{id}", GET=show, PUT=update, DELETE=delete),
    ]


def _create_map(call: PlatformRequest, state: State, catalog: Catalog) -> Visualization:
    """Create a map with the name and tables of a request. The caller applies the other changes."""
    tables, privacy = call.body.get("tables", []), call.body.get("privacy")
    if call.body.get("type", "derived") != "derived":
        raise InvalidError("only maps can be created here: type must be derived")
    if not isinstance(tables, list) or not all(isinstance(table, str) for table in tables):
        raise InvalidError("tables must be a list of names")
    if privacy is None:
        privacy = "private" if state.plan.private_datasets else "public"
    checked = check_privacy(state, None, privacy)
    check_details(None, call.body)
    name = call.body.get("name") or (tables[0] if tables else "untitled map")
    try:
        map_id = catalog.create_map(name, tables, "private" if checked == "password" else checked)
    except LookupError as error:
        raise InvalidError(f"table {error.args[0]!r} does not exist") from None
    return catalog.find(map_id)


def _is_always_empty(call: PlatformRequest) -> bool:
    """Return whether a request filters by likes or foreign sharing, which this server does not have."""
    return (
        lowercase_parameter(call, "only_liked") == "true"
        or lowercase_parameter(call, "only_shared") == "true"
        or lowercase_parameter(call, "shared") == "only"
    )


def _totals(total: int, locked: int) -> dict[str, Any]:
    """Return the totals added to each page."""
    return {"total_user_entries": total, "total_locked": locked, "total_likes": 0, "total_shared": 0}


def _count_parameter(call: PlatformRequest, name: str, default: int) -> int:
    """Parse a number; return 0 for an invalid or negative one, as CARTO does."""
    try:
        return max(0, int(call.parameters.get(name, default)))
    except (TypeError, ValueError):
        return 0
