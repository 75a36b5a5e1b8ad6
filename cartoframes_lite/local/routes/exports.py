"""``/api/v3/visualization_exports``: export datasets and maps to ``.carto`` files and download them."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from cartoframes_lite.local.catalog.exports import ExportJob, ExportJobs
from cartoframes_lite.local.catalog.visualizations import Catalog
from cartoframes_lite.local.http.platform import PlatformError, PlatformRequest, platform_response, route
from cartoframes_lite.local.serializers import base_url, format_datetime
from cartoframes_lite.local.state import State


def routes(state: State, catalog: Catalog, exports: ExportJobs) -> list[Route]:
    """Return the routes, below the user's path."""

    def create(call: PlatformRequest) -> Response:
        call.require_master()
        visualization_id, tables = call.parameters.get("visualization_id"), call.parameters.get("user_tables_ids")
        if isinstance(tables, str):
            tables = tables.split(",")
        if tables is not None and not (isinstance(tables, list) and all(isinstance(one, str) for one in tables)):
            raise PlatformError(400, "user_tables_ids must be a list of ids")
        try:
            visualization = catalog.find(str(visualization_id or ""))
        except LookupError:
            raise PlatformError(404, f"Visualization not found: {visualization_id}") from None
        return platform_response(_serialize(state, call.request, exports.create(visualization, tables)), 201)

    def show(call: PlatformRequest) -> Response:
        call.require_master()
        try:
            return platform_response(_serialize(state, call.request, exports.find(call.request.path_params["id"])))
        except LookupError:
            raise PlatformError(404, "Visualization export not found") from None

    def download(request: Request) -> Response:
        try:
            path = exports.file(request.path_params["token"], request.path_params["name"])
        except LookupError:
            return Response(status_code=404)
        return FileResponse(path, media_type="application/zip", filename=path.name)

    return [
        *route(state, "/api/v3/visualization_exports", POST=create),
        *route(state, "/api/v3/visualization_exports/{id}", GET=show),
        Route("/uploads/exports/{token}/{name}", download, methods=["GET"]),
    ]


def _serialize(state: State, request: Request, export: ExportJob) -> dict[str, Any]:
    """Return the API representation of an export; its URL is null until the file is complete."""
    url = f"{base_url(state, request)}/uploads/exports/{export.token}/{export.file_name}"
    return {
        "id": export.id,
        "visualization_id": export.visualization_id,
        "user_id": state.user_id,
        "state": export.state,
        "url": url if export.state == "complete" else None,
        "created_at": format_datetime(export.created_at),
        "updated_at": format_datetime(export.updated_at),
    }
