"""``/api/v1/viz``: the account's datasets and maps as CARTO's dashboard sees them, and who may read them."""

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

    def presenter(call: PlatformRequest) -> Serializer:
        return Serializer(state, catalog, members, call.request, owner=call.key.kind == "master")

    def find(call: PlatformRequest) -> Visualization:
        with platform_errors():
            found = catalog.find(call.request.path_params["id"])
        if call.key.kind != "master" and found.privacy not in ("public", "link"):
            raise PlatformError(404)
        return found

    def index(call: PlatformRequest) -> Response:
        wanted, master = read_search(call), call.key.kind == "master"
        dependents = _whole(call, "with_dependent_visualizations", _DEPENDENTS)
        hidden = frozenset(part for part in _PARTS if lowercase_parameter(call, f"show_{part}") == "false")
        if _nobody_has(call):
            return platform_response({"visualizations": [], "total_entries": 0, **(_totals(0, 0) if master else {})})
        found = search(state, catalog, wanted)
        shown = presenter(call).all(found.visualizations, hidden=hidden, dependents=dependents)
        totals = (
            _totals(found.all, found.locked) if master and lowercase_parameter(call, "load_totals") != "false" else {}
        )
        return platform_response({"visualizations": shown, "total_entries": found.total, **totals})

    def create(call: PlatformRequest) -> Response:
        call.require_master()
        with platform_errors():
            made = _new_map(call, state, catalog)
            return platform_response(presenter(call).one(apply_changes(state, catalog, made, call.body)))

    def show(call: PlatformRequest) -> Response:
        return platform_response(presenter(call).one(find(call)))

    def update(call: PlatformRequest) -> Response:
        call.require_master()
        found = find(call)
        if call.body.get("id") != found.id:
            raise PlatformError(403)
        with platform_errors():
            return platform_response(presenter(call).one(apply_changes(state, catalog, found, call.body)))

    def delete(call: PlatformRequest) -> Response:
        call.require_master()
        with platform_errors():
            catalog.delete(find(call))
        return Response(status_code=204)

    return [
        *route(state, "/api/v1/viz", GET=index, POST=create),
        *route(state, "/api/v1/viz/{id}", GET=show, PUT=update, DELETE=delete),
    ]


def _new_map(call: PlatformRequest, state: State, catalog: Catalog) -> Visualization:
    """Make a map of the tables and the name that a request says; what else it says comes next."""
    tables, privacy = call.body.get("tables", []), call.body.get("privacy")
    if call.body.get("type", "derived") != "derived":
        raise InvalidError("only maps can be made here: type is derived")
    if not isinstance(tables, list) or not all(isinstance(table, str) for table in tables):
        raise InvalidError("tables is a list of names")
    if privacy is None:
        privacy = "private" if state.plan.private_datasets else "public"
    checked = check_privacy(state, None, privacy)
    check_details(None, call.body)
    name = call.body.get("name") or (tables[0] if tables else "untitled map")
    try:
        map_id = catalog.create_map(name, tables, "private" if checked == "password" else checked)
    except LookupError as error:
        raise InvalidError(f"there is no table {error.args[0]!r}") from None
    return catalog.find(map_id)


def _nobody_has(call: PlatformRequest) -> bool:
    """Tell whether what is asked for does not exist here: likes, and what others share with the account."""
    return (
        lowercase_parameter(call, "only_liked") == "true"
        or lowercase_parameter(call, "only_shared") == "true"
        or lowercase_parameter(call, "shared") == "only"
    )


def _totals(everything: int, locked: int) -> dict[str, Any]:
    """Return the numbers beside a page."""
    return {"total_user_entries": everything, "total_locked": locked, "total_likes": 0, "total_shared": 0}


def _whole(call: PlatformRequest, name: str, default: int) -> int:
    """Read a number; what is not one is 0, as for CARTO."""
    try:
        return max(0, int(call.parameters.get(name, default)))
    except (TypeError, ValueError):
        return 0
