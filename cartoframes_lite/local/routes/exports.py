"""``/api/v3/visualization_exports``: export maps to ``.carto`` files and download them."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from cartoframes_lite.local.catalog.exports import ExportJob, ExportJobs
from cartoframes_lite.local.catalog.visualizations import Catalog, Visualization, is_uuid
from cartoframes_lite.local.http.platform import FORBIDDEN, CauseError, PlatformRequest, platform_response, route
from cartoframes_lite.local.routes.viewable import uuid_parameter
from cartoframes_lite.local.serializers import format_datetime
from cartoframes_lite.local.state import State


def routes(state: State, catalog: Catalog, exports: ExportJobs) -> list[Route]:
    """Return the routes, below the user's path. The key is optional: public maps can be exported without one."""

    def create(call: PlatformRequest) -> Response:
        visualization_id = str(call.parameters.get("visualization_id") or "")
        try:
            if not is_uuid(visualization_id):
                raise LookupError(visualization_id)
            visualization = catalog.find(visualization_id)
        except LookupError:
            raise CauseError(404, f"Visualization not found: {visualization_id}") from None
        tables = _table_ids(call)
        _check(call, visualization, tables, exports)
        created = exports.create(visualization, tables, by_owner=call.is_owner)
        return platform_response(_serialize(state, call, created), 201)

    def find(call: PlatformRequest) -> ExportJob:
        export_id = uuid_parameter(call, "id")
        try:
            found = exports.find(export_id)
        except LookupError:
            raise CauseError(404, f"Visualization export not found: {export_id}") from None
        if found.by_owner and not call.is_owner:
            raise CauseError(403, FORBIDDEN)
        return found

    def show(call: PlatformRequest) -> Response:
        return platform_response(_serialize(state, call, find(call)))

    def download(call: PlatformRequest) -> Response:
        found = find(call)
        try:
            return _file(exports, found)
        except LookupError:
            raise CauseError(404, f"Visualization export not found: {found.id}") from None

    def download_by_token(request: Request) -> Response:
        try:
            return _file(exports, exports.find_by_token(request.path_params["token"]))
        except LookupError:
            return Response(status_code=404)

    return [
        *route(state, "/api/v3/visualization_exports", POST=create),
        *route(state, "/api/v3/visualization_exports/{id}", GET=show),
        *route(state, "/api/v3/visualization_exports/{id}/download", GET=download),
        Route("/uploads/exports/{token}/{name}", download_by_token, methods=["GET"]),
    ]


def _table_ids(call: PlatformRequest) -> list[str] | None:
    """Return the ids of the tables to export, from a text with commas or a list; None means all."""
    given = call.parameters.get("user_tables_ids")
    if given is None or given == "":
        return None
    return [str(one) for one in given] if isinstance(given, list) else str(given).split(",")


def _check(call: PlatformRequest, visualization: Visualization, tables: list[str] | None, exports: ExportJobs) -> None:
    """Raise CauseError if the caller may not view the map (403), or if it cannot be exported (422)."""
    is_viewable = call.is_owner or visualization.is_accessible_to_all
    reasons = [] if is_viewable else ["User Must be able to view the visualization"]
    known = {one.table_id for one in exports.exportable_tables(visualization, by_owner=call.is_owner)}
    reasons += [
        f"User tables ids User table {one} is not related to visualization {visualization.id}"
        for one in tables or ()
        if one not in known
    ]
    if visualization.type != "derived":
        reasons.append("Visualization Only derived visualizations can be exported")
    if reasons:
        raise CauseError(422 if is_viewable else 403, f"Errors: {json.dumps(reasons, ensure_ascii=False)}")


def _file(exports: ExportJobs, export: ExportJob) -> Response:
    """Return the file of an export; raise LookupError if it is not complete."""
    name = export.file_name
    # Written as by CARTO, with the name in quotes; FileResponse alone encodes names with blanks.
    is_plain = name.isascii() and name.isprintable()
    headers = {"Content-Disposition": f'attachment; filename="{name}"'} if is_plain else None
    return FileResponse(exports.file(export), media_type="application/zip", filename=name, headers=headers)


def _serialize(state: State, call: PlatformRequest, export: ExportJob) -> dict[str, Any]:
    """Return the API representation of an export; its URL, which needs no key, is null until the file is complete."""
    url = f"{call.account_url}/uploads/exports/{export.token}/{quote(export.file_name)}"
    return {
        "id": export.id,
        "visualization_id": export.visualization_id,
        "user_id": state.user_id if export.by_owner else None,
        "state": export.state,
        "url": url if export.state == "complete" else None,
        "created_at": format_datetime(export.created_at),
        "updated_at": format_datetime(export.updated_at),
    }
