"""``/api/v1/viz``: list, create, update and delete the account's datasets and maps."""

from __future__ import annotations

import re
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.catalog.map_layers import SavedLayers
from cartoframes_lite.local.catalog.members import Members
from cartoframes_lite.local.catalog.search import SearchResult, search
from cartoframes_lite.local.catalog.search_parameters import is_true, read_search, text_parameter
from cartoframes_lite.local.catalog.updates import InvalidError, apply_changes, check_details, check_privacy
from cartoframes_lite.local.catalog.visualizations import Catalog, Visualization, is_uuid
from cartoframes_lite.local.http.paging import invalid_parameter
from cartoframes_lite.local.http.platform import PlatformError, PlatformRequest, platform_response, route
from cartoframes_lite.local.routes.error_handlers import platform_errors
from cartoframes_lite.local.routes.viewable import find_viewable
from cartoframes_lite.local.serializers import Parts, Serializer
from cartoframes_lite.local.state import State

_UNTITLED = "Untitled map"
_HIDEABLE_PARTS = (
    "table",
    "table_size_and_row_count",
    "stats",
    "liked",
    "permission",
    "synchronization",
    "uses_builder_features",
)


def routes(state: State, catalog: Catalog, members: Members, layers: SavedLayers) -> list[Route]:
    """Return the routes, below the user's path."""

    def serializer(call: PlatformRequest) -> Serializer:
        return Serializer(state, catalog, members, call.request, owner=call.is_owner)

    def index(call: PlatformRequest) -> Response:
        if call.is_of_unknown_user:
            raise invalid_parameter("username", name="error")
        found = search(catalog, read_search(call))
        content = {
            "visualizations": serializer(call).visualizations(found.visualizations, _index_parts(call)),
            "total_entries": found.total,
        }
        if call.is_owner and text_parameter(call, "load_totals").lower() != "false":
            content |= _totals(found)
        if is_true(call, "load_do_totals"):
            content |= {"total_subscriptions": 0, "total_samples": 0}
        return platform_response(content)

    def create(call: PlatformRequest) -> Response:
        call.require_master()
        with platform_errors():
            return platform_response(serializer(call).visualization(_create_map(call, state, catalog, layers)))

    def show(call: PlatformRequest) -> Response:
        found = serializer(call).visualization(find_viewable(call, catalog), _show_parts(call))
        return platform_response(_with_text_times(found))

    def update(call: PlatformRequest) -> Response:
        call.require_master()
        found = find_viewable(call, catalog)
        if call.body.get("id") != found.id:
            raise PlatformError(403)
        with platform_errors():
            return platform_response(serializer(call).visualization(apply_changes(state, catalog, found, call.body)))

    def delete(call: PlatformRequest) -> Response:
        call.require_master()
        found = find_viewable(call, catalog)
        with platform_errors():
            catalog.delete(found)
        return Response(status_code=204)

    return [
        *route(state, "/api/v1/viz", GET=index, POST=create),
        *route(state, "/api/v1/viz/{id}", GET=show, PUT=update, DELETE=delete),
    ]


def _index_parts(call: PlatformRequest) -> Parts:
    """Return the parts of each item of a list: all but those that the request hides."""
    hidden = {part: False for part in _HIDEABLE_PARTS if text_parameter(call, f"show_{part}").lower() == "false"}
    return Parts(related_tables=False, dependents=_count_parameter(call), **hidden)


def _show_parts(call: PlatformRequest) -> Parts:
    """Return the parts of a single dataset or map, some of which have to be requested."""
    return Parts(
        stats=is_true(call, "show_stats"),
        liked=is_true(call, "show_liked"),
        permission=is_true(call, "show_permission"),
        user=is_true(call, "fetch_user"),
        related_canonical_visualizations=is_true(call, "fetch_related_canonical_visualizations"),
        dependents=_count_parameter(call),
        password=call.parameters.get("password"),
    )


def _with_text_times(content: Any) -> Any:
    """Return JSON with times such as "2018-01-01 00:00:00 UTC": CARTO encodes a single item differently from lists."""
    if isinstance(content, list):
        return [_with_text_times(item) for item in content]
    if not isinstance(content, dict):
        return content
    return {
        name: f"{value[:10]} {value[11:19]} UTC"
        if name.endswith("_at") and isinstance(value, str)
        else (value if name == "transition_options" else _with_text_times(value))
        for name, value in content.items()
    }


def _count_parameter(call: PlatformRequest) -> int:
    """Return the maximum number of dependent maps; text after the digits is ignored, as in CARTO."""
    digits = re.match(r"\s*([0-9]{1,9})", text_parameter(call, "with_dependent_visualizations"))
    return int(digits[1]) if digits else 0


def _totals(found: SearchResult) -> dict[str, Any]:
    """Return the totals added to each page. Nothing is shared with the only account."""
    return {
        "total_user_entries": found.all,
        "total_locked": found.locked,
        "total_likes": found.liked,
        "total_shared": 0,
    }


def _create_map(call: PlatformRequest, state: State, catalog: Catalog, layers: SavedLayers) -> Visualization:
    """Create the map that a request describes: of tables, of a dataset, a copy of a map, or empty."""
    body = call.body
    changes = {name: value for name, value in body.items() if name != "privacy" and name != "version"}
    name = body.get("name", _UNTITLED)
    if name is None or (isinstance(name, str) and name.strip()):
        changes["name"] = catalog.unused_name((name or _UNTITLED).strip())
    else:
        changes["name"] = name
    source_id, tables = body.get("source_visualization_id"), body.get("tables")
    if source_id:
        source = _find_source(catalog, str(source_id))
        if source.type == "derived":
            check_details(None, {"name": changes["name"]})
            return layers.copy_map(source, changes["name"])
        if not source.is_dataset:
            raise PlatformError(400, {"errors": None}, name=None)  # a published page has no table
        datasets = [source]
    elif tables is not None:
        datasets = _find_datasets(catalog, tables)
    else:
        return _create_empty_map(state, catalog, changes, body.get("privacy"))
    check_details(None, changes)
    created = layers.create_map(changes["name"], datasets)
    return apply_changes(state, catalog, created, {key: value for key, value in changes.items() if key != "name"})


def _create_empty_map(state: State, catalog: Catalog, changes: dict[str, Any], privacy: object) -> Visualization:
    """Create a map without layers; the default privacy is "link", or "public" without private maps."""
    if changes.get("type", "derived") != "derived":
        raise InvalidError("Type is not included in the list")
    check_details(None, changes)
    default = "link" if state.plan.private_datasets else "public"
    checked = check_privacy(state, None, privacy or default)
    if checked == "password" and not changes.get("password"):
        raise InvalidError("Password required for protected visualization")
    map_id = catalog.insert_map(changes["name"], default if checked == "password" else checked, None)
    details = {key: value for key, value in changes.items() if key != "name"}
    return apply_changes(state, catalog, catalog.find(map_id), {**details, "privacy": checked})


def _find_source(catalog: Catalog, source_id: str) -> Visualization:
    """Return the visualization with an id, not a name, to create a map from; raise PlatformError (403) if unknown."""
    try:
        if not is_uuid(source_id):
            raise LookupError(source_id)
        return catalog.find(source_id)
    except LookupError:
        raise PlatformError(403) from None


def _find_datasets(catalog: Catalog, tables: object) -> list[Visualization]:
    """Return the datasets of tables; raise PlatformError (400, without a message as in CARTO) if one is missing."""
    if not isinstance(tables, list) or not tables or not all(isinstance(table, str) for table in tables):
        raise PlatformError(400, {"errors": None}, name=None)
    try:
        return [catalog.find_by_table(table) for table in tables]
    except LookupError:
        raise PlatformError(400, {"errors": None}, name=None) from None
