"""``/api/v1/tables``: the tables of datasets. As in CARTO, this API has no index."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import Route

from cartoframes_lite.local.catalog import dataset_tables
from cartoframes_lite.local.catalog.members import Members
from cartoframes_lite.local.catalog.names import sanitize_table
from cartoframes_lite.local.catalog.updates import apply_changes, check_details, check_privacy
from cartoframes_lite.local.catalog.visualizations import Catalog, Visualization
from cartoframes_lite.local.http.platform import PlatformError, PlatformRequest, platform_response, route
from cartoframes_lite.local.routes.error_handlers import platform_errors
from cartoframes_lite.local.serializers import Serializer
from cartoframes_lite.local.state import State

# Type names of CARTO's dashboard; other types keep their PostgreSQL names.
_TYPES = {
    **dict.fromkeys(("smallint", "integer", "bigint", "numeric", "real", "double precision"), "number"),
    **dict.fromkeys(("text", "character varying", "character"), "string"),
    **dict.fromkeys(("date", "timestamp without time zone", "timestamp with time zone"), "date"),
}
_CHANGEABLE: tuple[str, ...] = ("name", "description", "privacy")


def routes(state: State, catalog: Catalog, members: Members) -> list[Route]:
    """Return the routes, below the user's path."""

    def find(call: PlatformRequest) -> Visualization:
        call.require_master()
        with platform_errors():
            return catalog.find_by_table(call.request.path_params["id"])

    def respond(call: PlatformRequest, dataset: Visualization) -> Response:
        serializer = Serializer(state, catalog, members, call.request, owner=True)
        return platform_response(serializer.table(dataset, dataset_tables.count_rows(state, *dataset.table)))

    def create(call: PlatformRequest) -> Response:
        call.require_master()
        name = call.parameters.get("name") or "untitled_table"
        if not isinstance(name, str):
            raise PlatformError(400, ["name must be a string"])
        details = {key: call.body[key] for key in ("description", "privacy") if call.body.get(key) is not None}
        with platform_errors():
            check_details(None, details)
            if "privacy" in details:
                check_privacy(state, None, details["privacy"])
            dataset = catalog.find_by_table(dataset_tables.create_empty(state, sanitize_table(name)))
            return respond(call, apply_changes(state, catalog, dataset, details))

    def show(call: PlatformRequest) -> Response:
        return respond(call, find(call))

    def update(call: PlatformRequest) -> Response:
        dataset = find(call)
        changes = {name: call.body[name] for name in _CHANGEABLE if name in call.body}
        with platform_errors():
            return respond(call, apply_changes(state, catalog, dataset, changes))

    def columns(call: PlatformRequest) -> Response:
        dataset = find(call)
        assert dataset.table_oid is not None  # set for datasets
        with state.admin() as connection:
            found = dataset_tables.columns(connection, dataset.table_oid)
        return platform_response([[name, _TYPES.get(kind, kind)] for name, kind in found])

    return [
        *route(state, "/api/v1/tables", POST=create),
        *route(state, "/api/v1/tables/{id}", GET=show, PUT=update),
        *route(state, "/api/v1/tables/{id}/columns", GET=columns),
    ]
